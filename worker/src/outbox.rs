//! A worker's messages to the monitor. They wait here, in their order, until the monitor reads them.

use crate::Ending;
use rustix::io::Errno;
use sockd_common::channel::{ChannelError, Received, WorkerEnd};
use sockd_common::message::Message;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The channel with a queue in front of it.
///
/// A worker that receives nothing while its queue has messages keeps the queue short.
#[derive(Debug)]
pub struct Outbox<Out, In> {
    channel: WorkerEnd<Out, In>,
    queue: VecDeque<Out>,
}

impl<Out: Message, In: Message> Outbox<Out, In> {
    /// Takes over the channel.
    pub fn new(channel: OwnedFd) -> Self {
        Self { channel: WorkerEnd::new(channel), queue: VecDeque::new() }
    }

    /// Puts a message at the end of the queue; [`flush`](Self::flush) sends it.
    pub fn push(&mut self, message: Out) {
        self.queue.push_back(message);
    }

    /// Sends as much as the monitor takes. [`Ending::Finished`] when it has closed the channel.
    pub fn flush(&mut self) -> Result<(), Ending> {
        while let Some(message) = self.queue.front() {
            match self.channel.send(message) {
                Ok(()) => self.queue.pop_front(),
                Err(ChannelError::Io(Errno::AGAIN | Errno::NOBUFS)) => return Ok(()),
                Err(ChannelError::Io(Errno::PIPE | Errno::CONNRESET)) => return Err(Ending::Finished),
                Err(_) => return Err(Ending::System),
            };
        }
        Ok(())
    }

    /// Whether messages wait for the monitor to read.
    pub fn is_stuck(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next message with its descriptor, if there is one. [`Ending::Finished`] when the channel is closed.
    pub fn receive(&self) -> Result<Option<Incoming<In>>, Ending> {
        match self.channel.receive() {
            Ok(Received::Message(message, descriptor)) => Ok(Some(Incoming { message, descriptor })),
            Ok(Received::DescriptorLost(message)) => Ok(Some(Incoming { message, descriptor: None })),
            Ok(Received::Nothing) | Err(ChannelError::Io(Errno::INTR)) => Ok(None),
            Ok(Received::Closed) => Err(Ending::Finished),
            Err(ChannelError::Io(_)) => Err(Ending::System),
            Err(_) => Err(Ending::Protocol),
        }
    }
}

impl<Out, In> AsFd for Outbox<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// A message from the monitor.
#[derive(Debug)]
pub struct Incoming<In> {
    /// The message.
    pub message: In,
    /// Its descriptor. `None` in a message of a kind that carries one means that the kernel had no room for it.
    pub descriptor: Option<OwnedFd>,
}
