//! Lookups from the monitor's question to the answer, without a socket.

use super::super::answer::tests::{Reply, a, cname, dns, record, reply};
use super::super::question::{Asked, Spelling};
use super::*;
use domain::base::iana::Rtype;
use proptest::prelude::*;
use sockd_common::bounded::{BoundedBytes, BoundedVec};
use sockd_common::message::resolver::RecordType::{A, Aaaa, Ptr};
use std::collections::BTreeSet;

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

/// Returns the messages to the monitor, and drops the other actions.
fn said(lookups: &mut Lookups) -> Vec<FromResolver> {
    let say = |action| if let Action::Say(message) = action { Some(message) } else { None };
    lookups.take_actions().into_iter().filter_map(say).collect()
}

fn need(record: RecordType, id: u32, attempt: u8) -> FromResolver {
    FromResolver::NeedSocket { id: Id(id), record, transport: Transport::Udp, attempt }
}

/// The messages of a lookup that needs sockets for both kinds of addresses.
fn need_both(id: u32, attempt: u8) -> Vec<FromResolver> {
    vec![need(A, id, attempt), need(Aaaa, id, attempt)]
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
    reply(&asked(name, A), vec![a(name, ttl, [192, 0, 2, last])]).packet()
}

/// The answer that the name has no IPv6 addresses.
fn no_ipv6_packet(name: &str) -> Vec<u8> {
    reply(&asked(name, Aaaa), vec![]).packet()
}

/// Gives lookup `id` the socket that it needs for `record`.
fn give_socket(lookups: &mut Lookups, id: u32, record: RecordType, now: Instant) -> Key {
    let (key, transport) = lookups.socket(Id(id), record, &ENTROPY, now).unwrap();
    assert_eq!(transport, Transport::Udp);
    key
}

/// Gives lookup `id` the socket that it needs for `record`, and then this packet.
fn serve(
    lookups: &mut Lookups,
    id: u32,
    record: RecordType,
    packet: &[u8],
    now: Instant,
) -> Vec<FromResolver> {
    let key = give_socket(lookups, id, record, now);
    lookups.receive(key, packet, now);
    said(lookups)
}

/// Begins lookup `id` of a name and lets the nameserver say that it has this one address.
fn serve_address(lookups: &mut Lookups, id: u32, name: &str, ttl: u32, now: Instant) -> Vec<FromResolver> {
    assert!(lookups.resolve(Id(id), addresses_of(name), now));
    assert_eq!(said(lookups), need_both(id, 0));
    assert_eq!(serve(lookups, id, Aaaa, &no_ipv6_packet(name), now), []);
    serve(lookups, id, A, &address_packet(name, ttl, 1), now)
}

fn is_idle(lookups: &Lookups) -> bool {
    lookups.lookups.is_empty()
        && lookups.exchanges.is_empty()
        && lookups.asking.is_empty()
        && lookups.ready.is_empty()
}

#[test]
fn a_lookup_needs_a_socket_for_each_kind_of_addresses_asks_and_answers() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(7), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(7, 0));
    let keys = [A, Aaaa].map(|record| {
        let key = give_socket(&mut lookups, 7, record, now);
        let packet = asked("a.test", record).packet().unwrap();
        assert_eq!(lookups.take_actions(), [Action::Send(key, packet)]);
        key
    });
    lookups.receive(keys[0], &address_packet("a.test", 60, 1), now);
    assert_eq!(lookups.take_actions(), [Action::Close(keys[0])]);
    lookups.receive(keys[1], &no_ipv6_packet("a.test"), now);
    assert_eq!(lookups.take_actions(), [Action::Close(keys[1]), Action::Say(found(7, 1))]);
    assert!(is_idle(&lookups));
}

#[test]
fn what_has_addresses_of_one_kind_waits_for_the_other_only_a_moment() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(1, 0));
    give_socket(&mut lookups, 1, Aaaa, now);
    assert_eq!(serve(&mut lookups, 1, A, &address_packet("a.test", 60, 1), now), []);
    assert_eq!(lookups.next_deadline(), Some(now + RESOLUTION_DELAY));
    lookups.expire(now + RESOLUTION_DELAY - Duration::from_millis(1));
    assert_eq!(said(&mut lookups), []);
    lookups.expire(now + RESOLUTION_DELAY);
    assert_eq!(said(&mut lookups), [found(1, 1)]);
    assert!(is_idle(&lookups));
}

