//! The workers that run, and whom each serves. The monitor starts, kills and tells them.

pub mod choice;
pub mod endings;
pub mod queue;
pub mod sole;

use crate::client_host::{Host, HostNetwork};
use crate::keys::{Slots, WorkerKey};
use crate::settings::{Isolation, Settings, seconds};
use sockd_common::counters::{Counters, WorkerState};
use sockd_common::message::Role;
use sockd_policy::UserId;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The peers that the workers of a role serve, which determines the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Client hosts: as many workers as their isolation needs.
    ClientHosts,
    /// One client host each.
    ClientHost,
    /// One next server each, which is no client and cannot be blamed on one.
    Upstream,
    /// Everybody: a single worker, which stays.
    Everybody,
}

/// The host that an ident or upstream worker asks, or that a datagram worker serves. Next servers are told apart by
/// address and port: two on one host, such as the ends of two tunnels on this one, need not trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskerKey {
    /// The role of the worker.
    pub role: Role,
    /// The host that is asked.
    pub host: Host,
    /// The next server that is asked, or the address of the one association that is served.
    pub server: Option<SocketAddr>,
}

/// A user, and who vouches for the name. Users of the same name in the accounts of a host and in sockd.passwd need not
/// be the same person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The user.
    pub user: UserId,
    /// Whether a password vouches for the user, and not the host's identd.
    pub by_password: bool,
}

/// The clients of its hosts that a worker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// All clients.
    Anybody,
    /// One connection, whose user is not known yet or never will be.
    Connection,
    /// This user.
    User(Verified),
}

/// A worker that has been requested and is not known to have ended. `Channel` is how the monitor reaches it.
#[derive(Debug)]
pub struct Worker<Channel> {
    /// Its number at the spawner.
    pub serial: u32,
    /// Its role.
    pub role: Role,
    /// Its channel.
    pub channel: Channel,
    serves: Serves,
    is_ready: bool,
    /// Sessions, queries or lookups under way.
    load: u32,
    /// Its sessions whose requests have been read.
    requests: u32,
    /// The turn since which it has been without such a session.
    without_since: u64,
    /// The first three hosts that it has served; a spare worker has none yet.
    hosts: Vec<Host>,
    owner: Owner,
    /// When its time is over: it is not ready by then, or has been idle for too long.
    expires: Option<Instant>,
}

/// Why a worker's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It has been without work for too long.
    Idle,
    /// It has not locked itself down in time.
    NotReady,
}

/// How long a worker may take to get ready; a worker that takes longer never will.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The pause after a spare worker is lost. If workers end at once, endless retries would keep monitor and spawner busy.
const SPARE_PAUSE: Duration = Duration::from_secs(1);

/// The most client hosts remembered for a worker: it only matters whether there is more than one.
const HOSTS_KEPT: usize = 3;

/// All workers.
#[derive(Debug)]
pub struct Pool<Channel> {
    /// The workers.
    pub workers: Slots<Worker<Channel>, 'w'>,
    serving: HashMap<Host, Vec<WorkerKey>>,
    askers: HashMap<AskerKey, WorkerKey>,
    spare: Vec<WorkerKey>,
    /// Workers that have been taken out and are not known to have ended, with the site that they served.
    ending: HashMap<u32, (Serves, Option<HostNetwork>, Role)>,
    /// The counters of workers.
    counters: Option<&'static Counters>,
    /// The number of turns so far; a worker notes the turn since which it has been without a request.
    turns: u64,
    /// When the next spare worker may be started, after one has been lost.
    paused_until: Option<Instant>,
    by_hash: RandomState,
    last_serial: u32,
    processors: usize,
    /// The sessions that one worker has descriptors for.
    room: u32,
}

