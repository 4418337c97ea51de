//! The result of a story of the session.

use crate::record::Failure;
use crate::session::event::Action;
use crate::session::phase::Phase;

/// The result of an event: actions, and how the session goes on after them.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) actions: Vec<Action>,
    pub(super) then: Then,
}

/// How the session goes on.
#[derive(Debug)]
pub(super) enum Then {
    /// As before.
    Stay,
    /// In this phase.
    Phase(Phase),
    /// With a decision on the candidate: the facts have changed.
    Decide,
    /// With the next candidate, as this one has failed.
    Failed(Failure),
    /// With a refusal, as no other candidate would be of use.
    Refuse(Failure),
}

impl Next {
    /// Nothing follows.
    pub(super) fn nothing() -> Self {
        Self::stay(Vec::new())
    }

    /// These actions, in the same phase.
    pub(super) fn stay(actions: Vec<Action>) -> Self {
        Self { actions, then: Then::Stay }
    }

    /// These actions, and then this phase.
    pub(super) fn phase(phase: Phase, actions: Vec<Action>) -> Self {
        Self { actions, then: Then::Phase(phase) }
    }

    /// A decision on the candidate follows.
    pub(super) fn decide() -> Self {
        Self { actions: Vec::new(), then: Then::Decide }
    }

    /// The candidate has failed.
    pub(super) fn failed(why: Failure) -> Self {
        Self { actions: Vec::new(), then: Then::Failed(why) }
    }

    /// The request has failed.
    pub(super) fn refuse(why: Failure) -> Self {
        Self { actions: Vec::new(), then: Then::Refuse(why) }
    }

    /// The worker has sent a message that no honest worker sends.
    pub(super) fn violation(what: &'static str) -> Self {
        Self::stay(vec![Action::Violation(what)])
    }

    /// The same result, after these actions.
    pub(super) fn after(mut self, mut actions: Vec<Action>) -> Self {
        if !actions.is_empty() {
            actions.append(&mut self.actions);
            self.actions = actions;
        }
        self
    }
}
