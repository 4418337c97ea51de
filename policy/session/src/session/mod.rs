//! The session of one client: what may happen when, and what follows from it.
//!
//! [`Session::on`] is the whole story as a pure function of the phase and the event; the monitor carries out the
//! actions it returns. What a worker may say depends on what has been said: anything else is a violation.

mod chain;
mod event;
mod phase;

pub use event::{Action, Candidate, Event, Fact};
pub use phase::Phase;

use crate::config::{Config, RESERVED};
use crate::hook_values::Values;
use crate::record::{Abandonment, FailedCall, Failure, Parties, Record, RelayEnd, Unread, UpstreamFailure};
use crate::settings::{Commands, LocalDestinations, UpstreamNames, seconds};
use chain::Chain;
use sockd_common::message;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::CloseReason;
use sockd_policy::Template;
use sockd_policy::guard::{Refusal, always_refused, refused_unless_named};
use sockd_policy::{
    Command, Deny, DenyReason, Destination, Facts, HostName, Identity, Need, Permit, Request, Route, RuleSet,
    Server, Upstream, UserId, Verdict, Way, parse_destination,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Any port but 0, for a guard that is not about ports.
const IGNORED_PORT: u16 = 1;

/// Strangers at the port of one BIND that have a log line each: who can reach the port could cause any number.
const STRANGERS_LOGGED: u32 = 8;

/// A client that has been refused gets this long to close; longer than the worker gives it.
const REFUSED_LIMIT: Duration = Duration::from_secs(5);

/// A worker that has been told to end a session gets this long to say so.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);

/// The session of one client.
#[derive(Debug)]
pub struct Session {
    /// The client's, as [`Session::client`] gives them.
    address: IpAddr,
    port: u16,
    phase: Phase,
    asked: Option<Box<Asked>>,
}

/// The request and the facts gathered for it, for as long as the session is there.
#[derive(Debug)]
struct Asked {
    command: Command,
    /// The destination was a name.
    named: bool,
    /// The name has no address here: there are no candidates, and only a next server can find it.
    unresolved: bool,
    user: UserId,
    port: u16,
    candidates: Box<[Candidate]>,
    /// The candidates before this one have been tried or refused.
    next: usize,
    source_names: Option<Box<[HostName]>>,
    destination_names: Option<Box<[HostName]>>,
    identity: Option<Identity>,
    /// The port of the peer of a BIND.
    peer_port: Option<u16>,
    /// The line that permits it; 0 where none has.
    rule: u32,
    rare: Option<Box<Rare>>,
    /// The commands of the permitting lines have been run: not again for the next address of the same name.
    ran: bool,
    /// New rules refuse it, and it has been told to end.
    outlawed: bool,
}

/// What most requests never have.
#[derive(Debug, Default)]
struct Rare {
    /// Others than the peer of a BIND that came to its port.
    strangers: u32,
    /// What is reported when no candidate is left.
    rejected: Option<Rejected>,
    /// The way of the candidate, where it leads through next servers.
    chain: Option<Chain>,
}

/// Why the last candidate came to nothing.
#[derive(Debug)]
struct Rejected {
    why: Failure,
    /// The command of the rules that is to be run.
    hook: Option<String>,
}

impl From<Failure> for Rejected {
    fn from(why: Failure) -> Self {
        Self { why, hook: None }
    }
}

/// What the client is told of it.
fn reason(why: &Failure, upstream: bool) -> RefusalReason {
    match why {
        Failure::Denied { why: DenyReason::NoIdentd, .. } => RefusalReason::NoIdentd,
        Failure::Denied { why: DenyReason::BadIdentity, .. } => RefusalReason::IdentityMismatch,
        Failure::Denied { .. } | Failure::NoWay(_) | Failure::Guarded(_) => RefusalReason::NotAllowed,
        Failure::NoInterface(_) => RefusalReason::NetworkUnreachable,
        Failure::Unresolved => RefusalReason::HostUnreachable,
        Failure::TimedOut => RefusalReason::TimedOut,
        Failure::Call(_) if upstream => RefusalReason::General,
        Failure::Call(FailedCall { errno, .. }) => reason_of(*errno),
        Failure::Upstream(UpstreamFailure::Refused(why)) => *why,
        Failure::Upstream(_) | Failure::Limited(_) => RefusalReason::General,
    }
}

/// What the network says of a destination by failing a call.
fn reason_of(errno: message::Errno) -> RefusalReason {
    match errno {
        message::Errno::NETUNREACH => RefusalReason::NetworkUnreachable,
        message::Errno::HOSTUNREACH => RefusalReason::HostUnreachable,
        message::Errno::CONNREFUSED => RefusalReason::ConnectionRefused,
        message::Errno::TIMEDOUT => RefusalReason::TimedOut,
        _ => RefusalReason::General,
    }
}

impl Session {
    /// A client has connected from this address.
    pub fn new(client: SocketAddr) -> Self {
        Self { address: client.ip(), port: client.port(), phase: Phase::Requesting, asked: None }
    }

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether bytes are being relayed.
    pub fn is_relaying(&self) -> bool {
        self.phase == Phase::Relaying
    }

    /// The address that the client has connected from.
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Takes in one event.
    pub fn on(&mut self, event: Event, config: &Config) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Requesting, Event::Requested(request)) => self.requested(request, config),
            (Phase::Requesting, Event::Closed { up: 0, down: 0, why }) => self.unread(why),
            (Phase::Requesting, Event::Deadline) => {
                self.close_unread(vec![self.no_request(Unread::Late), Action::End])
            }
            (Phase::Requesting, Event::Stop) => self.close_unread(vec![Action::End]),
            // It was said before the worker had heard that the session ends. A second one was not.
            (Phase::ClosingUnread, Event::Requested(_)) => {
                self.phase = Phase::Closing;
                Vec::new()
            }

            (Phase::Asking(Fact::Addresses), Event::Resolved(answer)) => self.addresses(answer, config),
            (Phase::Asking(Fact::Kinds), Event::Classified(candidates)) => {
                self.classified(candidates, config)
            }
            (Phase::Asking(Fact::SourceNames), Event::Resolved(answer)) => {
                self.learn(config, |asked| asked.source_names = Some(names(answer).into()))
            }
            (Phase::Asking(Fact::DestinationNames), Event::Resolved(answer)) => {
                self.learn(config, |asked| asked.destination_names = Some(names(answer).into()))
            }
            (Phase::Asking(Fact::Identity), Event::Identified(identity)) => {
                self.learn(config, |asked| asked.identity = Some(identity))
            }
            (Phase::Asking(fact), Event::Deadline) => self.fact_late(fact, config),

            (Phase::Dialling, Event::Dialled(Ok(()))) => self.dialled(config),
            (Phase::Dialling, Event::Dialled(Err(failed))) => self.failed(Failure::Call(failed), config),
            (Phase::Dialling, Event::Deadline) => self.failed(Failure::TimedOut, config),

            (Phase::Asking(Fact::UpstreamAddresses), Event::Resolved(answer)) => {
                self.upstream_addresses(answer, config)
            }
            (Phase::Asking(Fact::UpstreamKinds), Event::Classified(candidates)) => {
                self.upstream_classified(candidates, config)
            }
            (Phase::DiallingUpstream, Event::Dialled(Ok(()))) => self.reached(config),
            (Phase::DiallingUpstream, Event::Dialled(Err(failed))) => {
                self.unreached(Failure::Call(failed), config)
            }
            (Phase::DiallingUpstream, Event::Deadline) => self.unreached(Failure::TimedOut, config),
            (Phase::AskingUpstream | Phase::AwaitingUpstreamPeer, Event::Replied(reply)) => {
                self.replied(reply, config)
            }
            (Phase::AskingUpstream | Phase::AwaitingUpstreamPeer, Event::Deadline) => {
                self.over(Failure::TimedOut, config)
            }

            (Phase::Listening, Event::Listening(Ok(address))) => vec![Action::Announce(address)],
            // As with the deadline: the client has been told this address.
            (Phase::Listening, Event::Listening(Err(failed @ FailedCall { call: "accept", .. }))) => {
                self.over(Failure::Call(failed), config)
            }
            (Phase::Listening, Event::Listening(Err(failed))) => self.failed(Failure::Call(failed), config),
            (Phase::Listening | Phase::AskingUpstream, Event::NoRoom(limit)) => {
                self.over(Failure::Limited(limit), config)
            }
            (Phase::Listening, Event::Accepted(peer)) => self.accepted(peer, config),
            // The client has been told this address: another one for the next address of the name is no use to it.
            (Phase::Listening, Event::Deadline) => self.over(Failure::TimedOut, config),

            (Phase::Relaying, Event::Closed { up, down, why }) if may_end_a_relay(why) => {
                self.relayed(RelayEnd { why, up, down }, config)
            }
            (Phase::Relaying, Event::Recheck) => self.recheck(config),
            // All but the address of a next server is asked for a decision, which will be by the new rules.
            (Phase::Asking(fact), Event::Recheck) if !fact.is_decided() => Vec::new(),
            (phase, Event::Recheck) if phase.waits() && !self.is_permitted(config) => {
                self.over(Failure::Denied { why: DenyReason::Rule, rule: None }, config)
            }
            (_, Event::Recheck) => Vec::new(),
            // The relay goes on being a relay until the worker has said what it moved.
            (Phase::Relaying, Event::Stop) => vec![Action::End, Action::Deadline(Some(CLOSING_LIMIT))],

            (phase, Event::Closed { up: 0, down: 0, why }) if phase.waits() && may_end_a_wait(why) => {
                self.abandoned(Abandonment::ClientGone, Action::Remove, config)
            }
            (phase, Event::WorkerLost) if phase.waits() => {
                self.abandoned(Abandonment::WorkerEnded, Action::Remove, config)
            }
            (Phase::Refusing | Phase::ClosingUnread | Phase::Closing, Event::Closed { .. }) => {
                vec![Action::Remove]
            }
            (Phase::Refusing, Event::Deadline | Event::Stop) => self.close(vec![Action::End]),
            (Phase::ClosingUnread | Phase::Closing | Phase::Relaying, Event::Deadline) => {
                vec![Action::Violation("a session is not closed when it has to be")]
            }
            (Phase::ClosingUnread | Phase::Closing, Event::Stop) => Vec::new(),
            (_, Event::Stop) => {
                let actions = self.abandoned(Abandonment::Stopping, Action::End, config);
                self.close(actions)
            }
            (Phase::Relaying, Event::WorkerLost) => {
                let mut actions = self.ended(None, config);
                actions.push(Action::Remove);
                actions
            }
            (_, Event::WorkerLost) => vec![Action::Remove],

            (_, Event::Requested(_)) => vec![Action::Violation("a request out of turn")],
            (_, Event::Closed { .. }) => vec![Action::Violation("an end that cannot be")],
            // What the monitor itself does not wait for any longer.
            (_, _) => Vec::new(),
        }
    }

    fn requested(&mut self, request: message::request::Request, config: &Config) -> Vec<Action> {
        let destination = match &request.destination {
            message::request::Destination::Address(address) => Ok(Destination::Address(*address)),
            message::request::Destination::Name(name) => parse_destination(name.as_bytes()),
        };
        let (Ok(destination), Ok(user)) = (destination, UserId::parse(request.user.as_bytes())) else {
            let refuse = Action::Refuse(RefusalReason::HostUnreachable);
            return self.close(vec![self.no_request(Unread::NoHostName), refuse]);
        };
        if request.version != 4 {
            return vec![Action::Violation("a request of another version than 4")];
        }
        let (name, address) = match destination {
            Destination::Name(name) => (Some(name), None),
            Destination::Address(address) => (None, Some(sockd_policy::canonical(address))),
        };
        self.asked = Some(Box::new(Asked {
            command: match request.command {
                message::request::Command::Connect => Command::Connect,
                message::request::Command::Bind => Command::Bind,
            },
            named: name.is_some(),
            unresolved: false,
            user,
            port: request.port,
            candidates: Box::default(),
            next: 0,
            source_names: None,
            destination_names: name.map(|name| [name].into()),
            identity: None,
            peer_port: None,
            rule: 0,
            rare: None,
            ran: false,
            outlawed: false,
        }));
        match (request.destination, address) {
            // There are nameservers that know a name only as the client writes it.
            (message::request::Destination::Name(written), None) => {
                match config.settings.upstream_names == UpstreamNames::Always
                    && self.goes_on_unresolved(config)
                {
                    true => self.without_address(config),
                    false => self.ask(Fact::Addresses, Action::Resolve(Query::Addresses(written)), config),
                }
            }
            (_, address) => {
                let port = request.port;
                self.ask(Fact::Kinds, Action::Classify(address.into_iter().collect(), port), config)
            }
        }
    }

    fn ask(&mut self, fact: Fact, action: Action, config: &Config) -> Vec<Action> {
        self.phase = Phase::Asking(fact);
        let limit = match fact {
            Fact::Identity => config.settings.ident_limit,
            _ => config.settings.resolve_limit,
        };
        vec![Action::Deadline(Some(seconds(limit))), action]
    }

    fn addresses(&mut self, answer: Answer, config: &Config) -> Vec<Action> {
        let port = self.asked.as_ref().map_or(0, |asked| asked.port);
        match answer {
            Answer::Addresses(addresses) => {
                let addresses = addresses.into_vec().into_iter().map(sockd_policy::canonical).collect();
                self.ask(Fact::Kinds, Action::Classify(addresses, port), config)
            }
            _ if config.settings.upstream_names != UpstreamNames::Never
                && self.goes_on_unresolved(config) =>
            {
                self.without_address(config)
            }
            _ => self.over(Failure::Unresolved, config),
        }
    }

    /// Whether the destination's name, if it has one, can be left to a next server: the way does not depend on its addresses.
    fn goes_on_unresolved(&self, config: &Config) -> bool {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.named) else { return false };
        let Some(upstreams) = &config.upstreams else { return false };
        let names = asked.destination_names.as_deref().into();
        let way = upstreams.way_for(None, names, asked.port, &asked.user);
        matches!(way, Upstream::By { way: Way::Sockd(_), .. })
    }

    fn without_address(&mut self, config: &Config) -> Vec<Action> {
        self.learn(config, |asked| asked.unresolved = true)
    }

    fn classified(&mut self, candidates: Vec<Candidate>, config: &Config) -> Vec<Action> {
        self.learn(config, |asked| asked.candidates = candidates.into())
    }

    fn learn(&mut self, config: &Config, fact: impl FnOnce(&mut Asked)) -> Vec<Action> {
        if let Some(asked) = &mut self.asked {
            fact(asked);
        }
        self.judge(config)
    }

    fn fact_late(&mut self, fact: Fact, config: &Config) -> Vec<Action> {
        match fact {
            Fact::Identity => self.learn(config, |asked| asked.identity = Some(Identity::Unknown)),
            Fact::SourceNames => self.learn(config, |asked| asked.source_names = Some(Box::default())),
            Fact::DestinationNames => {
                self.learn(config, |asked| asked.destination_names = Some(Box::default()))
            }
            Fact::Addresses | Fact::Kinds => self.addresses(Answer::Failed, config),
            Fact::UpstreamAddresses | Fact::UpstreamKinds => self.upstream_addresses(Answer::Failed, config),
        }
    }

    /// Decides on the next candidates until one may be dialled, a fact is missing, or none is left.
    fn judge(&mut self, config: &Config) -> Vec<Action> {
        loop {
            let Some(asked) = &self.asked else { return self.refuse(config) };
            if let Some(need) = asked.wants_names_for_the_log(config) {
                return self.need(need, config);
            }
            let candidate = asked.candidates.get(asked.next).copied();
            if candidate.is_none() && (!asked.unresolved || asked.next > 0) {
                return self.refuse(config);
            }
            let rejected = match asked.verdict(candidate, self.client(), config) {
                Ok(Step::Need(need)) => return self.need(need, config),
                Ok(Step::Go { path, unverified, commands, rule }) => {
                    if let Some(asked) = &mut self.asked {
                        asked.rule = rule;
                    }
                    let mut actions = self.permitted_once(unverified, commands, config);
                    actions.extend(match path {
                        Path::Direct(candidate, from) => self.go(candidate, from, config),
                        Path::Chain(servers) => self.go_upstream(servers, config),
                    });
                    return actions;
                }
                Err(rejected) => rejected,
            };
            // An identity that is wrong for one address is wrong for all.
            let last = matches!(
                rejected.why,
                Failure::Denied { why: DenyReason::NoIdentd | DenyReason::BadIdentity, .. }
            );
            self.note(rejected, last);
        }
    }

    fn note(&mut self, rejected: Rejected, last: bool) {
        if let Some(asked) = &mut self.asked {
            let all = asked.candidates.len().max(1);
            asked.next = if last { all } else { asked.next.saturating_add(1) };
            // A destination that could be reached by the rules says more than one that could not.
            let kept = &mut asked.rare().rejected;
            let reached = |kept: &Rejected| {
                matches!(kept.why, Failure::Call(_) | Failure::TimedOut | Failure::Upstream(_))
            };
            if last || !kept.as_ref().is_some_and(reached) {
                *kept = Some(rejected);
            }
        }
    }

    fn need(&mut self, need: Need, config: &Config) -> Vec<Action> {
        let (fact, action) = match need {
            Need::SourceNames => (Fact::SourceNames, Action::Resolve(Query::Names(self.address))),
            Need::DestinationNames => (Fact::DestinationNames, Action::Resolve(Query::Names(self.target()))),
            Need::Identity => (Fact::Identity, Action::AskIdent),
        };
        self.ask(fact, action, config)
    }

    /// The candidate that is being decided on; the last one where none is left.
    fn target(&self) -> IpAddr {
        let candidate = |asked: &Asked| asked.candidates.get(asked.next).or(asked.candidates.last()).copied();
        let candidate = self.asked.as_deref().and_then(candidate);
        candidate.map_or(Ipv4Addr::UNSPECIFIED.into(), |candidate| candidate.address)
    }

    /// What happens once for a request that is permitted, however many addresses its name has.
    fn permitted_once(&mut self, unverified: bool, commands: Vec<String>, config: &Config) -> Vec<Action> {
        match &mut self.asked {
            Some(asked) if !asked.ran => asked.ran = true,
            _ => return Vec::new(),
        }
        let mut actions = Vec::new();
        if unverified {
            actions.extend(self.record(Record::Unverified, config));
            actions.extend(
                self.run(config.rules.no_identd().map(|template| template.text().to_owned()), config),
            );
        }
        actions.extend(commands.into_iter().filter_map(|command| self.run(Some(command), config)));
        actions
    }

    fn run(&self, command: Option<String>, config: &Config) -> Option<Action> {
        let command = command.filter(|_| config.settings.commands != Commands::Off)?;
        let asked = self.asked.as_ref()?;
        let name = |names: &Option<Box<[HostName]>>| Some(names.as_ref()?.first()?.as_str().to_owned());
        let values = Values {
            source_name: name(&asked.source_names),
            source: self.address,
            command: wire(asked.command),
            service: config.services.name_of(asked.port).map(Into::into),
            port: asked.port,
            ident_user: match &asked.identity {
                Some(Identity::Known(user)) => message::ident::IdentUser::new(user.as_bytes()),
                _ => None,
            },
            user: message::UserId::new(asked.user.as_bytes())?,
            destination_name: name(&asked.destination_names),
            destination: self.target(),
        };
        Some(Action::Run(command, Box::new(values)))
    }

    fn go(&mut self, candidate: Candidate, from: Option<IpAddr>, config: &Config) -> Vec<Action> {
        let reserved = is_reserved(self.client(), config);
        let Some(asked) = &mut self.asked else { return Vec::new() };
        asked.rare.as_mut().and_then(|rare| rare.chain.take());
        let mut actions = Vec::new();
        match asked.command {
            Command::Connect => {
                let to = SocketAddr::new(candidate.address, asked.port);
                self.phase = Phase::Dialling;
                actions.push(Action::Deadline(Some(seconds(config.settings.connect_limit))));
                actions.push(Action::Dial { to, from, reserved });
            }
            Command::Bind => {
                self.phase = Phase::Listening;
                actions.push(Action::Deadline(Some(seconds(config.settings.bind_limit))));
                actions.push(Action::Listen { towards: candidate.address, at: from, reserved });
            }
        }
        actions
    }

    fn failed(&mut self, failure: Failure, config: &Config) -> Vec<Action> {
        self.note(failure.into(), false);
        self.judge(config)
    }

    /// A failure after which no other address is tried.
    fn over(&mut self, failure: Failure, config: &Config) -> Vec<Action> {
        let mut actions = self.uncounted_strangers(config);
        self.note(failure.into(), true);
        actions.extend(self.refuse(config));
        actions
    }

    fn dialled(&mut self, config: &Config) -> Vec<Action> {
        self.connected(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), config)
    }

    /// A CONNECT is carried out; `bound` is for the reply.
    fn connected(&mut self, bound: SocketAddr, config: &Config) -> Vec<Action> {
        self.phase = Phase::Relaying;
        let connected = self.record(Record::Connected, config);
        connected.into_iter().chain([Action::Deadline(None), Action::HandOff { bound }]).collect()
    }

    fn accepted(&mut self, peer: SocketAddr, config: &Config) -> Vec<Action> {
        let Some(asked) = &self.asked else { return Vec::new() };
        let address = sockd_policy::canonical(peer.ip());
        match asked.expects(address, self.client(), config) {
            Some(place) => self.met(peer, place, config),
            None => self.stranger(SocketAddr::new(address, peer.port()), config),
        }
    }

    /// The peer of a BIND has come; `place` is its candidate's.
    fn met(&mut self, peer: SocketAddr, place: usize, config: &Config) -> Vec<Action> {
        let Some(asked) = &mut self.asked else { return Vec::new() };
        asked.peer_port = Some(peer.port());
        asked.next = place;
        self.phase = Phase::Relaying;
        let mut actions = self.uncounted_strangers(config);
        actions.extend(self.record(Record::Connected, config));
        actions.push(Action::Deadline(None));
        actions.push(Action::HandOff { bound: peer });
        actions
    }

    /// Somebody else has come to the port of a BIND: anybody who can reach it could end a transfer, so the wait
    /// goes on.
    fn stranger(&mut self, peer: SocketAddr, config: &Config) -> Vec<Action> {
        let Some(asked) = &mut self.asked else { return Vec::new() };
        let strangers = &mut asked.rare().strangers;
        *strangers = strangers.saturating_add(1);
        if *strangers > STRANGERS_LOGGED {
            return vec![Action::CloseStranger];
        }
        let stranger = self.record(|parties| Record::Stranger { parties, peer }, config);
        stranger.into_iter().chain([Action::CloseStranger]).collect()
    }

    /// The number of strangers that have no record of their own, where there are any.
    fn uncounted_strangers(&self, config: &Config) -> Vec<Action> {
        let strangers =
            self.asked.as_ref().and_then(|asked| asked.rare.as_ref()).map_or(0, |rare| rare.strangers);
        match strangers.saturating_sub(STRANGERS_LOGGED) {
            0 => Vec::new(),
            number => {
                self.record(|parties| Record::Strangers { parties, number }, config).into_iter().collect()
            }
        }
    }

    /// A request that comes to nothing and is not answered.
    fn abandoned(&self, why: Abandonment, then: Action, config: &Config) -> Vec<Action> {
        let mut actions = self.uncounted_strangers(config);
        actions.extend(self.record(|parties| Record::Abandoned { parties, why }, config));
        actions.push(then);
        actions
    }

    fn relayed(&mut self, end: RelayEnd, config: &Config) -> Vec<Action> {
        let mut actions = self.ended(Some(end), config);
        actions.push(Action::Remove);
        actions
    }

    fn ended(&self, end: Option<RelayEnd>, config: &Config) -> Vec<Action> {
        self.record(|parties| Record::Ended { parties, end }, config).into_iter().collect()
    }

    fn recheck(&mut self, config: &Config) -> Vec<Action> {
        let permitted = self.is_permitted(config);
        let Some(asked) = &mut self.asked else { return Vec::new() };
        if permitted || std::mem::replace(&mut asked.outlawed, true) {
            return Vec::new();
        }
        let revoked = self.record(Record::Revoked, config);
        revoked.into_iter().chain([Action::End, Action::Deadline(Some(CLOSING_LIMIT))]).collect()
    }

    /// Whether the rules permit what is being carried out.
    fn is_permitted(&self, config: &Config) -> bool {
        let verdict =
            |asked: &Asked| asked.verdict(asked.candidates.get(asked.next).copied(), self.client(), config);
        self.asked.as_deref().is_some_and(|asked| matches!(verdict(asked), Ok(Step::Go { .. })))
    }

    /// No candidate is left: says why and refuses.
    fn refuse(&mut self, config: &Config) -> Vec<Action> {
        let rejected = self.asked.as_mut().and_then(|asked| asked.rare.as_mut()?.rejected.take());
        let by_no_rule = || Failure::Denied { why: DenyReason::NoMatch, rule: None }.into();
        let Rejected { why, hook } = rejected.unwrap_or_else(by_no_rule);
        let told = reason(&why, self.upstream().is_some());
        let refused = self.record(|parties| Record::Refused { parties, why }, config);
        let mut actions: Vec<Action> = refused.into_iter().chain([Action::Refuse(told)]).collect();
        actions.extend(self.run(hook, config));
        self.close(actions)
    }

    fn close_unread(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let actions = self.close(actions);
        self.phase = Phase::ClosingUnread;
        actions
    }

    /// The last actions refuse or end the session.
    fn close(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        let refuses = actions.iter().any(|action| matches!(action, Action::Refuse(_)));
        let (phase, limit) =
            if refuses { (Phase::Refusing, REFUSED_LIMIT) } else { (Phase::Closing, CLOSING_LIMIT) };
        self.phase = phase;
        actions.push(Action::Deadline(Some(limit)));
        actions
    }
}

