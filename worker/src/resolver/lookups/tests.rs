//! Lookups from the monitor's question to the answer, without a socket.

use super::super::answer::tests::{Reply, a, cname, dns, record, reply};
use super::super::question::{Asked, Spelling};
use super::*;
use domain::base::iana::Rtype;
use proptest::prelude::*;
use sockd_common::bounded::{BoundedBytes, BoundedVec};
use sockd_common::message::resolver::RecordType;
use std::time::Duration;

const ENTROPY: Entropy = [0x5a; 34];
const SECOND: Duration = Duration::from_secs(1);

fn lookups(servers: u8, attempts: u8) -> Lookups {
    let mut lookups = Lookups::default();
    lookups.set_up(Setup { servers, attempts, timeout: 5 * SECOND, ..Setup::default() });
    lookups
}

fn addresses_of(name: &str) -> Query {
    Query::Addresses(BoundedBytes::new(name.as_bytes()).unwrap())
}

/// What is said to the monitor; the rest of the actions is left out.
fn said(lookups: &mut Lookups) -> Vec<FromResolver> {
    let say = |action| if let Action::Say(message) = action { Some(message) } else { None };
    lookups.take_actions().into_iter().filter_map(say).collect()
}

fn need(id: u32, attempt: u8) -> Vec<FromResolver> {
    need_for(RecordType::A, id, attempt)
}

fn need_for(record: RecordType, id: u32, attempt: u8) -> Vec<FromResolver> {
    vec![FromResolver::NeedSocket { id: Id(id), record, transport: Transport::Udp, attempt }]
}

fn answer(id: u32, answer: Answer) -> FromResolver {
    FromResolver::Answer { id: Id(id), answer }
}

fn found(id: u32, last: u8) -> FromResolver {
    answer(id, Answer::Addresses(BoundedVec::first_of([[192, 0, 2, last].into()])))
}

fn asked(name: &str, record: RecordType) -> Asked {
    Asked::new(&Question { name: dns(name), record }, Spelling::Random, true, &ENTROPY).unwrap()
}

fn address_packet(name: &str, ttl: u32, last: u8) -> Vec<u8> {
    reply(&asked(name, RecordType::A), vec![a(name, ttl, [192, 0, 2, last])]).packet()
}

/// Gives lookup `id` its socket and then this packet.
fn serve(lookups: &mut Lookups, id: u32, packet: &[u8], now: Instant) -> Vec<FromResolver> {
    assert_eq!(lookups.socket(Id(id), &ENTROPY, now), Some(Transport::Udp));
    lookups.receive(Id(id), packet, now);
    said(lookups)
}

#[test]
fn a_lookup_needs_a_socket_asks_and_answers() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(7), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(7, 0));
    assert_eq!(lookups.socket(Id(7), &ENTROPY, now), Some(Transport::Udp));
    let packet = asked("a.test", RecordType::A).packet().unwrap();
    assert_eq!(lookups.take_actions(), [Action::Send(Id(7), packet)]);
    lookups.receive(Id(7), &address_packet("a.test", 60, 1), now);
    assert_eq!(lookups.take_actions(), [Action::Close(Id(7)), Action::Say(found(7, 1))]);
    assert!(lookups.lookups.is_empty() && lookups.asking.is_empty());
}

#[test]
fn a_known_answer_is_given_at_once_until_its_time_is_over() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    serve(&mut lookups, 1, &address_packet("a.test", 60, 1), now);
    assert!(lookups.resolve(Id(2), addresses_of("a.test."), now + 59 * SECOND));
    assert_eq!(said(&mut lookups), [found(2, 1)]);
    assert!(lookups.resolve(Id(3), addresses_of("a.test"), now + 60 * SECOND));
    assert_eq!(said(&mut lookups), need(3, 0));
}

