//! The monitor's side of one channel. Messages wait here until a turn of the monitor's loop ends and the other side is
//! ready and reads.

use crate::channel::{ChannelError, MonitorSocket, Packet, Received};
use crate::message::Message;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Descriptors that may wait in one channel before it is given no further client. Beyond that, only answers to the
/// worker's own messages are added.
const ROOM: usize = 2048;

/// Messages that may wait likewise. A worker that asks and reads no answers would else fill the monitor's memory.
const MESSAGES: usize = 8192;

/// Messages whose memory is kept for others.
const SPARE: usize = 16;

/// A worker that takes no message for this long does not read its channel.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// How long a worker has when more than twice [`ROOM`] descriptors wait. A worker that does read may reach that for a
/// moment, when thousands of its destinations answer at once.
const SHORT_LIMIT: Duration = Duration::from_secs(1);

/// The pause between two attempts to send a message that the system does not take (ETOOMANYREFS, ENOBUFS, ENOMEM).
const STARVED: Duration = Duration::from_millis(100);

/// A channel with the messages that have not been taken yet. A descriptor waits with its message; it is closed here
/// once handed over, unless a room of the monitor keeps it.
#[derive(Debug)]
pub struct Outbox {
    socket: MonitorSocket,
    ready: bool,
    waiting: VecDeque<Packet>,
    /// Memory of messages that have been sent, for the next ones.
    spare: Vec<Packet>,
    /// Descriptors among the messages that wait.
    descriptors: usize,
    /// When the channel is given up because nobody reads it.
    gives_up: Option<Instant>,
    /// When the channel is tried again although nothing reports that it has room.
    retry: Option<Instant>,
    /// Whether its owner watches it for room.
    watched: bool,
}

impl Outbox {
    /// Takes over the monitor's end and sends the message that sets the worker up.
    pub fn new(socket: OwnedFd, setup: &impl Message) -> Result<Self, ChannelError> {
        let socket = MonitorSocket::new(socket);
        socket.send(setup, None)?;
        Ok(Self { ready: false, ..Self::to_reader(socket) })
    }

    /// A channel whose other side reads already.
    pub fn to_reader(socket: MonitorSocket) -> Self {
        Self {
            socket,
            ready: true,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            descriptors: 0,
            gives_up: None,
            retry: None,
            watched: false,
        }
    }

    /// Keeps a message for the next [`flush`](Self::flush). False if it cannot be encoded.
    pub fn send(&mut self, message: &impl Message, descriptor: Option<Rc<OwnedFd>>) -> bool {
        let carries = usize::from(descriptor.is_some());
        let packet = self.spare.pop().unwrap_or_default();
        let Ok(packet) = packet.encode(message, descriptor) else { return false };
        self.descriptors = self.descriptors.saturating_add(carries);
        self.waiting.push_back(packet);
        true
    }

    /// Sends the messages that wait, as far as they are taken. If the other side is gone they are dropped: the end of
    /// the channel is noticed when it is read, after everything said before it.
    pub fn flush(&mut self) {
        self.retry = None;
        while self.ready && !self.waiting.is_empty() {
            match self.socket.send_first(&self.waiting) {
                Ok(sent) => {
                    for packet in self.waiting.drain(..sent.min(self.waiting.len())) {
                        let carried = usize::from(packet.descriptor().is_some());
                        self.descriptors = self.descriptors.saturating_sub(carried);
                        // The memory of any beyond these is freed.
                        self.spare.extend(Some(packet.sent()).filter(|_| self.spare.len() < SPARE));
                    }
                    self.gives_up = None;
                }
                Err(error) => return self.refused(error),
            }
        }
    }

    /// Handles a message that was not taken.
    fn refused(&mut self, error: Errno) {
        let now = Instant::now();
        match error {
            // ETOOMANYREFS: too many of our descriptors are in flight (unix(7)); some worker will take some.
            Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM => {
                self.retry = now.checked_add(STARVED);
                self.gives_up = None;
            }
            Errno::AGAIN => {
                let too_many = self.descriptors > ROOM.saturating_mul(2);
                let due = now.checked_add(if too_many { SHORT_LIMIT } else { READ_LIMIT });
                self.gives_up = self.gives_up.min(due).or(due);
            }
            _ => {
                self.waiting.clear();
                self.descriptors = 0;
                self.gives_up = None;
            }
        }
    }

    /// The worker has said `Ready`.
    pub fn mark_ready(&mut self) {
        self.ready = true;
    }

    /// Whether messages wait although the worker is ready.
    pub fn is_stuck(&self) -> bool {
        self.ready && !self.waiting.is_empty()
    }

    /// Whether the channel is to be watched for room, if that has changed. Any flush may send what was waiting, and
    /// room that nobody wants would be reported again and again.
    pub fn wants_room(&mut self) -> Option<bool> {
        // A channel that is tried again later has room already.
        let wants = self.is_stuck() && self.retry.is_none();
        (std::mem::replace(&mut self.watched, wants) != wants).then_some(wants)
    }

    /// Whether too many messages or descriptors wait for a further client to be added.
    pub fn is_full(&self) -> bool {
        self.descriptors >= ROOM || self.waiting.len() >= MESSAGES
    }

