//! Datagrams of clients: their header, and the table of flows.

use arbitrary::{Result, Unstructured};
use sockd_common::message::datagram::FlowId;
use sockd_common::message::request::Destination;
use sockd_worker::datagram::flows::{Flows, Found};
use sockd_worker::datagram::header::{self, Datagram, Header};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// RFC 1928, section 7, read literally: where the address stands and how long it is, if all of it is there.
fn address(data: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match data {
        [_, _, fragment, ..] if *fragment != 0 => return None,
        [_, _, _, 1, ..] => (4, 4),
        [_, _, _, 3, length, ..] => (5, usize::from(*length)),
        [_, _, _, 4, ..] => (4, 16),
        _ => return None,
    };
    (data.len() >= start + length + 2).then_some((start, length))
}

/// A datagram is read as the protocol's text says. An answer from the address in it begins with the same header.
pub fn datagram(data: &[u8]) {
    let (found, Some((start, length))) = (header::read(data), address(data)) else {
        assert_eq!(header::read(data), None);
        return;
    };
    let end = start + length;
    let expected = Datagram { destination: &data[3..end + 2], data: &data[end + 2..] };
    assert_eq!(found, Some(expected));
    let (field, port) = (&data[start..end], u16::from_be_bytes([data[end], data[end + 1]]));
    let is_name = data[3] == 3;
    match header::destination(expected.destination) {
        None => assert!(is_name && (field.is_empty() || field[0] == b'['), "{field:?} is no destination"),
        Some((Destination::Name(name), said)) => {
            assert!(is_name && !name.as_bytes().starts_with(b"["));
            assert_eq!((name.as_bytes(), said), (field, port));
        }
        Some((Destination::Address(address), said)) => {
            assert!(!is_name);
            assert_eq!(said, port);
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert_eq!(octets, field);
            let answer = Header::of(SocketAddr::new(address, port));
            let mapped = address.to_canonical() != address;
            assert!(mapped || answer.bytes() == [&[0, 0, 0], expected.destination].concat());
            assert!(answer.bytes().len() <= header::LONGEST);
            assert_eq!(header::read(answer.bytes()).map(|read| read.data), Some(&b""[..]));
        }
    }
}

/// Bytes that may wait in all flows together, and in one.
const ROOM: usize = 40_000;
const WAITING: usize = 16 << 10;

/// Flows of one association, and seconds until one is idle.
const MOST: u16 = 6;
const IDLE: u32 = 60;

/// A flow as the simplest table would have it.
#[derive(Debug)]
struct Known {
    destination: Vec<u8>,
    state: State,
    turn: u64,
    used: u32,
}

#[derive(Debug)]
enum State {
    /// With the datagrams that wait.
    Deciding(Vec<Vec<u8>>),
    /// Until this second.
    Refused(u32),
    /// By this socket.
    Open(u32),
}

impl Known {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    fn is_deciding(&self) -> bool {
        matches!(self.state, State::Deciding(_))
    }
}

/// The table beside the simplest one that could be.
struct Beside {
    flows: Flows<u32>,
    known: BTreeMap<FlowId, Known>,
    left: usize,
    now: u32,
    turn: u64,
}

/// Whatever clients, peers, the monitor and the clock do, each datagram goes to the flow of its destination, waits in
/// its order, or is dropped. The flow that gives way is the right one, and waiting bytes are counted exactly.
pub fn flows(data: &[u8]) {
    let (flows, known) = (Flows::default(), BTreeMap::new());
    let mut beside = Beside { flows, known, left: ROOM, now: 0, turn: 0 };
    let mut choices = Unstructured::new(data);
    while !choices.is_empty() && beside.step(&mut choices).is_ok() {
        let waits = beside.known.values().filter_map(|flow| match &flow.state {
            State::Deciding(waiting) => Some(waiting.iter().map(Vec::len).sum::<usize>()),
            _ => None,
        });
        assert_eq!(beside.left, ROOM - waits.sum::<usize>());
        assert!(beside.known.len() <= usize::from(MOST) && beside.flows.may_want());
    }
    let open = beside.known.values().filter(|flow| flow.is_open()).count();
    assert_eq!(beside.flows.take_all(&mut beside.left).len(), open);
    assert_eq!(beside.left, ROOM, "something waits for nothing");
}

impl Beside {
    fn step(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        self.turn += 1;
        let id = FlowId(choices.int_in_range(0..=MOST)?);
        match choices.int_in_range(0..=9)? {
            0..=3 => {
                let number = choices.int_in_range(0..=9)?;
                let length = *choices.choose(&[0, 1, 500, 8_000, WAITING, WAITING + 1, ROOM])?;
                // A third of them are nameservers.
                let port = if number < 3 { 53 } else { 9 };
                self.send(&[1, 192, 0, 2, number, 0, port], &vec![self.turn as u8; length]);
            }
            4 => self.open(id),
            5 => self.refuse(id),
            6 => self.close(id),
            7 => {
                self.flows.used(id, self.now);
                self.use_now(id);
            }
            _ => {
                self.now += choices.int_in_range(0..=20)?;
                self.end_idle();
            }
        }
        Ok(())
    }

