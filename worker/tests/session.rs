//! A session worker with all its locks on, between a monitor, clients and servers of the test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unsafe_code
)]

mod support;

use sockd_common::message::request::{Command, RefusalReason};
use sockd_common::message::session::{CloseReason, FromSession, Handshake, Methods, RelayMode, ToSession};
use sockd_common::message::{Errno, Id, PIPES};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use support::{BIND, CONNECT, Start, channel, connection, end_stream, is_root, reply, reset, rest, start};

const MODES: [RelayMode; 2] = [RelayMode::Adaptive, RelayMode::Splice];

fn with_mode(relay: RelayMode) -> Start {
    Start { relay, ..Start::default() }
}

#[test]
fn it_says_what_holds_and_nothing_is_open_but_its_channel_and_its_pipes() {
    let monitor = start(Start::default());
    assert_eq!(monitor.locks.protocol, sockd_common::message::PROTOCOL_VERSION);
    let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    if is_root() {
        assert_eq!(field("Uid"), "65534 65534 65534 65534");
        assert_eq!(field("Groups"), "");
        let mut open: Vec<usize> = std::fs::read_dir(format!("/proc/{}/fd", monitor.child.id()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap())
            .collect();
        open.sort_unstable();
        // 0, 1 and 2 come from the spawner; 3 is the channel, and behind the pipes is the epoll set.
        assert_eq!(open, (0..=4 + 2 * PIPES).collect::<Vec<_>>());
    }
    if monitor.locks.landlock_abi == 0 {
        eprintln!("NO LANDLOCK in this kernel: that layer is not tested");
    } else {
        assert!(monitor.locks.landlock_enforced);
    }
}

#[test]
fn bytes_go_both_ways_and_each_end_of_stream_is_passed_on() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        for first_is_client in [true, false] {
            let (mut client, mut server) = monitor.relay();
            client.write_all(b"question").unwrap();
            let mut asked = [0; 8];
            server.read_exact(&mut asked).unwrap();
            assert_eq!(&asked, b"question");
            let (first, second) =
                if first_is_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            first.write_all(b"last words").unwrap();
            end_stream(first);
            assert_eq!(rest(second), b"last words");
            second.write_all(b"answer after the end").unwrap();
            end_stream(second);
            assert_eq!(rest(first), b"answer after the end");
            assert_eq!(monitor.hear_closed(), CloseReason::Finished);
        }
    }
}

#[test]
fn bytes_behind_the_request_are_for_the_server() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (mut client, id) = monitor.serve();
        client.write_all(&[CONNECT, b"early"].concat()).unwrap();
        end_stream(&client);
        monitor.hear_request();
        let mut server = monitor.grant(id);
        assert_eq!(rest(&mut server), b"early");
        server.write_all(b"late").unwrap();
        end_stream(&server);
        assert_eq!(rest(&mut client), b"\0\x5a\0\0\0\0\0\0late");
        assert_eq!(monitor.hear_closed(), CloseReason::Finished);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    let request = b"\x04\x01\x00\x50\x00\x00\x00\x01joe\0host.example\0";
    for byte in request {
        client.write_all(&[*byte]).unwrap();
        thread::yield_now();
    }
    client.write_all(b"!").unwrap();
    assert_eq!(monitor.hear_request().user.as_bytes(), b"joe");
    let mut server = monitor.grant(id);
    let mut first = [0];
    server.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"!");
}

#[test]
fn a_client_that_ends_its_stream_with_the_last_piece_of_a_bind_has_gone() {
    const MORE: i32 = 0x8000;
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    let (first, last) = BIND.split_at(BIND.len() / 2);
    client.write_all(first).unwrap();
    thread::sleep(std::time::Duration::from_millis(50));
    // The bytes come in one segment with the FIN, and so in one event.
    SockRef::from(&client).send_with_flags(last, MORE).unwrap();
    end_stream(&client);
    monitor.hear_request();
    monitor.say(ToSession::Listening { id, address: "192.0.2.1:1234".parse().unwrap() });
    assert_eq!(monitor.hear_closed(), CloseReason::ClientGone(Errno(0)));
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (client, mut server) = monitor.relay();
        reset(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(monitor.hear_closed(), CloseReason::ClientFailed(Errno(104)));
        let (mut client, server) = monitor.relay();
        reset(server);
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(monitor.hear_closed(), CloseReason::ServerFailed(Errno(104)));
    }
}

