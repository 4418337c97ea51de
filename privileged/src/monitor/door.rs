//! A Unix socket that other programs on this host connect to. Its folder and its mode decide which may.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::net::unix::{self, Caller};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long accepting pauses when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_secs(1);

/// A listening socket, which pauses when there is no room.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
    token: Token,
}

impl Door {
    /// Watches a socket that listens already.
    pub fn open(listener: OwnedFd, token: Token, reactor: &Reactor) -> rustix::io::Result<Self> {
        reactor.watch(&listener, token, EventFlags::IN)?;
        Ok(Self { listener, token })
    }

    /// The socket, for a tree that takes over.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Leaves the door to another tree. That has the socket too, so it would stay in the epoll set.
    pub fn close(self, reactor: &mut Reactor) {
        reactor.unwatch(&self.listener);
        reactor.set_deadline(self.token, None);
    }

    /// Accepts a connection; `None` if none has come, or none can be accepted. The caller is a name for the log: the
    /// mode of the socket is what admits it.
    pub fn accept(&self, reactor: &mut Reactor) -> Option<(OwnedFd, Caller)> {
        match unix::accept(&self.listener) {
            Ok(come) => come,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => None,
            Err(_) => {
                let _ = reactor.watch_for(&self.listener, self.token, EventFlags::empty());
                reactor.set_deadline(self.token, Instant::now().checked_add(PAUSE));
                None
            }
        }
    }

    /// Accepts connections again after the pause.
    pub fn resume(&self, reactor: &Reactor) {
        let _ = reactor.watch_for(&self.listener, self.token, EventFlags::IN);
    }
}
