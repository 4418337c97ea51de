//! What every client host has open, and lines that are written rarely.

use crate::log::Log;
use crate::workers::Host;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Counts of all client hosts that have any.
#[derive(Debug, Default)]
pub struct Tallies {
    hosts: HashMap<Host, Tally>,
    next: u64,
}

/// What one client host has open.
#[derive(Debug, Default)]
struct Tally {
    sessions: u32,
    lookups: u32,
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

/// Lines that an attacker could cause in any number: each at most once a minute, with a count of the others.
#[derive(Debug, Default)]
pub struct Rarely {
    written: HashMap<String, (Option<Instant>, u64)>,
}

const PAUSE: Duration = Duration::from_secs(60);

/// Different lines that are remembered.
const MAX_LINES: usize = 256;

impl Rarely {
    /// Writes `text` at level err, unless it was written a short while ago.
    pub fn err(&mut self, log: &mut Log, text: &str) {
        if self.written.len() >= MAX_LINES && !self.written.contains_key(text) {
            self.written.clear();
        }
        let (last, unwritten) = self.written.entry(text.into()).or_default();
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            *unwritten = unwritten.saturating_add(1);
            return;
        }
        match std::mem::take(unwritten) {
            0 => log.err(text),
            number => log.err(&format!("{text} (and {number} times since the last such line)")),
        }
        *last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
