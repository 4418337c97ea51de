//! The state that all parts of the monitor share, and the news that they return.

use crate::log::Log;
use crate::monitor::dial::Dials;
use crate::monitor::pool::Workers;
use crate::monitor::reactor::{Reactor, Token};
use sockd_common::message::takeover::Totals;
use sockd_common::message::{Role, ToWorker};
use sockd_ledger::ledger::Ledger;
use sockd_session::counting::Counting;
use sockd_session::limits::counts::Counts;
use sockd_session::limits::lines::Lines;
use sockd_session::pool::AskerKey;
use sockd_session::pool::choice::Choice;
use sockd_session::takeover;
use sockd_session::{
    Arrival, Config, Isolation, Met, Resource, SessionKey, Settings, Violation, Waiter, WorkerKey,
};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// News for a session that waits.
pub type News = (Waiter, Arrival);

/// The outcome of a worker's message.
pub type Heard = Result<Option<News>, Violation>;

/// No worker exists and none may be started, or the one that exists does not read its questions.
#[derive(Debug)]
pub struct NoWorker;

/// The configuration in force, and the state that all parts of the monitor share.
#[derive(Debug)]
pub struct Base {
    /// Rules, routes and settings. Total limits are less the share of older trees.
    pub config: Config,
    /// The settings as they were read.
    pub as_read: Settings,
    /// The totals that older trees have open.
    pub elsewhere: Totals,
    /// The log.
    pub log: Log,
    /// All watched descriptors and deadlines.
    pub reactor: Reactor,
    /// The workers.
    pub workers: Workers,
    /// The counts of everything that each client host has open.
    pub counts: Counts,
    /// The limits that lines of the rules set.
    pub lines: Lines,
    /// Connections that are being made.
    pub dials: Dials,
    /// The view of the sessions for administrators.
    pub ledger: Ledger,
    /// The counters for monitoring programs.
    pub counting: Counting,
    /// Whether this is a trial of the daemon.
    pub is_trial: bool,
}

impl Base {
    /// Begins with nothing under way.
    pub fn new(
        config: Config,
        log: Log,
        mut workers: Workers,
        is_trial: bool,
        counting: Counting,
    ) -> rustix::io::Result<Self> {
        let ledger = Ledger::default();
        workers.pool.count_in(counting.counters());
        counting.loaded(config.rules.len(), ledger.time(Instant::now()));
        Ok(Self {
            as_read: config.settings.clone(),
            config,
            elsewhere: Totals::default(),
            log,
            reactor: Reactor::new()?,
            workers,
            counts: Counts::default(),
            lines: Lines::default(),
            dials: Dials::default(),
            ledger,
            counting,
            is_trial,
        })
    }

    /// Notes what older trees have open: total limits are for all trees.
    pub fn count_elsewhere(&mut self, elsewhere: Totals) {
        self.elsewhere = elsewhere;
        self.config.settings = match elsewhere == Totals::default() {
            true => self.as_read.clone(),
            false => takeover::beside(&self.as_read, &elsewhere),
        };
    }

    /// The totals that this tree has open, with this number of sessions.
    pub fn totals(&mut self, sessions: usize) -> Totals {
        let counts = &mut self.counts;
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Totals {
            sessions: number(sessions),
            workers: number(self.workers.pool.workers.len()),
            requests: number(counts.unfinished()),
            lookups: counts.in_all(Resource::Lookup),
            idents: counts.in_all(Resource::Ident),
            binds: counts.in_all(Resource::Bind),
            flows: counts.in_all(Resource::Flow),
        }
    }

    /// Counts a limit that was reached, and logs the consequence, quietly.
    pub fn limited(&mut self, what: &str, met: impl Into<Met>) {
        let met = met.into();
        self.counting.limited(met.label);
        self.log.quiet_err(&format!("{what}: {met}"));
    }

