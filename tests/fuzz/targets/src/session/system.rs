//! What the monitor has for one session, and what it may do.

use arbitrary::{Result, Unstructured};
use sockd_common::bounded::BoundedVec;
use sockd_common::message::auth::{Group, Groups};
use sockd_common::message::request::RefusalReason;
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::{CloseReason, Offered};
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{self, Name};
use sockd_policy::guard::{AddressKind, always_refused, refused_unless_named, upstream_refused};
use sockd_policy::{
    Command, DenyReason, Destination, FactState, Facts, HostName, Identity, Request, Route, Server, Upstream,
    UserId, Verdict, Version, Way, canonical, parse_destination,
};
use sockd_session::checks::Login;
use sockd_session::config::Config;
use sockd_session::flow::{Connection, Flow, Moved};
use sockd_session::limits::limit::Limit;
use sockd_session::log::classic;
use sockd_session::record::{EndCause, FailedCall, Failure};
use sockd_session::session::{Action, Arrival, Candidate, Event, Fact, Phase, Session, Task, Wait};
use sockd_session::settings::{LocalDestinations, MissingNames};
use sockd_session::waits::{WaitKey, WaitKeys};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

pub(super) const ADDRESSES: [&str; 16] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.255",
    "127.0.0.1",
    "198.51.100.1",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "2001:db8::1",
    "::1",
    "::",
    "::ffff:203.0.113.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "192.0.2.8",
    "192.0.2.9",
];
pub(super) const NAMES: [&str; 6] = ["a.example", "b.example", "WWW.Example.", "203.0.113.1", "127.1", ""];
pub(super) const PORTS: [u16; 6] = [0, 21, 23, 80, 1080, 65535];
pub(super) const USERS: [&[u8]; 4] = [b"joe", b"root", b"", b"s m)\n\xff"];

/// The state of the monitor for one session, and the facts found out for it.
#[derive(Debug)]
pub(super) struct System<'w> {
    pub(super) client: SocketAddr,
    /// All that have been in force: the servers of a line are gone through although new lines come meanwhile.
    pub(super) worlds: Vec<&'w Config>,
    pub(super) over: bool,
    /// The client may show a password, and has not done so.
    pub(super) may_log_in: bool,
    /// The user whose password is checked.
    pub(super) introduced: Option<message::UserId>,
    /// The user whose password was right, with groups.
    pub(super) login: Option<(UserId, Vec<u8>)>,
    pub(super) request: Option<message::request::Request>,
    pub(super) source_names: Learnt<Vec<HostName>>,
    pub(super) destination_names: Learnt<Vec<HostName>>,
    pub(super) identity: Learnt<Identity>,
    /// Addresses that a [`Action::Classify`] waits for.
    pub(super) classifying: Vec<SocketAddr>,
    /// All that have been classified last.
    pub(super) candidates: Vec<IpAddr>,
    /// The next server that is dialled.
    pub(super) dialling: Option<SocketAddr>,
    /// The candidates that are dialled.
    pub(super) attempts: BTreeMap<WaitKey, SocketAddr>,
    /// The name that is being resolved, and what names have been resolved to.
    pub(super) resolving: Option<Name>,
    pub(super) resolved: Vec<(Name, Vec<IpAddr>)>,
    /// Addresses that have been classified for next servers.
    pub(super) upstream_classified: Vec<SocketAddr>,
    /// The next server to which a connection stands and that is not asked yet, and the one that is asked.
    pub(super) reached: Option<SocketAddr>,
    pub(super) asking: Option<Asking>,
    /// The address for which a port is to be opened or is open.
    pub(super) listening: Option<IpAddr>,
    pub(super) announced: bool,
    pub(super) deadline: bool,
    pub(super) hand_offs: u32,
    pub(super) refusals: u32,
    /// Lines about what came of the request.
    pub(super) verdicts: u32,
    pub(super) terminated: bool,
    /// The monitor is to look at the relay.
    pub(super) inspecting: bool,
    /// The connections of the relay have been closed.
    pub(super) relay_closed: bool,
    pub(super) association: Relaying,
    /// The datagram worker has, or has been killed.
    pub(super) worker_ended: bool,
    /// The waits for which the monitor holds something.
    pub(super) held: BTreeSet<WaitKey>,
}

/// How far an association has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relaying {
    No,
    /// The monitor is to open its port.
    Wanted,
    Open,
    /// The monitor is to end it.
    Ending,
    Over,
}

/// A fact: `None` if nobody has asked, `Some(None)` if it could not be had.
pub(super) type Learnt<T> = Option<Option<T>>;

pub(super) fn state<T: ?Sized, U: std::ops::Deref<Target = T>>(learnt: &Learnt<U>) -> FactState<&T> {
    match learnt {
        None => FactState::NotAsked,
        Some(None) => FactState::Unavailable,
        Some(Some(known)) => FactState::Known(known),
    }
}

/// Names that could not be had, as the settings have them taken.
pub(super) fn names_for<'a>(config: &Config, names: FactState<&'a [HostName]>) -> FactState<&'a [HostName]> {
    match names {
        FactState::Unavailable if config.settings.missing_names == MissingNames::NoMatch => {
            FactState::Known(&[])
        }
        names => names,
    }
}

/// A next server that is asked.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) next: SocketAddr,
    /// `None` if it has been given the name.
    pub(super) target: Option<IpAddr>,
    /// Replies that are still to come.
    pub(super) replies: u32,
}

/// An event, as far as its consequences have to fit it.
#[derive(Debug)]
pub(super) enum Happened {
    Dialled(IpAddr),
    /// A next server has been reached.
    Reached(SocketAddr),
    /// It has not been reached; whether that is its own fault.
    Unreached(SocketAddr, bool),
    /// The reply of a server, which was asked so.
    Replied(NextReply, Asking),
    Listens(SocketAddr),
    Accepted(SocketAddr),
    FromWorker,
    LoggedIn,
    Deadline,
    Recheck,
    Inspected,
    RelayClosed,
    Associated(SocketAddr),
    Other,
}

