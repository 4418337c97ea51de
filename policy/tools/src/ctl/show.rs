//! Sessions as they are shown: a line each, all of one, or JSON. Texts that a client has chosen are escaped: they must
//! not reach the terminal as they are.

use super::live::{Live, age};
use crate::ledger::record::in_a_word;
use sockd_common::ledger::{Entry, Phase, Text};
use std::fmt::Write;
use std::time::Duration;

/// Stands behind a text that is cut.
const CUT: &str = "+";

/// The heads of the columns. The last one has what is left of the line.
const HEADS: [&str; 10] = ["ID", "USER", "FROM", "RULE", "SOCKS", "SINCE", "IDLE", "UP", "DOWN", "TO"];

/// Columns of numbers stand at their right edge.
const RIGHT: [bool; 10] = [true, false, false, true, false, true, true, true, true, false];

/// Limit of the width of every column but the last, if the line has a width.
const WIDEST: usize = 15;

/// A table of sessions, a line each, no wider than `width` if there is one.
pub(super) fn table(sessions: &[&Live], width: Option<usize>) -> String {
    let rows = sessions.iter().filter_map(|live| Some(row(&live.entry()?, live)));
    let rows: Vec<[String; 10]> = [HEADS.map(str::to_owned)].into_iter().chain(rows).collect();
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| widest(column).unwrap_or(0).min(if width.is_some() { WIDEST } else { usize::MAX }))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).zip(RIGHT);
        let cells = cells.take(HEADS.len().saturating_sub(1)).map(|((cell, width), right)| {
            let cell = cut(cell, *width);
            if right { format!("{cell:>width$} ") } else { format!("{cell:<width$} ") }
        });
        let mut line: String = cells.collect();
        line.push_str(row.last().map_or("", String::as_str));
        text.push_str(cut(&line, width.unwrap_or(usize::MAX)).trim_end());
        text.push('\n');
    }
    text
}

/// Cuts a text to a width. All of it is ASCII.
fn cut(text: &str, width: usize) -> &str {
    text.get(..width).unwrap_or(text)
}

fn row(entry: &Entry<'_>, live: &Live) -> [String; 10] {
    let relays = matches!(entry.phase, Phase::Relaying | Phase::Associated);
    let traffic = live.traffic.filter(|_| relays);
    let counted = |number: Option<u64>| number.map_or("-".into(), amount);
    [
        entry.number.to_string(),
        user(entry),
        entry.client.ip().to_string(),
        if entry.rule == 0 { "-".into() } else { entry.rule.to_string() },
        match entry.version {
            0 => "-".into(),
            version => format!("{version} {}", command(entry).get(..4).unwrap_or_default()),
        },
        span(age(entry.since)),
        traffic.map_or("-".into(), |traffic| span(traffic.idle)),
        counted(traffic.map(|traffic| traffic.up)),
        counted(traffic.map(|traffic| traffic.down)),
        match relays {
            true => destination(entry),
            false => format!("({}) {}", in_a_word(entry.phase), destination(entry)),
        },
    ]
}

/// The user, the client and the destination of a session, in a line.
pub(super) fn whose(entry: &Entry<'_>) -> String {
    format!("{} from {} to {}", user(entry), entry.client, destination(entry))
}

/// The user of a session. A user whom nobody has verified has a question mark.
fn user(entry: &Entry<'_>) -> String {
    match (entry.verified.bytes, entry.claimed.bytes) {
        (b"", b"") => "-".into(),
        (b"", _) => format!("{}?", shown(entry.claimed)),
        _ => shown(entry.verified),
    }
}

/// `name:port [address]`.
fn destination(entry: &Entry<'_>) -> String {
    let address = entry.destination.map(|address| address.to_string());
    match (entry.version, entry.command, entry.destination_name.bytes, address) {
        (0, ..) => String::new(),
        (_, 3, ..) => "datagrams".into(),
        (_, _, b"", None) => format!("?:{}", entry.port),
        (_, _, b"", Some(address)) if address.contains(':') => format!("[{address}]:{}", entry.port),
        (_, _, b"", Some(address)) => format!("{address}:{}", entry.port),
        (_, _, _, address) => {
            let address = address.map_or(String::new(), |address| format!(" [{address}]"));
            format!("{}:{}{address}", shown(entry.destination_name), entry.port)
        }
    }
}

