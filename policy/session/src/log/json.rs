//! The lines as JSON objects, for programs that read the log: one object for each line of any kind.

use crate::log::fields::{self, Value};
use crate::log::{About, Level};
use crate::record::Record;
use std::fmt::{self, Write as _};

/// Bytes of an object: few are longer.
const USUAL: usize = 512;

/// The most bytes of a message's text. Even if each of them is escaped, the object is shorter than PIPE_BUF (pipe(7)).
const LONGEST: usize = 1900;

/// The object of a record, without its beginning, see [`whole`].
pub fn record(about: About, record: &Record) -> String {
    let mut members = String::with_capacity(USUAL);
    member(&mut members, "event", &Value::Word(fields::event(record)));
    fields::each(about, record, &mut |name, value| member(&mut members, name, &value));
    members
}

/// The object of any other line, without its beginning. `text` has been composed by this program, with strings from the
/// network escaped. A text that is too long is cut: an object that a pipe does not take whole would be broken.
pub fn message(text: &str) -> String {
    let mut members = String::with_capacity(USUAL);
    let cut = || (0..=LONGEST).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    let text = if text.len() > LONGEST { cut() } else { text };
    member(&mut members, "event", &Value::Word("message"));
    member(&mut members, "message", &Value::Text(text.into()));
    members
}

/// The whole object: the time and the level, then `members`.
pub fn whole(time: &str, level: Level, members: &str) -> String {
    format!("{{\"time\":\"{time}\",\"level\":\"{}\"{members}}}", level.as_str())
}

/// Milliseconds since 1970 as a time of RFC 3339, in UTC.
pub fn time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days since 1970 as a date.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970_u64;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while let Some(left) = days.checked_sub(length(year)) {
        (days, year) = (left, year.saturating_add(1));
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1_u64;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        let Some(left) = days.checked_sub(length) else { break };
        (days, month) = (left, month.saturating_add(1));
    }
    (year, month, days.saturating_add(1))
}

/// One member, with the comma before it: other members precede it.
fn member(out: &mut String, name: &str, value: &Value<'_>) {
    out.extend([",\"", name, "\":"]);
    // Writing into a string does not fail.
    let _ = match value {
        Value::Number(_) | Value::Seconds(_) => write!(out, "{value}"),
        Value::Address(address) => write!(out, "\"{address}\""),
        Value::Place(place) => write!(out, "\"{}\",\"{name}_port\":{}", place.ip(), place.port()),
        Value::Word(word) => string(out, word),
        Value::Text(text) => string(out, text),
    };
}

/// A string of RFC 8259, section 7, without any control characters of a terminal.
fn string(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => write!(out, "\\u{:04x}", u32::from(character))?,
            _ => out.push(character),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Failure, Parties, UpstreamFailure};
    use proptest::prelude::*;
    use sockd_policy::{Command, HostName, UserId, Version};
    use std::net::SocketAddr;

    fn of_bytes(bytes: &[u8]) -> String {
        let mut out = String::new();
        member(&mut out, "user", &Value::hostile(bytes));
        format!("{{{}}}", out.strip_prefix(',').unwrap())
    }

    #[test]
    fn no_string_from_the_network_leaves_its_string() {
        for (bytes, expected) in [
            (b"joe".as_slice(), r#"{"user":"joe"}"#),
            (b"a\",\"rule\":1,\"b\":\"", r#"{"user":"a\",\"rule\":1,\"b\":\""}"#),
            (b"a\nSOCKD_RULE=1", r#"{"user":"a\\x0aSOCKD_RULE=1"}"#),
            (b"CORP\\joe", r#"{"user":"CORP\\\\joe"}"#),
            (b"\0\x1b[2J\x7f", r#"{"user":"\\x00\\x1b[2J\\x7f"}"#),
            (b"\xff\xc3", r#"{"user":"\\xff\\xc3"}"#),
            ("d\u{f6}r \u{2028}".as_bytes(), r#"{"user":"d\\xc3\\xb6r\\x20\\xe2\\x80\\xa8"}"#),
        ] {
            assert_eq!(of_bytes(bytes), expected);
        }
    }

    #[test]
    fn a_text_with_control_characters_stays_one_line() {
        let whole = whole("now", Level::Err, &message("a \"b\"\n\u{1b}\u{9b}c\\"));
        let expected =
            r#"{"time":"now","level":"err","event":"message","message":"a \"b\"\u000a\u001b\u009bc\\"}"#;
        assert_eq!(whole, expected);
    }

    fn longest() -> Parties {
        let label = "a".repeat(63);
        let name = HostName::parse(&format!("{label}.{label}.{label}.{label}").as_bytes()[..253]).unwrap();
        let user = UserId::parse(&[0xff; 255]).unwrap();
        let place = SocketAddr::from(([0xfd80_u16; 8], u16::MAX));
        Parties {
            version: Version::Socks5,
            command: Command::Connect,
            client: place,
            client_name: Some(name.clone()),
            claimed_user: user.clone(),
            verified_user: Some(user),
            by_password: true,
            destination: Some(place.ip()),
            destination_name: Some(name),
            port: u16::MAX,
            service: Some("a".repeat(64).into()),
            peer_port: Some(u16::MAX),
            upstream: Some(place),
            rule: Some(u32::MAX),
        }
    }

    #[test]
    fn the_longest_object_goes_into_a_pipe_at_once() {
        const PIPE_BUF: usize = 4096;
        let parties = longest();
        let why = Failure::Upstream(UpstreamFailure::WrongPeer(parties.client));
        let age = std::time::Duration::from_secs(u32::MAX.into());
        let about = About { session: u64::MAX, age, handshake: Some(age), dial: Some(age) };
        let time = time(0);
        for members in [record(about, &Record::Refused { parties, why }), message(&"\\".repeat(5000))] {
            let object = whole(&time, Level::Notice, &members);
            assert!(object.len() < PIPE_BUF, "{}: {object}", object.len());
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_868_799, "2000-02-29T23:59:59.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_795_939_199, "2026-11-29T07:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
            (1_798_761_599, "2026-12-31T23:59:59.007Z"),
        ] {
            assert_eq!(time(seconds * 1000 + 7), expected);
        }
    }

    proptest! {
        #[test]
        fn a_string_of_any_bytes_is_printable_and_ends_where_it_has_to(bytes: Vec<u8>) {
            let text = of_bytes(&bytes);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            let inside = text.strip_prefix("{\"user\":\"").and_then(|text| text.strip_suffix("\"}")).unwrap();
            let mut characters = inside.chars();
            while let Some(character) = characters.next() {
                prop_assert!(character != '"');
                if character == '\\' {
                    prop_assert!(matches!(characters.next(), Some('"' | '\\')));
                }
            }
        }
    }
}
