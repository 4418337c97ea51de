//! Workers: their messages, the treatment of those that misbehave, and their ends.

use crate::monitor::base::Heard;
use crate::monitor::pool::Due;
use crate::monitor::roles::FromWorker;
use crate::monitor::serving::Serving;
use crate::spawner::protocol::Ending;
use sockd_common::channel::Received;
use sockd_common::counters::DeathCause;
use sockd_common::message::datagram::Relayed;
use sockd_common::message::session::FromSession;
use sockd_common::message::{LockdownReport, Role};
use sockd_session::pool::Expired;
use sockd_session::pool::endings::Lost;
use sockd_session::sandbox;
use sockd_session::{Event, Violation, WorkerKey};
use std::time::Instant;

/// The most messages taken from one worker before the others have their turn.
const READS_PER_TURN: usize = 256;

/// The turns of reading after which the channel of a dead worker is empty: by the kernel's default for socket buffers
/// it holds fewer messages.
const DRAIN_READS: usize = 8;

/// Workers and their messages.
impl Serving {
    pub(super) fn start_spares(&mut self, wanted: usize) {
        for _ in 0..wanted {
            let Some(worker) = self.base.start_worker(Role::Session) else { return };
            self.base.workers.pool.keep_spare(worker);
        }
    }

    pub(super) fn hear_worker(&mut self, key: WorkerKey) {
        for _ in 0..READS_PER_TURN {
            match self.base.workers.receive(key) {
                Ok(Received::Message(message, _)) => self.worker_said(key, message),
                Ok(Received::Nothing) => break,
                Ok(_) => return self.worker_gone(key),
                Err(error) => return self.violation(key, &error.to_string()),
            }
        }
        self.base.workers.flush_later(key);
    }

    fn worker_said(&mut self, worker: WorkerKey, message: FromWorker) {
        let heard = match message.ready() {
            Some(locks) => self.worker_ready(worker, &locks),
            None => self.room_hears(worker, message),
        };
        match heard {
            Ok(news) => self.dispatch_all(news),
            Err(Violation(what)) => self.condemn(worker, what),
        }
        self.end_condemned();
        self.check_passwords();
    }

    /// Takes a message to the part of the monitor that works with the role.
    fn room_hears(&mut self, worker: WorkerKey, message: FromWorker) -> Heard {
        let Self { base, awaited, .. } = self;
        match message {
            FromWorker::Session(message) => self.session_worker_said(worker, message),
            FromWorker::Datagram(message) => self.datagram_worker_said(worker, message),
            FromWorker::Ident(message) => awaited.askers.ident_heard(worker, message, base),
            FromWorker::Resolver(message) => awaited.resolver.heard(message, base),
            FromWorker::Upstream(message) => awaited.askers.upstream_heard(worker, message, base),
            FromWorker::Auth(message) => awaited.auth.heard(message, base),
        }
    }

    /// Has waiting passwords checked, as far as they can be at present.
    fn check_passwords(&mut self) {
        while let Some(news) = self.awaited.auth.next(&mut self.base) {
            self.dispatch_all(Some(news));
        }
    }

    /// Takes the report of a worker that has locked itself down. A worker with fewer locks than required is not used.
    fn worker_ready(&mut self, worker: WorkerKey, report: &LockdownReport) -> Heard {
        match sandbox::acceptable(report, &self.base.config.settings) {
            Err(lacking) => self.end_worker(worker, &lacking),
            Ok(()) if self.base.workers.mark_ready(worker) => {}
            Ok(()) => return Err(Violation("ready twice")),
        }
        Ok(None)
    }

    fn session_worker_said(&mut self, worker: WorkerKey, message: FromSession) -> Heard {
        let (id, event) = match message {
            FromSession::Ready(_) => return Ok(None),
            FromSession::Credentials { id, credentials } => {
                let key = self.sessions.named_by(worker, id)?;
                (id, self.sessions.introduced(key, credentials)?)
            }
            FromSession::Request { id, request } => (id, Event::Requested(request)),
            FromSession::Closed { id, why } => (id, Event::Closed(why)),
        };
        self.dispatch(self.sessions.named_by(worker, id)?, event);
        Ok(None)
    }

