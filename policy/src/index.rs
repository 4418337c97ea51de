//! Finding the first matching line without asking every line.
//!
//! The patterns that hold the two addresses of a request are few ([`Side::matching`]). Every rule is listed under its
//! source or its destination pattern, whichever fewer rules share, so that a search reads a few short lists. Within a
//! list the rules are sorted by the pattern of their other side, then as in the file; a long list is searched for each
//! of the other side's patterns.
//!
//! A rule with a name depends on names that may not be known yet. It is listed once more with [`Side::some_name`] in the
//! name's place, and that number is among the matching ones only while names are not known. Likewise a rule that denies a
//! network is listed once more with [`Side::some_network`], for a name that is not resolved.
//!
//! No rule set makes this slower than the plain scan by more than a constant: what is met in a list is met once, a rule is
//! listed at most four times, and a list is searched only where that is cheaper than reading it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::name::{HostName, Pattern};
use crate::side::{Fit, Side};
use crate::table::{Found, Query, Rule, Span, Table, Tail, Texts};

/// The lists by source and by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    by_source: Lists,
    by_destination: Lists,
}

/// One list per pattern, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lists {
    /// Where the list of each pattern begins; the last item is where the last list ends.
    starts: Vec<u32>,
    entries: Vec<Entry>,
}

/// A rule in the list of one of its patterns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Its pattern on the other side.
    other: u32,
    rule: u32,
}

impl Table {
    /// The table with its index. `denies` tells which choices deny.
    pub(crate) fn indexed(mut self, denies: impl Fn(&Table, u32) -> bool) -> Table {
        self.denying = self.tails.iter().map(|tail| denies(&self, tail.choice)).collect();
        self.index = Index::of(&self);
        self
    }

    /// The first line that matches.
    pub(crate) fn find(&self, query: &Query) -> Found {
        let source = End::of(&self.source, Some(query.source), query.source_names, self);
        let destination = End::of(&self.destination, query.destination, query.destination_names, self);
        let first = self.first(&source, &destination, NONE, |tail| self.tail_fits(tail, query));
        let found = self.rules.get(first as usize).and_then(|rule| self.fits(rule, query));
        found.map_or(
            Found::Nothing,
            |missing| if missing == Found::Nothing { Found::Rule(first) } else { missing },
        )
    }

    /// The first rule before `best` whose patterns are among those of both ends and whose tail fits; else `best`.
    pub(crate) fn first(
        &self,
        source: &End,
        destination: &End,
        mut best: u32,
        fits: impl Fn(&Tail) -> bool,
    ) -> u32 {
        let fits = |entry: &Entry| {
            let rule = self.rules.get(entry.rule as usize);
            rule.and_then(|rule| self.tails.get(rule.tail as usize)).is_some_and(&fits)
        };
        for pattern in &source.patterns {
            best = first_listed(self.index.by_source.of(*pattern), destination, best, fits);
        }
        for pattern in &destination.patterns {
            best = first_listed(self.index.by_destination.of(*pattern), source, best, fits);
        }
        best
    }
}

/// The first rule of a list before `best` whose other pattern is among those of the other end.
fn first_listed(list: &[Entry], other: &End, mut best: u32, fits: impl Fn(&Entry) -> bool) -> u32 {
    if list.len() / 8 <= other.patterns.len() {
        for entry in list {
            if entry.rule < best && other.has(entry.other) && fits(entry) {
                best = entry.rule;
            }
        }
        return best;
    }
    for pattern in &other.patterns {
        let start = list.partition_point(|entry| entry.other < *pattern);
        let same = list.iter().skip(start).take_while(|entry| entry.other == *pattern && entry.rule < best);
        best = same.filter(|entry| fits(entry)).map(|entry| entry.rule).next().unwrap_or(best);
    }
    best
}

/// Behind every rule.
pub(crate) const NONE: u32 = u32::MAX;

/// One end of a request: the patterns that hold it.
pub(crate) struct End<'a> {
    patterns: Vec<u32>,
    /// How to ask whether a pattern holds it, where they are too many to be looked through.
    host: Option<Host<'a>>,
}

#[derive(Clone, Copy)]
struct Host<'a> {
    side: &'a Side,
    texts: &'a Texts,
    address: Option<IpAddr>,
    names: Option<&'a [HostName]>,
}

