//! The lookups under way: who waits for each, the sockets it may have, and when the resolver owes its end.

use crate::client_host::{Host, HostNetwork};
use crate::keys::{DialKey, LookupKey, Slots};
use crate::limits::counts::{Counts, Reached, Resource};
use crate::limits::fair_share::gives_way;
use crate::limits::limit::Limit;
use crate::owed::Owed;
use crate::settings::Settings;
use crate::violation::Violation;
use crate::waits::Waiter;
use sockd_common::message::resolver::{Query, RecordType, ToResolver};
use std::time::Instant;

/// The most sockets for one lookup: search list, retries, TCP, forward confirmation. An honest resolver counts them
/// itself and asks for fewer; each request costs a message to a worker that may not read it.
const SOCKETS_PER_LOOKUP: u8 = 64;

/// Connections to nameservers that are being made, at most one for each type of record.
pub type NameserverDials = Vec<(RecordType, DialKey)>;

/// The lookups under way.
#[derive(Debug, Default)]
pub struct Lookups {
    lookups: Slots<Lookup, 'l'>,
    owed: Owed<LookupKey>,
}

#[derive(Debug)]
struct Lookup {
    /// The session that waits; `None` once it no longer does.
    waiter: Option<Waiter>,
    host: Host,
    since: Instant,
    /// The query, until a resolver has been asked.
    unasked: Option<Query>,
    sockets: u8,
    dials: NameserverDials,
}

/// A lookup that is over, with the resources that the monitor still holds for it.
#[derive(Debug)]
pub struct Ended {
    /// The session that waits for the answer, if one does.
    pub waiter: Option<Waiter>,
    /// Connections to nameservers that are no longer needed.
    pub dials: NameserverDials,
}

impl Lookups {
    /// The limit that refuses a host another lookup, if any. Cancelled lookups count until the resolver has ended them,
    /// which an honest resolver does at once.
    pub fn limit(&self, host: Host, counts: &mut Counts, settings: &Settings) -> Option<Reached> {
        let limit = counts.limit(Resource::Lookup, host, settings);
        let unended = u32::try_from(self.lookups.len()).unwrap_or(u32::MAX);
        let all = Reached { limit: Limit::LOOKUPS, by: host.network() };
        limit.or_else(|| (unended >= settings.max_lookups.saturating_mul(2)).then_some(all))
    }

    /// The lookup that gives way to one of `host` when all places are taken. It is the oldest of the host with the
    /// most. Returns that host, the lookup, and the session that waits for it; `None` if `host` has no fewer.
    pub fn gives_way(&self, host: Host) -> Option<(HostNetwork, LookupKey, Waiter)> {
        let waiting = self.lookups.iter().filter(|(_, lookup)| lookup.waiter.is_some());
        let held = waiting.map(|(key, lookup)| (lookup.host.network(), lookup.since, key));
        let (most, key) = gives_way(held, host.network())?;
        Some((most, key, self.lookups.get(key)?.waiter?))
    }

    /// A session of this client host wants an answer.
    pub fn begin(
        &mut self,
        waiter: Waiter,
        host: Host,
        query: Query,
        counts: &mut Counts,
        now: Instant,
    ) -> LookupKey {
        counts.add(Resource::Lookup, host);
        let (waiter, unasked) = (Some(waiter), Some(query));
        let dials = Vec::new();
        self.lookups.insert(Lookup { waiter, host, since: now, unasked, sockets: 0, dials })
    }

    /// The message that asks the resolver, if it has not been asked yet.
    pub fn request(&self, key: LookupKey) -> Option<ToResolver> {
        let query = self.lookups.get(key)?.unasked.clone()?;
        Some(ToResolver::Resolve { id: key.id(), query })
    }

