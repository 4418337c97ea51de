//! The monitor's half of passwords: one auth worker with the table of users, as long as there are users.
//!
//! The table is memory that the loader has filled and sealed. The monitor hands it on as it is and reads nothing of it.

use crate::monitor::base::{Base, Heard, News};
use sockd_common::message::Role;
use sockd_common::message::auth::{FromAuth, ToAuth};
use sockd_session::keys::WorkerKey;
use sockd_session::violation::Violation;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// An auth worker that has died is started again, but no more often than this.
const RESTART: Duration = Duration::from_secs(1);

/// The auth worker and the table that it works with.
#[derive(Debug, Default)]
pub struct Auth {
    /// Handed to every auth worker; nothing where there are no users.
    table: Option<Rc<OwnedFd>>,
    worker: Option<WorkerKey>,
    started: Option<Instant>,
    restart_at: Option<Instant>,
}

impl Auth {
    /// The loader has read the users, of which there are so many. Without any there need be no worker; one that there is
    /// gets the empty table.
    pub fn take_table(&mut self, table: OwnedFd, users: u32, base: &mut Base) {
        let table = Rc::new(table);
        self.table = (users > 0).then(|| table.clone());
        match self.worker {
            Some(worker) => drop(base.tell(worker, &ToAuth::Table, Some(table))),
            None => self.start(base),
        }
    }

    /// Starts the worker, and hands it the table.
    fn start(&mut self, base: &mut Base) {
        let now = Instant::now();
        self.restart_at = None;
        let Some(table) = &self.table else { return };
        self.started = Some(now);
        self.worker = base.start_worker(Role::Auth);
        match self.worker {
            Some(worker) => drop(base.tell(worker, &ToAuth::Table, Some(table.clone()))),
            None => self.restart_at = now.checked_add(RESTART),
        }
    }

    /// Tells the worker something about a check; false where there is no worker just now.
    pub fn tell(&self, message: &ToAuth, base: &mut Base) -> bool {
        self.worker.is_some_and(|worker| base.tell(worker, message, None))
    }

    /// The worker has said something.
    pub fn heard(&mut self, message: FromAuth, base: &mut Base) -> Heard {
        match message {
            FromAuth::Ready(_) | FromAuth::TableRead { .. } => Ok(None),
            FromAuth::TableUnread => {
                base.log.quiet_err("the auth worker cannot read the table of users: nobody can log in");
                Ok(None)
            }
            FromAuth::Verdict { .. } => Err(Violation("a verdict that nobody has asked for")),
        }
    }

    /// When the worker is to be started again.
    pub fn due_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Does what is due.
    pub fn due(&mut self, now: Instant, base: &mut Base) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.start(base);
        }
    }

    /// A worker is gone. Where it was the auth worker a new one is started, with the table.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        if self.worker != Some(worker) {
            return Vec::new();
        }
        self.worker = None;
        match self.started {
            Some(started) if started.elapsed() < RESTART => self.restart_at = started.checked_add(RESTART),
            _ => self.start(base),
        }
        Vec::new()
    }
}
