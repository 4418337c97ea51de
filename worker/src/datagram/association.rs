//! One association: the client's socket, and its flows.

use super::bucket::Bucket;
use super::flows::{Flows, Found, Open};
use super::header::{self, Header};
use super::receive::Receiver;
use crate::event::Epoll;
use crate::outbox::Outbox;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use sockd_common::message::Id;
use sockd_common::message::datagram::{FlowId, FlowLimits, FromDatagram, Relayed, ToDatagram};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// The most calls that receive from one socket before the others have their turn.
const RECEIVES: usize = 4;

/// The place of the client's socket among the sockets of an association. No flow has this number.
const CLIENT: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Association {
    pub(super) id: Id,
    client: OwnedFd,
    address: SocketAddr,
    flows: Flows<OwnedFd>,
    /// The second of its last datagram.
    used: u32,
}

/// The parts of the worker that its associations share.
pub(super) struct Shared {
    pub(super) epoll: Epoll,
    pub(super) outbox: Outbox<FromDatagram, ToDatagram>,
    pub(super) receiver: Receiver,
    pub(super) limits: FlowLimits,
    pub(super) bucket: Bucket,
    /// Bytes that may still wait for decisions.
    pub(super) left: usize,
    /// The monitor does not read: it is asked for nothing, and its channel is watched for room.
    pub(super) is_stuck: bool,
    /// Seconds since the start.
    pub(super) now: u32,
    pub(super) now_ms: u64,
}

/// The token of a socket for epoll.
fn token(slot: usize, place: u32) -> u64 {
    (slot as u64) << 32 | u64::from(place)
}

/// Returns the slot of the association, and the number of the flow; `None` for the client's socket.
pub(super) fn parts(token: u64) -> (usize, Option<FlowId>) {
    let place = (token & u64::from(u32::MAX)) as u32;
    ((token >> 32) as usize, u16::try_from(place).ok().map(FlowId))
}

impl Association {
    /// Begins to watch the client's socket; `None` if that fails.
    pub(super) fn begin(
        id: Id,
        slot: usize,
        (client, address): (OwnedFd, SocketAddr),
        shared: &Shared,
    ) -> Option<Self> {
        shared.epoll.add(&client, token(slot, CLIENT), EventFlags::IN).ok()?;
        let address = SocketAddr::new(address.ip(), address.port());
        Some(Self { id, client, address, flows: Flows::default(), used: shared.now })
    }

    /// Serves a socket that is ready.
    pub(super) fn ready(&mut self, flow: Option<FlowId>, flags: EventFlags, shared: &mut Shared) {
        match flow {
            // The monitor has shut it down, and a message follows. Until then epoll would report it again and again.
            _ if flags.contains(EventFlags::HUP) => self.unwatch(flow, shared),
            Some(flow) => self.relay_down(flow, shared),
            None => self.relay_up(shared),
        }
    }

    fn unwatch(&mut self, flow: Option<FlowId>, shared: &Shared) {
        let socket = match flow {
            Some(flow) => self.flows.get(flow).map(|open| &open.socket),
            None => Some(&self.client),
        };
        let _ = socket.map(|socket| shared.epoll.remove(socket));
    }

    /// Relays datagrams of the client to their destinations.
    fn relay_up(&mut self, shared: &mut Shared) {
        for _ in 0..RECEIVES {
            let received = match shared.receiver.receive(&self.client) {
                Ok(received) => received,
                // The client had closed its port for a moment (ICMP port unreachable).
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                Err(_) => return,
            };
            let Shared { receiver, outbox, bucket, epoll, limits, left, is_stuck, now, now_ms } = shared;
            let is_stuck = *is_stuck;
            let mut asking = Asking { id: self.id, outbox, bucket, epoll, limits, is_stuck, now_ms: *now_ms };
            self.used = *now;
            // Before the socket was connected, other ports of the client's host could send to it.
            let own = received.bundles().filter(|bundle| receiver.sender(*bundle) == Some(self.address));
            for bytes in own.flat_map(|bundle| receiver.datagrams(bundle)) {
                let Some(header::Datagram { destination, data }) = header::read(bytes) else { continue };
                match self.flows.find(destination, data, *now, left) {
                    Found::Open(open) => {
                        if send_to_peer(&open.socket, data) {
                            open.moved.up = open.moved.up.saturating_add(data.len() as u64);
                        }
                    }
                    Found::New => asking.ask(&mut self.flows, destination, data, (*now, left)),
                    Found::Kept | Found::Dropped => {}
                }
            }
            if !received.is_full() {
                return;
            }
        }
    }

    /// Relays datagrams of a peer to the client.
    fn relay_down(&mut self, flow: FlowId, shared: &mut Shared) {
        let Some(open) = self.flows.get(flow) else { return };
        let mut was_used = false;
        for _ in 0..RECEIVES {
            let received = match shared.receiver.receive(&open.socket) {
                Ok(received) => received,
                // The peer's port is closed (ICMP port unreachable). That ends neither the flow nor the association.
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                Err(_) => break,
            };
            was_used = true;
            let (client, moved) = (&self.client, &mut open.moved);
            for bundle in received.bundles() {
                shared.receiver.with_header(bundle, open.header.bytes(), |datagram, data| {
                    if send_to_peer(client, datagram) {
                        moved.down = moved.down.saturating_add(data as u64);
                    }
                });
            }
            if !received.is_full() {
                break;
            }
        }
        if was_used {
            self.used = shared.now;
            self.flows.used(flow, shared.now);
        }
    }
}

