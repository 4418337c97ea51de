//! What every client host has open.

use crate::client_host::Host;
use crate::keys::SessionKey;
use crate::settings::Settings;
use sockd_common::message::resolver::MAX_LOOKUPS;
use std::collections::{BTreeMap, HashMap};

/// What is counted besides sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Lookups that sessions wait for.
    Lookup,
    /// Questions to identds; some outlive their session.
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
pub struct Counts {
    hosts: HashMap<Host, Open>,
    all: Open,
}

/// What one client host, or all, have open.
#[derive(Debug, Default)]
struct Open {
    sessions: u64,
    /// By [`Resource`].
    counts: [u32; 4],
    /// Unfinished requests in the order in which they came.
    unfinished: BTreeMap<u64, SessionKey>,
}

impl Open {
    fn count(&mut self, resource: Resource) -> &mut u32 {
        let [lookups, idents, binds, upstreams] = &mut self.counts;
        match resource {
            Resource::Lookup => lookups,
            Resource::Ident => idents,
            Resource::Bind => binds,
            Resource::Upstream => upstreams,
        }
    }
}

impl Counts {
    /// A session begins; gives its number in the order of all.
    pub fn begin(&mut self, host: Host, session: SessionKey) -> u64 {
        // In all, those that have been.
        self.all.sessions = self.all.sessions.saturating_add(1);
        let number = self.all.sessions;
        self.all.unfinished.insert(number, session);
        let open = self.hosts.entry(host).or_default();
        open.sessions = open.sessions.saturating_add(1);
        open.unfinished.insert(number, session);
        number
    }

    /// A request has been read, or will not be any more.
    pub fn finished(&mut self, host: Host, number: u64) {
        self.all.unfinished.remove(&number);
        if let Some(open) = self.hosts.get_mut(&host) {
            open.unfinished.remove(&number);
        }
    }

    /// A session is over.
    pub fn end(&mut self, host: Host, number: u64) {
        self.finished(host, number);
        if let Some(open) = self.hosts.get_mut(&host) {
            open.sessions = open.sessions.saturating_sub(1);
        }
        self.drop_if_nothing_is_open(host);
    }

    /// One more of a resource.
    pub fn add(&mut self, resource: Resource, host: Host) {
        for open in [&mut self.all, self.hosts.entry(host).or_default()] {
            let count = open.count(resource);
            *count = count.saturating_add(1);
        }
    }

    /// One less.
    pub fn remove(&mut self, resource: Resource, host: Host) {
        for open in [Some(&mut self.all), self.hosts.get_mut(&host)].into_iter().flatten() {
            let count = open.count(resource);
            *count = count.saturating_sub(1);
        }
        self.drop_if_nothing_is_open(host);
    }

    fn drop_if_nothing_is_open(&mut self, host: Host) {
        if self.hosts.get(&host).is_some_and(|open| open.sessions == 0 && open.counts == [0; 4]) {
            self.hosts.remove(&host);
        }
    }

