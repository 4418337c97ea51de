//! The port of a BIND: opened for one session, kept while strangers connect to it, and closed when its peer has come or
//! its session waits no longer.

use crate::monitor::base::Base;
use crate::monitor::reactor::{EventFlags, Token};
use crate::net::sockets::{self, failed};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use sockd_session::config::RESERVED;
use sockd_session::{Arrival, FailedCall, Host, PortKey, Resource, Slots, Waiter};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// The open ports.
#[derive(Debug, Default)]
pub struct BindPorts(Slots<Port, 'p'>);

#[derive(Debug)]
struct Port {
    socket: OwnedFd,
    waiter: Waiter,
    host: Host,
}

/// A port that a session asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The session that waits for it.
    pub waiter: Waiter,
    /// Its client host.
    pub host: Host,
    /// The address that its client connected to.
    pub proxy: IpAddr,
    /// The address of the expected peer.
    pub towards: IpAddr,
    /// The address to listen at, if the route file gives one.
    pub at: Option<IpAddr>,
    /// Whether it has to be one of the [`RESERVED`] ports.
    pub reserved: bool,
}

/// A connection to a port, and its source.
pub type Peer = (OwnedFd, SocketAddr);

impl BindPorts {
    /// Opens a port. The error is the answer if none can be opened.
    pub fn open(&mut self, wanted: Wanted, base: &mut Base) -> Result<(PortKey, SocketAddr), Arrival> {
        let Wanted { waiter, host, .. } = wanted;
        if let Some(reached) = base.counts.limit(Resource::Bind, host, &base.config.settings) {
            return Err(Arrival::NoRoom(reached.limit));
        }
        let listening = listen(wanted, base.config.settings.bind_ports);
        let (socket, address) = listening.map_err(|failure| Arrival::Listening(Err(failure)))?;
        let token = Token::Port(self.0.next_key());
        if let Err(error) = base.reactor.watch(&socket, token, EventFlags::IN) {
            return Err(Arrival::Listening(Err(failed("epoll_ctl")(error))));
        }
        base.counts.add(Resource::Bind, host);
        Ok((self.0.insert(Port { socket, waiter, host }), address))
    }

    /// Accepts a connection to a port. The port stays open until the peer is known to be the expected one.
    pub fn accept(&mut self, key: PortKey, base: &mut Base) -> Option<(Waiter, Result<Peer, FailedCall>)> {
        let Port { socket, waiter, .. } = self.0.get(key)?;
        let waiter = *waiter;
        match acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((server, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok())?;
                Some((waiter, Ok((server, peer))))
            }
            // The port would stay readable: it is better that one BIND fails than that the monitor spins.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                self.close(key, waiter, base);
                Some((waiter, Err(failed("accept")(error))))
            }
            Err(_) => None,
        }
    }

    /// Closes the port of a session. It may be closed already, and its key reused.
    pub fn close(&mut self, key: PortKey, waiter: Waiter, base: &mut Base) {
        if self.0.get(key).is_some_and(|port| port.waiter == waiter)
            && let Some(port) = self.0.remove(key)
        {
            base.reactor.unwatch(&port.socket);
            base.counts.remove(Resource::Bind, port.host);
        }
    }
}

fn listen(wanted: Wanted, ports: Option<(u16, u16)>) -> Result<(OwnedFd, SocketAddr), FailedCall> {
    let Wanted { proxy, towards, at, reserved, .. } = wanted;
    let at = match at {
        Some(at) => at,
        // An unspecified peer has no route. Without a route file there is one interface: the client's.
        None if towards.is_unspecified() => sockd_policy::canonical(proxy),
        None => sockets::source_towards(towards)?,
    };
    match ports {
        _ if reserved => sockets::listener(at, RESERVED.rev()),
        None => sockets::listener(at, [0]),
        Some(ports) => sockets::listener(at, sockets::in_random_order(ports)),
    }
}
