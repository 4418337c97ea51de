//! The rules of a table in lists, one for each pattern.

use alloc::vec;
use alloc::vec::Vec;

use crate::columns::{Entry, NO_ENTRY, Span, UNCONDITIONAL};
use crate::prefixes::{AddressBits, PrefixSet};

/// The lists of all patterns, one behind the other. Each is in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// The start of each pattern's list; the last item is the end of the last list.
    pub(crate) starts: Vec<u32>,
    pub(crate) entries: Vec<Entry>,
}

impl Lists {
    /// The lists of these entries, each of which comes with its pattern. `None` if they do not come list by list in
    /// file order, or if a number reaches the limit of its kind (patterns, patterns for the other host, bodies).
    pub(crate) fn new(
        entries: impl Iterator<Item = (u32, Entry)>,
        [patterns, others, bodies]: [u32; 3],
    ) -> Option<Lists> {
        let mut starts = vec![0u32; (patterns as usize).saturating_add(1)];
        let (mut sound, mut next) = (true, 0);
        let listed = |(pattern, entry): (u32, Entry)| {
            let place = u64::from(pattern) << 32 | u64::from(entry.rule);
            sound &= (place >= next) & (pattern < patterns) & (entry.other < others) & (entry.body < bodies);
            next = place.wrapping_add(1);
            if let Some(end) = starts.get_mut((pattern as usize).saturating_add(1)) {
                *end = end.wrapping_add(1);
            }
            entry
        };
        let entries = entries.map(listed).collect();
        starts.iter_mut().fold(0, |start: u32, end| {
            *end = end.wrapping_add(start);
            *end
        });
        sound.then_some(Lists { starts, entries })
    }

    /// The entry in a place, and the pattern under which it is listed.
    pub(crate) fn at(&self, place: u32) -> Option<(u32, &Entry)> {
        let entry = self.entries.get(place as usize)?;
        let pattern = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        Some((u32::try_from(pattern).ok()?, entry))
    }

    /// Stores the first rule of each prefix's list in the prefix. The prefixes are numbered from `first`; `conditional`
    /// is as for [`Entry::is_unconditional`].
    pub(crate) fn set_first_rules<B: AddressBits>(
        &self,
        set: &mut PrefixSet<B>,
        first: u32,
        conditional: &[u32],
    ) {
        let bounds = self.starts.get(first as usize..).unwrap_or_default().windows(2);
        for (bounds, prefix) in bounds.zip(&mut set.prefixes) {
            let [start, end] = *bounds else { return };
            let entry = self.entries.get(start as usize).unwrap_or(&NO_ENTRY);
            let entry = if start == end { &NO_ENTRY } else { entry };
            let body = entry.body as u16;
            let unconditional =
                entry.is_unconditional(conditional) & (u32::from(body) == entry.body) & (start != end);
            prefix.first = entry.rule | if unconditional { UNCONDITIONAL } else { 0 };
            prefix.body = body;
        }
    }

    /// The list of a pattern.
    pub(crate) fn of(&self, pattern: u32) -> &[Entry] {
        let bounds = self.starts.get(pattern as usize..).unwrap_or_default();
        let [start, end, ..] = *bounds else { return &[] };
        Span { start, end }.of(&self.entries)
    }

    /// The lists of the patterns from `first` up to and without `behind`, or up to the last.
    pub(crate) fn between(&self, first: u32, behind: u32) -> &[Entry] {
        let start = |pattern: u32| self.starts.get(pattern as usize).copied();
        let (Some(start), end) = (start(first), start(behind)) else { return &[] };
        self.entries
            .get(start as usize..end.map_or(self.entries.len(), |end| end as usize))
            .unwrap_or_default()
    }
}
