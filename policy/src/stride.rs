//! Where to look for an address among very many prefixes.
//!
//! A top is the first bits of an address. The prefixes of no more bits are the same for all addresses of a top, so that
//! the first rules in their lists can be merged beforehand: the candidates. The longer prefixes of a top stand next to
//! each other and are few; a top knows for which of the next bits there are any, and the first rule of all of them. So most
//! addresses cost one look at a line of the processor's cache, and among a million rules that is what costs.

use alloc::vec::Vec;
use core::slice;

use crate::columns::{Entry, NO_ENTRY, Span, UNCONDITIONAL, count};
use crate::lists::Lists;
use crate::prefixes::{AddressBits, Prefix, PrefixSet};

/// All tops of one family; none if the prefixes are so few that a search among all of them is as quick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tops {
    /// How many bits an address has behind its top.
    shift: u32,
    /// The number of the first top: most IPv6 addresses are not in use, and outside there is little to be found.
    base: usize,
    tops: Vec<Top>,
    /// The candidates that tops have no room for.
    more: Vec<Entry>,
}

/// The addresses with the same first bits, in one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Top {
    /// For each value of the next six bits, whether there is a longer prefix around such an address.
    slots: u64,
    /// The longer prefixes.
    long: Span,
    /// The first rule listed under any of them.
    first: u32,
    candidates: [Entry; ROOM],
    more: Span,
}

/// What there is around an address.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Near<'a> {
    /// The first rules in the lists of short prefixes and of [`crate::Pattern::Any`], as in the file; what would stand
    /// behind one that matches in any case is left out, and so is what is too much.
    candidates: &'a [Entry],
    more: &'a [Entry],
    /// The longer prefixes around it, those of other addresses among them, and the first rule listed under any of them.
    long: Span,
    first: u32,
    /// The prefixes of both kinds.
    all: Span,
}

/// Candidates that a top has room for, and more than which are not kept for it.
const ROOM: usize = 3;
const MOST: usize = 8;

/// Fewer prefixes than this stay in the processor's nearest cache.
const MANY: usize = 1 << 10;

impl<'a> Near<'a> {
    /// The candidates, those without a rule among them.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.candidates.iter().chain(self.more)
    }

    /// The prefixes among which there may be rules before `best` that are not candidates, and whether so may be
    /// [`crate::Pattern::Any`].
    pub(crate) fn rest(&self, best: u32) -> (Span, bool) {
        let cut = self.more.len() == MOST.saturating_sub(ROOM)
            && self.more.last().is_some_and(|last| last.rule < best);
        match self.candidates {
            [] => (self.all, true),
            _ if cut => (self.all, true),
            _ if self.first < best => (self.long, false),
            _ => (Span::default(), false),
        }
    }
}

impl Tops {
    /// Gathers the tops of a family whose patterns are numbered from `first`; `conditional` as for [`Entry::is_unconditional`].
    pub(crate) fn of<B: AddressBits>(
        set: &PrefixSet<B>,
        lists: &Lists,
        first: u32,
        conditional: &[u32],
    ) -> Tops {
        let prefixes = &set.prefixes;
        if prefixes.len() < MANY {
            return Tops::default();
        }
        // On the average 8 to 16 prefixes to a top.
        let bits = prefixes.len().ilog2().saturating_sub(3).saturating_add(B::UNUSED);
        let shift = B::BITS.saturating_sub(bits);
        let count = 1usize.checked_shl(bits).unwrap_or_default();
        let is_short = |prefix: &Prefix<B>| u32::from(prefix.length) <= bits;
        let number = |prefix: &Prefix<B>| prefix.address.top(shift);
        let base = prefixes.iter().find(|prefix| !is_short(prefix)).map_or(0, number);
        let numbers = base..prefixes.last().map_or(0, number).saturating_add(1);
        let mut found = Tops { shift, base, tops: Vec::with_capacity(numbers.len()), more: Vec::new() };
        let none = Candidates {
            entries: [NO_ENTRY; MOST],
            unconditional: NO_ENTRY.rule,
            more: Span::default(),
            end: 0,
        };
        let of_any = found.candidates(&none, lists.of(0), conditional, count);
        // Those of the short prefixes around a top.
        let mut around: Vec<Candidates> = Vec::new();
        let mut rest = (0..).zip(prefixes).peekable();
        let mut long = Span::default();
        for top in numbers {
            long.start = long.end;
            while let Some((at, short)) =
                rest.next_if(|(_, prefix)| is_short(prefix) && number(prefix) <= top)
            {
                let unconditional = short.unconditional();
                let list = unconditional
                    .as_ref()
                    .map_or_else(|| lists.of(first.saturating_add(at)), slice::from_ref);
                let begin = number(short);
                while around.pop_if(|outer| outer.end <= begin).is_some() {}
                let end = begin.saturating_add(count.checked_shr(short.length.into()).unwrap_or_default());
                around.push(found.candidates(around.last().unwrap_or(&of_any), list, conditional, end));
                long = Span { start: at.saturating_add(1), end: at.saturating_add(1) };
            }
            while around.pop_if(|short| short.end <= top).is_some() {}
            let Candidates { entries: [one, two, three, ..], more, .. } = *around.last().unwrap_or(&of_any);
            let mut this = Top { slots: 0, long, first: NO_ENTRY.rule, candidates: [one, two, three], more };
            while let Some((at, prefix)) = rest.next_if(|(_, prefix)| number(prefix) == top) {
                this.slots |= slots(prefix, shift);
                this.first = this.first.min(prefix.first & !UNCONDITIONAL);
                this.long.end = at.saturating_add(1);
            }
            long.end = this.long.end;
            found.tops.push(this);
        }
        found
    }