impl<Channel> Pool<Channel> {
    /// A pool without workers. `descriptors` is the limit that every worker inherits.
    pub fn new(processors: usize, descriptors: u64) -> Self {
        Self {
            workers: Slots::default(),
            serving: HashMap::new(),
            askers: HashMap::new(),
            spare: Vec::new(),
            ending: HashMap::new(),
            counters: None,
            turns: 0,
            paused_until: None,
            by_hash: RandomState::new(),
            last_serial: 0,
            processors,
            // Each session takes two sockets; some descriptors are left for pipes.
            room: u32::try_from(descriptors.saturating_sub(256) / 2).unwrap_or(u32::MAX).max(1),
        }
    }

    /// A number that no other worker has had.
    pub fn next_serial(&mut self) -> u32 {
        self.last_serial = self.last_serial.wrapping_add(1);
        self.last_serial
    }

    /// The spawner has been asked for a worker.
    pub fn insert(
        &mut self,
        serial: u32,
        role: Role,
        serves: Serves,
        channel: Channel,
        now: Instant,
    ) -> WorkerKey {
        self.count(role, None, Some(WorkerState::Starting));
        self.workers.insert(Worker {
            serial,
            role,
            channel,
            serves,
            is_ready: false,
            load: 0,
            requests: 0,
            without_since: 0,
            hosts: Vec::new(),
            owner: Owner::Anybody,
            expires: now.checked_add(START_LIMIT),
        })
    }

    /// The worker with this number.
    pub fn by_serial(&self, serial: u32) -> Option<WorkerKey> {
        self.workers.iter().find(|(_, worker)| worker.serial == serial).map(|(key, _)| key)
    }

    /// The workers that serve client hosts.
    pub fn of_clients(&self) -> Vec<WorkerKey> {
        self.workers.keys_where(Worker::is_of_clients)
    }

    /// The workers that serve client hosts and are idle.
    pub fn unused(&self) -> Vec<WorkerKey> {
        self.workers.keys_where(|worker| worker.is_of_clients() && worker.load == 0)
    }

    /// Places that are taken by workers that serve client hosts.
    fn taken(&self) -> usize {
        self.number(|serves| serves == Serves::ClientHosts)
    }

    /// The number of workers that serve `whom`. A worker that was taken out counts until it is known to have ended.
    fn number(&self, whom: impl Fn(Serves) -> bool) -> usize {
        let ending = self.ending.values().filter(|(serves, ..)| whom(*serves)).count();
        self.workers.iter().filter(|(_, worker)| whom(worker.serves)).count().saturating_add(ending)
    }

    /// A worker has locked itself down; false if it had said so before.
    pub fn mark_ready(&mut self, key: WorkerKey) -> bool {
        let Some(worker) = self.workers.get_mut(key) else { return false };
        worker.expires = None;
        let (role, before) = (worker.role, worker.state());
        let is_first = !std::mem::replace(&mut worker.is_ready, true);
        let after = worker.state();
        self.count(role, Some(before), Some(after));
        is_first
    }

    /// A session, query or lookup of a worker begins. The worker serves `host` from now on, and any client from there
    /// unless this is its first.
    pub fn assign(&mut self, key: WorkerKey, host: Host) {
        self.begin(key);
        let Some(worker) = self.workers.get_mut(key) else { return };
        if !worker.hosts.is_empty() {
            worker.owner = Owner::Anybody;
        }
        if worker.is_of_clients() && !worker.hosts.contains(&host) {
            if worker.hosts.is_empty() {
                self.spare.retain(|spare| *spare != key);
                self.serving.entry(host).or_default().push(key);
            }
            worker.hosts.push(host);
            worker.hosts.truncate(HOSTS_KEPT);
        }
    }

    /// A worker gets one more thing to do.
    fn begin(&mut self, key: WorkerKey) {
        self.turns = self.turns.saturating_add(1);
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.load == 0 {
            worker.without_since = self.turns;
        }
        let (role, before) = (worker.role, worker.state());
        worker.load = worker.load.saturating_add(1);
        if worker.is_ready {
            worker.expires = None;
        }
        let after = worker.state();
        self.count(role, Some(before), Some(after));
    }

