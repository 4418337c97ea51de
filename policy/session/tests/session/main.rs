//! The monitor's transitions, without a system: the actions after events, and those that must never follow.

#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "where a test begins is any time")]

use sockd_common::bounded::BoundedVec;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::CloseReason;
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{Errno, Name, UserId};
use sockd_policy::guard::AddressKind;
use sockd_policy::{IdentMode, Identity, Services, parse_routes, parse_upstreams};
use sockd_session::config::Config;
use sockd_session::flow::{Connection, Flow, Moved};
use sockd_session::limits::limit::Limit;
use sockd_session::log::{Level, Style, Times, classic};
use sockd_session::record::{FailedCall, Record};
use sockd_session::session::{Action, Arrival, Candidate, Event, Origin, Phase, Session, Task};
use sockd_session::settings::{LogFormat, Settings};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

mod associating;
mod config;
mod dialling;
mod driver;
mod holder;
mod limiting;
mod login;
mod settling;

use config::config;
use driver::*;

const CLIENT: &str = "192.0.2.7:4000";

/// The settings in a text of the form of sockd.ron(5).
fn settings(text: &str) -> Settings {
    ron::from_str::<Settings>(text).unwrap().checked().unwrap()
}

fn session() -> Session {
    Session::new(CLIENT.parse().unwrap(), false)
}

fn request(command: Command, destination: Destination, port: u16) -> Happens {
    let user = UserId::new(b"joe").unwrap();
    Event::Requested(Request { version: 4, command, destination, port, user }).into()
}

fn connect(address: &str, port: u16) -> Happens {
    request(Command::Connect, Destination::Address(address.parse().unwrap()), port)
}

fn connect_to_name(name: &str, port: u16) -> Happens {
    request(Command::Connect, Destination::Name(Name::new(name.as_bytes()).unwrap()), port)
}

fn bind(address: &str) -> Happens {
    request(Command::Bind, Destination::Address(address.parse().unwrap()), 21)
}

fn candidates(kinds: &[(&str, AddressKind)]) -> Vec<Candidate> {
    let candidate = |(address, kind): &(&str, AddressKind)| Candidate {
        address: address.parse().unwrap(),
        kind: *kind,
        own_listener: false,
        unreachable: false,
        source: None,
    };
    kinds.iter().map(candidate).collect()
}

fn kinds(kinds: &[(&str, AddressKind)]) -> Happens {
    classified(candidates(kinds))
}

fn unicast(address: &str) -> Happens {
    kinds(&[(address, AddressKind::Unicast)])
}

fn closed(why: CloseReason) -> Happens {
    Event::Closed(why).into()
}

fn failed(call: &'static str) -> FailedCall {
    FailedCall { call, errno: Errno(111) }
}

/// The actions that follow; if the relay ends, the monitor also tells what its connections have moved.
fn ending(session: &mut Session, happens: impl Into<Happens>, config: &Config) -> Vec<Action> {
    let mut actions = session.sees(happens, config);
    if actions.iter().any(|action| matches!(action, Action::CloseRelay { .. })) {
        actions.extend(session.sees(Event::RelayClosed(Moved { up: 1048, down: 285_143 }), config));
    }
    actions
}

/// The kernel's numbers on a relay whose connections have had no byte for this many seconds.
fn idle_for(seconds: u32) -> Flow {
    let connection = Connection {
        state: 1,
        since_sent: seconds * 1000,
        since_received: seconds * 1000,
        ..Connection::default()
    };
    Flow { client: connection, server: connection }
}

/// The same with a client that has ended its stream; `passed_on` says whether the server has been told.
fn half_closed(seconds: u32, passed_on: bool) -> Flow {
    let Flow { client, server } = idle_for(seconds);
    Flow {
        client: Connection { state: 8, ..client },
        server: Connection { state: if passed_on { 5 } else { 1 }, ..server },
    }
}

/// The log lines among these actions, in order.
fn lines(actions: &[Action]) -> Vec<String> {
    let mut lines = Vec::new();
    for action in actions {
        if let Action::Record(record) = action {
            lines.extend(classic::lines(record));
        }
    }
    lines
}

fn dialled(actions: &[Action]) -> Option<SocketAddr> {
    actions.iter().find_map(|action| match action {
        Action::Begin(_, Task::Dial { to, .. }) => Some(*to),
        _ => None,
    })
}

/// Whether this task is begun.
fn begins(actions: &[Action], task: &Task) -> bool {
    actions.iter().any(|action| matches!(action, Action::Begin(_, begun) if begun == task))
}

/// The address for the reply, if a server is handed over.
fn handed_off(actions: &[Action]) -> Option<SocketAddr> {
    actions.iter().find_map(|action| match action {
        Action::HandOff { bound, .. } => *bound,
        _ => None,
    })
}

fn sends_a_stranger_away(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::CloseStranger(_)))
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

/// Takes a session through these events; returns the actions after the last.
fn after(session: &mut Session, events: Vec<Happens>, config: &Config) -> Vec<Action> {
    let (mut last, mut known) = (Vec::new(), Vec::new());
    for event in events {
        if let Happens::Arrival(Arrival::Classified(candidates)) = &event {
            known.clone_from(candidates);
        }
        last = sees_unchanged(session, event, &known, config);
        assert!(!violates(&last), "{last:?}");
    }
    last
}

