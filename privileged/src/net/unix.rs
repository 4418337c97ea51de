//! Unix sockets that others on this host come to: who has come, and what is handed to them.

use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, recv, sendmsg,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors that one packet can take along.
pub const MOST_DESCRIPTORS: usize = 8;

/// Who has come, as the kernel says (SO_PEERCRED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its process, 0 where that is of another namespace.
    pub pid: i32,
}

/// Accepts one; nobody where the kernel does not say who it is.
pub fn accept(listener: impl AsFd) -> Result<Option<(OwnedFd, Caller)>, Errno> {
    let socket = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let caller = sys::peer_credentials(&socket);
    Ok(caller.ok().map(|(uid, pid)| (socket, Caller { uid, pid })))
}

/// Sends a packet with descriptors, [`MOST_DESCRIPTORS`] at most, without waiting.
pub fn send(socket: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Whether the other end is closed: what it has not fetched is gone then too. What it says is dropped, as far as that is
/// read: a packet at a time.
pub fn has_gone(socket: &OwnedFd) -> bool {
    match recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
        Ok((length, _)) => length == 0,
        Err(error) => error != Errno::AGAIN,
    }
}
