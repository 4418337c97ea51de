//! Several addresses of one name: tried a moment after each other, decided on one by one, within one limit.

use super::*;
use sockd_session::record::Record;
use sockd_session::session::Wait;
use std::time::Duration;

const V6: &str = "2001:db8::1";
const V4: &str = "203.0.113.1";
const OTHER: &str = "203.0.113.2";
const TICK: Duration = Duration::from_millis(250);

/// A CONNECT to a name with these addresses, up to the first dial.
fn to_name(session: &mut Session, addresses: &[&str], config: &Config) -> Vec<Action> {
    let parsed = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
    let found = resolved(Answer::Addresses(BoundedVec::first_of(parsed)));
    let known: Vec<_> = addresses.iter().map(|address| (*address, AddressKind::Unicast)).collect();
    after(session, vec![connect_to_name("www.example", 80), found, kinds(&known)], config)
}

/// The actions after this result of the attempt with the address in this place.
fn comes(session: &mut Session, place: u8, result: Result<(), FailedCall>, config: &Config) -> Vec<Action> {
    let key = session.waits().find(|(_, wait)| *wait == Wait::Connection(place)).unwrap().0;
    unchanged(session, Event::Arrived(key, Arrival::Dialled(result)), config)
}

/// The actions after an event, given that another look finds the addresses to be those of other hosts still.
fn unchanged(session: &mut Session, happens: impl Into<Happens>, config: &Config) -> Vec<Action> {
    let mut actions = session.sees(happens, config);
    let asked = actions.iter().find_map(|action| match action {
        Action::Begin(_, Task::Classify(addresses, 80)) => Some(addresses.clone()),
        _ => None,
    });
    if let Some(asked) = asked {
        let known: Vec<_> = asked.iter().map(ToString::to_string).collect();
        let known: Vec<_> = known.iter().map(|address| (address.as_str(), AddressKind::Unicast)).collect();
        actions.extend(session.sees(kinds(&known), config));
    }
    actions
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(text.parse().unwrap(), 80))
}

fn deadline(actions: &[Action]) -> Option<Duration> {
    actions.iter().rev().find_map(|action| match action {
        Action::Deadline(limit) => *limit,
        _ => None,
    })
}

fn gives_up(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::GiveUp(_))).count()
}

/// The destination of the connection that is handed over, and the line that permits it.
fn connected(actions: &[Action]) -> Option<(IpAddr, Option<u32>)> {
    assert!(actions.iter().any(|action| matches!(action, Action::HandOff { .. })), "{actions:?}");
    actions.iter().find_map(|action| match action {
        Action::Record(record) => match &**record {
            Record::Connected(parties) => Some((parties.destination?, parties.rule)),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn the_next_address_is_tried_after_a_moment_and_the_first_connection_that_stands_wins() {
    let config = config("permit 0.0.0.0 0.0.0.0 2001:db8::/32\npermit 0.0.0.0 0.0.0.0\n");
    for (winner, expected) in [(0, (V6, 1)), (1, (V4, 2))] {
        let mut session = session();
        let actions = to_name(&mut session, &[V6, V4], &config);
        assert_eq!((dialled(&actions), deadline(&actions)), (address(V6), Some(TICK)));
        let actions = unchanged(&mut session, DEADLINE, &config);
        assert_eq!((dialled(&actions), gives_up(&actions)), (address(V4), 0));
        assert_eq!(session.waits().count(), 2, "both are under way");
        let actions = comes(&mut session, winner, Ok(()), &config);
        assert_eq!(connected(&actions), Some((expected.0.parse().unwrap(), Some(expected.1))));
        assert!(session.is_relaying() && session.waits().next().is_none());
    }
}

#[test]
fn a_family_without_a_route_comes_last_and_says_least() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let candidate = |(address, source): (&str, &str)| Candidate {
        source: source.parse().ok(),
        ..candidates(&[(address, AddressKind::Unicast)])[0]
    };
    for (sources, order) in [
        (["198.51.100.1", "2001:db8::9"], [V6, V4]),
        (["198.51.100.1", ""], [V4, V6]),
        (["", "2001:db8::9"], [V6, V4]),
    ] {
        let known = [(V4, sources[0]), (V6, sources[1])].map(candidate);
        let found = resolved(Answer::Addresses(BoundedVec::first_of(known.map(|known| known.address))));
        let mut session = session();
        let events = vec![connect_to_name("www.example", 80), found, classified(known.into())];
        assert_eq!(dialled(&after(&mut session, events, &config)), address(order[0]), "{sources:?}");
        let actions = unchanged(&mut session, DEADLINE, &config);
        assert_eq!(dialled(&actions), address(order[1]), "in its place still: {sources:?}");
        let no_route = FailedCall { call: "connect", errno: Errno::NETUNREACH };
        assert!(comes(&mut session, 1, Err(no_route), &config).is_empty());
        let actions = comes(&mut session, 0, Err(failed("connect")), &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::ConnectionRefused), "{sources:?}");
    }
}

#[test]
fn an_address_that_fails_gives_the_next_its_turn_at_once() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    to_name(&mut session, &[V6, V4, OTHER], &config);
    let actions = comes(&mut session, 0, Err(failed("connect")), &config);
    assert_eq!(dialled(&actions), address(V4));
    unchanged(&mut session, DEADLINE, &config);
    assert!(comes(&mut session, 1, Err(failed("connect")), &config).is_empty(), "the last one has its time");
    let actions = comes(&mut session, 2, Err(failed("connect")), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::ConnectionRefused));
}

