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

impl<Key: Eq> Owed<Key> {
    /// From now on this is owed.
    pub fn push(&mut self, key: Key, now: Instant) {
        self.0.extend(now.checked_add(LIMIT).map(|due| (due, key)));
    }

    /// It has ended. Whoever keeps to the order finds it in front.
    pub fn settle(&mut self, key: &Key) {
        let place = self.0.iter().position(|(_, owed)| owed == key);
        place.into_iter().for_each(|place| drop(self.0.remove(place)));
    }

    /// When the first of it is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.0.front().map(|(due, _)| *due)
    }

    /// Takes out the first that is due, if any is.
    pub fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let is_due = self.due_at().is_some_and(|due| due <= now);
        is_due.then(|| self.0.pop_front()).flatten().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_due_in_its_order_and_what_is_settled_does_not_pile_up() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        (1..=3).for_each(|key| owed.push(key, now));
        owed.push(4, now + LIMIT);
        let due = now + LIMIT;
        assert_eq!((owed.due_at(), owed.pop_due(now)), (Some(due), None));
        owed.settle(&2);
        assert_eq!([owed.pop_due(due), owed.pop_due(due), owed.pop_due(due)], [Some(1), Some(3), None]);
        for number in 0..1000 {
            owed.push(number, now);
            owed.settle(&number);
        }
        assert_eq!(owed.0.len(), 1);
    }
}
