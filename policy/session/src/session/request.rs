//! The request of a client, and the facts about it so far.

use crate::record::Failure;
use crate::session::chain::Chain;
use crate::session::event::{Candidate, Wait};
use crate::waits::{ByWaitKey, WaitKey, WaitKeys};
use sockd_common::message::Errno;
use sockd_common::message::request::Destination;
use sockd_policy::{
    Command, DenyReason, FactState, HostName, Identity, Limits, Need, UserId, Version, parse_destination,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The request and the facts gathered for it; it lives as long as the session.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) command: Command,
    pub(super) version: Version,
    /// Whether the destination was a name.
    pub(super) named: bool,
    /// The user that a SOCKS4 client claims.
    pub(super) user: UserId,
    /// The user, if a password has named one.
    pub(super) login: Option<Box<User>>,
    pub(super) port: u16,
    pub(super) candidates: Box<[Candidate]>,
    /// The place of the current candidate; those before it have been tried or refused.
    pub(super) current: u8,
    pub(super) source_names: FactState<Box<[HostName]>>,
    pub(super) destination_names: FactState<Box<[HostName]>>,
    pub(super) identity: FactState<Identity>,
    /// The port of the peer of a BIND.
    pub(super) peer_port: Option<u16>,
    /// The line that permits the request; 0 if none does.
    pub(super) rule: u32,
    pub(super) progress: Option<Box<Progress>>,
    /// Whether the commands of the permitting lines have been run: once for all addresses of a name.
    pub(super) hooks_run: bool,
    /// Whether the relay was over when the monitor last looked, and the worker had not said so.
    pub(super) overdue: bool,
}

/// A user that a password has named.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: UserId,
    /// The groups of the user, separated by commas.
    pub(super) groups: Box<[u8]>,
}

/// The state of a running request. A relay has none, unless next servers lead to it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    keys: WaitKeys,
    /// The things that the request waits for.
    waits: ByWaitKey<Wait>,
    /// Whether the name has no address here: there are no candidates, and only a next server can find it.
    pub(super) unresolved: bool,
    /// Whether the kinds of the candidates were looked up in this turn.
    pub(super) kinds_are_fresh: bool,
    /// Whether the client is with a worker of its user.
    pub(super) settled: bool,
    /// The number of strangers that have connected to the port of a BIND.
    pub(super) strangers: u32,
    /// The place after the candidate that was dialled last.
    pub(super) begun: u8,
    /// The time left for all connections to candidates, once one has been dialled.
    pub(super) connect_time: Option<Duration>,
    /// The rejection that is reported when no candidate is left.
    pub(super) rejected: Option<Rejected>,
    /// The limits of the line that permits the request.
    pub(super) limits: Limits,
    /// The line that counted the request last; 0 if no line that limits connections has.
    pub(super) counted: u32,
    /// The next servers on the way to the candidate, if any.
    pub(super) chain: Option<Chain>,
}

/// Why a candidate has failed.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) why: Failure,
    /// The command of the rules that is to be run.
    pub(super) hook: Option<String>,
}

impl From<Failure> for Rejected {
    fn from(why: Failure) -> Self {
        Self { why, hook: None }
    }
}

impl ClientRequest {
    /// A request of this user about which nothing else is known.
    pub(super) fn new(version: Version, command: Command, user: UserId) -> Self {
        Self {
            command,
            version,
            named: false,
            user,
            login: None,
            port: 0,
            candidates: Box::default(),
            current: 0,
            source_names: FactState::NotAsked,
            destination_names: FactState::NotAsked,
            identity: FactState::NotAsked,
            peer_port: None,
            rule: 0,
            progress: None,
            hooks_run: false,
            overdue: false,
        }
    }