fn command(entry: &Entry<'_>) -> &'static str {
    match entry.command {
        1 => "connect",
        2 => "bind",
        3 => "udp associate",
        _ => "none yet",
    }
}

/// A text in which \x and two digits stand for each byte that is not printable ASCII.
fn shown(text: Text<'_>) -> String {
    let cut = if text.is_cut { CUT } else { "" };
    format!("{}{cut}", text.bytes.escape_ascii())
}

/// A time in at most four characters.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m", seconds / 60),
        6000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes in at most five characters.
pub(super) fn amount(bytes: u64) -> String {
    let mut number = bytes;
    for unit in ["", "k", "M", "G", "T"] {
        if number < 10_000 {
            return format!("{number}{unit}");
        }
        number = number.div_ceil(1000);
    }
    format!("{number}P")
}

/// All that is known of one session.
pub(super) fn detail(live: &Live) -> String {
    let Some(entry) = live.entry() else { return String::new() };
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("session", &entry.number);
    line("phase", &in_a_word(entry.phase));
    line("since", &format_args!("{} ago", span(age(entry.since))));
    line("client", &entry.client);
    line("name", &shown(entry.client_name));
    line("proxy", &entry.proxy);
    line("worker", &entry.worker);
    line("socks", &format_args!("{}, {}", entry.version, command(&entry)));
    line("claimed", &shown(entry.claimed));
    let how = if entry.by_password { " (password)" } else { "" };
    line("verified", &format_args!("{}{how}", shown(entry.verified)));
    line("groups", &shown(entry.groups));
    line("to", &destination(&entry));
    entry.upstream.iter().for_each(|upstream| line("through", upstream));
    line("rule", &entry.rule);
    if let Some(traffic) = live.traffic {
        line("bytes up", &traffic.up);
        line("bytes down", &traffic.down);
        line("idle", &span(traffic.idle));
    }
    text
}

/// One session as a JSON object.
pub(super) fn json(live: &Live) -> String {
    let Some(entry) = live.entry() else { return "null".into() };
    let mut object = Object::default();
    object.number("id", entry.number);
    object.text("phase", in_a_word(entry.phase));
    object.number("since", entry.since);
    object.number("worker", entry.worker.into());
    object.text("client", &entry.client.to_string());
    object.text("proxy", &entry.proxy.to_string());
    asked(&entry, &mut object);
    if let Some(traffic) = live.traffic {
        object.number("bytes_up", traffic.up);
        object.number("bytes_down", traffic.down);
        object.number("idle_ms", u64::try_from(traffic.idle.as_millis()).unwrap_or(u64::MAX));
    }
    object.end()
}

/// Adds the request of a session and its user.
fn asked(entry: &Entry<'_>, object: &mut Object) {
    object.number("version", entry.version.into());
    object.text("command", command(entry));
    object.bytes("client_name", entry.client_name);
    object.bytes("claimed_user", entry.claimed);
    object.bytes("verified_user", entry.verified);
    object.value("by_password", if entry.by_password { "true" } else { "false" });
    object.bytes("groups", entry.groups);
    entry.destination.iter().for_each(|address| object.text("destination", &address.to_string()));
    object.bytes("destination_name", entry.destination_name);
    object.number("port", entry.port.into());
    entry.upstream.iter().for_each(|upstream| object.text("upstream", &upstream.to_string()));
    object.number("rule", entry.rule.into());
}

/// A JSON object that is being written.
#[derive(Default)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn value(&mut self, name: &str, value: &str) {
        let begin = if self.0.is_empty() { '{' } else { ',' };
        let _ = write!(self.0, "{begin}\"{name}\":{value}");
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.value(name, &number.to_string());
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.bytes(name, text.as_bytes().into());
    }

    /// Adds bytes as [`shown`] shows them, but escaped as JSON has it. A second field tells of a text that is cut.
    pub(super) fn bytes(&mut self, name: &str, text: Text<'_>) {
        if text.bytes.is_empty() {
            return;
        }
        let plain = text.bytes.iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec!['\\', char::from(*byte)],
            0x20..0x7f => vec![char::from(*byte)],
            _ => format!("\\u{byte:04x}").chars().collect(),
        });
        let plain: String = plain.collect();
        self.value(name, &format!("\"{plain}\""));
        if text.is_cut {
            self.value(&format!("{name}_cut"), "true");
        }
    }

    pub(super) fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::diag::Traffic;

    #[test]
    fn a_line_fits_80_columns_and_says_who_and_where_to() {
        let mut entry = Entry {
            number: 1_234_567,
            since: super::super::live::now(),
            worker: 3,
            rule: 1200,
            phase: Phase::Relaying,
            version: 5,
            command: 1,
            by_password: true,
            client: "192.0.2.110:40000".parse().unwrap(),
            proxy: "192.0.2.1:1080".parse().unwrap(),
            destination: Some("198.51.100.10".parse().unwrap()),
            port: 443,
            upstream: None,
            destination_name: b"www.example.org"[..].into(),
            client_name: Text::default(),
            claimed: b"joe"[..].into(),
            verified: b"joe"[..].into(),
            groups: Text::default(),
        };
        let traffic = Some(Traffic { up: 12_345_678, down: 9, idle: Duration::from_secs(100) });
        let live = |entry: &Entry<'_>| Live { tree: 0, place: 0, record: Box::new(entry.encode()), traffic };
        let one = live(&entry);
        let text = table(&[&one], Some(80));
        let line = text.lines().last().unwrap();
        assert_eq!(line, "1234567 joe  192.0.2.110 1200 5 conn    0s   1m 13M    9 www.example.org:443 [19");
        assert!(text.lines().all(|line| line.len() <= 80));
        assert!(table(&[&one], None).ends_with(" www.example.org:443 [198.51.100.10]\n"));
        assert_eq!(whose(&entry), "joe from 192.0.2.110:40000 to www.example.org:443 [198.51.100.10]");
        (entry.phase, entry.verified) = (Phase::Dialling, Text::default());
        let text = table(&[&live(&entry)], None);
        assert!(text.contains(" joe? ") && text.contains(" (dialling) www.example.org:443"), "{text}");
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (bytes, expected) in [(0, "0"), (9999, "9999"), (10_000, "10k"), (12_345_678, "13M")] {
            assert_eq!(amount(bytes), expected);
        }
        assert!(amount(u64::MAX).len() <= 6);
        for (seconds, expected) in [(0, "0s"), (99, "99s"), (100, "1m"), (7200, "2h"), (864_000, "10d")] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn what_a_client_has_chosen_does_not_reach_the_terminal_as_it_is() {
        let text = Text { bytes: b"a\x1b[2J\xff\"\\", is_cut: true };
        assert_eq!(shown(text), "a\\x1b[2J\\xff\\\"\\\\+");
        let mut object = Object::default();
        object.bytes("user", text);
        assert_eq!(object.end(), "{\"user\":\"a\\u001b[2J\\u00ff\\\"\\\\\",\"user_cut\":true}");
    }
}
