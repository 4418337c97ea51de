//! The takeover socket, who has come to it, and the ways to older trees that drain. Who comes is root, or who has started
//! the daemon; descriptors go to them and never come from them.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::serving::Serving;
use crate::net::unix::{self, Caller};
use rustix::net::{Shutdown, shutdown};
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::takeover::{
    About, FromServing, SILENCE, SocketKind, SocketName, ToServing, Totals,
};
use sockd_session::takeover::{Answer, Peers};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often a successor hears of what is left.
const NEWS: Duration = Duration::from_secs(1);

/// Who has come to the takeover socket.
#[derive(Debug)]
struct Peer {
    pid: i32,
    line: MonitorEnd<FromServing, ToServing>,
    /// When it has said something, or has been told what it waited for.
    since: Instant,
    /// It is not waited for any more.
    is_late: bool,
}

/// An older tree.
#[derive(Debug)]
struct Older {
    pid: u32,
    line: MonitorEnd<ToServing, FromServing>,
    left: Totals,
}

/// What happens in an older tree.
#[derive(Clone, Copy, Debug)]
pub enum OlderTells {
    /// An administrator wanted no new clients, until the end of the takeover.
    Closed,
    /// It has ended, with this process id and these sessions.
    Ended(u32, u32),
}

/// The takeover socket and all that has come of it.
#[derive(Debug, Default)]
pub struct Takeover {
    socket: Option<OwnedFd>,
    /// What serves here, as others are told.
    about: About,
    /// The user who may come, beside root.
    owner: u32,
    peers: Peers,
    lines: HashMap<usize, Peer>,
    older: Vec<Option<Older>>,
    /// When a successor is to be told what is left.
    tell_at: Option<Instant>,
}

impl Takeover {
    /// With this socket, for root and this user, and with the ways to older trees.
    pub fn new(socket: Option<OwnedFd>, owner: u32, about: About, older: Vec<(OwnedFd, u32)>) -> Self {
        let line =
            |(socket, pid)| Some(Older { pid, line: MonitorEnd::new(socket), left: Totals::default() });
        Self { socket, owner, about, older: older.into_iter().map(line).collect(), ..Self::default() }
    }

