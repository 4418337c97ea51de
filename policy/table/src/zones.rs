//! Domains and zones, sorted so that one search finds all that match a name.
//!
//! Names are compared from their end. Read in this way, two zones are nested or apart, as two prefixes are. So the
//! innermost zone around a name is the last one that does not stand behind the name, or an ancestor of that zone.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::columns::{NO_PARENT, count_as_u32};
use crate::name::{HostName, in_zone};
use crate::strings::StringPool;

/// A domain or a zone. Both are sorted by [`compare_reversed`], and a zone stands before the domain of the same name.
/// The strings of consecutive names are consecutive in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: u32,
    pub(crate) zone: bool,
    /// The place of the innermost zone around this name, or [`NO_PARENT`].
    pub(crate) parent: u32,
}

impl Name {
    pub(crate) fn matches(&self, name: &[u8], strings: &StringPool) -> bool {
        let own = strings.bytes(self.text);
        if self.zone { in_zone(name, own) } else { name == own }
    }
}

/// Calls `each` with the places of all domains and zones that match a name of a host.
pub(crate) fn each_matching(
    names: &[Name],
    host: &HostName,
    strings: &StringPool,
    each: &mut impl FnMut(u32),
) {
    let host = host.as_str().as_bytes();
    let not_behind =
        |pattern: &Name| compare_reversed(strings.bytes(pattern.text), host) != Ordering::Greater;
    let mut place = count_as_u32(names.partition_point(not_behind)).wrapping_sub(1);
    while let Some(pattern) = names.get(place as usize) {
        if pattern.matches(host, strings) {
            each(place);
        }
        place = pattern.parent;
    }
}

/// Compares names from their end, label by label. A zone stands right before the names in it.
pub(crate) fn compare_reversed(mut left: &[u8], mut right: &[u8]) -> Ordering {
    // Neighbours in a sorted list often share long suffixes.
    while let (Some((left_rest, left_end)), Some((right_rest, right_end))) =
        (left.split_last_chunk::<8>(), right.split_last_chunk::<8>())
        && left_end == right_end
    {
        (left, right) = (left_rest, right_rest);
    }
    let key = |byte: &u8| if *byte == b'.' { 0 } else { *byte };
    left.iter().rev().map(key).cmp(right.iter().rev().map(key))
}

/// Returns the part of a name before the suffix that it shares with another name, and the length of that suffix.
pub(crate) fn unshared_prefix<'a>(before: &[u8], name: &'a [u8]) -> (&'a [u8], usize) {
    let shared = before.iter().rev().zip(name.iter().rev()).take_while(|(left, right)| left == right).count();
    (name.get(..name.len().saturating_sub(shared)).unwrap_or_default(), shared)
}

/// Links each name of a sorted list with the innermost zone around it.
#[derive(Default)]
pub(crate) struct Zones {
    count: u32,
    /// The zones around the last name, from the outermost to the innermost: the place and the length of each. The last
    /// name is among them if it is a zone.
    enclosing: Vec<(u32, usize)>,
}

impl Zones {
    /// Links the next name. It consists of `own` and of the `shared` last bytes of the name before it.
    pub(crate) fn add(&mut self, text: u32, own: &[u8], shared: usize, zone: bool) -> Name {
        // A zone as long as the shared suffix is around the name only if a dot stands in front of that suffix.
        let outside = shared.saturating_add(usize::from(own.last().is_none_or(|last| *last == b'.')));
        while self.enclosing.pop_if(|(_, length)| *length >= outside).is_some() {}
        let parent = self.enclosing.last().map_or(NO_PARENT, |(place, _)| *place);
        if zone {
            self.enclosing.push((self.count, own.len().saturating_add(shared)));
        }
        self.count = self.count.saturating_add(1);
        Name { text, zone, parent }
    }
}
