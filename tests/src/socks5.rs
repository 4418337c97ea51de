//! SOCKS5, byte by byte, as RFC 1928 has it.

use crate::host::Host;
use crate::line::{Ending, Line};
use crate::socks::PROXY;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A greeting that offers no authentication and nothing else.
pub const GREETING: [u8; 3] = [5, 1, 0];
/// The answer to it.
pub const CHOSEN: [u8; 2] = [5, 0];

/// CONNECT.
pub const CONNECT: u8 = 1;
/// BIND.
pub const BIND: u8 = 2;

/// The whole reply that grants a CONNECT.
pub const GRANTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// The whole reply that refuses.
pub fn refusal(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// A request for an address and port.
pub fn to(command: u8, destination: impl Into<SocketAddr>) -> Vec<u8> {
    let destination = destination.into();
    let mut bytes = vec![5, command, 0];
    match destination.ip() {
        IpAddr::V4(address) => {
            bytes.push(1);
            bytes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
    }
    bytes.extend(destination.port().to_be_bytes());
    bytes
}

/// A request for a name and port.
pub fn to_name(command: u8, name: impl AsRef<[u8]>, port: u16) -> Vec<u8> {
    let name = name.as_ref();
    let length = u8::try_from(name.len()).expect("a name of at most 255 bytes");
    [&[5, command, 0, 3, length], name, &port.to_be_bytes()].concat()
}

/// Connects from `host` to [`PROXY`] and is told that it need not show who it is.
pub fn greet(host: &Host) -> Line {
    greet_at(host, PROXY)
}

/// The same at another address of the proxy.
pub fn greet_at(host: &Host, proxy: impl Into<SocketAddr>) -> Line {
    greet_over(Line::dial(host, proxy))
}

/// The same over a connection that nothing has been said on.
pub fn greet_over(mut line: Line) -> Line {
    line.send(GREETING);
    assert_eq!(line.read(2), CHOSEN);
    line
}

/// Sends a request behind a greeting.
pub fn ask(host: &Host, request: impl AsRef<[u8]>) -> Line {
    let mut line = greet(host);
    line.send(request);
    line
}

/// Asks for a CONNECT and insists that it is granted.
pub fn granted(host: &Host, request: impl AsRef<[u8]>) -> Line {
    let mut line = ask(host, request);
    assert_eq!(line.read(10), GRANTED);
    line
}

/// Insists on a refusal with this code, and on an orderly end behind it.
pub fn assert_refused(host: &Host, request: impl AsRef<[u8]>, code: u8) {
    let request = request.as_ref();
    let mut line = ask(host, request);
    let found = line.read_to_end();
    assert_eq!(found, (refusal(code).to_vec(), Ending::Closed), "{}", request.escape_ascii());
}

/// Reads a reply of a BIND that is granted, and not a byte more: the address in it.
pub fn bound(line: &mut Line) -> SocketAddr {
    let head = line.read(4);
    let address: IpAddr = match head[..] {
        [5, 0, 0, 1] => Ipv4Addr::from(<[u8; 4]>::try_from(line.read(4)).expect("4 bytes")).into(),
        [5, 0, 0, 4] => <[u8; 16]>::try_from(line.read(16)).expect("16 bytes").into(),
        _ => panic!("a reply that begins with {head:?}"),
    };
    let port = line.read(2);
    SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]]))
}
