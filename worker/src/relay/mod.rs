//! The relay moves bytes from one socket to another, in each direction on its own.
//!
//! Both sockets are watched edge-triggered, so that a [`Flow`] has to remember what its ends are ready for. It moves
//! bytes in one of two ways. Small amounts are copied through one buffer that all relays of a worker share. Bulk is
//! spliced from socket to pipe to socket while there is a pipe, and does not enter the worker's memory. With
//! [`RelayMode::Splice`] everything is spliced while there is a pipe, except urgent bytes, which splice(2) does not
//! pass. A flow holds a pipe or memory of its own only while its receiver does not take what was read: an idle relay
//! has neither.
//!
//! A source that writes much in small pieces would cost a wake-up, a read and a write for each of them, here and at
//! both peers. A flow that reads more than one piece in a millisecond, with nothing coming the other way, coalesces
//! them: it is paced, which means that it reads again a millisecond later, and so on until there is nothing. An
//! exchange of questions and answers never gets there.

pub mod pipes;

use pipes::{Pipe, Pool};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sockd_common::message::session::RelayMode;
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

/// The buffer for copying, in bytes. A read that fills it twice in a row is the sign of bulk.
const BUFFER: usize = 64 << 10;

/// The most flows that may hold the rest of a full buffer.
const MANY: usize = 4096;

/// The most that each further flow reads at a time. So all of them stay below the limit of a worker's memory,
/// whatever receivers do.
const PIECE: usize = BUFFER / 64;

/// The size of the allocation for the buffer. The allocator gives one of this size a mapping of its own (mallopt(3),
/// M_MMAP_THRESHOLD), and pages of a mapping that no read has reached cost nothing.
const MAPPED: usize = 4 * BUFFER;

/// A flow that coalesces small writes is bulk only from this many full reads on: splice(2) is slow with small pieces.
const MUCH: u8 = 16;

/// A splice of fewer bytes is the sign that bulk is over.
const LITTLE: usize = BUFFER / 4;

/// The most reads of one flow before the others have their turn.
const READS_PER_TURN: u32 = 16;

/// This many short reads within [`WINDOW`] are the sign of a stream of small writes: in one of its milliseconds, two
/// or more pieces would come together.
const STREAM: u8 = 8;

/// The time in which short reads are counted, in milliseconds.
const WINDOW: u32 = 4;

/// One direction of a relay.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes that the sink has taken.
    pub total: u64,
    /// The source may have something to read.
    pub source_ready: bool,
    /// The source has sent its FIN, perhaps behind bytes that have not been read yet.
    pub source_finished: bool,
    /// The source has finished without an error: a short read then brings all there is.
    pub orderly: bool,
    /// Urgent data (TCP URG) was seen. Reads stop before it, so that a short read does not mean that all was read.
    pub urgent: bool,
    /// The sink had no room.
    pub sink_full: bool,
    end: End,
    bulk: bool,
    full_reads: u8,
    /// The millisecond since which short reads are counted.
    counted_since: u32,
    short_reads: u8,
    /// The source is read once in a millisecond, and not watched.
    pub coalescing: bool,
    /// The source is not read before the next millisecond.
    pub paced: bool,
    /// A call of [`resume`](Self::resume) is due.
    awaited: bool,
    held: Held,
}

/// How far a stream has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// All bytes of the source have been read.
    Read,
    /// The sink has them, and its stream has been ended as well.
    PassedOn,
}

/// Bytes that were read and that the sink has not taken.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// This many bytes, in a pipe.
    Piped(Pipe, NonZeroU32),
    /// Bytes in memory.
    Copied(Box<Copied>),
}

/// The part of a buffer that a receiver did not take.
#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
    /// The number of them that it has taken since.
    taken: usize,
    /// Counts this copy while it exists.
    _counted: Rc<()>,
}

/// A failure that ends a relay before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reading from the source failed.
    Source(Errno),
    /// Writing to the sink failed.
    Sink(Errno),
    /// The allocator has no memory.
    NoRoom,
}

/// The work that is left after the turn of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is none until an event comes.
    Wait,
    /// There may be more, after the other flows.
    Again,
    /// The source has ended and the sink has everything.
    Done,
}