impl<'w> System<'w> {
    pub(super) fn new(client: SocketAddr, config: &'w Config) -> Self {
        Self {
            client,
            worlds: vec![config],
            over: false,
            may_log_in: false,
            introduced: None,
            login: None,
            request: None,
            source_names: None,
            destination_names: None,
            identity: None,
            classifying: Vec::new(),
            candidates: Vec::new(),
            dialling: None,
            attempts: BTreeMap::new(),
            resolving: None,
            resolved: Vec::new(),
            upstream_classified: Vec::new(),
            reached: None,
            asking: None,
            listening: None,
            announced: false,
            deadline: true,
            hand_offs: 0,
            refusals: 0,
            verdicts: 0,
            terminated: false,
            inspecting: false,
            relay_closed: false,
            association: Relaying::No,
            worker_ended: false,
            held: BTreeSet::new(),
        }
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.dialling.is_some() || !self.attempts.is_empty()
    }

    /// Mostly what the session waits for, so that inputs lead far.
    pub(super) fn event(&self, session: &Session, choices: &mut Unstructured<'_>) -> Result<Event> {
        let phase = session.phase();
        // The monitor counts a request before anything else can happen.
        if let Some((key, _)) = session.waits().find(|(_, wait)| *wait == Wait::Line) {
            let has_room = choices.arbitrary()?;
            let counted = if has_room { Arrival::Counted } else { Arrival::NoRoom(Limit::LINE) };
            return Ok(Event::Arrived(key, counted));
        }
        // The monitor opens a port at once, and hears of the end of a worker.
        if self.association == Relaying::Wanted {
            let failed = choices.ratio(1, 8)?;
            let at = "192.0.2.1:41000".parse().expect("an address");
            return Ok(Event::Associated(if failed {
                Err(Failure::Limited(Limit::ASSOCIATIONS_PER_HOST))
            } else {
                Ok(at)
            }));
        }
        if self.worker_ended {
            return Ok(Event::Dissociated(EndCause::WorkerEnded, Moved::default()));
        }
        let expected = match phase {
            Phase::Requesting if self.may_log_in => 16,
            Phase::Requesting => 0,
            Phase::Verifying => 17,
            Phase::Asking | Phase::FindingUpstream => match fact(session) {
                Some(Fact::Kinds | Fact::UpstreamKinds) => 3,
                Some(Fact::Identity) => 4,
                _ => 2,
            },
            Phase::Associating => panic!("nobody opens a port"),
            Phase::Associated if choices.arbitrary()? => 1,
            Phase::Associated | Phase::Dissociating | Phase::DissociatingClosed => 18,
            Phase::Settling => 15,
            Phase::Dialling | Phase::DiallingUpstream => 5,
            Phase::Listening if !self.announced => 7,
            Phase::Listening => 9,
            Phase::AskingUpstream | Phase::AwaitingUpstreamPeer => 13,
            Phase::Relaying if self.inspecting => 14,
            // The monitor closes the connections at once and says what they have moved.
            Phase::ClosingRelay(_) => return Ok(Event::RelayClosed(Moved::default())),
            Phase::Relaying | Phase::Refusing | Phase::ClosingUnread | Phase::Closing => 1,
        };
        let choice = choices.int_in_range(0..=29u8)?;
        let number = if choice > 14 { expected } else { choice };
        let arrival = match number {
            0 => return Ok(Event::Requested(any_request(choices)?)),
            1 => return Ok(Event::Closed(any_end(choices)?)),
            2 => Arrival::Resolved(any_answer(choices)?),
            3 => Arrival::Classified(
                self.classifying.iter().map(|at| candidate(*at, choices)).collect::<Result<Vec<_>>>()?,
            ),
            4 => Arrival::Identified(match choices.arbitrary()? {
                true => Identity::Known(
                    UserId::parse(any_user(choices)?).unwrap_or(UserId::parse(b"x").expect("an id")),
                ),
                false => Identity::Unknown,
            }),
            5 if self.is_dialling() => Arrival::Dialled(Ok(())),
            6 if self.is_dialling() => Arrival::Dialled(Err(match choices.ratio(1, 4)? {
                true => failed("socket", 24),
                false => failed("connect", 111),
            })),
            7 if self.listening.is_some() && !self.announced => {
                Arrival::Listening(Ok("198.51.100.1:3000".parse().expect("an address")))
            }
            8 if self.listening.is_some() && !self.announced => match choices.arbitrary()? {
                true => Arrival::Listening(Err(failed("bind", 98))),
                false => Arrival::NoRoom(Limit::BINDS),
            },
            9 if self.announced => Arrival::Accepted(match choices.ratio(1, 8)? {
                true => Err(failed("accept", 24)),
                false => Ok(SocketAddr::new(any_address(choices)?, 20)),
            }),
            10 if self.deadline => return Ok(Event::Deadline),
            11 => return Ok(Event::Recheck),
            12 => return Ok(Event::WorkerLost),
            13 if self.asking.is_some() => Arrival::Replied(any_reply(choices)?),
            14 if self.inspecting => return Ok(Event::Inspected(any_flow(choices)?)),
            15 => Arrival::Settled,
            16 => {
                let user = message::UserId::new(any_user(choices)?).expect("at most 255 bytes");
                return Ok(Event::Introduced(user));
            }
            17 => Arrival::LoggedIn(any_login(choices)?),
            18 if matches!(self.association, Relaying::Open | Relaying::Ending) => {
                let why = *choices.choose(&[EndCause::Idle, EndCause::NoResources, EndCause::WorkerEnded])?;
                return Ok(Event::Dissociated(why, Moved { up: 1, down: 2 }));
            }
            // A limit is found to be reached before somebody is asked.
            8 if phase == Phase::Settling => Arrival::NoRoom(Limit::NOT_ALONE),
            8 if phase == Phase::AskingUpstream => Arrival::NoRoom(Limit::BINDS),
            8 if fact(session) == Some(Fact::Identity) => Arrival::NoRoom(Limit::IDENTS),
            _ if choices.arbitrary()? => return Ok(Event::Killed),
            _ => return Ok(Event::Stop),
        };
        // Late answers have a key that is given up.
        let key = session.waits().find(|(_, wait)| fits(*wait, &arrival)).map(|(key, _)| key);
        Ok(Event::Arrived(key.unwrap_or_else(given_up), arrival))
    }

