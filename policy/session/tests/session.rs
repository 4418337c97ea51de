//! The monitor's transitions, driven without a system: what follows from what, and what must never follow.

#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use sockd_common::bounded::BoundedVec;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::CloseReason;
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{Errno, Name, UserId};
use sockd_policy::guard::AddressKind;
use sockd_policy::{IdentMode, Identity, Services, parse_conf, parse_routes, parse_upstreams};
use sockd_session::config::Config;
use sockd_session::flow::{Connection, Flow, Moved};
use sockd_session::log::{Level, classic};
use sockd_session::record::FailedCall;
use sockd_session::session::{Action, Candidate, Event, Phase, Session};
use sockd_session::settings::Settings;
use std::net::{IpAddr, SocketAddr};

const CLIENT: &str = "192.0.2.7:4000";

fn config(rules: &str) -> Config {
    let services = Services::parse(b"telnet 23/tcp\nftp 21/tcp\n");
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

/// The settings of a text in the form of sockd.ron(5).
fn settings(text: &str) -> Settings {
    ron::from_str::<Settings>(text).unwrap().checked().unwrap()
}

fn session() -> Session {
    Session::new(CLIENT.parse().unwrap())
}

fn request(command: Command, destination: Destination, port: u16) -> Event {
    Event::Requested(Request { version: 4, command, destination, port, user: UserId::new(b"joe").unwrap() })
}

fn connect(address: &str, port: u16) -> Event {
    request(Command::Connect, Destination::Address(address.parse().unwrap()), port)
}

fn connect_to_name(name: &str, port: u16) -> Event {
    request(Command::Connect, Destination::Name(Name::new(name.as_bytes()).unwrap()), port)
}

fn bind(address: &str) -> Event {
    request(Command::Bind, Destination::Address(address.parse().unwrap()), 21)
}

fn kinds(kinds: &[(&str, AddressKind)]) -> Event {
    let candidate = |(address, kind): &(&str, AddressKind)| Candidate {
        address: address.parse().unwrap(),
        kind: *kind,
        own_listener: false,
        unreachable: false,
    };
    Event::Classified(kinds.iter().map(candidate).collect())
}

fn unicast(address: &str) -> Event {
    kinds(&[(address, AddressKind::Unicast)])
}

fn closed(why: CloseReason) -> Event {
    Event::Closed(why)
}

fn failed(call: &'static str) -> FailedCall {
    FailedCall { call, errno: Errno(111) }
}

/// The event, and where the relay ends by it what the monitor then says of its connections.
fn ending(session: &mut Session, event: Event, config: &Config) -> Vec<Action> {
    let mut actions = session.on(event, config);
    if actions.iter().any(|action| matches!(action, Action::CloseRelay { .. })) {
        actions.extend(session.on(Event::RelayClosed(Moved { up: 1048, down: 285_143 }), config));
    }
    actions
}

/// What the kernel says of a relay whose connections have had no byte for so many seconds.
fn idle_for(seconds: u32) -> Flow {
    let connection = Connection {
        state: 1,
        since_sent: seconds * 1000,
        since_received: seconds * 1000,
        ..Connection::default()
    };
    Flow { client: connection, server: connection }
}

/// The same where the client has ended its stream, and `passed_on` says whether the server has been told.
fn half_closed(seconds: u32, passed_on: bool) -> Flow {
    let Flow { client, server } = idle_for(seconds);
    Flow {
        client: Connection { state: 8, ..client },
        server: Connection { state: if passed_on { 5 } else { 1 }, ..server },
    }
}

/// The lines among some actions, in order.
fn lines(actions: &[Action]) -> Vec<String> {
    let mut lines = Vec::new();
    for action in actions {
        if let Action::Record(record) = action {
            lines.extend(classic::lines(record).into_iter().map(|(_, line)| line));
        }
    }
    lines
}

fn dialled(actions: &[Action]) -> Option<SocketAddr> {
    actions.iter().find_map(|action| match action {
        Action::Dial { to, .. } => Some(*to),
        _ => None,
    })
}

fn refusal(actions: &[Action]) -> Option<RefusalReason> {
    actions.iter().find_map(|action| match action {
        Action::Refuse(code) => Some(*code),
        _ => None,
    })
}

fn violates(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Violation(_)))
}

/// Takes a session through these events; gives what followed from the last.
fn after(session: &mut Session, events: Vec<Event>, config: &Config) -> Vec<Action> {
    let mut last = Vec::new();
    for event in events {
        last = session.on(event, config);
        assert!(!violates(&last), "{last:?}");
    }
    last
}

#[test]
fn a_permitted_connect_is_dialled_relayed_and_logged_as_the_manual_shows() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let actions = after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
    assert_eq!(dialled(&actions), Some("203.0.113.1:23".parse().unwrap()));
    let actions = session.on(Event::Dialled(Ok(())), &config);
    assert_eq!(lines(&actions), ["connected -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)"]);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::HandOff { bound } if bound.ip().is_unspecified()))
    );
    let actions = ending(&mut session, closed(CloseReason::Finished), &config);
    assert!(actions.contains(&Action::CloseRelay { orderly: true }));
    assert_eq!(
        lines(&actions),
        [
            "terminated -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)",
            "1048 bytes from 192.0.2.7, 285143 bytes from 203.0.113.1"
        ]
    );
    assert_eq!(actions.last(), Some(&Action::Remove));
}

