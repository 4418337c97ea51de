//! Lines that an attacker could cause in any number. Each is written at most once a minute, and then a count of the
//! lines left out since.

use crate::client_host::{Host, HostNetwork};
use crate::config::counted;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The lines written lately, and counts of those left out since.
#[derive(Debug, Default)]
pub struct QuietLog {
    /// When each line was last written, and how often it was left out since.
    written: HashMap<String, (Instant, u64)>,
    /// Lines about refused requests of each host in this second, and those beyond the limit.
    refusals: HashMap<HostNetwork, (u32, u32)>,
    /// When this second ends.
    second: Option<Instant>,
    /// The number of clients that have left without sending a byte, and when it is due in the log.
    silent: Option<(u64, Instant)>,
}

const PAUSE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// The most lines remembered, as a client with many addresses could cause as many. One line stands for the rest.
const MAX_LINES: usize = 256;
const LEFT_OUT: &str = "a line like these about further client hosts is left out";

impl QuietLog {
    /// The line to write for `text`; `None` if it was written a short while ago: then it is counted.
    pub fn admit<'a>(&mut self, text: &'a str, now: Instant) -> Option<&'a str> {
        let is_new = !self.written.contains_key(text);
        let text = if is_new && self.written.len() >= MAX_LINES { LEFT_OUT } else { text };
        if let Some((_, unwritten)) = self.written.get_mut(text) {
            *unwritten = unwritten.saturating_add(1);
            return None;
        }
        self.written.insert(text.into(), (now, 0));
        Some(text)
    }

    /// Whether another line about a refused request of this host may be written in this second.
    pub fn admits_refusal(&mut self, host: Host, limit: u32, now: Instant) -> bool {
        self.second = self.second.or_else(|| now.checked_add(SECOND));
        let (lines, left_out) = self.refusals.entry(host.network()).or_default();
        if *lines < limit {
            *lines = lines.saturating_add(1);
        } else {
            *left_out = left_out.saturating_add(1);
        }
        *left_out == 0
    }

    /// A client has left without sending a byte, as TCP checks of load balancers and monitoring do.
    pub fn count_silent(&mut self, now: Instant) {
        let (number, due) = self.silent.unwrap_or((0, now.checked_add(PAUSE).unwrap_or(now)));
        self.silent = Some((number.saturating_add(1), due));
    }

    /// The line on the clients that have left without sending a byte, once a minute while there are any.
    pub fn silent_due(&mut self, now: Instant) -> Option<String> {
        let (number, _) = self.silent.take_if(|(_, due)| *due <= now)?;
        Some(format!(
            "{} closed without a byte",
            counted(usize::try_from(number).unwrap_or(usize::MAX), "connection")
        ))
    }

    /// When [`QuietLog::due`] or [`QuietLog::silent_due`] has a line next.
    pub fn next(&self) -> Option<Instant> {
        let pauses = self.written.values().filter_map(|(last, _)| last.checked_add(PAUSE));
        pauses.chain(self.second).chain(self.silent.map(|(_, due)| due)).min()
    }

    /// The counts of lines whose pause is over.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if self.second.is_some_and(|end| end <= now) {
            self.second = None;
            let beyond = self.refusals.drain().filter(|(_, (_, left_out))| *left_out > 0);
            lines.extend(beyond.map(|(host, (_, left_out))| {
                format!("{left_out} lines about requests of {host} are left out: max_refusals_logged")
            }));
        }
        self.written.retain(|text, (last, unwritten)| {
            if now.saturating_duration_since(*last) < PAUSE {
                return true;
            }
            *last = now;
            let number = std::mem::take(unwritten);
            if number > 0 {
                lines.push(format!("{text} ({number} times more)"));
            }
            number > 0
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_held_back_is_counted_and_the_count_comes_by_itself() {
        let (mut quiet, now) = (QuietLog::default(), Instant::now());
        let written: Vec<_> = (0..5).filter_map(|_| quiet.admit("again", now)).collect();
        assert_eq!(written, ["again"]);
        let due = quiet.next().unwrap();
        assert_eq!(quiet.due(due), ["again (4 times more)"]);
        assert!(quiet.due(due + PAUSE).is_empty());
        assert!(quiet.written.is_empty() && quiet.next().is_none());
    }

    #[test]
    fn clients_without_a_byte_are_counted_for_a_minute() {
        let (mut quiet, now) = (QuietLog::default(), Instant::now());
        (0..3).for_each(|_| quiet.count_silent(now));
        assert_eq!(quiet.silent_due(now), None);
        let due = quiet.next().unwrap();
        assert_eq!(due, now + PAUSE);
        assert_eq!(quiet.silent_due(due).as_deref(), Some("3 connections closed without a byte"));
        assert_eq!((quiet.silent_due(due), quiet.next()), (None, None));
    }

    #[test]
    fn lines_about_refusals_are_limited_for_each_host_and_second() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let (mut quiet, now) = (QuietLog::default(), Instant::now());
        let admitted =
            |quiet: &mut QuietLog, host| (0..10).filter(|_| quiet.admits_refusal(host, 3, now)).count();
        assert_eq!([admitted(&mut quiet, one), admitted(&mut quiet, other)], [3, 3]);
        let end = quiet.next().unwrap();
        let mut lines = quiet.due(end);
        lines.sort();
        assert_eq!(lines[0], "7 lines about requests of 192.0.2.1 are left out: max_refusals_logged");
        assert_eq!((lines.len(), quiet.next()), (2, None));
        assert_eq!(admitted(&mut quiet, one), 3);
    }

    #[test]
    fn lines_about_ever_new_hosts_are_bounded_and_still_counted() {
        let (mut quiet, now) = (QuietLog::default(), Instant::now());
        (0..1000).for_each(|number| drop(quiet.admit(&format!("host {number}"), now).map(str::to_owned)));
        assert_eq!(quiet.written.len(), MAX_LINES + 1);
        assert_eq!(quiet.written.get(LEFT_OUT).map(|(_, unwritten)| *unwritten), Some(743));
    }
}