    /// Takes note of what the session learns.
    pub(super) fn before(&mut self, session: &Session, event: &Event) -> Happened {
        let (phase, fact) = (session.phase(), fact(session));
        if let Event::Arrived(key, arrival) = event {
            self.has_come(*key, arrival);
        }
        match (fact, event) {
            (_, Event::Requested(request)) if phase == Phase::Requesting => {
                if let Some(name) = names_of(&request.destination) {
                    self.destination_names = Some(Some(vec![name]));
                }
                self.request = Some(request.clone());
            }
            (_, Event::Introduced(user)) => self.introduced = Some(user.clone()),
            (_, Event::Arrived(_, Arrival::LoggedIn(Login::Verified(groups)))) => {
                let user = self.introduced.take().expect("a user whose password is checked");
                let groups = groups.as_slice().iter().map(Group::as_bytes).collect::<Vec<_>>().join(&b',');
                self.login = UserId::parse(user.as_bytes()).ok().map(|user| (user, groups));
            }
            (Some(Fact::SourceNames), Event::Arrived(_, Arrival::Resolved(answer))) => {
                self.source_names = Some(learnt(answer))
            }
            (Some(Fact::SourceNames), Event::Deadline) => self.source_names = Some(None),
            (Some(Fact::DestinationNames), Event::Arrived(_, Arrival::Resolved(answer))) => {
                self.destination_names = Some(learnt(answer));
            }
            (Some(Fact::DestinationNames), Event::Deadline) => self.destination_names = Some(None),
            (Some(Fact::Identity), Event::Arrived(_, Arrival::Identified(identity))) => {
                self.identity = Some(Some(identity.clone()))
            }
            (Some(Fact::Identity), Event::Deadline) => self.identity = Some(Some(Identity::Unknown)),
            (Some(Fact::Identity), Event::Arrived(_, Arrival::NoRoom(_))) => self.identity = Some(None),
            (Some(Fact::Kinds), Event::Arrived(_, Arrival::Classified(_))) => {
                self.candidates = std::mem::take(&mut self.classifying).iter().map(SocketAddr::ip).collect();
            }
            (Some(Fact::UpstreamKinds), Event::Arrived(_, Arrival::Classified(_))) => {
                self.upstream_classified.append(&mut self.classifying);
            }
            (
                Some(Fact::Addresses | Fact::UpstreamAddresses),
                Event::Arrived(_, Arrival::Resolved(answer)),
            ) => {
                if let (Some(name), Answer::Addresses(addresses)) = (self.resolving.take(), answer) {
                    let addresses = addresses.as_slice().iter().copied().map(canonical).collect();
                    self.resolved.push((name, addresses));
                }
            }
            _ => {}
        }
        match event {
            Event::Arrived(key, Arrival::Dialled(result)) if self.attempts.contains_key(key) => {
                match (self.attempts.remove(key), result) {
                    (Some(to), Ok(())) => Happened::Dialled(to.ip()),
                    _ => Happened::Other,
                }
            }
            Event::Arrived(_, Arrival::Dialled(result)) => match (self.dialling.take(), phase, result) {
                (Some(next), Phase::DiallingUpstream, Ok(())) => {
                    self.reached = Some(next);
                    Happened::Reached(next)
                }
                (Some(next), Phase::DiallingUpstream, Err(failed)) => {
                    Happened::Unreached(next, failed.call == "connect")
                }
                _ => Happened::Other,
            },
            Event::Arrived(_, Arrival::Replied(reply)) => {
                let mut asking = self.asking.take().expect("a server that is asked");
                let happened = Happened::Replied(*reply, asking.clone());
                asking.replies -= 1;
                let goes_on = matches!(reply, NextReply::Granted(_)) && asking.replies > 0;
                self.asking = Some(asking).filter(|_| goes_on);
                happened
            }
            Event::Arrived(_, Arrival::Listening(Ok(address))) => {
                self.announced = true;
                Happened::Listens(*address)
            }
            Event::Arrived(_, Arrival::Listening(Err(_)) | Arrival::NoRoom(_)) => {
                (self.listening, self.asking) = (None, None);
                Happened::Other
            }
            Event::Arrived(_, Arrival::Accepted(Ok(peer))) => Happened::Accepted(*peer),
            Event::Arrived(_, Arrival::LoggedIn(_)) if self.login.is_some() => Happened::LoggedIn,
            Event::Introduced(_) | Event::Requested(_) | Event::Closed(_) => Happened::FromWorker,
            Event::Inspected(_) => {
                self.inspecting = false;
                Happened::Inspected
            }
            Event::RelayClosed(_) => Happened::RelayClosed,
            Event::Deadline => {
                self.deadline = false;
                // The monitor holds one socket for a session; the next one takes the place of this.
                match (self.dialling.take(), phase) {
                    (Some(next), Phase::DiallingUpstream) => Happened::Unreached(next, true),
                    _ => Happened::Deadline,
                }
            }
            Event::Recheck => Happened::Recheck,
            Event::Associated(Ok(at)) => {
                self.association = Relaying::Open;
                Happened::Associated(*at)
            }
            Event::Associated(Err(_)) | Event::Dissociated(..) => {
                (self.association, self.worker_ended) = (Relaying::Over, false);
                Happened::Other
            }
            _ => Happened::Other,
        }
    }