#[test]
fn what_no_line_permits_is_refused() {
    let (config, mut session) = (config("permit 10.0.0.0 255.0.0.0\n"), session());
    let actions = after(&mut session, vec![connect("203.0.113.1", 21), unicast("203.0.113.1")], &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
    assert_eq!(lines(&actions), ["refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (ftp)"]);
    assert_eq!(session.on(closed(CloseReason::Refused), &config), [Action::Remove]);
}

#[test]
fn a_name_is_resolved_once_and_dialled_at_the_address_that_was_decided_on() {
    let (config, mut session) =
        (config("deny 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n"), session());
    let actions = session.on(connect_to_name("Www.Example.com", 23), &config);
    // As the client wrote it: some nameservers know it only so.
    let name = Name::new(b"Www.Example.com").unwrap();
    assert!(actions.contains(&Action::Resolve(Query::Addresses(name))), "{actions:?}");
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap());
    let actions = session.on(Event::Resolved(Answer::Addresses(BoundedVec::first_of(addresses))), &config);
    assert!(actions.contains(&Action::Classify(addresses.into(), 23)));
    let both = kinds(&[("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)]);
    let actions = session.on(both, &config);
    assert_eq!(dialled(&actions), Some("203.0.113.2:23".parse().unwrap()));
    let actions = session.on(Event::Dialled(Ok(())), &config);
    assert_eq!(
        lines(&actions),
        ["connected -- Connect from joe(unknown)@192.0.2.7 to www.example.com (telnet)"]
    );
}

#[test]
fn the_next_address_of_a_name_is_tried_when_one_does_not_answer() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap());
    let both = kinds(&[("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)]);
    let found = Event::Resolved(Answer::Addresses(BoundedVec::first_of(addresses)));
    let actions = after(&mut session, vec![connect_to_name("a.example", 23), found, both], &config);
    assert_eq!(dialled(&actions), Some("203.0.113.1:23".parse().unwrap()));
    let actions = session.on(Event::Dialled(Err(failed("connect"))), &config);
    assert_eq!(dialled(&actions), Some("203.0.113.2:23".parse().unwrap()));
    let actions = session.on(Event::Dialled(Err(failed("connect"))), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::ConnectionRefused));
    assert_eq!(
        lines(&actions),
        [
            "failed -- Connect from joe(unknown)@192.0.2.7 to a.example (telnet).  Error code: connect() Connection refused"
        ]
    );
}

#[test]
fn a_refusal_says_what_the_network_said_of_the_destination() {
    use RefusalReason::{ConnectionRefused, General, HostUnreachable, NetworkUnreachable, TimedOut};
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    for (errno, why) in [
        (Errno::CONNREFUSED, ConnectionRefused),
        (Errno::NETUNREACH, NetworkUnreachable),
        (Errno::HOSTUNREACH, HostUnreachable),
        (Errno::TIMEDOUT, TimedOut),
        (Errno(24), General),
    ] {
        let mut session = session();
        after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
        let failed = FailedCall { call: "connect", errno };
        let actions = session.on(Event::Dialled(Err(failed)), &config);
        assert_eq!(refusal(&actions), Some(why), "{errno:?}");
    }
}

#[test]
fn a_name_that_is_a_dotted_quad_is_that_address_and_other_numeric_forms_are_none() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let actions = session().on(connect_to_name("203.0.113.9", 23), &config);
    assert!(actions.contains(&Action::Classify(vec!["203.0.113.9".parse().unwrap()], 23)), "{actions:?}");
    for name in ["127.1", "0x7f.1", "2130706433", "017700000001", "0", ""] {
        let actions = session().on(connect_to_name(name, 23), &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::HostUnreachable), "{name}");
    }
}

#[test]
fn a_broad_permit_does_not_open_this_host() {
    for (address, kind) in [
        ("127.0.0.1", AddressKind::Local),
        ("198.51.100.1", AddressKind::Local),
        ("169.254.169.254", AddressKind::Unicast),
        ("0.0.0.1", AddressKind::Unicast),
        ("240.0.0.1", AddressKind::Unicast),
        ("224.0.0.1", AddressKind::Multicast),
        ("203.0.113.255", AddressKind::Broadcast),
    ] {
        let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
        let actions = after(&mut session, vec![connect(address, 80), kinds(&[(address, kind)])], &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed), "{address}");
        assert!(lines(&actions).iter().any(|line| line.starts_with("guarded destination: ")), "{actions:?}");
    }
}

#[test]
fn a_line_that_names_loopback_opens_it_and_by_rules_opens_what_the_rules_say() {
    let loopback = kinds(&[("127.0.0.1", AddressKind::Local)]);
    let (named, mut session) = (config("permit 0.0.0.0 0.0.0.0 127.0.0.0 255.0.0.0\n"), session());
    let actions = after(&mut session, vec![connect("127.0.0.1", 80), loopback], &named);
    assert!(dialled(&actions).is_some());
    let mut by_rules = config("permit 0.0.0.0 0.0.0.0\n");
    by_rules.settings = settings("(local_destinations: by_rules)");
    let mut session = self::session();
    let loopback = kinds(&[("127.0.0.1", AddressKind::Local)]);
    let actions = after(&mut session, vec![connect("127.0.0.1", 80), loopback], &by_rules);
    assert!(dialled(&actions).is_some());
}

#[test]
fn the_route_file_gives_the_source_address_and_what_it_does_not_name_is_refused() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.routes = Some(parse_routes(b"198.51.100.1 203.0.113.0 255.255.255.0\n").unwrap());
    let actions = after(&mut session(), vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
    let from = Some("198.51.100.1".parse().unwrap());
    assert!(
        actions.contains(&Action::Dial { to: "203.0.113.1:23".parse().unwrap(), from, reserved: false }),
        "{actions:?}"
    );
    let actions = after(&mut session(), vec![connect("192.0.2.99", 23), unicast("192.0.2.99")], &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NetworkUnreachable));
    let Some(Action::Record(record)) = actions.first() else { panic!("no record") };
    let line = "***Cannot find appropriate interface to communicate with 192.0.2.99";
    assert_eq!(classic::lines(record).first(), Some(&(Level::Err, line.into())));
}

#[test]
fn identd_is_asked_once_and_only_behind_a_permit() {
    let mut config = config("deny 0.0.0.0 0.0.0.0 203.0.113.9 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    config.ident_default = IdentMode::Strict;
    let actions = after(&mut session(), vec![connect("203.0.113.9", 23), unicast("203.0.113.9")], &config);
    assert!(!actions.contains(&Action::AskIdent) && refusal(&actions).is_some());
    let identity = |name: &[u8]| Identity::Known(sockd_policy::UserId::parse(name).unwrap());
    for (answer, expected, expected_lines) in [
        (identity(b"joe"), None, vec![]),
        (
            Identity::Unknown,
            Some(RefusalReason::NoIdentd),
            vec![
                "cannot connect to identd on 192.0.2.7",
                "refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)",
            ],
        ),
        (
            identity(b"s m"),
            Some(RefusalReason::IdentityMismatch),
            vec![
                "*Alert*: real user is s\\x20m, not joe",
                "refused -- Connect from joe(s\\x20m)@192.0.2.7 to 203.0.113.1 (telnet)",
            ],
        ),
    ] {
        let mut session = session();
        let actions = after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
        assert!(actions.contains(&Action::AskIdent), "{actions:?}");
        let actions = session.on(Event::Identified(answer), &config);
        assert_eq!(refusal(&actions), expected);
        assert_eq!(lines(&actions), expected_lines);
    }
}

#[test]
fn an_identd_that_a_limit_keeps_from_being_asked_is_no_identd_that_does_not_answer() {
    let limits = ["max_idents reached", "max_idents_per_host reached"];
    for (ident_default, limit) in [IdentMode::Lenient, IdentMode::Strict].into_iter().zip(limits) {
        let (config, mut session) =
            (Config { ident_default, ..config("permit 0.0.0.0 0.0.0.0\n") }, session());
        let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), Event::NoRoom(limit)];
        let actions = after(&mut session, begin, &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::NoIdentd));
        assert_eq!(
            lines(&actions),
            [
                "refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)",
                "missing fact: identd could not be asked"
            ]
        );
    }
}

