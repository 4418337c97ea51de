//! Finding the first matching line without asking every line.
//!
//! Every rule is listed under its source or its destination pattern, whichever fewer rules share. The patterns that hold
//! the two addresses of a request are few, so that a search reads a few short lists, and of those only what stands before
//! the best line found so far. What the lists of all short prefixes around an address have to offer stands together in
//! one place ([`Tops`]): among a million rules it is the number of places in memory that costs.
//!
//! While names are not known, the lists of names cannot be found; nor can those of networks for a destination whose
//! address nobody here knows. The rules in them are alike then if they say the same of everything else, and the first of
//! each kind is tried ([`Index::unknown`]).
//!
//! No rule set makes this slower than the plain scan by more than a constant: each rule stands in one list, in one
//! merged list at most besides, and among the first of their kind. No list is longer than the square root of the
//! number of rules, unless many rules say the same of both addresses.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::name::Pattern;
use crate::side::{Family, Fit, Side, Word};
use crate::table::{Found, Host, Query, Rule, Span, Table, Tail, Texts, count};
use crate::tops::{Near, Tops};

/// The lists by source and by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) by_source: Lists,
    pub(crate) by_destination: Lists,
    /// Where each rule stands: its place among the entries of both lists, those by source first.
    pub(crate) places: Vec<u32>,
    /// The first rules of their kind that are listed under a name, of the source and of the destination, and of those that
    /// deny a network and are listed under it.
    unknown: [Vec<(u32, Rule)>; 3],
}

/// One list per pattern, one behind the other, each in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Where the list of each pattern begins; the last item is where the last list ends.
    pub(crate) starts: Vec<u32>,
    pub(crate) entries: Vec<Entry>,
    v4: Tops,
    v6: Tops,
}

/// A rule in the list of one of its patterns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) rule: u32,
    /// Its pattern on the other side.
    pub(crate) other: u32,
    pub(crate) tail: u32,
}

/// Behind every rule.
pub(crate) const NONE: u32 = SURE - 1;

/// Marks the first rule of a list that matches whatever else the request says.
pub(crate) const SURE: u32 = 1 << 31;

/// No rule yet.
pub(crate) const NOTHING: Entry = Entry { rule: NONE, other: 0, tail: 0 };

impl Table {
    /// The table, whose lists are there, with all that a search needs besides.
    pub(crate) fn ready(mut self, denies: impl Fn(&Table, u32) -> bool) -> Table {
        self.denying = self.tails.iter().map(|tail| denies(&self, tail.choice)).collect();
        let (from, to) = (self.source.first_name(), self.destination.first_name());
        let closed: Vec<u32> = self.tails.iter().map(|tail| u32::from(!tail.is_open())).collect();
        self.index.by_source.lead(&mut self.source, &closed);
        self.index.by_destination.lead(&mut self.destination, &closed);
        let Index { by_source, by_destination, .. } = &self.index;
        let denying = closed.iter().zip(&self.denying);
        let denying: Vec<u32> =
            denying.map(|(closed, denies)| closed | if *denies { 0 } else { LEFT_OUT }).collect();
        let first = [
            firsts(by_source.between(from, u32::MAX), &closed),
            firsts(by_destination.between(to, u32::MAX), &closed),
            firsts(by_destination.between(1, to), &denying),
        ];
        let rule = |number| self.index.rule(number).map(|rule| (number, rule));
        self.index.unknown = first.map(|numbers| numbers.into_iter().filter_map(rule).collect());
        self
    }

    /// The first line that matches.
    pub(crate) fn find(&self, query: &Query) -> Found {
        let (Index { by_source, by_destination, unknown, .. }, texts) = (&self.index, &self.texts);
        let source = End::of(&self.source, by_source, texts, query.source);
        let destination = End::of(&self.destination, by_destination, texts, query.destination);
        let fits = |entry: &Entry, other: &End| {
            let tail = self.tails.get(entry.tail as usize);
            tail.is_some_and(|tail| self.tail_fits(tail, query))
                && other.may_be(entry.other, || self.denying.get(entry.tail as usize) == Some(&true))
        };
        let first = |list: &[Entry], best: Entry, other: &End| {
            let mut earlier = list.iter().take_while(|entry| entry.rule < best.rule);
            earlier.find(|entry| fits(entry, other)).copied().unwrap_or(best)
        };
        let ends = [(&source, &destination), (&destination, &source)];
        let mut best = NOTHING;
        for (end, other) in ends {
            let mut earlier = end.near.candidates().take_while(|entry| entry.rule < best.rule);
            best = earlier.find(|entry| fits(entry, other)).copied().unwrap_or(best);
        }
        for (end, other) in ends {
            best = end.search(best, |list, best| first(list, best, other));
        }
        let is_unknown = [
            query.source.names.is_none(),
            query.destination.names.is_none(),
            query.destination.address.is_none(),
        ];
        if is_unknown == [false; 3] {
            return best.found();
        }
        for (_, rules) in is_unknown.into_iter().zip(unknown).filter(|(unknown, _)| *unknown) {
            let mut earlier = rules.iter().take_while(|(number, _)| *number < best.rule);
            let fitting = earlier.find(|(_, rule)| self.fits(rule, query).is_some());
            best = fitting.map_or(best, |(rule, of)| Entry { rule: *rule, other: 0, tail: of.tail });
        }
        match self.index.rule(best.rule).and_then(|rule| self.fits(&rule, query)) {
            Some(need @ Found::Need(_)) => need,
            _ => best.found(),
        }
    }

