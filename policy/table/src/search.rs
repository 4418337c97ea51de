//! The search for the first matching line.
//!
//! The index lists every rule under its source or its destination pattern. Few patterns match the two hosts of a request,
//! so the search reads a few short lists. Of each list it reads only what stands before the best rule found so far.
//!
//! While the names of a host are not known, nobody can tell which lists of names are to be read. The same is true of the
//! lists of networks for a destination whose address is not known. Then the search tries the first rule of each kind in
//! all these lists ([`Index::undecided`]).
//!
//! Names that could not be had are not the same as no names. A line that depends on them decides as its kind says
//! ([`InDoubt`]), so that a failure never permits what a line would have denied.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::columns::{Entry, NO_ENTRY, Rule, UNCONDITIONAL};
use crate::index::{Index, Strides};
use crate::lists::Lists;
use crate::patterns::PatternSet;
use crate::query::{End, FactState, Found, Host, InDoubt, Match, Query};
use crate::stride::Candidates;
use crate::table::Table;

impl Table {
    /// Finds the first line that matches.
    pub fn find(&self, query: &Query) -> Found {
        let best = self.find_listed(query);
        let undecided = [
            !query.source.names.is_known(),
            !query.destination.names.is_known(),
            query.destination.address.is_none(),
        ];
        if undecided == [false; 3] { Found::of(best) } else { self.find_undecided(query, undecided, best) }
    }

    /// Finds the first rule that matches, or may match, in the lists of the patterns that match.
    fn find_listed(&self, query: &Query) -> Entry {
        let Index { by_source, by_destination, strides: [to_source, to_destination], .. } = &self.index;
        let source = HostSearch::new(&self.source, by_source, to_source, &query.source);
        let destination =
            HostSearch::new(&self.destination, by_destination, to_destination, &query.destination);
        let ends = [(&source, &destination), (&destination, &source)];
        let mut best = NO_ENTRY;
        for (host, other) in ends {
            best = self.first_of(host.candidates.entries(), best, other, query);
        }
        for (host, other) in ends {
            best = host.search(self, best, |list, best| self.first_of(list.iter(), best, other, query));
        }
        best
    }

