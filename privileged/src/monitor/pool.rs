//! The workers that run: which client host is served by which of them, and when one comes or goes.

use crate::monitor::outbox::Outbox;
use crate::process::sys;
use crate::spawner::protocol::{Channel, FromSpawner, ToSpawner};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sockd_common::channel::ChannelError;
use sockd_common::message::Role;
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::resolver::{FromResolver, ToResolver};
use sockd_common::message::session::{FromSession, ToSession};
use sockd_common::message::upstream::{FromUpstream, ToUpstream};
use sockd_session::client_host::Host;
use sockd_session::keys::{Slots, WorkerKey};
use sockd_session::settings::{Isolation, Settings, seconds};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Whom an ident or upstream worker asks. Of next servers the very address and port: two of them on one host, such as
/// the ends of two tunnels on this one, need not trust each other.
pub type Asks = (Role, Host, Option<SocketAddr>);

/// The channel of a worker, by its role.
#[derive(Debug)]
pub enum Line {
    /// To a session worker.
    Session(Outbox<ToSession, FromSession>),
    /// To an ident worker.
    Ident(Outbox<ToIdent, FromIdent>),
    /// To the resolver worker.
    Resolver(Outbox<ToResolver, FromResolver>),
    /// To an upstream worker.
    Upstream(Outbox<ToUpstream, FromUpstream>),
}

/// What is the same whatever messages a channel carries: a function cannot be given links of four types.
macro_rules! any_link {
    ($line:expr, $act:ident) => {
        match $line {
            Line::Session(link) => link.$act(),
            Line::Ident(link) => link.$act(),
            Line::Resolver(link) => link.$act(),
            Line::Upstream(link) => link.$act(),
        }
    };
}

/// A worker that has been asked for and is not known to have ended.
#[derive(Debug)]
pub struct Worker {
    /// The spawner's number for it.
    pub serial: u32,
    /// Its channel.
    pub line: Line,
    /// Sessions, queries or lookups under way.
    pub load: u32,
    /// The client hosts that it has served, the first three of them; a spare worker has none yet.
    pub hosts: Vec<Host>,
    /// When it is given up on: not ready in time, or idle for too long.
    pub expires: Option<Instant>,
    /// When messages that the system does not take now are tried again.
    pub retry: Option<Instant>,
}

/// Why a worker's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It has been without work for too long.
    Idle,
    /// It has not locked itself down in time.
    NotReady,
    /// It does not read its channel.
    Unread,
}

/// A worker that is not ready by then will never be.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where workers cannot be started, or end at once, trying again without end would keep monitor and spawner busy.
const SPARE_PAUSE: Duration = Duration::from_secs(1);

/// As many of its client hosts are remembered of a worker.
const NAMED: usize = 3;

/// A client host with as many sessions for each of its workers gets a further one, up to the number of processors.
const BUSY: u32 = 4;

/// Between two attempts to send what the system does not take (ETOOMANYREFS, ENOBUFS, ENOMEM).
pub const STARVED: Duration = Duration::from_millis(100);

/// All workers.
#[derive(Debug)]
pub struct Workers {
    spawner: Outbox<ToSpawner, FromSpawner>,
    workers: Slots<Worker, 'w'>,
    serving: HashMap<Host, Vec<WorkerKey>>,
    asking: HashMap<Asks, WorkerKey>,
    spare: Vec<WorkerKey>,
    /// No worker's time is over before this: most turns of the loop need not look at all of them.
    soonest: Option<Instant>,
    /// A spare worker has been lost: the next one is not started before.
    pause: Option<Instant>,
    by_hash: RandomState,
    last_serial: u32,
    processors: usize,
    /// Sessions that one worker has descriptors for.
    room: u32,
}

impl Workers {
    /// No workers yet. `descriptors` is the limit that every worker inherits.
    pub fn new(spawner: Channel, descriptors: u64) -> Self {
        Self {
            spawner: Outbox::to_reader(spawner),
            workers: Slots::default(),
            serving: HashMap::new(),
            asking: HashMap::new(),
            spare: Vec::new(),
            soonest: None,
            pause: None,
            by_hash: RandomState::new(),
            last_serial: 0,
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            // Two sockets for each session, and some for pipes.
            room: u32::try_from(descriptors.saturating_sub(256) / 2).unwrap_or(u32::MAX).max(1),
        }
    }

