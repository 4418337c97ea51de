//! Opens the listening sockets before the lockdown, while privileged ports are still available.

use crate::monitor::clients::Listener;
use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt,
};
use sockd_policy::Services;
use sockd_session::about;
use sockd_session::config::default_port;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of the listeners, each also as text: with the name that a service manager has given it, or with the
/// remark that IPv4 clients cannot connect.
pub fn places(listeners: &[Listener]) -> Vec<(SocketAddr, String)> {
    let all: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
    let place = |Listener { address, name, activated, .. }: &Listener| {
        let is_only_ipv6 = !activated && about::only_ipv6(*address, &all);
        let note = if is_only_ipv6 { about::ONLY_IPV6 } else { name };
        let place = if note.is_empty() { address.to_string() } else { format!("{address} ({note})") };
        (*address, place)
    };
    listeners.iter().map(place).collect()
}

/// The backlog of a listener; the kernel limits it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// The listeners that were handed over, and those that are wanted beside them. A wanted listener that an earlier daemon
/// has opened is taken; others are opened. If none was handed over or is wanted, it is the port of `socks/tcp`, else
/// 1080, of every address of this host.
pub fn open(
    handed_over: Vec<Listener>,
    mut taken: Vec<Listener>,
    wanted: &[SocketAddr],
    services: &Services,
) -> Result<Vec<Listener>, String> {
    let mut listener = |address: SocketAddr| match taken.iter().position(|taken| is_at(taken, address)) {
        Some(place) => Ok(taken.swap_remove(place)),
        None => listener(address),
    };
    if !wanted.is_empty() || !handed_over.is_empty() {
        let wanted = wanted.iter().map(|address| listener(*address));
        return handed_over.into_iter().map(Ok).chain(wanted).collect();
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
    // The address may be configured only later in the boot.
    let free = if address.is_ipv4() { sockopt::set_ip_freebind } else { sockopt::set_ipv6_freebind };
    free(&socket, true).map_err(at("IP_FREEBIND"))?;
    // Accepted sockets inherit these options.
    crate::net::sockets::prepare(&socket).map_err(at("setsockopt"))?;
    sys::accept_with_data(&socket).map_err(|error| ("TCP_DEFER_ACCEPT", error))?;
    bind(&socket, &address).map_err(at("bind"))?;
    listen(&socket, BACKLOG).map_err(at("listen"))?;
    let own = getsockname(&socket).map_err(at("getsockname"))?;
    let address = SocketAddr::try_from(own).unwrap_or(address);
    Ok(Listener { socket, address, name: String::new(), activated: false })
}
