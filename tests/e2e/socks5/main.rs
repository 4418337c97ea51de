//! SOCKS5 byte by byte, a test for each row of the requirements: the answer, and the end.

mod bind;
mod clients;
mod commands;
mod connect;
mod greeting;
mod identd;
mod large_clients;
mod libraries;
mod methods;
mod refusals;

use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::{NAMESERVER, SERVER, Site};
use std::net::Ipv6Addr;

/// The rules: loopback is permitted, and everything else but port 8081.
const RULES: &str = "deny ALL 0.0.0.0 ALL 0.0.0.0 eq 8081\npermit ALL 0.0.0.0 127.0.0.0/8\n\
    permit ALL 0.0.0.0 ::1/128\npermit ALL 0.0.0.0\n";

/// The port at which servers listen.
const PORT: u16 = 8080;

/// The server host, over IPv6.
const SERVER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// A lab with echo servers at [`PORT`] of the server host and on the gateway's loopback, and a nameserver that knows the
/// first as `web.test`.
struct Place {
    lab: Lab,
    _servers: Vec<Server>,
    _nameserver: Nameserver,
}

fn place() -> Place {
    place_with("()")
}

fn place_with(settings: &str) -> Place {
    let (site, nameserver) = site_with_name();
    let loopback = Ipv6Addr::LOCALHOST;
    let servers =
        [(&site.server, SERVER.into()), (&site.server, SERVER_6.into()), (&site.gateway, loopback.into())];
    let servers = servers.map(|(host, address): (_, std::net::IpAddr)| Server::echo(host, (address, PORT)));
    let lab = Lab::at(site, RULES, |start| start.settings(settings));
    Place { lab, _servers: servers.into(), _nameserver: nameserver }
}

/// A site with a nameserver for sockd that knows the server host as `web.test`.
fn site_with_name() -> (Site, Nameserver) {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let nameserver = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "web.test" => Answer::Addresses(vec![SERVER.into()]),
        "silent.test" => Answer::Silence,
        _ => Answer::NoSuchName,
    });
    (site, nameserver)
}