    pub(super) fn worker_due(&mut self, worker: WorkerKey, now: Instant) {
        match self.base.workers.due(worker, now, &mut self.base.reactor) {
            Some(Due::Expired(Expired::Idle)) => self.retire(worker, None),
            Some(Due::Expired(Expired::NotReady)) => self.end_worker(worker, "not ready in time"),
            Some(Due::Unread) => self.violation(worker, "it does not read its channel"),
            None => {}
        }
    }

    /// Kills a worker that has sent something that it cannot honestly send, and logs it.
    pub(super) fn violation(&mut self, worker: WorkerKey, what: &str) {
        self.condemn(worker, what);
        self.end_condemned();
    }

    /// Ends the workers that have been blamed.
    pub(super) fn end_condemned(&mut self) {
        while let Some(serial) = self.condemned.pop() {
            let worker = self.base.workers.pool.by_serial(serial);
            worker.into_iter().for_each(|worker| self.take_out(worker, None));
        }
    }

    /// Ends a worker that is of no use, and logs why.
    fn end_worker(&mut self, worker: WorkerKey, why: &str) {
        let Some((_, Lost { what, role, .. })) = self.lost(worker) else { return };
        self.base.counting.died(role, DeathCause::Unfit);
        self.base.log.err(&format!("{what} ended: {why}"));
        self.take_out(worker, None);
    }

    /// Takes out a worker that is gone. The line that says why waits for the spawner's message.
    fn worker_gone(&mut self, worker: WorkerKey) {
        if let Some((_, lost)) = self.lost(worker) {
            self.take_out(worker, Some(lost));
        }
    }

    /// Takes a worker out of service, and ends everything that depends on it.
    pub(super) fn take_out(&mut self, worker: WorkerKey, lost: Option<Lost>) {
        self.retire(worker, lost);
        let sessions = self.sessions.of_worker(worker);
        sessions.into_iter().for_each(|key| self.dispatch(key, Event::WorkerLost));
        for (key, why) in self.associations.of_worker(worker) {
            self.dissociated(key, why, Relayed::default());
        }
        let news = self.awaited.worker_gone(worker, &mut self.base);
        self.dispatch_all(news);
        self.check_passwords();
    }

    pub(super) fn retire(&mut self, worker: WorkerKey, lost: Option<Lost>) {
        self.base.workers.retire(worker, lost, &mut self.base.reactor);
    }

    pub(super) fn worker_ended(&mut self, serial: u32, how: Ending) {
        // Its messages from before its end still count. After as many as its channel can hold it is gone, and its place
        // may be taken by another.
        for _ in 0..DRAIN_READS {
            let key = self.base.workers.pool.by_serial(serial);
            key.into_iter().for_each(|key| self.hear_worker(key));
        }
        let key = self.base.workers.pool.by_serial(serial);
        key.into_iter().for_each(|key| self.worker_gone(key));
        let news = self.go_on(serial);
        self.dispatch_all(news);
        let Some(Lost { what, client, role }) = self.base.workers.reap(serial) else { return };
        self.base.counting.died(role, how.cause());
        match how {
            // If workers cannot be started, every new client would be another line.
            Ending::NotStarted(_) => self.base.log.quiet_err(&format!("a worker is {how}")),
            how if how.is_from_outside() => {
                self.base.log.err(&format!("{what} ended: {how} (from outside)"));
            }
            Ending::Exit(_) | Ending::Signal(_) => {
                self.base.log.err(&format!("{what} ended: {how}"));
                // An honest worker does not end by itself before it is retired: its client has made it end.
                client.into_iter().for_each(|host| self.clients.admission.violated(host, Instant::now()));
            }
        }
    }
}