#[test]
fn a_reset_after_the_end_of_its_stream_is_noticed_though_nobody_sends() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (client, mut server) = monitor.relay();
        end_stream(&client);
        assert_eq!(rest(&mut server), b"");
        reset(client);
        assert_eq!(server.read(&mut [0; 1]).map_err(|error| error.kind()).unwrap_or(0), 0);
        assert!(matches!(monitor.hear_closed(), CloseReason::ClientFailed(_)));
    }
}

#[test]
fn what_a_server_sends_before_its_reset_still_arrives() {
    let mut monitor = start(Start::default());
    let (mut client, mut server) = monitor.relay();
    server.write_all(b"sorry").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    reset(server);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn urgent_bytes_keep_their_place() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (client, mut server) = monitor.relay();
        let urgent = SockRef::from(&client);
        urgent.send(b"A").unwrap();
        urgent.send_out_of_band(b"!").unwrap();
        urgent.send(b"B").unwrap();
        let mut first = [0; 3];
        server.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"A!B");
        urgent.send(b"C").unwrap();
        urgent.send_out_of_band(b"?").unwrap();
        end_stream(&client);
        assert_eq!(rest(&mut server), b"C?");
    }
}

#[test]
fn another_version_is_closed_without_a_word() {
    let mut monitor = start(Start::default());
    let (mut client, _) = monitor.serve();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "an orderly end");
    drop(client);
    assert_eq!(monitor.hear_closed(), CloseReason::WrongVersion(b'G'));
}

#[test]
fn a_request_that_ends_early_is_no_request() {
    let mut monitor = start(Start::default());
    for part in [&b""[..], b"\x04", b"\x04\x01\x00\x50\x0a\x00\x00\x01joe"] {
        let (mut client, _) = monitor.serve();
        client.write_all(part).unwrap();
        end_stream(&client);
        assert_eq!(rest(&mut client), b"");
        assert_eq!(monitor.hear_closed(), CloseReason::CutShort);
    }
}

#[test]
fn refusals_of_its_own_are_answered_with_91() {
    let mut monitor = start(Start::default());
    let long_user = [&CONNECT[..8], &[b'u'; 300], b"\0"].concat();
    for (request, why) in [
        (&b"\x04\x03\x00\x50\x0a\x00\x00\x01joe\0"[..], CloseReason::UndefinedCommand(3)),
        (&long_user, CloseReason::UserTooLong),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01joe\0\0", CloseReason::BadName),
    ] {
        let (mut client, _) = monitor.serve();
        client.write_all(request).unwrap();
        assert_eq!(rest(&mut client), [0, 91, 0, 0, 0, 0, 0, 0]);
        drop(client);
        assert_eq!(monitor.hear_closed(), why);
    }
}

#[test]
fn a_refusing_reply_arrives_though_the_client_has_sent_more() {
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    client.write_all(&[CONNECT, &[7; 20_000]].concat()).unwrap();
    monitor.hear_request();
    monitor.say(ToSession::Refuse { id, why: RefusalReason::IdentityMismatch });
    assert_eq!(rest(&mut client), [0, 93, 0, 0, 0, 0, 0, 0]);
    end_stream(&client);
    assert_eq!(monitor.hear_closed(), CloseReason::Refused);
}

