//! The listeners: which clients are accepted, which are turned away, and when accepting pauses.

use crate::monitor::base::Base;
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::net::sockets;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with, getpeername};
use sockd_session::admission::Admission;
use sockd_session::{Host, Keepalive, Limit, Met, Origin};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The most connections accepted from one listener before others have their turn.
pub const ACCEPTS_PER_TURN: usize = 256;

/// How long new clients wait in the backlog when the system has no room for them.
const PAUSE: Duration = Duration::from_millis(100);

/// The deadline of the first listener, which serves for all of them.
const END_OF_PAUSE: Token = Token::Listener(0);

/// A socket that accepts clients.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// The address at which it listens.
    pub address: SocketAddr,
    /// The name that a service manager has given it.
    pub name: String,
    /// Whether the service manager has it open as well.
    pub activated: bool,
}

/// The listeners, and the state that holds clients off.
#[derive(Debug)]
pub struct Clients {
    listeners: Vec<Listener>,
    /// The addresses that clients connect to, of listeners here or of an inetd's.
    pub own: Vec<SocketAddr>,
    /// Decides which clients are served.
    pub admission: Admission,
    /// Given up for a moment when descriptors run out, so that clients are refused instead of left waiting.
    reserve: Option<OwnedFd>,
}

/// A client that has connected.
#[derive(Debug)]
pub struct Client {
    /// Its socket.
    pub socket: OwnedFd,
    /// The address from which it has connected.
    pub address: SocketAddr,
    /// The listener that it has connected to.
    pub listener: SocketAddr,
    /// The way by which it has connected.
    pub origin: Origin,
}

impl Client {
    fn new(socket: OwnedFd, address: SocketAddr, listener: SocketAddr) -> Self {
        let address = SocketAddr::new(sockd_policy::canonical(address.ip()), address.port());
        Self { socket, address, listener, origin: Origin::DIRECT }
    }

    /// The one client that an inetd has handed over; `None` if it is gone again.
    pub fn handed_over(socket: OwnedFd, at: SocketAddr) -> Option<Self> {
        let peer = getpeername(&socket).ok().flatten();
        let address = peer.and_then(|peer| SocketAddr::try_from(peer).ok())?;
        Some(Self::new(socket, address, at))
    }

    /// The host for whose limits it counts.
    pub fn host(&self) -> Host {
        Host::of(self.address.ip())
    }

    /// The address that it has connected to.
    pub fn proxy(&self) -> SocketAddr {
        let own = || sockets::bound_address(&self.socket).unwrap_or(self.listener);
        if self.listener.ip().is_unspecified() { own() } else { self.listener }
    }
}

impl Clients {
    /// Takes the listeners that clients connect to.
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            own: listeners.iter().map(|listener| listener.address).collect(),
            listeners,
            admission: Admission::default(),
            reserve: None,
        }
    }

    /// Begins to watch the listeners.
    pub fn watch(&mut self, reactor: &Reactor) -> rustix::io::Result<()> {
        self.reserve = reactor.reserve_descriptor();
        for (place, listener) in (0..).zip(&self.listeners) {
            reactor.watch(&listener.socket, Token::Listener(place), EventFlags::IN)?;
        }
        Ok(())
    }

    /// The sockets that clients come to.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Sets keepalive for clients that connect later.
    pub fn keep_alive(&self, keepalive: Option<Keepalive>) {
        self.listeners.iter().for_each(|listener| sockets::keep_alive(&listener.socket, keepalive));
    }

    /// Accepts one client, if there is one and it can be accepted now.
    pub fn accept(&mut self, place: u32, base: &mut Base) -> Option<Client> {
        loop {
            let Listener { socket: listener, address: at, .. } = self.listeners.get(place as usize)?;
            match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, address)) => match address.map(SocketAddr::try_from) {
                    Some(Ok(address)) => {
                        base.counting.connected(place);
                        return Some(Client::new(socket, address, *at));
                    }
                    _ => drop(socket),
                },
                Err(Errno::AGAIN) => return None,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.hold_off(place, error, base);
                    return None;
                }
                // The client is gone again, or the network has reported an error of another connection (accept(2)).
                Err(_) => {}
            }
        }
    }

    /// Pauses accepting. Without descriptors a client would wait in the backlog, and the listener would stay readable.
    /// The reserve makes room for closing one connection; then everything pauses.
    fn hold_off(&mut self, place: u32, error: Errno, base: &mut Base) {
        let mut why = Met::other(error);
        if matches!(error, Errno::MFILE | Errno::NFILE) {
            why = Limit::DESCRIPTORS.into();
            self.reserve = None;
            if let Some(listener) = self.listeners.get(place as usize) {
                drop(accept_with(&listener.socket, SocketFlags::CLOEXEC));
            }
            self.reserve = base.reactor.reserve_descriptor();
        }
        base.limited("clients are turned away", why);
        base.reactor.set_deadline(END_OF_PAUSE, Instant::now().checked_add(PAUSE));
        self.watch_for(EventFlags::empty(), &base.reactor);
    }

    /// Accepts clients again after the pause.
    pub fn resume(&mut self, reactor: &Reactor) {
        self.reserve = self.reserve.take().or_else(|| reactor.reserve_descriptor());
        self.watch_for(EventFlags::IN, reactor);
    }

    /// Changes the watched events. This takes no memory, so it does not fail for lack of it.
    fn watch_for(&self, flags: EventFlags, reactor: &Reactor) {
        for (place, listener) in (0..).zip(&self.listeners) {
            let _ = reactor.watch_for(&listener.socket, Token::Listener(place), flags);
        }
    }

    /// Stops accepting from sockets that the starter of the daemon has open too: clients wait there for the next
    /// daemon. False if there are no other sockets.
    pub fn leave_activated(&mut self, reactor: &Reactor) -> bool {
        let activated = self.listeners.iter().filter(|listener| listener.activated);
        activated.for_each(|listener| reactor.unwatch(&listener.socket));
        self.listeners.iter().any(|listener| !listener.activated)
    }

    /// Stops accepting for good.
    pub fn close(&mut self, reactor: &mut Reactor) {
        reactor.set_deadline(END_OF_PAUSE, None);
        self.listeners.drain(..).for_each(|listener| reactor.unwatch(&listener.socket));
    }
}
