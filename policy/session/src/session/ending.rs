//! The ends of sessions: refused, abandoned, closed.

use crate::config::Config;
use crate::record::{Abandonment, FailedCall, Failure, Record, Unread, UpstreamFailure};
use crate::session::case::Case;
use crate::session::event::{Action, Event};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::request::Rejected;
use crate::session::{bind, decision};
use sockd_common::message::Errno;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::session::CloseReason;
use sockd_common::message::upstream::NextReply;
use sockd_policy::{DenyReason, Need};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a refused client may take to close; longer than its worker allows.
const REFUSED_LIMIT: Duration = Duration::from_secs(5);

/// How long a worker may take to end a session.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);

/// The worker has ended the session without a request.
pub(super) fn unread(why: CloseReason, client: SocketAddr, config: &Config) -> Next {
    match cause(why, client, config) {
        Some(why) => Next::stay(vec![Record::Unread { client, why }.into(), Action::Remove]),
        None => Next::violation("an end that cannot be"),
    }
}

fn cause(why: CloseReason, client: SocketAddr, config: &Config) -> Option<Unread> {
    Some(match why {
        CloseReason::WrongVersion(version) => Unread::WrongVersion(version),
        CloseReason::NoMethod(offered) => {
            Unread::NoMethod { offered, wanted: config.methods(client.ip(), true) }
        }
        CloseReason::EmptyCredentials => Unread::EmptyCredentials,
        CloseReason::UndefinedCommand(command) => Unread::UndefinedCommand(command),
        CloseReason::UndefinedAddressType(kind) => Unread::UndefinedAddressType(kind),
        CloseReason::CutShort => Unread::CutShort,
        CloseReason::ClientGone(errno) => Unread::ClientFailed(errno),
        CloseReason::UserTooLong => Unread::UserTooLong,
        CloseReason::BadName => Unread::BadName,
        CloseReason::NoResources => Unread::NoResources,
        _ => return None,
    })
}

/// Handles the events of a health check, which is no client: it may greet and go, and leaves no line.
pub(super) fn checking(event: Event, client: SocketAddr, config: &Config) -> Next {
    match event {
        Event::Requested(_) => {
            let unread = Record::Unread { client, why: Unread::HealthCheck };
            refusing(vec![unread.into(), Action::Refuse(RefusalReason::NotAllowed)])
        }
        Event::Closed(why) if cause(why, client, config).is_some() => Next::stay(vec![Action::Remove]),
        Event::Deadline | Event::Stop | Event::Killed => close(Phase::ClosingUnread, Vec::new()),
        Event::WorkerLost => lost(),
        event => out_of_turn(&event),
    }
}

/// Handles the events that end a session before its request, except messages of its worker.
pub(super) fn before_request(event: &Event, client: SocketAddr) -> Next {
    match event {
        Event::Deadline => late(client),
        Event::Stop | Event::Killed => close(Phase::ClosingUnread, Vec::new()),
        Event::WorkerLost => lost(),
        event => out_of_turn(event),
    }
}

/// The request did not come in time. The worker ends the stream and for a moment drops bytes that the client still
/// sends: a close with unread bytes would be a reset (RFC 2525, section 2.17), which looks like a broken network.
fn late(client: SocketAddr) -> Next {
    let late = Record::Unread { client, why: Unread::Late }.into();
    let refuse = Action::Refuse(RefusalReason::General);
    Next::phase(Phase::ClosingUnread, vec![late, refuse, Action::Deadline(Some(CLOSING_LIMIT))])
}

/// The worker is gone.
fn lost() -> Next {
    Next::stay(vec![Action::Reset, Action::Remove])
}

/// The request names no host.
pub(super) fn no_host_name(client: SocketAddr) -> Next {
    let no_name = Record::Unread { client, why: Unread::NoHostName }.into();
    refusing(vec![no_name, Action::Refuse(RefusalReason::HostUnreachable)])
}

/// Refuses when no candidate is left, with the reason.
pub(super) fn refuse(case: &mut Case<'_>) -> Next {
    let rejected = case.request.progress.as_mut().and_then(|progress| progress.rejected.take());
    let by_no_rule = || Failure::Denied { why: DenyReason::NoMatch, rule: None }.into();
    let Rejected { why, hook } = rejected.unwrap_or_else(by_no_rule);
    let told = reason(&why, case.request.upstream().is_some());
    let refused = Record::Refused { parties: case.parties(), why }.into();
    let hook = hook.and_then(|hook| case.run(hook));
    refusing([refused, Action::Refuse(told)].into_iter().chain(hook).collect())
}

