//! Memory that one process writes and others can only read.

use crate::sys::Mapping;
use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, fchmod, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create, open,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// More bytes than any memory of sockd has: a file that claims to be longer is not sockd's.
const LONGEST: usize = 1 << 40;

/// Memory that this process writes. A forked process would have the mapping too, so it is made after the forks.
#[derive(Debug)]
pub struct Writable(Mapping);

impl Writable {
    /// Makes memory of this many bytes, a multiple of 8. Its pages are allocated as they are written. The descriptor is
    /// for readers: it is open for reading alone, and a process that reopens it through /proc finds it sealed against
    /// writing, shrinking and growing. Only the mapping made here before can write.
    pub fn create(name: &str, length: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file =
            memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| memfd_create(name, flags))?;
        let bytes = u64::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        ftruncate(&file, bytes)?;
        // Only root can open it for writing through /proc, and cannot write even then.
        fchmod(&file, Mode::RUSR)?;
        let mapping = Mapping::new(&file, length, true)?;
        fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let readable = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((Self(mapping), readable))
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }
}

/// Memory that another process writes.
#[derive(Debug)]
pub struct Readable(Mapping);

impl Readable {
    /// Maps memory that a status socket has handed out. It has to be sealed: memory that shrinks would kill its reader.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let unsealed = || io::Error::new(io::ErrorKind::InvalidData, "memory that is not sealed");
        if !fcntl_get_seals(&file).map_err(|_| unsealed())?.contains(SEALS) {
            return Err(unsealed());
        }
        let length = usize::try_from(fstat(&file)?.st_size).ok().filter(|length| *length <= LONGEST);
        Ok(Self(Mapping::new(&file, length.unwrap_or_default(), false)?))
    }

    /// The word at a place; `None` beyond the end.
    pub fn word(&self, place: usize) -> Option<u64> {
        // Relaxed: the only order that is guaranteed to work on memory that cannot be written.
        self.0.words().get(place).map(|word| word.load(Ordering::Relaxed))
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[AtomicU64] {
        self.0.words()
    }

    /// This many words from a place on; no words if some are missing.
    pub fn words(&self, place: usize, number: usize) -> impl Iterator<Item = u64> + '_ {
        let words = self.0.words().get(place..).and_then(|words| words.get(..number));
        words.unwrap_or_default().iter().map(|word| word.load(Ordering::Relaxed))
    }
}

/// The seals that readers rely on.
const SEALS: SealFlags = SealFlags::FUTURE_WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_only_sealed_memory_is() {
        let (writable, file) = Writable::create("test", 4096).unwrap();
        let readable = Readable::open(file).unwrap();
        writable.words()[511].store(7, Ordering::Relaxed);
        assert_eq!((readable.word(511), readable.word(512)), (Some(7), None));
        assert_eq!(readable.words(510, 2).collect::<Vec<_>>(), [0, 7]);
        assert_eq!(readable.words(511, 2).count(), 0);
        let open = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(Readable::open(open).is_err());
    }

    #[test]
    fn a_reader_can_neither_write_nor_map_for_writing_nor_change_the_length() {
        let (_writable, file) = Writable::create("test", 4096).unwrap();
        assert!(rustix::io::write(&file, &[1]).is_err());
        assert!(Mapping::new(&file, 4096, true).is_err());
        let again = open(format!("/proc/self/fd/{}", file.as_raw_fd()), OFlags::RDWR, Mode::empty());
        // Root may open it; the seals hold against it as well.
        if let Ok(again) = again {
            assert!(rustix::io::write(&again, &[1]).is_err());
            assert!(Mapping::new(&again, 4096, true).is_err());
            assert!(ftruncate(&again, 0).is_err() && ftruncate(&again, 8192).is_err());
            assert!(fcntl_add_seals(&again, SealFlags::WRITE).is_err());
        }
    }
}
