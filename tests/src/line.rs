//! A TCP connection in the hands of a test: every read has a limit, every ending has a name.

use crate::host::Host;
use crate::wait::LONG;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How the other side ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It said that nothing more comes (FIN).
    Closed,
    /// It reset the connection (RST).
    Reset,
}

/// A connected TCP socket.
pub struct Line(TcpStream);

/// Connects from an address and port of this machine, which another connection may have had a moment ago; port 0 is any.
pub fn connect_from(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let (from, to) = (from.into(), to.into());
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), LONG)?;
    Ok(socket.into())
}

impl Line {
    /// Takes over a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LONG)).expect("read limit");
        stream.set_write_timeout(Some(LONG)).expect("write limit");
        stream.set_nodelay(true).expect("nodelay");
        Self(stream)
    }

    /// Connects from `host`.
    pub fn dial(host: &Host, to: impl Into<SocketAddr>) -> Self {
        let to = to.into();
        let stream = host.run(|| TcpStream::connect_timeout(&to, LONG));
        Self::new(stream.unwrap_or_else(|error| panic!("connecting to {to}: {error}")))
    }

    /// Connects from one of the addresses of `host`.
    pub fn dial_from(host: &Host, from: Ipv4Addr, to: impl Into<SocketAddr>) -> Self {
        let to = to.into();
        let stream = host.run(|| connect_from((from, 0), to));
        Self::new(stream.unwrap_or_else(|error| panic!("connecting from {from} to {to}: {error}")))
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    /// The address of this side.
    pub fn local(&self) -> SocketAddr {
        self.0.local_addr().expect("local address")
    }

    /// The address of the other side.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer_addr().expect("peer address")
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("sending");
    }

    /// Sends `bytes` in segments of `size` bytes. The pauses make it likely that the other side sees them one by
    /// one; no test rests on it.
    pub fn send_in_segments(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends one byte marked as urgent.
    pub fn send_urgent(&mut self, byte: u8) {
        SockRef::from(&self.0).send_out_of_band(&[byte]).expect("sending urgent data");
    }

    /// Lets later urgent bytes be read in their place, as a relay reads them (SO_OOBINLINE).
    pub fn take_urgent_in_line(&self) {
        SockRef::from(&self.0).set_out_of_band_inline(true).expect("SO_OOBINLINE");
    }

    /// Reads exactly `length` bytes.
    pub fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap_or_else(|error| panic!("reading {length} bytes: {error}"));
        bytes
    }

    /// Reads `length` bytes, or fewer if the connection ends before, however it ends.
    pub fn read_some(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (&mut self.0).take(length).read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("reading {length} bytes: {error}, after {} bytes", bytes.len()),
        }
    }

    /// Reads to the end, and tells how the connection ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => (bytes, Ending::Closed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, Ending::Reset),
            Err(error) => panic!("reading to the end: {error}, after {} bytes", bytes.len()),
        }
    }

    /// How the connection ends; panics if bytes come first.
    pub fn ending(&mut self) -> Ending {
        let (bytes, ending) = self.read_to_end();
        assert!(bytes.is_empty(), "unexpected bytes before the end: {:?}", bytes.escape_ascii().to_string());
        ending
    }

    /// Whether there is neither a byte nor an end to read at this moment.
    pub fn is_quiet(&self) -> bool {
        self.0.set_nonblocking(true).expect("nonblocking");
        let read = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).expect("blocking");
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Says that nothing more comes from this side.
    pub fn half_close(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}