/// The actions that follow, given that another look finds the addresses' kinds unchanged.
fn sees_unchanged(
    session: &mut Session,
    happens: impl Into<Happens>,
    known: &[Candidate],
    config: &Config,
) -> Vec<Action> {
    let mut actions = session.sees(happens, config);
    let asks_about = |action: &Action| match action {
        Action::Begin(_, Task::Classify(addresses, _)) => {
            addresses.iter().eq(known.iter().map(|candidate| &candidate.address))
        }
        _ => false,
    };
    if actions.iter().any(asks_about) {
        actions.extend(session.sees(classified(known.to_vec()), config));
    }
    actions
}

#[test]
fn h15_an_address_that_has_become_this_hosts_own_while_identd_was_asked_is_not_dialled() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.ident_default = IdentMode::Lenient;
    let mut session = session();
    let joe = Identity::Known(sockd_policy::UserId::parse(b"joe").unwrap());
    let (request, found) = (connect("203.0.113.1", 23), unicast("203.0.113.1"));
    let addresses = vec!["203.0.113.1".parse().unwrap()];
    session.sees(request, &config);
    session.sees(found, &config);
    let actions = session.sees(identified(joe), &config);
    assert!(dialled(&actions).is_none() && begins(&actions, &Task::Classify(addresses, 23)), "{actions:?}");
    let actions = session.sees(kinds(&[("203.0.113.1", AddressKind::Local)]), &config);
    assert_eq!((dialled(&actions), refusal(&actions)), (None, Some(RefusalReason::NotAllowed)));
}

#[test]
fn h15_the_next_address_of_a_name_is_looked_at_again_before_it_is_dialled() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap());
    let both = |second| kinds(&[("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", second)]);
    let found = resolved(Answer::Addresses(BoundedVec::first_of(addresses)));
    let begin = vec![connect_to_name("a.example", 23), found, both(AddressKind::Unicast)];
    after(&mut session, begin, &config);
    session.sees(dials(Err(failed("connect"))), &config);
    let actions = session.sees(both(AddressKind::Local), &config);
    assert_eq!((dialled(&actions), refusal(&actions)), (None, Some(RefusalReason::ConnectionRefused)));
}

#[test]
fn a_permitted_connect_is_dialled_relayed_and_logged_as_the_manual_shows() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let actions = after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &config);
    assert_eq!(dialled(&actions), Some("203.0.113.1:23".parse().unwrap()));
    let actions = session.sees(dials(Ok(())), &config);
    assert_eq!(lines(&actions), ["connected -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)"]);
    assert!(handed_off(&actions).is_some_and(|bound| bound.ip().is_unspecified()));
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
    assert_eq!(session.sees(closed(CloseReason::Refused), &config), [Action::Remove]);
}

#[test]
fn a_name_is_resolved_once_and_dialled_at_the_address_that_was_decided_on() {
    let (config, mut session) =
        (config("deny 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n"), session());
    let actions = session.sees(connect_to_name("Www.Example.com", 23), &config);
    // The name is as the client wrote it: some nameservers know only that form.
    let name = Name::new(b"Www.Example.com").unwrap();
    assert!(begins(&actions, &Task::Resolve(Query::Addresses(name))), "{actions:?}");
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap());
    let actions = session.sees(resolved(Answer::Addresses(BoundedVec::first_of(addresses))), &config);
    assert!(begins(&actions, &Task::Classify(addresses.into(), 23)));
    let both = kinds(&[("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)]);
    let actions = session.sees(both, &config);
    assert_eq!(dialled(&actions), Some("203.0.113.2:23".parse().unwrap()));
    let actions = session.sees(dials(Ok(())), &config);
    assert_eq!(
        lines(&actions),
        ["connected -- Connect from joe(unknown)@192.0.2.7 to www.example.com (telnet)"]
    );
}

#[test]
fn the_next_address_of_a_name_is_tried_when_one_does_not_answer() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap());
    let both = [("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)];
    let found = resolved(Answer::Addresses(BoundedVec::first_of(addresses)));
    let actions = after(&mut session, vec![connect_to_name("a.example", 23), found, kinds(&both)], &config);
    assert_eq!(dialled(&actions), Some("203.0.113.1:23".parse().unwrap()));
    let actions = sees_unchanged(&mut session, dials(Err(failed("connect"))), &candidates(&both), &config);
    assert_eq!(dialled(&actions), Some("203.0.113.2:23".parse().unwrap()));
    let actions = session.sees(dials(Err(failed("connect"))), &config);
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
        let actions = session.sees(dials(Err(failed)), &config);
        assert_eq!(refusal(&actions), Some(why), "{errno:?}");
    }
}

#[test]
fn a_name_that_is_a_dotted_quad_is_that_address_and_other_numeric_forms_are_none() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let actions = session().sees(connect_to_name("203.0.113.9", 23), &config);
    assert!(begins(&actions, &Task::Classify(vec!["203.0.113.9".parse().unwrap()], 23)), "{actions:?}");
    let actions = session().sees(connect_to_name("[2001:db8::9]", 23), &config);
    assert!(begins(&actions, &Task::Classify(vec!["2001:db8::9".parse().unwrap()], 23)), "{actions:?}");
    let bracketed = Destination::Name(Name::new(b"[2001:db8::9]").unwrap());
    let (user, port) = (UserId::new(b"").unwrap(), 23);
    let by_5 = Request { version: 5, command: Command::Connect, destination: bracketed, port, user };
    let actions = session().sees(Event::Requested(by_5), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::HostUnreachable), "SOCKS5 has a type for it");
    for name in ["127.1", "0x7f.1", "2130706433", "017700000001", "0", ""] {
        let actions = session().sees(connect_to_name(name, 23), &config);
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
        begins(&actions, &Task::Dial { to: "203.0.113.1:23".parse().unwrap(), from, reserved: false }),
        "{actions:?}"
    );
    let actions = after(&mut session(), vec![connect("192.0.2.99", 23), unicast("192.0.2.99")], &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NetworkUnreachable));
    let Some(Action::Record(record)) = actions.first() else { panic!("no record") };
    let line = "***Cannot find appropriate interface to communicate with 192.0.2.99";
    let style = Style { format: LogFormat::Classic, has_fields: false };
    let lines = style.lines(Times::new(Instant::now()).about(1, Instant::now()), record);
    assert_eq!((lines[0].level, lines[0].text.as_str()), (Level::Err, line));
    assert!(lines[1..].iter().all(|line| line.level == Level::Notice));
}

