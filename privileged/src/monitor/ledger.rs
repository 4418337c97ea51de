//! What the monitor writes into the ledger, where there is one: for each session what it is when its phase changes.

use sockd_common::ledger::{Entry, Field};
use sockd_ledger::writer::Writer;
use sockd_policy::IdentMode;
use sockd_session::keys::SessionKey;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The ledger. Without one nothing is written.
#[derive(Debug)]
pub struct Ledger {
    writer: Option<Writer>,
    /// One moment by two clocks: from here on times are those of the one that nobody sets.
    moment: (Instant, u64),
    killed: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { writer: None, moment: (Instant::now(), now), killed: 0 }
    }
}

impl Ledger {
    /// Writes this one from now on.
    pub fn begin(&mut self, writer: Writer, ident: IdentMode) {
        self.writer = Some(writer);
        let ident = match ident {
            IdentMode::Off => 0,
            IdentMode::Lenient => 1,
            IdentMode::Strict => 2,
        };
        self.set(Field::Ident, ident);
    }

    /// A time in milliseconds since 1970.
    pub fn time(&self, at: Instant) -> u64 {
        let (begun, since) = self.moment;
        let passed = at.saturating_duration_since(begun).as_millis();
        since.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Writes what a session is now.
    pub fn write(&mut self, key: SessionKey, entry: &Entry<'_>) {
        self.writer.iter_mut().for_each(|writer| writer.write(key.place(), entry));
    }

    /// A session has begun or ended, and now there are so many.
    pub fn live(&mut self, number: usize) {
        self.set(Field::Live, number as u64);
    }

    /// A session is over.
    pub fn clear(&mut self, key: SessionKey) {
        self.writer.iter_mut().for_each(|writer| writer.clear(key.place()));
    }

    /// A line of the rules has decided.
    pub fn hit(&mut self, line: u32) {
        let now = self.time(Instant::now());
        self.writer.iter_mut().for_each(|writer| writer.hit(line, now));
    }

    /// Other rules are in force.
    pub fn rules_changed(&mut self) {
        let now = self.time(Instant::now());
        self.writer.iter_mut().for_each(|writer| writer.rules_changed(now));
    }

    /// A session has been ended by order.
    pub fn killed(&mut self) {
        self.killed = self.killed.saturating_add(1);
        self.set(Field::Killed, self.killed);
    }

    /// Whether new clients are served.
    pub fn draining(&mut self, draining: bool) {
        self.set(Field::Draining, draining.into());
    }

    fn set(&mut self, field: Field, value: u64) {
        self.writer.iter_mut().for_each(|writer| writer.set(field, value));
    }
}
