//! Counts a connection by a line that limits connections; the request is refused if the line is full.

use crate::limits::lines::Line;
use crate::record::Failure;
use crate::session::case::Case;
use crate::session::decision::Permitted;
use crate::session::event::{Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use sockd_policy::Limits;

/// Whether the line that permits the request has yet to count it.
pub(super) fn is_due(permitted: &Permitted, case: &Case<'_>) -> bool {
    let counted = case.request.progress.as_ref().map_or(0, |progress| progress.counted);
    permitted.limits.connections != 0 && counted != permitted.rule
}

/// Has the connection counted.
pub(super) fn begin(permitted: &Permitted, case: &mut Case<'_>) -> Next {
    case.request.permit(permitted.rule, permitted.limits);
    let Some(line) = case.line() else { return Next::decide() };
    Next::phase(Phase::Asking, vec![case.begin(Wait::Line, Task::Count(line))])
}

/// The connection has been counted.
pub(super) fn counted(case: &mut Case<'_>) -> Next {
    case.request.progress().counted = case.request.rule;
    Next::decide()
}

/// The line has no room for it. No other address is tried: the attempt would reveal which lines exist.
pub(super) fn full(case: &Case<'_>) -> Next {
    Next::refuse(Failure::Full { rule: case.request.rule, limit: case.request.limits().connections })
}

impl Case<'_> {
    /// The line that permits the request, if it limits anything.
    pub(super) fn line(&self) -> Option<Box<Line>> {
        let Case { request, client, .. } = self;
        let (rule, limits) = (request.rule, request.limits());
        let user = request.login.as_ref().map(|user| user.name.clone());
        let host = crate::client_host::Host::of(client.ip());
        (limits != Limits::NONE).then(|| Box::new(Line { rule, limits, user, host }))
    }
}