#[test]
fn identd_is_asked_once_and_only_behind_a_permit() {
    let mut config = config("deny 0.0.0.0 0.0.0.0 203.0.113.9 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    config.ident_default = IdentMode::Strict;
    let actions = after(&mut session(), vec![connect("203.0.113.9", 23), unicast("203.0.113.9")], &config);
    assert!(!begins(&actions, &Task::AskIdent) && refusal(&actions).is_some());
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
        assert!(begins(&actions, &Task::AskIdent), "{actions:?}");
        let actions = session.sees(identified(answer), &config);
        assert_eq!(refusal(&actions), expected);
        assert_eq!(lines(&actions), expected_lines);
    }
}

#[test]
fn an_identd_that_a_limit_keeps_from_being_asked_is_no_identd_that_does_not_answer() {
    let limits = [Limit::IDENTS, Limit::IDENTS_PER_HOST];
    for (ident_default, limit) in [IdentMode::Lenient, IdentMode::Strict].into_iter().zip(limits) {
        let (config, mut session) =
            (Config { ident_default, ..config("permit 0.0.0.0 0.0.0.0\n") }, session());
        let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), no_room(limit)];
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

/// The refusal, if any, and the log lines when the resolver gives this answer on the client's names.
fn client_named(rules: &str, answer: Happens, text: &str) -> (Option<RefusalReason>, Vec<String>) {
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
    for answer in [|| resolved(Answer::Failed), || DEADLINE] {
        let (why, lines) = client_named(DENIES_A_NAME, answer(), "()");
        assert_eq!((why, lines), (Some(RefusalReason::NotAllowed), vec![refused.into(), missing.into()]));
        let (why, lines) = client_named(PERMITS_A_NAME, answer(), "()");
        assert_eq!((why, lines), (Some(RefusalReason::NotAllowed), vec![refused.to_owned()]));
        // The classic server did so.
        let (why, _) = client_named(DENIES_A_NAME, answer(), "(missing_names: no_match)");
        assert_eq!(why, None);
    }
    let (why, _) = client_named(DENIES_A_NAME, resolved(Answer::NotFound), "()");
    assert_eq!(why, None, "a client without a name is no client of that name");
}

#[test]
fn a_route_by_a_name_that_could_not_be_found_out_is_not_passed_over() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.routes = Some(parse_routes(b"198.51.100.1 .example 0.0.0.0\n198.51.100.2 ALL 0.0.0.0\n").unwrap());
    let names = resolved(Answer::Failed);
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
    let silent = DEADLINE;
    let actions =
        after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), silent], &config);
    assert_eq!(lines(&actions), ["cannot connect to identd on 192.0.2.7"]);
    assert!(dialled(&actions).is_some());
}

#[test]
fn the_identd_of_a_client_behind_a_balancer_counts_as_one_that_does_not_answer() {
    for (rules, refused) in [
        ("permit ?=i 0.0.0.0 0.0.0.0\n", None),
        ("permit ?=I 0.0.0.0 0.0.0.0\n", Some(RefusalReason::NoIdentd)),
        ("permit @=ident 0.0.0.0 0.0.0.0\n", Some(RefusalReason::NoIdentd)),
        ("permit 0.0.0.0 0.0.0.0\n", None),
    ] {
        let config = config(rules);
        let mut session = session().by_way_of(Origin::balanced(28));
        let events = vec![connect("198.51.100.9", 23), unicast("198.51.100.9")];
        let actions = after(&mut session, events, &config);
        assert!(!begins(&actions, &Task::AskIdent), "{rules}");
        assert_eq!(refusal(&actions), refused, "{rules}");
        assert_eq!(dialled(&actions).is_some(), refused.is_none(), "{rules}");
    }
}