    fn use_now(&mut self, id: FlowId) {
        if let Some(flow) = self.known.get_mut(&id) {
            (flow.turn, flow.used) = (self.turn, self.now);
        }
    }

    /// The client sends a datagram to a destination.
    fn send(&mut self, destination: &[u8], data: &[u8]) {
        let over = |flow: &Known| matches!(flow.state, State::Refused(until) if until <= self.now);
        self.known.retain(|_, flow| flow.destination != destination || !over(flow));
        let room = self.left;
        let found = self.flows.find(destination, data, self.now, &mut self.left);
        let Some((id, flow)) = self.known.iter_mut().find(|(_, flow)| flow.destination == destination) else {
            assert!(matches!(found, Found::New), "{found:?}");
            return self.want(destination, data);
        };
        match (&mut flow.state, found) {
            (State::Open(socket), Found::Open(open)) => assert_eq!(open.socket, *socket),
            (State::Deciding(waiting), found @ (Found::Kept | Found::Dropped)) => {
                let bytes = waiting.iter().map(Vec::len).sum::<usize>() + data.len();
                let fits = waiting.is_empty() || (waiting.len() < 8 && bytes <= WAITING);
                assert_eq!(matches!(found, Found::Kept), fits && data.len() <= room, "{waiting:?}");
                waiting.extend(matches!(found, Found::Kept).then(|| data.to_vec()));
            }
            (State::Refused(_), Found::Dropped) => {}
            (state, found) => panic!("{found:?} but {state:?}"),
        }
        let id = *id;
        self.use_now(id);
    }

    /// The client sends to a new destination.
    fn want(&mut self, destination: &[u8], data: &[u8]) {
        let gives_way = self.known.iter().filter(|(_, flow)| !flow.is_deciding());
        let first = gives_way.min_by_key(|(_, flow)| (flow.is_open(), flow.turn)).map(|(id, _)| *id);
        let is_full = self.known.len() >= usize::from(MOST);
        match self.flows.make_room(MOST) {
            Err(_) => return assert!(is_full && first.is_none(), "{first:?} could have given way"),
            Ok(given) => {
                let expected = first.filter(|_| is_full).and_then(|id| Some((id, self.known.remove(&id)?)));
                let open = expected.filter(|(_, flow)| flow.is_open()).map(|(id, _)| id);
                assert_eq!(given.map(|(id, _)| id), open);
            }
        }
        let before = self.left;
        let id = self.flows.want(destination, data, self.now, &mut self.left).expect("there is room");
        let state = State::Deciding(if data.len() <= before { vec![data.to_vec()] } else { Vec::new() });
        let flow = Known { destination: destination.to_vec(), state, turn: self.turn, used: self.now };
        assert!(self.known.insert(id, flow).is_none(), "two flows have one number");
    }

    /// The monitor permits a flow, or one that nobody has asked for.
    fn open(&mut self, id: FlowId) {
        let socket = self.turn as u32;
        let peer = (socket, Header::of(SocketAddr::from(([192, 0, 2, 1], 9))));
        let opened = self.flows.open(id, peer, (self.now, IDLE), &mut self.left);
        let flow = self.known.get_mut(&id).filter(|flow| flow.is_deciding());
        let (Some((waiting, _)), Some(flow)) = (&opened, flow) else {
            return assert!(opened.is_none() && self.known.get(&id).is_none_or(|flow| !flow.is_deciding()));
        };
        let State::Deciding(expected) = std::mem::replace(&mut flow.state, State::Open(socket)) else {
            return;
        };
        assert!(waiting.datagrams().eq(expected.iter().map(Vec::as_slice)), "not what the client has sent");
        flow.used = self.now;
    }

    fn refuse(&mut self, id: FlowId) {
        self.flows.refuse(id, self.now, &mut self.left);
        let flow = self.known.get_mut(&id).filter(|flow| flow.is_deciding());
        flow.into_iter().for_each(|flow| flow.state = State::Refused(self.now + 10));
    }

    fn close(&mut self, id: FlowId) {
        let was = self.known.get(&id).is_some_and(Known::is_open);
        assert_eq!(self.flows.close(id).is_some(), was);
        if was {
            self.known.remove(&id);
        }
    }

    /// Ends the flows that are idle by now.
    fn end_idle(&mut self) {
        let idle = self.flows.idle(self.now);
        self.known.retain(|_, flow| !matches!(flow.state, State::Refused(until) if until <= self.now));
        let limit = |flow: &Known| if flow.destination.ends_with(&[0, 53]) { 30 } else { IDLE };
        let is_idle = |flow: &Known| flow.is_open() && self.now - flow.used >= limit(flow);
        let expected: BTreeSet<FlowId> =
            self.known.iter().filter(|(_, flow)| is_idle(flow)).map(|(id, _)| *id).collect();
        assert_eq!(idle.iter().copied().collect::<BTreeSet<_>>(), expected);
        idle.into_iter().for_each(|id| self.close(id));
    }
}