#[test]
fn a_known_answer_is_given_at_once_until_its_time_is_over() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert_eq!(serve_address(&mut lookups, 1, "a.test", 60, now), [found(1, 1)]);
    // The answer without IPv6 addresses had no time for which it holds.
    assert!(lookups.resolve(Id(2), addresses_of("a.test."), now + 59 * SECOND));
    assert_eq!(said(&mut lookups), [need(Aaaa, 2, 0)]);
    let packet = no_ipv6_packet("a.test");
    assert_eq!(serve(&mut lookups, 2, Aaaa, &packet, now + 59 * SECOND), [found(2, 1)]);
    assert!(lookups.resolve(Id(3), addresses_of("a.test"), now + 60 * SECOND));
    assert_eq!(said(&mut lookups), need_both(3, 0));
}

/// The answer to a spelling that a nameserver does not know must not become the answer to the right spelling.
#[test]
fn what_was_answered_to_one_spelling_is_not_the_answer_to_another() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("A.Test."), now));
    assert!(lookups.resolve(Id(2), addresses_of("a.test."), now));
    assert_eq!(said(&mut lookups), [need_both(1, 0), need_both(2, 0)].concat());
    serve(&mut lookups, 1, A, &address_packet("a.test", 60, 1), now);
    assert!(lookups.resolve(Id(3), addresses_of("A.TEST."), now));
    assert_eq!(said(&mut lookups), need_both(3, 0));
    assert!(lookups.resolve(Id(4), addresses_of("A.Test."), now));
    assert_eq!(said(&mut lookups), []);
    assert_eq!(serve(&mut lookups, 1, Aaaa, &no_ipv6_packet("a.test"), now), [found(1, 1), found(4, 1)]);
}

#[test]
fn an_answer_that_holds_for_no_time_serves_one_lookup_only() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert_eq!(serve_address(&mut lookups, 1, "a.test", 0, now), [found(1, 1)]);
    assert!(lookups.resolve(Id(2), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(2, 0));
}

#[test]
fn new_settings_empty_the_cache() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    serve_address(&mut lookups, 1, "a.test", 60, now);
    lookups.set_up(Setup { servers: 1, ..Setup::default() });
    assert!(lookups.resolve(Id(2), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(2, 0));
}

#[test]
fn the_same_question_is_asked_once_for_all() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 1..=3 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now));
    }
    assert_eq!(said(&mut lookups), need_both(1, 0));
    assert_eq!(serve(&mut lookups, 1, Aaaa, &no_ipv6_packet("a.test"), now), []);
    let all = [found(1, 1), found(2, 1), found(3, 1)];
    assert_eq!(serve(&mut lookups, 1, A, &address_packet("a.test", 0, 1), now), all);
}

/// Otherwise a client that asks for a name and cancels again and again would keep it from all others.
#[test]
fn a_question_on_its_way_goes_on_for_the_others_when_the_one_that_asked_is_cancelled() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 1..=3 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now));
    }
    assert_eq!(said(&mut lookups), need_both(1, 0));
    let [ipv4, ipv6] = [A, Aaaa].map(|record| give_socket(&mut lookups, 1, record, now));
    said(&mut lookups);
    let deadline = lookups.next_deadline();
    lookups.cancel(Id(1), now + SECOND);
    assert_eq!(lookups.take_actions(), [Action::Say(answer(1, Answer::Failed))]);
    for id in 4..=9 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now + SECOND));
        lookups.cancel(Id(id), now + SECOND);
        assert_eq!(lookups.take_actions(), [Action::Say(answer(id, Answer::Failed))]);
    }
    assert_eq!(lookups.next_deadline(), deadline);
    lookups.receive(ipv6, &no_ipv6_packet("a.test"), now);
    lookups.receive(ipv4, &address_packet("a.test", 0, 1), now);
    assert_eq!(said(&mut lookups), [found(2, 1), found(3, 1)]);
    assert!(is_idle(&lookups));
}

