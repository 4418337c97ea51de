//! What every client host has open, and lines that are written rarely.

use crate::log::Log;
use crate::settings::Settings;
use crate::workers::Host;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Counts of all client hosts that have any.
#[derive(Debug, Default)]
pub struct Tallies {
    hosts: HashMap<Host, Tally>,
    next: u64,
    /// Of all hosts.
    binds: u32,
}

/// What one client host has open.
#[derive(Debug, Default)]
struct Tally {
    sessions: u32,
    lookups: u32,
    /// Ports that wait for the server of a BIND; each belongs to a session.
    binds: u32,
    /// Unfinished requests in the order in which they came.
    unfinished: BTreeMap<u64, usize>,
}

impl Tallies {
    /// A session begins; gives its number in the order of all.
    pub fn begin(&mut self, host: Host, visit: usize) -> u64 {
        self.next = self.next.saturating_add(1);
        let tally = self.hosts.entry(host).or_default();
        tally.sessions = tally.sessions.saturating_add(1);
        tally.unfinished.insert(self.next, visit);
        self.next
    }

    /// A request has been read, or will not be any more.
    pub fn finished(&mut self, host: Host, number: u64) {
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.unfinished.remove(&number);
        }
    }

    /// A session is over.
    pub fn end(&mut self, host: Host, number: u64) {
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.unfinished.remove(&number);
            tally.sessions = tally.sessions.saturating_sub(1);
            if tally.sessions == 0 && tally.lookups == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// A lookup begins.
    pub fn begin_lookup(&mut self, host: Host) {
        let tally = self.hosts.entry(host).or_default();
        tally.lookups = tally.lookups.saturating_add(1);
    }

    /// A lookup has ended.
    pub fn end_lookup(&mut self, host: Host) {
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.lookups = tally.lookups.saturating_sub(1);
            if tally.sessions == 0 && tally.lookups == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// A port waits for the server of a BIND.
    pub fn begin_bind(&mut self, host: Host) {
        self.binds = self.binds.saturating_add(1);
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.binds = tally.binds.saturating_add(1);
        }
    }

    /// It does not any more.
    pub fn end_bind(&mut self, host: Host) {
        self.binds = self.binds.saturating_sub(1);
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.binds = tally.binds.saturating_sub(1);
        }
    }

    /// The setting that does not admit another BIND of this host.
    pub fn bind_limit(&self, host: Host, settings: &Settings) -> Option<&'static str> {
        let own = self.hosts.get(&host).map_or(0, |tally| tally.binds);
        match () {
            () if own >= settings.max_binds_per_host => Some("max_binds_per_host reached"),
            () if self.binds >= settings.max_binds => Some("max_binds reached"),
            () => None,
        }
    }

    /// Sessions of a host.
    pub fn sessions(&self, host: Host) -> u32 {
        self.hosts.get(&host).map_or(0, |tally| tally.sessions)
    }

    /// Lookups of a host.
    pub fn lookups(&self, host: Host) -> u32 {
        self.hosts.get(&host).map_or(0, |tally| tally.lookups)
    }

    /// The oldest unfinished request of a host that has more of them than `limit`.
    pub fn oldest_beyond(&self, host: Host, limit: u32) -> Option<usize> {
        let unfinished = &self.hosts.get(&host)?.unfinished;
        let beyond = u32::try_from(unfinished.len()).is_ok_and(|number| number > limit);
        if beyond { unfinished.first_key_value().map(|(_, visit)| *visit) } else { None }
    }
}

/// Lines that an attacker could cause in any number: each at most once a minute, and then how often it would have
/// been written since.
#[derive(Debug, Default)]
pub struct Rarely {
    /// When each line was last written, and how often it was not.
    written: HashMap<String, (Instant, u64)>,
    /// Lines about requests of each host that were not granted, of this second, and those beyond the limit.
    refusals: HashMap<Host, (u32, u32)>,
    /// When this second ends.
    second: Option<Instant>,
}

const PAUSE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Different lines that are remembered.
const MAX_LINES: usize = 256;

impl Rarely {
    /// Writes `text` at level err, unless it was written a short while ago: then it is counted.
    pub fn err(&mut self, log: &mut Log, text: &str) {
        if let Some((_, unwritten)) = self.written.get_mut(text) {
            *unwritten = unwritten.saturating_add(1);
            return;
        }
        if self.written.len() >= MAX_LINES {
            self.forget_all(log);
        }
        log.err(text);
        self.written.insert(text.into(), (Instant::now(), 0));
    }

