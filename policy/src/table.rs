//! The compiled form that rules, routes and upstream lines share: flat arrays without a pointer or an allocation per
//! rule, so that a million lines are small in memory and a frozen file is these arrays and nothing else.
//!
//! A rule is two pattern ids, a body (everything else, shared by all rules that say the same) and its line; it is kept
//! in the lists of the index, once. The strings (names, users, commands, file names) live in one pool.

use alloc::vec::Vec;
use core::fmt;

use crate::columns::{Op, Rule, RuleBody};
use crate::index::Index;
use crate::pattern::Pattern;
use crate::patterns::PatternSet;
use crate::query::Query;
use crate::strings::StringPool;
use crate::template::Template;
use crate::users::UserLists;

/// A compiled file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Lines of the rules: (rule, line) where a rule does not stand right below the one before it.
    pub(crate) lines: Vec<(u32, u32)>,
    pub(crate) bodies: Vec<RuleBody>,
    pub(crate) source: PatternSet,
    pub(crate) destination: PatternSet,
    pub(crate) strings: StringPool,
    /// Strings of the commands.
    pub(crate) templates: Vec<u32>,
    pub(crate) users: UserLists,
    /// `#NO_IDENTD:` and `#BAD_ID:` of `sockd.conf`: template (from 1; 0 is none) and line.
    pub(crate) specials: [(u32, u32); 2],
    /// Of each body, whether its lines deny: then a network counts although the address is not known.
    pub(crate) denying: Vec<bool>,
    pub(crate) index: Index,
}

impl Table {
    /// The table, whose lists are there, with all that a search needs besides.
    pub(crate) fn precompute(mut self, denies: impl Fn(&Table, u32) -> bool) -> Table {
        self.denying = self.bodies.iter().map(|body| denies(&self, body.choice)).collect();
        let Table { index, source, destination, bodies, denying, .. } = &mut self;
        index.precompute(source, destination, bodies, denying);
        self
    }

    /// The number of rules.
    pub(crate) fn len(&self) -> usize {
        self.index.places.len()
    }

    /// The rules in order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (u32, Rule)> {
        (0..).map_while(|number| Some((number, self.index.rule(number)?)))
    }

    /// Whether a rule denies whatever it matches.
    pub(crate) fn denies(&self, rule: &Rule) -> bool {
        self.denying.get(rule.body as usize).copied().unwrap_or_default()
    }

    /// Writes a rule as its file would have it, after `action`; in the alternate form with networks in short. `from` tells
    /// whether lines of this file name a source, and leave out a destination that is any.
    pub(crate) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        rule: u32,
        action: &str,
        from: bool,
    ) -> fmt::Result {
        let Some(rule) = self.index.rule(rule) else { return Ok(()) };
        let Some(body) = self.bodies.get(rule.body as usize) else { return Ok(()) };
        f.write_str(action)?;
        if body.users != 0 {
            write!(f, " *={}", self.users.word(body.users, &self.strings))?;
        }
        let source = from.then(|| self.source.pattern(rule.source, &self.strings));
        let destination = self.destination.pattern(rule.destination, &self.strings);
        for pattern in source.into_iter().chain(Some(destination).filter(|to| !from || *to != Pattern::Any)) {
            if f.alternate() { write!(f, " {pattern:#}")? } else { write!(f, " {pattern}")? }
        }
        if body.ports.op != Op::Any {
            write!(f, " {} {}", body.ports.op.name(), body.ports.port)?;
        }
        match self.template(body.template) {
            Some(command) => write!(f, " : {}", command.text()),
            None => Ok(()),
        }
    }

    /// The line of a rule, from 1.
    pub(crate) fn line(&self, rule: u32) -> u32 {
        let before = self.lines.partition_point(|(first, _)| *first <= rule).checked_sub(1);
        let (first, line) = before.and_then(|place| self.lines.get(place)).copied().unwrap_or_default();
        line.saturating_add(rule.saturating_sub(first))
    }

    /// The command of a number, counted from 1.
    pub(crate) fn template(&self, number: u32) -> Option<Template<'_>> {
        let text = self.templates.get(number.checked_sub(1)? as usize)?;
        Some(Template::checked(self.strings.str(*text)))
    }

    pub(crate) fn body_matches(&self, body: &RuleBody, query: &Query) -> bool {
        body.ports.allow(query.port) && self.users.names(body.users, query.user, &self.strings)
    }
}