/// Whoever asks for a name in a case that a nameserver does not know must not answer for those who know better.
#[test]
fn what_was_answered_to_one_spelling_is_not_the_answer_to_another() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("A.Test."), now));
    assert!(lookups.resolve(Id(2), addresses_of("a.test."), now));
    assert_eq!(said(&mut lookups), [need(1, 0), need(2, 0)].concat());
    serve(&mut lookups, 1, &address_packet("a.test", 60, 1), now);
    assert!(lookups.resolve(Id(3), addresses_of("A.TEST."), now));
    assert_eq!(said(&mut lookups), need(3, 0));
    assert!(lookups.resolve(Id(4), addresses_of("A.Test."), now));
    assert_eq!(said(&mut lookups), [found(4, 1)]);
}

#[test]
fn an_answer_that_holds_for_no_time_serves_one_lookup_only() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(1, 0));
    assert_eq!(serve(&mut lookups, 1, &address_packet("a.test", 0, 1), now), [found(1, 1)]);
    assert!(lookups.resolve(Id(2), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(2, 0));
}

#[test]
fn new_settings_empty_the_cache() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    serve(&mut lookups, 1, &address_packet("a.test", 60, 1), now);
    lookups.set_up(Setup { servers: 1, ..Setup::default() });
    assert!(lookups.resolve(Id(2), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(2, 0));
}

#[test]
fn the_same_question_is_asked_once_for_all() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 1..=3 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now));
    }
    assert_eq!(said(&mut lookups), need(1, 0));
    let all = [found(1, 1), found(2, 1), found(3, 1)];
    assert_eq!(serve(&mut lookups, 1, &address_packet("a.test", 0, 1), now), all);
}

#[test]
fn when_the_one_that_asks_is_cancelled_another_asks() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 1..=3 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now));
    }
    lookups.cancel(Id(1), now);
    let expected = [need(1, 0), vec![answer(1, Answer::Failed)], need(2, 0)].concat();
    assert_eq!(said(&mut lookups), expected);
    assert_eq!(serve(&mut lookups, 2, &address_packet("a.test", 0, 1), now), [found(2, 1), found(3, 1)]);
}

#[test]
fn a_lookup_is_answered_once_whatever_comes_afterwards() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    lookups.cancel(Id(1), now);
    assert_eq!(said(&mut lookups), [need(1, 0), vec![answer(1, Answer::Failed)]].concat());
    lookups.cancel(Id(1), now);
    assert_eq!(lookups.socket(Id(1), &ENTROPY, now), None);
    lookups.receive(Id(1), &address_packet("a.test", 60, 1), now);
    lookups.lose_socket(Id(1), now);
    assert_eq!(lookups.take_actions(), []);
}

#[test]
fn an_id_that_is_taken_is_refused() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert!(!lookups.resolve(Id(1), addresses_of("b.test"), now));
}

#[test]
fn more_lookups_than_the_limit_fail_at_once() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 0..1024 {
        assert!(lookups.resolve(Id(id), addresses_of(&format!("a{id}.test")), now));
    }
    said(&mut lookups);
    assert!(lookups.resolve(Id(1024), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), [answer(1024, Answer::Failed)]);
}

#[test]
fn a_silent_server_costs_its_time_and_then_the_next_is_asked() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(1, 0));
    assert_eq!(lookups.next_deadline(), None);
    let mut now = now;
    for attempt in 1..4 {
        assert!(lookups.socket(Id(1), &ENTROPY, now).is_some());
        assert_eq!(lookups.next_deadline(), Some(now + 5 * SECOND));
        said(&mut lookups);
        lookups.expire(now + 4 * SECOND);
        assert_eq!(said(&mut lookups), []);
        now += 5 * SECOND;
        lookups.expire(now);
        assert_eq!(said(&mut lookups), need(1, attempt));
    }
    lookups.lose_socket(Id(1), now);
    assert_eq!(said(&mut lookups), [answer(1, Answer::Failed)]);
}

