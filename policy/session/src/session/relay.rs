//! The relay, seen by the monitor: the worker moves the bytes, and the kernel says whether it does.

use crate::flow::{Flow, Moved};
use crate::record::{EndCause, Record};
use crate::session::case::Case;
use crate::session::event::{Action, Event};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::{decision, ending};
use crate::settings::seconds;
use sockd_common::message::session::CloseReason;
use std::time::Duration;

/// How long a worker may take to report that a relay is over: longer than a worker on a busy processor needs.
const UNSAID_LIMIT: Duration = Duration::from_secs(5);

/// Handles the events that end a relay.
pub(super) fn relaying(phase: Phase, event: Event, case: &mut Case<'_>) -> Next {
    match (phase, event) {
        (Phase::ClosingRelay(why), Event::RelayClosed(moved)) => closed(why, moved, case),
        (Phase::ClosingRelay(_), event) => ending::out_of_turn(&event),
        (_, Event::Closed(why)) => match cause(why) {
            Some(why) => close(why),
            None => Next::violation("an end that cannot be"),
        },
        (_, Event::WorkerLost) => close(EndCause::WorkerEnded),
        (_, Event::Stop) => close(EndCause::Stopped),
        (_, Event::Killed) => close(EndCause::Killed),
        (_, Event::Recheck) if !decision::is_permitted_still(case) => {
            let revoked = Record::Revoked(case.parties()).into();
            close(EndCause::Revoked).after(vec![revoked])
        }
        (_, Event::Recheck) => {
            let line = case.line();
            case.request.rest();
            Next::stay(vec![Action::Limit(line)])
        }
        (_, Event::Deadline) => Next::stay(vec![Action::Inspect]),
        (_, Event::Inspected(flow)) => inspected(flow, case),
        (_, event) => ending::out_of_turn(&event),
    }
}

/// The cause that a worker gives for the end of a relay.
fn cause(why: CloseReason) -> Option<EndCause> {
    Some(match why {
        CloseReason::Finished => EndCause::Finished,
        CloseReason::ClientFailed(errno) | CloseReason::ClientGone(errno) => EndCause::ClientFailed(errno),
        CloseReason::ServerFailed(errno) => EndCause::ServerFailed(errno),
        CloseReason::NoResources => EndCause::NoResources,
        _ => return None,
    })
}

/// Closes both connections, whatever the worker does with its own descriptors.
fn close(why: EndCause) -> Next {
    let orderly = why == EndCause::Finished;
    Next::phase(Phase::ClosingRelay(why), vec![Action::CloseRelay { orderly }])
}

/// Both connections are closed. The worker is told, unless it said so itself.
fn closed(why: EndCause, moved: Moved, case: &Case<'_>) -> Next {
    let ended = Record::Ended { parties: case.parties(), why, moved }.into();
    match why {
        EndCause::Idle | EndCause::Revoked | EndCause::Killed | EndCause::Stopped => {
            ending::close(Phase::Closing, vec![ended])
        }
        EndCause::Unsaid => {
            let unsaid = Action::Violation("it does not say that a relay has ended");
            Next::phase(Phase::Closing, vec![ended, unsaid])
        }
        _ => Next::stay(vec![ended, Action::Remove]),
    }
}

/// Judges the kernel's numbers on both connections.
fn inspected(flow: Flow, case: &mut Case<'_>) -> Next {
    let was_overdue = std::mem::replace(&mut case.request.overdue, flow.is_overdue());
    if case.request.overdue {
        return match was_overdue {
            true => close(EndCause::Unsaid),
            false => Next::stay(vec![Action::Deadline(Some(UNSAID_LIMIT))]),
        };
    }
    let idle_limit = seconds(case.config.settings.idle_limit);
    let limit = match flow.is_half_closed() {
        true => idle_limit.min(seconds(case.config.settings.half_close_limit)),
        false => idle_limit,
    };
    match limit.checked_sub(flow.idle()).filter(|left| !left.is_zero()) {
        Some(left) => Next::stay(vec![Action::Deadline(Some(left))]),
        None => close(EndCause::Idle),
    }
}
