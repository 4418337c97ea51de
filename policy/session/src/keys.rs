//! The keys of the monitor's tables, each of a type of its own: the key of a worker cannot find a session.

use serde::{Deserialize, Serialize};
use slab::Slab;
use sockd_common::message::Id;
use std::num::NonZeroU32;

/// The place of an entry in the table that `TABLE` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key<const TABLE: char>(NonZeroU32);

/// Finds a session.
pub type SessionKey = Key<'s'>;

/// Finds a worker.
pub type WorkerKey = Key<'w'>;

/// Finds a lookup.
pub type LookupKey = Key<'l'>;

/// Finds a query.
pub type QueryKey = Key<'q'>;

/// Finds a check of a password.
pub type CheckKey = Key<'c'>;

/// Finds a connection that is being made.
pub type DialKey = Key<'d'>;

/// Finds a controller, which gives orders.
pub type ControllerKey = Key<'o'>;
/// Finds a connection whose PROXY header is awaited.
pub type HeaderKey = Key<'h'>;

/// Finds the port of a BIND.
pub type PortKey = Key<'p'>;

impl<const TABLE: char> Key<TABLE> {
    /// The key of a place.
    pub const fn new(place: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(place))
    }

    /// The place.
    pub fn place(self) -> u32 {
        self.0.get().saturating_sub(1)
    }

    /// As the id that workers are told.
    pub fn id(self) -> Id {
        Id(self.place())
    }

    fn of(index: usize) -> Self {
        // Fewer entries than that would fill all memory.
        Self::new(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn index(self) -> usize {
        self.place() as usize
    }
}

impl<const TABLE: char> From<Id> for Key<TABLE> {
    fn from(id: Id) -> Self {
        Self::new(id.0)
    }
}

/// A table of entries. The place of a removed entry is given to a later one.
#[derive(Debug)]
pub struct Slots<Entry, const TABLE: char>(Slab<Entry>);

impl<Entry, const TABLE: char> Default for Slots<Entry, TABLE> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<Entry, const TABLE: char> Slots<Entry, TABLE> {
    /// Adds an entry.
    pub fn insert(&mut self, entry: Entry) -> Key<TABLE> {
        Key::of(self.0.insert(entry))
    }

    /// The key that the next entry will get.
    pub fn next_key(&self) -> Key<TABLE> {
        Key::of(self.0.vacant_key())
    }

    /// The entry with this key.
    pub fn get(&self, key: Key<TABLE>) -> Option<&Entry> {
        self.0.get(key.index())
    }

    /// The entry with this key.
    pub fn get_mut(&mut self, key: Key<TABLE>) -> Option<&mut Entry> {
        self.0.get_mut(key.index())
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key<TABLE>) -> Option<Entry> {
        self.0.try_remove(key.index())
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Key<TABLE>, &Entry)> {
        self.0.iter().map(|(index, entry)| (Key::of(index), entry))
    }

    /// The keys of the entries that fulfil a condition.
    pub fn keys_where(&self, condition: impl Fn(&Entry) -> bool) -> Vec<Key<TABLE>> {
        self.iter().filter(|(_, entry)| condition(entry)).map(|(key, _)| key).collect()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_entry_until_that_is_removed() {
        let mut slots: Slots<&str, 's'> = Slots::default();
        let announced = slots.next_key();
        let [one, two] = ["one", "two"].map(|entry| slots.insert(entry));
        assert_eq!((announced, slots.get(one), slots.get(two)), (one, Some(&"one"), Some(&"two")));
        assert_eq!(slots.keys_where(|entry| *entry == "two"), [two]);
        assert_eq!((slots.remove(one), slots.remove(one), slots.get(one)), (Some("one"), None, None));
        assert_eq!(slots.insert("three"), one, "its place is given to another");
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn a_key_and_its_id_are_the_same_place() {
        for place in [0, 1, u32::MAX - 1] {
            let key = SessionKey::new(place);
            assert_eq!((key.place(), key.id(), SessionKey::from(Id(place))), (place, Id(place), key));
        }
    }

    /// Tables hold many such keys.
    #[test]
    fn a_key_that_may_be_missing_is_as_small_as_one_that_may_not() {
        assert_eq!(size_of::<Option<SessionKey>>(), 4);
    }
}
