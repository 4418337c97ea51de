//! CONNECT that is granted, to every kind of destination and in every segmentation.

use crate::{PORT, Place, SERVER_6, place};
use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::{CLIENT, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{PROXY, Request, assert_rejected};
use sockd_tests::socks5::{
    BIND, CHOSEN, CONNECT, GRANTED, GREETING, assert_refused, granted, greet, greet_at, to, to_name,
};
use sockd_tests::web;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

const PAGE: u64 = 250_000;
const GET: &str = "GET /250000 HTTP/1.1\r\nHost: web.test\r\n\r\n";

/// An echo answers through this request.
fn assert_echo(place: &Place, request: &[u8]) {
    assert_answers(granted(&place.lab.site.client, request));
}

fn assert_answers(mut line: Line) {
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
}

/// A web server at [`PORT`] of the server host.
fn web_lab() -> (Server, Lab) {
    let site = Site::new();
    (web::serve(&site.server, (SERVER, PORT)), Lab::at(site, PERMIT_ALL, |start| start))
}

/// Insists on the page to its last byte, and nothing after it.
fn assert_page(line: &mut Line) {
    let (answer, ending) = line.read_to_end();
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of a head") + 4;
    assert_eq!((answer.len() - head, ending), (PAGE as usize, Ending::Closed));
}

#[test]
fn s5_19_a_connect_to_an_address_is_granted_with_zeros_relayed_and_logged() {
    let mut place = place();
    assert_echo(&place, &to(CONNECT, (SERVER, PORT)));
    place.lab.assert_logged(&Session::of(CLIENT, SERVER, "http-alt").by("").relayed(5, 5));
}

#[test]
fn s5_20_greeting_request_and_data_may_come_in_one_segment() {
    let (_web, lab) = web_lab();
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([&GREETING[..], &to(CONNECT, (SERVER, PORT)), GET.as_bytes()].concat());
    assert_eq!(line.read(12), [&CHOSEN[..], &GRANTED].concat());
    assert_page(&mut line);
}

#[test]
fn s5_21_everything_may_come_byte_by_byte() {
    let place = place();
    let mut line = Line::dial(&place.lab.site.client, PROXY);
    for byte in [&GREETING[..], &to(CONNECT, (SERVER, PORT))].concat() {
        line.send([byte]);
        sleep(Duration::from_millis(10));
    }
    assert_eq!(line.read(12), [&CHOSEN[..], &GRANTED].concat());
    assert_answers(line);
}

#[test]
fn s5_22_a_name_is_looked_up_here() {
    let mut place = place();
    assert_echo(&place, &to_name(CONNECT, "web.test", PORT));
    place.lab.assert_logged(&Session::of(CLIENT, "web.test", "http-alt").by("").relayed(5, 5));
}

#[test]
fn s5_23_an_ipv6_address_is_reached_and_the_reply_is_the_same() {
    let mut place = place();
    assert_echo(&place, &to(CONNECT, (SERVER_6, PORT)));
    place.lab.assert_logged(&Session::of(CLIENT, SERVER_6, "http-alt").by("").relayed(5, 5));
    assert_echo(&place, &to(CONNECT, (Ipv6Addr::LOCALHOST, PORT)));
}

#[test]
fn s5_23_a_client_may_come_over_ipv6() {
    let place = place();
    let proxy = SocketAddr::new("2001:db8:1::1".parse().unwrap(), 1080);
    for destination in [SocketAddr::from((SERVER, PORT)), (SERVER_6, PORT).into()] {
        let mut line = greet_at(&place.lab.site.client, proxy);
        line.send(to(CONNECT, destination));
        assert_eq!(line.read(10), GRANTED, "{destination}");
        assert_answers(line);
    }
}

#[test]
fn s5_24_a_mapped_address_is_decided_on_and_dialled_as_ipv4() {
    let mut place = place();
    assert_echo(&place, &to(CONNECT, (SERVER.to_ipv6_mapped(), PORT)));
    place.lab.assert_logged(&Session::of(CLIENT, SERVER, "http-alt").by("").relayed(5, 5));
}

#[test]
fn s5_25_an_ipv4_address_as_a_name_is_that_address() {
    let mut place = place();
    assert_echo(&place, &to_name(CONNECT, SERVER.to_string(), PORT));
    place.lab.assert_logged(&Session::of(CLIENT, SERVER, "http-alt").by("").relayed(5, 5));
}

#[test]
fn s5_26_an_ipv6_address_as_a_name_is_that_address() {
    let place = place();
    assert_echo(&place, &to_name(CONNECT, SERVER_6.to_string(), PORT));
    assert_echo(&place, &to_name(CONNECT, "::1", PORT));
}

#[test]
fn s5_28_a_name_with_its_last_dot_is_the_name_without() {
    let mut place = place();
    assert_echo(&place, &to_name(CONNECT, "web.test.", PORT));
    place.lab.assert_logged(&Session::of(CLIENT, "web.test", "http-alt").by("").relayed(5, 5));
}

#[test]
fn s5_46_the_reserved_byte_is_not_looked_at() {
    let place = place();
    let mut request = to(CONNECT, (SERVER, PORT));
    request[2] = 1;
    assert_echo(&place, &request);
}

#[test]
fn s5_50_a_page_arrives_whole_for_a_client_that_has_ended_its_stream() {
    let (_web, lab) = web_lab();
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([&GREETING[..], &to(CONNECT, (SERVER, PORT)), GET.as_bytes()].concat());
    line.half_close();
    assert_eq!(line.read(12), [&CHOSEN[..], &GRANTED].concat());
    assert_page(&mut line);
}

#[test]
fn s5_51_a_server_that_ends_its_stream_first_still_hears_the_client() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut line = granted(&lab.site.client, to(CONNECT, far.address()));
    let mut there = far.accept();
    there.send("last words");
    there.half_close();
    assert_eq!(line.read_to_end(), (b"last words".to_vec(), Ending::Closed));
    line.send("still here");
    line.half_close();
    assert_eq!(there.read_to_end(), (b"still here".to_vec(), Ending::Closed));
}

#[test]
fn a_line_may_be_for_one_version_alone() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, PORT));
    let conf = "set lan = 192.0.2.0/24, 2001:db8:1::/64\n\
        permit ~=5 +=connect <lan> ALL 0.0.0.0 in 80,8000-8999\n";
    let lab = Lab::at(site, conf, |start| start);
    assert_answers(granted(&lab.site.client, to(CONNECT, (SERVER, PORT))));
    assert_refused(&lab.site.client, to(BIND, (SERVER, PORT)), 2);
    assert_refused(&lab.site.client, to(CONNECT, (SERVER, 7)), 2);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, PORT)));
}

#[test]
fn nothing_behind_the_request_is_taken_before_the_server_is_there() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut line = greet(&lab.site.client);
    line.send([&to(CONNECT, far.address())[..], &[5, 1, 0, 4, 1, 0]].concat());
    let mut there = far.accept();
    assert_eq!(there.read(6), [5, 1, 0, 4, 1, 0]);
    assert_eq!(line.read(10), GRANTED);
}

#[test]
fn a_connect_on_loopback_is_granted_where_a_line_names_loopback() {
    let place = place();
    let far = Far::listen(&place.lab.site.gateway, Ipv4Addr::LOCALHOST);
    let mut line = granted(&place.lab.site.client, to(CONNECT, far.address()));
    line.send("hello");
    assert_eq!(far.accept().read(5), b"hello");
}