/// What follows when the resolver says this of the client's names, and whether the connection was dialled.
fn client_named(rules: &str, answer: Event, text: &str) -> (Option<RefusalReason>, Vec<String>) {
    let (mut config, mut session) = (config(rules), session());
    config.settings = settings(text);
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), answer];
    let actions = after(&mut session, begin, &config);
    assert_eq!(dialled(&actions).is_some(), refusal(&actions).is_none());
    (refusal(&actions), lines(&actions))
}

const DENIES_A_NAME: &str = "deny .blocked.example 0.0.0.0\npermit 0.0.0.0 0.0.0.0\n";
const PERMITS_A_NAME: &str = "permit .good.example 0.0.0.0\n";

#[test]
fn names_that_could_not_be_found_out_are_not_no_names() {
    let refused = "refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)";
    let missing = "missing fact: the names of the client could not be found out";
    for answer in [|| Event::Resolved(Answer::Failed), || Event::Deadline] {
        let (why, lines) = client_named(DENIES_A_NAME, answer(), "()");
        assert_eq!((why, lines), (Some(RefusalReason::NotAllowed), vec![refused.into(), missing.into()]));
        let (why, lines) = client_named(PERMITS_A_NAME, answer(), "()");
        assert_eq!((why, lines), (Some(RefusalReason::NotAllowed), vec![refused.to_owned()]));
        // As the classic server had it.
        let (why, _) = client_named(DENIES_A_NAME, answer(), "(missing_names: no_match)");
        assert_eq!(why, None);
    }
    let (why, _) = client_named(DENIES_A_NAME, Event::Resolved(Answer::NotFound), "()");
    assert_eq!(why, None, "a client without a name is no client of that name");
}

#[test]
fn a_route_by_a_name_that_could_not_be_found_out_is_not_passed_over() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.routes = Some(parse_routes(b"198.51.100.1 .example 0.0.0.0\n198.51.100.2 ALL 0.0.0.0\n").unwrap());
    let names = Event::Resolved(Answer::Failed);
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), names];
    let actions = after(&mut session(), begin, &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
    assert_eq!(lines(&actions)[1], "missing fact: the names of the destination could not be found out");
}

#[test]
fn lenient_goes_on_without_identd_and_says_so() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.ident_default = IdentMode::Lenient;
    let mut session = session();
    let silent = Event::Deadline;
    let actions =
        after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), silent], &config);
    assert_eq!(lines(&actions), ["cannot connect to identd on 192.0.2.7"]);
    assert!(dialled(&actions).is_some());
}

#[test]
fn a_bind_waits_for_its_peer_and_sends_strangers_away() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let actions = after(&mut session, vec![bind("203.0.113.1"), unicast("203.0.113.1")], &config);
    assert!(actions.contains(&Action::Listen {
        towards: "203.0.113.1".parse().unwrap(),
        at: None,
        reserved: false
    }));
    let port = "198.51.100.1:3000".parse().unwrap();
    assert_eq!(session.on(Event::Listening(Ok(port)), &config), [Action::Announce(port)]);
    let actions = session.on(Event::Accepted("203.0.113.66:5000".parse().unwrap()), &config);
    assert!(actions.contains(&Action::CloseStranger));
    assert_eq!(
        lines(&actions),
        [
            "failed -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1. Error: connected to wrong host 203.0.113.66 (5000)"
        ]
    );
    let peer = "203.0.113.1:20".parse().unwrap();
    let actions = session.on(Event::Accepted(peer), &config);
    assert_eq!(lines(&actions), ["connected -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1 (20)"]);
    assert!(actions.contains(&Action::HandOff { bound: peer }));
}

#[test]
fn a_bind_for_anybody_needs_the_setting() {
    // What the kernel says of 0.0.0.0.
    let anybody = || vec![bind("0.0.0.0"), kinds(&[("0.0.0.0", AddressKind::Local)])];
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    assert!(refusal(&after(&mut session(), anybody(), &config)).is_some());
    config.settings = settings("(bind_any: true)");
    let mut session = session();
    after(&mut session, anybody(), &config);
    let actions = session.on(Event::Accepted("203.0.113.66:5000".parse().unwrap()), &config);
    assert_eq!(
        lines(&actions),
        ["connected -- Bind from joe(unknown)@192.0.2.7 for Unspecified.Host (5000)"]
    );
}

/// A BIND for a name with these addresses, up to the first reply.
fn bind_to_name(session: &mut Session, addresses: &[(&str, AddressKind)], config: &Config) -> Vec<Action> {
    let name = Destination::Name(Name::new(b"ftp.example").unwrap());
    let parsed = addresses.iter().map(|(address, _)| address.parse::<IpAddr>().unwrap());
    let resolved = Event::Resolved(Answer::Addresses(BoundedVec::first_of(parsed)));
    after(session, vec![request(Command::Bind, name, 21), resolved, kinds(addresses)], config)
}

fn comes_from(session: &mut Session, peer: &str, config: &Config) -> bool {
    let actions = session.on(Event::Accepted(peer.parse().unwrap()), config);
    assert!(actions.contains(&Action::CloseStranger) || session.is_relaying(), "{actions:?}");
    session.is_relaying()
}