#[test]
fn a_health_check_may_greet_and_go_and_leaves_no_line() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let check = || session().by_way_of(Origin::CHECK);
    for (event, removed) in [
        (closed(CloseReason::CutShort), true),
        (closed(CloseReason::ClientGone(Errno(0))), true),
        (closed(CloseReason::WrongVersion(9)), true),
        (DEADLINE, false),
        (STOP, false),
        (KILLED, false),
        (WORKER_LOST, true),
    ] {
        let what = format!("{event:?}");
        let actions = ending(&mut check(), event, &config);
        assert_eq!(lines(&actions), [""; 0], "{what}");
        assert_eq!(actions.contains(&Action::Remove), removed, "{what}");
        assert_eq!(actions.contains(&Action::End), !removed, "{what}");
    }
    let mut check = check();
    let actions = ending(&mut check, connect("198.51.100.9", 23), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
    assert_eq!(lines(&actions), ["error -- request in a health check from host 192.0.2.7"]);
    assert!(violates(&ending(
        &mut session().by_way_of(Origin::CHECK),
        closed(CloseReason::Finished),
        &config
    )));
}

#[test]
fn the_address_of_a_bind_can_be_announced_as_another() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.settings =
        settings("(bind_announce: [(\"10.0.0.1\", \"203.0.113.1\"), (\"10.0.0.2\", \"2001:db8::1\")])");
    for (at, announced) in [
        ("10.0.0.1:3000", Some("203.0.113.1:3000")),
        ("10.0.0.9:3000", Some("10.0.0.9:3000")),
        ("10.0.0.2:3000", None),
    ] {
        let mut session = session();
        let events = vec![bind("198.51.100.9"), unicast("198.51.100.9"), listens(Ok(at.parse().unwrap()))];
        let actions = after(&mut session, events, &config);
        let found = actions.iter().find_map(|action| match action {
            Action::Announce(address) => Some(address.to_string()),
            _ => None,
        });
        // SOCKS4 has no room for the last address.
        assert_eq!(found.as_deref(), announced, "{at}");
    }
}

#[test]
fn a_bind_waits_for_its_peer_and_sends_strangers_away() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let actions = after(&mut session, vec![bind("203.0.113.1"), unicast("203.0.113.1")], &config);
    assert!(begins(
        &actions,
        &Task::Listen { towards: "203.0.113.1".parse().unwrap(), at: None, reserved: false }
    ));
    let port = "198.51.100.1:3000".parse().unwrap();
    assert_eq!(session.sees(listens(Ok(port)), &config), [Action::Announce(port)]);
    let actions = session.sees(accepts(Ok("203.0.113.66:5000".parse().unwrap())), &config);
    assert!(sends_a_stranger_away(&actions));
    assert_eq!(
        lines(&actions),
        [
            "failed -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1. Error: connected to wrong host 203.0.113.66 (5000)"
        ]
    );
    let peer = "203.0.113.1:20".parse().unwrap();
    let actions = session.sees(accepts(Ok(peer)), &config);
    assert_eq!(lines(&actions), ["connected -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1 (20)"]);
    assert_eq!(handed_off(&actions), Some(peer));
}

#[test]
fn a_bind_for_anybody_needs_the_setting() {
    // The kernel says so of 0.0.0.0.
    let anybody = || vec![bind("0.0.0.0"), kinds(&[("0.0.0.0", AddressKind::Local)])];
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    assert!(refusal(&after(&mut session(), anybody(), &config)).is_some());
    config.settings = settings("(bind_any: true)");
    let mut session = session();
    after(&mut session, anybody(), &config);
    let actions = session.sees(accepts(Ok("203.0.113.66:5000".parse().unwrap())), &config);
    assert_eq!(
        lines(&actions),
        ["connected -- Bind from joe(unknown)@192.0.2.7 for Unspecified.Host (5000)"]
    );
}

/// A BIND for a name with these addresses, up to the first reply.
fn bind_to_name(session: &mut Session, addresses: &[(&str, AddressKind)], config: &Config) -> Vec<Action> {
    let name = Destination::Name(Name::new(b"ftp.example").unwrap());
    let parsed = addresses.iter().map(|(address, _)| address.parse::<IpAddr>().unwrap());
    let found = resolved(Answer::Addresses(BoundedVec::first_of(parsed)));
    after(session, vec![request(Command::Bind, name, 21), found, kinds(addresses)], config)
}

fn comes_from(session: &mut Session, peer: &str, config: &Config) -> bool {
    let actions = session.sees(accepts(Ok(peer.parse().unwrap())), config);
    assert!(sends_a_stranger_away(&actions) || session.is_relaying(), "{actions:?}");
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
fn a_name_that_resolves_to_the_unspecified_address_is_logged_by_its_name() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let nowhere = [("0.0.0.0", AddressKind::Local)];
    let both = [("0.0.0.0", AddressKind::Local), ("203.0.113.1", AddressKind::Unicast)];
    let mut session = session();
    let mut asked = |addresses: &[(&str, AddressKind)]| {
        let parsed = addresses.iter().map(|(address, _)| address.parse::<IpAddr>().unwrap());
        let found = resolved(Answer::Addresses(BoundedVec::first_of(parsed)));
        session = self::session();
        after(&mut session, vec![connect_to_name("www.example", 80), found, kinds(addresses)], &config)
    };
    let refused = "refused -- Connect from joe(unknown)@192.0.2.7 to www.example (80)";
    assert_eq!(lines(&asked(&nowhere))[0], refused);
    assert_eq!(dialled(&asked(&both)), Some("203.0.113.1:80".parse().unwrap()));
    let actions = session.sees(dials(Ok(())), &config);
    assert_eq!(lines(&actions), ["connected -- Connect from joe(unknown)@192.0.2.7 to www.example (80)"]);
    let used = actions.iter().find_map(|action| match action {
        Action::Record(record) => match &**record {
            Record::Connected(parties) => parties.destination,
            _ => None,
        },
        _ => None,
    });
    assert_eq!(used, Some("203.0.113.1".parse().unwrap()));
}