    /// The spawner's channel.
    pub fn spawner(&mut self) -> &mut Outbox<ToSpawner, FromSpawner> {
        &mut self.spawner
    }

    /// One worker.
    pub fn worker(&mut self, index: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(index)
    }

    /// Asks the spawner for a worker. The caller watches its descriptor.
    pub fn spawn(&mut self, role: Role, settings: &Settings) -> Result<WorkerKey, ChannelError> {
        if self.spawner.is_full() {
            return Err(ChannelError::Io(rustix::io::Errno::AGAIN));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Where the kernel can, the monitor's end refuses descriptors; the worker's filter has no way to send any.
        let _ = sys::refuse_descriptors(&ours);
        let line = match role {
            Role::Session => Line::Session(Outbox::new(ours, &session_setup(settings))?),
            Role::Ident => Line::Ident(Outbox::new(ours, &ToIdent::Setup)?),
            Role::Resolver => Line::Resolver(Outbox::new(ours, &resolver_setup())?),
            Role::Upstream => Line::Upstream(Outbox::new(ours, &ToUpstream::Setup)?),
            // Only `sockd -ver` starts these, and not from here.
            Role::Probe => return Err(ChannelError::Io(rustix::io::Errno::INVAL)),
        };
        self.last_serial = self.last_serial.wrapping_add(1);
        let serial = self.last_serial;
        self.spawner.send(ToSpawner::Spawn { serial, role }, Some(theirs));
        let expires = Instant::now().checked_add(START_LIMIT);
        self.soonest = sooner(self.soonest, expires);
        Ok(self.workers.insert(Worker { serial, line, load: 0, hosts: Vec::new(), expires, retry: None }))
    }

    /// How many spare workers are missing.
    pub fn spares_wanted(&mut self, settings: &Settings) -> usize {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return 0;
        }
        self.pause = None;
        let wanted = match settings.isolation {
            Isolation::Client => 1,
            Isolation::Connection => self.processors.max(2),
            Isolation::Shared(_) => 0,
        };
        if self.spare.len() >= wanted {
            return 0;
        }
        let room = usize::from(settings.max_workers).saturating_sub(self.session_workers());
        wanted.min(room.max(usize::from(self.serving.is_empty()))).saturating_sub(self.spare.len())
    }

    /// A worker just spawned waits for its first client host.
    pub fn keep_spare(&mut self, index: WorkerKey) {
        self.spare.push(index);
    }

    /// Whether one host may have several workers without others having none.
    fn is_ample(&self, settings: &Settings) -> bool {
        self.session_workers().saturating_mul(2) < settings.max_workers.into()
    }

    fn session_workers(&self) -> usize {
        self.workers.iter().filter(|(_, worker)| matches!(worker.line, Line::Session(_))).count()
    }

    /// Chooses the session worker for a new connection from `host`; nothing where one has to be spawned and then
    /// [`assign`](Self::assign)ed.
    pub fn choose(&mut self, host: Host, settings: &Settings) -> Option<WorkerKey> {
        let least = self.own(host, settings).min_by_key(|index| self.load(*index));
        let wanted = match (settings.isolation, least) {
            (Isolation::Connection, _) => true,
            (Isolation::Client, None) => true,
            (Isolation::Client, Some(index)) => {
                let (load, own) = (self.load(index), || self.own(host, settings).count());
                load >= self.room || (load >= BUSY && own() < self.processors && self.is_ample(settings))
            }
            (Isolation::Shared(number), _) => return self.shared(host, number.into()),
        };
        let full = wanted && self.session_workers() >= settings.max_workers.into();
        match (wanted, full, least) {
            (false, _, _) => least,
            (true, false, _) => self.take_spare(),
            (true, true, Some(index)) if settings.isolation == Isolation::Client => Some(index),
            (true, true, _) => {
                self.take_spare().or_else(|| self.known_to(host)).or_else(|| self.any_by_hash(host))
            }
        }
    }

