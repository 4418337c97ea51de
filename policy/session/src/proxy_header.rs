//! The PROXY header, by which a balancer names its client: version 2 in bytes, version 1 as a line of text.
//!
//! All fields are at fixed offsets. Bytes after the addresses of version 2 (TLVs, a checksum, an id) are skipped by
//! their length alone. Anything but a whole and valid header is a fault, and the connection is closed: if the header
//! could be missing, any client could write one.

use crate::session::Origin;
use crate::settings::{ProxyListener, ProxyProtocol};
use sockd_common::head::Extent;
use sockd_policy::canonical;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header that is taken.
pub const MOST: usize = 536;

/// Bytes of version 2 that tell its length.
const FIXED: usize = 16;

/// Bytes of the longest line of version 1.
const LINE: usize = 107;

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The client that has connected to the balancer, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// This client.
    Client(SocketAddr),
    /// No client: the balancer checks whether this server serves.
    Check,
}

/// Why a connection names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes are those of something else.
    NoHeader,
    /// A version that does not exist.
    Version,
    /// A command that does not exist.
    Command,
    /// The balancer names no client, or none that can connect by TCP.
    Unknown,
    /// The addresses do not fit into the length.
    TooShort,
    /// Longer than [`MOST`], or than a line may be.
    TooLong,
    /// The line does not have the required form.
    Form,
    /// The address cannot belong to a host.
    NoHost,
    /// The claimed client is itself a balancer.
    OfBalancers,
    /// The connection has ended, or the time is over, before the whole header had arrived.
    Unfinished,
    /// Too many of the balancer's connections wait for their headers already.
    NoPlace,
    /// The peer is no balancer.
    Stranger,
}

/// The number of bytes that are looked at first.
pub fn first(protocol: ProxyProtocol) -> usize {
    match protocol {
        ProxyProtocol::V2 => FIXED,
        ProxyProtocol::V1 => LINE,
    }
}

/// The extent of the header that begins with these bytes. Bytes that cannot begin a header are a fault at once.
pub fn extent(protocol: ProxyProtocol, start: &[u8]) -> Result<Extent, Fault> {
    match protocol {
        ProxyProtocol::V2 => extent_v2(start),
        ProxyProtocol::V1 => extent_v1(start),
    }
}

/// Reads a whole header.
pub fn read(protocol: ProxyProtocol, header: &[u8]) -> Result<Header, Fault> {
    let read = match protocol {
        ProxyProtocol::V2 => read_v2(header)?,
        ProxyProtocol::V1 => read_v1(header)?,
    };
    match read {
        Header::Client(client) if !may_be_a_host(canonical(client.ip())) => Err(Fault::NoHost),
        read => Ok(read),
    }
}

/// The client at this listener and its origin, by a whole header from this peer. A balancer is not accepted as a
/// client: anyone who could be introduced as one could claim any address.
pub fn introduce(
    protocol: ProxyProtocol,
    header: &[u8],
    peer: SocketAddr,
    listener: Option<&ProxyListener>,
) -> Result<(SocketAddr, Origin), Fault> {
    match read(protocol, header)? {
        Header::Check => Ok((peer, Origin::CHECK)),
        Header::Client(client) if listener.is_some_and(|listener| !listener.believes(client.ip())) => {
            Ok((SocketAddr::new(canonical(client.ip()), client.port()), Origin::balanced(header.len())))
        }
        Header::Client(_) => Err(Fault::OfBalancers),
    }
}

fn extent_v2(start: &[u8]) -> Result<Extent, Fault> {
    begins(start, SIGNATURE)?;
    let Some([high, low]) = start.get(14..FIXED) else { return Ok(Extent::Wants(FIXED)) };
    match FIXED.saturating_add(u16::from_be_bytes([*high, *low]).into()) {
        length if length <= MOST => Ok(Extent::Is(length)),
        _ => Err(Fault::TooLong),
    }
}