    /// The resolver has been asked.
    pub fn asked(&mut self, key: LookupKey) {
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.unasked = None;
        }
    }

    /// The lookups that no resolver has been asked for.
    pub fn unasked(&self) -> Vec<LookupKey> {
        self.lookups.keys_where(|lookup| lookup.unasked.is_some())
    }

    /// The resolver needs a socket to look for this type of record.
    pub fn needs_socket(&mut self, key: LookupKey, record: RecordType) -> Result<(), Violation> {
        match self.lookups.get_mut(key) {
            Some(lookup) if lookup.may_have_socket_for(record) => {
                lookup.sockets = lookup.sockets.saturating_add(1);
                Ok(())
            }
            _ => Err(Violation("a socket for a lookup that needs none")),
        }
    }

    /// A connection to a nameserver is being made.
    pub fn dialling(&mut self, key: LookupKey, record: RecordType, dial: DialKey) {
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.dials.push((record, dial));
        }
    }

    /// A connection to a nameserver is established, or has failed; false if it is no longer needed.
    pub fn dialled(&mut self, key: LookupKey, record: RecordType) -> bool {
        let Some(lookup) = self.lookups.get_mut(key) else { return false };
        lookup.dials.retain(|(other, _)| *other != record);
        true
    }

    /// The resolver has answered.
    pub fn answered(&mut self, key: LookupKey, counts: &mut Counts) -> Result<Ended, Violation> {
        match self.lookups.get(key) {
            Some(lookup) if lookup.unasked.is_none() => {}
            _ => return Err(Violation("an answer that nobody asked for")),
        }
        self.end(key, counts).ok_or(Violation("an answer that nobody asked for"))
    }

    /// A session no longer waits. Returns the connections that are no longer needed, and the message for the resolver
    /// if it has been asked already. The lookup may be over, and its key reused.
    pub fn cancel(
        &mut self,
        key: LookupKey,
        waiter: Waiter,
        counts: &mut Counts,
        now: Instant,
    ) -> Option<(NameserverDials, Option<ToResolver>)> {
        let lookup = self.lookups.get_mut(key)?;
        lookup.waiter.take_if(|waiting| *waiting == waiter)?;
        counts.remove(Resource::Lookup, lookup.host);
        if lookup.unasked.is_some() {
            return self.end(key, counts).map(|ended| (ended.dials, None));
        }
        let dials = std::mem::take(&mut lookup.dials);
        self.owed.push(key, now);
        Some((dials, Some(ToResolver::Cancel { id: key.id() })))
    }

    /// When the resolver owes the end of a cancelled lookup.
    pub fn due_at(&self) -> Option<Instant> {
        self.owed.due_at()
    }

    /// Checks that the resolver has ended the lookups that it owes.
    pub fn look_at_owed(&mut self, now: Instant) -> Result<(), Violation> {
        let late = Violation("a lookup is not ended when it has to be");
        self.owed.pop_due(now).map_or(Ok(()), |_| Err(late))
    }

    /// The resolver is gone: all lookups it was asked for have failed, as any of them may have killed it.
    pub fn fail_asked(&mut self, counts: &mut Counts) -> Vec<(LookupKey, Ended)> {
        let keys = self.lookups.keys_where(|lookup| lookup.unasked.is_none());
        keys.into_iter().filter_map(|key| Some((key, self.end(key, counts)?))).collect()
    }

    fn end(&mut self, key: LookupKey, counts: &mut Counts) -> Option<Ended> {
        let Lookup { waiter, host, dials, .. } = self.lookups.remove(key)?;
        self.owed.settle(key);
        waiter.iter().for_each(|_| counts.remove(Resource::Lookup, host));
        Some(Ended { waiter, dials })
    }
}

