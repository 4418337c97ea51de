//! The limits that the line that permits a request puts on it.

use super::*;
use sockd_policy::Limits;
use sockd_session::limits::lines::Line;
use sockd_session::record::{Failure, Record};

/// A megabyte down, half a megabyte up.
const SLOW: Limits = Limits { down: 1_000_000, up: 500_000, ..Limits::NONE };

const SLOW_V6: &str = "permit <=1M/500K 0.0.0.0 0.0.0.0 2001:db8::/32\npermit 0.0.0.0 0.0.0.0\n";

/// The limits of a server that is handed over, or of a relay from now on.
fn limits(actions: &[Action]) -> Option<Limits> {
    actions.iter().find_map(|action| match action {
        Action::HandOff { line, .. } | Action::Limit(line) => {
            Some(line.as_ref().map_or(Limits::NONE, |line| line.limits))
        }
        _ => None,
    })
}

fn after(session: &mut Session, events: Vec<Happens>, config: &Config) -> Option<Limits> {
    let actions = events.into_iter().flat_map(|event| session.sees(event, config)).collect::<Vec<_>>();
    limits(&actions)
}

#[test]
fn a_connection_is_limited_by_the_line_that_permits_its_address() {
    let config = config(SLOW_V6);
    for (address, expected) in [("2001:db8::1", SLOW), ("203.0.113.1", Limits::NONE)] {
        let found =
            after(&mut session(), vec![connect(address, 80), unicast(address), dials(Ok(()))], &config);
        assert_eq!(found, Some(expected), "{address}");
    }
    let names = [("2001:db8::1", AddressKind::Unicast), ("203.0.113.1", AddressKind::Unicast)];
    let addresses = names.map(|(address, _)| address.parse().unwrap());
    let found = resolved(Answer::Addresses(BoundedVec::first_of(addresses)));
    let mut session = session();
    // The first address does not answer, and the second does.
    let events =
        vec![connect_to_name("www.example", 80), found, kinds(&names), dials(Err(failed("connect")))];
    assert_eq!(after(&mut session, events, &config), None);
    assert_eq!(after(&mut session, vec![kinds(&names), dials(Ok(()))], &config), Some(Limits::NONE));
}

#[test]
fn who_comes_to_the_port_of_a_bind_is_limited_by_the_line_for_that_address() {
    let config = config(SLOW_V6);
    let names = [("203.0.113.1", AddressKind::Unicast), ("2001:db8::1", AddressKind::Unicast)];
    let addresses = names.map(|(address, _)| address.parse().unwrap());
    for (peer, expected) in [("203.0.113.1:20", Limits::NONE), ("[2001:db8::1]:20", SLOW)] {
        let found = resolved(Answer::Addresses(BoundedVec::first_of(addresses)));
        let name = Destination::Name(Name::new(b"ftp.example").unwrap());
        let events = vec![
            request(Command::Bind, name, 21),
            found,
            kinds(&names),
            listens(Ok("192.0.2.1:4001".parse().unwrap())),
            accepts(Ok(peer.parse().unwrap())),
        ];
        assert_eq!(after(&mut session(), events, &config), Some(expected), "{peer}");
    }
}

#[test]
fn a_relay_goes_on_as_the_line_says_that_permits_it_after_a_reload() {
    let (free, slow) = (config("permit 0.0.0.0 0.0.0.0\n"), config("permit <=1M/500K 0.0.0.0 0.0.0.0\n"));
    let mut session = session();
    let events = vec![connect("203.0.113.1", 80), unicast("203.0.113.1"), dials(Ok(()))];
    assert_eq!(after(&mut session, events, &free), Some(Limits::NONE));
    assert_eq!(after(&mut session, vec![RECHECK], &slow), Some(SLOW));
    assert_eq!(after(&mut session, vec![RECHECK], &slow), Some(SLOW));
    assert_eq!(after(&mut session, vec![RECHECK], &free), Some(Limits::NONE));
}

