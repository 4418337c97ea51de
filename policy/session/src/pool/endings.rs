//! Workers that are out of service and have not been reaped yet.

use crate::client_host::Host;
use sockd_common::message::Role;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a worker may live after its channel has closed. A worker that is killed closes its channel a moment before
/// it is reaped; one that lives on for this long has closed it itself.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A worker that was lost: the log says so once its end is known.
#[derive(Debug)]
pub struct Lost {
    /// Its description.
    pub what: String,
    /// The only client host that it served, if there was only one.
    pub client: Option<Host>,
    /// Its role.
    pub role: Role,
}

/// Workers whose end the spawner has not told yet, by number; it tells each end exactly once.
#[derive(Debug, Default)]
pub struct Endings {
    awaited: HashMap<u32, Option<Lost>>,
    /// Workers that have closed their channels, and when they must have ended.
    lingering: VecDeque<(Instant, u32)>,
}

impl Endings {
    /// A worker is out of service. Its end is logged if it was lost. A worker that lingers has not been killed.
    pub fn insert(&mut self, serial: u32, lost: Option<Lost>, lingers: bool, now: Instant) {
        if lingers {
            self.lingering.extend(now.checked_add(END_LIMIT).map(|due| (due, serial)));
        }
        self.awaited.insert(serial, lost);
    }

    /// When the first lingering worker must have ended.
    pub fn due_at(&self) -> Option<Instant> {
        self.lingering.front().map(|(due, _)| *due)
    }

    /// A worker that has lingered for too long, with its number; there may be more.
    pub fn overdue(&mut self, now: Instant) -> Option<(u32, Lost)> {
        while let Some((due, serial)) = self.lingering.front().copied()
            && due <= now
        {
            self.lingering.pop_front();
            if let Some(lost) = self.awaited.get_mut(&serial).and_then(Option::take) {
                return Some((serial, lost));
            }
        }
        None
    }

    /// A worker has ended. Returns the loss for the log, if it was lost.
    pub fn reaped(&mut self, serial: u32) -> Option<Lost> {
        self.awaited.remove(&serial).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_lingers_is_overdue_once_and_not_when_it_has_ended() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        let lost =
            |serial| Some(Lost { what: format!("worker {serial}"), client: None, role: Role::Session });
        endings.insert(1, lost(1), true, now);
        endings.insert(2, lost(2), true, now);
        endings.insert(3, lost(3), false, now);
        assert_eq!(endings.due_at(), now.checked_add(END_LIMIT));
        assert!(endings.reaped(1).is_some());
        assert!(endings.overdue(now).is_none(), "too early");
        let late = now + END_LIMIT;
        assert_eq!(
            endings.overdue(late).map(|(serial, lost)| (serial, lost.what)),
            Some((2, "worker 2".into()))
        );
        assert!(endings.overdue(late).is_none() && endings.reaped(2).is_none());
        assert!(endings.reaped(3).is_some());
    }
}
