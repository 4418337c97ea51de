//! The servers behind the proxy. They share the machine with the measured proxy, so they are cheap: the kernel discards
//! received bytes, and sent bytes are one block of zeros.
//!
//! There is one process for each processor. All of them serve the short exchanges; the addresses of the streams are
//! divided among them, so that clients that take the addresses in turn load them evenly.

use crate::net::{self, Drain, Events, Listen, Outcome};
use rustix::event::epoll::EventFlags;
use slab::Slab;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The servers listen at 127.0.0.1 and the addresses after it, so that a proxy does not run out of ports.
pub(crate) const ADDRESSES: u8 = 16;
/// Bytes of a small write.
pub(crate) const SMALL: usize = 1024;
/// Bytes of a large write.
pub(crate) const LARGE: usize = 256 * 1024;

/// The behaviour of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends everything back.
    Echo = 9000,
    /// Answers a byte with a byte, and closes.
    Byte,
    /// Sends for ever.
    Source,
    /// Reads for ever.
    Sink,
    /// Source and sink.
    Both,
    /// Sends for ever, 1 KiB at a time.
    SmallSource,
    /// Says how many bytes this process has read, and closes. Ports from here on belong to one process each.
    Count,
}

const SERVICES: [Service; 7] = [
    Service::Echo,
    Service::Byte,
    Service::Source,
    Service::Sink,
    Service::Both,
    Service::SmallSource,
    Service::Count,
];

impl Service {
    /// The socket address at which it is served, for the address of this number.
    pub(crate) fn at(self, address: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1 + address), self as u16)
    }

    fn places(self, part: u8, parts: u8) -> Vec<SocketAddrV4> {
        match self {
            Self::Echo | Self::Byte => (0..ADDRESSES).map(|address| self.at(address)).collect(),
            Self::Count => vec![count_at(part)],
            _ => (part..ADDRESSES).step_by(parts.into()).map(|address| self.at(address)).collect(),
        }
    }

    fn interest(self) -> EventFlags {
        match self {
            Self::Source | Self::SmallSource => EventFlags::OUT | EventFlags::RDHUP,
            Self::Both => EventFlags::IN | EventFlags::OUT,
            _ => EventFlags::IN,
        }
    }
}

fn count_at(part: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, Service::Count as u16 + u16::from(part))
}

/// The running servers.
pub(crate) struct Origin {
    children: Vec<Child>,
}