#[test]
fn the_peer_of_a_bind_to_a_name_is_any_of_its_addresses_that_the_rules_permit() {
    let config = config("deny 0.0.0.0 0.0.0.0 203.0.113.2 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    let addresses =
        ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map(|address| (address, AddressKind::Unicast));
    for (peer, admitted) in [
        ("203.0.113.1:20", true),
        ("203.0.113.2:20", false),
        ("203.0.113.3:20", true),
        ("203.0.113.4:20", false),
    ] {
        let mut session = session();
        bind_to_name(&mut session, &addresses, &config);
        assert_eq!(session.phase(), Phase::Listening);
        assert_eq!(comes_from(&mut session, peer, &config), admitted, "{peer}");
    }
}

#[test]
fn a_name_that_resolves_to_the_unspecified_address_does_not_open_a_bind_to_anybody() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    for text in ["()", "(bind_any: true)"] {
        config.settings = settings(text);
        let both = [("203.0.113.1", AddressKind::Unicast), ("0.0.0.0", AddressKind::Local)];
        for addresses in [both, [both[1], both[0]]] {
            let mut session = session();
            bind_to_name(&mut session, &addresses, &config);
            assert!(!comes_from(&mut session, "203.0.113.66:20", &config));
            assert!(comes_from(&mut session, "203.0.113.1:20", &config));
        }
        assert!(refusal(&bind_to_name(&mut session(), &both[1..], &config)).is_some());
    }
}

#[test]
fn a_bind_that_nobody_comes_to_is_not_opened_again_for_the_next_address_of_its_name() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| (address, AddressKind::Unicast));
    bind_to_name(&mut session, &addresses, &config);
    session.on(Event::Listening(Ok("198.51.100.1:3000".parse().unwrap())), &config);
    let actions = session.on(Event::Deadline, &config);
    assert_eq!(lines(&actions), ["timed-out -- Bind from joe(unknown)@192.0.2.7 for ftp.example"]);
    assert_eq!(refusal(&actions), Some(RefusalReason::TimedOut));
}

#[test]
fn a_limit_of_binds_is_a_refusal_that_names_the_setting() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    after(&mut session, vec![bind("203.0.113.1"), unicast("203.0.113.1")], &config);
    let actions = session.on(Event::NoRoom("max_binds reached"), &config);
    assert_eq!(
        lines(&actions),
        ["failed -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1. Error: max_binds reached"]
    );
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
}

#[test]
fn strangers_at_the_port_of_a_bind_are_logged_up_to_a_number_and_counted_beyond() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    after(&mut session, vec![bind("203.0.113.1"), unicast("203.0.113.1")], &config);
    let logged = (0..100).filter(|_| {
        let actions = session.on(Event::Accepted("203.0.113.66:5000".parse().unwrap()), &config);
        assert!(actions.contains(&Action::CloseStranger));
        !lines(&actions).is_empty()
    });
    assert_eq!(logged.count(), 8);
    let actions = session.on(Event::Accepted("203.0.113.1:20".parse().unwrap()), &config);
    assert_eq!(
        lines(&actions),
        [
            "failed -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1. Error: connected to wrong hosts 92 times more",
            "connected -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1 (20)",
        ]
    );
}

/// What follows from a strict line where `user` is claimed from `client` and identd names sam.
fn claimed_against_sam(user: &[u8], client: &str, text: &str) -> Vec<Action> {
    let mut config = config("permit ?=I 0.0.0.0 0.0.0.0\n");
    config.settings = settings(text);
    let mut session = Session::new(client.parse().unwrap());
    let request = Event::Requested(Request {
        version: 4,
        command: Command::Connect,
        destination: Destination::Address("203.0.113.1".parse().unwrap()),
        port: 23,
        user: UserId::new(user).unwrap(),
    });
    let sam = Identity::Known(sockd_policy::UserId::parse(b"sam").unwrap());
    after(&mut session, vec![request, unicast("203.0.113.1"), Event::Identified(sam)], &config)
}

#[test]
fn root_at_a_privileged_port_is_forgiven_another_name_only_with_the_setting() {
    let on = "(privileged_ports: true)";
    for (user, client, settings, forgiven) in [
        (&b"root"[..], "192.0.2.7:512", on, true),
        (b"root", "192.0.2.7:1023", on, true),
        (b"root", "192.0.2.7:511", on, false),
        (b"root", "192.0.2.7:1024", on, false),
        (b"joe", "192.0.2.7:1023", on, false),
        (b"root", "192.0.2.7:1023", "()", false),
    ] {
        let actions = claimed_against_sam(user, client, settings);
        assert_eq!(dialled(&actions).is_some(), forgiven, "{client} {settings}");
        assert_eq!(refusal(&actions), (!forgiven).then_some(RefusalReason::IdentityMismatch));
        let reserved = actions.iter().any(|action| matches!(action, Action::Dial { reserved: true, .. }));
        assert_eq!(reserved, forgiven);
    }
}

#[test]
fn requests_that_cannot_be_read_are_logged_as_the_classic_server_did() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    for (why, line) in [
        (CloseReason::WrongVersion(5), "error -- wrong version (0x 5) from host 192.0.2.7."),
        (CloseReason::UndefinedCommand(3), "error -- undefined command (0x 3) from host 192.0.2.7"),
        (CloseReason::CutShort, "Error in GetDst: Success; from host 192.0.2.7"),
        (
            CloseReason::ClientGone(Errno(104)),
            "Error in GetDst: Connection reset by peer; from host 192.0.2.7",
        ),
    ] {
        let actions = session().on(closed(why), &config);
        assert_eq!((lines(&actions), actions.last()), (vec![line.to_owned()], Some(&Action::Remove)));
    }
}

#[test]
fn a_worker_that_speaks_out_of_turn_is_in_violation() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let relaying = || {
        let mut session = session();
        after(
            &mut session,
            vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), Event::Dialled(Ok(()))],
            &config,
        );
        session
    };
    assert!(violates(&relaying().on(connect("203.0.113.1", 23), &config)), "a second request");
    assert!(
        violates(&relaying().on(closed(CloseReason::WrongVersion(5)), &config)),
        "a relay of the wrong version"
    );
    assert!(violates(&session().on(closed(CloseReason::Finished), &config)), "an end of no relay");
    let mut asking = session();
    asking.on(connect("203.0.113.1", 23), &config);
    assert!(violates(&asking.on(connect("203.0.113.1", 23), &config)), "a request while one is decided on");
    let mut late = session();
    late.on(Event::Deadline, &config);
    assert_eq!(late.phase(), Phase::ClosingUnread);
    assert!(violates(&late.on(Event::Deadline, &config)), "no end in time");
}

