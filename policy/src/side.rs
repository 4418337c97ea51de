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
use core::ops::{BitAnd, Not};

use crate::address::{Bits, Network};
use crate::name::{HostName, Pattern, in_zone};
use crate::table::{Span, Texts, count};

/// All patterns of one side. Number 0 is [`Pattern::Any`]; then come IPv4, IPv6 and names; the numbers behind the last are
/// [`Side::some_name`] and [`Side::some_network`].
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
    /// Of many prefixes, those of each first 16 bits; one more at the end.
    tops: Vec<Top>,
    /// The places of the prefixes of up to 16 bits around each top, one top behind the other.
    covers: Vec<u32>,
}

/// The addresses with the same first 16 bits. Their short prefixes are the same for all of them, so that these need not
/// be looked up one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Top {
    /// Where prefixes with such an address begin, and where the longer ones of them do.
    begin: u32,
    long: u32,
    /// Where the covers of this top begin.
    covers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Masked<W> {
    pub(crate) mask: W,
    pub(crate) address: W,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix<W> {
    pub(crate) address: W,
    pub(crate) mask: W,
    /// The place of the innermost prefix around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
}

/// A domain or a zone; sorted by name read from its end, zones before domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: u32,
    pub(crate) zone: bool,
    /// The place of the innermost zone around this one, or [`NO_PARENT`].
    pub(crate) parent: u32,
}

pub(crate) const NO_PARENT: u32 = u32::MAX;

/// Whether a pattern holds a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    No,
    Yes,
    /// It depends on names that have not been asked for.
    Unknown,
    /// It depends on an address that nobody here knows.
    Unresolved,
}

/// Where the pattern of a number is kept.
enum Slot {
    Any,
    Prefix4(usize),
    Odd4(usize),
    Prefix6(usize),
    Odd6(usize),
    Name(usize),
    /// Stands for every name pattern while the names of a host are not known.
    SomeName,
}

impl Side {
    /// The number of the first domain or zone, if there is one.
    pub(crate) fn first_name(&self) -> u32 {
        self.v6.after(self.v4.after(1))
    }

    /// The number behind the last pattern: that of [`Slot::SomeName`].
    pub(crate) fn some_name(&self) -> u32 {
        self.first_name().saturating_add(count(&self.names))
    }

    /// The number behind that: it stands for every network while the address of a host is not known.
    pub(crate) fn some_network(&self) -> u32 {
        self.some_name().saturating_add(1)
    }

    /// Adds the numbers of all patterns that hold the host to `found`; where its names are not known,
    /// [`Side::some_name`] for those that might.
    pub(crate) fn matching(
        &self,
        address: Option<IpAddr>,
        names: Option<&[HostName]>,
        texts: &Texts,
        found: &mut Vec<u32>,
    ) {
        found.push(0);
        match address {
            Some(IpAddr::V4(address)) => self.v4.matching(address.into(), 1, found),
            Some(IpAddr::V6(address)) => self.v6.matching(address.into(), self.v4.after(1), found),
            None => {}
        }
        let first = self.first_name();
        match names {
            Some(names) => {
                names.iter().for_each(|name| self.zones(name.as_str().as_bytes(), first, texts, found))
            }
            None if self.names.is_empty() => {}
            None => found.push(self.some_name()),
        }
    }

    fn zones(&self, name: &[u8], first: u32, texts: &Texts, found: &mut Vec<u32>) {
        let not_behind = |pattern: &Name| from_the_end(texts.bytes(pattern.text), name) != Ordering::Greater;
        let mut place = count_as_u32(self.names.partition_point(not_behind)).wrapping_sub(1);
        while let Some(pattern) = self.names.get(place as usize) {
            if pattern.holds(name, texts) {
                found.push(first.saturating_add(place));
            }
            place = pattern.parent;
        }
    }

    fn slot(&self, id: u32) -> Slot {
        let Some(mut place) = (id as usize).checked_sub(1) else { return Slot::Any };
        type At = fn(usize) -> Slot;
        let kinds: [(usize, At); 5] = [
            (self.v4.prefixes.len(), Slot::Prefix4),
            (self.v4.odd.len(), Slot::Odd4),
            (self.v6.prefixes.len(), Slot::Prefix6),
            (self.v6.odd.len(), Slot::Odd6),
            (self.names.len(), Slot::Name),
        ];
        for (count, slot) in kinds {
            match place.checked_sub(count) {
                None => return slot(place),
                Some(rest) => place = rest,
            }
        }
        Slot::SomeName
    }

