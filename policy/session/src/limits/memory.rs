//! What is remembered of client hosts, networks or users, of which an attacker may have any number.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries of a table.
pub(super) const MOST: usize = 16_384;

/// A bounded table. What need not be remembered any longer makes room.
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
    /// The entry of a key, also where that is not there yet; nothing where there is no room for it.
    pub(super) fn entry(&mut self, key: K, now: Instant, remembered: impl Fn(&V) -> bool) -> Option<&mut V> {
        self.has_room_for(&key, now, remembered).then(|| self.entries.entry(key).or_default())
    }

    /// Whether a key is there or could be.
    pub(super) fn has_room_for(&mut self, key: &K, now: Instant, remembered: impl Fn(&V) -> bool) -> bool {
        if self.entries.len() < MOST || self.entries.contains_key(key) {
            return true;
        }
        // No more often than this, or it would itself be a way to keep the monitor busy.
        let lately = |swept| now.saturating_duration_since(swept) < Duration::from_secs(1);
        if !self.swept.is_some_and(lately) {
            self.swept = Some(now);
            self.entries.retain(|_, value| remembered(value));
        }
        self.entries.len() < MOST
    }
}
