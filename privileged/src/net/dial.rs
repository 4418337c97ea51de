//! Connects without waiting: from the socket to a connection whose peer is the one that was dialled.

use crate::net::sockets::{self, failed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, connect, getpeername, sockopt};
use sockd_session::config::RESERVED;
use sockd_session::record::FailedCall;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A connection to make.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// The exact address of the peer.
    pub to: SocketAddr,
    /// The source address, if it matters.
    pub from: Option<IpAddr>,
    /// Whether the source port has to be one of the [`RESERVED`] ports.
    pub reserved: bool,
    /// When the connection has to be made, if there is a limit.
    pub due: Option<Instant>,
}

/// The outcome of a dial.
pub type Dialled = Result<OwnedFd, FailedCall>;

/// Begins to connect; true if the connection is already made.
pub fn set_out(Dial { to, from, reserved, .. }: Dial) -> Result<(OwnedFd, bool), FailedCall> {
    let from = match (from, reserved) {
        (None, true) => Some(sockets::source_towards(to.ip())?),
        (from, _) => from,
    };
    let socket = sockets::stream(to.ip())?;
    match from {
        // rresvport(3) also takes the first free port from the end.
        Some(from) if reserved => sockets::bind_first(&socket, SocketAddr::new(from, 0), RESERVED.rev())?,
        Some(from) => sockets::bind_address(&socket, from)?,
        None => {}
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(failed("connect")(error)),
    }
    // On loopback, and with a quick peer, the handshake is over by now. Asking costs less than waiting for it.
    match getpeername(&socket) {
        Ok(peer) => Ok((arrived(socket, peer, to)?, true)),
        Err(_) => Ok((socket, false)),
    }
}

/// Whether the outcome of a pending connection is known.
pub fn is_settled(socket: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&at_once)) != Ok(0)
}

/// Returns the outcome of a pending connection that has become writable.
pub fn finish(socket: OwnedFd, to: SocketAddr) -> Dialled {
    match sockopt::socket_error(&socket) {
        Ok(Ok(())) => {
            let peer = getpeername(&socket).map_err(failed("connect"))?;
            arrived(socket, peer, to)
        }
        Ok(Err(error)) | Err(error) => Err(failed("connect")(error)),
    }
}

/// Checks that the peer is the one that was dialled, and not this very socket: a TCP connection to a free port of the
/// host's own ephemeral range can meet itself (simultaneous open).
fn arrived(socket: OwnedFd, peer: Option<SocketAddrAny>, to: SocketAddr) -> Dialled {
    let own = sockets::bound_address(&socket)?;
    match peer.map(SocketAddr::try_from) {
        Some(Ok(peer)) if peer == to && own != peer => Ok(socket),
        _ => Err(failed("connect")(Errno::CONNREFUSED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::bind;
    use std::net::TcpListener;

    #[test]
    fn a_listening_port_of_loopback_is_reached_at_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let from = "127.0.0.5".parse().unwrap();
        for from in [None, Some(from)] {
            let dial = Dial { to, from, reserved: false, due: None };
            assert!(matches!(set_out(dial), Ok((_, true))), "{from:?}");
        }
        let peers: Vec<IpAddr> = (0..2).map(|_| server.accept().unwrap().1.ip()).collect();
        assert_eq!(peers, ["127.0.0.1".parse::<IpAddr>().unwrap(), from]);
    }

    /// A16: without a listener, a socket whose own port is the one it dials meets itself (simultaneous open).
    #[test]
    fn a_connection_that_meets_itself_is_no_server() {
        let at = SocketAddr::from(([127, 0, 0, 4], 0));
        let socket = sockets::stream(at.ip()).unwrap();
        bind(&socket, &at).unwrap();
        let own = sockets::bound_address(&socket).unwrap();
        let _ = connect(&socket, &own);
        while !is_settled(&socket) {}
        assert_eq!(
            getpeername(&socket).unwrap().map(SocketAddr::try_from),
            Some(Ok(own)),
            "it has met itself"
        );
        assert_eq!(finish(socket, own).unwrap_err(), failed("connect")(Errno::CONNREFUSED));
    }
}
