//! What a story of the session comes to.

use crate::record::Failure;
use crate::session::event::Action;
use crate::session::phase::Phase;

/// What follows from an event: actions, and how the session goes on after them.
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
    /// With a decision on the candidate: the facts are other ones than before.
    Decide,
    /// With the next candidate, as this one has come to nothing.
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

    /// The candidate is to be decided on.
    pub(super) fn decide() -> Self {
        Self { actions: Vec::new(), then: Then::Decide }
    }

    /// The candidate has come to nothing.
    pub(super) fn failed(why: Failure) -> Self {
        Self { actions: Vec::new(), then: Then::Failed(why) }
    }

    /// The request has come to nothing.
    pub(super) fn refuse(why: Failure) -> Self {
        Self { actions: Vec::new(), then: Then::Refuse(why) }
    }

    /// The worker has said what it could not honestly say.
    pub(super) fn violation(what: &'static str) -> Self {
        Self::stay(vec![Action::Violation(what)])
    }

    /// The same, after these actions.
    pub(super) fn after(mut self, mut actions: Vec<Action>) -> Self {
        if !actions.is_empty() {
            actions.append(&mut self.actions);
            self.actions = actions;
        }
        self
    }
}
