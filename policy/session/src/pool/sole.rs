//! The one worker of a role that serves everybody, and when it is started again.

use crate::keys::WorkerKey;
use std::time::{Duration, Instant};

/// The least time between two starts of the worker, which is started again when it has died.
const RESTART: Duration = Duration::from_secs(1);

/// The worker, if there is one.
#[derive(Debug, Default)]
pub struct Sole {
    worker: Option<WorkerKey>,
    started: Option<Instant>,
    restart_at: Option<Instant>,
}

impl Sole {
    /// The worker, if there is one.
    pub fn worker(&self) -> Option<WorkerKey> {
        self.worker
    }

    /// A worker has been started, or could not be started.
    pub fn started(&mut self, worker: Option<WorkerKey>, now: Instant) {
        let restart_at = if worker.is_none() { now.checked_add(RESTART) } else { None };
        *self = Self { worker, started: Some(now), restart_at };
    }

    /// When the worker is to be started again.
    pub fn due_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Whether the worker is to be started again now; returns true once.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.restart_at.take_if(|at| *at <= now).is_some()
    }

    /// A worker is gone; true if it was this one.
    pub fn gone(&mut self, worker: WorkerKey) -> bool {
        self.worker.take_if(|own| *own == worker).is_some()
    }

    /// Whether the worker that is gone may be replaced at once; if not, it is replaced when due.
    pub fn restarts_at_once(&mut self, now: Instant) -> bool {
        let again = self.started.and_then(|started| started.checked_add(RESTART));
        self.restart_at = again.filter(|again| now < *again);
        self.restart_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    #[test]
    fn a_worker_is_started_again_at_once_but_not_twice_in_a_moment() {
        let (mut sole, now) = (Sole::default(), Instant::now());
        let (worker, later) = (Key::new(1), now + RESTART);
        sole.started(Some(worker), now);
        assert!(!sole.gone(Key::new(2)) && sole.gone(worker) && !sole.gone(worker));
        assert!(!sole.restarts_at_once(now));
        assert_eq!((sole.due_at(), sole.take_due(now)), (Some(later), false));
        assert!(sole.take_due(later) && !sole.take_due(later));
        sole.started(Some(worker), now);
        assert!(sole.gone(worker) && sole.restarts_at_once(later));
        sole.started(None, now);
        assert_eq!((sole.worker(), sole.due_at()), (None, Some(later)));
    }
}
