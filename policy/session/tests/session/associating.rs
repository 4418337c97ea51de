//! UDP ASSOCIATE: the connection that carries the request, and every flow as a decision of its own.

#![allow(clippy::disallowed_methods, reason = "where a test begins is any time")]

use crate::{CLIENT, candidates, config, settings};
use sockd_common::bounded::BoundedVec;
use sockd_common::message::datagram::{FlowId, Relayed};
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::CloseReason;
use sockd_common::message::{Errno, Name, UserId};
use sockd_policy::guard::AddressKind;
use sockd_policy::{parse_routes, parse_upstreams};
use sockd_session::config::Config;
use sockd_session::flow::Moved;
use sockd_session::log::classic;
use sockd_session::record::{EndCause, FailedCall, Record};
use sockd_session::session::{
    Action, Arrival, Association, Event, FlowAction, FlowEvent, Phase, Session, Task,
};
use sockd_session::violation::Violation;
use sockd_session::waits::WaitKey;
use std::time::{Duration, Instant};

const FLOW: FlowId = FlowId(3);
const RULES: &str = "deny ALL 0.0.0.0 203.0.113.66/32\npermit +=udp ALL 0.0.0.0\n";
const MOVED: Moved = Moved { up: 7, down: 9 };

fn asked(version: u8, config: &Config) -> (Session, Vec<Action>) {
    let mut session = Session::new(CLIENT.parse().unwrap(), false);
    let destination = Destination::Name(Name::new(b"0").unwrap());
    let (command, user) = (Command::Associate, UserId::default());
    let request = Request { version, command, destination, port: 4000, user };
    let actions = session.on(Event::Requested(request), config);
    (session, actions)
}

fn associated(config: &Config) -> Session {
    let (mut session, actions) = asked(5, config);
    assert!(actions.contains(&Action::Associate { hint: 4000 }), "{actions:?}");
    let at = "192.0.2.1:41000".parse().unwrap();
    let actions = session.on(Event::Associated(Ok(at)), config);
    assert_eq!(logged(&actions), ["connected -- Associate from (unknown)@192.0.2.7"]);
    assert_eq!((actions.last(), session.phase()), (Some(&Action::Associated(at)), Phase::Associated));
    session
}

fn logged<'a>(actions: impl IntoIterator<Item = &'a Action>) -> Vec<String> {
    let records = actions.into_iter().filter_map(|action| match action {
        Action::Record(record) => Some(classic::lines(record)),
        _ => None,
    });
    records.flatten().collect()
}

#[test]
fn where_no_line_is_for_udp_there_is_no_such_command() {
    let (session, actions) = asked(5, &config("permit ALL 0.0.0.0\n"));
    assert_eq!(logged(&actions), ["error -- undefined command (0x 3) from host 192.0.2.7"]);
    assert!(actions.contains(&Action::Refuse(RefusalReason::CommandNotSupported)));
    assert_eq!(session.phase(), Phase::Refusing);
}

#[test]
fn a_host_for_which_no_line_is_gets_no_association() {
    let (_, actions) = asked(5, &config("permit +=udp 10.0.0.0/8\n"));
    assert_eq!(logged(&actions), ["refused -- Associate from (unknown)@192.0.2.7"]);
    assert!(actions.contains(&Action::Refuse(RefusalReason::NotAllowed)));
}

#[test]
fn socks4_has_no_such_command() {
    let (_, actions) = asked(4, &config(RULES));
    assert!(matches!(actions[..], [Action::Violation(_)]), "{actions:?}");
}

#[test]
fn the_end_of_the_connection_ends_the_association_and_its_line_has_what_was_moved() {
    let config = config(RULES);
    for why in [CloseReason::Finished, CloseReason::ClientGone(Errno(104))] {
        let mut session = associated(&config);
        let actions = session.on(Event::Closed(why), &config);
        let [Action::Dissociate(cause)] = actions[..] else { panic!("{actions:?}") };
        let actions = session.on(Event::Dissociated(cause, MOVED), &config);
        let lines =
            ["terminated -- Associate from (unknown)@192.0.2.7", "7 bytes from 192.0.2.7, 9 bytes for it"];
        assert_eq!(logged(&actions), lines);
        assert_eq!(actions.last(), Some(&Action::Remove));
    }
}

