//! The time that a client waits while a million rules are read anew: `cargo build --release -p sockd -p sockd-worker &&
//! cargo bench -p sockd-tests --bench reload`, as root. Prints the longest handshake (connection to the proxy, request,
//! its connection onwards, reply) and the longest round trip of one byte through a relay that is open all the while.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::SERVER;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{PROXY, Request};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const RULES: usize = 1_000_000;

fn main() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut relay = handshake(&lab).0;
    println!(
        "{:>16} {:>10} {:>10} {:>12} {:>12} {:>8}",
        "", "connects", "p50 ms", "handshake ms", "relay ms", "s"
    );
    let end = Instant::now() + Duration::from_secs(3);
    measured("before", &lab, &mut relay, |_| Instant::now() > end);
    for (name, rules) in [("reload of text", text(0)), ("and once more", text(1))] {
        lab.sockd.write_conf(&rules);
        lab.turn_the_page();
        lab.sockd.signal(Signal::SIGHUP);
        let outcome = format!("reloaded: {RULES} rules");
        measured(name, &lab, &mut relay, |lab| lab.logged().iter().any(|line| line.contains(&outcome)));
    }
    let end = Instant::now() + Duration::from_secs(3);
    measured("after", &lab, &mut relay, |_| Instant::now() > end);
}

/// A block list; each seed gives another.
fn text(seed: u8) -> String {
    let mut text = String::new();
    for number in 1..u32::try_from(RULES).expect("32 bits") {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(text, "deny 0.0.0.0 0.0.0.0 {}.{a}.{b}.{c} 255.255.255.255", 11 + seed).expect("memory");
    }
    text + PERMIT_ALL
}

/// Connects again and again until it is over, with a byte through the relay after each; prints the longest times.
fn measured(name: &str, lab: &Lab, relay: &mut TcpStream, mut over: impl FnMut(&Lab) -> bool) {
    let (start, mut handshakes, mut bytes) = (Instant::now(), Vec::new(), Vec::new());
    while !over(lab) {
        handshakes.push(handshake(lab).1);
        let sent = Instant::now();
        relay.write_all(b"x").and_then(|()| relay.read_exact(&mut [0])).expect("an echo");
        bytes.push(sent.elapsed());
    }
    handshakes.sort_unstable();
    let longest = |times: &[Duration]| times.iter().max().map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!(
        "{name:>16} {:>10} {:>10.2} {:>12.2} {:>12.2} {:>8.1}",
        handshakes.len(),
        longest(&handshakes[..handshakes.len().div_ceil(2)]),
        longest(&handshakes),
        longest(&bytes),
        start.elapsed().as_secs_f64()
    );
}

fn handshake(lab: &Lab) -> (TcpStream, Duration) {
    let request = Request::connect((SERVER, 7)).bytes();
    lab.site.client.run(|| {
        let start = Instant::now();
        let mut stream = TcpStream::connect(SocketAddr::from(PROXY)).expect("the proxy");
        stream.set_nodelay(true).expect("no delay");
        stream.write_all(&request).expect("sending the request");
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(reply[..2], [0, 90], "{reply:?}");
        (stream, start.elapsed())
    })
}