#[test]
fn a_request_that_crosses_the_monitors_end_is_no_violation_but_a_second_one_is() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    for end in [|| Event::Deadline, || Event::Stop] {
        let mut session = session();
        assert!(session.on(end(), &config).contains(&Action::End));
        assert_eq!(session.on(connect("203.0.113.1", 23), &config), []);
        assert!(violates(&session.on(connect("203.0.113.1", 23), &config)));
        assert_eq!(session.on(closed(CloseReason::Ended), &config), [Action::Remove]);
    }
}

#[test]
fn a_reload_ends_relays_that_the_new_rules_refuse_only_when_asked_to_look() {
    let mut session = session();
    let (old, new) = (config("permit 0.0.0.0 0.0.0.0\n"), config("deny 0.0.0.0 0.0.0.0\n"));
    after(
        &mut session,
        vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), Event::Dialled(Ok(()))],
        &old,
    );
    assert!(session.on(Event::Recheck, &old).is_empty());
    let actions = session.on(Event::Recheck, &new);
    assert_eq!(lines(&actions), ["refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)"]);
    assert_eq!(actions.last(), Some(&Action::CloseRelay { orderly: false }), "no byte passes any more");
    let actions = session.on(Event::RelayClosed(Moved { up: 5, down: 6 }), &new);
    assert_eq!(lines(&actions).len(), 2);
    assert!(actions.contains(&Action::End));
    assert_eq!(session.on(Event::Recheck, &new), [], "it has been told");
    assert_eq!(session.on(closed(CloseReason::Ended), &new), [Action::Remove]);
}

#[test]
fn what_is_still_being_carried_out_is_ended_as_well_where_the_new_rules_refuse_it() {
    let (old, new) = (config("permit 0.0.0.0 0.0.0.0\n"), config("deny 0.0.0.0 0.0.0.0\n"));
    let port = || Event::Listening(Ok("198.51.100.1:3000".parse().unwrap()));
    // Whose address is still asked for.
    let through = socksified("permit 0.0.0.0 0.0.0.0\n", "sockd @=gate.example ALL 0.0.0.0\n");
    for (events, old) in [
        (vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &old),
        (vec![bind("203.0.113.1"), unicast("203.0.113.1"), port()], &old),
        (vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &through),
    ] {
        let mut session = session();
        after(&mut session, events, old);
        assert_eq!(session.on(Event::Recheck, old), []);
        let actions = session.on(Event::Recheck, &new);
        assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
        assert!(lines(&actions)[0].starts_with("refused -- "), "{actions:?}");
        assert_eq!(session.on(Event::Dialled(Ok(())), &new), [], "too late");
    }
}

/// It would have another address announced to a client that has been told one.
#[test]
fn a_port_whose_peer_cannot_be_accepted_ends_the_bind() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    let two = [("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)];
    bind_to_name(&mut session, &two, &config);
    session.on(Event::Listening(Ok("198.51.100.1:3000".parse().unwrap())), &config);
    let actions = session.on(Event::Listening(Err(failed("accept"))), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::ConnectionRefused));
}

fn socksified(rules: &str, lines: &str) -> Config {
    let services = Services::parse(b"");
    let upstreams = parse_upstreams(lines.as_bytes(), &services, &mut |_| Ok(Vec::new())).unwrap();
    Config { upstreams: Some(upstreams), ..config(rules) }
}

const TWO_UPSTREAMS: &str = "sockd @=198.51.100.1:1080,gw.example:1081 0.0.0.0 0.0.0.0\n";

fn granted(address: &str) -> Event {
    Event::Replied(NextReply::Granted(address.parse().unwrap()))
}

/// What the next server is asked for.
fn asked_upstream(actions: &[Action]) -> Option<(SocketAddr, Request)> {
    actions.iter().find_map(|action| match action {
        Action::AskUpstream(next, request) => Some((*next, (**request).clone())),
        _ => None,
    })
}

#[test]
fn servers_of_a_line_are_tried_in_order_and_a_dead_one_is_remembered() {
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS), session());
    let first: SocketAddr = "198.51.100.1:1080".parse().unwrap();
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), unicast("198.51.100.1")];
    assert_eq!(dialled(&after(&mut session, begin, &config)), Some(first));
    let actions = session.on(Event::Dialled(Err(failed("connect"))), &config);
    assert!(actions.contains(&Action::Remember { next: first, reachable: false }));
    let name = Name::new(b"gw.example").unwrap();
    assert!(actions.contains(&Action::Resolve(Query::Addresses(name))));
    let two = [("198.51.100.2", AddressKind::Unicast), ("198.51.100.3", AddressKind::Unicast)];
    let addresses = BoundedVec::first_of(two.iter().map(|(address, _)| address.parse().unwrap()));
    let actions =
        after(&mut session, vec![Event::Resolved(Answer::Addresses(addresses)), kinds(&two)], &config);
    assert_eq!(dialled(&actions), Some("198.51.100.2:1081".parse().unwrap()));
    let actions = session.on(Event::Deadline, &config);
    assert_eq!(dialled(&actions), Some("198.51.100.3:1081".parse().unwrap()));
    let (next, request) = asked_upstream(&session.on(Event::Dialled(Ok(())), &config)).unwrap();
    assert_eq!(next, "198.51.100.3:1081".parse().unwrap());
    assert_eq!(request.destination, Destination::Address("203.0.113.1".parse().unwrap()));
    assert_eq!((request.command, request.port, request.user.as_bytes()), (Command::Connect, 23, &b"joe"[..]));
    let actions = session.on(granted("192.0.2.99:7"), &config);
    assert!(actions.contains(&Action::HandOff { bound: "192.0.2.99:7".parse().unwrap() }));
    let line = "connected -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet) using sockd at 198.51.100.3:1081";
    assert_eq!(lines(&actions), [line]);
}

#[test]
fn a_server_that_was_dead_a_while_ago_comes_last() {
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS), session());
    let avoided = Event::Classified(vec![Candidate {
        address: "198.51.100.1".parse().unwrap(),
        kind: AddressKind::Unicast,
        own_listener: false,
        unreachable: true,
    }]);
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), avoided];
    assert_eq!(dialled(&after(&mut session, begin, &config)), None);
    let actions = session.on(Event::Resolved(Answer::NotFound), &config);
    assert_eq!(dialled(&actions), Some("198.51.100.1:1080".parse().unwrap()));
    let actions = session.on(Event::Dialled(Err(failed("connect"))), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
}

