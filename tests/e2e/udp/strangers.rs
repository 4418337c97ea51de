//! Rows 85, 86 and 97: the senders that are not heard.

use crate::{ASSOCIATE, Association, PORT, PROXY, PROXY_6, bound_to, datagram, is_quiet, place, place_with};
use sockd_tests::host::Host;
use sockd_tests::site::{CLIENT, INSIDE, OUTSIDE, SECOND_SERVER, SERVER};
use sockd_tests::socks5::to;
use sockd_tests::wait::{uninterrupted, until_true};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

fn any() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

#[test]
fn u_85_a_stranger_who_comes_first_captures_nothing() {
    let place = place();
    let site = &place.lab.site;
    let association = Association::new(&site.client);
    for (host, at) in [
        (&site.other, INSIDE),
        (&site.gateway, INSIDE),
        (&site.server, OUTSIDE),
        (&site.gateway, Ipv4Addr::LOCALHOST),
    ] {
        let stranger = bound_to(host, any());
        let forged = datagram(place.echo.at, b"forged");
        // If no route leads there, sending fails or an error comes back, and both are as good.
        let _ = stranger.send_to(&forged, (at, association.at.port()));
        assert!(is_quiet(&stranger) || uninterrupted(|| stranger.recv(&mut [0])).is_err());
    }
    association.assert_echo(place.echo.at, b"one");
    assert_eq!(place.echo.senders().len(), 1, "nothing of the strangers came through");
}

#[test]
fn u_85_over_ipv6_a_stranger_who_comes_first_captures_nothing_either() {
    let place = place();
    let site = &place.lab.site;
    let association = Association::by(&site.client, PROXY_6, &ASSOCIATE);
    for host in [&site.gateway, &site.server] {
        let stranger = bound_to(host, (Ipv6Addr::UNSPECIFIED, 0).into());
        let _ = stranger.send_to(&datagram(place.echo.at, b"forged"), association.at);
        assert!(is_quiet(&stranger) || uninterrupted(|| stranger.recv(&mut [0])).is_err());
    }
    association.assert_echo(place.echo.at, b"one");
    assert_eq!(place.echo.senders().len(), 1, "nothing of the strangers came through");
}

/// Sends a datagram with a source that is not the sender's (raw(7), IPPROTO_RAW).
fn forge(sender: &Host, from: (Ipv4Addr, u16), to: SocketAddr, data: &[u8]) {
    let SocketAddr::V4(to) = to else { panic!("{to}") };
    let length = u16::try_from(8 + data.len()).expect("a short datagram");
    // The kernel fills in lengths, the identification and the checksum of the packet; the datagram has no checksum.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.0.octets());
    packet.extend(to.ip().octets());
    packet.extend([from.1, to.port(), length, 0].iter().flat_map(|word| word.to_be_bytes()));
    packet.extend(data);
    let raw = sender.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))));
    let sent = raw.expect("a raw socket").send_to(&packet, &SocketAddrV4::new(*to.ip(), 0).into());
    // If no route leads there, nothing is sent, and that is as good.
    let _ = sent;
}

/// The gateway takes packets from every side, whatever their source: the kernel's filter for that is off.
fn without_reverse_path_filter(gateway: &Host) {
    for interface in ["all", "lo", "inside", "branch", "outside", "outside2"] {
        gateway.sh(&format!("sysctl -qw net.ipv4.conf.{interface}.rp_filter=0"));
    }
}

#[test]
fn u_85_a_forged_source_with_another_port_is_heard_from_nowhere() {
    let place = place();
    let site = &place.lab.site;
    without_reverse_path_filter(&site.gateway);
    let association = Association::new(&site.client);
    association.assert_echo(place.echo.at, b"one");
    let port = association.socket.local_addr().expect("an address").port();
    let outer = place.echo.senders()[0];
    for sender in [&site.other, &site.server, &site.gateway] {
        for at in [association.at, (OUTSIDE, association.at.port()).into()] {
            forge(sender, (CLIENT, port ^ 1), at, &datagram(place.echo.at, b"forged"));
        }
        for from in [(SERVER, PORT + 1), (SECOND_SERVER, PORT), (CLIENT, PORT)] {
            forge(sender, from, outer, b"forged");
        }
    }
    assert!(association.is_quiet());
    assert_eq!(place.echo.senders().len(), 1, "nothing that was forged came through");
    // A forger with the right address and port is heard: nothing in a datagram tells it from the client.
    forge(&site.other, (CLIENT, port), association.at, &datagram(place.echo.at, b"exactly"));
    association.assert_answer(place.echo.at, b"exactly");
}