#[test]
fn a_bind_whose_port_has_an_ipv6_address_is_refused_and_the_next_address_is_tried() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let port = || listens(Ok("[2001:db8::1]:3000".parse().unwrap()));
    let mut session = session();
    after(&mut session, vec![bind("2001:db8::2"), unicast("2001:db8::2")], &config);
    let actions = session.sees(port(), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
    assert!(!actions.iter().any(|action| matches!(action, Action::Announce(_))), "{actions:?}");
    session = self::session();
    let (user, port_21) = (UserId::new(b"").unwrap(), 21);
    let destination = Destination::Address("2001:db8::2".parse().unwrap());
    let by_5 = Request { version: 5, command: Command::Bind, destination, port: port_21, user };
    after(&mut session, vec![Event::Requested(by_5).into(), unicast("2001:db8::2")], &config);
    let told = session.sees(port(), &config);
    assert!(matches!(told[..], [Action::Announce(_)]), "SOCKS5 has room for it: {told:?}");
    session = self::session();
    let both = [("2001:db8::2", AddressKind::Unicast), ("203.0.113.1", AddressKind::Unicast)];
    bind_to_name(&mut session, &both, &config);
    let actions = sees_unchanged(&mut session, port(), &candidates(&both), &config);
    let listens_next = |action: &Action| matches!(action, Action::Begin(_, Task::Listen { towards, .. }) if towards.is_ipv4());
    assert!(actions.iter().any(listens_next), "{actions:?}");
    assert!(matches!(actions.first(), Some(Action::GiveUp(_))), "the port is closed: {actions:?}");
}

#[test]
fn a_bind_that_nobody_comes_to_is_not_opened_again_for_the_next_address_of_its_name() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| (address, AddressKind::Unicast));
    bind_to_name(&mut session, &addresses, &config);
    session.sees(listens(Ok("198.51.100.1:3000".parse().unwrap())), &config);
    let actions = session.sees(DEADLINE, &config);
    assert_eq!(lines(&actions), ["timed-out -- Bind from joe(unknown)@192.0.2.7 for ftp.example"]);
    assert_eq!(refusal(&actions), Some(RefusalReason::TimedOut));
}

#[test]
fn a_limit_of_binds_is_a_refusal_that_names_the_setting() {
    let (config, mut session) = (config("permit 0.0.0.0 0.0.0.0\n"), session());
    after(&mut session, vec![bind("203.0.113.1"), unicast("203.0.113.1")], &config);
    let actions = session.sees(no_room(Limit::BINDS), &config);
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
        let actions = session.sees(accepts(Ok("203.0.113.66:5000".parse().unwrap())), &config);
        assert!(sends_a_stranger_away(&actions));
        !lines(&actions).is_empty()
    });
    assert_eq!(logged.count(), 8);
    let actions = session.sees(accepts(Ok("203.0.113.1:20".parse().unwrap())), &config);
    assert_eq!(
        lines(&actions),
        [
            "failed -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1. Error: connected to wrong hosts 92 times more",
            "connected -- Bind from joe(unknown)@192.0.2.7 for 203.0.113.1 (20)",
        ]
    );
}

/// The actions by a strict line when `client` claims `user` and identd names sam.
fn claimed_against_sam(user: &[u8], client: &str, text: &str) -> Vec<Action> {
    let mut config = config("permit ?=I 0.0.0.0 0.0.0.0\n");
    config.settings = settings(text);
    let mut session = Session::new(client.parse().unwrap(), false);
    let request = Event::Requested(Request {
        version: 4,
        command: Command::Connect,
        destination: Destination::Address("203.0.113.1".parse().unwrap()),
        port: 23,
        user: UserId::new(user).unwrap(),
    });
    let sam = Identity::Known(sockd_policy::UserId::parse(b"sam").unwrap());
    after(&mut session, vec![request.into(), unicast("203.0.113.1"), identified(sam)], &config)
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
        let reserved = actions
            .iter()
            .any(|action| matches!(action, Action::Begin(_, Task::Dial { reserved: true, .. })));
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
        let actions = session().sees(closed(why), &config);
        assert_eq!((lines(&actions), actions.last()), (vec![line.to_owned()], Some(&Action::Remove)));
    }
}

#[test]
fn a_worker_that_speaks_out_of_turn_is_in_violation() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let relaying = || {
        let mut session = session();
        after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), dials(Ok(()))], &config);
        session
    };
    assert!(violates(&relaying().sees(connect("203.0.113.1", 23), &config)), "a second request");
    assert!(
        violates(&relaying().sees(closed(CloseReason::WrongVersion(5)), &config)),
        "a relay of the wrong version"
    );
    assert!(violates(&session().sees(closed(CloseReason::Finished), &config)), "an end of no relay");
    let mut asking = session();
    asking.sees(connect("203.0.113.1", 23), &config);
    assert!(violates(&asking.sees(connect("203.0.113.1", 23), &config)), "a request while one is decided on");
    let mut late = session();
    late.sees(DEADLINE, &config);
    assert_eq!(late.phase(), Phase::ClosingUnread);
    assert!(violates(&late.sees(DEADLINE, &config)), "no end in time");
}