    /// When to try again. The system refused the last message, so room in this channel does not tell when it will be
    /// taken.
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// When to give the channel up because nobody reads it.
    pub fn gives_up(&self) -> Option<Instant> {
        self.gives_up
    }

    /// Receives one message.
    pub fn receive<In: Message>(&self) -> Result<Received<In>, ChannelError> {
        self.socket.receive()
    }
}

impl AsFd for Outbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::WorkerEnd;
    use crate::message::Id;
    use crate::message::session::{FromSession, Handshake, Methods, Protocols, RelayMode, ToSession};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    type Ends = (Outbox, WorkerEnd<FromSession, ToSession>);

    fn ends() -> Ends {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let setup = ToSession::Setup { relay: RelayMode::Adaptive, protocols: Protocols::ALL };
        let mut outbox = Outbox::new(ours, &setup).unwrap();
        outbox.mark_ready();
        (outbox, WorkerEnd::new(theirs))
    }

    fn identity(number: usize) -> Id {
        Id(u32::try_from(number).unwrap())
    }

    fn serve(outbox: &mut Outbox, number: usize) -> bool {
        let client = rustix::io::fcntl_dupfd_cloexec(&*outbox, 3).unwrap();
        let handshake = Handshake::Fresh(Methods::NONE);
        outbox.send(&ToSession::Serve { id: identity(number), handshake }, Some(Rc::new(client)))
    }

    fn end(number: usize) -> ToSession {
        ToSession::End { id: identity(number) }
    }

    #[test]
    fn a_worker_that_reads_gets_everything_in_order_and_is_not_given_up() {
        let (mut outbox, worker) = ends();
        for number in 0..1000 {
            // Messages with descriptors and without go together.
            assert!(serve(&mut outbox, number) && outbox.send(&end(number), None));
        }
        outbox.flush();
        assert!(outbox.is_stuck() && !outbox.is_full() && outbox.gives_up().is_some());
        assert!(matches!(worker.receive(), Ok(Received::Message(ToSession::Setup { .. }, None))));
        for number in 0..1000 {
            let got = worker.receive().unwrap();
            let is_next = |id: Id| id == identity(number);
            assert!(matches!(got, Received::Message(ToSession::Serve { id, .. }, Some(_)) if is_next(id)));
            let got = worker.receive().unwrap();
            assert!(matches!(got, Received::Message(ToSession::End { id }, None) if is_next(id)));
            outbox.flush();
        }
        assert!(!outbox.is_stuck() && outbox.gives_up().is_none() && outbox.descriptors == 0);
        assert!(outbox.spare.len() <= SPARE && matches!(worker.receive(), Ok(Received::Nothing)));
    }

    #[test]
    fn the_memory_of_a_message_that_has_left_serves_the_next_one() {
        let (mut outbox, _worker) = ends();
        assert!(serve(&mut outbox, 0));
        outbox.flush();
        assert_eq!((outbox.spare.len(), outbox.waiting.len()), (1, 0));
        assert!(outbox.send(&end(0), None));
        assert_eq!((outbox.spare.len(), outbox.waiting.len()), (0, 1));
    }

    #[test]
    fn a_worker_that_does_not_read_has_a_time_and_a_number_of_descriptors() {
        let (mut outbox, _worker) = ends();
        let begun = Instant::now();
        let mut number = 0;
        while !outbox.is_full() {
            serve(&mut outbox, number);
            outbox.flush();
            number += 1;
        }
        let first = outbox.gives_up().unwrap();
        assert!(first > begun && first <= Instant::now() + READ_LIMIT, "counted from the first that waited");
        assert!(number < ROOM + 1000, "what the kernel holds is little: {number}");
        (0..=ROOM).for_each(|number| assert!(serve(&mut outbox, number)));
        outbox.flush();
        assert!(outbox.gives_up().unwrap() <= Instant::now() + SHORT_LIMIT);
    }

    #[test]
    fn room_is_wanted_until_it_is_used_by_whichever_flush() {
        let (mut outbox, worker) = ends();
        assert_eq!(outbox.wants_room(), None);
        (0..1000).for_each(|number| assert!(serve(&mut outbox, number)));
        outbox.flush();
        assert_eq!((outbox.wants_room(), outbox.wants_room()), (Some(true), None), "once");
        let mut sent = 1000;
        while outbox.is_stuck() {
            while matches!(worker.receive(), Ok(Received::Message(..))) {}
            // As when a client comes or a request is granted: waiting messages go with it.
            serve(&mut outbox, sent);
            outbox.flush();
            sent += 1;
        }
        assert_eq!((outbox.wants_room(), outbox.wants_room()), (Some(false), None));
    }

    #[test]
    fn what_nobody_will_take_is_closed_at_once() {
        let (mut outbox, worker) = ends();
        (0..1000).for_each(|number| assert!(serve(&mut outbox, number)));
        outbox.flush();
        drop(worker);
        // The kernel reports the first end once as a reset, and from then on as a broken pipe.
        for number in [1000, 1001] {
            serve(&mut outbox, number);
            outbox.flush();
            assert!(outbox.waiting.is_empty() && outbox.descriptors == 0 && outbox.gives_up().is_none());
        }
    }
}