    /// The setting that does not admit another one of a host.
    pub fn limit(&mut self, resource: Resource, host: Host, settings: &Settings) -> Option<&'static str> {
        let (of_host, in_all, names) = match resource {
            Resource::Lookup => {
                let names = ["max_lookups_per_host reached", "max_lookups reached"];
                // More would fail in the resolver, which knows nothing of hosts.
                (settings.max_lookups_per_host, settings.max_lookups.min(MAX_LOOKUPS), names)
            }
            Resource::Ident => {
                let names = ["max_idents_per_host reached", "max_idents reached"];
                (settings.max_idents_per_host, settings.max_idents, names)
            }
            Resource::Bind => {
                let names = ["max_binds_per_host reached", "max_binds reached"];
                (settings.max_binds_per_host, settings.max_binds, names)
            }
            // In all there are no more of them than sessions.
            Resource::Upstream => {
                (MAX_UPSTREAM_PER_HOST, u32::MAX, ["too many requests wait for next servers"; 2])
            }
        };
        let [own, all] = names;
        match self.hosts.get_mut(&host).map_or(0, |open| *open.count(resource)) {
            count if count >= of_host => Some(own),
            _ => (*self.all.count(resource) >= in_all).then_some(all),
        }
    }

    /// Sessions of a host.
    pub fn sessions(&self, host: Host) -> u64 {
        self.hosts.get(&host).map_or(0, |open| open.sessions)
    }

    /// The oldest unfinished request of a host that has more of them than it may have, or else the oldest of all where
    /// there are too many, and the setting that says so.
    pub fn oldest_beyond(&self, host: Host, settings: &Settings) -> Option<(SessionKey, &'static str)> {
        let oldest = |open: &Open, limit: u32| {
            let beyond = u32::try_from(open.unfinished.len()).is_ok_and(|number| number > limit);
            open.unfinished.first_key_value().filter(|_| beyond).map(|(_, session)| *session)
        };
        let own = oldest(self.hosts.get(&host)?, settings.max_requests_per_host);
        let own = own.map(|session| (session, "max_requests_per_host reached"));
        own.or_else(|| Some((oldest(&self.all, settings.max_requests)?, "max_requests reached")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u32) -> SessionKey {
        SessionKey::new(place)
    }

    #[test]
    fn the_oldest_unfinished_request_gives_way() {
        let host = Host::of("192.0.2.1".parse().unwrap());
        let mut counts = Counts::default();
        let numbers: Vec<u64> = (0..3).map(|place| counts.begin(host, key(place))).collect();
        let other = Host::of("192.0.2.2".parse().unwrap());
        let of = |max_requests_per_host, max_requests| Settings {
            max_requests,
            max_requests_per_host,
            ..Settings::default()
        };
        assert_eq!(counts.oldest_beyond(host, &of(3, 3)), None);
        assert_eq!(counts.oldest_beyond(host, &of(2, 3)), Some((key(0), "max_requests_per_host reached")));
        counts.finished(host, numbers[0]);
        assert_eq!(counts.oldest_beyond(host, &of(1, 3)), Some((key(1), "max_requests_per_host reached")));
        let last = counts.begin(other, key(3));
        assert_eq!(counts.oldest_beyond(other, &of(2, 3)), None);
        assert_eq!(counts.oldest_beyond(other, &of(2, 2)), Some((key(1), "max_requests reached")));
        counts.end(other, last);
        numbers.iter().for_each(|number| counts.end(host, *number));
        assert_eq!(counts.sessions(host), 0);
        assert!(counts.hosts.is_empty() && counts.all.unfinished.is_empty());
    }

    #[test]
    fn one_host_cannot_fill_the_worker_of_a_next_server_with_requests_that_wait() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let (mut counts, settings) = (Counts::default(), Settings::default());
        for _ in 0..MAX_UPSTREAM_PER_HOST {
            assert_eq!(counts.limit(Resource::Upstream, one, &settings), None);
            counts.add(Resource::Upstream, one);
        }
        assert!(counts.limit(Resource::Upstream, one, &settings).is_some());
        assert_eq!(counts.limit(Resource::Upstream, other, &settings), None);
        (0..MAX_UPSTREAM_PER_HOST).for_each(|_| counts.remove(Resource::Upstream, one));
        assert!(counts.hosts.is_empty());
    }

    #[test]
    fn the_resolvers_room_for_lookups_is_a_limit_too() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let settings =
            Settings { max_lookups: u32::MAX, max_lookups_per_host: u32::MAX, ..Settings::default() };
        let mut counts = Counts::default();
        (0..MAX_LOOKUPS).for_each(|_| counts.add(Resource::Lookup, one));
        assert_eq!(counts.limit(Resource::Lookup, other, &settings), Some("max_lookups reached"));
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
        for (resource, name) in [
            (Resource::Bind, "max_binds"),
            (Resource::Ident, "max_idents"),
            (Resource::Lookup, "max_lookups"),
        ] {
            let mut counts = Counts::default();
            let is = |limit: Option<&str>, expected: &str| assert_eq!(limit, Some(expected));
            [one, one].iter().for_each(|host| counts.add(resource, *host));
            is(counts.limit(resource, one, &settings), &format!("{name}_per_host reached"));
            assert_eq!(counts.limit(resource, other, &settings), None);
            counts.add(resource, other);
            is(counts.limit(resource, other, &settings), &format!("{name} reached"));
            counts.remove(resource, one);
            assert_eq!(counts.limit(resource, other, &settings), None);
            [one, other].iter().for_each(|host| counts.remove(resource, *host));
            assert!(counts.hosts.is_empty());
        }
    }
}
