//! The sockets of a session: how epoll knows them, and what their connections say.

use super::handshake::LONGEST;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, getpeername, recv, shutdown};
use sockd_common::message::{self, Id};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use zeroize::Zeroize;

/// Bytes of a client, among which a password may be: they are overwritten, and no others. To overwrite as many as the longest
/// handshake may have takes longer than to read a short one.
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

/// Takes `length` bytes off a client's socket, which have been looked at before.
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