/// Records.
impl Session {
    fn record(&self, record: impl FnOnce(Parties) -> Record, config: &Config) -> Option<Action> {
        let parties = self.asked.as_ref()?.parties(self.client(), config);
        Some(Action::Record(Box::new(record(parties))))
    }

    fn no_request(&self, why: Unread) -> Action {
        Action::Record(Box::new(Record::Unread { client: self.client(), why }))
    }

    /// The worker has ended the session without a request.
    fn unread(&self, why: CloseReason) -> Vec<Action> {
        let why = match why {
            CloseReason::WrongVersion(version) => Unread::WrongVersion(version),
            CloseReason::UndefinedCommand(command) => Unread::UndefinedCommand(command),
            CloseReason::CutShort => Unread::CutShort,
            CloseReason::ClientGone(errno) => Unread::ClientFailed(errno),
            CloseReason::UserTooLong => Unread::UserTooLong,
            CloseReason::BadName => Unread::BadName,
            CloseReason::NoResources => Unread::NoResources,
            _ => return vec![Action::Violation("an end that cannot be")],
        };
        vec![self.no_request(why), Action::Remove]
    }
}

/// What the rules, guards and routes make of one candidate.
enum Step {
    Need(Need),
    Go { path: Path, unverified: bool, commands: Vec<String>, rule: u32 },
}

