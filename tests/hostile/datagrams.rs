//! A datagram worker in the hands of an attacker who has taken it over by a datagram, behind all its own locks.
//!
//! The data of a client's datagram says what it does wrong; any other is relayed. Workers of all other roles are honest.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, connect, recvmsg,
    send, sendmsg, sendto,
};
use sockd_common::channel::{ChannelError, Received, WorkerEnd};
use sockd_common::message::datagram::{AssociationEnd, FlowId, FromDatagram, Relayed, ToDatagram};
use sockd_common::message::request::Destination;
use sockd_common::message::{Id, LockdownReport, Role};
use sockd_lockdown::exit_now;
use sockd_worker::datagram::header::{self, Header};
use sockd_worker::event::Epoll;
use sockd_worker::lockdown::{Inherited, die_quietly_on_panic, lock_down};
use sockd_worker::profile::PROFILE_DATAGRAM;
use sockd_worker::roles;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

type Monitor = WorkerEnd<FromDatagram, ToDatagram>;

/// An id that the monitor has not given to anybody.
const NOBODYS: Id = Id(77_777);

/// Flows that a flood asks for, each to a port of its own from this one on.
const FLOOD: u16 = 20_000;
const FLOOD_PORT: u16 = 10_000;

/// The second server host of the laboratory.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 10), 9999);

fn main() {
    let role = std::env::args().nth(1).expect("a role");
    let entry = roles::named(&role).expect("a known role");
    let inherited = Inherited::take(entry.role.pipes()).expect("a channel");
    if entry.role != Role::Datagram {
        (entry.run)(inherited, entry.profile).exit();
    }
    let _ended = run(inherited.channel);
    exit_now(0)
}

/// Runs until the channel ends.
fn run(channel: OwnedFd) -> Option<()> {
    let epoll = Epoll::new().ok()?;
    epoll.add(&channel, 0, EventFlags::IN).ok()?;
    die_quietly_on_panic();
    let locks = lock_down(PROFILE_DATAGRAM).ok()?;
    let monitor = Monitor::new(channel);
    monitor.send(&FromDatagram::Ready(locks)).ok()?;
    let mut worker =
        Hostile { monitor, epoll, locks, associations: Vec::new(), kept: Vec::new(), says_nothing: false };
    let mut events = Vec::with_capacity(64);
    loop {
        worker.epoll.wait(&mut events, None).ok()?;
        worker.hear()?;
        for at in 0..worker.associations.len() {
            worker.relay(at)?;
        }
    }
}

struct Hostile {
    monitor: Monitor,
    epoll: Epoll,
    locks: LockdownReport,
    associations: Vec<Association>,
    /// Sockets that it should have closed.
    kept: Vec<OwnedFd>,
    /// Whether it never says that something has ended.
    says_nothing: bool,
}

struct Association {
    id: Id,
    client: OwnedFd,
    flows: Vec<Flow>,
}

struct Flow {
    id: FlowId,
    /// The bytes of the header that name it.
    destination: Vec<u8>,
    /// The datagram that waits for the decision.
    first: Vec<u8>,
    open: Option<(OwnedFd, Header)>,
}

/// Messages of the monitor.
impl Hostile {
    fn hear(&mut self) -> Option<()> {
        loop {
            match self.monitor.receive() {
                Ok(Received::Message(message, socket)) => self.told(message, socket)?,
                Ok(Received::Nothing) => return Some(()),
                _ => return None,
            }
        }
    }

    fn told(&mut self, message: ToDatagram, socket: Option<OwnedFd>) -> Option<()> {
        match message {
            ToDatagram::Setup(_) => Some(()),
            ToDatagram::Open { id, .. } => {
                let client = self.watched(socket?)?;
                self.associations.push(Association { id, client, flows: Vec::new() });
                Some(())
            }
            ToDatagram::Flow { id, flow, peer } => {
                let socket = self.watched(socket?)?;
                let flows = &mut self.association(id)?.flows;
                let flow = flows.iter_mut().find(|known| known.id == flow)?;
                let _ = to_peer(&socket, &flow.first);
                flow.open = Some((socket, Header::of(peer)));
                Some(())
            }
            ToDatagram::NoFlow { id, flow } => {
                self.association(id)?.flows.retain(|known| known.id != flow);
                Some(())
            }
            ToDatagram::EndFlow { id, flow } => self.keep_flow(id, flow),
            ToDatagram::End { id } => self.keep_all(id),
        }
    }

