//! A session that is permitted, event by event.

#[path = "../session/config.rs"]
mod in_force;

use sockd_common::message::UserId;
use sockd_common::message::request::{Command, Destination, Request};
use sockd_common::message::session::CloseReason;
use sockd_policy::guard::AddressKind;
use sockd_session::config::Config;
use sockd_session::flow::Moved;
use sockd_session::session::{Arrival, Candidate, Event, Session};
use sockd_session::waits::WaitKeys;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));

/// A configuration with this many lines, the last of which permits everything.
pub(crate) fn config(lines: u32) -> Config {
    let mut rules = String::new();
    for number in 1..lines {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(rules, "deny 10.{a}.{b}.{c} 255.255.255.255").unwrap();
    }
    rules.push_str("permit 0.0.0.0 0.0.0.0\n");
    in_force::config(&rules)
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

/// The arrival for the session's first wait, second wait and so on.
fn arrived(wait: u32, arrival: Arrival) -> Event {
    let mut keys = WaitKeys::default();
    let key = (1..wait).fold(keys.next_key(), |_, _| keys.next_key());
    Event::Arrived(key, arrival)
}

/// The session, and its events from the request to the last line of the log.
pub(crate) fn permitted() -> (Session, [Event; 5]) {
    let client = SocketAddr::from(([192, 0, 2, 7], 4000));
    let moved = Event::RelayClosed(Moved { up: 1048, down: 285_143 });
    let dialled = arrived(2, Arrival::Dialled(Ok(())));
    let closed = Event::Closed(CloseReason::Finished);
    (Session::new(client, false), [requested(), unicast(), dialled, closed, moved])
}
