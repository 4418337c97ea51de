//! What every client host has open.

use crate::client_host::Host;
use crate::settings::Settings;
use std::collections::{BTreeMap, HashMap};

/// What is counted besides sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lookups under way; some outlive their session.
    Lookup,
    /// Questions to identds; the same.
    Ident,
    /// Ports that wait for the server of a BIND.
    Bind,
    /// CONNECTs that a next server has not answered.
    Upstream,
}

/// CONNECTs of one client host that wait for next servers: half of what an upstream worker has room for, as how long a
/// next server takes is for the destination to say, and thus for whoever asks for it.
const MAX_UPSTREAM_PER_HOST: u32 = 2048;

/// Counts of all client hosts that have any.
#[derive(Debug, Default)]
pub struct Tallies {
    hosts: HashMap<Host, Tally>,
    all: Tally,
}

/// What one client host, or all, have open.
#[derive(Debug, Default)]
struct Tally {
    sessions: u64,
    /// By [`Kind`].
    counts: [u32; 4],
    /// Unfinished requests in the order in which they came.
    unfinished: BTreeMap<u64, usize>,
}

impl Tally {
    fn count(&mut self, kind: Kind) -> &mut u32 {
        let [lookups, idents, binds, upstreams] = &mut self.counts;
        match kind {
            Kind::Lookup => lookups,
            Kind::Ident => idents,
            Kind::Bind => binds,
            Kind::Upstream => upstreams,
        }
    }
}

impl Tallies {
    /// A session begins; gives its number in the order of all.
    pub fn begin(&mut self, host: Host, visit: usize) -> u64 {
        // In all, those that have been.
        self.all.sessions = self.all.sessions.saturating_add(1);
        let number = self.all.sessions;
        self.all.unfinished.insert(number, visit);
        let tally = self.hosts.entry(host).or_default();
        tally.sessions = tally.sessions.saturating_add(1);
        tally.unfinished.insert(number, visit);
        number
    }

