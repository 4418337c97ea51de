//! The monitor's half of the resolver: one resolver worker, sockets to the nameservers for it, answers from it.

use crate::config::trusted_file;
use crate::monitor::Monitor;
use crate::monitor::dial::{Begun, Caller, Dial, Dialled};
use crate::monitor::pool::Line;
use crate::monitor::reactor::Token;
use crate::monitor::sockets;
use rustix::fs::Stat;
use sockd_common::message::Role;
use sockd_common::message::resolver::{Answer, FromResolver, Query, RecordType, ToResolver, Transport};
use sockd_session::client_host::Host;
use sockd_session::keys::{DialKey, LookupKey, SessionKey, Slots, WorkerKey};
use sockd_session::limits::counts::Resource;
use sockd_session::limits::fair_share::gives_way;
use sockd_session::resolv_conf::ResolvConf;
use sockd_session::session::Event;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// resolv.conf(5).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// hosts(5).
pub const HOSTS: &str = "/etc/hosts";

/// Sockets that one lookup gets: search list, retries, TCP, forward confirmation. More than an honest resolver asks
/// for, which counts them itself; each that is asked for is a message to a worker that may not read them.
const SOCKETS_A_LOOKUP: u8 = 64;

/// A resolver that has been told to cancel a lookup gets this long to say so: longer than a worker may take to start.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);

/// The two files are looked at for changes no more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A resolver worker that has died is started again, but no more often than this.
const RESTART: Duration = Duration::from_secs(1);

/// The lookups under way and who answers them.
#[derive(Debug)]
pub(crate) struct Lookups {
    worker: Option<WorkerKey>,
    restart_at: Option<Instant>,
    started: Option<Instant>,
    pending: Slots<Lookup, 'l'>,
    conf: ResolvConf,
    /// Of both files as they were last read; nothing where they have not been read yet.
    versions: Option<[Option<Version>; 2]>,
    looked_at: Option<Instant>,
}

/// What tells one version of a file from the next.
type Version = (u64, u64, i64, u64, i64);

#[derive(Debug)]
struct Lookup {
    /// The session that waits; nothing once it does not any more.
    visit: Option<SessionKey>,
    host: Host,
    since: Instant,
    /// What no resolver has been asked yet, as there was none.
    query: Option<Query>,
    sockets: u8,
    /// Connections to nameservers on their way, one at most for each type of record.
    dials: Vec<(RecordType, DialKey)>,
    /// When a lookup that has been cancelled has to have ended.
    due: Option<Instant>,
}

impl Lookup {
    fn may_have_socket_for(&self, record: RecordType) -> bool {
        self.sockets < SOCKETS_A_LOOKUP && self.dials.iter().all(|(other, _)| *other != record)
    }
}

impl Lookups {
    /// No lookups yet.
    pub(crate) fn new() -> Self {
        Self {
            worker: None,
            restart_at: None,
            started: None,
            pending: Slots::default(),
            conf: ResolvConf::parse(&[]),
            versions: None,
            looked_at: None,
        }
    }

    /// When the resolver worker is to be started again.
    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }
}

impl Monitor {
    /// Starts the resolver worker and tells it what the files say.
    pub(crate) fn start_resolver(&mut self) {
        self.lookups.restart_at = None;
        self.lookups.started = Some(Instant::now());
        self.lookups.worker = self.spawn(Role::Resolver);
        self.lookups.versions = None;
        self.lookups.looked_at = None;
        match self.lookups.worker {
            Some(_) => {
                self.look_at_files();
                let waiting = self.lookups.pending.keys_where(|_| true);
                waiting.into_iter().for_each(|index| self.ask_resolver(index));
            }
            None => self.lookups.restart_at = Instant::now().checked_add(RESTART),
        }
    }

    /// Reads resolv.conf and hosts again where they have changed.
    fn look_at_files(&mut self) {
        let now = Instant::now();
        if self.lookups.looked_at.is_some_and(|last| now.duration_since(last) < LOOK_AGAIN) {
            return;
        }
        self.lookups.looked_at = Some(now);
        let [conf, hosts] = [RESOLV_CONF, HOSTS].map(version);
        let old = self.lookups.versions;
        let mut seen = [conf, hosts];
        if old.is_none_or(|[old, _]| old != conf) {
            let text = trusted_file::read_plain(Path::new(RESOLV_CONF));
            let unread = text.is_err() && conf.is_some();
            if unread {
                seen[0] = None;
            } else {
                self.lookups.conf = ResolvConf::parse(&text.unwrap_or_default());
            }
            // A new resolver has to hear it once.
            if !unread || old.is_none() {
                self.tell_resolver(self.lookups.conf.setup(), None);
            }
        }
        if old.is_none_or(|[_, old]| old != hosts) {
            match trusted_file::open_plain(Path::new(HOSTS)) {
                Ok(file) => drop(self.tell_resolver(ToResolver::Hosts, Some(file))),
                Err(_) => seen[1] = None,
            }
        }
        // One that is there and could not be read, for want of a descriptor perhaps, is tried again.
        self.lookups.versions = Some(seen);
    }