#[test]
fn a_request_that_crosses_the_monitors_end_is_no_violation_but_a_second_one_is() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let late = Action::Refuse(RefusalReason::General);
    let ends: [(fn() -> Happens, Action); 3] =
        [(|| DEADLINE, late), (|| STOP, Action::End), (|| KILLED, Action::End)];
    for (end, told) in ends {
        let mut session = session();
        assert!(session.sees(end(), &config).contains(&told));
        assert_eq!(session.sees(connect("203.0.113.1", 23), &config), []);
        assert!(violates(&session.sees(connect("203.0.113.1", 23), &config)));
        assert_eq!(session.sees(closed(CloseReason::Ended), &config), [Action::Remove]);
    }
}

#[test]
fn a_late_client_is_not_waited_for_when_the_daemon_stops() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    session.sees(DEADLINE, &config);
    assert!(session.sees(STOP, &config).contains(&Action::End));
    assert_eq!(session.sees(closed(CloseReason::Ended), &config), [Action::Remove]);
}

#[test]
fn a_reload_ends_relays_that_the_new_rules_refuse_only_when_asked_to_look() {
    let mut session = session();
    let (old, new) = (config("permit 0.0.0.0 0.0.0.0\n"), config("deny 0.0.0.0 0.0.0.0\n"));
    after(&mut session, vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), dials(Ok(()))], &old);
    assert_eq!(session.sees(RECHECK, &old), [Action::Limit(None)], "and no more than that");
    let actions = session.sees(RECHECK, &new);
    assert_eq!(lines(&actions), ["refused -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet)"]);
    assert_eq!(actions.last(), Some(&Action::CloseRelay { orderly: false }), "no byte passes any more");
    let actions = session.sees(Event::RelayClosed(Moved { up: 5, down: 6 }), &new);
    assert_eq!(lines(&actions).len(), 2);
    assert!(actions.contains(&Action::End));
    assert_eq!(session.sees(RECHECK, &new), [], "it has been told");
    assert_eq!(session.sees(closed(CloseReason::Ended), &new), [Action::Remove]);
}

#[test]
fn what_is_still_being_carried_out_is_ended_as_well_where_the_new_rules_refuse_it() {
    let (old, new) = (config("permit 0.0.0.0 0.0.0.0\n"), config("deny 0.0.0.0 0.0.0.0\n"));
    let port = || listens(Ok("198.51.100.1:3000".parse().unwrap()));
    // A next server whose address is still being looked up.
    let through = socksified("permit 0.0.0.0 0.0.0.0\n", "sockd @=gate.example ALL 0.0.0.0\n");
    for (events, old) in [
        (vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &old),
        (vec![bind("203.0.113.1"), unicast("203.0.113.1"), port()], &old),
        (vec![connect("203.0.113.1", 23), unicast("203.0.113.1")], &through),
    ] {
        let mut session = session();
        after(&mut session, events, old);
        assert_eq!(session.sees(RECHECK, old), []);
        let actions = session.sees(RECHECK, &new);
        assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
        assert!(lines(&actions)[0].starts_with("refused -- "), "{actions:?}");
        assert_eq!(session.sees(dials(Ok(())), &new), [], "too late");
    }
}

/// Going on would announce another address to a client that has been told one.
#[test]
fn a_port_whose_peer_cannot_be_accepted_ends_the_bind() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    let two = [("203.0.113.1", AddressKind::Unicast), ("203.0.113.2", AddressKind::Unicast)];
    bind_to_name(&mut session, &two, &config);
    session.sees(listens(Ok("198.51.100.1:3000".parse().unwrap())), &config);
    let actions = session.sees(accepts(Err(failed("accept"))), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::ConnectionRefused));
}

fn socksified(rules: &str, lines: &str) -> Config {
    let services = Services::parse(b"");
    let upstreams = parse_upstreams(lines.as_bytes(), &services, &mut |_| Ok(Vec::new())).unwrap();
    Config { upstreams: Some(upstreams), ..config(rules) }
}

const TWO_UPSTREAMS: &str = "sockd @=198.51.100.1:1080,gw.example:1081 0.0.0.0 0.0.0.0\n";

fn granted(address: &str) -> Happens {
    replied(NextReply::Granted(address.parse().unwrap()))
}

/// The next server that is asked, and the request.
fn asked_upstream(actions: &[Action]) -> Option<(SocketAddr, Request)> {
    actions.iter().find_map(|action| match action {
        Action::Begin(_, Task::AskUpstream(next, request)) => Some((*next, (**request).clone())),
        _ => None,
    })
}

