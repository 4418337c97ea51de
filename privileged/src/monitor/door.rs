//! A Unix socket that others on this host come to, in a folder and with a mode that say who may.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::net::unix::{self, Caller};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Nobody is let in for so long where descriptors or memory have run out.
const PAUSE: Duration = Duration::from_secs(1);

/// A listening socket, which gives way when there is no room.
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

    /// Another tree lets in who comes. It has the socket too, which would stay in the set.
    pub fn close(self, reactor: &mut Reactor) {
        reactor.unwatch(&self.listener);
        reactor.set_deadline(self.token, None);
    }

    /// Lets one in; nobody where nobody has come, or cannot be let in now. Who it is is a name for the log: the mode of the
    /// socket is what let it in.
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

    /// The pause is over.
    pub fn resume(&self, reactor: &Reactor) {
        let _ = reactor.watch_for(&self.listener, self.token, EventFlags::IN);
    }
}
