//! The full log lines, for programs that read the log: one for each record, an event and then fields as `name=value`.
//! A field that does not apply is left out. Strings from the network are escaped and in quotes.

use crate::flow::Moved;
use crate::log::{Level, classic, errno, escape};
use crate::record::{EndCause, Failure, Parties, Record, Unread};
use sockd_common::message::Errno;
use sockd_policy::{UserId, Version};
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// How a user was verified, in the words of the rules.
const PASSWORD: &str = "password";
const IDENT: &str = "ident";

/// What a line tells of the session itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its number among all sessions of the daemon.
    pub session: u64,
    /// For how long it has been there.
    pub age: Duration,
}

/// The line of a record.
pub fn line(about: About, record: &Record) -> (Level, String) {
    let level = match record {
        Record::Refused { why: Failure::NoInterface(_), .. } => Level::Err,
        _ => Level::Notice,
    };
    let line = Line::begin(event(record), about);
    let Line(text) = match record {
        Record::Unread { client, why } => line.field("client", client).quoted("cause", unread(*why)),
        Record::LoginRefused { client, user, why } => {
            let cause = classic::unchecked(why).map_or("wrong".into(), |why| format!("not checked: {why}"));
            let line = line.field("client", client).field("user", Quoted(user.as_bytes()));
            line.field("method", PASSWORD).quoted("cause", cause)
        }
        Record::Unverified(parties) | Record::Connected(parties) => line.parties(parties),
        Record::Refused { parties, why } => line.parties(parties).rule_of(why).quoted("cause", refused(why)),
        Record::Abandoned { parties, why } => {
            line.parties(parties).quoted("cause", classic::abandonment(*why))
        }
        Record::Stranger { parties, peer } => line.parties(parties).field("peer", peer),
        Record::Strangers { parties, number } => line.parties(parties).field("number", number),
        Record::Revoked(parties) => line.parties(parties),
        Record::Flow { parties, moved: Moved { up, down } } => {
            line.parties(parties).field("bytes_up", up).field("bytes_down", down)
        }
        Record::Ended { parties, why, moved: Moved { up, down } } => {
            let line = line.parties(parties).quoted("cause", ended(*why));
            line.field("bytes_up", up).field("bytes_down", down)
        }
    };
    (level, text)
}

fn event(record: &Record) -> &'static str {
    match record {
        Record::Unread { .. } => "unread",
        Record::LoginRefused { .. } => "login_refused",
        Record::Unverified(_) => "unverified",
        Record::Connected(_) => "connected",
        Record::Refused { .. } => "refused",
        Record::Abandoned { .. } => "abandoned",
        Record::Stranger { .. } => "stranger",
        Record::Strangers { .. } => "strangers",
        Record::Revoked(_) => "revoked",
        Record::Flow { .. } => "flow",
        Record::Ended { .. } => "terminated",
    }
}

fn unread(why: Unread) -> String {
    match why {
        Unread::WrongVersion(version) => format!("wrong version {version}"),
        Unread::UndefinedCommand(command) => format!("undefined command {command}"),
        Unread::NoMethod { offered, wanted } => classic::no_method(offered, wanted),
        Unread::EmptyCredentials => "empty user or password".into(),
        Unread::UndefinedAddressType(kind) => format!("undefined type of address {kind}"),
        Unread::CutShort => "cut short".into(),
        Unread::ClientFailed(errno) => failed("client", errno),
        Unread::Late => "late".into(),
        Unread::UserTooLong => "user id too long".into(),
        Unread::BadName => "empty or too long name of a destination".into(),
        Unread::NoHostName => "no name of a host".into(),
        Unread::NoResources => "no resources".into(),
    }
}

fn refused(why: &Failure) -> String {
    match why {
        Failure::Denied { why, .. } => why.to_string(),
        Failure::NoWay(0) => "no line of socks.conf matches".into(),
        Failure::NoWay(line) => format!("line {line} of socks.conf denies"),
        Failure::NoPassword => classic::NO_PASSWORD.into(),
        Failure::NamesUnavailable => "the names of the destination could not be found out".into(),
        Failure::Guarded(refusal) => format!("guarded destination: {refusal}"),
        Failure::NoInterface(address) => format!("no line of sockd.route matches {address}"),
        Failure::Unresolved => "the name of the destination cannot be resolved".into(),
        Failure::Call(call) => failed(call.call, call.errno),
        Failure::TimedOut => "timed out".into(),
        Failure::Limited(limit) => (*limit).into(),
        Failure::Upstream(why) => classic::upstream(why),
    }
}

fn ended(why: EndCause) -> String {
    match why {
        EndCause::Finished => "finished".into(),
        EndCause::ClientFailed(errno) => failed("client", errno),
        EndCause::ServerFailed(errno) => failed("server", errno),
        EndCause::Idle => "idle".into(),
        EndCause::NoResources => "no resources".into(),
        EndCause::Revoked => "the rules refuse it".into(),
        EndCause::Stopped => "the daemon stops".into(),
        EndCause::WorkerEnded => "its worker has ended".into(),
        EndCause::Unsaid => "its worker did not say that it was over".into(),
    }
}

