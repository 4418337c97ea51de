//! Sockets and epoll as all parts use them: IPv4, on loopback, never blocking.

use crate::sys;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// An error is text for the reader of the table.
pub(crate) type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

fn stream() -> Result<OwnedFd> {
    net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)
}

/// How a socket listens.
#[derive(Clone, Copy, Default)]
pub(crate) struct Listen {
    /// Several processes listen at one address, and the kernel deals the connections out.
    pub(crate) shared: bool,
    /// Connections are reported only after their first byte.
    pub(crate) deferred: bool,
}

pub(crate) fn listen(address: SocketAddrV4, how: Listen) -> Outcome<OwnedFd> {
    let listener = stream()?;
    set_socket_reuseaddr(&listener, true)?;
    set_socket_reuseport(&listener, how.shared)?;
    if how.deferred {
        sys::defer_accept(&listener)?;
    }
    // Accepted sockets inherit it.
    set_tcp_nodelay(&listener, true)?;
    net::bind(&listener, &address).map_err(|error| format!("{address}: {error}"))?;
    net::listen(&listener, 65535)?;
    Ok(listener)
}

/// The next connection; `None` if none is waiting.
pub(crate) fn accept(listener: impl AsFd) -> Option<OwnedFd> {
    net::accept_with(listener, FLAGS).ok()
}

/// The same with the client's address.
pub(crate) fn accept_from(listener: impl AsFd) -> Option<(OwnedFd, Ipv4Addr)> {
    let (client, address) = net::acceptfrom_with(listener, FLAGS).ok()?;
    let address = SocketAddrV4::try_from(address?).ok()?;
    Some((client, *address.ip()))
}

/// Begins to connect, from `source` and a port of the kernel's choice.
pub(crate) fn connect(source: Option<Ipv4Addr>, to: SocketAddrV4) -> Outcome<OwnedFd> {
    let socket = stream()?;
    if let Some(source) = source {
        // connect() chooses the port, which then needs to be free for this one destination only.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        net::bind(&socket, &SocketAddrV4::new(source, 0))?;
    }
    begin_to_connect(&socket, to)?;
    Ok(socket)
}

/// The same from any fitting address, and whether it is connected already, as it mostly is on loopback when the call
/// returns.
pub(crate) fn dial(to: SocketAddrV4) -> Outcome<(OwnedFd, bool)> {
    let socket = stream()?;
    let is_connected = begin_to_connect(&socket, to)?;
    Ok((socket, is_connected))
}

fn begin_to_connect(socket: &OwnedFd, to: SocketAddrV4) -> Outcome<bool> {
    set_tcp_nodelay(socket, true)?;
    match net::connect(socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(net::getpeername(socket).is_ok()),
        Err(error) => Err(format!("connect to {to}: {error}").into()),
    }
}

/// A socket for datagrams at this address.
pub(crate) fn datagram_socket(at: SocketAddrV4) -> Outcome<OwnedFd> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)?;
    net::bind(&socket, &at).map_err(|error| format!("{at}: {error}"))?;
    Ok(socket)
}

/// A socket for datagrams that is connected to a peer.
pub(crate) fn datagram_dial(to: SocketAddrV4) -> Outcome<OwnedFd> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)?;
    net::connect(&socket, &to)?;
    Ok(socket)
}

pub(crate) fn no_delay(socket: impl AsFd) {
    // A connection that has gone already is noticed soon enough.
    let _ = set_tcp_nodelay(socket, true);
}

/// Turns EAGAIN into `None`: a call that found nothing to do is no error.
pub(crate) fn unless_blocked<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    send_before(socket, bytes, false)
}

/// The same, when more bytes or the end follow at once.
pub(crate) fn send_before(socket: impl AsFd, bytes: &[u8], more: bool) -> Result<Option<usize>> {
    let more = if more { SendFlags::MORE } else { SendFlags::empty() };
    unless_blocked(net::send(socket, bytes, SendFlags::NOSIGNAL | more))
}

/// `Some(0)` at the end of the stream.
pub(crate) fn receive(socket: impl AsFd, into: &mut [u8]) -> Result<Option<usize>> {
    unless_blocked(net::recv(socket, into, RecvFlags::empty()).map(|(_, length)| length))
}

/// Discards received bytes without copying them (MSG_TRUNC, tcp(7)).
pub(crate) struct Drain(Vec<u8>);

impl Drain {
    pub(crate) fn new() -> Self {
        // Never written to, so never backed by memory.
        Self(Vec::with_capacity(4 << 20))
    }

    /// `Some(0)` at the end of the stream.
    pub(crate) fn discard(&mut self, socket: impl AsFd) -> Result<Option<usize>> {
        let room = self.0.spare_capacity_mut();
        unless_blocked(net::recv(socket, room, RecvFlags::TRUNC).map(|(_, length)| length))
    }
}

/// Waits until a socket can be read or written; false when the time is over.
pub(crate) fn wait_for(socket: impl AsFd, what: PollFlags, limit: Duration) -> bool {
    let mut list = [PollFd::new(&socket, what)];
    matches!(poll(&mut list, Some(&timespec(limit))), Ok(1))
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

/// An epoll instance with the events it reported last.
pub(crate) struct Events {
    epoll: OwnedFd,
    list: Vec<epoll::Event>,
}

impl Events {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, list: Vec::with_capacity(512) })
    }

    pub(crate) fn add(&self, socket: impl AsFd, token: u64, what: EventFlags) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token), what)
    }

    pub(crate) fn change(&self, socket: impl AsFd, token: u64, what: EventFlags) -> Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(token), what)
    }

    /// Waits, and returns the number of events.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> Outcome<usize> {
        self.list.clear();
        let limit = limit.map(timespec);
        let room = rustix::buffer::spare_capacity(&mut self.list);
        Ok(unless_blocked(epoll::wait(&self.epoll, room, limit.as_ref()))?.unwrap_or(0))
    }

    /// Token and readiness of one event.
    pub(crate) fn get(&self, number: usize) -> (u64, EventFlags) {
        let event = self.list[number];
        (event.data.u64(), event.flags)
    }
}
