//! The sockets of UDP associations. Each hears a single peer from the first moment on, and is connected to it before it
//! is lent to a worker.
//!
//! A connected UDP socket is no fence by itself: datagrams from before connect(2) stay in its queue, and until then it
//! hears everybody on a shared port. So a filter (socket(7), SO_ATTACH_FILTER) for the source is attached before
//! bind(2), and is locked before the socket is lent.

use crate::net::sockets::{bind_first, bound_address, failed, family};
use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, Shutdown, SocketFlags, SocketType, bind, connect, recvfrom, shutdown, socket_with, sockopt,
};
use sockd_session::record::FailedCall;
use socket2::{SockFilter, SockRef};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// The offset of the network header for a filter (linux/filter.h, SKF_NET_OFF).
const NETWORK: u32 = (-0x10_0000_i32).cast_unsigned();

/// The offsets of the source address in the headers of IPv4 and IPv6.
const SOURCE_V4: u32 = NETWORK.wrapping_add(12);
const SOURCE_V6: u32 = NETWORK.wrapping_add(8);

/// The offset of the source port in the UDP header.
const SOURCE_PORT: u32 = 0;

// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A filter that accepts datagrams from this address, and from this port if one is given.
fn from_only(address: IpAddr, port: Option<u16>) -> Vec<SockFilter> {
    let mut tests: Vec<(u16, u32, u32)> = match address {
        IpAddr::V4(address) => vec![(LOAD_WORD, SOURCE_V4, address.to_bits())],
        IpAddr::V6(address) => {
            let octets = address.octets();
            let words = octets.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
            let places = (SOURCE_V6..).step_by(4);
            places.zip(words).map(|(place, word)| (LOAD_WORD, place, word)).collect()
        }
    };
    tests.extend(port.map(|port| (LOAD_HALF, SOURCE_PORT, port.into())));
    let mut left = u8::try_from(tests.len()).unwrap_or(u8::MAX);
    let mut program = Vec::new();
    for (load, place, value) in tests {
        left = left.saturating_sub(1);
        // Jumps over the remaining tests and the instruction that accepts.
        let otherwise = left.saturating_mul(2).saturating_add(1);
        program.extend([
            SockFilter::new(load, 0, 0, place),
            SockFilter::new(JUMP_IF_EQUAL, 0, otherwise, value),
        ]);
    }
    program.extend([SockFilter::new(RETURN, 0, 0, u32::MAX), SockFilter::new(RETURN, 0, 0, 0)]);
    program
}

fn hear_only(socket: &OwnedFd, address: IpAddr, port: Option<u16>) -> Result<(), FailedCall> {
    SockRef::from(socket).attach_filter(&from_only(address, port)).map_err(not_set)
}

fn not_set(error: io::Error) -> FailedCall {
    failed("setsockopt")(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

/// Locks the filter against every holder of the socket, and makes the kernel bundle incoming datagrams, if it can.
fn finish(socket: &OwnedFd) -> Result<(), FailedCall> {
    sys::lock_filter(socket).map_err(not_set)?;
    // A kernel without UDP_GRO hands over one datagram at a time.
    let _ = sys::receive_bundles(socket);
    Ok(())
}

fn datagram_socket(address: IpAddr) -> Result<OwnedFd, FailedCall> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family(address), SocketType::DGRAM, flags, None).map_err(failed("socket"))
}

/// Makes the socket to which a client at this address sends its datagrams, from this port if one is given. Returns its
/// address as well. `at` is the address that the client's connection came to. Through a balancer it may be of the other
/// family, which such a client could not reach.
pub fn client_side(
    client: IpAddr,
    port: Option<u16>,
    at: SocketAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Result<(OwnedFd, SocketAddr), FailedCall> {
    if client.is_ipv4() != at.is_ipv4() {
        return Err(failed("bind")(Errno::AFNOSUPPORT));
    }
    let socket = datagram_socket(at.ip())?;
    hear_only(&socket, client, port)?;
    bind_first(&socket, at, ports)?;
    let own = bound_address(&socket)?;
    Ok((socket, own))
}

/// Connects the client's socket to the source of its first datagram, which is left unread. `None` if none has come.
pub fn latch(socket: &OwnedFd) -> Result<Option<SocketAddr>, FailedCall> {
    let from = match recvfrom(socket, &mut [0_u8; 0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, _, from)) => from.and_then(|from| SocketAddr::try_from(from).ok()),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => None,
        Err(error) => return Err(failed("recvfrom")(error)),
    };
    let Some(from) = from else { return Ok(None) };
    connect(socket, &from).map_err(failed("connect"))?;
    hear_only(socket, from.ip(), Some(from.port()))?;
    finish(socket)?;
    Ok(Some(from))
}

