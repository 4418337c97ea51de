//! The way through next SOCKS servers: which of them is tried when, and what their replies mean.
//!
//! The servers of a line are tried in their order, each address in turn; one that could not be reached a short while
//! ago comes last. The monitor dials, and an upstream worker asks for what stands here in [`Session::upstream_request`]:
//! composed from the monitor's own facts, never from what a worker says later.

use super::*;
use crate::config::default_port;
use sockd_common::message::upstream::NextReply;
use sockd_policy::FactState;
use sockd_policy::guard::next_server_refused;
use std::collections::VecDeque;

/// A request of SOCKS4 has no room for an IPv6 address (EAFNOSUPPORT).
const NO_IPV6: FailedCall = FailedCall { call: "connect", errno: message::Errno(97) };

/// The servers of one line, and how far they have been tried.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Those whose addresses are not known yet; the first of them is being found out about.
    servers: VecDeque<Server>,
    /// What can be dialled, with the address to dial from.
    addresses: VecDeque<(SocketAddr, Option<IpAddr>)>,
    /// The same for those that could not be reached a short while ago.
    last: VecDeque<(SocketAddr, Option<IpAddr>)>,
    /// The one that is being tried or was the last to be.
    pub(super) current: Option<SocketAddr>,
    failure: Option<Failure>,
}

impl Session {
    /// Begins with the first server.
    pub(super) fn go_upstream(&mut self, servers: Vec<Server>, config: &Config) -> Vec<Action> {
        if let Some(asked) = &mut self.asked {
            asked.rare().chain = Some(Chain { servers: servers.into(), ..Chain::default() });
        }
        match self.target() {
            IpAddr::V6(_) => self.failed(Failure::Call(NO_IPV6), config),
            IpAddr::V4(_) => self.next_server(config),
        }
    }

    fn chain(&mut self) -> Option<&mut Chain> {
        self.asked.as_mut()?.rare.as_mut()?.chain.as_mut()
    }

    fn next_server(&mut self, config: &Config) -> Vec<Action> {
        let Some(chain) = self.chain() else { return self.refuse(config) };
        if chain.addresses.is_empty() && chain.servers.is_empty() {
            chain.addresses = std::mem::take(&mut chain.last);
        }
        if let Some((to, from)) = chain.addresses.pop_front() {
            chain.current = Some(to);
            self.phase = Phase::DiallingUpstream;
            let limit = Action::Deadline(Some(seconds(config.settings.connect_limit)));
            return vec![limit, Action::Dial { to, from, reserved: false }];
        }
        let Some(server) = chain.servers.front().cloned() else {
            let none = || Failure::Upstream(UpstreamFailure::NoneUsable);
            let failure = chain.failure.take().unwrap_or_else(none);
            return self.failed(failure, config);
        };
        match server.host {
            Destination::Address(address) => {
                let port = port_of(&server, config);
                self.ask(Fact::UpstreamKinds, Action::Classify(vec![address], port), config)
            }
            Destination::Name(name) => match message::Name::new(name.as_str().as_bytes()) {
                Some(name) => {
                    self.ask(Fact::UpstreamAddresses, Action::Resolve(Query::Addresses(name)), config)
                }
                None => self.upstream_addresses(Answer::Failed, config),
            },
        }
    }

    /// The resolver has told the addresses of a server.
    pub(super) fn upstream_addresses(&mut self, answer: Answer, config: &Config) -> Vec<Action> {
        let Some(chain) = self.chain() else { return self.refuse(config) };
        match (answer, chain.servers.front()) {
            (Answer::Addresses(addresses), Some(server)) => {
                let port = port_of(server, config);
                let addresses = addresses.into_vec().into_iter().map(sockd_policy::canonical).collect();
                self.ask(Fact::UpstreamKinds, Action::Classify(addresses, port), config)
            }
            _ => {
                if let Some(server) = chain.servers.pop_front() {
                    chain.failure = Some(Failure::Upstream(UpstreamFailure::Unresolved(server)));
                }
                self.next_server(config)
            }
        }
    }

    /// It is known what the addresses of a server are to this host.
    pub(super) fn upstream_classified(&mut self, candidates: Vec<Candidate>, config: &Config) -> Vec<Action> {
        let Some(chain) = self.chain() else { return self.refuse(config) };
        let Some(server) = chain.servers.pop_front() else { return self.next_server(config) };
        for candidate in candidates {
            match usable(&server, candidate, config) {
                Ok(next) if candidate.unreachable => chain.last.push_back(next),
                Ok(next) => chain.addresses.push_back(next),
                Err(failure) => chain.failure = Some(failure),
            }
        }
        self.next_server(config)
    }

    /// The connection to a next server stands: it is asked.
    pub(super) fn reached(&mut self, config: &Config) -> Vec<Action> {
        let next = self.chain().and_then(|chain| chain.current);
        let (Some(next), Some(request)) = (next, self.upstream_request(config)) else {
            return self.refuse(config);
        };
        self.phase = Phase::AskingUpstream;
        vec![
            Action::Remember { next, reachable: true },
            Action::Deadline(Some(seconds(config.settings.connect_limit))),
            Action::AskUpstream(next, Box::new(request)),
        ]
    }

