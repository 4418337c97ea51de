//! Pipes for splice(2), shared by all relays of a worker: a flow has one only while bytes are under way in it.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use sockd_common::message::session::RelayMode;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

/// What the first pipe of a worker holds, and so what one splice may move, in bytes. Smaller ones cost more system calls
/// for the same bytes, of larger ones there are fewer: all pipes of an ordinary user, and so of all workers that have no
/// ids of their own, may hold 64 MiB together (pipe(7), /proc/sys/fs/pipe-user-pages-soft).
const FIRST: usize = 512 << 10;

/// What one pipe may come to hold, which is the most that any may (/proc/sys/fs/pipe-max-size). The same bytes cost a
/// sixth less processor time.
const LARGE: usize = 1 << 20;

/// As many full fills one after the other, with more there each time, are the sign of a sender that a larger pipe is
/// worth it for.
const STREAK: u8 = 16;

/// What each further one holds. They are needed while receivers are slower than senders.
const FURTHER: usize = 256 << 10;

/// One worker may have so many pipes, and keeps no more of them: the flows beyond are copied, or with
/// [`RelayMode::Splice`] have one as long as they need it.
const MOST: usize = 32;

/// A pipe of which both ends are in this worker.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Counted among those of its kind as long as it is there.
    counted: Rc<()>,
}

impl Pipe {
    /// Moves bytes from a socket into this pipe: how many, 0 at the end of the stream. With an empty pipe AGAIN
    /// means that the socket has none, or that the next one is urgent (which splice does not pass).
    pub fn fill(&self, source: BorrowedFd<'_>) -> Result<usize, Errno> {
        splice(source, None, &self.into, None, LARGE, SPLICE)
    }

    /// Moves at most `length` bytes from this pipe to a socket: how many.
    pub fn drain(&self, sink: BorrowedFd<'_>, length: usize) -> Result<usize, Errno> {
        splice(&self.out, None, sink, None, length, SPLICE)
    }
}

/// The sockets are non-blocking of themselves: for them splice(2) goes by O_NONBLOCK and not by this flag.
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The empty pipes.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Vec<Pipe>,
    /// The fewest that lay idle at any time since the last trimming: nobody needed these.
    surplus: usize,
    /// As many times there as there are pipes, and once more,
    ordinary: Rc<()>,
    /// for the large one,
    large: Rc<()>,
    /// and for those that the user's limit keeps tiny.
    tiny: Rc<()>,
    /// Full fills since the last other one.
    streak: u8,
    /// No further pipe was to be had; until the next trimming none is asked for.
    scarce: bool,
}

