//! Any events in any order: the actions of a session, and the resources that remain and who holds them.

use crate::driver::{Happens, Sees, fits};
use crate::{
    CLIENT, config, connect_to_name, failed, granted, half_closed, idle_for, kinds, request, socksified,
};
use proptest::prelude::*;
use sockd_common::bounded::BoundedVec;
use sockd_common::message::auth::Groups;
use sockd_common::message::request::{Command, Destination, RefusalReason};
use sockd_common::message::resolver::Answer;
use sockd_common::message::session::CloseReason;
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{self, Errno, Name};
use sockd_policy::guard::AddressKind;
use sockd_policy::{Identity, UserId};
use sockd_session::checks::Login;
use sockd_session::config::Config;
use sockd_session::flow::Moved;
use sockd_session::limits::limit::Limit;
use sockd_session::log::classic;
use sockd_session::session::{Action, Arrival, Candidate, Event, Phase, Session, Task};
use sockd_session::settings::Isolation;
use sockd_session::waits::WaitKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// A step of a sequence.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Any result, whether it is waited for or not.
    Comes(usize),
    /// A result that is waited for, if there is a wait.
    Fits(usize),
    Introduced,
    Closed(CloseReason),
    Inspected(u32, bool),
    RelayClosed,
    Requested(IpAddr, u16, bool),
    RequestedByName,
    Deadline,
    Recheck,
    Stop,
    WorkerLost,
}

/// Any event at all, from a worker, the resolver, identd, the network or the clock. Most are results that are waited
/// for, so that sequences lead far.
fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any_address(), 0_u16..3, any::<bool>()).prop_map(|(address, port, binds)| {
            Step::Requested(address, port, binds)
        }),
        4 => Just(Step::RequestedByName),
        2 => Just(Step::Introduced),
        40 => any::<usize>().prop_map(Step::Fits),
        2 => any::<usize>().prop_map(Step::Comes),
        2 => any_reason().prop_map(Step::Closed),
        2 => (0_u32..8000, any::<bool>()).prop_map(|(idle, half_closed)| Step::Inspected(idle, half_closed)),
        4 => Just(Step::Deadline),
        1 => Just(Step::Recheck),
        1 => Just(Step::Stop),
        1 => Just(Step::WorkerLost),
    ]
}

