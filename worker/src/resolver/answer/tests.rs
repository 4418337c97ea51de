//! Answers as nameservers and forgers write them.

use super::super::question::Question;
use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

const ID: u16 = 0x1234;

pub(in crate::resolver) fn dns(text: &str) -> DnsName {
    HostName::from_text(text.as_bytes()).unwrap().to_dns().unwrap()
}

/// The question for `name`, in mixed case: every second octet is a capital.
fn asked(name: &str, record: RecordType) -> Asked {
    let mut entropy = [0xaa; 34];
    entropy[..2].copy_from_slice(&ID.to_ne_bytes());
    Asked::new(&Question { name: dns(name), record }, Spelling::Random, true, &entropy).unwrap()
}

/// One resource record; data as written, names in it uncompressed.
pub(in crate::resolver) fn record(owner: &str, rtype: Rtype, ttl: u32, data: &[u8]) -> Vec<u8> {
    let fields = [&rtype.to_int().to_be_bytes()[..], &1u16.to_be_bytes(), &ttl.to_be_bytes()].concat();
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [dns(owner).as_slice(), &fields, &length, data].concat()
}

pub(in crate::resolver) fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Vec<u8> {
    record(owner, Rtype::A, ttl, &address)
}

fn aaaa(owner: &str, address: &str) -> Vec<u8> {
    record(owner, Rtype::AAAA, 60, &address.parse::<Ipv6Addr>().unwrap().octets())
}

pub(in crate::resolver) fn cname(owner: &str, ttl: u32, target: &str) -> Vec<u8> {
    record(owner, Rtype::CNAME, ttl, dns(target).as_slice())
}

pub(in crate::resolver) fn soa(owner: &str, ttl: u32, minimum: u32) -> Vec<u8> {
    let names = [dns("ns.example").as_slice(), dns("root.example").as_slice()].concat();
    let numbers = [1u32, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    record(owner, Rtype::SOA, ttl, &[names, numbers].concat())
}

pub(in crate::resolver) struct Reply {
    pub(in crate::resolver) id: u16,
    pub(in crate::resolver) flags: [u8; 2],
    pub(in crate::resolver) question: Vec<u8>,
    pub(in crate::resolver) answer: Vec<Vec<u8>>,
    pub(in crate::resolver) authority: Vec<Vec<u8>>,
    pub(in crate::resolver) additional: Vec<Vec<u8>>,
}

/// The answer of an honest nameserver to `asked` with these records.
pub(in crate::resolver) fn reply(asked: &Asked, answer: Vec<Vec<u8>>) -> Reply {
    let question =
        [asked.name.as_slice(), &rtype(asked.record).to_int().to_be_bytes(), &1u16.to_be_bytes()].concat();
    Reply { id: asked.id, flags: [0x81, 0x80], question, answer, authority: vec![], additional: vec![] }
}

impl Reply {
    pub(in crate::resolver) fn packet(&self) -> Vec<u8> {
        let count = |section: &Vec<Vec<u8>>| u16::try_from(section.len()).unwrap().to_be_bytes();
        let questions = u16::from(!self.question.is_empty()).to_be_bytes();
        let counts =
            [questions, count(&self.answer), count(&self.authority), count(&self.additional)].concat();
        let sections =
            [&self.answer, &self.authority, &self.additional].map(|section| section.concat()).concat();
        [&self.id.to_be_bytes()[..], &self.flags, &counts, &self.question, &sections].concat()
    }
}

fn v4(address: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(address).into()
}

fn addresses(addresses: &[[u8; 4]], seconds: u32) -> Reading {
    Reading::Answer(Outcome::Addresses(addresses.iter().copied().map(v4).collect()), seconds)
}

#[test]
fn the_addresses_of_the_name_are_taken_for_the_shortest_of_their_times() {
    let asked = asked("www.example", RecordType::A);
    let reply = reply(&asked, vec![a("www.example", 300, [1, 2, 3, 4]), a("WWW.example", 20, [1, 2, 3, 5])]);
    assert_eq!(read_datagram(&reply.packet(), &asked), addresses(&[[1, 2, 3, 4], [1, 2, 3, 5]], 20));
    assert_eq!(read_stream(&reply.packet(), &asked), addresses(&[[1, 2, 3, 4], [1, 2, 3, 5]], 20));
}

#[test]
fn an_answer_with_another_id_name_type_class_opcode_or_without_qr_is_foreign() {
    let asked = asked("www.example", RecordType::A);
    let honest = || reply(&asked, vec![a("www.example", 300, [1, 2, 3, 4])]);
    let name = asked.name.as_slice();
    let forgeries = [
        Reply { id: ID + 1, ..honest() },
        Reply { flags: [0x01, 0x80], ..honest() },
        Reply { flags: [0x89, 0x80], ..honest() },
        Reply { question: [dns("ww.example").as_slice(), &[0, 1, 0, 1]].concat(), ..honest() },
        Reply { question: [name, &[0, 28, 0, 1]].concat(), ..honest() },
        Reply { question: [name, &[0, 1, 0, 3]].concat(), ..honest() },
        Reply { question: vec![], ..honest() },
    ];
    for forgery in forgeries {
        assert_eq!(read_datagram(&forgery.packet(), &asked), Reading::Foreign);
        assert_eq!(read_stream(&forgery.packet(), &asked), Reading::Foreign);
    }
    let mut two_questions = honest().packet();
    two_questions[5] = 2;
    assert_eq!(read_datagram(&two_questions, &asked), Reading::Foreign);
}

#[test]
fn every_cut_of_an_answer_is_foreign_or_unusable() {
    let asked = asked("www.example", RecordType::A);
    let packet = reply(&asked, vec![a("www.example", 300, [1, 2, 3, 4])]).packet();
    for length in 0..packet.len() {
        let reading = read_datagram(&packet[..length], &asked);
        assert!(matches!(reading, Reading::Foreign | Reading::Unusable), "{length}: {reading:?}");
    }
}

#[test]
fn an_answer_in_another_case_is_believed_where_the_case_was_not_random_or_it_came_by_tcp() {
    let asked = asked("www.example", RecordType::A);
    let mut reply = reply(&asked, vec![a("www.example", 300, [1, 2, 3, 4])]);
    reply.question = reply.question.to_ascii_lowercase();
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::OtherCase);
    assert_eq!(read_stream(&reply.packet(), &asked), addresses(&[[1, 2, 3, 4]], 300));
    let as_written = Asked { spelling: Spelling::AsWritten, ..asked };
    assert_eq!(read_datagram(&reply.packet(), &as_written), addresses(&[[1, 2, 3, 4]], 300));
}

