//! Counts of what client hosts have open, by network.

use crate::client_host::{Host, HostNetwork};
use crate::keys::SessionKey;
use crate::limits::limit::{Limit, Met};
use crate::settings::Settings;
use sockd_common::message::resolver::MAX_LOOKUPS;
use std::collections::{BTreeMap, HashMap};

/// The resources that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Sessions.
    Session,
    /// Lookups that sessions wait for.
    Lookup,
    /// Questions to identds; some outlive their session.
    Ident,
    /// Ports that wait for the server of a BIND.
    Bind,
    /// CONNECTs that a next server has not answered.
    Upstream,
    /// UDP associations.
    Association,
    /// Flows of associations.
    Flow,
    /// Connections of balancers that wait for their PROXY headers.
    Header,
}

/// CONNECTs of one client host that wait for next servers. It is half of an upstream worker's room, as the destination,
/// and thus the client that asks for it, decides how long a next server takes.
const MAX_UPSTREAM_PER_HOST: u32 = 2048;

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The limit.
    pub limit: Limit,
    /// The network that has reached it.
    pub by: HostNetwork,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.limit, self.by)
    }
}

impl From<Reached> for Met {
    fn from(reached: Reached) -> Self {
        Self::new(reached.limit, reached)
    }
}

/// Counts of all networks of client hosts that have anything open.
#[derive(Debug, Default)]
pub struct Counts {
    networks: HashMap<HostNetwork, Open>,
    all: Open,
    /// The sessions so far, including those that have ended.
    begun: u64,
}

/// Counts of one network of client hosts, or of all together.
#[derive(Debug, Default)]
struct Open {
    /// By [`Resource`].
    counts: [u32; 8],
    /// Unfinished requests in order of arrival.
    unfinished: BTreeMap<u64, SessionKey>,
}

impl Open {
    fn count(&mut self, resource: Resource) -> &mut u32 {
        let [sessions, lookups, idents, binds, upstreams, associations, flows, headers] = &mut self.counts;
        match resource {
            Resource::Session => sessions,
            Resource::Lookup => lookups,
            Resource::Ident => idents,
            Resource::Bind => binds,
            Resource::Upstream => upstreams,
            Resource::Association => associations,
            Resource::Flow => flows,
            Resource::Header => headers,
        }
    }
}

impl Counts {
    /// Counts a new session and returns its number, in the order of all sessions.
    pub fn begin(&mut self, host: Host, session: SessionKey) -> u64 {
        self.begun = self.begun.saturating_add(1);
        let number = self.begun;
        self.add(Resource::Session, host);
        self.all.unfinished.insert(number, session);
        self.each(host, |open| {
            open.unfinished.insert(number, session);
        });
        number
    }

    /// A request has been read, or never will be.
    pub fn finished(&mut self, host: Host, number: u64) {
        self.all.unfinished.remove(&number);
        self.each(host, |open| {
            open.unfinished.remove(&number);
        });
    }

    /// A session is over.
    pub fn end(&mut self, host: Host, number: u64) {
        self.finished(host, number);
        self.remove(Resource::Session, host);
    }

    /// One more of a resource.
    pub fn add(&mut self, resource: Resource, host: Host) {
        self.change(resource, host, |count| count.saturating_add(1));
    }

    /// One less.
    pub fn remove(&mut self, resource: Resource, host: Host) {
        self.change(resource, host, |count| count.saturating_sub(1));
    }

    fn change(&mut self, resource: Resource, host: Host, changed: fn(u32) -> u32) {
        let change = |open: &mut Open| {
            let count = open.count(resource);
            *count = changed(*count);
        };
        change(&mut self.all);
        self.each(host, change);
    }

    /// Changes what each network of a host has open. Networks with nothing open are forgotten.
    fn each(&mut self, host: Host, change: impl Fn(&mut Open)) {
        for (network, _) in host.counted() {
            let open = self.networks.entry(network).or_default();
            change(open);
            if open.counts == [0; 8] {
                self.networks.remove(&network);
            }
        }
    }

    /// The number in use of a resource, over all hosts.
    pub fn in_all(&mut self, resource: Resource) -> u32 {
        *self.all.count(resource)
    }

