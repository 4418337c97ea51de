//! The next SOCKS servers of a line, and the order in which they are tried.
//!
//! The servers are tried in their order, each address in turn; addresses that could not be reached a short while ago
//! come last.

use crate::config::{Config, default_port};
use crate::record::{FailedCall, Failure, UpstreamFailure};
use crate::session::event::Candidate;
use sockd_policy::guard::upstream_refused;
use sockd_policy::{Destination, FactState, HostName, Route, Server, Version};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// The servers of one line, and how far they have been tried.
#[derive(Debug)]
pub(super) struct Chain {
    /// The version in which they are asked.
    version: Version,
    /// Servers whose addresses are not known yet; the first of them is being looked up.
    servers: VecDeque<Server>,
    /// Addresses that can be dialled.
    addresses: VecDeque<Usable>,
    /// Addresses that can be dialled, but could not be reached a short while ago.
    last: VecDeque<Usable>,
    /// Whether the kind of the first address was looked up in this turn. During a wait the address may have become this
    /// host's own.
    is_fresh: bool,
    current: Option<SocketAddr>,
    failure: Option<Failure>,
}

/// An address that may be dialled.
#[derive(Debug)]
struct Usable {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Whether the address is written in the file.
    is_written: bool,
}

/// The next step towards a server.
#[derive(Debug)]
pub(super) enum Step {
    /// Dial this address from that one.
    Dial(SocketAddr, Option<IpAddr>),
    /// Find out the kind of this address.
    Classify(IpAddr, u16),
    /// Find out the addresses of this name.
    Resolve(HostName),
    /// Fail: no server could be reached.
    Fail(Failure),
}

impl Chain {
    /// Begins with the first server.
    pub(super) fn new(version: Version, servers: Vec<Server>) -> Self {
        Self {
            version,
            servers: servers.into(),
            addresses: VecDeque::new(),
            last: VecDeque::new(),
            is_fresh: false,
            current: None,
            failure: None,
        }
    }

    /// The version in which the servers are asked.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// The server that is being tried or was tried last.
    pub(super) fn current(&self) -> Option<SocketAddr> {
        self.current
    }

    /// The next step.
    pub(super) fn step(&mut self, config: &Config) -> Step {
        if self.addresses.is_empty() && self.servers.is_empty() {
            self.addresses = std::mem::take(&mut self.last);
            self.is_fresh = false;
        }
        if let Some(next) = self.addresses.front().filter(|_| !self.is_fresh) {
            return Step::Classify(next.to.ip(), next.to.port());
        }
        if let Some(Usable { to, from, .. }) = self.addresses.pop_front() {
            (self.current, self.is_fresh) = (Some(to), false);
            return Step::Dial(to, from);
        }
        match self.servers.front().map(|server| &server.host) {
            Some(Destination::Address(address)) => Step::Classify(*address, self.port(config)),
            Some(Destination::Name(name)) => Step::Resolve(name.clone()),
            None => {
                let none = Failure::Upstream(UpstreamFailure::NoneUsable);
                Step::Fail(self.failure.take().unwrap_or(none))
            }
        }
    }

    /// The port of the server that is being looked up.
    pub(super) fn port(&self, config: &Config) -> u16 {
        self.servers.front().map_or(0, |server| port_of(server, config))
    }

    /// The server that is being looked up has no address.
    pub(super) fn unresolved(&mut self) {
        if let Some(server) = self.servers.pop_front() {
            self.failure = Some(Failure::Upstream(UpstreamFailure::Unresolved(server)));
        }
    }

    /// The kinds of the server's addresses are known, or the present kind of the one that is dialled next.
    pub(super) fn classified(&mut self, candidates: Vec<Candidate>, config: &Config) {
        self.is_fresh = true;
        if let Some(next) = self.addresses.front() {
            let Some(refused) = candidates.first().and_then(|now| refused(next, *now, config)) else {
                return;
            };
            self.addresses.pop_front();
            (self.failure, self.is_fresh) = (Some(refused), false);
            return;
        }
        let Some(server) = self.servers.pop_front() else { return };
        for candidate in candidates {
            match usable(&server, candidate, config) {
                Ok(upstream) if candidate.unreachable => self.last.push_back(upstream),
                Ok(upstream) => self.addresses.push_back(upstream),
                Err(failure) => self.failure = Some(failure),
            }
        }
    }

    /// The current server cannot be reached. Returns it if that is its own fault: calls other than `connect` fail
    /// because this host lacks something.
    pub(super) fn unreached(&mut self, why: Failure) -> Option<SocketAddr> {
        let is_its_own = matches!(why, Failure::Call(FailedCall { call: "connect", .. }) | Failure::TimedOut);
        self.failure = Some(why);
        self.current.filter(|_| is_its_own)
    }
}

fn port_of(server: &Server, config: &Config) -> u16 {
    server.port.unwrap_or_else(|| default_port(&config.services))
}

/// An address of a server, if it may be dialled.
fn usable(server: &Server, candidate: Candidate, config: &Config) -> Result<Usable, Failure> {
    let address = candidate.address;
    let (is_written, names) = match &server.host {
        Destination::Address(_) => (true, Vec::new()),
        Destination::Name(name) => (false, vec![name.clone()]),
    };
    let to = SocketAddr::new(address, port_of(server, config));
    let usable = Usable { to, from: None, is_written };
    if let Some(refused) = refused(&usable, candidate, config) {
        return Err(refused);
    }
    match config.routes.as_ref().map(|routes| routes.source_for(address, FactState::Known(&names))) {
        None => Ok(usable),
        Some(Route::From { source, .. }) => Ok(Usable { from: Some(source), ..usable }),
        Some(Route::NoMatch | Route::NeedNames | Route::NamesUnavailable { .. }) => {
            Err(Failure::NoInterface(address))
        }
    }
}

/// Why an address of a server may not be dialled now, given its present kind.
fn refused(usable: &Usable, now: Candidate, config: &Config) -> Option<Failure> {
    let Usable { to, is_written, .. } = *usable;
    let nat64 = &config.settings.nat64_prefixes;
    let refusal = upstream_refused(to.ip(), to.port(), now.kind, now.own_listener, is_written, nat64)?;
    Some(Failure::Upstream(UpstreamFailure::Guarded(to, refusal)))
}