    /// Whether another line about a request of this host that is not granted may be written in this second.
    pub fn admits_refusal(&mut self, host: Host, limit: u32) -> bool {
        self.second = self.second.or_else(|| Instant::now().checked_add(SECOND));
        let (lines, left_out) = self.refusals.entry(host).or_default();
        match *lines < limit {
            true => *lines = lines.saturating_add(1),
            false => *left_out = left_out.saturating_add(1),
        }
        *left_out == 0
    }

    /// When [`Rarely::catch_up`] is due.
    pub fn next(&self) -> Option<Instant> {
        let pauses = self.written.values().filter_map(|(last, _)| last.checked_add(PAUSE));
        pauses.chain(self.second).min()
    }

    /// Writes the counts of lines whose pause is over.
    pub fn catch_up(&mut self, log: &mut Log, now: Instant) {
        if self.second.is_some_and(|end| end <= now) {
            self.second = None;
            for (host, (_, left_out)) in self.refusals.drain().filter(|(_, (_, left_out))| *left_out > 0) {
                log.err(&format!(
                    "{left_out} lines about requests of {host} are left out: max_refusals_logged"
                ));
            }
        }
        self.written.retain(|text, (last, unwritten)| {
            if now.saturating_duration_since(*last) < PAUSE {
                return true;
            }
            *last = now;
            let number = std::mem::take(unwritten);
            if number > 0 {
                log.err(&counted(text, number));
            }
            number > 0
        });
    }

    fn forget_all(&mut self, log: &mut Log) {
        for (text, (_, number)) in self.written.drain().filter(|(_, (_, number))| *number > 0) {
            log.err(&counted(&text, number));
        }
    }
}

fn counted(text: &str, number: u64) -> String {
    format!("{text} ({number} times more)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LogTo;

    #[test]
    fn the_oldest_unfinished_request_gives_way() {
        let host = Host::of("192.0.2.1".parse().unwrap());
        let mut tallies = Tallies::default();
        let numbers: Vec<u64> = (0..3).map(|visit| tallies.begin(host, visit)).collect();
        assert_eq!(tallies.oldest_beyond(host, 3), None);
        assert_eq!(tallies.oldest_beyond(host, 2), Some(0));
        tallies.finished(host, numbers[0]);
        assert_eq!(tallies.oldest_beyond(host, 1), Some(1));
        numbers.iter().for_each(|number| tallies.end(host, *number));
        assert_eq!(tallies.sessions(host), 0);
        assert!(tallies.hosts.is_empty());
    }

    #[test]
    fn a_line_that_is_held_back_is_counted_and_the_count_comes_by_itself() {
        let (mut rarely, mut log) = (Rarely::default(), Log::new(LogTo::Stderr));
        (0..5).for_each(|_| rarely.err(&mut log, "again"));
        assert_eq!(rarely.written.get("again").map(|(_, unwritten)| *unwritten), Some(4));
        let due = rarely.next().unwrap();
        rarely.catch_up(&mut log, due);
        assert_eq!(rarely.written.get("again").map(|(_, unwritten)| *unwritten), Some(0));
        rarely.catch_up(&mut log, due + PAUSE);
        assert!(rarely.written.is_empty() && rarely.next().is_none());
    }

    #[test]
    fn lines_about_refusals_are_limited_for_each_host_and_second() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let (mut rarely, mut log) = (Rarely::default(), Log::new(LogTo::Stderr));
        let admitted = |rarely: &mut Rarely, host| (0..10).filter(|_| rarely.admits_refusal(host, 3)).count();
        assert_eq!([admitted(&mut rarely, one), admitted(&mut rarely, other)], [3, 3]);
        let end = rarely.next().unwrap();
        rarely.catch_up(&mut log, end);
        assert_eq!(rarely.next(), None);
        assert_eq!(admitted(&mut rarely, one), 3);
    }

    #[test]
    fn binds_are_limited_for_a_host_and_in_all() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Host::of(address.parse().unwrap()));
        let settings = Settings { max_binds: 3, max_binds_per_host: 2, ..Settings::default() };
        let mut tallies = Tallies::default();
        tallies.begin(one, 0);
        tallies.begin(other, 1);
        tallies.begin_bind(one);
        tallies.begin_bind(one);
        assert_eq!(tallies.bind_limit(one, &settings), Some("max_binds_per_host reached"));
        assert_eq!(tallies.bind_limit(other, &settings), None);
        tallies.begin_bind(other);
        assert_eq!(tallies.bind_limit(other, &settings), Some("max_binds reached"));
        tallies.end_bind(one);
        assert_eq!(tallies.bind_limit(other, &settings), None);
    }
}
