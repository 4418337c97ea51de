//! Asks the kernel, and not the daemon, what it counts of connections (sock_diag(7)). Any user may ask.

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

/// The two ends of a connection: the client's, and the one on this host.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// The counts of the kernel for a connection to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Bytes from the client. The SOCKS request is among them.
    pub(super) up: u64,
    /// Bytes to the client that it has acknowledged. The SOCKS reply is among them.
    pub(super) down: u64,
    /// The time since the last byte.
    pub(super) idle: Duration,
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// SOCK_DIAG_BY_FAMILY, NLMSG_DONE, NLMSG_ERROR, INET_DIAG_INFO.
const BY_FAMILY: u16 = 20;
const DONE: u16 = 3;
const FAILED: u16 = 2;
const INFO: u16 = 2;

/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;

/// All states but those without a connection: closed, listening, SYN-SENT, SYN-RECV, TIME-WAIT.
const CONNECTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Bytes of the head of a netlink message, and of struct inet_diag_msg.
const HEAD: usize = 16;
const ABOUT: usize = 72;

/// Asks the kernel for the counts of all connections to these ports of this host.
pub(super) fn traffic(ports: &BTreeSet<u16>) -> io::Result<HashMap<Ends, Traffic>> {
    let mut found = HashMap::new();
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    for port in ports {
        for family in [AF_INET, AF_INET6] {
            ask(&socket, family, *port, &mut found)?;
        }
    }
    Ok(found)
}

fn ask(socket: impl AsFd, family: u8, port: u16, found: &mut HashMap<Ends, Traffic>) -> io::Result<()> {
    sendto(&socket, &question(family, port), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, behind)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                FAILED => return Err(io::Error::other("the kernel does not tell of connections")),
                BY_FAMILY => found.extend(connection(body)),
                _ => {}
            }
            rest = behind;
        }
    }
}

/// struct nlmsghdr and struct inet_diag_req_v2.
fn question(family: u8, port: u16) -> Vec<u8> {
    let mut question = Vec::with_capacity(72);
    question.extend(72_u32.to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(DUMP.to_ne_bytes());
    question.extend([0; 8]);
    question.extend([family, IPPROTO_TCP, 1 << (INFO - 1), 0]);
    question.extend(CONNECTED.to_ne_bytes());
    question.extend(port.to_be_bytes());
    question.resize(72, 0);
    question
}

/// The kind of the first message, its body, and what stands behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEAD..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// A connection and its counts.
fn connection(body: &[u8]) -> Option<(Ends, Traffic)> {
    let family = *body.first()?;
    let own = end(family, body.get(4..6)?, body.get(8..24)?)?;
    let far = end(family, body.get(6..8)?, body.get(24..40)?)?;
    let info = attribute(body.get(ABOUT..)?)?;
    let idle = number(info, 44)?.min(number(info, 52)?);
    let counted = |at: usize| info.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes);
    let traffic =
        Traffic { up: counted(128)?, down: counted(120)?, idle: Duration::from_millis(idle.into()) };
    Some(((far, own), traffic))
}

fn end(family: u8, port: &[u8], address: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*port.first_chunk()?);
    let address = match family {
        AF_INET => IpAddr::from(*address.first_chunk::<4>()?),
        _ => Ipv6Addr::from(*address.first_chunk::<16>()?).to_canonical(),
    };
    Some(SocketAddr::new(address, port))
}

/// The attribute INET_DIAG_INFO: struct tcp_info.
fn attribute(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        if kind == INFO {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_kernel_tells_what_a_connection_has_moved() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else { continue };
            let own = listener.local_addr().unwrap();
            let mut far = TcpStream::connect(own).unwrap();
            let mut near = listener.accept().unwrap().0;
            far.write_all(&[0; 1000]).unwrap();
            near.read_exact(&mut [0; 1000]).unwrap();
            let found = traffic(&[own.port()].into()).unwrap();
            let traffic = found[&(far.local_addr().unwrap(), own)];
            assert_eq!((traffic.up, traffic.down), (1000, 0), "{place}");
            assert!(traffic.idle < Duration::from_secs(60));
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        assert_eq!(message(&[0; 8]), None);
        assert_eq!(message(&[200, 0, 0, 0, 20, 0, 0, 0]), None);
        assert_eq!(connection(&[2; 80]), None);
        assert_eq!(attribute(&[0; 16]), None, "a length of nothing does not go on for ever");
    }
}
