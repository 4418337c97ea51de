//! The index: the rules of a table by their patterns, so that the search need not ask every rule.
//!
//! Every rule is listed under its source or under its destination pattern, whichever fewer rules share. The first rules
//! of the lists of all short prefixes around an address stand together in one place ([`Stride`]), because among a
//! million rules the cost is the number of places in memory that are read.
//!
//! No rule set makes the search slower than the plain scan by more than a constant. Each rule stands in one list, in at
//! most one merged list besides, and among the first of its kind. No list is longer than the square root of the number
//! of rules, unless many rules have the same pattern for both hosts.

use alloc::vec;
use alloc::vec::Vec;

use crate::columns::{Entry, NO_RULE, Rule, RuleBody, count};
use crate::lists::Lists;
use crate::patterns::PatternSet;
use crate::protocol::Protocol;
use crate::query::InDoubt;
use crate::stride::Stride;

/// The rules by source and by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) by_source: Lists,
    pub(crate) by_destination: Lists,
    /// The place of each rule among the entries of both lists; entries by source come first.
    pub(crate) places: Vec<u32>,
    /// The first rule of each kind in the lists from which a search cannot choose without some fact. These are rules by
    /// the name of the source, by the name of the destination, and, if they deny, by the network of the destination.
    pub(crate) undecided: [Vec<(u32, Rule)>; 3],
    /// The strides for the source and for the destination.
    pub(crate) strides: [Strides; 2],
}

/// The strides of both address families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) v4: Stride,
    pub(crate) v6: Stride,
}

impl Index {
    /// Lists rules, which are in the order of the file, under the patterns of these sets.
    pub(crate) fn of(rules: &[Rule], source: &PatternSet, destination: &PatternSet) -> Index {
        let by_source = shares(rules, source, |rule| rule.source);
        let by_destination = shares(rules, destination, |rule| rule.destination);
        let mut listed = [Vec::new(), Vec::new()];
        let [from, to] = &mut listed;
        for (number, &Rule { source, destination, body }) in (0..).zip(rules) {
            if by_source.get(source as usize) < by_destination.get(destination as usize) {
                from.push((source, Entry { rule: number, other: destination, body }));
            } else {
                to.push((destination, Entry { rule: number, other: source, body }));
            }
        }
        let [from, to] = listed.map(|mut listed| {
            listed.sort_by_key(|(pattern, _)| *pattern);
            listed.into_iter()
        });
        let limits = |set: &PatternSet| [set.len(), u32::MAX, u32::MAX];
        let mut index = Index {
            by_source: Lists::new(from, limits(source)).unwrap_or_default(),
            by_destination: Lists::new(to, limits(destination)).unwrap_or_default(),
            ..Index::default()
        };
        index.places = index.find_places().unwrap_or_default();
        index
    }

    /// Prepares everything that a search needs besides the lists. `in_doubt` says of each body what its lines do if
    /// they depend on something that cannot be known.
    pub(crate) fn precompute(
        &mut self,
        source: &mut PatternSet,
        destination: &mut PatternSet,
        bodies: &[RuleBody],
        in_doubt: &[InDoubt],
    ) {
        let conditional = conditional(bodies, in_doubt);
        self.strides = [
            Strides::precompute(&self.by_source, source, &conditional),
            Strides::precompute(&self.by_destination, destination, &conditional),
        ];
        let (from, to) = (source.first_name(), destination.first_name());
        let last = |entry: &Entry| {
            entry.is_unconditional(&conditional) && doubt(entry, in_doubt) != InDoubt::NoMatch
        };
        let denies = |entry: &Entry| doubt(entry, in_doubt) == InDoubt::Deny;
        let firsts = [
            first_of_each_kind(self.by_source.between(from, u32::MAX), |_| true, last),
            first_of_each_kind(self.by_destination.between(to, u32::MAX), |_| true, last),
            first_of_each_kind(self.by_destination.between(1, to), denies, last),
        ];
        let rule = |number| self.rule(number).map(|rule| (number, rule));
        self.undecided = firsts.map(|numbers| numbers.into_iter().filter_map(rule).collect());
    }

    /// The place of each rule; `None` unless every rule stands in exactly one place.
    pub(crate) fn find_places(&self) -> Option<Vec<u32>> {
        const NOWHERE: u32 = u32::MAX;
        let entries = || self.by_source.entries.iter().chain(&self.by_destination.entries);
        let mut places = vec![NOWHERE; entries().count()];
        for (place, entry) in (0..).zip(entries()) {
            *places.get_mut(entry.rule as usize)? = place;
        }
        // There are as many places as rules. If one rule stands in two of them, another stands in none.
        (!places.contains(&NOWHERE)).then_some(places)
    }