#[test]
fn an_association_that_ends_by_itself_ends_the_connection() {
    let config = config(RULES);
    let mut session = associated(&config);
    let actions = session.on(Event::Dissociated(EndCause::Idle, MOVED), &config);
    assert!(actions.contains(&Action::End) && session.phase() == Phase::Closing);
    let mut session = associated(&config);
    assert_eq!(session.on(Event::Stop, &config), [Action::Dissociate(EndCause::Stopped)]);
    let mut killed = associated(&config);
    assert_eq!(killed.on(Event::Killed, &config), [Action::Dissociate(EndCause::Killed)]);
    // The client goes while the flows are being ended.
    assert_eq!(session.on(Event::Closed(CloseReason::Finished), &config), []);
    let actions = session.on(Event::Dissociated(EndCause::Finished, MOVED), &config);
    assert_eq!(actions.last(), Some(&Action::Remove));
}

#[test]
fn rules_without_udp_revoke_an_association() {
    let mut session = associated(&config(RULES));
    assert_eq!(session.on(Event::Recheck, &config(RULES)), []);
    let actions = session.on(Event::Recheck, &config("permit ALL 0.0.0.0\n"));
    assert_eq!(actions.last(), Some(&Action::Dissociate(EndCause::Revoked)));
    assert_eq!(session.on(Event::WorkerLost, &config(RULES)), []);
}

#[test]
fn what_a_worker_may_not_say_then_is_a_violation() {
    let config = config(RULES);
    for why in [CloseReason::Refused, CloseReason::BadName, CloseReason::Ended] {
        let actions = associated(&config).on(Event::Closed(why), &config);
        assert!(matches!(actions[..], [Action::Violation(_)]), "{why:?}: {actions:?}");
    }
}

/// The flows of an association, and the configuration that decides on them.
struct Flows {
    flows: Association,
    config: Config,
    now: Instant,
}

impl Flows {
    fn by(config: Config) -> Self {
        let flows = associated(&config).association().unwrap();
        Self { flows, config, now: Instant::now() }
    }

    fn new() -> Self {
        Self::by(config(RULES))
    }

    fn on(&mut self, event: FlowEvent) -> Result<Vec<FlowAction>, Violation> {
        self.flows.on(event, self.now, &self.config)
    }

    fn wants(&mut self, flow: FlowId, destination: Destination) -> Vec<FlowAction> {
        self.on(FlowEvent::Wanted { flow, destination, port: 53 }).unwrap()
    }

    fn wants_address(&mut self, flow: FlowId, address: &str) -> Vec<FlowAction> {
        self.wants(flow, Destination::Address(address.parse().unwrap()))
    }

    /// Tells the kind of an address.
    fn classified(&mut self, key: WaitKey, address: &str, kind: AddressKind) -> Vec<FlowAction> {
        self.on(FlowEvent::Arrived(key, Arrival::Classified(candidates(&[(address, kind)])))).unwrap()
    }

    /// Has a flow to this address decided on.
    fn decided(&mut self, flow: FlowId, address: &str) -> Vec<FlowAction> {
        let actions = self.wants_address(flow, address);
        let (key, task) = begun(&actions);
        assert!(matches!(task, Task::Classify(..)), "{task:?}");
        self.classified(key, address, AddressKind::Unicast)
    }

    /// A flow that is open.
    fn open(&mut self, flow: FlowId, address: &str) {
        let actions = self.decided(flow, address);
        let to = std::net::SocketAddr::new(address.parse().unwrap(), 53);
        assert!(actions.contains(&FlowAction::Open { flow, to, from: None }), "{actions:?}");
        assert_eq!(self.on(FlowEvent::Opened(flow, Ok(()))), Ok(vec![]));
    }
}

/// The task that has been begun, and its key.
fn begun(actions: &[FlowAction]) -> (WaitKey, &Task) {
    let begun = actions.iter().find_map(|action| match action {
        FlowAction::Do(Action::Begin(key, task)) => Some((*key, task)),
        _ => None,
    });
    begun.unwrap_or_else(|| panic!("{actions:?}"))
}

