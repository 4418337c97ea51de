//! Clients that wait until a worker may start for them.

use crate::client_host::Host;
use crate::pool::choice::Full;
use crate::settings::{Settings, seconds};
use std::collections::VecDeque;
use std::time::Instant;

/// The most clients that wait. Workers end in a moment, and a client with more in front of it is better told so.
const MOST: usize = 256;

/// Clients that wait, in order of arrival. A client that can be served need not wait for others in front, which may be
/// of a site that has its half of the places.
#[derive(Debug)]
pub struct Queue<Client>(VecDeque<Waiting<Client>>);

#[derive(Debug)]
struct Waiting<Client> {
    host: Host,
    client: Client,
    /// When the client has waited for too long: as long as it would have had for its request.
    until: Option<Instant>,
}

impl<Client> Waiting<Client> {
    fn is_late(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

impl<Client> Default for Queue<Client> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<Client> Queue<Client> {
    /// Whether a client of this host may wait. One site gets at most half of the queue, as it does of the workers.
    pub fn has_room(&self, host: Host) -> bool {
        let of_site = self.0.iter().filter(|waiting| waiting.host.site() == host.site());
        self.0.len() < MOST && of_site.count() < MOST / 2
    }

    /// A client waits from now on.
    pub fn push(&mut self, host: Host, client: Client, settings: &Settings, now: Instant) {
        let until = now.checked_add(seconds(settings.request_limit));
        self.0.push_back(Waiting { host, client, until });
    }

    /// The first client that need not wait any longer; an error if it has waited for too long. `waits` tells whether a
    /// host's clients wait, given the scopes known to be full.
    pub fn next(
        &mut self,
        now: Instant,
        waits: impl Fn(Host, &mut Vec<Full>) -> bool,
    ) -> Option<Result<Client, Full>> {
        let mut full = Vec::new();
        let may_go = |waiting: &Waiting<Client>| waiting.is_late(now) || !waits(waiting.host, &mut full);
        let place = self.0.iter().position(may_go)?;
        let waiting = self.0.remove(place)?;
        Some(if waiting.is_late(now) { Err(Full::House) } else { Ok(waiting.client) })
    }

    /// When the first client has waited for too long.
    pub fn due_at(&self) -> Option<Instant> {
        self.0.front()?.until
    }

    /// Removes all clients.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn host(site: usize, host: u8) -> Host {
        let [_, _, high, low] = u32::try_from(site).unwrap().to_be_bytes();
        Host::of(IpAddr::from([10, high, low, host]))
    }

    #[test]
    fn clients_leave_in_the_order_in_which_they_have_come_and_pass_by_those_of_full_sites() {
        let (mut queue, settings, now) = (Queue::default(), Settings::default(), Instant::now());
        for (number, site) in [1, 1, 2, 2].into_iter().enumerate() {
            queue.push(host(site, 1), number, &settings, now);
        }
        let first_site_waits = |of: Host, _: &mut Vec<Full>| of.site() == host(1, 1).site();
        assert_eq!(queue.next(now, |_, _| true), None);
        assert_eq!(queue.next(now, first_site_waits), Some(Ok(2)), "of another site");
        let left = [(); 3].map(|()| queue.next(now, |_, _| false));
        assert_eq!(left, [Some(Ok(0)), Some(Ok(1)), Some(Ok(3))]);
        assert_eq!((queue.next(now, |_, _| false), queue.due_at()), (None, None));
    }

    #[test]
    fn who_has_waited_as_long_as_a_request_may_take_waits_no_longer() {
        let (mut queue, settings, now) = (Queue::default(), Settings::default(), Instant::now());
        queue.push(host(1, 1), (), &settings, now);
        let due = queue.due_at().unwrap();
        assert_eq!(due, now + seconds(settings.request_limit));
        assert_eq!(
            (queue.next(now, |_, _| true), queue.next(due, |_, _| true)),
            (None, Some(Err(Full::House)))
        );
    }

    #[test]
    fn the_queue_is_bounded_and_one_site_has_half_of_it() {
        let (mut queue, settings, now) = (Queue::default(), Settings::default(), Instant::now());
        for number in 0..MOST / 2 {
            let host = host(0, u8::try_from(number).unwrap());
            assert!(queue.has_room(host), "{number}");
            queue.push(host, (), &settings, now);
        }
        assert!(!queue.has_room(host(0, 255)), "one of the same site");
        for site in 1..=MOST / 2 {
            assert!(queue.has_room(host(site, 1)), "{site}");
            queue.push(host(site, 1), (), &settings, now);
        }
        assert!(!queue.has_room(host(1000, 1)));
        assert_eq!(queue.next(now, |_, _| false), Some(Ok(())));
        assert!(queue.has_room(host(1000, 1)));
        queue.clear();
        assert_eq!(queue.due_at(), None);
    }
}
