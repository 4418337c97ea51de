//! A connection that a worker has been lent. The monitor inspects and closes it by a descriptor of its own, so that it
//! need not trust a worker on how much was moved or whether the connection is over.

use crate::process::sys;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, connect_unspec, shutdown};
use sockd_session::flow::{Connection, Flow, Moved};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The state of a connection by the kernel. A connection on which the kernel does not answer counts as closed.
pub fn inspect(socket: &OwnedFd) -> Connection {
    sys::tcp_info(socket).map_or(Connection::CLOSED, |info| Connection::from_tcp_info(&info))
}

/// Ends both streams for every holder of the socket. Bytes that have been written still go to the peer: sockets do not
/// linger, so that a crash of the monitor resets them, and this call restores the ordinary close.
pub fn end(socket: &OwnedFd) {
    let _always_possible = set_socket_linger(socket, None);
    let _already_closed = shutdown(socket, Shutdown::Both);
}

/// Resets the connection for every holder of the socket: connecting to AF_UNSPEC dissolves it (connect(2)). A FIN would
/// make a transfer that was cut look whole.
pub fn reset(socket: &OwnedFd) {
    let _already_closed = connect_unspec(socket);
}

/// Limits how many bytes a second a connection sends, for every holder of the socket; 0 removes the limit.
pub fn pace(socket: &OwnedFd, rate: u32) -> io::Result<()> {
    sys::limit_pace(socket, if rate == 0 { u32::MAX } else { rate })
}

/// The answers of an upstream.
#[derive(Debug)]
pub struct Answers {
    is_socks5: bool,
    bytes: u64,
}

impl Answers {
    /// The answers of an upstream of this protocol version. SOCKS5 begins with the choice of a method, of two bytes.
    pub fn of_version(version: u8) -> Self {
        let is_socks5 = version == 5;
        Self { is_socks5, bytes: if is_socks5 { 2 } else { 0 } }
    }

    /// Counts a reply that grants the request, with this address.
    pub fn grant(&mut self, bound: SocketAddr) {
        let length = match (self.is_socks5, bound) {
            (false, _) => 8,
            (true, SocketAddr::V4(_)) => 10,
            (true, SocketAddr::V6(_)) => 22,
        };
        self.bytes = self.bytes.saturating_add(length);
    }
}

/// The bytes to and from an upstream before the relay. Bytes behind its answers are the client's.
pub fn before_relay(server: &OwnedFd, answers: &Answers) -> Moved {
    let told = Flow { client: Connection::CLOSED, server: inspect(server) }.moved(Moved::default(), true);
    Moved { up: told.up, down: answers.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_session::flow::{Flow, Moved};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A connection, as the side that connected and the side that accepted have it.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (connected, listener.accept().unwrap().0)
    }

    fn wait_for(what: impl Fn() -> bool) {
        (0..3000).find(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            what()
        });
        assert!(what());
    }

    fn moved(server: &OwnedFd) -> Moved {
        Flow { client: Connection::default(), server: inspect(server) }.moved(Moved::default(), true)
    }

    #[test]
    fn the_kernel_counts_the_bytes_of_both_directions_and_no_syn_or_fin() {
        for ours_connected in [true, false] {
            let (a, b) = pair();
            let (mut ours, mut peer) = if ours_connected { (a, b) } else { (b, a) };
            let server: OwnedFd = ours.try_clone().unwrap().into();
            assert_eq!(moved(&server), Moved::default());
            ours.write_all(&[7; 1000]).unwrap();
            peer.write_all(&[7; 50]).unwrap();
            peer.read_exact(&mut [0; 1000]).unwrap();
            ours.read_exact(&mut [0; 50]).unwrap();
            assert_eq!(moved(&server), Moved { up: 1000, down: 50 });
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0);
            assert_eq!(moved(&server), Moved { up: 1000, down: 50 });
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            wait_for(|| inspect(&server).is_closed());
            assert_eq!(moved(&server), Moved { up: 1000, down: 50 });
        }
    }

    #[test]
    fn what_waits_to_be_sent_is_counted_as_well() {
        let (mut ours, peer) = pair();
        ours.set_nonblocking(true).unwrap();
        let server: OwnedFd = ours.try_clone().unwrap().into();
        let mut written = 0;
        while let Ok(length) = ours.write(&[7; 100_000]) {
            written += length as u64;
        }
        assert_eq!(moved(&server).up, written);
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(moved(&server).up, written, "a FIN that waits is no byte");
        drop(peer);
    }

    #[test]
    fn a_reset_reaches_the_peer_and_every_holder_and_an_end_is_orderly() {
        let (mut kept, mut peer) = pair();
        reset(&kept.try_clone().unwrap().into());
        assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert!(kept.write_all(b"x").is_err(), "a copy is dead");
        let (mut kept, mut peer) = pair();
        end(&kept.try_clone().unwrap().into());
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        assert!(kept.write_all(b"x").is_err(), "a copy is dead");
    }
}
