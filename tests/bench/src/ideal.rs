//! The ceiling: a SOCKS 4, 4A and 5 proxy without rules, log, limits, deadlines or separation. A process for each
//! processor, each one epoll loop; all accept from one listening socket. Behind a [`front`](crate::front) the same
//! loop serves one client host, and leaves accepting and connecting to that.

use crate::message::{Down, Up};
use crate::net::{self, Events, Listen, Outcome};
use crate::origin::processors;
use crate::request::{Parsed, parse};
use clap::ValueEnum;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, Result};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use slab::Slab;
use sockd_common::channel::{Received, WorkerEnd};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Moves {
    /// Small amounts are copied, bulk goes through a pipe.
    Adaptive,
    /// Everything goes through a pipe.
    Splice,
}

impl Moves {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Splice => "splice",
        }
    }
}

/// Starts the processes; all get one listening socket as standard input.
pub(crate) fn start(moves: Moves, address: SocketAddrV4) -> Outcome<Vec<Child>> {
    let listener = net::listen(address, Listen::default())?;
    let start = |_| {
        let mut command = Command::new("/proc/self/exe");
        command.args(["ideal", moves.word(), "listener"]).stdin(Stdio::from(listener.try_clone()?)).spawn()
    };
    Ok((0..processors()).map(start).collect::<std::io::Result<_>>()?)
}

const BUFFER: usize = 64 * 1024;
const PIPE: usize = 1 << 20;
/// The most turns of one direction before others have theirs.
const TURNS: usize = 16;
const INPUT: u64 = u64::MAX;

/// The standard input of a process, which decides who accepts and connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// A listening socket: the process itself.
    Listener,
    /// A channel to a front, which does both.
    Channel,
}

/// Runs one of the processes.
pub(crate) fn run(moves: Moves, input: Input) -> Outcome<()> {
    let channel = match input {
        Input::Listener => None,
        Input::Channel => Some(WorkerEnd::new(rustix::stdio::stdin().try_clone_to_owned()?)),
    };
    let mut proxy = Proxy {
        channel,
        events: Events::new()?,
        sessions: Slab::new(),
        generation: 0,
        ended: Vec::new(),
        unfinished: VecDeque::new(),
        mover: Mover { moves, buffer: vec![0; BUFFER], pipes: Vec::new() },
    };
    // One process is woken for a connection, not all.
    proxy.events.add(rustix::stdio::stdin(), INPUT, EventFlags::IN | EventFlags::EXCLUSIVE)?;
    while proxy.turn()? {}
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening { greeted: bool },
    Dialling { version: u8 },
    Open,
}

struct Session {
    client: OwnedFd,
    server: Option<OwnedFd>,
    /// Known without asking.
    connected: bool,
    phase: Phase,
    request: Vec<u8>,
    up: Flow,
    down: Flow,
    generation: u32,
    /// The place at which the front, if any, keeps its sockets.
    kept: u32,
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

const EDGES: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

fn token(number: usize, generation: u32, side: Side) -> u64 {
    u64::from(generation) << 32 | (number as u64) << 1 | side as u64
}

/// One direction. Sockets are watched for edges, so each end's readiness is remembered here.
#[derive(Default)]
struct Flow {
    readable: bool,
    writable: bool,
    /// The sink is watched for room, as it is once it has been full.
    watched: bool,
    /// The source has said that nothing follows its unread bytes.
    hung_up: bool,
    at_end: bool,
    end_passed_on: bool,
    copied: Vec<u8>,
    pipe: Option<Pipe>,
    piped: usize,
    full_buffers: u8,
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.piped == 0
    }

    /// Whether the end is to be passed on now; true only once.
    fn ends_now(&mut self) -> bool {
        let due = self.at_end && self.is_empty() && !self.end_passed_on;
        self.end_passed_on |= due;
        due
    }
}

struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

struct Proxy {
    /// To the front, if any.
    channel: Option<WorkerEnd<Up, Down>>,
    events: Events,
    sessions: Slab<Session>,
    generation: u32,
    /// Ended in this turn; the numbers are taken until its events are through.
    ended: Vec<usize>,
    unfinished: VecDeque<(usize, u32)>,
    mover: Mover,
}