fn lines(actions: &[FlowAction]) -> Vec<String> {
    logged(actions.iter().filter_map(|action| match action {
        FlowAction::Do(action) => Some(action),
        _ => None,
    }))
}

#[test]
fn a_flow_is_opened_after_a_decision_and_closed_when_the_worker_says_so() {
    let mut flows = Flows::new();
    flows.open(FLOW, "203.0.113.1");
    let moved = Relayed { up: 1, down: 2 };
    assert_eq!(flows.on(FlowEvent::Gone(FLOW, moved)), Ok(vec![FlowAction::Close(FLOW)]));
    assert!(flows.flows.is_empty());
    assert_eq!(flows.flows.moved(Relayed { up: 10, down: 20 }), Moved { up: 11, down: 22 });
    flows.open(FLOW, "203.0.113.2");
}

#[test]
fn keys_of_flows_are_never_those_of_sessions() {
    let (key, _) = begun(&Flows::new().wants_address(FLOW, "203.0.113.1"));
    assert!(key.is_of_flow() && !WaitKey::FIRST.is_of_flow());
    let mut flows = Flows::new();
    flows.open(FLOW, "203.0.113.1");
    let (later, _) = begun(&flows.wants_address(FlowId(4), "203.0.113.2"));
    assert!(later.is_of_flow() && later > key, "no other one after one is open");
}

#[test]
fn a_denied_flow_is_refused_and_logged() {
    let mut flows = Flows::new();
    let actions = flows.decided(FLOW, "203.0.113.66");
    assert_eq!(lines(&actions), ["refused -- Udp from (unknown)@192.0.2.7 to 203.0.113.66 (53)"]);
    assert!(actions.contains(&FlowAction::Refuse(FLOW)) && flows.flows.is_empty());
}

#[test]
fn guards_hold() {
    let mut flows = Flows::new();
    let (key, _) = begun(&flows.wants_address(FLOW, "198.51.100.1"));
    let actions = flows.classified(key, "198.51.100.1", AddressKind::Local);
    assert!(actions.contains(&FlowAction::Refuse(FLOW)));
    assert!(lines(&actions)[1].starts_with("guarded destination: own address"), "{actions:?}");
}

#[test]
fn a_name_is_resolved_and_its_address_is_decided_on() {
    let mut flows = Flows::new();
    let name = Name::new(b"a.example").unwrap();
    let actions = flows.wants(FLOW, Destination::Name(name.clone()));
    let (key, task) = begun(&actions);
    assert_eq!(task, &Task::Resolve(Query::Addresses(name)));
    let found = Answer::Addresses(BoundedVec::first_of(["203.0.113.1".parse().unwrap()]));
    let (key, _) = begun(&flows.on(FlowEvent::Arrived(key, Arrival::Resolved(found))).unwrap());
    let actions = flows.classified(key, "203.0.113.1", AddressKind::Unicast);
    assert!(matches!(actions[..], [FlowAction::Open { .. }]), "{actions:?}");
}

#[test]
fn what_is_no_name_of_a_host_and_a_name_without_an_address_are_refused() {
    let mut flows = Flows::new();
    let refused = flows.wants(FLOW, Destination::Name(Name::new(b"0").unwrap()));
    assert_eq!(refused, [FlowAction::Refuse(FLOW)]);
    let (key, _) = begun(&flows.wants(FLOW, Destination::Name(Name::new(b"a.example").unwrap())));
    let actions = flows.on(FlowEvent::Arrived(key, Arrival::Resolved(Answer::NotFound))).unwrap();
    assert!(actions.contains(&FlowAction::Refuse(FLOW)), "{actions:?}");
}

#[test]
fn the_route_file_says_from_which_address() {
    let mut config = config(RULES);
    config.routes = Some(parse_routes(b"192.0.2.1 203.0.113.0/24\n").unwrap());
    let mut flows = Flows::by(config);
    let actions = flows.decided(FLOW, "203.0.113.1");
    let from = "192.0.2.1".parse().ok();
    assert!(matches!(&actions[..], [FlowAction::Open { from: found, .. }] if *found == from), "{actions:?}");
    assert!(flows.decided(FlowId(4), "198.51.100.1").contains(&FlowAction::Refuse(FlowId(4))));
}

