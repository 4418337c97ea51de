//! A client host of a SOCKS5 server, at an address of its own: each command, with bytes both ways.

use crate::place::{Place, server};
use sockd_tests::line::connect_from;
use sockd_tests::socks5::{BIND, CHOSEN, CONNECT, GREETING, to};
use sockd_tests::wait::{LONG, uninterrupted};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

/// UDP ASSOCIATE.
const ASSOCIATE: u8 = 3;

/// The port at which the server echoes streams.
pub(crate) const ECHO: u16 = 7;

/// A client host, by its address, and the server that it asks.
pub(crate) struct Client<'a> {
    pub(crate) place: &'a Place,
    pub(crate) address: IpAddr,
    pub(crate) proxy: SocketAddr,
}

impl Client<'_> {
    /// A relay to the echo, which has answered.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        self.place.clients.run(|| self.connect_from_here())
    }

    /// The same for a thread that is on the machine of the clients.
    pub(crate) fn connect_from_here(&self) -> io::Result<TcpStream> {
        let mut stream = dial(SocketAddr::new(self.address, 0), self.proxy)?;
        request(&mut stream, CONNECT, server(self.address, ECHO))?;
        echoed(&mut stream)?;
        Ok(stream)
    }

    /// BIND: the server comes to the address in the reply, and both say something.
    pub(crate) fn bind(&self) -> io::Result<()> {
        let from = server(self.address, 0);
        let (mut stream, at) = self.ask(BIND, server(self.address, 20))?;
        let mut peer = self.place.server.run(|| dial(from, at))?;
        let named = reply(&mut stream)?;
        if named != peer.local_addr()? {
            return Err(io::Error::other(format!("the peer is {:?}, not {named}", peer.local_addr())));
        }
        stream.write_all(b"up")?;
        peer.read_exact(&mut [0; 2])?;
        peer.write_all(b"down")?;
        stream.read_exact(&mut [0; 4])?;
        Ok(())
    }

    /// UDP ASSOCIATE: a datagram to the server, and one back.
    pub(crate) fn associate(&self) -> io::Result<()> {
        let any: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let (_control, at) = self.ask(ASSOCIATE, SocketAddr::new(any, 0))?;
        let udp = |host: &sockd_tests::host::Host, address| host.run(|| UdpSocket::bind(address));
        let near = udp(&self.place.clients, SocketAddr::new(self.address, 0))?;
        let far = udp(&self.place.server, server(self.address, 0))?;
        near.set_read_timeout(Some(LONG))?;
        far.set_read_timeout(Some(LONG))?;
        // RFC 1928, section 7: RSV and FRAG before an address as in a request.
        let head = [&[0; 3], &to(CONNECT, far.local_addr()?)[3..]].concat();
        near.send_to(&[&head[..], b"question"].concat(), at)?;
        let mut bytes = [0; 99];
        let (length, gate) = uninterrupted(|| far.recv_from(&mut bytes))?;
        far.send_to(&bytes[..length], gate)?;
        let (length, from) = uninterrupted(|| near.recv_from(&mut bytes))?;
        if from != at || bytes[..length] != [&head[..], b"question"].concat() {
            return Err(io::Error::other(format!("{} from {from}", bytes[..length].escape_ascii())));
        }
        Ok(())
    }

    /// Connects and sends a request, and returns the address in the reply that grants it.
    fn ask(&self, command: u8, about: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        let from = SocketAddr::new(self.address, 0);
        let mut stream = self.place.clients.run(|| dial(from, self.proxy))?;
        let address = request(&mut stream, command, about)?;
        Ok((stream, address))
    }
}

fn request(stream: &mut TcpStream, command: u8, about: SocketAddr) -> io::Result<SocketAddr> {
    stream.write_all(&[&GREETING[..], &to(command, about)].concat())?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    if chosen != CHOSEN {
        return Err(io::Error::other(format!("a greeting is answered with {chosen:?}")));
    }
    reply(stream)
}

/// A byte there and back.
pub(crate) fn echoed(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

fn dial(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = connect_from(from, to)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.set_write_timeout(Some(LONG))?;
    Ok(stream)
}

/// The address in a reply that grants.
fn reply(stream: &mut TcpStream) -> io::Result<SocketAddr> {
    let (mut head, mut port) = ([0; 4], [0; 2]);
    stream.read_exact(&mut head)?;
    let address: IpAddr = if head[3] == 1 {
        let mut octets = [0; 4];
        stream.read_exact(&mut octets)?;
        octets.into()
    } else {
        let mut octets = [0; 16];
        stream.read_exact(&mut octets)?;
        octets.into()
    };
    stream.read_exact(&mut port)?;
    let address = SocketAddr::new(address, u16::from_be_bytes(port));
    if head[..2] == [5, 0] { Ok(address) } else { Err(io::Error::other(format!("{head:?}, {address}"))) }
}