fn asking_upstream(config: &Config, request: Event) -> Session {
    let mut session = session();
    let begin = vec![request, unicast("203.0.113.1"), unicast("198.51.100.1"), Event::Dialled(Ok(()))];
    assert!(asked_upstream(&after(&mut session, begin, config)).is_some());
    session
}

#[test]
fn what_a_next_server_says_instead_of_granting_ends_the_request_with_its_reason_or_none() {
    let config = socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS);
    for (reply, code) in [
        (NextReply::Refused(RefusalReason::General), RefusalReason::General),
        (NextReply::Refused(RefusalReason::NoIdentd), RefusalReason::NoIdentd),
        (NextReply::Refused(RefusalReason::IdentityMismatch), RefusalReason::IdentityMismatch),
        (NextReply::WrongVersion(5), RefusalReason::General),
        (NextReply::UnknownCode(1), RefusalReason::General),
        (NextReply::Closed(Errno(0)), RefusalReason::General),
        (NextReply::Cancelled, RefusalReason::General),
    ] {
        for request in [connect("203.0.113.1", 23), bind("203.0.113.1")] {
            let actions = asking_upstream(&config, request).on(Event::Replied(reply), &config);
            assert_eq!((refusal(&actions), lines(&actions).len()), (Some(code), 1), "{reply:?}");
            assert!(lines(&actions)[0].ends_with(" using sockd at 198.51.100.1:1080"));
        }
    }
    let actions =
        asking_upstream(&config, bind("203.0.113.1")).on(Event::NoRoom("max_binds reached"), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
    let actions = asking_upstream(&config, bind("203.0.113.1")).on(Event::Deadline, &config);
    assert!(lines(&actions)[0].starts_with("timed-out -- Bind"), "{actions:?}");
}

#[test]
fn the_peer_that_a_next_server_tells_for_a_bind_has_to_be_the_one_that_was_asked_for() {
    let config = socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS);
    for (told, announced) in [("0.0.0.0:5", "198.51.100.1:5"), ("192.0.2.99:5", "192.0.2.99:5")] {
        let mut session = asking_upstream(&config, bind("203.0.113.1"));
        let actions = session.on(granted(told), &config);
        assert!(actions.contains(&Action::Announce(announced.parse().unwrap())), "{actions:?}");
        let peer = "203.0.113.1:20";
        let actions = session.on(granted(peer), &config);
        assert!(actions.contains(&Action::HandOff { bound: peer.parse().unwrap() }), "{actions:?}");
    }
    let mut session = asking_upstream(&config, bind("203.0.113.1"));
    session.on(granted("0.0.0.0:5"), &config);
    let actions = session.on(granted("203.0.113.2:20"), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
    assert!(lines(&actions)[0].contains("connected to wrong host 203.0.113.2 (20)"), "{actions:?}");
}

#[test]
fn a_name_without_an_address_is_asked_for_by_name_or_refused() {
    for (rules, lines, passed) in [
        ("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS, true),
        ("permit 0.0.0.0 0.0.0.0 .example 0.0.0.0\n", TWO_UPSTREAMS, true),
        ("permit 0.0.0.0 0.0.0.0 203.0.113.0/24\n", TWO_UPSTREAMS, false),
        ("deny 0.0.0.0 0.0.0.0 10.0.0.0/8\npermit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS, false),
        ("permit 0.0.0.0 0.0.0.0\n", "direct ALL 0.0.0.0\n", false),
        ("permit 0.0.0.0 0.0.0.0\n", "deny 10.0.0.0/8\nsockd @=198.51.100.1 ALL 0.0.0.0\n", false),
    ] {
        let (config, mut session) = (socksified(rules, lines), session());
        let begin = vec![connect_to_name("a.example", 23), Event::Resolved(Answer::NotFound)];
        let actions = after(&mut session, begin, &config);
        assert_eq!(refusal(&actions).is_none(), passed, "{rules}{lines}");
        if passed {
            let actions = after(&mut session, vec![unicast("198.51.100.1"), Event::Dialled(Ok(()))], &config);
            let (_, request) = asked_upstream(&actions).unwrap();
            assert_eq!(request.destination, Destination::Name(Name::new(b"a.example").unwrap()));
        }
    }
}

#[test]
fn an_address_that_nothing_is_known_of_in_time_is_not_asked_for_as_a_name() {
    let config = socksified("permit ALL 0.0.0.0\n", "sockd @=192.0.2.8 ALL 0.0.0.0\n");
    let mut session = session();
    let actions = after(&mut session, vec![connect("203.0.113.1", 80), Event::Deadline], &config);
    assert_eq!((session.phase(), refusal(&actions)), (Phase::Refusing, Some(RefusalReason::HostUnreachable)));
    assert_eq!(lines(&actions).len(), 1, "{actions:?}");
}

#[test]
fn next_servers_are_guarded_and_lines_of_socks_conf_run_their_commands() {
    let lines = "deny *=joe ALL 0.0.0.0 eq 25 : denied\nsockd @=198.51.100.1 ALL 0.0.0.0 : passed\n";
    let config = socksified("permit 0.0.0.0 0.0.0.0 : permitted\n", lines);
    let commands = |actions: &[Action]| -> Vec<String> {
        let command = |action: &Action| match action {
            Action::Run(command, _) => Some(command.clone()),
            _ => None,
        };
        actions.iter().filter_map(command).collect()
    };
    let actions = after(&mut session(), vec![connect("203.0.113.1", 25), unicast("203.0.113.1")], &config);
    assert_eq!(
        (refusal(&actions), commands(&actions)),
        (Some(RefusalReason::NotAllowed), vec!["denied".into()])
    );
    let mut session = session();
    let actions = after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
    assert_eq!(commands(&actions), ["permitted", "passed"]);
    let own = Event::Classified(vec![Candidate {
        address: "198.51.100.1".parse().unwrap(),
        kind: AddressKind::Local,
        own_listener: true,
        unreachable: false,
    }]);
    assert_eq!(refusal(&session.on(own, &config)), Some(RefusalReason::General));
}

fn relaying(config: &Config) -> Session {
    let mut session = session();
    let events = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), Event::Dialled(Ok(()))];
    after(&mut session, events, config);
    session
}

