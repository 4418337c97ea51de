//! The sockets of a session: their tokens for epoll, and the states of their connections.

use super::handshake::LONGEST;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, getpeername, recv, shutdown};
use sockd_common::message::{self, Id};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use zeroize::Zeroize;

/// Bytes of a client that may contain a password. These alone are overwritten: a buffer for the longest handshake takes
/// longer to overwrite than a short handshake to read.
pub(super) struct Secret<'a>(pub(super) &'a mut [u8]);

impl Drop for Secret<'_> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The two peers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

/// The token of a socket for epoll. The id tells apart the events of an earlier session in the same slot.
pub(super) fn token(slot: usize, id: Id, side: Side) -> u64 {
    (u64::from(id.0) << 32) | ((slot as u64 & 0x7fff_ffff) << 1) | side as u64
}

/// Returns the parts of a token.
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

/// Takes `length` bytes, which have been looked at before, off a client's socket.
pub(super) fn take(client: &OwnedFd, mut length: usize) -> Result<(), Errno> {
    let mut bytes = [MaybeUninit::uninit(); LONGEST];
    while let Some(part) = bytes.get_mut(..length).filter(|part| !part.is_empty()) {
        let ((taken, _), _) = recv(client, part, RecvFlags::DONTWAIT)?;
        let taken = Secret(taken);
        match taken.0.len() {
            0 => return Err(Errno::CONNRESET),
            taken => length = length.saturating_sub(taken),
        }
    }
    Ok(())
}

/// The outcome of dropping bytes of a client that mean nothing.
pub(super) enum Dropped {
    /// Nothing more is there. So many bytes may still come.
    Left(usize),
    Closed,
    TooMany,
    Failed(Errno),
}

/// Drops what a client has sent, `left` bytes at most. `ready` says whether something may be there.
pub(super) fn drop_input(client: &OwnedFd, ready: &mut bool, mut left: usize) -> Dropped {
    let mut bytes = [0; 4096];
    while *ready {
        match recv(client, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Dropped::Closed,
            Ok((length, _)) => match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return Dropped::TooMany,
            },
            Err(Errno::AGAIN) => *ready = false,
            Err(errno) => return Dropped::Failed(errno),
        }
    }
    Dropped::Left(left)
}
