//! BIND: the server comes back through a port of the firewall host.

use crate::SERVER_6;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line, connect_from};
use sockd_tests::procfs;
use sockd_tests::site::{NAMESERVER, OUTSIDE, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{BIND, ask, assert_refused, bound, refusal, to};
use sockd_tests::wait::until_within;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Another address of the server host.
const STRANGER: Ipv4Addr = NAMESERVER;

/// Asks for a BIND and returns the address of the first reply.
fn waiting(lab: &Lab, request: &[u8]) -> (Line, SocketAddr) {
    let mut line = ask(&lab.site.client, request);
    let address = bound(&mut line);
    assert_ne!(address.port(), 0);
    (line, address)
}

/// Connects from an address and port of `host`; port 0 is any. `None` if that is reset at once.
fn dial_from(host: &Host, from: impl Into<SocketAddr>, to: SocketAddr) -> Option<Line> {
    let from = from.into();
    match host.run(|| connect_from(from, to)) {
        Ok(stream) => Some(Line::new(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("connecting from {from} to {to}: {error}"),
    }
}

/// The peer comes from this address, is named in the second reply, and bytes pass both ways.
fn assert_relayed(lab: &Lab, client: &mut Line, from: impl Into<SocketAddr>, port: SocketAddr) {
    let mut server = dial_from(&lab.site.server, from, port).expect("a connection");
    assert_eq!(bound(client), server.local());
    client.send("up");
    assert_eq!(server.read(2), b"up");
    server.send("down");
    assert_eq!(client.read(4), b"down");
}

fn assert_closed(gateway: &Host, port: SocketAddr) {
    until_within(Duration::from_secs(20), "the port is free again", || {
        (!procfs::listens(gateway, port.port())).then_some(())
    });
}

#[test]
fn s5_70_a_bind_is_told_where_the_proxy_listens() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 0)));
    assert_eq!(port.ip(), OUTSIDE);
    assert!(client.is_quiet());
    assert!(procfs::listens(&lab.site.gateway, port.port()));
    client.half_close();
}

#[test]
fn s5_71_the_peer_is_named_in_the_second_reply_and_relayed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 21)));
    assert_relayed(&lab, &mut client, (SERVER, 20), port);
    assert_closed(&lab.site.gateway, port);
    drop(client);
    let bind = "Bind from (unknown)@192.0.2.10 for 198.51.100.10 (20)";
    lab.assert_logged(&[
        format!("daemon.notice connected -- {bind}"),
        format!("daemon.notice terminated -- {bind}"),
        "daemon.notice 2 bytes from 192.0.2.10, 4 bytes from 198.51.100.10".into(),
    ]);
}

#[test]
fn s5_72_a_stranger_is_sent_away_and_the_wait_goes_on() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 21)));
    for _ in 0..3 {
        dial_from(&lab.site.server, (STRANGER, 0), port).into_iter().for_each(|mut line| {
            line.ending();
        });
    }
    assert!(client.is_quiet());
    assert_relayed(&lab, &mut client, (SERVER, 20), port);
}

#[test]
fn s5_73_a_bind_for_anybody_is_refused_without_the_setting_and_takes_anybody_with_it() {
    let lab = Lab::new(PERMIT_ALL);
    for anybody in [IpAddr::from([0, 0, 0, 0]), Ipv6Addr::UNSPECIFIED.into()] {
        assert_refused(&lab.site.client, to(BIND, (anybody, 0)), 2);
    }
    drop(lab);
    let lab = Lab::with_settings(PERMIT_ALL, "(bind_any: true)");
    let (mut client, port) = waiting(&lab, &to(BIND, (Ipv4Addr::UNSPECIFIED, 0)));
    assert!(!port.ip().is_unspecified());
    let mut peer = Line::dial(&lab.site.client, port);
    assert_eq!(bound(&mut client), peer.local());
    peer.send("anybody");
    assert_eq!(client.read(7), b"anybody");
}

#[test]
fn s5_74_a_peer_may_come_from_another_port_than_the_one_asked_for() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 4000)));
    assert_relayed(&lab, &mut client, (SERVER, 5000), port);
}

#[test]
fn s5_75_a_bind_for_an_ipv6_address_has_ipv6_addresses_in_both_replies() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER_6, 0)));
    assert_eq!(port.ip(), "2001:db8:2::1".parse::<IpAddr>().unwrap());
    assert_relayed(&lab, &mut client, (SERVER_6, 0), port);
}

#[test]
fn s5_76_what_the_client_sends_before_its_peer_has_come_is_kept() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 21)));
    client.send("early");
    let mut server = dial_from(&lab.site.server, (SERVER, 0), port).expect("a connection");
    assert_eq!(bound(&mut client), server.local());
    assert_eq!(server.read(5), b"early");
}

#[test]
fn s5_77_a_bind_that_nobody_comes_to_is_told_as_timed_out() {
    let lab = Lab::with_settings(PERMIT_ALL, "(bind_limit: 1)");
    let (mut client, port) = waiting(&lab, &to(BIND, (SERVER, 21)));
    assert_eq!(client.read_to_end(), (refusal(6).to_vec(), Ending::Closed));
    assert_closed(&lab.site.gateway, port);
}

#[test]
fn s5_78_a_client_that_leaves_frees_the_port_at_once() {
    let lab = Lab::new(PERMIT_ALL);
    for reset in [false, true] {
        let (client, port) = waiting(&lab, &to(BIND, (SERVER, 21)));
        match reset {
            true => client.reset(),
            false => drop(client),
        }
        assert_closed(&lab.site.gateway, port);
    }
}
