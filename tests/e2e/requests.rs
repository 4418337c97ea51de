//! Requests byte by byte: those that are granted, those that are refused, and their log lines.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{GRANTED, PROXY, REJECTED, Reply, Request, assert_rejected, granted, send_to};
use sockd_tests::socks5;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

const LOOPBACK: &str = "permit 0.0.0.0 0.0.0.0 127.0.0.0 255.0.0.0\n";

/// An echo server, and a lab whose rules permit everything.
fn lab_with_echo() -> (Server, SocketAddrV4, Lab) {
    let site = Site::new();
    let echo = SocketAddrV4::new(SERVER, 7);
    (Server::echo(&site.server, echo), echo, Lab::new_at(site))
}

/// A nameserver for sockd that knows `www.example.net`.
fn nameserver(site: &Site) -> Nameserver {
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    Nameserver::start(&site.server, |question| match question.name.as_str() {
        "www.example.net" => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    })
}

/// Sends an incomplete request and ends the stream: there may be a refusal, never a connection.
fn assert_never_connected(lab: &Lab, far: &Far, bytes: &[u8]) {
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(bytes);
    line.half_close();
    let (answer, _) = line.read_to_end();
    assert!(answer.is_empty() || answer == [0, REJECTED, 0, 0, 0, 0, 0, 0], "{answer:?}");
    assert!(far.waiting().is_none(), "a connection for {}", bytes.escape_ascii());
}

#[test]
fn wire_01_a_connect_is_granted_relayed_and_logged() {
    let (_server, echo, mut lab) = lab_with_echo();
    let mut line = granted(&lab.site.client, &Request::connect(echo));
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
    drop(line);
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").relayed(5, 5));
}

#[test]
fn wire_01_a_connect_on_loopback_is_granted_where_a_line_names_loopback() {
    let mut lab = Lab::new(LOOPBACK);
    let far = Far::listen(&lab.site.gateway, Ipv4Addr::LOCALHOST);
    let proxy = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1080);
    let mut line = send_to(&lab.site.gateway, proxy, &Request::connect(far.v4()));
    line.send("hello");
    assert_eq!(Reply::read(&mut line), Reply::with(90));
    assert_eq!(far.accept().read(5), b"hello");
    drop(line);
    lab.assert_logged(&Session::of("127.0.0.1", "127.0.0.1", far.v4().port()).relayed(5, 0));
}

#[test]
fn log_01_a_service_is_logged_by_its_name_in_the_right_byte_order() {
    let mut lab = Lab::new("deny 0.0.0.0 0.0.0.0\n");
    // 5376 is 21 with its bytes swapped, and 5888 is 23.
    for (port, service) in [(23, "telnet"), (21, "ftp"), (5376, "5376"), (5888, "5888"), (80, "http")] {
        assert_rejected(&lab.site.client, &Request::connect((SERVER, port)));
        lab.assert_logged(&[Session::of(CLIENT, SERVER, service).refused()]);
    }
}

#[test]
fn wire_02_a_denied_connect_is_answered_with_91_and_closed() {
    let mut lab = Lab::new("deny 0.0.0.0 0.0.0.0\n");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.assert_logged(&[Session::of(CLIENT, SERVER, "echo").refused()]);
}

#[test]
fn wire_03_a_denied_bind_is_answered_with_91() {
    let mut lab = Lab::new("deny 0.0.0.0 0.0.0.0\n");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 21)).as_bind());
    lab.assert_logged(&[
        "daemon.notice refused -- Bind from joe(unknown)@192.0.2.10 for 198.51.100.10".into()
    ]);
}

#[test]
fn a_request_that_no_line_matches_is_refused() {
    let mut lab = Lab::new("permit 203.0.113.0 255.255.255.0\n");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.assert_logged(&[Session::of(CLIENT, SERVER, "echo").refused()]);
}

#[test]
fn wire_05_a_closed_port_is_answered_with_91_and_logged_as_failed() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 1)));
    lab.assert_logged(&[Session::of(CLIENT, SERVER, "tcpmux").failed("connect", "Connection refused")]);
}

#[test]
fn an_unreachable_network_is_answered_with_91_and_logged_as_failed() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &Request::connect((Ipv4Addr::new(10, 9, 8, 7), 4000)));
    lab.assert_logged(&[Session::of(CLIENT, "10.9.8.7", 4000).failed("connect", "Network is unreachable")]);
}

