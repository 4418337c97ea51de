//! A nameserver that follows a script and can lie or stay silent (RFC 1035, as much as a stub resolver sees).

use crate::host::Host;
use crate::site::NAMESERVER;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Type A.
pub const A: u16 = 1;
/// Type CNAME.
const CNAME: u16 = 5;
/// Type PTR.
pub const PTR: u16 = 12;
/// Type AAAA.
pub const AAAA: u16 = 28;

/// A question: its content, its transport and its sender.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name, in lower case, without the final dot.
    pub name: String,
    /// The same as it was asked for.
    pub written: String,
    /// The type.
    pub kind: u16,
    /// Whether it came by TCP.
    pub by_stream: bool,
    /// The id of the query.
    pub id: u16,
    /// The resolver's address and port.
    pub from: SocketAddr,
}

/// The nameserver's answer by the script.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Those of these addresses that are of the requested type; an empty answer if there is none.
    Addresses(Vec<IpAddr>),
    /// The same, the question repeated in small letters.
    InSmallLetters(Vec<IpAddr>),
    /// An alias and its addresses.
    Alias(&'static str, Vec<IpAddr>),
    /// This name (PTR).
    Name(&'static str),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// REFUSED.
    Refusal,
    /// Nothing at all.
    Silence,
    /// This answer, but only after a while. By UDP others are answered meanwhile.
    Late(Duration, Box<Answer>),
    /// By UDP: cut short (TC); by TCP: these addresses.
    Truncated(Vec<IpAddr>),
    /// First an answer under a wrong id, one about another name and one from another port, all naming the
    /// `lie`; then the `truth`.
    LiesFirst {
        /// The address that must not be believed.
        lie: Ipv4Addr,
        /// The right address.
        truth: Ipv4Addr,
    },
}

/// The running nameserver, at port 53.
pub struct Nameserver {
    asked: Arc<Mutex<Vec<Question>>>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

type Script = Arc<dyn Fn(&Question) -> Answer + Send + Sync>;

impl Nameserver {
    /// Starts it on `host` at [`NAMESERVER`].
    pub fn start(host: &Host, script: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(host, NAMESERVER, script)
    }

    /// Starts it on `host` at this address.
    pub fn start_at(
        host: &Host,
        address: Ipv4Addr,
        script: impl Fn(&Question) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let streams = host.run(|| TcpListener::bind((address, 53)).expect("port 53"));
        Self::serving(host, address, Some(streams), Arc::new(script))
    }

    /// Starts a nameserver on `host` that has no TCP.
    pub fn without_tcp(host: &Host, script: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> Self {
        Self::serving(host, NAMESERVER, None, Arc::new(script))
    }

    fn serving(host: &Host, address: Ipv4Addr, streams: Option<TcpListener>, script: Script) -> Self {
        let datagrams = host.run(|| {
            // The liar's other port.
            let other = UdpSocket::bind((address, 0)).expect("a second port");
            (UdpSocket::bind((address, 53)).expect("port 53"), other)
        });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let desk = Desk { script, asked: Arc::clone(&asked), ending: Arc::clone(&ending) };
        let second_desk = desk.clone();
        let mut threads = vec![thread::spawn(move || desk.serve_datagrams(&datagrams.0, &datagrams.1))];
        threads.extend(streams.map(|streams| thread::spawn(move || second_desk.serve_streams(&streams))));
        Self { asked, ending, threads }
    }

    /// All that has been asked so far.
    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("asked").clone()
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Desk {
    script: Script,
    asked: Arc<Mutex<Vec<Question>>>,
    ending: Arc<AtomicBool>,
}

const PAUSE: Duration = Duration::from_millis(50);

impl Desk {
    fn serve_datagrams(&self, socket: &UdpSocket, other: &UdpSocket) {
        socket.set_read_timeout(Some(PAUSE)).expect("read limit");
        let mut buffer = [0; 512];
        while !self.ending.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let query = &buffer[..length];
            let Some(question) = parse(query, from, false) else { continue };
            let answer = self.answer(&question);
            if let Answer::LiesFirst { lie, .. } = answer {
                let lie = Answer::Addresses(vec![lie.into()]);
                let lie_about = |query: &[u8]| compose(query, &question, &lie).unwrap_or_default();
                let mut other_id = query.to_vec();
                other_id[0] ^= 0x55;
                let mut other_name = query.to_vec();
                other_name[13] ^= 0x01;
                let _ = socket.send_to(&lie_about(&other_id), from);
                let _ = socket.send_to(&lie_about(&other_name), from);
                let _ = other.send_to(&lie_about(query), from);
            }
            let Some(reply) = compose(query, &question, &answer) else { continue };
            match (&answer, socket.try_clone()) {
                (Answer::Late(pause, _), Ok(socket)) => {
                    let pause = *pause;
                    thread::spawn(move || {
                        thread::sleep(pause);
                        socket.send_to(&reply, from)
                    });
                }
                _ => drop(socket.send_to(&reply, from)),
            }
        }
    }

    fn serve_streams(&self, listener: &TcpListener) {
        listener.set_nonblocking(true).expect("nonblocking");
        while !self.ending.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, from)) => drop(self.serve_stream(stream, from)),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query)?;
        let Some(question) = parse(&query, from, true) else { return Ok(()) };
        let answer = self.answer(&question);
        if let Answer::Late(pause, _) = answer {
            thread::sleep(pause);
        }
        if let Some(reply) = compose(&query, &question, &answer) {
            let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
            stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat())?;
        }
        Ok(())
    }

    fn answer(&self, question: &Question) -> Answer {
        self.asked.lock().expect("asked").push(question.clone());
        (self.script)(question)
    }
}

