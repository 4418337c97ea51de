//! Plans gone through to their end with nameservers that are only a table.

use super::*;
use sockd_common::bounded::BoundedBytes;

/// The knowledge of the world's nameservers: name, type of record, outcome. Names that are not listed do not exist.
type World<'a> = &'a [(&'a str, RecordType, Outcome)];

fn host(name: &str) -> HostName {
    HostName::from_text(name.as_bytes()).unwrap()
}

fn found(addresses: &[&str]) -> Outcome {
    Outcome::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn named(names: &[&str]) -> Outcome {
    Outcome::Names(names.iter().map(|name| host(name)).collect())
}

fn alias(name: &str) -> Outcome {
    Outcome::Alias(host(name).to_dns().unwrap())
}

fn setup() -> Setup {
    Setup { servers: 1, ndots: 1, search: vec![host("corp.example"), host("example")], ..Setup::default() }
}

/// Returns the answer, and the names that were asked for on the way.
fn lookup(query: &Query, setup: &Setup, hosts: &[u8], world: World<'_>) -> (Answer, Vec<String>) {
    let hosts = Hosts::parse(hosts.to_vec());
    let plan = Plan { setup, hosts: &hosts };
    let mut known: Vec<(Question, Outcome)> = vec![];
    let mut asked = vec![];
    loop {
        let mut look = |question: &Question| {
            known.iter().find(|(known, _)| known == question).map(|(_, outcome)| outcome.clone())
        };
        match plan.answer(query, &mut look) {
            Ok(answer) => return (answer, asked),
            Err(open) => {
                for question in open.questions {
                    let listed = |(name, record, _): &&(&str, RecordType, Outcome)| {
                        host(name).to_dns().unwrap() == question.name && *record == question.record
                    };
                    let outcome =
                        world.iter().find(listed).map_or(Outcome::NoName, |(_, _, outcome)| outcome.clone());
                    asked.push(format!("{} {:?}", question.name, question.record));
                    assert!(asked.len() < 50, "asks without end");
                    known.push((question, outcome));
                }
            }
        }
    }
}

/// Questions for both kinds of addresses of these names.
fn both(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| [format!("{name} A"), format!("{name} Aaaa")]).collect()
}

fn addresses_of(name: &str) -> Query {
    Query::Addresses(BoundedBytes::new(name.as_bytes()).unwrap())
}

fn names_of(address: &str) -> Query {
    Query::Names(address.parse().unwrap())
}

fn addresses(addresses: &[&str]) -> Answer {
    Answer::Addresses(BoundedVec::first_of(addresses.iter().map(|address| address.parse().unwrap())))
}

fn names(names: &[&str]) -> Answer {
    Answer::Names(BoundedVec::first_of(names.iter().map(|name| BoundedBytes::new(name.as_bytes()).unwrap())))
}

#[test]
fn a_name_is_asked_for_both_kinds_of_addresses_at_once_and_all_are_answered() {
    let world = [
        ("a.test", RecordType::A, found(&["192.0.2.1", "192.0.2.2"])),
        ("a.test", RecordType::Aaaa, found(&["2001:db8::1"])),
    ];
    let expected = addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(lookup(&addresses_of("a.test."), &setup(), b"", &world), (expected, both(&["a.test"])));
    let (setup, hosts) = (setup(), Hosts::default());
    let plan = Plan { setup: &setup, hosts: &hosts };
    let open = plan.answer(&addresses_of("a.test."), &mut |_| None).unwrap_err();
    assert_eq!((open.questions.len(), open.enough), (2, false));
    let only = |record| move |question: &Question| (question.record == record).then(|| found(&["192.0.2.1"]));
    let open = plan.answer(&addresses_of("a.test."), &mut only(RecordType::A)).unwrap_err();
    assert_eq!((open.questions[0].record, open.enough), (RecordType::Aaaa, true));
    let open = plan.answer(&addresses_of("a.test."), &mut only(RecordType::Aaaa)).unwrap_err();
    assert_eq!((open.questions[0].record, open.enough), (RecordType::A, true));
}

#[test]
fn what_is_said_of_one_kind_of_addresses_means_nothing_for_the_other() {
    for other in [Outcome::NoName, Outcome::NoData, Outcome::Failed] {
        for (present, absent, address) in
            [(RecordType::A, RecordType::Aaaa, "192.0.2.1"), (RecordType::Aaaa, RecordType::A, "2001:db8::1")]
        {
            let world = [("a.test", present, found(&[address])), ("a.test", absent, other.clone())];
            let answer = lookup(&addresses_of("a.test."), &setup(), b"", &world).0;
            assert_eq!(answer, addresses(&[address]), "{other:?} for {absent:?}");
        }
    }
}

#[test]
fn a_name_of_which_one_kind_of_addresses_could_not_be_had_and_the_other_does_not_exist_fails() {
    for record in [RecordType::A, RecordType::Aaaa] {
        let world = [("a.test", record, Outcome::Failed)];
        assert_eq!(lookup(&addresses_of("a.test."), &setup(), b"", &world).0, Answer::Failed);
    }
}

#[test]
fn of_many_addresses_either_kind_has_half_of_the_room() {
    let of = |ipv4: u8, ipv6: u8| {
        let ipv4 = (0..ipv4).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let ipv6 = (0..ipv6).map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()])).collect();
        let union = union(ipv4, ipv6);
        let count = union.iter().filter(|address| address.is_ipv4()).count();
        (count, union.len() - count)
    };
    assert_eq!(
        [of(16, 16), of(16, 3), of(3, 16), of(16, 0), of(0, 16)],
        [(8, 8), (13, 3), (3, 13), (16, 0), (0, 16)]
    );
}

