//! Sockets as the monitor makes them: non-blocking, and with the options that a worker cannot set.

use crate::process::sys;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, ipproto, listen, socket_with, sockopt,
};
use sockd_common::message;
use sockd_session::record::FailedCall;
use sockd_session::settings::Keepalive;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The most ports of a range that are tried for one socket.
const PORTS_TRIED: usize = 1024;

/// A datagram socket that is connected to a nameserver, from a port that the kernel chooses at random.
pub fn datagram(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(to.ip()), SocketType::DGRAM, flags, None)?;
    connect(&socket, &to)?;
    Ok(socket)
}

/// The source address that this host would use towards `to`: the one that the kernel's routing gives a datagram socket.
pub fn source_towards(to: IpAddr) -> Result<IpAddr, FailedCall> {
    let socket = datagram(SocketAddr::new(to, 9)).map_err(failed("getsockname"))?;
    bound_address(&socket).map(|own| own.ip())
}

/// The address that a socket is bound to.
pub fn bound_address(socket: &OwnedFd) -> Result<SocketAddr, FailedCall> {
    let own = getsockname(socket).map_err(failed("getsockname"))?;
    SocketAddr::try_from(own).map_err(|_| failed("getsockname")(Errno::AFNOSUPPORT))
}

/// The address of this end of a connection; all zeros if the kernel does not tell it.
pub fn own_address(socket: &OwnedFd) -> SocketAddr {
    bound_address(socket).unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// Makes a listening socket for a BIND on exactly this address, at the first of these ports that is free; 0 stands for
/// a port of the kernel's choice. No other socket can share its port: neither SO_REUSEADDR nor SO_REUSEPORT is set, and
/// both ends would have to set it (socket(7)).
pub fn listener(
    at: IpAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Result<(OwnedFd, SocketAddr), FailedCall> {
    let socket = stream(at)?;
    bind_first(&socket, SocketAddr::new(at, 0), ports)?;
    listen(&socket, 1).map_err(failed("listen"))?;
    let own = bound_address(&socket)?;
    Ok((socket, own))
}

/// Binds a socket to this address; connect(2) then chooses any port that is free for its destination.
pub fn bind_address(socket: &OwnedFd, from: IpAddr) -> Result<(), FailedCall> {
    // Without this option the port would be taken for all destinations at once; a kernel without it still works.
    let _ = sys::bind_address_no_port(socket);
    bind(socket, &SocketAddr::new(from, 0)).map_err(failed("bind"))
}

/// Binds a socket to the first of these ports that is free, at this address; a link-local address keeps its interface's
/// number. If bind(2) has refused a socket, it can be bound elsewhere.
pub fn bind_first(
    socket: &OwnedFd,
    mut at: SocketAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Result<(), FailedCall> {
    for port in ports {
        at.set_port(port);
        match bind(socket, &at) {
            Err(Errno::ADDRINUSE) => {}
            done => return done.map_err(failed("bind")),
        }
    }
    Err(failed("bind")(Errno::ADDRINUSE))
}

/// The ports of a range, from a random one on, so that the next cannot be foretold. They end after `PORTS_TRIED`:
/// trying all of a large range would hold up everybody.
pub fn in_random_order((first, last): (u16, u16)) -> impl Iterator<Item = u16> {
    let count = u64::from(last.saturating_sub(first)).saturating_add(1);
    let start = RandomState::new().hash_one(Instant::now()).checked_rem(count).unwrap_or(0);
    let middle = first.saturating_add(u16::try_from(start).unwrap_or(0));
    (middle..=last).chain(first..middle).take(PORTS_TRIED)
}

/// Makes a TCP socket for the family of this address, and prepares it.
pub fn stream(towards: IpAddr) -> Result<OwnedFd, FailedCall> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(towards), SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(failed("socket"))?;
    prepare(&socket).map_err(failed("setsockopt"))?;
    Ok(socket)
}

/// The family of an address.
pub fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Sets the options that a worker cannot set: small writes leave at once, urgent data stays in its place in the stream,
/// and a close without an orderly end is a reset, so that a reset of one side is passed on to the other.
pub fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_oobinline(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))
}

/// Makes the kernel probe silent peers. Accepted sockets inherit this from a listener. A failure does no harm, as
/// `idle_limit` ends the connection.
pub fn keep_alive(socket: &OwnedFd, keepalive: Option<Keepalive>) {
    let set = |Keepalive(idle, interval, count): Keepalive| {
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(idle.into()))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(interval.into()))?;
        sockopt::set_tcp_keepcnt(socket, count.into())
    };
    let is_set = keepalive.is_some_and(|keepalive| set(keepalive).is_ok());
    let _ = sockopt::set_socket_keepalive(socket, is_set);
}

/// A call that failed, for the log.
pub fn failed(call: &'static str) -> impl Fn(Errno) -> FailedCall {
    let number = |error: Errno| u16::try_from(error.raw_os_error()).unwrap_or(u16::MAX);
    move |error| FailedCall { call, errno: message::Errno(number(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_bind_is_on_its_address_alone() {
        let at: IpAddr = "127.0.0.3".parse().unwrap();
        let (_socket, address) = listener(at, [0]).unwrap();
        assert_eq!(address.ip(), at);
        assert_ne!(address.port(), 0);
        assert_eq!(listener(at, [address.port()]).unwrap_err(), failed("bind")(Errno::ADDRINUSE));
        assert_ne!(listener(at, [address.port(), 0]).unwrap().1, address);
    }
}
