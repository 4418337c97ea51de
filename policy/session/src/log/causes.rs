//! Why something came to nothing or ended: in words, and as a keyword that never changes.

use crate::checks::Login;
use crate::log::{classic, errno};
use crate::record::{Abandonment, EndCause, Failure, Record, Unread};
use sockd_common::message::Errno;
use std::borrow::Cow;

/// The keyword and the words for what a record tells; nothing where it tells of no end.
pub(super) fn of(record: &Record) -> Option<(&'static str, Cow<'static, str>)> {
    Some(match record {
        Record::Unread { why, .. } => unread(*why),
        Record::LoginRefused { why, .. } => login(why),
        Record::Refused { why, .. } => refused(why),
        Record::Abandoned { why, .. } => (abandonment(*why), classic::abandonment(*why).into()),
        Record::Ended { why, .. } => ended(*why),
        Record::Unverified(_) | Record::Connected(_) | Record::Revoked(_) => return None,
        Record::Stranger { .. } | Record::Strangers { .. } | Record::Flow { .. } => return None,
    })
}

fn unread(why: Unread) -> (&'static str, Cow<'static, str>) {
    match why {
        Unread::WrongVersion(version) => ("wrong_version", format!("wrong version {version}").into()),
        Unread::UndefinedCommand(command) => {
            ("undefined_command", format!("undefined command {command}").into())
        }
        Unread::NoMethod { offered, wanted } => ("no_method", classic::no_method(offered, wanted).into()),
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

fn login(why: &Login) -> (&'static str, Cow<'static, str>) {
    let keyword = match why {
        Login::Wrong | Login::Verified(_) => "wrong",
        Login::TooManyOfHost => "too_many_of_host",
        Login::TooManyOfUser => "too_many_of_user",
        Login::Unchecked => "unchecked",
        Login::NotAlone => "not_alone",
    };
    (keyword, classic::unchecked(why).map_or("wrong".into(), |why| format!("not checked: {why}").into()))
}

fn refused(why: &Failure) -> (&'static str, Cow<'static, str>) {
    match why {
        Failure::Denied { why, .. } => ("denied", why.to_string().into()),
        Failure::NoWay(0) => ("no_way", "no line of socks.conf matches".into()),
        Failure::NoWay(line) => ("no_way", format!("line {line} of socks.conf denies").into()),
        Failure::NoPassword => ("no_password", classic::NO_PASSWORD.into()),
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
        Failure::Upstream(why) => ("upstream", classic::upstream(why).into()),
    }
}

fn abandonment(why: Abandonment) -> &'static str {
    match why {
        Abandonment::ClientGone => "client_gone",
        Abandonment::WorkerEnded => "worker_ended",
        Abandonment::Killed => "killed",
        Abandonment::Stopping => "stopped",
    }
}

fn ended(why: EndCause) -> (&'static str, Cow<'static, str>) {
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
