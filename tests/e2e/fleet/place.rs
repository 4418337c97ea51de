//! Client hosts, a machine in front of two gateways, and a server behind both.
//!
//! ```text
//! clients 10.1.0.100.. --- middle 10.1.0.1 --+-- 10.2.1.2 gateway 10.3.1.1 --+-- server 10.9.9.9
//!                                            +-- 10.2.2.2 gateway 10.3.2.1 --+
//! ```
//!
//! IPv6 beside it: 2001:db8:1::64.. and ::1, 2001:db8:2:N::2, 2001:db8:3:N::1, 2001:db8:9::9.

use sockd_tests::host::Host;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Client hosts of each family: addresses of one machine.
pub(crate) const CLIENTS: u8 = 40;

/// The server, as both gateways know it.
pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
pub(crate) const SERVER_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9));

/// The machines, linked.
pub(crate) struct Place {
    pub(crate) clients: Host,
    pub(crate) middle: Host,
    pub(crate) gates: [Host; 2],
    pub(crate) server: Host,
}

impl Place {
    pub(crate) fn new() -> Self {
        let [clients, middle, server] = [(); 3].map(|()| Host::new());
        middle.link("clients", &clients, "eth0");
        for address in ["10.1.0.1/24", "2001:db8:1::1/64"] {
            middle.address("clients", address);
        }
        for client in (0..CLIENTS).flat_map(|number| [client(number), client_6(number)]) {
            clients.address("eth0", &format!("{client}/{}", if client.is_ipv4() { 24 } else { 64 }));
        }
        for way in ["10.0.0.0/8 via 10.1.0.1", "2001:db8::/32 via 2001:db8:1::1"] {
            clients.sh(&format!("ip route add {way}"));
        }
        for address in [SERVER, SERVER_6] {
            server.address("lo", &format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
        }
        let gates = [1, 2].map(|number| gate(number, &middle, &server));
        Self { clients, middle, gates, server }
    }
}

/// A gateway between the machine in the middle and the server.
fn gate(number: u8, middle: &Host, server: &Host) -> Host {
    let gate = Host::new();
    let (inside, outside) = (format!("gate{number}"), format!("eth{number}"));
    middle.link(&inside, &gate, "eth0");
    gate.link("outside", server, &outside);
    for (host, interface, address) in [
        (middle, &*inside, format!("10.2.{number}.1/24")),
        (middle, &*inside, format!("2001:db8:2:{number}::1/64")),
        (&gate, "eth0", format!("10.2.{number}.2/24")),
        (&gate, "eth0", format!("2001:db8:2:{number}::2/64")),
        (&gate, "outside", format!("10.3.{number}.1/24")),
        (&gate, "outside", format!("2001:db8:3:{number}::1/64")),
        (server, &*outside, format!("10.3.{number}.2/24")),
        (server, &*outside, format!("2001:db8:3:{number}::2/64")),
    ] {
        host.address(interface, &address);
    }
    for way in [
        format!("default via 10.2.{number}.1"),
        format!("default via 2001:db8:2:{number}::1"),
        format!("{SERVER}/32 via 10.3.{number}.2"),
        format!("{SERVER_6}/128 via 2001:db8:3:{number}::2"),
    ] {
        gate.sh(&format!("ip route add {way}"));
    }
    gate
}

pub(crate) fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, 100 + number).into()
}

pub(crate) fn client_6(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 100 + u16::from(number)).into()
}

/// A port of the server.
pub(crate) fn server(client: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(if client.is_ipv4() { SERVER } else { SERVER_6 }, port)
}

/// The client hosts that have been granted something, by the log of a gateway.
pub(crate) fn granted_to(said: &str) -> BTreeSet<IpAddr> {
    let client = |line: &str| {
        let (_, rest) = line.split_once("connected -- ")?.1.split_once('@')?;
        rest.split(' ').next()?.parse().ok()
    };
    said.lines().filter_map(client).collect()
}