fn failed(what: &str, errno: Errno) -> String {
    match errno {
        Errno(0) => format!("{what}: closed"),
        errno => format!("{what}: {}", errno::text(errno)),
    }
}

/// A line that grows by fields.
struct Line(String);

impl Line {
    fn begin(event: &str, about: About) -> Self {
        let (seconds, millis) = (about.age.as_secs(), about.age.subsec_millis());
        Self(format!("{event} session={} seconds={seconds}.{millis:03}", about.session))
    }

    fn field(mut self, name: &str, value: impl Display) -> Self {
        // Writing into a string does not fail.
        let _ = write!(self.0, " {name}={value}");
        self
    }

    fn optional(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// A text in quotes; whoever made it has escaped what came from the network.
    fn quoted(self, name: &str, text: impl AsRef<str>) -> Self {
        self.field(name, format_args!("\"{}\"", text.as_ref().replace('"', "\\x22")))
    }

    fn parties<'a>(self, parties: &'a Parties) -> Self {
        let Parties {
            version,
            command,
            client,
            client_name,
            claimed_user,
            verified_user,
            by_password,
            destination,
            ..
        } = parties;
        let Parties { destination_name, port, service, peer_port, upstream, rule, .. } = parties;
        let version = match version {
            Version::Socks4 => 4,
            Version::Socks5 => 5,
        };
        let user = |user: &'a UserId| Quoted(user.as_bytes());
        let line = self.field("client", client);
        let line =
            line.optional("client_name", client_name.as_ref().map(|name| Quoted(name.as_str().as_bytes())));
        let line = line.field("user", user(claimed_user));
        let line = line
            .optional("verified_user", verified_user.as_ref().map(user))
            .optional("method", verified_user.as_ref().map(|_| if *by_password { PASSWORD } else { IDENT }))
            .field("version", version)
            .field("command", command.name());
        let name = destination_name.as_ref().map(|name| Quoted(name.as_str().as_bytes()));
        let line = line.optional("destination", destination.as_ref()).optional("name", name);
        let line = line.field("port", port).optional("service", service.as_ref());
        line.optional("peer_port", *peer_port).optional("upstream", *upstream).optional("rule", *rule)
    }

    /// The line of sockd.conf(5) that refuses.
    fn rule_of(self, why: &Failure) -> Self {
        match why {
            Failure::Denied { rule, .. } => self.optional("rule", *rule),
            _ => self,
        }
    }
}

/// A string from the network, escaped and in quotes.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(self.0).replace('"', "\\x22"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_policy::{Command, DenyReason, HostName};

    fn parties() -> Parties {
        Parties {
            version: Version::Socks5,
            command: Command::Connect,
            client: "192.0.2.7:4000".parse().unwrap(),
            client_name: None,
            claimed_user: UserId::parse(b"do\" n").unwrap(),
            verified_user: None,
            by_password: false,
            destination: Some("203.0.113.1".parse().unwrap()),
            destination_name: Some(HostName::parse(b"wxy.com").unwrap()),
            port: 23,
            service: Some("telnet".into()),
            peer_port: None,
            upstream: None,
            rule: None,
        }
    }

    fn text(record: &Record) -> String {
        line(About { session: 17, age: Duration::from_millis(61_042) }, record).1
    }

    #[test]
    fn a_line_has_session_time_parties_rule_cause_and_bytes() {
        let whose = "client=192.0.2.7:4000 user=\"do\\x22\\x20n\" version=5 command=connect destination=203.0.113.1 \
                     name=\"wxy.com\" port=23 service=telnet";
        let connected = Record::Connected(Parties { rule: Some(3), ..parties() });
        assert_eq!(text(&connected), format!("connected session=17 seconds=61.042 {whose} rule=3"));
        let why = Failure::Denied { why: DenyReason::Rule, rule: Some(4) };
        assert_eq!(
            text(&Record::Refused { parties: parties(), why }),
            format!("refused session=17 seconds=61.042 {whose} rule=4 cause=\"denied by rule\"")
        );
        let (why, moved) = (EndCause::WorkerEnded, Moved { up: 7, down: 8 });
        assert_eq!(
            text(&Record::Ended { parties: parties(), why, moved }),
            format!(
                "terminated session=17 seconds=61.042 {whose} cause=\"its worker has ended\" bytes_up=7 bytes_down=8"
            )
        );
    }

    #[test]
    fn every_end_of_a_relay_has_a_cause_of_its_own() {
        let causes = [
            EndCause::Finished,
            EndCause::ClientFailed(Errno(110)),
            EndCause::ServerFailed(Errno(110)),
            EndCause::Idle,
            EndCause::NoResources,
            EndCause::Revoked,
            EndCause::Stopped,
            EndCause::WorkerEnded,
            EndCause::Unsaid,
        ];
        let texts: std::collections::BTreeSet<String> = causes.into_iter().map(ended).collect();
        assert_eq!(texts.len(), causes.len(), "{texts:?}");
        assert!(texts.contains("server: Connection timed out"), "{texts:?}");
    }
}
