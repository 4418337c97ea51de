//! Sockets towards destinations, identds and nameservers: always connected, and checked, before they are passed on.

use crate::process::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, connect, getpeername, getsockname, ipproto,
    listen, socket_with, sockopt,
};
use sockd_common::message;
use sockd_session::config::RESERVED;
use sockd_session::record::FailedCall;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A connection on its way.
#[derive(Debug)]
pub enum Dialled {
    /// It stands, and the peer is who was dialled.
    Connected(OwnedFd),
    /// The socket becomes writable when it is known.
    Pending(OwnedFd),
}

/// Begins to connect to exactly `to`, from `from` where that is given.
pub fn dial(to: SocketAddr, from: Option<IpAddr>) -> Result<Dialled, FailedCall> {
    let socket = prepared(to.ip())?;
    if let Some(from) = from {
        // Without it the port would be taken for all destinations at once; a kernel without it still works.
        let _ = sys::bind_address_no_port(&socket);
        bind(&socket, &SocketAddr::new(from, 0)).map_err(failed("bind"))?;
    }
    set_out(socket, to)
}

/// The same from one of the [`RESERVED`] ports, the first free one from the end, as rresvport(3) has it.
pub fn dial_reserved(to: SocketAddr, from: Option<IpAddr>) -> Result<Dialled, FailedCall> {
    let from = from.map_or_else(|| source_towards(to.ip()), Ok)?;
    let socket = prepared(to.ip())?;
    bind_first(&socket, from, RESERVED.rev())?;
    set_out(socket, to)
}

fn set_out(socket: OwnedFd, to: SocketAddr) -> Result<Dialled, FailedCall> {
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(failed("connect")(error)),
    }
    // On loopback and with a quick peer the handshake is over by now; asking costs less than waiting for it.
    match getpeername(&socket) {
        Ok(peer) => arrived(socket, peer, to).map(Dialled::Connected),
        Err(_) => Ok(Dialled::Pending(socket)),
    }
}

/// Whether it is known what became of a pending connection. One turn of the monitor may end a session and begin
/// another with its number while an event of the first is still to be looked at.
pub fn is_settled(socket: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&at_once)) != Ok(0)
}

/// A pending connection has become writable.
pub fn finish(socket: OwnedFd, to: SocketAddr) -> Result<OwnedFd, FailedCall> {
    match sockopt::socket_error(&socket) {
        Ok(Ok(())) => {
            let peer = getpeername(&socket).map_err(failed("connect"))?;
            arrived(socket, peer, to)
        }
        Ok(Err(error)) | Err(error) => Err(failed("connect")(error)),
    }
}

/// The peer is the one that was dialled, and it is not this very socket: a TCP connection to a free port of the own
/// ephemeral range can meet itself (simultaneous open).
fn arrived(socket: OwnedFd, peer: Option<SocketAddrAny>, to: SocketAddr) -> Result<OwnedFd, FailedCall> {
    let own = getsockname(&socket).map_err(failed("getsockname"))?;
    match (peer.map(SocketAddr::try_from), SocketAddr::try_from(own)) {
        (Some(Ok(peer)), Ok(own)) if peer == to && own != peer => Ok(socket),
        _ => Err(failed("connect")(Errno::CONNREFUSED)),
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
pub fn source_towards(to: IpAddr) -> Result<IpAddr, FailedCall> {
    let socket = datagram(SocketAddr::new(to, 9)).map_err(failed("getsockname"))?;
    let own = getsockname(&socket).map_err(failed("getsockname"))?;
    SocketAddr::try_from(own).map(|own| own.ip()).map_err(|_| failed("getsockname")(Errno::AFNOSUPPORT))
}

/// A listening socket for a BIND on exactly this address, at the first of these ports that is free; 0 stands for
/// one of the kernel's choice. Nobody can share its port: neither SO_REUSEADDR nor SO_REUSEPORT is set, and both
/// ends would have to (socket(7)).
pub fn listener(
    at: IpAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Result<(OwnedFd, SocketAddr), FailedCall> {
    let socket = prepared(at)?;
    bind_first(&socket, at, ports)?;
    listen(&socket, 1).map_err(failed("listen"))?;
    let own = getsockname(&socket).map_err(failed("getsockname"))?;
    let own = SocketAddr::try_from(own).map_err(|_| failed("getsockname")(Errno::AFNOSUPPORT))?;
    Ok((socket, own))
}

/// A socket that one bind(2) has refused can be bound elsewhere.
fn bind_first(socket: &OwnedFd, at: IpAddr, ports: impl IntoIterator<Item = u16>) -> Result<(), FailedCall> {
    for port in ports {
        match bind(socket, &SocketAddr::new(at, port)) {
            Err(Errno::ADDRINUSE) => {}
            done => return done.map_err(failed("bind")),
        }
    }
    Err(failed("bind")(Errno::ADDRINUSE))
}

fn prepared(towards: IpAddr) -> Result<OwnedFd, FailedCall> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(towards), SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(failed("socket"))?;
    prepare(&socket).map_err(failed("setsockopt"))?;
    Ok(socket)
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

/// A call that failed, for the log.
pub fn failed(call: &'static str) -> impl Fn(Errno) -> FailedCall {
    let number = |error: Errno| u16::try_from(error.raw_os_error()).unwrap_or(u16::MAX);
    move |error| FailedCall { call, errno: message::Errno(number(error)) }
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
        assert_eq!(failure, failed("connect")(Errno::CONNREFUSED));
    }

    /// A16: without a listener a socket whose own port is the one it dials meets itself (simultaneous open).
    #[test]
    fn a_connection_that_meets_itself_is_no_server() {
        let at = SocketAddr::from(([127, 0, 0, 4], 0));
        let socket = prepared(at.ip()).unwrap();
        bind(&socket, &at).unwrap();
        let own = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        let _ = connect(&socket, &own);
        while !is_settled(&socket) {}
        assert_eq!(
            getpeername(&socket).unwrap().map(SocketAddr::try_from),
            Some(Ok(own)),
            "it has met itself"
        );
        assert_eq!(finish(socket, own).unwrap_err(), failed("connect")(Errno::CONNREFUSED));
    }

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