#[test]
fn a_relay_is_idle_when_the_kernel_says_so_and_is_looked_at_again_when_it_may_be() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.settings.idle_limit = 100;
    let mut session = relaying(&config);
    assert_eq!(session.on(Event::Deadline, &config), [Action::Inspect]);
    let again = Action::Deadline(Some(std::time::Duration::from_secs(70)));
    assert_eq!(session.on(Event::Inspected(idle_for(30)), &config), [again]);
    let actions = ending(&mut session, Event::Inspected(idle_for(100)), &config);
    assert!(actions.contains(&Action::CloseRelay { orderly: false }) && actions.contains(&Action::End));
    assert_eq!(lines(&actions)[1], "1048 bytes from 192.0.2.7, 285143 bytes from 203.0.113.1");
}

#[test]
fn a_relay_of_which_one_side_has_ended_has_a_limit_of_its_own() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = relaying(&config);
    assert!(ending(&mut session, Event::Inspected(half_closed(599, true)), &config).len() == 1);
    let actions = ending(&mut session, Event::Inspected(half_closed(600, true)), &config);
    assert!(actions.contains(&Action::CloseRelay { orderly: false }), "{actions:?}");
}

#[test]
fn a_worker_that_does_not_say_that_a_relay_has_ended_is_looked_at_twice_and_then_ended() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = relaying(&config);
    let over = || Event::Inspected(half_closed(1, false));
    let actions = session.on(over(), &config);
    assert!(matches!(actions[..], [Action::Deadline(Some(_))]), "{actions:?}");
    session.on(Event::Inspected(idle_for(1)), &config);
    assert!(
        matches!(session.on(over(), &config)[..], [Action::Deadline(Some(_))]),
        "it has been passed on between"
    );
    let actions = ending(&mut session, over(), &config);
    assert!(violates(&actions) && actions.contains(&Action::CloseRelay { orderly: false }), "{actions:?}");
    assert_eq!(session.on(Event::WorkerLost, &config), [Action::Reset, Action::Remove]);
}

/// Any event at all, from a worker, the resolver, identd, the network or the clock.
fn any_event() -> impl Strategy<Value = Event> {
    let address = prop_oneof![
        Just("203.0.113.1"),
        Just("203.0.113.66"),
        Just("127.0.0.1"),
        Just("0.0.0.0"),
        Just("10.1.2.3")
    ];
    let kind = prop_oneof![Just(AddressKind::Unicast), Just(AddressKind::Local)];
    let why = prop_oneof![
        Just(CloseReason::Finished),
        Just(CloseReason::WrongVersion(5)),
        Just(CloseReason::CutShort),
        Just(CloseReason::ClientGone(Errno(0))),
        Just(CloseReason::Refused),
        Just(CloseReason::Ended)
    ];
    let parsed = |address: &str| -> IpAddr { address.parse().unwrap() };
    prop_oneof![
        (address.clone(), 0_u16..3, any::<bool>()).prop_map(move |(address, port, binds)| {
            let command = if binds { Command::Bind } else { Command::Connect };
            request(command, Destination::Address(parsed(address)), port)
        }),
        Just(()).prop_map(|()| connect_to_name("a.example", 23)),
        why.prop_map(Event::Closed),
        (0_u32..8000).prop_map(|seconds| Event::Inspected(idle_for(seconds))),
        (0_u32..800, any::<bool>())
            .prop_map(|(seconds, passed_on)| Event::Inspected(half_closed(seconds, passed_on))),
        proptest::collection::vec(address.clone(), 1..3).prop_map(move |addresses| {
            Event::Resolved(Answer::Addresses(BoundedVec::first_of(addresses.into_iter().map(parsed))))
        }),
        Just(()).prop_map(|()| Event::Resolved(Answer::Failed)),
        Just(()).prop_map(|()| Event::Resolved(Answer::Names(BoundedVec::first_of(Name::new(b"x.example"))))),
        proptest::collection::vec((address, kind), 1..3).prop_map(|list| kinds(&list)),
        Just(()).prop_map(|()| Event::Identified(Identity::Unknown)),
        Just(()).prop_map(|()| Event::Dialled(Ok(()))),
        Just(()).prop_map(|()| Event::Dialled(Err(failed("connect")))),
        Just(()).prop_map(|()| Event::Listening(Ok("198.51.100.1:9".parse().unwrap()))),
        Just(()).prop_map(|()| Event::Listening(Err(failed("bind")))),
        Just(()).prop_map(|()| Event::Accepted("203.0.113.1:20".parse().unwrap())),
        Just(()).prop_map(|()| granted("203.0.113.1:20")),
        Just(()).prop_map(|()| granted("203.0.113.2:20")),
        Just(()).prop_map(|()| Event::Replied(NextReply::Refused(RefusalReason::IdentityMismatch))),
        Just(()).prop_map(|()| Event::Replied(NextReply::WrongVersion(5))),
        Just(()).prop_map(|()| Event::Accepted("203.0.113.66:20".parse().unwrap())),
        Just(()).prop_map(|()| Event::Deadline),
        Just(()).prop_map(|()| Event::Recheck),
        Just(()).prop_map(|()| Event::Stop),
        Just(()).prop_map(|()| Event::WorkerLost),
    ]
}

/// A system in which nothing is real: what the monitor holds for one session, and what it writes about it.
#[derive(Default)]
struct System {
    dialling: Option<SocketAddr>,
    port: bool,
    server: Option<SocketAddr>,
    handed_over: u32,
    deadline: bool,
    /// Lines about the request's fate before a relay began, about the begin and the end of a relay, about rules that
    /// refuse it afterwards, and about a request that was not read.
    fates: u32,
    begins: u32,
    ends: u32,
    rechecks: u32,
    unread: u32,
}

impl System {
    fn open(&self) -> usize {
        usize::from(self.dialling.is_some()) + usize::from(self.port) + usize::from(self.server.is_some())
    }

    fn close(&mut self) {
        (self.dialling, self.port, self.server) = (None, false, None);
    }

