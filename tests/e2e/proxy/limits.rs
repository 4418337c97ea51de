//! Limits count for the client behind the header, or for the balancer that has sent none.

use super::*;
use sockd_tests::far::Server;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks5::{CHOSEN, CONNECT, GRANTED, GREETING, to};

fn greets(lab: &Lab, client: &str) -> Line {
    let mut line = balanced(lab, [&of(client)[..], &GREETING].concat());
    assert_eq!(line.read(2), CHOSEN);
    line
}

#[test]
fn each_client_behind_a_balancer_has_its_own_number_of_sessions() {
    let lab = lab(PERMIT_ALL, "max_sessions_per_host: 2");
    let _held: Vec<_> = ["10.7.7.7:1", "10.7.7.7:2"].map(|client| greets(&lab, client)).into();
    let mut third = balanced(&lab, [&of("[::ffff:10.7.7.7]:3")[..], &GREETING].concat());
    assert_eq!(third.read_some(1), b"");
    lab.wait_for_line("clients are turned away: max_sessions_per_host reached by 10.7.7.7");
    // Other clients, and the balancer's own checks, are not affected.
    let _others: Vec<_> = ["10.7.7.8:1", "10.7.7.9:1"].map(|client| greets(&lab, client)).into();
    for _ in 0..5 {
        let mut check = balanced(&lab, [&v2(LOCAL, 0, b"")[..], &GREETING].concat());
        assert_eq!(check.read(2), CHOSEN);
    }
}

#[test]
fn the_rate_of_a_client_behind_a_balancer_is_its_own() {
    let lab = lab(PERMIT_ALL, "connection_rate: 1, connection_burst: 2");
    let _held: Vec<_> = ["10.7.7.7:1", "10.7.7.7:2"].map(|client| greets(&lab, client)).into();
    let beyond: Vec<_> = (3..9)
        .map(|port| balanced(&lab, [&of(&format!("10.7.7.7:{port}"))[..], &GREETING].concat()))
        .collect();
    lab.wait_for_line("clients are turned away: connection_rate reached, by 10.7.7.7");
    drop(beyond);
    for number in 1..20 {
        greets(&lab, &format!("10.7.8.{number}:1"));
        let mut check = balanced(&lab, [&v2(LOCAL, 0, b"")[..], &GREETING].concat());
        assert_eq!(check.read(2), CHOSEN);
    }
}

#[test]
fn each_client_behind_a_balancer_has_a_worker_of_its_own() {
    let lab = lab(PERMIT_ALL, "");
    let _lines = ["10.7.7.7:1", "10.7.7.7:2", "10.7.7.8:1"].map(|client| greets(&lab, client));
    let workers = lab.sockd.workers("session");
    let holding = |process: &sockd_tests::procfs::Process| {
        process.descriptors().values().filter(|target| target.starts_with("socket:")).count()
    };
    let mut held: Vec<usize> = workers.iter().map(holding).collect();
    held.sort_unstable();
    // One worker has the two sockets of a client, another the one of the other, besides the channel that each has.
    assert!(held.ends_with(&[2, 3]), "{held:?}");
}

#[test]
fn rules_see_the_client_and_not_the_balancer() {
    let mut lab = lab("deny 10.7.7.8/32\npermit 10.7.7.0/24\n", "");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for (client, reply) in [
        (FAR_CLIENT, GRANTED),
        ("10.7.7.8:1", sockd_tests::socks5::refusal(2)),
        ("10.8.8.8:1", sockd_tests::socks5::refusal(2)),
    ] {
        let mut line = greets(&lab, client);
        line.send(to(CONNECT, echo()));
        assert_eq!(line.read(10), reply, "{client}");
        drop(line);
        let address = client.split(':').next().expect("an address");
        let line = lab.wait_for_line(&format!("@{address} to "));
        assert!(!line.contains("192.0.2.10 "), "{line}");
        lab.turn_the_page();
    }
}

#[test]
fn connections_that_wait_for_their_headers_are_the_balancers_and_have_no_place_beyond_its_limit() {
    let lab = lab(PERMIT_ALL, "max_requests_per_host: 4");
    let waiting: Vec<_> = (0..4).map(|_| balanced(&lab, &of(FAR_CLIENT)[..9])).collect();
    // They certainly wait once one more finds no place.
    let mut fifth = balanced(&lab, &of(FAR_CLIENT)[..9]);
    assert_eq!(fifth.read_some(1), b"");
    lab.wait_for_line("connections of 192.0.2.10 are closed: too many wait for their PROXY headers");
    // A client whose header comes at once needs no such place.
    drop(greets(&lab, FAR_CLIENT));
    drop(waiting);
}