    /// Carries out the actions, and sees whether they may be.
    pub(super) fn after(&mut self, happened: &Happened, actions: &[Action], phase: Phase, config: &Config) {
        let awaited = self.listening;
        if !matches!(phase, Phase::Dialling | Phase::DiallingUpstream) {
            self.dialling = None;
        }
        if !matches!(phase, Phase::AskingUpstream | Phase::AwaitingUpstreamPeer) {
            self.asking = None;
        }
        let mut sockets = 0;
        for action in actions {
            match action {
                Action::Record(record) => {
                    classic::lines(record).iter().for_each(|line| self.line(line, happened));
                }
                Action::Begin(key, task) => {
                    self.begin(*key, task, happened, phase, config);
                    sockets += u32::from(matches!(task, Task::Dial { .. } | Task::Listen { .. }));
                    let goes_on = matches!(task, Task::AskUpstream(..));
                    assert_eq!(self.held.insert(*key), !goes_on, "{key:?} in {:?}", self.held);
                }
                Action::GiveUp(key) => {
                    self.attempts.remove(key);
                    assert!(self.held.remove(key), "{key:?} in {:?}", self.held);
                }
                Action::Remember { next, reachable } => match happened {
                    Happened::Reached(reached) => assert!(reached == next && *reachable),
                    Happened::Unreached(tried, true) => assert!(tried == next && !*reachable),
                    _ => panic!("nothing is known of {next}"),
                },
                Action::Accept => {
                    assert!(matches!((happened, phase), (Happened::LoggedIn, Phase::Requesting)));
                }
                Action::Associate { hint } => {
                    let request = self.request.as_ref().expect("a request");
                    assert_eq!((self.command(), request.version, request.port), (Command::Udp, 5, *hint));
                    assert!(config.rules.may_permit_udp(self.client.ip()));
                    assert_eq!((phase, self.association), (Phase::Associating, Relaying::No));
                    self.association = Relaying::Wanted;
                }
                Action::Associated(at) => {
                    assert!(matches!(happened, Happened::Associated(opened) if opened == at));
                }
                Action::Dissociate(_) => {
                    assert_eq!(self.association, Relaying::Open);
                    self.association = Relaying::Ending;
                }
                Action::Announce(address) => match happened {
                    Happened::Listens(opened) => assert_eq!(opened, address),
                    Happened::Replied(NextReply::Granted(bound), asking) => {
                        let stated = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
                        let expected = SocketAddr::new(stated.unwrap_or(asking.next.ip()), bound.port());
                        assert!(
                            *address == expected
                                && asking.replies == 2
                                && phase == Phase::AwaitingUpstreamPeer
                        );
                    }
                    _ => panic!("no port is open"),
                },
                Action::CloseStranger(key) => {
                    assert!(matches!(happened, Happened::Accepted(_)) && self.held.contains(key));
                }
                Action::Run(template, _) => {
                    is_template(template, config);
                }
                Action::HandOff { key, bound, .. } => {
                    self.hand_offs += 1;
                    let bound = bound.as_ref().expect("no settings here want the real address");
                    assert!(self.held.contains(key), "{key:?} in {:?}", self.held);
                    self.held.clear();
                    match happened {
                        Happened::Dialled(to) => {
                            let permission = self.way(Some(*to), Command::Connect, config);
                            assert!(
                                bound.ip().is_unspecified() && permission.is_ok(),
                                "{to}: {permission:?}"
                            );
                        }
                        Happened::Accepted(peer) => self.is_awaited(*peer, awaited.expect("a port"), config),
                        Happened::Replied(NextReply::Granted(said), asking) => {
                            assert!(asking.replies == 1 && *bound == *said);
                            let is_bind = self.requested() == Some(message::request::Command::Bind);
                            if let Some(target) = asking.target.filter(|_| is_bind) {
                                self.is_awaited(*bound, target, config);
                            }
                        }
                        _ => panic!("a hand-off without a socket"),
                    }
                }
                Action::Refuse(_) => {
                    self.refusals += 1;
                    self.held.clear();
                }
                Action::End => self.held.clear(),
                Action::Inspect => {
                    assert_eq!(phase, Phase::Relaying);
                    self.inspecting = true;
                }
                Action::CloseRelay { .. } => {
                    assert!(self.hand_offs == 1 && !self.relay_closed, "no relay to close");
                    self.relay_closed = true;
                }
                Action::Limit(_) => assert_eq!(phase, Phase::Relaying),
                Action::Reset => {
                    let dissociates = actions.contains(&Action::Dissociate(EndCause::WorkerEnded));
                    assert!(dissociates || actions.contains(&Action::Remove));
                }
                Action::Deadline(limit) => self.deadline = limit.is_some(),
                Action::Remove => {
                    self.over = true;
                    self.held.clear();
                }
                Action::Violation(what) => {
                    let from_worker = matches!(happened, Happened::FromWorker | Happened::Deadline);
                    assert!(from_worker || self.relay_closed, "{what}");
                    // The worker is killed, and the session hears that it is lost.
                    self.over = true;
                    self.held.clear();
                }
            }
        }
        if phase != Phase::Listening {
            (self.listening, self.announced) = (None, false);
        }
        self.attempts.retain(|key, _| self.held.contains(key));
        self.is_sound(happened, actions, phase, sockets);
    }

