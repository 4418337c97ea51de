//! The flows of one association by their destinations, and the datagrams that wait for decisions.
//!
//! A flow is known by the bytes of the header that name its destination. Looking one up takes no memory.

use super::header::Header;
use slab::Slab;
use sockd_common::message::datagram::{FlowId, Relayed};
use std::collections::HashMap;

/// The most datagrams that wait for one decision.
const WAITING: usize = 8;

/// The most bytes of them. The first datagram may have more, as most clients repeat it only after a second.
const WAITING_BYTES: usize = 16 << 10;

/// The most flows of one association that are being decided on. Further destinations are not asked for yet.
const DECIDING: usize = 64;

/// Seconds for which a destination is not asked for again.
const REFUSED: u32 = 10;

/// The port of DNS, where a question has one answer (RFC 4787, section 4.3, allows less for such ports).
const DOMAIN: u16 = 53;

/// Seconds without a datagram after which a flow to it ends.
const DOMAIN_IDLE: u32 = 30;

/// All flows of one association. `Socket` is how a peer is reached.
#[derive(Debug)]
pub struct Flows<Socket> {
    slots: Slab<Flow<Socket>>,
    by_destination: HashMap<Box<[u8]>, FlowId>,
    /// The number of flows that are being decided on.
    deciding: usize,
    /// Counts datagrams, so that it is known which flow was used last.
    turns: u64,
}

#[derive(Debug)]
struct Flow<Socket> {
    destination: Box<[u8]>,
    state: State<Socket>,
    /// The turn and the second of its last datagram.
    turn: u64,
    used: u32,
}

#[derive(Debug)]
enum State<Socket> {
    /// The monitor has been asked.
    Deciding(Waiting),
    /// The monitor has refused. The flow is not asked for before this second.
    Refused(u32),
    Open(Open<Socket>),
}

/// A flow that is permitted.
#[derive(Debug)]
pub struct Open<Socket> {
    /// Its socket.
    pub socket: Socket,
    /// The header of datagrams from its peer.
    pub header: Header,
    /// The number of bytes that it has moved.
    pub moved: Relayed,
    /// Seconds without a datagram after which it ends.
    idle: u32,
}

/// Datagrams that wait for a decision, one behind the other.
#[derive(Debug, Default)]
pub struct Waiting {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// The fate of a datagram of the client.
#[derive(Debug)]
pub enum Found<'a, Socket> {
    /// It goes to this peer.
    Open(&'a mut Open<Socket>),
    /// Its destination is new. [`Flows::want`] asks for it.
    New,
    /// It waits.
    Kept,
    /// It is dropped.
    Dropped,
}

impl<Socket> Default for Flows<Socket> {
    fn default() -> Self {
        Self { slots: Slab::new(), by_destination: HashMap::new(), deciding: 0, turns: 0 }
    }
}

impl Waiting {
    /// Keeps a datagram if there is room. `left` is the number of bytes that all flows of the worker may still keep.
    fn keep(&mut self, data: &[u8], left: &mut usize) -> bool {
        let bytes = self.bytes.len().saturating_add(data.len());
        let fits = self.lengths.is_empty() || (self.lengths.len() < WAITING && bytes <= WAITING_BYTES);
        let Some(rest) = left.checked_sub(data.len()).filter(|_| fits) else { return false };
        *left = rest;
        self.bytes.extend_from_slice(data);
        self.lengths.push(data.len());
        true
    }

    /// The datagrams in their order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().filter_map(move |length| {
            let (datagram, behind) = rest.split_at_checked(*length)?;
            rest = behind;
            Some(datagram)
        })
    }

    /// Bytes that are kept.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