/// Reads the header and the one question of a query.
fn parse(query: &[u8], from: SocketAddr, by_stream: bool) -> Option<Question> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let id = u16::from_be_bytes([query[0], query[1]]);
    let written = labels.join(".");
    Some(Question { name: written.to_ascii_lowercase(), written, kind, by_stream, id, from })
}

fn compose(query: &[u8], question: &Question, answer: &Answer) -> Option<Vec<u8>> {
    let (code, truncated, records) = match answer {
        Answer::Silence => return None,
        Answer::Late(_, answer) => return compose(query, question, answer),
        Answer::NoSuchName => (3, false, Vec::new()),
        Answer::Failure => (2, false, Vec::new()),
        Answer::Refusal => (5, false, Vec::new()),
        Answer::Truncated(_) if !question.by_stream => (0, true, Vec::new()),
        Answer::Addresses(addresses) | Answer::InSmallLetters(addresses) | Answer::Truncated(addresses) => {
            (0, false, address_records(&[0xc0, 12], question.kind, addresses))
        }
        Answer::LiesFirst { truth, .. } => {
            (0, false, address_records(&[0xc0, 12], question.kind, &[IpAddr::V4(*truth)]))
        }
        Answer::Alias(name, addresses) => {
            let alias = wire_name(name);
            let mut records = vec![record(&[0xc0, 12], CNAME, &alias)];
            records.extend(address_records(&alias, question.kind, addresses));
            (0, false, records)
        }
        Answer::Name(name) if question.kind == PTR => {
            (0, false, vec![record(&[0xc0, 12], PTR, &wire_name(name))])
        }
        Answer::Name(_) => (0, false, Vec::new()),
    };
    let question_end = 12 + question.name.len() + 2 + 4;
    let mut reply = query.get(..question_end)?.to_vec();
    if matches!(answer, Answer::InSmallLetters(_)) {
        reply[12..].make_ascii_lowercase();
    }
    // QR, RD and RA; TC if truncated.
    reply[2] = 0x81 | if truncated { 0x02 } else { 0 };
    reply[3] = 0x80 | code;
    reply[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    reply.extend(records.concat());
    Some(reply)
}

fn address_records(owner: &[u8], kind: u16, addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    let of_kind = |address: &IpAddr| match address {
        IpAddr::V4(address) if kind == A => Some(record(owner, A, &address.octets())),
        IpAddr::V6(address) if kind == AAAA => Some(record(owner, AAAA, &address.octets())),
        _ => None,
    };
    addresses.iter().filter_map(of_kind).collect()
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(0).to_be_bytes();
    // Class IN, 300 seconds.
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 1, 44], &length, data].concat()
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap_or(63));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// The name to ask for the names of an address (PTR).
pub fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}
