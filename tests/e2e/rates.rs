//! What a line limits of connections: how many bytes a second, whatever the worker does.
//!
//! A rate is never exceeded by more than 7 %. How far it is reached depends on the machine: that is insisted on where
//! `SOCKD_QUIET_BENCH` says that nothing else runs.

use nix::sys::signal::Signal;
use sockd_tests::far::Far;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::next::reply;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, ask, granted, send_to};
use sockd_tests::socks5;
use sockd_tests::wait::until_true;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that come on a connection a second, from now on and for so long.
fn comes(mut from: &TcpStream, time: Duration) -> f64 {
    let (begun, mut buffer, mut bytes) = (Instant::now(), vec![0; 256 << 10], 0_usize);
    while begun.elapsed() < time {
        bytes += from.read(&mut buffer).expect("reading");
    }
    bytes as f64 / begun.elapsed().as_secs_f64()
}

/// Both ends of a relay, which end with it.
struct Ends<'a>(&'a TcpStream, &'a TcpStream);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        [self.0, self.1].iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }
}

/// What is seen at one end while the other writes as fast as it can.
fn while_flooded<T>(to: &mut Line, from: &mut Line, seen: impl FnOnce(&TcpStream) -> T) -> T {
    let (to, from) = (&*to.stream(), &*from.stream());
    thread::scope(|scope| {
        let _ends = Ends(to, from);
        scope.spawn(move || while (&mut &*from).write(&[b'x'; 64 << 10]).is_ok() {});
        seen(to)
    })
}

/// The rate at which one end gets what the other writes as fast as it can.
fn through(to: &mut Line, from: &mut Line, time: Duration) -> f64 {
    while_flooded(to, from, |to| comes(to, time))
}

/// Insists that a rate is not exceeded, and reached on a machine that has nothing else to do.
fn assert_rate(what: &str, measured: f64, asked: f64) {
    let ratio = measured / asked;
    println!("{what}: {:.3} MB/s asked, {:.3} MB/s measured, ratio {ratio:.3}", asked / 1e6, measured / 1e6);
    assert!(ratio < 1.07, "{what}: {measured:.0} bytes a second of {asked:.0}");
    let least = if std::env::var_os("SOCKD_QUIET_BENCH").is_some() { 0.93 } else { 0.0 };
    assert!(ratio > least, "{what}: {measured:.0} bytes a second of {asked:.0}");
}

#[test]
fn each_connection_has_the_rates_of_its_line_in_both_directions() {
    let rules = "permit <=1M ALL 0.0.0.0 ALL 0.0.0.0 eq 1001\npermit <=10M ALL 0.0.0.0 ALL 0.0.0.0 eq 1010\n\
        permit <=100M ALL 0.0.0.0 ALL 0.0.0.0 eq 1100\n";
    let lab = Lab::new(rules);
    for (port, rate) in [(1001, 1e6), (1010, 1e7), (1100, 1e8)] {
        let far = Far::listen_at(&lab.site.server, (SERVER, port));
        for direction in ["down", "up"] {
            let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
            let mut there = far.accept();
            let (to, from) =
                if direction == "down" { (&mut near, &mut there) } else { (&mut there, &mut near) };
            let measured = through(to, from, Duration::from_secs(4));
            assert_rate(&format!("{direction} {rate}"), measured, rate);
        }
    }
}

/// Of a connection in each direction.
fn assert_limited(what: &str, near: &mut Line, there: &mut Line) {
    assert_rate(&format!("{what}, down"), through(near, there, Duration::from_secs(2)), 1e6);
}

/// Slow towards the client; nearly unlimited the other way.
const SLOW_DOWN: &str = "permit <=1M/1G ALL 0.0.0.0\n";

#[test]
fn the_rate_holds_by_each_way_to_a_server() {
    let site = Site::new();
    let next = Far::listen_at(&site.server, (SERVER, 1080));
    let through_next = "sockd @=198.51.100.10 100.64.0.0/10\ndirect ALL 0.0.0.0\n";
    let lab = Lab::at(site, SLOW_DOWN, |start| start.upstream(through_next));
    let far = Far::listen(&lab.site.server, SERVER);

    let mut near = socks5::granted(&lab.site.client, socks5::to(1, far.v4()));
    assert_limited("SOCKS5", &mut near, &mut far.accept());

    let mut near = granted(&lab.site.client, &Request::connect_name("198.51.100.10", far.v4().port()));
    assert_limited("SOCKS4A", &mut near, &mut far.accept());

    let (mut near, bound) = ask(&lab.site.client, &Request::connect((SERVER, 21)).as_bind());
    let mut there = Line::dial(&lab.site.server, bound.address);
    assert_eq!(Reply::read(&mut near).code, GRANTED);
    assert_limited("BIND", &mut near, &mut there);

    let behind = SocketAddrV4::new([100, 64, 9, 9].into(), 80);
    let mut near = send_to(&lab.site.client, PROXY, &Request::connect(behind));
    let mut there = next.accept();
    there.read(Request::connect(behind).bytes().len());
    there.send(reply(GRANTED, behind));
    assert_eq!(Reply::read(&mut near).code, GRANTED);
    assert_limited("next server", &mut near, &mut there);
}

#[test]
fn with_recheck_on_reload_a_relay_gets_the_rate_of_the_new_rules() {
    let lab = Lab::with_settings("permit <=1M ALL 0.0.0.0\n", "(recheck_on_reload: true)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let long = Duration::from_secs(2);
    while_flooded(&mut near, &mut far.accept(), |near| {
        assert_rate("at first", comes(near, long), 1e6);
        for (line, rate) in [("permit <=3M ALL 0.0.0.0\n", 3e6), ("permit <=1M/9M ALL 0.0.0.0\n", 1e6)] {
            reload(&lab, line);
            // What had been sent before is on its way still.
            comes(near, Duration::from_secs(1));
            let measured = comes(near, long);
            assert_rate(line, measured, rate);
            assert!(measured > 0.5 * rate, "{line}: {measured}");
        }
        reload(&lab, "permit ALL 0.0.0.0\n");
        let free = comes(near, long);
        assert!(free > 6e6, "{free}: it is limited still");
    });
}

fn reload(lab: &Lab, line: &str) {
    let before = lab.logged().len();
    lab.sockd.write_conf(line);
    lab.sockd.signal(Signal::SIGHUP);
    until_true("the reload", || lab.logged().iter().skip(before).any(|line| line.contains("reloaded: ")));
}

/// Whatever it sends comes from itself: what its client and its server hear of it has the rate all the same.
#[test]
fn a_worker_in_the_hands_of_an_attacker_cannot_exceed_the_rate() {
    let hostile = env!("CARGO_BIN_EXE_hostile-worker");
    let lab = Lab::started("permit <=1M/2M ALL 0.0.0.0\n", |start| start.worker(hostile));
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()).by("floods"));
    let mut there = far.accept();
    let long = Duration::from_secs(3);
    let up = thread::scope(|scope| {
        let up = scope.spawn(|| comes(there.stream(), long));
        assert_rate("hostile, down", comes(near.stream(), long), 1e6);
        up.join().expect("the server")
    });
    assert_rate("hostile, up", up, 2e6);
}