    /// The number of unfinished requests, over all hosts.
    pub fn unfinished(&self) -> usize {
        self.all.unfinished.len()
    }

    /// The limit that refuses a host one more of a resource, if any.
    pub fn limit(&mut self, resource: Resource, host: Host, settings: &Settings) -> Option<Reached> {
        let (of_host, in_all, names) = match resource {
            // The limit of all sessions is checked on admission.
            Resource::Session => (settings.sessions_per_host(), u32::MAX, [Limit::SESSIONS_PER_HOST; 2]),
            Resource::Lookup => {
                let names = [Limit::LOOKUPS_PER_HOST, Limit::LOOKUPS];
                // More would fail in the resolver, which knows nothing of hosts.
                (settings.max_lookups_per_host, settings.max_lookups.min(MAX_LOOKUPS), names)
            }
            Resource::Ident => {
                let names = [Limit::IDENTS_PER_HOST, Limit::IDENTS];
                (settings.max_idents_per_host, settings.max_idents, names)
            }
            Resource::Bind => {
                let names = [Limit::BINDS_PER_HOST, Limit::BINDS];
                (settings.max_binds_per_host, settings.max_binds, names)
            }
            // The limit on sessions bounds their total.
            Resource::Association => {
                (settings.max_associations_per_host, u32::MAX, [Limit::ASSOCIATIONS_PER_HOST; 2])
            }
            Resource::Flow => {
                let names = [Limit::FLOWS_PER_HOST, Limit::FLOWS_IN_ALL];
                (settings.max_flows_per_host, settings.max_flows_in_all, names)
            }
            Resource::Header => {
                let names = [Limit::REQUESTS_PER_HOST, Limit::REQUESTS];
                (settings.max_requests_per_host, settings.max_requests, names)
            }
            // The limit on sessions bounds their total.
            Resource::Upstream => (MAX_UPSTREAM_PER_HOST, u32::MAX, [Limit::UPSTREAM_PER_HOST; 2]),
        };
        let [own, all] = names;
        let mut count = |network| self.networks.get_mut(&network).map_or(0, |open| *open.count(resource));
        let own = host
            .counted()
            .find(|(network, share)| count(*network) >= of_host.saturating_mul(*share))
            .map(|(by, _)| Reached { limit: own, by });
        let is_full = *self.all.count(resource) >= in_all;
        own.or_else(|| is_full.then(|| Reached { limit: all, by: host.network() }))
    }

    /// The oldest unfinished request beyond a limit, with that limit. It is one of a host that has too many of them, or
    /// else the oldest of all if there are too many in all.
    pub fn oldest_beyond(&self, host: Host, settings: &Settings) -> Option<(SessionKey, Reached)> {
        let oldest = |open: &Open, limit: u32| {
            let beyond = u32::try_from(open.unfinished.len()).is_ok_and(|number| number > limit);
            open.unfinished.first_key_value().filter(|_| beyond).map(|(_, session)| *session)
        };
        let own = host.counted().find_map(|(by, share)| {
            let limit = settings.max_requests_per_host.saturating_mul(share);
            let session = oldest(self.networks.get(&by)?, limit)?;
            Some((session, Reached { limit: Limit::REQUESTS_PER_HOST, by }))
        });
        let all = Reached { limit: Limit::REQUESTS, by: host.network() };
        own.or_else(|| Some((oldest(&self.all, settings.max_requests)?, all)))
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
        let beyond = |counts: &Counts, host, settings: &Settings| {
            counts.oldest_beyond(host, settings).map(|(session, reached)| (session, reached.limit))
        };
        assert_eq!(beyond(&counts, host, &of(3, 3)), None);
        assert_eq!(beyond(&counts, host, &of(2, 3)), Some((key(0), Limit::REQUESTS_PER_HOST)));
        counts.finished(host, numbers[0]);
        assert_eq!(beyond(&counts, host, &of(1, 3)), Some((key(1), Limit::REQUESTS_PER_HOST)));
        let last = counts.begin(other, key(3));
        assert_eq!(beyond(&counts, other, &of(2, 3)), None);
        assert_eq!(beyond(&counts, other, &of(2, 2)), Some((key(1), Limit::REQUESTS)));
        counts.end(other, last);
        numbers.iter().for_each(|number| counts.end(host, *number));
        assert!(counts.networks.is_empty() && counts.all.unfinished.is_empty());
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
        assert!(counts.networks.is_empty());
    }

