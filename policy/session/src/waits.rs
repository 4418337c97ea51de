//! The things that sessions wait for: a session may wait for several at once, each under a key.
//!
//! The session chooses the keys. Tables that work for it keep a [`Waiter`], and report results under its key. The
//! monitor holds the resource under the same key: a lookup, a connection that is being made, a port, a server.

use crate::keys::SessionKey;

/// Tells the things that one session waits for apart. No session uses a key twice, so that a late result is never taken
/// for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaitKey(u32);

impl WaitKey {
    /// The key of the check of a password, before there is a request.
    pub const LOGIN: Self = Self(0);

    /// The first key that a request uses.
    pub const FIRST: Self = Self(1);

    /// Whether a flow of the session's association waits, and not the session itself.
    pub fn is_of_flow(self) -> bool {
        self.0 & OF_FLOWS != 0
    }
}

/// The bit that is set in the keys of flows alone.
const OF_FLOWS: u32 = 1 << 31;

/// A session that waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Waiter {
    /// The session.
    pub session: SessionKey,
    /// The key of what it waits for.
    pub key: WaitKey,
}

/// Makes the keys of one session.
#[derive(Debug, Default)]
pub struct WaitKeys(u32);

impl WaitKeys {
    /// Makes keys for the flows of an association.
    pub fn of_flows() -> Self {
        Self(OF_FLOWS)
    }

    /// A key that has not been used yet.
    pub fn next_key(&mut self) -> WaitKey {
        self.0 = self.0.wrapping_add(1) | (self.0 & OF_FLOWS);
        WaitKey(self.0)
    }
}

/// Values for one session, by the keys under which it waits for them. They are few, so a linear search is enough.
#[derive(Debug)]
pub struct ByWaitKey<T>(Vec<(WaitKey, T)>);

impl<T> Default for ByWaitKey<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByWaitKey<T> {
    /// Adds a value and returns the one that it replaces, if any.
    pub fn insert(&mut self, key: WaitKey, value: T) -> Option<T> {
        let old = self.remove(key);
        self.0.push((key, value));
        old
    }

    /// The value with this key.
    pub fn get(&self, key: WaitKey) -> Option<&T> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// The value with this key.
    pub fn get_mut(&mut self, key: WaitKey) -> Option<&mut T> {
        self.0.iter_mut().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// Takes out the value with this key.
    pub fn remove(&mut self, key: WaitKey) -> Option<T> {
        let place = self.0.iter().position(|(own, _)| *own == key)?;
        Some(self.0.swap_remove(place).1)
    }

    /// All values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (WaitKey, &T)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Takes all values out, and gives the memory back.
    pub fn take(&mut self) -> impl Iterator<Item = (WaitKey, T)> + use<T> {
        std::mem::take(&mut self.0).into_iter()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_things_are_kept_apart_by_keys_that_are_never_the_same() {
        let (mut keys, mut held) = (WaitKeys::default(), ByWaitKey::default());
        let [one, two] = [keys.next_key(), keys.next_key()];
        assert_eq!(
            (held.insert(one, "a"), held.insert(two, "b"), held.insert(one, "c")),
            (None, None, Some("a"))
        );
        assert_eq!((held.get(one), held.get(two)), (Some(&"c"), Some(&"b")));
        assert_eq!((held.remove(one), held.remove(one)), (Some("c"), None));
        assert_eq!(held.take().collect::<Vec<_>>(), [(two, "b")]);
        assert!(held.is_empty() && keys.next_key() > two);
    }
}
