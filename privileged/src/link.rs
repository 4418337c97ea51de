//! The monitor's side of one channel: messages wait here until the worker is ready and reads.

use rustix::io::Errno;
use sockd_common::channel::{ChannelError, MonitorEnd, Received};
use sockd_common::message::Message;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A channel with the messages that its worker has not taken yet. A descriptor waits with its message and is
/// closed once it has been handed over.
#[derive(Debug)]
pub struct Link<Out, In> {
    end: MonitorEnd<Out, In>,
    ready: bool,
    waiting: VecDeque<(Out, Option<OwnedFd>)>,
}

impl<Out: Message, In: Message> Link<Out, In> {
    /// Takes over the monitor's end and sends the message that sets the worker up.
    pub fn new(socket: OwnedFd, setup: &Out) -> Result<Self, ChannelError> {
        let end = MonitorEnd::new(socket);
        end.send(setup, None)?;
        Ok(Self { end, ready: false, waiting: VecDeque::new() })
    }

    /// Sends a message, or keeps it until the worker takes it. An error means that the worker is lost.
    pub fn send(&mut self, message: Out, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
        self.waiting.push_back((message, descriptor));
        self.flush()
    }

    /// Sends what waits, as far as the worker takes it.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while self.ready
            && let Some((message, descriptor)) = self.waiting.front()
        {
            match self.end.send(message, descriptor.as_ref().map(AsFd::as_fd)) {
                Ok(()) => self.waiting.pop_front(),
                // ETOOMANYREFS: too many descriptors of ours are on their way (unix(7)); the worker will take some.
                Err(ChannelError::Io(Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS)) => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// The worker has said `Ready`; true where it had not before.
    pub fn mark_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.ready, true)
    }

    /// Whether the worker has said `Ready`.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether messages wait although the worker is ready.
    pub fn is_stuck(&self) -> bool {
        self.ready && !self.waiting.is_empty()
    }

    /// Receives one message.
    pub fn receive(&self) -> Result<Received<In>, ChannelError> {
        self.end.receive()
    }
}

impl<Out, In> AsFd for Link<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
