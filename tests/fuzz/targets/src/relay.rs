//! A session worker between a client and a server that are played here, with any schedule of writes, reads and ends.

use arbitrary::{Result, Unstructured};
use nix::sys::signal::{SigSet, Signal};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::request::{Command, RefusalReason};
use sockd_common::message::session::{CloseReason, FromSession, Methods, Protocols, RelayMode, ToSession};
use sockd_common::message::{self, Id, PIPES};
use sockd_worker::session::Unlocked;
use sockd_worker::session::handshake::{Handshake, Step};
use sockd_worker::socks::Reply;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;
use std::time::Duration;

const ID: Id = Id(7);

/// The stream of both sides: a byte's place in it can be told from its neighbours.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| (0..MOST + 1024).map(byte_at).collect());

/// The most bytes that are sent in one direction.
const MOST: usize = 1 << 20;

/// Longer than the worker lets small writes gather.
const REST: Duration = Duration::from_millis(2);

fn byte_at(place: usize) -> u8 {
    (place % 251) as u8 ^ (place / 251) as u8
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, kind, flags, None).expect("a pair of sockets")
}

/// One side, with what it has sent and received.
#[derive(Debug)]
struct Peer {
    socket: Option<OwnedFd>,
    sent: usize,
    received: usize,
    has_ended: bool,
    heard_end: bool,
}

impl Peer {
    fn new(socket: OwnedFd) -> Self {
        Self { socket: Some(socket), sent: 0, received: 0, has_ended: false, heard_end: false }
    }

    fn write(&mut self, length: usize) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.has_ended) else { return };
        let bytes = &STREAM[self.sent..(self.sent + length).min(MOST)];
        if bytes.is_empty() {
            return;
        }
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => self.sent += sent,
            Err(Errno::AGAIN) => {}
            Err(_) => self.has_ended = true,
        }
    }

    /// Reads at most `length` bytes, which must be those of the other side. Returns whether there were any.
    fn read(&mut self, length: usize, buffer: &mut [u8]) -> bool {
        let Some(socket) = &self.socket else { return false };
        let length = length.min(buffer.len());
        match recv(socket, &mut buffer[..length], RecvFlags::DONTWAIT) {
            Ok((0, _)) => !std::mem::replace(&mut self.heard_end, true),
            Ok((read, _)) => {
                assert!(!self.heard_end, "bytes behind the end");
                assert!(
                    buffer[..read] == STREAM[self.received..self.received + read],
                    "other bytes than were sent"
                );
                self.received += read;
                true
            }
            Err(_) => false,
        }
    }

    fn end(&mut self) {
        if let Some(socket) = self.socket.as_ref().filter(|_| !self.has_ended) {
            shutdown(socket, Shutdown::Write).expect("an open socket");
            self.has_ended = true;
        }
    }
}

/// Bytes that come in go out, in their order and whole, and so does the end of each stream.
pub fn relay(data: &[u8]) {
    // Every Rust program does this before its main function; the fuzzer's is not of Rust.
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    pipe.thread_block().expect("a signal that can be blocked");
    let mut choices = Unstructured::new(data);
    let _ = Lab::new(&mut choices).and_then(|mut lab| lab.play(&mut choices));
}

struct Lab {
    monitor: MonitorEnd<ToSession, FromSession>,
    worker: Unlocked,
    client: Peer,
    server: Peer,
    server_of_worker: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// How far the client's handshake ought to have come.
    handshake: Handshake,
}

