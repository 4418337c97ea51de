//! Listeners for balancers: the client that a PROXY header names, and bytes that are not a header.

mod headers;
mod hostile;
mod limits;
mod protocols;
mod starts;

use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{INSIDE, SERVER};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The listener for balancers, and the one for clients.
const BALANCED: (Ipv4Addr, u16) = (INSIDE, 1081);
const DIRECT: (Ipv4Addr, u16) = (INSIDE, 1080);

/// The same over IPv6.
const BALANCED_6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1), 1081);

/// The balancer is the client host of the laboratory; the other one is a stranger.
const SETTINGS: &str = "proxy_from: [(\"192.0.2.1:1081\", [\"192.0.2.10\"]), \
                        (\"[2001:db8:1::1]:1081\", [\"2001:db8:1::10\"])]";

const LISTEN: &str = "--listen 192.0.2.1:1080 --listen 192.0.2.1:1081 --listen [2001:db8:1::1]:1081";

/// A client that has never been near the laboratory.
const FAR_CLIENT: &str = "10.7.7.7:40000";

/// The command of a header that names a client, and of one for a health check.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;

/// A laboratory with these rules, and these settings beside the listeners.
fn lab(conf: &str, settings: &str) -> Lab {
    Lab::started(conf, |start| start.settings(&format!("({SETTINGS}, {settings})")).words(LISTEN))
}

/// A header of version 2 with this command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short rest").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

/// The addresses of a header, and its family.
fn addresses(client: &str) -> (u8, Vec<u8>) {
    let client: SocketAddr = client.parse().expect("an address and a port");
    let ports = [client.port().to_be_bytes(), 1080u16.to_be_bytes()].concat();
    match client.ip() {
        IpAddr::V4(address) => (0x11, [&address.octets()[..], &INSIDE.octets(), &ports].concat()),
        IpAddr::V6(address) => (0x21, [&address.octets()[..], &BALANCED_6.0.octets(), &ports].concat()),
    }
}

/// The header of a client at this address and port.
fn of(client: &str) -> Vec<u8> {
    let (family, rest) = addresses(client);
    v2(PROXY, family, &rest)
}

/// The balancer connects for a client and sends these bytes.
fn balanced(lab: &Lab, bytes: impl AsRef<[u8]>) -> Line {
    let mut line = Line::dial(&lab.site.client, BALANCED);
    line.send(bytes);
    line
}

/// A request for the echo server.
fn echo() -> SocketAddr {
    (SERVER, 7).into()
}
