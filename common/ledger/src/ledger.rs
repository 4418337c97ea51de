//! The monitor's entries in the ledger, if there is one, by the places of its sessions.

use crate::writer::Writer;
use sockd_common::ledger::{Entry, Field};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The ledger, if there is one. Without it nothing is written.
#[derive(Debug)]
pub struct Ledger {
    writer: Option<Writer>,
    /// One moment by both clocks: later times are counted from it by the monotonic clock, which nobody sets.
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
    /// Makes a ledger for this many sessions and begins to write it; returns the descriptor for its readers. `ident` is
    /// the value of [`Field::Ident`].
    pub fn begin(&mut self, capacity: u32, ident: u64) -> io::Result<OwnedFd> {
        let now = self.time(Instant::now());
        let (writer, readable) = Writer::create(capacity, std::process::id(), now)?;
        self.writer = Some(writer);
        self.set(Field::Ident, ident);
        Ok(readable)
    }

    /// A time in milliseconds since 1970.
    pub fn time(&self, at: Instant) -> u64 {
        let (begun, since) = self.moment;
        let passed = at.saturating_duration_since(begun).as_millis();
        since.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Writes the record of the session at a place.
    pub fn write(&mut self, place: u32, entry: &Entry<'_>) {
        self.writer.iter_mut().for_each(|writer| writer.write(place, entry));
    }

    /// Writes the number of sessions after one has begun or ended.
    pub fn live(&mut self, number: usize) {
        self.set(Field::Live, number as u64);
    }

    /// Clears the record at a place: its session is over.
    pub fn clear(&mut self, place: u32) {
        self.writer.iter_mut().for_each(|writer| writer.clear(place));
    }

    /// Counts a decision of this line of the rules.
    pub fn hit(&mut self, line: u32) {
        let now = self.time(Instant::now());
        self.writer.iter_mut().for_each(|writer| writer.hit(line, now));
    }

    /// Clears the hits, as other rules are in force.
    pub fn rules_changed(&mut self) {
        let now = self.time(Instant::now());
        self.writer.iter_mut().for_each(|writer| writer.rules_changed(now));
    }

    /// Counts a session that was ended by order.
    pub fn killed(&mut self) {
        self.killed = self.killed.saturating_add(1);
        self.set(Field::Killed, self.killed);
    }

    /// Writes whether the monitor drains.
    pub fn draining(&mut self, draining: bool) {
        self.set(Field::Draining, draining.into());
    }

    fn set(&mut self, field: Field, value: u64) {
        self.writer.iter_mut().for_each(|writer| writer.set(field, value));
    }
}
