//! The trees before this one, each at its place: messages to them, the connections that they have left, and their ends.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::takeover::{FromServing, ToServing, Totals};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An older tree.
#[derive(Debug)]
struct Older {
    pid: u32,
    line: MonitorEnd<ToServing, FromServing>,
    left: Totals,
}

/// An event in an older tree.
#[derive(Clone, Copy, Debug)]
pub enum OlderTells {
    /// An administrator wanted no new clients, until the end of the takeover.
    Closed,
    /// It has ended; its process id, and the sessions that it had left.
    Ended(u32, u32),
}

/// The connections to all older trees. The last one serves until this tree does.
#[derive(Debug, Default)]
pub struct OlderTrees(Vec<Option<Older>>);

impl OlderTrees {
    /// Takes these connections, each with the process id of its tree.
    pub fn new(lines: Vec<(OwnedFd, u32)>) -> Self {
        let older = |(socket, pid)| Older { pid, line: MonitorEnd::new(socket), left: Totals::default() };
        Self(lines.into_iter().map(older).map(Some).collect())
    }

    /// Begins to watch for their messages.
    pub fn watch(&self, reactor: &Reactor) -> rustix::io::Result<()> {
        for (place, older) in (0..).zip(self.0.iter().flatten()) {
            reactor.watch(&older.line, Token::Older(place), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Leaves them to another tree. That has the sockets too, so closing them would not remove them from the epoll set.
    pub fn leave(&mut self, reactor: &Reactor) {
        self.0.drain(..).flatten().for_each(|older| reactor.unwatch(&older.line));
    }

    /// The connections, for a tree that takes over, each with a process id.
    pub fn lines(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u32)> {
        self.0.iter().flatten().map(|older| (older.line.as_fd(), older.pid))
    }

    /// Takes the messages of one of them about the connections that it has left.
    pub fn hear(&mut self, place: u32, reactor: &Reactor) -> Option<OlderTells> {
        let slot = self.0.get_mut(place as usize)?;
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
        // A new tree that is about to take over has the socket too.
        reactor.unwatch(&older.line);
        slot.take().map(|older| OlderTells::Ended(older.pid, older.left.sessions))
    }

    /// Makes the monitor that serves wait anew; the error is that it no longer waits. Its answer is of no use.
    pub fn is_awaited(&self) -> Result<(), String> {
        self.tell_serving(&ToServing::Take { place: u16::MAX }).map(drop)
    }

    /// Ends the service of the tree before this one, if any, and returns its process id. Those before it drain already,
    /// and know only of that one: they are told of this process.
    pub fn go(&self, pid: u32) -> Result<Option<u32>, String> {
        let before = self.tell_serving(&ToServing::Go)?;
        self.tell(&ToServing::Serves { pid });
        Ok(before)
    }

    /// Tells the tree before this one, if any. The error is that it has waited in vain, and serves on. If it has ended
    /// there is nobody to tell.
    fn tell_serving(&self, message: &ToServing) -> Result<Option<u32>, String> {
        let Some(older) = self.0.last().and_then(Option::as_ref) else { return Ok(None) };
        if older.line.send(message, None).is_err() {
            while let Ok(Received::Message(answer, _)) = older.line.receive() {
                if answer == FromServing::Busy {
                    return Err(format!("process {} has waited in vain, and serves on", older.pid));
                }
            }
        }
        Ok(Some(older.pid))
    }

    /// Tells all of them.
    pub fn tell(&self, message: &ToServing) {
        // A tree has ended if this fails.
        self.0.iter().flatten().for_each(|older| drop(older.line.send(message, None)));
    }

    /// Whether none drains.
    pub fn is_empty(&self) -> bool {
        self.0.iter().flatten().next().is_none()
    }

    /// The totals of all their open connections.
    pub fn left(&self) -> Totals {
        self.0.iter().flatten().fold(Totals::default(), |sum, older| sum.plus(older.left))
    }
}
