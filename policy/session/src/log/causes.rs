//! Why something failed or ended: as a keyword that never changes, and in words.

use crate::checks::Login;
use crate::log::errno;
use crate::record::{Abandonment, EndCause, Failure, Record, Unread, UpstreamFailure};
use sockd_common::message::Errno;
use sockd_common::message::session::{Methods, Offered};
use sockd_common::message::upstream::NextReply;
use std::borrow::Cow;

/// The keyword and the words.
type Cause = (&'static str, Cow<'static, str>);

/// The cause in a record; `None` if the record is not about an end.
pub(super) fn of(record: &Record) -> Option<Cause> {
    Some(match record {
        Record::Unread { why, .. } => unread(*why),
        Record::LoginRefused { why, .. } => login(why),
        Record::Refused { why, .. } => refused(why),
        Record::Abandoned { why, .. } => abandonment(*why),
        Record::Ended { why, .. } => ended(*why),
        Record::Unverified(_) | Record::Connected(_) | Record::Revoked(_) => return None,
        Record::Stranger { .. } | Record::Strangers { .. } | Record::Flow { .. } => return None,
    })
}

pub(super) fn unread(why: Unread) -> Cause {
    match why {
        Unread::WrongVersion(version) => ("wrong_version", format!("wrong version {version}").into()),
        Unread::UndefinedCommand(command) => {
            ("undefined_command", format!("undefined command {command}").into())
        }
        Unread::NoMethod { offered, wanted } => ("no_method", no_method(offered, wanted).into()),
        Unread::EmptyCredentials => ("empty_credentials", "empty user or password".into()),
        Unread::UndefinedAddressType(kind) => {
            ("undefined_address_type", format!("undefined type of address {kind}").into())
        }
        Unread::CutShort => ("cut_short", "cut short".into()),
        Unread::ClientFailed(errno) => ("client_failed", failed("client", errno)),
        Unread::Late => ("late", "late".into()),
        Unread::UserTooLong => ("user_too_long", "user id too long".into()),
        Unread::BadName => ("bad_name", "empty or too long name of a destination".into()),
        Unread::NoHostName => ("no_host_name", "no name of a host".into()),
        Unread::NoResources => ("no_resources", "no resources".into()),
        Unread::HealthCheck => ("health_check", "request in a health check".into()),
    }
}

/// Why no method of authentication is acceptable, in words.
fn no_method(offered: Offered, wanted: Methods) -> String {
    if wanted.password && offered.password {
        return "passwords are not checked just now (too many wrong ones, or nobody to check them): no acceptable method of authentication".into();
    }
    let in_words = |names: &[(bool, &'static str)]| {
        let names = names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect::<Vec<_>>();
        if names.is_empty() { "nothing".into() } else { names.join(", ") }
    };
    let Offered { none, gssapi, password, other } = offered;
    let offered = [(none, "none"), (gssapi, "gssapi"), (password, "password"), (other, "others")];
    let wanted = [(wanted.none, "none"), (wanted.password, "password")];
    let (offered, wanted) = (in_words(&offered), in_words(&wanted));
    format!("no acceptable method of authentication (offered {offered}; wanted {wanted})")
}

fn login(why: &Login) -> Cause {
    match unchecked(why) {
        None => ("wrong", "wrong".into()),
        Some((keyword, why)) => (keyword, format!("not checked: {why}").into()),
    }
}

/// Why a password has not been checked; `None` if it was.
pub(super) fn unchecked(why: &Login) -> Option<(&'static str, &'static str)> {
    match why {
        Login::Wrong | Login::Verified(_) => None,
        Login::TooManyOfHost => Some(("too_many_of_host", "too many wrong ones from there")),
        Login::TooManyOfUser => Some(("too_many_of_user", "too many wrong ones for this user")),
        Login::Unchecked => Some(("unchecked", "nobody can check it just now")),
        Login::NotAlone => Some(("not_alone", "the worker is not the user's alone")),
    }
}

pub(super) fn refused(why: &Failure) -> Cause {
    match why {
        Failure::Denied { why, .. } => ("denied", why.to_string().into()),
        Failure::NoWay(0) => ("no_way", "no line of socks.conf matches".into()),
        Failure::NoWay(line) => ("no_way", format!("line {line} of socks.conf denies").into()),
        Failure::NoPassword => ("no_password", "no rule matches a client without a password".into()),
        Failure::Full { rule, limit } => ("line_full", format!("n={limit} of rule {rule} reached").into()),
        Failure::NamesUnavailable => {
            ("names_unavailable", "the names of the destination could not be found out".into())
        }
        Failure::Guarded(refusal) => ("guarded", format!("guarded destination: {refusal}").into()),
        Failure::NoInterface(address) => {
            ("no_interface", format!("no line of sockd.route matches {address}").into())
        }
        Failure::Unresolved => ("unresolved", "the name of the destination cannot be resolved".into()),
        Failure::Call(call) => ("call_failed", failed(call.call, call.errno)),
        Failure::TimedOut => ("timed_out", "timed out".into()),
        Failure::Limited(limit) => ("limited", limit.as_str().into()),
        Failure::Upstream(why) => ("upstream", upstream(why).into()),
    }
}

pub(super) fn abandonment(why: Abandonment) -> Cause {
    match why {
        Abandonment::ClientGone => ("client_gone", "the client has gone".into()),
        Abandonment::WorkerEnded => ("worker_ended", "its worker has ended".into()),
        Abandonment::Killed => ("killed", "an administrator has ended it".into()),
        Abandonment::Stopping => ("stopped", "the daemon stops".into()),
    }
}

fn ended(why: EndCause) -> Cause {
    match why {
        EndCause::Finished => ("finished", "finished".into()),
        EndCause::ClientFailed(errno) => ("client_failed", failed("client", errno)),
        EndCause::ServerFailed(errno) => ("server_failed", failed("server", errno)),
        EndCause::Idle => ("idle", "idle".into()),
        EndCause::NoResources => ("no_resources", "no resources".into()),
        EndCause::Revoked => ("revoked", "the rules refuse it".into()),
        EndCause::Killed => ("killed", "an administrator has ended it".into()),
        EndCause::Stopped => ("stopped", "the daemon stops".into()),
        EndCause::WorkerEnded => ("worker_ended", "its worker has ended".into()),
        EndCause::Unsaid => ("unsaid", "its worker did not say that it was over".into()),
    }
}

fn failed(what: &str, errno: Errno) -> Cow<'static, str> {
    match errno {
        Errno(0) => format!("{what}: closed").into(),
        errno => format!("{what}: {}", errno::text(errno)).into(),
    }
}

