//! A stride table, for the search of an address among very many prefixes.
//!
//! The first bits of an address choose a bucket. The prefixes of no more bits than these are the same for all addresses
//! of a bucket, so the first rules in their lists are merged in advance: they are the bucket's candidates. The longer
//! prefixes of a bucket stand next to each other and are few. The bucket knows for which of the next bits there are
//! any, and the first rule that is listed under any of them.
//!
//! So most addresses cost one look at one line of the processor's cache. Among a million rules such looks are the cost.

use alloc::vec::Vec;
use core::iter::{Peekable, Zip};
use core::ops::RangeFrom;
use core::slice;

use crate::columns::{Entry, NO_ENTRY, Span, UNCONDITIONAL, count};
use crate::lists::Lists;
use crate::prefixes::{AddressBits, Prefix, PrefixSet};

/// The buckets of one address family. There are none if the prefixes are so few that a search among all of them is as
/// quick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stride {
    /// The number of bits of an address behind the number of its bucket.
    shift: u32,
    /// The number of the first bucket. Most IPv6 addresses are not in use, and there is little to find outside.
    base: usize,
    buckets: Vec<Bucket>,
    /// The candidates for which their bucket has no room.
    overflow: Vec<Entry>,
}

/// The addresses with the same first bits, in one line of the processor's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Bucket {
    /// For each value of the next six bits, whether a longer prefix contains such an address.
    slots: u64,
    /// The longer prefixes.
    long: Span,
    /// The first rule listed under any of them.
    first: u32,
    candidates: [Entry; ROOM],
    overflow: Span,
}

/// The rules to try first for an address, and the prefixes to search for others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Candidates<'a> {
    /// The first rules in the lists of [`crate::Pattern::Any`] and of the short prefixes, in the order of the file.
    /// Rules behind an unconditional one are left out, and so are rules behind the first [`MOST`].
    inline: &'a [Entry],
    overflow: &'a [Entry],
    /// The longer prefixes of the bucket, whether or not they contain the address.
    long: Span,
    /// The first rule listed under any longer prefix that may contain the address.
    first: u32,
    /// The short prefixes and the longer ones.
    all: Span,
}

/// The number of candidates that a bucket has room for.
const ROOM: usize = 3;

/// The most candidates that are kept for a bucket.
const MOST: usize = 8;

/// Fewer prefixes than this stay in the processor's nearest cache.
const MANY: usize = 1 << 10;

/// The number of bits behind the number of a bucket that its slots tell apart.
const SLOT_BITS: u32 = 6;

impl<'a> Candidates<'a> {
    /// The candidates. Entries without a rule may stand among them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.inline.iter().chain(self.overflow)
    }

    /// The prefixes whose lists may have a rule before `best` that is no candidate, and whether the list of
    /// [`crate::Pattern::Any`] may have one.
    pub(crate) fn rest(&self, best: u32) -> (Span, bool) {
        let is_full = self.overflow.len() == MOST.saturating_sub(ROOM)
            && self.overflow.last().is_some_and(|last| last.rule < best);
        match self.inline {
            [] => (self.all, true),
            _ if is_full => (self.all, true),
            _ if self.first < best => (self.long, false),
            _ => (Span::default(), false),
        }
    }
}

impl Stride {
    /// Fills the buckets of a prefix set whose patterns are numbered from `first`; `conditional` as for
    /// [`Entry::is_unconditional`].
    pub(crate) fn of<B: AddressBits>(
        set: &PrefixSet<B>,
        lists: &Lists,
        first: u32,
        conditional: &[u32],
    ) -> Stride {
        let prefixes = &set.prefixes;
        if prefixes.len() < MANY {
            return Stride::default();
        }
        // A bucket has 8 to 16 prefixes on average.
        let bits = prefixes.len().ilog2().saturating_sub(3).saturating_add(B::UNUSED);
        let shift = B::BITS.saturating_sub(bits);
        let number = |prefix: &Prefix<B>| prefix.address.leading(shift);
        let base = prefixes.iter().find(|prefix| u32::from(prefix.length) > bits).map_or(0, number);
        let numbers = base..prefixes.last().map_or(0, number).saturating_add(1);
        let buckets = Vec::with_capacity(numbers.len());
        let mut filler = Filler {
            lists,
            conditional,
            first,
            bits,
            stride: Stride { shift, base, buckets, overflow: Vec::new() },
            enclosing: Vec::new(),
            rest: (0..).zip(prefixes).peekable(),
        };
        let any = filler.merged(&Merged::NONE, lists.of(0), filler.bucket_count());
        let mut long = Span::default();
        for number in numbers {
            long = filler.fill(number, &any, long.end);
        }
        filler.stride
    }

    /// The candidates for an address.
    pub(crate) fn candidates<B: AddressBits>(&self, set: &PrefixSet<B>, address: B) -> Candidates<'_> {
        let Some(bucket) = self.buckets.get(address.leading(self.shift).wrapping_sub(self.base)) else {
            return Candidates { all: set.all(), ..Candidates::default() };
        };
        let is_empty = bucket.slots & slot(address, self.shift) == 0;
        Candidates {
            inline: &bucket.candidates,
            overflow: bucket.overflow.of(&self.overflow),
            long: bucket.long,
            first: if is_empty { NO_ENTRY.rule } else { bucket.first },
            all: set.all(),
        }
    }
}