impl Step {
    fn happens(self, session: &Session) -> Happens {
        let one_of = |mut list: Vec<Arrival>, number: usize| match list.len() {
            0 => Event::Recheck.into(),
            length => list.swap_remove(number % length).into(),
        };
        match self {
            Self::Comes(number) => one_of(arrivals(), number),
            Self::Fits(number) => {
                let fitting = |arrival: &Arrival| session.waits().any(|(_, wait)| fits(wait, arrival));
                one_of(arrivals().into_iter().filter(fitting).collect(), number)
            }
            Self::Introduced => Event::Introduced(message::UserId::new(b"joe").unwrap()).into(),
            Self::Closed(why) => Event::Closed(why).into(),
            Self::RelayClosed => Event::RelayClosed(Moved::default()).into(),
            Self::Inspected(idle, true) => Event::Inspected(half_closed(idle, false)).into(),
            Self::Inspected(idle, false) => Event::Inspected(idle_for(idle)).into(),
            Self::Requested(address, port, binds) => {
                let command = if binds { Command::Bind } else { Command::Connect };
                request(command, Destination::Address(address), port)
            }
            Self::RequestedByName => connect_to_name("a.example", 23),
            Self::Deadline => Event::Deadline.into(),
            Self::Recheck => Event::Recheck.into(),
            Self::Stop => Event::Stop.into(),
            Self::WorkerLost => Event::WorkerLost.into(),
        }
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    let addresses = ["203.0.113.1", "203.0.113.66", "127.0.0.1", "0.0.0.0", "10.1.2.3"];
    (0..addresses.len()).prop_map(move |place| addresses[place].parse().unwrap())
}

fn any_reason() -> impl Strategy<Value = CloseReason> {
    prop_oneof![
        Just(CloseReason::Finished),
        Just(CloseReason::WrongVersion(5)),
        Just(CloseReason::CutShort),
        Just(CloseReason::ClientGone(Errno(0))),
        Just(CloseReason::Refused),
        Just(CloseReason::Ended)
    ]
}

/// The results that may come to a session.
fn arrivals() -> Vec<Arrival> {
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let found = |list: &[&str]| {
        let addresses = list.iter().map(|address| address.parse().unwrap());
        Arrival::Resolved(Answer::Addresses(BoundedVec::first_of(addresses)))
    };
    let (unicast, local) = (("203.0.113.1", AddressKind::Unicast), ("203.0.113.1", AddressKind::Local));
    vec![
        Arrival::LoggedIn(Login::Verified(Groups::default())),
        Arrival::LoggedIn(Login::Wrong),
        found(&["203.0.113.1", "203.0.113.66", "203.0.113.1"]),
        found(&["127.0.0.1"]),
        Arrival::Resolved(Answer::Failed),
        Arrival::Resolved(Answer::Names(BoundedVec::first_of(Name::new(b"x.example")))),
        arrival(kinds(&[unicast])),
        arrival(kinds(&[local, unicast])),
        Arrival::Identified(Identity::Unknown),
        Arrival::Identified(Identity::Known(UserId::parse(b"joe").unwrap())),
        Arrival::Settled,
        Arrival::Dialled(Ok(())),
        Arrival::Dialled(Err(failed("connect"))),
        Arrival::Listening(Ok(at("198.51.100.1:9"))),
        Arrival::Listening(Err(failed("bind"))),
        Arrival::NoRoom(Limit::BINDS),
        Arrival::Accepted(Ok(at("203.0.113.1:20"))),
        Arrival::Accepted(Ok(at("203.0.113.66:20"))),
        Arrival::Accepted(Err(failed("accept"))),
        arrival(granted("203.0.113.1:20")),
        arrival(granted("203.0.113.2:20")),
        Arrival::Replied(NextReply::Refused(RefusalReason::IdentityMismatch)),
        Arrival::Replied(NextReply::Refused(RefusalReason::General)),
        Arrival::Replied(NextReply::WrongVersion(5)),
    ]
}

fn arrival(happens: Happens) -> Arrival {
    match happens {
        Happens::Arrival(arrival) => arrival,
        Happens::Event(event) => panic!("{event:?}"),
    }
}

/// Restricts kinds of addresses to the addresses that were asked about.
fn honest(happens: Happens, asked: &[IpAddr]) -> Happens {
    let Happens::Arrival(Arrival::Classified(said)) = happens else { return happens };
    let about = |(address, said): (&IpAddr, &Candidate)| Candidate { address: *address, ..*said };
    Arrival::Classified(asked.iter().zip(said.iter().cycle()).map(about).collect()).into()
}

/// The resource that the monitor holds under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// A check of a password, a lookup, a question to an identd, or addresses that are looked at.
    Question,
    /// The end of the client's previous worker: meanwhile the client cannot be told anything.
    EndingWorker,
    Dial(SocketAddr),
    Server(SocketAddr),
    Port,
    PortWithPeer(SocketAddr),
    /// A next server that is asked, with the replies that are still to come.
    Upstream(SocketAddr, u8),
}

/// A simulated system: the monitor's resources for one session, and the lines that it writes about it.
#[derive(Debug)]
struct System {
    /// The only address that the rules permit, and the next server, if one leads there.
    permitted: IpAddr,
    upstream: Option<SocketAddr>,
    /// Whether the rules ask identd and users have workers of their own.
    identd: bool,
    settled: bool,
    /// Whether a password was right.
    logged_in: bool,
    held: BTreeMap<WaitKey, Held>,
    /// The addresses that were last asked about.
    classified: Vec<IpAddr>,
    /// Keys that have been used.
    used: BTreeSet<WaitKey>,
    handed_over: u32,
    deadline: bool,
    /// Whether the monitor is to look at the relay, and whether to close it.
    inspects: bool,
    closes: bool,
    relay_closed: bool,
    /// Lines about the request's fate before a relay began, and about the begin and the end of a relay. The others are
    /// about rules that refuse it afterwards, and about a request that was not read.
    fates: u32,
    begins: u32,
    ends: u32,
    rechecks: u32,
    unread: u32,
}

