//! Hostile or broken programs that may look or give orders: the daemon serves on, and nothing else can be reached.

use super::{CONTROL, STATUS, lab, ledger};
use nix::sys::signal::Signal;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use sockd_common::ledger::Field;
use sockd_common::status::{Answer, ORDER, Order};
use sockd_policy_tools::ctl::control::Control;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::site::SERVER;
use sockd_tests::sockd::{PERMIT_ALL, install_at, program};
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::until_true;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A connection to a socket of the daemon.
fn reach(host: &Host, path: &str) -> OwnedFd {
    let reached = host.run(|| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok::<_, rustix::io::Errno>(socket)
    });
    reached.expect("a connection")
}

/// Clients are served as before.
fn assert_serves(lab: &Lab) {
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    line.send("x");
    assert_eq!(line.read(1), b"x");
}

#[test]
fn a_thousand_readers_keep_the_memory_and_cost_the_monitor_nothing() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let before = lab.sockd.monitor().descriptors().len();
    let readers: Vec<_> = (0..1000).map(|_| ledger(gateway)).collect();
    assert_serves(&lab);
    until_true("every reader sees it", || readers.iter().all(|reader| reader.places() == (0..1)));
    // Connections that were closed are forgotten as others come.
    until_true("their connections are closed", || {
        drop(ledger(gateway));
        lab.sockd.monitor().descriptors().len() <= before + 8
    });
    lab.sockd.signal(Signal::SIGKILL);
    assert!(readers.iter().all(|reader| reader.head(Field::Capacity) > 0), "the memory outlives the monitor");
}

#[test]
fn who_takes_no_gift_and_does_not_close_holds_up_nobody_but_its_own_user() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    // Connections that neither read nor close; some write unwanted bytes.
    let held: Vec<OwnedFd> = (0..100).map(|_| reach(gateway, STATUS)).collect();
    for socket in &held {
        let _ = send(socket, &[b'x'; 512], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
    let place = "/run/sockdctl";
    install_at(gateway, &program("sockdctl"), place);
    let looked = gateway.output(super::as_user(true, Path::new(place)).arg("list"));
    assert!(looked.status.success(), "{looked:?}");
    assert_serves(&lab);
    let open = lab.sockd.monitor().descriptors().len();
    assert!(open < 100, "{open} descriptors");
    drop(held);
    drop(ledger(gateway));
}

#[test]
fn a_flood_of_connections_does_not_keep_clients_waiting() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    for _ in 0..3000 {
        drop(reach(gateway, STATUS));
        drop(reach(gateway, CONTROL));
    }
    assert_serves(&lab);
    drop(ledger(gateway));
}

#[test]
fn what_is_no_order_is_closed_and_nothing_happens() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let order = Order::Drain.encode();
    let mut wrong: Vec<Vec<u8>> = vec![
        order[..ORDER - 1].to_vec(),
        [&order[..], &[0]].concat(),
        [&order[..], &order[..]].concat(),
        vec![0; ORDER],
        vec![0xff; 4096],
        b"drain\n".to_vec(),
    ];
    // An unknown kind, and a drain that names a session.
    wrong.extend([(8, 9), (12, 1), (16, 1)].map(|(at, value)| {
        let mut changed = order.to_vec();
        changed[at] = value;
        changed
    }));
    for packet in wrong {
        let socket = reach(gateway, CONTROL);
        send(&socket, &packet, SendFlags::NOSIGNAL).expect("sending");
        let mut answer = [0; 64];
        let closed = recv(&socket, &mut answer, RecvFlags::empty()).map_or(0, |(length, _)| length);
        assert_eq!(closed, 0, "{packet:?}");
    }
    lab.wait_for_line("what uid 0 says on the control socket is no order");
    assert_eq!(ledger(gateway).head(Field::Draining), 0);
    assert_serves(&lab);
}

#[test]
fn an_order_reaches_nothing_but_a_session_that_goes_on() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let seen = ledger(gateway);
    until_true("a record", || seen.at(0).entry().is_some());
    let number = seen.at(0).entry().expect("a record").number;
    let control = gateway.run(|| Control::connect(Path::new(CONTROL))).expect("a connection");
    for (place, other) in [
        (0, number.wrapping_add(1)),
        (0, number.wrapping_sub(1)),
        (0, u64::MAX),
        (1, number),
        (u32::MAX, number),
        (u32::MAX - 1, number),
        (65_535, 0),
    ] {
        let answer = control.order(Order::Kill { place, number: other }).expect("an answer");
        assert_eq!(answer, Answer::NoSession, "{place} {other}");
    }
    line.send("x");
    assert_eq!(line.read(1), b"x", "it goes on");
    let kill = Order::Kill { place: 0, number };
    assert_eq!(control.order(kill).expect("an answer"), Answer::Done);
    line.ending();
    until_true("it is over", || seen.head(Field::Live) == 0);
    assert_eq!(control.order(kill).expect("an answer"), Answer::NoSession, "its place may be another's");
}

#[test]
fn who_says_nothing_or_fetches_no_answer_does_not_hold_up_clients() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let silent: Vec<OwnedFd> = (0..60).map(|_| reach(gateway, CONTROL)).collect();
    assert_serves(&lab);
    assert!(lab.sockd.monitor().descriptors().len() < 100);
    drop(silent);
    let deaf = reach(gateway, CONTROL);
    let order = Order::Kill { place: 7, number: 7 }.encode();
    let sent = (0..100_000).take_while(|_| send(&deaf, &order, SendFlags::NOSIGNAL).is_ok()).count();
    assert!(sent < 100_000, "it is closed");
    assert_serves(&lab);
}