#[test]
fn a_name_that_does_not_exist_is_asked_for_once_for_each_kind() {
    let expected = (Answer::NotFound, both(&["a.test"]));
    assert_eq!(lookup(&addresses_of("a.test."), &setup(), b"", &[]), expected);
}

#[test]
fn names_with_few_dots_are_tried_below_the_search_domains_first() {
    let (answer, asked) =
        lookup(&addresses_of("a"), &setup(), b"", &[("a", RecordType::A, found(&["192.0.2.1"]))]);
    assert_eq!(answer, addresses(&["192.0.2.1"]));
    assert_eq!(asked, both(&["a.corp.example", "a.example", "a"]));
}

#[test]
fn a_name_is_asked_for_as_it_was_written() {
    let asked = lookup(&addresses_of("MyDb"), &setup(), b"", &[]).1;
    assert_eq!(asked, both(&["MyDb.corp.example", "MyDb.example", "MyDb"]));
}

#[test]
fn names_with_enough_dots_are_tried_as_they_are_first() {
    let world = [("a.b.example", RecordType::A, found(&["192.0.2.1"]))];
    let (answer, asked) = lookup(&addresses_of("a.b"), &setup(), b"", &world);
    assert_eq!(answer, addresses(&["192.0.2.1"]));
    assert_eq!(asked, both(&["a.b", "a.b.corp.example", "a.b.example"]));
}

#[test]
fn a_name_with_a_final_dot_is_tried_only_as_it_is() {
    let (answer, asked) = lookup(&addresses_of("a."), &setup(), b"", &[]);
    assert_eq!((answer, asked), (Answer::NotFound, both(&["a"])));
}

#[test]
fn a_search_ends_where_a_question_fails() {
    let world = [
        ("a.corp.example", RecordType::A, Outcome::Failed),
        ("a.example", RecordType::A, found(&["192.0.2.1"])),
    ];
    assert_eq!(lookup(&addresses_of("a"), &setup(), b"", &world).0, Answer::Failed);
}

#[test]
fn an_alias_without_its_target_is_followed_by_another_question() {
    let world =
        [("a.test", RecordType::A, alias("b.test")), ("b.test", RecordType::A, found(&["192.0.2.1"]))];
    let (answer, asked) = lookup(&addresses_of("a.test"), &setup(), b"", &world);
    assert_eq!(answer, addresses(&["192.0.2.1"]));
    assert_eq!(asked, ["a.test A", "a.test Aaaa", "b.test A"]);
}

