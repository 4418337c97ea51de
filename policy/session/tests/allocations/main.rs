//! How often one connection makes the monitor ask for memory where it decides, and where it writes its lines.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod counting;

use counting::allocations;
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
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));

fn config() -> Config {
    let services = Services::parse(b"https 443/tcp\n");
    let rules = parse_conf(b"permit 0.0.0.0 0.0.0.0\n", &services, &mut |_| Ok(Vec::new())).unwrap();
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

fn arrived(wait: u32, arrival: Arrival) -> Event {
    let mut keys = WaitKeys::default();
    let key = (1..wait).fold(keys.next_key(), |_, _| keys.next_key());
    Event::Arrived(key, arrival)
}

/// The events of a session that is permitted, from the request to the last line of the log.
fn permitted() -> [(&'static str, Event); 5] {
    let kind = AddressKind::Unicast;
    let candidate =
        Candidate { address: SERVER, kind, own_listener: false, unreachable: false, source: None };
    [
        ("request", requested()),
        ("kinds", arrived(1, Arrival::Classified(vec![candidate]))),
        ("dialled", arrived(2, Arrival::Dialled(Ok(())))),
        ("closed", Event::Closed(CloseReason::Finished)),
        ("moved", Event::RelayClosed(Moved { up: 1048, down: 285_143 })),
    ]
}

/// What each is for stands in tests/bench/README.md.
#[test]
fn a_connection_asks_for_memory_no_more_often_than_this() {
    let config = config();
    let mut session = Session::new(SocketAddr::from(([192, 0, 2, 7], 4000)), false);
    let (mut decided, mut written) = (0, 0);
    for (what, event) in permitted() {
        let (number, actions) = allocations(|| session.on(event, &config));
        let (lines, _) = allocations(|| {
            for action in &actions {
                if let Action::Record(record) = action {
                    drop(classic::lines(record));
                }
            }
        });
        println!("{what}: {number} to decide, {lines} for lines");
        (decided, written) = (decided + number, written + lines);
    }
    assert!(decided <= 19 && written <= 6, "{decided} to decide, {written} for lines");
}