#[test]
fn the_server_that_answered_is_asked_first_from_then_on() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    lookups.lose_socket(Id(1), now);
    said(&mut lookups);
    serve(&mut lookups, 1, &address_packet("a.test", 60, 1), now);
    assert!(lookups.resolve(Id(2), addresses_of("b.test"), now));
    assert_eq!(said(&mut lookups), need(2, 1));
    lookups.lose_socket(Id(2), now);
    assert_eq!(said(&mut lookups), need(2, 2));
}

#[test]
fn a_truncated_answer_is_asked_for_again_by_tcp_at_the_same_server() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    lookups.lose_socket(Id(1), now);
    said(&mut lookups);
    let truncated = Reply { flags: [0x83, 0x80], ..reply(&asked("a.test", RecordType::A), vec![]) };
    let need =
        FromResolver::NeedSocket { id: Id(1), record: RecordType::A, transport: Transport::Tcp, attempt: 1 };
    assert_eq!(serve(&mut lookups, 1, &truncated.packet(), now), [need]);
    assert_eq!(lookups.socket(Id(1), &ENTROPY, now), Some(Transport::Tcp));
    let packet = address_packet("a.test", 60, 1);
    lookups.receive(Id(1), &u16::try_from(packet.len()).unwrap().to_be_bytes(), now);
    lookups.receive(Id(1), &packet, now);
    assert_eq!(said(&mut lookups), [found(1, 1)]);
}

#[test]
fn no_lookup_asks_for_more_sockets_than_the_limit() {
    let (mut lookups, now) = (lookups(16, 16), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    let mut sockets = 0;
    while said(&mut lookups).iter().any(|message| matches!(message, FromResolver::NeedSocket { .. })) {
        sockets += 1;
        lookups.lose_socket(Id(1), now);
    }
    assert_eq!(sockets, MAX_SOCKETS);
    assert!(lookups.lookups.is_empty());
}

#[test]
fn a_chain_of_aliases_over_several_answers_is_followed() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need(1, 0));
    let alias = reply(&asked("a.test", RecordType::A), vec![cname("a.test", 0, "b.test")]).packet();
    assert_eq!(serve(&mut lookups, 1, &alias, now), need(1, 0));
    assert_eq!(serve(&mut lookups, 1, &address_packet("b.test", 0, 9), now), [found(1, 9)]);
}

#[test]
fn the_name_of_an_address_is_answered_when_it_has_the_address() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), Query::Names([192, 0, 2, 1].into()), now));
    assert_eq!(said(&mut lookups), need_for(RecordType::Ptr, 1, 0));
    let pointer = "1.2.0.192.in-addr.arpa";
    let target = dns("Host.TEST");
    let packet =
        reply(&asked(pointer, RecordType::Ptr), vec![record(pointer, Rtype::PTR, 60, target.as_slice())])
            .packet();
    assert_eq!(serve(&mut lookups, 1, &packet, now), need(1, 0));
    let names = Answer::Names(BoundedVec::first_of([BoundedBytes::new(b"host.test").unwrap()]));
    assert_eq!(serve(&mut lookups, 1, &address_packet("host.test", 60, 1), now), [answer(1, names)]);
}

