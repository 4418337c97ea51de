//! The fields of a record, with names and types that never change. Lines for programs that read the log, and the
//! journal's fields, are two ways to write them.

use crate::log::{About, causes, escape};
use crate::record::{Failure, Parties, Record};
use sockd_policy::{HostName, Version};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a user was verified, in the words of the rules.
const PASSWORD: &str = "password";
const IDENT: &str = "ident";

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A whole number.
    Number(u64),
    /// Seconds, to the millisecond.
    Seconds(Duration),
    /// One of a few words.
    Word(&'a str),
    /// An address.
    Address(IpAddr),
    /// An address and its port, which has a field of its own if the line is for a program.
    Place(SocketAddr),
    /// A text, in which strings from the network are escaped.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// A string from the network.
    pub(super) fn hostile(bytes: &'a [u8]) -> Self {
        Self::Text(escape(bytes))
    }
}

/// Writes the value without quotes.
impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Seconds(time) => write!(f, "{}.{:03}", time.as_secs(), time.subsec_millis()),
            Self::Word(word) => f.write_str(word),
            Self::Address(address) => address.fmt(f),
            Self::Place(place) => place.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A function that writes a field.
pub(super) type Put<'a> = &'a mut dyn FnMut(&'static str, Value<'_>);

/// The kind of a record.
pub(super) fn event(record: &Record) -> &'static str {
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

/// Writes the fields of a record, except its event. A field that does not apply is left out.
pub(super) fn each(about: About, record: &Record, put: Put<'_>) {
    put("session", Value::Number(about.session));
    put("seconds", Value::Seconds(about.age));
    optional("handshake_seconds", about.handshake.map(Value::Seconds), put);
    optional("dial_seconds", about.dial.map(Value::Seconds), put);
    match record {
        Record::Unread { client, .. } => put("client", Value::Place(*client)),
        Record::LoginRefused { client, user, .. } => {
            put("client", Value::Place(*client));
            put("user", Value::hostile(user.as_bytes()));
            put("method", Value::Word(PASSWORD));
        }
        Record::Unverified(whose) | Record::Connected(whose) | Record::Revoked(whose) => parties(whose, put),
        Record::Refused { parties: whose, why } => {
            parties(whose, put);
            rule_of(why, put);
        }
        Record::Abandoned { parties: whose, .. }
        | Record::Stranger { parties: whose, .. }
        | Record::Strangers { parties: whose, .. }
        | Record::Flow { parties: whose, .. }
        | Record::Ended { parties: whose, .. } => parties(whose, put),
    }
    if let Some((reason, cause)) = causes::of(record) {
        put("reason", Value::Word(reason));
        put("cause", Value::Text(cause));
    }
    match record {
        Record::Stranger { peer, .. } => put("peer", Value::Place(*peer)),
        Record::Strangers { number, .. } => put("number", Value::Number((*number).into())),
        Record::Flow { moved, .. } | Record::Ended { moved, .. } => {
            put("bytes_up", Value::Number(moved.up));
            put("bytes_down", Value::Number(moved.down));
        }
        _ => {}
    }
}

fn optional<'a>(name: &'static str, value: Option<Value<'a>>, put: Put<'_>) {
    if let Some(value) = value {
        put(name, value);
    }
}

fn parties(parties: &Parties, put: Put<'_>) {
    let version = match parties.version {
        Version::Socks4 => 4,
        Version::Socks5 => 5,
    };
    let host = |name| Value::hostile(HostName::as_str(name).as_bytes());
    put("client", Value::Place(parties.client));
    optional("client_name", parties.client_name.as_ref().map(host), put);
    put("user", Value::hostile(parties.claimed_user.as_bytes()));
    if let Some(user) = &parties.verified_user {
        put("verified_user", Value::hostile(user.as_bytes()));
        put("method", Value::Word(if parties.by_password { PASSWORD } else { IDENT }));
    }
    put("version", Value::Number(version));
    put("command", Value::Word(parties.command.name()));
    optional("destination", parties.destination.map(Value::Address), put);
    optional("name", parties.destination_name.as_ref().map(host), put);
    put("port", Value::Number(parties.port.into()));
    optional("service", parties.service.as_deref().map(Value::Word), put);
    optional("peer_port", parties.peer_port.map(|port| Value::Number(port.into())), put);
    optional("upstream", parties.upstream.map(Value::Place), put);
    optional("rule", parties.rule.map(|rule| Value::Number(rule.into())), put);
}

