//! Rows 84 and 87 to 93: which datagrams are relayed.

use crate::{Association, Echo, PORT, SERVER_6, datagram, place, to_name};
use sockd_tests::site::SERVER;

#[test]
fn u_84_a_datagram_goes_there_and_its_answer_comes_back() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    association.send_raw(b"\x00\x00\x00\x01\xc6\x33\x64\x0a\x27\x0fone");
    assert_eq!(association.receive(), b"\x00\x00\x00\x01\xc6\x33\x64\x0a\x27\x0fone");
}

#[test]
fn u_87_fragments_are_dropped() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    for fragment in [0x01, 0x81] {
        let mut bytes = datagram(place.echo.at, b"part");
        bytes[2] = fragment;
        association.send_raw(&bytes);
    }
    association.assert_echo(place.echo.at, b"whole");
}

#[test]
fn u_88_the_reserved_bytes_mean_nothing() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    let mut bytes = datagram(place.echo.at, b"one");
    bytes[0] = 1;
    association.send_raw(&bytes);
    association.assert_answer(place.echo.at, b"one");
}

#[test]
fn u_89_what_is_shorter_than_its_header_or_of_an_unknown_type_is_dropped() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    let whole = datagram(place.echo.at, b"");
    let mut unknown = datagram(place.echo.at, b"x");
    unknown[3] = 2;
    for bytes in
        [&b""[..], &whole[..3], &whole[..8], &unknown, b"\0\0\0\x03\xc8cut short", b"\0\0\0\x03\x00\x00\x35"]
    {
        association.send_raw(bytes);
    }
    association.assert_echo(place.echo.at, b"whole");
}

#[test]
fn u_90_an_empty_datagram_is_relayed() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    association.assert_echo(place.echo.at, b"");
    association.assert_echo(place.echo.at, b"");
}

#[test]
fn u_91_datagrams_of_every_size_are_relayed() {
    let place = place();
    // Over loopback, whose packets may have the greatest length.
    let echo = Echo::start(&place.lab.site.gateway, ([127, 0, 0, 1], PORT));
    place.lab.sockd.write_conf("permit +=udp ALL 0.0.0.0 127.0.0.0/8\n");
    place.lab.sockd.signal(nix::sys::signal::Signal::SIGHUP);
    place.lab.wait_for_line("reloaded: ");
    let association = Association::by(&place.lab.site.gateway, ([127, 0, 0, 1], 1080), &crate::ASSOCIATE);
    for length in [1472, 9000, 65_000, 65_497] {
        association.assert_echo(echo.at, &vec![7; length]);
    }
}

#[test]
fn u_92_a_name_is_resolved_and_the_answer_has_its_address() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    // Beside a flow that is open.
    association.assert_echo(place.echo.at, b"zero");
    for _ in 0..3 {
        association.send_raw(&to_name("web.test", PORT, b"one"));
        association.assert_answer((SERVER, PORT), b"one");
    }
    association.send_raw(&to_name("unknown.test", PORT, b"two"));
    association.assert_echo(place.echo.at, b"three");
}

#[test]
fn u_93_an_ipv6_destination_is_reached_from_an_ipv4_association() {
    let place = place();
    let echo = Echo::start(&place.lab.site.server, (SERVER_6, PORT));
    let association = Association::new(&place.lab.site.client);
    association.assert_echo(echo.at, b"six");
    association.assert_echo(place.echo.at, b"four");
}