#[derive(Debug, Clone)]
enum Event {
    Resolve(u32, u8),
    Names(u32),
    Socket(u32),
    NoSocket(u32),
    Packet(u32, u8),
    Octets(u32, Vec<u8>),
    Cancel(u32),
    Time(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0u32..6;
    prop_oneof![
        (id.clone(), 0u8..3).prop_map(|(id, name)| Event::Resolve(id, name)),
        id.clone().prop_map(Event::Names),
        id.clone().prop_map(Event::Socket),
        id.clone().prop_map(Event::Socket),
        id.clone().prop_map(Event::NoSocket),
        (id.clone(), 0u8..6).prop_map(|(id, which)| Event::Packet(id, which)),
        (id.clone(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(id, o)| Event::Octets(id, o)),
        id.prop_map(Event::Cancel),
        (0u8..9).prop_map(Event::Time),
    ]
}

/// One of several answers to what lookup `id` asks at present.
fn packet_for(lookups: &Lookups, id: u32, which: u8) -> Vec<u8> {
    let Some(State::Asking(exchange)) = lookups.lookups.get(&Id(id)).map(|lookup| &lookup.state) else {
        return vec![];
    };
    let question = exchange.question();
    let asked = Asked::new(question, Spelling::Random, true, &ENTROPY).unwrap();
    let name = question.name.to_string();
    let answer = match (which, question.record) {
        (0, RecordType::Ptr) => vec![record(&name, Rtype::PTR, 60, dns("n1.test").as_slice())],
        (0, _) => vec![a(&name, 1, [192, 0, 2, 1])],
        (1, _) => vec![cname(&name, 0, "n1.test")],
        _ => vec![],
    };
    let flags = [if which == 2 { 0x83 } else { 0x81 }, 0x80 | which];
    let packet = Reply { flags, ..reply(&asked, answer) }.packet();
    match exchange.transport() {
        Transport::Udp => packet,
        Transport::Tcp => [&u16::try_from(packet.len()).unwrap().to_be_bytes(), &*packet].concat(),
    }
}

proptest! {
    /// What the monitor relies on, whatever happens: one answer to every lookup, one needed socket at a time, a
    /// bounded number of them, and nothing said about a lookup that is not there.
    #[test]
    fn any_course_of_events_keeps_to_the_story(events in proptest::collection::vec(event(), 1..200)) {
        let mut lookups = lookups(2, 2);
        let mut now = Instant::now();
        let mut wanting: BTreeMap<Id, bool> = BTreeMap::new();
        let mut sockets: BTreeMap<Id, u32> = BTreeMap::new();
        let ends: Vec<Event> = (0..6).map(Event::Cancel).collect();
        for event in events.into_iter().chain(ends) {
            match event {
                Event::Resolve(id, _) | Event::Names(id) if wanting.contains_key(&Id(id)) => {}
                Event::Resolve(id, name) => {
                    wanting.insert(Id(id), false);
                    sockets.insert(Id(id), 0);
                    let query = addresses_of(&format!("n{name}.test"));
                    prop_assert!(lookups.resolve(Id(id), query, now));
                }
                Event::Names(id) => {
                    wanting.insert(Id(id), false);
                    sockets.insert(Id(id), 0);
                    prop_assert!(lookups.resolve(Id(id), Query::Names([192, 0, 2, 1].into()), now));
                }
                Event::Socket(id) => {
                    if wanting.get_mut(&Id(id)).is_some_and(core::mem::take) {
                        prop_assert!(lookups.socket(Id(id), &ENTROPY, now).is_some());
                    }
                }
                Event::NoSocket(id) => {
                    if wanting.get_mut(&Id(id)).is_some_and(core::mem::take) {
                        lookups.lose_socket(Id(id), now);
                    }
                }
                Event::Packet(id, which) => {
                    let packet = packet_for(&lookups, id, which);
                    lookups.receive(Id(id), &packet, now);
                }
                Event::Octets(id, octets) => lookups.receive(Id(id), &octets, now),
                Event::Cancel(id) => lookups.cancel(Id(id), now),
                Event::Time(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    lookups.expire(now);
                }
            }
            for message in said(&mut lookups) {
                match message {
                    FromResolver::NeedSocket { id, .. } => {
                        prop_assert_eq!(wanting.insert(id, true), Some(false), "one socket at a time");
                        let count = sockets.entry(id).or_default();
                        *count += 1;
                        prop_assert!(*count <= u32::from(MAX_SOCKETS));
                    }
                    FromResolver::Answer { id, .. } => {
                        prop_assert!(wanting.remove(&id).is_some(), "one answer to a lookup");
                    }
                    FromResolver::Ready(_) => prop_assert!(false),
                }
            }
        }
        prop_assert!(wanting.is_empty(), "every lookup is answered");
        prop_assert!(lookups.lookups.is_empty() && lookups.asking.is_empty() && lookups.ready.is_empty());
    }
}
