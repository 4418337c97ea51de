//! The search for the first matching line.
//!
//! The index lists every rule under its source or its destination pattern. Few patterns match the two hosts of a
//! request, so the search reads a few short lists. It reads each list only up to the best rule found so far.
//!
//! While the names of a host are not known, the search cannot choose among the lists of names. The same is true of the
//! lists of networks for a destination whose address is not known. Then the search tries the first rule of each kind in
//! all these lists ([`Index::undecided`]).
//!
//! Names that could not be had are not the same as no names. A line that depends on them decides as its kind says
//! ([`InDoubt`]), so that a failure never permits a request that a line would have denied.

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
        match undecided(query) {
            NOTHING_UNDECIDED => Found::of(best),
            _ => self.found(query, self.first_undecided(query, best, |_| true)),
        }
    }

    /// Finds the first line that matches hosts with these other addresses too. Lines that deny match each of them, and
    /// other lines do not: a permission is for an address as it is written.
    pub fn find_with_others(&self, query: &Query, others: &[Query]) -> Found {
        if others.is_empty() {
            return self.find(query);
        }
        let mut best = self.first_undecided(query, self.find_listed(query), |_| true);
        let mut by = query;
        for other in others {
            let earlier = self.first_denying(other, best);
            if earlier.rule < best.rule {
                (best, by) = (earlier, other);
            }
        }
        self.found(by, best)
    }

    /// The first rule before `best` that denies and matches, or may match; else `best`.
    fn first_denying(&self, query: &Query, mut best: Entry) -> Entry {
        let denies = |body| self.denies(body);
        let ends = self.ends(query);
        for (host, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let mut search_list = |pattern| {
                let denying = host.lists.of(pattern).iter().filter(|entry| denies(entry.body));
                best = self.first_of(denying, best, other, query);
            };
            search_list(0);
            if let Some(address) = host.host.address {
                host.set.each_network(address, None, &mut |_, _, pattern| search_list(pattern));
            }
            if let FactState::Known(names) = host.host.names {
                host.set.each_name(names, &self.strings, &mut search_list);
            }
        }
        self.first_undecided(query, best, denies)
    }

    /// Finds the first rule that matches, or may match, in the lists of the patterns that match.
    fn find_listed(&self, query: &Query) -> Entry {
        let [source, destination] = &self.ends(query);
        let ends = [(source, destination), (destination, source)];
        let mut best = NO_ENTRY;
        for (host, other) in ends {
            best = self.first_of(host.candidates.entries(), best, other, query);
        }
        for (host, other) in ends {
            best = host.search(self, best, |list, best| self.first_of(list.iter(), best, other, query));
        }
        best
    }

    /// Both hosts of a request, with the patterns and lists of each.
    fn ends<'a>(&'a self, query: &'a Query<'a>) -> [HostSearch<'a>; 2] {
        let Index { by_source, by_destination, strides: [to_source, to_destination], .. } = &self.index;
        [
            HostSearch::new(&self.source, by_source, to_source, &query.source),
            HostSearch::new(&self.destination, by_destination, to_destination, &query.destination),
        ]
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
        let may_match = |entry: &&Entry| self.body_matches(entry.body, query) && self.may_match(entry, other);
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

    /// The first rule before `best` with such a body that may match, in the lists that the search cannot choose from;
    /// else `best`.
    fn first_undecided(&self, query: &Query, mut best: Entry, counts: impl Fn(u32) -> bool) -> Entry {
        let lists = undecided(query).into_iter().zip(&self.index.undecided);
        for (_, rules) in lists.filter(|(undecided, _)| *undecided) {
            let mut earlier = rules.iter().take_while(|(number, _)| *number < best.rule);
            let matching =
                earlier.find(|(_, rule)| counts(rule.body) && self.match_rule(rule, query) != RuleMatch::No);
            best = matching.map_or(best, |(rule, of)| Entry { rule: *rule, other: 0, body: of.body });
        }
        best
    }

    /// The outcome of a search with this best entry, if not everything is decided.
    fn found(&self, query: &Query, best: Entry) -> Found {
        let rule = self.rule(best.rule);
        rule.map_or(Found::Nothing, |rule| self.match_rule(&rule, query).found(best.rule, best.body))
    }

    /// Finds the first of these rules that matches by asking each of them in turn. This defines what
    /// [`Table::find_with_others`] has to find. `rules` are all rules, in the order of the file.
    pub fn scan(&self, rules: &[Rule], query: &Query, others: &[Query]) -> Found {
        for (number, rule) in (0..).zip(rules) {
            let denies = self.denies(rule.body);
            let others = others.iter().filter(|_| denies);
            let mut matches = core::iter::once(query).chain(others).map(|query| self.match_rule(rule, query));
            if let Some(matched) = matches.find(|matched| *matched != RuleMatch::No) {
                return matched.found(number, rule.body);
            }
        }
        Found::Nothing
    }

    /// Compares a rule with a request.
    fn match_rule(&self, rule: &Rule, query: &Query) -> RuleMatch {
        if !self.body_matches(rule.body, query) {
            return RuleMatch::No;
        }
        let source = self.source.match_host(rule.source, &query.source, &self.strings);
        if source == Match::No {
            return RuleMatch::No;
        }
        let destination = self.destination.match_host(rule.destination, &query.destination, &self.strings);
        let in_doubt = self.in_doubt(rule.body);
        match (source, destination) {
            (Match::No, _) | (_, Match::No) => RuleMatch::No,
            (Match::Yes, Match::Yes) => RuleMatch::Yes,
            (Match::Unavailable, _) | (_, Match::Unavailable) if in_doubt == InDoubt::NoMatch => {
                RuleMatch::No
            }
            (Match::Unresolved, _) | (_, Match::Unresolved) if in_doubt != InDoubt::Deny => RuleMatch::No,
            (Match::Unknown, _) => RuleMatch::NeedNames(End::Source),
            (_, Match::Unknown) => RuleMatch::NeedNames(End::Destination),
            (Match::Unavailable, _) => RuleMatch::NamesUnavailable(End::Source),
            (_, Match::Unavailable) => RuleMatch::NamesUnavailable(End::Destination),
            (Match::Yes | Match::Unresolved, Match::Yes | Match::Unresolved) => RuleMatch::Yes,
        }
    }

    /// The fields of a rule that do not match, in the words of the file.
    pub fn mismatches(&self, rule: &Rule, query: &Query) -> Vec<&'static str> {
        let source = self.source.match_host(rule.source, &query.source, &self.strings);
        let destination = self.destination.match_host(rule.destination, &query.destination, &self.strings);
        let body = self.body(rule.body);
        let allows_command =
            body.is_some_and(|body| body.protocol.allows_command(query.protocol, self.denies(rule.body)));
        let fields = [
            ("source", source == Match::Yes),
            ("destination", destination == Match::Yes),
            ("port", body.is_some_and(|body| self.allows_port(body.ports, query.port))),
            ("command", allows_command),
            ("protocol version", body.is_some_and(|body| body.protocol.allows_version(query.protocol))),
            ("authentication", body.is_some_and(|body| body.protocol.allows_method(query.protocol))),
            ("user", body.is_some_and(|body| self.users.names(body.users, query.user, &self.strings))),
            ("group", body.is_some_and(|body| self.has_group(body.groups, query.groups))),
        ];
        fields.into_iter().filter(|(_, matches)| !matches).map(|(field, _)| field).collect()
    }
}

/// Returns whether each fact is missing to choose lists by, in the order of [`Index::undecided`].
fn undecided(query: &Query) -> [bool; 3] {
    [!query.source.names.is_known(), !query.destination.names.is_known(), query.destination.address.is_none()]
}

const NOTHING_UNDECIDED: [bool; 3] = [false; 3];

/// Whether a rule matches a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleMatch {
    No,
    Yes,
    /// It depends on the names of this host, which nobody has asked for.
    NeedNames(End),
    /// It depends on the names of this host, which could not be had.
    NamesUnavailable(End),
}

impl RuleMatch {
    /// The outcome of a search that ends with a rule, by its number and that of its body.
    fn found(self, rule: u32, body: u32) -> Found {
        match self {
            RuleMatch::No => Found::Nothing,
            RuleMatch::Yes => Found::Rule { rule, body },
            RuleMatch::NeedNames(end) => Found::NeedNames(end),
            RuleMatch::NamesUnavailable(end) => Found::NamesUnavailable { rule, body, end },
        }
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