    /// Those of an outer prefix and of a list, for the tops up to and without `end`.
    fn candidates(
        &mut self,
        outer: &Candidates,
        list: &[Entry],
        conditional: &[u32],
        end: usize,
    ) -> Candidates {
        let mut found = Candidates { end, ..*outer };
        found.add(list, conditional);
        found.more.start = count(&self.more);
        self.more.extend(found.entries.iter().skip(ROOM).take_while(|entry| **entry != NO_ENTRY));
        found.more.end = count(&self.more);
        found
    }

    /// What there is around an address.
    pub(crate) fn near<B: AddressBits>(&self, set: &PrefixSet<B>, address: B) -> Near<'_> {
        let Some(top) = self.tops.get(address.top(self.shift).wrapping_sub(self.base)) else {
            return Near { all: set.all(), ..Near::default() };
        };
        let first = if top.slots & slot(address, self.shift) == 0 { NO_ENTRY.rule } else { top.first };
        let more = top.more.of(&self.more);
        Near { candidates: &top.candidates, more, long: top.long, first, all: set.all() }
    }
}

/// The bit of the six bits behind a top.
fn slot<B: AddressBits>(address: B, shift: u32) -> u64 {
    1 << (address.top(shift.saturating_sub(SLOT)) & 63)
}

/// The bits that a prefix longer than a top holds.
fn slots<B: AddressBits>(prefix: &Prefix<B>, shift: u32) -> u64 {
    let beyond = B::BITS.saturating_sub(prefix.length.into()).saturating_sub(shift.saturating_sub(SLOT));
    let number = 1u32.checked_shl(beyond).unwrap_or(64);
    let all = 1u64.checked_shl(number).unwrap_or(0).wrapping_sub(1);
    slot(prefix.address, shift).wrapping_mul(all)
}

const SLOT: u32 = 6;

/// The first rules of all prefixes around an address, as in the file; nothing behind one that is unconditional.
#[derive(Clone, Copy)]
struct Candidates {
    entries: [Entry; MOST],
    /// The rule that is unconditional.
    unconditional: u32,
    /// Where those are kept that a top has no room for.
    more: Span,
    /// Where the tops end that they are for.
    end: usize,
}

impl Candidates {
    /// Adds the rules of a list.
    fn add(&mut self, list: &[Entry], conditional: &[u32]) {
        for entry in list {
            let [.., last] = self.entries;
            if entry.rule >= self.unconditional.min(last.rule) {
                return;
            }
            let place = self.entries.partition_point(|earlier| earlier.rule < entry.rule);
            let behind = self.entries.get_mut(place..).unwrap_or_default();
            behind.rotate_right(1);
            if let Some((place, behind)) = behind.split_first_mut() {
                *place = *entry;
                if entry.is_unconditional(conditional) {
                    self.unconditional = entry.rule;
                    behind.fill(NO_ENTRY);
                }
            }
        }
    }
}
