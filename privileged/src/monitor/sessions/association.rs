//! The state that a session gives to the association of its client.

use super::Sessions;
use crate::net::sockets::{keep_alive, own_address};
use sockd_session::{Association, Keepalive, SessionKey};
use std::net::SocketAddr;

/// The keepalive of a client with an association: a host that has vanished would keep its port and its flows.
const CONTROL_KEEPALIVE: Keepalive = Keepalive(60, 30, 4);

impl Sessions {
    /// The start of a session's association: its flows, the client's address, and the address that it has connected to.
    /// From here on the kernel probes the client, as nothing else would detect its loss.
    pub fn association(&self, key: SessionKey) -> Option<(Association, SocketAddr, SocketAddr)> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_ref()?;
        keep_alive(client, Some(CONTROL_KEEPALIVE));
        // A link-local address keeps the number of its interface.
        let mut at = own_address(client);
        at.set_ip(at.ip().to_canonical());
        at.set_port(0);
        Some((entry.session.association()?, entry.session.client(), at))
    }
}