    /// The workers of this host. Whom a crowd or other settings made serve others too is nobody's own any more.
    fn own(&self, host: Host, settings: &Settings) -> impl Iterator<Item = WorkerKey> {
        let apart = settings.isolation == Isolation::Client;
        let is_own = move |index: &WorkerKey| {
            !apart || self.workers.get(*index).is_some_and(|worker| worker.hosts.len() == 1)
        };
        self.serving.get(&host).into_iter().flatten().copied().filter(is_own)
    }

    /// Where this host would share the worker that was chosen for it: one that only waits for its client host to come
    /// back, and whose place it can have.
    pub fn in_the_way(&self, host: Host, chosen: WorkerKey, settings: &Settings) -> Option<WorkerKey> {
        let serves_others = |worker: &Worker| worker.hosts.iter().any(|other| *other != host);
        if settings.isolation != Isolation::Client || !self.workers.get(chosen).is_some_and(serves_others) {
            return None;
        }
        // Idle for a second: hosts that come and go are not to cost a start for each connection.
        let latest = Instant::now().checked_add(seconds(settings.worker_idle.saturating_sub(1)));
        let idle = |(index, worker): (WorkerKey, &Worker)| {
            let waits = worker.load == 0 && ready(&worker.line) && matches!(worker.line, Line::Session(_));
            worker.expires.filter(|expires| waits && Some(*expires) <= latest).map(|expires| (expires, index))
        };
        self.workers.iter().filter_map(idle).min().map(|(_, index)| index)
    }

    fn load(&self, index: WorkerKey) -> u32 {
        self.workers.get(index).map_or(u32::MAX, |worker| worker.load)
    }

    fn take_spare(&mut self) -> Option<WorkerKey> {
        (!self.spare.is_empty()).then(|| self.spare.remove(0))
    }

    /// One of a fixed number of workers, the same for each host.
    fn shared(&self, host: Host, number: usize) -> Option<WorkerKey> {
        let sessions: Vec<WorkerKey> = self.session_indices();
        if sessions.len() < number { None } else { self.pick(host, &sessions) }
    }

    /// One that the host shares already: sharing is not to spread.
    fn known_to(&self, host: Host) -> Option<WorkerKey> {
        let knows = |worker: &Worker| matches!(worker.line, Line::Session(_)) && worker.hosts.contains(&host);
        self.workers.iter().find(|(_, worker)| knows(worker)).map(|(index, _)| index)
    }

    fn any_by_hash(&self, host: Host) -> Option<WorkerKey> {
        self.pick(host, &self.session_indices())
    }

    fn session_indices(&self) -> Vec<WorkerKey> {
        let is_session = |worker: &Worker| matches!(worker.line, Line::Session(_));
        self.workers.iter().filter(|(_, worker)| is_session(worker)).map(|(index, _)| index).collect()
    }

    fn pick(&self, host: Host, indices: &[WorkerKey]) -> Option<WorkerKey> {
        let number = u64::try_from(indices.len()).ok().filter(|number| *number > 0)?;
        let place = self.by_hash.hash_one(host).checked_rem(number)?;
        indices.get(usize::try_from(place).ok()?).copied()
    }