type Checked = Result<(), TestCaseError>;

impl System {
    fn new(upstream: Option<&str>) -> Self {
        Self {
            permitted: "203.0.113.1".parse().unwrap(),
            upstream: upstream.map(|server| server.parse().unwrap()),
            identd: false,
            settled: false,
            logged_in: false,
            held: BTreeMap::new(),
            classified: Vec::new(),
            used: BTreeSet::new(),
            handed_over: 0,
            deadline: true,
            inspects: false,
            closes: false,
            relay_closed: false,
            fates: 0,
            begins: 0,
            ends: 0,
            rechecks: 0,
            unread: 0,
        }
    }

    /// Applies a result: the task under its key is over, or leaves a socket.
    fn before(&mut self, event: &Event) {
        let Event::Arrived(key, arrival) = event else {
            self.deadline &= !matches!(event, Event::Deadline);
            self.inspects &= !matches!(event, Event::Inspected(_));
            self.closes &= !matches!(event, Event::RelayClosed(_));
            return;
        };
        let Some(held) = self.held.remove(key) else { return };
        self.logged_in |= matches!(arrival, Arrival::LoggedIn(Login::Verified(_)));
        self.settled |= matches!((held, arrival), (Held::EndingWorker, Arrival::Settled));
        let left = match (held, arrival) {
            (Held::Dial(to), Arrival::Dialled(Ok(()))) => Some(Held::Server(to)),
            (Held::Port, Arrival::Listening(Ok(_))) => Some(Held::Port),
            (Held::Port, Arrival::Accepted(Ok(peer))) => Some(Held::PortWithPeer(*peer)),
            (Held::Upstream(server, 2), Arrival::Replied(NextReply::Granted(_))) => {
                Some(Held::Upstream(server, 1))
            }
            (Held::Upstream(server, _), _) => Some(Held::Server(server)),
            _ => None,
        };
        self.held.extend(left.map(|left| (*key, left)));
    }

    fn begin(&mut self, key: WaitKey, task: &Task) -> Checked {
        let before = self.held.remove(&key);
        let held = match task {
            Task::Verify | Task::Resolve(_) | Task::Count(_) => Held::Question,
            Task::Classify(addresses, _) => {
                self.classified = addresses.clone();
                Held::Question
            }
            Task::AskIdent => {
                prop_assert!(self.identd, "no line wants identd");
                Held::Question
            }
            Task::Settle(user, _) => {
                prop_assert_eq!((user.user.as_bytes(), self.held.len()), (&b"joe"[..], 0), "{:?}", self.held);
                prop_assert!(self.identd && self.handed_over == 0);
                Held::EndingWorker
            }
            Task::Dial { to, .. } => {
                prop_assert!(self.upstream.map_or(to.ip() == self.permitted, |server| server == *to));
                prop_assert_ne!(to.port(), 0);
                Held::Dial(*to)
            }
            Task::Listen { towards, .. } => {
                prop_assert!(self.upstream.is_none(), "a port here for a BIND there");
                prop_assert_eq!(*towards, self.permitted);
                Held::Port
            }
            Task::AskUpstream(server, request) => {
                prop_assert_eq!(before, Some(Held::Server(*server)));
                prop_assert_eq!(&request.destination, &Destination::Address(self.permitted));
                Held::Upstream(*server, if request.command == Command::Bind { 2 } else { 1 })
            }
        };
        prop_assert_eq!(before.is_none(), self.used.insert(key), "a key is used twice");
        self.held.insert(key, held);
        Ok(())
    }

