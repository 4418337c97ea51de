//! Receiving: one call brings one datagram, or a bundle of datagrams of one sender where the kernel makes them (UDP_GRO,
//! udp(7)). The size of the pieces comes in a control message.

use super::header;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrLike, SockaddrStorage, cmsg_space, recvmsg,
};
use rustix::io::Errno;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// No datagram and no bundle is longer (udp(7)).
const LONGEST: usize = 1 << 16;

/// Room for what is received, and for a header in front of it.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Box<[u8]>,
    control: [u8; cmsg_space::<i32>()],
}

/// What a call has brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bundle {
    length: usize,
    /// The length of each datagram but the last.
    piece: usize,
}

impl Bundle {
    fn of<S>(received: &RecvMsg<'_, '_, S>) -> Self {
        let length = received.bytes;
        let mut messages = received.cmsgs().into_iter().flatten();
        let piece = messages.find_map(|message| match message {
            ControlMessageOwned::UdpGroSegments(piece) => usize::try_from(piece).ok(),
            _ => None,
        });
        Self { length, piece: piece.filter(|piece| *piece > 0).unwrap_or(length) }
    }

    /// Where each datagram begins and ends. An empty one is one as well.
    fn pieces(self) -> impl Iterator<Item = (usize, usize)> {
        let begins = (0..self.length.max(1)).step_by(self.piece.max(1));
        begins.map(move |begin| (begin, begin.saturating_add(self.piece).min(self.length)))
    }
}

impl Receiver {
    pub(super) fn new() -> Self {
        let buffer = vec![0; header::LONGEST.saturating_add(LONGEST)].into();
        Self { buffer, control: [0; cmsg_space::<i32>()] }
    }

    fn receive_from<S: SockaddrLike>(&mut self, socket: &OwnedFd) -> Result<(Option<S>, Bundle), Errno> {
        let buffer = self.buffer.get_mut(header::LONGEST..).unwrap_or_default();
        let mut parts = [IoSliceMut::new(buffer)];
        let control = Some(&mut self.control[..]);
        let received = recvmsg::<S>(socket.as_raw_fd(), &mut parts, control, MsgFlags::MSG_DONTWAIT);
        let received = received.map_err(|error| Errno::from_raw_os_error(error as i32))?;
        let bundle = Bundle::of(&received);
        Ok((received.address, bundle))
    }

    /// Receives, and says from where.
    pub(super) fn receive_with_sender(
        &mut self,
        socket: &OwnedFd,
    ) -> Result<(Option<SocketAddr>, Bundle), Errno> {
        let (from, bundle) = self.receive_from::<SockaddrStorage>(socket)?;
        Ok((from.and_then(address), bundle))
    }

    /// Receives.
    pub(super) fn receive(&mut self, socket: &OwnedFd) -> Result<Bundle, Errno> {
        self.receive_from::<()>(socket).map(|(_, bundle)| bundle)
    }

    /// The datagrams of a bundle.
    pub(super) fn datagrams(&self, bundle: Bundle) -> impl Iterator<Item = &[u8]> {
        let received = self.buffer.get(header::LONGEST..).unwrap_or_default();
        bundle.pieces().filter_map(move |(begin, end)| received.get(begin..end))
    }

    /// Calls `send` with each datagram of a bundle behind this header, and with the length of its data. The header takes the
    /// place of bytes before the datagram, which have been sent already.
    pub(super) fn with_header(&mut self, bundle: Bundle, header: &[u8], mut send: impl FnMut(&[u8], usize)) {
        for (begin, end) in bundle.pieces() {
            let data = end.saturating_sub(begin);
            let (Some(begin), Some(end)) = (
                begin.checked_add(header::LONGEST).and_then(|begin| begin.checked_sub(header.len())),
                end.checked_add(header::LONGEST),
            ) else {
                return;
            };
            let Some(datagram) = self.buffer.get_mut(begin..end) else { return };
            datagram.iter_mut().zip(header).for_each(|(place, byte)| *place = *byte);
            send(datagram, data);
        }
    }
}

fn address(from: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
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
            let (from, bundle) = receiver.receive_with_sender(&socket).unwrap();
            assert_eq!(from, Some(sender.local_addr().unwrap()));
            assert_eq!(receiver.datagrams(bundle).collect::<Vec<_>>(), [sent]);
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
        sender.send(&sent).unwrap();
        let mut receiver = Receiver::new();
        let bundle = receiver.receive(&socket).unwrap();
        let expected: Vec<&[u8]> = sent.chunks(100).collect();
        assert_eq!(receiver.datagrams(bundle).collect::<Vec<_>>(), expected);
        let (mut seen, mut lengths) = (Vec::new(), Vec::new());
        receiver.with_header(bundle, b"header", |datagram, data| {
            seen.push(datagram.to_vec());
            lengths.push(data);
        });
        let expected: Vec<Vec<u8>> = sent.chunks(100).map(|data| [b"header", data].concat()).collect();
        assert_eq!((seen, lengths), (expected, vec![100, 100, 50]));
    }
}
