//! Finds sessions, and lists them for administrators.

use super::{Entry, Sessions};
use crate::monitor::base::Base;
use sockd_common::message::Id;
use sockd_session::session::Own;
use sockd_session::{Host, SessionKey, Violation, WorkerKey};

impl Sessions {
    /// The session with this key.
    pub fn get_mut(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All sessions.
    pub fn all(&self) -> Vec<SessionKey> {
        self.0.keys_where(|_| true)
    }

    /// The sessions that do not relay, or not yet.
    pub fn not_relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| !entry.session.is_relaying())
    }

    /// Whether any relays.
    pub fn any_relays(&self) -> bool {
        self.0.iter().any(|(_, entry)| entry.session.is_relaying())
    }

    /// The sessions that a worker serves.
    pub fn of_worker(&self, worker: WorkerKey) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.worker == worker)
    }

    /// The session that a worker names, which must be one of its own.
    pub fn named_by(&self, worker: WorkerKey, id: Id) -> Result<SessionKey, Violation> {
        match self.worker(id.into()) {
            Some(own) if own == worker => Ok(id.into()),
            _ => Err(Violation("a session that is not its own")),
        }
    }

    /// The session with this number at a place, and its client host.
    pub fn numbered(&self, place: u32, number: u64) -> Option<(SessionKey, Host)> {
        let key = SessionKey::new(place);
        let entry = self.0.get(key).filter(|entry| entry.number == number)?;
        Some((key, entry.host()))
    }

    /// The worker that serves a session.
    pub fn worker(&self, key: SessionKey) -> Option<WorkerKey> {
        self.0.get(key).map(|entry| entry.worker)
    }

    /// The sessions that relay.
    pub fn relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.relay.is_some())
    }
}

impl Entry {
    /// Writes its present state into the ledger.
    pub(super) fn list(&self, key: SessionKey, base: &mut Base) {
        let worker = base.workers.pool.workers.get(self.worker).map_or(0, |worker| worker.serial);
        let (number, since) = (self.number, base.ledger.time(self.times.begun()));
        let own = Own { number, since, worker, proxy: self.proxy.into() };
        base.ledger.write(key.place(), &self.session.listed(own));
    }
}