#[test]
fn wire_06_a_version_5_request_without_a_greeting_is_read_as_one_and_closed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([5, 1, 0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(line.read_to_end().0, [5, 0]);
    lab.assert_logged(&["daemon.notice error -- wrong version (0x 1) from host 192.0.2.10.".into()]);
}

#[test]
fn wire_06_a_version_5_request_is_refused_where_socks5_is_switched_off() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(protocols: [socks4])");
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([5, 1, 0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(line.read_to_end().0, [5, 0xff]);
    lab.assert_logged(&["daemon.notice error -- wrong version (0x 5) from host 192.0.2.10.".into()]);
}

#[test]
fn wire_07_http_to_the_socks_port_is_closed_without_a_reply() {
    let mut lab = Lab::new(PERMIT_ALL);
    for (bytes, version) in
        [(&b"GET / HTTP/1.0\r\n\r\n"[..], "0x47"), (b"\x16\x03\x01\x02\x00\x01\x00", "0x16")]
    {
        let mut line = Line::dial(&lab.site.client, PROXY);
        line.send(bytes);
        assert_eq!(line.ending(), Ending::Closed);
        drop(line);
        let logged = format!("daemon.notice error -- wrong version ({version}) from host 192.0.2.10.");
        lab.assert_logged(&[logged]);
    }
}

#[test]
fn wire_08_an_undefined_command_is_answered_with_91() {
    let mut lab = Lab::new(PERMIT_ALL);
    let request = Request { command: 3, ..Request::connect((SERVER, 7)) };
    assert_rejected(&lab.site.client, &request);
    lab.assert_logged(&["daemon.notice error -- undefined command (0x 3) from host 192.0.2.10".into()]);
}

#[test]
fn wire_09_a_header_cut_short_is_closed_without_a_reply() {
    let mut lab = Lab::new(PERMIT_ALL);
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([4, 1, 0]);
    line.half_close();
    line.ending();
    lab.assert_logged(&["daemon.notice Error in GetDst: Success; from host 192.0.2.10".into()]);
}

#[test]
fn clients_that_connect_and_leave_are_counted_and_have_no_lines() {
    let mut lab = Lab::new(PERMIT_ALL);
    for bytes in ["", "", "", "\x04"] {
        let mut line = Line::dial(&lab.site.client, PROXY);
        line.send(bytes);
        line.half_close();
        line.ending();
    }
    // One worker tells of all of them, in their order.
    lab.wait_for_line("Error in GetDst");
    lab.sockd.signal(Signal::SIGTERM);
    lab.sockd.wait();
    lab.assert_logged(
        &[
            "daemon.notice Error in GetDst: Success; from host 192.0.2.10",
            "daemon.notice stopping",
            "daemon.notice 3 connections closed without a byte",
            "daemon.notice stopped",
        ]
        .map(str::to_owned),
    );
}

#[test]
fn wire_10_a_user_id_of_300_bytes_is_refused_and_never_cut() {
    // Cut to any length, it would be one of these users.
    let users: Vec<_> = (1..=255).map(|length| "a".repeat(length)).collect();
    let pieces = users.chunks(4).map(|users| format!("permit *={} 0.0.0.0 0.0.0.0\n", users.join(",")));
    let conf: String = pieces.filter(|line| line.len() <= 1023).collect();
    let lab = Lab::new(&conf);
    let request = Request::connect((SERVER, 7)).by("a".repeat(300));
    assert_rejected(&lab.site.client, &request);
    assert!(lab.wait_for_line("from host 192.0.2.10").starts_with("daemon.notice error -- "));
}

#[test]
fn a_user_id_of_255_bytes_is_granted_and_logged_whole() {
    let (_server, echo, mut lab) = lab_with_echo();
    let user = "u".repeat(255);
    drop(granted(&lab.site.client, &Request::connect(echo).by(&user)));
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").by(&user).relayed(0, 0));
}

#[test]
fn a_user_id_of_256_bytes_is_refused() {
    let (_server, echo, lab) = lab_with_echo();
    assert_rejected(&lab.site.client, &Request::connect(echo).by("u".repeat(256)));
}

#[test]
fn wire_11_an_empty_user_id_is_granted() {
    let (_server, echo, mut lab) = lab_with_echo();
    drop(granted(&lab.site.client, &Request::connect(echo).by("")));
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").by("").relayed(0, 0));
}

#[test]
fn wire_12_a_newline_in_the_user_id_makes_no_second_line() {
    let (_server, echo, mut lab) = lab_with_echo();
    drop(granted(&lab.site.client, &Request::connect(echo).by("ev\nil%s")));
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").by("ev\\x0ail%s").relayed(0, 0));
}

#[test]
fn a_user_id_made_to_look_like_other_fields_stays_one_field() {
    let (_server, echo, mut lab) = lab_with_echo();
    let user = "root(root)@10.0.0.1 to evil (ssh)\x1b[2J\\";
    drop(granted(&lab.site.client, &Request::connect(echo).by(user)));
    let logged = "root\\x28root\\x29@10.0.0.1\\x20to\\x20evil\\x20\\x28ssh\\x29\\x1b[2J\\\\";
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").by(logged).relayed(0, 0));
}

#[test]
fn wire_13_a_user_id_without_its_nul_never_makes_a_connection() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut bytes = Request::connect(far.v4()).bytes();
    bytes.pop();
    assert_never_connected(&lab, &far, &bytes);
}

#[test]
fn wire_14_data_directly_behind_the_request_is_relayed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut bytes = Request::connect(far.v4()).bytes();
    bytes.extend(b"early");
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(bytes);
    let mut there = far.accept();
    assert_eq!(there.read(5), b"early");
    assert_eq!(Reply::read(&mut line), Reply::with(90));
    drop((line, there));
    lab.assert_logged(&Session::of(CLIENT, SERVER, far.v4().port()).relayed(5, 0));
}

