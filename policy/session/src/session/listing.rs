//! The entry of a session in the ledger.

use crate::session::phase::Phase;
use crate::session::request::ClientRequest;
use sockd_common::ledger::{Entry, Text};
use sockd_policy::{Command, HostName, Version};
use std::net::SocketAddr;

/// The facts that the monitor knows about a session besides its own state.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// The session's number.
    pub number: u64,
    /// When it began, in milliseconds since 1970.
    pub since: u64,
    /// The number of its worker.
    pub worker: u32,
    /// The address that its client has connected to.
    pub proxy: SocketAddr,
}

/// The entry of a session before its request is read.
pub(super) fn unread(own: Own, stands: Phase, client: SocketAddr) -> Entry<'static> {
    let Own { number, since, worker, proxy } = own;
    Entry {
        number,
        since,
        worker,
        rule: 0,
        phase: stands.listed(),
        version: 0,
        command: 0,
        by_password: false,
        client,
        proxy,
        destination: None,
        port: 0,
        upstream: None,
        destination_name: Text::default(),
        client_name: Text::default(),
        claimed: Text::default(),
        verified: Text::default(),
        groups: Text::default(),
    }
}

impl ClientRequest {
    /// Adds the known facts about the request.
    pub(super) fn listed<'a>(&'a self, entry: Entry<'a>) -> Entry<'a> {
        Entry {
            rule: self.rule,
            version: if self.version == Version::Socks4 { 4 } else { 5 },
            command: match self.command {
                Command::Connect => 1,
                Command::Bind => 2,
                Command::Udp => 3,
            },
            by_password: self.login.is_some(),
            destination: self.tried(),
            port: self.port,
            upstream: self.upstream(),
            destination_name: text(self.told_name()),
            client_name: text(self.client_name()),
            claimed: self.claimed_user().as_bytes().into(),
            verified: self.verified_user().map_or(Text::default(), |user| user.as_bytes().into()),
            groups: self.login.as_ref().map_or(Text::default(), |user| user.groups[..].into()),
            ..entry
        }
    }
}

fn text(name: Option<&HostName>) -> Text<'_> {
    name.map_or(Text::default(), |name| name.as_str().as_bytes().into())
}