    /// The first of these entries before `best` that matches or may match; else `best`.
    fn first_of<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        best: Entry,
        other: &HostSearch,
        query: &Query,
    ) -> Entry {
        let mut earlier = entries.take_while(|entry| entry.rule < best.rule);
        let may_match = |entry: &&Entry| {
            let body = self.bodies.get(entry.body as usize);
            body.is_some_and(|body| self.body_matches(body, query)) && self.may_match(entry, other)
        };
        earlier.find(may_match).copied().unwrap_or(best)
    }

    /// Whether the pattern for the other host of an entry matches or may match.
    fn may_match(&self, entry: &Entry, other: &HostSearch) -> bool {
        entry.other == 0
            || match other.set.match_host(entry.other, other.host, &self.strings) {
                Match::Yes | Match::Unknown => true,
                Match::Unavailable => self.in_doubt(entry.body) != InDoubt::NoMatch,
                Match::Unresolved => self.in_doubt(entry.body) == InDoubt::Deny,
                Match::No => false,
            }
    }

    /// Looks for an earlier rule than `best` in the lists that the search could not choose from.
    fn find_undecided(&self, query: &Query, undecided: [bool; 3], mut best: Entry) -> Found {
        for (_, rules) in undecided.into_iter().zip(&self.index.undecided).filter(|(undecided, _)| *undecided)
        {
            let mut earlier = rules.iter().take_while(|(number, _)| *number < best.rule);
            let matching = earlier.find(|(number, rule)| self.match_rule(*number, rule, query).is_some());
            best = matching.map_or(best, |(rule, of)| Entry { rule: *rule, other: 0, body: of.body });
        }
        let matched = self.rule(best.rule).and_then(|rule| self.match_rule(best.rule, &rule, query));
        matched.unwrap_or(Found::of(best))
    }

    /// Finds the first of these rules that matches by asking each of them in turn. This defines what
    /// [`Table::find`] has to find. `rules` are all rules, in the order of the file.
    pub fn scan(&self, rules: &[Rule], query: &Query) -> Found {
        for (number, rule) in (0..).zip(rules) {
            if let Some(found) = self.match_rule(number, rule, query) {
                return found;
            }
        }
        Found::Nothing
    }

    /// Compares a rule with a request. Returns `None` if the rule does not match.
    fn match_rule(&self, number: u32, rule: &Rule, query: &Query) -> Option<Found> {
        let body = self.bodies.get(rule.body as usize)?;
        if !self.body_matches(body, query) {
            return None;
        }
        let source = self.source.match_host(rule.source, &query.source, &self.strings);
        let destination = self.destination.match_host(rule.destination, &query.destination, &self.strings);
        let in_doubt = self.in_doubt(rule.body);
        let unavailable = |end| Found::NamesUnavailable { rule: number, body: rule.body, end };
        Some(match (source, destination) {
            (Match::No, _) | (_, Match::No) => return None,
            (Match::Unavailable, _) | (_, Match::Unavailable) if in_doubt == InDoubt::NoMatch => return None,
            (Match::Unresolved, _) | (_, Match::Unresolved) if in_doubt != InDoubt::Deny => return None,
            (Match::Unknown, _) => Found::NeedNames(End::Source),
            (_, Match::Unknown) => Found::NeedNames(End::Destination),
            (Match::Unavailable, _) => unavailable(End::Source),
            (_, Match::Unavailable) => unavailable(End::Destination),
            (Match::Yes | Match::Unresolved, Match::Yes | Match::Unresolved) => {
                Found::Rule { rule: number, body: rule.body }
            }
        })
    }

    /// The fields of a rule that do not match, in the words of the file.
    pub fn mismatches(&self, rule: &Rule, query: &Query) -> Vec<&'static str> {
        let source = self.source.match_host(rule.source, &query.source, &self.strings);
        let destination = self.destination.match_host(rule.destination, &query.destination, &self.strings);
        let body = self.body(rule.body);
        let fields = [
            ("source", source == Match::Yes),
            ("destination", destination == Match::Yes),
            ("port", body.is_some_and(|body| body.ports.allow(query.port))),
            ("user", body.is_some_and(|body| self.users.names(body.users, query.user, &self.strings))),
        ];
        fields.into_iter().filter(|(_, matches)| !matches).map(|(field, _)| field).collect()
    }
}

/// One host of a request, with the patterns and lists in which the search looks for it.
struct HostSearch<'a> {
    set: &'a PatternSet,
    lists: &'a Lists,
    host: &'a Host<'a>,
    candidates: Candidates<'a>,
}

impl<'a> HostSearch<'a> {
    fn new(
        set: &'a PatternSet,
        lists: &'a Lists,
        strides: &'a Strides,
        host: &'a Host<'a>,
    ) -> HostSearch<'a> {
        let candidates = match host.address {
            Some(IpAddr::V4(address)) => strides.v4.candidates(&set.v4, address.into()),
            Some(IpAddr::V6(address)) => strides.v6.candidates(&set.v6, address.into()),
            None => Candidates::default(),
        };
        HostSearch { set, lists, host, candidates }
    }

    /// Searches all lists that may have a rule before `best` that is no candidate.
    fn search(&self, table: &Table, mut best: Entry, first_of: impl Fn(&[Entry], Entry) -> Entry) -> Entry {
        let (prefixes, any) = self.candidates.rest(best.rule);
        if any {
            best = first_of(self.lists.of(0), best);
        }
        let mut search_list = |first: u32, body: u16, pattern: u32| {
            if first & !UNCONDITIONAL >= best.rule {
                return;
            }
            best = match first & UNCONDITIONAL {
                0 => first_of(self.lists.of(pattern), best),
                _ => Entry { rule: first ^ UNCONDITIONAL, other: 0, body: body.into() },
            };
        };
        if let Some(address) = self.host.address {
            self.set.each_network(address, Some(prefixes), &mut search_list);
        }
        if let FactState::Known(names) = self.host.names {
            self.set.each_name(names, &table.strings, &mut |pattern| search_list(0, 0, pattern));
        }
        best
    }
}
