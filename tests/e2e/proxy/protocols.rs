//! Each protocol and command behind a header, and identd, which is not asked.

use super::*;
use sockd_tests::far::{Far, Server};
use sockd_tests::identd::Identd;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{self, Request};
use sockd_tests::socks5::{BIND, CHOSEN, CONNECT, GRANTED, GREETING, bound, to};
use sockd_tests::wait::{LONG, uninterrupted};
use std::net::UdpSocket;
use std::time::Duration;

/// The other client host, which the balancer brings.
const OTHER: &str = "192.0.2.138:40000";

fn greets(lab: &Lab, client: &str) -> Line {
    let mut line = balanced(lab, [&of(client)[..], &GREETING].concat());
    assert_eq!(line.read(2), CHOSEN);
    line
}

#[test]
fn socks4_and_socks5_are_spoken_behind_a_header() {
    let mut lab = lab(PERMIT_ALL, "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let mut line = balanced(&lab, [&of(FAR_CLIENT)[..], &request.bytes()].concat());
    assert_eq!(line.read(8)[..2], [0, socks::GRANTED]);
    line.send("echo");
    assert_eq!(line.read(4), b"echo");
    drop(line);
    lab.wait_for_line("connected -- Connect from joe(unknown)@10.7.7.7 to 198.51.100.10 (echo)");
    // The header does not count among the client's bytes.
    lab.wait_for_line(" 4 bytes from 10.7.7.7, 4 bytes from 198.51.100.10");
    lab.turn_the_page();
    let mut line = greets(&lab, FAR_CLIENT);
    line.send(to(CONNECT, echo()));
    assert_eq!(line.read(10), GRANTED);
    lab.wait_for_line("connected -- Connect from (unknown)@10.7.7.7 to 198.51.100.10 (echo)");
}

#[test]
fn a_bind_behind_a_balancer_announces_an_address_that_its_peer_reaches() {
    let lab = lab(PERMIT_ALL, "bind_announce: [(\"198.51.100.1\", \"203.0.113.77\")]");
    let mut line = greets(&lab, FAR_CLIENT);
    line.send(to(BIND, (SERVER, 21)));
    let mut at = bound(&mut line);
    assert_eq!(at.ip(), IpAddr::from([203, 0, 113, 77]));
    at.set_ip(IpAddr::from([198, 51, 100, 1]));
    let mut peer = Line::dial(&lab.site.server, at);
    assert_eq!(bound(&mut line), peer.local());
    peer.send("in");
    assert_eq!(line.read(2), b"in");
    lab.wait_for_line("connected -- Bind from (unknown)@10.7.7.7 for 198.51.100.10 (");
}

fn datagram(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    [&[0, 0, 0][..], &sockd_tests::socks5::to(0, to)[3..], data].concat()
}

#[test]
fn datagrams_come_from_the_client_behind_the_balancer_and_not_from_the_balancer() {
    let lab = lab("permit +=connect,udp ALL 0.0.0.0\n", "");
    let server = lab.site.server.run(|| UdpSocket::bind((SERVER, 7))).expect("a server");
    server.set_read_timeout(Some(LONG)).expect("a limit");
    let mut control = greets(&lab, OTHER);
    control.send([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    let at = bound(&mut control);
    assert_eq!(at.ip(), INSIDE);
    let of_host = |host: &sockd_tests::host::Host| {
        let socket = host.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        socket.set_read_timeout(Some(LONG)).expect("a limit");
        socket
    };
    let (balancer, client) = (of_host(&lab.site.client), of_host(&lab.site.other));
    balancer.send_to(&datagram(echo(), b"balancer"), at).expect("sending");
    client.send_to(&datagram(echo(), b"client"), at).expect("sending");
    let mut bytes = [0; 99];
    let (length, from) = uninterrupted(|| server.recv_from(&mut bytes)).expect("a datagram");
    assert_eq!(&bytes[..length], b"client");
    server.send_to(b"answer", from).expect("sending");
    let length = uninterrupted(|| client.recv(&mut bytes)).expect("an answer");
    assert_eq!(&bytes[..length], datagram(echo(), b"answer"));
    // The balancer's own bytes have reached nobody.
    server.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
    assert!(uninterrupted(|| server.recv_from(&mut bytes)).is_err());
    lab.wait_for_line("connected -- Associate from (unknown)@192.0.2.138");
}

#[test]
fn an_association_for_a_client_of_another_family_than_the_balancers_is_refused() {
    let lab = lab("permit +=connect,udp ALL 0.0.0.0\n", "");
    let mut control = greets(&lab, "[2001:db8:7::7]:1");
    control.send([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    let reply = control.read(10);
    assert_eq!(reply[..2], [5, 1]);
    lab.wait_for_line("bind() Address family not supported");
    drop(greets(&lab, OTHER));
}

#[test]
fn the_identd_of_a_client_behind_a_balancer_is_not_asked() {
    let lab = lab("permit ?=I 192.0.2.138/32\npermit ?=i 10.7.7.7/32\npermit ?=I ALL 0.0.0.0\n", "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let identds = [
        Identd::start(&lab.site.client, sockd_tests::site::CLIENT),
        Identd::start(&lab.site.other, sockd_tests::site::OTHER),
    ];
    for identd in &identds {
        identd.names("joe");
    }
    let connect = |client: &str| {
        let bytes = [&of(client)[..], &Request::connect((SERVER, 7)).bytes()].concat();
        balanced(&lab, bytes).read(8)[1]
    };
    assert_eq!(connect(OTHER), 92);
    assert_eq!(connect(FAR_CLIENT), socks::GRANTED);
    lab.wait_for_line("cannot connect to identd on 10.7.7.7");
    for identd in &identds {
        assert!(identd.queries().is_empty());
    }
    // At the other listener it is asked as usual.
    let (_, reply) = socks::ask(&lab.site.client, &Request::connect((SERVER, 7)));
    assert_eq!(reply.code, socks::GRANTED);
}

#[test]
fn bulk_is_relayed_and_counted_without_the_header() {
    let lab = lab(PERMIT_ALL, "");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut line = greets(&lab, FAR_CLIENT);
    line.send(to(CONNECT, far.address()));
    let mut server = far.accept();
    assert_eq!(line.read(10), GRANTED);
    line.send(vec![7; 100_000]);
    assert_eq!(server.read(100_000), vec![7; 100_000]);
    server.send(vec![8; 100_000]);
    server.half_close();
    let (bytes, _) = line.read_to_end();
    assert_eq!(bytes, vec![8; 100_000]);
    drop(line);
    lab.wait_for_line(" 100000 bytes from 10.7.7.7, 100000 bytes from 198.51.100.10");
}
