//! The flows of an association, among any events: what the datagram worker, the resolver, identd and the clock make of them.

use super::system::{
    PORTS, System, any_address, any_answer, any_name, any_user, candidate, failed, given_up, is_template,
    learnt, names_of, permits_udp,
};
use arbitrary::{Result, Unstructured};
use sockd_common::message::datagram::{FlowId, Relayed};
use sockd_common::message::request::{Command, Destination, Request};
use sockd_common::message::resolver::Query;
use sockd_policy::{HostName, Identity, UserId};
use sockd_session::config::Config;
use sockd_session::limits::limit::Limit;
use sockd_session::log::classic;
use sockd_session::session::{Action, Arrival, Association, FlowAction, FlowEvent, Task};
use sockd_session::waits::WaitKey;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An association, and what the monitor has for each of its flows.
#[derive(Debug)]
pub(super) struct Flows<'w> {
    association: Association,
    /// The request for it, with what is known of the client: each flow begins with that.
    known: System<'w>,
    now: Instant,
    flows: BTreeMap<FlowId, Flow<'w>>,
    /// What is waited for, and by which flow.
    held: BTreeMap<WaitKey, (FlowId, Asked)>,
}

#[derive(Debug)]
struct Flow<'w> {
    /// As if it were a session of its own.
    system: System<'w>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Deciding,
    Open(SocketAddr),
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    SourceNames,
    DestinationNames,
    Identity,
    Addresses,
    Kinds,
}

impl<'w> Flows<'w> {
    /// Of a session for which this has been found out.
    pub(super) fn new(association: Association, session: &System<'w>, config: &'w Config) -> Self {
        let system = System {
            request: session.request.clone(),
            login: session.login.clone(),
            ..System::new(session.client, config)
        };
        let (flows, held) = (BTreeMap::new(), BTreeMap::new());
        Self { association, known: system, now: Instant::now(), flows, held }
    }

    /// Something happens to a flow; false where the worker has broken the rules.
    pub(super) fn happens(&mut self, choices: &mut Unstructured<'_>, config: &'w Config) -> Result<bool> {
        let event = self.event(choices)?;
        self.on(event, choices, config)
    }

    fn event(&mut self, choices: &mut Unstructured<'_>) -> Result<FlowEvent> {
        self.now += Duration::from_micros(1);
        let flow = FlowId(choices.int_in_range(0..=3)?);
        Ok(match choices.int_in_range(0..=11u8)? {
            0..=5 if !self.held.is_empty() => {
                let keys: Vec<WaitKey> = self.held.keys().copied().collect();
                let key = *choices.choose(&keys)?;
                let arrival = self.arrival(key, choices)?;
                FlowEvent::Arrived(key, arrival)
            }
            6 => FlowEvent::Gone(flow, Relayed { up: 1, down: 2 }),
            7 => FlowEvent::Arrived(given_up(), Arrival::Resolved(any_answer(choices)?)),
            8 => {
                let due = self.association.due_at().filter(|due| *due > self.now);
                self.now = if choices.arbitrary()? { due.unwrap_or(self.now) } else { self.now };
                FlowEvent::Due
            }
            _ => {
                let destination = match choices.arbitrary()? {
                    true => Destination::Address(any_address(choices)?),
                    false => Destination::Name(any_name(choices)?),
                };
                FlowEvent::Wanted { flow, destination, port: *choices.choose(&PORTS)? }
            }
        })
    }

    /// What may come of what is waited for.
    fn arrival(&self, key: WaitKey, choices: &mut Unstructured<'_>) -> Result<Arrival> {
        let (flow, asked) = &self.held[&key];
        Ok(match asked {
            Asked::Kinds => {
                let of_flow = &self.flows[flow].system.classifying;
                let kinds = of_flow.iter().map(|at| candidate(*at, choices));
                Arrival::Classified(kinds.collect::<Result<_>>()?)
            }
            Asked::Identity => match choices.int_in_range(0..=3u8)? {
                0 => Arrival::NoRoom(Limit::IDENTS),
                1 => Arrival::Identified(Identity::Unknown),
                _ => {
                    let user = UserId::parse(any_user(choices)?);
                    Arrival::Identified(user.map_or(Identity::Unknown, Identity::Known))
                }
            },
            _ => Arrival::Resolved(any_answer(choices)?),
        })
    }

