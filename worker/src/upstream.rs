//! The upstream worker asks the SOCKS server (SOCKS4, 4A or 5) at one address. The monitor has connected its sockets.
//!
//! The session worker does not do this itself: if taken over, it could ask the next server for a destination that the
//! rules forbid. The monitor says what this worker asks for, and the worker returns the reply. Bytes that the next
//! server sends behind it stay in the socket, for the client.

use crate::Ending;
use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use crate::poll_loop::{self, Ready};
use crate::socks::next::{Exchange, Step};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use sockd_common::message::request::Request;
use sockd_common::message::upstream::{FromUpstream, NextReply, ToUpstream};
use sockd_common::message::{Errno as WireErrno, Id};
use sockd_lockdown::Row;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// The worker asks this many queries at a time, and cancels further ones.
pub const MAX_QUERIES: usize = 4096;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut outbox = Outbox::new(inherited.channel);
    outbox.push(FromUpstream::Ready(locks));
    let mut upstream = Upstream { outbox, queries: BTreeMap::new() };
    loop {
        if let Err(ending) = upstream.take_turn() {
            return ending;
        }
    }
}

struct Upstream {
    outbox: Outbox<FromUpstream, ToUpstream>,
    queries: BTreeMap<Id, Query>,
}

/// A query on its way.
struct Query {
    socket: OwnedFd,
    exchange: Exchange,
}

impl Upstream {
    fn take_turn(&mut self) -> Result<(), Ending> {
        self.outbox.flush()?;
        let sockets = self.queries.iter().map(|(id, query)| (*id, &query.socket));
        let Ready { channel, queries } = poll_loop::wait(&self.outbox, sockets)?;
        for id in queries {
            self.on_reply(id);
        }
        // While the monitor does not read, nothing more is received from it.
        if channel && !self.outbox.is_stuck() {
            self.on_message()?;
        }
        Ok(())
    }

    fn on_message(&mut self) -> Result<(), Ending> {
        let Some(Incoming { message, descriptor }) = self.outbox.receive()? else { return Ok(()) };
        match message {
            ToUpstream::Setup => {}
            ToUpstream::Ask { id, .. } if self.queries.contains_key(&id) => return Err(Ending::Protocol),
            ToUpstream::Ask { id, request } => {
                match descriptor.filter(|_| self.queries.len() < MAX_QUERIES) {
                    Some(socket) => self.ask(id, &request, socket),
                    None => self.outbox.push(FromUpstream::Answer { id, reply: NextReply::Cancelled }),
                }
            }
            ToUpstream::Cancel { id } if self.queries.contains_key(&id) => self.end(id, NextReply::Cancelled),
            // It has been answered in the meantime.
            ToUpstream::Cancel { .. } => {}
        }
        Ok(())
    }

    fn ask(&mut self, id: Id, request: &Request, socket: OwnedFd) {
        let Some((exchange, first)) = Exchange::new(request) else {
            return self.outbox.push(FromUpstream::Answer { id, reply: NextReply::Cancelled });
        };
        self.queries.insert(id, Query { socket, exchange });
        self.send(id, &first);
    }

    /// Sends a part of the request. The buffer of a new socket has far more room: a partial send is a failure.
    fn send(&mut self, id: Id, bytes: &[u8]) {
        let Some(query) = self.queries.get(&id) else { return };
        match send(&query.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) if length == bytes.len() => {}
            Ok(_) => self.end(id, NextReply::Cancelled),
            Err(error) => self.end(id, closed(error)),
        }
    }

    fn on_reply(&mut self, id: Id) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        // The buffer holds exactly the missing bytes of the answer, and not a byte of what may follow.
        let came = match poll_loop::receive(&query.socket, query.exchange.room()) {
            Ok([]) => return self.end(id, NextReply::Closed(WireErrno(0))),
            Ok(octets) => octets.len(),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(error) => return self.end(id, closed(error)),
        };
        match query.exchange.came(came) {
            Step::More => {}
            Step::Send(bytes) => self.send(id, &bytes),
            Step::Answer(reply) => self.outbox.push(FromUpstream::Answer { id, reply }),
            Step::End(reply) => self.end(id, reply),
        }
    }

    fn end(&mut self, id: Id, reply: NextReply) {
        self.queries.remove(&id);
        self.outbox.push(FromUpstream::Answer { id, reply });
    }
}

fn closed(error: Errno) -> NextReply {
    NextReply::Closed(WireErrno(u16::try_from(error.raw_os_error()).unwrap_or_default()))
}
