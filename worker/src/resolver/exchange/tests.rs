//! Exchanges with nameservers that answer, refuse, lie, cut short and dribble.

use super::super::answer::tests::{Reply, a, dns, reply};
use super::*;
use sockd_common::message::resolver::RecordType;

const ENTROPY: Entropy = [0x5a; 34];
const TIMEOUT: Duration = Duration::from_secs(5);

fn question() -> Question {
    Question { name: dns("www.example"), record: RecordType::A }
}

/// What was asked with [`ENTROPY`].
fn asked(edns: bool) -> Asked {
    Asked::new(&question(), edns, &ENTROPY).unwrap()
}

fn honest() -> Reply {
    reply(&asked(true), vec![a("www.example", 60, [192, 0, 2, 1])])
}

fn with_rcode(rcode: u8) -> Vec<u8> {
    Reply { flags: [0x81, 0x80 | rcode], ..reply(&asked(true), vec![]) }.packet()
}

fn found() -> Step {
    Step::End(Outcome::Addresses(vec!["192.0.2.1".parse().unwrap()]), 60)
}

/// An exchange whose question is on its way by UDP.
fn waiting(attempts: u8) -> Exchange {
    let mut exchange = Exchange::new(question(), 0, attempts, false);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).packet());
    exchange
}

/// An exchange whose question is on its way by TCP.
fn waiting_by_tcp(attempts: u8) -> Exchange {
    let mut exchange = waiting(attempts);
    let truncated = Reply { flags: [0x83, 0x80], ..honest() };
    assert_eq!(exchange.receive(&truncated.packet()), Step::NeedSocket(Transport::Tcp));
    assert_eq!(exchange.attempt(), 0);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).framed_packet());
    exchange
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat()
}

#[test]
fn the_first_answer_ends_it() {
    assert_eq!(waiting(1).receive(&honest().packet()), found());
}

#[test]
fn datagrams_that_are_no_answer_do_not_disturb() {
    let mut exchange = waiting(1);
    for forged in [b"".to_vec(), vec![0xff; 600], Reply { id: 7, ..honest() }.packet()] {
        assert_eq!(exchange.receive(&forged), Step::Wait);
    }
    assert_eq!(exchange.receive(&honest().packet()), found());
}

#[test]
fn a_flood_of_forged_datagrams_makes_it_leave_the_port() {
    let mut exchange = waiting(2);
    for _ in 0..MAX_FOREIGN {
        assert_eq!(exchange.receive(b"forged"), Step::Wait);
    }
    assert_eq!(exchange.receive(b"forged"), Step::NeedSocket(Transport::Udp));
    assert_eq!(exchange.attempt(), 1);
}

#[test]
fn a_failing_or_refusing_server_passes_the_turn_to_the_next_until_all_had_theirs() {
    let mut exchange = waiting(3);
    for attempt in 1..3 {
        assert_eq!(exchange.receive(&with_rcode(2)), Step::NeedSocket(Transport::Udp));
        assert_eq!(exchange.attempt(), attempt);
        assert!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT).is_some());
    }
    assert_eq!(exchange.receive(&with_rcode(5)), Step::End(Outcome::Failed, 0));
}

#[test]
fn a_name_that_does_not_exist_is_final() {
    assert_eq!(waiting(3).receive(&with_rcode(3)), Step::End(Outcome::NoName, 0));
}

#[test]
fn a_server_without_edns_is_asked_again_without_it_and_the_next_one_with_it() {
    let mut exchange = waiting(2);
    assert_eq!(exchange.receive(&with_rcode(1)), Step::NeedSocket(Transport::Udp));
    assert_eq!(exchange.attempt(), 0);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(false).packet());
    assert_eq!(exchange.receive(&with_rcode(1)), Step::NeedSocket(Transport::Udp));
    assert_eq!(exchange.attempt(), 1);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).packet());
}

#[test]
fn an_answer_by_tcp_is_read_however_it_is_cut() {
    let answer = framed(&honest().packet());
    for cut in 0..answer.len() {
        let mut exchange = waiting_by_tcp(1);
        let (head, tail) = answer.split_at(cut);
        assert_eq!(exchange.receive(head), Step::Wait);
        assert_eq!(exchange.receive(tail), found());
    }
    let mut exchange = waiting_by_tcp(1);
    let (last, octets) = answer.split_last().unwrap();
    for octet in octets {
        assert_eq!(exchange.receive(&[*octet]), Step::Wait);
    }
    assert_eq!(exchange.receive(&[*last]), found());
}

#[test]
fn what_follows_an_answer_by_tcp_is_not_read() {
    let answer = [framed(&honest().packet()), vec![0xff; 100]].concat();
    assert_eq!(waiting_by_tcp(1).receive(&answer), found());
}

#[test]
fn lies_by_tcp_pass_the_turn() {
    let foreign = framed(&Reply { id: 7, ..honest() }.packet());
    let truncated = framed(&Reply { flags: [0x83, 0x80], ..honest() }.packet());
    let too_long = vec![0xff; 2];
    let empty = vec![0; 2];
    for lie in [foreign, truncated, too_long, empty] {
        let mut exchange = waiting_by_tcp(2);
        assert_eq!(exchange.receive(&lie), Step::NeedSocket(Transport::Udp));
        assert_eq!(exchange.attempt(), 1);
    }
}

#[test]
fn a_stream_that_dribbles_does_not_move_the_deadline() {
    let mut exchange = waiting_by_tcp(1);
    let deadline = exchange.deadline();
    assert!(deadline.is_some());
    exchange.receive(&[0]);
    assert_eq!(exchange.deadline(), deadline);
}

#[test]
fn while_no_socket_is_there_no_time_runs_and_nothing_is_heard() {
    let mut exchange = Exchange::new(question(), 0, 1, false);
    assert_eq!(exchange.deadline(), None);
    assert_eq!(exchange.receive(&honest().packet()), Step::Wait);
}

#[test]
fn a_socket_that_nobody_asked_for_is_not_used() {
    assert_eq!(waiting(1).socket(&ENTROPY, Instant::now(), TIMEOUT), None);
}

#[test]
fn without_a_socket_the_turn_passes() {
    let mut exchange = Exchange::new(question(), 4, 2, false);
    assert_eq!(exchange.lost(), Step::NeedSocket(Transport::Udp));
    assert_eq!(exchange.attempt(), 5);
    assert_eq!(exchange.lost(), Step::End(Outcome::Failed, 0));
}

#[test]
fn where_all_goes_by_tcp_no_question_goes_by_udp() {
    let mut exchange = Exchange::new(question(), 0, 2, true);
    assert_eq!(exchange.transport(), Transport::Tcp);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).framed_packet());
    assert_eq!(exchange.lost(), Step::NeedSocket(Transport::Tcp));
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).framed_packet());
    assert_eq!(exchange.receive(&framed(&honest().packet())), found());
}