    /// Each datagram is told once: the event of a socket that was shut down would never end.
    fn watched(&self, socket: OwnedFd) -> Option<OwnedFd> {
        self.epoll.add(&socket, 1, EventFlags::IN | EventFlags::ET).ok()?;
        Some(socket)
    }

    fn association(&mut self, id: Id) -> Option<&mut Association> {
        self.associations.iter_mut().find(|association| association.id == id)
    }

    /// A flow is over, and its socket stays.
    fn keep_flow(&mut self, id: Id, flow: FlowId) -> Option<()> {
        let flows = &mut self.association(id)?.flows;
        let at = flows.iter().position(|known| known.id == flow)?;
        let socket = flows.remove(at).open.map(|(socket, _)| socket);
        self.kept.extend(socket);
        self.say(FromDatagram::Gone { id, flow, moved: Relayed::default() })
    }

    /// An association is over, and its sockets stay.
    fn keep_all(&mut self, id: Id) -> Option<()> {
        let at = self.associations.iter().position(|association| association.id == id)?;
        let Association { client, flows, .. } = self.associations.remove(at);
        let sockets = flows.into_iter().filter_map(|flow| flow.open).map(|(socket, _)| socket);
        self.kept.extend(sockets.chain([client]));
        self.say(FromDatagram::Closed { id, why: AssociationEnd::Ended, moved: Relayed::default() })
    }

    fn say(&self, end: FromDatagram) -> Option<()> {
        if self.says_nothing {
            return Some(());
        }
        self.monitor.send(&end).ok()
    }
}

/// Datagrams of clients and peers.
impl Hostile {
    fn relay(&mut self, at: usize) -> Option<()> {
        while let Some(bytes) = received(&self.associations.get(at)?.client) {
            if let Some(header::Datagram { destination, data }) = header::read(&bytes) {
                self.act(at, destination, data)?;
            }
        }
        let Association { client, flows, .. } = self.associations.get(at)?;
        for (socket, header) in flows.iter().filter_map(|flow| flow.open.as_ref()) {
            while let Some(data) = received(socket) {
                let _ = to_peer(client, &[header.bytes(), &data].concat());
            }
        }
        Some(())
    }

    /// Does what the data says.
    fn act(&mut self, at: usize, bytes: &[u8], data: &[u8]) -> Option<()> {
        let Association { id, client, flows } = self.associations.get(at)?;
        let (id, (destination, port)) = (*id, header::destination(bytes)?);
        let want =
            |id, flow| FromDatagram::Want { id, flow: FlowId(flow), destination: destination.clone(), port };
        let moved = Relayed { up: u64::MAX, down: u64::MAX };
        let says = |message| self.monitor.send(&message).ok();
        match data {
            b"ready-twice" => says(FromDatagram::Ready(self.locks)),
            b"an-association-of-nobody" => says(want(NOBODYS, 1)),
            b"an-association-of-another" => {
                (0..64).map(Id).filter(|other| *other != id).try_for_each(|other| says(want(other, 1)))
            }
            b"a-flow-of-nobody" => says(FromDatagram::Gone { id, flow: FlowId(999), moved }),
            b"a-flow-twice" => [7; 2].into_iter().try_for_each(|flow| says(want(id, flow))),
            b"a-flow-gone-twice" => {
                let flow = flows.first()?.id;
                [flow; 2].into_iter().try_for_each(|flow| says(FromDatagram::Gone { id, flow, moved }))
            }
            b"an-end-that-nobody-wants" => {
                says(FromDatagram::Closed { id, why: AssociationEnd::Ended, moved })
            }
            b"an-end-twice" => [AssociationEnd::Idle; 2]
                .into_iter()
                .try_for_each(|why| says(FromDatagram::Closed { id, why, moved })),
            b"short" => to_peer(&self.monitor, &[1]).then_some(()),
            b"an-unknown-message" => to_peer(&self.monitor, &[9, 0, 0, 0]).then_some(()),
            b"an-address" => {
                sendto(client, data, SendFlags::DONTWAIT, &SocketAddr::from(ELSEWHERE)).ok().map(drop)
            }
            b"another-peer" => connect(client, &SocketAddr::from(ELSEWHERE)).ok(),
            b"a-descriptor" => with_descriptor(&self.monitor, client),
            b"a-panic" => panic!("as any program may"),
            b"an-exit" => exit_now(0),
            b"a-flood" => {
                let told = self.flood(id, &destination)?;
                self.answer(at, bytes, &told)
            }
            b"an-unread-flood" => self.flood_unread(|number| want(id, number)),
            b"kept" => {
                let tries = self
                    .kept
                    .iter()
                    .map(|socket| if to_peer(socket, b"kept") { "sent " } else { "refused " });
                let told: String = tries.collect();
                self.answer(at, bytes, told.trim_end())
            }
            b"gone-and-kept" => self.keep_flow(id, flows.first()?.id),
            data => {
                self.says_nothing |= data == b"nothing-is-said";
                self.up(at, bytes, data, want(id, 0))
            }
        }
    }