impl Proxy {
    /// Handles one turn of events; false once nobody is left to send any.
    fn turn(&mut self) -> Outcome<bool> {
        let limit = (!self.unfinished.is_empty()).then_some(Duration::ZERO);
        let ready = self.events.wait(limit)?;
        for _ in 0..self.unfinished.len() {
            if let Some((number, generation)) = self.unfinished.pop_front() {
                self.step(number, generation, |_| {});
            }
        }
        for event in 0..ready {
            let (token, flags) = self.events.get(event);
            if token == INPUT {
                match &self.channel {
                    None => self.accept(),
                    Some(channel) => match channel.receive()? {
                        Received::Message(message, Some(descriptor)) => self.hear(message, descriptor)?,
                        Received::Nothing => {}
                        _ => return Ok(false),
                    },
                }
                continue;
            }
            let number = (token as u32 >> 1) as usize;
            let generation = (token >> 32) as u32;
            let of_client = token & 1 == 0;
            let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            self.step(number, generation, |session| {
                let (from, to) = match of_client {
                    true => (&mut session.up, &mut session.down),
                    false => (&mut session.down, &mut session.up),
                };
                from.readable |= hung_up || flags.intersects(EventFlags::IN);
                from.hung_up |= hung_up;
                to.writable |= flags.intersects(EventFlags::OUT | EventFlags::ERR);
            });
        }
        for number in self.ended.drain(..) {
            self.sessions.remove(number);
        }
        Ok(true)
    }

    /// The server of a session, which may be connected already.
    fn connect(&mut self, number: usize, generation: u32, server: OwnedFd, connected: bool) -> Result<()> {
        let Some(session) = self.sessions.get_mut(number).filter(|session| session.generation == generation)
        else {
            return Ok(());
        };
        let edges = if connected { EDGES } else { EDGES.union(EventFlags::OUT) };
        self.events.add(&server, token(number, generation, Side::Server), edges)?;
        (session.server, session.connected) = (Some(server), connected);
        (session.up.writable, session.up.watched) = (connected, !connected);
        Ok(())
    }

    fn accept(&mut self) {
        for _ in 0..64 {
            let Some(client) = net::accept(rustix::stdio::stdin()) else { return };
            self.begin(client, 0);
        }
    }

    fn begin(&mut self, client: OwnedFd, kept: u32) {
        self.generation = self.generation.wrapping_add(1);
        let (generation, number) = (self.generation, self.sessions.vacant_key());
        // Out of memory for events: the client is let go.
        if self.events.add(&client, token(number, generation, Side::Client), EDGES).is_ok() {
            let (up, down) = (Flow::default(), Flow { writable: true, ..Flow::default() });
            let phase = Phase::Opening { greeted: false };
            self.sessions.insert(Session {
                client,
                server: None,
                connected: false,
                phase,
                request: Vec::new(),
                up,
                down,
                generation,
                kept,
            });
        }
    }

    /// One message of the front. A client that comes with its request is looked at at once, and a server that is
    /// connected is used at once, without an event that says so.
    fn hear(&mut self, message: Down, descriptor: OwnedFd) -> Result<()> {
        let (number, generation) = match message {
            Down::Client { kept } => {
                let number = self.sessions.vacant_key();
                self.begin(descriptor, kept);
                (number, self.generation)
            }
            Down::Server { session, is_connected } => {
                let (number, generation) = (session as u32 as usize, (session >> 32) as u32);
                self.connect(number, generation, descriptor, is_connected)?;
                (number, generation)
            }
        };
        self.step(number, generation, |session| session.up.readable |= session.server.is_none());
        Ok(())
    }

    /// Tells a session its news and lets it go on; ends it if it cannot.
    fn step(&mut self, number: usize, generation: u32, news: impl FnOnce(&mut Session)) {
        let Some(session) = self.sessions.get_mut(number).filter(|session| session.generation == generation)
        else {
            return;
        };
        if session.up.end_passed_on && session.down.end_passed_on {
            return;
        }
        news(session);
        if self.advance(number, generation).is_err() {
            let session = &mut self.sessions[number];
            for flow in [&mut session.up, &mut session.down] {
                flow.end_passed_on = true;
                self.mover.put_back(flow);
            }
            self.ended.push(number);
            if let Some(channel) = &self.channel {
                let _ = channel.send(&Up::Ended { kept: session.kept });
            }
        }
    }

