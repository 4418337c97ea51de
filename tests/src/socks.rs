//! SOCKS4 and SOCKS4A, byte by byte, as the protocol texts have it.

use crate::host::Host;
use crate::line::Line;
use crate::site::INSIDE;
use crate::wait::LONG;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

/// The address of sockd as the clients know it, unless a test says otherwise.
pub const PROXY: SocketAddrV4 = SocketAddrV4::new(INSIDE, 1080);

/// The reply code for a granted request.
pub const GRANTED: u8 = 90;
/// The reply code for a refused or failed request.
pub const REJECTED: u8 = 91;

/// An IPv4 address and port.
pub struct Destination(SocketAddrV4);

impl From<SocketAddrV4> for Destination {
    fn from(address: SocketAddrV4) -> Self {
        Self(address)
    }
}

impl From<(Ipv4Addr, u16)> for Destination {
    fn from((address, port): (Ipv4Addr, u16)) -> Self {
        Self(SocketAddrV4::new(address, port))
    }
}

/// A request; its fields can be wrong on purpose.
#[derive(Clone)]
pub struct Request {
    /// VN: 4.
    pub version: u8,
    /// CD: 1 CONNECT, 2 BIND.
    pub command: u8,
    /// DSTPORT.
    pub port: u16,
    /// DSTIP.
    pub address: Ipv4Addr,
    /// USERID.
    pub user: Vec<u8>,
    /// The name of a 4A request.
    pub name: Option<Vec<u8>>,
}

impl Request {
    /// CONNECT to an address and port, by user joe.
    pub fn connect(to: impl Into<Destination>) -> Self {
        let Destination(to) = to.into();
        let user = b"joe".to_vec();
        Self { version: 4, command: 1, port: to.port(), address: *to.ip(), user, name: None }
    }

    /// 4A CONNECT to a name, by user joe.
    pub fn connect_name(name: impl AsRef<[u8]>, port: u16) -> Self {
        let marker = SocketAddrV4::new(Ipv4Addr::new(0, 0, 0, 7), port);
        Self { name: Some(name.as_ref().to_vec()), ..Self::connect(marker) }
    }

    /// The same by another user.
    pub fn by(self, user: impl AsRef<[u8]>) -> Self {
        Self { user: user.as_ref().to_vec(), ..self }
    }

    /// The same as BIND.
    pub fn as_bind(self) -> Self {
        Self { command: 2, ..self }
    }

    /// The request as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version, self.command];
        bytes.extend(self.port.to_be_bytes());
        bytes.extend(self.address.octets());
        bytes.extend(&self.user);
        bytes.push(0);
        if let Some(name) = &self.name {
            bytes.extend(name);
            bytes.push(0);
        }
        bytes
    }
}

/// A reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// VN: 0.
    pub version: u8,
    /// CD.
    pub code: u8,
    /// Port and address.
    pub address: SocketAddrV4,
}

impl Reply {
    /// A reply to CONNECT: all but the code is zero.
    pub fn with(code: u8) -> Self {
        Self { version: 0, code, address: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0) }
    }

    /// Reads a reply, and not a byte more.
    pub fn read(line: &mut Line) -> Self {
        let bytes = line.read(8);
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        let address = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
        Self { version: bytes[0], code: bytes[1], address: SocketAddrV4::new(address, port) }
    }
}

/// Connects from `host` to the proxy at `proxy` and sends the request.
pub fn send_to(host: &Host, proxy: impl Into<SocketAddr>, request: &Request) -> Line {
    let mut line = Line::dial(host, proxy);
    line.send(request.bytes());
    line
}

/// Asks [`PROXY`] and returns its reply.
pub fn ask(host: &Host, request: &Request) -> (Line, Reply) {
    let mut line = send_to(host, PROXY, request);
    let reply = Reply::read(&mut line);
    (line, reply)
}

/// Asks [`PROXY`] and insists that the request is granted.
pub fn granted(host: &Host, request: &Request) -> Line {
    let (line, reply) = ask(host, request);
    assert_eq!(reply, Reply::with(GRANTED));
    line
}

/// Asks [`PROXY`] and tells whether the request is granted; a connection that is turned away counts as no.
pub fn is_granted(host: &Host, request: &Request) -> bool {
    let mut reply = [0; 8];
    let mut asked = || -> io::Result<()> {
        let mut stream = host.run(|| TcpStream::connect_timeout(&PROXY.into(), LONG))?;
        stream.set_read_timeout(Some(LONG))?;
        stream.write_all(&request.bytes())?;
        stream.read_exact(&mut reply)
    };
    asked().is_ok() && reply[1] == GRANTED
}

/// Asks [`PROXY`] and insists on code 91 and a close.
pub fn assert_rejected(host: &Host, request: &Request) {
    let (mut line, reply) = ask(host, request);
    assert_eq!(reply, Reply::with(REJECTED), "{}", request.bytes().escape_ascii());
    line.ending();
}
