//! Rows 100 and 102, and the limits: numbers, times, and the losses by a worker's end.

use crate::{ASSOCIATE, Association, Echo, PORT, Place, RULES, datagram, place, place_with};
use nix::sys::signal::Signal;
use sockd_tests::identd::Identd;
use sockd_tests::line::{Ending, Line, connect_from};
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::socks5::assert_refused;
use sockd_tests::wait::until_true;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn u_100_the_oldest_flow_gives_way_to_one_more_than_there_may_be() {
    let place = place_with(RULES, "(max_flows: 2)");
    let others = [1, 2].map(|more| Echo::start(&place.lab.site.server, (SERVER, PORT + more)));
    let association = Association::new(&place.lab.site.client);
    for echo in [&place.echo, &others[0], &others[1], &place.echo] {
        association.assert_echo(echo.at, b"one");
    }
    // The first has given way to the third, and is there again in the place of the second.
    association.assert_echo(others[1].at, b"two");
}

#[test]
fn u_102_the_end_of_the_worker_ends_the_associations_of_its_host_alone() {
    let place = place();
    let mut one = Association::new(&place.lab.site.client);
    let other = Association::new(&place.lab.site.other);
    one.assert_echo(place.echo.at, b"one");
    let workers = place.lab.sockd.workers("datagram");
    other.assert_echo(place.echo.at, b"other");
    workers.iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    assert_eq!(one.control.ending(), Ending::Closed);
    other.assert_echo(place.echo.at, b"other");
    place.lab.wait_for_line("terminated -- Associate from (unknown)@192.0.2.10");
    Association::new(&place.lab.site.client).assert_echo(place.echo.at, b"again");
}

#[test]
fn one_association_more_than_a_host_may_have_is_refused() {
    let place = place_with(RULES, "(max_associations_per_host: 2)");
    let client = &place.lab.site.client;
    let held = [Association::new(client), Association::new(client)];
    assert_refused(client, ASSOCIATE, 1);
    place.lab.wait_for_line("Error: max_associations_per_host reached");
    Association::new(&place.lab.site.other).assert_echo(place.echo.at, b"one");
    drop(held);
    until_true("there is room again", || {
        place.lab.logged().iter().any(|line| line.contains("terminated -- "))
    });
    Association::new(client).assert_echo(place.echo.at, b"one");
}

#[test]
fn an_association_waits_for_the_place_of_a_worker_that_is_on_its_way_out() {
    let place = place_with(RULES, "(max_workers: 1, worker_idle: 1)");
    let client = &place.lab.site.client;
    let [first, waiting] = [(); 2].map(|()| Association::new(client));
    first.assert_echo(place.echo.at, b"first");
    let worker = place.lab.sockd.workers("datagram")[0];
    let spawner = place.lab.sockd.spawner();
    // Nothing is reaped while the spawner stands still.
    spawner.signal(Signal::SIGSTOP);
    drop(first);
    until_true("its worker ends", || !worker.runs());
    waiting.send(place.echo.at, b"waiting");
    thread::sleep(Duration::from_millis(300));
    spawner.signal(Signal::SIGCONT);
    waiting.assert_answer(place.echo.at, b"waiting");
}

#[test]
fn h9_with_isolation_user_the_next_association_from_the_same_port_has_another_worker() {
    let place = place_with(RULES, "(isolation: user)");
    let client = &place.lab.site.client;
    let associated = || {
        let dial = || connect_from((CLIENT, 4000), crate::PROXY);
        Association::over(Line::new(client.run(dial).expect("a connection")), client)
    };
    let first = associated();
    first.assert_echo(place.echo.at, b"first");
    let worker = place.lab.sockd.workers("datagram")[0];
    first.control.reset();
    place.lab.wait_for_line("terminated -- Associate from (unknown)@192.0.2.10");
    let second = associated();
    second.assert_echo(place.echo.at, b"second");
    assert!(!place.lab.sockd.workers("datagram").contains(&worker), "it has served somebody else");
}

#[test]
fn h12_a_question_for_a_flow_whose_worker_does_not_come_in_time_is_no_silence() {
    let rules = format!("permit +=udp ALL 0.0.0.0 eq {PORT}\npermit ?=i +=udp ALL 0.0.0.0\n");
    let place = place_with(&rules, "(ident_limit: 1)");
    let more = echoes(&place, 1);
    let client = &place.lab.site.client;
    let _identd = Identd::start(client, CLIENT);
    let association = Association::new(client);
    association.assert_echo(place.echo.at, b"nobody is asked");
    let spawner = place.lab.sockd.spawner();
    spawner.signal(Signal::SIGSTOP);
    association.send(more[0].at, b"the user is not known");
    place.lab.wait_for_line("missing fact: identd could not be asked");
    spawner.signal(Signal::SIGCONT);
    assert!(association.is_quiet() && more[0].senders().is_empty());
}

