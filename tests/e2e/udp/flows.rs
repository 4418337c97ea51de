//! Rows 94 to 96, 98, 99 and 101: destinations, and the ends of flows and associations.

use crate::{Association, Echo, PORT, RULES, place, place_started, place_with};
use nix::sys::signal::Signal;
use sockd_tests::line::Ending;
use sockd_tests::site::{OUTSIDE, SECOND_SERVER, SERVER};
use sockd_tests::wait::{uninterrupted, until_true};
use std::io::ErrorKind;

#[test]
fn u_94_a_closed_port_ends_nothing() {
    let place = place();
    let association = Association::new(&place.lab.site.client);
    for _ in 0..3 {
        association.send((SERVER, 1), b"nobody");
    }
    association.assert_echo(place.echo.at, b"one");
    assert!(association.control.is_quiet());
}

#[test]
fn u_95_a_denied_destination_is_dropped_and_logged_once() {
    let mut place = place();
    let association = Association::new(&place.lab.site.client);
    place.lab.wait_for_line("connected -- Associate from (unknown)@192.0.2.10");
    place.lab.turn_the_page();
    for _ in 0..20 {
        association.send((SERVER, 8081), b"denied");
    }
    association.assert_echo(place.echo.at, b"one");
    let line = "daemon.notice refused -- Udp from (unknown)@192.0.2.10 to 198.51.100.10 (8081)";
    place.lab.assert_logged(&[line.replace("(8081)", "(tproxy)").to_owned()]);
}

#[test]
fn u_95_guards_hold_for_datagrams_as_well() {
    let place = place();
    let inside = Echo::start(&place.lab.site.gateway, ([127, 0, 0, 1], PORT));
    let own = Echo::start(&place.lab.site.gateway, (OUTSIDE, PORT));
    let association = Association::new(&place.lab.site.client);
    for to in [inside.at, own.at, ([255, 255, 255, 255], PORT).into(), ([224, 0, 0, 1], PORT).into()] {
        association.send(to, b"guarded");
    }
    association.send((SERVER, 0), b"port 0");
    association.send(([0, 0, 0, 0], PORT), b"this host");
    association.assert_echo(place.echo.at, b"one");
    assert!(inside.senders().is_empty() && own.senders().is_empty());
    place.lab.wait_for_line("guarded destination: ");
}

#[test]
fn u_95_what_a_line_leads_through_a_next_server_is_dropped_and_logged() {
    let upstream = "sockd @=198.51.100.10:1081 203.0.113.0/24\ndirect ALL 0.0.0.0\n";
    let place = place_started(RULES, |start| start.upstream(upstream));
    let behind = Echo::start(&place.lab.site.server, (SECOND_SERVER, PORT));
    let association = Association::new(&place.lab.site.client);
    association.send(behind.at, b"behind a next server");
    place.lab.wait_for_line("Error: datagrams do not go through next servers");
    association.assert_echo(place.echo.at, b"direct");
    assert!(behind.senders().is_empty());
}

#[test]
fn u_96_all_destinations_see_one_port() {
    let place = place();
    let second = Echo::start(&place.lab.site.server, (SECOND_SERVER, PORT));
    let third = Echo::start(&place.lab.site.server, (SERVER, PORT + 1));
    let association = Association::new(&place.lab.site.client);
    for echo in [&place.echo, &second, &third] {
        association.assert_echo(echo.at, b"one");
    }
    let ports = [&place.echo, &second, &third].map(|echo| echo.senders()[0].port());
    assert_eq!(ports, [ports[0]; 3]);
    let other = Association::new(&place.lab.site.client);
    other.assert_echo(place.echo.at, b"two");
    assert_ne!(place.echo.senders()[1].port(), ports[0], "another association has another one");
}

#[test]
fn u_98_the_end_of_the_connection_ends_the_association() {
    for resets in [false, true] {
        let place = place();
        let Association { mut control, at, socket } = Association::new(&place.lab.site.client);
        let association = Association {
            control: sockd_tests::line::Line::dial(&place.lab.site.client, crate::PROXY),
            at,
            socket,
        };
        association.assert_echo(place.echo.at, b"four");
        let worker = place.lab.sockd.workers("datagram");
        assert_eq!(worker.len(), 1);
        match resets {
            true => control.reset(),
            false => control.half_close(),
        }
        association.socket.connect(at).expect("an address");
        until_true("the port is closed", || {
            let _ = association.socket.send(b"x");
            association.socket.set_read_timeout(Some(crate::MOMENT)).expect("a limit");
            matches!(uninterrupted(|| association.socket.recv(&mut [0])), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
        });
        drop(association);
        let lines = place.lab.logged_whole(3);
        for line in [
            "daemon.notice connected -- Associate from (unknown)@192.0.2.10",
            "daemon.notice terminated -- Associate from (unknown)@192.0.2.10",
            "daemon.notice 4 bytes from 192.0.2.10, 4 bytes for it",
        ] {
            assert!(lines.iter().any(|logged| logged == line), "{line} in {lines:#?}");
        }
    }
}

#[test]
fn u_98_the_port_of_peers_is_closed_with_the_association() {
    let place = place();
    let mut association = Association::new(&place.lab.site.client);
    association.assert_echo(place.echo.at, b"one");
    let outer = place.echo.senders()[0];
    association.control.half_close();
    assert_eq!(association.control.ending(), Ending::Closed);
    let peer = crate::bound_to(&place.lab.site.server, (SERVER, PORT + 1).into());
    peer.connect(outer).expect("an address");
    until_true("the port is closed", || {
        let _ = peer.send(b"x");
        peer.set_read_timeout(Some(crate::MOMENT)).expect("a limit");
        matches!(uninterrupted(|| peer.recv(&mut [0])), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
    });
}

#[test]
fn u_99_bytes_on_the_connection_are_ignored_and_too_many_end_it() {
    let place = place();
    let mut association = Association::new(&place.lab.site.client);
    association.control.send("hello");
    association.assert_echo(place.echo.at, b"one");
    association.control.send([0; 4000]);
    association.assert_echo(place.echo.at, b"two");
    association.control.send([0; 100]);
    let _closed_or_reset = association.control.ending();
}

#[test]
fn u_101_new_rules_end_the_flows_that_they_deny_and_no_others() {
    let place = place_with(crate::RULES, "(recheck_on_reload: true)");
    let second = Echo::start(&place.lab.site.server, (SERVER, PORT + 1));
    let association = Association::new(&place.lab.site.client);
    association.assert_echo(place.echo.at, b"one");
    association.assert_echo(second.at, b"two");
    place.lab.sockd.write_conf(&format!("deny ALL 0.0.0.0 ALL 0.0.0.0 eq {PORT}\n{}", crate::RULES));
    place.lab.sockd.signal(Signal::SIGHUP);
    place.lab.wait_for_line("refused -- Udp from (unknown)@192.0.2.10 to 198.51.100.10 (9999)");
    association.send(place.echo.at, b"three");
    association.assert_echo(second.at, b"four");
    assert_eq!(place.echo.senders().len(), 1);
    // Without any line for UDP the association itself is refused.
    place.lab.sockd.write_conf("permit ALL 0.0.0.0\n");
    place.lab.sockd.signal(Signal::SIGHUP);
    let Association { mut control, .. } = association;
    assert_eq!(control.ending(), Ending::Closed);
}
