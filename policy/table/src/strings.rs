//! The strings of a table.

use alloc::vec::Vec;

use crate::columns::count;

/// A pool of byte strings. Each is known by its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StringPool {
    /// All strings, one behind the other.
    pub(crate) bytes: Vec<u8>,
    /// The end of each string.
    pub(crate) ends: Vec<u32>,
}

impl StringPool {
    /// Adds a string and returns its number.
    pub(crate) fn add(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends.push(count(&self.bytes));
        count(&self.ends).saturating_sub(1)
    }

    /// The string of a number.
    pub(crate) fn bytes(&self, text: u32) -> &[u8] {
        let end = self.ends.get(text as usize).copied().unwrap_or_default();
        let start = text
            .checked_sub(1)
            .and_then(|before| self.ends.get(before as usize))
            .copied()
            .unwrap_or_default();
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The end of the last string.
    pub(crate) fn end(&self) -> u32 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// A string that is known to be UTF-8, as all are but user ids.
    pub(crate) fn str(&self, text: u32) -> &str {
        core::str::from_utf8(self.bytes(text)).unwrap_or_default()
    }
}
