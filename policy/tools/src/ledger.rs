//! The ledger, as its readers see it.

pub mod record;

use sockd_common::ledger::{Bytes, Entry, Field, HEAD, HITS, Hits, LINES, MAGIC, RECORD, VERSION};
use sockd_ledger::memory::Readable;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// How often a record that is being written is read again, before it is left out.
const TRIES: usize = 100;

/// Reads the ledger.
#[derive(Debug)]
pub struct Reader {
    memory: Readable,
    capacity: u32,
}

/// The content of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No session.
    Nothing,
    /// The record of a session.
    Record(Box<Bytes>),
    /// A record that was being written whenever it was read.
    Torn,
}

impl Found {
    /// The record, decoded, if there is one.
    pub fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Record(bytes) => record::decode(bytes),
            Self::Nothing | Self::Torn => None,
        }
    }
}

impl Reader {
    /// Maps a ledger that a status socket has handed out.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let memory = Readable::open(file)?;
        if memory.word(0) != Some(MAGIC) {
            return Err(wrong("no ledger of sockd"));
        }
        let mut reader = Self { memory, capacity: 0 };
        if reader.head(Field::Version) != u64::from(VERSION) {
            return Err(wrong("a ledger of another version of sockd"));
        }
        reader.capacity = u32::try_from(reader.head(Field::Capacity)).unwrap_or(u32::MAX);
        Ok(reader)
    }

    /// A word of the head.
    pub fn head(&self, field: Field) -> u64 {
        self.memory.word(field as usize).unwrap_or_default()
    }

    /// The places that may have records. Reading pages behind them would allocate those pages.
    pub fn places(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.head(Field::Used)).unwrap_or(u32::MAX).min(self.capacity)
    }

    /// Reads the content of a place.
    pub fn at(&self, place: u32) -> Found {
        if place >= self.capacity {
            return Found::Nothing;
        }
        (0..TRIES).find_map(|_| self.read(place)).unwrap_or(Found::Torn)
    }

    /// Reads a place once; `None` if the record is torn.
    fn read(&self, place: u32) -> Option<Found> {
        let start = (HEAD / WORD).saturating_add((place as usize).saturating_mul(RECORD / WORD));
        let before = self.memory.word(start)?;
        // Bytes that are read behind the fence are not older than the number says.
        fence(Ordering::Acquire);
        let mut bytes = Box::new([0; RECORD]);
        for (room, word) in bytes.chunks_exact_mut(WORD).zip(self.memory.words(start, RECORD / WORD)).skip(1)
        {
            room.copy_from_slice(&word.to_ne_bytes());
        }
        fence(Ordering::Acquire);
        let is_whole = before % 2 == 0 && self.memory.word(start)? == before;
        let is_empty = bytes.iter().all(|byte| *byte == 0);
        is_whole.then_some(if is_empty { Found::Nothing } else { Found::Record(bytes) })
    }

    /// The lines of the rules that have decided, each with how often. Numbers of different lines may be of different
    /// moments.
    pub fn hits(&self) -> Vec<(u32, Hits)> {
        let start = HEAD.saturating_add((self.capacity as usize).saturating_mul(RECORD)) / WORD;
        let used = u32::try_from(self.head(Field::LinesUsed)).unwrap_or(u32::MAX).min(LINES);
        let hits = (0..used).filter_map(|line| {
            let place = start.saturating_add((line as usize).saturating_mul(HITS / WORD));
            let (number, last) = (self.memory.word(place)?, self.memory.word(place.saturating_add(1))?);
            Some((line, Hits { number, last }))
        });
        hits.filter(|(_, hits)| hits.number > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::ledger::Phase;
    use sockd_ledger::writer::Writer;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicBool;

    fn entry(number: u64) -> Entry<'static> {
        let client = SocketAddr::new([192, 0, 2, 10].into(), u16::try_from(number % 65_536).unwrap());
        Entry {
            number,
            since: number,
            worker: 1,
            rule: 2,
            phase: Phase::Relaying,
            version: 4,
            command: 1,
            by_password: false,
            client,
            proxy: client,
            destination: Some([198, 51, 100, 10].into()),
            port: client.port(),
            upstream: None,
            destination_name: Default::default(),
            client_name: Default::default(),
            claimed: b"joe"[..].into(),
            verified: Default::default(),
            groups: Default::default(),
        }
    }

    #[test]
    fn sessions_come_and_go() {
        let (mut writer, file) = Writer::create(4, 1, 5).unwrap();
        let reader = Reader::open(file).unwrap();
        assert_eq!((reader.head(Field::Started), reader.places().len()), (5, 0));
        writer.write(2, &entry(7));
        writer.write(4, &entry(8));
        assert_eq!(reader.places(), 0..3, "beyond the capacity nothing is written");
        assert_eq!(reader.at(2).entry(), Some(entry(7)));
        assert_eq!([0, 1, 4, u32::MAX].map(|place| reader.at(place)), [(); 4].map(|()| Found::Nothing));
        writer.clear(2);
        assert_eq!(reader.at(2), Found::Nothing);
    }

    #[test]
    fn hits_are_counted_until_the_rules_change() {
        let (mut writer, file) = Writer::create(1, 1, 5).unwrap();
        let reader = Reader::open(file).unwrap();
        [3, 0, 3, LINES, u32::MAX].into_iter().for_each(|line| writer.hit(line, 9));
        let hits = |number| Hits { number, last: 9 };
        assert_eq!(reader.hits(), [(0, hits(1)), (3, hits(2))]);
        writer.rules_changed(10);
        assert_eq!((reader.hits(), reader.head(Field::RulesSince)), (vec![], 10));
    }

    /// The writer rewrites one record without end; a reader finds it whole or not at all.
    #[test]
    fn a_torn_record_is_never_taken_for_a_whole_one() {
        let (mut writer, file) = Writer::create(1, 1, 5).unwrap();
        let is_over = AtomicBool::new(false);
        let read = || {
            let reader = Reader::open(file).unwrap();
            let whole = (0..50_000).filter(|_| {
                let found = reader.read(0).unwrap_or(Found::Nothing);
                found.entry().inspect(|read| assert_eq!(*read, entry(read.number))).is_some()
            });
            let whole = whole.count();
            is_over.store(true, Ordering::Relaxed);
            whole
        };
        let whole = std::thread::scope(|scope| {
            let reading = scope.spawn(read);
            let mut number = 1;
            while !is_over.load(Ordering::Relaxed) && !reading.is_finished() {
                writer.write(0, &entry(number));
                number += 1;
            }
            reading.join().unwrap()
        });
        println!("{whole} of 50000 whole");
        assert!(whole > 0);
    }

    #[test]
    fn a_record_that_stays_half_written_is_torn() {
        let (memory, file) = sockd_ledger::memory::Writable::create("test", HEAD + RECORD).unwrap();
        let word = |place: usize, value| memory.words()[place].store(value, Ordering::Relaxed);
        word(0, MAGIC);
        word(Field::Version as usize, VERSION.into());
        word(Field::Capacity as usize, 1);
        word(HEAD / WORD, 3);
        let reader = Reader::open(file).unwrap();
        assert_eq!(reader.at(0), Found::Torn);
        word(HEAD / WORD, 4);
        word(HEAD / WORD + 1, 1);
        assert_eq!(reader.at(0).entry(), None, "whole, and no record");
    }

    #[test]
    fn what_is_no_ledger_of_this_version_is_not_read() {
        for (magic, version) in [(0, VERSION), (MAGIC, VERSION + 1)] {
            let (memory, file) = sockd_ledger::memory::Writable::create("test", HEAD).unwrap();
            memory.words()[0].store(magic, Ordering::Relaxed);
            memory.words()[Field::Version as usize].store(version.into(), Ordering::Relaxed);
            assert!(Reader::open(file).is_err());
        }
    }
}
