//! The flows of an association, by their numbers. Indexes tell which flows are due, and which flow waits under a key,
//! without a look at each.

use crate::session::request::ClientRequest;
use crate::waits::WaitKey;
use sockd_common::message::datagram::FlowId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A flow, with its request, which is decided on.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) request: ClientRequest,
    stage: Stage,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Facts have been asked for; they must arrive by this time.
    Deciding(Option<Instant>),
    /// Its socket is being connected.
    Opening,
    /// The worker has its socket.
    Open,
    /// The worker must have ended it by this time.
    Ending(Option<Instant>),
}

impl Flow {
    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the worker has its socket.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Ending(_))
    }

    fn due_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Deciding(due) | Stage::Ending(due) => due,
            Stage::Opening | Stage::Open => None,
        }
    }
}

/// The flows.
#[derive(Debug, Default)]
pub(super) struct Table {
    flows: BTreeMap<FlowId, Flow>,
    due: BTreeSet<(Instant, FlowId)>,
    /// The flows whose facts have been asked for. Each fact comes or is given up.
    asked: BTreeMap<WaitKey, FlowId>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn contains(&self, id: FlowId) -> bool {
        self.flows.contains_key(&id)
    }

    pub(super) fn ids(&self) -> Vec<FlowId> {
        self.flows.keys().copied().collect()
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    /// Adds a flow that is to be decided on.
    pub(super) fn insert(&mut self, id: FlowId, request: ClientRequest) {
        self.remove(id);
        self.flows.insert(id, Flow { request, stage: Stage::Deciding(None) });
    }

    pub(super) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        flow.due_at().map(|due| self.due.remove(&(due, id)));
        Some(flow)
    }

    /// A flow has reached this stage.
    pub(super) fn set_stage(&mut self, id: FlowId, stage: Stage) {
        let Self { flows, due, .. } = self;
        let Some(flow) = flows.get_mut(&id) else { return };
        flow.due_at().map(|at| due.remove(&(at, id)));
        flow.stage = stage;
        flow.due_at().map(|at| due.insert((at, id)));
    }

    /// Facts that a flow waits for must arrive by this time.
    pub(super) fn set_deadline(&mut self, id: FlowId, due: Option<Instant>) {
        if let Some(Stage::Deciding(_)) = self.flows.get(&id).map(Flow::stage) {
            self.set_stage(id, Stage::Deciding(due));
        }
    }

    /// When the first flow is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The flows that are due by now.
    pub(super) fn due_by(&self, now: Instant) -> Vec<FlowId> {
        self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }

    /// The keys under which flows wait that are due by now.
    pub(super) fn late(&self, now: Instant) -> Vec<WaitKey> {
        let due = self.due_by(now);
        self.asked.iter().filter(|(_, id)| due.contains(id)).map(|(key, _)| *key).collect()
    }

    /// A flow waits for a result under this key.
    pub(super) fn ask(&mut self, key: WaitKey, id: FlowId) {
        self.asked.insert(key, id);
    }

    /// The result has come, or is no longer waited for: returns the flow that waited.
    pub(super) fn answered(&mut self, key: WaitKey) -> Option<FlowId> {
        self.asked.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waits::WaitKeys;
    use proptest::prelude::*;
    use sockd_policy::{Command, UserId, Version};
    use std::time::Duration;

    fn request() -> ClientRequest {
        ClientRequest::new(Version::Socks5, Command::Udp, UserId::parse(b"").unwrap())
    }

    #[test]
    fn what_has_come_goes_once_to_the_flow_that_asked() {
        let (mut table, mut keys) = (Table::default(), WaitKeys::of_flows());
        let [one, two] = [keys.next_key(), keys.next_key()];
        table.ask(one, FlowId(1));
        table.ask(two, FlowId(2));
        assert_eq!([two, two, one].map(|key| table.answered(key)), [Some(FlowId(2)), None, Some(FlowId(1))]);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "where a test begins is any time")]
    fn what_is_late_is_what_a_flow_waits_for_that_is_due() {
        let (mut table, mut keys, now) = (Table::default(), WaitKeys::of_flows(), Instant::now());
        for (number, wait) in [(1, 1), (2, 2)] {
            table.insert(FlowId(number), request());
            table.set_deadline(FlowId(number), now.checked_add(Duration::from_secs(wait)));
        }
        let [one, two] = [keys.next_key(), keys.next_key()];
        table.ask(one, FlowId(1));
        table.ask(two, FlowId(2));
        let late = |seconds| table.late(now + Duration::from_secs(seconds));
        assert_eq!([late(0), late(1), late(2)], [vec![], vec![one], vec![one, two]]);
    }

    proptest! {
        /// After any events, the index of due flows equals what a look at each flow finds.
        #[test]
        fn what_is_due_is_never_out_of_step(acts in proptest::collection::vec((0u8..5, 0u16..8, 0u64..50), 0..200)) {
            #[allow(clippy::disallowed_methods, reason = "where a test begins is any time")]
            let begun = Instant::now();
            let mut table = Table::default();
            for (act, number, seconds) in acts {
                let (id, at) = (FlowId(number), begun + Duration::from_secs(seconds));
                match act {
                    0 => table.insert(id, request()),
                    1 => drop(table.remove(id)),
                    2 => table.set_deadline(id, Some(at)),
                    3 => table.set_stage(id, Stage::Ending(Some(at))),
                    _ => table.set_stage(id, if seconds < 25 { Stage::Open } else { Stage::Opening }),
                }
                let due: Vec<_> = table.flows.iter().filter_map(|(id, flow)| Some((flow.due_at()?, *id))).collect();
                prop_assert_eq!(table.due_at(), due.iter().map(|(due, _)| *due).min());
                let mut by_now: Vec<_> = due.iter().filter(|(due, _)| *due <= at).map(|(_, id)| *id).collect();
                let mut told = table.due_by(at);
                by_now.sort();
                told.sort();
                prop_assert_eq!(told, by_now);
            }
        }
    }
}