    fn perform(&mut self, action: &Action, arrival: Option<NextReply>) -> Checked {
        let tells_its_worker = matches!(
            action,
            Action::Accept | Action::Refuse(_) | Action::End | Action::HandOff { .. } | Action::Announce(_)
        );
        let has_no_worker = self.held.values().any(|held| *held == Held::EndingWorker);
        prop_assert!(!(tells_its_worker && has_no_worker), "{action:?} is told nobody");
        match action {
            Action::Begin(key, task) => self.begin(*key, task)?,
            Action::GiveUp(key) => prop_assert!(self.held.remove(key).is_some(), "{key:?} is not held"),
            Action::CloseStranger(key) => {
                let held = self.held.insert(*key, Held::Port);
                prop_assert!(matches!(held, Some(Held::PortWithPeer(_))), "{held:?}");
            }
            Action::HandOff { key, bound, .. } => {
                match (self.held.get(key), arrival) {
                    (Some(Held::Server(server)), None) => prop_assert_eq!(server.ip(), self.permitted),
                    (Some(Held::PortWithPeer(peer)), None) => {
                        prop_assert!(peer.ip() == self.permitted && Some(*peer) == *bound);
                    }
                    (Some(Held::Server(server)), Some(NextReply::Granted(said))) => {
                        prop_assert!(Some(*server) == self.upstream && *bound == Some(said));
                    }
                    held => prop_assert!(false, "nothing to hand over: {held:?}"),
                }
                prop_assert!(self.settled || !self.identd, "handed over to the worker of nobody known");
                self.held.clear();
                self.handed_over += 1;
                prop_assert_eq!(self.handed_over, 1);
            }
            Action::Refuse(_) | Action::End => self.held.clear(),
            Action::Remove | Action::Violation(_) => (self.held, self.deadline) = (BTreeMap::new(), false),
            Action::Deadline(limit) => self.deadline = limit.is_some(),
            Action::Record(record) => {
                classic::lines(record).iter().try_for_each(|line| self.read(line))?;
            }
            Action::Inspect => self.inspects = true,
            Action::CloseRelay { .. } => {
                prop_assert!(self.handed_over == 1 && !self.relay_closed, "no relay to close");
                (self.closes, self.relay_closed) = (true, true);
            }
            Action::Accept => prop_assert!(self.logged_in && self.handed_over == 0),
            Action::Associate { .. } | Action::Associated(_) | Action::Dissociate(_) => {
                prop_assert!(false, "no association was asked for");
            }
            Action::Announce(_)
            | Action::Run(..)
            | Action::Remember { .. }
            | Action::Reset
            | Action::Limit(_) => {}
        }
        Ok(())
    }

    fn read(&mut self, line: &str) -> Checked {
        prop_assert!(!line.contains('\n'));
        let of_stranger = line.contains("connected to wrong host") && !line.contains(" using sockd at ");
        let count = match line.split(' ').next().unwrap() {
            "connected" => &mut self.begins,
            "terminated" => &mut self.ends,
            "failed" if of_stranger => return Ok(()),
            "refused" if self.handed_over > 0 => &mut self.rechecks,
            "refused" | "failed" | "timed-out" => &mut self.fates,
            "Error" | "error" => &mut self.unread,
            _ => return Ok(()),
        };
        *count += 1;
        Ok(())
    }

    /// Checks the invariants between two events.
    fn rests(&self, session: &Session, actions: &[Action]) -> Checked {
        let phase = session.phase();
        let over = |action: &Action| matches!(action, Action::Remove | Action::Violation(_));
        prop_assert!(!actions.iter().rev().skip(1).any(over), "something follows an end: {actions:?}");
        prop_assert!(self.fates + self.begins <= 1, "a line too many: {actions:?}");
        prop_assert!(self.ends <= self.begins && self.rechecks <= 1 && self.unread <= 1);
        if actions.last().is_some_and(over) {
            prop_assert!(self.held.is_empty() && !self.deadline);
            let is_gone = actions.last() == Some(&Action::Remove);
            prop_assert!(!is_gone || self.relay_closed == (self.handed_over == 1), "a relay is left open");
            return Ok(());
        }
        prop_assert!(self.deadline || self.inspects || self.closes, "{phase:?} has no deadline");
        let waited_for: BTreeSet<WaitKey> = session.waits().map(|(key, _)| key).collect();
        let held: BTreeSet<WaitKey> = self.held.keys().copied().collect();
        prop_assert_eq!(waited_for, held, "{:?} {:?}", phase, actions);
        let waits_for_its_worker = matches!(
            phase,
            Phase::Relaying
                | Phase::ClosingRelay(_)
                | Phase::Refusing
                | Phase::ClosingUnread
                | Phase::Closing
        );
        prop_assert!(self.held.is_empty() || !waits_for_its_worker, "{phase:?} holds {:?}", self.held);
        Ok(())
    }
}

