//! The session of one client: which event may happen when, and what follows from it.
//!
//! [`Session::on`] is the whole story as a pure function of the phase and the event; the monitor carries out the
//! actions it returns. The messages a worker may send depend on those sent before: any other one is a violation.
//!
//! The stories are files of their own. Each of their functions says what comes next; only `candidates` moves a session
//! from one candidate to the next.

mod associate;
mod association;
mod bind;
mod candidates;
mod case;
mod chain;
mod connect;
mod counting;
mod decision;
mod ending;
mod event;
mod facts;
mod listing;
mod login;
mod next;
mod order;
mod origin;
mod phase;
mod relay;
mod request;
mod settling;
mod upstream;

pub use association::stage::{AssociationDue, AssociationStage};
pub use association::{Association, FlowAction, FlowEvent};
pub use event::{Action, Arrival, Candidate, Event, Fact, Task, Wait};
pub use listing::Own;
pub use origin::Origin;
pub use phase::Phase;

use crate::command;
use crate::config::Config;
use crate::record::Failure;
use crate::waits::WaitKey;
use case::Case;
use decision::{Path, Permitted};
use login::Who;
use next::{Next, Then};
use request::ClientRequest;
use sockd_common::ledger;
use sockd_common::message::request::Request;
use sockd_policy::{Command, UserId, Version};
use std::net::{IpAddr, SocketAddr};

/// The session of one client.
#[derive(Debug)]
pub struct Session {
    /// The client's address; [`Session::client`] returns it with the port.
    address: IpAddr,
    port: u16,
    origin: Origin,
    phase: Phase,
    who: Who,
    request: Option<Box<ClientRequest>>,
}

impl Session {
    /// A client has connected from this address. `asks_password` is whether the worker may ask it for a password.
    pub fn new(client: SocketAddr, asks_password: bool) -> Self {
        let who = if asks_password { Who::Asked } else { Who::Unknown };
        let (address, port) = (client.ip(), client.port());
        Self { address, port, origin: Origin::DIRECT, phase: Phase::Requesting, who, request: None }
    }

    /// The same session, for a connection of this origin.
    pub fn by_way_of(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// How the client has connected.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The phase of the session.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether bytes are being relayed.
    pub fn is_relaying(&self) -> bool {
        use Phase::{Associated, Dissociating, DissociatingClosed, Relaying};
        matches!(self.phase, Relaying | Associated | Dissociating | DissociatingClosed)
    }

    /// The address that the client has connected from.
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The association that has been granted, without flows yet.
    pub fn association(&self) -> Option<Association> {
        Some(Association::new(self.client(), self.request.as_ref()?.another()))
    }

    /// The things that the session waits for besides its worker. The monitor holds a resource for each, and no others.
    pub fn waits(&self) -> impl Iterator<Item = (WaitKey, Wait)> {
        let login = (self.phase == Phase::Verifying).then_some((WaitKey::LOGIN, Wait::Login));
        self.request.iter().flat_map(|request| request.waits()).chain(login)
    }

    /// The phase of the session in the ledger. The entry changes with it.
    pub fn listed_phase(&self) -> ledger::Phase {
        self.phase.listed()
    }

    /// The entry of the session in the ledger now.
    pub fn listed(&self, own: Own) -> ledger::Entry<'_> {
        let entry = listing::unread(own, self.phase, self.client());
        self.request.as_ref().map_or(entry, |request| request.listed(entry))
    }

