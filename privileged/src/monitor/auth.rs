//! The monitor's half of passwords: one auth worker with the table of users, while there are users, and its checks.
//!
//! The table is memory that the loader has filled and sealed. The monitor hands it on and reads neither it nor the
//! passwords. For the log and the limits it needs only the names of users.

use crate::monitor::base::{Base, Heard, News};
use sockd_common::message::Role;
use sockd_common::message::auth::{Credentials, FromAuth, TICK, ToAuth};
use sockd_session::checks::{Checks, Login, Turn};
use sockd_session::pool::sole::Sole;
use sockd_session::{Arrival, CheckKey, Host, Violation, Waiter, WorkerKey};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// The auth worker, its table, and its checks.
#[derive(Debug, Default)]
pub struct Auth {
    /// The table for every auth worker; `None` without users.
    table: Option<Rc<OwnedFd>>,
    sole: Sole,
    /// When the worker, which has no clock, is next told that time has passed.
    tick_at: Option<Instant>,
    checks: Checks,
}

/// The auth worker.
impl Auth {
    /// Takes the table that the loader has read, with the number of users. Without users no worker is needed; a running
    /// one gets the empty table.
    pub fn take_table(&mut self, table: OwnedFd, users: u32, base: &mut Base) {
        let table = Rc::new(table);
        self.table = (users > 0).then(|| table.clone());
        match self.sole.worker() {
            Some(worker) => base.tell(worker, &ToAuth::Table, Some(table)),
            None => self.start(base),
        }
    }

    /// Starts the worker, and hands it the table.
    fn start(&mut self, base: &mut Base) {
        let Some(table) = &self.table else { return };
        let (worker, now) = (base.start_worker(Role::Auth), Instant::now());
        self.sole.started(worker, now);
        self.tick_at = worker.and_then(|_| now.checked_add(TICK));
        worker.into_iter().for_each(|worker| base.tell(worker, &ToAuth::Table, Some(table.clone())));
    }

    /// When the worker is to be started again, or owes the end of a check.
    pub fn due_at(&self) -> Option<Instant> {
        [self.sole.due_at(), self.tick_at, self.checks.due_at()].into_iter().flatten().min()
    }

    /// Does what is due. Returns the worker if it has not ended a check in time.
    pub fn due(&mut self, now: Instant, base: &mut Base) -> Option<(WorkerKey, Violation)> {
        if self.sole.take_due(now) {
            self.start(base);
        }
        if self.tick_at.is_some_and(|at| at <= now) {
            self.tick_at = now.checked_add(TICK);
            self.sole.worker().into_iter().for_each(|worker| base.tell(worker, &ToAuth::Tick, None));
        }
        self.sole.worker().zip(self.checks.look_at_owed(now).err())
    }

    /// Fails the checks under way if the worker that is gone is the auth worker.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        if !self.sole.gone(worker) {
            return Vec::new();
        }
        self.tick_at = None;
        let failed =
            self.checks.fail_asked().into_iter().map(|waiter| news(waiter, Login::Unchecked)).collect();
        if self.sole.restarts_at_once(Instant::now()) {
            self.start(base);
        }
        failed
    }
}

/// The checks of passwords.
impl Auth {
    /// Whether a password of this client host would be checked.
    pub fn admits(&mut self, host: Host) -> bool {
        self.table.is_some() && self.checks.admits(host, Instant::now())
    }

    /// Adds a check for a session of this client host. [`Auth::next`] begins it.
    pub fn check(&mut self, waiter: Waiter, host: Host, credentials: Credentials) -> CheckKey {
        self.checks.begin(waiter, host, credentials)
    }

    /// Asks the worker for waiting checks, up to the first news for a session.
    pub fn next(&mut self, base: &mut Base) -> Option<News> {
        let worker = self.sole.worker().filter(|_| self.table.is_some());
        loop {
            match (self.checks.next(worker.is_some(), Instant::now())?, worker) {
                (Turn::Tell(waiter, login), _) => return Some(news(waiter, login)),
                (Turn::Ask(check), Some(worker)) => base.tell(worker, &check, None),
                (Turn::Ask(_), None) => return None,
            }
        }
    }

    /// Takes a message of the worker.
    pub fn heard(&mut self, message: FromAuth, base: &mut Base) -> Heard {
        match message {
            FromAuth::Ready(_) | FromAuth::TableRead { .. } => Ok(None),
            FromAuth::TableUnread => {
                base.log.quiet_err("the auth worker cannot read the table of users: nobody can log in");
                Ok(None)
            }
            FromAuth::Verdict { id, verdict } => {
                base.counting.checked(&verdict);
                let told = self.checks.answered(id.into(), verdict, Instant::now())?;
                Ok(told.map(|(waiter, login)| news(waiter, login)))
            }
        }
    }

    /// Cancels a check whose session waits no longer. The worker still has to answer it.
    pub fn cancel(&mut self, key: CheckKey, waiter: Waiter, base: &mut Base) {
        if let Some((message, worker)) =
            self.checks.cancel(key, waiter, Instant::now()).zip(self.sole.worker())
        {
            base.tell(worker, &message, None);
        }
    }
}

fn news(waiter: Waiter, login: Login) -> News {
    (waiter, Arrival::LoggedIn(login))
}
