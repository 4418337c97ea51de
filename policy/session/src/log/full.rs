//! The full log lines, for programs that read the log. Each record has one: an event, then fields as `name=value`. A
//! field that does not apply is left out. Strings from the network are escaped and in quotes.

use crate::log::About;
use crate::log::fields::{self, Value};
use crate::record::Record;
use std::fmt::Write as _;

/// Bytes of a line: few are longer.
const USUAL: usize = 256;

/// Fields that are left out of these lines, as they would come between fields whose order programs rely on.
const ADDED: [&str; 3] = ["handshake_seconds", "dial_seconds", "reason"];

/// The line of a record.
pub fn line(about: About, record: &Record) -> String {
    let mut line = String::with_capacity(USUAL);
    line.push_str(fields::event(record));
    fields::each(about, record, &mut |name, value| {
        if !ADDED.contains(&name) {
            // Writing into a string does not fail.
            let _ = match value {
                Value::Text(text) => write!(line, " {name}=\"{}\"", text.replace('"', "\\x22")),
                value => write!(line, " {name}={value}"),
            };
        }
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Moved;
    use crate::record::{EndCause, Failure, Parties};
    use sockd_policy::{Command, DenyReason, HostName, UserId, Version};
    use std::time::Duration;

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
        let [handshake, dial] = [3, 40].map(|millis| Some(Duration::from_millis(millis)));
        line(About { session: 17, age: Duration::from_millis(61_042), handshake, dial }, record)
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
}
