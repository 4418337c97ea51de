//! Orders of administrators: members of a group send them over a socket of their own, in packets of one size.

use crate::monitor::door::Door;
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::net::unix::Caller;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sockd_common::status::{Answer, ORDER, Order};
use sockd_session::{ControllerKey, Slots};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The most connections at once. A further one is closed.
const MOST: usize = 16;

/// How long a connection may be silent before it is closed.
const SILENCE: Duration = Duration::from_secs(10);

/// The control socket, if any, and its connections.
#[derive(Debug, Default)]
pub struct Control {
    door: Option<Door>,
    connected: Slots<(OwnedFd, Caller), 'o'>,
}

impl Control {
    /// Takes orders at a socket that listens already.
    pub fn open(&mut self, listener: OwnedFd, reactor: &Reactor) -> rustix::io::Result<()> {
        self.door = Some(Door::open(listener, Token::Control, reactor)?);
        Ok(())
    }

    /// The socket, for a tree that takes over.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.door.as_ref().map(Door::listener)
    }

    /// Accepts waiting connections.
    pub fn ready(&mut self, reactor: &mut Reactor) {
        let Some(door) = &self.door else { return };
        for _ in 0..MOST {
            let Some((socket, caller)) = door.accept(reactor) else { return };
            let token = Token::Controller(self.connected.next_key());
            if self.connected.len() >= MOST || reactor.watch(&socket, token, EventFlags::IN).is_err() {
                continue;
            }
            self.connected.insert((socket, caller));
            reactor.set_deadline(token, Instant::now().checked_add(SILENCE));
        }
    }

    /// Accepts connections again after the pause.
    pub fn resume(&self, reactor: &Reactor) {
        self.door.iter().for_each(|door| door.resume(reactor));
    }

    /// Closes a connection.
    pub fn close(&mut self, key: ControllerKey, reactor: &mut Reactor) {
        self.connected.remove(key);
        reactor.set_deadline(Token::Controller(key), None);
    }

    /// The sender of the next packet, with its order if it is one; `None` if no packet is there.
    pub fn hear(&mut self, key: ControllerKey, reactor: &mut Reactor) -> Option<(Caller, Option<Order>)> {
        let &(ref socket, caller) = self.connected.get(key)?;
        let mut packet = [0; ORDER];
        match recv(socket, &mut packet, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((read, length)) if length > 0 => {
                reactor.set_deadline(Token::Controller(key), Instant::now().checked_add(SILENCE));
                Some((caller, packet.get(..read).filter(|_| length == read).and_then(Order::decode)))
            }
            Err(rustix::io::Errno::AGAIN) => None,
            Ok(_) | Err(_) => {
                self.close(key, reactor);
                None
            }
        }
    }

    /// Sends an answer. A caller that does not fetch its answers is closed once there is no room for more.
    pub fn answer(&mut self, key: ControllerKey, answer: Answer, reactor: &mut Reactor) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = self.connected.get(key).map(|(socket, _)| send(socket, &answer.encode(), flags));
        if let Some(Err(_)) = sent {
            self.close(key, reactor);
        }
    }
}
