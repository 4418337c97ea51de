use super::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, OwnedFd};

/// One flow between two peers that the test plays.
struct Way {
    mover: Mover,
    flow: Flow,
    sender: OwnedFd,
    source: OwnedFd,
    sink: OwnedFd,
    receiver: OwnedFd,
}

fn way(mode: RelayMode) -> Way {
    let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let ((sender, source), (sink, receiver)) = (pair(), pair());
    Way {
        mover: Mover::new(mode, Pool::new(pipes::made())),
        flow: Flow::default(),
        sender,
        source,
        sink,
        receiver,
    }
}

impl Way {
    fn write(&mut self, bytes: &[u8]) {
        assert_eq!(send(&self.sender, bytes, SEND), Ok(bytes.len()));
        self.flow.source_ready = true;
    }

    fn turn(&mut self, now: u32) -> Turn {
        self.mover.turn(&mut self.flow, self.source.as_fd(), self.sink.as_fd(), now).unwrap()
    }

    fn arrived(&self) -> usize {
        match recv(&self.receiver, &mut [0; 4096][..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => length,
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                0
            }
        }
    }

    /// Small pieces, each moved at once, until the flow coalesces them.
    fn stream(&mut self, now: u32) {
        for piece in 1..=STREAM {
            assert!(!self.flow.coalescing, "before piece {piece}");
            self.write(b"piece");
            assert_eq!(self.turn(now), Turn::Wait);
            assert_eq!(self.arrived(), 5);
        }
        assert!(self.flow.coalescing);
    }
}

const MODES: [RelayMode; 2] = [RelayMode::Adaptive, RelayMode::Splice];

#[test]
fn small_pieces_that_come_one_upon_the_other_are_coalesced() {
    for mode in MODES {
        let mut way = way(mode);
        way.stream(7);
        assert!(way.flow.newly_paced() && !way.flow.newly_paced(), "one resumption for one pause");
        for _ in 0..3 {
            way.write(b"piece");
            assert_eq!((way.turn(7), way.arrived()), (Turn::Wait, 0));
        }
        way.flow.resume();
        assert_eq!((way.turn(8), way.arrived()), (Turn::Wait, 15));
        assert!(way.flow.newly_paced(), "and again");
    }
}

#[test]
fn two_pieces_in_a_millisecond_are_coalesced_and_one_is_not() {
    for mode in MODES {
        for (pieces, coalesced) in [(1, false), (2, true)] {
            let mut way = way(mode);
            for now in 3..3 + 2 * WINDOW {
                for _ in 0..pieces {
                    way.write(b"piece");
                    way.turn(now);
                }
            }
            assert_eq!(way.flow.coalescing, coalesced, "{pieces} in {mode:?}");
        }
    }
}

#[test]
fn a_stream_that_pauses_is_watched_again() {
    for mode in MODES {
        let mut way = way(mode);
        way.stream(7);
        way.flow.resume();
        way.turn(8);
        assert!(!way.flow.coalescing && !way.flow.paced);
        way.write(b"piece");
        assert_eq!((way.turn(9), way.arrived()), (Turn::Wait, 5));
        assert!(!way.flow.coalescing);
    }
}

#[test]
fn questions_and_answers_and_slow_pieces_do_not_wait() {
    for mode in MODES {
        let mut way = way(mode);
        for piece in 0..100 {
            way.write(b"piece");
            way.turn(7);
            assert_eq!(way.arrived(), 5);
            if piece % 4 == 0 {
                way.flow.is_answered();
            }
        }
        assert!(!way.flow.coalescing, "answered");
        for now in 8..100 {
            way.write(b"piece");
            way.turn(now);
            assert_eq!(way.arrived(), 5);
        }
        assert!(!way.flow.coalescing, "slow");
    }
}

#[test]
fn an_exchange_behind_a_stream_does_not_wait() {
    for mode in MODES {
        let mut way = way(mode);
        way.stream(7);
        way.flow.resume();
        way.write(b"question");
        assert_eq!((way.turn(8), way.arrived()), (Turn::Wait, 8));
        way.flow.is_answered();
        assert!(!way.flow.coalescing, "the source is watched again, and its event ends the pause");
        way.flow.paced = false;
        way.write(b"next");
        assert_eq!((way.turn(8), way.arrived()), (Turn::Wait, 4));
        assert!(!way.flow.paced);
    }
}