#[test]
fn a_surplus_nul_behind_the_request_is_relayed_like_any_data() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut bytes = Request::connect(far.v4()).by("").bytes();
    bytes.push(0);
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(bytes);
    assert_eq!(far.accept().read(1), [0]);
}

#[test]
fn wire_15_a_request_in_segments_of_one_byte_is_granted() {
    let (_server, echo, lab) = lab_with_echo();
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send_in_segments(Request::connect(echo).bytes(), 1);
    assert_eq!(Reply::read(&mut line), Reply::with(90));
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
}

#[test]
fn a_4a_request_split_at_any_byte_is_granted() {
    let site = Site::new();
    site.gateway.write("/etc/hosts", "198.51.100.10 www.example.net\n");
    let _server = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let bytes = Request::connect_name("www.example.net", 7).bytes();
    for place in 1..bytes.len() {
        let mut line = Line::dial(&lab.site.client, PROXY);
        line.send_in_segments(&bytes, place);
        assert_eq!(Reply::read(&mut line), Reply::with(90), "split at {place}");
    }
}

#[test]
fn wire_16_a_stalled_request_is_closed_at_its_limit() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 1)");
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([4, 1]);
    assert_eq!(line.ending(), Ending::Closed);
    lab.wait_for_line("from host 192.0.2.10");
}

#[test]
fn a_late_client_of_any_protocol_reads_the_end_of_its_stream_and_no_reset() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 1)");
    let half: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"\x04\x01\x00\x50\x01\x02", b""),
        (b"\x05", b""),
        (b"\x05\x01\x00", b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0"),
        (b"\x05\x01\x00\x05\x01\0\x03", b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0"),
        (b"GET / HT", b""),
    ];
    let dialled = half.map(|(sent, told)| {
        let mut line = Line::dial(&lab.site.client, PROXY);
        line.send(sent);
        (line, sent, told)
    });
    for (mut line, sent, told) in dialled {
        assert_eq!(line.read_to_end(), (told.to_vec(), Ending::Closed), "{}", sent.escape_ascii());
    }
}

#[test]
fn a_request_that_trickles_in_is_closed_at_the_same_limit() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 1)");
    let mut line = Line::dial(&lab.site.client, PROXY);
    let mut trickle = line.stream().try_clone().unwrap();
    let trickling = std::thread::spawn(move || {
        use std::io::Write;
        // Writes until the other side has closed.
        while trickle.write_all(b"\x04").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    line.send([4, 1, 0, 7, 198, 51, 100, 10]);
    line.ending();
    drop(line);
    trickling.join().unwrap();
}

#[test]
fn wire_19_address_0_0_0_0_is_refused() {
    let mut lab = Lab::new(&format!("{LOOPBACK}{PERMIT_ALL}"));
    let _far = Far::listen_at(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 4000));
    assert_rejected(&lab.site.client, &Request::connect((Ipv4Addr::UNSPECIFIED, 4000)));
    lab.assert_logged(&Session::of(CLIENT, "Unspecified.Host", 4000).guarded("address of \"this network\""));
}