    /// What has to have been so before the event.
    fn before(&mut self, event: &Event) {
        match event {
            Event::Dialled(Ok(())) => self.server = self.server.or(self.dialling.take()),
            Event::Dialled(Err(_)) => self.dialling = None,
            Event::Listening(Err(_)) | Event::NoRoom(_) => self.port = false,
            Event::Accepted(peer) if self.port => self.server = Some(*peer),
            Event::Deadline => {
                self.close();
                self.deadline = false;
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, action: &Action, permitted: IpAddr) -> Result<(), TestCaseError> {
        match action {
            Action::Dial { to, .. } => {
                prop_assert_eq!(to.ip(), permitted);
                prop_assert_ne!(to.port(), 0);
                prop_assert_eq!(self.open(), 0, "one socket after the other");
                self.dialling = Some(*to);
            }
            Action::Listen { towards, .. } => {
                prop_assert_eq!(*towards, permitted);
                prop_assert_eq!(self.open(), 0, "one socket after the other");
                self.port = true;
            }
            Action::CloseStranger => self.server = None,
            Action::HandOff { .. } => {
                prop_assert_eq!(self.server.map(|server| server.ip()), Some(permitted));
                self.close();
                self.handed_over += 1;
                prop_assert_eq!(self.handed_over, 1);
            }
            Action::Refuse(_) | Action::End | Action::Remove | Action::Violation(_) => self.close(),
            Action::Deadline(limit) => self.deadline = limit.is_some(),
            Action::AskIdent => prop_assert!(false, "identd was asked although no line wants it"),
            Action::Record(record) => {
                classic::lines(record).iter().try_for_each(|(_, line)| self.read(line))?;
            }
            _ => {}
        }
        prop_assert!(self.open() <= 2, "a port and who has come to it");
        Ok(())
    }

    fn read(&mut self, line: &str) -> Result<(), TestCaseError> {
        prop_assert!(!line.contains('\n'));
        let count = match line.split(' ').next().unwrap() {
            "connected" => &mut self.begins,
            "terminated" => &mut self.ends,
            "failed" if line.contains("connected to wrong host") => return Ok(()),
            "refused" if self.handed_over > 0 => &mut self.rechecks,
            "refused" | "failed" | "timed-out" => &mut self.fates,
            "Error" | "error" => &mut self.unread,
            _ => return Ok(()),
        };
        *count += 1;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever happens in whatever order: only what the rules permit is dialled, handed over is what was dialled or has
    /// come to the port, no session holds more than that, every wait has a deadline, every request has one line about
    /// what became of it and every relay one about its end, and nothing follows an end.
    #[test]
    fn no_sequence_of_events_leads_out_of_the_rules(events in proptest::collection::vec(any_event(), 1..24)) {
        let permits = config("permit 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\n");
        let refuses = config("deny 0.0.0.0 0.0.0.0\n");
        let permitted: IpAddr = "203.0.113.1".parse().unwrap();
        let mut session = session();
        let mut system = System { deadline: true, ..System::default() };
        let mut requested = false;
        let mut events = std::collections::VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            requested |= session.phase() == Phase::Requesting && matches!(event, Event::Requested(_));
            system.before(&event);
            let config = if matches!(event, Event::Recheck) { &refuses } else { &permits };
            let actions = session.on(event, config);
            for action in &actions {
                system.carry_out(action, permitted)?;
            }
            prop_assert!(system.fates + system.begins <= 1, "a line too many: {actions:?}");
            prop_assert!(system.ends <= system.begins && system.rechecks <= 1 && system.unread <= 1);
            match actions.last() {
                Some(Action::Remove) => {
                    prop_assert_eq!(system.fates + system.begins, u32::from(requested), "{:?}", actions);
                    prop_assert_eq!(system.ends, system.begins);
                    prop_assert_eq!(system.open(), 0);
                    break;
                }
                // The monitor kills the worker, and every session of it hears of that.
                Some(Action::Violation(_)) => events = [Event::WorkerLost].into(),
                _ => {
                    let over = |action: &Action| matches!(action, Action::Remove | Action::Violation(_));
                    prop_assert!(!actions.iter().any(over), "something follows an end: {actions:?}");
                    let phase = session.phase();
                    // The monitor closes the connections at once and says so.
                    if matches!(phase, Phase::ClosingRelay(_)) {
                        let closes = matches!(actions.last(), Some(Action::CloseRelay { .. }));
                        prop_assert!(closes, "{:?}", actions);
                        events.push_front(Event::RelayClosed(Moved::default()));
                    } else {
                        prop_assert!(system.deadline || actions.contains(&Action::Inspect), "{phase:?} has no deadline");
                    }
                    let may_hold = matches!(phase, Phase::Dialling | Phase::Listening);
                    prop_assert_eq!(system.open(), usize::from(may_hold), "{:?}", phase);
                }
            }
        }
    }

    /// The same with a next server: the destination is never dialled, and the next server's socket is handed over only
    /// where that has granted exactly what the rules permit.
    #[test]
    fn no_sequence_of_events_leads_around_a_next_server(events in proptest::collection::vec(any_event(), 1..24)) {
        let rules = "permit 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\n";
        let config = socksified(rules, "sockd @=198.51.100.1 ALL 0.0.0.0\n");
        let mut session = session();
        let (mut asked, mut deadline) = (0, true);
        let wanted = Destination::Address("203.0.113.1".parse().unwrap());
        for event in events {
            let granted = matches!(event, Event::Replied(NextReply::Granted(_)));
            let from_stranger = matches!(&event, Event::Replied(NextReply::Granted(peer)) if peer.ip().octets()[3] == 2);
            let awaiting_peer = session.phase() == Phase::AwaitingUpstreamPeer;
            let passed = matches!(event, Event::Deadline);
            let actions = session.on(event, &config);
            deadline &= !passed;
            for action in &actions {
                match action {
                    Action::Listen { .. } => prop_assert!(false, "a port here for a BIND there"),
                    Action::AskUpstream(_, request) => {
                        asked += 1;
                        prop_assert_eq!(&request.destination, &wanted);
                    }
                    Action::HandOff { .. } => prop_assert!(granted && asked == 1 && !(awaiting_peer && from_stranger)),
                    Action::Deadline(limit) => deadline = limit.is_some(),
                    _ => {}
                }
            }
            if actions.iter().any(|action| matches!(action, Action::Remove | Action::Violation(_))) {
                break;
            }
            let asked_for = actions.iter().any(|action| matches!(action, Action::Inspect | Action::CloseRelay { .. }));
            prop_assert!(deadline || asked_for || matches!(session.phase(), Phase::ClosingRelay(_) | Phase::Relaying), "{:?} has no deadline", session.phase());
        }
    }
}