#[test]
fn a_socket_that_was_asked_for_is_asked_for_again_through_another_that_waits() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    for id in 1..=3 {
        assert!(lookups.resolve(Id(id), addresses_of("a.test"), now));
    }
    lookups.cancel(Id(1), now);
    let expected = [need_both(1, 0), vec![answer(1, Answer::Failed)], need_both(2, 0)].concat();
    assert_eq!(said(&mut lookups), expected);
    // The socket for the lookup that is not there any more may have been on its way.
    assert_eq!(lookups.socket(Id(1), A, &ENTROPY, now), None);
    serve(&mut lookups, 2, Aaaa, &no_ipv6_packet("a.test"), now);
    assert_eq!(serve(&mut lookups, 2, A, &address_packet("a.test", 0, 1), now), [found(2, 1), found(3, 1)]);
}

#[test]
fn a_question_goes_on_when_the_one_that_asked_has_used_up_its_sockets() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert!(lookups.resolve(Id(2), addresses_of("a.test"), now));
    said(&mut lookups);
    lookups.lookups.get_mut(&Id(1)).unwrap().sockets_left = 0;
    let truncated = Reply { flags: [0x83, 0x80], ..reply(&asked("a.test", A), vec![]) };
    let need = FromResolver::NeedSocket { id: Id(2), record: A, transport: Transport::Tcp, attempt: 0 };
    assert_eq!(serve(&mut lookups, 1, A, &truncated.packet(), now), [need]);
}

#[test]
fn a_lookup_is_answered_once_whatever_comes_afterwards() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    said(&mut lookups);
    let key = give_socket(&mut lookups, 1, A, now);
    said(&mut lookups);
    lookups.cancel(Id(1), now);
    assert_eq!(said(&mut lookups), [answer(1, Answer::Failed)]);
    lookups.cancel(Id(1), now);
    assert_eq!(lookups.socket(Id(1), Aaaa, &ENTROPY, now), None);
    lookups.receive(key, &address_packet("a.test", 60, 1), now);
    lookups.lose_socket(key, now);
    lookups.no_socket(Id(1), Aaaa, now);
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
    for id in 0..MAX_LOOKUPS {
        assert!(lookups.resolve(Id(id), addresses_of(&format!("a{id}.test")), now));
    }
    said(&mut lookups);
    assert!(lookups.resolve(Id(MAX_LOOKUPS), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), [answer(MAX_LOOKUPS, Answer::Failed)]);
}

#[test]
fn a_silent_server_costs_its_time_and_then_the_next_is_asked() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(1, 0));
    assert_eq!(lookups.next_deadline(), None);
    let mut now = now;
    for attempt in 1..4 {
        for record in [A, Aaaa] {
            give_socket(&mut lookups, 1, record, now);
        }
        assert_eq!(lookups.next_deadline(), Some(now + 5 * SECOND));
        said(&mut lookups);
        lookups.expire(now + 4 * SECOND);
        assert_eq!(said(&mut lookups), []);
        now += 5 * SECOND;
        lookups.expire(now);
        assert_eq!(said(&mut lookups), need_both(1, attempt));
    }
    lookups.no_socket(Id(1), A, now);
    lookups.no_socket(Id(1), Aaaa, now);
    assert_eq!(said(&mut lookups), [answer(1, Answer::Failed)]);
}