    /// Sees whether this may be begun.
    pub(super) fn begin(
        &mut self,
        key: WaitKey,
        task: &Task,
        happened: &Happened,
        phase: Phase,
        config: &Config,
    ) {
        match task {
            Task::Verify => {
                assert!(phase == Phase::Verifying && std::mem::take(&mut self.may_log_in));
            }
            Task::Classify(addresses, port) => {
                let requested = self.request.as_ref().map(|request| request.port);
                assert!(phase == Phase::FindingUpstream || Some(*port) == requested);
                self.classifying = addresses.iter().map(|address| SocketAddr::new(*address, *port)).collect();
            }
            Task::Resolve(query) => {
                assert!(matches!(phase, Phase::Asking | Phase::FindingUpstream));
                if let Query::Addresses(name) = query {
                    self.resolving = Some(name.clone());
                }
            }
            Task::AskIdent | Task::Count(_) => assert_eq!(phase, Phase::Asking),
            Task::Settle(user, _) => {
                assert_eq!((phase, self.held.len()), (Phase::Settling, 0), "{:?}", self.held);
                assert_eq!(user.by_password, self.login.is_some());
                match (&self.login, self.identity.as_ref().and_then(Option::as_ref)) {
                    (Some((login, _)), _) => assert_eq!(*login, user.user),
                    (None, known) => assert_eq!(known, Some(&Identity::Known(user.user.clone()))),
                }
            }
            Task::Dial { to, from, reserved } if phase == Phase::DiallingUpstream => {
                assert!(self.dialling.is_none() && self.asking.is_none() && !reserved);
                self.is_next_server(*to, *from);
                // The socket that is held for the session gives way to this one.
                (self.dialling, self.reached) = (Some(*to), None);
            }
            Task::AskUpstream(next, request) => {
                assert!(matches!(happened, Happened::Reached(reached) if reached == next));
                assert_eq!((phase, self.reached.take()), (Phase::AskingUpstream, Some(*next)));
                let target = self.is_asked_for(request, config);
                let replies = if request.command == message::request::Command::Bind { 2 } else { 1 };
                self.asking = Some(Asking { next: *next, target, replies });
            }
            Task::Dial { to, from, reserved } => {
                assert!(phase == Phase::Dialling && self.dialling.is_none() && self.asking.is_none());
                self.reached = None;
                assert_eq!(to.port(), self.request.as_ref().expect("a request").port);
                self.is_permitted(to.ip(), *from, Command::Connect, config);
                assert_eq!(*reserved, self.is_reserved(config));
                self.attempts.insert(key, *to);
            }
            Task::Listen { towards, at, reserved } => {
                assert!(phase == Phase::Listening && self.asking.is_none());
                self.reached = None;
                self.is_permitted(*towards, *at, Command::Bind, config);
                assert_eq!(*reserved, self.is_reserved(config));
                (self.listening, self.announced) = (Some(*towards), false);
            }
        }
    }

    /// An answer has come. A connection and a port stay as long as they are of use.
    pub(super) fn has_come(&mut self, key: WaitKey, arrival: &Arrival) {
        let stays = matches!(
            arrival,
            Arrival::Dialled(Ok(()))
                | Arrival::Listening(Ok(_))
                | Arrival::Accepted(Ok(_))
                | Arrival::Replied(_)
        );
        let is_asked = matches!(arrival, Arrival::NoRoom(_)) && self.asking.is_some();
        if !stays && !is_asked {
            self.held.remove(&key);
        }
    }

    /// The monitor holds something for everything that the session waits for, and nothing else.
    pub(super) fn holds_what_is_waited_for(&self, session: &Session) {
        let waited_for = session.waits().map(|(key, _)| key).collect();
        assert!(self.over || self.held == waited_for, "{waited_for:?}, not {:?}", self.held);
        assert!(!self.over || self.held.is_empty(), "{:?} stays", self.held);
    }

    pub(super) fn is_sound(&self, happened: &Happened, actions: &[Action], phase: Phase, sockets: u32) {
        let last = |action: &Action| matches!(action, Action::Remove | Action::Violation(_));
        let before_last = actions.split_last().map(|(_, before)| before).unwrap_or_default();
        assert!(!before_last.iter().any(last), "something follows the end: {actions:?}");
        let is_counted = |action: &Action| matches!(action, Action::Begin(_, Task::Count(_)));
        // An association has deadlines of its own.
        let associates = matches!(self.association, Relaying::Wanted | Relaying::Open | Relaying::Ending);
        let at_once = matches!(phase, Phase::ClosingRelay(_)) || associates || actions.iter().any(is_counted);
        let waits = !at_once && !self.inspecting;
        assert!(self.over || self.deadline || !waits, "{phase:?} has no deadline");
        assert!(
            !self.over || self.hand_offs == 0 || self.relay_closed || has_violated(actions),
            "a relay is left open"
        );
        assert!(!self.over || !associates || has_violated(actions), "an association is left open");
        assert!(sockets <= 1 && self.hand_offs <= 1 && self.refusals <= 1 && self.verdicts <= 1, "{self:?}");
        assert!(self.hand_offs == 0 || self.refusals == 0, "granted and refused");
        assert!(self.refusals == 0 || self.verdicts == 1, "refused without a record");
        let strangers = actions.iter().filter(|action| matches!(action, Action::CloseStranger(_))).count();
        if let Happened::Accepted(_) = happened {
            let handed = actions.iter().filter(|action| matches!(action, Action::HandOff { .. })).count();
            assert_eq!(strangers + handed, 1, "an accepted socket is closed or handed over");
        }
        if let Happened::Dialled(_) = happened {
            assert!(actions.iter().any(|action| matches!(action, Action::HandOff { .. })));
        }
        if let Happened::Reached(_) = happened {
            assert!(actions.iter().any(|action| matches!(action, Action::Begin(_, Task::AskUpstream(..)))));
        }
        let held = [
            self.dialling.is_some(),
            !self.attempts.is_empty(),
            self.reached.is_some(),
            self.asking.is_some(),
            self.listening.is_some(),
        ];
        assert!(held.into_iter().filter(|held| *held).count() <= 1, "more than one kind of socket: {self:?}");
        assert!(self.attempts.len() <= 6, "too many sockets: {self:?}");
    }

    /// One line, printable, and of each kind no more than there is to say.
    pub(super) fn line(&mut self, line: &str, happened: &Happened) {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        // For the peer that a next server has met, this line is the last word.
        let of_strangers =
            line.contains("Error: connected to wrong host") && !matches!(happened, Happened::Replied(..));
        // For a relay that new rules refuse, this is a line more; for a request on its way it is the verdict.
        let is_relayed = self.hand_offs == 1 || self.association != Relaying::No;
        if begins(&["refused -- "]) && matches!(happened, Happened::Recheck) && is_relayed {
            return;
        }
        if begins(&[
            "password refused -- ",
            "password not checked -- ",
            "connected -- ",
            "refused -- ",
            "failed -- ",
            "timed-out -- ",
            "error -- ",
            "Error in ",
        ]) {
            self.verdicts += u32::from(!of_strangers);
        }
        if begins(&["terminated -- "]) {
            assert!(is_relayed && !self.terminated, "{line}");
            self.terminated = true;
        }
    }