/// Datagrams of the client.
impl<Socket> Flows<Socket> {
    /// Decides the fate of a datagram in this second.
    pub fn find(&mut self, destination: &[u8], data: &[u8], now: u32, left: &mut usize) -> Found<'_, Socket> {
        let Some(id) = self.by_destination.get(destination).copied() else { return Found::New };
        self.turns = self.turns.saturating_add(1);
        if let Some(Flow { state: State::Refused(until), .. }) = self.slots.get(usize::from(id.0))
            && *until <= now
        {
            self.remove(id);
            return Found::New;
        }
        let Some(flow) = self.slots.get_mut(usize::from(id.0)) else { return Found::Dropped };
        (flow.turn, flow.used) = (self.turns, now);
        match &mut flow.state {
            State::Open(open) => Found::Open(open),
            State::Deciding(waiting) => match waiting.keep(data, left) {
                true => Found::Kept,
                false => Found::Dropped,
            },
            State::Refused(_) => Found::Dropped,
        }
    }

    /// Whether the monitor may be asked for one flow more.
    pub fn may_want(&self) -> bool {
        self.deciding < DECIDING
    }

    /// Removes one flow if there are `most` already. A refused one gives way, or else the open one that was not used
    /// for longest, which is returned. It is an error if no flow can give way.
    pub fn make_room(&mut self, most: u16) -> Result<Option<(FlowId, Open<Socket>)>, Full> {
        if self.slots.len() < usize::from(most) {
            return Ok(None);
        }
        let gives_way = |(_, flow): &(usize, &Flow<Socket>)| !matches!(flow.state, State::Deciding(_));
        let rank = |(_, flow): &(usize, &Flow<Socket>)| (matches!(flow.state, State::Open(_)), flow.turn);
        let first = self.slots.iter().filter(gives_way).min_by_key(rank);
        let id = first.and_then(|(slot, _)| u16::try_from(slot).ok()).map(FlowId).ok_or(Full)?;
        match self.remove(id).map(|flow| flow.state) {
            Some(State::Open(open)) => Ok(Some((id, open))),
            _ => Ok(None),
        }
    }

    /// Begins a flow to a new destination with this datagram. Returns its number, to ask the monitor with.
    pub fn want(&mut self, destination: &[u8], data: &[u8], now: u32, left: &mut usize) -> Option<FlowId> {
        let id = FlowId(u16::try_from(self.slots.vacant_key()).ok()?);
        let mut waiting = Waiting::default();
        waiting.keep(data, left);
        self.turns = self.turns.saturating_add(1);
        let state = State::Deciding(waiting);
        self.slots.insert(Flow { destination: destination.into(), state, turn: self.turns, used: now });
        self.by_destination.insert(destination.into(), id);
        self.deciding = self.deciding.saturating_add(1);
        Some(id)
    }
}

/// No flow can give way to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Messages of the monitor, and datagrams of peers.
impl<Socket> Flows<Socket> {
    /// The monitor has refused this flow.
    pub fn refuse(&mut self, id: FlowId, now: u32, left: &mut usize) {
        let Some(flow) = self.slots.get_mut(usize::from(id.0)) else { return };
        if let State::Deciding(waiting) = &flow.state {
            *left = left.saturating_add(waiting.len());
            self.deciding = self.deciding.saturating_sub(1);
            flow.state = State::Refused(now.saturating_add(REFUSED));
        }
    }

    /// Opens a permitted flow, and returns the datagrams that waited for it. `None` if it was not asked for.
    pub fn open(
        &mut self,
        id: FlowId,
        (socket, header): (Socket, Header),
        (now, idle): (u32, u32),
        left: &mut usize,
    ) -> Option<(Waiting, &mut Open<Socket>)> {
        let flow = self.slots.get_mut(usize::from(id.0))?;
        let State::Deciding(waiting) = &mut flow.state else { return None };
        let waiting = std::mem::take(waiting);
        *left = left.saturating_add(waiting.len());
        self.deciding = self.deciding.saturating_sub(1);
        let is_domain = flow.destination.ends_with(&DOMAIN.to_be_bytes());
        let idle = if is_domain { idle.min(DOMAIN_IDLE) } else { idle };
        flow.used = now;
        flow.state = State::Open(Open { socket, header, moved: Relayed::default(), idle });
        match &mut flow.state {
            State::Open(open) => Some((waiting, open)),
            _ => None,
        }
    }

