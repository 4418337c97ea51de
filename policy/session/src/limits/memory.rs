//! Bounded memory of client hosts, networks or users, as an attacker may have any number of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The most entries of a table.
pub(super) const MOST: usize = 16_384;

/// A bounded table. Entries that need not be remembered any longer make room.
#[derive(Debug)]
pub(super) struct Memory<K, V> {
    pub(super) entries: HashMap<K, V>,
    swept: Option<Instant>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), swept: None }
    }
}

impl<K: Eq + Hash, V: Default> Memory<K, V> {
    /// The entry of a key, which is added if it is missing; `None` if there is no room for it.
    pub(super) fn entry(&mut self, key: K, now: Instant, remembered: impl Fn(&V) -> bool) -> Option<&mut V> {
        self.has_room_for(&key, now, remembered).then(|| self.entries.entry(key).or_default())
    }

    /// Whether a key is in the table or could be added.
    pub(super) fn has_room_for(&mut self, key: &K, now: Instant, remembered: impl Fn(&V) -> bool) -> bool {
        if self.entries.len() < MOST || self.entries.contains_key(key) {
            return true;
        }
        // More frequent sweeps would themselves be a way to keep the monitor busy.
        let lately = |swept| now.saturating_duration_since(swept) < Duration::from_secs(1);
        if !self.swept.is_some_and(lately) {
            self.swept = Some(now);
            self.entries.retain(|_, value| remembered(value));
        }
        self.entries.len() < MOST
    }
}
