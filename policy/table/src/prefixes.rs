//! The networks of one address family, sorted so that one search finds all that contain an address.
//!
//! Two prefixes are nested or apart. They are sorted by address, and of two with the same address the shorter one
//! stands first. So the innermost prefix around an address is the last one that does not begin behind the address, or
//! an ancestor of that prefix. Networks with noncontiguous masks are grouped by mask, and each group is searched.

use alloc::vec::Vec;
use core::ops::{BitAnd, BitOr, BitXor};

use crate::columns::{Entry, NO_PARENT, NO_RULE, Span, UNCONDITIONAL, count, count_as_u32};

/// The networks of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixSet<B> {
    /// The networks whose masks are prefixes, sorted by address, then by length.
    pub(crate) prefixes: Vec<Prefix<B>>,
    /// The networks whose masks have any other shape, sorted by mask, then by address.
    pub(crate) noncontiguous: Vec<Masked<B>>,
    /// The end of the networks of each noncontiguous mask.
    groups: Vec<u32>,
}

/// An address with the bits that a mask leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Masked<B> {
    pub(crate) mask: B,
    pub(crate) address: B,
}

/// A network whose mask is a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix<B> {
    pub(crate) address: B,
    /// The place of the innermost prefix around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
    /// The first rule listed under this prefix, or [`NO_RULE`]; the bit [`UNCONDITIONAL`] is set if the rule is.
    pub(crate) first: u32,
    /// The body of the first rule, if that rule is unconditional.
    pub(crate) body: u16,
    /// The length in bits.
    pub(crate) length: u8,
}

/// An address of either family as a number.
pub(crate) trait AddressBits:
    Copy + Ord + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// The number of bits of an address.
    const BITS: u32;

    /// The number of leading bits that tell next to nothing apart, because most of the addresses are not in use.
    const UNUSED: u32;

    /// The mask of a prefix of this length.
    fn mask(length: u32) -> Self;

    /// The number of leading ones.
    fn leading_ones(self) -> u32;

    /// The leading bits, without the last `shift` ones.
    fn leading(self, shift: u32) -> usize;

    /// The length of the longest prefix that contains two addresses.
    fn common_length(self, other: Self) -> u32;

    /// The number of bits in front of the last one that is set; more than [`AddressBits::BITS`] if none is.
    fn before_last_one(self) -> u32;

    /// Whether a mask is ones followed by zeros.
    fn is_prefix(self) -> bool {
        self == Self::mask(self.leading_ones())
    }
}

macro_rules! address_bits {
    ($bits:ty, $unused:expr) => {
        impl AddressBits for $bits {
            const BITS: u32 = <$bits>::BITS;
            const UNUSED: u32 = $unused;

            fn mask(length: u32) -> $bits {
                <$bits>::MAX.checked_shl(Self::BITS.saturating_sub(length)).unwrap_or(0)
            }

            fn leading_ones(self) -> u32 {
                <$bits>::leading_ones(self)
            }

            fn before_last_one(self) -> u32 {
                Self::BITS.wrapping_sub(1).wrapping_sub(self.trailing_zeros())
            }

            fn common_length(self, other: $bits) -> u32 {
                (self ^ other).leading_zeros()
            }

            fn leading(self, shift: u32) -> usize {
                self.checked_shr(shift).unwrap_or(0) as usize
            }
        }
    };
}

address_bits!(u32, 0);
address_bits!(u128, 1);

impl<B> Default for PrefixSet<B> {
    fn default() -> PrefixSet<B> {
        PrefixSet { prefixes: Vec::new(), noncontiguous: Vec::new(), groups: Vec::new() }
    }
}

impl<B: AddressBits> Prefix<B> {
    /// The first rule listed under this prefix, if that rule is unconditional.
    pub(crate) fn unconditional(&self) -> Option<Entry> {
        let rule = self.first ^ UNCONDITIONAL;
        (rule < UNCONDITIONAL).then_some(Entry { rule, other: 0, body: self.body.into() })
    }

    fn mask(&self) -> B {
        B::mask(self.length.into())
    }

    pub(crate) fn contains(&self, address: B) -> bool {
        address & self.mask() == self.address
    }
}

/// Links each prefix, given as address and length, with the innermost prefix around it; `None` if some are no networks,
/// or if they are out of order.
fn linked<B: AddressBits>(prefixes: impl Iterator<Item = (B, u8)>) -> Option<Vec<Prefix<B>>> {
    let (mut last, mut sound) = (None, true);
    // The lengths of the last prefix and of the prefixes around it: for each length the bit behind as many bits is set.
    // The places of these prefixes are kept by length. A stack in place of the bits would need a loop, and the
    // processor could not predict its end.
    let (mut lengths, mut places) = (B::mask(0), [NO_PARENT; 129]);
    let link = |(place, (address, length)): (u32, (B, u8))| {
        let common = last.map_or(0, |(last, _): (B, u8)| last.common_length(address));
        let around = lengths & B::mask(common.saturating_add(1));
        let parent = places.get(around.before_last_one() as usize).copied().unwrap_or(NO_PARENT);
        let prefix = Prefix { address, parent, first: NO_RULE, body: 0, length };
        sound &= (last < Some((address, length))) & prefix.contains(address) & (u32::from(length) <= B::BITS);
        lengths = around | B::mask(length.into()) ^ B::mask(u32::from(length).saturating_add(1));
        last = Some((address, length));
        if let Some(of_length) = places.get_mut(usize::from(length)) {
            *of_length = place;
        }
        prefix
    };
    let linked = (0..).zip(prefixes).map(link).collect();
    sound.then_some(linked)
}

