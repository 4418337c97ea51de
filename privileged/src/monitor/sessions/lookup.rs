//! Which sessions there are, and what others may see of them.

use super::{Entry, Sessions};
use crate::monitor::base::Base;
use sockd_common::message::Id;
use sockd_session::session::Own;
use sockd_session::{Host, SessionKey, Violation, WorkerKey};

impl Sessions {
    /// One of them.
    pub fn get_mut(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<SessionKey> {
        self.0.keys_where(|_| true)
    }

    /// Those that do not relay, or not yet.
    pub fn not_relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| !entry.session.is_relaying())
    }

    /// Whether any relays.
    pub fn any_relays(&self) -> bool {
        self.0.iter().any(|(_, entry)| entry.session.is_relaying())
    }

    /// Those that a worker serves.
    pub fn of_worker(&self, worker: WorkerKey) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.worker == worker)
    }

    /// A worker speaks of a session: it must be one of its own.
    pub fn named_by(&self, worker: WorkerKey, id: Id) -> Result<SessionKey, Violation> {
        match self.worker(id.into()) {
            Some(own) if own == worker => Ok(id.into()),
            _ => Err(Violation("a session that is not its own")),
        }
    }

    /// The session at a place that has this number, and whose it is.
    pub fn numbered(&self, place: u32, number: u64) -> Option<(SessionKey, Host)> {
        let key = SessionKey::new(place);
        let entry = self.0.get(key).filter(|entry| entry.number == number)?;
        Some((key, entry.host()))
    }

    /// The worker that serves a session.
    pub fn worker(&self, key: SessionKey) -> Option<WorkerKey> {
        self.0.get(key).map(|entry| entry.worker)
    }

    /// Those that relay.
    pub fn relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.relay.is_some())
    }
}

impl Entry {
    /// Writes what it is now into the ledger.
    pub(super) fn list(&self, key: SessionKey, base: &mut Base) {
        let worker = base.workers.pool.workers.get(self.worker).map_or(0, |worker| worker.serial);
        let (number, since) = (self.number, base.ledger.time(self.times.begun()));
        let own = Own { number, since, worker, proxy: self.proxy.into() };
        base.ledger.write(key.place(), &self.session.listed(own));
    }
}
