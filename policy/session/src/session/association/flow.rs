//! One flow, from the decision on it to its end.

use crate::limits::limit::Limit;
use crate::record::{FailedCall, Failure};
use crate::session::case::Case;
use crate::session::decision::{Path, Permitted};
use crate::session::event::{Action, Arrival, Task, Wait};
use crate::session::facts;
use crate::session::next::Next;
use crate::waits::WaitKey;
use std::net::{IpAddr, SocketAddr};

/// Opens a flow that the rules permit.
pub(super) fn permitted(permitted: Permitted, case: &mut Case<'_>) -> Next {
    let Permitted { path, rule, unverified, hooks, .. } = permitted;
    match path {
        Path::Upstream(..) => Next::refuse(Failure::Limited(Limit::NO_NEXT_SERVER)),
        Path::Direct(..) if !case.request.progress().kinds_are_fresh => facts::look_again(case),
        Path::Direct(candidate, from) => {
            case.request.rule = rule;
            let actions = case.permitted_once(unverified, hooks);
            open(candidate.address, from, case).after(actions)
        }
    }
}

fn open(to: IpAddr, from: Option<IpAddr>, case: &mut Case<'_>) -> Next {
    let to = SocketAddr::new(to, case.request.port);
    let task = Task::Dial { to, from, reserved: false };
    Next::stay(vec![case.begin(Wait::Connection(case.request.current), task)])
}

/// The socket of a flow is connected; if not, another address is decided on.
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
