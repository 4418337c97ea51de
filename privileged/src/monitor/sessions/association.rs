//! What a session gives to the association that its client has asked for.

use super::Sessions;
use crate::net::sockets::{keep_alive, own_address};
use sockd_session::{Arrival, Association, Keepalive, SessionKey, Waiter};
use std::net::{IpAddr, SocketAddr};

/// A host that has vanished would keep its port and its flows.
const CONTROL_KEEPALIVE: Keepalive = Keepalive(60, 30, 4);

impl Sessions {
    /// Something has come that a flow of a session's association waits for.
    pub fn has_come(&mut self, waiter: Waiter, arrival: &Arrival) {
        let entry = self.0.get_mut(waiter.session);
        entry.into_iter().for_each(|entry| entry.has_come(waiter.key, arrival));
    }

    /// What the association of a session begins with: its flows, where the client has connected from, and the address that
    /// it has connected to. The kernel asks the client from now on whether it is still there, as nothing else would tell.
    pub fn association(&self, key: SessionKey) -> Option<(Association, SocketAddr, SocketAddr)> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_ref()?;
        keep_alive(client, Some(CONTROL_KEEPALIVE));
        let at = own_address(client);
        let at = match at.ip().to_canonical() {
            IpAddr::V4(address) => SocketAddr::new(address.into(), 0),
            IpAddr::V6(_) => with_port_0(at),
        };
        Some((entry.session.association()?, entry.session.client(), at))
    }
}

/// An address of a link keeps the number of its interface.
fn with_port_0(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}