    /// Asks rules, guards and lines anew about an address or, without one, about the name.
    pub(super) fn way(
        &self,
        address: Option<IpAddr>,
        command: Command,
        config: &Config,
    ) -> std::result::Result<Way, String> {
        let request = self.request.as_ref().ok_or("no request")?;
        let user = UserId::parse(request.user.as_bytes()).map_err(|_| "no user")?;
        let kind = address.map(kind_of);
        let nat64 = &config.settings.nat64_prefixes;
        let anybody = command == Command::Bind
            && address.is_some_and(|address| address.is_unspecified())
            && config.settings.bind_any
            && !matches!(&request.destination, message::request::Destination::Name(name)
                if matches!(parse_destination(name.as_bytes()), Ok(Destination::Name(_))));
        let port = if command == Command::Bind { 1 } else { request.port };
        let guarded = address.zip(kind).filter(|_| !anybody);
        if port == 0 {
            return Err("port 0".into());
        }
        if let Some((address, kind)) = guarded {
            let own = command != Command::Bind && is_own_listener(address, port);
            always_refused(address, port, kind, own, nat64)
                .map_or(Ok(()), |refusal| Err(format!("{refusal}")))?;
        }
        let question = Request {
            source: self.client.ip(),
            destination: address,
            port: request.port,
            command,
            version: if request.version == 5 { Version::Socks5 } else { Version::Socks4 },
            user: &user,
            ident_default: config.ident_default,
            nat64,
        };
        let facts = Facts {
            source_names: names_for(config, state(&self.source_names)),
            destination_names: names_for(config, state(&self.destination_names)),
            identity: match &self.identity {
                None => FactState::NotAsked,
                Some(None) => FactState::Unavailable,
                Some(Some(identity)) => FactState::Known(identity),
            },
            login: self.login.as_ref().map(|(user, groups)| sockd_policy::Login { user, groups }),
        };
        let rule = match config.rules.scan()(&question, &facts) {
            Verdict::Permit(permit) => permit.rule,
            Verdict::Deny(deny)
                if deny.why == DenyReason::BadIdentity
                    && user.as_bytes() == b"root"
                    && self.is_reserved(config) =>
            {
                deny.rule.ok_or("no rule")?
            }
            other => return Err(format!("{other:?}")),
        };
        if let Some((address, kind)) = guarded
            && config.settings.local_destinations == LocalDestinations::Guarded
        {
            refused_unless_named(address, kind, &rule, nat64)
                .map_or(Ok(()), |refusal| Err(format!("{refusal}")))?;
        }
        let names = names_for(config, state(&self.destination_names));
        let claimed = self.login.as_ref().map_or(&user, |(user, _)| user);
        let lines = config.upstreams.as_ref();
        match lines.map(|lines| lines.way_for(address, names, request.port, claimed, nat64)) {
            None => Ok(Way::Direct),
            Some(Upstream::By { way: Way::Deny, .. }) => Err("denied by a line".into()),
            Some(Upstream::By { way, .. }) => Ok(way),
            Some(Upstream::NeedNames | Upstream::NamesUnavailable { .. }) => Err("no names".into()),
        }
    }

    /// The address from which this host may reach another one without a next server.
    pub(super) fn permission(
        &self,
        address: IpAddr,
        command: Command,
        config: &Config,
    ) -> std::result::Result<Option<IpAddr>, String> {
        match self.way(Some(address), command, config)? {
            Way::Direct => {
                let names = names_for(config, state(&self.destination_names));
                source_for(config, address, names)
            }
            other => Err(format!("{other}")),
        }
    }

    pub(super) fn requested(&self) -> Option<message::request::Command> {
        self.request.as_ref().map(|request| request.command)
    }

    pub(super) fn command(&self) -> Command {
        match self.requested().expect("a request") {
            message::request::Command::Connect => Command::Connect,
            message::request::Command::Bind => Command::Bind,
            message::request::Command::Associate => Command::Udp,
        }
    }

    /// The targets that a next server may be asked for: the IPv4 addresses, or the name without any address.
    pub(super) fn targets(&self) -> Vec<Option<IpAddr>> {
        match self.candidates.as_slice() {
            [] => vec![None],
            candidates => candidates.iter().copied().filter(IpAddr::is_ipv4).map(Some).collect(),
        }
    }

    /// A line that was in force leads something permitted through the server whose address this is.
    pub(super) fn is_next_server(&self, to: SocketAddr, from: Option<IpAddr>) {
        assert!(self.upstream_classified.contains(&to), "{to} was not decided on");
        let leads = self.worlds.iter().any(|config| {
            let ways = self.targets().into_iter().map(|target| self.way(target, self.command(), config));
            let mut servers = ways.flat_map(|way| match way {
                Ok(Way::Sockd(_, servers)) if servers.is_empty() => config.settings.default_servers(),
                Ok(Way::Sockd(_, servers)) => servers,
                _ => Vec::new(),
            });
            servers.any(|server| self.is_of(&server, to, from))
        });
        assert!(leads, "nothing leads through {to} from {from:?} in {self:?}");
    }

    pub(super) fn is_of(&self, server: &Server, to: SocketAddr, from: Option<IpAddr>) -> bool {
        let (written, known, names) = match &server.host {
            Destination::Address(address) => (true, *address == to.ip(), Vec::new()),
            Destination::Name(name) => {
                let found = |(resolved, addresses): &(Name, Vec<IpAddr>)| {
                    resolved.as_bytes() == name.as_str().as_bytes() && addresses.contains(&to.ip())
                };
                (false, self.resolved.iter().any(found), vec![name.clone()])
            }
        };
        let (kind, own) = (kind_of(to.ip()), is_own_listener(to.ip(), to.port()));
        known
            && server.port.unwrap_or(1080) == to.port()
            && upstream_refused(to.ip(), to.port(), kind, own, written, &[]).is_none()
            && self
                .worlds
                .iter()
                .any(|config| source_for(config, to.ip(), FactState::Known(&names)) == Ok(from))
    }