    /// The first rule before `before` whose patterns are among these and whose tail fits; else `before`.
    pub(crate) fn first(
        &self,
        source: &[u32],
        destination: &[u32],
        before: u32,
        fits: impl Fn(&Tail) -> bool,
    ) -> u32 {
        let mut best = before;
        let sides =
            [(source, &self.index.by_source, destination), (destination, &self.index.by_destination, source)];
        for (patterns, lists, others) in sides {
            for pattern in patterns {
                let mut earlier = lists.of(*pattern).iter().take_while(|entry| entry.rule < best);
                let fits = |entry: &&Entry| {
                    others.contains(&entry.other) && self.tails.get(entry.tail as usize).is_some_and(&fits)
                };
                best = earlier.find(fits).map_or(best, |entry| entry.rule);
            }
        }
        best
    }
}

/// Set for tails that do not count.
const LEFT_OUT: u32 = 2;

/// The first rules of their kind, in the order of the file; nothing behind one that is sure. `closed` as for
/// [`Entry::is_sure`], or [`LEFT_OUT`].
fn firsts(listed: &[Entry], closed: &[u32]) -> Vec<u32> {
    let counts = |entry: &Entry| closed.get(entry.tail as usize).is_some_and(|closed| closed & LEFT_OUT == 0);
    let sure = |entry: &Entry| if entry.is_sure(closed) { entry.rule } else { NONE };
    let last = listed.iter().map(sure).fold(NONE, u32::min);
    let mut found: Vec<Entry> =
        listed.iter().filter(|entry| entry.rule <= last && counts(entry)).copied().collect();
    found.sort_unstable_by_key(|entry| (entry.other, entry.tail, entry.rule));
    found.dedup_by_key(|entry| (entry.other, entry.tail));
    found.sort_unstable_by_key(|entry| entry.rule);
    found.iter().map(|entry| entry.rule).collect()
}

/// One end of a request.
struct End<'a> {
    side: &'a Side,
    lists: &'a Lists,
    texts: &'a Texts,
    host: Host<'a>,
    near: Near<'a>,
}

impl<'a> End<'a> {
    fn of(side: &'a Side, lists: &'a Lists, texts: &'a Texts, host: Host<'a>) -> End<'a> {
        let near = match host.address {
            Some(IpAddr::V4(address)) => lists.v4.near(&side.v4, address.into()),
            Some(IpAddr::V6(address)) => lists.v6.near(&side.v6, address.into()),
            None => Near::default(),
        };
        End { side, lists, texts, host, near }
    }

    fn may_be(&self, pattern: u32, denies: impl FnOnce() -> bool) -> bool {
        pattern == 0
            || match self.side.fit(pattern, &self.host, self.texts) {
                Fit::Yes | Fit::Unknown => true,
                Fit::Unresolved => denies(),
                Fit::No => false,
            }
    }

    /// Has all lists searched in which there may be something before `best` that is not among the candidates.
    fn search(&self, mut best: Entry, look: impl Fn(&[Entry], Entry) -> Entry) -> Entry {
        let (rest, any) = self.near.rest(best.rule);
        if any {
            best = look(self.lists.of(0), best);
        }
        let mut listed = |first: u32, tail: u16, pattern: u32| {
            if first & !SURE >= best.rule {
                return;
            }
            best = match first & SURE {
                0 => look(self.lists.of(pattern), best),
                _ => Entry { rule: first ^ SURE, other: 0, tail: tail.into() },
            };
        };
        self.side.around(self.host.address, Some(rest), &mut listed);
        let names = self.host.names.unwrap_or_default();
        self.side.named(names, self.texts, &mut |pattern| listed(0, 0, pattern));
        best
    }
}

/// The patterns that hold every host that a pattern holds.
pub(crate) fn around(side: &Side, pattern: &Pattern, texts: &Texts) -> Vec<u32> {
    let (address, names) = match pattern {
        Pattern::Network(network) => (Some(network.address()), None),
        Pattern::Domain(name) | Pattern::Zone(name) => (None, Some(name.clone())),
        Pattern::Any => (None, None),
    };
    let mut patterns = side.matching(address, names.as_slice(), texts);
    patterns.retain(|outer| side.pattern(*outer, texts).covers(pattern));
    patterns
}

