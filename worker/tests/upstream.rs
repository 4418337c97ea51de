//! The upstream worker as the monitor has it: in a process of its own, locked down, with next servers on loopback that
//! grant, refuse, lie, are silent or hang up.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod monitor;

use monitor::Worker;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::upstream::{FromUpstream, NextReply, ToUpstream};
use sockd_common::message::{Errno, Id, Name, Role, UserId};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;

type Upstream = Worker<ToUpstream, FromUpstream>;

fn ready() -> Upstream {
    let worker = Worker::start(Role::Upstream, 64);
    worker.send(&ToUpstream::Setup, None);
    match worker.next() {
        FromUpstream::Ready(locks) => worker.assert_locked_down(locks),
        other => panic!("{other:?} instead of Ready"),
    }
    worker
}

fn request(command: Command) -> Request {
    let destination = Destination::Address("203.0.113.1".parse().unwrap());
    Request { version: 4, command, destination, port: 21, user: UserId::new(b"joe").unwrap() }
}

/// Asks for something. Returns the next server's end of the connection and the end that the monitor keeps.
fn ask(worker: &Upstream, id: u32, request: Request) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    worker.send(&ToUpstream::Ask { id: Id(id), request }, Some(socket.as_fd()));
    (server, socket)
}

fn answer(id: u32, reply: NextReply) -> FromUpstream {
    FromUpstream::Answer { id: Id(id), reply }
}

const GRANTED: [u8; 8] = [0, 90, 0x12, 0x34, 198, 51, 100, 7];

fn granted() -> NextReply {
    NextReply::Granted(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 0x1234).into())
}

#[test]
fn exactly_the_request_is_written_and_exactly_the_reply_is_read() {
    let worker = ready();
    let (mut server, mut monitors) = ask(&worker, 7, request(Command::Connect));
    let mut bytes = [0; 12];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\x04\x01\x00\x15\xcb\x00\x71\x01joe\0");
    server.write_all(&[&GRANTED[..], b"for the client"].concat()).unwrap();
    assert_eq!(worker.next(), answer(7, granted()));
    // The worker has left, and the connection stays.
    let mut rest = [0; 14];
    monitors.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"for the client");
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.read(&mut rest).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(worker.finish().success());
}

#[test]
fn a_reply_is_read_however_it_is_cut_and_a_bind_has_two() {
    let worker = ready();
    for cut in 1..16 {
        let (mut server, _monitors) = ask(&worker, cut, request(Command::Bind));
        let both = [GRANTED, GRANTED].concat();
        let (head, tail) = both.split_at(cut as usize);
        server.write_all(head).unwrap();
        if cut >= 8 {
            assert_eq!(worker.next(), answer(cut, granted()));
        }
        assert!(worker.says_nothing());
        server.write_all(tail).unwrap();
        if cut < 8 {
            assert_eq!(worker.next(), answer(cut, granted()));
        }
        assert_eq!(worker.next(), answer(cut, granted()));
    }
}

#[test]
fn what_is_no_grant_is_told_as_what_it_is() {
    let worker = ready();
    let replies: [(&[u8], NextReply); 6] = [
        (&[0, 91, 0, 0, 0, 0, 0, 0], NextReply::Refused(RefusalReason::General)),
        (&[4, 92, 9, 9, 9, 9, 9, 9], NextReply::Refused(RefusalReason::NoIdentd)),
        (&[0, 94, 0, 0, 0, 0, 0, 0], NextReply::UnknownCode(94)),
        (b"HTTP/1.1 400 Bad Request", NextReply::WrongVersion(b'H')),
        (&GRANTED[..7], NextReply::Closed(Errno(0))),
        (b"", NextReply::Closed(Errno(0))),
    ];
    for command in [Command::Connect, Command::Bind] {
        for (id, (bytes, reply)) in (0..).zip(&replies) {
            let (mut server, _monitors) = ask(&worker, id, request(command));
            server.write_all(bytes).unwrap();
            server.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(worker.next(), answer(id, *reply), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_query_that_is_cancelled_or_cannot_be_asked_is_answered_all_the_same() {
    let worker = ready();
    let (mut server, _monitors) = ask(&worker, 1, request(Command::Connect));
    assert!(worker.says_nothing());
    worker.send(&ToUpstream::Cancel { id: Id(1) }, None);
    assert_eq!(worker.next(), answer(1, NextReply::Cancelled));
    server.read_exact(&mut [0; 12]).unwrap();
    let smuggled = Request { user: UserId::new(b"joe\0x").unwrap(), ..request(Command::Connect) };
    let sixth =
        Request { destination: Destination::Address("::1".parse().unwrap()), ..request(Command::Bind) };
    let named = Destination::Name(Name::new(b"a\0b").unwrap());
    for request in [smuggled, sixth, Request { destination: named, ..request(Command::Connect) }] {
        let (mut server, monitors) = ask(&worker, 2, request);
        assert_eq!(worker.next(), answer(2, NextReply::Cancelled));
        drop(monitors);
        assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
    }
    worker.send(&ToUpstream::Cancel { id: Id(1) }, None);
    assert!(worker.says_nothing());
}