#[test]
fn a_refused_client_that_does_not_close_is_not_waited_for() {
    let mut monitor = start(Start::default());
    let (client, id) = monitor.serve();
    (&client).write_all(CONNECT).unwrap();
    monitor.hear_request();
    monitor.say(ToSession::Refuse { id, why: RefusalReason::NotAllowed });
    assert_eq!(monitor.hear_closed(), CloseReason::Refused);
    let mut client = client;
    assert_eq!(reply(&mut client), [0, 91, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_late_client_reads_what_fits_and_the_end_of_its_stream() {
    let cases: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (&CONNECT[..5], b""),
        (b"\x05\x02\x00", b""),
        (b"\x05\x01\x00", b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0"),
        (b"\x05\x01\x00\x05\x01\0", b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0"),
    ];
    for (sent, told) in cases {
        let mut monitor = start(Start::default());
        let (mut client, id) = monitor.serve();
        client.write_all(sent).unwrap();
        let greeted = told.get(..2).unwrap_or_default();
        let mut chosen = vec![0; greeted.len()];
        client.read_exact(&mut chosen).unwrap();
        monitor.say(ToSession::Refuse { id, why: RefusalReason::General });
        assert_eq!([chosen, rest(&mut client)].concat(), told, "{}", sent.escape_ascii());
        client.write_all(b"which is dropped").unwrap();
        end_stream(&client);
        assert_eq!(monitor.hear_closed(), CloseReason::Refused);
    }
}

#[test]
fn bind_has_two_replies() {
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    client.write_all(BIND).unwrap();
    monitor.hear_request();
    monitor.say(ToSession::Listening { id, address: "10.1.2.3:258".parse().unwrap() });
    assert_eq!(reply(&mut client), [0, 90, 1, 2, 10, 1, 2, 3]);
    let (mut server, socket) = connection();
    let bound: SocketAddr = "10.9.8.7:772".parse().unwrap();
    monitor.end.send(&ToSession::Relay { id, bound }, Some(std::os::fd::AsFd::as_fd(&socket))).unwrap();
    assert_eq!(reply(&mut client), [0, 90, 3, 4, 10, 9, 8, 7]);
    server.write_all(b"data").unwrap();
    drop(server);
    assert_eq!(rest(&mut client), b"data");
}

#[test]
fn a_client_that_leaves_while_bind_waits_is_noticed() {
    let mut monitor = start(Start::default());
    for request in [true, false] {
        let (mut client, id) = monitor.serve();
        client.write_all(BIND).unwrap();
        monitor.hear_request();
        if request {
            monitor.say(ToSession::Listening { id, address: "10.1.2.3:258".parse().unwrap() });
            reply(&mut client);
        }
        drop(client);
        assert_eq!(monitor.hear_closed(), CloseReason::ClientGone(Errno(0)));
    }
}

#[test]
fn a_client_that_resets_in_the_middle_of_its_request_is_noticed() {
    let mut monitor = start(Start::default());
    let (mut client, _id) = monitor.serve();
    client.write_all(&CONNECT[..5]).unwrap();
    // The reset is noticed even if the worker has seen these bytes before.
    thread::sleep(std::time::Duration::from_millis(20));
    reset(client);
    assert_eq!(monitor.hear_closed(), CloseReason::ClientGone(Errno(104)));
}

#[test]
fn a_client_that_resets_while_the_monitor_decides_is_noticed() {
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    client.write_all(CONNECT).unwrap();
    monitor.hear_request();
    reset(client);
    assert_eq!(monitor.hear_closed(), CloseReason::ClientGone(Errno(104)));
    // A verdict that crosses with the end is dropped, and the id may be used again.
    monitor.say(ToSession::Refuse { id, why: RefusalReason::NotAllowed });
    drop(monitor.grant(id));
    monitor.relay();
}

#[test]
fn a_slow_reader_gets_everything_after_both_streams_have_ended() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (mut client, server) = monitor.relay();
        end_stream(&client);
        let body: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let sent = body.clone();
        let sender = thread::spawn(move || {
            let mut server = server;
            server.write_all(&sent).unwrap();
        });
        sender.join().unwrap();
        // Both streams have ended by now, and most of the body waits in sockets. The session must not end for that.
        assert!(monitor.hears_nothing());
        assert_eq!(rest(&mut client), body);
        assert_eq!(monitor.hear_closed(), CloseReason::Finished);
    }
}

/// A stream of bytes that does not repeat within a pipe or buffer.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn send_in_writes(mut stream: TcpStream, bytes: &[u8], writes: &[usize]) {
    let (mut from, mut sizes) = (0, writes.iter().cycle());
    while from < bytes.len() {
        let to = bytes.len().min(from + sizes.next().unwrap());
        stream.write_all(&bytes[from..to]).unwrap();
        from = to;
    }
    end_stream(&stream);
}

#[test]
fn what_goes_in_comes_out_both_ways_at_once_whatever_the_writes_are() {
    let body = pattern(24_000_000);
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        for writes in [&[200_000][..], &[1000], &[1, 700_000, 3, 65_536, 17]] {
            let part = if writes.len() == 1 && writes[0] < 2000 { &body[..4_000_000] } else { &body[..] };
            let (client, server) = monitor.relay();
            thread::scope(|scope| {
                for stream in [&client, &server] {
                    let sender = stream.try_clone().unwrap();
                    scope.spawn(move || send_in_writes(sender, part, writes));
                    let mut receiver = stream.try_clone().unwrap();
                    scope.spawn(move || assert!(rest(&mut receiver) == part, "the bytes differ"));
                }
            });
            assert_eq!(monitor.hear_closed(), CloseReason::Finished);
        }
    }
}