/// How a candidate is reached.
enum Path {
    /// From this host, from the address that the route file says.
    Direct(Candidate, Option<IpAddr>),
    /// Through the first of these servers that can be reached.
    Chain(Vec<Server>),
}

impl Asked {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn chain(&self) -> Option<&Chain> {
        self.rare.as_ref()?.chain.as_ref()
    }

    /// As a record has it.
    fn parties(&self, client: SocketAddr, config: &Config) -> Parties {
        let first = |names: &Option<Box<[HostName]>>| names.as_ref()?.first().cloned();
        let anybody = self.candidates.first().filter(|first| first.address.is_unspecified());
        let tried = anybody.or(self.candidates.get(self.next)).or(self.candidates.last());
        let verified_user = match &self.identity {
            Some(Identity::Known(user)) => Some(user.clone()),
            _ => None,
        };
        Parties {
            command: self.command,
            client,
            client_name: first(&self.source_names),
            claimed_user: self.user.clone(),
            verified_user,
            destination: tried.map(|tried| tried.address),
            destination_name: first(&self.destination_names),
            port: self.port,
            service: config.services.name_of(self.port).map(Into::into),
            peer_port: self.peer_port,
            upstream: self.chain().and_then(|chain| chain.current),
            rule: Some(self.rule).filter(|rule| *rule != 0),
        }
    }