    /// A session, query or lookup of a worker has ended.
    pub fn release(&mut self, key: WorkerKey, settings: &Settings, now: Instant) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let (role, before) = (worker.role, worker.state());
        worker.load = worker.load.saturating_sub(1);
        let after = worker.state();
        if worker.load == 0 && worker.serves != Serves::Everybody {
            let stays = match (settings.isolation, &worker.owner) {
                (Isolation::Connection, _) | (_, Owner::Connection) => Duration::ZERO,
                // It has served one association, and the next one may be another user's.
                (Isolation::User, _) if role == Role::Datagram => Duration::ZERO,
                _ => seconds(settings.worker_idle),
            };
            worker.expires = now.checked_add(stays);
        }
        self.count(role, Some(before), Some(after));
    }

    /// A worker has read the request of a session.
    pub fn has_request(&mut self, key: WorkerKey) {
        if let Some(worker) = self.workers.get_mut(key) {
            worker.requests = worker.requests.saturating_add(1);
        }
    }

    /// A session whose request has been read is over.
    pub fn request_over(&mut self, key: WorkerKey) {
        self.turns = self.turns.saturating_add(1);
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.requests = worker.requests.saturating_sub(1);
        worker.without_since = self.turns;
    }

    /// Whether a worker's time is over, and why.
    pub fn expired(&self, key: WorkerKey, now: Instant) -> Option<Expired> {
        let worker = self.workers.get(key)?;
        let past = worker.expires.is_some_and(|expires| expires <= now);
        match worker.is_ready {
            true => (past && worker.load == 0).then_some(Expired::Idle),
            false => past.then_some(Expired::NotReady),
        }
    }

    /// Whether a worker is idle.
    pub fn is_idle(&self, key: WorkerKey) -> bool {
        self.workers.get(key).is_some_and(|worker| worker.load == 0)
    }

    /// Takes a worker out. A spare worker is not replaced at once.
    pub fn remove(&mut self, key: WorkerKey, now: Instant) -> Option<Worker<Channel>> {
        let worker = self.workers.remove(key)?;
        if self.spare.contains(&key) {
            self.paused_until = now.checked_add(SPARE_PAUSE);
        }
        self.spare.retain(|spare| *spare != key);
        self.serving.retain(|_, keys| {
            keys.retain(|serving| *serving != key);
            !keys.is_empty()
        });
        self.askers.retain(|_, asker| *asker != key);
        self.ending.insert(worker.serial, (worker.serves, worker.site(), worker.role));
        self.count(worker.role, Some(worker.state()), Some(WorkerState::Ending));
        Some(worker)
    }

    /// A worker that has been taken out has ended.
    pub fn reaped(&mut self, serial: u32) {
        if let Some((.., role)) = self.ending.remove(&serial) {
            self.count(role, Some(WorkerState::Ending), None);
        }
    }
}

/// The number of workers.
impl<Channel> Pool<Channel> {
    /// Counts workers in these counters; there must be no workers yet.
    pub fn count_in(&mut self, counters: &'static Counters) {
        self.counters = Some(counters);
    }

    fn count(&self, role: Role, from: Option<WorkerState>, to: Option<WorkerState>) {
        let Some(counters) = self.counters.filter(|_| from != to) else {
            return;
        };
        let before = from.and_then(|state| counters.workers.of((role, state)));
        before.into_iter().for_each(|word| word.take_one());
        to.into_iter().for_each(|state| counters.workers.add((role, state), 1));
    }
}

