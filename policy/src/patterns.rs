//! The patterns of one side (source or destination) of a table, each known by a number, sorted so that the patterns
//! which hold an address or a name are found by one search.
//!
//! Prefixes are laminar: two of them are nested or apart. Sorted by address, shorter ones first, the innermost prefix
//! that holds an address is the last one that does not begin behind it, or one of that one's ancestors. The same is
//! true of zones when names are read from their end. Masks of other shapes are grouped by mask and searched one
//! group after the other.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::IpAddr;
use core::ops::{BitAnd, BitOr, BitXor};

use crate::address::{Bits, Network};
use crate::columns::{Entry, NONE, SURE, Span, count};
use crate::name::{HostName, in_zone};
use crate::pattern::Pattern;
use crate::query::{Fit, Host};
use crate::strings::Texts;

/// All patterns of one side. Number 0 is [`Pattern::Any`]; then come IPv4, IPv6 and names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) v4: Family<u32>,
    pub(crate) v6: Family<u128>,
    pub(crate) names: Vec<Name>,
}

/// The patterns of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family<W> {
    /// Masks that are prefixes, sorted by address, then by length.
    pub(crate) prefixes: Vec<Prefix<W>>,
    /// Masks of any other shape, sorted by mask, then by address.
    pub(crate) odd: Vec<Masked<W>>,
    /// Where the patterns of each odd mask end.
    groups: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Masked<W> {
    pub(crate) mask: W,
    pub(crate) address: W,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix<W> {
    pub(crate) address: W,
    /// The place of the innermost prefix around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
    /// The first rule listed under this prefix, with [`crate::index::SURE`] where it is; [`NONE`] if there is none.
    pub(crate) first: u32,
    /// The tail of the first rule if that is sure.
    pub(crate) tail: u16,
    /// How many bits it has.
    pub(crate) length: u8,
}

/// A domain or a zone; sorted by name read from its end, zones before domains. Its text stands right behind that of the name
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: u32,
    pub(crate) zone: bool,
    /// The place of the innermost zone around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
}

pub(crate) const NO_PARENT: u32 = u32::MAX;

/// The pattern of a number as it is kept.
enum Slot<'a> {
    Any,
    Network(Network),
    Name(&'a Name),
    /// No pattern has this number.
    Nothing,
}

impl Side {
    /// The number of the first domain or zone, if there is one.
    pub(crate) fn first_name(&self) -> u32 {
        self.v6.after(self.v4.after(1))
    }

    /// How many patterns there are; their numbers are below.
    pub(crate) fn patterns(&self) -> u32 {
        self.first_name().saturating_add(count(&self.names))
    }

    /// The numbers of all patterns that hold the host.
    fn matching(&self, address: Option<IpAddr>, names: &[HostName], texts: &Texts) -> Vec<u32> {
        let mut found = alloc::vec![0];
        let mut add = |_, _, pattern| found.push(pattern);
        self.around(address, None, &mut add);
        self.named(names, texts, &mut |pattern| found.push(pattern));
        found
    }

    /// The patterns that hold every host that a pattern holds.
    pub(crate) fn covering(&self, pattern: &Pattern, texts: &Texts) -> Vec<u32> {
        let (address, names) = match pattern {
            Pattern::Network(network) => (Some(network.address()), None),
            Pattern::Domain(name) | Pattern::Zone(name) => (None, Some(name.clone())),
            Pattern::Any => (None, None),
        };
        let mut patterns = self.matching(address, names.as_slice(), texts);
        patterns.retain(|outer| self.pattern(*outer, texts).covers(pattern));
        patterns
    }

    /// [`Family::around`] of the family of an address, in all its prefixes if no part is given.
    pub(crate) fn around(&self, of: Option<IpAddr>, part: Option<Span>, add: &mut impl FnMut(u32, u16, u32)) {
        let (v4, v6) = (&self.v4, &self.v6);
        match of {
            Some(IpAddr::V4(of)) => v4.around(of.into(), part.unwrap_or(v4.all()), 1, add),
            Some(IpAddr::V6(of)) => v6.around(of.into(), part.unwrap_or(v6.all()), v4.after(1), add),
            None => {}
        }
    }

    /// Calls `each` with the numbers of all domains and zones that hold a host of these names.
    pub(crate) fn named(&self, names: &[HostName], texts: &Texts, each: &mut impl FnMut(u32)) {
        if !self.names.is_empty() {
            names.iter().for_each(|name| self.zones(name.as_str().as_bytes(), texts, each));
        }
    }

