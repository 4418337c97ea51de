//! The ident worker as the monitor has it: in a process of its own, locked down, with identds on loopback that answer,
//! lie, are silent or hang up.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod monitor;

use monitor::Worker;
use rustix::net::sockopt::set_socket_linger;
use sockd_common::message::ident::{FromIdent, IdentUser, ToIdent};
use sockd_common::message::{Id, Role};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

type Ident = Worker<ToIdent, FromIdent>;

fn ready(descriptors: u32) -> Ident {
    let worker = Worker::start(Role::Ident, descriptors);
    worker.send(&ToIdent::Setup, None);
    match worker.next() {
        FromIdent::Ready(locks) => worker.assert_locked_down(locks),
        other => panic!("{other:?} instead of Ready"),
    }
    worker
}

/// Asks about ports 40000 and 1080, and returns identd's end of the connection.
fn ask(worker: &Ident, id: u32) -> TcpStream {
    let (identd, socket) = connection();
    worker.send(&ToIdent::Ask { id: Id(id), client_port: 40000, server_port: 1080 }, Some(socket.as_fd()));
    identd
}

/// Returns identd's end of a connection, and the end that the monitor hands over.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (identd, _) = listener.accept().unwrap();
    identd.set_nodelay(true).unwrap();
    (identd, socket)
}

/// Closes with a reset.
fn reset(identd: TcpStream) {
    set_socket_linger(&identd, Some(Duration::ZERO)).unwrap();
}

fn answer(id: u32, user: Option<&str>) -> FromIdent {
    FromIdent::Answer { id: Id(id), user: user.map(|user| IdentUser::new(user.as_bytes()).unwrap()) }
}

fn read_query(identd: &mut TcpStream) {
    let mut query = [0; 14];
    identd.read_exact(&mut query).unwrap();
    assert_eq!(&query, b"40000 , 1080\r\n");
}

const REPLY: &[u8] = b"40000 , 1080 : USERID : UNIX : don\r\n";

#[test]
fn the_user_that_identd_names_is_answered_and_the_connection_closed() {
    let worker = ready(64);
    let mut identd = ask(&worker, 7);
    read_query(&mut identd);
    identd.write_all(REPLY).unwrap();
    assert_eq!(worker.next(), answer(7, Some("don")));
    assert_eq!(identd.read(&mut [0]).unwrap(), 0);
    assert!(worker.finish().success());
}

#[test]
fn a_reply_is_read_however_it_is_cut() {
    let worker = ready(64);
    for cut in 1..REPLY.len() {
        let mut identd = ask(&worker, 7);
        let (head, tail) = REPLY.split_at(cut);
        identd.write_all(head).unwrap();
        read_query(&mut identd);
        assert!(worker.says_nothing());
        identd.write_all(tail).unwrap();
        assert_eq!(worker.next(), answer(7, Some("don")));
    }
    let mut identd = ask(&worker, 8);
    for octet in REPLY {
        identd.write_all(&[*octet]).unwrap();
    }
    assert_eq!(worker.next(), answer(8, Some("don")));
}

#[test]
fn a_reply_without_a_line_end_is_over_when_the_stream_is() {
    let worker = ready(64);
    let mut identd = ask(&worker, 1);
    identd.write_all(&REPLY[..REPLY.len() - 2]).unwrap();
    identd.shutdown(Shutdown::Write).unwrap();
    assert_eq!(worker.next(), answer(1, Some("don")));
}

#[test]
fn what_does_not_name_a_user_for_our_ports_names_nobody() {
    let worker = ready(64);
    let too_long = vec![b' '; 1 << 20];
    let replies: [&[u8]; 9] = [
        b"40001 , 1080 : USERID : UNIX : don\r\n",
        b"1080 , 40000 : USERID : UNIX : don\r\n",
        b"40000 , 1080 : ERROR : HIDDEN-USER\r\n",
        b"40000 , 1080 : ERROR : NO-USER\r\n",
        b"40000 , 1080 : USERID : OTHER : don\r\n",
        b"40000 , 1080 : USERID : UNIX : ro\0ot\r\n",
        b"\r\n40000 , 1080 : USERID : UNIX : don\r\n",
        b"\xff\xfe\xfd\n",
        &too_long,
    ];
    for (id, reply) in (0..).zip(replies) {
        let mut identd = ask(&worker, id);
        // The worker leaves in the middle of the longest.
        let _ = identd.write_all(reply);
        assert_eq!(worker.next(), answer(id, None), "{:?}", reply.escape_ascii().to_string().get(..50));
    }
}