/// The line of sockd.conf(5) that refuses.
fn rule_of(why: &Failure, put: Put<'_>) {
    if let Failure::Denied { rule: Some(rule), .. } = why {
        put("rule", Value::Number((*rule).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Login;
    use crate::flow::Moved;
    use crate::record::{Abandonment, EndCause, Unread};
    use sockd_common::message;
    use sockd_policy::{Command, DenyReason, UserId};
    use std::collections::BTreeSet;

    /// The fields that other programs rely on: a field may be added here, and never changed or taken away.
    const FIELDS: [(&str, &str); 26] = [
        ("bytes_down", "number"),
        ("bytes_up", "number"),
        ("cause", "string"),
        ("client", "string"),
        ("client_name", "string"),
        ("client_port", "number"),
        ("command", "string"),
        ("destination", "string"),
        ("dial_seconds", "number"),
        ("handshake_seconds", "number"),
        ("method", "string"),
        ("name", "string"),
        ("number", "number"),
        ("peer", "string"),
        ("peer_port", "number"),
        ("port", "number"),
        ("reason", "string"),
        ("rule", "number"),
        ("seconds", "number"),
        ("service", "string"),
        ("session", "number"),
        ("upstream", "string"),
        ("upstream_port", "number"),
        ("user", "string"),
        ("verified_user", "string"),
        ("version", "number"),
    ];

    /// One record of each kind, with all fields that it can have.
    fn records() -> Vec<Record> {
        let client = "192.0.2.7:4000".parse().unwrap();
        let parties = || Parties {
            version: Version::Socks5,
            command: Command::Connect,
            client,
            client_name: Some(HostName::parse(b"abc.edu").unwrap()),
            claimed_user: UserId::parse(b"don").unwrap(),
            verified_user: Some(UserId::parse(b"don").unwrap()),
            by_password: true,
            destination: Some("203.0.113.1".parse().unwrap()),
            destination_name: Some(HostName::parse(b"wxy.com").unwrap()),
            port: 23,
            service: Some("telnet".into()),
            peer_port: Some(20),
            upstream: Some("[2001:db8::1]:1080".parse().unwrap()),
            rule: Some(3),
        };
        let moved = Moved { up: 1, down: 2 };
        let user = message::UserId::new(b"don").unwrap();
        let why = Failure::Denied { why: DenyReason::Rule, rule: Some(4) };
        vec![
            Record::Unread { client, why: Unread::Late },
            Record::LoginRefused { client, user, why: Login::Wrong },
            Record::Unverified(parties()),
            Record::Connected(parties()),
            Record::Refused { parties: Parties { rule: None, ..parties() }, why },
            Record::Abandoned { parties: parties(), why: Abandonment::ClientGone },
            Record::Stranger { parties: Parties { peer_port: None, ..parties() }, peer: client },
            Record::Strangers { parties: parties(), number: 2 },
            Record::Revoked(parties()),
            Record::Flow { parties: parties(), moved },
            Record::Ended { parties: parties(), why: EndCause::Finished, moved },
        ]
    }

    #[test]
    fn the_fields_have_their_names_and_types_for_ever_and_each_at_most_once() {
        let time = Some(Duration::from_millis(7));
        let about = About { session: 1, age: Duration::ZERO, handshake: time, dial: time };
        let mut all = BTreeSet::new();
        for record in records() {
            let mut names = BTreeSet::new();
            let mut see = |name: &str, kind| {
                assert!(!names.contains(name), "{name} twice in {record:?}");
                names.insert(name.to_owned());
                all.insert((name.to_owned(), kind));
            };
            each(about, &record, &mut |name, value| match value {
                Value::Number(_) | Value::Seconds(_) => see(name, "number"),
                Value::Place(_) => {
                    see(name, "string");
                    see(&format!("{name}_port"), "number");
                }
                Value::Word(_) | Value::Address(_) | Value::Text(_) => see(name, "string"),
            });
        }
        let expected = FIELDS.into_iter();
        assert_eq!(all, expected.map(|(name, kind)| (name.to_owned(), kind)).collect());
    }

    #[test]
    fn the_kinds_of_records_have_their_names_for_ever() {
        let events: Vec<&str> = records().iter().map(event).collect();
        let expected = [
            "unread",
            "login_refused",
            "unverified",
            "connected",
            "refused",
            "abandoned",
            "stranger",
            "strangers",
            "revoked",
            "flow",
            "terminated",
        ];
        assert_eq!(events, expected);
    }
}