    /// Finds the first rule before `before` that has one of these patterns for each host and a body that matches; else
    /// `before`.
    pub(crate) fn first(
        &self,
        source: &[u32],
        destination: &[u32],
        before: u32,
        matches: impl Fn(u32) -> bool,
    ) -> u32 {
        let Index { by_source, by_destination, .. } = self;
        let mut best = before;
        for (patterns, lists, others) in
            [(source, by_source, destination), (destination, by_destination, source)]
        {
            for pattern in patterns {
                let mut earlier = lists.of(*pattern).iter().take_while(|entry| entry.rule < best);
                let first = earlier.find(|entry| others.contains(&entry.other) && matches(entry.body));
                best = first.map_or(best, |entry| entry.rule);
            }
        }
        best
    }

    /// The rule of a number.
    pub(crate) fn rule(&self, number: u32) -> Option<Rule> {
        let place = *self.places.get(number as usize)?;
        if let Some((source, entry)) = self.by_source.at(place) {
            return Some(Rule { source, destination: entry.other, body: entry.body });
        }
        let place = place.checked_sub(count(&self.by_source.entries))?;
        let (destination, entry) = self.by_destination.at(place)?;
        Some(Rule { source: entry.other, destination, body: entry.body })
    }
}

impl Strides {
    /// Stores the first rule of each prefix's list in the prefix, and collects the rules of short prefixes;
    /// `conditional` as for [`Entry::is_unconditional`].
    fn precompute(lists: &Lists, set: &mut PatternSet, conditional: &[u32]) -> Strides {
        let first = set.v4.after(1);
        lists.set_first_rules(&mut set.v4, 1, conditional);
        lists.set_first_rules(&mut set.v6, first, conditional);
        Strides {
            v4: Stride::of(&set.v4, lists, 1, conditional),
            v6: Stride::of(&set.v6, lists, first, conditional),
        }
    }
}

/// Returns the number of rules that share each pattern.
fn shares(rules: &[Rule], set: &PatternSet, pattern: impl Fn(&Rule) -> u32) -> Vec<u32> {
    let mut counts = vec![0u32; set.len() as usize];
    for rule in rules {
        let count = counts.get_mut(pattern(rule) as usize);
        count.into_iter().for_each(|count| *count = count.saturating_add(1));
    }
    counts
}

/// Returns 0 for each body that is unconditional, and 1 for the others. If any line is for UDP, a line that permits
/// without naming a command is conditional: it is for everything else.
fn conditional(bodies: &[RuleBody], in_doubt: &[InDoubt]) -> Vec<u32> {
    let knows_udp = bodies.iter().any(|body| body.protocol.commands & Protocol::UDP != 0);
    let is_for_all = |doubt: &InDoubt| !knows_udp || *doubt == InDoubt::Deny;
    let both = bodies.iter().zip(in_doubt);
    both.map(|(body, doubt)| u32::from(!(body.is_unconditional() && is_for_all(doubt)))).collect()
}

/// Returns the effect of an entry's rule if it depends on something that cannot be known.
fn doubt(entry: &Entry, in_doubt: &[InDoubt]) -> InDoubt {
    in_doubt.get(entry.body as usize).copied().unwrap_or(InDoubt::NoMatch)
}

/// The first rule of each kind among those that count, in the order of the file. Rules are of one kind if they have the
/// same pattern for the other host and the same body. Rules behind a `last` one are left out.
fn first_of_each_kind(
    listed: &[Entry],
    counts: impl Fn(&Entry) -> bool,
    last: impl Fn(&Entry) -> bool,
) -> Vec<u32> {
    let counted = || listed.iter().filter(|entry| counts(entry));
    let end = counted().filter(|entry| last(entry)).map(|entry| entry.rule).fold(NO_RULE, u32::min);
    let mut found: Vec<Entry> = counted().filter(|entry| entry.rule <= end).copied().collect();
    found.sort_unstable_by_key(|entry| (entry.other, entry.body, entry.rule));
    found.dedup_by_key(|entry| (entry.other, entry.body));
    found.sort_unstable_by_key(|entry| entry.rule);
    found.iter().map(|entry| entry.rule).collect()
}
