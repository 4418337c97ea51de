//! Pipes for splice(2), shared by all relays of a worker: a flow has one only while bytes are under way in it.
//!
//! A worker cannot make a pipe. It is started with [`PIPES`] of them, each of one page. A page that is spliced into a
//! pipe belongs to no socket any more and counts against no limit, and a pipe may hold one for each of its slots. So
//! the number of pipes and their sizes bound the memory that a worker can withhold from the machine.

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use sockd_common::message::PIPES;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The size of a pipe that no relay needs, in bytes: one page. The pages of all pipes of a user are limited (pipe(7),
/// /proc/sys/fs/pipe-user-pages-soft), and workers without ids of their own are one user.
pub const IDLE: u32 = 4 << 10;

/// The size of the first pipe while relays need it, and so the most that one splice moves. A smaller pipe costs more
/// system calls for the same bytes.
const FIRST: u32 = 512 << 10;

/// The size to which the first pipe may grow, the most for any pipe (/proc/sys/fs/pipe-max-size). The same bytes cost
/// a sixth less processor time.
pub const LARGE: u32 = 1 << 20;

/// This many full fills one after the other, with more waiting each time, are the sign of a sender that deserves a
/// larger pipe.
const STREAK: u8 = 16;

/// The size of each further pipe while relays need it, which is while receivers are slower than senders.
pub const FURTHER: u32 = 256 << 10;

/// A pipe with both its ends in this worker.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Whether it is the first pipe, which may become large.
    is_first: bool,
    size: u32,
}

impl Pipe {
    /// Moves bytes from a socket into this pipe, and returns how many: 0 at the end of the stream. If the pipe is
    /// empty, AGAIN means that the socket has none, or that the next one is urgent (which splice does not pass).
    pub fn fill(&self, source: BorrowedFd<'_>) -> Result<usize, Errno> {
        splice(source, None, &self.into, None, LARGE as usize, SPLICE)
    }

    /// Moves at most `length` bytes from this pipe to a socket, and returns how many.
    pub fn drain(&self, sink: BorrowedFd<'_>, length: usize) -> Result<usize, Errno> {
        splice(&self.out, None, sink, None, length, SPLICE)
    }

    /// Changes how much the pipe holds. Returns false if the pages of the user are used up.
    fn resize(&mut self, size: u32) -> bool {
        let resized = fcntl_setpipe_size(&self.into, size as usize).is_ok();
        if resized {
            self.size = size;
        }
        resized
    }
}

/// NONBLOCK is for the pipes. The sockets are non-blocking themselves: for them splice(2) goes by O_NONBLOCK.
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The empty pipes.
#[derive(Debug)]
pub struct Pool {
    /// The last one is used first. The first pipe of the worker is always the last here.
    idle: Vec<Pipe>,
    /// The fewest that were idle at any time since the last trimming, and so were not needed.
    surplus: usize,
    /// The number of full fills since the last fill that was not full.
    streak: u8,
    /// The kernel has refused further pages. None are asked for until the next trimming.
    scarce: bool,
}

impl Pool {
    /// Makes a pool of the pipes that the worker was started with, by their ends for reading and for writing.
    pub fn new(pipes: Vec<(OwnedFd, OwnedFd)>) -> Self {
        let pipe = |(number, (out, into))| Pipe { out, into, is_first: number == 0, size: IDLE };
        let mut idle: Vec<Pipe> = pipes.into_iter().take(PIPES).enumerate().map(pipe).collect();
        idle.reverse();
        let surplus = idle.len();
        Self { idle, surplus, streak: 0, scarce: false }
    }

    /// Returns an empty pipe that is worth splicing through. `None` if all pipes or all pages of the user are in use.
    pub fn take(&mut self) -> Option<Pipe> {
        let mut pipe = self.idle.pop()?;
        let wanted = match (pipe.is_first, self.streak == STREAK) {
            (true, true) => LARGE,
            (true, false) => FIRST,
            (false, _) => FURTHER,
        };
        let grown = pipe.size >= wanted || (!self.scarce && pipe.resize(wanted));
        if grown || pipe.size > IDLE {
            self.surplus = self.surplus.min(self.idle.len());
            return Some(pipe);
        }
        self.scarce = true;
        self.idle.push(pipe);
        None
    }