#[test]
fn that_no_nameserver_answers_is_remembered_for_a_while() {
    let (mut lookups, mut now) = (lookups(1, 1), Instant::now());
    let names = || Query::Names("192.0.2.9".parse().unwrap());
    let need =
        |id| FromResolver::NeedSocket { id: Id(id), record: Ptr, transport: Transport::Udp, attempt: 0 };
    assert!(lookups.resolve(Id(1), names(), now));
    // The name is asked for in random case, and as written.
    for _ in 0..2 {
        assert_eq!(said(&mut lookups), [need(1)]);
        give_socket(&mut lookups, 1, Ptr, now);
        said(&mut lookups);
        now += 5 * SECOND;
        lookups.expire(now);
    }
    assert_eq!(said(&mut lookups), [answer(1, Answer::Failed)]);
    now += 29 * SECOND;
    assert!(lookups.resolve(Id(2), names(), now));
    assert_eq!(said(&mut lookups), [answer(2, Answer::Failed)]);
    now += 2 * SECOND;
    assert!(lookups.resolve(Id(3), names(), now));
    assert_eq!(said(&mut lookups), [need(3)]);
    // A socket that is missing says nothing of the nameservers.
    lookups.no_socket(Id(3), Ptr, now);
    assert_eq!(said(&mut lookups), [answer(3, Answer::Failed)]);
    assert!(lookups.resolve(Id(4), names(), now));
    assert_eq!(said(&mut lookups), [need(4)]);
}

#[test]
fn a_dead_nameserver_holds_up_a_few_lookups_and_then_only_a_moment() {
    let (mut lookups, mut now) = (lookups(2, 2), Instant::now());
    for id in 0..3 {
        assert!(lookups.resolve(Id(id), addresses_of(&format!("n{id}.test")), now));
        assert_eq!(said(&mut lookups), need_both(id, 0));
        for record in [A, Aaaa] {
            give_socket(&mut lookups, id, record, now);
        }
        said(&mut lookups);
        let wait = if id < 2 { 5 * SECOND } else { Duration::from_millis(250) };
        assert_eq!(lookups.next_deadline(), Some(now + wait));
        now += wait;
        lookups.expire(now);
        assert_eq!(said(&mut lookups), need_both(id, 1));
        let name = format!("n{id}.test");
        serve(&mut lookups, id, Aaaa, &no_ipv6_packet(&name), now);
        assert_eq!(serve(&mut lookups, id, A, &address_packet(&name, 0, 1), now), [found(id, 1)]);
    }
}

/// Names that the first nameserver does not answer are easily found. They must not send everybody to the second.
#[test]
fn names_that_the_first_nameserver_fails_or_does_not_answer_change_nothing_for_others() {
    let (mut lookups, mut now) = (lookups(2, 2), Instant::now());
    for id in 0..20 {
        assert!(lookups.resolve(Id(id), addresses_of(&format!("slow{id}.test")), now));
        give_socket(&mut lookups, id, A, now);
        let failure = Reply { flags: [0x81, 0x82], ..reply(&asked(&format!("slow{id}.test"), Aaaa), vec![]) };
        serve(&mut lookups, id, Aaaa, &failure.packet(), now);
    }
    now += 5 * SECOND;
    lookups.expire(now);
    said(&mut lookups);
    assert!(lookups.resolve(Id(99), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(99, 0));
    give_socket(&mut lookups, 99, A, now);
    assert_eq!(lookups.next_deadline(), Some(now + 5 * SECOND));
}

#[test]
fn which_nameserver_is_asked_first_is_each_lookups_own() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    lookups.no_socket(Id(1), A, now);
    assert_eq!(said(&mut lookups), [need_both(1, 0), vec![need(A, 1, 1)]].concat());
    // The second nameserver knows the alias: this lookup begins with it from then on.
    let alias = reply(&asked("a.test", A), vec![cname("a.test", 0, "b.test")]).packet();
    assert_eq!(serve(&mut lookups, 1, A, &alias, now), [need(A, 1, 1)]);
    // Another lookup begins with the first, even if it asks for the same.
    assert!(lookups.resolve(Id(2), addresses_of("b.test"), now));
    assert_eq!(said(&mut lookups), need_both(2, 0));
}

