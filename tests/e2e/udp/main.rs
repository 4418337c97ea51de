//! UDP ASSOCIATE byte by byte, a test for each row of the requirements: the answers, the relayed datagrams, and the
//! ends.

mod clients;
mod datagrams;
mod flows;
mod hostile;
mod limits;
mod replies;
mod strangers;

use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{INSIDE, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::Start;
use sockd_tests::socks5::{bound, greet_at, greet_over};
use sockd_tests::wait::{LONG, uninterrupted};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The rules: datagrams to everywhere but port 8081.
const RULES: &str = "deny ALL 0.0.0.0 ALL 0.0.0.0 eq 8081\npermit +=connect,udp ALL 0.0.0.0\n";

/// The port at which servers listen.
const PORT: u16 = 9999;

/// The address of the proxy for the client.
const PROXY: (Ipv4Addr, u16) = (INSIDE, 1080);

/// The proxy and the server host, over IPv6.
const PROXY_6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1), 1080);
const SERVER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// UDP ASSOCIATE without a hint.
const ASSOCIATE: [u8; 10] = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];

/// How long a test waits for a datagram that is dropped.
const MOMENT: Duration = Duration::from_millis(300);

/// An echo server for datagrams, which remembers where they came from.
struct Echo {
    at: SocketAddr,
    senders: Arc<Mutex<Vec<SocketAddr>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(host: &Host, at: impl Into<SocketAddr>) -> Self {
        Self::with(host, at.into(), |bytes| Some(bytes.to_vec()))
    }

    /// A server that sends the answers of `answer`.
    fn with(host: &Host, at: SocketAddr, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = bound_to(host, at);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
        let at = socket.local_addr().expect("an address");
        let (senders, ending) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (list, end) = (Arc::clone(&senders), Arc::clone(&ending));
        let serve = move || {
            let mut bytes = vec![0; 1 << 16];
            while !end.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    list.lock().expect("the list").push(from);
                    let _ = answer(&bytes[..length]).map(|answer| socket.send_to(&answer, from));
                }
            }
        };
        Self { at, senders, ending, thread: Some(thread::spawn(serve)) }
    }

    /// The sources of the datagrams, in their order.
    fn senders(&self) -> Vec<SocketAddr> {
        self.senders.lock().expect("the list").clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn bound_to(host: &Host, at: SocketAddr) -> UdpSocket {
    host.run(|| UdpSocket::bind(at)).unwrap_or_else(|error| panic!("{at}: {error}"))
}

/// A lab with an echo server at [`PORT`] of the server host, and a nameserver that knows that host as `web.test`.
struct Place {
    lab: Lab,
    echo: Echo,
    _nameserver: Nameserver,
}

fn place() -> Place {
    place_with(RULES, "()")
}

fn place_with(rules: &str, settings: &str) -> Place {
    place_started(rules, |start| start.settings(settings))
}

/// With whatever else `prepare` adds to the start of the daemon.
fn place_started(rules: &str, prepare: impl FnOnce(Start) -> Start) -> Place {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let nameserver = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "web.test" => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    });
    let echo = Echo::start(&site.server, (SERVER, PORT));
    let lab = Lab::at(site, rules, prepare);
    Place { lab, echo, _nameserver: nameserver }
}

/// An association as its client has it.
struct Association {
    control: Line,
    /// The address that its datagrams go to.
    at: SocketAddr,
    socket: UdpSocket,
}

impl Association {
    fn new(client: &Host) -> Self {
        Self::by(client, PROXY, &ASSOCIATE)
    }

    /// With this request at this address of the proxy.
    fn by(client: &Host, proxy: impl Into<SocketAddr>, request: &[u8]) -> Self {
        Self::asked(greet_at(client, proxy), client, request)
    }

    /// Over a connection that nothing has been said on.
    fn over(control: Line, client: &Host) -> Self {
        Self::asked(greet_over(control), client, &ASSOCIATE)
    }

    fn asked(mut control: Line, client: &Host, request: &[u8]) -> Self {
        control.send(request);
        let at = bound(&mut control);
        let any = match at {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = bound_to(client, any);
        socket.set_read_timeout(Some(LONG)).expect("a limit");
        Self { control, at, socket }
    }

    fn send_raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.at).expect("sending");
    }

    fn send(&self, to: impl Into<SocketAddr>, data: &[u8]) {
        self.send_raw(&datagram(to.into(), data));
    }

    /// The next datagram.
    fn receive(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 16];
        let length = uninterrupted(|| self.socket.recv(&mut bytes));
        bytes.truncate(length.unwrap_or_else(|error| panic!("no datagram: {error}")));
        bytes
    }

    /// Insists that this comes back from this peer.
    fn assert_answer(&self, from: impl Into<SocketAddr>, data: &[u8]) {
        assert!(self.receive() == datagram(from.into(), data), "another datagram");
    }

    /// Sends this to an echo server, and insists that it comes back.
    fn assert_echo(&self, echo: SocketAddr, data: &[u8]) {
        self.send(echo, data);
        self.assert_answer(echo, data);
    }

    /// Whether nothing comes for a moment.
    fn is_quiet(&self) -> bool {
        is_quiet(&self.socket)
    }
}

fn received(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 1 << 16];
    let length = uninterrupted(|| socket.recv(&mut bytes)).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn is_quiet(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(MOMENT)).expect("a limit");
    let read = uninterrupted(|| socket.recv(&mut [0; 9]));
    socket.set_read_timeout(Some(LONG)).expect("a limit");
    matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A datagram with the header for this address.
fn datagram(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut bytes = match to.ip() {
        IpAddr::V4(address) => [&[0, 0, 0, 1], &address.octets()[..]].concat(),
        IpAddr::V6(address) => [&[0, 0, 0, 4], &address.octets()[..]].concat(),
    };
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The same for a name.
fn to_name(name: &str, port: u16, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    [&[0, 0, 0, 3, length], name.as_bytes(), &port.to_be_bytes(), data].concat()
}