impl Pool {
    /// An empty pipe. An error means that there is none, and with [`RelayMode::Adaptive`] none that is worth it: beyond
    /// the user's limit a pipe holds 8 KiB, and copying is quicker.
    pub fn take(&mut self, mode: RelayMode) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.idle.pop() {
            self.surplus = self.surplus.min(self.idle.len());
            return Ok(self.enlarged(pipe));
        }
        if mode == RelayMode::Adaptive && (self.scarce || self.number() >= MOST) {
            return Err(Errno::NFILE);
        }
        let made = self.make(mode);
        self.scarce = made.is_err();
        made
    }

    /// What the last fill brought; nothing where there was nothing.
    pub fn was_filled(&mut self, length: usize) {
        self.streak = if length < FIRST { 0 } else { self.streak.saturating_add(1) };
    }

    /// An empty pipe, which is larger from now on where that is worth it and can be had.
    fn enlarged(&self, mut pipe: Pipe) -> Pipe {
        if self.streak == STREAK
            && Rc::strong_count(&self.large) == 1
            && fcntl_setpipe_size(&pipe.into, LARGE).is_ok()
        {
            pipe.counted = Rc::clone(&self.large);
        }
        pipe
    }

    /// How many there are, empty or not.
    fn number(&self) -> usize {
        self.kinds().map(|pipes| Rc::strong_count(pipes).saturating_sub(1)).iter().sum()
    }

    fn kinds(&self) -> [&Rc<()>; 3] {
        [&self.ordinary, &self.large, &self.tiny]
    }

    /// Whether even a full pipe of this kind holds little.
    pub fn is_tiny(&self, pipe: &Pipe) -> bool {
        Rc::ptr_eq(&pipe.counted, &self.tiny)
    }

    fn make(&self, mode: RelayMode) -> Result<Pipe, Errno> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let size = if self.number() == 0 { FIRST } else { FURTHER };
        match (fcntl_setpipe_size(&into, size), mode) {
            (Err(errno), RelayMode::Adaptive) => Err(errno),
            (Err(_), RelayMode::Splice) => Ok(Pipe { out, into, counted: Rc::clone(&self.tiny) }),
            (Ok(_), _) => Ok(Pipe { out, into, counted: Rc::clone(&self.ordinary) }),
        }
    }

    /// Takes back a pipe, which must be empty. One of a pool before this is not used again.
    pub fn give_back(&mut self, pipe: Pipe) {
        let is_own = self.kinds().into_iter().any(|kind| Rc::ptr_eq(&pipe.counted, kind));
        if self.idle.len() < MOST && is_own {
            self.idle.push(pipe);
        }
    }

    /// Closes the pipes that nobody has needed since the last call: what is used comes from the other end.
    pub fn trim(&mut self) {
        self.idle.drain(..self.surplus.min(self.idle.len()));
        self.surplus = self.idle.len();
        self.scarce = false;
    }

    /// Whether there is nothing to trim.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty() && !self.scarce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_has_so_many_pipes_and_no_more_unless_everything_is_to_be_spliced() {
        let mut pool = Pool::default();
        let mut taken: Vec<Pipe> = (0..MOST).map(|_| pool.take(RelayMode::Adaptive).unwrap()).collect();
        assert_eq!(pool.take(RelayMode::Adaptive).unwrap_err(), Errno::NFILE);
        taken.push(pool.take(RelayMode::Splice).unwrap());
        taken.truncate(MOST - 1);
        assert!(pool.take(RelayMode::Adaptive).is_ok(), "a relay has ended");
        pool.give_back(taken.remove(0));
        assert!(pool.take(RelayMode::Adaptive).is_ok(), "one that is idle");
    }

    fn holds(pipe: &Pipe) -> usize {
        rustix::pipe::fcntl_getpipe_size(&pipe.into).unwrap()
    }

    #[test]
    fn a_pipe_that_is_filled_again_and_again_becomes_larger_and_no_second_one_does() {
        let mut pool = Pool::default();
        let refill = |pool: &mut Pool, fills: &[usize]| {
            for length in fills {
                let pipe = pool.take(RelayMode::Adaptive).unwrap();
                pool.was_filled(*length);
                pool.give_back(pipe);
            }
            pool.take(RelayMode::Adaptive).unwrap()
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
        assert_eq!(pool.number(), 2);
    }

    #[test]
    fn the_pipe_that_is_in_use_is_kept_and_the_other_is_closed() {
        let mut pool = Pool::default();
        let [first, second] = [(); 2].map(|()| pool.take(RelayMode::Adaptive).unwrap());
        pool.give_back(second);
        pool.give_back(first);
        for _ in 0..3 {
            pool.trim();
            let used = pool.take(RelayMode::Adaptive).unwrap();
            assert_eq!(holds(&used), FIRST);
            pool.give_back(used);
        }
        assert_eq!(pool.number(), 1);
    }

    #[test]
    fn a_pipe_of_an_earlier_pool_is_not_used_again() {
        let earlier = Pool::default().take(RelayMode::Splice).unwrap();
        let mut pool = Pool::default();
        pool.give_back(earlier);
        assert!(pool.is_empty());
    }
}