impl Lab {
    fn new(choices: &mut Unstructured<'_>) -> Result<Self> {
        let (monitor, channel) = pair(SocketType::SEQPACKET);
        let monitor = MonitorEnd::new(monitor);
        let relay = if choices.arbitrary()? { RelayMode::Splice } else { RelayMode::Adaptive };
        monitor
            .send(&ToSession::Setup { relay, protocols: Protocols::ALL }, None)
            .expect("room for a message");
        let pipes = (0..PIPES).map(|_| pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe"));
        let worker = Unlocked::new(channel, pipes.collect()).expect("a worker");
        let (client, of_worker) = pair(SocketType::STREAM);
        monitor
            .send(
                &ToSession::Serve { id: ID, handshake: message::session::Handshake::Fresh(Methods::NONE) },
                Some(of_worker.as_fd()),
            )
            .expect("room for a message");
        let (server, server_of_worker) = pair(SocketType::STREAM);
        let mut lab = Self {
            monitor,
            worker,
            client: Peer::new(client),
            server: Peer::new(server),
            server_of_worker: Some(server_of_worker),
            buffer: vec![0; 1 << 18],
            handshake: Handshake::Fresh(Methods::NONE),
        };
        assert!(matches!(lab.heard(), Some(FromSession::Ready(_))));
        Ok(lab)
    }

    fn turn(&mut self) {
        self.turn_within(Duration::ZERO);
    }

    fn turn_within(&mut self, patience: Duration) {
        self.worker.turn(patience).expect("a worker that goes on");
    }

    fn heard(&mut self) -> Option<FromSession> {
        match self.monitor.receive().expect("a message") {
            Received::Message(message, _) => Some(message),
            _ => None,
        }
    }

    fn say(&mut self, message: &ToSession) {
        self.monitor.send(message, None).expect("room for a message");
    }

    fn play(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let (request, command) = self.request(choices)?;
        let Some(length) = request else { return Ok(()) };
        // Bytes behind the request in the same segment are the server's.
        self.client.sent = length;
        let bound: SocketAddr = "198.51.100.1:3000".parse().expect("an address");
        if command == Command::Bind && choices.arbitrary()? {
            self.say(&ToSession::Listening { id: ID, address: bound });
            self.turn();
            self.is_told(self.handshake.granted(bound));
        }
        if choices.ratio(1, 16)? {
            self.say(&ToSession::Refuse { id: ID, why: RefusalReason::NoIdentd });
            self.turn();
            self.is_told(self.handshake.refused(RefusalReason::NoIdentd));
            return Ok(());
        }
        let server = self.server_of_worker.take().expect("the server's socket");
        let relay = ToSession::Relay { id: ID, bound };
        self.monitor.send(&relay, Some(server.as_fd())).expect("room for a message");
        drop(server);
        self.turn();
        self.is_told(self.handshake.granted(bound));
        while !choices.is_empty() {
            self.step(choices)?;
        }
        self.finish();
        Ok(())
    }

    /// The client sends a request and something behind it in any segments. Returns how many bytes stand behind it, once
    /// the worker has read it correctly.
    fn request(&mut self, choices: &mut Unstructured<'_>) -> Result<(Option<usize>, Command)> {
        let mut bytes = match choices.int_in_range(0..=5)? {
            0 => b"\x04\x01\x00\x17\xcb\x00\x71\x01joe\0".to_vec(),
            1 => b"\x04\x02\x00\x15\xcb\x00\x71\x01\0".to_vec(),
            2 => b"\x04\x01\x00\x50\0\0\0\x01joe\0www.example\0".to_vec(),
            3 => b"\x05\x02\x00\x02\x05\x01\x00\x03\x0bwww.example\0\x50".to_vec(),
            4 => b"\x05\x01\x00\x05\x02\x00\x01\xcb\x00\x71\x01\0\x15".to_vec(),
            _ => {
                let length = choices.int_in_range(0..=choices.len().min(600))?;
                choices.bytes(length)?.to_vec()
            }
        };
        let early = choices.int_in_range(0..=40)?;
        bytes.extend(&STREAM[..early]);
        let client = self.client.socket.as_ref().expect("an open socket");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (segment, behind) = rest.split_at(choices.int_in_range(1..=rest.len())?);
            if send(client, segment, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
                break;
            }
            self.worker.turn(Duration::ZERO).expect("a worker that goes on");
            rest = behind;
        }
        let expected = self.expected(&bytes);
        Ok(match (self.heard(), expected) {
            (Some(FromSession::Request { id: ID, request }), Step::Request { length, request: expected }) => {
                assert_eq!(request, expected);
                // Bytes of a request from the input are no part of the stream that is compared.
                (
                    bytes
                        .get(length..)
                        .is_some_and(|rest| rest == &STREAM[..rest.len()])
                        .then(|| bytes.len() - length),
                    request.command,
                )
            }
            (None, Step::Refused { reply, .. }) => {
                reply.into_iter().for_each(|reply| self.is_told(reply));
                (None, Command::Connect)
            }
            (None, Step::Incomplete) => (None, Command::Connect),
            (heard, expected) => panic!("{heard:?} but {expected:?}"),
        })
    }

    /// The step that the handshake comes to. The client has been told all answers on the way.
    fn expected(&mut self, bytes: &[u8]) -> Step {
        loop {
            match self.handshake.read(bytes, Protocols::ALL) {
                Step::Answer(reply) => self.is_told(reply),
                step => return step,
            }
        }
    }

    /// The client reads exactly this reply.
    fn is_told(&mut self, reply: Reply) {
        let mut bytes = vec![0; reply.bytes().len()];
        let client = self.client.socket.as_ref().expect("an open socket");
        let (length, _) = recv(client, &mut *bytes, RecvFlags::DONTWAIT).expect("a reply");
        assert_eq!(&bytes[..length], reply.bytes());
    }

    fn step(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let peer = if choices.arbitrary()? { &mut self.client } else { &mut self.server };
        let length = *choices.choose(&[1, 10, 1000, 20_000, 65_536, 65_537, 200_000])?;
        match choices.int_in_range(0..=9)? {
            0..=3 => peer.write(length),
            4..=5 => {
                peer.read(length, &mut self.buffer);
            }
            6 => peer.end(),
            7 if choices.ratio(1, 8)? => {
                peer.socket = None;
                peer.has_ended = true;
            }
            _ => self.turn(),
        }
        Ok(())
    }

    /// Both sides end their streams and read on: then each has all that the other has sent.
    fn finish(&mut self) {
        let whole = self.client.socket.is_some() && self.server.socket.is_some();
        self.client.end();
        self.server.end();
        let mut idle = 0;
        while idle < 3 && whole {
            self.turn_within(if idle == 0 { Duration::ZERO } else { REST });
            let [client, server] =
                [&mut self.client, &mut self.server].map(|peer| peer.read(usize::MAX, &mut self.buffer));
            idle = if client || server { 0 } else { idle + 1 };
        }
        self.say(&ToSession::End { id: ID });
        self.turn();
        let Some(FromSession::Closed { id: ID, why }) = self.heard() else { panic!("no end") };
        if whole {
            assert!(self.client.heard_end && self.server.heard_end, "an end that was not passed on");
            assert_eq!((self.client.sent, self.server.sent), (self.server.received, self.client.received));
            assert!(matches!(why, CloseReason::Finished | CloseReason::Ended), "{why:?}");
        } else {
            assert!(self.client.sent >= self.server.received && self.server.sent >= self.client.received);
        }
        assert!(self.heard().is_none(), "something behind the end");
    }
}