impl Index {
    /// Lists the rules, which are in order, of two sides.
    pub(crate) fn of(rules: &[Rule], source: &Side, destination: &Side) -> Index {
        let sharing = |side: &Side, of: fn(&Rule) -> u32| {
            let mut counts = vec![0u32; side.patterns() as usize];
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
        for (number, &Rule { source, destination, tail }) in (0..).zip(rules) {
            if sources.get(source as usize) < destinations.get(destination as usize) {
                by_source.push((source, Entry { rule: number, other: destination, tail }));
            } else {
                by_destination.push((destination, Entry { rule: number, other: source, tail }));
            }
        }
        let [by_source, by_destination] = listed.map(|mut listed| {
            listed.sort_by_key(|(pattern, _)| *pattern);
            listed.into_iter()
        });
        let most = |side: &Side| [side.patterns(), u32::MAX, u32::MAX];
        let mut index = Index {
            by_source: Lists::new(by_source, most(source)).unwrap_or_default(),
            by_destination: Lists::new(by_destination, most(destination)).unwrap_or_default(),
            ..Index::default()
        };
        index.places = index.placed().unwrap_or_default();
        index
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
            return Some(Rule { source, destination: entry.other, tail: entry.tail });
        }
        let (destination, entry) =
            self.by_destination.at(place.checked_sub(count(&self.by_source.entries))?)?;
        Some(Rule { source: entry.other, destination, tail: entry.tail })
    }
}

impl Lists {
    /// Lists of entries, which come with their pattern, list by list and each in the order of the file; `None` if they do not,
    /// or if a number is not below how many of its kind there are.
    pub(crate) fn new(
        entries: impl Iterator<Item = (u32, Entry)>,
        [patterns, others, tails]: [u32; 3],
    ) -> Option<Lists> {
        let mut starts = vec![0u32; (patterns as usize).saturating_add(1)];
        let (mut sound, mut next) = (true, 0);
        let listed = |(pattern, entry): (u32, Entry)| {
            let place = u64::from(pattern) << 32 | u64::from(entry.rule);
            sound &= (place >= next) & (pattern < patterns) & (entry.other < others) & (entry.tail < tails);
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
        sound.then_some(Lists { starts, entries, ..Lists::default() })
    }

    /// The pattern under which the entry in a place is listed, and the entry.
    fn at(&self, place: u32) -> Option<(u32, &Entry)> {
        let entry = self.entries.get(place as usize)?;
        let pattern = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        Some((u32::try_from(pattern).ok()?, entry))
    }

    /// Tells every prefix the first rule of its list, and gathers what short prefixes have to offer; `closed` as for
    /// [`Entry::is_sure`].
    fn lead(&mut self, side: &mut Side, closed: &[u32]) {
        self.tell(&mut side.v4, 1, closed);
        let first = side.v4.after(1);
        self.tell(&mut side.v6, first, closed);
        self.v4 = Tops::of(&side.v4, self, 1, closed);
        self.v6 = Tops::of(&side.v6, self, first, closed);
    }

    fn tell<W: Word>(&self, family: &mut Family<W>, first: u32, closed: &[u32]) {
        let bounds = self.starts.get(first as usize..).unwrap_or_default().windows(2);
        for (bounds, prefix) in bounds.zip(&mut family.prefixes) {
            let [start, end] = *bounds else { return };
            let entry = self.entries.get(start as usize).unwrap_or(&NOTHING);
            let entry = if start == end { &NOTHING } else { entry };
            let tail = entry.tail as u16;
            let sure = entry.is_sure(closed) & (u32::from(tail) == entry.tail) & (start != end);
            prefix.first = entry.rule | if sure { SURE } else { 0 };
            prefix.tail = tail;
        }
    }

    pub(crate) fn of(&self, pattern: u32) -> &[Entry] {
        let bounds = self.starts.get(pattern as usize..).unwrap_or_default();
        let [start, end, ..] = *bounds else { return &[] };
        Span { start, end }.of(&self.entries)
    }

    /// The lists of the patterns from one up to and without another, or to the last.
    fn between(&self, first: u32, behind: u32) -> &[Entry] {
        let start = |pattern: u32| self.starts.get(pattern as usize).copied();
        let (Some(start), end) = (start(first), start(behind)) else { return &[] };
        self.entries
            .get(start as usize..end.map_or(self.entries.len(), |end| end as usize))
            .unwrap_or_default()
    }
}

impl Entry {
    /// The outcome of a search with this as the best.
    fn found(&self) -> Found {
        match self.rule {
            NONE => Found::Nothing,
            rule => Found::Rule { rule, tail: self.tail },
        }
    }

    /// Whether it matches whatever else the request says. `closed` is 0 for the tails that hold for every port and user: so
    /// there is no branch, of which the processor could not know which way it goes.
    pub(crate) fn is_sure(&self, closed: &[u32]) -> bool {
        self.other | closed.get(self.tail as usize).copied().unwrap_or(1) == 0
    }
}