    /// Without a candidate: on the name alone.
    fn verdict(
        &self,
        candidate: Option<Candidate>,
        client: SocketAddr,
        config: &Config,
    ) -> Result<Step, Rejected> {
        let refusal = match candidate {
            Some(candidate) => self.guarded(candidate, config),
            None => (self.command == Command::Connect && self.port == 0).then_some(Refusal::PortZero),
        };
        if let Some(refusal) = refusal {
            return Err(Failure::Guarded(refusal).into());
        }
        let request = Request {
            source: client.ip(),
            destination: candidate.map(|candidate| candidate.address),
            port: self.port,
            user: &self.user,
            ident_default: config.ident_default,
        };
        let facts = Facts {
            source_names: self.source_names.as_deref().into(),
            destination_names: self.destination_names.as_deref().into(),
            identity: self.identity.as_ref().into(),
        };
        match config.rules.decide(&request, &facts) {
            Verdict::Need(need) => Ok(Step::Need(need)),
            Verdict::Deny(Deny { rule: Some(rule), why: DenyReason::BadIdentity })
                if self.user.as_bytes() == b"root" && is_reserved(client, config) =>
            {
                self.permitted(candidate, &Permit { rule, unverified: false }, config)
            }
            Verdict::Deny(deny) => Err(denied(&deny, &config.rules)),
            Verdict::Permit(permit) => self.permitted(candidate, &permit, config),
        }
    }

