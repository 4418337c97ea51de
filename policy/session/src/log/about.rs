//! The facts about a session itself in a line: its number and its times.

use std::time::{Duration, Instant};

/// The facts about the session itself in a line.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its number among all sessions of the daemon.
    pub session: u64,
    /// The time since it began.
    pub age: Duration,
    /// How long the client took to send its request, if it has arrived.
    pub handshake: Option<Duration>,
    /// How long it then took to connect the server, if it is connected: names, identity and the connection.
    pub dial: Option<Duration>,
}

/// When a session has reached each stage. With tens of thousands of sessions, milliseconds of 49 days have to do.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    begun: Instant,
    /// Milliseconds since the begin.
    requested: Option<u32>,
    connected: Option<u32>,
}

impl Times {
    /// The client connects at `begun`.
    pub fn new(begun: Instant) -> Self {
        Self { begun, requested: None, connected: None }
    }

    /// When the client has connected.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The request has arrived. Only the first time counts.
    pub fn requested(&mut self, now: Instant) {
        self.requested = self.requested.or(Some(self.since_begin(now)));
    }

    /// The server is connected. Only the first time counts.
    pub fn connected(&mut self, now: Instant) {
        self.connected = self.connected.or(Some(self.since_begin(now)));
    }

    /// The facts in a line at this moment about the session with this number.
    pub fn about(&self, session: u64, now: Instant) -> About {
        let millis = |millis: u32| Duration::from_millis(millis.into());
        let dial = self.connected.zip(self.requested).map(|(end, begin)| millis(end.saturating_sub(begin)));
        let age = now.saturating_duration_since(self.begun);
        About { session, age, handshake: self.requested.map(millis), dial }
    }

    fn since_begin(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_handshake_ends_where_that_of_the_dial_begins() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut times = Times::new(begun);
        let told = |times: &Times| {
            let About { session, age, handshake, dial } = times.about(7, after(100));
            assert_eq!((session, age), (7, Duration::from_millis(100)));
            [handshake, dial].map(|time| time.map(|time| time.as_millis()))
        };
        assert_eq!(told(&times), [None, None]);
        times.requested(after(3));
        assert_eq!(told(&times), [Some(3), None]);
        times.connected(after(10));
        times.connected(after(90));
        assert_eq!(told(&times), [Some(3), Some(7)]);
    }
}