    /// False where there is no resolver just now. That one is lost is noticed where its channel is read.
    fn tell_resolver(&mut self, message: ToResolver, descriptor: Option<OwnedFd>) -> bool {
        let Some(index) = self.lookups.worker else { return false };
        let Some(worker) = self.base.workers.worker(index) else { return false };
        let Line::Resolver(link) = &mut worker.line else { return false };
        let sent = link.send(message, descriptor);
        if link.is_stuck() {
            self.flush_worker(index);
        }
        sent
    }

    /// Asks what has not been asked yet; without a resolver it waits for the next one, as long as its session does.
    fn ask_resolver(&mut self, index: LookupKey) {
        let query = self.lookups.pending.get(index).and_then(|lookup| lookup.query.clone());
        let Some(query) = query else { return };
        if self.tell_resolver(ToResolver::Resolve { id: index.id(), query }, None)
            && let Some(lookup) = self.lookups.pending.get_mut(index)
        {
            lookup.query = None;
        }
    }

    /// Begins a lookup for a session, or answers at once that there is none.
    pub(crate) fn look_up(&mut self, visit: SessionKey, query: Query) -> Option<Event> {
        self.look_at_files();
        let host = self.visits.get(visit)?.host();
        self.make_room_for_lookup(host);
        if let Some(limit) = self.lookup_limit(host) {
            self.base.log.quiet_err(&format!("lookups fail: {limit} by {host}"));
            return Some(Event::Resolved(Answer::Failed));
        }
        self.base.counts.add(Resource::Lookup, host);
        let index = self.lookups.pending.insert(Lookup {
            visit: Some(visit),
            host,
            since: Instant::now(),
            query: Some(query),
            sockets: 0,
            dials: Vec::new(),
            due: None,
        });
        if let Some(visit) = self.visits.get_mut(visit) {
            visit.held.lookup = Some(index);
        }
        self.ask_resolver(index);
        None
    }

