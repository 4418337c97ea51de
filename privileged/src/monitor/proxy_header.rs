//! Connections at listeners for balancers, each with a PROXY header that tells who the client is.
//!
//! The header is read in the socket (MSG_PEEK), at its first bytes and then at its length, and taken out by one read of
//! exactly that length, so that the client's bytes stay for its worker. A connection that waits for its header has no
//! session, no worker and no limit of a client. It counts for the balancer, which may have as many as unfinished
//! requests. A connection whose header is here at once, as balancers write it, never waits.

use crate::monitor::base::Base;
use crate::monitor::clients::Client;
use crate::monitor::reactor::{EventFlags, Token};
use crate::process::sys;
use sockd_common::head::{self, Taken};
use sockd_session::proxy_header::{self, Fault, MOST};
use sockd_session::{HeaderKey, Resource, Slots};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a header may take; a balancer has it written before its client has sent a byte.
const LIMIT: Duration = Duration::from_secs(5);

/// Connections whose PROXY header has not arrived.
#[derive(Debug, Default)]
pub struct Headers(Slots<Awaited, 'h'>);

#[derive(Debug)]
struct Awaited {
    connection: Client,
    /// How many bytes the kernel waits for before it reports the socket; 0 if it has not been told to wait.
    wanted: usize,
    due: Option<Instant>,
}

impl Headers {
    /// Takes a new connection. Returns the client if its header is here, or if the listener is for clients themselves.
    pub fn arrived(&mut self, connection: Client, base: &mut Base) -> Option<Client> {
        match base.config.settings.balancers(connection.listener) {
            None => Some(connection),
            Some(listener) if listener.believes(connection.address.ip()) => {
                let due = Instant::now().checked_add(LIMIT);
                self.look(Awaited { connection, wanted: 0, due }, base)
            }
            Some(_) => closed(Fault::Stranger, connection.address, base),
        }
    }

    /// Looks at a header that has more bytes, or will have no more, or is overdue. Returns the client if it is whole.
    pub fn ready(&mut self, key: HeaderKey, base: &mut Base) -> Option<Client> {
        let awaited = self.take(key, base)?;
        self.look(awaited, base)
    }

    /// Closes all connections that wait.
    pub fn close_all(&mut self, base: &mut Base) {
        self.0.keys_where(|_| true).into_iter().for_each(|key| drop(self.take(key, base)));
    }

    fn look(&mut self, awaited: Awaited, base: &mut Base) -> Option<Client> {
        let Awaited { connection: Client { socket, address, listener, .. }, wanted, .. } = &awaited;
        let (peer, protocol) = (*address, base.config.settings.proxy_protocol);
        let extent = |start: &[u8]| proxy_header::extent(protocol, start);
        let mut room = [0; MOST];
        let introduced = match head::take(socket, &mut room, proxy_header::first(protocol), extent) {
            Ok(Taken::Whole(header)) if *wanted == 0 || sys::wake_at(socket, 1).is_ok() => {
                let listener = base.config.settings.balancers(*listener);
                proxy_header::introduce(protocol, header, peer, listener)
            }
            Ok(Taken::Wants(more)) if more > *wanted => {
                return self.wait(Awaited { wanted: more, ..awaited }, base);
            }
            // The kernel reports fewer bytes only if no more will come.
            Ok(_) => Err(Fault::Unfinished),
            Err(fault) => Err(fault),
        };
        match introduced {
            Ok((address, origin)) => Some(Client { address, origin, ..awaited.connection }),
            Err(fault) => closed(fault, peer, base),
        }
    }

    fn wait(&mut self, awaited: Awaited, base: &mut Base) -> Option<Client> {
        let Awaited { connection: Client { socket, address, .. }, wanted, .. } = &awaited;
        let (host, token) = (awaited.connection.host(), Token::Header(self.0.next_key()));
        let reached = base.counts.limit(Resource::Header, host, &base.config.settings);
        reached.iter().for_each(|reached| base.counting.limited(reached.limit.label()));
        if reached.is_some()
            || sys::wake_at(socket, *wanted).is_err()
            || base.reactor.watch(socket, token, EventFlags::IN).is_err()
        {
            return closed(Fault::NoPlace, *address, base);
        }
        base.reactor.set_deadline(token, awaited.due);
        base.counts.add(Resource::Header, host);
        self.0.insert(awaited);
        None
    }

    /// Ends the wait of a connection.
    fn take(&mut self, key: HeaderKey, base: &mut Base) -> Option<Awaited> {
        let awaited = self.0.remove(key)?;
        base.reactor.set_deadline(Token::Header(key), None);
        base.reactor.unwatch(&awaited.connection.socket);
        base.counts.remove(Resource::Header, awaited.connection.host());
        Some(awaited)
    }
}

fn closed(fault: Fault, peer: SocketAddr, base: &mut Base) -> Option<Client> {
    base.log.quiet_err(&format!("connections of {} are closed: {fault}", peer.ip()));
    None
}
