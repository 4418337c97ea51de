//! The search for the first matching line.
//!
//! The index lists every rule under its source or its destination pattern. Few patterns hold the two addresses of a
//! request, so a search reads a few short lists, and of those only what stands before the best line found so far.
//!
//! While names are not known, the lists of names cannot be found. Nor can those of networks for a destination whose
//! address nobody here knows. Then the first rule of each kind in those lists is tried ([`Index::unknown`]).

use core::net::IpAddr;

use crate::columns::{Entry, NO_ENTRY, Rule, RuleBody, UNCONDITIONAL};
use crate::index::{Index, Strides};
use crate::lists::Lists;
use crate::patterns::PatternSet;
use crate::query::{End, Found, Host, Match, Query};
use crate::stride::Candidates;
use crate::strings::StringPool;
use crate::table::Table;

impl Table {
    /// The first line that matches.
    pub(crate) fn find(&self, query: &Query) -> Found {
        let Index {
            by_source, by_destination, unknown, strides: [source_strides, destination_strides], ..
        } = &self.index;
        let strings = &self.strings;
        let source = Listed::of(&self.source, by_source, source_strides, strings, query.source);
        let destination =
            Listed::of(&self.destination, by_destination, destination_strides, strings, query.destination);
        let matches = |entry: &Entry, other: &Listed| {
            let body = self.bodies.get(entry.body as usize);
            body.is_some_and(|body| self.body_matches(body, query))
                && other.may_be(entry.other, || self.denying.get(entry.body as usize) == Some(&true))
        };
        let first = |list: &[Entry], best: Entry, other: &Listed| {
            let mut earlier = list.iter().take_while(|entry| entry.rule < best.rule);
            earlier.find(|entry| matches(entry, other)).copied().unwrap_or(best)
        };
        let ends = [(&source, &destination), (&destination, &source)];
        let mut best = NO_ENTRY;
        for (end, other) in ends {
            let mut earlier = end.candidates.entries().take_while(|entry| entry.rule < best.rule);
            best = earlier.find(|entry| matches(entry, other)).copied().unwrap_or(best);
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
            return Found::of(best);
        }
        for (_, rules) in is_unknown.into_iter().zip(unknown).filter(|(unknown, _)| *unknown) {
            let mut earlier = rules.iter().take_while(|(number, _)| *number < best.rule);
            let matching = earlier.find(|(_, rule)| self.match_rule(rule, query).is_some());
            best = matching.map_or(best, |(rule, of)| Entry { rule: *rule, other: 0, body: of.body });
        }
        match self.index.rule(best.rule).and_then(|rule| self.match_rule(&rule, query)) {
            Some(need @ Found::NeedNames(_)) => need,
            _ => Found::of(best),
        }
    }

    /// The first rule before `before` whose patterns are among these and whose body matches; else `before`.
    pub(crate) fn first(
        &self,
        source: &[u32],
        destination: &[u32],
        before: u32,
        matches: impl Fn(&RuleBody) -> bool,
    ) -> u32 {
        let mut best = before;
        let ends =
            [(source, &self.index.by_source, destination), (destination, &self.index.by_destination, source)];
        for (patterns, lists, others) in ends {
            for pattern in patterns {
                let mut earlier = lists.of(*pattern).iter().take_while(|entry| entry.rule < best);
                let matches = |entry: &&Entry| {
                    others.contains(&entry.other)
                        && self.bodies.get(entry.body as usize).is_some_and(&matches)
                };
                best = earlier.find(matches).map_or(best, |entry| entry.rule);
            }
        }
        best
    }

    /// The first of these lines, which are all in order, that matches, by asking every line in turn: the definition that
    /// the index is held against.
    pub(crate) fn scan(&self, rules: &[Rule], query: &Query) -> Found {
        for (number, rule) in (0..).zip(rules) {
            match self.match_rule(rule, query) {
                None => {}
                Some(Found::Nothing) => return Found::Rule { rule: number, body: rule.body },
                Some(need) => return need,
            }
        }
        Found::Nothing
    }

    /// `None` if the rule does not match, `Nothing` more to ask if it does, or the fact it depends on.
    pub(crate) fn match_rule(&self, rule: &Rule, query: &Query) -> Option<Found> {
        let body = self.bodies.get(rule.body as usize)?;
        if !self.body_matches(body, query) {
            return None;
        }
        let source = self.source.match_host(rule.source, &query.source, &self.strings);
        let destination = self.destination.match_host(rule.destination, &query.destination, &self.strings);
        match (source, destination) {
            (Match::No, _) | (_, Match::No) => None,
            (_, Match::Unresolved) if !self.denies(rule) => None,
            (Match::Unknown, _) => Some(Found::NeedNames(End::Source)),
            (_, Match::Unknown) => Some(Found::NeedNames(End::Destination)),
            (Match::Yes | Match::Unresolved, Match::Yes | Match::Unresolved) => Some(Found::Nothing),
        }
    }
}

/// One end of a request.
struct Listed<'a> {
    set: &'a PatternSet,
    lists: &'a Lists,
    strings: &'a StringPool,
    host: Host<'a>,
    candidates: Candidates<'a>,
}

impl<'a> Listed<'a> {
    fn of(
        set: &'a PatternSet,
        lists: &'a Lists,
        strides: &'a Strides,
        strings: &'a StringPool,
        host: Host<'a>,
    ) -> Listed<'a> {
        let candidates = match host.address {
            Some(IpAddr::V4(address)) => strides.v4.candidates(&set.v4, address.into()),
            Some(IpAddr::V6(address)) => strides.v6.candidates(&set.v6, address.into()),
            None => Candidates::default(),
        };
        Listed { set, lists, strings, host, candidates }
    }

    fn may_be(&self, pattern: u32, denies: impl FnOnce() -> bool) -> bool {
        pattern == 0
            || match self.set.match_host(pattern, &self.host, self.strings) {
                Match::Yes | Match::Unknown => true,
                Match::Unresolved => denies(),
                Match::No => false,
            }
    }

    /// Has all lists searched in which there may be something before `best` that is not among the candidates.
    fn search(&self, mut best: Entry, look: impl Fn(&[Entry], Entry) -> Entry) -> Entry {
        let (rest, any) = self.candidates.rest(best.rule);
        if any {
            best = look(self.lists.of(0), best);
        }
        let mut listed = |first: u32, body: u16, pattern: u32| {
            if first & !UNCONDITIONAL >= best.rule {
                return;
            }
            best = match first & UNCONDITIONAL {
                0 => look(self.lists.of(pattern), best),
                _ => Entry { rule: first ^ UNCONDITIONAL, other: 0, body: body.into() },
            };
        };
        if let Some(address) = self.host.address {
            self.set.each_network(address, Some(rest), &mut listed);
        }
        let names = self.host.names.unwrap_or_default();
        self.set.each_name(names, self.strings, &mut |pattern| listed(0, 0, pattern));
        best
    }
}