    /// From now on the worker serves `host`, and counts one session or query more.
    pub fn assign(&mut self, index: WorkerKey, host: Host) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        worker.load = worker.load.saturating_add(1);
        if ready(&worker.line) {
            worker.expires = None;
        }
        if matches!(worker.line, Line::Session(_)) && !worker.hosts.contains(&host) {
            if worker.hosts.is_empty() {
                self.spare.retain(|spare| *spare != index);
                self.serving.entry(host).or_default().push(index);
            }
            // However many come: more than one is all that matters.
            worker.hosts.push(host);
            worker.hosts.truncate(NAMED);
        }
    }

    /// The ident or upstream worker for these queries; nothing where one has to be spawned.
    pub fn asker(&self, asks: Asks) -> Option<WorkerKey> {
        self.asking.get(&asks).copied()
    }

    /// This ident or upstream worker has these queries and no others.
    pub fn assign_asker(&mut self, index: WorkerKey, asks: Asks) {
        if let Some(worker) = self.workers.get_mut(index) {
            worker.hosts.push(asks.1);
            self.asking.insert(asks, index);
        }
    }

    /// A session, query or lookup of this worker has ended.
    pub fn release(&mut self, index: WorkerKey, settings: &Settings) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        worker.load = worker.load.saturating_sub(1);
        if worker.load == 0 && !matches!(worker.line, Line::Resolver(_)) {
            let stays = match settings.isolation {
                Isolation::Connection => Duration::ZERO,
                _ => seconds(settings.worker_idle),
            };
            worker.expires = Instant::now().checked_add(stays);
            self.soonest = sooner(self.soonest, worker.expires);
        }
    }

    /// Messages to this worker have been sent, or wait and have a time.
    pub fn has_sent(&mut self, index: WorkerKey) {
        let gives_up = self.workers.get(index).and_then(Worker::gives_up);
        self.soonest = sooner(self.soonest, gives_up);
    }

    /// A worker has locked itself down; false where it had said so before.
    pub fn mark_ready(&mut self, index: WorkerKey) -> bool {
        let Some(worker) = self.workers.get_mut(index) else { return false };
        worker.expires = None;
        any_link!(&mut worker.line, mark_ready)
    }

    /// Workers whose time is over; the caller takes them out of service.
    pub fn expired(&mut self, now: Instant) -> Vec<(WorkerKey, Expired)> {
        let past = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if !past(self.soonest) {
            return Vec::new();
        }
        let expired = |worker: &Worker| match () {
            () if past(worker.gives_up()) => Some(Expired::Unread),
            () if !past(worker.expires) => None,
            () if ready(&worker.line) => Some(Expired::Idle),
            () => Some(Expired::NotReady),
        };
        let due = |(_, worker): (WorkerKey, &Worker)| sooner(worker.expires, worker.gives_up());
        self.soonest = self.workers.iter().filter_map(due).filter(|due| *due > now).min();
        self.workers.iter().filter_map(|(index, worker)| Some((index, expired(worker)?))).collect()
    }

    /// When [`expired`](Self::expired) may next have an entry, or the spawner is to be told again what the system did
    /// not take.
    pub fn next_expiry(&self) -> Option<Instant> {
        let told_again = self.spawner.is_starved().then(|| Instant::now().checked_add(STARVED)).flatten();
        self.soonest.into_iter().chain(self.pause).chain(told_again).min()
    }

    /// Takes a worker out of service. Its channel closes, at which an honest worker ends; `kill` makes sure.
    pub fn remove(&mut self, index: WorkerKey, kill: bool) -> Option<Worker> {
        let worker = self.workers.remove(index)?;
        if kill && self.spare.contains(&index) {
            self.pause = Instant::now().checked_add(SPARE_PAUSE);
        }
        self.spare.retain(|spare| *spare != index);
        self.serving.retain(|_, indices| {
            indices.retain(|serving| *serving != index);
            !indices.is_empty()
        });
        self.asking.retain(|_, asking| *asking != index);
        if kill {
            // The spawner is dead where this fails, and with it the worker.
            self.spawner.send(ToSpawner::Kill { serial: worker.serial }, None);
        }
        Some(worker)
    }

    /// Sends the settings that session workers follow; gives those for which they have to wait.
    pub fn set_up_again(&mut self, settings: &Settings) -> Vec<WorkerKey> {
        let waits = |(index, worker): (WorkerKey, &mut Worker)| {
            let Line::Session(link) = &mut worker.line else { return None };
            (link.send(session_setup(settings), None) && link.is_stuck()).then_some(index)
        };
        self.workers.iter_mut().filter_map(waits).collect()
    }

    /// All workers, for reports.
    pub fn all(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.workers.iter()
    }
}