#[test]
fn a_receiver_that_stops_reading_stops_the_sender_and_nobody_else() {
    for mode in MODES {
        let mut monitor = start(with_mode(mode));
        let (mut stuck_client, stuck_server) = monitor.relay();
        stuck_server.set_nonblocking(true).unwrap();
        let block = pattern(1 << 20);
        let mut sent = 0;
        // Write until neither the worker nor the kernel takes more: other relays have had their turns in between.
        for _ in 0..200 {
            while let Ok(length) = (&stuck_server).write(&block[sent % block.len()..]) {
                sent += length;
            }
            let (mut client, mut server) = monitor.relay();
            client.write_all(b"ping").unwrap();
            let mut pong = [0; 4];
            server.read_exact(&mut pong).unwrap();
            drop(client);
            drop(server);
            monitor.hear_closed();
        }
        assert!(sent < 64 << 20, "back-pressure: {sent} bytes were taken that nobody read");
        end_stream(&stuck_server);
        assert_eq!(rest(&mut stuck_client).len(), sent);
    }
}

#[test]
fn the_monitor_may_end_a_session_at_any_time() {
    let mut monitor = start(Start::default());
    let (mut client, id) = monitor.serve();
    monitor.say(ToSession::End { id });
    assert_eq!(monitor.hear_closed(), CloseReason::Ended);
    assert!(client.read(&mut [0; 1]).map_or(true, |length| length == 0));
    let (client, server) = monitor.relay();
    monitor.say(ToSession::End { id: Id(1) });
    assert_eq!(monitor.hear_closed(), CloseReason::Ended);
    drop((client, server));
}

