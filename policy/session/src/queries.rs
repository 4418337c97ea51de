//! The queries under way, which workers put to other hosts. A client's identd is asked whose a connection is, and a
//! next SOCKS server whether it grants a request.

use crate::client_host::Host;
use crate::keys::{DialKey, QueryKey, Slots, WorkerKey};
use crate::limits::counts::{Counts, Reached, Resource};
use crate::limits::limit::Limit;
use crate::owed::Owed;
use crate::pool::AskerKey;
use crate::record::FailedCall;
use crate::session::Arrival;
use crate::settings::Settings;
use crate::violation::Violation;
use crate::waits::Waiter;
use sockd_common::message::Role;
use sockd_common::message::request::{Command, Request};
use sockd_common::message::upstream::NextReply;
use sockd_policy::Identity;
use std::net::SocketAddr;
use std::time::Instant;

/// The queries under way.
#[derive(Debug, Default)]
pub struct Queries {
    queries: Slots<PendingQuery, 'q'>,
    owed: Owed<QueryKey>,
}

/// A question to another host.
#[derive(Clone, Debug)]
pub enum Question {
    /// The client's identd: whose is the connection with these ports?
    Identity {
        /// The client's port.
        client_port: u16,
        /// The proxy's port.
        proxy_port: u16,
    },
    /// A next server: carry this out.
    Request {
        /// The server that is asked.
        next: SocketAddr,
        /// The request.
        request: Request,
    },
}

#[derive(Debug)]
struct PendingQuery {
    /// The session that waits; `None` once it no longer does.
    waiter: Option<Waiter>,
    /// The client host that it counts for.
    client: Host,
    question: Question,
    /// Replies that are still to come.
    replies: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The connection to the host is established, or about to be made. There may be no place for a worker yet.
    Begun,
    /// The connection is being made.
    Dialling(DialKey),
    /// This worker asks.
    Asked(WorkerKey),
}

/// The result of cancelling a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The query is over.
    Ended,
    /// The query is over, and this connection is no longer needed.
    Undialled(DialKey),
    /// This worker has to be told, and owes the end of the query.
    Owed(WorkerKey),
}

impl Question {
    /// The worker that asks, for a client of this host.
    fn asker(&self, client: Host) -> AskerKey {
        match self {
            Self::Identity { .. } => AskerKey { role: Role::Ident, host: client, server: None },
            Self::Request { next, .. } => {
                AskerKey { role: Role::Upstream, host: Host::of(next.ip()), server: Some(*next) }
            }
        }
    }

    fn counts_as(&self) -> Resource {
        match self {
            Self::Identity { .. } => Resource::Ident,
            Self::Request { request: Request { command: Command::Bind, .. }, .. } => Resource::Bind,
            Self::Request { .. } => Resource::Upstream,
        }
    }

    /// The arrival for a session whose question could not be asked because this host lacks something. It says nothing
    /// of the user: it is not the same as an identd that names nobody.
    fn unasked(&self) -> Arrival {
        match self {
            Self::Identity { .. } => Arrival::NoRoom(Limit::NO_IDENTD),
            Self::Request { .. } => Arrival::Replied(NextReply::Cancelled),
        }
    }
}

impl Queries {
    /// A session of this client host asks; the error is the limit that refuses it.
    pub fn begin(
        &mut self,
        waiter: Waiter,
        client: Host,
        question: Question,
        counts: &mut Counts,
        settings: &Settings,
    ) -> Result<QueryKey, Reached> {
        let counts_as = question.counts_as();
        if let Some(limit) = counts.limit(counts_as, client, settings) {
            return Err(limit);
        }
        counts.add(counts_as, client);
        let replies = if counts_as == Resource::Bind { 2 } else { 1 };
        let (waiter, stage) = (Some(waiter), Stage::Begun);
        Ok(self.queries.insert(PendingQuery { waiter, client, question, replies, stage }))
    }

    /// The connection to the host that is asked is being made.
    pub fn dialling(&mut self, key: QueryKey, dial: DialKey) {
        if let Some(query) = self.queries.get_mut(key) {
            query.stage = Stage::Dialling(dial);
        }
    }

