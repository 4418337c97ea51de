//! The patterns that the lines of a table have for the source, or for the destination. Each is known by a number.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::address::{Bits, Network};
use crate::columns::{Span, count};
use crate::name::HostName;
use crate::pattern::Pattern;
use crate::prefixes::{AddressBits, Masked, PrefixSet};
use crate::query::{FactState, Host, Match};
use crate::strings::StringPool;
use crate::zones::{self, Name, Zones, compare_reversed, unshared_prefix};

/// The patterns for the source, or for the destination. Number 0 is [`Pattern::Any`]; IPv4, IPv6 and names follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PatternSet {
    pub(crate) v4: PrefixSet<u32>,
    pub(crate) v6: PrefixSet<u128>,
    pub(crate) names: Vec<Name>,
}

/// A pattern as the set keeps it.
enum Slot<'a> {
    Any,
    Network(Network),
    Name(&'a Name),
    /// No pattern has this number.
    Nothing,
}

impl PatternSet {
    /// The number of the first domain or zone, if there is one.
    pub(crate) fn first_name(&self) -> u32 {
        self.v6.after(self.v4.after(1))
    }

    /// Whether an IPv4 network has a mask of all zeros. That is written [`Pattern::Any`].
    pub(crate) fn has_zero_mask(&self) -> bool {
        self.v4.prefixes.first().is_some_and(|first| first.length == 0)
    }

    /// The number of patterns.
    pub(crate) fn len(&self) -> u32 {
        self.first_name().saturating_add(count(&self.names))
    }

    /// The numbers of the patterns that match every host that another pattern matches.
    pub(crate) fn covering(&self, inner: &Pattern, strings: &StringPool) -> Vec<u32> {
        let mut outer = alloc::vec![0];
        match inner {
            Pattern::Network(network) => {
                self.each_network(network.address(), None, &mut |_, _, id| outer.push(id));
            }
            Pattern::Domain(name) | Pattern::Zone(name) => {
                self.each_name(core::slice::from_ref(name), strings, &mut |id| outer.push(id));
            }
            Pattern::Any => {}
        }
        outer.retain(|outer| self.pattern(*outer, strings).covers(inner));
        outer
    }

    /// [`PrefixSet::each_containing`] for the family of an address. `None` searches all prefixes.
    pub(crate) fn each_network(
        &self,
        address: IpAddr,
        within: Option<Span>,
        each: &mut impl FnMut(u32, u16, u32),
    ) {
        let (v4, v6) = (&self.v4, &self.v6);
        match address {
            IpAddr::V4(of) => v4.each_containing(of.into(), within.unwrap_or(v4.all()), 1, each),
            IpAddr::V6(of) => v6.each_containing(of.into(), within.unwrap_or(v6.all()), v4.after(1), each),
        }
    }

    /// Calls `each` with the numbers of all domains and zones that match one of the names of a host.
    pub(crate) fn each_name(&self, names: &[HostName], strings: &StringPool, each: &mut impl FnMut(u32)) {
        if self.names.is_empty() || names.is_empty() {
            return;
        }
        let first = self.first_name();
        for name in names {
            zones::each_matching(&self.names, name, strings, &mut |place| each(first.saturating_add(place)));
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
    pub(crate) fn pattern(&self, id: u32, strings: &StringPool) -> Pattern {
        match self.slot(id) {
            Slot::Network(network) => Pattern::Network(network),
            Slot::Name(name) => match HostName::parse(strings.bytes(name.text)) {
                Ok(host) if name.zone => Pattern::Zone(host),
                host => host.map_or(Pattern::Any, Pattern::Domain),
            },
            Slot::Any | Slot::Nothing => Pattern::Any,
        }
    }

    /// Whether the pattern of a number matches a host.
    pub(crate) fn match_host(&self, id: u32, host: &Host, strings: &StringPool) -> Match {
        use FactState::{Known, NotAsked, Unavailable};
        let matches = match (self.slot(id), host.address, host.names) {
            (Slot::Any, ..) => true,
            (Slot::Network(network), Some(address), _) => network.contains(address),
            (Slot::Network(_), None, _) => return Match::Unresolved,
            (Slot::Name(of), _, Known(names)) => {
                names.iter().any(|name| of.matches(name.as_str().as_bytes(), strings))
            }
            (Slot::Name(_), _, NotAsked) => return Match::Unknown,
            (Slot::Name(_), _, Unavailable) => return Match::Unavailable,
            (Slot::Nothing, ..) => false,
        };
        if matches { Match::Yes } else { Match::No }
    }
}

/// Collects the patterns for the source, or for the destination, each with the rule that has it.
#[derive(Default)]
pub(crate) struct PatternSetBuilder {
    v4: Vec<(Masked<u32>, u32)>,
    v6: Vec<(Masked<u128>, u32)>,
    names: Vec<((HostName, bool), u32)>,
}

impl PatternSetBuilder {
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

    /// Sorts and numbers the patterns. Returns the set, and the pattern of each of the `rules` rules.
    pub(crate) fn finish(mut self, strings: &mut StringPool, rules: usize) -> (PatternSet, Vec<u32>) {
        let mut numbers = Numbers { last: 0, of_rules: alloc::vec![0; rules] };
        let v4 = prefix_set(self.v4, &mut numbers);
        let v6 = prefix_set(self.v6, &mut numbers);
        self.names.sort_unstable_by(|((left, left_zone), _), ((right, right_zone), _)| {
            compare_reversed(left.as_str().as_bytes(), right.as_str().as_bytes())
                .then(right_zone.cmp(left_zone))
        });
        let (mut zones, mut before) = (Zones::default(), None);
        let name = |(name, zone): (HostName, bool)| {
            let before = before.replace(count(&strings.ends));
            let (own, shared) =
                unshared_prefix(before.map_or(&[], |text| strings.bytes(text)), name.as_str().as_bytes());
            zones.add(strings.add(name.as_str().as_bytes()), own, shared, zone)
        };
        let names = numbers.distinct(self.names).into_iter().map(name).collect();
        (PatternSet { v4, v6, names }, numbers.of_rules)
    }
}

fn prefix_set<B: AddressBits>(entries: Vec<(Masked<B>, u32)>, numbers: &mut Numbers) -> PrefixSet<B> {
    let (mut prefixes, mut noncontiguous): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(of, _)| of.mask.is_prefix());
    prefixes.sort_unstable_by_key(|(of, _)| (of.address, of.mask));
    noncontiguous.sort_unstable_by_key(|(of, _)| *of);
    let prefixes =
        numbers.distinct(prefixes).into_iter().map(|of| (of.address, of.mask.leading_ones() as u8));
    PrefixSet::new(prefixes, numbers.distinct(noncontiguous)).unwrap_or_default()
}

/// Gives numbers to patterns.
struct Numbers {
    /// The number of the last pattern.
    last: u32,
    /// The number of the pattern of each rule.
    of_rules: Vec<u32>,
}

impl Numbers {
    /// Numbers sorted patterns, each of which comes with a rule. Returns every pattern once.
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