/// The failure of a next server, in words.
pub(super) fn upstream(why: &UpstreamFailure) -> String {
    match why {
        UpstreamFailure::NoneUsable => "no next server can be used".into(),
        UpstreamFailure::Unresolved(server) => format!("the next server's name {server} cannot be resolved"),
        UpstreamFailure::Guarded(server, refusal) => format!("next server {server}: {refusal}"),
        UpstreamFailure::Replied(reply) => replied(*reply),
        UpstreamFailure::WrongPeer(peer) => {
            format!("connected to wrong host {} ({})", peer.ip(), peer.port())
        }
    }
}

fn replied(reply: NextReply) -> String {
    match reply {
        NextReply::Granted(_) | NextReply::Cancelled => "the next server could not be asked".into(),
        NextReply::Refused(_) => "the next server refuses".into(),
        NextReply::Closed(_) => "the next server closed without a reply".into(),
        NextReply::WrongVersion(version) => {
            format!("the next server's reply has version {version}, expected 0")
        }
        NextReply::UnknownCode(code) => {
            format!("the next server's reply has code {code}, expected 90 to 93")
        }
        NextReply::NoSocks5(version) => {
            format!("the next server's answer has version {version}, expected 5")
        }
        NextReply::NoMethod => "the next server wants to be shown who asks".into(),
        NextReply::UnknownAddressType(kind) => {
            format!("the next server's reply has an address of kind {kind}, expected 1 or 4")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_relay_has_a_keyword_and_a_cause_of_its_own() {
        let causes = [
            EndCause::Finished,
            EndCause::ClientFailed(Errno(110)),
            EndCause::ServerFailed(Errno(110)),
            EndCause::Idle,
            EndCause::NoResources,
            EndCause::Revoked,
            EndCause::Killed,
            EndCause::Stopped,
            EndCause::WorkerEnded,
            EndCause::Unsaid,
        ];
        let (keywords, texts): (Vec<_>, Vec<_>) = causes.into_iter().map(ended).unzip();
        for told in [texts.iter().map(AsRef::as_ref).collect(), keywords] {
            let different: std::collections::BTreeSet<&str> = told.into_iter().collect();
            assert_eq!(different.len(), causes.len(), "{different:?}");
        }
        assert!(texts.contains(&"server: Connection timed out".into()), "{texts:?}");
    }
}