#[test]
fn servers_of_a_line_are_tried_in_order_and_a_dead_one_is_remembered() {
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS), session());
    let first: SocketAddr = "198.51.100.1:1080".parse().unwrap();
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), unicast("198.51.100.1")];
    assert_eq!(dialled(&after(&mut session, begin, &config)), Some(first));
    let actions = session.sees(dials(Err(failed("connect"))), &config);
    assert!(actions.contains(&Action::Remember { next: first, reachable: false }));
    let name = Name::new(b"gw.example").unwrap();
    assert!(begins(&actions, &Task::Resolve(Query::Addresses(name))));
    let two = [("198.51.100.2", AddressKind::Unicast), ("198.51.100.3", AddressKind::Unicast)];
    let addresses = BoundedVec::first_of(two.iter().map(|(address, _)| address.parse().unwrap()));
    let actions = after(&mut session, vec![resolved(Answer::Addresses(addresses)), kinds(&two)], &config);
    assert_eq!(dialled(&actions), Some("198.51.100.2:1081".parse().unwrap()));
    let actions = after(&mut session, vec![DEADLINE, unicast("198.51.100.3")], &config);
    assert_eq!(dialled(&actions), Some("198.51.100.3:1081".parse().unwrap()));
    let (next, request) = asked_upstream(&session.sees(dials(Ok(())), &config)).unwrap();
    assert_eq!(next, "198.51.100.3:1081".parse().unwrap());
    assert_eq!(request.destination, Destination::Address("203.0.113.1".parse().unwrap()));
    assert_eq!((request.command, request.port, request.user.as_bytes()), (Command::Connect, 23, &b"joe"[..]));
    let actions = session.sees(granted("192.0.2.99:7"), &config);
    assert_eq!(handed_off(&actions), Some("192.0.2.99:7".parse().unwrap()));
    let line = "connected -- Connect from joe(unknown)@192.0.2.7 to 203.0.113.1 (telnet) using sockd at 198.51.100.3:1081";
    assert_eq!(lines(&actions), [line]);
}

#[test]
fn a_server_that_was_dead_a_while_ago_comes_last() {
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS), session());
    let avoided = classified(vec![Candidate {
        address: "198.51.100.1".parse().unwrap(),
        kind: AddressKind::Unicast,
        own_listener: false,
        unreachable: true,
        source: None,
    }]);
    let begin = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), avoided];
    assert_eq!(dialled(&after(&mut session, begin, &config)), None);
    let unknown = vec![resolved(Answer::NotFound), unicast("198.51.100.1")];
    let actions = after(&mut session, unknown, &config);
    assert_eq!(dialled(&actions), Some("198.51.100.1:1080".parse().unwrap()));
    let actions = session.sees(dials(Err(failed("connect"))), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
}

#[test]
fn h15_a_server_whose_address_has_become_this_hosts_own_while_another_was_dialled_is_passed_over() {
    let lines = "sockd @=gw.example:1081 0.0.0.0 0.0.0.0\n";
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", lines), session());
    let all = ["198.51.100.2", "198.51.100.3", "198.51.100.4"];
    let addresses = BoundedVec::first_of(all.iter().map(|address| address.parse().unwrap()));
    let found = vec![
        connect("203.0.113.1", 23),
        unicast("203.0.113.1"),
        resolved(Answer::Addresses(addresses)),
        kinds(&all.map(|address| (address, AddressKind::Unicast))),
    ];
    assert_eq!(dialled(&after(&mut session, found, &config)), Some("198.51.100.2:1081".parse().unwrap()));
    let actions = session.sees(dials(Err(failed("connect"))), &config);
    let next = vec!["198.51.100.3".parse().unwrap()];
    assert!(dialled(&actions).is_none() && begins(&actions, &Task::Classify(next, 1081)), "{actions:?}");
    let actions = session.sees(kinds(&[("198.51.100.3", AddressKind::Local)]), &config);
    let last = vec!["198.51.100.4".parse().unwrap()];
    assert!(dialled(&actions).is_none() && begins(&actions, &Task::Classify(last, 1081)), "{actions:?}");
    let actions = session.sees(unicast("198.51.100.4"), &config);
    assert_eq!(dialled(&actions), Some("198.51.100.4:1081".parse().unwrap()));
}

#[test]
fn a_server_that_speaks_socks5_is_asked_for_ipv6_and_told_no_user() {
    let lines = "sockd5 @=198.51.100.1 0.0.0.0 0.0.0.0\n";
    let (config, mut session) = (socksified("permit 0.0.0.0 0.0.0.0\n", lines), session());
    let begin = vec![connect("2001:db8::7", 23), unicast("2001:db8::7"), unicast("198.51.100.1")];
    let actions = after(&mut session, begin, &config);
    assert_eq!(dialled(&actions), Some("198.51.100.1:1080".parse().unwrap()));
    let (_, request) = asked_upstream(&session.sees(dials(Ok(())), &config)).unwrap();
    assert_eq!(request.destination, Destination::Address("2001:db8::7".parse().unwrap()));
    assert_eq!((request.version, request.user.as_bytes()), (5, &b""[..]));
    let actions = session.sees(granted("[2001:db8::9]:7"), &config);
    assert_eq!(handed_off(&actions), Some("[2001:db8::9]:7".parse().unwrap()));
}