    /// Errors are ends, and so is the end of both directions.
    fn advance(&mut self, number: usize, generation: u32) -> Result<()> {
        let session = &mut self.sessions[number];
        if matches!(session.phase, Phase::Opening { .. })
            && session.up.readable
            && let Some(destination) = open(session, &mut self.mover.buffer)?
        {
            if let Some(channel) = &self.channel {
                let kept = session.kept;
                let session = u64::from(generation) << 32 | number as u64;
                return channel.send(&Up::Dial { session, kept, destination }).map_err(|_| Errno::PIPE);
            }
            let (server, is_connected) = net::dial(destination).map_err(|_| Errno::CONNREFUSED)?;
            self.connect(number, generation, server, is_connected)?;
        }
        let session = &mut self.sessions[number];
        if let Phase::Dialling { version } = session.phase
            && (session.up.writable || session.down.hung_up)
        {
            answer(session, version)?;
        }
        if session.phase == Phase::Open {
            return self.relay(number, generation);
        }
        Ok(())
    }

    fn relay(&mut self, number: usize, generation: u32) -> Result<()> {
        let Session { client, server, up, down, .. } = &mut self.sessions[number];
        let Some(server) = server else { return Err(Errno::NOTCONN) };
        let (client, server) = (&*client, &*server);
        let more_up = self.mover.pump(up, client.as_fd(), server.as_fd())?;
        let more_down = self.mover.pump(down, server.as_fd(), client.as_fd())?;
        if more_up || more_down {
            self.unfinished.push_back((number, generation));
        }
        for (sink, side, flow) in [(client, Side::Client, &mut *down), (server, Side::Server, &mut *up)] {
            if !flow.writable && !std::mem::replace(&mut flow.watched, true) {
                self.events.change(sink, token(number, generation, side), EDGES.union(EventFlags::OUT))?;
            }
        }
        let (up_ends, down_ends) = (up.ends_now(), down.ends_now());
        if up.end_passed_on && down.end_passed_on {
            return Err(Errno::SHUTDOWN);
        }
        if up_ends {
            shutdown(server, Shutdown::Write)?;
        }
        if down_ends {
            shutdown(client, Shutdown::Write)?;
        }
        Ok(())
    }
}

/// Reads the request; returns the destination once it is whole.
fn open(session: &mut Session, buffer: &mut [u8]) -> Result<Option<SocketAddrV4>> {
    const ROOM: usize = 1024;
    while session.up.readable {
        match net::receive(&session.client, &mut buffer[..ROOM])? {
            None => session.up.readable = false,
            Some(0) => return Err(Errno::CONNRESET),
            Some(length) => {
                session.request.extend_from_slice(&buffer[..length]);
                // Less than fitted: more data would be another edge, but an end that came before would not.
                session.up.readable = length == ROOM || session.up.hung_up;
            }
        }
        while let Phase::Opening { greeted } = session.phase {
            match parse(&session.request, greeted) {
                Parsed::Partial => break,
                Parsed::Wrong => return Err(Errno::PROTO),
                Parsed::Greeting { length } => {
                    session.request.drain(..length);
                    session.phase = Phase::Opening { greeted: true };
                    net::send(&session.client, &[5, 0])?;
                }
                Parsed::Connect { to, length } => {
                    let version = session.request[0];
                    session.request.drain(..length);
                    session.phase = Phase::Dialling { version };
                    return Ok(Some(to));
                }
            }
        }
    }
    Ok(None)
}