    fn zones(&self, name: &[u8], texts: &Texts, each: &mut impl FnMut(u32)) {
        let not_behind = |pattern: &Name| from_the_end(texts.bytes(pattern.text), name) != Ordering::Greater;
        let mut place = count_as_u32(self.names.partition_point(not_behind)).wrapping_sub(1);
        while let Some(pattern) = self.names.get(place as usize) {
            if pattern.holds(name, texts) {
                each(self.first_name().saturating_add(place));
            }
            place = pattern.parent;
        }
    }

    fn slot(&self, id: u32) -> Slot<'_> {
        let Some(place) = (id as usize).checked_sub(1) else { return Slot::Any };
        let network = self
            .v4
            .get(place)
            .map(|of| Network::v4(of.address, of.mask))
            .or_else(|behind| self.v6.get(behind).map(|of| Network::v6(of.address, of.mask)));
        match network {
            Ok(network) => Slot::Network(network),
            Err(behind) => self.names.get(behind).map_or(Slot::Nothing, Slot::Name),
        }
    }

    /// The pattern of a number.
    pub(crate) fn pattern(&self, id: u32, texts: &Texts) -> Pattern {
        match self.slot(id) {
            Slot::Network(network) => Pattern::Network(network),
            Slot::Name(name) => match HostName::parse(texts.bytes(name.text)) {
                Ok(host) if name.zone => Pattern::Zone(host),
                host => host.map_or(Pattern::Any, Pattern::Domain),
            },
            Slot::Any | Slot::Nothing => Pattern::Any,
        }
    }

    /// Whether the pattern of a number holds the host.
    pub(crate) fn fit(&self, id: u32, host: &Host, texts: &Texts) -> Fit {
        let holds = match (self.slot(id), host.address, host.names) {
            (Slot::Any, ..) => true,
            (Slot::Network(network), Some(address), _) => network.contains(address),
            (Slot::Network(_), None, _) => return Fit::Unresolved,
            (Slot::Name(of), _, Some(names)) => {
                names.iter().any(|name| of.holds(name.as_str().as_bytes(), texts))
            }
            (Slot::Name(_), _, None) => return Fit::Unknown,
            (Slot::Nothing, ..) => false,
        };
        if holds { Fit::Yes } else { Fit::No }
    }
}

impl Name {
    fn holds(&self, name: &[u8], texts: &Texts) -> bool {
        let own = texts.bytes(self.text);
        if self.zone { in_zone(name, own) } else { name == own }
    }
}

/// An address of either family as a number.
pub(crate) trait Word:
    Copy + Ord + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// How many bits it has.
    const BITS: u32;

    /// How many of its first bits to look at besides, because most of what they could tell apart is not in use.
    const UNUSED: u32;

    /// The mask of a prefix of this many bits.
    fn mask(length: u32) -> Self;

    /// The ones at the beginning.
    fn length(self) -> u32;

    /// The first bits, without the last `shift` ones.
    fn top(self, shift: u32) -> usize;

    /// How many bits two addresses have in common at their beginning.
    fn common(self, other: Self) -> u32;

    /// How many bits stand in front of the last one that is set; too many if none is.
    fn last(self) -> u32;

    /// Whether a mask is ones followed by zeros.
    fn is_prefix(self) -> bool {
        self == Self::mask(self.length())
    }
}

macro_rules! word {
    ($word:ty, $unused:expr) => {
        impl Word for $word {
            const BITS: u32 = <$word>::BITS;
            const UNUSED: u32 = $unused;

            fn mask(length: u32) -> $word {
                <$word>::MAX.checked_shl(Self::BITS.saturating_sub(length)).unwrap_or(0)
            }

            fn length(self) -> u32 {
                self.leading_ones()
            }

            fn last(self) -> u32 {
                Self::BITS.wrapping_sub(1).wrapping_sub(self.trailing_zeros())
            }

            fn common(self, other: $word) -> u32 {
                (self ^ other).leading_zeros()
            }

            fn top(self, shift: u32) -> usize {
                self.checked_shr(shift).unwrap_or(0) as usize
            }
        }
    };
}

word!(u32, 0);
word!(u128, 1);

impl<W> Default for Family<W> {
    fn default() -> Family<W> {
        Family { prefixes: Vec::new(), odd: Vec::new(), groups: Vec::new() }
    }
}

impl<W: Word> Prefix<W> {
    /// The first rule listed under it as an entry, if it is sure.
    pub(crate) fn sure(&self) -> Option<Entry> {
        let rule = self.first ^ SURE;
        (rule < SURE).then_some(Entry { rule, other: 0, tail: self.tail.into() })
    }

    fn mask(&self) -> W {
        W::mask(self.length.into())
    }

    pub(crate) fn holds(&self, address: W) -> bool {
        address & self.mask() == self.address
    }
}

