//! The takeover socket and its peers, which are of root or of the user who has started the daemon. Descriptors go to
//! them and never come from them.

use crate::monitor::base::Base;
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::serving::Serving;
use crate::net::unix::{self, Caller};
use crate::takeover::older::OlderTrees;
use rustix::net::{Shutdown, shutdown};
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::takeover::{
    About, FromServing, SILENCE, SocketKind, SocketName, ToServing, Totals,
};
use sockd_session::takeover::{Answer, Peers};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// A peer that has connected to the takeover socket.
#[derive(Debug)]
struct Peer {
    pid: i32,
    line: MonitorEnd<FromServing, ToServing>,
    /// Whether it is no longer waited for.
    is_late: bool,
}

/// The takeover socket, its peers and the older trees.
#[derive(Debug, Default)]
pub struct Takeover {
    socket: Option<OwnedFd>,
    /// The facts about this server that peers are told.
    about: About,
    /// The user who may connect, beside root.
    owner: u32,
    peers: Peers,
    lines: HashMap<usize, Peer>,
    /// The connections to older trees.
    pub older: OlderTrees,
}

impl Takeover {
    /// Takes this socket, for root and this user, and the connections to older trees.
    pub fn new(socket: Option<OwnedFd>, owner: u32, about: About, older: Vec<(OwnedFd, u32)>) -> Self {
        Self { socket, owner, about, older: OlderTrees::new(older), ..Self::default() }
    }

    /// Begins to watch. Edge-triggered: a failed accept is not reported again, as without descriptors the loop would do
    /// nothing else; the next peer brings both.
    pub fn watch(&self, reactor: &Reactor) -> rustix::io::Result<()> {
        if let Some(socket) = &self.socket {
            reactor.watch(socket, Token::Takeover, EventFlags::IN | EventFlags::ET)?;
        }
        self.older.watch(reactor)
    }

    /// Accepts peers.
    pub fn accept(&mut self, reactor: &mut Reactor) {
        let Some(socket) = &self.socket else { return };
        while let Ok(come) = unix::accept(socket) {
            let come = come.filter(|(_, caller)| [0, self.owner].contains(&caller.uid));
            let Some((peer, Caller { pid, .. })) = come else { continue };
            let Some(place) = self.peers.connect() else { continue };
            let line = MonitorEnd::new(peer);
            if reactor.watch(&line, Token::Peer(place as u32), EventFlags::IN).is_err() {
                self.peers.disconnect(place);
                continue;
            }
            self.lines.insert(place, Peer { pid, line, is_late: false });
            self.wait(place, reactor);
        }
    }

    /// The next message of a peer that the daemon has to act on; others are answered here. One that has ended may have
    /// said before that it serves, and that all is to end: it is heard to its end also if no answer reaches it.
    pub fn hear(&mut self, place: usize, serving: &mut Serving) -> Option<Answer> {
        loop {
            let answer = match self.lines.get(&place)?.line.receive() {
                Ok(Received::Message(message, _)) => {
                    let answer = self.peers.hear(place, message);
                    self.wait(place, &mut serving.base.reactor);
                    answer
                }
                Ok(Received::Nothing) => return None,
                _ => Answer::HangUp,
            };
            match answer {
                Answer::About => self.say(place, &FromServing::About(self.about), None),
                Answer::Busy => self.say(place, &FromServing::Busy, None),
                Answer::Socket(number) => self.hand_over(place, number, serving),
                Answer::Serves(pid) => {
                    self.lines.get_mut(&place).into_iter().for_each(|peer| peer.pid = pid.cast_signed());
                }
                Answer::HangUp => self.hang_up(place, &mut serving.base),
                answer => return Some(answer),
            }
        }
    }

    fn say(&self, place: usize, message: &FromServing, descriptor: Option<BorrowedFd<'_>>) {
        let _ = self.lines.get(&place).map(|peer| peer.line.send(message, descriptor));
    }

    /// Closes the connection to a peer, and logs what that means.
    fn hang_up(&mut self, place: usize, base: &mut Base) {
        let gone = self.lines.remove(&place);
        let farewell = gone.and_then(|peer| self.peers.farewell(place, peer.pid, peer.is_late));
        farewell.into_iter().for_each(|line| base.log.err(&line));
        self.peers.disconnect(place);
        self.wait(place, &mut base.reactor);
    }

    /// Limits the wait for a peer that owes the next message.
    fn wait(&self, place: usize, reactor: &mut Reactor) {
        let due = Instant::now().checked_add(SILENCE).filter(|_| self.peers.is_awaited(place));
        reactor.set_deadline(Token::Peer(place as u32), due);
    }

    /// Whether a peer has owed a message for too long.
    pub fn is_silent(&self, place: usize, reactor: &Reactor) -> bool {
        self.peers.is_awaited(place) && reactor.deadline(Token::Peer(place as u32)).is_none()
    }

    /// Refuses the takeover of such a peer, and tells it so. Its later messages fail with EPIPE, and its earlier ones
    /// are read. So both sides know who serves.
    pub fn refuse_to_wait(&mut self, place: usize) {
        if let Some(peer) = self.lines.get_mut(&place) {
            peer.is_late = true;
            let _ = peer.line.send(&FromServing::Busy, None);
            let _ = shutdown(&peer.line, Shutdown::Read);
        }
    }

    fn hand_over(&self, place: usize, number: u16, serving: &Serving) {
        let listeners = serving.clients.listeners().iter().map(|listener| {
            let kind = if listener.activated { SocketKind::Activated } else { SocketKind::Listener };
            (listener.socket.as_fd(), kind, listener.name.as_str())
        });
        let own = self.socket.iter().map(|socket| (socket.as_fd(), SocketKind::Takeover, ""));
        let older = self.older.lines().map(|(line, pid)| (line, SocketKind::Older { pid }, ""));
        let doors = serving.status.listeners().chain(serving.control.listener());
        let doors = doors.map(|door| (door, SocketKind::Door, ""));
        match listeners.chain(own).chain(older).chain(doors).nth(number.into()) {
            Some((socket, kind, name)) => {
                let name = SocketName::new(name.as_bytes()).unwrap_or_default();
                self.say(place, &FromServing::Socket { kind, name }, Some(socket));
            }
            None if serving.clients.admission.drains => self.say(place, &FromServing::LastClosed, None),
            None => self.say(place, &FromServing::Last, None),
        }
    }

    /// Tells the peers that wait for a reload that it is over.
    pub fn reloaded(&mut self, outcome: &FromServing, reactor: &mut Reactor) {
        for place in self.peers.reloaded() {
            self.say(place, outcome, None);
            self.wait(place, reactor);
        }
    }

    /// Leaves the service to another tree, and returns its process id.
    pub fn drain(&mut self, reactor: &Reactor) -> i32 {
        // Others have these sockets too, so closing them would not take them out of the epoll set.
        self.socket.take().iter().for_each(|socket| reactor.unwatch(socket));
        self.older.leave(reactor);
        let successor = self.peers.successor().and_then(|place| self.lines.get(&place));
        successor.map_or(0, |peer| peer.pid)
    }

    /// Tells a successor what is left.
    pub fn tell_left(&self, left: Totals) {
        // The connection may be full if the successor has stopped. It may be broken, with earlier messages to be read.
        if let Some(place) = self.peers.successor() {
            self.say(place, &FromServing::Left(left), None);
        }
    }

    /// See [`OlderTrees::go`].
    pub fn go(&self) -> Result<Option<u32>, String> {
        self.older.go(self.about.pid)
    }
}
