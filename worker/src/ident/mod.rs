//! The ident worker asks the identd of one client host (RFC 1413), over sockets that the monitor has connected.

pub mod reply;

use crate::Ending;
use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use crate::poll_loop::{self, Ready};
use reply::{MAX_REPLY, Ports, Progress};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use sockd_common::message::Id;
use sockd_common::message::ident::{FromIdent, IdentUser, ToIdent};
use sockd_lockdown::Row;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// The worker asks this many queries at a time, and answers further ones with no user.
pub const MAX_QUERIES: usize = 1024;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut outbox = Outbox::new(inherited.channel);
    outbox.push(FromIdent::Ready(locks));
    let mut ident = Ident { outbox, queries: BTreeMap::new() };
    loop {
        if let Err(ending) = ident.take_turn() {
            return ending;
        }
    }
}

struct Ident {
    outbox: Outbox<FromIdent, ToIdent>,
    queries: BTreeMap<Id, Query>,
}

/// A query on its way.
struct Query {
    socket: OwnedFd,
    ports: Ports,
    reply: Vec<u8>,
}

impl Ident {
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
            ToIdent::Setup => {}
            ToIdent::Ask { id, .. } if self.queries.contains_key(&id) => return Err(Ending::Protocol),
            ToIdent::Ask { id, client_port, server_port } => {
                let ports = Ports { client: client_port, server: server_port };
                match descriptor.filter(|_| self.queries.len() < MAX_QUERIES) {
                    Some(socket) => self.ask(id, ports, socket),
                    None => self.outbox.push(FromIdent::Answer { id, user: None }),
                }
            }
            ToIdent::Cancel { id } if self.queries.contains_key(&id) => self.end(id, None),
            // It has been answered in the meantime.
            ToIdent::Cancel { .. } => {}
        }
        Ok(())
    }

    fn ask(&mut self, id: Id, ports: Ports, socket: OwnedFd) {
        let query = reply::query(ports);
        // A query is far smaller than the buffer of a new socket: if it does not go out whole, sending has failed.
        let sent = send(&socket, query.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        self.queries.insert(id, Query { socket, ports, reply: Vec::new() });
        if sent != Ok(query.len()) {
            self.end(id, None);
        }
    }

    fn on_reply(&mut self, id: Id) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let mut buffer = [0; MAX_REPLY];
        let progress = match poll_loop::receive(&query.socket, &mut buffer) {
            Ok([]) => Progress::Over(reply::parse_reply(&query.reply, query.ports)),
            Ok(octets) => {
                query.reply.extend_from_slice(octets);
                reply::progress(&query.reply, query.ports)
            }
            Err(Errno::AGAIN | Errno::INTR) => Progress::Begun,
            Err(_) => Progress::Over(None),
        };
        if let Progress::Over(user) = progress {
            self.end(id, user);
        }
    }

    fn end(&mut self, id: Id, user: Option<IdentUser>) {
        self.queries.remove(&id);
        self.outbox.push(FromIdent::Answer { id, user });
    }
}
