//! The sockets of a session: how epoll knows them, and what their connections say.

use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, getpeername, recv, shutdown};
use sockd_common::message::{self, Id};
use std::os::fd::{AsFd, OwnedFd};

/// The two peers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

/// The token of a socket for epoll. By the id, an event of an earlier session in the same slot is known.
pub(super) fn token(slot: usize, id: Id, side: Side) -> u64 {
    (u64::from(id.0) << 32) | ((slot as u64 & 0x7fff_ffff) << 1) | side as u64
}

/// What a token was made of.
pub(super) fn parts(token: u64) -> (usize, Id, Side) {
    let side = if token & 1 == 0 { Side::Client } else { Side::Server };
    let [a, b, c, d, ..] = token.to_be_bytes();
    ((token >> 1) as usize & 0x7fff_ffff, Id(u32::from_be_bytes([a, b, c, d])), side)
}

/// Sends a FIN behind everything that has been written. If the socket has been reset, another call says so.
pub(super) fn end_stream(socket: impl AsFd) {
    let _already_closed = shutdown(socket, Shutdown::Write);
}

/// Whether the peer has acknowledged our bytes and our FIN, and has sent its own: the socket's state is CLOSE.
pub(super) fn acknowledged(socket: &OwnedFd) -> bool {
    getpeername(socket).is_err()
}

/// Returns the error of a socket, and clears it.
pub(super) fn pending_error(socket: &OwnedFd) -> Errno {
    match recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Err(errno) if errno != Errno::AGAIN => errno,
        // A socket reports a reset only by an event after the end of its stream, and while bytes of it are unread.
        _ => Errno::CONNRESET,
    }
}

pub(super) fn number(errno: Errno) -> message::Errno {
    message::Errno(u16::try_from(errno.raw_os_error()).unwrap_or(0))
}