/// splice(2) stops before an urgent byte, and with a FIN behind it brings as little as at the end.
#[test]
fn an_urgent_byte_right_before_the_end_is_not_the_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let source = OwnedFd::from(listener.accept().unwrap().0);
    rustix::net::sockopt::set_socket_oobinline(&source, true).unwrap();
    rustix::io::ioctl_fionbio(&source, true).unwrap();
    let mut way = way(RelayMode::Splice);
    send(&sender, b"ab", SEND).unwrap();
    send(&sender, b"!", SEND.union(SendFlags::OOB)).unwrap();
    send(&sender, b"cd", SEND).unwrap();
    rustix::net::shutdown(&sender, rustix::net::Shutdown::Write).unwrap();
    while rustix::net::recv(&source, &mut [0; 8], RecvFlags::DONTWAIT | RecvFlags::PEEK).is_err() {}
    (way.source, way.flow.source_ready) = (source, true);
    assert_eq!(way.turn(7), Turn::Done);
    assert_eq!(way.arrived(), 5);
}

#[test]
fn where_many_flows_hold_copies_the_next_ones_read_little() {
    let mut way = way(RelayMode::Adaptive);
    way.write(&[0; 2 * PIECE]);
    let copy = |way: &mut Way| {
        let before = way.flow.total;
        way.mover.copy(&mut way.flow, way.source.as_fd(), way.sink.as_fd(), 7).unwrap();
        way.flow.total - before
    };
    let held: Vec<_> = (0..MANY).map(|_| way.mover.copied(b"rest").unwrap()).collect();
    assert_eq!(copy(&mut way), PIECE as u64);
    drop(held);
    way.write(&[0; 2 * PIECE]);
    assert_eq!(copy(&mut way), 3 * PIECE as u64);
}

#[test]
fn an_announced_end_and_urgent_data_do_not_wait() {
    for mode in MODES {
        let mut ending = way(mode);
        ending.stream(7);
        ending.write(b"last");
        rustix::net::shutdown(&ending.sender, rustix::net::Shutdown::Write).unwrap();
        (ending.flow.source_finished, ending.flow.orderly, ending.flow.paced) = (true, true, false);
        assert_eq!((ending.turn(7), ending.arrived()), (Turn::Done, 4));

        let mut urgent = way(mode);
        urgent.stream(7);
        urgent.write(b"piece");
        (urgent.flow.urgent, urgent.flow.paced) = (true, false);
        urgent.turn(7);
        assert_eq!(urgent.arrived(), 5);
        assert!(!urgent.flow.coalescing);
    }
}

#[test]
fn the_end_is_seen_with_the_last_bytes() {
    let mut way = way(RelayMode::Adaptive);
    way.write(b"all");
    rustix::net::shutdown(&way.sender, rustix::net::Shutdown::Write).unwrap();
    (way.flow.source_finished, way.flow.orderly) = (true, true);
    way.mover.copy(&mut way.flow, way.source.as_fd(), way.sink.as_fd(), 0).unwrap();
    assert!(way.flow.newly_done(), "no further read is needed");
}

#[test]
fn a_short_read_of_a_socket_in_error_is_not_the_end() {
    let mut way = way(RelayMode::Adaptive);
    way.write(b"some");
    (way.flow.source_finished, way.flow.orderly) = (true, false);
    way.mover.copy(&mut way.flow, way.source.as_fd(), way.sink.as_fd(), 0).unwrap();
    assert!(!way.flow.newly_done());
}

#[test]
fn what_is_coalesced_is_copied_until_it_is_much() {
    let mut way = way(RelayMode::Adaptive);
    way.stream(7);
    way.flow.resume();
    way.flow.full_reads = MUCH - 1;
    way.write(&[0; BUFFER]);
    way.turn(8);
    assert!(way.flow.bulk && !way.flow.coalescing);
}
