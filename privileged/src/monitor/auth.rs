//! The monitor's half of passwords: one auth worker with the table of users, as long as there are users, and what it checks.
//!
//! The table is memory that the loader has filled and sealed. The monitor hands it on as it is and reads nothing of it, and
//! neither of the passwords. Of a user the log and the limits need the name.

use crate::monitor::base::{Base, Heard, News};
use sockd_common::message::Role;
use sockd_common::message::auth::{Credentials, FromAuth, TICK, ToAuth};
use sockd_session::checks::{Checks, Login, Turn};
use sockd_session::pool::sole::Sole;
use sockd_session::{Arrival, CheckKey, Host, Violation, Waiter, WorkerKey};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// The auth worker, the table that it works with, and what it has to do.
#[derive(Debug, Default)]
pub struct Auth {
    /// Handed to every auth worker; nothing where there are no users.
    table: Option<Rc<OwnedFd>>,
    sole: Sole,
    /// When the worker, which has no clock, is told that time has passed.
    tick_at: Option<Instant>,
    checks: Checks,
}

/// The worker.
impl Auth {
    /// The loader has read the users, of which there are so many. Without any there need be no worker; one that there is
    /// gets the empty table.
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

    /// Does what is due. The worker that has not ended a check in time is named.
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

    /// A worker is gone. Where it was this one, what it was asked is not answered.
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

/// The checks.
impl Auth {
    /// Whether a password of this client host would be checked.
    pub fn admits(&mut self, host: Host) -> bool {
        self.table.is_some() && self.checks.admits(host, Instant::now())
    }

    /// A session of this client host wants a check. [`Auth::next`] begins it.
    pub fn check(&mut self, waiter: Waiter, host: Host, credentials: Credentials) -> CheckKey {
        self.checks.begin(waiter, host, credentials)
    }

    /// Asks what can be asked now, until a session hears something.
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

    /// The worker has said something.
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

    /// The session that waited does not any more; the worker still has to answer what it was asked.
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
