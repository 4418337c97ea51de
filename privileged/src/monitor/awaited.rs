//! What sessions wait for.

use crate::loader::system_files::Copies;
use crate::monitor::askers::Askers;
use crate::monitor::auth::Auth;
use crate::monitor::bind_port::BindPorts;
use crate::monitor::resolver::Resolver;
use sockd_common::message::session::Handshake;
use sockd_session::waits::Waiter;
use std::collections::HashMap;

/// The rooms that sessions wait for.
#[derive(Debug)]
pub struct Awaited {
    /// Ports of BIND requests.
    pub bind_ports: BindPorts,
    /// Lookups.
    pub resolver: Resolver,
    /// Queries of identds and next servers.
    pub askers: Askers,
    /// Checks of passwords.
    pub auth: Auth,
    /// Clients that other workers get once the ones with these numbers have ended, and how far they have come.
    pub handovers: HashMap<u32, (Waiter, Handshake)>,
}

impl Awaited {
    /// Nothing yet; lookups go by these files.
    pub fn new(copies: Copies) -> Self {
        let resolver = Resolver::new(copies);
        let (bind_ports, askers) = (BindPorts::default(), Askers::default());
        Self { bind_ports, resolver, askers, auth: Auth::default(), handovers: HashMap::new() }
    }
}