/// A destination of its own for each number.
fn echoes(place: &Place, number: u16) -> Vec<Echo> {
    (1..=number).map(|more| Echo::start(&place.lab.site.server, (SERVER, PORT + more))).collect()
}

#[test]
fn one_destination_more_than_a_host_may_have_is_dropped() {
    let place = place_with(RULES, "(max_flows_per_host: 2)");
    let more = echoes(&place, 1);
    let [one, two] = [(); 2].map(|()| Association::new(&place.lab.site.client));
    one.assert_echo(place.echo.at, b"one");
    two.assert_echo(place.echo.at, b"two");
    two.send(more[0].at, b"three");
    place.lab.wait_for_line("datagrams are dropped: max_flows_per_host reached by 192.0.2.10");
    assert!(two.is_quiet() && more[0].senders().is_empty());
    one.assert_echo(place.echo.at, b"the flows that are there go on");
    let other = Association::new(&place.lab.site.other);
    other.assert_echo(more[0].at, b"of another host");
    drop(one);
    place.lab.wait_for_line("terminated -- Associate from (unknown)@192.0.2.10");
    Association::new(&place.lab.site.client).assert_echo(more[0].at, b"there is room again");
}

#[test]
fn one_destination_more_than_all_hosts_may_have_is_dropped() {
    let place = place_with(RULES, "(max_flows_in_all: 2)");
    let more = echoes(&place, 2);
    let associations = [&place.lab.site.client, &place.lab.site.other].map(Association::new);
    for association in &associations {
        association.assert_echo(place.echo.at, b"one");
    }
    for (association, more) in associations.iter().zip(&more) {
        association.send(more.at, b"two");
        assert!(association.is_quiet() && more.senders().is_empty());
    }
    place.lab.wait_for_line("datagrams are dropped: max_flows_in_all reached");
    let [one, two] = associations;
    drop(one);
    place.lab.wait_for_line("terminated -- Associate from (unknown)@192.0.2.10");
    two.assert_echo(place.echo.at, b"it goes on");
    Association::new(&place.lab.site.client).assert_echo(more[0].at, b"there is room again");
}

#[test]
fn an_association_ends_when_it_is_idle_used_or_not() {
    let place = place_with(RULES, "(association_idle: 1, udp_idle: 1)");
    let mut silent = Association::new(&place.lab.site.client);
    let mut used = Association::new(&place.lab.site.client);
    used.assert_echo(place.echo.at, b"one");
    assert_eq!(silent.control.ending(), Ending::Closed);
    assert_eq!(used.control.ending(), Ending::Closed);
}

/// The 95th percentile of the times of echoes, taken as long as `goes_on` holds.
fn p95(association: &Association, echo: SocketAddr, mut goes_on: impl FnMut(usize) -> bool) -> Duration {
    let mut times = Vec::new();
    while goes_on(times.len()) {
        let begun = Instant::now();
        association.assert_echo(echo, b"of another");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[(times.len() * 95).div_ceil(100) - 1]
}

/// A client that names ever new destinations is held back, and another host hardly notices. The bound is for a machine
/// that other programs use; tests/bench/README.md has the measured times.
#[test]
fn a_flood_of_destinations_costs_nobody_else_anything() {
    let place = place();
    let flooding = Association::new(&place.lab.site.client);
    let other = Association::new(&place.lab.site.other);
    let before = p95(&other, place.echo.at, |number| number < 500);
    let during = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for number in 0..100_000_u32 {
                let [_, high, middle, low] = number.to_be_bytes();
                flooding.send_raw(&datagram(([100, 64 + high, middle, low], PORT).into(), b"flood"));
            }
        });
        p95(&other, place.echo.at, |number| number < 100 || !flood.is_finished())
    });
    println!("p95 of another host: {before:?} before, {during:?} meanwhile");
    assert!(during < before * 20 + Duration::from_millis(200), "{before:?} before, {during:?} meanwhile");
    assert_eq!(place.lab.sockd.workers("datagram").len(), 2, "nobody was killed");
}