/// Tells the client how the dial ended.
fn answer(session: &mut Session, version: u8) -> Result<()> {
    let server = session.server.as_ref().ok_or(Errno::NOTCONN)?;
    let outcome = if session.connected { Ok(()) } else { rustix::net::sockopt::socket_error(server)? };
    let reply: &[u8] = match (version, outcome.is_ok()) {
        (4, true) => &[0, 90, 0, 0, 0, 0, 0, 0],
        (4, false) => &[0, 91, 0, 0, 0, 0, 0, 0],
        (_, true) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        (_, false) => &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
    };
    net::send(&session.client, reply)?;
    outcome?;
    session.up.copied = std::mem::take(&mut session.request);
    session.phase = Phase::Open;
    Ok(())
}

struct Mover {
    moves: Moves,
    buffer: Vec<u8>,
    /// Empty ones, to be used again.
    pipes: Vec<Pipe>,
}

impl Mover {
    /// Moves what there is; true when the turns are used up and there may be more.
    fn pump(&mut self, flow: &mut Flow, source: BorrowedFd<'_>, sink: BorrowedFd<'_>) -> Result<bool> {
        for _ in 0..TURNS {
            if !flow.is_empty() && flow.writable {
                flush(flow, sink)?;
            }
            if !flow.is_empty() {
                return Ok(false);
            }
            if flow.at_end || !flow.readable || !flow.writable {
                self.put_back(flow);
                return Ok(false);
            }
            if self.moves == Moves::Splice || flow.full_buffers >= 2 {
                self.fill(flow, source)?;
            } else {
                self.copy(flow, source, sink)?;
            }
        }
        Ok(true)
    }

    /// Takes from the source into an empty pipe.
    fn fill(&mut self, flow: &mut Flow, source: BorrowedFd<'_>) -> Result<()> {
        if flow.pipe.is_none() {
            flow.pipe = Some(self.pipes.pop().map_or_else(new_pipe, Ok)?);
        }
        let Some(pipe) = &flow.pipe else { return Ok(()) };
        match net::unless_blocked(splice(source, None, &pipe.into, None, PIPE, SPLICE))? {
            None => flow.readable = false,
            Some(0) => flow.at_end = true,
            Some(length) => {
                flow.piped = length;
                if length < BUFFER / 4 {
                    flow.full_buffers = 0;
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, flow: &mut Flow, source: BorrowedFd<'_>, sink: BorrowedFd<'_>) -> Result<()> {
        let length = match net::receive(source, &mut self.buffer)? {
            None => {
                flow.readable = false;
                return Ok(());
            }
            Some(0) => {
                flow.at_end = true;
                return Ok(());
            }
            Some(length) => length,
        };
        if length == self.buffer.len() {
            flow.full_buffers = flow.full_buffers.saturating_add(1);
        } else {
            flow.full_buffers = 0;
            // No more comes after the bytes seen before this read.
            flow.readable = false;
            flow.at_end = flow.hung_up;
        }
        // The last bytes leave with the FIN that follows at once.
        let sent = net::send_before(sink, &self.buffer[..length], flow.at_end)?.unwrap_or(0);
        if sent < length {
            flow.writable = false;
            flow.copied = self.buffer[sent..length].to_vec();
        }
        Ok(())
    }

    fn put_back(&mut self, flow: &mut Flow) {
        if flow.piped == 0 {
            self.pipes.extend(flow.pipe.take());
        }
    }
}

const SPLICE: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

fn new_pipe() -> Result<Pipe> {
    let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&into, PIPE)?;
    Ok(Pipe { out, into })
}

/// Gives the sink the bytes taken from the source before.
fn flush(flow: &mut Flow, sink: BorrowedFd<'_>) -> Result<()> {
    while flow.piped > 0 {
        let Some(pipe) = &flow.pipe else { return Ok(()) };
        match net::unless_blocked(splice(&pipe.out, None, sink, None, flow.piped, SPLICE))? {
            Some(length) => flow.piped -= length,
            None => {
                flow.writable = false;
                return Ok(());
            }
        }
    }
    if !flow.copied.is_empty() {
        let sent = net::send(sink, &flow.copied)?.unwrap_or(0);
        flow.copied.drain(..sent);
        flow.writable = flow.copied.is_empty();
        if flow.copied.is_empty() {
            // An idle relay holds no memory.
            flow.copied = Vec::new();
        }
    }
    Ok(())
}
