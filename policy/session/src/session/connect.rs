//! CONNECT to a destination without a next server.
//!
//! The addresses of a name are tried in order, each a moment after the one before it (RFC 8305, section 5), and each as
//! its own rules decide. The first connection that is established is handed over, and the others are closed. All
//! attempts share the one time limit of the request.

use crate::record::{Failure, Record};
use crate::session::case::Case;
use crate::session::decision::{self, Step};
use crate::session::event::{Action, Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::request::Rejected;
use crate::settings::{BoundAddress, seconds};
use crate::waits::WaitKey;
use sockd_policy::DenyReason;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long after an attempt the next one begins, unless an attempt ends before ("Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long attempts may go on before a candidate behind an upstream, or of a verified user, replaces them.
const LAST_DELAY: Duration = Duration::from_secs(2);

/// The most attempts of one request under way, each with a socket. The oldest gives way to one more; it has had time to
/// send its SYN twice.
const MAX_ATTEMPTS: usize = 6;

/// Dials the candidate, from the address that the route file says.
pub(super) fn dial(to: IpAddr, from: Option<IpAddr>, case: &mut Case<'_>) -> Next {
    let mut actions = Vec::new();
    if attempts(case).count() >= MAX_ATTEMPTS
        && let Some((oldest, _)) = attempts(case).min()
    {
        case.request.end_wait(oldest);
        case.request.note(Failure::TimedOut.into());
        actions.push(Action::GiveUp(oldest));
    }
    let to = SocketAddr::new(to, case.request.port);
    let task = Task::Dial { to, from, reserved: case.is_reserved() };
    actions.push(case.begin(Wait::Connection(case.request.current), task));
    case.request.progress().begun = case.request.current.saturating_add(1);
    actions.push(next_attempt(case));
    Next::phase(Phase::Dialling, actions)
}

/// Waits for the attempts under way, until the next one is due.
pub(super) fn wait(case: &mut Case<'_>) -> Next {
    Next::phase(Phase::Dialling, vec![next_attempt(case)])
}

/// When the next attempt is due.
fn next_attempt(case: &mut Case<'_>) -> Action {
    let limit = seconds(case.config.settings.connect_limit);
    let is_last = is_last(case);
    let left = case.request.progress().connect_time.get_or_insert(limit);
    let time = if is_last { *left } else { ATTEMPT_DELAY.min(*left) };
    *left = left.saturating_sub(time);
    Action::Deadline(Some(time.max(ATTEMPT_DELAY)))
}

/// Waits for the attempts before a candidate behind a next server, or of a verified user. During attempts a next server
/// is not asked, and the worker of the user cannot change.
pub(super) fn wait_for_attempts() -> Next {
    Next::phase(Phase::Dialling, vec![Action::Deadline(Some(LAST_DELAY))])
}

/// The time is over: the next candidate has its turn, or all attempts are given up.
pub(super) fn late(case: &mut Case<'_>) -> Next {
    let time_is_left = case.request.progress().connect_time.is_some_and(|left| !left.is_zero());
    if time_is_left && !is_last(case) && is_begun(case) {
        return next(case);
    }
    let given_up = case.request.end_waits(|wait| matches!(wait, Wait::Connection(_)));
    case.request.note(Failure::TimedOut.into());
    if is_begun(case) {
        case.request.current = u8::MAX;
    }
    Next::decide().after(given_up.into_iter().map(|(key, _)| Action::GiveUp(key)).collect())
}

/// The attempt with a candidate has failed.
pub(super) fn failed(why: Rejected, phase: Phase, case: &mut Case<'_>) -> Next {
    case.request.note(why);
    // The last attempts have their time; in `Asking`, the next candidate has its turn when the fact has come.
    let others_go_on = is_last(case) && is_under_way(case);
    if phase == Phase::Asking || others_go_on { Next::nothing() } else { next(case) }
}

/// The connection to this candidate is established.
pub(super) fn dialled(place: u8, key: WaitKey, phase: Phase, case: &mut Case<'_>) -> Next {
    let last = std::mem::replace(&mut case.request.current, place);
    if last != place {
        match decision::decide(case.request.candidate(), case) {
            Ok(Step::Go(permitted)) => case.request.permit(permitted.rule, permitted.limits),
            _ => {
                case.request.current = last;
                return failed(denied(), phase, case).after(vec![Action::GiveUp(key)]);
            }
        }
    }
    let bound = match case.config.settings.bound_address {
        BoundAddress::None => Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
        BoundAddress::Real => None,
    };
    connected(bound, key, case)
}

/// New rules are in force: attempts that they do not permit are given up.
pub(super) fn recheck(phase: Phase, case: &mut Case<'_>) -> Next {
    let last = case.request.current;
    let mut given_up = Vec::new();
    for (key, place) in attempts(case).collect::<Vec<_>>() {
        case.request.current = place;
        if !decision::is_permitted_still(case) {
            case.request.end_wait(key);
            given_up.push(Action::GiveUp(key));
        }
    }
    case.request.current = last;
    decision::is_permitted_still(case);
    match given_up.is_empty() {
        true => Next::nothing(),
        false => failed(denied(), phase, case).after(given_up),
    }
}

/// Hands over the server's socket, with the address for the reply.
pub(super) fn connected(bound: Option<SocketAddr>, key: WaitKey, case: &Case<'_>) -> Next {
    let connected = Record::Connected(case.parties()).into();
    let idle = Action::Deadline(Some(seconds(case.config.settings.idle_limit)));
    let hand_off = Action::HandOff { key, bound, line: case.line() };
    Next::phase(Phase::Relaying, vec![connected, hand_off, idle])
}

/// Whether an attempt is under way.
pub(super) fn is_under_way(case: &Case<'_>) -> bool {
    attempts(case).next().is_some()
}

/// The attempts under way, each with the place of its candidate.
fn attempts(case: &Case<'_>) -> impl Iterator<Item = (WaitKey, u8)> {
    case.request.waits().filter_map(|(key, wait)| match wait {
        Wait::Connection(place) => Some((key, place)),
        _ => None,
    })
}

/// Whether the candidate has been dialled.
fn is_begun(case: &Case<'_>) -> bool {
    let begun = case.request.progress.as_ref().map_or(0, |progress| progress.begun);
    case.request.current < begun
}

/// Whether no candidate is left after the one that was dialled last.
fn is_last(case: &Case<'_>) -> bool {
    let behind = usize::from(case.request.current).saturating_add(usize::from(is_begun(case)));
    behind >= case.request.candidates.len()
}

/// The next candidate has its turn.
fn next(case: &mut Case<'_>) -> Next {
    if is_begun(case) {
        case.request.current = case.request.current.saturating_add(1);
    }
    Next::decide()
}

fn denied() -> Rejected {
    Failure::Denied { why: DenyReason::Rule, rule: None }.into()
}
