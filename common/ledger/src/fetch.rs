//! Asks a status socket for its gifts.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, recvmsg, socket_with, sockopt,
};
use sockd_common::status::{Gift, gifts};
use sockd_common::wait::within;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time limit for an answer. Even a busy monitor answers earlier if it answers at all.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How often a socket that closed without a word is asked: it was serving others.
const TRIES: u32 = 40;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Fetches the gifts of a status socket, each with its descriptor.
pub fn fetch(path: &Path) -> io::Result<Vec<(Gift, OwnedFd)>> {
    fetch_within(path, LIMIT)
}

/// The same with a limit of the caller's.
pub fn fetch_within(path: &Path, limit: Duration) -> io::Result<Vec<(Gift, OwnedFd)>> {
    let begun = Instant::now();
    for _ in 0..TRIES {
        match ask(path, limit)? {
            Some(gifts) => return Ok(gifts),
            None if begun.elapsed() > limit => break,
            None => std::thread::sleep(PAUSE),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "others are being served, and do not let go"))
}

/// Asks once; `None` if the socket has closed without a word. Closes the connection after it: the monitor serves few at
/// once.
fn ask(path: &Path, limit: Duration) -> io::Result<Option<Vec<(Gift, OwnedFd)>>> {
    let connection = reach(path, limit)?;
    let mut packet = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut packet)];
    let receive = || recvmsg(&connection, buffers, &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = match within(limit, receive) {
        Ok(received) => received.bytes,
        Err(Errno::CONNRESET) => 0,
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(None);
    }
    let descriptors: Vec<OwnedFd> = control.drain().filter_map(descriptors).flatten().collect();
    let known = gifts(packet.get(..length).unwrap_or_default());
    let known = known.filter(|known| known.len() == descriptors.len());
    let known =
        known.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no status socket of sockd"))?;
    Ok(Some(known.into_iter().zip(descriptors).filter_map(|(gift, own)| Some((gift?, own))).collect()))
}

fn descriptors(message: RecvAncillaryMessage<'_>) -> Option<impl Iterator<Item = OwnedFd>> {
    match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    }
}

/// Connects to a socket of a daemon. The limit applies to each word of the other end.
pub fn reach(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, timeout, Some(limit))?;
    }
    let address = SocketAddrUnix::new(path)?;
    within(limit, || connect(&socket, &address))?;
    Ok(socket)
}
