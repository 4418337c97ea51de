//! The counters as memory: the monitor updates them in place, and any process with the descriptor reads them there.

use crate::memory::{Readable, Writable};
use crate::sys;
use sockd_common::counters::Counters;
use std::io;
use std::os::fd::OwnedFd;

/// Makes counters that start at zero and live as long as the process, with the descriptor for their readers.
pub fn create() -> io::Result<(&'static Counters, OwnedFd)> {
    let (memory, readable) = Writable::create("sockd-counters", size_of::<Counters>())?;
    let memory: &'static Writable = Box::leak(Box::new(memory));
    let counters = sys::counters(memory.words()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((counters, readable))
}

/// Counters of another process, which keeps updating them.
#[derive(Debug)]
pub struct Reader(Readable);

impl Reader {
    /// Maps counters that a status socket has handed out.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let reader = Self(Readable::open(file)?);
        match sys::counters(reader.0.all()).is_some_and(Counters::is_known) {
            true => Ok(reader),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "counters of another version of sockd")),
        }
    }

    /// A copy of the counters at this moment.
    pub fn counters(&self) -> Counters {
        let now = Counters::default();
        sys::counters(self.0.all()).into_iter().for_each(|counters| now.take_from(counters));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::counters::Direction;

    #[test]
    fn what_moves_is_read_as_it_is_at_that_moment() {
        let (counters, file) = create().unwrap();
        assert!(Reader::open(file.try_clone().unwrap()).is_err(), "they have not begun");
        counters.begin("4.4.0");
        let reader = Reader::open(file).unwrap();
        let before = reader.counters();
        counters.relayed_bytes.add(Direction::Down, 7);
        counters.log_lines_lost.set(3);
        let after = reader.counters();
        let down = |counters: &Counters| counters.relayed_bytes.all().map(|(_, bytes)| bytes).last();
        assert_eq!([down(&before), down(&after)], [Some(0), Some(7)]);
        assert_eq!((after.name(), after.log_lines_lost.get()), ("4.4.0".into(), 3));
    }

    #[test]
    fn memory_that_is_too_short_is_no_counters() {
        let (_memory, file) = Writable::create("test", size_of::<Counters>() - 8).unwrap();
        assert!(Reader::open(file).is_err());
    }
}