#[test]
fn a_truncated_datagram_leads_to_tcp_and_a_truncated_stream_nowhere() {
    let asked = asked("www.example", RecordType::A);
    let reply = Reply { flags: [0x83, 0x80], ..reply(&asked, vec![a("www.example", 300, [1, 2, 3, 4])]) };
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::AskByTcp);
    assert_eq!(read_stream(&reply.packet(), &asked), Reading::Unusable);
}

#[test]
fn failing_and_refusing_servers_are_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    for rcode in [2, 5, 6, 7, 8, 9, 10, 15] {
        let reply = Reply { flags: [0x81, 0x80 | rcode], ..reply(&asked, vec![]) };
        assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Unusable, "rcode {rcode}");
    }
}

#[test]
fn a_server_that_cannot_read_edns_is_asked_without_it() {
    let mut asked = asked("www.example", RecordType::A);
    let opt_with_badvers = b"\0\0\x29\x04\xd0\x01\0\0\0\0\0".to_vec();
    let replies = [
        Reply { flags: [0x81, 0x81], ..reply(&asked, vec![]) },
        Reply { flags: [0x81, 0x84], ..reply(&asked, vec![]) },
        Reply { flags: [0x81, 0x81], question: vec![], ..reply(&asked, vec![]) },
        Reply { additional: vec![opt_with_badvers], ..reply(&asked, vec![]) },
    ];
    for reply in &replies {
        assert_eq!(read_datagram(&reply.packet(), &asked), Reading::AskWithoutEdns);
    }
    asked.edns = false;
    for reply in &replies {
        assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Unusable);
    }
}

#[test]
fn records_of_names_that_were_not_asked_for_are_not_taken() {
    let asked = asked("www.example", RecordType::A);
    let mut reply =
        reply(&asked, vec![a("bank.example", 300, [6, 6, 6, 6]), a("www.example", 30, [1, 2, 3, 4])]);
    reply.additional = vec![a("www.example", 300, [6, 6, 6, 7])];
    assert_eq!(read_datagram(&reply.packet(), &asked), addresses(&[[1, 2, 3, 4]], 30));
    reply.answer.pop();
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::NoData, 0));
}

#[test]
fn records_of_another_class_are_not_taken() {
    let asked = asked("www.example", RecordType::A);
    let mut chaos = a("www.example", 300, [6, 6, 6, 6]);
    let class = dns("www.example").as_slice().len() + 3;
    chaos[class] = 3;
    assert_eq!(
        read_datagram(&reply(&asked, vec![chaos]).packet(), &asked),
        Reading::Answer(Outcome::NoData, 0)
    );
}