    /// The connection is established. Returns the worker that asks.
    pub fn connected(&mut self, key: QueryKey) -> Option<AskerKey> {
        let query = self.queries.get_mut(key)?;
        query.stage = Stage::Begun;
        Some(query.question.asker(query.client))
    }

    /// This worker asks from now on; returns the question.
    pub fn asked(&mut self, key: QueryKey, worker: WorkerKey) -> Option<&Question> {
        let query = self.queries.get_mut(key)?;
        query.stage = Stage::Asked(worker);
        Some(&query.question)
    }

    /// The worker that asks, once one does.
    pub fn worker(&self, key: QueryKey) -> Option<WorkerKey> {
        match self.queries.get(key)?.stage {
            Stage::Asked(worker) => Some(worker),
            Stage::Begun | Stage::Dialling(_) => None,
        }
    }

    /// The arrival for a session whose question was not asked, as no worker is ready or has a place. `None` otherwise.
    /// A connection that is being made counts as asked: the host does not answer.
    pub fn unasked(&self, key: QueryKey, is_ready: impl Fn(WorkerKey) -> bool) -> Option<Arrival> {
        let query = self.queries.get(key)?;
        let is_unasked = match query.stage {
            Stage::Begun => true,
            Stage::Dialling(_) => false,
            Stage::Asked(worker) => !is_ready(worker),
        };
        is_unasked.then(|| query.question.unasked())
    }

    /// A worker has answered: returns the session that waits, if any, and whether the query is over. It goes on if the
    /// next server waits for the peer of a BIND.
    pub fn answered(
        &mut self,
        key: QueryKey,
        worker: WorkerKey,
        answer: &Arrival,
        counts: &mut Counts,
    ) -> Result<(Option<Waiter>, bool), Violation> {
        let query = self.queries.get_mut(key).filter(|query| query.stage == Stage::Asked(worker));
        let query = query.ok_or(Violation("an answer that nobody asked for"))?;
        let waiter = query.waiter;
        if query.replies > 1 && matches!(answer, Arrival::Replied(NextReply::Granted(_))) {
            query.replies = query.replies.saturating_sub(1);
            return Ok((waiter, false));
        }
        self.end(key, counts);
        Ok((waiter, true))
    }

    /// The host that is asked cannot be reached. No identd names a user there, unless this host lacks something.
    /// Returns the session that waits, if any, and its arrival.
    pub fn unreached(
        &mut self,
        key: QueryKey,
        failed: FailedCall,
        counts: &mut Counts,
    ) -> Option<(Waiter, Arrival)> {
        let (waiter, unasked) = self.fail(key, counts)?;
        let arrival = match unasked {
            Arrival::NoRoom(_) if failed.is_said_from_outside() => Arrival::Identified(Identity::Unknown),
            unasked => unasked,
        };
        Some((waiter, arrival))
    }

    /// The question cannot be asked because this host lacks something. Returns the session that waits, if any, and its
    /// arrival.
    pub fn fail(&mut self, key: QueryKey, counts: &mut Counts) -> Option<(Waiter, Arrival)> {
        let query = self.end(key, counts)?;
        query.waiter.map(|waiter| (waiter, query.question.unasked()))
    }

    /// A worker is gone: its questions are not answered.
    pub fn fail_asked(&mut self, worker: WorkerKey, counts: &mut Counts) -> Vec<(Waiter, Arrival)> {
        let keys = self.queries.keys_where(|query| query.stage == Stage::Asked(worker));
        keys.into_iter().filter_map(|key| self.fail(key, counts)).collect()
    }