#[test]
fn aliases_that_lead_in_a_circle_fail() {
    let world = [("a.test", RecordType::A, alias("b.test")), ("b.test", RecordType::A, alias("a.test"))];
    let (answer, asked) = lookup(&addresses_of("a.test"), &setup(), b"", &world);
    assert_eq!((answer, asked.len()), (Answer::Failed, 3));
}

#[test]
fn a_chain_of_aliases_ends_somewhere() {
    let world: Vec<_> =
        ('a'..='y').zip('b'..='z').map(|(from, to)| (from.to_string(), to.to_string())).collect();
    let world: Vec<_> = world.iter().map(|(from, to)| (&**from, RecordType::A, alias(to))).collect();
    let (answer, asked) = lookup(&addresses_of("a."), &setup(), b"", &world);
    assert_eq!((answer, asked.len()), (Answer::Failed, MAX_ALIASES + 1));
}

#[test]
fn the_table_of_hosts_goes_before_the_nameservers() {
    let hosts = b"2001:db8::5 www.test\n192.0.2.5 www.test web";
    let world = [("www.test", RecordType::A, found(&["192.0.2.66"]))];
    let (answer, asked) = lookup(&addresses_of("www.test"), &setup(), hosts, &world);
    assert_eq!((answer, asked), (addresses(&["192.0.2.5", "2001:db8::5"]), vec![]));
    let (answer, asked) = lookup(&names_of("192.0.2.5"), &setup(), hosts, &world);
    assert_eq!((answer, asked), (names(&["www.test", "web"]), vec![]));
}

#[test]
fn localhost_is_this_host_whatever_a_nameserver_says() {
    let world = [("localhost", RecordType::A, found(&["192.0.2.66"]))];
    for name in ["localhost", "LOCALHOST.", "a.localhost"] {
        assert_eq!(lookup(&addresses_of(name), &setup(), b"", &world), (addresses(&["127.0.0.1"]), vec![]));
    }
    assert_eq!(lookup(&names_of("127.0.0.1"), &setup(), b"", &[]), (names(&["localhost"]), vec![]));
    assert_eq!(lookup(&names_of("127.0.0.9"), &setup(), b"", &[]), (Answer::NotFound, vec![]));
}

#[test]
fn numbers_and_names_that_cannot_be_are_not_asked_for() {
    for name in ["", ".", "127.1", "0x7f.1", "2130706433", "a b", "a..b", "x.invalid", "a\0b", "fe80::1%eth0"]
    {
        assert_eq!(lookup(&addresses_of(name), &setup(), b"", &[]), (Answer::NotFound, vec![]), "{name:?}");
    }
}

/// RFC 7686: whichever way a name below `.onion` comes up, no nameserver hears of it.
#[test]
fn names_of_hidden_services_are_not_asked_for() {
    for name in ["onion", "x.onion", "a.x.ONION."] {
        assert_eq!(lookup(&addresses_of(name), &setup(), b"", &[]), (Answer::NotFound, vec![]), "{name:?}");
    }
    let searching = Setup { search: vec![host("onion")], ..setup() };
    assert_eq!(lookup(&addresses_of("a"), &searching, b"", &[]).1, both(&["a"]));
    let world = [("a.test", RecordType::A, alias("x.onion"))];
    assert_eq!(lookup(&addresses_of("a.test."), &setup(), b"", &world).1, both(&["a.test"]));
    let world = [(POINTER, RecordType::Ptr, named(&["x.onion"]))];
    let (answer, asked) = lookup(&names_of("192.0.2.1"), &setup(), b"", &world);
    assert_eq!((answer, asked.len()), (Answer::NotFound, 1));
    let hosts = b"192.0.2.5 x.onion";
    assert_eq!(lookup(&addresses_of("x.onion"), &setup(), hosts, &[]).0, addresses(&["192.0.2.5"]));
}

#[test]
fn without_nameservers_only_the_table_of_hosts_answers() {
    let setup = Setup::default();
    assert_eq!(lookup(&addresses_of("a"), &setup, b"192.0.2.1 a", &[]), (addresses(&["192.0.2.1"]), vec![]));
    assert_eq!(lookup(&addresses_of("b"), &setup, b"192.0.2.1 a", &[]), (Answer::NotFound, vec![]));
    assert_eq!(lookup(&names_of("192.0.2.9"), &setup, b"", &[]), (Answer::NotFound, vec![]));
}