    /// As an honest worker does, with a new number for each flow.
    fn up(&mut self, at: usize, bytes: &[u8], data: &[u8], want: FromDatagram) -> Option<()> {
        let association = self.associations.get_mut(at)?;
        let known = association.flows.iter().find(|flow| flow.destination == bytes);
        if let Some(flow) = known {
            let _ = flow.open.as_ref().map(|(socket, _)| to_peer(socket, data));
            return Some(());
        }
        let FromDatagram::Want { id, destination, port, .. } = want else { return None };
        let next = association.flows.iter().map(|flow| flow.id.0).max().map_or(0, |last| last + 1);
        let (flow, first) = (FlowId(next), data.to_vec());
        association.flows.push(Flow { id: flow, destination: bytes.to_vec(), first, open: None });
        self.monitor.send(&FromDatagram::Want { id, flow, destination, port }).ok()
    }

    fn answer(&self, at: usize, bytes: &[u8], text: &str) -> Option<()> {
        let client = &self.associations.get(at)?.client;
        to_peer(client, &[&[0, 0, 0], bytes, text.as_bytes()].concat()).then_some(())
    }

    /// Asks for as many flows as it can and gives each back at once. Tells how many it was given, and how many not.
    fn flood(&self, id: Id, destination: &Destination) -> Option<String> {
        let (mut wanted, mut given, mut refused, mut gone) = (0, 0, 0, Vec::new());
        let mut events = Vec::with_capacity(1);
        while given + refused < FLOOD {
            let said = match gone.last() {
                Some(flow) => {
                    let moved = Relayed::default();
                    let said = self.monitor.send(&FromDatagram::Gone { id, flow: *flow, moved }).is_ok();
                    said && gone.pop().is_some()
                }
                None if wanted < FLOOD => {
                    let (flow, port) = (FlowId(wanted), FLOOD_PORT + wanted);
                    let want = FromDatagram::Want { id, flow, destination: destination.clone(), port };
                    let said = self.monitor.send(&want).is_ok();
                    wanted += u16::from(said);
                    said
                }
                None => false,
            };
            match self.monitor.receive() {
                Ok(Received::Message(ToDatagram::Flow { flow, .. }, _)) => {
                    given += 1;
                    gone.push(flow);
                }
                Ok(Received::Message(ToDatagram::NoFlow { .. }, _)) => refused += 1,
                Ok(Received::Message(..)) => {}
                Ok(Received::Nothing) if said => {}
                Ok(Received::Nothing) => self.epoll.wait(&mut events, Some(Duration::from_millis(5))).ok()?,
                _ => return None,
            }
        }
        for flow in gone {
            self.monitor.send(&FromDatagram::Gone { id, flow, moved: Relayed::default() }).ok()?;
        }
        Some(format!("{given} {refused}"))
    }
}

/// A flood whose answers are not read, but for one a second.
impl Hostile {
    fn flood_unread(&self, want: impl Fn(u16) -> FromDatagram) -> Option<()> {
        let mut begun = Instant::now();
        for number in (0..=u16::MAX).cycle() {
            match self.monitor.send(&want(number)) {
                Err(ChannelError::Io(Errno::AGAIN)) => {}
                sent => sent.ok()?,
            }
            if begun.elapsed() > Duration::from_secs(1) {
                begun = Instant::now();
                let _ = self.monitor.receive().ok()?;
            }
        }
        None
    }
}

/// The next datagram; `None` if there is none, or only the empty one of a socket that was shut down.
fn received(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = [0; 2048];
    let mut control = RecvAncillaryBuffer::default();
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let length = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).ok()?.bytes;
    bytes.get(..length).filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec)
}

/// Sends to the peer of a connected socket; false if the kernel refuses.
fn to_peer(socket: impl AsFd, bytes: &[u8]) -> bool {
    send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}

/// Passes a socket on to the monitor.
fn with_descriptor(channel: impl AsFd, socket: &OwnedFd) -> Option<()> {
    let descriptors = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(channel, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL).ok().map(drop)
}