    /// The pattern of a number.
    pub(crate) fn pattern(&self, id: u32, texts: &Texts) -> Pattern {
        let pattern = match self.slot(id) {
            Slot::Any | Slot::SomeName => None,
            Slot::Prefix4(at) => self.v4.prefixes.get(at).map(|at| Network::v4(at.address, at.mask)),
            Slot::Odd4(at) => self.v4.odd.get(at).map(|at| Network::v4(at.address, at.mask)),
            Slot::Prefix6(at) => self.v6.prefixes.get(at).map(|at| Network::v6(at.address, at.mask)),
            Slot::Odd6(at) => self.v6.odd.get(at).map(|at| Network::v6(at.address, at.mask)),
            Slot::Name(at) => {
                let name = self.names.get(at).and_then(|name| {
                    let host = HostName::parse(texts.bytes(name.text)).ok()?;
                    Some(if name.zone { Pattern::Zone(host) } else { Pattern::Domain(host) })
                });
                return name.unwrap_or(Pattern::Any);
            }
        };
        pattern.map_or(Pattern::Any, Pattern::Network)
    }

    /// Whether the pattern of a number holds the host.
    pub(crate) fn fit(
        &self,
        id: u32,
        address: Option<IpAddr>,
        names: Option<&[HostName]>,
        texts: &Texts,
    ) -> Fit {
        let holds = match (self.slot(id), address) {
            (Slot::Any, _) => true,
            (Slot::Prefix4(at), Some(IpAddr::V4(address))) => self
                .v4
                .prefixes
                .get(at)
                .is_some_and(|prefix| u32::from(address) & prefix.mask == prefix.address),
            (Slot::Odd4(at), Some(IpAddr::V4(address))) => {
                self.v4.odd.get(at).is_some_and(|odd| u32::from(address) & odd.mask == odd.address)
            }
            (Slot::Prefix6(at), Some(IpAddr::V6(address))) => self
                .v6
                .prefixes
                .get(at)
                .is_some_and(|prefix| u128::from(address) & prefix.mask == prefix.address),
            (Slot::Odd6(at), Some(IpAddr::V6(address))) => {
                self.v6.odd.get(at).is_some_and(|odd| u128::from(address) & odd.mask == odd.address)
            }
            (Slot::Name(at), _) => {
                let (Some(names), Some(pattern)) = (names, self.names.get(at)) else { return Fit::Unknown };
                names.iter().any(|name| pattern.holds(name.as_str().as_bytes(), texts))
            }
            (Slot::SomeName, _) | (_, Some(_)) => false,
            (_, None) => return Fit::Unresolved,
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
pub(crate) trait Word: Copy + Ord + BitAnd<Output = Self> + Not<Output = Self> {
    /// Whether a mask is ones followed by zeros.
    fn is_prefix(self) -> bool;

    /// Whether a prefix is of at most 16 bits.
    fn is_short(self) -> bool;

    /// The first 16 bits.
    fn top(self) -> usize;
}

impl Word for u32 {
    fn is_short(self) -> bool {
        self.leading_ones() <= 16
    }

    fn top(self) -> usize {
        (self >> 16) as usize
    }

    fn is_prefix(self) -> bool {
        !self & (!self).wrapping_add(1) == 0
    }
}

impl Word for u128 {
    fn is_short(self) -> bool {
        self.leading_ones() <= 16
    }

    fn top(self) -> usize {
        (self >> 112) as usize
    }

    fn is_prefix(self) -> bool {
        !self & (!self).wrapping_add(1) == 0
    }
}

impl<W> Default for Family<W> {
    fn default() -> Family<W> {
        Family {
            prefixes: Vec::new(),
            odd: Vec::new(),
            groups: Vec::new(),
            tops: Vec::new(),
            covers: Vec::new(),
        }
    }
}

impl<W: Word> Family<W> {
    /// A family of patterns in their order, linked so that they can be searched.
    pub(crate) fn new(mut prefixes: Vec<Prefix<W>>, odd: Vec<Masked<W>>) -> Family<W> {
        let mut around: Vec<(u32, W, W)> = Vec::new();
        for (place, prefix) in (0..).zip(&mut prefixes) {
            while around.last().is_some_and(|(_, address, mask)| prefix.address & *mask != *address) {
                around.pop();
            }
            prefix.parent = around.last().map_or(NO_PARENT, |(place, ..)| *place);
            around.push((place, prefix.address, prefix.mask));
        }
        let last =
            |(_, pair): &(u32, &[Masked<W>])| pair.first().map(|of| of.mask) != pair.last().map(|of| of.mask);
        let mut groups: Vec<u32> = (1..).zip(odd.windows(2)).filter(last).map(|(end, _)| end).collect();
        groups.extend(odd.last().map(|_| count(&odd)));
        let (tops, covers) = if prefixes.len() < MANY { Default::default() } else { tops(&prefixes) };
        Family { prefixes, odd, groups, tops, covers }
    }

    /// The number behind those of this family, which begin at `first`.
    fn after(&self, first: u32) -> u32 {
        first.saturating_add(count(&self.prefixes)).saturating_add(count(&self.odd))
    }

    fn matching(&self, address: W, first: u32, found: &mut Vec<u32>) {
        let (start, end) = match self.tops.get(address.top()..) {
            Some([top, next, ..]) => {
                let covers = Span { start: top.covers, end: next.covers }.of(&self.covers);
                found.extend(covers.iter().map(|place| first.saturating_add(*place)));
                (top.long, next.begin)
            }
            _ => (0, count(&self.prefixes)),
        };
        let near = Span { start, end }.of(&self.prefixes);
        let behind = count_as_u32(near.partition_point(|prefix| prefix.address <= address));
        let mut place = start.saturating_add(behind).wrapping_sub(1);
        while let Some(prefix) = self.prefixes.get(place as usize).filter(|_| place >= start) {
            if address & prefix.mask == prefix.address {
                found.push(first.saturating_add(place));
            }
            place = prefix.parent;
        }
        let first = first.saturating_add(count(&self.prefixes));
        let mut start = 0;
        for end in &self.groups {
            let group = Span { start, end: *end }.of(&self.odd);
            let mask = group.first().map_or(address, |of| of.mask);
            if let Ok(place) = group.binary_search_by_key(&(address & mask), |of| of.address) {
                found.push(first.saturating_add(start).saturating_add(count_as_u32(place)));
            }
            start = *end;
        }
    }
}

/// Fewer prefixes than this stay in the processor's caches, and a search among all of them is as quick.
const MANY: usize = 1 << 18;

/// The tops and their covers.
fn tops<W: Word>(prefixes: &[Prefix<W>]) -> (Vec<Top>, Vec<u32>) {
    let (mut tops, mut covers) = (Vec::new(), Vec::new());
    let mut rest = (0..).zip(prefixes).peekable();
    let mut around: Vec<(u32, &Prefix<W>)> = Vec::new();
    for top in 0..=0xffff {
        around.retain(|(_, prefix)| top & prefix.mask.top() == prefix.address.top());
        let begin = rest.peek().map_or(count(prefixes), |(place, _)| *place);
        while let Some(short) =
            rest.next_if(|(_, prefix)| prefix.address.top() == top && prefix.mask.is_short())
        {
            around.push(short);
        }
        let long = rest.peek().map_or(count(prefixes), |(place, _)| *place);
        tops.push(Top { begin, long, covers: count(&covers) });
        covers.extend(around.iter().map(|(place, _)| *place));
        while rest.next_if(|(_, prefix)| prefix.address.top() == top).is_some() {}
    }
    tops.push(Top { begin: count(prefixes), long: count(prefixes), covers: count(&covers) });
    (tops, covers)
}

fn count_as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Compares names from their end, label by label: a name comes right before the names below it.
pub(crate) fn from_the_end(left: &[u8], right: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'.' { 0 } else { *byte };
    left.iter().rev().map(key).cmp(right.iter().rev().map(key))
}

/// Whether names stand as the search expects them, each once.
pub(crate) fn in_order(names: &[Name], texts: &Texts) -> bool {
    names.is_sorted_by(|left, right| {
        let order = from_the_end(texts.bytes(left.text), texts.bytes(right.text));
        order.then(right.zone.cmp(&left.zone)) == Ordering::Less
    })
}

/// Links every name with the innermost zone around it; they must be sorted.
pub(crate) fn link_names(names: &mut [Name], texts: &Texts) {
    let mut around: Vec<(u32, u32)> = Vec::new();
    for (place, name) in (0..).zip(names) {
        let own = texts.bytes(name.text);
        while around.last().is_some_and(|(_, zone)| !in_zone(own, texts.bytes(*zone))) {
            around.pop();
        }
        name.parent = around.last().map_or(NO_PARENT, |(place, _)| *place);
        if name.zone {
            around.push((place, name.text));
        }
    }
}

/// Collects the patterns of one side, each with the rule that names it.
#[derive(Default)]
pub(crate) struct SideBuilder {
    v4: Vec<(Masked<u32>, u32)>,
    v6: Vec<(Masked<u128>, u32)>,
    names: Vec<(HostName, bool, u32)>,
}

impl SideBuilder {
    pub(crate) fn add(&mut self, rule: u32, pattern: &Pattern) {
        match pattern {
            Pattern::Any => {}
            Pattern::Network(network) => match network.bits() {
                Bits::V4 { address, mask } => self.v4.push((Masked { mask, address }, rule)),
                Bits::V6 { address, mask } => self.v6.push((Masked { mask, address }, rule)),
            },
            Pattern::Domain(name) => self.names.push((name.clone(), false, rule)),
            Pattern::Zone(name) => self.names.push((name.clone(), true, rule)),
        }
    }

    /// Sorts and numbers the patterns, and tells each rule its number.
    pub(crate) fn finish(mut self, texts: &mut Texts, mut tell: impl FnMut(u32, u32)) -> Side {
        let mut next = 0;
        let v4 = family(self.v4, &mut next, &mut tell);
        let v6 = family(self.v6, &mut next, &mut tell);
        self.names.sort_unstable_by(|(left, left_zone, _), (right, right_zone, _)| {
            from_the_end(left.as_str().as_bytes(), right.as_str().as_bytes()).then(right_zone.cmp(left_zone))
        });
        let mut names: Vec<Name> = Vec::new();
        let mut last = None;
        for (name, zone, rule) in &self.names {
            if last != Some((name, zone)) {
                names.push(Name {
                    text: texts.add(name.as_str().as_bytes()),
                    zone: *zone,
                    parent: NO_PARENT,
                });
                next = next.saturating_add(1);
                last = Some((name, zone));
            }
            tell(*rule, next);
        }
        link_names(&mut names, texts);
        Side { v4, v6, names }
    }
}

fn family<W: Word>(
    entries: Vec<(Masked<W>, u32)>,
    next: &mut u32,
    tell: &mut impl FnMut(u32, u32),
) -> Family<W> {
    let (mut prefixes, mut odd): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(of, _)| of.mask.is_prefix());
    prefixes.sort_unstable_by_key(|(of, _)| (of.address, of.mask));
    odd.sort_unstable_by_key(|(of, _)| *of);
    let prefixes = distinct(prefixes, next, tell);
    let odd = distinct(odd, next, tell);
    let prefix = |of: Masked<W>| Prefix { address: of.address, mask: of.mask, parent: NO_PARENT };
    Family::new(prefixes.into_iter().map(prefix).collect(), odd)
}

fn distinct<W: Word>(
    sorted: Vec<(Masked<W>, u32)>,
    next: &mut u32,
    tell: &mut impl FnMut(u32, u32),
) -> Vec<Masked<W>> {
    let mut kept: Vec<Masked<W>> = Vec::new();
    for (of, rule) in sorted {
        if kept.last() != Some(&of) {
            kept.push(of);
            *next = next.saturating_add(1);
        }
        tell(rule, *next);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random prefixes, crowded so that they nest, with and without tops, against asking each of them.
    fn compare<W: Word>(bits: u32, address: impl Fn(u64) -> W, mask: impl Fn(u32) -> W) {
        let mut seed = 1u64;
        let mut dice = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut prefixes: Vec<Prefix<W>> = Vec::new();
        for _ in 0..2000 {
            let mask = mask(u32::try_from(dice()).unwrap() % (bits + 1));
            prefixes.push(Prefix { address: address(dice()) & mask, mask, parent: NO_PARENT });
        }
        prefixes.sort_unstable_by_key(|prefix| (prefix.address, prefix.mask));
        prefixes.dedup();
        let plain = Family::new(prefixes, Vec::new());
        let mut topped = plain.clone();
        (topped.tops, topped.covers) = tops(&plain.prefixes);
        for _ in 0..2000 {
            let asked = address(dice());
            let holds = |(_, prefix): &(u32, &Prefix<W>)| asked & prefix.mask == prefix.address;
            let wanted: Vec<u32> = (7..).zip(&plain.prefixes).filter(holds).map(|(id, _)| id).collect();
            for family in [&plain, &topped] {
                let mut found = Vec::new();
                family.matching(asked, 7, &mut found);
                found.sort_unstable();
                assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn the_search_finds_every_prefix_around_an_address_and_no_other() {
        let crowded = |dice: u64| (dice & 0x3) << 30 | (dice & 0x1c) << 13 | (dice & 0x1fe0) >> 2;
        compare(
            32,
            |dice| u32::try_from(crowded(dice)).unwrap(),
            |length| u32::MAX.checked_shl(32 - length).unwrap_or(0),
        );
        compare(
            128,
            |dice| u128::from(crowded(dice)) << 96 | u128::from(dice & 0xf00),
            |length| u128::MAX.checked_shl(128 - length).unwrap_or(0),
        );
    }
}