    /// Sets the destination. Returns it in the form that is to be looked up; `None` if it names no host.
    pub(super) fn towards(self, destination: Destination, port: u16) -> Option<(Self, Destination)> {
        let Destination::Name(written) = destination else {
            return Some((Self { port, ..self }, destination));
        };
        // Clients of SOCKS4A have no other way to write an IPv6 address; clients of SOCKS5 have a type for it.
        if self.version == Version::Socks5 && written.as_bytes().starts_with(b"[") {
            return None;
        }
        Some(match parse_destination(written.as_bytes()).ok()? {
            sockd_policy::Destination::Name(name) => {
                let destination_names = FactState::Known([name].into());
                (Self { port, named: true, destination_names, ..self }, Destination::Name(written))
            }
            sockd_policy::Destination::Address(address) => {
                (Self { port, ..self }, Destination::Address(address))
            }
        })
    }

    /// A further request of the same client, with the same command.
    pub(super) fn another(&self) -> Self {
        let mut other = Self::new(self.version, self.command, self.user.clone());
        other.know(self);
        other
    }

    /// Takes over the facts that another request has gathered about the same client.
    pub(super) fn know(&mut self, other: &Self) {
        if other.source_names != FactState::NotAsked {
            self.source_names.clone_from(&other.source_names);
        }
        if other.identity != FactState::NotAsked {
            self.identity.clone_from(&other.identity);
        }
        if other.login.is_some() {
            self.login.clone_from(&other.login);
        }
    }

    /// Uses keys that it shares with other requests.
    pub(super) fn use_keys(&mut self, keys: WaitKeys) {
        self.progress().keys = keys;
    }

    /// Gives the shared keys back.
    pub(super) fn take_keys(&mut self) -> WaitKeys {
        std::mem::take(&mut self.progress().keys)
    }

    pub(super) fn progress(&mut self) -> &mut Progress {
        self.progress.get_or_insert_default()
    }

    /// Something has happened: the kinds of the candidates may have changed.
    pub(super) fn begin_turn(&mut self) {
        self.progress.iter_mut().for_each(|progress| progress.kinds_are_fresh = false);
    }

    /// Begins to wait for something; returns the key.
    pub(super) fn wait(&mut self, wait: Wait) -> WaitKey {
        let progress = self.progress();
        let key = progress.keys.next_key();
        progress.waits.insert(key, wait);
        key
    }

    /// Waits for something else under a key that was used before.
    pub(super) fn wait_on(&mut self, key: WaitKey, wait: Wait) {
        self.progress().waits.insert(key, wait);
    }

    /// Ends the wait under a key; returns what it was for.
    pub(super) fn end_wait(&mut self, key: WaitKey) -> Option<Wait> {
        self.progress().waits.remove(key)
    }

    /// The things that the request waits for.
    pub(super) fn waits(&self) -> impl Iterator<Item = (WaitKey, Wait)> {
        self.progress.iter().flat_map(|progress| progress.waits.iter()).map(|(key, wait)| (key, *wait))
    }

    /// Ends these waits; returns them.
    pub(super) fn end_waits(&mut self, these: impl Fn(Wait) -> bool) -> Vec<(WaitKey, Wait)> {
        let ended: Vec<_> = self.waits().filter(|(_, wait)| these(*wait)).collect();
        for (key, _) in &ended {
            self.end_wait(*key);
        }
        ended
    }

    /// Drops everything that a relay does not need.
    pub(super) fn rest(&mut self) {
        self.progress.iter_mut().for_each(|progress| drop(progress.waits.take()));
        self.progress.take_if(|progress| progress.chain.is_none());
    }

    pub(super) fn chain(&mut self) -> &mut Chain {
        self.progress().chain.get_or_insert_with(|| Chain::new(Version::Socks4, Vec::new()))
    }

    /// Notes the line that permits the request, and its limits.
    pub(super) fn permit(&mut self, rule: u32, limits: Limits) {
        self.rule = rule;
        self.progress().limits = limits;
    }

    /// The limits of the line that permits the request.
    pub(super) fn limits(&self) -> Limits {
        self.progress.as_ref().map_or(Limits::NONE, |progress| progress.limits)
    }