    /// Handles one event.
    pub fn on(&mut self, event: Event, config: &Config) -> Vec<Action> {
        self.request.iter_mut().for_each(|request| request.begin_turn());
        let next = match self.phase {
            Phase::Requesting if self.origin == Origin::CHECK => {
                ending::checking(event, self.client(), config)
            }
            Phase::Requesting => self.requesting(event, config),
            Phase::Verifying => {
                let client = self.client();
                login::verifying(&mut self.who, event, client, config)
            }
            Phase::Refusing | Phase::ClosingUnread | Phase::Closing => ending::closing(self.phase, &event),
            phase => match (phase, self.case(config)) {
                (_, None) => ending::out_of_turn(&event),
                (Phase::Relaying | Phase::ClosingRelay(_), Some(mut case)) => {
                    relay::relaying(phase, event, &mut case)
                }
                (phase, Some(mut case)) if phase.is_of_association() => {
                    associate::associated(phase, event, &mut case)
                }
                (phase, Some(mut case)) => carried_out(phase, event, &mut case),
            },
        };
        self.follow(next, config)
    }

    /// The request with its client and configuration, if there is a request.
    fn case<'a>(&'a mut self, config: &'a Config) -> Option<Case<'a>> {
        let client = self.client();
        let request = self.request.as_deref_mut()?;
        Some(Case { request, client, config })
    }

    /// The worker reads the request.
    fn requesting(&mut self, event: Event, config: &Config) -> Next {
        match event {
            Event::Introduced(user) => login::begin(&mut self.who, user),
            Event::Requested(request) => self.requested(request, config),
            Event::Closed(why) => ending::unread(why, self.client(), config),
            event => ending::before_request(&event, self.client()),
        }
    }

    fn requested(&mut self, request: Request, config: &Config) -> Next {
        let client = self.client();
        let version = match request.version {
            4 => Version::Socks4,
            5 => Version::Socks5,
            _ => return Next::violation("a request of another version than 4 and 5"),
        };
        let login = match (std::mem::take(&mut self.who), version) {
            (Who::Verified(_), Version::Socks4) => {
                return Next::violation("a request of another version than the password");
            }
            (Who::Verified(user), Version::Socks5) => Some(user),
            _ => None,
        };
        let Request { command, destination, port, user, .. } = request;
        let command = command::for_rules(command);
        if command == Command::Udp && !config.rules.offers_udp() {
            return associate::not_offered(client);
        }
        let Ok(user) = UserId::parse(user.as_bytes()) else { return ending::no_host_name(client) };
        let request = ClientRequest::new(version, command, user);
        let request = ClientRequest { login, identity: self.origin.identity(), ..request };
        if command == Command::Udp {
            let mut case = Case { request: self.request.insert(Box::new(request)), client, config };
            return associate::begin(port, &mut case);
        }
        let Some((request, destination)) = request.towards(destination, port) else {
            return ending::no_host_name(client);
        };
        let mut case = Case { request: self.request.insert(Box::new(request)), client, config };
        facts::begin(destination, &mut case)
    }

    /// Goes on as a story says.
    fn follow(&mut self, next: Next, config: &Config) -> Vec<Action> {
        let (actions, phase) = match (self.case(config), next) {
            (Some(mut case), next) => candidates::follow(next, &mut case, permitted),
            (None, Next { actions, then: Then::Phase(phase) }) => (actions, Some(phase)),
            (None, Next { actions, .. }) => (actions, None),
        };
        if let Some(phase) = phase {
            self.request.iter_mut().filter(|_| phase.rests()).for_each(|request| request.rest());
            self.phase = phase;
        }
        actions
    }
}

/// Handles events of a running request, while the session waits for something other than its worker.
fn carried_out(phase: Phase, event: Event, case: &mut Case<'_>) -> Next {
    match (phase, event) {
        (phase, Event::Arrived(key, arrival)) => arrived(key, arrival, phase, case),
        (Phase::Settling, event) => settling::settling(event, case),
        (phase, Event::Deadline) => late(phase, case),
        // The decision that follows is by the new rules.
        (Phase::Asking | Phase::Dialling, Event::Recheck) => connect::recheck(phase, case),
        (_, event) => ending::interrupted(event, case),
    }
}

