//! The ceiling of what keeps client hosts apart and logs: the ideal proxy cut in two where sockd is cut in two.
//!
//! One front accepts, connects, and writes as many lines to `/dev/log` as sockd does. Behind it a process for each client
//! host, an [`ideal`](crate::ideal) with a channel for its input, reads requests, answers and relays. There are no
//! rules, limits or deadlines, and no locks on anybody: what sockd needs beyond this is the price of those, and what
//! this needs beyond the ideal proxy is the price of separation and log, for whoever has them.

use crate::ideal::Moves;
use crate::net::{self, Events, Listen, Outcome};
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use slab::Slab;
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

/// Starts the front, with the listening socket as its standard input.
pub(crate) fn start(moves: Moves, address: SocketAddrV4) -> Outcome<Child> {
    let listener = net::listen(address, Listen { deferred: true, ..Listen::default() })?;
    Ok(Command::new("/proc/self/exe").args(["front", moves.word()]).stdin(Stdio::from(listener)).spawn()?)
}

/// What a host's process says.
pub(crate) enum Up {
    /// A visit wants to be connected.
    Dial { visit: u64, destination: SocketAddrV4 },
    /// A visit is over.
    Ended,
}

/// What the front says, each with a descriptor.
pub(crate) enum Down {
    /// There is a new visit.
    Client(OwnedFd),
    /// The visit that wanted to be connected is, or will be.
    Server { visit: u64, server: OwnedFd, is_connected: bool },
}

/// What a packet is; a descriptor comes with the first three.
#[derive(Clone, Copy)]
enum Word {
    Client,
    Connected,
    Connecting,
    Dial,
    Ended,
}

/// Every packet: the visit, an address and a port, the word.
type Packet = [u8; 16];

fn packet(visit: u64, place: Option<SocketAddrV4>, word: Word) -> Packet {
    let mut packet = [0; 16];
    packet[..8].copy_from_slice(&visit.to_ne_bytes());
    if let Some(place) = place {
        packet[8..12].copy_from_slice(&place.ip().octets());
        packet[12..14].copy_from_slice(&place.port().to_ne_bytes());
    }
    packet[14] = word as u8;
    packet
}

fn visit_in(packet: Packet) -> u64 {
    packet.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn place_in([_, _, _, _, _, _, _, _, a, b, c, d, high, low, _, _]: Packet) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_ne_bytes([high, low]))
}

impl Up {
    pub(crate) fn send(&self, channel: BorrowedFd<'_>) -> Result<()> {
        let packet = match self {
            Self::Dial { visit, destination } => packet(*visit, Some(*destination), Word::Dial),
            Self::Ended => packet(0, None, Word::Ended),
        };
        net::send(channel, &packet).map(drop)
    }

    /// Nothing when there is nothing, an error at the end.
    fn receive(channel: &OwnedFd) -> Result<Option<Self>> {
        let mut packet: Packet = [0; 16];
        match net::receive(channel, &mut packet)? {
            None => Ok(None),
            Some(0) => Err(Errno::PIPE),
            Some(_) if packet[14] == Word::Dial as u8 => {
                Ok(Some(Self::Dial { visit: visit_in(packet), destination: place_in(packet) }))
            }
            Some(_) => Ok(Some(Self::Ended)),
        }
    }
}

impl Down {
    fn send(packet: Packet, descriptor: &OwnedFd, channel: &OwnedFd) -> Result<()> {
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(channel, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// Nothing at the end, when the front has ended.
    pub(crate) fn receive(channel: BorrowedFd<'_>) -> Result<Option<Self>> {
        let mut packet: Packet = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        if recvmsg(channel, &mut [IoSliceMut::new(&mut packet)], &mut control, flags)?.bytes == 0 {
            return Ok(None);
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptor = descriptor.ok_or(Errno::PIPE)?;
        if packet[14] == Word::Client as u8 {
            return Ok(Some(Self::Client(descriptor)));
        }
        let is_connected = packet[14] == Word::Connected as u8;
        Ok(Some(Self::Server { visit: visit_in(packet), server: descriptor, is_connected }))
    }
}

const LISTENER: u64 = u64::MAX;

/// The front itself.
pub(crate) fn run(moves: Moves) -> Outcome<()> {
    let log = UnixDatagram::unbound()?;
    log.connect(sockd_tests::host::SYSLOG_SOCKET)?;
    log.set_nonblocking(true)?;
    let events = Events::new()?;
    events.add(rustix::stdio::stdin(), LISTENER, EventFlags::IN)?;
    let mut front = Front { moves, log, events, hosts: Slab::new(), by_address: HashMap::new() };
    loop {
        for event in 0..front.events.wait(None)? {
            match front.events.get(event).0 {
                LISTENER => front.accept()?,
                host => front.hear(host as usize)?,
            }
        }
    }
}

struct Front {
    moves: Moves,
    log: UnixDatagram,
    events: Events,
    hosts: Slab<Host>,
    by_address: HashMap<Ipv4Addr, usize>,
}

struct Host {
    address: Ipv4Addr,
    channel: OwnedFd,
    /// Ended by its death signal, when this process ends.
    _process: Child,
}

impl Front {
    fn accept(&mut self) -> Outcome<()> {
        for _ in 0..64 {
            let Some((client, address)) = net::accept_from(rustix::stdio::stdin()) else { break };
            let number = match self.by_address.get(&address) {
                Some(number) => *number,
                None => self.start_host(address)?,
            };
            Down::send(packet(0, None, Word::Client), &client, &self.hosts[number].channel)?;
        }
        Ok(())
    }

    fn start_host(&mut self, address: Ipv4Addr) -> Outcome<usize> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (channel, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let process = Command::new("/proc/self/exe")
            .args(["ideal", self.moves.word(), "channel"])
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let number = self.hosts.insert(Host { address, channel, _process: process });
        self.events.add(&self.hosts[number].channel, number as u64, EventFlags::IN)?;
        self.by_address.insert(address, number);
        Ok(number)
    }

    fn hear(&mut self, number: usize) -> Outcome<()> {
        let Host { address, channel, .. } = &self.hosts[number];
        match Up::receive(channel)? {
            None => {}
            Some(Up::Dial { visit, destination }) => {
                let (server, is_connected) = net::dial(destination)?;
                let word = if is_connected { Word::Connected } else { Word::Connecting };
                Down::send(packet(visit, None, word), &server, channel)?;
                let (to, port) = (destination.ip(), destination.port());
                self.write(&format!("connected -- Connect from bench(unknown)@{address} to {to} ({port})"));
            }
            Some(Up::Ended) => {
                let end = format!("terminated -- Connect from bench(unknown)@{address} to 127.0.0.1 (9001)");
                self.write(&end);
                self.write("1 bytes from client; 1 bytes from server");
            }
        }
        Ok(())
    }

    /// What syslogd has no room for is lost; the table says how much arrived.
    fn write(&self, line: &str) {
        let _ = self.log.send(format!("<29>Jan  1 00:00:00 front[1]: {line}").as_bytes());
    }
}