    /// A next server cannot be reached; the others may be.
    pub(super) fn unreached(&mut self, failure: Failure, config: &Config) -> Vec<Action> {
        let Some(chain) = self.chain() else { return self.refuse(config) };
        // Another call fails for want of something here.
        let is_its_own =
            matches!(failure, Failure::Call(FailedCall { call: "connect", .. }) | Failure::TimedOut);
        let unreachable = chain.current.filter(|_| is_its_own);
        chain.failure = Some(failure);
        let mut actions: Vec<Action> =
            unreachable.map(|next| Action::Remember { next, reachable: false }).into_iter().collect();
        actions.extend(self.next_server(config));
        actions
    }

    fn upstream_request(&self, config: &Config) -> Option<message::request::Request> {
        let asked = self.asked.as_ref()?;
        let user = config.settings.upstream_user.as_deref().map_or(asked.user.as_bytes(), str::as_bytes);
        let name = || message::Name::new(asked.destination_names.as_ref()?.first()?.as_str().as_bytes());
        Some(message::request::Request {
            version: 4,
            command: wire(asked.command),
            destination: match asked.candidates.get(asked.next) {
                Some(candidate) => message::request::Destination::Address(candidate.address),
                None => message::request::Destination::Name(name()?),
            },
            port: asked.port,
            user: message::UserId::new(user)?,
        })
    }

    /// A next server has replied, or will not.
    pub(super) fn replied(&mut self, reply: NextReply, config: &Config) -> Vec<Action> {
        let Some(asked) = &self.asked else { return self.refuse(config) };
        let why = match (reply, asked.command, self.phase) {
            (NextReply::Granted(bound), Command::Connect, _) => return self.connected(bound.into(), config),
            (NextReply::Granted(bound), Command::Bind, Phase::AskingUpstream) => {
                return self.upstream_listens(bound.into(), config);
            }
            (NextReply::Granted(peer), Command::Bind, _) => return self.met_there(peer.into(), config),
            (NextReply::Refused(why), Command::Connect, _) if !is_about_identd(why) => {
                // To the next address of the same name it may say something else.
                return self.failed(Failure::Upstream(UpstreamFailure::Refused(why)), config);
            }
            (NextReply::Refused(why), ..) => UpstreamFailure::Refused(why),
            (NextReply::WrongVersion(version), ..) => UpstreamFailure::WrongVersion(version),
            (NextReply::UnknownCode(code), ..) => UpstreamFailure::UnknownCode(code),
            (NextReply::Closed(message::Errno(0)), ..) => UpstreamFailure::NoReply,
            (NextReply::Closed(errno), ..) => {
                return self.over(Failure::Call(FailedCall { call: "recv", errno }), config);
            }
            (NextReply::Cancelled, ..) => UpstreamFailure::NotAsked,
        };
        self.over(Failure::Upstream(why), config)
    }

    /// The next server listens for the peer of a BIND. A server that does not say where means its own address, as its
    /// client knows it; told to our client, that would be ours.
    fn upstream_listens(&mut self, bound: SocketAddr, config: &Config) -> Vec<Action> {
        self.phase = Phase::AwaitingUpstreamPeer;
        let next = self.chain().and_then(|chain| chain.current);
        let bound = match next.filter(|_| bound.ip().is_unspecified()) {
            Some(next) => SocketAddr::new(next.ip(), bound.port()),
            None => bound,
        };
        vec![Action::Deadline(Some(seconds(config.settings.bind_limit))), Action::Announce(bound)]
    }

    /// Somebody has connected to the next server for a BIND. Who is expected was decided here, unless only the next
    /// server knows the addresses of the name.
    fn met_there(&mut self, peer: SocketAddr, config: &Config) -> Vec<Action> {
        let Some(asked) = &self.asked else { return Vec::new() };
        let place = match asked.unresolved {
            true => Some(asked.next),
            false => asked.expects(sockd_policy::canonical(peer.ip()), self.client(), config),
        };
        match place {
            Some(place) => self.met(peer, place, config),
            None => self.over(Failure::Upstream(UpstreamFailure::WrongPeer(peer)), config),
        }
    }

    /// The next server that was tried last.
    pub(super) fn upstream(&self) -> Option<SocketAddr> {
        self.asked.as_ref().and_then(|asked| asked.chain()).and_then(|chain| chain.current)
    }
}

/// Whether a refusal concerns the client itself, so that it is the same for every address.
fn is_about_identd(why: RefusalReason) -> bool {
    matches!(why, RefusalReason::NoIdentd | RefusalReason::IdentityMismatch)
}

fn port_of(server: &Server, config: &Config) -> u16 {
    server.port.unwrap_or_else(|| default_port(&config.services))
}

/// An address of a server that may be dialled, and from where.
fn usable(
    server: &Server,
    candidate: Candidate,
    config: &Config,
) -> Result<(SocketAddr, Option<IpAddr>), Failure> {
    let Candidate { address, kind, own_listener, .. } = candidate;
    let next = SocketAddr::new(address, port_of(server, config));
    let (written, names) = match &server.host {
        Destination::Address(_) => (true, Vec::new()),
        Destination::Name(name) => (false, vec![name.clone()]),
    };
    if let Some(refusal) = next_server_refused(address, next.port(), kind, own_listener, written) {
        return Err(Failure::Upstream(UpstreamFailure::Guarded(next, refusal)));
    }
    match config.routes.as_ref().map(|routes| routes.source_for(address, FactState::Known(&names))) {
        None => Ok((next, None)),
        Some(Route::From { source, .. }) => Ok((next, Some(source))),
        Some(Route::NoMatch | Route::NeedNames | Route::NamesUnavailable { .. }) => {
            Err(Failure::NoInterface(address))
        }
    }
}
