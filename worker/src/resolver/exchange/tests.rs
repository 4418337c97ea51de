//! Exchanges with nameservers that answer, refuse, lie, cut short and dribble.

use super::super::answer::tests::{Reply, a, dns, reply};
use super::*;
use sockd_common::message::resolver::RecordType;

const ENTROPY: Entropy = [0x5a; 34];
const TIMEOUT: Duration = Duration::from_secs(5);

fn question() -> Question {
    Question { name: dns("www.example"), record: RecordType::A }
}

/// The question that was asked with [`ENTROPY`] in random case.
fn asked(edns: bool) -> Asked {
    Asked::new(&question(), Spelling::Random, edns, &ENTROPY).unwrap()
}

fn as_written(edns: bool) -> Asked {
    Asked::new(&question(), Spelling::AsWritten, edns, &ENTROPY).unwrap()
}

fn setup(servers: u8, attempts: u8) -> Setup {
    Setup { servers, attempts, ..Setup::default() }
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

/// An exchange whose question is on its way by UDP to the first of this many nameservers.
fn waiting(servers: u8) -> Exchange {
    let mut exchange = Exchange::new(question(), 0, &setup(servers, 1));
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), asked(true).packet());
    exchange
}

/// An exchange whose question is on its way by TCP.
fn waiting_by_tcp(servers: u8) -> Exchange {
    let mut exchange = waiting(servers);
    let truncated = Reply { flags: [0x83, 0x80], ..honest() };
    assert_eq!(exchange.receive(&truncated.packet()), Step::NeedSocket(Transport::Tcp));
    assert_eq!(exchange.attempt(), 0);
    assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), as_written(true).framed_packet());
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

/// Gives the exchange the UDP socket that it needs for this attempt, and returns the question that it puts there.
fn next_question(exchange: &mut Exchange, attempt: u8) -> Option<Vec<u8>> {
    assert_eq!((exchange.transport(), exchange.attempt()), (Transport::Udp, attempt));
    exchange.socket(&ENTROPY, Instant::now(), TIMEOUT)
}

#[test]
fn a_failing_or_refusing_server_is_asked_as_written_and_then_passes_the_turn_until_all_had_theirs() {
    let mut exchange = waiting(3);
    for attempt in 0..3 {
        assert_eq!(exchange.receive(&with_rcode(2)), Step::NeedSocket(Transport::Udp));
        assert_eq!(next_question(&mut exchange, attempt), as_written(true).packet());
        if attempt < 2 {
            assert_eq!(exchange.receive(&with_rcode(5)), Step::NeedSocket(Transport::Udp));
            assert_eq!(next_question(&mut exchange, attempt + 1), asked(true).packet());
        }
    }
    assert_eq!(exchange.receive(&with_rcode(5)), Step::End(Outcome::Failed, FAILURE_SECONDS));
}

#[test]
fn a_name_that_does_not_exist_as_it_was_written_either_is_final() {
    let mut exchange = waiting(3);
    assert_eq!(exchange.receive(&with_rcode(3)), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 0), as_written(true).packet());
    assert_eq!(exchange.receive(&with_rcode(3)), Step::End(Outcome::NoName, 0));
}

#[test]
fn a_name_that_exists_only_as_it_was_written_is_found() {
    let mut exchange = waiting(3);
    assert_eq!(exchange.receive(&with_rcode(3)), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 0), as_written(true).packet());
    let answer = reply(&as_written(true), vec![a("www.example", 60, [192, 0, 2, 1])]);
    assert_eq!(exchange.receive(&answer.packet()), found());
}

#[test]
fn a_server_that_does_not_repeat_the_case_is_asked_as_written() {
    let folded = |asked: &Asked| {
        let reply = reply(asked, vec![a("www.example", 60, [192, 0, 2, 1])]);
        Reply { question: reply.question.to_ascii_lowercase(), ..reply }.packet()
    };
    let mut exchange = waiting(1);
    assert_eq!(exchange.receive(&folded(&asked(true))), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 0), as_written(true).packet());
    assert_eq!(exchange.receive(&folded(&as_written(true))), found());
}

#[test]
fn a_silent_server_is_asked_as_written_when_its_turn_comes_again() {
    let mut exchange = Exchange::new(question(), 0, &setup(2, 2));
    for (attempt, question) in
        [(0, asked(true)), (1, asked(true)), (2, as_written(true)), (3, as_written(true))]
    {
        assert_eq!(next_question(&mut exchange, attempt), question.packet());
        let end = Step::End(Outcome::Failed, FAILURE_SECONDS);
        let step = if attempt < 3 { Step::NeedSocket(Transport::Udp) } else { end };
        assert_eq!(exchange.late(), step);
    }
}

#[test]
fn a_silent_server_whose_turn_does_not_come_again_is_asked_as_written_at_once() {
    let mut exchange = waiting(2);
    for (attempt, question) in [(0, as_written(true)), (1, asked(true)), (1, as_written(true))] {
        assert_eq!(exchange.late(), Step::NeedSocket(Transport::Udp));
        assert_eq!(next_question(&mut exchange, attempt), question.packet());
    }
    assert_eq!(exchange.late(), Step::End(Outcome::Failed, FAILURE_SECONDS));
}

#[test]
fn a_server_without_edns_is_asked_again_without_it_and_the_next_one_with_it() {
    let mut exchange = waiting(2);
    assert_eq!(exchange.receive(&with_rcode(1)), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 0), asked(false).packet());
    assert_eq!(exchange.receive(&with_rcode(1)), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 0), as_written(false).packet());
    assert_eq!(exchange.receive(&with_rcode(1)), Step::NeedSocket(Transport::Udp));
    assert_eq!(next_question(&mut exchange, 1), asked(true).packet());
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
    let mut exchange = Exchange::new(question(), 0, &setup(1, 1));
    assert_eq!(exchange.deadline(), None);
    assert_eq!(exchange.receive(&honest().packet()), Step::Wait);
}

#[test]
fn a_socket_that_nobody_asked_for_is_not_used() {
    assert_eq!(waiting(1).socket(&ENTROPY, Instant::now(), TIMEOUT), None);
}

#[test]
fn without_a_socket_the_turn_passes() {
    let mut exchange = Exchange::new(question(), 4, &setup(1, 2));
    assert_eq!(exchange.lost(), Step::NeedSocket(Transport::Udp));
    assert_eq!(exchange.attempt(), 5);
    assert_eq!(exchange.lost(), Step::End(Outcome::Failed, 0));
}

#[test]
fn where_all_goes_by_tcp_no_question_goes_by_udp() {
    let mut exchange = Exchange::new(question(), 0, &Setup { by_tcp: true, ..setup(2, 1) });
    for attempt in 0..2 {
        assert_eq!((exchange.transport(), exchange.attempt()), (Transport::Tcp, attempt));
        assert_eq!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT), as_written(true).framed_packet());
        match attempt {
            0 => assert_eq!(exchange.lost(), Step::NeedSocket(Transport::Tcp)),
            _ => assert_eq!(exchange.lost(), Step::End(Outcome::Failed, 0)),
        }
    }
    let mut exchange = Exchange::new(question(), 0, &Setup { by_tcp: true, ..setup(1, 1) });
    assert!(exchange.socket(&ENTROPY, Instant::now(), TIMEOUT).is_some());
    assert_eq!(exchange.receive(&framed(&honest().packet())), found());
}