/// A configuration with these lines of socks.conf(5).
fn config_upstream(lines: &[u8]) -> Config {
    let services = sockd_policy::Services::default();
    let upstreams = parse_upstreams(lines, &services, &mut |_| Ok(Vec::new())).unwrap();
    Config { upstreams: Some(upstreams), ..config(RULES) }
}

#[test]
fn a_flow_does_not_go_through_a_next_server_and_another_goes_directly() {
    let lines = b"direct 203.0.113.1/32\nsockd @=198.51.100.1:1080 ALL 0.0.0.0\n";
    let mut flows = Flows::by(config_upstream(lines));
    let actions = flows.decided(FLOW, "203.0.113.2");
    assert!(super_lines(&actions).contains("datagrams do not go through next servers"), "{actions:?}");
    assert!(actions.contains(&FlowAction::Refuse(FLOW)));
    flows.open(FLOW, "203.0.113.1");
}

#[test]
fn where_everything_goes_through_next_servers_there_is_no_association() {
    for lines in
        [&b"sockd @=198.51.100.1:1080 ALL 0.0.0.0\n"[..], b"deny 203.0.113.0/24\nsockd5 ALL 0.0.0.0\n"]
    {
        let (session, actions) = asked(5, &config_upstream(lines));
        let said =
            ["failed -- Associate from (unknown)@192.0.2.7. Error: datagrams do not go through next servers"];
        assert_eq!(logged(&actions), said);
        assert!(actions.contains(&Action::Refuse(RefusalReason::CommandNotSupported)), "{actions:?}");
        assert_eq!(session.phase(), Phase::Refusing);
    }
}

fn super_lines(actions: &[FlowAction]) -> String {
    lines(actions).concat()
}

#[test]
fn a_socket_that_cannot_be_is_a_refusal() {
    let mut flows = Flows::new();
    flows.decided(FLOW, "203.0.113.1");
    let failed = FailedCall { call: "connect", errno: Errno(101) };
    let actions = flows.on(FlowEvent::Opened(FLOW, Err(failed))).unwrap();
    assert!(super_lines(&actions).contains("connect() Network is unreachable"), "{actions:?}");
    assert!(actions.contains(&FlowAction::Refuse(FLOW)) && flows.flows.is_empty());
}

#[test]
fn facts_about_the_next_address_have_to_come_in_time_as_well() {
    let rules = "permit +=udp ALL 0.0.0.0 203.0.113.1/32\npermit ?=I +=udp ALL 0.0.0.0\n";
    let mut flows = Flows::by(config(rules));
    let (key, _) = begun(&flows.wants(FLOW, Destination::Name(Name::new(b"a.example").unwrap())));
    let addresses = ["203.0.113.1", "203.0.113.2"];
    let found = Answer::Addresses(BoundedVec::first_of(addresses.map(|address| address.parse().unwrap())));
    let both = || Arrival::Classified(candidates(&addresses.map(|address| (address, AddressKind::Unicast))));
    let (key, _) = begun(&flows.on(FlowEvent::Arrived(key, Arrival::Resolved(found))).unwrap());
    let actions = flows.on(FlowEvent::Arrived(key, both())).unwrap();
    assert!(matches!(actions.last(), Some(FlowAction::Open { .. })), "{actions:?}");
    let failed = FailedCall { call: "connect", errno: Errno(101) };
    let actions = flows.on(FlowEvent::Opened(FLOW, Err(failed))).unwrap();
    let (key, task) = begun(&actions);
    assert_eq!(task, &Task::AskIdent);
    flows.now = flows.flows.due_at().unwrap();
    let actions = flows.on(FlowEvent::Due).unwrap();
    assert!(actions.contains(&FlowAction::Do(Action::GiveUp(key))), "{actions:?}");
    assert!(actions.contains(&FlowAction::Refuse(FLOW)), "{actions:?}");
}