#[test]
fn an_identd_that_hangs_up_or_resets_names_nobody() {
    let worker = ready(64);
    drop(ask(&worker, 1));
    assert_eq!(worker.next(), answer(1, None));
    reset(ask(&worker, 2));
    assert_eq!(worker.next(), answer(2, None));
    let mut identd = ask(&worker, 3);
    identd.write_all(b"40000 , 1080 : USERID").unwrap();
    drop(identd);
    assert_eq!(worker.next(), answer(3, None));
}

#[test]
fn a_connection_that_is_reset_before_the_query_names_nobody() {
    let worker = ready(64);
    let (identd, socket) = connection();
    reset(identd);
    worker.send(&ToIdent::Ask { id: Id(1), client_port: 1, server_port: 2 }, Some(socket.as_fd()));
    assert_eq!(worker.next(), answer(1, None));
}

#[test]
fn a_silent_identd_is_given_up_when_the_monitor_says_so_and_delays_nobody() {
    let worker = ready(64);
    let mut silent = ask(&worker, 1);
    let mut other = ask(&worker, 2);
    other.write_all(REPLY).unwrap();
    assert_eq!(worker.next(), answer(2, Some("don")));
    read_query(&mut silent);
    worker.send(&ToIdent::Cancel { id: Id(1) }, None);
    worker.send(&ToIdent::Cancel { id: Id(1) }, None);
    worker.send(&ToIdent::Cancel { id: Id(99) }, None);
    assert_eq!(worker.next(), answer(1, None));
    assert!(matches!(silent.read(&mut [0]), Ok(0)));
    // The id is free again, and no second answer has come.
    ask(&worker, 1).write_all(REPLY).unwrap();
    assert_eq!(worker.next(), answer(1, Some("don")));
}

#[test]
fn an_answer_that_comes_for_another_query_is_not_taken() {
    let worker = ready(64);
    let (mut one, mut two) = (ask(&worker, 1), ask(&worker, 2));
    two.write_all(b"40000 , 1080 : USERID : UNIX : sam\r\n").unwrap();
    assert_eq!(worker.next(), answer(2, Some("sam")));
    one.write_all(REPLY).unwrap();
    assert_eq!(worker.next(), answer(1, Some("don")));
}

#[test]
fn hundreds_of_queries_at_a_time_are_answered_each_with_its_own_user() {
    let worker = ready(1024);
    let mut identds: Vec<_> = (0..400).map(|id| ask(&worker, id)).collect();
    for (id, identd) in identds.iter_mut().enumerate().rev() {
        let blanks = " ".repeat(900);
        identd.write_all(format!("40000,1080:USERID:UNIX:{blanks}user{id}").as_bytes()).unwrap();
    }
    for identd in &mut identds {
        identd.write_all(b"\r\n").unwrap();
    }
    let mut answers: Vec<_> = (0..400)
        .map(|_| match worker.next() {
            FromIdent::Answer { id, user } => (id.0, user),
            other @ FromIdent::Ready(_) => panic!("{other:?}"),
        })
        .collect();
    answers.sort();
    for (id, (answered, user)) in (0..).zip(answers) {
        assert_eq!((answered, user), (id, IdentUser::new(format!("user{id}").as_bytes())));
    }
    assert!(worker.finish().success());
}

/// Few enough descriptors that one that is left open shows.
const FEW: u32 = 8;

#[test]
fn many_queries_leave_no_descriptor_behind_and_too_many_at_a_time_name_nobody() {
    let worker = ready(FEW);
    for id in 0..100 {
        ask(&worker, id).write_all(REPLY).unwrap();
        assert_eq!(worker.next(), answer(id, Some("don")));
    }
    // Descriptors 0 to 3 are open beside the sockets.
    let silent: Vec<_> = (0..FEW - 4).map(|id| ask(&worker, id)).collect();
    let mut refused = ask(&worker, 50);
    assert_eq!(worker.next(), answer(50, None));
    assert!(matches!(refused.read(&mut [0]).map_err(|e| e.kind()), Ok(0) | Err(ErrorKind::ConnectionReset)));
    drop(silent);
    for _ in 0..FEW - 4 {
        assert!(matches!(worker.next(), FromIdent::Answer { user: None, .. }));
    }
}

#[test]
fn an_id_that_is_taken_or_a_packet_that_is_no_message_ends_the_worker() {
    let mut worker = ready(64);
    let _identds = (ask(&worker, 1), ask(&worker, 1));
    assert_eq!(worker.ending().code(), Some(76));
    let mut worker = ready(64);
    worker.send_octets(&[0xff; 9]);
    assert_eq!(worker.ending().code(), Some(76));
}
