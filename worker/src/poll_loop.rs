//! How the ident and the upstream worker wait. Both have few sockets, and a short answer comes on each.

use crate::Ending;
use crate::outbox::Outbox;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use sockd_common::message::{Id, Message};
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

/// The sources that are ready to be read.
pub(crate) struct Ready {
    pub(crate) channel: bool,
    pub(crate) queries: Vec<Id>,
}

/// Waits with poll(2). The sockets are few, and the profile has one call less than with epoll(7), as nothing is set
/// up before.
pub(crate) fn wait<'a, Out: Message, In: Message>(
    outbox: &Outbox<Out, In>,
    sockets: impl Iterator<Item = (Id, &'a OwnedFd)>,
) -> Result<Ready, Ending> {
    let interest = if outbox.is_stuck() { PollFlags::OUT } else { PollFlags::IN };
    let mut polled = vec![PollFd::new(outbox, interest)];
    let mut ids = Vec::new();
    for (id, socket) in sockets {
        ids.push(id);
        polled.push(PollFd::new(socket, PollFlags::IN));
    }
    match poll(&mut polled, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return Err(Ending::System),
    }
    let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
    let channel = ready.next().unwrap_or(false);
    let queries = ids.into_iter().zip(ready).filter_map(|(id, ready)| ready.then_some(id)).collect();
    Ok(Ready { channel, queries })
}

/// Receives with the call that the channel needs anyway.
pub(crate) fn receive<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let length = recvmsg(socket, &mut parts, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT)?.bytes;
    Ok(buffer.get(..length).unwrap_or_default())
}
