//! Packets that no honest worker sends.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg};
use sockd_common::message::{Id, Message};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// An id that the monitor has not given to anybody.
pub(crate) const NOBODYS: Id = Id(77_777);

/// The bytes of an honest message.
pub(crate) fn bytes(message: &impl Message) -> Vec<u8> {
    let mut buffer = [0; 2048];
    sockd_common::wire::encode(message, &mut buffer).expect("a message").to_vec()
}

/// Sends one packet of any content; waits for room. False once the channel is gone.
pub(crate) fn packet(channel: impl AsFd, bytes: &[u8]) -> bool {
    loop {
        match send(channel.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return true,
            Err(Errno::EAGAIN) => wait(&channel, PollFlags::POLLOUT),
            Err(_) => return false,
        }
    }
}

/// Sends the same packet until the channel is gone, as fast as the kernel takes it.
pub(crate) fn flood(channel: impl AsFd, bytes: &[u8]) {
    while packet(&channel, bytes) {}
}

/// Sends a packet with a descriptor.
pub(crate) fn with_descriptor(
    channel: impl AsFd,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> nix::Result<usize> {
    let descriptors = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    let channel = channel.as_fd().as_raw_fd();
    sendmsg::<()>(channel, &[IoSlice::new(bytes)], &control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Waits until one descriptor is ready.
pub(crate) fn wait(descriptor: impl AsFd, flags: PollFlags) {
    let _ = poll(&mut [PollFd::new(descriptor.as_fd(), flags)], PollTimeout::NONE);
}