    /// A session no longer waits. The query may be over already, and its key reused.
    pub fn cancel(
        &mut self,
        key: QueryKey,
        waiter: Waiter,
        counts: &mut Counts,
        now: Instant,
    ) -> Option<Cancelled> {
        let query = self.queries.get_mut(key)?;
        query.waiter.take_if(|waiting| *waiting == waiter)?;
        let Stage::Asked(worker) = query.stage else {
            return self.end(key, counts).map(|query| match query.stage {
                Stage::Dialling(dial) => Cancelled::Undialled(dial),
                Stage::Begun | Stage::Asked(_) => Cancelled::Ended,
            });
        };
        self.owed.push(key, now);
        Some(Cancelled::Owed(worker))
    }

    /// When a worker owes the end of a cancelled query.
    pub fn due_at(&self) -> Option<Instant> {
        self.owed.due_at()
    }

    /// A worker that has not given up a query in time.
    pub fn overdue(&mut self, now: Instant) -> Option<(WorkerKey, Violation)> {
        let key = self.owed.pop_due(now)?;
        Some((self.worker(key)?, Violation("a query is not given up when it has to be")))
    }

    fn end(&mut self, key: QueryKey, counts: &mut Counts) -> Option<PendingQuery> {
        let query = self.queries.remove(key)?;
        self.owed.settle(key);
        counts.remove(query.question.counts_as(), query.client);
        Some(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SessionKey;
    use crate::waits::WaitKey;
    use sockd_common::message::request::Destination;
    use sockd_common::message::{Errno, UserId};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    const SESSION: Waiter = waiter(3);

    const fn waiter(place: u32) -> Waiter {
        Waiter { session: SessionKey::new(place), key: WaitKey::FIRST }
    }

    const WORKER: WorkerKey = WorkerKey::new(5);
    const IDENTITY: Question = Question::Identity { client_port: 1, proxy_port: 2 };
    const GRANTED: NextReply = NextReply::Granted(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7));

    fn request(command: Command) -> Question {
        let request = Request {
            version: 4,
            command,
            destination: Destination::Address("203.0.113.1".parse().unwrap()),
            port: 80,
            user: UserId::new(b"jane").unwrap(),
        };
        Question::Request { next: "198.51.100.1:1080".parse().unwrap(), request }
    }

    #[derive(Default)]
    struct Room {
        queries: Queries,
        counts: Counts,
    }

    impl Room {
        fn begin(&mut self, question: Question) -> QueryKey {
            let client = Host::of("192.0.2.1".parse().unwrap());
            self.queries.begin(SESSION, client, question, &mut self.counts, &Settings::default()).unwrap()
        }

        fn asked(&mut self, question: Question) -> QueryKey {
            let key = self.begin(question);
            assert!(self.queries.asked(key, WORKER).is_some());
            key
        }

        fn answered(&mut self, key: QueryKey, answer: &Arrival) -> Result<(Option<Waiter>, bool), Violation> {
            self.queries.answered(key, WORKER, answer, &mut self.counts)
        }
    }

    #[test]
    fn each_host_that_is_asked_has_a_worker_of_its_own() {
        let mut room = Room::default();
        let client = Host::of("192.0.2.1".parse().unwrap());
        let ident = room.begin(IDENTITY);
        assert_eq!(
            room.queries.connected(ident),
            Some(AskerKey { role: Role::Ident, host: client, server: None })
        );
        let upstream = room.begin(request(Command::Connect));
        let server = "198.51.100.1:1080".parse().ok();
        let host = Host::of("198.51.100.1".parse().unwrap());
        assert_eq!(room.queries.connected(upstream), Some(AskerKey { role: Role::Upstream, host, server }));
    }

    #[test]
    fn only_the_worker_that_was_asked_may_answer_and_only_once() {
        let mut room = Room::default();
        let key = room.asked(IDENTITY);
        let answer = Arrival::Identified(Identity::Unknown);
        let other = WorkerKey::new(6);
        assert!(room.queries.answered(key, other, &answer, &mut room.counts).is_err());
        assert_eq!(room.answered(key, &answer), Ok((Some(SESSION), true)));
        assert!(room.answered(key, &answer).is_err());
    }

    #[test]
    fn a_bind_is_answered_twice_where_the_next_server_grants_it() {
        let mut room = Room::default();
        let key = room.asked(request(Command::Bind));
        let [granted, refused] = [GRANTED, NextReply::Cancelled].map(Arrival::Replied);
        assert_eq!(room.answered(key, &granted), Ok((Some(SESSION), false)));
        assert_eq!(room.answered(key, &granted), Ok((Some(SESSION), true)));
        let key = room.asked(request(Command::Bind));
        assert_eq!(room.answered(key, &refused), Ok((Some(SESSION), true)));
        let key = room.asked(request(Command::Connect));
        assert_eq!(room.answered(key, &granted), Ok((Some(SESSION), true)));
    }

    #[test]
    fn a_worker_that_is_gone_fails_what_it_was_asked_and_nothing_else() {
        let mut room = Room::default();
        let (asked, begun) = (room.asked(IDENTITY), room.begin(IDENTITY));
        let failed = room.queries.fail_asked(WORKER, &mut room.counts);
        assert!(matches!(failed[..], [(SESSION, Arrival::NoRoom(_))]), "{failed:?}");
        assert!(room.queries.connected(asked).is_none() && room.queries.connected(begun).is_some());
    }

    #[test]
    fn h12_what_this_host_lacks_is_not_taken_for_an_identd_that_names_nobody() {
        let mut room = Room::default();
        let mut heard = |call, errno| {
            let key = room.begin(IDENTITY);
            let (_, arrival) =
                room.queries.unreached(key, FailedCall { call, errno }, &mut room.counts).unwrap();
            matches!(arrival, Arrival::Identified(Identity::Unknown))
        };
        for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH] {
            assert!(heard("connect", errno), "{errno:?}");
        }
        // EMFILE, ENFILE, ENOBUFS, EADDRNOTAVAIL, EPERM, EAGAIN.
        for errno in [24, 23, 105, 99, 1, 11].map(Errno) {
            assert!(!heard("connect", errno) && !heard("socket", errno), "{errno:?}");
        }
        assert!(!heard("bind", Errno::CONNREFUSED));
    }

