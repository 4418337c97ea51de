//! The flows of an association, one for each destination. Each is decided on as a request of its own, by the same
//! facts, guards, rules and routes.
//!
//! [`Association::on`] takes an event of a flow and returns the actions for the monitor. The datagram worker chooses
//! the numbers of flows and says when one is idle. The messages it may send about a flow depend on those sent before.

mod flow;
pub(super) mod stage;
mod table;

use crate::config::Config;
use crate::flow::Moved;
use crate::record::{FailedCall, Record};
use crate::session::case::Case;
use crate::session::event::{Action, Arrival, Task};
use crate::session::next::Next;
use crate::session::request::ClientRequest;
use crate::session::{candidates, decision, facts};
use crate::settings::UdpLog;
use crate::violation::Violation;
use crate::waits::{WaitKey, WaitKeys};
use flow::{late, opened, permitted};
use sockd_common::message::datagram::{FlowId, Relayed};
use sockd_common::message::request::Destination;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use table::{Stage, Table};

/// How long a worker may take to end a flow.
const ENDING_LIMIT: Duration = Duration::from_secs(10);

/// The flows of one association.
#[derive(Debug)]
pub struct Association {
    client: SocketAddr,
    /// The request for the association, with the known facts about the client.
    request: ClientRequest,
    keys: WaitKeys,
    flows: Table,
    /// The bytes of flows that have ended, as the worker has told.
    moved: Relayed,
}

/// An event of a flow.
#[derive(Debug)]
pub enum FlowEvent {
    /// The worker wants a flow.
    Wanted {
        /// Its number.
        flow: FlowId,
        /// The destination.
        destination: Destination,
        /// The port there.
        port: u16,
    },
    /// A result has come for the flow that waits under this key, or no longer does.
    Arrived(WaitKey, Arrival),
    /// Its socket is connected, or connecting has failed.
    Opened(FlowId, Result<(), FailedCall>),
    /// The worker has ended it.
    Gone(FlowId, Relayed),
    /// New rules are in force.
    Recheck,
    /// Time has passed.
    Due,
}

/// An action for the monitor; actions are carried out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// An action that sessions ask for as well: begin or give up a task, record something, run a command.
    Do(Action),
    /// Connect a socket for this flow.
    Open {
        /// The flow.
        flow: FlowId,
        /// To exactly this address.
        to: SocketAddr,
        /// From this address, if the route file says so.
        from: Option<IpAddr>,
    },
    /// Tell the worker that the flow is refused.
    Refuse(FlowId),
    /// The same, as its association has reached its limit of flows.
    Full(FlowId),
    /// Tell the worker to end this flow, and shut its socket down by the monitor's descriptor, for all holders.
    End(FlowId),
    /// The worker has ended this flow: shut down its socket in the same way.
    Close(FlowId),
}

impl Association {
    /// The association of a client whose request is granted.
    pub(super) fn new(client: SocketAddr, request: ClientRequest) -> Self {
        let (keys, moved) = (WaitKeys::of_flows(), Relayed::default());
        Self { client, request, keys, flows: Table::default(), moved }
    }

    /// The number of flows, including those that are being decided on.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are no flows.
    pub fn is_empty(&self) -> bool {
        self.flows.len() == 0
    }

    /// All bytes that it has moved, given those of the flows that are still open.
    pub fn moved(&self, open: Relayed) -> Moved {
        Moved { up: self.moved.up.saturating_add(open.up), down: self.moved.down.saturating_add(open.down) }
    }

    /// When the first flow is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.flows.due_at()
    }

    /// Handles one event.
    pub fn on(
        &mut self,
        event: FlowEvent,
        now: Instant,
        config: &Config,
    ) -> Result<Vec<FlowAction>, Violation> {
        let mut turn = Turn { now, config, actions: Vec::new() };
        match event {
            FlowEvent::Wanted { flow, destination, port } => {
                self.wanted(flow, (destination, port), &mut turn)?;
            }
            FlowEvent::Arrived(key, arrival) => self.arrived(key, arrival, &mut turn),
            FlowEvent::Opened(flow, result) => {
                // Facts may be missing about the next address: they have to come in time as well.
                let is_open = result.is_ok();
                self.flows.set_stage(flow, if is_open { Stage::Open } else { Stage::Deciding(None) });
                self.go_on(flow, &mut turn, |case| opened(result, case));
                let open = self.flows.get_mut(flow).filter(|_| is_open);
                open.into_iter().for_each(|flow| flow.request.rest());
            }
            FlowEvent::Gone(flow, moved) => self.gone(flow, moved, &mut turn)?,
            FlowEvent::Recheck => self.recheck(&mut turn),
            FlowEvent::Due => self.due(&mut turn)?,
        }
        Ok(turn.actions)
    }
}

