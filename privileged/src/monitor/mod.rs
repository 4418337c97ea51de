//! The monitor's one loop: what is ready is looked at, what is due is done, and nothing is ever waited for.

pub mod askers;
pub mod base;
pub mod bind_port;
pub mod dial;
pub mod listen;
pub mod lock_down;
pub mod outbox;
pub mod pool;
pub mod reactor;
pub mod resolver;
pub mod routing;
pub mod sessions;
pub mod signals;
pub mod sockets;
pub mod syslog;

use crate::config::options::Options;
use crate::hook::handle::Hook;
use crate::loader::handle::Loader;
use crate::monitor::askers::Queries;
use crate::monitor::base::Base;
use crate::monitor::bind_port::BindPorts;
use crate::monitor::dial::{Caller, Dialled};
use crate::monitor::listen::Listener;
use crate::monitor::pool::{Expired, Line, STARVED};
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::resolver::Lookups;
use crate::monitor::routing::Kinds;
use crate::monitor::sessions::Visit;
use crate::spawner::protocol::{Ending, FromSpawner};
use crate::start::service_manager::Notifier;
use nix::sys::signalfd::SignalFd;
use sockd_common::channel::Received;
use sockd_common::message::ident::FromIdent;
use sockd_common::message::resolver::FromResolver;
use sockd_common::message::session::{CloseReason, FromSession};
use sockd_common::message::upstream::FromUpstream;
use sockd_common::message::{LockdownReport, Role};
use sockd_session::client_host::Host;
use sockd_session::keys::{Slots, WorkerKey};
use sockd_session::limits::rate::RateLimiter;
use sockd_session::session::Event;
use sockd_session::unreachable::Unreachable;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Messages taken from one worker before the others have their turn.
const MESSAGES_A_TURN: usize = 256;

/// Turns in which all that the channel of a dead worker holds has been read: it holds less than this many messages by
/// the kernel's default for socket buffers.
const TURNS_OF_THE_DEAD: usize = 8;

/// What a trial adds to the classic line on a wrong version.
const NOT_YET: &str = "SOCKS5 is not spoken yet: use SOCKS4A, such as curl --socks4a";

/// How soon a stop looks again whether the relays have ended that it has told to.
const STOP_LOOKS: Duration = Duration::from_millis(50);

/// The only process that decides.
#[derive(Debug)]
pub struct Monitor {
    pub(crate) options: Options,
    pub(crate) base: Base,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) signals: SignalFd,
    pub(crate) kinds: Kinds,
    pub(crate) visits: Slots<Visit, 's'>,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) lookups: Lookups,
    pub(crate) queries: Queries,
    pub(crate) bind_ports: BindPorts,
    pub(crate) unreachable: Unreachable,
    pub(crate) hook: Option<Hook>,
    pub(crate) loader: Option<Loader>,
    /// Given up for a moment when descriptors run out, so that clients can be refused instead of left waiting.
    pub(crate) reserve: Option<OwnedFd>,
    /// New clients wait in the backlog until then.
    pub(crate) pause: Option<Instant>,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) notifier: Notifier,
    /// The address that the one client of an inetd connected to.
    pub(crate) only_client_of: Option<SocketAddr>,
    /// Workers that have been given up and whose end the spawner has not told yet; it tells each exactly once. With
    /// what and whose they were, where their end is news.
    pub(crate) dismissed: HashMap<u32, Option<(String, Option<Host>)>>,
}

/// How far the end of the daemon has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// Relays go on until then.
    pub grace_ends: Instant,
    /// Relays have been told to end.
    pub told: bool,
}

impl Monitor {
    /// Serves until it is told to stop. The error is why it cannot go on.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = [const { MaybeUninit::uninit() }; _];
        while !self.is_done() {
            let ready = self.base.reactor.wait(self.next_due(), &mut events);
            for token in ready.map_err(|error| format!("epoll: {error}"))? {
                self.ready(token)?;
            }
            self.due(Instant::now());
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stopping.is_some_and(|stopping| {
            let overdue = stopping.grace_ends.checked_add(Duration::from_secs(2));
            self.visits.is_empty() || overdue.is_some_and(|overdue| Instant::now() >= overdue)
        })
    }

