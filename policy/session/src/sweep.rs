//! When each relay is looked at: an honest worker reports the end of a relay, and a dishonest one does not.

use crate::keys::SessionKey;
use std::time::{Duration, Instant};

/// How often each relay is looked at. A look takes a call for each of its sockets, so that 50,000 silent relays cost
/// somewhat less than a hundredth of a processor.
const ROUND: Duration = Duration::from_secs(20);

/// The slices of a round: tens of thousands of relays at once would keep new clients waiting.
const SLICES: u32 = 60;

/// The relays still to be looked at in this round.
#[derive(Debug, Default)]
pub struct Sweep {
    left: Vec<SessionKey>,
    slice: usize,
    due: Option<Instant>,
}

impl Sweep {
    /// When the next slice is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.due
    }

    /// The next slice, if it is due; else empty. A round takes the relays that exist at its beginning.
    pub fn take(&mut self, now: Instant, relays: impl FnOnce() -> Vec<SessionKey>) -> Vec<SessionKey> {
        if *self.due.get_or_insert(now) > now {
            return Vec::new();
        }
        if self.left.is_empty() {
            self.left = relays();
            self.slice = self.left.len().div_ceil(SLICES as usize);
        }
        let slice = self.left.split_off(self.left.len().saturating_sub(self.slice));
        let pause = if self.left.is_empty() { ROUND } else { ROUND.checked_div(SLICES).unwrap_or(ROUND) };
        self.due = now.checked_add(pause);
        slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Slots;

    #[test]
    fn every_relay_is_looked_at_once_a_round_and_few_at_a_time() {
        let mut slots: Slots<(), 's'> = Slots::default();
        let relays: Vec<SessionKey> = (0..1000).map(|_| slots.insert(())).collect();
        let (mut sweep, begun) = (Sweep::default(), Instant::now());
        let (mut seen, mut now) = (Vec::new(), begun);
        while seen.len() < relays.len() {
            let slice = sweep.take(now, || relays.clone());
            assert!(slice.len() <= 17 && sweep.take(now, || panic!("not yet")).is_empty());
            seen.extend(slice);
            now = sweep.due_at().unwrap();
        }
        assert!(now <= begun + 2 * ROUND, "the next round is a pause away");
        seen.sort_by_key(|key| key.place());
        assert_eq!(seen, relays);
    }
}
