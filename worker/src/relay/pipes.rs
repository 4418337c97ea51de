//! Pipes for splice(2), shared by all relays of a worker: a flow has one only while bytes are under way in it.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What a pipe may hold and one splice may move, in bytes: the ordinary user's limit of a stock kernel
/// (/proc/sys/fs/pipe-max-size). Smaller pipes cost more system calls for the same bytes.
pub const CAPACITY: usize = 1 << 20;

/// More empty pipes than this are not kept.
const MOST_IDLE: usize = 64;

/// A pipe of which both ends are in this worker.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    /// Moves bytes from a socket into this pipe: how many, 0 at the end of the stream. With an empty pipe AGAIN
    /// means that the socket has none, or that the next one is urgent (which splice does not pass).
    pub fn fill(&self, source: BorrowedFd<'_>) -> Result<usize, Errno> {
        splice(source, None, &self.into, None, CAPACITY, SPLICE)
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
}

impl Pool {
    /// An empty pipe. An error means that descriptors or memory have run out.
    ///
    /// The pipe has the kernel's own size where a larger one is not to be had: all pipes of a user together are
    /// limited (/proc/sys/fs/pipe-user-pages-soft, EPERM).
    pub fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.idle.pop() {
            self.surplus = self.surplus.min(self.idle.len());
            return Ok(pipe);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _smaller_is_slower_but_works = fcntl_setpipe_size(&into, CAPACITY);
        Ok(Pipe { out, into })
    }

    /// Takes back a pipe, which must be empty.
    pub fn give_back(&mut self, pipe: Pipe) {
        if self.idle.len() < MOST_IDLE {
            self.idle.push(pipe);
        }
    }

    /// Closes the pipes that nobody has needed since the last call.
    pub fn trim(&mut self) {
        self.idle.truncate(self.idle.len().saturating_sub(self.surplus));
        self.surplus = self.idle.len();
    }

    /// Whether there is nothing to trim.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}