    /// Takes note of the length of the last fill.
    pub fn was_filled(&mut self, length: usize) {
        self.streak = if length < FIRST as usize { 0 } else { self.streak.saturating_add(1) };
    }

    /// Takes back a pipe, which must be empty.
    pub fn give_back(&mut self, pipe: Pipe) {
        let below_first = usize::from(!pipe.is_first && self.idle.last().is_some_and(|last| last.is_first));
        self.idle.insert(self.idle.len().saturating_sub(below_first), pipe);
    }

    /// Gives up the pages of the pipes that nobody has needed since the last call.
    pub fn trim(&mut self) {
        let surplus = self.surplus.min(self.idle.len());
        for pipe in self.idle.iter_mut().take(surplus).filter(|pipe| pipe.size > IDLE) {
            pipe.resize(IDLE);
        }
        self.surplus = self.idle.len();
        self.scarce = false;
    }

    /// Whether there is nothing to trim.
    pub fn is_trimmed(&self) -> bool {
        !self.scarce && self.idle.iter().all(|pipe| pipe.size == IDLE)
    }
}

/// The pipes of a worker, as the spawner makes them.
#[cfg(test)]
pub(super) fn made() -> Vec<(OwnedFd, OwnedFd)> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let pipe = |_| {
        let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        fcntl_setpipe_size(&ends.1, IDLE as usize).unwrap();
        ends
    };
    (0..PIPES).map(pipe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::new(made())
    }

    fn holds(pipe: &Pipe) -> u32 {
        rustix::pipe::fcntl_getpipe_size(&pipe.into).unwrap().try_into().unwrap()
    }

    #[test]
    fn there_are_as_many_pipes_as_the_worker_was_started_with() {
        let mut pool = pool();
        let mut taken: Vec<Pipe> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), PIPES);
        pool.give_back(taken.remove(3));
        assert!(pool.take().is_some(), "one that is idle");
        assert!(Pool::new(Vec::new()).take().is_none());
    }

    #[test]
    fn the_first_pipe_becomes_larger_when_it_is_filled_again_and_again_and_no_other_does() {
        let mut pool = pool();
        let refill = |pool: &mut Pool, fills: &[u32]| {
            for length in fills {
                let pipe = pool.take().unwrap();
                pool.was_filled(*length as usize);
                pool.give_back(pipe);
            }
            pool.take().unwrap()
        };
        let mut interrupted = vec![FIRST; 2 * usize::from(STREAK) - 1];
        interrupted[usize::from(STREAK) - 1] = FIRST - 1;
        let first = refill(&mut pool, &interrupted);
        assert_eq!(holds(&first), FIRST, "there was not always more");
        pool.give_back(first);
        let large = refill(&mut pool, &[&[0][..], &[FIRST; STREAK as usize][..]].concat());
        assert_eq!(holds(&large), LARGE);
        let second = refill(&mut pool, &[&[0][..], &[FIRST; STREAK as usize][..]].concat());
        assert_eq!(holds(&second), FURTHER, "one is enough");
        pool.give_back(large);
        pool.give_back(second);
        assert_eq!(holds(&pool.take().unwrap()), LARGE, "the first goes before the others");
    }

    #[test]
    fn the_pipe_that_is_in_use_keeps_its_pages_and_the_other_gives_them_up() {
        let mut pool = pool();
        let pipes = [(); 2].map(|()| pool.take().unwrap());
        pipes.into_iter().for_each(|pipe| pool.give_back(pipe));
        for _ in 0..3 {
            pool.trim();
            let used = pool.take().unwrap();
            assert_eq!(holds(&used), FIRST);
            pool.give_back(used);
        }
        let pages: Vec<u32> = pool.idle.iter().map(holds).collect();
        assert_eq!(pages, [vec![IDLE; PIPES - 1], vec![FIRST]].concat());
        assert!(!pool.is_trimmed());
        (0..2).for_each(|_| pool.trim());
        assert!(pool.is_trimmed());
    }
}