    #[test]
    fn a_query_that_waits_for_the_place_of_a_worker_has_not_been_asked_and_is_over_when_it_is_cancelled() {
        let mut room = Room::default();
        let key = room.begin(IDENTITY);
        room.queries.dialling(key, DialKey::new(1));
        assert!(room.queries.unasked(key, |_| false).is_none(), "identd is silent");
        room.queries.connected(key);
        assert!(room.queries.unasked(key, |_| true).is_some());
        let cancelled = room.queries.cancel(key, SESSION, &mut room.counts, Instant::now());
        assert_eq!(cancelled, Some(Cancelled::Ended));
        let key = room.asked(IDENTITY);
        assert_eq!([true, false].map(|ready| room.queries.unasked(key, |_| ready).is_some()), [false, true]);
    }

    #[test]
    fn a_cancelled_query_is_over_unless_a_worker_owes_its_end() {
        let mut room = Room::default();
        let now = Instant::now();
        let key = room.begin(IDENTITY);
        room.queries.dialling(key, DialKey::new(1));
        assert!(room.queries.cancel(key, waiter(4), &mut room.counts, now).is_none(), "another's");
        let cancelled = room.queries.cancel(key, SESSION, &mut room.counts, now);
        assert_eq!(cancelled, Some(Cancelled::Undialled(DialKey::new(1))));
        let key = room.asked(IDENTITY);
        let cancelled = room.queries.cancel(key, SESSION, &mut room.counts, now);
        assert_eq!(cancelled, Some(Cancelled::Owed(WORKER)));
        assert_eq!(room.answered(key, &Arrival::Identified(Identity::Unknown)), Ok((None, true)));
        assert_eq!(room.queries.due_at(), None, "it has been given up");
        let key = room.asked(IDENTITY);
        room.queries.cancel(key, SESSION, &mut room.counts, now);
        assert_eq!(room.queries.overdue(now), None);
        let due = room.queries.due_at().unwrap();
        assert_eq!(room.queries.overdue(due).map(|(worker, _)| worker), Some(WORKER));
    }
}
