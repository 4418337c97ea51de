//! Reads the beginning of a stream from its socket, and not a byte of what follows.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::os::fd::AsFd;

/// The length of the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Unknown until this many bytes have arrived.
    Wants(usize),
    /// It is this many bytes long.
    Is(usize),
}

/// How much of the beginning has arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// All of it; it has been read from the socket.
    Whole(&'a [u8]),
    /// Less, and it is still in the socket; this many bytes tell more.
    Wants(usize),
}

/// Peeks at the first bytes in the socket, and then at as many as those ask for. Once all have arrived, one read of
/// exactly that length takes them out. A failed connection has no bytes; a beginning too long for the buffer stays
/// `Wants`.
pub fn take<'a, Fault>(
    socket: impl AsFd,
    room: &'a mut [u8],
    first: usize,
    extent: impl FnOnce(&[u8]) -> Result<Extent, Fault>,
) -> Result<Taken<'a>, Fault> {
    let start = receive(&socket, room, first, RecvFlags::PEEK);
    let length = match extent(room.get(..start).unwrap_or_default())? {
        Extent::Wants(more) => return Ok(Taken::Wants(more)),
        Extent::Is(length) => length,
    };
    for flags in [RecvFlags::PEEK, RecvFlags::empty()] {
        if receive(&socket, room, length, flags) < length {
            return Ok(Taken::Wants(length));
        }
    }
    Ok(room.get(..length).map_or(Taken::Wants(length), Taken::Whole))
}

/// Receives at most `most` bytes, and returns how many arrived.
fn receive(socket: impl AsFd, room: &mut [u8], most: usize, flags: RecvFlags) -> usize {
    let received = room.get_mut(..most).map_or(Err(Errno::MSGSIZE), |room| recv(socket, room, flags));
    received.map_or(0, |(length, _)| length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// The first byte tells the whole length.
    fn extent(start: &[u8]) -> Result<Extent, &'static str> {
        match start.first() {
            None => Ok(Extent::Wants(1)),
            Some(0) => Err("no length"),
            Some(length) => Ok(Extent::Is((*length).into())),
        }
    }

    #[test]
    fn a_beginning_is_taken_whole_and_what_follows_is_left() {
        let (mut far, mut near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut room = [0; 4];
        assert_eq!(take(&near, &mut room, 1, extent), Ok(Taken::Wants(1)));
        far.write_all(&[4, 1, 2]).unwrap();
        assert_eq!(take(&near, &mut room, 1, extent), Ok(Taken::Wants(4)));
        far.write_all(&[3, 9, 9]).unwrap();
        assert_eq!(take(&near, &mut room, 1, extent), Ok(Taken::Whole(&[4, 1, 2, 3])));
        let mut rest = [0; 3];
        assert_eq!(near.read(&mut rest).unwrap(), 2);
        far.write_all(&[5, 0, 0, 0, 0]).unwrap();
        assert_eq!(take(&near, &mut room, 1, extent), Ok(Taken::Wants(5)), "no room for so many");
        near.read_exact(&mut [0; 5]).unwrap();
        far.write_all(&[0]).unwrap();
        assert_eq!(take(&near, &mut room, 1, extent), Err("no length"));
    }
}