    /// The candidate is reached without next servers.
    pub(super) fn go_direct(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.chain = None;
        }
    }

    /// The candidate that is being decided on or tried.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        self.candidates.get(usize::from(self.current)).copied()
    }

    /// The address of the current candidate; that of the last one if none is left.
    pub(super) fn tried(&self) -> Option<IpAddr> {
        let candidate = self.candidate().or(self.candidates.last().copied());
        candidate.map(|candidate| candidate.address)
    }

    /// The same; the unspecified address if there is no candidate.
    pub(super) fn target(&self) -> IpAddr {
        self.tried().unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The client's name, if it is known.
    pub(super) fn client_name(&self) -> Option<&HostName> {
        first(&self.source_names)
    }

    /// The destination's name, if it is known.
    pub(super) fn destination_name(&self) -> Option<&HostName> {
        first(&self.destination_names)
    }

    /// The destination's name as it is told: a BIND that waits for anybody has none.
    pub(super) fn told_name(&self) -> Option<&HostName> {
        let is_anybody = !self.named && self.tried().is_some_and(|tried| tried.is_unspecified());
        self.destination_name().filter(|_| !is_anybody)
    }

    /// The version in which the next servers of the candidate are asked.
    pub(super) fn upstream_version(&self) -> Version {
        let chain = self.progress.as_ref().and_then(|progress| progress.chain.as_ref());
        chain.map_or(Version::Socks4, Chain::version)
    }

    /// The next server that was tried last.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        self.progress.as_ref()?.chain.as_ref()?.current()
    }

    /// The candidate has failed: the next one is decided on.
    pub(super) fn reject(&mut self, rejected: Rejected) {
        self.current = self.current.saturating_add(1);
        self.note(rejected);
    }

    /// Notes that a candidate has failed.
    pub(super) fn note(&mut self, rejected: Rejected) {
        let kept = self.progress.as_ref().and_then(|progress| progress.rejected.as_ref()).map(says);
        let is_kept = kept.is_some_and(|kept| kept > 0 && kept >= says(&rejected));
        // An identity that is wrong for one address is wrong for all addresses.
        if let Failure::Denied { why, .. } = &rejected.why
            && is_about_identity(*why)
        {
            self.reject_all(rejected);
        } else if !is_kept {
            self.progress().rejected = Some(rejected);
        }
    }

    /// No candidate is left.
    pub(super) fn reject_all(&mut self, rejected: Rejected) {
        self.current = u8::try_from(self.candidates.len()).unwrap_or(u8::MAX).max(1);
        self.progress().rejected = Some(rejected);
    }

    /// The user that a password or identd has named.
    pub(super) fn verified_user(&self) -> Option<&UserId> {
        match (&self.login, &self.identity) {
            (Some(user), _) => Some(&user.name),
            (None, FactState::Known(Identity::Known(user))) => Some(user),
            (None, _) => None,
        }
    }

    /// The user that the client claims to be. A user with a password is the one that it named with the password.
    pub(super) fn claimed_user(&self) -> &UserId {
        self.login.as_ref().map_or(&self.user, |user| &user.name)
    }
}

/// How informative a failure is. A destination that the rules permit ranks above one that they do not, and one with a
/// route above one of a family that this host does not speak.
fn says(rejected: &Rejected) -> u8 {
    const NO_FAMILY: [Errno; 3] = [Errno::NETUNREACH, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    match &rejected.why {
        Failure::Call(call) if NO_FAMILY.contains(&call.errno) => 1,
        Failure::Call(_) | Failure::TimedOut | Failure::Upstream(_) => 2,
        _ => 0,
    }
}

fn first(names: &FactState<Box<[HostName]>>) -> Option<&HostName> {
    match names {
        FactState::Known(names) => names.first(),
        FactState::NotAsked | FactState::Unavailable => None,
    }
}

fn is_about_identity(why: DenyReason) -> bool {
    matches!(why, DenyReason::NoIdentd | DenyReason::BadIdentity | DenyReason::Unavailable(Need::Identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each relay holds one, however long it is idle. malloc(3) adds 8 bytes and rounds up to a multiple of 16.
    #[test]
    fn a_request_stays_small() {
        assert!(size_of::<ClientRequest>() <= 136, "{}", size_of::<ClientRequest>());
    }
}