    /// Which candidate has come to the port of a BIND: the one that it was opened for, or another address of the
    /// same name, if the rules permit that one as well.
    fn expects(&self, peer: IpAddr, client: SocketAddr, config: &Config) -> Option<usize> {
        let awaited = self.candidates.get(self.next)?.address;
        if awaited == peer || awaited.is_unspecified() {
            return Some(self.next);
        }
        let place = self.candidates.iter().position(|candidate| candidate.address == peer)?;
        let candidate = self.candidates.get(place).copied()?;
        matches!(self.verdict(Some(candidate), client, config), Ok(Step::Go { .. })).then_some(place)
    }

    /// What is refused whatever the rules say. A BIND for 0.0.0.0 waits for anybody, and its port means nothing;
    /// a name that resolves to 0.0.0.0 must not come to mean that.
    fn guarded(&self, candidate: Candidate, config: &Config) -> Option<Refusal> {
        let Candidate { address, kind, own_listener, .. } = candidate;
        match self.command {
            Command::Connect => always_refused(address, self.port, kind, own_listener),
            Command::Bind if address.is_unspecified() && config.settings.bind_any && !self.named => None,
            Command::Bind => always_refused(address, IGNORED_PORT, kind, false),
        }
    }

    fn permitted(
        &self,
        candidate: Option<Candidate>,
        permit: &Permit<'_>,
        config: &Config,
    ) -> Result<Step, Rejected> {
        // 0.0.0.0 comes as far as this only as the anybody of a BIND, who is not on this host for that.
        if let Some(candidate) = candidate
            && config.settings.local_destinations == LocalDestinations::Guarded
            && !candidate.address.is_unspecified()
            && let Some(refusal) = refused_unless_named(candidate.address, candidate.kind, &permit.rule)
        {
            return Err(Failure::Guarded(refusal).into());
        }
        let address = candidate.map(|candidate| candidate.address);
        let names = self.destination_names.as_deref().into();
        let upstream =
            config.upstreams.as_ref().map(|lines| lines.way_for(address, names, self.port, &self.user));
        let (way, command, line) = match upstream {
            None => (Way::Direct, None, 0),
            Some(Upstream::By { way, command, line }) => (way, command, line),
            Some(Upstream::NeedNames) => return Ok(Step::Need(Need::DestinationNames)),
            Some(Upstream::NamesUnavailable { line }) => return Err(Failure::NoWay(line).into()),
        };
        let text = |template: Template<'_>| template.text().to_owned();
        let path = match (way, candidate, &config.routes) {
            (Way::Deny, ..) => {
                return Err(Rejected { why: Failure::NoWay(line), hook: command.map(text) });
            }
            (Way::Sockd(servers), ..) if servers.is_empty() => Path::Chain(config.settings.default_servers()),
            (Way::Sockd(servers), ..) => Path::Chain(servers),
            (Way::Direct, None, _) => return Err(Failure::Unresolved.into()),
            (Way::Direct, Some(candidate), None) => Path::Direct(candidate, None),
            (Way::Direct, Some(candidate), Some(routes)) => match routes.source_for(candidate.address, names)
            {
                Route::From { source, .. } => Path::Direct(candidate, Some(source)),
                Route::NeedNames => return Ok(Step::Need(Need::DestinationNames)),
                Route::NoMatch | Route::NamesUnavailable { .. } => {
                    return Err(Failure::NoInterface(candidate.address).into());
                }
            },
        };
        let commands = [permit.rule.command(), command].into_iter().flatten().map(text).collect();
        Ok(Step::Go { path, unverified: permit.unverified, commands, rule: permit.rule.line() })
    }