    /// The open flow with this number.
    pub fn get(&mut self, id: FlowId) -> Option<&mut Open<Socket>> {
        match &mut self.slots.get_mut(usize::from(id.0))?.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    /// The peer of a flow has sent something.
    pub fn used(&mut self, id: FlowId, now: u32) {
        self.turns = self.turns.saturating_add(1);
        if let Some(flow) = self.slots.get_mut(usize::from(id.0)) {
            (flow.turn, flow.used) = (self.turns, now);
        }
    }

    /// Takes out an open flow.
    pub fn close(&mut self, id: FlowId) -> Option<Open<Socket>> {
        self.get(id)?;
        match self.remove(id)?.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    /// Returns the open flows that were idle for too long, and forgets refusals that are over.
    pub fn idle(&mut self, now: u32) -> Vec<FlowId> {
        let ids = |slot: usize| u16::try_from(slot).map(FlowId).ok();
        let over = |flow: &Flow<Socket>| matches!(flow.state, State::Refused(until) if until <= now);
        let over: Vec<FlowId> =
            self.slots.iter().filter(|(_, flow)| over(flow)).filter_map(|(slot, _)| ids(slot)).collect();
        over.into_iter().for_each(|id| drop(self.remove(id)));
        let idle = |flow: &Flow<Socket>| match &flow.state {
            State::Open(open) => now.saturating_sub(flow.used) >= open.idle,
            _ => false,
        };
        self.slots.iter().filter(|(_, flow)| idle(flow)).filter_map(|(slot, _)| ids(slot)).collect()
    }

    /// Removes every flow. Returns the open ones, and gives the bytes that waited back to `left`.
    pub fn take_all(&mut self, left: &mut usize) -> Vec<Open<Socket>> {
        self.by_destination.clear();
        self.deciding = 0;
        let mut all = Vec::new();
        for flow in self.slots.drain() {
            match flow.state {
                State::Open(open) => all.push(open),
                State::Deciding(waiting) => *left = left.saturating_add(waiting.len()),
                State::Refused(_) => {}
            }
        }
        all
    }

    fn remove(&mut self, id: FlowId) -> Option<Flow<Socket>> {
        let flow = self.slots.try_remove(usize::from(id.0))?;
        self.by_destination.remove(&flow.destination);
        Some(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const PLENTY: usize = 1 << 20;

    fn to(number: u8) -> [u8; 7] {
        [1, 192, 0, 2, number, 0x27, 0x0f]
    }

    fn header() -> Header {
        Header::of("192.0.2.1:9".parse().unwrap())
    }

    /// A flow to this destination that is open from this second on.
    fn open(flows: &mut Flows<u8>, number: u8, now: u32) -> FlowId {
        let id = flows.want(&to(number), b"first", now, &mut { PLENTY }).unwrap();
        assert!(flows.open(id, (number, header()), (now, 120), &mut { PLENTY }).is_some());
        id
    }

    #[test]
    fn what_waits_goes_out_in_its_order_once_the_flow_is_permitted() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        assert!(matches!(flows.find(&to(1), b"one", 0, &mut left), Found::New));
        let id = flows.want(&to(1), b"one", 0, &mut left).unwrap();
        assert!(matches!(flows.find(&to(1), b"", 0, &mut left), Found::Kept));
        assert!(matches!(flows.find(&to(1), b"three", 0, &mut left), Found::Kept));
        assert_eq!(left, PLENTY - 8);
        let (waiting, _) = flows.open(id, (7, header()), (0, 120), &mut left).unwrap();
        assert_eq!(waiting.datagrams().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(left, PLENTY);
        assert!(matches!(flows.find(&to(1), b"", 0, &mut left), Found::Open(Open { socket: 7, .. })));
        assert!(flows.open(id, (8, header()), (0, 120), &mut left).is_none(), "once");
    }

    #[test]
    fn what_waits_has_a_number_and_a_size_and_the_first_may_be_large() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        flows.want(&to(1), b"x", 0, &mut left).unwrap();
        let kept = (0..20).filter(|_| matches!(flows.find(&to(1), b"x", 0, &mut left), Found::Kept)).count();
        assert_eq!(kept, WAITING - 1);
        flows.want(&to(2), &[0; 65_000], 0, &mut left).unwrap();
        assert!(matches!(flows.find(&to(2), b"x", 0, &mut left), Found::Dropped));
        assert_eq!(left, PLENTY - 65_000 - WAITING);
        let mut little = 3;
        flows.want(&to(3), b"four", 0, &mut little).unwrap();
        assert_eq!(little, 3, "it is asked for even so");
    }

    #[test]
    fn a_refused_flow_is_not_asked_for_again_for_a_while() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        let id = flows.want(&to(1), b"one", 5, &mut left).unwrap();
        flows.refuse(id, 5, &mut left);
        assert_eq!(left, PLENTY);
        assert!(matches!(flows.find(&to(1), b"two", 14, &mut left), Found::Dropped));
        assert!(matches!(flows.find(&to(1), b"two", 15, &mut left), Found::New));
    }

    #[test]
    fn the_flow_that_was_not_used_for_longest_gives_way_and_refused_ones_first() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        let ids = [1, 2].map(|number| open(&mut flows, number, 0));
        let refused = flows.want(&to(3), b"", 0, &mut left).unwrap();
        assert!(matches!(flows.make_room(4), Ok(None)), "there is room");
        flows.refuse(refused, 0, &mut left);
        assert!(matches!(flows.make_room(3), Ok(None)), "the refused one is gone");
        assert!(matches!(flows.find(&to(1), b"", 0, &mut left), Found::Open(_)));
        assert!(matches!(flows.make_room(2), Ok(Some((id, _))) if id == ids[1]));
        flows.used(ids[0], 1);
        let deciding = flows.want(&to(4), b"", 0, &mut left).unwrap();
        assert!(matches!(flows.make_room(2), Ok(Some((id, _))) if id == ids[0]));
        assert!(matches!(flows.make_room(1), Err(Full)), "what is being decided on stays: {deciding:?}");
    }

    #[test]
    fn a_flow_is_idle_in_time_and_one_to_a_name_server_earlier() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        let long = open(&mut flows, 1, 0);
        let domain = flows.want(&[1, 192, 0, 2, 1, 0, 53], b"", 0, &mut left).unwrap();
        flows.open(domain, (2, header()), (0, 120), &mut left).unwrap();
        assert_eq!(flows.idle(29), []);
        assert_eq!(flows.idle(30), [domain]);
        assert!(flows.close(domain).is_some() && flows.close(domain).is_none());
        flows.used(long, 100);
        assert_eq!((flows.idle(219), flows.idle(220)), (vec![], vec![long]));
    }