/// The buffer and the pipes that all relays of a worker share.
#[derive(Debug)]
pub struct Mover {
    mode: RelayMode,
    buffer: Box<[u8]>,
    /// Its strong count is the number of copies that flows hold, plus one.
    copies: Rc<()>,
    /// The empty pipes.
    pub pipes: Pool,
}

impl Mover {
    /// Makes a mover with the pipes of its worker.
    pub fn new(mode: RelayMode, pipes: Pool) -> Self {
        Self { mode, buffer: vec![0; MAPPED].into(), copies: Rc::default(), pipes }
    }

    /// Changes the way in which bytes are moved from now on.
    pub fn set_mode(&mut self, mode: RelayMode) {
        self.mode = mode;
    }

    /// Moves what can be moved now, in millisecond `now`, from `source` to `sink`.
    pub fn turn(
        &mut self,
        flow: &mut Flow,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        now: u32,
    ) -> Result<Turn, Fault> {
        for _ in 0..READS_PER_TURN {
            self.deliver(flow, sink)?;
            match flow {
                Flow { held: Held::Piped(..) | Held::Copied(..), .. } => return Ok(Turn::Wait),
                Flow { end: End::Read | End::PassedOn, .. } => return Ok(Turn::Done),
                Flow { source_ready: false, .. } | Flow { sink_full: true, .. } => return Ok(Turn::Wait),
                Flow { paced: true, .. } => return Ok(Turn::Wait),
                _ => {}
            }
            match self.pipe_for(flow) {
                Some(pipe) => self.splice(flow, source, pipe, now)?,
                None => self.copy(flow, source, sink, now)?,
            }
        }
        Ok(Turn::Again)
    }