impl Origin {
    /// Starts a process for each processor and waits until they listen.
    pub(crate) fn start() -> Outcome<Self> {
        let parts = processors();
        let start = |part: u8| {
            let words = ["origin", &part.to_string(), &parts.to_string()];
            Command::new("/proc/self/exe").args(words).stdin(Stdio::null()).spawn()
        };
        let origin = Self { children: (0..parts).map(start).collect::<Result<_, _>>()? };
        let limit = Instant::now() + Duration::from_secs(10);
        while origin.count().is_err() {
            if Instant::now() > limit {
                return Err("the servers do not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(origin)
    }

    /// How many bytes they have read so far.
    pub(crate) fn count(&self) -> Outcome<u64> {
        let ask = |part: usize| -> Outcome<u64> {
            let mut text = String::new();
            TcpStream::connect(count_at(u8::try_from(part)?))?.read_to_string(&mut text)?;
            Ok(text.parse()?)
        };
        (0..self.children.len()).map(ask).sum()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Processors of this machine; there is an address for each.
pub(crate) fn processors() -> u8 {
    let number = std::thread::available_parallelism().map_or(1, usize::from);
    u8::try_from(number).unwrap_or(ADDRESSES).min(ADDRESSES)
}

/// Runs one of the processes.
pub(crate) fn run(part: u8, parts: u8) -> Outcome<()> {
    let mut server = Server {
        events: Events::new()?,
        sockets: Slab::new(),
        zeros: vec![0; LARGE],
        buffer: vec![0; 64 * 1024],
        drain: Drain::new(),
        read: 0,
    };
    for service in SERVICES {
        let short = matches!(service, Service::Echo | Service::Byte);
        let how = Listen { shared: short, deferred: service == Service::Byte };
        for place in service.places(part, parts) {
            let listener = net::listen(place, how)?;
            server.keep(listener, service, true);
        }
    }
    server.run()
}

struct Socket {
    fd: OwnedFd,
    service: Service,
    listens: bool,
}

struct Server {
    events: Events,
    sockets: Slab<Socket>,
    zeros: Vec<u8>,
    buffer: Vec<u8>,
    drain: Drain,
    read: u64,
}

/// A connection is over.
struct Over;

impl From<rustix::io::Errno> for Over {
    fn from(_: rustix::io::Errno) -> Self {
        Self
    }
}

impl Server {
    fn keep(&mut self, fd: OwnedFd, service: Service, listens: bool) {
        let entry = self.sockets.vacant_entry();
        let interest = if listens { EventFlags::IN } else { service.interest() };
        if self.events.add(&fd, entry.key() as u64, interest).is_ok() {
            entry.insert(Socket { fd, service, listens });
        }
    }

    fn run(&mut self) -> Outcome<()> {
        loop {
            for number in 0..self.events.wait(None)? {
                let (key, ready) = self.events.get(number);
                let key = key as usize;
                let Some(listens) = self.sockets.get(key).map(|socket| socket.listens) else { continue };
                if listens {
                    self.accept(key);
                } else if self.serve(key, ready).is_err() {
                    self.sockets.remove(key);
                }
            }
        }
    }

    fn accept(&mut self, key: usize) {
        let service = self.sockets[key].service;
        while let Some(fd) = net::accept(&self.sockets[key].fd) {
            match service {
                Service::Count => {
                    let _ = net::send(&fd, self.read.to_string().as_bytes());
                }
                // The byte is here, unless the kernel has given up waiting for it.
                Service::Byte => {
                    if let Ok(None) = net::receive(&fd, &mut self.buffer) {
                        self.keep(fd, service, false);
                    } else {
                        let _ = net::send(&fd, b"!");
                    }
                }
                _ => {
                    net::no_delay(&fd);
                    self.keep(fd, service, false);
                }
            }
        }
    }

    fn serve(&mut self, key: usize, ready: EventFlags) -> Result<(), Over> {
        let Socket { fd, service, .. } = &self.sockets[key];
        if ready.intersects(EventFlags::ERR) {
            return Err(Over);
        }
        match service {
            Service::Echo => match net::receive(fd, &mut self.buffer)? {
                Some(0) => return Err(Over),
                Some(length) if net::send(fd, &self.buffer[..length])? != Some(length) => return Err(Over),
                _ => {}
            },
            Service::Byte => {
                net::receive(fd, &mut self.buffer)?;
                net::send(fd, b"!")?;
                return Err(Over);
            }
            Service::Source | Service::SmallSource => {
                if ready.intersects(EventFlags::RDHUP | EventFlags::HUP) {
                    return Err(Over);
                }
                send_zeros(fd, &self.zeros, *service == Service::SmallSource)?;
            }
            Service::Sink | Service::Both => {
                if ready.intersects(EventFlags::IN | EventFlags::HUP) {
                    match self.drain.discard(fd)? {
                        Some(0) => return Err(Over),
                        length => self.read += length.unwrap_or(0) as u64,
                    }
                }
                if ready.intersects(EventFlags::OUT) {
                    send_zeros(fd, &self.zeros, false)?;
                }
            }
            Service::Count => return Err(Over),
        }
        Ok(())
    }
}

/// One turn of a sender: one large write, or up to 16 small ones.
pub(crate) fn send_zeros(socket: &OwnedFd, zeros: &[u8], small: bool) -> rustix::io::Result<()> {
    if !small {
        return net::send(socket, zeros).map(drop);
    }
    for _ in 0..16 {
        if net::send(socket, &zeros[..SMALL])?.is_none() {
            break;
        }
    }
    Ok(())
}