impl Lookup {
    fn may_have_socket_for(&self, record: RecordType) -> bool {
        self.unasked.is_none()
            && self.sockets < SOCKETS_PER_LOOKUP
            && self.dials.iter().all(|(other, _)| *other != record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SessionKey;
    use crate::waits::WaitKey;

    const SESSION: Waiter = waiter(3);

    const fn waiter(place: u32) -> Waiter {
        Waiter { session: SessionKey::new(place), key: WaitKey::FIRST }
    }

    struct Room {
        lookups: Lookups,
        counts: Counts,
        host: Host,
    }

    impl Room {
        fn new() -> Self {
            let host = Host::of("192.0.2.1".parse().unwrap());
            Self { lookups: Lookups::default(), counts: Counts::default(), host }
        }

        fn begin(&mut self) -> LookupKey {
            let query = Query::Names("192.0.2.7".parse().unwrap());
            self.lookups.begin(SESSION, self.host, query, &mut self.counts, Instant::now())
        }

        fn limit(&mut self, settings: &Settings) -> Option<Limit> {
            self.lookups.limit(self.host, &mut self.counts, settings).map(|reached| reached.limit)
        }

        fn asked(&mut self) -> LookupKey {
            let key = self.begin();
            assert!(
                matches!(self.lookups.request(key), Some(ToResolver::Resolve { id, .. }) if id == key.id())
            );
            self.lookups.asked(key);
            assert_eq!(self.lookups.request(key), None, "once");
            key
        }

        fn is_empty(&mut self) -> bool {
            let one = Settings { max_lookups: 1, max_lookups_per_host: 1, ..Settings::default() };
            self.lookups.lookups.is_empty() && self.limit(&one).is_none()
        }
    }

    #[test]
    fn an_answer_ends_a_lookup_and_a_second_one_is_a_violation() {
        let mut room = Room::new();
        let key = room.asked();
        let ended = room.lookups.answered(key, &mut room.counts).unwrap();
        assert_eq!((ended.waiter, room.is_empty()), (Some(SESSION), true));
        assert!(room.lookups.answered(key, &mut room.counts).is_err());
    }

    #[test]
    fn an_answer_before_the_question_is_a_violation() {
        let mut room = Room::new();
        let key = room.begin();
        assert!(room.lookups.answered(key, &mut room.counts).is_err());
        assert!(room.lookups.needs_socket(key, RecordType::A).is_err());
        assert_eq!(room.lookups.unasked(), [key], "it is still to be asked");
    }

    #[test]
    fn a_lookup_has_one_connection_on_its_way_for_each_record_and_so_many_sockets() {
        let mut room = Room::new();
        let key = room.asked();
        assert!(room.lookups.needs_socket(key, RecordType::A).is_ok());
        room.lookups.dialling(key, RecordType::A, DialKey::new(1));
        assert!(room.lookups.needs_socket(key, RecordType::A).is_err());
        assert!(room.lookups.needs_socket(key, RecordType::Aaaa).is_ok());
        assert!(room.lookups.dialled(key, RecordType::A));
        let further = (0..100).filter(|_| room.lookups.needs_socket(key, RecordType::A).is_ok()).count();
        assert_eq!(further, usize::from(SOCKETS_PER_LOOKUP) - 2);
    }

    #[test]
    fn nobody_hears_the_answer_to_a_cancelled_lookup_and_it_has_to_come_in_time() {
        let mut room = Room::new();
        let (key, now) = (room.asked(), Instant::now());
        assert!(room.lookups.cancel(key, waiter(4), &mut room.counts, now).is_none(), "another's");
        let cancelled = room.lookups.cancel(key, SESSION, &mut room.counts, now);
        assert_eq!(cancelled, Some((Vec::new(), Some(ToResolver::Cancel { id: key.id() }))));
        assert!(room.lookups.cancel(key, SESSION, &mut room.counts, now).is_none(), "once");
        let due = room.lookups.due_at().unwrap();
        let ended = room.lookups.answered(key, &mut room.counts).unwrap();
        assert_eq!((ended.waiter, room.is_empty()), (None, true));
        assert_eq!(room.asked(), key, "the key is another's now");
        assert!(room.lookups.look_at_owed(due).is_ok());
    }

    #[test]
    fn a_resolver_that_does_not_end_a_cancelled_lookup_in_time_violates_the_protocol() {
        let mut room = Room::new();
        let (key, now) = (room.asked(), Instant::now());
        room.lookups.cancel(key, SESSION, &mut room.counts, now);
        assert!(room.lookups.look_at_owed(now).is_ok());
        let due = room.lookups.due_at().unwrap();
        assert!(room.lookups.look_at_owed(due).is_err());
    }

    #[test]
    fn what_was_not_asked_outlives_the_resolver_and_is_over_when_it_is_cancelled() {
        let mut room = Room::new();
        let (asked, waiting) = (room.asked(), room.begin());
        let failed = room.lookups.fail_asked(&mut room.counts);
        assert_eq!(failed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [asked]);
        assert_eq!(room.lookups.unasked(), [waiting]);
        let cancelled = room.lookups.cancel(waiting, SESSION, &mut room.counts, Instant::now());
        assert_eq!((cancelled, room.is_empty()), (Some((Vec::new(), None)), true));
    }

    #[test]
    fn what_is_cancelled_counts_no_more_for_its_host_but_among_all_until_it_has_ended() {
        let mut room = Room::new();
        let settings = Settings { max_lookups: 1, max_lookups_per_host: 1, ..Settings::default() };
        let keys = [room.asked(), room.asked()];
        assert_eq!(room.limit(&settings), Some(Limit::LOOKUPS_PER_HOST));
        for key in keys {
            room.lookups.cancel(key, SESSION, &mut room.counts, Instant::now());
        }
        assert_eq!(room.limit(&settings), Some(Limit::LOOKUPS), "the resolver has not ended them");
        room.lookups.answered(keys[0], &mut room.counts).unwrap();
        assert_eq!(room.limit(&settings), None);
    }

    #[test]
    fn a_host_that_has_most_gives_way_to_one_that_has_nothing() {
        let mut room = Room::new();
        let keys = [room.asked(), room.asked()];
        let other = Host::of("192.0.2.2".parse().unwrap());
        assert_eq!(room.lookups.gives_way(other), Some((room.host.network(), keys[0], SESSION)));
        assert_eq!(room.lookups.gives_way(room.host), None);
    }
}