/// Takes a session through the steps and, at the end, through the loss of its worker.
fn play(mut steps: Vec<Step>, mut system: System, permits: &Config, refuses: &Config) -> Checked {
    let mut session = Session::new(CLIENT.parse().unwrap(), true);
    let mut requested = false;
    steps.push(Step::WorkerLost);
    let mut steps: VecDeque<Step> = steps.into();
    // The monitor closes the connections of a relay at once, and tells the bytes that they have moved.
    while let Some(step) = Some(Step::RelayClosed).filter(|_| system.closes).or_else(|| steps.pop_front()) {
        let mut happens = honest(step.happens(&session), &system.classified);
        if let Happens::Event(Event::Requested(request)) = &mut happens {
            requested |= session.phase() == Phase::Requesting;
            request.version = if system.logged_in { 5 } else { 4 };
        }
        let config = if matches!(happens, Happens::Event(Event::Recheck)) { refuses } else { permits };
        let event = session.told(happens);
        system.before(&event);
        let reply = match &event {
            Event::Arrived(_, Arrival::Replied(reply)) => Some(*reply),
            _ => None,
        };
        let actions = session.on(event, config);
        actions.iter().try_for_each(|action| system.perform(action, reply))?;
        system.rests(&session, &actions)?;
        match actions.last() {
            Some(Action::Remove) => {
                prop_assert_eq!(system.fates + system.begins, u32::from(requested), "{:?}", actions);
                prop_assert_eq!(system.ends, system.begins);
                return Ok(());
            }
            // The monitor kills the worker, and every session of the worker is told.
            Some(Action::Violation(_)) => steps = [Step::WorkerLost].into(),
            _ => {}
        }
    }
    Err(TestCaseError::fail("the session has outlived its worker"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// For any events in any order, only permitted addresses are dialled. Only dialled or accepted ones are handed
    /// over. The resources held match the waits, every wait has a deadline, every request has one line about its
    /// outcome and every relay one about its end, and nothing follows an end or stays after it.
    #[test]
    fn no_sequence_of_events_leads_out_of_the_rules(steps in proptest::collection::vec(any_step(), 1..24)) {
        let permits = config("permit 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\n");
        play(steps, System::new(None), &permits, &config("deny 0.0.0.0 0.0.0.0\n"))?;
    }

    /// The same with a next server. The destination is never dialled, and the next server's socket is handed over only
    /// if the server has granted exactly what the rules permit.
    #[test]
    fn no_sequence_of_events_leads_around_a_next_server(steps in proptest::collection::vec(any_step(), 1..24)) {
        let rules = "permit 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\n";
        let config = socksified(rules, "sockd @=198.51.100.1 ALL 0.0.0.0\n");
        play(steps, System::new(Some("198.51.100.1:1080")), &config, &config)?;
    }

    /// The same with a worker for each user. Only the user's worker gets a server, nothing is under way while the
    /// client moves to it, and a worker that does not have the client is told nothing.
    #[test]
    fn h9_no_sequence_of_events_leads_to_the_worker_of_another(
        steps in proptest::collection::vec(any_step(), 1..24)
    ) {
        let of_users = |rules: &str| {
            let mut config = config(rules);
            config.settings.isolation = Isolation::User;
            config
        };
        let permits = of_users("permit ?=I 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255\n");
        let system = System { identd: true, ..System::new(None) };
        play(steps, system, &permits, &of_users("deny 0.0.0.0 0.0.0.0\n"))?;
    }
}