fn read_v2(header: &[u8]) -> Result<Header, Fault> {
    let Some((fixed, addresses)) = header.split_first_chunk::<FIXED>() else { return Err(Fault::TooShort) };
    begins(fixed, SIGNATURE)?;
    let [.., version_and_command, family, _, _] = *fixed;
    match version_and_command {
        0x20 => return Ok(Header::Check),
        0x21 => {}
        0x22..=0x2f => return Err(Fault::Command),
        _ => return Err(Fault::Version),
    }
    // TCP over IPv4 and over IPv6: source, destination, source port, destination port.
    let (address, port) = match family {
        0x11 => {
            let block = addresses.first_chunk::<12>().ok_or(Fault::TooShort)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *block;
            (IpAddr::from([a, b, c, d]), [high, low])
        }
        0x21 => {
            let block = addresses.first_chunk::<36>().ok_or(Fault::TooShort)?;
            let [.., high, low, _, _] = *block;
            let source = block.first_chunk::<16>().ok_or(Fault::TooShort)?;
            (IpAddr::from(*source), [high, low])
        }
        _ => return Err(Fault::Unknown),
    };
    Ok(Header::Client(SocketAddr::new(address, u16::from_be_bytes(port))))
}

fn extent_v1(start: &[u8]) -> Result<Extent, Fault> {
    begins(start, b"PROXY ")?;
    match start.iter().take(LINE).position(|byte| *byte == b'\n') {
        Some(end) => Ok(Extent::Is(end.saturating_add(1))),
        None if start.len() < LINE => Ok(Extent::Wants(start.len().saturating_add(1))),
        None => Err(Fault::TooLong),
    }
}

fn read_v1(header: &[u8]) -> Result<Header, Fault> {
    let line = header.strip_prefix(b"PROXY ").ok_or(Fault::NoHeader)?;
    let line = line.strip_suffix(b"\r\n").and_then(|line| str::from_utf8(line).ok()).ok_or(Fault::Form)?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Err(Fault::Unknown);
    }
    let mut words = line.split(' ');
    let [family, source, destination, port, to] = [(); 5].map(|()| words.next().unwrap_or_default());
    let (source, _) = match family {
        "TCP4" => (of::<Ipv4Addr>(source)?, of::<Ipv4Addr>(destination)?),
        "TCP6" => (of::<Ipv6Addr>(source)?, of::<Ipv6Addr>(destination)?),
        _ => return Err(Fault::Unknown),
    };
    let (port, _) = (number(port)?, number(to)?);
    match words.next() {
        None => Ok(Header::Client(SocketAddr::new(source, port))),
        Some(_) => Err(Fault::Form),
    }
}

fn of<Address: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map(Address::into).map_err(|_| Fault::Form)
}

/// Reads a port: digits without leading zeros.
fn number(text: &str) -> Result<u16, Fault> {
    let is_plain =
        text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(Fault::Form)
}

/// Checks that bytes begin like `with`, as far as there are any.
fn begins(start: &[u8], with: &[u8]) -> Result<(), Fault> {
    let is_so = start.iter().zip(with).all(|(found, expected)| found == expected);
    is_so.then_some(()).ok_or(Fault::NoHeader)
}

/// Whether a client can have this address: rules for any other address were never meant for a client.
fn may_be_a_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || is_broadcast)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY header",
            Self::Version => "PROXY header of an unknown version",
            Self::Command => "PROXY header with an unknown command",
            Self::Unknown => "PROXY header that names no client of TCP",
            Self::TooShort => "PROXY header that is too short for its addresses",
            Self::TooLong => "PROXY header that is too long",
            Self::Form => "PROXY header in a wrong form",
            Self::NoHost => "PROXY header with an address that no client has",
            Self::OfBalancers => "PROXY header that names an address in proxy_from as the client",
            Self::Unfinished => "no whole PROXY header in time",
            Self::NoPlace => "too many wait for their PROXY headers",
            Self::Stranger => "not in proxy_from",
        })
    }
}

#[cfg(test)]
mod tests;