/// Waits for the client to close after actions that tell the worker to refuse.
pub(super) fn refusing(mut actions: Vec<Action>) -> Next {
    actions.push(Action::Deadline(Some(REFUSED_LIMIT)));
    Next::phase(Phase::Refusing, actions)
}

/// The reason that the client is told. A call that failed towards a next server says nothing about the destination.
fn reason(why: &Failure, upstream: bool) -> RefusalReason {
    match why {
        Failure::Denied { why: DenyReason::NoIdentd | DenyReason::Unavailable(Need::Identity), .. } => {
            RefusalReason::NoIdentd
        }
        Failure::Denied { why: DenyReason::BadIdentity, .. } => RefusalReason::IdentityMismatch,
        Failure::Denied { .. }
        | Failure::NoPassword
        | Failure::Full { .. }
        | Failure::NoWay(_)
        | Failure::NamesUnavailable
        | Failure::Guarded(_) => RefusalReason::NotAllowed,
        Failure::NoInterface(_) => RefusalReason::NetworkUnreachable,
        Failure::Unresolved => RefusalReason::HostUnreachable,
        Failure::TimedOut => RefusalReason::TimedOut,
        Failure::Call(_) if upstream => RefusalReason::General,
        Failure::Call(FailedCall { errno, .. }) => reason_of(*errno),
        Failure::Upstream(UpstreamFailure::Replied(NextReply::Refused(why))) => *why,
        Failure::Upstream(_) | Failure::Limited(_) => RefusalReason::General,
    }
}

/// The reason for a destination that a failed call implies.
fn reason_of(errno: Errno) -> RefusalReason {
    match errno {
        Errno::NETUNREACH => RefusalReason::NetworkUnreachable,
        Errno::HOSTUNREACH => RefusalReason::HostUnreachable,
        Errno::CONNREFUSED => RefusalReason::ConnectionRefused,
        Errno::TIMEDOUT => RefusalReason::TimedOut,
        _ => RefusalReason::General,
    }
}

/// Tells the worker to end the session.
pub(super) fn close(phase: Phase, mut actions: Vec<Action>) -> Next {
    actions.extend([Action::End, Action::Deadline(Some(CLOSING_LIMIT))]);
    Next::phase(phase, actions)
}

/// Handles events that end a running request: of the client, the worker, new rules, or the daemon's end.
pub(super) fn interrupted(event: Event, case: &mut Case<'_>) -> Next {
    match event {
        Event::Recheck if !decision::is_permitted_still(case) => {
            Next::refuse(Failure::Denied { why: DenyReason::Rule, rule: None })
        }
        Event::Closed(CloseReason::ClientGone(_) | CloseReason::NoResources) => {
            Next::stay(vec![Action::Remove]).after(abandoned(Abandonment::ClientGone, case))
        }
        Event::WorkerLost => lost().after(abandoned(Abandonment::WorkerEnded, case)),
        Event::Stop => close(Phase::Closing, abandoned(Abandonment::Stopping, case)),
        Event::Killed => close(Phase::Closing, abandoned(Abandonment::Killed, case)),
        event => out_of_turn(&event),
    }
}

/// Records a request that fails and is not answered.
fn abandoned(why: Abandonment, case: &Case<'_>) -> Vec<Action> {
    let mut actions = bind::strangers(case);
    actions.push(Record::Abandoned { parties: case.parties(), why }.into());
    actions
}

/// Handles the events after the worker has been told to refuse or to end.
pub(super) fn closing(phase: Phase, event: &Event) -> Next {
    match (phase, event) {
        (_, Event::Closed(_)) => Next::stay(vec![Action::Remove]),
        (_, Event::WorkerLost) => lost(),
        (Phase::Refusing, Event::Deadline | Event::Stop | Event::Killed) => close(Phase::Closing, Vec::new()),
        // The daemon does not wait for a late client to close.
        (Phase::ClosingUnread, Event::Stop | Event::Killed) => close(phase, Vec::new()),
        (_, Event::Deadline) => overdue(),
        // The worker said it before it heard that the session ends. A second such message is a violation.
        (Phase::ClosingUnread, Event::Requested(_) | Event::Introduced(_)) => {
            Next::phase(Phase::Closing, Vec::new())
        }
        (_, event) => out_of_turn(event),
    }
}

fn overdue() -> Next {
    Next::violation("a session is not closed when it has to be")
}

/// A message that the worker may not send now is a violation. Any other event is late and is ignored.
pub(super) fn out_of_turn(event: &Event) -> Next {
    match event {
        Event::Requested(_) => Next::violation("a request out of turn"),
        Event::Introduced(_) => Next::violation("a password out of turn"),
        Event::Closed(_) => Next::violation("an end that cannot be"),
        _ => Next::nothing(),
    }
}