    /// Starts a worker, or logs why it cannot.
    pub fn start_worker(&mut self, role: Role) -> Option<WorkerKey> {
        let started = self.workers.start(role, &self.config.settings, &mut self.reactor);
        let failed = |error| self.log.quiet_err(&format!("cannot start a {} worker: {error}", role.as_str()));
        started.map_err(failed).ok()
    }

    /// Assigns one more task to the worker for this key, started if need be. `None` if the task has to wait until there is
    /// a place for a worker: it does so behind the others.
    pub fn asker<Task>(
        &mut self,
        asker: AskerKey,
        task: Task,
        waiting: &mut Vec<Task>,
    ) -> Result<Option<WorkerKey>, NoWorker> {
        let others_wait = !waiting.is_empty();
        let worker = match self.workers.pool.choose_asker(asker, others_wait, &self.config.settings) {
            Choice::Use(worker) if self.workers.is_full(worker) => return Err(NoWorker),
            Choice::Use(worker) => worker,
            Choice::Start => self.start_asker(asker)?,
            Choice::StartInstead(idle) => {
                self.workers.retire(idle, None, &mut self.reactor);
                self.start_asker(asker)?
            }
            Choice::Wait(_) => {
                waiting.push(task);
                return Ok(None);
            }
            Choice::TurnAway(full) => {
                self.limited(&format!("no further {} worker", asker.role.as_str()), full);
                return Err(NoWorker);
            }
        };
        self.workers.pool.assign(worker, asker.host);
        Ok(Some(worker))
    }

    fn start_asker(&mut self, asker: AskerKey) -> Result<WorkerKey, NoWorker> {
        let started = self.start_worker(asker.role).ok_or(NoWorker);
        started.inspect(|worker| self.workers.pool.keep_asker(*worker, asker))
    }

    /// Whether a worker has served more than one connection before its user is known, with `isolation: user`.
    pub fn knows_user_too_late(&self, worker: WorkerKey) -> bool {
        self.config.settings.isolation == Isolation::User && !self.workers.pool.is_alone(worker)
    }

    /// Sets or removes the limit of a session's present wait.
    pub fn set_deadline(&mut self, key: SessionKey, limit: Option<Duration>) {
        let due = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.reactor.set_deadline(Token::Session(key), due);
    }

    /// See [`Workers::tell`]. If the worker is gone, its end tells whoever waits for it.
    pub fn tell(&mut self, to: WorkerKey, message: &impl ToWorker, descriptor: Option<Rc<OwnedFd>>) {
        self.workers.tell(to, message, descriptor);
    }

    /// Notes that a session, query or lookup of a worker has ended.
    pub fn release_worker(&mut self, worker: WorkerKey) {
        self.workers.release(worker, &self.config.settings, &mut self.reactor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::tests::crowded;
    use sockd_common::message::Id;
    use sockd_common::message::ident::ToIdent;
    use sockd_session::Host;

    /// One that answers what it has not read would else get descriptors without end, which the monitor keeps.
    #[test]
    fn a_worker_that_does_not_read_what_it_is_to_ask_gets_no_more_of_it() {
        const MOST: u32 = 10_000;
        let (mut base, ending, spawner) = crowded();
        base.workers.pool.reaped(ending[0]);
        let asker =
            AskerKey { role: Role::Ident, host: Host::of("192.0.2.1".parse().unwrap()), server: None };
        let asked = |base: &mut Base| base.asker(asker, (), &mut Vec::new()).ok().flatten();
        let (worker, socket) = (asked(&mut base).unwrap(), Rc::new(spawner));
        let mut ask = |id| {
            let question = ToIdent::Ask { id: Id(id), client_port: 1, server_port: 2 };
            base.tell(worker, &question, Some(Rc::clone(&socket)));
            asked(&mut base) == Some(worker)
        };
        let number = (0..MOST).take_while(|id| ask(*id)).count();
        assert!((1000..4000).contains(&number), "{number}");
    }
}
