//! Violations: a worker that has sent what no honest worker sends, or not what it has to, is blamed at once. It is ended
//! when the event that has shown it is over, so that no event begins inside another.

use crate::monitor::serving::Serving;
use sockd_session::WorkerKey;
use sockd_session::pool::endings::Lost;
use std::time::Instant;

impl Serving {
    /// Blames a worker, once, for a violation, and has it ended.
    pub(super) fn condemn(&mut self, worker: WorkerKey, what: &str) {
        let Some((serial, lost)) = self.lost(worker) else { return };
        if !self.condemned.contains(&serial) {
            self.condemned.push(serial);
            self.blame(&lost, what);
        }
    }

    /// Blames what was a worker for a violation.
    pub(super) fn blame(&mut self, lost: &Lost, what: &str) {
        self.base.counting.violated(lost.role);
        lost.client.into_iter().for_each(|host| self.clients.admission.violated(host, Instant::now()));
        self.base.log.err(&format!("violation by {}: {what}; killed", lost.what));
    }

    /// The serial number of a worker that is to be taken out, the words for the log about it, and the client to blame.
    pub(super) fn lost(&self, worker: WorkerKey) -> Option<(u32, Lost)> {
        let found = self.base.workers.pool.workers.get(worker)?;
        let lost = Lost { what: found.describe(), client: found.only_client(), role: found.role };
        Some((found.serial, lost))
    }
}