    /// A request has been read, or will not be any more.
    pub fn finished(&mut self, host: Host, number: u64) {
        self.all.unfinished.remove(&number);
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.unfinished.remove(&number);
        }
    }

    /// A session is over.
    pub fn end(&mut self, host: Host, number: u64) {
        self.finished(host, number);
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.sessions = tally.sessions.saturating_sub(1);
        }
        self.forget(host);
    }

    /// One more of a kind.
    pub fn add(&mut self, kind: Kind, host: Host) {
        for tally in [&mut self.all, self.hosts.entry(host).or_default()] {
            let count = tally.count(kind);
            *count = count.saturating_add(1);
        }
    }

    /// One less.
    pub fn remove(&mut self, kind: Kind, host: Host) {
        for tally in [Some(&mut self.all), self.hosts.get_mut(&host)].into_iter().flatten() {
            let count = tally.count(kind);
            *count = count.saturating_sub(1);
        }
        self.forget(host);
    }

    fn forget(&mut self, host: Host) {
        if self.hosts.get(&host).is_some_and(|tally| tally.sessions == 0 && tally.counts == [0; 4]) {
            self.hosts.remove(&host);
        }
    }

    /// The setting that does not admit another one of a host.
    pub fn limit(&mut self, kind: Kind, host: Host, settings: &Settings) -> Option<&'static str> {
        let (of_host, in_all, names) = match kind {
            Kind::Lookup => {
                let names = ["max_lookups_per_host reached", "max_lookups reached"];
                (settings.max_lookups_per_host, settings.max_lookups, names)
            }
            Kind::Ident => {
                let names = ["max_idents_per_host reached", "max_idents reached"];
                (settings.max_idents_per_host, settings.max_idents, names)
            }
            Kind::Bind => {
                let names = ["max_binds_per_host reached", "max_binds reached"];
                (settings.max_binds_per_host, settings.max_binds, names)
            }
            // In all there are no more of them than sessions.
            Kind::Upstream => {
                (MAX_UPSTREAM_PER_HOST, u32::MAX, ["too many requests wait for next servers"; 2])
            }
        };
        let [own, all] = names;
        match self.hosts.get_mut(&host).map_or(0, |tally| *tally.count(kind)) {
            count if count >= of_host => Some(own),
            _ => (*self.all.count(kind) >= in_all).then_some(all),
        }
    }

    /// Sessions of a host.
    pub fn sessions(&self, host: Host) -> u64 {
        self.hosts.get(&host).map_or(0, |tally| tally.sessions)
    }

    /// The oldest unfinished request of a host that has more of them than it may have, or else the oldest of all where
    /// there are too many, and the setting that says so.
    pub fn oldest_beyond(&self, host: Host, settings: &Settings) -> Option<(usize, &'static str)> {
        let oldest = |tally: &Tally, limit: u32| {
            let beyond = u32::try_from(tally.unfinished.len()).is_ok_and(|number| number > limit);
            tally.unfinished.first_key_value().filter(|_| beyond).map(|(_, visit)| *visit)
        };
        let own = oldest(self.hosts.get(&host)?, settings.max_requests_per_host);
        let own = own.map(|visit| (visit, "max_requests_per_host reached"));
        own.or_else(|| Some((oldest(&self.all, settings.max_requests)?, "max_requests reached")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unfinished_request_gives_way() {
        let host = Host::of("192.0.2.1".parse().unwrap());
        let mut tallies = Tallies::default();
        let numbers: Vec<u64> = (0..3).map(|visit| tallies.begin(host, visit)).collect();
        let other = Host::of("192.0.2.2".parse().unwrap());
        let of = |max_requests_per_host, max_requests| Settings {
            max_requests,
            max_requests_per_host,
            ..Settings::default()
        };
        assert_eq!(tallies.oldest_beyond(host, &of(3, 3)), None);
        assert_eq!(tallies.oldest_beyond(host, &of(2, 3)), Some((0, "max_requests_per_host reached")));
        tallies.finished(host, numbers[0]);
        assert_eq!(tallies.oldest_beyond(host, &of(1, 3)), Some((1, "max_requests_per_host reached")));
        let last = tallies.begin(other, 3);
        assert_eq!(tallies.oldest_beyond(other, &of(2, 3)), None);
        assert_eq!(tallies.oldest_beyond(other, &of(2, 2)), Some((1, "max_requests reached")));
        tallies.end(other, last);
        numbers.iter().for_each(|number| tallies.end(host, *number));
        assert_eq!(tallies.sessions(host), 0);
        assert!(tallies.hosts.is_empty() && tallies.all.unfinished.is_empty());
    }

    #[test]
    fn one_host_cannot_fill_the_worker_of_a_next_server_with_requests_that_wait() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let (mut tallies, settings) = (Tallies::default(), Settings::default());
        for _ in 0..MAX_UPSTREAM_PER_HOST {
            assert_eq!(tallies.limit(Kind::Upstream, one, &settings), None);
            tallies.add(Kind::Upstream, one);
        }
        assert!(tallies.limit(Kind::Upstream, one, &settings).is_some());
        assert_eq!(tallies.limit(Kind::Upstream, other, &settings), None);
        (0..MAX_UPSTREAM_PER_HOST).for_each(|_| tallies.remove(Kind::Upstream, one));
        assert!(tallies.hosts.is_empty());
    }

    #[test]
    fn each_kind_is_limited_for_a_host_and_in_all() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let settings = Settings {
            max_binds: 3,
            max_binds_per_host: 2,
            max_idents: 3,
            max_idents_per_host: 2,
            max_lookups: 3,
            max_lookups_per_host: 2,
            ..Settings::default()
        };
        for (kind, name) in
            [(Kind::Bind, "max_binds"), (Kind::Ident, "max_idents"), (Kind::Lookup, "max_lookups")]
        {
            let mut tallies = Tallies::default();
            let is = |limit: Option<&str>, expected: &str| assert_eq!(limit, Some(expected));
            [one, one].iter().for_each(|host| tallies.add(kind, *host));
            is(tallies.limit(kind, one, &settings), &format!("{name}_per_host reached"));
            assert_eq!(tallies.limit(kind, other, &settings), None);
            tallies.add(kind, other);
            is(tallies.limit(kind, other, &settings), &format!("{name} reached"));
            tallies.remove(kind, one);
            assert_eq!(tallies.limit(kind, other, &settings), None);
            [one, other].iter().for_each(|host| tallies.remove(kind, *host));
            assert!(tallies.hosts.is_empty());
        }
    }
}