impl Worker {
    /// What it is, for a log line: `session worker 3 (10.0.0.1)`.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        let hosts = if hosts.is_empty() { "spare".into() } else { hosts.join(", ") };
        match self.line {
            Line::Resolver(_) => format!("resolver worker {}", self.serial),
            Line::Session(_) => format!("session worker {} ({hosts})", self.serial),
            Line::Ident(_) => format!("ident worker {} ({hosts})", self.serial),
            Line::Upstream(_) => format!("upstream worker {} ({hosts})", self.serial),
        }
    }
}

impl Worker {
    /// The client host that it serves; nothing where it serves several, of which none can be blamed, or a next server,
    /// which is no client.
    pub fn only_host(&self) -> Option<Host> {
        match (&self.line, &*self.hosts) {
            (Line::Session(_) | Line::Ident(_), [host]) => Some(*host),
            _ => None,
        }
    }

    /// Whether messages wait although the worker is ready.
    pub fn is_stuck(&self) -> bool {
        any_link!(&self.line, is_stuck)
    }

    /// Whether they wait for the system, not for the worker.
    pub fn is_starved(&self) -> bool {
        any_link!(&self.line, is_starved)
    }

    /// Whether so much waits for it that it is to serve no further client.
    pub fn is_full(&self) -> bool {
        matches!(&self.line, Line::Session(link) if link.is_full())
    }

    fn gives_up(&self) -> Option<Instant> {
        any_link!(&self.line, gives_up)
    }