#[test]
fn the_reply_names_neither_port_nor_address() {
    // Lab::granted and assert_rejected compare whole replies; here once more in the open.
    let (_server, echo, lab) = lab_with_echo();
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(echo));
    assert_eq!(line.read(8), [0, 90, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_reply_names_the_real_port_and_address_with_the_setting() {
    let lab = Lab::with_settings(PERMIT_ALL, "(bound_address: real)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(far.v4()));
    let reply = Reply::read(&mut line);
    assert_eq!((reply.version, reply.code), (0, GRANTED));
    assert_eq!(SocketAddr::V4(reply.address), far.accept().peer());
    let mut line = socks5::ask(&lab.site.client, socks5::to(socks5::CONNECT, far.v4()));
    assert_eq!(socks5::bound(&mut line), far.accept().peer());
}

#[test]
fn wire_20_and_4a_01_a_name_is_connected_to_with_any_last_byte_of_the_marker() {
    let site = Site::new();
    let _dns = nameserver(&site);
    let _server = Server::echo(&site.server, (SERVER, 7));
    let mut lab = Lab::new_at(site);
    for last in [1, 7, 255] {
        let marker = Ipv4Addr::new(0, 0, 0, last);
        let request = Request { address: marker, ..Request::connect_name("www.example.net", 7) };
        drop(granted(&lab.site.client, &request));
        lab.assert_logged(&Session::of(CLIENT, "www.example.net", "echo").relayed(0, 0));
    }
}

#[test]
fn rules_see_the_name_of_a_4a_request_and_its_addresses() {
    let site = Site::new();
    let _dns = nameserver(&site);
    let _server = Server::echo(&site.server, (SERVER, 7));
    let by_name = "permit *=name 0.0.0.0 0.0.0.0 .example.net 0.0.0.0\n";
    let by_address = "permit *=address 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255\n";
    let other = "permit *=other 0.0.0.0 0.0.0.0 .example.org 0.0.0.0\n";
    let lab = Lab::at(site, &format!("{by_name}{by_address}{other}"), |start| start);
    let request = Request::connect_name("www.example.net", 7);
    drop(granted(&lab.site.client, &request.clone().by("name")));
    drop(granted(&lab.site.client, &request.clone().by("address")));
    assert_rejected(&lab.site.client, &request.by("other"));
}

#[test]
fn case_4a_03_a_name_that_cannot_be_resolved_is_refused() {
    let site = Site::new();
    let _dns = nameserver(&site);
    let lab = Lab::new_at(site);
    assert_rejected(&lab.site.client, &Request::connect_name("nosuch.invalid", 7));
    lab.wait_for_line("to nosuch.invalid (echo)");
}

#[test]
fn case_4a_04_a_name_without_its_nul_never_makes_a_connection() {
    let site = Site::new();
    let _dns = nameserver(&site);
    let lab = Lab::new_at(site);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut bytes = Request::connect_name("www.example.net", far.v4().port()).bytes();
    bytes.pop();
    assert_never_connected(&lab, &far, &bytes);
    bytes.truncate(bytes.len() - 4);
    assert_never_connected(&lab, &far, &bytes);
}

#[test]
fn case_4a_05_an_empty_name_is_refused() {
    let lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &Request::connect_name("", 7));
}

#[test]
fn case_4a_06_a_name_longer_than_255_bytes_is_refused() {
    let lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &Request::connect_name("n".repeat(256), 7));
}

#[test]
fn case_4a_07_a_name_that_is_a_dotted_quad_is_that_address() {
    let (_server, echo, mut lab) = lab_with_echo();
    drop(granted(&lab.site.client, &Request::connect_name("198.51.100.10", echo.port())));
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").relayed(0, 0));
}

#[test]
fn case_4a_08_user_id_and_name_may_come_in_separate_segments() {
    let site = Site::new();
    let _dns = nameserver(&site);
    let _server = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let request = Request::connect_name("www.example.net", 7);
    let bytes = request.bytes();
    let name_at = bytes.len() - "www.example.net".len() - 1;
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send_in_segments(&bytes, name_at);
    assert_eq!(Reply::read(&mut line), Reply::with(90));
}

#[test]
fn case_4a_09_no_name_is_read_behind_0_0_0_0() {
    let lab = Lab::new(PERMIT_ALL);
    // If a name were read here, there would be no reply before it has come.
    assert_rejected(&lab.site.client, &Request::connect((Ipv4Addr::UNSPECIFIED, 7)));
}
