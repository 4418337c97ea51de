//! A client's side of opening a relay.

use crate::net::{self, Outcome};
use crate::origin::{ADDRESSES, Service};
use crate::request::{LONGEST_ANSWER, Protocol, Step, steps};
use rustix::event::PollFlags;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses that clients come from, in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hosts {
    first: u32,
    number: u32,
    next: u32,
}

impl Hosts {
    /// This many of the hosts that most measures use.
    pub(crate) fn new(number: u32) -> Self {
        Self::from_base(Ipv4Addr::new(127, 64, 0, 1), number)
    }

    pub(crate) fn from_base(base: Ipv4Addr, number: u32) -> Self {
        Self { first: base.into(), number: number.max(1), next: 0 }
    }

    pub(crate) fn next(&mut self) -> Ipv4Addr {
        let host = self.first.wrapping_add(self.next % self.number);
        self.next = self.next.wrapping_add(1);
        host.into()
    }
}

/// Opens relays, going round the client hosts and the servers' addresses.
#[derive(Clone)]
pub(crate) struct Dialler {
    proxy: Option<SocketAddrV4>,
    targets: Vec<(SocketAddrV4, Arc<[Step]>)>,
    hosts: Hosts,
    next: usize,
}

impl Dialler {
    /// Without a `proxy`, to the servers themselves.
    pub(crate) fn new(
        proxy: Option<SocketAddrV4>,
        protocol: Protocol,
        service: Service,
        hosts: Hosts,
    ) -> Self {
        let addresses = if protocol == Protocol::Socks4a { 1 } else { ADDRESSES };
        let target = |number| {
            let target = service.at(number);
            (target, steps(protocol, target).into())
        };
        Self { proxy, targets: (0..addresses).map(target).collect(), hosts, next: 0 }
    }

    /// A copy that begins elsewhere, so that two threads do not walk in step.
    pub(crate) fn for_thread(&self, thread: usize) -> Self {
        let mut other = self.clone();
        other.next = thread;
        other.hosts.next = (thread as u32).wrapping_mul(7919);
        other
    }

    pub(crate) fn begin(&mut self) -> Outcome<Dial> {
        let (target, steps) = &self.targets[self.next % self.targets.len()];
        self.next = self.next.wrapping_add(1);
        let begun = Instant::now();
        let fd = net::connect(Some(self.hosts.next()), self.proxy.unwrap_or(*target))?;
        Ok(Dial {
            fd,
            begun,
            steps: Arc::clone(steps),
            step: 0,
            sent: false,
            answer: [0; LONGEST_ANSWER],
            have: 0,
        })
    }

    /// Opens a relay and waits for it.
    pub(crate) fn open(&mut self, patience: Duration) -> Outcome<OwnedFd> {
        Ok(self.finish(patience)?.fd)
    }

    /// Opens an association; returns its connection, and the address for its datagrams.
    pub(crate) fn associate(&mut self, patience: Duration) -> Outcome<(OwnedFd, SocketAddrV4)> {
        let Dial { fd, answer, .. } = self.finish(patience)?;
        let [a, b, c, d, high, low] = std::array::from_fn(|place| answer[4 + place]);
        Ok((fd, SocketAddrV4::new([a, b, c, d].into(), u16::from_be_bytes([high, low]))))
    }

    fn finish(&mut self, patience: Duration) -> Outcome<Dial> {
        let mut dial = self.begin()?;
        while !dial.advance()? {
            let what = if dial.sent { PollFlags::IN } else { PollFlags::OUT };
            let left = patience.saturating_sub(dial.begun.elapsed());
            if left.is_zero() || !net::wait_for(&dial.fd, what, left) {
                return Err(format!("no relay within {patience:?}").into());
            }
        }
        Ok(dial)
    }

    /// The same for many.
    pub(crate) fn open_all(&mut self, number: usize) -> Outcome<Vec<OwnedFd>> {
        const LONGEST: Duration = Duration::from_secs(120);
        let begun = Instant::now();
        let mut relays = Vec::with_capacity(number);
        while relays.len() < number {
            relays.push(self.open(Duration::from_secs(10))?);
            if begun.elapsed() > LONGEST {
                return Err(format!("only {} of {number} relays in {LONGEST:?}", relays.len()).into());
            }
        }
        Ok(relays)
    }
}

/// A relay that is being opened.
pub(crate) struct Dial {
    pub(crate) fd: OwnedFd,
    pub(crate) begun: Instant,
    steps: Arc<[Step]>,
    step: usize,
    sent: bool,
    answer: [u8; LONGEST_ANSWER],
    have: usize,
}

impl Dial {
    /// Whether it waits for output.
    pub(crate) fn is_connecting(&self) -> bool {
        !self.sent
    }

    /// Goes on as far as it goes; true once the relay is open.
    pub(crate) fn advance(&mut self) -> Outcome<bool> {
        loop {
            let Some(Step { send, answer, granted }) = self.steps.get(self.step) else {
                // Without a proxy nothing has been sent, so only the peer's address shows whether the connection is
                // there.
                self.sent = self.sent || rustix::net::getpeername(&self.fd).is_ok();
                return Ok(self.sent);
            };
            if !self.sent {
                // The answer cannot be here yet, and its coming will be an event.
                self.sent = net::send(&self.fd, send)?.is_some();
                return Ok(false);
            }
            match net::receive(&self.fd, &mut self.answer[self.have..*answer])? {
                None => return Ok(false),
                Some(0) => return Err("closed before the answer".into()),
                Some(length) => self.have += length,
            }
            if self.have == *answer {
                let (place, code) = *granted;
                if self.answer[place] != code {
                    return Err(format!("refused with code {}", self.answer[place]).into());
                }
                (self.step, self.have) = (self.step + 1, 0);
                self.sent = self.step == self.steps.len();
            }
        }
    }
}
