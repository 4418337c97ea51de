//! The listening sockets are opened, while privileged ports still can be.

use crate::monitor::clients;
use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt,
};
use sockd_policy::Services;
use sockd_session::about;
use sockd_session::config::default_port;
use std::fmt::{self, Display, Formatter};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A socket that accepts clients.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it listens.
    pub address: SocketAddr,
    /// What else there is to say: the name that a service manager has given it, or that IPv4 clients cannot come.
    pub note: Option<String>,
    /// The service manager has it open as well.
    pub activated: bool,
}

impl Listener {
    /// As the monitor has it.
    pub fn for_clients(self) -> clients::Listener {
        let Self { socket, address, note, activated } = self;
        clients::Listener { socket, address, name: note.filter(|_| activated).unwrap_or_default(), activated }
    }
}

impl Display for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.note {
            Some(note) => write!(f, "{} ({note})", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Opens all listeners, but for those that a daemon before this one has opened. Without addresses given: the port of
/// `socks/tcp`, else 1080, of every address of this host.
pub fn open(
    addresses: &[SocketAddr],
    services: &Services,
    taken: &mut Vec<Listener>,
) -> Result<Vec<Listener>, String> {
    let mut listener = |address: SocketAddr| match taken.iter().position(|taken| is_at(taken, address)) {
        Some(place) => Ok(taken.swap_remove(place)),
        None => listener(address),
    };
    if !addresses.is_empty() {
        let noted = |address: &SocketAddr| {
            let note = about::only_ipv6(*address, addresses).then(|| about::ONLY_IPV6.to_owned());
            listener(*address).map(|listener| Listener { note, ..listener })
        };
        return addresses.iter().map(noted).collect();
    }
    let port = default_port(services);
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let [ipv4, ipv6] = every.map(|address| listener(SocketAddr::new(address, port)));
    let mut listeners = vec![ipv4?];
    // A host may have IPv6 switched off.
    listeners.extend(ipv6.ok());
    Ok(listeners)
}

/// Whether the listener is at this address. Port 0 stands for any.
fn is_at(listener: &Listener, address: SocketAddr) -> bool {
    let at = listener.address;
    at.ip() == address.ip() && (at.port() == address.port() || address.port() == 0)
}

fn listener(address: SocketAddr) -> Result<Listener, String> {
    try_listener(address).map_err(|(call, error)| match error.kind() {
        ErrorKind::AddrInUse => {
            format!("cannot listen on {address}: {error}; `ss -ltnp` shows which program listens there")
        }
        ErrorKind::PermissionDenied => {
            format!("cannot listen on {address}: {error}; a port below 1024 needs root or sockd.socket")
        }
        _ => format!("cannot listen on {address}: {call}: {error}"),
    })
}

fn try_listener(address: SocketAddr) -> Result<Listener, (&'static str, std::io::Error)> {
    let at = |call: &'static str| move |error: Errno| (call, error.into());
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).map_err(at("socket"))?;
    // A restarted daemon must not wait for old connections to leave TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(at("SO_REUSEADDR"))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).map_err(at("IPV6_V6ONLY"))?;
    }
    // The address may come only later in the boot.
    sys::bind_free(&socket, address.is_ipv6()).map_err(|error| ("IP_FREEBIND", error))?;
    // Accepted sockets inherit what is set here.
    crate::net::sockets::prepare(&socket).map_err(at("setsockopt"))?;
    sys::accept_with_data(&socket).map_err(|error| ("TCP_DEFER_ACCEPT", error))?;
    bind(&socket, &address).map_err(at("bind"))?;
    listen(&socket, BACKLOG).map_err(at("listen"))?;
    let own = getsockname(&socket).map_err(at("getsockname"))?;
    Ok(Listener {
        socket,
        address: SocketAddr::try_from(own).unwrap_or(address),
        note: None,
        activated: false,
    })
}