/// Messages of the monitor about its flows.
impl Association {
    /// Opens a permitted flow, and sends the datagrams that have waited for it.
    pub(super) fn open(
        &mut self,
        slot: usize,
        flow: FlowId,
        (socket, peer): (OwnedFd, SocketAddr),
        shared: &mut Shared,
    ) -> Option<()> {
        let watched = shared.epoll.add(&socket, token(slot, flow.0.into()), EventFlags::IN);
        let idle = (shared.now, shared.limits.flow_idle);
        let (waiting, open) = self.flows.open(flow, (socket, Header::of(peer)), idle, &mut shared.left)?;
        for datagram in waiting.datagrams() {
            if send_to_peer(&open.socket, datagram) {
                open.moved.up = open.moved.up.saturating_add(datagram.len() as u64);
            }
        }
        if watched.is_err() {
            self.close(flow, shared);
        }
        Some(())
    }

    /// A flow is permitted, and the kernel had no room for its socket.
    pub(super) fn lost(&mut self, flow: FlowId, shared: &mut Shared) {
        self.refuse(flow, shared);
        let moved = Relayed::default();
        shared.outbox.push(FromDatagram::Gone { id: self.id, flow, moved });
    }

    /// A flow is not permitted.
    pub(super) fn refuse(&mut self, flow: FlowId, shared: &mut Shared) {
        self.flows.refuse(flow, shared.now, &mut shared.left);
    }

    /// Ends a flow. If it is not open, it has ended already, and its number is another's.
    pub(super) fn close(&mut self, flow: FlowId, shared: &mut Shared) {
        if let Some(open) = self.flows.close(flow) {
            gone(self.id, flow, open, &shared.epoll, &mut shared.outbox);
        }
    }

    /// Ends flows that are idle. Returns true if the association is idle.
    pub(super) fn sweep(&mut self, shared: &mut Shared) -> bool {
        for flow in self.flows.idle(shared.now) {
            self.close(flow, shared);
        }
        shared.now.saturating_sub(self.used) >= shared.limits.association_idle
    }

    /// Ends the association, and returns the number of bytes that its open flows have moved.
    pub(super) fn end(mut self, shared: &mut Shared) -> Relayed {
        let _ = shared.epoll.remove(&self.client);
        let mut all = Relayed::default();
        for open in self.flows.take_all(&mut shared.left) {
            let _ = shared.epoll.remove(&open.socket);
            all.up = all.up.saturating_add(open.moved.up);
            all.down = all.down.saturating_add(open.moved.down);
        }
        all
    }
}

/// The parts of the worker that are needed to ask for a flow.
struct Asking<'a> {
    id: Id,
    outbox: &'a mut Outbox<FromDatagram, ToDatagram>,
    bucket: &'a mut Bucket,
    epoll: &'a Epoll,
    limits: &'a FlowLimits,
    is_stuck: bool,
    now_ms: u64,
}

impl Asking<'_> {
    /// Asks for a flow to a destination that has none, unless that is too much; then the datagram is dropped.
    fn ask(&mut self, flows: &mut Flows<OwnedFd>, bytes: &[u8], data: &[u8], (now, left): (u32, &mut usize)) {
        let Some((destination, port)) = header::destination(bytes) else { return };
        if self.is_stuck || !flows.may_want() || !self.bucket.take(self.now_ms) {
            return;
        }
        match flows.make_room(self.limits.flows) {
            Ok(None) => {}
            Ok(Some((flow, open))) => gone(self.id, flow, open, self.epoll, self.outbox),
            Err(_) => return,
        }
        if let Some(flow) = flows.want(bytes, data, now, left) {
            self.outbox.push(FromDatagram::Want { id: self.id, flow, destination, port });
        }
    }
}

/// Reports the end of a flow. The monitor still has the socket open: its events would be taken for a later flow's.
fn gone(
    id: Id,
    flow: FlowId,
    open: Open<OwnedFd>,
    epoll: &Epoll,
    outbox: &mut Outbox<FromDatagram, ToDatagram>,
) {
    let _ = epoll.remove(&open.socket);
    outbox.push(FromDatagram::Gone { id, flow, moved: open.moved });
}

/// Sends to the peer of a connected socket. A call that reports an error of an earlier datagram (ECONNREFUSED) has not
/// sent, and is repeated. A datagram that finds no room is lost, as in any network.
fn send_to_peer(socket: impl AsFd, datagram: &[u8]) -> bool {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = match send(&socket, datagram, flags) {
        Err(Errno::CONNREFUSED) => send(&socket, datagram, flags),
        sent => sent,
    };
    sent.is_ok()
}
