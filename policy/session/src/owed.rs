//! Work that workers have been told to cancel: they owe its end within a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a worker may owe an end: longer than a worker that never gets ready takes to be given up.
const LIMIT: Duration = Duration::from_secs(30);

/// The ends that are owed. A worker may owe many, and may settle them in any order: so no operation searches them all.
#[derive(Debug)]
pub struct Owed<Key> {
    dues: BTreeMap<Key, Instant>,
    /// The same, in the order in which they are due.
    in_order: BTreeSet<(Instant, Key)>,
}

impl<Key> Default for Owed<Key> {
    fn default() -> Self {
        Self { dues: BTreeMap::new(), in_order: BTreeSet::new() }
    }
}

impl<Key: Copy + Ord> Owed<Key> {
    /// The end of this is owed from now on.
    pub fn push(&mut self, key: Key, now: Instant) {
        if let Some(due) = now.checked_add(LIMIT) {
            self.settle(key);
            self.dues.insert(key, due);
            self.in_order.insert((due, key));
        }
    }

    /// This has ended; nothing happens if it was not owed.
    pub fn settle(&mut self, key: Key) {
        if let Some(due) = self.dues.remove(&key) {
            self.in_order.remove(&(due, key));
        }
    }

    /// When the first end is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.in_order.first().map(|(due, _)| *due)
    }

    /// Takes out the first that is due, if any is.
    pub fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let (_, key) = *self.in_order.first().filter(|(due, _)| *due <= now)?;
        self.settle(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::cmp::Ordering;

    #[test]
    fn what_is_owed_is_due_in_its_order_and_what_is_settled_does_not_pile_up() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        (1..=3).for_each(|key| owed.push(key, now));
        owed.push(4, now + LIMIT);
        let due = now + LIMIT;
        assert_eq!((owed.due_at(), owed.pop_due(now)), (Some(due), None));
        owed.settle(2);
        assert_eq!([owed.pop_due(due), owed.pop_due(due), owed.pop_due(due)], [Some(1), Some(3), None]);
        for number in 5..1000 {
            owed.push(number, now);
            owed.settle(number);
        }
        assert_eq!((owed.dues.len(), owed.in_order.len()), (1, 1));
    }

    thread_local! {
        static LOOKED_AT: Cell<u32> = const { Cell::new(0) };
    }

    /// A key that counts comparisons.
    #[derive(Clone, Copy, Eq)]
    struct Counted(u32);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn what_is_settled_is_not_searched_for_among_all_that_is_owed() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        (0..10_000).for_each(|number| owed.push(Counted(number), now));
        LOOKED_AT.set(0);
        owed.settle(Counted(9_999));
        owed.settle(Counted(10_000));
        assert!((1..1000).contains(&LOOKED_AT.get()), "{}", LOOKED_AT.get());
    }
}