    /// The limit that admits no further lookup of a host. Lookups that have been cancelled count until the resolver has
    /// ended them, which a resolver that can be relied on does at once.
    fn lookup_limit(&mut self, host: Host) -> Option<&'static str> {
        let settings = &self.base.config.settings;
        let limit = self.base.counts.limit(Resource::Lookup, host, settings);
        let unended = u32::try_from(self.lookups.pending.len()).unwrap_or(u32::MAX);
        limit.or_else(|| (unended >= settings.max_lookups.saturating_mul(2)).then_some("max_lookups reached"))
    }

    /// Where all places are taken, a host that has most of them loses one to a host that has few. The session that
    /// waited there has waited long enough.
    fn make_room_for_lookup(&mut self, host: Host) {
        if self.lookup_limit(host).is_none() {
            return;
        }
        let waiting = self.lookups.pending.iter().filter(|(_, lookup)| lookup.visit.is_some());
        let held = waiting.map(|(key, lookup)| (lookup.host, lookup.since, key));
        let Some((most, key)) = gives_way(held, host) else { return };
        self.base.log.quiet_err(&format!("lookups fail: max_lookups reached by {most}"));
        if let Some(session) = self.lookups.pending.get(key).and_then(|lookup| lookup.visit) {
            self.cancel_lookup(key, session);
            self.set_deadline(session, Some(Duration::ZERO));
        }
    }

    /// The session that waited does not any more; the resolver still has to answer.
    pub(crate) fn cancel_lookup(&mut self, index: LookupKey, session: SessionKey) {
        let Some(lookup) = self.lookups.pending.get_mut(index) else { return };
        // It may be answered already, and its key another's.
        if lookup.visit.take_if(|waiting| *waiting == session).is_none() {
            return;
        }
        self.base.counts.remove(Resource::Lookup, lookup.host);
        if lookup.query.is_some()
            && let Some(lookup) = self.lookups.pending.remove(index)
        {
            return self.answered(index, lookup, Answer::Failed);
        }
        self.cancel_dials(index);
        if let Some(lookup) = self.lookups.pending.get_mut(index) {
            let due = Instant::now().checked_add(CANCEL_LIMIT);
            self.base.reactor.set_deadline(Token::Lookup(index), &mut lookup.due, due);
            self.tell_resolver(ToResolver::Cancel { id: index.id() }, None);
        }
    }

    pub(crate) fn resolver_said(&mut self, worker: WorkerKey, message: FromResolver) {
        match message {
            FromResolver::Ready(locks) => self.worker_ready(worker, locks),
            FromResolver::NeedSocket { id, record, transport, attempt } => {
                let index = id.into();
                match self.lookups.pending.get_mut(index) {
                    Some(lookup) if lookup.may_have_socket_for(record) => {
                        lookup.sockets = lookup.sockets.saturating_add(1);
                        self.nameserver(index, record, transport, attempt);
                    }
                    _ => self.violation(worker, "a socket for a lookup that needs none"),
                }
            }
            FromResolver::Answer { id, answer } => {
                let index = id.into();
                self.cancel_dials(index);
                match self.lookups.pending.remove(index) {
                    Some(lookup) => self.answered(index, lookup, answer),
                    None => self.violation(worker, "an answer that nobody asked for"),
                }
            }
        }
    }

    fn answered(&mut self, index: LookupKey, mut lookup: Lookup, answer: Answer) {
        self.base.reactor.set_deadline(Token::Lookup(index), &mut lookup.due, None);
        let Some(waiting) = lookup.visit else { return };
        self.base.counts.remove(Resource::Lookup, lookup.host);
        self.happen(waiting, Event::Resolved(answer));
    }

    /// Connects to the nameserver of an attempt.
    fn nameserver(&mut self, index: LookupKey, record: RecordType, transport: Transport, attempt: u8) {
        let Some(to) = self.lookups.conf.server(attempt) else {
            return self.give_socket(index, record, None);
        };
        if transport == Transport::Udp {
            return self.give_socket(index, record, sockets::datagram(to).ok());
        }
        let limit = Duration::from_secs(self.lookups.conf.timeout().into());
        let dial = Dial { to, from: None, reserved: false, due: Instant::now().checked_add(limit) };
        match self.base.dials.begin(dial, Caller::Lookup(index, record), &mut self.base.reactor) {
            Ok(Begun::Connected(socket)) => self.give_socket(index, record, Some(socket)),
            Ok(Begun::Pending(key)) => {
                self.lookups
                    .pending
                    .get_mut(index)
                    .into_iter()
                    .for_each(|lookup| lookup.dials.push((record, key)));
            }
            Err(_) => self.give_socket(index, record, None),
        }
    }

    fn give_socket(&mut self, index: LookupKey, record: RecordType, socket: Option<OwnedFd>) {
        let id = index.id();
        match socket {
            Some(socket) => self.tell_resolver(ToResolver::Socket { id, record }, Some(socket)),
            None => self.tell_resolver(ToResolver::NoSocket { id, record }, None),
        };
    }

    fn cancel_dials(&mut self, index: LookupKey) {
        let Some(lookup) = self.lookups.pending.get_mut(index) else { return };
        for (record, key) in lookup.dials.drain(..) {
            self.base.dials.cancel(key, Caller::Lookup(index, record), &mut self.base.reactor);
        }
    }

    /// The connection to a nameserver stands, or has failed.
    pub(crate) fn nameserver_dialled(&mut self, index: LookupKey, record: RecordType, dialled: Dialled) {
        if let Some(lookup) = self.lookups.pending.get_mut(index) {
            lookup.dials.retain(|(other, _)| *other != record);
            self.give_socket(index, record, dialled.ok());
        }
    }

    /// The resolver owes the end of a cancelled lookup.
    pub(crate) fn lookup_overdue(&mut self, index: LookupKey, now: Instant) {
        let late =
            self.lookups.pending.get(index).and_then(|lookup| lookup.due).is_some_and(|due| due <= now);
        if let (true, Some(worker)) = (late, self.lookups.worker) {
            self.violation(worker, "a lookup is not ended when it has to be");
        }
    }

    /// The resolver worker is gone: everything that it had to do has failed, for one of these may have been its end,
    /// and a new one is started for what it had not been asked yet.
    pub(crate) fn lose_lookups(&mut self) {
        self.lookups.worker = None;
        for index in self.lookups.pending.keys_where(|lookup| lookup.query.is_none()) {
            self.cancel_dials(index);
            if let Some(lookup) = self.lookups.pending.remove(index) {
                self.answered(index, lookup, Answer::Failed);
            }
        }
        match self.lookups.started {
            Some(started) if started.elapsed() < RESTART => {
                self.lookups.restart_at = started.checked_add(RESTART);
            }
            _ => self.start_resolver(),
        }
    }
}

fn version(path: &str) -> Option<Version> {
    let Stat { st_dev, st_ino, st_mtime, st_mtime_nsec, st_size, .. } =
        rustix::fs::statat(rustix::fs::CWD, path, rustix::fs::AtFlags::empty()).ok()?;
    Some((st_dev, st_ino, st_mtime, st_mtime_nsec, st_size))
}