    /// Gives the sink the bytes that were read before, as far as it has room.
    fn deliver(&mut self, flow: &mut Flow, sink: BorrowedFd<'_>) -> Result<(), Fault> {
        while !flow.sink_full {
            match std::mem::take(&mut flow.held) {
                Held::Nothing => return Ok(()),
                Held::Piped(pipe, length) => {
                    let drained = pipe.drain(sink, length.get() as usize);
                    let taken = taken(drained, flow)?;
                    match NonZeroU32::new(length.get().saturating_sub(taken)) {
                        Some(rest) => flow.held = Held::Piped(pipe, rest),
                        None => self.pipes.give_back(pipe),
                    }
                }
                Held::Copied(mut copied) => {
                    let rest = copied.bytes.get(copied.taken..).unwrap_or_default();
                    let taken = taken(send(sink, rest, SEND), flow)? as usize;
                    if taken < rest.len() {
                        copied.taken = copied.taken.saturating_add(taken);
                        flow.held = Held::Copied(copied);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns a pipe if the next bytes are to be spliced and there is one.
    fn pipe_for(&mut self, flow: &mut Flow) -> Option<Pipe> {
        if flow.urgent || (self.mode == RelayMode::Adaptive && !flow.bulk) {
            return None;
        }
        let pipe = self.pipes.take();
        if pipe.is_none() {
            (flow.bulk, flow.full_reads) = (false, 0);
        }
        pipe
    }

    /// Fills a pipe from the source; the next delivery empties it.
    fn splice(&mut self, flow: &mut Flow, source: BorrowedFd<'_>, pipe: Pipe, now: u32) -> Result<(), Fault> {
        let filled = pipe.fill(source);
        self.pipes.was_filled(filled.unwrap_or(0));
        match filled {
            Ok(length) => {
                flow.bulk = length >= LITTLE;
                flow.has_read(now, !flow.bulk && length > 0);
                match u32::try_from(length).ok().and_then(NonZeroU32::new) {
                    Some(length) => {
                        flow.held = Held::Piped(pipe, length);
                        return Ok(());
                    }
                    // The end, or an urgent byte with a FIN behind it: recv(2) tells one from the other.
                    None => flow.urgent = true,
                }
            }
            Err(Errno::AGAIN) => flow.has_nothing(),
            Err(errno) => return Err(Fault::Source(errno)),
        }
        self.pipes.give_back(pipe);
        Ok(())
    }

    /// Reads into the shared buffer and gives the bytes to the sink. Bytes that the sink does not take move to memory
    /// of their own.
    fn copy(
        &mut self,
        flow: &mut Flow,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        now: u32,
    ) -> Result<(), Fault> {
        // A short read brings the rest of the stream if its end was known before: a FIN that comes after the read may
        // have bytes before it.
        let ending = flow.source_finished && flow.orderly && !flow.urgent;
        let most = if Rc::strong_count(&self.copies) > MANY { PIECE } else { BUFFER };
        let buffer = self.buffer.get_mut(..most).unwrap_or_default();
        let length = match recv(source, buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                flow.end = End::Read;
                return Ok(());
            }
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => {
                flow.has_nothing();
                flow.urgent = false;
                return Ok(());
            }
            Err(errno) => return Err(Fault::Source(errno)),
        };
        match length == most {
            true => {
                flow.full_reads = flow.full_reads.saturating_add(1);
                flow.bulk = flow.full_reads >= if flow.coalescing { MUCH } else { 2 };
            }
            // A short read has emptied the socket, and further data makes a new edge. A FIN that was seen before
            // makes none, and neither do bytes behind urgent data: then reading goes on.
            false => {
                flow.full_reads = 0;
                flow.source_ready = flow.source_finished || flow.urgent;
                flow.end = if ending { End::Read } else { End::Open };
            }
        }
        flow.has_read(now, length < most);
        let bytes = self.buffer.get(..length).unwrap_or_default();
        // The last bytes wait for the FIN that follows at once, and leave with it in one segment.
        let flags = if flow.end == End::Read { SEND.union(SendFlags::MORE) } else { SEND };
        let taken = taken(send(sink, bytes, flags), flow)?;
        match bytes.get(taken as usize..) {
            Some([]) | None => {}
            Some(rest) => flow.held = Held::Copied(self.copied(rest)?),
        }
        Ok(())
    }

    /// Copies `rest` to memory of its own. An error, for want of memory, ends this relay alone.
    fn copied(&self, rest: &[u8]) -> Result<Box<Copied>, Fault> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(rest.len()).map_err(|_| Fault::NoRoom)?;
        bytes.extend_from_slice(rest);
        Ok(Box::new(Copied { bytes, taken: 0, _counted: Rc::clone(&self.copies) }))
    }
}

const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Counts the bytes that the sink took. The sink is full if it took none, or said AGAIN. If it took a part, the next
/// attempt finds it full.
fn taken(result: Result<usize, Errno>, flow: &mut Flow) -> Result<u32, Fault> {
    let taken = match result {
        Ok(taken) => taken,
        Err(Errno::AGAIN) => 0,
        Err(errno) => return Err(Fault::Sink(errno)),
    };
    flow.sink_full = taken == 0;
    flow.total = flow.total.saturating_add(taken as u64);
    u32::try_from(taken).map_err(|_| Fault::Sink(Errno::OVERFLOW))
}

impl Flow {
    /// Decides after a read that brought something whether the next one is to wait. Urgent data and an end that was
    /// announced do not wait.
    fn has_read(&mut self, now: u32, short: bool) {
        if !short || now.wrapping_sub(self.counted_since) >= WINDOW {
            (self.counted_since, self.short_reads) = (now, 0);
        }
        self.short_reads = self.short_reads.saturating_add(short.into());
        self.coalescing |= self.short_reads >= STREAM;
        self.coalescing &= !self.bulk && !self.source_finished && !self.urgent;
        self.paced = self.coalescing && short;
    }

    /// Takes note of a read that brought nothing. The source is watched from now on, and a stream that has paused
    /// counts anew.
    fn has_nothing(&mut self) {
        if std::mem::take(&mut self.coalescing) {
            self.short_reads = 0;
        }
        self.source_ready = false;
    }

    /// Takes note that the other direction has moved something: this is an exchange, and not a stream.
    pub fn is_answered(&mut self) {
        (self.short_reads, self.coalescing) = (0, false);
    }

    /// Returns true once for each pause: [`resume`](Self::resume) is to be called in the next millisecond.
    pub fn newly_paced(&mut self) -> bool {
        self.paced && !std::mem::replace(&mut self.awaited, true)
    }

    /// Ends a pause: the next millisecond has come.
    pub fn resume(&mut self) {
        (self.awaited, self.paced, self.source_ready) = (false, false, true);
    }

    /// Returns true once, when the sink has every byte of an ended source, so that its stream is to be ended as well.
    pub fn newly_done(&mut self) -> bool {
        let done = self.end == End::Read && matches!(self.held, Held::Nothing);
        if done {
            self.end = End::PassedOn;
        }
        done
    }
}

#[cfg(test)]
mod tests;
