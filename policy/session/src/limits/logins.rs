//! How often passwords may be wrong before others are not checked, for each client network and each user.
//!
//! The limits are token buckets; only failures take tokens. A user's bucket alone would let strangers lock that user
//! out, so it does not count for networks from which the user has logged in lately.

use crate::client_host::{Host, HostNetwork};
use crate::limits::bucket::{Bucket, Size};
use crate::limits::memory::Memory;
use sockd_common::message::auth::HostKey;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// Failures that a network is forgiven at once.
const OF_NETWORK: Size = Size { tokens: 8, each: Duration::from_secs(10) };

/// Failures that a user is forgiven at once, from networks that are not known.
const OF_USER: Size = Size { tokens: 20, each: Duration::from_secs(5) };

/// How long a network counts as the user's after a login.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// The most pairs of user and network that are remembered.
const MAX_KNOWN: usize = 10_000;

/// A user by a keyed hash: names are chosen by whoever guesses, and are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(u64);

/// The memory of wrong passwords and of right ones.
#[derive(Debug, Default)]
pub struct Logins {
    networks: Memory<HostNetwork, Bucket>,
    users: Memory<UserKey, Bucket>,
    /// When the user last logged in from the network.
    known: HashMap<(HostNetwork, UserKey), Instant>,
    /// The same, oldest first.
    in_order: VecDeque<(HostNetwork, UserKey)>,
    keyed: RandomState,
}

impl Logins {
    /// The key of a user.
    pub fn user(&self, name: &[u8]) -> UserKey {
        UserKey(self.keyed.hash_one(name))
    }

    /// The key of a client host, by which the auth worker tells it from others.
    pub fn host(&self, host: Host) -> HostKey {
        HostKey(self.keyed.hash_one(host.network()))
    }

    /// The number of failures that each of a host's networks is still forgiven.
    pub fn left_of_host(&mut self, host: Host, now: Instant) -> Vec<(HostNetwork, u32)> {
        let left = |(network, share)| (network, self.networks.left(&network, OF_NETWORK.times(share), now));
        host.counted().map(left).collect()
    }

    /// The number of failures a user is still forgiven from a host. `None` if the host is known: they do not count.
    pub fn left_of_user(&mut self, host: Host, user: UserKey, now: Instant) -> Option<u32> {
        (!self.is_known(host, user, now)).then(|| self.users.left(&user, OF_USER, now))
    }

    /// The password of a user was wrong.
    pub fn failed(&mut self, host: Host, user: UserKey, now: Instant) {
        for (network, share) in host.counted() {
            self.networks.take(network, OF_NETWORK.times(share), now);
        }
        if !self.is_known(host, user, now) {
            self.users.take(user, OF_USER, now);
        }
    }

