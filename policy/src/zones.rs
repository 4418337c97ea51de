//! Domains and zones, sorted so that one search finds those that hold a name.
//!
//! Two zones are nested or apart, as prefixes are, when names are read from their end.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::columns::{NO_PARENT, count_as_u32};
use crate::name::{HostName, in_zone};
use crate::strings::StringPool;

/// A domain or a zone; sorted by name read from its end, zones before domains. Its text stands right behind that of the name
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: u32,
    pub(crate) zone: bool,
    /// The place of the innermost zone around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
}

impl Name {
    pub(crate) fn holds(&self, name: &[u8], strings: &StringPool) -> bool {
        let own = strings.bytes(self.text);
        if self.zone { in_zone(name, own) } else { name == own }
    }
}

/// Calls `each` with the places of all domains and zones that hold a host of this name.
pub(crate) fn holding(names: &[Name], host: &HostName, strings: &StringPool, each: &mut impl FnMut(u32)) {
    let host = host.as_str().as_bytes();
    let not_behind =
        |pattern: &Name| compare_reversed(strings.bytes(pattern.text), host) != Ordering::Greater;
    let mut place = count_as_u32(names.partition_point(not_behind)).wrapping_sub(1);
    while let Some(pattern) = names.get(place as usize) {
        if pattern.holds(host, strings) {
            each(place);
        }
        place = pattern.parent;
    }
}

/// Compares names from their end, label by label: a name comes right before the names below it.
pub(crate) fn compare_reversed(mut left: &[u8], mut right: &[u8]) -> Ordering {
    // Names that stand next to each other often have much of their end in common.
    while let (Some((left_rest, left_end)), Some((right_rest, right_end))) =
        (left.split_last_chunk::<8>(), right.split_last_chunk::<8>())
        && left_end == right_end
    {
        (left, right) = (left_rest, right_rest);
    }
    let key = |byte: &u8| if *byte == b'.' { 0 } else { *byte };
    left.iter().rev().map(key).cmp(right.iter().rev().map(key))
}

/// The part of a name before the suffix that it shares with the name before it, and the length of that suffix.
pub(crate) fn unshared_prefix<'a>(before: &[u8], name: &'a [u8]) -> (&'a [u8], usize) {
    let shared = before.iter().rev().zip(name.iter().rev()).take_while(|(left, right)| left == right).count();
    (name.get(..name.len().saturating_sub(shared)).unwrap_or_default(), shared)
}

/// Links names, which come in their order, each with the innermost zone around it.
#[derive(Default)]
pub(crate) struct Zones {
    count: u32,
    /// Place and length of the zones around the last name, itself included.
    around: Vec<(u32, usize)>,
}

impl Zones {
    /// The next name: `own` is what stands in front of the bytes that it shares with the end of the name before.
    pub(crate) fn add(&mut self, text: u32, own: &[u8], shared: usize, zone: bool) -> Name {
        // A zone that is shared and no more is around the name only from a dot on.
        let outside = shared.saturating_add(usize::from(own.last().is_none_or(|last| *last == b'.')));
        while self.around.pop_if(|(_, length)| *length >= outside).is_some() {}
        let parent = self.around.last().map_or(NO_PARENT, |(place, _)| *place);
        if zone {
            self.around.push((self.count, own.len().saturating_add(shared)));
        }
        self.count = self.count.saturating_add(1);
        Name { text, zone, parent }
    }
}
