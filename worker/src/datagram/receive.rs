//! Receiving: one call brings the datagrams that are there. The kernel may put a bundle of datagrams of one sender in
//! the place of one (UDP_GRO, udp(7)), and a control message with the size of the pieces.

use super::header;
use crate::sys::{Filled, MOST_AT_ONCE, receive_many};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The longest datagram or bundle (udp(7)).
const LONGEST: usize = 1 << 16;

/// Bytes for a datagram or a bundle and a header in front of it. The next place begins on a cache line.
const PLACE: usize = (header::LONGEST + LONGEST).next_multiple_of(64);

/// Room for what is received, and for a header in front of each.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Box<[u8]>,
    filled: [Filled; MOST_AT_ONCE],
}

/// The number of bundles that one call has brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    number: usize,
}

impl Received {
    /// The numbers of the bundles. A single datagram is a bundle of one.
    pub(super) fn bundles(self) -> std::ops::Range<usize> {
        0..self.number
    }

    /// Whether there may be more.
    pub(super) fn is_full(self) -> bool {
        self.number == MOST_AT_ONCE
    }
}

/// Returns the begin and end of each datagram of a bundle. An empty datagram counts as one.
fn pieces(filled: Filled) -> impl Iterator<Item = (usize, usize)> {
    let Filled { length, piece, .. } = filled;
    let piece = piece.unwrap_or(length).max(1);
    let begins = (0..length.max(1)).step_by(piece);
    begins.map(move |begin| (begin, begin.saturating_add(piece).min(length)))
}

impl Receiver {
    pub(super) fn new() -> Self {
        let buffer = vec![0; PLACE.saturating_mul(MOST_AT_ONCE)].into();
        Self { buffer, filled: [Filled::default(); MOST_AT_ONCE] }
    }

    /// Receives what is there.
    pub(super) fn receive(&mut self, socket: &OwnedFd) -> Result<Received, Errno> {
        let Self { buffer, filled } = self;
        let places = buffer.chunks_exact_mut(PLACE).filter_map(|place| place.get_mut(header::LONGEST..));
        let received = receive_many(socket, places, filled);
        let number = received.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
        Ok(Received { number })
    }

    fn filled(&self, bundle: usize) -> Filled {
        self.filled.get(bundle).copied().unwrap_or_default()
    }

    /// The sender of a bundle.
    pub(super) fn sender(&self, bundle: usize) -> Option<SocketAddr> {
        self.filled(bundle).from
    }

    /// The datagrams of a bundle.
    pub(super) fn datagrams(&self, bundle: usize) -> impl Iterator<Item = &[u8]> {
        let place = self.buffer.chunks_exact(PLACE).nth(bundle).unwrap_or_default();
        let received = place.get(header::LONGEST..).unwrap_or_default();
        pieces(self.filled(bundle)).filter_map(move |(begin, end)| received.get(begin..end))
    }

    /// Calls `send` with each datagram of a bundle behind this header, and with the length of its data. The header
    /// takes the place of bytes before the datagram, which have been sent already.
    pub(super) fn with_header(&mut self, bundle: usize, header: &[u8], mut send: impl FnMut(&[u8], usize)) {
        let filled = self.filled(bundle);
        let place = self.buffer.chunks_exact_mut(PLACE).nth(bundle).unwrap_or_default();
        for (begin, end) in pieces(filled) {
            let data = end.saturating_sub(begin);
            let (Some(begin), Some(end)) = (
                begin.checked_add(header::LONGEST).and_then(|begin| begin.checked_sub(header.len())),
                end.checked_add(header::LONGEST),
            ) else {
                return;
            };
            let Some(datagram) = place.get_mut(begin..end) else { return };
            datagram.iter_mut().zip(header).for_each(|(place, byte)| *place = *byte);
            send(datagram, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt};
    use std::net::UdpSocket;

    fn pair() -> (UdpSocket, OwnedFd) {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [sender, receiver] = sockets;
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        receiver.connect(sender.local_addr().unwrap()).unwrap();
        (sender, receiver.into())
    }

    #[test]
    fn a_datagram_comes_with_its_sender_and_an_empty_one_is_one() {
        let (sender, socket) = pair();
        let mut receiver = Receiver::new();
        for sent in [&b"one"[..], b""] {
            sender.send(sent).unwrap();
            let received = receiver.receive(&socket).unwrap();
            assert_eq!((received.bundles(), received.is_full()), (0..1, false));
            assert_eq!(receiver.sender(0), Some(sender.local_addr().unwrap()));
            assert_eq!(receiver.datagrams(0).collect::<Vec<_>>(), [sent]);
        }
        assert_eq!(receiver.receive(&socket).unwrap_err(), Errno::AGAIN);
    }

    /// A sender that has the kernel cut one long datagram (UDP_SEGMENT) makes a bundle over loopback.
    #[test]
    fn a_bundle_is_cut_where_its_datagrams_were() {
        let (sender, socket) = pair();
        setsockopt(&socket, sockopt::UdpGroSegment, &true).unwrap();
        setsockopt(&sender, sockopt::UdpGsoSegment, &100).unwrap();
        let sent: Vec<u8> = (0..250).collect();
        let mut receiver = Receiver::new();
        // The remains of one call do not change the results of the next.
        for single in [false, true, false] {
            if single {
                setsockopt(&sender, sockopt::UdpGsoSegment, &0).unwrap();
                sender.send(b"single").unwrap();
                setsockopt(&sender, sockopt::UdpGsoSegment, &100).unwrap();
            }
            sender.send(&sent).unwrap();
            let received = receiver.receive(&socket).unwrap();
            assert_eq!(received.bundles(), 0..1 + usize::from(single));
            let expected: Vec<&[u8]> = sent.chunks(100).collect();
            let bundle = received.bundles().end - 1;
            assert_eq!(receiver.datagrams(bundle).collect::<Vec<_>>(), expected);
        }
        let (mut seen, mut lengths) = (Vec::new(), Vec::new());
        receiver.with_header(0, b"header", |datagram, data| {
            seen.push(datagram.to_vec());
            lengths.push(data);
        });
        let expected: Vec<Vec<u8>> = sent.chunks(100).map(|data| [b"header", data].concat()).collect();
        assert_eq!((seen, lengths), (expected, vec![100, 100, 50]));
    }
}