    /// See [`Outbox::wants_room`].
    pub fn wants_room(&mut self) -> Option<bool> {
        any_link!(&mut self.line, wants_room)
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> bool {
        any_link!(&mut self.line, flush)
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        any_link!(&self.line, as_fd)
    }
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

fn ready(line: &Line) -> bool {
    any_link!(line, is_ready)
}

fn session_setup(settings: &Settings) -> ToSession {
    ToSession::Setup { relay: settings.relay.into(), idle_limit: settings.idle_limit }
}

/// Without nameservers until the first real setup: see [`crate::monitor::resolver`].
fn resolver_setup() -> ToResolver {
    ToResolver::Setup {
        servers: 0,
        timeout: 5,
        attempts: 2,
        ndots: 1,
        by_tcp: false,
        search: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::channel::MonitorEnd;
    use std::net::IpAddr;

    fn workers() -> (Workers, Host, std::os::fd::OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (Workers::new(MonitorEnd::new(ours), 1024), Host::of("192.0.2.1".parse().unwrap()), theirs)
    }

    #[test]
    fn a_worker_that_asks_is_not_let_go_while_a_query_is_under_way() {
        let (mut workers, host, _spawner) = workers();
        let settings = Settings::default();
        for role in [Role::Ident, Role::Upstream] {
            let index = workers.spawn(role, &settings).unwrap();
            workers.mark_ready(index);
            workers.assign(index, host);
            workers.release(index, &settings);
            workers.assign(index, host);
            let late = Instant::now() + Duration::from_secs(86_400);
            assert!(workers.next_expiry().is_some_and(|due| due < late));
            assert_eq!(workers.expired(late), [], "{role:?}");
            workers.release(index, &settings);
            assert!(workers.next_expiry().is_some_and(|due| due < late));
            assert_eq!(workers.expired(late), [(index, Expired::Idle)]);
            workers.remove(index, false);
        }
    }

    #[test]
    fn a_next_server_is_no_client_that_its_worker_could_be_blamed_on() {
        let (mut workers, host, _spawner) = workers();
        for (role, blamed) in [(Role::Ident, Some(host)), (Role::Upstream, None)] {
            let index = workers.spawn(role, &Settings::default()).unwrap();
            workers.assign_asker(index, (role, host, None));
            assert_eq!(workers.worker(index).unwrap().only_host(), blamed, "{role:?}");
        }
    }

    fn hosts(number: u8) -> Vec<Host> {
        (1..=number).map(|last| Host::of(IpAddr::from([192, 0, 2, last]))).collect()
    }

    /// A worker for this host, ready and with a session.
    fn serving(workers: &mut Workers, host: Host, settings: &Settings) -> WorkerKey {
        let index = workers.choose(host, settings).unwrap_or_else(|| {
            let index = workers.spawn(Role::Session, settings).unwrap();
            workers.mark_ready(index);
            index
        });
        workers.assign(index, host);
        index
    }

    #[test]
    fn a_worker_that_served_others_in_a_crowd_or_under_other_settings_is_nobodys_own_afterwards() {
        let (mut workers, ..) = workers();
        let shared = Settings { isolation: Isolation::Shared(1), ..Settings::default() };
        let apart = Settings::default();
        let hosts = hosts(200);
        let first = workers.spawn(Role::Session, &shared).unwrap();
        workers.keep_spare(first);
        workers.mark_ready(first);
        for host in &hosts {
            assert_eq!(serving(&mut workers, *host, &shared), first);
        }
        assert!(workers.worker(first).unwrap().hosts.len() <= NAMED && workers.serving.len() == 1, "bounded");
        for host in [hosts[0], hosts[100], Host::of("198.51.100.1".parse().unwrap())] {
            assert_ne!(serving(&mut workers, host, &apart), first);
        }
    }

    #[test]
    fn who_finds_no_room_gets_the_place_of_a_worker_that_only_waits() {
        let (mut workers, ..) = workers();
        let settings = Settings { max_workers: 2, ..Settings::default() };
        let hosts = hosts(3);
        let [first, second] = [0, 1].map(|number| serving(&mut workers, hosts[number], &settings));
        let in_the_way = |workers: &mut Workers, host: Host| {
            let chosen = workers.choose(host, &settings).unwrap();
            workers.in_the_way(host, chosen, &settings)
        };
        assert_eq!(in_the_way(&mut workers, hosts[2]), None, "both are busy");
        workers.release(second, &settings);
        assert_eq!(in_the_way(&mut workers, hosts[2]), None, "it has only just become idle");
        workers.worker(second).unwrap().expires = Some(Instant::now());
        assert_eq!(in_the_way(&mut workers, hosts[0]), None, "it has its own");
        assert_eq!(in_the_way(&mut workers, hosts[2]), Some(second));
        workers.remove(second, false);
        assert_ne!(serving(&mut workers, hosts[2], &settings), first);
    }

    #[test]
    fn sharing_does_not_spread_to_workers_that_one_host_has_alone() {
        let (mut workers, ..) = workers();
        let settings = Settings { max_workers: 100, ..Settings::default() };
        let hosts = hosts(101);
        let own: Vec<WorkerKey> =
            hosts[..100].iter().map(|host| serving(&mut workers, *host, &settings)).collect();
        let shared = serving(&mut workers, hosts[100], &settings);
        for (host, own) in hosts.iter().zip(own) {
            assert_eq!(serving(&mut workers, *host, &settings), own, "{shared:?} is shared");
        }
        assert_eq!(serving(&mut workers, hosts[100], &settings), shared);
    }

    #[test]
    fn one_host_has_several_workers_only_while_others_find_room() {
        let (mut workers, ..) = workers();
        workers.processors = 8;
        let settings = Settings { max_workers: 8, ..Settings::default() };
        let [host, other] = hosts(2)[..] else { panic!("two") };
        let own: std::collections::BTreeSet<_> =
            (0..100).map(|_| serving(&mut workers, host, &settings)).collect();
        assert_eq!(own.len(), 4);
        assert!(!own.contains(&serving(&mut workers, other, &settings)));
    }

    #[test]
    fn settings_that_a_full_channel_does_not_take_are_told_of() {
        let (mut workers, host, _spawner) = workers();
        let settings = Settings::default();
        let index = workers.spawn(Role::Session, &settings).unwrap();
        workers.mark_ready(index);
        workers.assign(index, host);
        assert_eq!(workers.set_up_again(&settings), [], "there is room");
        let first = (0..100_000).map(|_| workers.set_up_again(&settings)).find(|waiting| !waiting.is_empty());
        assert_eq!(first, Some(vec![index]));
    }
}
