//! The monitor's side of the ledger.

use crate::memory::Writable;
use sockd_common::ledger::{Bytes, Entry, Field, HEAD, HITS, LINES, MAGIC, RECORD, VERSION};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// Writes the ledger. There is one writer.
#[derive(Debug)]
pub struct Writer {
    memory: Writable,
    capacity: u32,
    used: u32,
    lines_used: u32,
}

impl Writer {
    /// Makes a ledger for this many sessions, and the descriptor for its readers.
    pub fn create(capacity: u32, process: u32, now: u64) -> io::Result<(Self, OwnedFd)> {
        let records = RECORD.saturating_mul(capacity as usize);
        let hits = HITS.saturating_mul(LINES as usize);
        let length = HEAD.saturating_add(records).saturating_add(hits);
        let (memory, readable) = Writable::create("sockd-ledger", length)?;
        let mut writer = Self { memory, capacity, used: 0, lines_used: 0 };
        writer.set(Field::Capacity, capacity.into());
        writer.set(Field::Process, process.into());
        writer.set(Field::Started, now);
        writer.set(Field::RulesSince, now);
        writer.set(Field::Version, VERSION.into());
        writer.words(0, 1).iter().for_each(|word| word.store(MAGIC, Ordering::Relaxed));
        Ok((writer, readable))
    }

    /// Writes a word of the head.
    pub fn set(&mut self, field: Field, value: u64) {
        self.words(field as usize, 1).iter().for_each(|word| word.store(value, Ordering::Relaxed));
    }

    /// Writes the record at a place. One beyond the capacity is not written.
    pub fn write(&mut self, place: u32, entry: &Entry<'_>) {
        self.store(place, &entry.encode());
        if place >= self.used && place < self.capacity {
            self.used = place.saturating_add(1);
            self.set(Field::Used, self.used.into());
        }
    }

    /// Clears the record at a place: its session is over.
    pub fn clear(&mut self, place: u32) {
        self.store(place, &[0; RECORD]);
    }

    /// Counts a decision of this line of the rules.
    pub fn hit(&mut self, line: u32, now: u64) {
        if line >= LINES {
            return;
        }
        if let [number, last] = self.words(self.hits_of(line), HITS / WORD) {
            number.store(number.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            last.store(now, Ordering::Relaxed);
        }
        if line >= self.lines_used {
            self.lines_used = line.saturating_add(1);
            self.set(Field::LinesUsed, self.lines_used.into());
        }
    }

    /// Clears the hits: other rules are in force, and no line of them has decided yet.
    pub fn rules_changed(&mut self, now: u64) {
        let words = (self.lines_used as usize).saturating_mul(HITS / WORD);
        self.words(self.hits_of(0), words).iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.lines_used = 0;
        self.set(Field::LinesUsed, 0);
        self.set(Field::RulesSince, now);
    }

    fn store(&mut self, place: u32, bytes: &Bytes) {
        let start = (HEAD / WORD).saturating_add((place as usize).saturating_mul(RECORD / WORD));
        let is_there = place < self.capacity;
        let [sequence, words @ ..] = self.words(start, if is_there { RECORD / WORD } else { 0 }) else {
            return;
        };
        let before = sequence.load(Ordering::Relaxed);
        // Odd, and visible to any reader that sees a word of the new record.
        sequence.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, bytes) in words.iter().zip(bytes.chunks_exact(WORD).skip(1)) {
            let value = bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            word.store(value, Ordering::Relaxed);
        }
        sequence.store(before.wrapping_add(2), Ordering::Release);
    }

    fn hits_of(&self, line: u32) -> usize {
        let start = HEAD.saturating_add((self.capacity as usize).saturating_mul(RECORD));
        start.saturating_add((line as usize).saturating_mul(HITS)) / WORD
    }

    fn words(&self, place: usize, number: usize) -> &[AtomicU64] {
        self.memory.words().get(place..).and_then(|words| words.get(..number)).unwrap_or_default()
    }
}
