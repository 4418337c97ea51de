//! The cost of what the monitor decides about one session, without a system call: `cargo bench -p sockd-session`.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use divan::Bencher;
use sockd_common::message::UserId;
use sockd_common::message::request::{Command, Destination, Request};
use sockd_common::message::session::CloseReason;
use sockd_policy::guard::AddressKind;
use sockd_policy::{IdentMode, Services, parse_conf};
use sockd_session::config::Config;
use sockd_session::flow::Moved;
use sockd_session::log::classic;
use sockd_session::session::{Action, Arrival, Candidate, Event, Session};
use sockd_session::settings::Settings;
use sockd_session::waits::WaitKeys;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

fn main() {
    divan::main();
}

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));

/// So many lines, of which the last permits everything.
fn config(lines: u32) -> Config {
    let mut rules = String::new();
    for number in 1..lines {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(rules, "deny 10.{a}.{b}.{c} 255.255.255.255").unwrap();
    }
    rules.push_str("permit 0.0.0.0 0.0.0.0\n");
    let services = Services::parse(b"https 443/tcp\n");
    let rules = parse_conf(rules.as_bytes(), &services, &mut |_| Ok(Vec::new())).unwrap();
    Config {
        rules,
        routes: None,
        upstreams: None,
        services,
        settings: Settings::default(),
        ident_default: IdentMode::Off,
    }
}

fn requested() -> Event {
    let user = UserId::new(b"joe").unwrap();
    let destination = Destination::Address(SERVER);
    Event::Requested(Request { version: 4, command: Command::Connect, destination, port: 443, user })
}

fn unicast() -> Event {
    let kind = AddressKind::Unicast;
    let candidate =
        Candidate { address: SERVER, kind, own_listener: false, unreachable: false, source: None };
    arrived(1, Arrival::Classified(vec![candidate]))
}

/// What the session waits for first, second and so on.
fn arrived(wait: u32, arrival: Arrival) -> Event {
    let mut keys = WaitKeys::default();
    let key = (1..wait).fold(keys.next_key(), |_, _| keys.next_key());
    Event::Arrived(key, arrival)
}

fn closed() -> Event {
    Event::Closed(CloseReason::Finished)
}

/// The events of a session that is permitted, from the request to the last line of the log.
fn permitted() -> (Session, [Event; 5]) {
    let client = SocketAddr::from(([192, 0, 2, 7], 4000));
    let moved = Event::RelayClosed(Moved { up: 1048, down: 285_143 });
    let dialled = arrived(2, Arrival::Dialled(Ok(())));
    (Session::new(client, false), [requested(), unicast(), dialled, closed(), moved])
}

/// What the monitor makes of a record.
fn write(action: &Action) {
    if let Action::Record(record) = action {
        divan::black_box(classic::lines(record));
    }
}

#[divan::bench(args = [1, 1000, 100_000])]
fn a_permitted_connect(bencher: Bencher, lines: u32) {
    let config = config(lines);
    bencher.with_inputs(permitted).bench_local_values(|(mut session, events)| {
        let actions = events.map(|event| session.on(event, &config));
        actions.iter().flatten().for_each(write);
        assert_eq!(actions.last().and_then(|actions| actions.last()), Some(&Action::Remove));
    });
}

#[divan::bench]
fn the_decision_alone(bencher: Bencher) {
    let config = config(1000);
    let asked = || {
        let (mut session, [requested, unicast, ..]) = permitted();
        session.on(requested, &config);
        (session, unicast)
    };
    bencher.with_inputs(asked).bench_local_values(|(mut session, unicast)| session.on(unicast, &config));
}