#[test]
fn facts_that_do_not_come_in_time_refuse_a_flow() {
    let mut flows = Flows::new();
    let (key, _) = begun(&flows.wants(FLOW, Destination::Name(Name::new(b"a.example").unwrap())));
    assert_eq!(flows.on(FlowEvent::Due), Ok(vec![]), "too early");
    flows.now = flows.flows.due_at().unwrap();
    let actions = flows.on(FlowEvent::Due).unwrap();
    assert!(actions.contains(&FlowAction::Do(Action::GiveUp(key))), "{actions:?}");
    assert!(actions.contains(&FlowAction::Refuse(FLOW)));
    let late = Arrival::Resolved(Answer::NotFound);
    assert_eq!(flows.on(FlowEvent::Arrived(key, late)), Ok(vec![]), "nobody waits any more");
}

#[test]
fn what_a_worker_may_not_say_of_a_flow_is_a_violation() {
    let mut flows = Flows::new();
    let nothing = Relayed::default();
    assert!(flows.on(FlowEvent::Gone(FLOW, nothing)).is_err(), "there is none");
    flows.wants_address(FLOW, "203.0.113.1");
    assert!(flows.on(FlowEvent::Gone(FLOW, nothing)).is_err(), "it is not open");
    let destination = Destination::Address("203.0.113.2".parse().unwrap());
    assert!(flows.on(FlowEvent::Wanted { flow: FLOW, destination, port: 1 }).is_err(), "it is there");
}

#[test]
fn new_rules_end_the_flows_that_they_deny_and_the_worker_has_to_say_so() {
    let mut flows = Flows::new();
    flows.open(FLOW, "203.0.113.1");
    flows.open(FlowId(4), "198.51.100.1");
    flows.config = config("deny ALL 0.0.0.0 203.0.113.0/24\npermit +=udp ALL 0.0.0.0\n");
    let actions = flows.on(FlowEvent::Recheck).unwrap();
    assert_eq!(actions.last(), Some(&FlowAction::End(FLOW)));
    assert_eq!(lines(&actions), ["refused -- Udp from (unknown)@192.0.2.7 to 203.0.113.1 (53)"]);
    assert_eq!(flows.on(FlowEvent::Recheck), Ok(vec![]), "once");
    let due = flows.flows.due_at().unwrap();
    assert!(due > flows.now && due <= flows.now + Duration::from_secs(10));
    flows.now = due;
    assert!(flows.on(FlowEvent::Due).is_err());
    assert_eq!(flows.on(FlowEvent::Gone(FLOW, Relayed::default())), Ok(vec![FlowAction::Close(FLOW)]));
}

#[test]
fn one_flow_more_than_there_may_be_is_refused() {
    let mut config = config(RULES);
    config.settings = settings("(max_flows: 1)");
    let mut flows = Flows::by(config);
    flows.open(FLOW, "203.0.113.1");
    assert_eq!(flows.wants_address(FlowId(4), "203.0.113.2"), [FlowAction::Full(FlowId(4))]);
}

#[test]
fn the_command_of_a_permitting_line_runs_once_for_an_association() {
    let mut flows = Flows::by(config("permit +=udp ALL 0.0.0.0 : echo %A\n"));
    let runs = |actions: &[FlowAction]| {
        actions.iter().filter(|action| matches!(action, FlowAction::Do(Action::Run(..)))).count()
    };
    let first = flows.decided(FLOW, "203.0.113.1");
    let second = flows.decided(FlowId(4), "203.0.113.2");
    assert_eq!((runs(&first), runs(&second)), (1, 0));
}

#[test]
fn the_end_of_a_flow_has_a_line_where_the_settings_say_so() {
    let mut config = config(RULES);
    config.settings = settings("(udp_log: flows)");
    let mut flows = Flows::by(config);
    flows.open(FLOW, "203.0.113.1");
    let actions = flows.on(FlowEvent::Gone(FLOW, Relayed { up: 1, down: 2 })).unwrap();
    let flow = "flow ended -- Udp from (unknown)@192.0.2.7 to 203.0.113.1 (53)";
    assert_eq!(lines(&actions), [flow, "1 bytes from 192.0.2.7, 2 bytes from 203.0.113.1"]);
    let is_about_relay = |action: &FlowAction| matches!(action, FlowAction::Do(Action::Record(record)) if record.is_about_relay());
    assert!(!actions.iter().any(is_about_relay), "a client can cause any number of them");
    assert!(actions.iter().any(|action| matches!(action, FlowAction::Do(Action::Record(record)) if matches!(**record, Record::Flow { .. }))));
}