/// Links prefixes, each an address and a length, with the innermost one around them; `None` if some are no networks, or out
/// of order.
fn linked<W: Word>(prefixes: impl Iterator<Item = (W, u8)>) -> Option<Vec<Prefix<W>>> {
    let (mut last, mut sound) = (None, true);
    // How many bits the last prefix and those around it have, each told by the bit behind so many; and where they stand, by
    // length. With bits instead of a stack there is no loop, of which the processor could not know when it ends.
    let (mut lengths, mut places) = (W::mask(0), [NO_PARENT; 129]);
    let link = |(place, (address, length)): (u32, (W, u8))| {
        let common = last.map_or(0, |(last, _): (W, u8)| last.common(address));
        let around = lengths & W::mask(common.saturating_add(1));
        let parent = places.get(around.last() as usize).copied().unwrap_or(NO_PARENT);
        let prefix = Prefix { address, parent, first: NONE, tail: 0, length };
        sound &= (last < Some((address, length))) & prefix.holds(address) & (u32::from(length) <= W::BITS);
        lengths = around | W::mask(length.into()) ^ W::mask(u32::from(length).saturating_add(1));
        last = Some((address, length));
        if let Some(of_length) = places.get_mut(usize::from(length)) {
            *of_length = place;
        }
        prefix
    };
    let linked = (0..).zip(prefixes).map(link).collect();
    sound.then_some(linked)
}

impl<W: Word> Family<W> {
    /// A family of prefixes, each as address and length, and of other patterns; `None` if some are no networks, or out of order.
    pub(crate) fn new(prefixes: impl Iterator<Item = (W, u8)>, odd: Vec<Masked<W>>) -> Option<Family<W>> {
        let sound = odd.is_sorted_by(|a, b| a < b)
            && odd.iter().all(|of| !of.mask.is_prefix() && of.address & of.mask == of.address);
        let prefixes = linked(prefixes).filter(|_| sound)?;
        let last =
            |(_, pair): &(u32, &[Masked<W>])| pair.first().map(|of| of.mask) != pair.last().map(|of| of.mask);
        let mut groups: Vec<u32> = (1..).zip(odd.windows(2)).filter(last).map(|(end, _)| end).collect();
        groups.extend(odd.last().map(|_| count(&odd)));
        Some(Family { prefixes, odd, groups })
    }

    /// The pattern in a place, or which of those behind this family it is.
    fn get(&self, place: usize) -> Result<Masked<W>, usize> {
        if let Some(of) = self.prefixes.get(place) {
            return Ok(Masked { mask: of.mask(), address: of.address });
        }
        let odd = place.saturating_sub(self.prefixes.len());
        self.odd.get(odd).copied().ok_or(odd.saturating_sub(self.odd.len()))
    }

    /// The number behind those of this family, which begin at `first`.
    pub(crate) fn after(&self, first: u32) -> u32 {
        first.saturating_add(count(&self.prefixes)).saturating_add(count(&self.odd))
    }

    /// The places of all prefixes.
    pub(crate) fn all(&self) -> Span {
        Span { start: 0, end: count(&self.prefixes) }
    }

    /// Calls `each` with every prefix in a part of them that holds an address, and with every odd pattern that does: with
    /// its first rule (0 where that is not known), the tail of that, and its number, if they are numbered from `first`.
    pub(crate) fn around(&self, address: W, part: Span, first: u32, each: &mut impl FnMut(u32, u16, u32)) {
        let near = part.of(&self.prefixes);
        // A few are counted without a branch for each, so that the processor waits for all of them at once.
        let before = match near.len() {
            ..=FEW => near.iter().filter(|prefix| prefix.address <= address).count(),
            _ => near.partition_point(|prefix| prefix.address <= address),
        };
        let mut place = part.start.saturating_add(count_as_u32(before)).wrapping_sub(1);
        while let Some(prefix) = self.prefixes.get(place as usize).filter(|_| place >= part.start) {
            if prefix.holds(address) {
                each(prefix.first, prefix.tail, first.saturating_add(place));
            }
            place = prefix.parent;
        }
        let first = first.saturating_add(count(&self.prefixes));
        let mut start = 0;
        for end in &self.groups {
            let group = Span { start, end: *end }.of(&self.odd);
            let mask = group.first().map_or(address, |of| of.mask);
            if let Ok(place) = group.binary_search_by_key(&(address & mask), |of| of.address) {
                each(0, 0, first.saturating_add(start).saturating_add(count_as_u32(place)));
            }
            start = *end;
        }
    }
}

/// As many prefixes are read one by one.
const FEW: usize = 32;