/// Spare workers, which wait for their first client host.
impl<Channel> Pool<Channel> {
    /// The number of spare workers that are missing.
    pub fn spares_wanted(&mut self, settings: &Settings, now: Instant) -> usize {
        if self.paused_until.is_some_and(|until| now < until) {
            return 0;
        }
        self.paused_until = None;
        let wanted = match settings.isolation {
            Isolation::Client => 1,
            Isolation::Connection | Isolation::User => self.processors.max(2),
            Isolation::Shared(_) => 0,
        };
        if self.spare.len() >= wanted {
            return 0;
        }
        let room = usize::from(settings.max_workers).saturating_sub(self.taken());
        wanted.min(room.max(usize::from(self.serving.is_empty()))).saturating_sub(self.spare.len())
    }

    /// When a lost spare worker is replaced.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Keeps a new worker until its first client host comes.
    pub fn keep_spare(&mut self, key: WorkerKey) {
        self.spare.push(key);
    }

    fn take_spare(&mut self) -> Option<WorkerKey> {
        (!self.spare.is_empty()).then(|| self.spare.remove(0))
    }
}

/// Workers that ask one host.
impl<Channel> Pool<Channel> {
    /// Keeps a new worker for asking this host and no other.
    pub fn keep_asker(&mut self, key: WorkerKey, asker: AskerKey) {
        if let Some(worker) = self.workers.get_mut(key) {
            worker.hosts.push(asker.host);
            self.askers.insert(asker, key);
        }
    }
}

impl<Channel> Worker<Channel> {
    fn is_of_clients(&self) -> bool {
        self.serves == Serves::ClientHosts
    }

    fn state(&self) -> WorkerState {
        match (self.is_ready, self.load) {
            (false, _) => WorkerState::Starting,
            (true, 0) => WorkerState::Idle,
            (true, _) => WorkerState::Busy,
        }
    }

    /// The site of the first host that it has served.
    fn site(&self) -> Option<HostNetwork> {
        self.hosts.first().map(|host| host.site())
    }