    /// A next server is asked for what was requested and may be had through one. Returns the address.
    pub(super) fn is_asked_for(&self, asked: &message::request::Request, config: &Config) -> Option<IpAddr> {
        let request = self.request.as_ref().expect("a request");
        assert_eq!((asked.version, asked.command, asked.port), (4, request.command, request.port));
        let own = config.settings.upstream_user.as_deref();
        let claimed = self.login.as_ref().map_or(request.user.as_bytes(), |(user, _)| user.as_bytes());
        assert_eq!(asked.user.as_bytes(), own.map_or(claimed, str::as_bytes));
        let target = match &asked.destination {
            message::request::Destination::Address(address) => Some(*address),
            message::request::Destination::Name(name) => {
                let names = self.destination_names.as_ref().and_then(Option::as_ref).expect("a name");
                assert_eq!(names.first().map(|name| name.as_str().as_bytes()), Some(name.as_bytes()));
                None
            }
        };
        assert!(self.targets().contains(&target), "{target:?} was not decided on");
        let ways = self.worlds.iter().map(|config| self.way(target, self.command(), config));
        let leads = ways.into_iter().any(|way| matches!(way, Ok(Way::Sockd(..))));
        assert!(leads, "no line leads {target:?} through a next server");
        target
    }

    pub(super) fn is_permitted(
        &self,
        address: IpAddr,
        from: Option<IpAddr>,
        command: Command,
        config: &Config,
    ) {
        assert!(self.candidates.contains(&address), "{address} was not decided on");
        assert_eq!(self.command(), command);
        assert_eq!(self.permission(address, command, config), Ok(from), "{address} in {self:?}");
    }

    /// The peer of a BIND is the one that was waited for, or another address of the name that is permitted as well.
    pub(super) fn is_awaited(&self, peer: SocketAddr, awaited: IpAddr, config: &Config) {
        let peer = canonical(peer.ip());
        if peer != awaited && !awaited.is_unspecified() {
            assert!(self.candidates.contains(&peer), "{peer} was not decided on");
            self.way(Some(peer), Command::Bind, config).unwrap_or_else(|why| panic!("{peer}: {why}"));
        }
    }

    pub(super) fn is_reserved(&self, config: &Config) -> bool {
        config.settings.privileged_ports && (512..=1023).contains(&self.client.port())
    }
}

/// The address from which the route file has an address reached.
pub(super) fn source_for(
    config: &Config,
    address: IpAddr,
    names: FactState<&[HostName]>,
) -> std::result::Result<Option<IpAddr>, String> {
    match config.routes.as_ref().map(|routes| routes.source_for(address, names)) {
        None => Ok(None),
        Some(Route::From { source, .. }) => Ok(Some(source)),
        Some(other) => Err(format!("{other:?}")),
    }
}

/// The fact that is waited for.
pub(super) fn fact(session: &Session) -> Option<Fact> {
    session.waits().find_map(|(_, wait)| match wait {
        Wait::Fact(fact) => Some(fact),
        _ => None,
    })
}

/// Whether an arrival can end this wait.
pub(super) fn fits(wait: Wait, arrival: &Arrival) -> bool {
    let is_of_kinds = matches!(wait, Wait::Fact(Fact::Kinds | Fact::UpstreamKinds));
    let is_identity = wait == Wait::Fact(Fact::Identity);
    match arrival {
        Arrival::LoggedIn(_) => wait == Wait::Login,
        Arrival::Resolved(_) => matches!(wait, Wait::Fact(_)) && !is_of_kinds && !is_identity,
        Arrival::Classified(_) => is_of_kinds,
        Arrival::Identified(_) => is_identity,
        Arrival::Dialled(_) => matches!(wait, Wait::Connection(_) | Wait::UpstreamConnection),
        Arrival::Listening(_) | Arrival::Accepted(_) => wait == Wait::Port,
        Arrival::Settled => wait == Wait::Worker,
        Arrival::Counted => wait == Wait::Line,
        Arrival::NoRoom(_) => {
            is_identity || matches!(wait, Wait::Port | Wait::UpstreamReply | Wait::Worker | Wait::Line)
        }
        Arrival::Replied(_) => matches!(wait, Wait::UpstreamReply | Wait::UpstreamPeer),
    }
}

/// A key that no session comes to.
pub(super) fn given_up() -> WaitKey {
    let mut keys = WaitKeys::default();
    (0..1000).fold(keys.next_key(), |_, _| keys.next_key())
}

pub(super) fn failed(call: &'static str, errno: u16) -> FailedCall {
    FailedCall { call, errno: message::Errno(errno) }
}

pub(super) fn candidate(at: SocketAddr, choices: &mut Unstructured<'_>) -> Result<Candidate> {
    Ok(Candidate {
        address: at.ip(),
        kind: kind_of(at.ip()),
        own_listener: is_own_listener(at.ip(), at.port()),
        unreachable: choices.ratio(1, 4)?,
        source: Some(parsed("198.51.100.1")).filter(|_| at.ip().is_ipv4()),
    })
}

/// The kind of an address in the routing table of the host that is played.
pub(super) fn kind_of(address: IpAddr) -> AddressKind {
    let local = ["198.51.100.1", "0.0.0.0", "::", "64:ff9b::7f00:1"].map(parsed);
    match address {
        _ if address.is_loopback() || local.contains(&address) => AddressKind::Local,
        _ if address.is_multicast() => AddressKind::Multicast,
        _ if address == parsed("203.0.113.255") => AddressKind::Broadcast,
        _ => AddressKind::Unicast,
    }
}

pub(super) fn is_own_listener(address: IpAddr, port: u16) -> bool {
    port == 1080 && kind_of(address) == AddressKind::Local
}

pub(super) fn parsed(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn any_address(choices: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(if choices.ratio(1, 16)? { choices.arbitrary()? } else { parsed(choices.choose(&ADDRESSES)?) })
}

pub(super) fn any_user<'a>(choices: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    if choices.ratio(1, 8)? {
        let length = choices.int_in_range(0..=choices.len().min(255))?;
        return choices.bytes(length);
    }
    choices.choose(&USERS).copied()
}

