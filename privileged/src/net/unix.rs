//! Unix sockets: how they are made, the callers of those that other programs connect to, and messages to them.

use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, recv, sendmsg, socket_with,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most descriptors in one packet.
pub const MOST_DESCRIPTORS: usize = 8;

/// The caller, by the kernel's word (SO_PEERCRED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its process; 0 if that is in another PID namespace.
    pub pid: i32,
}

/// Makes a non-blocking socket of this kind.
pub fn socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Connects a new socket to the one at this place.
pub fn connect(kind: SocketType, place: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = socket(kind)?;
    rustix::net::connect(&socket, place)?;
    Ok(socket)
}

/// Accepts a connection; `None` if the kernel does not say who the caller is.
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

/// Whether the other end is closed, in which case messages that it has not fetched are lost too. A message from it is
/// dropped, one for each call.
pub fn has_gone(socket: &OwnedFd) -> bool {
    match recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
        Ok((length, _)) => length == 0,
        Err(error) => error != Errno::AGAIN,
    }
}
