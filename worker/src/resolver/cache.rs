//! Answers that still hold.

use super::answer::Outcome;
use super::exchange::FAILURE_SECONDS;
use super::question::Question;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The most answers that are kept.
const MAX_ENTRIES: usize = 4096;

/// How long an answer is kept at most.
const MAX_SECONDS: u32 = 24 * 60 * 60;

/// How long an absence is believed at most (RFC 2308, section 5, advises hours).
const MAX_NEGATIVE_SECONDS: u32 = 60 * 60;

/// The answers of nameservers, each for as long as the nameserver said that it holds.
///
/// An entry is one whole answer under the very question that was asked: no answer can be put here under another
/// name. The maps are ordered, so that nobody can choose names that collide.
#[derive(Debug, Default)]
pub struct Cache {
    entries: BTreeMap<Question, (Outcome, Instant)>,
    by_end: BTreeSet<(Instant, Question)>,
}

impl Cache {
    /// Returns the answer to `question` if one is known that holds at `now`.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Outcome> {
        self.entries.get(question).filter(|(_, end)| now < *end).map(|(outcome, _)| outcome.clone())
    }

    /// Keeps an answer for `seconds`. If the cache is full, the entry that would end next gives way.
    pub fn keep(&mut self, question: Question, outcome: Outcome, seconds: u32, now: Instant) {
        let most = match outcome {
            Outcome::NoData | Outcome::NoName => MAX_NEGATIVE_SECONDS,
            Outcome::Failed => FAILURE_SECONDS,
            Outcome::Addresses(_) | Outcome::Names(_) | Outcome::Alias(_) => MAX_SECONDS,
        };
        let Some(end) = now.checked_add(Duration::from_secs(seconds.min(most).into())) else { return };
        if end == now {
            return;
        }
        self.forget(&question);
        if self.entries.len() >= MAX_ENTRIES
            && let Some((_, ending_next)) = self.by_end.pop_first()
        {
            self.entries.remove(&ending_next);
        }
        self.by_end.insert((end, question.clone()));
        self.entries.insert(question, (outcome, end));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_end.clear();
    }

    fn forget(&mut self, question: &Question) {
        if let Some((_, end)) = self.entries.remove(question) {
            self.by_end.remove(&(end, question.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::HostName;
    use super::*;
    use sockd_common::message::resolver::RecordType;

    fn question(name: &str) -> Question {
        Question {
            name: HostName::from_text(name.as_bytes()).unwrap().to_dns().unwrap(),
            record: RecordType::A,
        }
    }

    fn found() -> Outcome {
        Outcome::Addresses(vec!["192.0.2.1".parse().unwrap()])
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_is_known_until_its_time_is_over() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(question("a"), found(), 10, now);
        assert_eq!(cache.get(&question("a"), now + 9 * SECOND), Some(found()));
        assert_eq!(cache.get(&question("a"), now + 10 * SECOND), None);
        assert_eq!(cache.get(&question("b"), now), None);
    }

    #[test]
    fn an_answer_without_time_is_not_kept() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(question("a"), found(), 0, now);
        cache.keep(question("b"), Outcome::Failed, 0, now);
        assert_eq!(cache.get(&question("a"), now), None);
        assert_eq!(cache.get(&question("b"), now), None);
    }

    #[test]
    fn no_answer_is_kept_for_more_than_a_day_and_no_absence_for_more_than_an_hour() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(question("a"), found(), u32::MAX, now);
        cache.keep(question("b"), Outcome::NoName, u32::MAX, now);
        assert!(cache.get(&question("a"), now + 86_399 * SECOND).is_some());
        assert!(cache.get(&question("a"), now + 86_400 * SECOND).is_none());
        assert!(cache.get(&question("b"), now + 3_599 * SECOND).is_some());
        assert!(cache.get(&question("b"), now + 3_600 * SECOND).is_none());
        cache.keep(question("c"), Outcome::Failed, u32::MAX, now);
        assert!(cache.get(&question("c"), now + 29 * SECOND).is_some());
        assert!(cache.get(&question("c"), now + 30 * SECOND).is_none());
    }

    #[test]
    fn a_full_cache_gives_up_what_ends_next() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..=MAX_ENTRIES {
            cache.keep(question(&format!("n{n}")), found(), u32::try_from(n).unwrap() + 10, now);
        }
        assert_eq!((cache.entries.len(), cache.by_end.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!(cache.get(&question("n0"), now), None);
        assert_eq!(cache.get(&question("n1"), now), Some(found()));
    }

    #[test]
    fn a_new_answer_replaces_the_old_one() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(question("a"), found(), 10, now);
        cache.keep(question("a"), Outcome::NoName, 20, now);
        assert_eq!(cache.get(&question("a"), now + 15 * SECOND), Some(Outcome::NoName));
        assert_eq!(cache.by_end.len(), 1);
        cache.clear();
        assert_eq!(cache.get(&question("a"), now), None);
    }
}