    #[test]
    fn the_resolvers_room_for_lookups_is_a_limit_too() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let settings =
            Settings { max_lookups: u32::MAX, max_lookups_per_host: u32::MAX, ..Settings::default() };
        let mut counts = Counts::default();
        (0..MAX_LOOKUPS).for_each(|_| counts.add(Resource::Lookup, one));
        let reached = counts.limit(Resource::Lookup, other, &settings).unwrap();
        assert_eq!(reached.to_string(), "max_lookups reached by 192.0.2.2");
        let met = Met::from(reached);
        assert_eq!((met.label, met.to_string()), (Limit::LOOKUPS.label(), reached.to_string()));
    }

    #[test]
    fn h8_the_hosts_of_an_ipv6_network_share_a_limit_and_those_of_a_site_have_four_times_as_much() {
        let host = |address: &str| Host::of(address.parse().unwrap());
        let settings =
            Settings { max_sessions_per_host: Some(2), max_requests_per_host: 2, ..Settings::default() };
        let mut counts = Counts::default();
        let said = |counts: &mut Counts, address| {
            counts.limit(Resource::Session, host(address), &settings).map(|reached| reached.to_string())
        };
        let mut numbers: Vec<_> = [1, 2].map(|last| format!("2001:db8:1::{last}")).into();
        for address in &numbers {
            counts.begin(host(address), key(0));
        }
        let of_64 = Some("max_sessions_per_host reached by 2001:db8:1::/64".into());
        assert_eq!(said(&mut counts, "2001:db8:1::3"), of_64);
        assert_eq!(said(&mut counts, "2001:db8:1:1::3"), None);
        numbers.extend([1, 1, 2, 2, 3, 3].map(|network| format!("2001:db8:1:{network}::1")));
        for address in numbers.iter().skip(2) {
            counts.begin(host(address), key(0));
        }
        let of_48 = Some("max_sessions_per_host reached by 2001:db8:1::/48".into());
        assert_eq!(said(&mut counts, "2001:db8:1:4::3"), of_48);
        assert_eq!(said(&mut counts, "2001:db8:2::3"), None);
        for (number, address) in (1..).zip(&numbers) {
            counts.end(host(address), number);
        }
        assert!(counts.networks.is_empty());
        for resource in [Resource::Lookup, Resource::Ident, Resource::Bind] {
            let one = Settings {
                max_lookups_per_host: 1,
                max_idents_per_host: 1,
                max_binds_per_host: 1,
                ..Settings::default()
            };
            counts.add(resource, host("2001:db8:1::1"));
            assert!(counts.limit(resource, host("2001:db8:1::2"), &one).is_some(), "{resource:?}");
            assert!(counts.limit(resource, host("2001:db8:1:1::1"), &one).is_none(), "{resource:?}");
            (1..4).for_each(|network| counts.add(resource, host(&format!("2001:db8:1:{network}::1"))));
            assert!(counts.limit(resource, host("2001:db8:1:4::1"), &one).is_some(), "{resource:?}");
        }
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
            let is = |reached: Option<Reached>, expected: &str| {
                assert_eq!(reached.unwrap().limit.as_str(), expected)
            };
            [one, one].iter().for_each(|host| counts.add(resource, *host));
            is(counts.limit(resource, one, &settings), &format!("{name}_per_host reached"));
            assert_eq!(counts.limit(resource, other, &settings), None);
            counts.add(resource, other);
            is(counts.limit(resource, other, &settings), &format!("{name} reached"));
            counts.remove(resource, one);
            assert_eq!(counts.limit(resource, other, &settings), None);
            [one, other].iter().for_each(|host| counts.remove(resource, *host));
            assert!(counts.networks.is_empty());
        }
    }
}