fn count_as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Compares names from their end, label by label: a name comes right before the names below it.
pub(crate) fn from_the_end(mut left: &[u8], mut right: &[u8]) -> Ordering {
    // Names that stand side by side often have much of their end in common.
    while let (Some((left_rest, left_end)), Some((right_rest, right_end))) =
        (left.split_last_chunk::<8>(), right.split_last_chunk::<8>())
        && left_end == right_end
    {
        (left, right) = (left_rest, right_rest);
    }
    let key = |byte: &u8| if *byte == b'.' { 0 } else { *byte };
    left.iter().rev().map(key).cmp(right.iter().rev().map(key))
}

/// What a name has not in common with the end of another, and how many bytes it has.
pub(crate) fn part<'a>(before: &[u8], name: &'a [u8]) -> (&'a [u8], usize) {
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

/// Collects the patterns of one side, each with the rule that names it.
#[derive(Default)]
pub(crate) struct SideBuilder {
    v4: Vec<(Masked<u32>, u32)>,
    v6: Vec<(Masked<u128>, u32)>,
    names: Vec<((HostName, bool), u32)>,
}

impl SideBuilder {
    pub(crate) fn add(&mut self, rule: u32, pattern: &Pattern) {
        match pattern {
            Pattern::Any => {}
            Pattern::Network(network) => match network.bits() {
                Bits::V4 { address, mask } => self.v4.push((Masked { mask, address }, rule)),
                Bits::V6 { address, mask } => self.v6.push((Masked { mask, address }, rule)),
            },
            Pattern::Domain(name) => self.names.push(((name.clone(), false), rule)),
            Pattern::Zone(name) => self.names.push(((name.clone(), true), rule)),
        }
    }

    /// Sorts and numbers the patterns; gives the number of each of so many rules as well.
    pub(crate) fn finish(mut self, texts: &mut Texts, rules: usize) -> (Side, Vec<u32>) {
        let mut numbers = Numbers { last: 0, of_rules: alloc::vec![0; rules] };
        let v4 = family(self.v4, &mut numbers);
        let v6 = family(self.v6, &mut numbers);
        self.names.sort_unstable_by(|((left, left_zone), _), ((right, right_zone), _)| {
            from_the_end(left.as_str().as_bytes(), right.as_str().as_bytes()).then(right_zone.cmp(left_zone))
        });
        let (mut zones, mut before) = (Zones::default(), None);
        let name = |(name, zone): (HostName, bool)| {
            let before = before.replace(count(&texts.ends));
            let (own, shared) = part(before.map_or(&[], |text| texts.bytes(text)), name.as_str().as_bytes());
            zones.add(texts.add(name.as_str().as_bytes()), own, shared, zone)
        };
        let names = numbers.distinct(self.names).into_iter().map(name).collect();
        (Side { v4, v6, names }, numbers.of_rules)
    }
}

fn family<W: Word>(entries: Vec<(Masked<W>, u32)>, numbers: &mut Numbers) -> Family<W> {
    let (mut prefixes, mut odd): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(of, _)| of.mask.is_prefix());
    prefixes.sort_unstable_by_key(|(of, _)| (of.address, of.mask));
    odd.sort_unstable_by_key(|(of, _)| *of);
    let prefixes = numbers.distinct(prefixes).into_iter().map(|of| (of.address, of.mask.length() as u8));
    Family::new(prefixes, numbers.distinct(odd)).unwrap_or_default()
}

/// The number of the last pattern, and the pattern of each rule.
struct Numbers {
    last: u32,
    of_rules: Vec<u32>,
}

impl Numbers {
    /// Numbers sorted patterns, which come with a rule each, and gives every one once.
    fn distinct<T: PartialEq>(&mut self, sorted: Vec<(T, u32)>) -> Vec<T> {
        let mut kept: Vec<T> = Vec::new();
        for (of, rule) in sorted {
            if kept.last() != Some(&of) {
                kept.push(of);
                self.last = self.last.saturating_add(1);
            }
            self.of_rules.get_mut(rule as usize).into_iter().for_each(|number| *number = self.last);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random prefixes, crowded so that they nest, against asking each of them.
    fn compare<W: Word>(bits: u8, address: impl Fn(u64) -> W) {
        let mut seed = 1u64;
        let mut dice = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut prefixes: Vec<(W, u8)> = Vec::new();
        for _ in 0..2000 {
            let length = u8::try_from(dice() % (u64::from(bits) + 1)).unwrap();
            prefixes.push((address(dice()) & W::mask(length.into()), length));
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        let family = Family::new(prefixes.into_iter(), Vec::new()).unwrap();
        for _ in 0..2000 {
            let asked = address(dice());
            let holds = |(_, prefix): &(u32, &Prefix<W>)| prefix.holds(asked);
            let wanted: Vec<u32> = (7..).zip(&family.prefixes).filter(holds).map(|(id, _)| id).collect();
            let mut found = Vec::new();
            family.around(asked, family.all(), 7, &mut |_, _, id| found.push(id));
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
