//! What makes it possible to find the first matching line without asking every line.
//!
//! Every rule is listed under its source or its destination pattern, whichever fewer rules share. The first rules in the
//! lists of all short prefixes around an address stand together in one place ([`Stride`]), because among a million rules
//! it is the number of places in memory that costs.
//!
//! No rule set makes the search slower than the plain scan by more than a constant. Each rule stands in one list, in at
//! most one merged list besides, and among the first of its kind. No list is longer than the square root of the number
//! of rules, unless many rules say the same of both addresses.

use alloc::vec;
use alloc::vec::Vec;

use crate::columns::{Entry, NO_RULE, Rule, RuleBody, count};
use crate::lists::Lists;
use crate::patterns::PatternSet;
use crate::stride::Stride;

/// The lists by source and by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) by_source: Lists,
    pub(crate) by_destination: Lists,
    /// Where each rule stands: its place among the entries of both lists, those by source first.
    pub(crate) places: Vec<u32>,
    /// The first rules of their kind that are listed under a name, of the source and of the destination, and of those that
    /// deny a network and are listed under it.
    pub(crate) undecided: [Vec<(u32, Rule)>; 3],
    /// Of the source and of the destination.
    pub(crate) strides: [Strides; 2],
}

/// Where to look for an address of either family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) v4: Stride,
    pub(crate) v6: Stride,
}

/// Set for bodies that do not count.
const LEFT_OUT: u32 = 2;

/// The first rules of their kind, in the order of the file; nothing behind one that is unconditional. `conditional` as for
/// [`Entry::is_unconditional`], or [`LEFT_OUT`].
fn firsts(listed: &[Entry], conditional: &[u32]) -> Vec<u32> {
    let counts = |entry: &Entry| {
        conditional.get(entry.body as usize).is_some_and(|conditional| conditional & LEFT_OUT == 0)
    };
    let unconditional =
        |entry: &Entry| if entry.is_unconditional(conditional) { entry.rule } else { NO_RULE };
    let last = listed.iter().map(unconditional).fold(NO_RULE, u32::min);
    let mut found: Vec<Entry> =
        listed.iter().filter(|entry| entry.rule <= last && counts(entry)).copied().collect();
    found.sort_unstable_by_key(|entry| (entry.other, entry.body, entry.rule));
    found.dedup_by_key(|entry| (entry.other, entry.body));
    found.sort_unstable_by_key(|entry| entry.rule);
    found.iter().map(|entry| entry.rule).collect()
}

impl Strides {
    /// Tells every prefix the first rule of its list, and gathers what short prefixes have to offer; `conditional` as for
    /// [`Entry::is_unconditional`].
    fn precompute(lists: &Lists, set: &mut PatternSet, conditional: &[u32]) -> Strides {
        let first = set.v4.after(1);
        lists.set_first_rule(&mut set.v4, 1, conditional);
        lists.set_first_rule(&mut set.v6, first, conditional);
        Strides {
            v4: Stride::of(&set.v4, lists, 1, conditional),
            v6: Stride::of(&set.v6, lists, first, conditional),
        }
    }
}

impl Index {
    /// Lists the rules, which are in order.
    pub(crate) fn of(rules: &[Rule], source: &PatternSet, destination: &PatternSet) -> Index {
        let sharing = |set: &PatternSet, of: fn(&Rule) -> u32| {
            let mut counts = vec![0u32; set.len() as usize];
            for rule in rules {
                let count = counts.get_mut(of(rule) as usize);
                count.into_iter().for_each(|count| *count = count.saturating_add(1));
            }
            counts
        };
        let sources = sharing(source, |rule| rule.source);
        let destinations = sharing(destination, |rule| rule.destination);
        let mut listed = [Vec::new(), Vec::new()];
        let [by_source, by_destination] = &mut listed;
        for (number, &Rule { source, destination, body }) in (0..).zip(rules) {
            if sources.get(source as usize) < destinations.get(destination as usize) {
                by_source.push((source, Entry { rule: number, other: destination, body }));
            } else {
                by_destination.push((destination, Entry { rule: number, other: source, body }));
            }
        }
        let [by_source, by_destination] = listed.map(|mut listed| {
            listed.sort_by_key(|(pattern, _)| *pattern);
            listed.into_iter()
        });
        let most = |set: &PatternSet| [set.len(), u32::MAX, u32::MAX];
        let mut index = Index {
            by_source: Lists::new(by_source, most(source)).unwrap_or_default(),
            by_destination: Lists::new(by_destination, most(destination)).unwrap_or_default(),
            ..Index::default()
        };
        index.places = index.placed().unwrap_or_default();
        index
    }

    /// Prepares all that a search needs besides the lists. `denying` tells of each body whether its lines deny.
    pub(crate) fn precompute(
        &mut self,
        source: &mut PatternSet,
        destination: &mut PatternSet,
        bodies: &[RuleBody],
        denying: &[bool],
    ) {
        let conditional: Vec<u32> = bodies.iter().map(|body| u32::from(!body.is_unconditional())).collect();
        self.strides = [
            Strides::precompute(&self.by_source, source, &conditional),
            Strides::precompute(&self.by_destination, destination, &conditional),
        ];
        let denying = conditional.iter().zip(denying);
        let denying: Vec<u32> =
            denying.map(|(conditional, denies)| conditional | if *denies { 0 } else { LEFT_OUT }).collect();
        let (from, to) = (source.first_name(), destination.first_name());
        let first = [
            firsts(self.by_source.between(from, u32::MAX), &conditional),
            firsts(self.by_destination.between(to, u32::MAX), &conditional),
            firsts(self.by_destination.between(1, to), &denying),
        ];
        let rule = |number| self.rule(number).map(|rule| (number, rule));
        self.undecided = first.map(|numbers| numbers.into_iter().filter_map(rule).collect());
    }

    /// Where each rule stands, if every one stands in one place.
    pub(crate) fn placed(&self) -> Option<Vec<u32>> {
        const NOWHERE: u32 = u32::MAX;
        let entries = || self.by_source.entries.iter().chain(&self.by_destination.entries);
        let mut places = vec![NOWHERE; entries().count()];
        for (place, entry) in (0..).zip(entries()) {
            *places.get_mut(entry.rule as usize)? = place;
        }
        // As many places as there are rules: if one stands in two, another stands in none.
        (!places.contains(&NOWHERE)).then_some(places)
    }

    /// The rule of a number.
    pub(crate) fn rule(&self, number: u32) -> Option<Rule> {
        let place = *self.places.get(number as usize)?;
        if let Some((source, entry)) = self.by_source.at(place) {
            return Some(Rule { source, destination: entry.other, body: entry.body });
        }
        let (destination, entry) =
            self.by_destination.at(place.checked_sub(count(&self.by_source.entries))?)?;
        Some(Rule { source: entry.other, destination, body: entry.body })
    }
}