/// Makes a socket that is connected to `to`, from this address if one is given. Returns its port as well: `shared`,
/// which other sockets of the same association have, or else one of the kernel's choice, which no other socket has.
pub fn flow(to: SocketAddr, from: Option<IpAddr>, shared: Option<u16>) -> Result<(OwnedFd, u16), FailedCall> {
    let unspecified = match to.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let at = from.unwrap_or(unspecified);
    let socket = datagram_socket(to.ip())?;
    hear_only(&socket, to.ip(), Some(to.port()))?;
    let bind = |port| bind(&socket, &SocketAddr::new(at, port)).map_err(failed("bind"));
    let share = || sockopt::set_socket_reuseport(&socket, true).map_err(failed("setsockopt"));
    match shared {
        // If SO_REUSEPORT were set before, the kernel could choose a port that another association has.
        None => bind(0).and_then(|()| share())?,
        Some(port) => share().and_then(|()| bind(port))?,
    }
    connect(&socket, &to).map_err(failed("connect"))?;
    finish(&socket)?;
    let port = bound_address(&socket)?.port();
    Ok((socket, port))
}

/// Stops all sending, for every holder of the socket.
pub fn end(socket: &OwnedFd) {
    let _never_connected = shutdown(socket, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    fn peer(address: &str) -> UdpSocket {
        let peer = UdpSocket::bind(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        peer
    }

    fn ours(socket: OwnedFd) -> UdpSocket {
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket
    }

    fn received(socket: &UdpSocket) -> Option<Vec<u8>> {
        let mut bytes = [0; 64];
        socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec())
    }

    #[test]
    fn a_stranger_is_never_heard_not_even_first() {
        for (client, stranger, at) in [("127.0.0.1", "127.0.0.2", "127.0.0.1:0"), ("::1", "", "[::1]:0")] {
            let (socket, own) = client_side(client.parse().unwrap(), None, at.parse().unwrap(), [0]).unwrap();
            if !stranger.is_empty() {
                peer(&format!("{stranger}:0")).send_to(b"stranger", own).unwrap();
            }
            assert_eq!(latch(&socket), Ok(None));
            let client = UdpSocket::bind((client, 0)).unwrap();
            client.send_to(b"client", own).unwrap();
            assert_eq!(latch(&socket), Ok(client.local_addr().ok()));
            assert_eq!(received(&ours(socket)).unwrap(), b"client", "it is left unread");
        }
    }

    #[test]
    fn a_second_port_of_the_client_is_not_heard_after_the_first() {
        let (socket, own) =
            client_side("127.0.0.1".parse().unwrap(), None, "127.0.0.1:0".parse().unwrap(), [0]).unwrap();
        let [first, second] = [peer("127.0.0.1:0"), peer("127.0.0.1:0")];
        first.send_to(b"1", own).unwrap();
        latch(&socket).unwrap().unwrap();
        second.send_to(b"2", own).unwrap();
        first.send_to(b"3", own).unwrap();
        let socket = ours(socket);
        assert_eq!([received(&socket), received(&socket)], [Some(b"1".to_vec()), Some(b"3".to_vec())]);
    }

    #[test]
    fn the_port_that_was_announced_can_be_the_only_one() {
        let [announced, other] = [peer("127.0.0.1:0"), peer("127.0.0.1:0")];
        let port = announced.local_addr().unwrap().port();
        let at = "127.0.0.1:0".parse().unwrap();
        let (socket, own) = client_side("127.0.0.1".parse().unwrap(), Some(port), at, [0]).unwrap();
        other.send_to(b"other", own).unwrap();
        assert_eq!(latch(&socket), Ok(None));
        announced.send_to(b"announced", own).unwrap();
        assert_eq!(latch(&socket), Ok(announced.local_addr().ok()));
    }

    #[test]
    fn flows_share_a_port_and_hear_their_peers_alone() {
        let [one, two, third] = [peer("127.0.0.1:0"), peer("127.0.0.1:0"), peer("127.0.0.1:0")];
        let at = |peer: &UdpSocket| peer.local_addr().unwrap();
        let (first, port) = flow(at(&one), None, None).unwrap();
        let (second, same) = flow(at(&two), None, Some(port)).unwrap();
        assert_eq!(port, same);
        let own = SocketAddr::from(([127, 0, 0, 1], port));
        one.send_to(b"1", own).unwrap();
        two.send_to(b"2", own).unwrap();
        third.send_to(b"3", own).unwrap();
        third.connect(own).unwrap();
        third.send(b"3").unwrap();
        assert_eq!(third.recv(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        let (first, second) = (ours(first), ours(second));
        assert_eq!([received(&first), received(&second)], [Some(b"1".to_vec()), Some(b"2".to_vec())]);
        assert_eq!([received(&first), received(&second)], [None, None]);
    }

    #[test]
    fn another_association_never_gets_a_port_that_is_shared() {
        let peer = peer("127.0.0.1:0");
        let to = peer.local_addr().unwrap();
        let held: Vec<(OwnedFd, u16)> = (0..200).map(|_| flow(to, None, None).unwrap()).collect();
        let mut ports: Vec<u16> = held.iter().map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), held.len());
    }

    #[test]
    fn a_filter_is_locked_and_an_ended_socket_is_dead_for_every_holder() {
        let peer = peer("127.0.0.1:0");
        let (socket, _) = flow(peer.local_addr().unwrap(), None, None).unwrap();
        assert!(hear_only(&socket, "127.0.0.9".parse().unwrap(), None).is_err());
        let copy = UdpSocket::from(socket.try_clone().unwrap());
        copy.send(b"x").unwrap();
        end(&socket);
        assert!(copy.send(b"x").is_err());
    }
}