#[test]
fn a_chain_of_aliases_is_followed_in_any_order() {
    let asked = asked("www.example", RecordType::A);
    let mut records = vec![
        cname("www.example", 100, "b.example"),
        cname("b.example", 7, "c.example"),
        a("c.example", 50, [9; 4]),
    ];
    for _ in 0..records.len() {
        records.rotate_left(1);
        assert_eq!(read_datagram(&reply(&asked, records.clone()).packet(), &asked), addresses(&[[9; 4]], 7));
    }
}

#[test]
fn an_alias_without_its_target_is_named() {
    let asked = asked("www.example", RecordType::A);
    let reply =
        reply(&asked, vec![cname("www.example", 100, "B.example"), cname("b.example", 7, "c.Example")]);
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::Alias(dns("c.example")), 7));
}

#[test]
fn an_alias_whose_target_is_said_to_have_nothing_has_nothing() {
    let asked = asked("www.example", RecordType::A);
    let mut reply = reply(&asked, vec![cname("www.example", 100, "b.example")]);
    reply.authority = vec![soa("example", 900, 60)];
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::NoData, 60));
}

#[test]
fn loops_of_aliases_and_chains_without_end_are_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    let itself = vec![cname("www.example", 100, "www.example")];
    let pair = vec![cname("www.example", 100, "b.example"), cname("b.example", 100, "www.example")];
    let mut long = vec![cname("www.example", 100, "n1.example")];
    long.extend((1..40).map(|n| cname(&format!("n{n}.example"), 100, &format!("n{}.example", n + 1))));
    long.push(a("n40.example", 100, [1, 2, 3, 4]));
    for records in [itself, pair, long] {
        assert_eq!(read_datagram(&reply(&asked, records).packet(), &asked), Reading::Unusable);
    }
}

#[test]
fn two_hundred_addresses_become_sixteen_and_repeated_ones_one() {
    let asked = asked("www.example", RecordType::A);
    let many = (0..200).map(|n| a("www.example", 60, [10, 0, 0, n])).collect();
    let first: Vec<[u8; 4]> = (0..16).map(|n| [10, 0, 0, n]).collect();
    assert_eq!(read_stream(&reply(&asked, many).packet(), &asked), addresses(&first, 60));
    let same = vec![a("www.example", 60, [1; 4]); 5];
    assert_eq!(read_datagram(&reply(&asked, same).packet(), &asked), addresses(&[[1; 4]], 60));
}

#[test]
fn no_records_mean_no_data_for_as_long_as_the_zone_says() {
    let asked = asked("www.example", RecordType::Aaaa);
    let mut reply = reply(&asked, vec![]);
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::NoData, 0));
    reply.authority = vec![soa("example", 900, 60)];
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::NoData, 60));
    reply.authority = vec![soa("example", 30, 60)];
    reply.flags = [0x81, 0x83];
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::NoName, 30));
}

#[test]
fn a_server_that_only_refers_to_others_is_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    let mut reply = reply(&asked, vec![]);
    reply.authority = vec![record("example", Rtype::NS, 900, dns("ns.example").as_slice())];
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Unusable);
}

#[test]
fn a_mapped_address_is_the_ipv4_address_that_it_stands_for() {
    let asked = asked("www.example", RecordType::Aaaa);
    let reply =
        reply(&asked, vec![aaaa("www.example", "::ffff:127.0.0.1"), aaaa("www.example", "2001:db8::1")]);
    let expected = vec![v4([127, 0, 0, 1]), "2001:db8::1".parse().unwrap()];
    assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Answer(Outcome::Addresses(expected), 60));
}

#[test]
fn an_address_of_the_wrong_length_is_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    for length in [0, 3, 5, 16] {
        let reply = reply(&asked, vec![record("www.example", Rtype::A, 60, &vec![1; length])]);
        assert_eq!(read_datagram(&reply.packet(), &asked), Reading::Unusable, "{length} octets");
    }
}

#[test]
fn a_time_with_the_highest_bit_set_is_none() {
    let asked = asked("www.example", RecordType::A);
    let reply = reply(&asked, vec![a("www.example", 0x8000_0001, [1; 4])]);
    assert_eq!(read_datagram(&reply.packet(), &asked), addresses(&[[1; 4]], 0));
}

