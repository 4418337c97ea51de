//! The methods that lines ask of a client before its request is known, by its address.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::index::Index;
use crate::patterns::PatternSet;
use crate::protocol::Protocol;

/// The methods that lines ask for, as bits of [`Protocol::METHODS`], by the patterns for the source. A kind of table
/// may have further bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The bits of all lines.
    of_any_line: u8,
    /// The bits of lines that may be for any client: lines for all, and lines that give the source by name.
    of_anybody: u8,
    /// The bits of each pattern. It is empty if the lines for all ask for everything that any line asks for.
    by_pattern: Vec<u8>,
}

impl Asked {
    /// Collects the bits that the lines of an index ask for. `asks` has those of each body.
    pub(crate) fn of(index: &Index, source: &PatternSet, asks: &[u8]) -> Asked {
        let all = asks.iter().fold(0, |all, bits| all | bits);
        // A client that is asked for nothing needs no method, as if it were asked for just that.
        if all & !Protocol::NONE == 0 {
            return Asked::default();
        }
        let mut by_pattern = alloc::vec![0u8; source.len() as usize];
        let mut add = |pattern: u32, body: u32| {
            let bits = asks.get(body as usize).copied().unwrap_or_default();
            by_pattern.get_mut(pattern as usize).into_iter().for_each(|asked| *asked |= bits);
        };
        for pattern in 0..source.len() {
            index.by_source.of(pattern).iter().for_each(|entry| add(pattern, entry.body));
        }
        index.by_destination.entries.iter().for_each(|entry| add(entry.other, entry.body));
        let by_name = by_pattern.get(source.first_name() as usize..).unwrap_or_default();
        let of_anybody = by_pattern.iter().take(1).chain(by_name).fold(0, |all, bits| all | bits);
        if of_anybody == all {
            by_pattern.clear();
        }
        Asked { of_any_line: all, of_anybody, by_pattern }
    }

    /// The bits of all lines; 0 if no line asks for more than [`Protocol::NONE`].
    pub(crate) fn of_any_line(&self) -> u8 {
        self.of_any_line
    }

    /// The bits for a client.
    pub(crate) fn of_client(&self, client: IpAddr, source: &PatternSet) -> u8 {
        let mut asked = self.of_anybody;
        if !self.by_pattern.is_empty() {
            source.each_network(client, None, &mut |_, _, pattern| asked |= self.of_pattern(pattern));
        }
        asked
    }

    /// The bits for every client of some pattern, which these patterns cover.
    pub(crate) fn of_all(&self, covering: &[u32]) -> u8 {
        covering.iter().fold(self.of_anybody, |all, pattern| all | self.of_pattern(*pattern))
    }

    fn of_pattern(&self, pattern: u32) -> u8 {
        self.by_pattern.get(pattern as usize).copied().unwrap_or_default()
    }
}