pub(super) fn any_login(choices: &mut Unstructured<'_>) -> Result<Login> {
    let groups = [&b"staff"[..], b"web"].map(|group| Group::new(group).expect("a short group"));
    let groups = Groups::first_of(groups.into_iter().take(choices.int_in_range(0..=2)?));
    let logins =
        [Login::Wrong, Login::TooManyOfHost, Login::TooManyOfUser, Login::Unchecked, Login::NotAlone];
    if choices.ratio(1, 4)? { choices.choose(&logins).cloned() } else { Ok(Login::Verified(groups)) }
}

pub(super) fn any_name(choices: &mut Unstructured<'_>) -> Result<Name> {
    let name = if choices.ratio(1, 8)? { any_user(choices)? } else { choices.choose(&NAMES)?.as_bytes() };
    Ok(Name::new(name).expect("at most 255 bytes"))
}

pub(super) fn any_request(choices: &mut Unstructured<'_>) -> Result<message::request::Request> {
    Ok(message::request::Request {
        version: if choices.ratio(1, 16)? { choices.arbitrary()? } else { choices.int_in_range(4..=5)? },
        command: match choices.int_in_range(0..=3u8)? {
            0 | 1 => message::request::Command::Connect,
            2 => message::request::Command::Bind,
            _ => message::request::Command::Associate,
        },
        destination: match choices.arbitrary()? {
            true => message::request::Destination::Address(any_address(choices)?),
            false => message::request::Destination::Name(any_name(choices)?),
        },
        port: *choices.choose(&PORTS)?,
        user: message::UserId::new(any_user(choices)?).expect("at most 255 bytes"),
    })
}

/// What an answer tells of names; nothing where they could not be had.
pub(super) fn learnt(answer: &Answer) -> Option<Vec<HostName>> {
    match answer {
        Answer::Names(names) => {
            Some(names.as_slice().iter().filter_map(|name| HostName::parse(name.as_bytes()).ok()).collect())
        }
        Answer::Failed => None,
        _ => Some(Vec::new()),
    }
}

/// The name that a client has asked for, where it is one.
pub(super) fn names_of(destination: &message::request::Destination) -> Option<HostName> {
    match destination {
        message::request::Destination::Name(name) => match parse_destination(name.as_bytes()) {
            Ok(Destination::Name(name)) => Some(name),
            _ => None,
        },
        message::request::Destination::Address(_) => None,
    }
}

/// Insists that this is a command of the rules or lines.
pub(super) fn is_template(template: &str, config: &Config) {
    let lines = config.upstreams.iter().flat_map(|lines| lines.templates());
    let known = config.rules.templates().chain(lines).any(|known| known.text() == template);
    assert!(known, "{template} is no command of the rules");
}

/// Whether the rules permit datagrams to this address, and there is a way.
pub(super) fn permits_udp(system: &System<'_>, address: IpAddr, config: &Config) -> bool {
    match system.way(Some(address), Command::Udp, config) {
        Ok(Way::Direct) => system.permission(address, Command::Udp, config).is_ok(),
        way => way.is_ok(),
    }
}

pub(super) fn has_violated(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Violation(_)))
}

/// A report of the kernel about a relay, in any state of both connections.
pub(super) fn any_flow(choices: &mut Unstructured<'_>) -> Result<Flow> {
    let mut connection = || -> Result<Connection> {
        let since = *choices.choose(&[0, 599_000, 7_200_000, u32::MAX])?;
        let state = *choices.choose(&[1, 1, 4, 5, 7, 8, 9, 11])?;
        Ok(Connection { state, since_sent: since, since_received: since, ..Connection::default() })
    };
    Ok(Flow { client: connection()?, server: connection()? })
}

pub(super) fn any_end(choices: &mut Unstructured<'_>) -> Result<CloseReason> {
    let errno = message::Errno(*choices.choose(&[0, 32, 104, u16::MAX])?);
    let ends = [
        CloseReason::WrongVersion(choices.arbitrary()?),
        CloseReason::NoMethod(Offered {
            none: choices.arbitrary()?,
            gssapi: false,
            password: choices.arbitrary()?,
            other: true,
        }),
        CloseReason::UndefinedCommand(choices.arbitrary()?),
        CloseReason::UndefinedAddressType(choices.arbitrary()?),
        CloseReason::CutShort,
        CloseReason::UserTooLong,
        CloseReason::BadName,
        CloseReason::ClientGone(errno),
        CloseReason::Refused,
        CloseReason::Finished,
        CloseReason::ClientFailed(errno),
        CloseReason::ServerFailed(errno),
        CloseReason::Ended,
        CloseReason::NoResources,
    ];
    choices.choose(&ends).copied()
}

pub(super) fn any_answer(choices: &mut Unstructured<'_>) -> Result<Answer> {
    let count = choices.int_in_range(0..=3)?;
    Ok(match choices.int_in_range(0..=5)? {
        0..=2 => Answer::Addresses(BoundedVec::first_of(
            (0..count).map(|_| any_address(choices)).collect::<Result<Vec<_>>>()?,
        )),
        3 => Answer::Names(BoundedVec::first_of(
            (0..count).map(|_| any_name(choices)).collect::<Result<Vec<_>>>()?,
        )),
        4 => Answer::NotFound,
        _ => Answer::Failed,
    })
}

pub(super) fn any_reply(choices: &mut Unstructured<'_>) -> Result<NextReply> {
    use RefusalReason::{ConnectionRefused, General, IdentityMismatch, NoIdentd};
    let why = *choices.choose(&[General, NoIdentd, IdentityMismatch, ConnectionRefused])?;
    Ok(match choices.int_in_range(0..=9)? {
        0..=4 => {
            let address = match any_address(choices)? {
                IpAddr::V4(address) => address,
                IpAddr::V6(_) => [203, 0, 113, 1].into(),
            };
            NextReply::Granted(SocketAddrV4::new(address, *choices.choose(&PORTS)?).into())
        }
        5 | 6 => NextReply::Refused(why),
        7 => match choices.arbitrary()? {
            true => NextReply::WrongVersion(choices.arbitrary()?),
            false => NextReply::UnknownCode(choices.arbitrary()?),
        },
        8 => NextReply::Closed(message::Errno(*choices.choose(&[0, 104, u16::MAX])?)),
        _ => NextReply::Cancelled,
    })
}