#[test]
fn u_85_a_forged_source_that_comes_first_is_not_heard_where_the_port_is_announced() {
    let place = place_with(crate::RULES, "(udp_source: strict)");
    let site = &place.lab.site;
    without_reverse_path_filter(&site.gateway);
    let own = bound_to(&site.client, any());
    own.set_read_timeout(Some(sockd_tests::wait::LONG)).expect("a limit");
    let port = own.local_addr().expect("an address").port();
    let association = Association::by(&site.client, PROXY, &to(3, (Ipv4Addr::UNSPECIFIED, port)));
    for sender in [&site.other, &site.server, &site.gateway] {
        forge(sender, (CLIENT, port ^ 1), association.at, &datagram(place.echo.at, b"forged"));
    }
    own.send_to(&datagram(place.echo.at, b"own"), association.at).expect("sending");
    until_true("it is relayed", || place.echo.senders().len() == 1);
    let mut answer = [0; 64];
    let length = uninterrupted(|| own.recv(&mut answer)).expect("an answer");
    assert_eq!(answer[..length], datagram(place.echo.at, b"own"));
    assert_eq!(place.echo.senders().len(), 1);
}

#[test]
fn u_86_a_second_port_of_the_client_is_not_heard() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    association.assert_echo(place.echo.at, b"one");
    let second = bound_to(&place.lab.site.client, any());
    second.send_to(&datagram(place.echo.at, b"two"), association.at).expect("sending");
    assert!(is_quiet(&second));
    association.assert_echo(place.echo.at, b"three");
    assert_eq!(place.echo.senders().len(), 2);
}

#[test]
fn u_86_of_two_ports_that_send_at_the_same_time_only_one_is_heard() {
    let place = place();
    for number in 1..=10 {
        let association = Association::new(&place.lab.site.client);
        let second = bound_to(&place.lab.site.client, any());
        association.send(place.echo.at, b"one");
        second.send_to(&datagram(place.echo.at, b"two"), association.at).expect("sending");
        until_true("one of them is relayed", || place.echo.senders().len() >= number);
        let answered = [&association.socket, &second].map(|socket| !is_quiet(socket));
        assert_eq!(answered.iter().filter(|answered| **answered).count(), 1, "{answered:?}");
        assert_eq!(place.echo.senders().len(), number);
    }
}

#[test]
fn u_86_a_strict_source_is_the_announced_port_alone() {
    let place = place_with(crate::RULES, "(udp_source: strict)");
    let site = &place.lab.site;
    let own = bound_to(&site.client, any());
    let port = own.local_addr().expect("an address").port();
    let association = Association::by(&site.client, PROXY, &to(3, (Ipv4Addr::UNSPECIFIED, port)));
    association.send(place.echo.at, b"other");
    assert!(association.is_quiet());
    own.send_to(&datagram(place.echo.at, b"own"), association.at).expect("sending");
    until_true("it is relayed", || place.echo.senders().len() == 1);
    // A client that announces nothing is bound to the port that it uses.
    Association::by(&site.client, PROXY, &ASSOCIATE).assert_echo(place.echo.at, b"one");
}

#[test]
fn u_97_a_third_party_is_told_that_the_port_is_closed() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    association.assert_echo(place.echo.at, b"one");
    let outer = place.echo.senders()[0];
    assert_eq!(outer.ip(), OUTSIDE);
    for from in [SocketAddr::from((SERVER, PORT + 1)), (SECOND_SERVER, PORT).into()] {
        let third = bound_to(&place.lab.site.server, from);
        third.connect(outer).expect("an address");
        third.send(b"third").expect("sending");
        assert_eq!(
            uninterrupted(|| third.recv(&mut [0])).expect_err("an error").kind(),
            ErrorKind::ConnectionRefused
        );
    }
    assert!(association.is_quiet());
    association.assert_echo(place.echo.at, b"two");
}