impl<'a> End<'a> {
    fn of(
        side: &'a Side,
        address: Option<IpAddr>,
        names: Option<&'a [HostName]>,
        table: &'a Table,
    ) -> End<'a> {
        let mut patterns = Vec::with_capacity(32);
        side.matching(address, names, &table.texts, &mut patterns);
        if address.is_none() {
            patterns.push(side.some_network());
        }
        let host = (patterns.len() > 16).then_some(Host { side, texts: &table.texts, address, names });
        End { patterns, host }
    }

    /// The patterns that hold every host that a pattern holds.
    pub(crate) fn around(side: &Side, pattern: &Pattern, texts: &Texts) -> End<'a> {
        let (address, names) = match pattern {
            Pattern::Network(network) => (Some(network.address()), None),
            Pattern::Domain(name) | Pattern::Zone(name) => (None, Some(name.clone())),
            Pattern::Any => (None, None),
        };
        let mut patterns = Vec::new();
        side.matching(address, Some(names.as_slice()), texts, &mut patterns);
        patterns.retain(|outer| side.pattern(*outer, texts).covers(pattern));
        End { patterns, host: None }
    }

    fn has(&self, pattern: u32) -> bool {
        let Some(host) = self.host else { return self.patterns.contains(&pattern) };
        match host.side.fit(pattern, host.address, host.names, host.texts) {
            Fit::Yes => true,
            _ if pattern == host.side.some_network() => host.address.is_none(),
            _ => host.names.is_none() && pattern == host.side.some_name(),
        }
    }
}

impl Index {
    fn of(table: &Table) -> Index {
        let mut sharing_source = vec![0; patterns(&table.source)];
        let mut sharing_destination = vec![0; patterns(&table.destination)];
        each_listing(table, |rule, _| {
            add_one(&mut sharing_source, rule.source);
            add_one(&mut sharing_destination, rule.destination);
        });
        let sharing =
            |counts: &[u16], pattern: u32| counts.get(pattern as usize).copied().unwrap_or_default();
        let by_source = |rule: &Rule| {
            sharing(&sharing_source, rule.source) < sharing(&sharing_destination, rule.destination)
        };
        let mut sources = Lists::counting(&table.source);
        let mut destinations = Lists::counting(&table.destination);
        let mut sides = Vec::with_capacity(table.rules.len());
        each_listing(table, |rule, _| {
            let source = by_source(rule);
            if source {
                sources.add(rule.source)
            } else {
                destinations.add(rule.destination)
            }
            sides.push(source);
        });
        sources.lay_out();
        destinations.lay_out();
        let mut sides = sides.into_iter();
        each_listing(table, |rule, number| match sides.next() {
            Some(true) => sources.put(rule.source, Entry { other: rule.destination, rule: number }),
            _ => destinations.put(rule.destination, Entry { other: rule.source, rule: number }),
        });
        sources.sort();
        destinations.sort();
        Index { by_source: sources, by_destination: destinations }
    }
}

/// The size of an array that every number of a side's patterns is within.
fn patterns(side: &Side) -> usize {
    (side.some_network() as usize).saturating_add(1)
}

/// Counts a rule under its pattern; from 65,535 on one is as common as another.
fn add_one(counts: &mut [u16], pattern: u32) {
    if let Some(count) = counts.get_mut(pattern as usize) {
        *count = count.saturating_add(1);
    }
}

/// Calls `list` with every rule and its number, as itself, and with the numbers that stand for a name or a network in
/// place of what may have to be found without names or address.
fn each_listing(table: &Table, mut list: impl FnMut(&Rule, u32)) {
    let stand_in = |side: &Side, pattern: u32, denies: bool| match pattern {
        0 => None,
        name if name >= side.first_name() => Some(side.some_name()),
        _ => denies.then(|| side.some_network()),
    };
    for (number, rule) in (0..).zip(&table.rules) {
        let source = stand_in(&table.source, rule.source, false);
        let destination = stand_in(&table.destination, rule.destination, table.denies(rule));
        for source in [Some(rule.source), source].into_iter().flatten() {
            for destination in [Some(rule.destination), destination].into_iter().flatten() {
                list(&Rule { source, destination, ..*rule }, number);
            }
        }
    }
}

/// The life of lists: count what goes into each, lay them out, put everything in, sort each.
impl Lists {
    fn counting(side: &Side) -> Lists {
        Lists { starts: vec![0; patterns(side).saturating_add(1)], entries: Vec::new() }
    }

    fn add(&mut self, pattern: u32) {
        if let Some(count) = self.starts.get_mut(pattern as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Turns counts into the ends of lists, from where [`Lists::put`] fills them to their starts.
    fn lay_out(&mut self) {
        let mut end = 0u32;
        for start in &mut self.starts {
            end = end.saturating_add(*start);
            *start = end;
        }
        self.entries.resize(end as usize, Entry::default());
    }

    fn put(&mut self, pattern: u32, entry: Entry) {
        let Some(start) = self.starts.get_mut(pattern as usize) else { return };
        *start = start.saturating_sub(1);
        if let Some(place) = self.entries.get_mut(*start as usize) {
            *place = entry;
        }
    }

    fn sort(&mut self) {
        for bounds in self.starts.windows(2) {
            let [start, end] = *bounds else { continue };
            if let Some(list @ [_, _, ..]) = self.entries.get_mut(start as usize..end as usize) {
                list.sort_unstable();
            }
        }
    }

    fn of(&self, pattern: u32) -> &[Entry] {
        let bounds = self.starts.get(pattern as usize..).unwrap_or_default();
        let [start, end, ..] = *bounds else { return &[] };
        Span { start, end }.of(&self.entries)
    }
}