impl<B: AddressBits> PrefixSet<B> {
    /// The set of these prefixes, given as address and length, and of networks with noncontiguous masks; `None` if some
    /// are no networks, or if they are out of order.
    pub(crate) fn new(
        prefixes: impl Iterator<Item = (B, u8)>,
        noncontiguous: Vec<Masked<B>>,
    ) -> Option<PrefixSet<B>> {
        let sound = noncontiguous.is_sorted_by(|a, b| a < b)
            && noncontiguous.iter().all(|of| !of.mask.is_prefix() && of.address & of.mask == of.address);
        let prefixes = linked(prefixes).filter(|_| sound)?;
        let last =
            |(_, pair): &(u32, &[Masked<B>])| pair.first().map(|of| of.mask) != pair.last().map(|of| of.mask);
        let mut groups: Vec<u32> =
            (1..).zip(noncontiguous.windows(2)).filter(last).map(|(end, _)| end).collect();
        groups.extend(noncontiguous.last().map(|_| count(&noncontiguous)));
        Some(PrefixSet { prefixes, noncontiguous, groups })
    }

    /// The network in a place, or how far the place is behind the last network.
    pub(crate) fn get(&self, place: usize) -> Result<Masked<B>, usize> {
        if let Some(of) = self.prefixes.get(place) {
            return Ok(Masked { mask: of.mask(), address: of.address });
        }
        let place = place.saturating_sub(self.prefixes.len());
        self.noncontiguous.get(place).copied().ok_or(place.saturating_sub(self.noncontiguous.len()))
    }

    /// The number behind the last network, if the networks are numbered from `first`.
    pub(crate) fn after(&self, first: u32) -> u32 {
        first.saturating_add(count(&self.prefixes)).saturating_add(count(&self.noncontiguous))
    }

    /// The places of all prefixes.
    pub(crate) fn all(&self) -> Span {
        Span { start: 0, end: count(&self.prefixes) }
    }

    /// Calls `each` for every prefix in a span, and for every noncontiguous network, that contains an address.
    ///
    /// `each` gets the first rule that is listed under the network (0 if that is not known), the body of this rule, and
    /// the number of the network, if the networks are numbered from `first`.
    pub(crate) fn each_containing(
        &self,
        address: B,
        within: Span,
        first: u32,
        each: &mut impl FnMut(u32, u16, u32),
    ) {
        let prefixes = within.of(&self.prefixes);
        // A few are counted without a branch for each of them, so that the processor waits for all of them at once.
        let before = match prefixes.len() {
            ..=FEW => prefixes.iter().filter(|prefix| prefix.address <= address).count(),
            _ => prefixes.partition_point(|prefix| prefix.address <= address),
        };
        let mut place = within.start.saturating_add(count_as_u32(before)).wrapping_sub(1);
        while let Some(prefix) = self.prefixes.get(place as usize).filter(|_| place >= within.start) {
            if prefix.contains(address) {
                each(prefix.first, prefix.body, first.saturating_add(place));
            }
            place = prefix.parent;
        }
        let first = first.saturating_add(count(&self.prefixes));
        let mut start = 0;
        for end in &self.groups {
            let group = Span { start, end: *end }.of(&self.noncontiguous);
            let mask = group.first().map_or(address, |of| of.mask);
            if let Ok(place) = group.binary_search_by_key(&(address & mask), |of| of.address) {
                each(0, 0, first.saturating_add(start).saturating_add(count_as_u32(place)));
            }
            start = *end;
        }
    }
}

/// Up to this number, prefixes are read one after the other.
const FEW: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a search among random prefixes, crowded so that they nest, with asking each of them.
    fn compare<B: AddressBits>(bits: u8, address: impl Fn(u64) -> B) {
        let mut seed = 1u64;
        let mut dice = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut prefixes: Vec<(B, u8)> = Vec::new();
        for _ in 0..2000 {
            let length = u8::try_from(dice() % (u64::from(bits) + 1)).unwrap();
            prefixes.push((address(dice()) & B::mask(length.into()), length));
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        let set = PrefixSet::new(prefixes.into_iter(), Vec::new()).unwrap();
        for _ in 0..2000 {
            let asked = address(dice());
            let contains = |(_, prefix): &(u32, &Prefix<B>)| prefix.contains(asked);
            let wanted: Vec<u32> = (7..).zip(&set.prefixes).filter(contains).map(|(id, _)| id).collect();
            let mut found = Vec::new();
            set.each_containing(asked, set.all(), 7, &mut |_, _, id| found.push(id));
            found.sort_unstable();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn the_search_finds_every_prefix_around_an_address_and_no_other() {
        let crowded = |dice: u64| (dice & 0x3) << 30 | (dice & 0x1c) << 13 | (dice & 0x1fe0) >> 2;
        compare(32, |dice| u32::try_from(crowded(dice)).unwrap());
        compare(128, |dice| u128::from(crowded(dice)) << 96 | u128::from(dice & 0xf00));
    }
}