#[test]
fn names_with_octets_that_are_not_a_hosts_are_dropped() {
    let asked = asked("4.3.2.1.in-addr.arpa", RecordType::Ptr);
    let owner = "4.3.2.1.in-addr.arpa";
    let pointer = |label: &[u8]| {
        let length = [u8::try_from(label.len()).unwrap()];
        record(owner, Rtype::PTR, 60, &[&length[..], label, b"\x07example\0"].concat())
    };
    let bad: [&[u8]; 8] =
        [b"a;id", b"$(id)", b"`id`", b"a\nb", b"\x1b[31m", b"www.evil", b"a b", "\u{430}".as_bytes()];
    let mut records: Vec<_> = bad.map(pointer).into();
    records.push(pointer(b"Good-1"));
    let good = HostName::from_text(b"good-1.example").unwrap();
    let expected = Reading::Answer(Outcome::Names(vec![good]), 60);
    assert_eq!(read_datagram(&reply(&asked, records).packet(), &asked), expected);
    let only_bad = reply(&asked, vec![pointer(b"a;id")]);
    assert_eq!(read_datagram(&only_bad.packet(), &asked), Reading::Answer(Outcome::Names(vec![]), 60));
}

#[test]
fn more_names_than_the_bound_are_not_taken() {
    let asked = asked("4.3.2.1.in-addr.arpa", RecordType::Ptr);
    let pointer =
        |n| record("4.3.2.1.in-addr.arpa", Rtype::PTR, 60, dns(&format!("n{n}.example")).as_slice());
    let Reading::Answer(Outcome::Names(names), 60) =
        read_stream(&reply(&asked, (0..200).map(pointer).collect()).packet(), &asked)
    else {
        panic!("no names");
    };
    assert_eq!(names.len(), MAX_NAMES);
}

#[test]
fn pointers_that_loop_or_point_forward_or_outside_are_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    let here = 12 + asked.name.as_slice().len() + 4;
    for target in [here, here + 2, here + 40, 0x3fff] {
        let pointer = u16::try_from(target).unwrap() | 0xc000;
        let bad = [&pointer.to_be_bytes()[..], b"\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04"].concat();
        let reading = read_datagram(&reply(&asked, vec![bad]).packet(), &asked);
        assert_eq!(reading, Reading::Unusable, "pointer to {target}");
    }
}

#[test]
fn a_name_made_too_long_by_pointers_is_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    // Each owner is a label of 63 octets in front of the owner before.
    let mut position = 12 + asked.name.as_slice().len() + 4;
    let mut before = 12;
    let mut records = vec![];
    for _ in 0..6 {
        let pointer = (u16::try_from(before).unwrap() | 0xc000).to_be_bytes();
        let fields = b"\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04";
        records.push([&[63][..], &[b'a'; 63], &pointer, fields].concat());
        before = position;
        position += records.last().unwrap().len();
    }
    assert_eq!(read_datagram(&reply(&asked, records).packet(), &asked), Reading::Unusable);
}

#[test]
fn counts_that_promise_more_than_there_is_are_of_no_use() {
    let asked = asked("www.example", RecordType::A);
    let mut packet = reply(&asked, vec![a("www.example", 60, [1; 4])]).packet();
    packet[6..8].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(read_stream(&packet, &asked), Reading::Unusable);
}

#[test]
fn compressed_answers_are_read() {
    let asked = asked("www.example", RecordType::A);
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04".to_vec();
    assert_eq!(read_datagram(&reply(&asked, vec![record]).packet(), &asked), addresses(&[[1, 2, 3, 4]], 60));
}

#[test]
fn our_own_question_is_no_answer() {
    let asked = asked("www.example", RecordType::A);
    assert_eq!(read_datagram(&asked.packet().unwrap(), &asked), Reading::Foreign);
}

proptest! {
    #[test]
    fn no_packet_ends_the_worker(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        for record in [RecordType::A, RecordType::Aaaa, RecordType::Ptr] {
            let asked = asked("www.example", record);
            read_datagram(&packet, &asked);
            read_stream(&packet, &asked);
        }
    }

    #[test]
    fn no_tail_behind_the_right_question_ends_the_worker(
        counts in any::<[u8; 6]>(),
        tail in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        for record in [RecordType::A, RecordType::Aaaa, RecordType::Ptr] {
            let asked = asked("www.example", record);
            let mut packet = reply(&asked, vec![]).packet();
            packet[6..12].copy_from_slice(&counts);
            packet.extend(&tail);
            if let Reading::Answer(Outcome::Addresses(addresses), _) = read_stream(&packet, &asked) {
                prop_assert!((1..=MAX_ADDRESSES).contains(&addresses.len()));
            }
        }
    }

    #[test]
    fn no_changed_octet_of_a_real_answer_ends_the_worker(at in 0usize..120, value in any::<u8>()) {
        let asked = asked("www.example", RecordType::A);
        let mut packet = reply(&asked, vec![cname("www.example", 9, "b.example"), a("b.example", 9, [1; 4])]).packet();
        if let Some(octet) = packet.get_mut(at) {
            *octet = value;
        }
        read_datagram(&packet, &asked);
        read_stream(&packet, &asked);
    }
}
