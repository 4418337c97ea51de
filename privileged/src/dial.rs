//! Sockets towards destinations, identds and nameservers: always connected, and checked, before they are passed on.

use crate::sys;
use nix::errno::Errno as Code;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getpeername, getsockname, ipproto, listen,
    socket_with, sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A call that failed, for the log.
pub type Failure = (&'static str, Code);

/// A connection on its way.
#[derive(Debug)]
pub enum Dialled {
    /// It stands, and the peer is who was dialled.
    Connected(OwnedFd),
    /// The socket becomes writable when it is known.
    Pending(OwnedFd),
}

/// Begins to connect to exactly `to`, from `from` where that is given.
pub fn dial(to: SocketAddr, from: Option<IpAddr>) -> Result<Dialled, Failure> {
    let socket = stream(to.ip()).map_err(failure("socket"))?;
    prepare(&socket).map_err(failure("setsockopt"))?;
    if let Some(from) = from {
        // Without it the port would be taken for all destinations at once; a kernel without it still works.
        let _ = sys::bind_address_no_port(&socket);
        bind(&socket, &SocketAddr::new(from, 0)).map_err(failure("bind"))?;
    }
    match connect(&socket, &to) {
        Ok(()) => arrived(socket, to).map(Dialled::Connected),
        // On loopback and with a quick peer the handshake is over by now; asking costs less than waiting for it.
        Err(Errno::INPROGRESS) => match getpeername(&socket) {
            Ok(_) => arrived(socket, to).map(Dialled::Connected),
            Err(_) => Ok(Dialled::Pending(socket)),
        },
        Err(error) => Err(failure("connect")(error)),
    }
}

/// A pending connection has become writable.
pub fn finish(socket: OwnedFd, to: SocketAddr) -> Result<OwnedFd, Failure> {
    match sockopt::socket_error(&socket) {
        Ok(Ok(())) => arrived(socket, to),
        Ok(Err(error)) | Err(error) => Err(failure("connect")(error)),
    }
}

/// The peer is the one that was dialled, and it is not this very socket: a TCP connection to a free port of the own
/// ephemeral range can meet itself (simultaneous open).
fn arrived(socket: OwnedFd, to: SocketAddr) -> Result<OwnedFd, Failure> {
    let peer = getpeername(&socket).map_err(failure("connect"))?.ok_or(("connect", Code::ENOTCONN))?;
    let own = getsockname(&socket).map_err(failure("getsockname"))?;
    let (peer, own) = (SocketAddr::try_from(peer), SocketAddr::try_from(own));
    match (peer, own) {
        (Ok(peer), Ok(own)) if peer == to && own != peer => Ok(socket),
        _ => Err(("connect", Code::ECONNREFUSED)),
    }
}

/// A datagram socket that is connected to a nameserver, from a port that the kernel chooses at random.
pub fn datagram(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(to.ip()), SocketType::DGRAM, flags, None)?;
    connect(&socket, &to)?;
    Ok(socket)
}

/// The address that this host would use towards `to`: what the kernel's routing gives a datagram socket.
pub fn source_towards(to: IpAddr) -> Result<IpAddr, Failure> {
    let socket = datagram(SocketAddr::new(to, 9)).map_err(failure("getsockname"))?;
    let own = getsockname(&socket).map_err(failure("getsockname"))?;
    SocketAddr::try_from(own).map(|own| own.ip()).map_err(|_| ("getsockname", Code::EAFNOSUPPORT))
}

/// A listening socket for a BIND on exactly this address; nobody can share its port.
pub fn listener(at: SocketAddr) -> Result<(OwnedFd, SocketAddr), Failure> {
    let socket = stream(at.ip()).map_err(failure("socket"))?;
    prepare(&socket).map_err(failure("setsockopt"))?;
    bind(&socket, &at).map_err(failure("bind"))?;
    listen(&socket, 1).map_err(failure("listen"))?;
    let own = getsockname(&socket).map_err(failure("getsockname"))?;
    let own = SocketAddr::try_from(own).map_err(|_| ("getsockname", Code::EAFNOSUPPORT))?;
    Ok((socket, own))
}

fn stream(towards: IpAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family(towards), SocketType::STREAM, flags, Some(ipproto::TCP))
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// What the worker cannot set: small writes leave at once, urgent data stays in its place among the rest, and close
/// without an orderly end is a reset, which is how a reset of one side is passed on to the other.
pub fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_oobinline(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))
}

fn failure(call: &'static str) -> impl Fn(Errno) -> Failure {
    move |error| (call, Code::from_raw(error.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listening_port_of_loopback_is_reached_at_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        assert!(matches!(dial(to, None).unwrap(), Dialled::Connected(_)));
        let from = "127.0.0.5".parse().unwrap();
        assert!(matches!(dial(to, Some(from)).unwrap(), Dialled::Connected(_)));
        let peers: Vec<IpAddr> = (0..2).map(|_| server.accept().unwrap().1.ip()).collect();
        assert_eq!(peers, ["127.0.0.1".parse::<IpAddr>().unwrap(), from]);
    }

    #[test]
    fn a_closed_port_is_refused_by_the_name_of_the_call() {
        let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let failure = match dial(to, None) {
            Ok(Dialled::Pending(socket)) => finish(socket, to).unwrap_err(),
            Ok(Dialled::Connected(_)) => panic!("connected to a closed port"),
            Err(failure) => failure,
        };
        assert_eq!(failure, ("connect", Code::ECONNREFUSED));
    }

    #[test]
    fn a_listener_for_bind_is_on_its_address_alone() {
        let (_socket, address) = listener("127.0.0.3:0".parse().unwrap()).unwrap();
        assert_eq!(address.ip(), "127.0.0.3".parse::<IpAddr>().unwrap());
        assert_ne!(address.port(), 0);
        assert_eq!(listener(address).unwrap_err(), ("bind", Code::EADDRINUSE));
    }
}
