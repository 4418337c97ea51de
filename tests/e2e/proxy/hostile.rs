//! Floods of connections without headers: from strangers, and from a balancer that has been taken over.

use super::*;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{CHOSEN, GREETING};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// Clients that are served while a flood goes on.
const SERVED: usize = 200;

/// Connections that a flood has to have made before it may end.
const FLOOD: usize = 5_000;

/// Connects from `host` as often as it can, with these bytes, until told to stop; keeps the last connections open.
fn flood(host: &sockd_tests::host::Host, bytes: &[u8], ending: &AtomicBool, made: &AtomicUsize) {
    host.run(|| {
        let mut kept = std::collections::VecDeque::new();
        while !ending.load(Ordering::Relaxed) {
            let Ok(mut stream) = std::net::TcpStream::connect(SocketAddr::from(BALANCED)) else { continue };
            let _ = std::io::Write::write_all(&mut stream, bytes);
            made.fetch_add(1, Ordering::Relaxed);
            kept.push_back(stream);
            if kept.len() > 400 {
                kept.pop_front();
            }
        }
    });
}

fn serves_under(from_balancer: bool, bytes: &[u8]) {
    let lab = lab(PERMIT_ALL, "max_requests_per_host: 200");
    let begun = Instant::now();
    let (ending, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let host = if from_balancer { &lab.site.client } else { &lab.site.other };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(host, bytes, &ending, &made));
        }
        for number in 0.. {
            if number >= SERVED && made.load(Ordering::Relaxed) >= FLOOD {
                break;
            }
            let client = format!("10.7.{}.7:1", number % 200);
            let mut line = balanced(&lab, [&of(&client)[..], &GREETING].concat());
            assert_eq!(line.read(2), CHOSEN, "client {number}");
        }
        ending.store(true, Ordering::Relaxed);
    });
    // The log has one or two lines a minute, and not one for each.
    let closed = lab.logged().iter().filter(|line| line.contains("are closed: ")).count();
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).expect("minutes");
    assert!((1..=2 * (2 + minutes)).contains(&closed), "{:?}", lab.logged());
}

#[test]
fn a_flood_of_strangers_keeps_no_client_of_the_balancer_waiting() {
    serves_under(false, &GREETING);
}

#[test]
fn a_flood_of_half_headers_from_the_balancers_own_address_keeps_no_client_waiting() {
    serves_under(true, &of(FAR_CLIENT)[..20]);
}

#[test]
fn a_flood_without_headers_from_the_balancers_own_address_keeps_no_client_waiting() {
    serves_under(true, &GREETING);
}

#[test]
fn a_flood_of_health_checks_keeps_no_client_waiting() {
    let lab = lab(PERMIT_ALL, "max_requests_per_host: 50");
    let check = [&v2(LOCAL, 0, b"")[..], &GREETING].concat();
    // They stay until the oldest give way, as the unfinished requests of any host do.
    let checks: Vec<_> = (0..500).map(|_| balanced(&lab, &check)).collect();
    for number in 0..50 {
        let mut line = balanced(&lab, [&of(&format!("10.7.8.{number}:1"))[..], &GREETING].concat());
        assert_eq!(line.read(2), CHOSEN, "client {number}");
    }
    lab.wait_for_line("unfinished requests are closed: max_requests_per_host reached by 192.0.2.10");
    drop(checks);
}