#[test]
fn what_a_reload_limits_holds_for_connections_that_are_on_their_way() {
    let (free, slow) = (config("permit 0.0.0.0 0.0.0.0\n"), config("permit <=1M/500K 0.0.0.0 0.0.0.0\n"));
    for (before, behind, expected) in [(&free, &slow, SLOW), (&slow, &free, Limits::NONE)] {
        let mut session = session();
        assert_eq!(
            after(&mut session, vec![connect("203.0.113.1", 80), unicast("203.0.113.1")], before),
            None
        );
        assert_eq!(after(&mut session, vec![RECHECK, dials(Ok(()))], behind), Some(expected));
    }
}

/// The line that is asked whether it has room, if any.
fn counts(actions: &[Action]) -> Option<&Line> {
    actions.iter().find_map(|action| match action {
        Action::Begin(_, Task::Count(line)) => Some(&**line),
        _ => None,
    })
}

#[test]
fn a_line_for_so_many_connections_is_asked_for_room_before_anything_is_dialled() {
    let config = config("deny 203.0.113.0/24\npermit n=2 0.0.0.0 0.0.0.0 : echo\n");
    let mut session = session();
    session.sees(connect("203.0.113.1", 23), &config);
    let actions = session.sees(unicast("203.0.113.1"), &config);
    let line = counts(&actions).unwrap();
    assert_eq!((line.rule, line.limits.connections, line.host.to_string()), (2, 2, "192.0.2.7".into()));
    assert_eq!(line.user, None, "whom SOCKS4 claims is nobody");
    assert_eq!(dialled(&actions), None);
    // The kind of the address is looked up again.
    let actions = session.sees(Arrival::Counted, &config);
    assert_eq!((dialled(&actions), counts(&actions)), (None, None));
    let actions = session.sees(unicast("203.0.113.1"), &config);
    assert!(dialled(&actions).is_some() && actions.iter().any(|action| matches!(action, Action::Run(..))));
    assert_eq!(limits(&session.sees(dials(Ok(())), &config)).map(|limits| limits.connections), Some(2));
}

#[test]
fn a_line_that_is_full_refuses_with_a_line_in_the_log_and_runs_no_command() {
    let config = config("permit n=2 0.0.0.0 0.0.0.0 : echo\npermit 0.0.0.0 0.0.0.0\n");
    for (request, address) in
        [(connect("203.0.113.1", 23), "203.0.113.1"), (bind("203.0.113.1"), "203.0.113.1")]
    {
        let mut session = session();
        session.sees(request, &config);
        session.sees(unicast(address), &config);
        let actions = session.sees(no_room(Limit::LINE), &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
        assert!(
            !actions.iter().any(|action| matches!(action, Action::Run(..) | Action::Begin(..))),
            "{actions:?}"
        );
        let Some(Action::Record(record)) = actions.first() else { panic!("{actions:?}") };
        let Record::Refused { why, .. } = &**record else { panic!("{record:?}") };
        assert_eq!(*why, Failure::Full { rule: 1, limit: 2 });
        let lines = lines(&actions);
        assert!(lines[0].starts_with("refused -- ") && lines[1] == "n=2 of rule 1 reached", "{lines:?}");
    }
}

#[test]
fn another_address_is_counted_by_the_line_for_that_one() {
    let config = config("permit n=2 0.0.0.0 0.0.0.0 2001:db8::/32\npermit n=5 0.0.0.0 0.0.0.0\n");
    let names = [("2001:db8::1", AddressKind::Unicast), ("203.0.113.1", AddressKind::Unicast)];
    let addresses = names.map(|(address, _)| address.parse().unwrap());
    let mut session = session();
    session.sees(connect_to_name("www.example", 80), &config);
    session.sees(resolved(Answer::Addresses(BoundedVec::first_of(addresses))), &config);
    assert_eq!(counts(&session.sees(kinds(&names), &config)).map(|line| line.rule), Some(1));
    session.sees(Arrival::Counted, &config);
    assert!(dialled(&session.sees(kinds(&names), &config)).is_some());
    let actions = session.sees(dials(Err(failed("connect"))), &config);
    assert_eq!(counts(&actions).map(|line| line.rule), Some(2));
    session.sees(Arrival::Counted, &config);
    assert!(dialled(&session.sees(kinds(&names), &config)).is_some());
    assert_eq!(limits(&session.sees(dials(Ok(())), &config)).map(|limits| limits.connections), Some(5));
}