#[test]
fn running_out_of_descriptors_costs_that_session_only() {
    let mut monitor = start(Start { descriptors: 10, pipes: 0, ..Start::default() });
    let (mut client, mut server) = monitor.relay();
    let mut waiting = Vec::new();
    let lost = loop {
        let (client, _) = monitor.serve();
        waiting.push(client);
        let (mut client, _) = monitor.serve();
        // This fails if the socket has been lost and so closed.
        let _ = client.write_all(CONNECT);
        waiting.push(client);
        match monitor.hear() {
            FromSession::Closed { why, .. } => break why,
            FromSession::Request { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lost, CloseReason::NoResources);
    client.write_all(b"still here").unwrap();
    let mut arrived = [0; 10];
    server.read_exact(&mut arrived).unwrap();
    assert_eq!(&arrived, b"still here");
}

#[test]
fn bulk_is_relayed_without_a_pipe_where_there_is_none_to_be_had() {
    let body = pattern(8_000_000);
    for relay in MODES {
        let mut monitor = start(Start { pipes: 0, relay, ..Start::default() });
        let (client, mut server) = monitor.relay();
        thread::scope(|scope| {
            scope.spawn(|| send_in_writes(client.try_clone().unwrap(), &body, &[500_000]));
            assert!(rest(&mut server) == body, "{relay:?}");
        });
    }
}

#[test]
fn messages_wait_while_the_monitor_does_not_read() {
    let mut monitor = start(Start { descriptors: 4096, ..Start::default() });
    let clients: Vec<TcpStream> = (0..1500)
        .map(|_| {
            let (mut client, _) = monitor.serve();
            client.write_all(&[&CONNECT[..8], &[b'u'; 250], b"\0"].concat()).unwrap();
            client
        })
        .collect();
    for _ in &clients {
        assert_eq!(monitor.hear_request().user.as_bytes().len(), 250);
    }
    drop(clients);
}

#[test]
fn the_end_of_the_channel_is_the_ordinary_end_of_a_worker() {
    let mut monitor = start(Start::default());
    let (client, server) = monitor.relay();
    monitor.end = sockd_common::channel::MonitorEnd::new(channel().0);
    assert_eq!(monitor.ending().code(), Some(0));
    drop((client, server));
}

/// Bytes behind the request are for the server, whichever worker has read the request.
#[test]
fn h9_a_worker_goes_on_with_a_client_whose_request_another_one_has_read() {
    const SOCKS5: &[u8] = b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50";
    let handshakes = [
        (CONNECT, Handshake::Socks4(Command::Connect), &[0, 90, 0, 0, 0, 0, 0, 0][..], 0),
        (BIND, Handshake::Socks4(Command::Bind), &[0, 90, 0, 0, 0, 0, 0, 0], 0),
        (SOCKS5, Handshake::Socks5(Command::Connect), &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], 2),
    ];
    for (sent, handshake, granted, method) in handshakes {
        let (mut client, socket) = connection();
        client.write_all(&[sent, b"early"].concat()).unwrap();
        let mut first = start(Start::default());
        first.serve_on(&socket, Handshake::Fresh(Methods::NONE));
        first.hear_request();
        first.child.kill().unwrap();
        client.read_exact(&mut vec![0; method]).unwrap();
        let mut second = start(Start::default());
        let id = second.serve_on(&socket, handshake);
        let mut server = second.grant(id);
        let mut reply = vec![0; granted.len()];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(reply, granted);
        end_stream(&client);
        assert_eq!(rest(&mut server), b"early");
        server.write_all(b"late").unwrap();
        end_stream(&server);
        assert_eq!(rest(&mut client), b"late");
        assert_eq!(second.hear_closed(), CloseReason::Finished, "without another request");
    }
}

#[test]
fn h9_a_worker_refuses_in_the_protocol_that_another_one_has_made_out() {
    for (handshake, refusal) in [
        (Handshake::Socks4(Command::Connect), &[0, 93, 0, 0, 0, 0, 0, 0][..]),
        (Handshake::Socks5(Command::Connect), &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut monitor = start(Start::default());
        let (mut client, socket) = connection();
        let id = monitor.serve_on(&socket, handshake);
        drop(socket);
        monitor.say(ToSession::Refuse { id, why: RefusalReason::IdentityMismatch });
        assert_eq!(rest(&mut client), refusal);
    }
}

#[test]
fn nonsense_from_the_monitor_ends_a_worker() {
    let mut monitor = start(Start::default());
    let (client, id) = monitor.serve();
    // This is a verdict before there was a request.
    drop(monitor.grant(id));
    assert_eq!(monitor.ending().code(), Some(76));
    drop(client);
    let mut monitor = start(Start::default());
    let (_peer, socket) = connection();
    let twice = || {
        monitor.end.send(
            &ToSession::Serve { id: Id(5), handshake: Handshake::Fresh(Methods::NONE) },
            Some(std::os::fd::AsFd::as_fd(&socket)),
        )
    };
    twice().unwrap();
    twice().unwrap();
    assert_eq!(monitor.ending().code(), Some(76));
}
