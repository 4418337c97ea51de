//! Looks at every relay from time to time: an honest worker says when one is over, and a dishonest one does not.

use crate::monitor::sessions::Sessions;
use sockd_session::flow::Flow;
use sockd_session::keys::SessionKey;
use std::time::{Duration, Instant};

/// Each relay is looked at once in this time.
const ROUND: Duration = Duration::from_secs(15);

/// A round has so many slices: tens of thousands of relays at once would keep new clients waiting.
const SLICES: u32 = 60;

/// Which relays have not been looked at in this round.
#[derive(Debug, Default)]
pub struct Sweep {
    left: Vec<SessionKey>,
    slice: usize,
    due: Option<Instant>,
}

impl Sweep {
    /// When the next slice is due; never while there is no session.
    pub fn due_at(&self, sessions: &Sessions) -> Option<Instant> {
        self.due.filter(|_| !sessions.is_empty())
    }

    /// Looks at the next slice of relays, where that is due: those that want a decision.
    pub fn take(&mut self, now: Instant, sessions: &Sessions) -> Vec<(SessionKey, Flow)> {
        let due = *self.due.get_or_insert(now);
        if sessions.is_empty() || due > now {
            return Vec::new();
        }
        if self.left.is_empty() {
            self.left = sessions.relaying();
            self.slice = self.left.len().div_ceil(SLICES as usize);
        }
        let slice = self.left.split_off(self.left.len().saturating_sub(self.slice));
        let pause = if self.left.is_empty() { ROUND } else { ROUND.checked_div(SLICES).unwrap_or(ROUND) };
        self.due = now.checked_add(pause);
        let looked_at = slice.into_iter().filter_map(|key| Some((key, sessions.inspect(key)?)));
        looked_at.filter(|(_, flow)| flow.is_overdue() || flow.is_half_closed()).collect()
    }
}
