//! The share of questions that each nameserver has answered of late.
//!
//! The order of the nameservers is the administrator's and stays: the second may know other names than the first. Only
//! the wait for a silent nameserver, before the next is asked, becomes shorter. So a figure that somebody has spoilt by
//! asking for names that nobody answers costs nothing: the nameserver is asked all the same, and its answer mends the
//! figure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a lookup waits for a nameserver that has fallen silent, if another one answers.
pub(super) const BRIEF: Duration = Duration::from_millis(250);

/// The figure of a nameserver that has answered every question.
const WHOLE: u16 = 256;

/// The figures of the nameservers, by their number.
#[derive(Debug, Default)]
pub struct Health {
    servers: BTreeMap<u8, Figure>,
}

#[derive(Clone, Copy, Debug)]
struct Figure {
    /// The moving share of answers, of [`WHOLE`].
    share: u16,
    last_answer: Option<Instant>,
}

impl Health {
    /// Takes note of an answer of a nameserver, even one that it fails or refuses.
    pub fn answered(&mut self, server: u8, now: Instant) {
        let figure = self.figure(server);
        figure.share = figure.share.saturating_add(WHOLE.saturating_sub(figure.share).div_ceil(2));
        figure.last_answer = Some(now);
    }

    /// Takes note that a nameserver has not answered a question of the time `asked`. If it has answered another one
    /// since then, this says more about the name than about the nameserver.
    pub fn silent(&mut self, server: u8, asked: Instant) {
        let figure = self.figure(server);
        if figure.last_answer.is_none_or(|at| at < asked) {
            figure.share = figure.share.saturating_sub(figure.share / 4);
        }
    }

    /// Returns how long to wait for one of `servers` nameservers that will be asked again later.
    pub fn patience(&self, server: u8, servers: u8, timeout: Duration) -> Duration {
        let others = (0..servers).filter(|other| *other != server);
        match !self.is_well(server) && others.into_iter().any(|other| self.is_well(other)) {
            true => timeout.min(BRIEF),
            false => timeout,
        }
    }

    fn is_well(&self, server: u8) -> bool {
        self.servers.get(&server).is_none_or(|figure| figure.share >= WHOLE / 2)
    }

    fn figure(&mut self, server: u8) -> &mut Figure {
        self.servers.entry(server).or_insert(Figure { share: WHOLE, last_answer: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_server_that_stays_silent_is_waited_for_briefly_until_it_answers() {
        let (mut health, now) = (Health::default(), Instant::now());
        // Both questions about one name are not enough.
        for (silences, patience) in [(0, TIMEOUT), (2, TIMEOUT), (1, BRIEF), (100, BRIEF)] {
            (0..silences).for_each(|_| health.silent(0, now));
            assert_eq!(health.patience(0, 2, TIMEOUT), patience);
        }
        assert_eq!(health.patience(1, 2, TIMEOUT), TIMEOUT);
        health.answered(0, now);
        assert_eq!(health.patience(0, 2, TIMEOUT), TIMEOUT);
    }

    #[test]
    fn names_that_are_not_answered_say_nothing_where_others_are() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.answered(0, now + SECOND);
        (0..100).for_each(|_| health.silent(0, now));
        assert_eq!(health.patience(0, 2, TIMEOUT), TIMEOUT);
    }

    #[test]
    fn where_no_other_answers_either_each_has_its_time() {
        let (mut health, now) = (Health::default(), Instant::now());
        for server in [0, 1] {
            (0..3).for_each(|_| health.silent(server, now));
        }
        assert_eq!(health.patience(0, 2, TIMEOUT), TIMEOUT);
        assert_eq!(health.patience(0, 1, TIMEOUT), TIMEOUT);
        assert_eq!(health.patience(0, 3, TIMEOUT), BRIEF);
    }
}
