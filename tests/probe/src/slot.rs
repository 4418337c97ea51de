//! In a worker's place: started by the real spawner, with the descriptors that the real monitor passes.
//!
//! The worker of the role that is asked about forks a child for each act, twice: one puts on the locks of the role, as
//! the worker does, the other stays behind those that the spawner has put around every worker. The very descriptor that
//! a worker has for its work carries their outcomes. At the end the worker puts on the locks itself and tries an act,
//! so that the monitor says in its log how workers end that try.
//!
//! The user id of the request tells the session worker which role is meant. For another role the session worker asks
//! the monitor for something that needs that role.

use crate::acts::{self, Slot};
use crate::outcome::{Outcome, Victim, attempt, in_a_child, number};
use crate::sys;
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::datagram::{FromDatagram, ToDatagram};
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::request::{Command, Destination, Request};
use sockd_common::message::resolver::{FromResolver, RecordType, ToResolver, Transport};
use sockd_common::message::session::{FromSession, ToSession};
use sockd_common::message::upstream::{FromUpstream, ToUpstream};
use sockd_common::message::{CHANNEL_FD, Id, LockdownReport, Message, Name, PROTOCOL_VERSION, Role, UserId};
use sockd_lockdown::Row;
use sockd_worker::lockdown::Inherited;
use sockd_worker::{lockdown, profile};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

/// The port of requests that lead to the other roles: nothing listens there.
const NOWHERE: u16 = 7;

/// The port of the canary on the loopback interface of the namespace that the daemon runs in.
pub(crate) const CANARY_PORT: u16 = 9;

/// The last line of a report.
pub(crate) const END: &str = "end";

/// The name that is looked up, so that the resolver is needed.
const NAME: &[u8] = b"probe.invalid";

/// An address that only the next server can reach.
pub(crate) const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// A worker's whole life here.
pub(crate) fn run(role: Role) -> Option<()> {
    let Inherited { channel, .. } = Inherited::take(0)?;
    match role {
        Role::Session => session(WorkerEnd::new(channel)),
        Role::Ident => ident(WorkerEnd::new(channel)),
        Role::Resolver => resolver(WorkerEnd::new(channel)),
        Role::Upstream => upstream(WorkerEnd::new(channel)),
        Role::Datagram => datagram(WorkerEnd::new(channel)),
        Role::Auth | Role::Probe => None,
    }
}

/// The report that the monitor wants to hear. The locks come later, in the children.
fn locks() -> LockdownReport {
    LockdownReport {
        protocol: PROTOCOL_VERSION,
        landlock_abi: 0,
        landlock_enforced: true,
        memory_deny_write_execute: false,
    }
}

fn session(monitor: WorkerEnd<FromSession, ToSession>) -> Option<()> {
    monitor.send(&FromSession::Ready(locks())).ok()?;
    // Open until the monitor ends this process.
    let mut served = None;
    while let Some((message, socket)) = next(&monitor) {
        match (message, socket) {
            (ToSession::Serve { id, .. }, Some(socket)) => {
                let mut client = TcpStream::from(socket);
                let role = wanted(&mut client)?;
                if role == "session" {
                    return tell(client, profile::PROFILE_SESSION);
                }
                monitor.send(&FromSession::Request { id, request: leading_to(&role)? }).ok()?;
                served = Some(client);
            }
            (ToSession::Associated { address, .. }, _) => {
                served.as_mut()?.write_all(&address.port().to_be_bytes()).ok()?;
            }
            _ => {}
        }
    }
    None
}

/// A request that needs a worker of this role.
fn leading_to(role: &str) -> Option<Request> {
    let connect = |destination, user: &[u8]| {
        let user = UserId::new(user)?;
        Some(Request { version: 4, command: Command::Connect, destination, port: NOWHERE, user })
    };
    match role {
        "datagram" => Some(Request {
            version: 5,
            command: Command::Associate,
            destination: Destination::Address(Ipv4Addr::UNSPECIFIED.into()),
            port: 0,
            user: UserId::default(),
        }),
        "resolver" => connect(Destination::Name(Name::new(NAME)?), b"resolver"),
        "upstream" => connect(Destination::Address(BEYOND.into()), b"upstream"),
        _ => connect(Destination::Address(Ipv4Addr::LOCALHOST.into()), b"ident"),
    }
}

