//! What a session gives to the association that its client has asked for.

use super::Sessions;
use crate::net::sockets::{keep_alive, own_address};
use sockd_session::{Association, Keepalive, SessionKey};
use std::net::SocketAddr;

/// A host that has vanished would keep its port and its flows.
const CONTROL_KEEPALIVE: Keepalive = Keepalive(60, 30, 4);

impl Sessions {
    /// What the association of a session begins with: its flows, where the client has connected from, and the address that
    /// it has connected to. The kernel asks the client from now on whether it is still there, as nothing else would tell.
    pub fn association(&self, key: SessionKey) -> Option<(Association, SocketAddr, SocketAddr)> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_ref()?;
        keep_alive(client, Some(CONTROL_KEEPALIVE));
        // An address of a link keeps the number of its interface.
        let mut at = own_address(client);
        at.set_ip(at.ip().to_canonical());
        at.set_port(0);
        Some((entry.session.association()?, entry.session.client(), at))
    }
}
