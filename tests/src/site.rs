//! The laboratory: a firewall with two client hosts inside and servers outside.
//!
//! ```text
//! client       192.0.2.10  ---+
//! (inside 192.0.2.1/25)       |           198.51.100.1 --- server 198.51.100.10, .53 (nameserver)
//!                          gateway
//! (branch 192.0.2.129/25)     |           203.0.113.1  --- server 203.0.113.10
//! other client 192.0.2.138 ---+
//! ```
//!
//! IPv6 beside it: 2001:db8:1::1 and ::10 inside, 2001:db8:2::1 and ::10 outside. The gateway does not forward: a
//! client that reaches a server from inside has gone through a proxy.

use crate::host::Host;
use std::net::Ipv4Addr;

/// The first client host.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The other client host.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 138);
/// The gateway, as both client hosts know it.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The gateway's first outside interface.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The server host behind the first outside interface.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The address of the tests' nameserver.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// The gateway's second outside interface.
pub const SECOND_OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The server host behind the second outside interface.
pub const SECOND_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// The four machines, linked.
pub struct Site {
    /// 192.0.2.10.
    pub client: Host,
    /// 192.0.2.138.
    pub other: Host,
    /// The firewall host, where sockd runs.
    pub gateway: Host,
    /// All servers.
    pub server: Host,
}

impl Site {
    /// Builds and links the machines.
    pub fn new() -> Self {
        let site =
            Self { client: Host::new(), other: Host::new(), gateway: Host::new(), server: Host::new() };
        let Self { client, other, gateway, server } = &site;
        gateway.link("inside", client, "eth0");
        gateway.link("branch", other, "eth0");
        gateway.link("outside", server, "eth0");
        gateway.link("outside2", server, "eth1");
        for (host, interface, address) in [
            (gateway, "inside", "192.0.2.1/25"),
            (gateway, "inside", "2001:db8:1::1/64"),
            (gateway, "branch", "192.0.2.129/25"),
            (gateway, "outside", "198.51.100.1/24"),
            (gateway, "outside", "2001:db8:2::1/64"),
            (gateway, "outside2", "203.0.113.1/24"),
            (client, "eth0", "192.0.2.10/25"),
            (client, "eth0", "2001:db8:1::10/64"),
            (other, "eth0", "192.0.2.138/25"),
            (server, "eth0", "198.51.100.10/24"),
            (server, "eth0", "198.51.100.53/24"),
            (server, "eth0", "2001:db8:2::10/64"),
            (server, "eth1", "203.0.113.10/24"),
        ] {
            host.address(interface, address);
        }
        // Lets the other client host reach 192.0.2.1 as well. Forwarding is off, so it reaches nothing beyond.
        other.sh("ip route add default via 192.0.2.129");
        gateway.sh("sysctl -qw net.ipv4.ip_forward=0");
        site
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