/// The state of handling one event.
struct Turn<'a> {
    now: Instant,
    config: &'a Config,
    actions: Vec<FlowAction>,
}

impl Association {
    fn wanted(&mut self, id: FlowId, to: (Destination, u16), turn: &mut Turn<'_>) -> Result<(), Violation> {
        if self.flows.contains(id) {
            return Err(Violation("a flow that is there already"));
        }
        if self.flows.len() >= usize::from(turn.config.settings.max_flows) {
            turn.actions.push(FlowAction::Full(id));
            return Ok(());
        }
        let Some((request, destination)) = self.request.another().towards(to.0, to.1) else {
            turn.actions.push(FlowAction::Refuse(id));
            return Ok(());
        };
        self.flows.insert(id, request);
        self.go_on(id, turn, |case| facts::begin(destination, case));
        Ok(())
    }

    fn arrived(&mut self, key: WaitKey, arrival: Arrival, turn: &mut Turn<'_>) {
        let Some(id) = self.flows.answered(key) else { return };
        self.go_on(id, turn, |case| flow::arrived(key, arrival, case));
    }

    fn gone(&mut self, id: FlowId, moved: Relayed, turn: &mut Turn<'_>) -> Result<(), Violation> {
        let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.is_lent()) else {
            return Err(Violation("the end of a flow that is not there"));
        };
        self.moved.up = self.moved.up.saturating_add(moved.up);
        self.moved.down = self.moved.down.saturating_add(moved.down);
        if turn.config.settings.udp_log == UdpLog::Flows {
            let case = Case { request: &mut flow.request, client: self.client, config: turn.config };
            let moved = Moved { up: moved.up, down: moved.down };
            turn.actions.push(FlowAction::Do(Record::Flow { parties: case.parties(), moved }.into()));
        }
        turn.actions.push(FlowAction::Close(id));
        self.flows.remove(id);
        Ok(())
    }

    /// Ends flows that new rules refuse. Flows that are being decided on will be judged by the new rules.
    fn recheck(&mut self, turn: &mut Turn<'_>) {
        for id in self.flows.ids() {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            let stage = flow.stage();
            let case = Case { request: &mut flow.request, client: self.client, config: turn.config };
            if stage == Stage::Open && !decision::is_permitted(&case) {
                turn.actions.push(FlowAction::Do(Record::Revoked(case.parties()).into()));
                self.flows.set_stage(id, Stage::Ending(turn.now.checked_add(ENDING_LIMIT)));
                turn.actions.push(FlowAction::End(id));
            }
        }
    }

    fn due(&mut self, turn: &mut Turn<'_>) -> Result<(), Violation> {
        for id in self.flows.due_by(turn.now) {
            if matches!(self.flows.get_mut(id).map(|flow| flow.stage()), Some(Stage::Ending(_))) {
                return Err(Violation("a flow is not ended when it has to be"));
            }
            self.go_on(id, turn, late);
        }
        Ok(())
    }

    /// Goes on with a flow as its story says, until it has to wait.
    fn go_on(&mut self, id: FlowId, turn: &mut Turn<'_>, begin: impl FnOnce(&mut Case<'_>) -> Next) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.request.use_keys(std::mem::take(&mut self.keys));
        flow.request.begin_turn();
        flow.request.hooks_run = self.request.hooks_run;
        let mut case = Case { request: &mut flow.request, client: self.client, config: turn.config };
        let (actions, _) = candidates::follow(begin(&mut case), &mut case, permitted);
        self.keys = flow.request.take_keys();
        self.request.know(&flow.request);
        self.request.hooks_run = flow.request.hooks_run;
        actions.into_iter().for_each(|action| self.act(id, action, turn));
    }

    /// Translates an action of a request into one of a flow.
    fn act(&mut self, id: FlowId, action: Action, turn: &mut Turn<'_>) {
        turn.actions.push(match action {
            Action::Begin(_, Task::Dial { to, from, .. }) => {
                self.flows.set_stage(id, Stage::Opening);
                FlowAction::Open { flow: id, to, from }
            }
            Action::Begin(key, task) => {
                self.flows.ask(key, id);
                FlowAction::Do(Action::Begin(key, task))
            }
            Action::GiveUp(key) => {
                self.flows.answered(key);
                FlowAction::Do(Action::GiveUp(key))
            }
            Action::Refuse(_) => {
                self.flows.remove(id);
                FlowAction::Refuse(id)
            }
            Action::Deadline(limit) => {
                let due = limit.and_then(|limit| turn.now.checked_add(limit));
                return self.flows.set_deadline(id, due);
            }
            action => FlowAction::Do(action),
        });
    }
}