    /// When something is due that is no deadline of the reactor's.
    fn next_due(&self) -> Option<Instant> {
        // A stop that has told its relays to end looks again soon.
        let soon = Instant::now().checked_add(STOP_LOOKS);
        let dues = [
            self.base.log.retry_at(),
            self.base.workers.next_expiry(),
            self.pause,
            self.lookups.restart_at(),
            self.stopping.filter(|stopping| !stopping.told).map(|stopping| stopping.grace_ends),
            self.base.log.catch_up_at(),
            self.notifier.beat_at(),
            soon.filter(|_| self.stopping.is_some_and(|stopping| stopping.told)),
        ];
        dues.into_iter().flatten().min()
    }

    fn ready(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::Listener(place) => self.accept(place),
            Token::Signals => self.signalled(),
            Token::Spawner => return self.spawner_spoke(),
            Token::Hook => self.hook_spoke(),
            Token::Log => self.base.log.flush(),
            Token::Loader => self.loader_spoke(),
            Token::Terminal => self.stop(),
            Token::Changes => self.kinds.forget(),
            Token::Worker(key) => self.worker_spoke(key),
            Token::Dial(key) => {
                let ready = self.base.dials.ready(key, &mut self.base.reactor);
                self.dialled(ready);
            }
            Token::Port(key) => self.port_ready(key),
            // These have deadlines only.
            Token::Session(_) | Token::Lookup(_) | Token::Query(_) => {}
        }
        Ok(())
    }

    fn dialled(&mut self, what: Option<(Caller, Dialled)>) {
        match what {
            Some((Caller::Session(key), dialled)) => self.session_dialled(key, dialled),
            Some((Caller::Lookup(key, record), dialled)) => self.nameserver_dialled(key, record, dialled),
            Some((Caller::Query(key), dialled)) => self.identd_dialled(key, dialled),
            None => {}
        }
    }

    /// Everything whose time has come.
    fn due(&mut self, now: Instant) {
        while let Some(token) = self.base.reactor.take_due(now) {
            match token {
                Token::Dial(key) => {
                    let overdue = self.base.dials.overdue(key, &mut self.base.reactor);
                    self.dialled(overdue);
                }
                Token::Session(key) => self.visit_overdue(key),
                Token::Lookup(key) => self.lookup_overdue(key, now),
                Token::Query(key) => self.query_overdue(key),
                Token::Worker(key) => self.flush_worker(key),
                _ => {}
            }
        }
        for (index, why) in self.base.workers.expired(now) {
            match why {
                // The end of another may have given it something to do.
                Expired::Idle if self.base.workers.worker(index).is_some_and(|worker| worker.load > 0) => {}
                Expired::Idle => self.dismiss(index, false, None),
                Expired::NotReady => self.lose(index, Some("not ready in time".into())),
                Expired::Unread => self.violation(index, "it does not read its channel"),
            }
        }
        if self.pause.is_some_and(|until| until <= now) {
            self.resume();
        }
        if self.lookups.restart_at().is_some_and(|at| at <= now) {
            self.start_resolver();
        }
        if self.stopping.is_some_and(|stopping| !stopping.told && stopping.grace_ends <= now) {
            self.end_all_sessions();
        }
        self.keep_spares();
        self.flush_spawner();
        self.base.log.catch_up(now);
        if self.notifier.beat_at().is_some_and(|at| at <= now) {
            self.notifier.beat(now, self.status());
        }
        self.write_log(now);
    }

    /// A full log is watched until it has room, so that a burst is not lost for want of a look.
    fn write_log(&mut self, now: Instant) {
        self.base.log.end_turn(now);
        if let Some(socket) = self.base.log.full_socket() {
            let flags = EventFlags::OUT | EventFlags::ONESHOT;
            if self.base.reactor.watch_for(socket, Token::Log, flags).is_err() {
                let _ = self.base.reactor.watch(socket, Token::Log, flags);
            }
        }
    }

    /// Starts what is missing of spare workers.
    pub(crate) fn keep_spares(&mut self) {
        let wanted = self.base.workers.spares_wanted(&self.base.config.settings);
        let wanted = if self.stopping.is_some() { 0 } else { wanted };
        for _ in 0..wanted {
            match self.spawn(Role::Session) {
                Some(index) => self.base.workers.keep_spare(index),
                None => return,
            }
        }
    }

    /// Asks for a worker and watches its channel.
    pub(crate) fn spawn(&mut self, role: Role) -> Option<WorkerKey> {
        let index = match self.base.workers.spawn(role, &self.base.config.settings) {
            Ok(index) => index,
            Err(error) => {
                self.base.log.quiet_err(&format!("cannot start a {} worker: {error}", role.as_str()));
                return None;
            }
        };
        let worker = self.base.workers.worker(index)?;
        if let Err(error) = self.base.reactor.watch(&*worker, Token::Worker(index), EventFlags::IN) {
            self.lose(index, Some(format!("epoll: {error}")));
            return None;
        }
        Some(index)
    }

    fn worker_spoke(&mut self, index: WorkerKey) {
        for _ in 0..MESSAGES_A_TURN {
            let Some(worker) = self.base.workers.worker(index) else { return };
            let spoken = match &worker.line {
                Line::Session(link) => link.receive().map(Spoken::Session),
                Line::Ident(link) => link.receive().map(Spoken::Ident),
                Line::Resolver(link) => link.receive().map(Spoken::Resolver),
                Line::Upstream(link) => link.receive().map(Spoken::Upstream),
            };
            match spoken {
                Ok(Spoken::Session(Received::Message(message, _))) => {
                    self.session_worker_said(index, message)
                }
                Ok(Spoken::Ident(Received::Message(message, _))) => self.ident_worker_said(index, message),
                Ok(Spoken::Resolver(Received::Message(message, _))) => self.resolver_said(index, message),
                Ok(Spoken::Upstream(Received::Message(message, _))) => {
                    self.upstream_worker_said(index, message)
                }
                Ok(spoken) if spoken.is_nothing() => break,
                Ok(_) => return self.lose(index, None),
                Err(error) => return self.violation(index, &error.to_string()),
            }
        }
        self.flush_worker(index);
    }

    /// Sends a worker what waits for it; its channel is watched for room while something does.
    pub(crate) fn flush_worker(&mut self, index: WorkerKey) {
        let Some(worker) = self.base.workers.worker(index) else { return };
        worker.flush();
        let (wants_room, starved) = (worker.wants_room(), worker.is_starved());
        let (token, now) = (Token::Worker(index), Instant::now());
        if starved && worker.retry.is_none_or(|at| at <= now) {
            self.base.reactor.set_deadline(token, &mut worker.retry, now.checked_add(STARVED));
        }
        if let Some(wants_room) = wants_room {
            watch_for_room(&self.base.reactor, &*worker, token, wants_room);
        }
        self.base.workers.has_sent(index);
    }

    /// The same for the spawner, which may be stopped: clients that have a worker are served even so.
    fn flush_spawner(&mut self) {
        let spawner = self.base.workers.spawner();
        spawner.flush();
        // Starved, it is tried again with the next turn, which comes soon.
        if let Some(wants_room) = spawner.wants_room() {
            watch_for_room(&self.base.reactor, &*spawner, Token::Spawner, wants_room);
        }
    }

    fn session_worker_said(&mut self, index: WorkerKey, message: FromSession) {
        match message {
            FromSession::Ready(locks) => self.worker_ready(index, locks),
            FromSession::Request { id, request } => self.visit_event(index, id, Event::Requested(request)),
            FromSession::Closed { id, up, down, why } => {
                self.visit_event(index, id, Event::Closed { up, down, why });
                if self.options.trial && why == CloseReason::WrongVersion(5) {
                    self.base.log.quiet_err(NOT_YET);
                }
            }
        }
    }

    /// A worker has locked itself down. One that holds less than the first did is not used.
    pub(crate) fn worker_ready(&mut self, index: WorkerKey, locks: LockdownReport) {
        if !self.base.workers.mark_ready(index) {
            return self.violation(index, "ready twice");
        }
        if let Err(lacking) = sockd_session::sandbox::acceptable(&locks, &self.base.config.settings) {
            return self.lose(index, Some(lacking));
        }
        self.flush_worker(index);
    }

    fn spawner_spoke(&mut self) -> Result<(), String> {
        self.flush_spawner();
        loop {
            match self.base.workers.spawner().receive() {
                Ok(Received::Message(FromSpawner::Ended { serial, how }, _)) => {
                    self.worker_ended(serial, how)
                }
                Ok(Received::Nothing) => return Ok(()),
                Ok(_) => return Err("the spawner has ended, and with it every worker".into()),
                Err(error) => return Err(format!("spawner: {error}")),
            }
        }
    }

    fn worker_ended(&mut self, serial: u32, how: Ending) {
        let index =
            self.base.workers.all().find(|(_, worker)| worker.serial == serial).map(|(index, _)| index);
        if let Some(index) = index {
            // What it said before it ended still counts: with all that its channel can hold it is gone, and its place
            // may be taken by another.
            for _ in 0..TURNS_OF_THE_DEAD {
                if !self.dismissed.contains_key(&serial) {
                    self.worker_spoke(index);
                }
            }
            if !self.dismissed.contains_key(&serial) {
                self.lose(index, None);
            }
        }
        let Some((what, host)) = self.dismissed.remove(&serial).flatten() else { return };
        match how {
            // Where workers cannot be started, every client that comes would be another line.
            Ending::NotStarted(_) => self.base.log.quiet_err(&format!("a worker is {how}")),
            _ => self.base.log.err(&format!("{what} ended: {how}")),
        }
        // An honest worker does not end before it is let go: who can make it end is its client.
        if let (Some(host), Ending::Exit(_) | Ending::Signal(_)) = (host, how) {
            self.rate_limiter.violated(host, Instant::now());
        }
    }

    /// A worker said something that it cannot honestly say: it is killed, and the log says so.
    pub(crate) fn violation(&mut self, index: WorkerKey, what: &str) {
        if let Some(worker) = self.base.workers.worker(index) {
            let line = format!("violation by {}: {what}; killed", worker.describe());
            if let Some(host) = worker.only_host() {
                self.rate_limiter.violated(host, Instant::now());
            }
            self.base.log.err(&line);
            self.give_up(index, None);
        }
    }

    /// A worker is gone or useless. Where it is not known yet why, the line waits for what the spawner tells.
    pub(crate) fn lose(&mut self, index: WorkerKey, why: Option<String>) {
        let Some(worker) = self.base.workers.worker(index) else { return };
        let (what, host) = (worker.describe(), worker.only_host());
        match why {
            Some(why) => {
                self.base.log.err(&format!("{what} ended: {why}"));
                self.give_up(index, None);
            }
            None => self.give_up(index, Some((what, host))),
        }
    }

    /// What the worker was for ends with it.
    fn give_up(&mut self, index: WorkerKey, news: Option<(String, Option<Host>)>) {
        let is_resolver =
            self.base.workers.worker(index).is_some_and(|worker| matches!(worker.line, Line::Resolver(_)));
        self.dismiss(index, true, news);
        self.lose_visits(index);
        self.lose_queries(index);
        if is_resolver {
            self.lose_lookups();
        }
    }

    /// Takes a worker out of service. `news`: what to log once the spawner has told how it ended.
    pub(crate) fn dismiss(&mut self, index: WorkerKey, kill: bool, news: Option<(String, Option<Host>)>) {
        if let Some(worker) = self.base.workers.remove(index, kill) {
            self.dismissed.insert(worker.serial, news);
        }
    }
}

enum Spoken {
    Session(Received<FromSession>),
    Ident(Received<FromIdent>),
    Resolver(Received<FromResolver>),
    Upstream(Received<FromUpstream>),
}

impl Spoken {
    fn is_nothing(&self) -> bool {
        matches!(
            self,
            Self::Session(Received::Nothing)
                | Self::Ident(Received::Nothing)
                | Self::Resolver(Received::Nothing)
                | Self::Upstream(Received::Nothing)
        )
    }
}

/// From now on a channel is watched for messages, and for room where messages wait.
fn watch_for_room(reactor: &Reactor, channel: impl AsFd, token: Token, wants_room: bool) {
    let flags = if wants_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
    let _ = reactor.watch_for(channel, token, flags);
}
