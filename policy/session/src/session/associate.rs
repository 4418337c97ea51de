//! UDP ASSOCIATE, seen from the connection that carries the request. The flows of the association are in `association`.
//!
//! The request names nothing to decide on: its destination is a hint of the address that the client will send from,
//! which clients fill with anything. This file decides whether the client's host may have datagrams relayed at all;
//! each datagram names its destination.

use crate::flow::Moved;
use crate::limits::limit::Limit;
use crate::record::{EndCause, Failure, Record, Unread};
use crate::session::case::Case;
use crate::session::ending;
use crate::session::event::{Action, Event};
use crate::session::next::Next;
use crate::session::phase::Phase;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::session::CloseReason;
use sockd_policy::{DenyReason, Version};
use std::net::SocketAddr;

/// The number of the command (RFC 1928, section 4).
const ASSOCIATE: u8 = 3;

/// Refuses the command as unknown if no line permits datagrams to anybody.
pub(super) fn not_offered(client: SocketAddr) -> Next {
    let unread = Record::Unread { client, why: Unread::UndefinedCommand(ASSOCIATE) };
    ending::refusing(vec![unread.into(), Action::Refuse(RefusalReason::CommandNotSupported)])
}

/// Begins with a request; `hint` is the port that the client says it will send from.
pub(super) fn begin(hint: u16, case: &mut Case<'_>) -> Next {
    if case.request.version != Version::Socks5 {
        return Next::violation("a command that SOCKS4 does not have");
    }
    if !case.config.rules.may_permit_udp(case.client.ip()) {
        return Next::refuse(Failure::Denied { why: DenyReason::NoMatch, rule: None });
    }
    // The destinations are not known yet, but none of them can be reached.
    if case.config.upstreams.as_ref().is_some_and(|upstreams| !upstreams.goes_direct()) {
        return no_way(case);
    }
    Next::phase(Phase::Associating, vec![Action::Deadline(None), Action::Associate { hint }])
}

/// Refuses: all destinations are denied, or behind a next server, which is not asked for associations.
fn no_way(case: &Case<'_>) -> Next {
    let why = Failure::Limited(Limit::NO_NEXT_SERVER);
    let refused = Record::Refused { parties: case.parties(), why };
    ending::refusing(vec![refused.into(), Action::Refuse(RefusalReason::CommandNotSupported)])
}

/// Handles the events that end an association.
pub(super) fn associated(phase: Phase, event: Event, case: &mut Case<'_>) -> Next {
    match (phase, event) {
        (Phase::Associating, Event::Associated(Ok(address))) => {
            let connected = Record::Connected(case.parties()).into();
            Next::phase(Phase::Associated, vec![connected, Action::Associated(address)])
        }
        (Phase::Associating, Event::Associated(Err(why))) => Next::refuse(why),
        (Phase::Associated | Phase::Dissociating, Event::Dissociated(why, moved)) => {
            ending::close(Phase::Closing, vec![ended(why, moved, case)])
        }
        (Phase::DissociatingClosed, Event::Dissociated(why, moved)) => {
            Next::stay(vec![ended(why, moved, case), Action::Remove])
        }
        (Phase::Associated, Event::Recheck) if !case.config.rules.may_permit_udp(case.client.ip()) => {
            let revoked = Record::Revoked(case.parties()).into();
            dissociate(EndCause::Revoked, Phase::Dissociating).after(vec![revoked])
        }
        (Phase::Associated, Event::Killed) => dissociate(EndCause::Killed, Phase::Dissociating),
        (Phase::Associated, Event::Stop) => dissociate(EndCause::Stopped, Phase::Dissociating),
        (Phase::Associated, Event::WorkerLost) => {
            dissociate(EndCause::WorkerEnded, Phase::DissociatingClosed).after(vec![Action::Reset])
        }
        (Phase::Associated, Event::Closed(why)) => match cause(why) {
            Some(why) => dissociate(why, Phase::DissociatingClosed),
            None => Next::violation("an end that cannot be"),
        },
        // The client or its worker goes while the association ends for another reason.
        (Phase::Dissociating, Event::Closed(_) | Event::WorkerLost) => {
            Next::phase(Phase::DissociatingClosed, Vec::new())
        }
        (_, event) => ending::out_of_turn(&event),
    }
}

/// The cause that the session worker gives for the end of the connection.
fn cause(why: CloseReason) -> Option<EndCause> {
    Some(match why {
        CloseReason::Finished => EndCause::Finished,
        CloseReason::ClientGone(errno) => EndCause::ClientFailed(errno),
        CloseReason::NoResources => EndCause::NoResources,
        _ => return None,
    })
}

/// Ends the whole association.
fn dissociate(why: EndCause, phase: Phase) -> Next {
    Next::phase(phase, vec![Action::Dissociate(why)])
}

/// Records that the whole association has ended.
fn ended(why: EndCause, moved: Moved, case: &Case<'_>) -> Action {
    Record::Ended { parties: case.parties(), why, moved }.into()
}