/// The bit of an address among the slots of its bucket.
fn slot<B: AddressBits>(address: B, shift: u32) -> u64 {
    1 << (address.leading(shift.saturating_sub(SLOT_BITS)) & 63)
}

/// The bits of the addresses of a prefix that is longer than the number of its bucket.
fn slots<B: AddressBits>(prefix: &Prefix<B>, shift: u32) -> u64 {
    let beyond = B::BITS.saturating_sub(prefix.length.into()).saturating_sub(shift.saturating_sub(SLOT_BITS));
    let number = 1u32.checked_shl(beyond).unwrap_or(64);
    let all = 1u64.checked_shl(number).unwrap_or(0).wrapping_sub(1);
    slot(prefix.address, shift).wrapping_mul(all)
}

/// Fills the buckets of a stride, one after the other.
struct Filler<'a, B> {
    lists: &'a Lists,
    conditional: &'a [u32],
    /// The number of the first prefix among the patterns.
    first: u32,
    /// The number of bits in the number of a bucket.
    bits: u32,
    stride: Stride,
    /// The merged rules of the short prefixes around the bucket, from the outermost to the innermost.
    enclosing: Vec<Merged>,
    /// The prefixes that are in no bucket yet.
    rest: Peekable<Zip<RangeFrom<u32>, slice::Iter<'a, Prefix<B>>>>,
}

impl<B: AddressBits> Filler<'_, B> {
    /// Adds the bucket of a number, and returns its longer prefixes. Those of the bucket before end at `end`.
    fn fill(&mut self, number: usize, any: &Merged, end: u32) -> Span {
        let start = self.enter_short_prefixes(number, any).unwrap_or(end);
        while self.enclosing.pop_if(|short| short.end <= number).is_some() {}
        let Merged { entries: [one, two, three, ..], overflow, .. } = *self.enclosing.last().unwrap_or(any);
        let long = Span { start, end: start };
        let (candidates, first) = ([one, two, three], NO_ENTRY.rule);
        let mut bucket = Bucket { slots: 0, long, first, candidates, overflow };
        let shift = self.stride.shift;
        let of_bucket = |(_, prefix): &(u32, &Prefix<B>)| prefix.address.leading(shift) == number;
        while let Some((place, prefix)) = self.rest.next_if(of_bucket) {
            bucket.slots |= slots(prefix, shift);
            bucket.first = bucket.first.min(prefix.first & !UNCONDITIONAL);
            bucket.long.end = place.saturating_add(1);
        }
        self.stride.buckets.push(bucket);
        bucket.long
    }

    /// Merges the rules of the short prefixes that begin in a bucket or before it. Returns the place behind the last.
    fn enter_short_prefixes(&mut self, number: usize, any: &Merged) -> Option<u32> {
        let (shift, bits) = (self.stride.shift, self.bits);
        let begins = |(_, prefix): &(u32, &Prefix<B>)| {
            u32::from(prefix.length) <= bits && prefix.address.leading(shift) <= number
        };
        let mut behind = None;
        while let Some((place, prefix)) = self.rest.next_if(begins) {
            let unconditional = prefix.unconditional();
            let listed = || self.lists.of(self.first.saturating_add(place));
            let list = unconditional.as_ref().map_or_else(listed, slice::from_ref);
            let begin = prefix.address.leading(shift);
            while self.enclosing.pop_if(|outer| outer.end <= begin).is_some() {}
            let size = self.bucket_count().checked_shr(prefix.length.into()).unwrap_or_default();
            let outer = *self.enclosing.last().unwrap_or(any);
            let merged = self.merged(&outer, list, begin.saturating_add(size));
            self.enclosing.push(merged);
            behind = Some(place.saturating_add(1));
        }
        behind
    }

    /// The rules of an outer prefix merged with a list, for the buckets up to and without `end`.
    fn merged(&mut self, outer: &Merged, list: &[Entry], end: usize) -> Merged {
        let mut merged = Merged { end, ..*outer };
        merged.add(list, self.conditional);
        let overflow = &mut self.stride.overflow;
        merged.overflow.start = count(overflow);
        overflow.extend(merged.entries.iter().skip(ROOM).take_while(|entry| **entry != NO_ENTRY));
        merged.overflow.end = count(overflow);
        merged
    }

    /// The number of buckets that the whole address family would have.
    fn bucket_count(&self) -> usize {
        1usize.checked_shl(self.bits).unwrap_or_default()
    }
}

/// The first rules of all short prefixes around a bucket, in the order of the file. Rules behind an unconditional one
/// are left out.
#[derive(Clone, Copy)]
struct Merged {
    entries: [Entry; MOST],
    /// The unconditional rule.
    unconditional: u32,
    /// The entries for which a bucket has no room.
    overflow: Span,
    /// The bucket behind the last one that these rules are for.
    end: usize,
}

impl Merged {
    const NONE: Merged = Merged {
        entries: [NO_ENTRY; MOST],
        unconditional: NO_ENTRY.rule,
        overflow: Span { start: 0, end: 0 },
        end: 0,
    };

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
