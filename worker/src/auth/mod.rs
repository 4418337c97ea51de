//! The auth worker compares passwords with the table of users (yescrypt, sha512crypt, sha256crypt, bcrypt, argon2id).
//!
//! It checks one at a time, in turn for the hosts that wait. A login that was verified a moment ago is remembered and
//! answered at once. An attacker who takes this worker over sees the hashes and the passwords that pass, and can call
//! any password right; nothing else is in reach from here.

mod queue;
mod recent;
mod table;

use crate::Ending;
use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use crate::{poll_loop, sys};
use queue::{Job, Queue};
use recent::Recent;
use rustix::rand::{GetRandomFlags, getrandom};
use sockd_common::message::Id;
use sockd_common::message::auth::{Credentials, FromAuth, HostKey, ToAuth, Verdict};
use sockd_lockdown::Row;
use sockd_password::KEY;
use std::os::fd::OwnedFd;
use table::Table;

/// The most messages that are read before the next check: as many as there can be, and a table.
const MESSAGES: usize = 256;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    // Both come before the locks: the profile has no call for the key, and none to let memory grow in place.
    let mut key = [0; KEY];
    if getrandom(&mut key, GetRandomFlags::empty()) != Ok(KEY) {
        return Ending::System;
    }
    let recent = Recent::new(key);
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut outbox = Outbox::new(inherited.channel);
    outbox.push(FromAuth::Ready(locks));
    let mut auth = Auth { outbox, table: None, recent, queue: Queue::default() };
    loop {
        if let Err(ending) = auth.take_turn() {
            return ending;
        }
    }
}

struct Auth {
    outbox: Outbox<FromAuth, ToAuth>,
    table: Option<Table>,
    recent: Recent,
    queue: Queue,
}

impl Auth {
    fn take_turn(&mut self) -> Result<(), Ending> {
        self.outbox.flush()?;
        if self.outbox.is_stuck() || self.queue.is_empty() {
            poll_loop::wait(&self.outbox, std::iter::empty())?;
        }
        // While the monitor does not read, nothing more is received from it.
        if self.outbox.is_stuck() {
            return Ok(());
        }
        for _ in 0..MESSAGES {
            let Some(incoming) = self.outbox.receive()? else { break };
            self.on_message(incoming)?;
        }
        // A verdict on a remembered login does not wait for the check that follows.
        self.outbox.flush()?;
        if let Some(Job { id, credentials }) = self.queue.next() {
            let verdict = self.check(&credentials);
            self.outbox.push(FromAuth::Verdict { id, verdict });
        }
        Ok(())
    }

    fn on_message(&mut self, incoming: Incoming<ToAuth>) -> Result<(), Ending> {
        match incoming.message {
            ToAuth::Setup => {}
            ToAuth::Tick => self.recent.tick(),
            ToAuth::Table => self.read(incoming.descriptor),
            ToAuth::Check { id, .. } if self.queue.contains(id) => return Err(Ending::Protocol),
            ToAuth::Check { id, host, credentials } => self.take_in(id, host, credentials),
            ToAuth::Cancel { id } => {
                // Otherwise it has been answered in the meantime.
                if self.queue.remove(id) {
                    self.outbox.push(FromAuth::Verdict { id, verdict: Verdict::Unchecked });
                }
            }
        }
        Ok(())
    }

    /// Reads a new table. Even if that fails, the old one and the remembered logins are forgotten.
    fn read(&mut self, memory: Option<OwnedFd>) {
        self.recent.clear();
        let read = memory.and_then(|memory| sys::with_table(&memory, Table::read).ok().flatten().flatten());
        self.outbox.push(match &read {
            Some(table) => FromAuth::TableRead { users: table.len() },
            None => FromAuth::TableUnread,
        });
        self.table = read;
    }

    /// Answers a remembered login at once, before others that wait, since it costs no check. Queues any other.
    fn take_in(&mut self, id: Id, host: HostKey, credentials: Credentials) {
        let verdict = match &self.table {
            None => Verdict::Unchecked,
            Some(table) => {
                match self.recent.knows(&credentials).then(|| table.groups(&credentials)).flatten() {
                    Some(groups) => Verdict::Verified { groups, is_remembered: true },
                    None if self.queue.push(host, Job { id, credentials }) => return,
                    None => Verdict::Unchecked,
                }
            }
        };
        self.outbox.push(FromAuth::Verdict { id, verdict });
    }

    fn check(&mut self, credentials: &Credentials) -> Verdict {
        let Some(table) = &self.table else { return Verdict::Unchecked };
        // Two equal logins may have waited.
        let is_remembered = self.recent.knows(credentials);
        if !is_remembered && !table.verifies(credentials) {
            return Verdict::Wrong;
        }
        match table.groups(credentials) {
            Some(groups) => {
                self.recent.remember(credentials);
                Verdict::Verified { groups, is_remembered }
            }
            None => Verdict::Wrong,
        }
    }
}
