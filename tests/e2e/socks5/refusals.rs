//! CONNECT that fails: codes that say why, in ten bytes and with an orderly end.

use crate::{PORT, place, place_with};
use sockd_tests::classic::Session;
use sockd_tests::fault::Fault;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, INSIDE, OUTSIDE, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{CONNECT, assert_refused, to, to_name};
use std::net::{Ipv4Addr, Ipv6Addr};

const GENERAL: u8 = 1;
const NOT_ALLOWED: u8 = 2;
const NETWORK_UNREACHABLE: u8 = 3;
const HOST_UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const TIMED_OUT: u8 = 6;
const NO_SUCH_COMMAND: u8 = 7;
const NO_SUCH_ADDRESS_TYPE: u8 = 8;

/// A call of the monitor that its filter lets through and that does nothing.
const HARMLESS: &str = "getpid";

fn assert_names_refused(names: &[&[u8]]) {
    let place = place();
    for name in names {
        assert_refused(&place.lab.site.client, to_name(CONNECT, name, PORT), HOST_UNREACHABLE);
    }
}

#[test]
fn s5_27_an_address_in_brackets_is_no_name() {
    assert_names_refused(&[b"[::1]"]);
}

#[test]
fn s5_29_an_empty_name_is_refused_with_ten_bytes() {
    assert_names_refused(&[b""]);
}

#[test]
fn s5_30_a_name_of_255_bytes_without_a_dot_is_refused() {
    assert_names_refused(&[&[b'a'; 255]]);
}

#[test]
fn s5_31_a_name_with_a_nul_is_never_looked_up_in_part() {
    assert_names_refused(&[b"web\0test", b"web.test\0", b"web.test\0x"]);
}

#[test]
fn s5_32_a_name_with_a_newline_makes_one_line_of_the_log() {
    let mut place = place();
    assert_refused(&place.lab.site.client, to_name(CONNECT, "web.\ntest", PORT), HOST_UNREACHABLE);
    place.lab.assert_logged(&[
        "daemon.notice error -- no name of a host in the request from host 192.0.2.10".into(),
    ]);
}

#[test]
fn s5_33_loose_forms_of_addresses_are_neither_addresses_nor_names() {
    assert_names_refused(&[b"0", b"0x7f.1", b"017700000001", b"1", b"127.1"]);
}

#[test]
fn s5_34_a_name_that_nobody_knows_is_refused() {
    assert_names_refused(&[b"nosuch.test"]);
}

#[test]
fn s5_35_a_name_is_refused_when_the_nameservers_are_silent_for_too_long() {
    let place = place_with("(resolve_limit: 1)");
    assert_refused(&place.lab.site.client, to_name(CONNECT, "silent.test", PORT), HOST_UNREACHABLE);
}

#[test]
fn s5_36_a_closed_port_is_told_as_refused() {
    let mut place = place();
    assert_refused(&place.lab.site.client, to(CONNECT, (SERVER, 1)), REFUSED);
    let session = Session::of(CLIENT, SERVER, "tcpmux").by("");
    place.lab.assert_logged(&[session.failed("connect", "Connection refused")]);
}

#[test]
fn s5_37_what_a_line_denies_is_told_as_not_allowed() {
    let mut place = place();
    assert_refused(&place.lab.site.client, to(CONNECT, (SERVER, 8081)), NOT_ALLOWED);
    place.lab.assert_logged(&[Session::of(CLIENT, SERVER, "tproxy").by("").refused()]);
}

#[test]
fn s5_38_a_network_without_a_route_is_told_as_such() {
    let place = place();
    for address in [std::net::IpAddr::from([10, 9, 8, 7]), "2001:db8:9::1".parse().unwrap()] {
        assert_refused(&place.lab.site.client, to(CONNECT, (address, PORT)), NETWORK_UNREACHABLE);
    }
}

/// A site whose server host is a router: it says that a first network cannot be reached, that a second is prohibited, and
/// nothing of a third.
fn site_with_router() -> Site {
    let site = Site::new();
    site.server.sh("sysctl -qw net.ipv4.ip_forward=1");
    for (kind, network) in
        [("unreachable", "198.18.1.0/24"), ("prohibit", "198.18.2.0/24"), ("blackhole", "198.18.3.0/24")]
    {
        site.server.sh(&format!("ip route add {kind} {network}"));
    }
    site.gateway.sh("ip route add 198.18.0.0/16 via 198.51.100.10");
    site
}

