//! One flow, from the question whether it may be to its end.

use crate::limits::limit::Limit;
use crate::record::{FailedCall, Failure};
use crate::session::case::Case;
use crate::session::decision::{self, Path, Permitted, Step};
use crate::session::event::{Action, Arrival, Task, Wait};
use crate::session::next::Next;
use crate::session::{ending, facts};
use crate::waits::WaitKey;
use std::net::{IpAddr, SocketAddr};

/// Decides on a flow: it is opened, or a fact is missing, or it is refused, or its next address is decided on.
pub(super) fn decided(case: &mut Case<'_>) -> Next {
    if let Some(need) = facts::wanted_for_the_log(case) {
        return facts::need(need, case);
    }
    let candidate = case.request.candidate();
    if candidate.is_none() && (!case.request.progress().unresolved || case.request.current > 0) {
        return ending::refuse(case);
    }
    match decision::decide(candidate, case) {
        Ok(Step::Need(need)) => facts::need(need, case),
        Ok(Step::Go(Permitted { path: Path::Upstream(..), .. })) => {
            Next::refuse(Failure::Limited(Limit::NO_NEXT_SERVER))
        }
        Ok(Step::Go(_)) if !case.request.progress().kinds_are_fresh => facts::look_again(case),
        Ok(Step::Go(Permitted { path: Path::Direct(candidate, from), rule, unverified, hooks, .. })) => {
            case.request.rule = rule;
            let actions = case.permitted_once(unverified, hooks);
            open(candidate.address, from, case).after(actions)
        }
        Err(rejected) => {
            case.request.reject(rejected);
            Next::decide()
        }
    }
}

fn open(to: IpAddr, from: Option<IpAddr>, case: &mut Case<'_>) -> Next {
    let to = SocketAddr::new(to, case.request.port);
    let task = Task::Dial { to, from, reserved: false };
    Next::stay(vec![case.begin(Wait::Connection(case.request.current), task)])
}

/// The socket of a flow is connected, or another address is decided on.
pub(super) fn opened(result: Result<(), FailedCall>, case: &mut Case<'_>) -> Next {
    case.request.end_waits(|_| true);
    match result {
        Ok(()) => Next::nothing(),
        Err(failed) => Next::failed(Failure::Call(failed)),
    }
}

/// A fact has come.
pub(super) fn arrived(key: WaitKey, arrival: Arrival, case: &mut Case<'_>) -> Next {
    match case.request.end_wait(key) {
        Some(Wait::Fact(fact)) => facts::arrived(fact, arrival, key, case),
        _ => Next::nothing(),
    }
}

/// Facts did not come in time.
pub(super) fn late(case: &mut Case<'_>) -> Next {
    let waits = case.request.end_waits(|_| true);
    let next = facts::late(&waits, case);
    next.after(waits.into_iter().map(|(key, _)| Action::GiveUp(key)).collect())
}
