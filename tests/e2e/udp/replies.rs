//! Rows 79 to 83: the answers to a UDP ASSOCIATE.

use crate::{ASSOCIATE, Association, PROXY, PROXY_6, RULES, place, place_with};
use sockd_tests::lab::Lab;
use sockd_tests::site::{INSIDE, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{assert_refused, to, to_name};
use std::net::{Ipv4Addr, SocketAddr};

#[test]
fn u_79_the_reply_names_the_address_that_the_client_has_connected_to() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    assert_eq!(association.at.ip(), INSIDE);
    assert_ne!(association.at.port(), 0);
    association.assert_echo(place.echo.at, b"one");
}

#[test]
fn u_80_what_the_request_names_is_a_hint_and_nothing_else() {
    let place = place();
    let any6: SocketAddr = "[::]:0".parse().expect("an address");
    for request in [
        to(3, (Ipv4Addr::UNSPECIFIED, 4000)),
        to_name(3, "0", 4000),
        to(3, (Ipv4Addr::new(8, 8, 8, 8), 53)),
        to(3, (Ipv4Addr::new(10, 1, 2, 3), 4000)),
        to(3, any6),
    ] {
        let association = Association::by(&place.lab.site.client, PROXY, &request);
        assert_eq!(association.at.ip(), INSIDE);
        association.assert_echo(place.echo.at, b"one");
    }
}

#[test]
fn u_81_over_ipv6_the_address_is_one_of_ipv6() {
    let place = place();
    let association = Association::by(&place.lab.site.client, PROXY_6, &ASSOCIATE);
    assert_eq!(association.at.ip(), PROXY_6.0);
    association.assert_echo(place.echo.at, b"one");
}

#[test]
fn u_82_a_listener_of_all_addresses_names_the_one_that_was_used() {
    let place = place();
    let loopback = Ipv4Addr::new(127, 0, 0, 5);
    let association = Association::by(&place.lab.site.gateway, (loopback, 1080), &ASSOCIATE);
    assert_eq!(association.at.ip(), loopback);
}

#[test]
fn u_82_an_address_can_be_announced_in_the_place_of_another() {
    let settings = "(udp_announce: [(\"192.0.2.1\", \"203.0.113.77\")], udp_ports: (41000, 41000))";
    let place = place_with(crate::RULES, settings);
    let mut association = Association::new(&place.lab.site.client);
    assert_eq!(association.at, SocketAddr::from(([203, 0, 113, 77], 41000)));
    association.at.set_ip(INSIDE.into());
    association.assert_echo(place.echo.at, b"one");
    // There is no second port.
    assert_refused(&place.lab.site.client, ASSOCIATE, 1);
}

#[test]
fn u_83_without_a_line_for_udp_there_is_no_such_command() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_refused(&lab.site.client, ASSOCIATE, 7);
    lab.assert_logged(&["daemon.notice error -- undefined command (0x 3) from host 192.0.2.10".into()]);
}

#[test]
fn u_83_who_has_no_line_for_udp_is_refused() {
    let mut lab = Lab::new("permit +=udp 192.0.2.138/32\npermit ALL 0.0.0.0\n");
    assert_refused(&lab.site.client, ASSOCIATE, 2);
    lab.assert_logged(&["daemon.notice refused -- Associate from (unknown)@192.0.2.10".into()]);
    assert_eq!(Association::new(&lab.site.other).at.ip(), INSIDE);
}

#[test]
fn u_83_where_everything_goes_through_next_servers_there_is_no_association() {
    let upstream = "sockd @=198.51.100.10:1081 ALL 0.0.0.0\n";
    let lab = Lab::at(Site::new(), RULES, |start| start.upstream(upstream));
    assert_refused(&lab.site.client, ASSOCIATE, 7);
    lab.wait_for_line(
        "failed -- Associate from (unknown)@192.0.2.10. Error: datagrams do not go through next servers",
    );
}
