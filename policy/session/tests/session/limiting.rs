//! What the line that permits a request limits of it.

use super::*;

/// A megabyte down, half of one up.
const SLOW: Limits = Limits { down: 1_000_000, up: 500_000 };

const SLOW_V6: &str = "permit <=1M/500K 0.0.0.0 0.0.0.0 2001:db8::/32\npermit 0.0.0.0 0.0.0.0\n";

/// What is limited of a server that is handed over, or of a relay from now on.
fn limits(actions: &[Action]) -> Option<Limits> {
    actions.iter().find_map(|action| match action {
        Action::HandOff { limits, .. } | Action::Limit(limits) => Some(*limits),
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
    // The first address answers not, and the second does.
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