const POINTER: &str = "1.2.0.192.in-addr.arpa";

#[test]
fn only_names_that_have_the_address_are_answered() {
    let world = [
        (POINTER, RecordType::Ptr, named(&["liar.test", "a.test", "nowhere.test"])),
        ("liar.test", RecordType::A, found(&["192.0.2.99"])),
        ("a.test", RecordType::A, found(&["192.0.2.7", "192.0.2.1"])),
    ];
    let (answer, asked) = lookup(&names_of("192.0.2.1"), &setup(), b"", &world);
    assert_eq!(answer, names(&["a.test"]));
    assert_eq!(asked, [&format!("{POINTER} Ptr"), "liar.test A", "a.test A", "nowhere.test A"]);
    let unconfirmed = [(POINTER, RecordType::Ptr, named(&["nowhere.test"]))];
    assert_eq!(lookup(&names_of("192.0.2.1"), &setup(), b"", &unconfirmed).0, Answer::NotFound);
}

#[test]
fn a_mapped_address_is_looked_up_as_the_ipv4_address_that_it_stands_for() {
    let world =
        [(POINTER, RecordType::Ptr, named(&["a.test"])), ("a.test", RecordType::A, found(&["192.0.2.1"]))];
    assert_eq!(lookup(&names_of("::ffff:192.0.2.1"), &setup(), b"", &world).0, names(&["a.test"]));
}

#[test]
fn an_ipv6_address_is_confirmed_by_ipv6_addresses_even_where_there_are_ipv4_addresses() {
    let pointer = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let world = [
        (pointer, RecordType::Ptr, named(&["a.test"])),
        ("a.test", RecordType::A, found(&["192.0.2.1"])),
        ("a.test", RecordType::Aaaa, found(&["2001:db8::1"])),
    ];
    assert_eq!(lookup(&names_of("2001:db8::1"), &setup(), b"", &world).0, names(&["a.test"]));
}

#[test]
fn a_pointer_to_a_short_name_is_not_completed_from_the_search_list() {
    let world =
        [(POINTER, RecordType::Ptr, named(&["a"])), ("a.example", RecordType::A, found(&["192.0.2.1"]))];
    let (answer, asked) = lookup(&names_of("192.0.2.1"), &setup(), b"", &world);
    assert_eq!((answer, asked.len()), (Answer::NotFound, 2));
}

#[test]
fn a_pointer_to_localhost_or_to_an_address_is_a_lie() {
    let world = [(POINTER, RecordType::Ptr, named(&["localhost", "192.0.2.1", "trusted.test"]))];
    let hosts = b"10.0.0.1 trusted.test";
    let (answer, asked) = lookup(&names_of("192.0.2.1"), &setup(), hosts, &world);
    assert_eq!((answer, asked.len()), (Answer::NotFound, 1));
}

#[test]
fn of_several_names_one_that_could_not_be_asked_for_leaves_open_which_names_there_are() {
    let world = [
        (POINTER, RecordType::Ptr, named(&["a.test", "b.test"])),
        ("a.test", RecordType::A, found(&["192.0.2.1"])),
        ("b.test", RecordType::A, Outcome::Failed),
    ];
    assert_eq!(lookup(&names_of("192.0.2.1"), &setup(), b"", &world).0, Answer::Failed);
}

#[test]
fn a_name_that_could_not_be_asked_for_is_not_confirmed() {
    let world = [(POINTER, RecordType::Ptr, named(&["a.test"])), ("a.test", RecordType::A, Outcome::Failed)];
    assert_eq!(lookup(&names_of("192.0.2.1"), &setup(), b"", &world).0, Answer::Failed);
    let world = [(POINTER, RecordType::Ptr, Outcome::Failed)];
    assert_eq!(lookup(&names_of("192.0.2.1"), &setup(), b"", &world).0, Answer::Failed);
}