/// The datagram worker. Its report fits into one datagram.
fn datagram(monitor: WorkerEnd<FromDatagram, ToDatagram>) -> Option<()> {
    monitor.send(&FromDatagram::Ready(locks())).ok()?;
    while let Some((_, socket)) = next(&monitor) {
        if let Some(socket) = socket {
            let say = |socket: &UdpSocket, told: &[u8]| socket.send(told).map(drop);
            return tell_by(UdpSocket::from(socket), profile::PROFILE_DATAGRAM, say);
        }
    }
    None
}

fn ident(monitor: WorkerEnd<FromIdent, ToIdent>) -> Option<()> {
    monitor.send(&FromIdent::Ready(locks())).ok()?;
    while let Some((_, socket)) = next(&monitor) {
        if let Some(socket) = socket {
            return tell(TcpStream::from(socket), profile::PROFILE_IDENT);
        }
    }
    None
}

fn resolver(monitor: WorkerEnd<FromResolver, ToResolver>) -> Option<()> {
    monitor.send(&FromResolver::Ready(locks())).ok()?;
    let mut hosts = None;
    while let Some((message, socket)) = next(&monitor) {
        match (message, socket) {
            (ToResolver::Resolve { id, .. }, _) => ask_for_nameserver(&monitor, id)?,
            (ToResolver::Socket { .. }, Some(socket)) => {
                return tell(TcpStream::from(socket), profile::PROFILE_RESOLVER);
            }
            // The hosts file stays open, as it is for the resolver while it reads it.
            (_, file) => hosts = file.or(hosts),
        }
    }
    drop(hosts);
    None
}

fn upstream(monitor: WorkerEnd<FromUpstream, ToUpstream>) -> Option<()> {
    monitor.send(&FromUpstream::Ready(locks())).ok()?;
    while let Some((_, socket)) = next(&monitor) {
        if let Some(socket) = socket {
            return tell(TcpStream::from(socket), profile::PROFILE_UPSTREAM);
        }
    }
    None
}

/// Asks for TCP, so that the report arrives whole.
fn ask_for_nameserver(monitor: &WorkerEnd<FromResolver, ToResolver>, id: Id) -> Option<()> {
    let need = FromResolver::NeedSocket { id, record: RecordType::A, transport: Transport::Tcp, attempt: 0 };
    monitor.send(&need).ok()
}

fn next<Out: Message, In: Message>(monitor: &WorkerEnd<Out, In>) -> Option<(In, Option<OwnedFd>)> {
    loop {
        match monitor.receive() {
            Ok(Received::Message(message, descriptor)) => return Some((message, descriptor)),
            Ok(Received::Nothing) => sys::wait(monitor, -1),
            _ => return None,
        };
    }
}

/// The user id of the request.
fn wanted(client: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while request.len() < 9 || !request.ends_with(&[0]) {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => request.extend(byte),
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(sys::wait(&*client, -1)),
            _ => return None,
        }
    }
    let user = request.get(8..request.len() - 1).unwrap_or_default();
    Some(String::from_utf8_lossy(user).into_owned())
}

fn tell(peer: TcpStream, profile: &[Row]) -> Option<()> {
    tell_by(peer, profile, |mut peer: &TcpStream, told| peer.write_all(told))
}

/// Tries everything and tells it through `peer`: a line for each act with both outcomes.
fn tell_by<Peer: AsFd>(
    peer: Peer,
    profile: &[Row],
    say: impl FnOnce(&Peer, &[u8]) -> io::Result<()>,
) -> Option<()> {
    let victim = Victim::start(&|| Ok(())).ok()?;
    let (_reader, pipe) = io::pipe().ok()?;
    let slot = Slot {
        client: number(&peer),
        channel: usize::try_from(CHANNEL_FD).unwrap_or(3),
        other_end: number(&peer),
        loose: number(&peer),
        listener: number(&peer),
        pipe: number(&pipe),
        victim: victim.pid(),
        monitor: 1,
        canary: crate::private::canary_at(CANARY_PORT),
    };
    let mut told = String::new();
    for act in &acts::all() {
        let confined = in_a_child(&|| {
            lockdown::lock_down(profile).map_err(|error| error.to_string())?;
            Ok(attempt(act, &slot))
        });
        let before = in_a_child(&|| Ok(attempt(act, &slot)));
        told.push_str(&format!("{confined}\t{before}\n"));
    }
    told.push_str(END);
    told.push('\n');
    say(&peer, told.as_bytes()).ok()?;
    drop(victim);
    lockdown::lock_down(profile).ok()?;
    let survived = acts::all().first().map(|act| attempt(act, &slot));
    sockd_lockdown::exit_now(survived.unwrap_or(Outcome::Untried).status())
}
