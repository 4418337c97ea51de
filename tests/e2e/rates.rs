//! The limits of a line on connections: their bytes a second, whatever the worker does.
//!
//! A rate is never exceeded by more than 7 %. How far it is reached depends on the machine: tests insist on that only
//! if `SOCKD_QUIET_BENCH` says that nothing else runs.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{CLIENT, SERVER, Site};
use sockd_tests::socks::{
    GRANTED, PROXY, REJECTED, Reply, Request, ask, assert_rejected, granted, is_granted, send_to,
};
use sockd_tests::socks5;
use sockd_tests::upstream::reply;
use sockd_tests::wait::{uninterrupted, until_true};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes a second that come on a connection during this time.
fn comes(mut from: &TcpStream, time: Duration) -> f64 {
    let (begun, mut buffer, mut bytes) = (Instant::now(), vec![0; 256 << 10], 0_usize);
    while begun.elapsed() < time {
        bytes += uninterrupted(|| from.read(&mut buffer)).expect("reading");
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

/// The result of `seen` at one end while the other writes as fast as it can.
fn while_flooded<T>(to: &mut Line, from: &mut Line, seen: impl FnOnce(&TcpStream) -> T) -> T {
    let (to, from) = (&*to.stream(), &*from.stream());
    thread::scope(|scope| {
        let _ends = Ends(to, from);
        scope.spawn(move || while uninterrupted(|| (&mut &*from).write(&[b'x'; 64 << 10])).is_ok() {});
        seen(to)
    })
}

/// The rate at which bytes arrive at one end while the other writes as fast as it can.
fn through(to: &mut Line, from: &mut Line, time: Duration) -> f64 {
    while_flooded(to, from, |to| comes(to, time))
}

/// Insists that a rate is not exceeded, and that it is reached on an otherwise idle machine.
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

/// Insists on the limit of a connection in each direction.
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
            // Earlier bytes are still on their way.
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

/// All that it sends is its own invention, but reaches its client and its server at the rate all the same.
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

#[test]
fn one_connection_more_than_a_line_has_room_for_is_refused_until_one_has_gone() {
    let mut lab =
        Lab::new("permit n=2 ALL 0.0.0.0 ALL 0.0.0.0 ge 1024\npermit ALL 0.0.0.0 ALL 0.0.0.0 eq 7\n");
    let servers = [2007, 7].map(|port| Server::echo(&lab.site.server, (SERVER, port)));
    let far = servers[0].address();
    let request = Request::connect((SERVER, 2007));
    let held = [granted(&lab.site.client, &request), granted(&lab.site.client, &request)];
    lab.logged_whole(2);
    lab.turn_the_page();
    assert_rejected(&lab.site.client, &request);
    let session = Session::of(CLIENT, SERVER, 2007);
    lab.assert_logged(&[session.refused(), "daemon.notice n=2 of rule 1 reached".into()]);
    socks5::assert_refused(&lab.site.client, socks5::to(1, far), 2);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 2000)).as_bind());
    // Another line and another host have room.
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(granted(&lab.site.other, &request));
    drop(held);
    until_true("there is room again", || is_granted(&lab.site.client, &request));
}

/// It closes the sockets it was lent without a word, or says that a relay has ended and goes on: no more than one is
/// alive.
#[test]
fn a_worker_in_the_hands_of_an_attacker_cannot_have_one_connection_more() {
    let hostile = env!("CARGO_BIN_EXE_hostile-worker");
    let lab = Lab::started("permit n=1 ALL 0.0.0.0\n", |start| start.worker(hostile));
    let far = Far::listen(&lab.site.server, SERVER);
    let asks = |user: &str| send_to(&lab.site.client, PROXY, &Request::connect(far.v4()).by(user));
    let mut kept = asks("closes-without-a-word");
    assert_eq!(Reply::read(&mut kept).code, GRANTED);
    let mut there = far.accept();
    for _ in 0..3 {
        assert_eq!(Reply::read(&mut asks("joe")).code, REJECTED);
    }
    assert!(there.is_quiet(), "the one that there is, is alive");
    drop(kept);
    // A client that asks while that worker is killed gets no reply.
    let asks_to_be_granted = |user: &str| is_granted(&lab.site.client, &Request::connect(far.v4()).by(user));
    until_true("it is over", || asks_to_be_granted("says-closed-and-goes-on"));
    there.read_to_end();
    let mut dead = far.accept();
    dead.read_to_end();
    until_true("there is room for another", || asks_to_be_granted("joe"));
}

#[test]
fn the_connections_of_one_host_share_a_rate_that_is_said_to_be_shared() {
    let lab = Lab::new("permit <=2M,shared ALL 0.0.0.0\n");
    let far = Far::listen(&lab.site.server, SERVER);
    let connect = |host| (granted(host, &Request::connect(far.v4())), far.accept());
    let long = Duration::from_secs(3);
    let mut four: Vec<_> = (0..4).map(|_| connect(&lab.site.client)).collect();
    let together = |ends: &mut [(Line, Line)]| -> f64 {
        thread::scope(|scope| {
            let streams = ends.iter_mut().map(|(near, there)| {
                let (near, there) = (&*near.stream(), &*there.stream());
                there.set_write_timeout(Some(Duration::from_secs(1))).expect("a write limit");
                let until = Instant::now() + long;
                scope.spawn(move || {
                    let write = || uninterrupted(|| (&mut &*there).write(&[b'x'; 16 << 10]));
                    while Instant::now() < until && write().is_ok() {}
                });
                scope.spawn(move || comes(near, long))
            });
            let readers: Vec<_> = streams.collect();
            readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
        })
    };
    let all = together(&mut four);
    assert_rate("four together", all, 2e6);
    let (mut near, mut there) = four.pop().expect("one");
    drop(four);
    let mut other = connect(&lab.site.other);
    while_flooded(&mut near, &mut there, |near| {
        // Bytes sent at the old rate are still on their way, and the monitor learns of the end of the others.
        comes(near, Duration::from_secs(2));
        let alone = comes(near, long);
        assert_rate("one alone", alone, 2e6);
        assert!(alone > 1e6, "{alone}: it has no more than before");
    });
    assert_rate("another host", through(&mut other.0, &mut other.1, long), 2e6);
}
