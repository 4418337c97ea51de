//! The SOCKSified server: destinations that are reached through other SOCKS servers, honest, dead and hostile ones.

use nix::sys::signal::Signal;
use sockd_tests::classic::Visit;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::next::{Next, reply};
use sockd_tests::site::{CLIENT, NAMESERVER, OUTSIDE, SECOND_SERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Sockd, Start};
use sockd_tests::socks::{PROXY, REJECTED, Reply, Request, ask, granted, send_to};
use sockd_tests::wait::{until, until_true};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A next server of the test's own, at the server host.
const NEXT: SocketAddrV4 = SocketAddrV4::new(SERVER, 1080);

/// Where nobody is: behind the next server only.
const BEYOND: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 1);
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(100, 64, 9, 9), 80);

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

fn lab(upstream: &str, settings: &str) -> (Next, Lab) {
    let site = Site::new();
    let next = Next::start(&site.server, NEXT);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.upstream(upstream).settings(settings));
    (next, lab)
}

/// Everything through [`NEXT`].
fn all_through(settings: &str) -> (Next, Lab) {
    lab(&format!("sockd @={SERVER} ALL 0.0.0.0\n"), settings)
}

fn visit() -> Visit {
    Visit::of(CLIENT, FAR.ip(), "http")
}

const USING: &str = " using sockd at 198.51.100.10:1080";

#[test]
fn a_connect_goes_through_the_next_server_with_what_was_decided_and_nothing_else() {
    let (next, mut lab) = all_through("()");
    next.behaves(|mut stream| {
        // What follows the reply in the same segment is the client's.
        stream.write_all(&[reply(90, SocketAddrV4::new(OUTSIDE, 7)), b"welcome".to_vec()].concat())?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let (mut line, answer) = ask(&lab.site.client, &Request::connect(FAR));
    assert_eq!(answer, Reply { version: 0, code: 90, address: SocketAddrV4::new(OUTSIDE, 7) });
    assert_eq!(line.read(7), b"welcome");
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
    line.ending();
    drop(line);
    assert_eq!(next.requests(), [Request::connect(FAR).bytes()]);
    let [connected, terminated, bytes] = visit().relayed(5, 12).try_into().unwrap();
    lab.assert_logged(&[connected + USING, terminated + USING, bytes]);
    assert_eq!(lab.sockd.workers("upstream").len(), 1);
}