#[test]
fn what_a_server_says_in_socks5_comes_back_as_its_own_reason() {
    let lines = "sockd5 @=198.51.100.1 0.0.0.0 0.0.0.0\n";
    let config = socksified("permit 0.0.0.0 0.0.0.0\n", lines);
    for (reply, why, line) in [
        (NextReply::Refused(RefusalReason::TimedOut), RefusalReason::TimedOut, "the next server refuses"),
        (NextReply::NoMethod, RefusalReason::General, "the next server wants to be shown who asks"),
        (
            NextReply::NoSocks5(b'H'),
            RefusalReason::General,
            "the next server's answer has version 72, expected 5",
        ),
        (
            NextReply::UnknownAddressType(3),
            RefusalReason::General,
            "the next server's reply has an address of kind 3, expected 1 or 4",
        ),
    ] {
        let actions = asking_upstream(&config, connect("203.0.113.1", 23)).sees(replied(reply), &config);
        assert_eq!(refusal(&actions), Some(why));
        assert!(lines_of(&actions).contains(line), "{actions:?}");
    }
    // SOCKS4 cannot tell its client of a port with an IPv6 address.
    let actions = asking_upstream(&config, bind("203.0.113.1")).sees(granted("[2001:db8::9]:7"), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
}

fn lines_of(actions: &[Action]) -> String {
    lines(actions).join("\n")
}

fn asking_upstream(config: &Config, request: Happens) -> Session {
    let mut session = session();
    let begin = vec![request, unicast("203.0.113.1"), unicast("198.51.100.1"), dials(Ok(()))];
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
            let actions = asking_upstream(&config, request).sees(replied(reply), &config);
            assert_eq!((refusal(&actions), lines(&actions).len()), (Some(code), 1), "{reply:?}");
            assert!(lines(&actions)[0].ends_with(" using sockd at 198.51.100.1:1080"));
        }
    }
    let actions = asking_upstream(&config, bind("203.0.113.1")).sees(no_room(Limit::BINDS), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
    let actions = asking_upstream(&config, bind("203.0.113.1")).sees(DEADLINE, &config);
    assert!(lines(&actions)[0].starts_with("timed-out -- Bind"), "{actions:?}");
}

#[test]
fn the_peer_that_a_next_server_tells_for_a_bind_has_to_be_the_one_that_was_asked_for() {
    let config = socksified("permit 0.0.0.0 0.0.0.0\n", TWO_UPSTREAMS);
    for (told, announced) in [("0.0.0.0:5", "198.51.100.1:5"), ("192.0.2.99:5", "192.0.2.99:5")] {
        let mut session = asking_upstream(&config, bind("203.0.113.1"));
        let actions = session.sees(granted(told), &config);
        assert!(actions.contains(&Action::Announce(announced.parse().unwrap())), "{actions:?}");
        let peer = "203.0.113.1:20";
        let actions = session.sees(granted(peer), &config);
        assert_eq!(handed_off(&actions), Some(peer.parse().unwrap()));
    }
    let mut session = asking_upstream(&config, bind("203.0.113.1"));
    session.sees(granted("0.0.0.0:5"), &config);
    let actions = session.sees(granted("203.0.113.2:20"), &config);
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
        let begin = vec![connect_to_name("a.example", 23), resolved(Answer::NotFound)];
        let actions = after(&mut session, begin, &config);
        assert_eq!(refusal(&actions).is_none(), passed, "{rules}{lines}");
        if passed {
            let actions = after(&mut session, vec![unicast("198.51.100.1"), dials(Ok(()))], &config);
            let (_, request) = asked_upstream(&actions).unwrap();
            assert_eq!(request.destination, Destination::Name(Name::new(b"a.example").unwrap()));
        }
    }
}

#[test]
fn an_address_that_nothing_is_known_of_in_time_is_not_asked_for_as_a_name() {
    let config = socksified("permit ALL 0.0.0.0\n", "sockd @=192.0.2.8 ALL 0.0.0.0\n");
    let mut session = session();
    let actions = after(&mut session, vec![connect("203.0.113.1", 80), DEADLINE], &config);
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
    let own = classified(vec![Candidate {
        address: "198.51.100.1".parse().unwrap(),
        kind: AddressKind::Local,
        own_listener: true,
        unreachable: false,
        source: None,
    }]);
    assert_eq!(refusal(&session.sees(own, &config)), Some(RefusalReason::General));
}

fn relaying(config: &Config) -> Session {
    let mut session = session();
    let events = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), dials(Ok(()))];
    after(&mut session, events, config);
    session
}

#[test]
fn a_relay_is_idle_when_the_kernel_says_so_and_is_looked_at_again_when_it_may_be() {
    let mut config = config("permit 0.0.0.0 0.0.0.0\n");
    config.settings.idle_limit = 100;
    let mut session = relaying(&config);
    assert_eq!(session.sees(DEADLINE, &config), [Action::Inspect]);
    let again = Action::Deadline(Some(std::time::Duration::from_secs(70)));
    assert_eq!(session.sees(Event::Inspected(idle_for(30)), &config), [again]);
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
    let actions = session.sees(over(), &config);
    assert!(matches!(actions[..], [Action::Deadline(Some(_))]), "{actions:?}");
    session.sees(Event::Inspected(idle_for(1)), &config);
    assert!(
        matches!(session.sees(over(), &config)[..], [Action::Deadline(Some(_))]),
        "it has been passed on between"
    );
    let actions = ending(&mut session, over(), &config);
    assert!(violates(&actions) && actions.contains(&Action::CloseRelay { orderly: false }), "{actions:?}");
    assert_eq!(session.sees(WORKER_LOST, &config), [Action::Reset, Action::Remove]);
}