#[test]
fn all_addresses_together_have_the_one_limit() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    for (limit, addresses, dials) in [
        (1, vec![V4], 1),
        (2, vec![V6, V4, OTHER], 3),
        (1, vec![V6, V4, OTHER, "203.0.113.3", "203.0.113.4"], 4),
    ] {
        config.settings.connect_limit = limit;
        let mut session = session();
        let mut actions = to_name(&mut session, &addresses, &config);
        let (mut waited, mut dialled_so_far) = (Duration::ZERO, 0);
        while session.phase() == Phase::Dialling {
            dialled_so_far += usize::from(dialled(&actions).is_some());
            waited += deadline(&actions).unwrap();
            actions = unchanged(&mut session, DEADLINE, &config);
        }
        assert_eq!(refusal(&actions), Some(RefusalReason::TimedOut));
        assert_eq!((waited, dialled_so_far), (Duration::from_secs(limit.into()), dials));
    }
}

#[test]
fn every_address_is_decided_on_its_own() {
    let config = config("deny 0.0.0.0 0.0.0.0 203.0.113.1/32\npermit 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    assert_eq!(dialled(&to_name(&mut session, &[V6, V4, OTHER], &config)), address(V6));
    assert_eq!(dialled(&unchanged(&mut session, DEADLINE, &config)), address(OTHER));
    session = self::session();
    to_name(&mut session, &[V6, V4], &config);
    let actions = unchanged(&mut session, DEADLINE, &config);
    assert_eq!((dialled(&actions), refusal(&actions)), (None, None), "the first goes on");
    assert_eq!(deadline(&actions), Some(Duration::from_secs(120) - TICK));
    assert!(connected(&comes(&mut session, 0, Ok(()), &config)).is_some());
}

#[test]
fn a_fact_that_only_the_next_address_needs_holds_up_no_attempt() {
    let config = config("permit 0.0.0.0 0.0.0.0 2001:db8::/32\npermit ?=I 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    to_name(&mut session, &[V6, V4], &config);
    let actions = unchanged(&mut session, DEADLINE, &config);
    assert!(begins(&actions, &Task::AskIdent));
    assert!(comes(&mut session, 0, Err(failed("connect")), &config).is_empty());
    let actions = unchanged(
        &mut session,
        identified(Identity::Known(sockd_policy::UserId::parse(b"joe").unwrap())),
        &config,
    );
    assert_eq!(dialled(&actions), address(V4));
    session = self::session();
    to_name(&mut session, &[V6, V4], &config);
    unchanged(&mut session, DEADLINE, &config);
    assert!(connected(&comes(&mut session, 0, Ok(()), &config)).is_some(), "it stands before identd answers");
    session = self::session();
    to_name(&mut session, &[V6, V4], &config);
    unchanged(&mut session, DEADLINE, &config);
    let actions = unchanged(&mut session, DEADLINE, &config);
    assert_eq!((refusal(&actions), gives_up(&actions)), (None, 1), "identd is asked no longer");
    assert!(connected(&comes(&mut session, 0, Ok(()), &config)).is_some());
}

#[test]
fn attempts_that_new_rules_do_not_permit_are_given_up_alone() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let only_v4 = self::config("permit 0.0.0.0 0.0.0.0 203.0.113.0/24\n");
    let mut session = session();
    to_name(&mut session, &[V6, V4], &config);
    unchanged(&mut session, DEADLINE, &config);
    assert_eq!(gives_up(&unchanged(&mut session, RECHECK, &only_v4)), 1);
    assert!(connected(&comes(&mut session, 1, Ok(()), &only_v4)).is_some());
    session = self::session();
    to_name(&mut session, &[V6, V4], &config);
    let actions = unchanged(&mut session, RECHECK, &only_v4);
    assert_eq!((gives_up(&actions), dialled(&actions)), (1, address(V4)));
    let nothing = self::config("deny 0.0.0.0 0.0.0.0\n");
    assert_eq!(refusal(&unchanged(&mut session, RECHECK, &nothing)), Some(RefusalReason::NotAllowed));
}

#[test]
fn a_request_has_only_so_many_attempts_under_way() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses: Vec<String> = (1..=9).map(|last| format!("203.0.113.{last}")).collect();
    let mut actions =
        to_name(&mut session, &addresses.iter().map(String::as_str).collect::<Vec<_>>(), &config);
    for under_way in [1, 2, 3, 4, 5, 6, 6, 6, 6] {
        assert!(dialled(&actions).is_some());
        assert_eq!(session.waits().count(), under_way);
        actions = unchanged(&mut session, DEADLINE, &config);
    }
    assert_eq!(refusal(&actions), Some(RefusalReason::TimedOut));
}

#[test]
fn a_next_server_is_asked_when_the_attempts_have_had_their_time() {
    let config = socksified("permit 0.0.0.0 0.0.0.0\n", "direct ::/0\nsockd @=198.51.100.1 ALL 0.0.0.0\n");
    let mut session = session();
    to_name(&mut session, &[V6, V4], &config);
    let actions = unchanged(&mut session, DEADLINE, &config);
    assert_eq!((dialled(&actions), deadline(&actions)), (None, Some(Duration::from_secs(2))));
    assert_eq!(gives_up(&unchanged(&mut session, DEADLINE, &config)), 1);
    assert_eq!(session.phase(), Phase::FindingUpstream);
    session = self::session();
    to_name(&mut session, &[V6, V4], &config);
    unchanged(&mut session, DEADLINE, &config);
    comes(&mut session, 0, Err(failed("connect")), &config);
    assert_eq!(session.phase(), Phase::FindingUpstream, "at once where none is under way");
}