    #[test]
    fn no_more_than_so_many_are_decided_on_at_once() {
        let (mut flows, mut left) = (Flows::<u8>::default(), PLENTY);
        let wanted = (0..200)
            .filter(|number| flows.may_want() && flows.want(&to(*number), b"", 0, &mut left).is_some());
        assert_eq!(wanted.count(), DECIDING);
    }

    proptest! {
        /// In any order of events numbers are unique, all waiting bytes are counted, and flows keep to their limit.
        #[test]
        fn whatever_happens_the_table_stays_whole(acts in proptest::collection::vec((0u8..6, 0u8..12, 0u32..40), 0..300)) {
            let (mut flows, mut left, mut now) = (Flows::<u8>::default(), PLENTY, 0);
            let mut deciding = HashSet::new();
            for (act, number, time) in acts {
                now += time / 8;
                let id = FlowId(number.into());
                match act {
                    0 | 1 => if let Found::New = flows.find(&to(number), b"data", now, &mut left)
                        && flows.make_room(8).is_ok()
                        && let Some(id) = flows.want(&to(number), b"data", now, &mut left)
                    {
                        prop_assert!(deciding.insert(id));
                    },
                    2 => { flows.refuse(id, now, &mut left); deciding.remove(&id); }
                    3 => {
                        let was = flows.open(id, (number, header()), (now, 20), &mut left).is_some();
                        prop_assert_eq!(was, deciding.remove(&id));
                    }
                    4 => drop(flows.close(id)),
                    _ => for id in flows.idle(now) { prop_assert!(flows.close(id).is_some()); },
                }
                prop_assert!(flows.slots.len() <= 8 && flows.slots.len() == flows.by_destination.len());
                prop_assert_eq!(flows.deciding, deciding.len());
                for (destination, id) in &flows.by_destination {
                    prop_assert_eq!(&flows.slots[usize::from(id.0)].destination, destination);
                }
            }
            flows.take_all(&mut left);
            prop_assert_eq!(left, PLENTY);
        }
    }
}
