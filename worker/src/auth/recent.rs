//! Logins that were verified a moment ago. A browser opens tens of connections a second, and each one logs in.

use sockd_common::message::auth::{Credentials, TICKS};
use sockd_password::{KEY, tag};
use std::collections::{BTreeSet, VecDeque};

/// The most logins that are remembered.
const MOST: usize = 10_000;

type Tag = [u8; 32];

/// Verified logins, as keyed hashes of user and password.
pub(super) struct Recent {
    key: [u8; KEY],
    known: BTreeSet<Tag>,
    /// The same in the order in which they came, with the tick that each came in.
    order: VecDeque<(u32, Tag)>,
    ticks: u32,
}

impl Recent {
    /// Allocates at once all the memory that it will ever need.
    pub(super) fn new(key: [u8; KEY]) -> Self {
        Self { key, known: BTreeSet::new(), order: VecDeque::with_capacity(MOST), ticks: 0 }
    }

    pub(super) fn knows(&self, credentials: &Credentials) -> bool {
        self.known.contains(&self.tag(credentials))
    }

    /// Remembers a login. If it is remembered already, that does not prolong it.
    pub(super) fn remember(&mut self, credentials: &Credentials) {
        let tag = self.tag(credentials);
        if self.known.contains(&tag) {
            return;
        }
        if self.order.len() >= MOST {
            self.forget_first();
        }
        self.known.insert(tag);
        self.order.push_back((self.ticks, tag));
    }

    /// Advances time by one tick.
    pub(super) fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        while self.order.front().is_some_and(|(tick, _)| self.ticks.wrapping_sub(*tick) >= TICKS) {
            self.forget_first();
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    fn forget_first(&mut self) {
        if let Some((_, tag)) = self.order.pop_front() {
            self.known.remove(&tag);
        }
    }

    fn tag(&self, credentials: &Credentials) -> Tag {
        tag(&self.key, credentials.user.as_bytes(), credentials.password.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::secret::Secret;

    fn login(user: usize) -> Credentials {
        let secret = |text: &[u8]| Secret::new(text).unwrap();
        Credentials { user: secret(user.to_string().as_bytes()), password: secret(b"sesame") }
    }

    #[test]
    fn a_login_is_forgotten_after_its_time_however_often_it_is_asked_for() {
        let mut recent = Recent::new([1; KEY]);
        recent.remember(&login(1));
        for tick in 1..TICKS {
            recent.tick();
            recent.remember(&login(1));
            assert!(recent.knows(&login(1)), "after {tick}");
            assert!(!recent.knows(&login(2)));
        }
        recent.tick();
        assert!(!recent.knows(&login(1)));
    }

    #[test]
    fn the_oldest_gives_way_and_its_memory_does_not_grow() {
        let mut recent = Recent::new([1; KEY]);
        let room = recent.order.capacity();
        (0..=MOST).for_each(|user| recent.remember(&login(user)));
        assert!(!recent.knows(&login(0)) && recent.knows(&login(1)) && recent.knows(&login(MOST)));
        assert_eq!((recent.order.capacity(), recent.known.len()), (room, MOST));
        recent.clear();
        assert!(!recent.knows(&login(MOST)) && recent.order.is_empty());
    }
}