#[test]
fn a_truncated_answer_is_asked_for_again_by_tcp_at_the_same_server() {
    let (mut lookups, now) = (lookups(2, 2), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    lookups.no_socket(Id(1), A, now);
    said(&mut lookups);
    serve(&mut lookups, 1, Aaaa, &no_ipv6_packet("a.test"), now);
    let truncated = Reply { flags: [0x83, 0x80], ..reply(&asked("a.test", A), vec![]) };
    let need = FromResolver::NeedSocket { id: Id(1), record: A, transport: Transport::Tcp, attempt: 1 };
    assert_eq!(serve(&mut lookups, 1, A, &truncated.packet(), now), [need]);
    let (key, transport) = lookups.socket(Id(1), A, &ENTROPY, now).unwrap();
    assert_eq!(transport, Transport::Tcp);
    let packet = address_packet("a.test", 60, 1);
    lookups.receive(key, &u16::try_from(packet.len()).unwrap().to_be_bytes(), now);
    lookups.receive(key, &packet, now);
    assert_eq!(said(&mut lookups), [found(1, 1)]);
}

#[test]
fn no_lookup_asks_for_more_sockets_than_the_limit() {
    let (mut lookups, now) = (lookups(16, 16), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    let mut sockets = 0;
    loop {
        let needed = said(&mut lookups);
        let needed = needed.iter().filter_map(|message| match message {
            FromResolver::NeedSocket { record, .. } => Some(*record),
            _ => None,
        });
        let needed: Vec<RecordType> = needed.collect();
        if needed.is_empty() {
            break;
        }
        for record in needed {
            sockets += 1;
            lookups.no_socket(Id(1), record, now);
        }
    }
    assert_eq!(sockets, MAX_SOCKETS);
    assert!(is_idle(&lookups));
}

#[test]
fn a_chain_of_aliases_over_several_answers_is_followed() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), addresses_of("a.test"), now));
    assert_eq!(said(&mut lookups), need_both(1, 0));
    assert_eq!(serve(&mut lookups, 1, Aaaa, &no_ipv6_packet("a.test"), now), []);
    let alias = reply(&asked("a.test", A), vec![cname("a.test", 0, "b.test")]).packet();
    assert_eq!(serve(&mut lookups, 1, A, &alias, now), [need(A, 1, 0)]);
    assert_eq!(serve(&mut lookups, 1, A, &address_packet("b.test", 0, 9), now), [found(1, 9)]);
}

#[test]
fn the_name_of_an_address_is_answered_when_it_has_the_address() {
    let (mut lookups, now) = (lookups(1, 1), Instant::now());
    assert!(lookups.resolve(Id(1), Query::Names([192, 0, 2, 1].into()), now));
    assert_eq!(said(&mut lookups), [need(Ptr, 1, 0)]);
    let pointer = "1.2.0.192.in-addr.arpa";
    let target = dns("Host.TEST");
    let packet =
        reply(&asked(pointer, Ptr), vec![record(pointer, Rtype::PTR, 60, target.as_slice())]).packet();
    assert_eq!(serve(&mut lookups, 1, Ptr, &packet, now), [need(A, 1, 0)]);
    let names = Answer::Names(BoundedVec::first_of([BoundedBytes::new(b"host.test").unwrap()]));
    assert_eq!(serve(&mut lookups, 1, A, &address_packet("host.test", 60, 1), now), [answer(1, names)]);
}

#[derive(Debug, Clone)]
enum Event {
    Resolve(u32, u8),
    Names(u32),
    Socket(u32, RecordType),
    NoSocket(u32, RecordType),
    Packet(usize, u8),
    Octets(usize, Vec<u8>),
    Cancel(u32),
    Time(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0u32..6;
    let record = prop_oneof![Just(A), Just(Aaaa), Just(Ptr)];
    let octets = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (id.clone(), 0u8..3).prop_map(|(id, name)| Event::Resolve(id, name)),
        id.clone().prop_map(Event::Names),
        (id.clone(), record.clone()).prop_map(|(id, record)| Event::Socket(id, record)),
        (id.clone(), record.clone()).prop_map(|(id, record)| Event::Socket(id, record)),
        (id.clone(), record).prop_map(|(id, record)| Event::NoSocket(id, record)),
        (0usize..12, 0u8..6).prop_map(|(place, which)| Event::Packet(place, which)),
        (0usize..12, octets).prop_map(|(place, octets)| Event::Octets(place, octets)),
        id.prop_map(Event::Cancel),
        (0u8..9).prop_map(Event::Time),
    ]
}

