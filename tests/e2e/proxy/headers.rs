//! Each kind of header, one row each: the client behind it, or the reason why there is none.

use super::*;
use sockd_tests::far::Server;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{CHOSEN, CONNECT, GRANTED, GREETING, to};

/// The fate of a connection.
enum Row {
    /// The log knows this client.
    Client(&'static str),
    /// It is a health check.
    Check,
    /// It is closed, and the log says this.
    Closed(&'static str),
}

use Row::{Check, Client, Closed};

/// Sends a header, and then a request by SOCKS5.
fn asks(line: &mut Line) {
    line.send(GREETING);
    assert_eq!(line.read(2), CHOSEN);
    line.send(to(CONNECT, echo()));
    assert_eq!(line.read(10), GRANTED);
    line.send("echo");
    assert_eq!(line.read(4), b"echo");
}

fn assert_row(lab: &mut Lab, what: &str, header: &[u8], row: &Row) {
    println!("{what}");
    let mut line = balanced(lab, header);
    match row {
        Client(client) => {
            asks(&mut line);
            drop(line);
            let ended = lab.wait_for_line(&format!(" 4 bytes from {client}, 4 bytes from "));
            assert!(!ended.contains("192.0.2.10"), "{what}: {ended}");
        }
        Check => {
            line.send(GREETING);
            assert_eq!(line.read(2), CHOSEN, "{what}");
            line.half_close();
            line.read_to_end();
            assert_eq!(lab.logged(), [""; 0], "{what}");
        }
        Closed(why) => {
            // A reset may come before or after the bytes are sent.
            assert_eq!(line.read_some(1), b"", "{what}");
            lab.wait_for_line(&format!("connections of 192.0.2.10 are closed: {why}"));
        }
    }
    lab.turn_the_page();
}

#[test]
fn every_kind_of_header_names_its_client_or_is_closed_for_its_reason() {
    let mut lab = lab(PERMIT_ALL, "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let (tcp4, ipv4) = addresses(FAR_CLIENT);
    let (tcp6, ipv6) = addresses("[2001:db8:7::7]:40000");
    let with = |tail: &[u8]| [&ipv4[..], tail].concat();
    for (what, header, row) in [
        ("TCP4", v2(PROXY, tcp4, &ipv4), Client("10.7.7.7")),
        ("TCP6", v2(PROXY, tcp6, &ipv6), Client("2001:db8:7::7")),
        ("v4-mapped", of("[::ffff:10.7.7.8]:40000"), Client("10.7.7.8")),
        (
            "crc32c and unique id",
            v2(PROXY, tcp4, &with(b"\x03\0\x04\xc9\xdd\x7f\x05\x05\0\0")),
            Client("10.7.7.7"),
        ),
        ("TLVs of no form", v2(PROXY, tcp4, &with(&[0xff; 77])), Client("10.7.7.7")),
        ("536 bytes", v2(PROXY, tcp4, &with(&[4; 508])), Client("10.7.7.7")),
        ("LOCAL", v2(LOCAL, 0, b""), Check),
        ("LOCAL with addresses", v2(LOCAL, tcp4, &ipv4), Check),
        ("537 bytes", v2(PROXY, tcp4, &with(&[4; 509])), Closed("PROXY header that is too long")),
        ("AF_UNSPEC", v2(PROXY, 0, b""), Closed("PROXY header that names no client of TCP")),
    ] {
        assert_row(&mut lab, what, &header, &row);
    }
}

/// A line is written once a minute: each row has a daemon whose log has no such line yet.
#[test]
fn what_is_no_header_is_closed_for_its_reason() {
    let (tcp4, ipv4) = addresses(FAR_CLIENT);
    let (_, ipv6) = addresses("[2001:db8:7::7]:40000");
    let rows = [
        ("a wrong signature", [b"\r\n\r\n\0\r\nQUIT\r", &[0x21; 16][..]].concat(), Closed("no PROXY header")),
        ("version 1 in bytes", v2(0x11, tcp4, &ipv4), Closed("PROXY header of an unknown version")),
        ("command 2", v2(0x22, tcp4, &ipv4), Closed("PROXY header with an unknown command")),
        ("UDP", v2(PROXY, 0x12, &ipv4), Closed("PROXY header that names no client of TCP")),
        (
            "too short for TCP4",
            v2(PROXY, tcp4, &ipv4[..11]),
            Closed("PROXY header that is too short for its addresses"),
        ),
        ("no host", of("0.0.0.0:1"), Closed("PROXY header with an address that no client has")),
        (
            "a balancer",
            of("192.0.2.10:1"),
            Closed("PROXY header that names an address in proxy_from as the client"),
        ),
    ];
    let mut one = lab(PERMIT_ALL, "");
    for (what, header, row) in rows {
        assert_row(&mut one, what, &header, &row);
    }
    let rows = [
        ("SOCKS5 without a header", GREETING.to_vec(), Closed("no PROXY header")),
        ("UNIX", v2(PROXY, 0x31, &[7; 216]), Closed("PROXY header that names no client of TCP")),
        (
            "too short for TCP6",
            v2(PROXY, 0x21, &ipv6[..35]),
            Closed("PROXY header that is too short for its addresses"),
        ),
        (
            "the most that a length says",
            [&v2(PROXY, tcp4, b"")[..14], &[0xff; 2]].concat(),
            Closed("PROXY header that is too long"),
        ),
    ];
    let mut other = lab(PERMIT_ALL, "");
    for (what, header, row) in rows {
        assert_row(&mut other, what, &header, &row);
    }
    let rows = [
        (
            "SOCKS4 without a header",
            b"\x04\x01\0\x07\xc6\x33\x64\x0ajoe\0".to_vec(),
            Closed("no PROXY header"),
        ),
        (
            "a line of version 1",
            b"PROXY TCP4 10.7.7.7 192.0.2.1 1 1080\r\n".to_vec(),
            Closed("no PROXY header"),
        ),
    ];
    for (what, header, row) in rows {
        assert_row(&mut lab(PERMIT_ALL, ""), what, &header, &row);
    }
}

#[test]
fn a_line_is_the_header_where_the_settings_say_so() {
    let mut lab = lab(PERMIT_ALL, "proxy_protocol: v1");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for (what, header, row) in [
        ("TCP4", "PROXY TCP4 10.7.7.7 192.0.2.1 40000 1080\r\n", Client("10.7.7.7")),
        ("TCP6", "PROXY TCP6 2001:db8:7::7 2001:db8:1::1 40000 1080\r\n", Client("2001:db8:7::7")),
        ("v4-mapped", "PROXY TCP6 ::ffff:10.7.7.8 2001:db8:1::1 40000 1080\r\n", Client("10.7.7.8")),
        ("UNKNOWN", "PROXY UNKNOWN\r\n", Closed("PROXY header that names no client of TCP")),
        ("no line", &"PROXY TCP4 10.7.7.7 192.0.2.1 1 1 ".repeat(4), Closed("PROXY header that is too long")),
        ("another form", "PROXY TCP4 10.7.7.7 192.0.2.1 +1 1\r\n", Closed("PROXY header in a wrong form")),
        ("version 2", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Closed("no PROXY header")),
    ] {
        assert_row(&mut lab, what, header.as_bytes(), &row);
    }
    let mut line = balanced(&lab, "");
    line.send_in_segments("PROXY TCP4 10.7.7.7 192.0.2.1 40000 1080\r\n", 1);
    asks(&mut line);
}

#[test]
fn a_header_may_come_byte_by_byte_and_together_with_all_that_follows() {
    let mut lab = lab(PERMIT_ALL, "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut line = Line::dial(&lab.site.client, BALANCED);
    line.send_in_segments(of(FAR_CLIENT), 1);
    asks(&mut line);
    drop(line);
    lab.wait_for_line(" 4 bytes from 10.7.7.7, 4 bytes from ");
    lab.turn_the_page();
    let request = to(CONNECT, echo());
    let mut line = balanced(&lab, [&of(FAR_CLIENT)[..], &GREETING, &request, b"echo"].concat());
    assert_eq!(line.read(16), [&CHOSEN[..], &GRANTED, b"echo"].concat());
    drop(line);
    lab.wait_for_line(" 4 bytes from 10.7.7.7, 4 bytes from ");
}

#[test]
fn a_balancer_over_ipv6_may_bring_clients_of_both_families() {
    let lab = lab(PERMIT_ALL, "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for client in [FAR_CLIENT, "[2001:db8:7::7]:40000"] {
        let mut line = Line::dial(&lab.site.client, BALANCED_6);
        line.send(of(client));
        asks(&mut line);
    }
}

#[test]
fn who_does_not_finish_the_header_is_closed_after_5_seconds_or_when_it_ends_its_stream() {
    let lab = lab(PERMIT_ALL, "");
    let header = of(FAR_CLIENT);
    let mut slow = [&[][..], &header[..1], &header[..15], &header[..27]].map(|part| balanced(&lab, part));
    let mut ended = balanced(&lab, &header[..20]);
    ended.half_close();
    ended.read_some(1);
    lab.wait_for_line("connections of 192.0.2.10 are closed: no whole PROXY header in time");
    for line in &mut slow {
        assert_eq!(line.read_some(1), b"");
    }
}

#[test]
fn half_a_header_costs_the_monitor_no_turn_of_its_loop() {
    let lab = lab(PERMIT_ALL, "");
    let header = of(FAR_CLIENT);
    let mut waiting: Vec<_> = (0..50).map(|_| balanced(&lab, &header[..27])).collect();
    let mut whole = balanced(&lab, [&header[..], &GREETING].concat());
    assert_eq!(whole.read(2), CHOSEN);
    let monitor = lab.sockd.monitor();
    let before = monitor.processor_ticks();
    // They are closed at their limit: until then a loop that spins would have used up all of the time.
    for line in &mut waiting {
        assert_eq!(line.read_some(1), b"");
    }
    let used = monitor.processor_ticks() - before;
    // A clock tick is a hundredth of a second.
    assert!(used < 100, "{used} ticks");
}

#[test]
fn a_header_is_read_at_no_other_listener() {
    let mut lab = lab(PERMIT_ALL, "");
    let mut line = Line::dial(&lab.site.client, DIRECT);
    line.send([&of(FAR_CLIENT)[..], &GREETING].concat());
    line.read_to_end();
    lab.assert_logged(&["daemon.notice error -- wrong version (0x d) from host 192.0.2.10.".into()]);
    let mut line = Line::dial(&lab.site.client, DIRECT);
    line.send(GREETING);
    assert_eq!(line.read(2), CHOSEN);
}

#[test]
fn a_stranger_is_closed_before_a_byte_is_read() {
    let lab = lab(PERMIT_ALL, "");
    for bytes in [of(FAR_CLIENT), GREETING.to_vec(), Vec::new()] {
        let mut line = Line::dial(&lab.site.other, BALANCED);
        let _ = std::io::Write::write_all(line.stream(), &bytes);
        assert_eq!(line.read_some(1), b"");
    }
    lab.wait_for_line("connections of 192.0.2.138 are closed: not in proxy_from");
}

#[test]
fn a_health_check_may_greet_and_nothing_else() {
    let mut lab = lab("permit @=password ALL 0.0.0.0\n", "");
    let check = [&v2(LOCAL, 0, b"")[..], &GREETING].concat();
    let mut line = balanced(&lab, &check);
    assert_eq!(line.read(2), CHOSEN);
    line.send(to(CONNECT, echo()));
    assert_eq!(line.read(2), [5, 2]);
    lab.assert_logged(&["daemon.notice error -- request in a health check from host 192.0.2.10".into()]);
    // It gets a worker like anybody: the check covers all that clients get.
    assert!(!lab.sockd.workers("session").is_empty());
    // A check that ends right after its header leaves no line either, and the monitor keeps nothing of it.
    for _ in 0..20 {
        let mut line = balanced(&lab, v2(LOCAL, 0, b""));
        line.half_close();
        line.read_to_end();
    }
    drop(balanced(&lab, "\x05"));
    lab.wait_for_line("connections of 192.0.2.10 are closed: no PROXY header");
    assert_eq!(lab.logged().len(), 1);
}