    /// The password of a user was right.
    pub fn succeeded(&mut self, host: Host, user: UserKey, now: Instant) {
        let key = (host.network(), user);
        if self.known.insert(key, now).is_some() {
            return;
        }
        self.in_order.push_back(key);
        if self.known.len() > MAX_KNOWN
            && let Some(first) = self.in_order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    fn is_known(&self, host: Host, user: UserKey, now: Instant) -> bool {
        let since = self.known.get(&(host.network(), user));
        since.is_some_and(|since| now.saturating_duration_since(*since) < KNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str) -> Host {
        Host::of(address.parse().unwrap())
    }

    fn left(logins: &mut Logins, address: &str, now: Instant) -> Vec<u32> {
        logins.left_of_host(host(address), now).into_iter().map(|(_, left)| left).collect()
    }

    const OFFICE: &str = "192.0.2.1";
    const ELSEWHERE: &str = "198.51.100.1";

    #[test]
    fn a_network_is_forgiven_eight_failures_and_one_every_ten_seconds() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for number in 0..8 {
            assert_eq!(left(&mut logins, OFFICE, now), [8 - number]);
            let user = logins.user(&[u8::try_from(number).unwrap()]);
            logins.failed(host(OFFICE), user, now);
        }
        assert_eq!(left(&mut logins, OFFICE, now), [0]);
        assert_eq!(left(&mut logins, OFFICE, now + Duration::from_millis(9_999)), [0]);
        assert_eq!(left(&mut logins, OFFICE, now + Duration::from_secs(10)), [1]);
        assert_eq!(left(&mut logins, OFFICE, now + Duration::from_secs(3600)), [8]);
        assert_eq!(left(&mut logins, ELSEWHERE, now), [8], "another one has its own");
    }

    #[test]
    fn an_ipv6_site_has_four_times_as_much_as_one_of_its_networks() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let user = logins.user(b"joe");
        (0..8).for_each(|_| logins.failed(host("2001:db8:1::1"), user, now));
        assert_eq!(left(&mut logins, "2001:db8:1::2", now), [0, 24]);
        assert_eq!(left(&mut logins, "2001:db8:1:1::1", now), [8, 24]);
        (1..4).for_each(|network| {
            (0..8).for_each(|_| logins.failed(host(&format!("2001:db8:1:{network}::1")), user, now));
        });
        assert_eq!(left(&mut logins, "2001:db8:1:4::1", now), [8, 0]);
        assert_eq!(left(&mut logins, "2001:db8:1:4::1", now + Duration::from_secs(10)), [8, 4]);
    }

    #[test]
    fn a_user_is_forgiven_twenty_failures_from_everywhere_and_any_number_where_it_has_logged_in() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let [joe, sam] = [logins.user(b"joe"), logins.user(b"sam")];
        logins.succeeded(host(OFFICE), joe, now);
        for number in 1..=20 {
            logins.failed(host(&format!("198.51.100.{number}")), joe, now);
        }
        assert_eq!(logins.left_of_user(host(ELSEWHERE), joe, now), Some(0));
        assert_eq!(logins.left_of_user(host(ELSEWHERE), joe, now + Duration::from_secs(5)), Some(1));
        assert_eq!(logins.left_of_user(host(ELSEWHERE), sam, now), Some(20));
        assert_eq!(logins.left_of_user(host(OFFICE), joe, now), None);
        assert_eq!(logins.left_of_user(host(OFFICE), sam, now), Some(20), "known for joe alone");
        assert_eq!(logins.left_of_user(host(OFFICE), joe, now + KNOWN), Some(20), "a day is over");
    }

    #[test]
    fn failures_where_the_user_is_known_take_nothing_of_it_elsewhere() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let joe = logins.user(b"joe");
        logins.succeeded(host(OFFICE), joe, now);
        (0..8).for_each(|_| logins.failed(host(OFFICE), joe, now));
        assert_eq!(left(&mut logins, OFFICE, now), [0]);
        assert_eq!(logins.left_of_user(host(ELSEWHERE), joe, now), Some(20));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_does_not_fit_in_is_refused() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        let address = |number: u32| Host::of(std::net::Ipv4Addr::from(number).into());
        for number in 0..20_000_u32 {
            let user = logins.user(&number.to_be_bytes());
            logins.failed(address(number), user, now);
            logins.succeeded(address(number), user, now);
        }
        assert_eq!((logins.known.len(), logins.in_order.len()), (MAX_KNOWN, MAX_KNOWN));
        assert_eq!(
            logins.known.get(&(address(0).network(), logins.user(&0_u32.to_be_bytes()))),
            None,
            "the first goes"
        );
        assert_eq!(left(&mut logins, ELSEWHERE, now), [0]);
        assert_eq!(logins.left_of_user(host(ELSEWHERE), logins.user(b"joe"), now), Some(0));
        let later = now + Duration::from_secs(60);
        assert_eq!(left(&mut logins, ELSEWHERE, later), [8], "what is full again makes room");
        logins.failed(host(ELSEWHERE), logins.user(b"joe"), later);
        assert_eq!(left(&mut logins, ELSEWHERE, later), [7]);
    }
}