/// An answer to the question of an exchange, which `which` chooses among several.
fn packet_for(exchange: &Exchange, which: u8) -> Vec<u8> {
    let question = exchange.question();
    let asked = Asked::new(question, Spelling::Random, true, &ENTROPY).unwrap();
    let name = question.name.to_string();
    let answer = match (which, question.record) {
        (0, Ptr) => vec![record(&name, Rtype::PTR, 60, dns("n1.test").as_slice())],
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

/// The monitor's book of a lookup: the records for which it owes a socket, and the number of sockets so far.
#[derive(Default)]
struct Book {
    owed: BTreeSet<RecordType>,
    sockets: u8,
}

/// Pays a socket that a lookup is owed. Returns false if it is owed none.
fn is_owed(books: &mut BTreeMap<Id, Book>, id: u32, record: RecordType) -> bool {
    books.get_mut(&Id(id)).is_some_and(|book| book.owed.remove(&record))
}

fn happen(lookups: &mut Lookups, event: Event, books: &mut BTreeMap<Id, Book>, now: &mut Instant) {
    match event {
        Event::Resolve(id, _) | Event::Names(id) if books.contains_key(&Id(id)) => {}
        Event::Resolve(id, name) => {
            books.insert(Id(id), Book::default());
            assert!(lookups.resolve(Id(id), addresses_of(&format!("n{name}.test")), *now));
        }
        Event::Names(id) => {
            books.insert(Id(id), Book::default());
            assert!(lookups.resolve(Id(id), Query::Names([192, 0, 2, 1].into()), *now));
        }
        Event::Socket(id, record) => {
            let owed = is_owed(books, id, record);
            assert_eq!(lookups.socket(Id(id), record, &ENTROPY, *now).is_some(), owed);
        }
        Event::NoSocket(id, record) => {
            if is_owed(books, id, record) {
                lookups.no_socket(Id(id), record, *now);
            }
        }
        Event::Packet(place, which) => {
            if let Some((key, shared)) = lookups.exchanges.iter().nth(place) {
                let (key, packet) = (*key, packet_for(&shared.exchange, which));
                lookups.receive(key, &packet, *now);
            }
        }
        Event::Octets(place, octets) => {
            if let Some(key) = lookups.exchanges.keys().nth(place).copied() {
                lookups.receive(key, &octets, *now);
            }
        }
        Event::Cancel(id) => lookups.cancel(Id(id), *now),
        Event::Time(seconds) => {
            *now += Duration::from_secs(seconds.into());
            lookups.expire(*now);
        }
    }
}

proptest! {
    /// The monitor relies on this, whatever happens: one answer to every lookup, one socket at a time for each type of
    /// record, a bounded number of them, and no message about a lookup that is not there.
    #[test]
    fn any_course_of_events_keeps_to_the_story(events in proptest::collection::vec(event(), 1..200)) {
        let mut lookups = lookups(2, 2);
        let mut now = Instant::now();
        let mut books: BTreeMap<Id, Book> = BTreeMap::new();
        let ends: Vec<Event> = (0..6).map(Event::Cancel).collect();
        for event in events.into_iter().chain(ends) {
            happen(&mut lookups, event, &mut books, &mut now);
            for message in said(&mut lookups) {
                match message {
                    FromResolver::NeedSocket { id, record, .. } => {
                        let book = books.get_mut(&id).expect("a lookup that is there");
                        prop_assert!(book.owed.insert(record), "one socket at a time");
                        book.sockets += 1;
                        prop_assert!(book.sockets <= MAX_SOCKETS);
                    }
                    FromResolver::Answer { id, .. } => {
                        prop_assert!(books.remove(&id).is_some(), "one answer to a lookup");
                    }
                    FromResolver::Ready(_) => prop_assert!(false),
                }
            }
            let waited_for: BTreeSet<Key> =
                lookups.lookups.values().flat_map(|lookup| lookup.waits_for.clone()).collect();
            prop_assert!(lookups.exchanges.keys().eq(&waited_for), "nothing is asked that nobody waits for");
        }
        prop_assert!(books.is_empty(), "every lookup is answered");
        prop_assert!(is_idle(&lookups));
    }
}