    /// Whether it has locked itself down and reads its messages.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// When its time is over.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Its description for a log line: `session worker 3 (10.0.0.1)`.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        let hosts = if hosts.is_empty() { "spare".into() } else { hosts.join(", ") };
        match self.serves {
            Serves::Everybody => format!("{} worker {}", self.role.as_str(), self.serial),
            _ => format!("{} worker {} ({hosts})", self.role.as_str(), self.serial),
        }
    }

    /// The only client host that it serves; `None` if it serves several, as none of them can be blamed.
    pub fn only_client(&self) -> Option<Host> {
        match (self.serves, &*self.hosts) {
            (Serves::ClientHosts | Serves::ClientHost, [host]) => Some(*host),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pool() -> (Pool<()>, Host, Instant) {
        (Pool::new(2, 1024), Host::of("192.0.2.1".parse().unwrap()), Instant::now())
    }

    pub(super) fn start(pool: &mut Pool<()>, role: Role, serves: Serves) -> WorkerKey {
        let serial = pool.next_serial();
        pool.insert(serial, role, serves, (), Instant::now())
    }

    #[test]
    fn a_worker_that_asks_is_not_let_go_while_a_query_is_under_way() {
        let (mut pool, host, now) = pool();
        let settings = Settings::default();
        for (role, serves) in [(Role::Ident, Serves::ClientHost), (Role::Upstream, Serves::Upstream)] {
            let key = start(&mut pool, role, serves);
            pool.mark_ready(key);
            pool.assign(key, host);
            pool.release(key, &settings, now);
            pool.assign(key, host);
            let late = now + Duration::from_secs(86_400);
            assert_eq!(
                (pool.workers.get(key).unwrap().expires(), pool.expired(key, late)),
                (None, None),
                "{role:?}"
            );
            pool.release(key, &settings, now);
            assert!(pool.workers.get(key).unwrap().expires().is_some_and(|expires| expires < late));
            assert_eq!(pool.expired(key, late), Some(Expired::Idle));
            pool.remove(key, now);
        }
    }

    #[test]
    fn h9_with_isolation_user_a_worker_of_datagrams_serves_one_association_and_no_other() {
        let (mut pool, host, now) = pool();
        for (isolation, is_over) in [(Isolation::User, true), (Isolation::Client, false)] {
            let settings = Settings { isolation, ..Settings::default() };
            let key = start(&mut pool, Role::Datagram, Serves::ClientHost);
            pool.mark_ready(key);
            pool.assign(key, host);
            pool.release(key, &settings, now);
            assert_eq!(pool.expired(key, now), is_over.then_some(Expired::Idle), "{isolation:?}");
        }
    }

    #[test]
    fn a_worker_that_is_not_ready_in_time_is_told_from_one_that_is_idle() {
        let (mut pool, _, now) = pool();
        let key = start(&mut pool, Role::Session, Serves::ClientHosts);
        assert_eq!(pool.expired(key, now), None);
        assert_eq!(pool.expired(key, now + 2 * START_LIMIT), Some(Expired::NotReady));
        assert!(pool.mark_ready(key) && !pool.mark_ready(key), "only once");
        assert_eq!(pool.expired(key, now + 2 * START_LIMIT), None, "a spare worker stays");
    }

    #[test]
    fn a_next_server_is_no_client_that_its_worker_could_be_blamed_on() {
        let (mut pool, host, _) = pool();
        let roles = [(Role::Ident, Serves::ClientHost, Some(host)), (Role::Upstream, Serves::Upstream, None)];
        for (role, serves, blamed) in roles {
            let key = start(&mut pool, role, serves);
            pool.keep_asker(key, AskerKey { role, host, server: None });
            assert_eq!(pool.workers.get(key).unwrap().only_client(), blamed, "{role:?}");
        }
    }

    #[test]
    fn a_worker_is_counted_where_it_stands_until_it_is_reaped() {
        let (mut pool, host, now) = pool();
        let counters: &Counters = Box::leak(Box::default());
        pool.count_in(counters);
        let counted = || -> Vec<String> {
            let all = counters.workers.all().filter(|(_, number)| *number > 0);
            all.map(|(label, number)| format!("{label} {number}")).collect()
        };
        let is = |state: &str| assert_eq!(counted(), [format!("role=\"ident\",state=\"{state}\" 1")]);
        let key = start(&mut pool, Role::Ident, Serves::ClientHost);
        is("starting");
        pool.assign(key, host);
        is("starting");
        pool.mark_ready(key);
        is("busy");
        pool.assign(key, host);
        pool.release(key, &Settings::default(), now);
        is("busy");
        pool.release(key, &Settings::default(), now);
        is("idle");
        let serial = pool.remove(key, now).unwrap().serial;
        is("ending");
        pool.reaped(serial);
        pool.reaped(serial);
        assert_eq!(counted(), [""; 0]);
    }

    #[test]
    fn a_worker_is_described_by_its_role_and_whom_it_serves() {
        let (mut pool, host, _) = pool();
        let resolver = start(&mut pool, Role::Resolver, Serves::Everybody);
        let session = start(&mut pool, Role::Session, Serves::ClientHosts);
        let described = |pool: &Pool<()>, key| pool.workers.get(key).unwrap().describe();
        assert_eq!(described(&pool, resolver), "resolver worker 1");
        assert_eq!(described(&pool, session), "session worker 2 (spare)");
        pool.assign(session, host);
        assert_eq!(described(&pool, session), "session worker 2 (192.0.2.1)");
    }

    #[test]
    fn a_spare_worker_that_is_lost_is_not_replaced_at_once() {
        let (mut pool, _, now) = pool();
        let settings = Settings::default();
        assert_eq!(pool.spares_wanted(&settings, now), 1);
        let spare = start(&mut pool, Role::Session, Serves::ClientHosts);
        pool.keep_spare(spare);
        assert_eq!(pool.spares_wanted(&settings, now), 0);
        pool.remove(spare, now);
        assert_eq!(pool.spares_wanted(&settings, now), 0);
        let later = pool.paused_until().unwrap();
        assert_eq!(pool.spares_wanted(&settings, later), 1);
    }
}
