//! With `isolation: user`, a client whose user is known goes on with a worker of that user.
//!
//! Until then the client has a worker alone. Lent sockets cannot be taken back: if the user has another worker, the
//! client's present worker ends before the other gets the client, and until then nobody can answer the client.

use crate::command;
use crate::pool::Verified;
use crate::session::case::Case;
use crate::session::connect;
use crate::session::ending;
use crate::session::event::{Action, Event, Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::settings::Isolation;
use sockd_common::message::session::Handshake;
use sockd_policy::Version;
use std::time::Duration;

/// How long settling may take; a killed worker is gone by then.
const SETTLING_LIMIT: Duration = Duration::from_secs(10);

/// Whether the client is still with a worker that is not known to be its user's.
pub(super) fn is_due(case: &Case<'_>) -> bool {
    let verified = case.request.verified_user().is_some_and(|user| !user.is_empty());
    let settled = case.request.progress.as_ref().is_some_and(|progress| progress.settled);
    verified && !settled && case.config.settings.isolation == Isolation::User
}

/// Moves the client to a worker of its user, after all attempts: another worker would have to inherit them.
pub(super) fn begin(case: &mut Case<'_>) -> Next {
    if connect::is_under_way(case) {
        return connect::wait_for_attempts();
    }
    let command = command::in_messages(case.request.command);
    let handshake = match case.request.version {
        Version::Socks4 => Handshake::Socks4(command),
        Version::Socks5 => Handshake::Socks5(command),
    };
    let Some(user) = case.request.verified_user().cloned() else { return Next::decide() };
    let user = Verified { user, by_password: case.request.login.is_some() };
    let limit = Action::Deadline(Some(SETTLING_LIMIT));
    Next::phase(Phase::Settling, vec![limit, case.begin(Wait::Worker, Task::Settle(user, handshake))])
}

/// The client is with a worker of its user.
pub(super) fn settled(case: &mut Case<'_>) -> Next {
    case.request.progress().settled = true;
    Next::decide()
}

/// Handles any other event until then.
pub(super) fn settling(event: Event, case: &mut Case<'_>) -> Next {
    match event {
        Event::Deadline | Event::Stop | Event::Killed | Event::WorkerLost => {
            ending::interrupted(Event::WorkerLost, case)
        }
        // The decision that follows is by the new rules.
        Event::Recheck => Next::nothing(),
        event => ending::out_of_turn(&event),
    }
}
