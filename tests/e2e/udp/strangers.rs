//! Rows 85, 86 and 97: who is not heard.

use crate::{ASSOCIATE, Association, PORT, PROXY, bound_to, datagram, is_quiet, place, place_with};
use sockd_tests::site::{INSIDE, OUTSIDE, SECOND_SERVER, SERVER};
use sockd_tests::socks5::to;
use sockd_tests::wait::until_true;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

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
        // Where no route leads there, sending fails or an error comes back, and both are as good.
        let _ = stranger.send_to(&forged, (at, association.at.port()));
        assert!(is_quiet(&stranger) || stranger.recv(&mut [0]).is_err());
    }
    association.assert_echo(place.echo.at, b"one");
    assert_eq!(place.echo.senders().len(), 1, "nothing of the strangers came through");
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
    // A client that announces nothing has the port that it uses.
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
        assert_eq!(third.recv(&mut [0]).expect_err("an error").kind(), ErrorKind::ConnectionRefused);
    }
    assert!(association.is_quiet());
    association.assert_echo(place.echo.at, b"two");
}
