//! Sockets as the monitor makes them: non-blocking, and prepared for what a worker cannot set.

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

/// Ports of a range that are looked at for one socket.
const PORTS_TRIED: usize = 1024;

/// A datagram socket that is connected to a nameserver, from a port that the kernel chooses at random.
pub fn datagram(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(to.ip()), SocketType::DGRAM, flags, None)?;
    connect(&socket, &to)?;
    Ok(socket)
}

/// The address that this host would use towards `to`: what the kernel's routing gives a datagram socket.
pub fn source_towards(to: IpAddr) -> Result<IpAddr, FailedCall> {
    let socket = datagram(SocketAddr::new(to, 9)).map_err(failed("getsockname"))?;
    bound_address(&socket).map(|own| own.ip())
}

/// The address that a socket is bound to.
pub fn bound_address(socket: &OwnedFd) -> Result<SocketAddr, FailedCall> {
    let own = getsockname(socket).map_err(failed("getsockname"))?;
    SocketAddr::try_from(own).map_err(|_| failed("getsockname")(Errno::AFNOSUPPORT))
}

/// The address of this end of a connection; nothing is told where the kernel does not say it.
pub fn own_address(socket: &OwnedFd) -> SocketAddr {
    bound_address(socket).unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// A listening socket for a BIND on exactly this address, at the first of these ports that is free; 0 stands for
/// one of the kernel's choice. Nobody can share its port: neither SO_REUSEADDR nor SO_REUSEPORT is set, and both
/// ends would have to (socket(7)).
pub fn listener(
    at: IpAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Result<(OwnedFd, SocketAddr), FailedCall> {
    let socket = stream(at)?;
    bind_first(&socket, SocketAddr::new(at, 0), ports)?;
    listen(&socket, 1).map_err(failed("listen"))?;
    let own = getsockname(&socket).map_err(failed("getsockname"))?;
    let own = SocketAddr::try_from(own).map_err(|_| failed("getsockname")(Errno::AFNOSUPPORT))?;
    Ok((socket, own))
}

/// Binds a socket that will connect to this address, and to whichever port is free for its destination then.
pub fn bind_address(socket: &OwnedFd, from: IpAddr) -> Result<(), FailedCall> {
    // Without it the port would be taken for all destinations at once; a kernel without it still works.
    let _ = sys::bind_address_no_port(socket);
    bind(socket, &SocketAddr::new(from, 0)).map_err(failed("bind"))
}

/// Binds a socket to the first of these ports that is free, at this address; an address of a link keeps the number of its
/// interface. One that bind(2) has refused can be bound elsewhere.
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

/// The ports from the first to the last, from a random place, so that the next one cannot be foretold. Trying all of a large
/// range would hold up everybody.
pub fn in_random_order((first, last): (u16, u16)) -> impl Iterator<Item = u16> {
    let count = u64::from(last.saturating_sub(first)).saturating_add(1);
    let start = RandomState::new().hash_one(Instant::now()).checked_rem(count).unwrap_or(0);
    let middle = first.saturating_add(u16::try_from(start).unwrap_or(0));
    (middle..=last).chain(first..middle).take(PORTS_TRIED)
}

/// A TCP socket for the family of this address, prepared.
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

/// What the worker cannot set: small writes leave at once, urgent data stays in its place among the rest, and close
/// without an orderly end is a reset, which is how a reset of one side is passed on to the other.
pub fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_oobinline(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))
}

/// Has the kernel ask a silent peer whether it is still there. A listener passes it on to what it accepts. Nothing is lost
/// where it fails: `idle_limit` ends the connection.
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