    /// Begins to watch. Of a peer that cannot be accepted the socket does not tell again, as without a descriptor it would
    /// tell of nothing else; the next one brings both.
    pub fn watch(&self, reactor: &Reactor) -> rustix::io::Result<()> {
        if let Some(socket) = &self.socket {
            reactor.watch(socket, Token::Takeover, EventFlags::IN | EventFlags::ET)?;
        }
        for (place, older) in (0..).zip(self.older.iter().flatten()) {
            reactor.watch(&older.line, Token::Older(place), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Lets in who has come.
    pub fn accept(&mut self, reactor: &Reactor) {
        let Some(socket) = &self.socket else { return };
        while let Ok(come) = unix::accept(socket) {
            let Some((peer, Caller { uid, pid })) = come else { continue };
            if uid != 0 && uid != self.owner {
                continue;
            }
            let Some(place) = self.peers.connect() else { continue };
            let line = MonitorEnd::new(peer);
            if reactor.watch(&line, Token::Peer(place as u32), EventFlags::IN).is_err() {
                self.peers.disconnect(place);
                continue;
            }
            self.lines.insert(place, Peer { pid, line, since: Instant::now(), is_late: false });
        }
    }

    /// The next thing that a peer asks of the daemon; what can be answered is answered here.
    pub fn hear(&mut self, place: usize, serving: &mut Serving) -> Option<Answer> {
        loop {
            let peer = self.lines.get_mut(&place)?;
            let answer = match peer.line.receive() {
                Ok(Received::Message(message, _)) => {
                    peer.since = Instant::now();
                    self.peers.hear(place, message)
                }
                Ok(Received::Nothing) => return None,
                _ => Answer::HangUp,
            };
            let sent = match answer {
                Answer::About => self.say(place, &FromServing::About(self.about), None),
                Answer::Busy => self.say(place, &FromServing::Busy, None),
                Answer::Socket(number) => self.hand_over(place, number, serving),
                Answer::Serves(pid) => {
                    self.lines.get_mut(&place).map(|peer| peer.pid = pid.cast_signed()).is_some()
                }
                Answer::HangUp => false,
                answer => return Some(answer),
            };
            if !sent {
                self.hang_up(place).into_iter().for_each(|line| serving.base.log.err(&line));
            }
        }
    }

    fn say(&self, place: usize, message: &FromServing, descriptor: Option<BorrowedFd<'_>>) -> bool {
        self.lines.get(&place).is_some_and(|peer| peer.line.send(message, descriptor).is_ok())
    }

    /// Gives what the log is to say of that.
    fn hang_up(&mut self, place: usize) -> Option<String> {
        let gone = self.lines.remove(&place);
        let farewell = gone.and_then(|peer| self.peers.farewell(place, peer.pid, peer.is_late));
        self.peers.disconnect(place);
        farewell
    }

    /// Peers that owe a word, and when they have owed it for too long.
    fn awaited(&self) -> impl Iterator<Item = (usize, Instant)> {
        let awaited = self.lines.iter().filter(|(place, _)| self.peers.is_awaited(**place));
        awaited.filter_map(|(place, peer)| Some((*place, peer.since.checked_add(SILENCE)?)))
    }

    /// Peers that have been silent for too long.
    pub fn silent(&self, now: Instant) -> Vec<usize> {
        self.awaited().filter(|(_, until)| *until <= now).map(|(place, _)| place).collect()
    }

    /// Such a peer takes over no more. It hears so, and can say nothing from now on: what it says after this fails with
    /// EPIPE, and what it has said before is heard. So both sides know who serves.
    pub fn refuse_to_wait(&mut self, place: usize) {
        if let Some(peer) = self.lines.get_mut(&place) {
            peer.is_late = true;
            let _ = peer.line.send(&FromServing::Busy, None);
            let _ = shutdown(&peer.line, Shutdown::Read);
        }
    }

    fn hand_over(&self, place: usize, number: u16, serving: &Serving) -> bool {
        let listeners = serving.clients.listeners().iter().map(|listener| {
            let kind = if listener.activated { SocketKind::Activated } else { SocketKind::Listener };
            (listener.socket.as_fd(), kind, listener.name.as_str())
        });
        let own = self.socket.iter().map(|socket| (socket.as_fd(), SocketKind::Takeover, ""));
        let older = self.older.iter().flatten();
        let older = older.map(|older| (older.line.as_fd(), SocketKind::Older { pid: older.pid }, ""));
        let doors = serving.status.listeners().chain(serving.control.listener());
        let doors = doors.map(|door| (door, SocketKind::Door, ""));
        match listeners.chain(own).chain(older).chain(doors).nth(number.into()) {
            Some((socket, kind, name)) => {
                let name = SocketName::new(name.as_bytes()).unwrap_or_default();
                self.say(place, &FromServing::Socket { kind, name }, Some(socket))
            }
            None if serving.clients.admission.drains => self.say(place, &FromServing::LastClosed, None),
            None => self.say(place, &FromServing::Last, None),
        }
    }

    /// A reload is over: who waits for that hears of it.
    pub fn reloaded(&mut self, outcome: &FromServing) {
        for place in self.peers.reloaded() {
            if !self.say(place, outcome, None) {
                self.hang_up(place);
            }
            self.lines.get_mut(&place).into_iter().for_each(|peer| peer.since = Instant::now());
        }
    }

    /// Somebody else serves from now on: gives its process id.
    pub fn drain(&mut self, reactor: &Reactor) -> i32 {
        // Others have these sockets too, and closing them would not take them out of the set.
        self.socket.take().iter().for_each(|socket| reactor.unwatch(socket));
        self.older.drain(..).flatten().for_each(|older| reactor.unwatch(&older.line));
        self.tell_at = Some(Instant::now());
        let successor = self.peers.successor().and_then(|place| self.lines.get(&place));
        successor.map_or(0, |peer| peer.pid)
    }

    /// When a successor is to hear of what is left, or a peer has been silent for too long.
    pub fn due_at(&self) -> Option<Instant> {
        let silent = self.awaited().map(|(_, until)| until);
        silent.chain(self.tell_at).min()
    }

    /// Tells a successor what is left, also where that is what it was: another tree may have taken over from that one
    /// meanwhile, and has this connection now.
    pub fn tell(&mut self, now: Instant, left: impl FnOnce() -> Totals) {
        if self.tell_at.is_none_or(|at| at > now) {
            return;
        }
        self.tell_at = now.checked_add(NEWS);
        // It may be full, where the successor has stopped. It may be broken: what came before that is to be heard yet.
        if let Some(place) = self.peers.successor() {
            self.say(place, &FromServing::Left(left()), None);
        }
    }

    /// A successor hears of the end: nothing is left. Otherwise it would have to think that this one has been killed.
    pub fn tell_end(&self) {
        if let Some(place) = self.peers.successor() {
            self.say(place, &FromServing::Left(Totals::default()), None);
        }
    }

    /// An older tree tells what it has left.
    pub fn hear_older(&mut self, place: u32, reactor: &Reactor) -> Option<OlderTells> {
        let slot = self.older.get_mut(place as usize)?;
        let older = slot.as_mut()?;
        loop {
            match older.line.receive() {
                Ok(Received::Message(FromServing::Left(left), _)) => older.left = left,
                Ok(Received::Message(FromServing::LastClosed, _)) => return Some(OlderTells::Closed),
                Ok(Received::Message(..)) => {}
                Ok(Received::Nothing) => return None,
                _ => break,
            }
        }
        // A new tree that is about to take over has the line too.
        reactor.unwatch(&older.line);
        slot.take().map(|older| OlderTells::Ended(older.pid, older.left.sessions))
    }

    /// Before this one is the daemon: who serves until then waits anew, and still does. Its answer is of no use.
    pub fn is_awaited(&self) -> Result<(), String> {
        self.tell_serving(&ToServing::Take { place: u16::MAX }).map(drop)
    }

    /// Who served before this one, where somebody did, serves no longer. Those before it drain already, and know only whom
    /// that one has been.
    pub fn go(&self) -> Result<Option<u32>, String> {
        let before = self.tell_serving(&ToServing::Go)?;
        self.tell_older(&ToServing::Serves { pid: self.about.pid });
        Ok(before)
    }

    /// Tells who served before this one, where somebody did. The error is that it has waited in vain, and serves on. Where
    /// it has ended there is nobody to tell.
    fn tell_serving(&self, message: &ToServing) -> Result<Option<u32>, String> {
        let Some(older) = self.older.last().and_then(Option::as_ref) else { return Ok(None) };
        if older.line.send(message, None).is_err() {
            while let Ok(Received::Message(answer, _)) = older.line.receive() {
                if answer == FromServing::Busy {
                    return Err(format!("process {} has waited in vain, and serves on", older.pid));
                }
            }
        }
        Ok(Some(older.pid))
    }

    /// Tells all older trees.
    pub fn tell_older(&self, message: &ToServing) {
        // Where that fails the tree has ended.
        self.older.iter().flatten().for_each(|older| drop(older.line.send(message, None)));
    }

    /// Whether an older tree drains.
    pub fn has_older(&self) -> bool {
        self.older.iter().flatten().next().is_some()
    }

    /// What all older trees have open.
    pub fn left(&self) -> Totals {
        self.older.iter().flatten().fold(Totals::default(), |sum, older| sum.plus(older.left))
    }
}
