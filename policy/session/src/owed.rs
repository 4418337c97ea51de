//! What workers have been told to cancel: they owe the end of it, and have so long for that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longer than a worker takes that is not ready yet and never will be.
const LIMIT: Duration = Duration::from_secs(30);

/// What is owed, in the order in which it is due.
#[derive(Debug)]
pub struct Owed<Key>(VecDeque<(Instant, Key)>);

impl<Key> Default for Owed<Key> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<Key: Copy> Owed<Key> {
    /// From now on this is owed; gives when it is due. What `is_settled` is left out from the front.
    pub fn push(
        &mut self,
        key: Key,
        now: Instant,
        is_settled: impl Fn(Key, Instant) -> bool,
    ) -> Option<Instant> {
        while self.0.front().is_some_and(|(due, key)| is_settled(*key, *due)) {
            self.0.pop_front();
        }
        let due = now.checked_add(LIMIT)?;
        self.0.push_back((due, key));
        Some(due)
    }

    /// When the first of it is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.0.front().map(|(due, _)| *due)
    }

    /// The next that is due, with the time at which it was.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Key)> {
        let is_due = self.0.front().is_some_and(|(due, _)| *due <= now);
        is_due.then(|| self.0.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_due_in_its_order_and_what_is_settled_does_not_pile_up() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let open = |_, _| false;
        let due = owed.push(1, now, open).unwrap();
        owed.push(2, now + LIMIT, open);
        assert_eq!((owed.due_at(), owed.pop_due(now)), (Some(due), None));
        assert_eq!([owed.pop_due(due), owed.pop_due(due)], [Some((due, 1)), None]);
        for number in 0..1000 {
            owed.push(number, now, |_, _| true);
        }
        assert_eq!(owed.0.len(), 1);
    }
}
