//! Goes from one candidate to the next, until there is something to wait for. Sessions and the flows of an association
//! both do; they differ in what follows for a candidate that is permitted.

use crate::session::case::Case;
use crate::session::decision::{self, Permitted, Step};
use crate::session::event::Action;
use crate::session::next::{Next, Then};
use crate::session::phase::Phase;
use crate::session::{bind, connect, ending, facts};

/// Goes on as a story says. Returns the actions, and the phase in which the session waits, if it is a new one.
pub(super) fn follow(
    next: Next,
    case: &mut Case<'_>,
    permitted: fn(Permitted, &mut Case<'_>) -> Next,
) -> (Vec<Action>, Option<Phase>) {
    let Next { mut actions, mut then } = next;
    loop {
        let next = match then {
            Then::Stay => return (actions, None),
            Then::Phase(phase) => return (actions, Some(phase)),
            Then::Decide => decided(case, permitted),
            Then::Failed(why) => {
                case.request.reject(why.into());
                Next::decide()
            }
            Then::Refuse(why) => {
                let strangers = bind::strangers(case);
                case.request.reject_all(why.into());
                ending::refuse(case).after(strangers)
            }
        };
        Next { actions, then } = next.after(actions);
    }
}

/// Decides on the candidate: it is permitted, or a fact is missing, or the next candidate has its turn.
fn decided(case: &mut Case<'_>, permitted: fn(Permitted, &mut Case<'_>) -> Next) -> Next {
    if let Some(need) = facts::wanted_for_the_log(case) {
        return facts::need(need, case);
    }
    let candidate = case.request.candidate();
    // A name that has no address here is itself the only candidate.
    if candidate.is_none() && (!case.request.progress().unresolved || case.request.current > 0) {
        return if connect::is_under_way(case) { connect::wait(case) } else { ending::refuse(case) };
    }
    match decision::decide(candidate, case) {
        Ok(Step::Need(need)) => facts::need(need, case),
        Ok(Step::Go(candidate)) => permitted(candidate, case),
        Err(rejected) => {
            case.request.reject(rejected);
            Next::decide()
        }
    }
}