/// Handles a result. Results of tasks that have been given up are ignored.
fn arrived(key: WaitKey, arrival: Arrival, phase: Phase, case: &mut Case<'_>) -> Next {
    let Some(wait) = case.request.end_wait(key) else { return Next::nothing() };
    match (wait, arrival) {
        (Wait::Fact(Fact::UpstreamAddresses), Arrival::Resolved(answer)) => upstream::addresses(answer, case),
        (Wait::Fact(Fact::UpstreamKinds), Arrival::Classified(kinds)) => upstream::kinds(kinds, case),
        (Wait::Fact(fact), arrival) => facts::arrived(fact, arrival, key, case),

        (Wait::Worker, Arrival::Settled) => settling::settled(case),

        (Wait::Line, Arrival::Counted) => counting::counted(case),
        (Wait::Line, Arrival::NoRoom(_)) => counting::full(case),

        (Wait::Connection(place), Arrival::Dialled(Ok(()))) => connect::dialled(place, key, phase, case),
        (Wait::Connection(_), Arrival::Dialled(Err(failed))) => {
            connect::failed(Failure::Call(failed).into(), phase, case)
        }

        (Wait::Port, Arrival::Listening(result)) => bind::listening(result, key, case),
        (Wait::Port, Arrival::Accepted(result)) => bind::accepted(result, key, case),

        (Wait::UpstreamConnection, Arrival::Dialled(Ok(()))) => upstream::dialled(key, case),
        (Wait::UpstreamConnection, Arrival::Dialled(Err(failed))) => {
            upstream::unreached(Failure::Call(failed), case)
        }
        (Wait::UpstreamReply, Arrival::Replied(reply)) => upstream::replied(reply, key, case),
        (Wait::UpstreamPeer, Arrival::Replied(reply)) => upstream::met(reply, key, case),

        (Wait::Worker | Wait::Port | Wait::UpstreamReply, Arrival::NoRoom(limit)) => {
            Next::refuse(Failure::Limited(limit))
        }
        (wait, _) => case.wait_further(key, wait),
    }
}

/// Handles a deadline: the expected result has not come in time.
fn late(phase: Phase, case: &mut Case<'_>) -> Next {
    if phase == Phase::Dialling {
        return connect::late(case);
    }
    let waits = case.request.end_waits(|wait| !matches!(wait, Wait::Connection(_)));
    let next = match phase {
        Phase::Asking => facts::late(&waits, case),
        Phase::FindingUpstream => upstream::late(case),
        Phase::DiallingUpstream => upstream::unreached(Failure::TimedOut, case),
        // A client that has been told an address cannot use another one.
        _ => Next::refuse(Failure::TimedOut),
    };
    next.after(waits.into_iter().map(|(key, _)| Action::GiveUp(key)).collect())
}

/// The rules permit a candidate: it is tried, unless another step has to come first.
fn permitted(permitted: Permitted, case: &mut Case<'_>) -> Next {
    match permitted.path {
        _ if settling::is_due(case) => settling::begin(case),
        _ if counting::is_due(&permitted, case) => counting::begin(&permitted, case),
        Path::Direct(..) if !case.request.progress().kinds_are_fresh => facts::look_again(case),
        _ => go(permitted, case),
    }
}

/// Begins to reach a candidate.
fn go(permitted: Permitted, case: &mut Case<'_>) -> Next {
    let Permitted { path, rule, limits, unverified, hooks } = permitted;
    case.request.permit(rule, limits);
    let actions = case.permitted_once(unverified, hooks);
    if let Path::Direct(..) = path {
        case.request.go_direct();
    }
    let next = match (path, case.request.command) {
        (Path::Upstream(..), _) if connect::is_under_way(case) => connect::wait_for_attempts(),
        (Path::Upstream(version, servers), _) => upstream::begin(version, servers, case),
        (Path::Direct(candidate, from), Command::Connect) => connect::dial(candidate.address, from, case),
        (Path::Direct(candidate, at), Command::Bind) => bind::listen(candidate.address, at, case),
        (Path::Direct(..), Command::Udp) => Next::nothing(),
    };
    next.after(actions)
}
