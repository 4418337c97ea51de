//! Rows 100 and 102, and the limits: how many, how long, and what a worker's end takes with it.

use crate::{ASSOCIATE, Association, Echo, PORT, RULES, datagram, place, place_with};
use nix::sys::signal::Signal;
use sockd_tests::line::Ending;
use sockd_tests::site::SERVER;
use sockd_tests::socks5::assert_refused;
use sockd_tests::wait::until_true;
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
fn an_association_ends_when_it_is_idle_used_or_not() {
    let place = place_with(RULES, "(association_idle: 1, udp_idle: 1)");
    let mut silent = Association::new(&place.lab.site.client);
    let mut used = Association::new(&place.lab.site.client);
    used.assert_echo(place.echo.at, b"one");
    assert_eq!(silent.control.ending(), Ending::Closed);
    assert_eq!(used.control.ending(), Ending::Closed);
}

/// A client that names ever new destinations is held, and another host does not notice.
#[test]
fn a_flood_of_destinations_costs_nobody_else_anything() {
    let place = place();
    let flood = Association::new(&place.lab.site.client);
    let other = Association::new(&place.lab.site.other);
    other.assert_echo(place.echo.at, b"before");
    for number in 0..100_000_u32 {
        let [_, high, middle, low] = number.to_be_bytes();
        flood.send_raw(&datagram(([100, 64 + high, middle, low], PORT).into(), b"flood"));
        if number % 10_000 == 0 {
            let begun = Instant::now();
            other.assert_echo(place.echo.at, b"meanwhile");
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
    }
    assert_eq!(place.lab.sockd.workers("datagram").len(), 2, "nobody was killed");
}