    /// Takes an event through its flow, and performs what follows until nothing does.
    pub(super) fn on(
        &mut self,
        event: FlowEvent,
        choices: &mut Unstructured<'_>,
        config: &'w Config,
    ) -> Result<bool> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (rechecks, is_due) = (matches!(event, FlowEvent::Recheck), matches!(event, FlowEvent::Due));
            let (of, is_wrong) = self.before(&event, config);
            let done = self.association.on(event, self.now, config);
            let Ok(actions) = done else {
                let owes = is_due && self.flows.values().any(|flow| flow.stage == Stage::Ending);
                assert!(is_wrong || owes, "nobody is to blame in {self:?}");
                return Ok(false);
            };
            assert!(!is_wrong, "a worker may not say so in {self:?}");
            let mut of = of;
            of.into_iter().for_each(|flow| self.share(flow));
            for action in actions {
                of = self.too_late(&action).filter(|_| is_due).or(of);
                events.extend(self.perform(action, of, choices, config)?);
            }
            if rechecks {
                self.are_permitted(config);
            }
        }
        self.is_sound();
        Ok(true)
    }

    /// Takes note of what a flow learns; gives which flow it is, and whether the worker may not say so.
    fn before(&mut self, event: &FlowEvent, config: &'w Config) -> (Option<FlowId>, bool) {
        match event {
            FlowEvent::Wanted { flow, .. } if self.flows.contains_key(flow) => (None, true),
            FlowEvent::Wanted { flow, destination, port } => {
                if self.flows.len() < usize::from(config.settings.max_flows) {
                    self.begin(*flow, destination, *port, config);
                }
                (Some(*flow), false)
            }
            FlowEvent::Gone(flow, _) => {
                let lent = self.flows.get(flow).is_some_and(|flow| flow.stage != Stage::Deciding);
                (None, !lent)
            }
            FlowEvent::Arrived(key, arrival) => {
                let held = self.held.remove(key);
                held.into_iter().for_each(|(flow, asked)| self.learn(flow, asked, Some(arrival)));
                (held.map(|(flow, _)| flow), false)
            }
            FlowEvent::Opened(flow, _) => (Some(*flow), false),
            FlowEvent::Due | FlowEvent::Recheck => (None, false),
        }
    }

    /// What has come too late for a flow is given up, and first of all that follows for this flow.
    fn too_late(&mut self, action: &FlowAction) -> Option<FlowId> {
        let FlowAction::Do(Action::GiveUp(key)) = action else { return None };
        let (flow, asked) = self.held.get(key).copied()?;
        self.learn(flow, asked, None);
        self.share(flow);
        Some(flow)
    }

    fn begin(&mut self, flow: FlowId, destination: &Destination, port: u16, config: &'w Config) {
        let known = &self.known;
        let user = known.request.as_ref().expect("a request").user.clone();
        let request =
            Request { version: 5, command: Command::Associate, destination: destination.clone(), port, user };
        let system = System {
            source_names: known.source_names.clone(),
            destination_names: names_of(destination).map(|name| Some(vec![name])),
            identity: known.identity.clone(),
            login: known.login.clone(),
            request: Some(request),
            ..System::new(known.client, config)
        };
        self.flows.insert(flow, Flow { system, stage: Stage::Deciding });
    }

    /// What was asked has come, or has not in time.
    fn learn(&mut self, flow: FlowId, asked: Asked, arrival: Option<&Arrival>) {
        let Some(Flow { system, .. }) = self.flows.get_mut(&flow) else { return };
        let names = || -> Option<Vec<HostName>> {
            match arrival {
                Some(Arrival::Resolved(answer)) => learnt(answer),
                _ => None,
            }
        };
        match asked {
            Asked::SourceNames => {
                system.source_names = Some(names());
            }
            Asked::DestinationNames => system.destination_names = Some(names()),
            Asked::Identity => {
                system.identity = Some(match arrival {
                    Some(Arrival::Identified(identity)) => Some(identity.clone()),
                    Some(_) => None,
                    None => Some(Identity::Unknown),
                });
            }
            Asked::Kinds => {
                system.candidates =
                    std::mem::take(&mut system.classifying).iter().map(SocketAddr::ip).collect();
            }
            Asked::Addresses => {}
        }
    }

    /// What a flow knows of the client all later ones know.
    fn share(&mut self, flow: FlowId) {
        let Some(Flow { system, .. }) = self.flows.get(&flow) else { return };
        share(&mut self.known.source_names, &system.source_names);
        share(&mut self.known.identity, &system.identity);
    }

    /// Carries out an action, and sees whether it may be.
    fn perform(
        &mut self,
        action: FlowAction,
        of: Option<FlowId>,
        choices: &mut Unstructured<'_>,
        config: &'w Config,
    ) -> Result<Option<FlowEvent>> {
        match action {
            FlowAction::Open { flow, to, from } => {
                let of_flow = self.flows.get_mut(&flow).expect("a flow");
                assert_eq!(of_flow.stage, Stage::Deciding);
                assert_eq!(to.port(), of_flow.system.request.as_ref().expect("a request").port);
                of_flow.system.is_permitted(to.ip(), from, sockd_policy::Command::Udp, config);
                let is_open = choices.ratio(3, 4)?;
                if is_open {
                    of_flow.stage = Stage::Open(to);
                }
                let opened = if is_open { Ok(()) } else { Err(failed("socket", 24)) };
                return Ok(Some(FlowEvent::Opened(flow, opened)));
            }
            FlowAction::Refuse(flow) => {
                let refused = self.flows.remove(&flow);
                assert!(refused.is_none_or(|flow| flow.stage == Stage::Deciding), "it has been lent");
            }
            FlowAction::Full(_) => {
                assert!(self.flows.len() >= usize::from(config.settings.max_flows), "there is room");
            }
            FlowAction::End(flow) => {
                let of_flow = self.flows.get_mut(&flow).expect("a flow");
                let Stage::Open(to) = of_flow.stage else { panic!("it is not open: {of_flow:?}") };
                assert!(!permits_udp(&of_flow.system, to.ip(), config), "{to} is permitted");
                of_flow.stage = Stage::Ending;
            }
            FlowAction::Close(flow) => {
                let closed = self.flows.remove(&flow).expect("a flow");
                assert_ne!(closed.stage, Stage::Deciding, "it has no socket");
            }
            FlowAction::Do(action) => self.perform_for_request(action, of, config),
        }
        Ok(None)
    }

    fn perform_for_request(&mut self, action: Action, of: Option<FlowId>, config: &Config) {
        match action {
            Action::Begin(key, task) => self.ask(key, of.expect("a flow"), &task),
            Action::GiveUp(key) => assert!(self.held.remove(&key).is_some(), "{key:?} in {:?}", self.held),
            Action::Record(record) => classic::lines(&record).iter().for_each(|line| {
                assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
            }),
            Action::Run(template, _) => is_template(&template, config),
            other => panic!("nothing for a flow: {other:?}"),
        }
    }

    /// A flow waits for something.
    fn ask(&mut self, key: WaitKey, id: FlowId, task: &Task) {
        let client = self.known.client.ip();
        let flow = self.flows.get_mut(&id).expect("a flow");
        assert_eq!(flow.stage, Stage::Deciding);
        let system = &mut flow.system;
        let asked = match task {
            Task::Classify(addresses, port) => {
                system.classifying =
                    addresses.iter().map(|address| SocketAddr::new(*address, *port)).collect();
                Asked::Kinds
            }
            Task::AskIdent => Asked::Identity,
            Task::Resolve(Query::Addresses(_)) => Asked::Addresses,
            Task::Resolve(Query::Names(address)) if *address == client && system.source_names.is_none() => {
                Asked::SourceNames
            }
            Task::Resolve(Query::Names(_)) => Asked::DestinationNames,
            other => panic!("nothing for a flow: {other:?}"),
        };
        assert_eq!(self.held.insert(key, (id, asked)), None, "{key:?}");
    }

    /// After new rules have come, what is open is permitted by them.
    fn are_permitted(&self, config: &Config) {
        for flow in self.flows.values() {
            if let Stage::Open(to) = flow.stage {
                assert!(permits_udp(&flow.system, to.ip(), config), "{to} goes on in {flow:?}");
            }
        }
    }

    /// Each flow that is decided on waits for one thing, and nothing is held for others; and it does not wait for ever.
    fn is_sound(&self) {
        assert_eq!(self.association.len(), self.flows.len(), "{self:?}");
        for (id, flow) in &self.flows {
            let held = self.held.values().filter(|(of, _)| of == id).count();
            assert_eq!(held, usize::from(flow.stage == Stage::Deciding), "{id:?} in {self:?}");
        }
        assert!(self.held.values().all(|(of, _)| self.flows.contains_key(of)), "{self:?}");
        let waits = self.flows.values().any(|flow| !matches!(flow.stage, Stage::Open(_)));
        assert_eq!(self.association.due_at().is_some(), waits, "a deadline in {self:?}");
    }
}

/// The fact that a flow has learnt last is known to all later ones.
fn share<T: Clone>(shared: &mut Option<Option<T>>, learnt: &Option<Option<T>>) {
    if learnt.is_some() {
        shared.clone_from(learnt);
    }
}