#[test]
fn s5_39_a_host_that_a_router_cannot_or_must_not_reach_is_told_as_unreachable() {
    let lab = Lab::new_at(site_with_router());
    for address in [[198, 18, 1, 1], [198, 18, 2, 1]] {
        assert_refused(&lab.site.client, to(CONNECT, (address, PORT)), HOST_UNREACHABLE);
    }
}

#[test]
fn s5_40_an_error_without_a_code_of_its_own_is_told_as_a_general_failure() {
    let place = place();
    let (gateway, monitor) = (&place.lab.site.gateway, place.lab.sockd.monitor());
    // The result of connect(2) after ICMP's "protocol unreachable".
    let fault = Fault::of(gateway, monitor, "connect", "ENOPROTOOPT", HARMLESS);
    assert_refused(&place.lab.site.client, to(CONNECT, (SERVER, PORT)), GENERAL);
    fault.has_struck();
}

#[test]
fn s5_41_a_destination_that_does_not_answer_in_time_is_told_as_timed_out() {
    let lab = Lab::at(site_with_router(), PERMIT_ALL, |start| start.settings("(connect_limit: 1)"));
    assert_refused(&lab.site.client, to(CONNECT, ([198, 18, 3, 1], PORT)), TIMED_OUT);
}

#[test]
fn s5_42_what_no_rule_can_open_is_told_as_not_allowed() {
    let place = place();
    let client = &place.lab.site.client;
    assert_refused(client, to(CONNECT, (SERVER, 0)), NOT_ALLOWED);
    for address in [[0, 0, 0, 0], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4], [198, 51, 100, 255]] {
        assert_refused(client, to(CONNECT, (address, PORT)), NOT_ALLOWED);
    }
    assert_refused(client, to(CONNECT, (Ipv6Addr::UNSPECIFIED, PORT)), NOT_ALLOWED);
}

#[test]
fn s5_43_the_proxy_itself_and_loopback_without_a_line_of_its_own_are_not_allowed() {
    let lab = Lab::new(PERMIT_ALL);
    for (address, port) in [(INSIDE, 1080), (OUTSIDE, 1080), (Ipv4Addr::LOCALHOST, PORT)] {
        assert_refused(&lab.site.client, to(CONNECT, (address, port)), NOT_ALLOWED);
    }
    assert_refused(&lab.site.client, to(CONNECT, (Ipv6Addr::LOCALHOST, PORT)), NOT_ALLOWED);
}

#[test]
fn s5_44_a_command_that_is_not_served_is_told_so() {
    let mut place = place();
    for command in [0, 3, 4, 5, 0xf0, 0xf1, 0xf2, 0xf3] {
        let request = to(command, (SERVER, PORT));
        assert_refused(&place.lab.site.client, request, NO_SUCH_COMMAND);
        place.lab.assert_logged(&[format!(
            "daemon.notice error -- undefined command (0x{command:2x}) from host 192.0.2.10"
        )]);
    }
}

#[test]
fn s5_45_an_address_of_an_unknown_kind_is_told_so() {
    let mut place = place();
    for kind in [0, 2, 5, 0xff] {
        let mut request = to(CONNECT, (SERVER, PORT));
        request[3] = kind;
        assert_refused(&place.lab.site.client, request, NO_SUCH_ADDRESS_TYPE);
        place.lab.assert_logged(&[format!(
            "daemon.notice error -- undefined address type (0x{kind:2x}) from host 192.0.2.10"
        )]);
    }
}

#[test]
fn s5_52_a_host_out_of_descriptors_tells_a_general_failure() {
    let place = place();
    let (gateway, monitor) = (&place.lab.site.gateway, place.lab.sockd.monitor());
    let fault = Fault::of(gateway, monitor, "socket", "EMFILE", HARMLESS);
    assert_refused(&place.lab.site.client, to(CONNECT, (SERVER, PORT)), GENERAL);
    fault.has_struck();
}
