//! The request that a record is about, and its outcome.

use crate::record::{FailedCall, Failure, Parties, Record, Unread, UpstreamFailure};
use sockd_common::counters::{Asked, Outcome};
use sockd_common::message::Errno;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::upstream::NextReply;
use sockd_policy::{Command, DenyReason, Need, Version};

/// `None` for a record that does not end a request.
pub(super) fn of(record: &Record) -> Option<(Asked, Outcome)> {
    Some(match record {
        Record::Unread { why, .. } => unread(*why),
        Record::LoginRefused { .. } => (Asked::Login5, Outcome::AuthFailed),
        Record::Connected(parties) => (asked(parties), Outcome::Granted),
        Record::Refused { parties, why } => (asked(parties), failed(why)),
        Record::Abandoned { parties, .. } => (asked(parties), Outcome::Abandoned),
        Record::Unverified(_)
        | Record::Stranger { .. }
        | Record::Strangers { .. }
        | Record::Revoked(_)
        | Record::Flow { .. }
        | Record::Ended { .. } => return None,
    })
}

fn asked(parties: &Parties) -> Asked {
    match (parties.version, parties.command) {
        (Version::Socks4, Command::Connect) => Asked::Connect4,
        (Version::Socks4, Command::Bind) => Asked::Bind4,
        (Version::Socks5, Command::Connect) => Asked::Connect5,
        (Version::Socks5, Command::Bind) => Asked::Bind5,
        (_, Command::Udp) => Asked::Udp5,
    }
}

fn unread(why: Unread) -> (Asked, Outcome) {
    match why {
        Unread::NoMethod { .. } | Unread::EmptyCredentials => (Asked::Login5, Outcome::AuthFailed),
        Unread::CutShort | Unread::ClientFailed(_) => (Asked::Nothing, Outcome::Abandoned),
        Unread::Late => (Asked::Nothing, Outcome::Timeout),
        Unread::NoResources => (Asked::Nothing, Outcome::Limited),
        Unread::HealthCheck => (Asked::Nothing, Outcome::Denied),
        Unread::WrongVersion(_)
        | Unread::UndefinedCommand(_)
        | Unread::UndefinedAddressType(_)
        | Unread::UserTooLong
        | Unread::BadName
        | Unread::NoHostName => (Asked::Nothing, Outcome::Malformed),
    }
}

fn failed(why: &Failure) -> Outcome {
    match why {
        Failure::NoPassword => Outcome::AuthFailed,
        Failure::Denied { why, .. } => match why {
            DenyReason::NoIdentd | DenyReason::BadIdentity | DenyReason::Unavailable(Need::Identity) => {
                Outcome::AuthFailed
            }
            _ => Outcome::Denied,
        },
        Failure::NoWay(_) => Outcome::Denied,
        Failure::NamesUnavailable | Failure::Unresolved => Outcome::Unresolved,
        Failure::Guarded(_) => Outcome::Guarded,
        Failure::NoInterface(_) => Outcome::Unreachable,
        Failure::Call(call) => call_failed(*call),
        Failure::TimedOut => Outcome::Timeout,
        Failure::Limited(_) | Failure::Full { .. } => Outcome::Limited,
        Failure::Upstream(why) => upstream_failed(why),
    }
}

fn call_failed(call: FailedCall) -> Outcome {
    match call.errno {
        Errno::CONNREFUSED => Outcome::Refused,
        Errno::TIMEDOUT => Outcome::Timeout,
        _ => Outcome::Unreachable,
    }
}

fn upstream_failed(why: &UpstreamFailure) -> Outcome {
    match why {
        UpstreamFailure::NoneUsable => Outcome::Unreachable,
        UpstreamFailure::Unresolved(_) => Outcome::Unresolved,
        UpstreamFailure::Guarded(..) => Outcome::Guarded,
        UpstreamFailure::WrongPeer(_) => Outcome::Refused,
        UpstreamFailure::Replied(reply) => match reply {
            NextReply::Refused(RefusalReason::TimedOut) => Outcome::Timeout,
            NextReply::Refused(RefusalReason::HostUnreachable | RefusalReason::NetworkUnreachable)
            | NextReply::Cancelled
            | NextReply::Granted(_) => Outcome::Unreachable,
            _ => Outcome::Refused,
        },
    }
}