    fn wants_names_for_the_log(&self, config: &Config) -> Option<Need> {
        if !config.settings.reverse_names {
            return None;
        }
        match (&self.source_names, &self.destination_names) {
            (None, _) => Some(Need::SourceNames),
            (_, None) => Some(Need::DestinationNames),
            _ => None,
        }
    }
}

/// Whether the client's own port says that root at its host, or somebody trusted by root, has opened it, and the
/// settings give something for that (Rrcmd).
fn is_reserved(client: SocketAddr, config: &Config) -> bool {
    config.settings.privileged_ports && RESERVED.contains(&client.port())
}

fn denied(deny: &Deny<'_>, rules: &RuleSet) -> Rejected {
    let template = match deny.why {
        DenyReason::NoIdentd => rules.no_identd(),
        DenyReason::BadIdentity => rules.bad_id(),
        DenyReason::Unavailable(_) => None,
        DenyReason::Rule | DenyReason::NoMatch => deny.rule.and_then(|rule| rule.command()),
    };
    let why = Failure::Denied { why: deny.why, rule: deny.rule.map(|rule| rule.line()) };
    Rejected { why, hook: template.map(|template| template.text().to_owned()) }
}

fn wire(command: Command) -> message::request::Command {
    match command {
        Command::Connect => message::request::Command::Connect,
        Command::Bind => message::request::Command::Bind,
    }
}

fn may_end_a_wait(why: CloseReason) -> bool {
    matches!(why, CloseReason::ClientGone(_) | CloseReason::NoResources)
}

fn may_end_a_relay(why: CloseReason) -> bool {
    matches!(
        why,
        CloseReason::Finished
            | CloseReason::ClientFailed(_)
            | CloseReason::ServerFailed(_)
            | CloseReason::Idle
            | CloseReason::Ended
            | CloseReason::ClientGone(_)
            | CloseReason::NoResources
    )
}

/// Names as the resolver gave them; what is no host name is none.
fn names(answer: Answer) -> Vec<HostName> {
    match answer {
        Answer::Names(names) => {
            names.into_vec().iter().filter_map(|name| HostName::parse(name.as_bytes()).ok()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each relay has one, however long it is idle. malloc(3) adds 8 bytes and rounds up to a multiple of 16.
    #[test]
    fn what_was_asked_stays_small() {
        assert!(size_of::<Asked>() <= 120, "{}", size_of::<Asked>());
    }
}
