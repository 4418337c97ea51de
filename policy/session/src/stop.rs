//! The end of the daemon: relays get their grace, are told to end, and have a moment to do so.

use std::time::{Duration, Instant};

/// How long the daemon waits for sessions that have been told to end.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How often the daemon looks whether they have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How far the daemon is on its way to the end.
#[derive(Clone, Copy, Debug, Default)]
pub enum Stop {
    /// It has not been asked to end.
    #[default]
    Serving,
    /// Another tree has taken over. Sessions go on until this time.
    Draining(Instant),
    /// Relays go on until this time, or without a limit.
    Grace(Option<Instant>),
    /// All sessions have been told to end at this time.
    Told(Instant),
}

/// The effect of being told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is the first time: no more clients are accepted.
    First,
    /// It is a further time: the grace of relays is over.
    Again,
}

impl Stop {
    /// The daemon ends when its sessions have ended, however long that takes.
    pub fn when_empty(&mut self) {
        *self = Self::Grace(None);
    }

    /// Another tree serves from now on. The sessions of this one get this long.
    pub fn drain(&mut self, now: Instant, limit: Duration) {
        if matches!(self, Self::Serving) {
            *self = Self::Draining(later(now, limit));
        }
    }

    /// Asks the daemon to end; relays get this grace.
    pub fn ask(&mut self, now: Instant, grace: Duration) -> Told {
        let (next, told) = match self {
            Self::Serving | Self::Draining(_) => (Self::Grace(Some(later(now, grace))), Told::First),
            Self::Grace(_) => (Self::Grace(Some(now)), Told::Again),
            Self::Told(since) => (Self::Told(*since), Told::Again),
        };
        *self = next;
        told
    }

    /// Whether the daemon is on its way to the end.
    pub fn is_stopping(&self) -> bool {
        !matches!(self, Self::Serving)
    }

    /// When the grace is over, or when to look whether sessions have ended.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining(ends) => Some(*ends),
            Self::Grace(ends) => *ends,
            Self::Told(_) => Some(later(now, LOOK_AGAIN)),
        }
    }

    /// No relay needs the grace: returns true if all sessions have to be told to end now.
    pub fn no_relays(&mut self, now: Instant) -> bool {
        let ends = matches!(self, Self::Grace(Some(_)));
        if ends {
            *self = Self::Told(now);
        }
        ends
    }

    /// Returns true if the grace is over, so that all sessions have to be told to end now.
    pub fn tell_all(&mut self, now: Instant) -> bool {
        match self {
            Self::Draining(ends) | Self::Grace(Some(ends)) if *ends <= now => {
                *self = Self::Told(*ends);
                true
            }
            _ => false,
        }
    }

    /// Whether the daemon may end now.
    pub fn is_done(&self, now: Instant, no_sessions: bool) -> bool {
        match self {
            Self::Serving => false,
            Self::Draining(_) | Self::Grace(_) => no_sessions,
            Self::Told(since) => no_sessions || now >= later(*since, LAST_WAIT),
        }
    }
}

fn later(time: Instant, by: Duration) -> Instant {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[test]
    fn relays_have_their_grace_and_then_a_moment() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        assert!(!stop.is_stopping() && !stop.is_done(now, true));
        assert_eq!(stop.ask(now, GRACE), Told::First);
        assert!(stop.is_done(now, true) && !stop.is_done(now + GRACE, false) && !stop.tell_all(now));
        assert_eq!(stop.due_at(now), Some(now + GRACE));
        let over = now + GRACE;
        assert!(stop.tell_all(over) && !stop.tell_all(over), "once");
        assert!(!stop.is_done(over, false) && stop.is_done(over + LAST_WAIT, false));
    }

    #[test]
    fn who_asks_twice_gives_no_grace() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        stop.ask(now, GRACE);
        assert_eq!(stop.ask(now, GRACE), Told::Again);
        assert!(stop.tell_all(now));
        assert_eq!(stop.ask(now + GRACE, GRACE), Told::Again);
        assert!(stop.is_done(now + LAST_WAIT, false), "the moment does not begin anew");
    }

    #[test]
    fn who_drains_ends_with_the_last_session_or_at_its_limit() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        stop.drain(now, 6 * GRACE);
        assert!(stop.is_stopping());
        assert!(stop.is_done(now, true) && !stop.is_done(now + 5 * GRACE, false));
        assert_eq!(stop.due_at(now), Some(now + 6 * GRACE));
        assert!(!stop.tell_all(now + 5 * GRACE) && stop.tell_all(now + 6 * GRACE));
        assert!(stop.is_done(now + 6 * GRACE + LAST_WAIT, false));
    }

    #[test]
    fn who_drains_and_is_asked_to_end_gives_its_grace_and_does_not_drain_anew() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        stop.drain(now, 6 * GRACE);
        assert_eq!((stop.ask(now, GRACE), stop.due_at(now)), (Told::First, Some(now + GRACE)));
        stop.drain(now, 6 * GRACE);
        assert_eq!(stop.due_at(now), Some(now + GRACE));
        assert_eq!(stop.ask(now, GRACE), Told::Again);
    }

    #[test]
    fn without_a_relay_there_is_no_grace() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        assert!(!stop.no_relays(now), "nobody has asked for the end");
        stop.ask(now, GRACE);
        assert!(stop.no_relays(now) && !stop.no_relays(now), "once");
        assert!(!stop.is_done(now, false) && stop.is_done(now + LAST_WAIT, false));
        let mut stop = Stop::default();
        stop.when_empty();
        assert!(!stop.no_relays(now), "one client is waited for, whatever it does");
    }

    #[test]
    fn a_daemon_for_one_client_waits_as_long_as_that_is_there_unless_it_is_asked_to_end() {
        let (mut stop, now) = (Stop::default(), Instant::now());
        stop.when_empty();
        assert!(stop.is_stopping() && !stop.tell_all(now + 1000 * GRACE) && stop.due_at(now).is_none());
        assert_eq!(stop.ask(now, GRACE), Told::Again);
        assert!(stop.tell_all(now));
    }
}
