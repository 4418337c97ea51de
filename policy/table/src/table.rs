//! The compiled form that rules, routes and upstream lines share.
//!
//! It consists of flat arrays, without a pointer or an allocation for each rule. So a million lines are small in
//! memory, and a frozen file is these arrays and nothing else.
//!
//! A rule is the numbers of two patterns and of a body. The body is everything else, and rules that say the same share
//! it. Rules are kept once, in the lists of the index. All strings (names, users, commands, paths) are in one pool.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::asked::Asked;
use crate::columns::{NO_RULE, Op, Ports, Rule, RuleBody, Span};
use crate::index::Index;
use crate::pattern::Pattern;
use crate::patterns::PatternSet;
use crate::protocol::{Protocol, listed};
use crate::query::{InDoubt, Query};
use crate::strings::StringPool;
use crate::users::UserLists;

/// A compiled file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The lines of the rules: a rule and its line, for each rule that does not stand right below the rule before it.
    pub(crate) lines: Vec<(u32, u32)>,
    pub(crate) bodies: Vec<RuleBody>,
    pub(crate) source: PatternSet,
    pub(crate) destination: PatternSet,
    pub(crate) strings: StringPool,
    /// The strings of the commands.
    pub(crate) templates: Vec<u32>,
    pub(crate) users: UserLists,
    /// The ranges of each list of ports.
    pub(crate) port_lists: Vec<Span>,
    /// The first and the last port of each range. The ranges of a list are in order and apart.
    pub(crate) port_ranges: Vec<(u16, u16)>,
    /// The two special lines of `sockd.conf`: the number of the command, counted from 1 (0 for none), and the line.
    pub(crate) specials: [(u32, u32); 2],
    /// The effect of the lines of each body if they depend on something that cannot be known.
    pub(crate) in_doubt: Vec<InDoubt>,
    pub(crate) index: Index,
    /// The methods that the lines ask of clients before their requests are known.
    pub(crate) asked: Asked,
}

impl Table {
    /// Prepares everything that a search needs besides the lists. `in_doubt` and `asks` come from [`crate::Kind`].
    pub(crate) fn precompute(
        mut self,
        in_doubt: fn(&Table, u32) -> InDoubt,
        asks: fn(&RuleBody) -> u8,
    ) -> Table {
        self.in_doubt = self.bodies.iter().map(|body| in_doubt(&self, body.choice)).collect();
        let asks: Vec<u8> = self.bodies.iter().map(asks).collect();
        self.asked = Asked::of(&self.index, &self.source, &asks);
        let Table { index, source, destination, bodies, in_doubt, .. } = &mut self;
        index.precompute(source, destination, bodies, in_doubt);
        self
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.index.places.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules with their numbers, in the order of the file.
    pub fn rules(&self) -> impl Iterator<Item = (u32, Rule)> {
        (0..).map_while(|number| Some((number, self.rule(number)?)))
    }

    /// The rule of a number.
    #[inline]
    pub fn rule(&self, number: u32) -> Option<Rule> {
        self.index.rule(number)
    }

    /// The bodies of all rules.
    pub fn bodies(&self) -> &[RuleBody] {
        &self.bodies
    }

    /// The body of a number.
    #[inline]
    pub fn body(&self, number: u32) -> Option<&RuleBody> {
        self.bodies.get(number as usize)
    }

    /// The pattern of a rule for the source.
    pub fn source(&self, rule: &Rule) -> Pattern {
        self.source.pattern(rule.source, &self.strings)
    }

    /// The pattern of a rule for the destination.
    pub fn destination(&self, rule: &Rule) -> Pattern {
        self.destination.pattern(rule.destination, &self.strings)
    }

    /// The line of a rule, counted from 1.
    #[inline]
    pub fn line(&self, rule: u32) -> u32 {
        let before = self.lines.partition_point(|(first, _)| *first <= rule).checked_sub(1);
        let (first, line) = before.and_then(|place| self.lines.get(place)).copied().unwrap_or_default();
        line.saturating_add(rule.saturating_sub(first))
    }

    /// A string of the pool. All are UTF-8 but user ids.
    #[inline]
    pub fn string(&self, number: u32) -> &str {
        self.strings.str(number)
    }

    /// The number of strings in the pool.
    pub fn string_count(&self) -> usize {
        self.strings.ends.len()
    }

    /// The command of a number, counted from 1.
    #[inline]
    pub fn template(&self, number: u32) -> Option<&str> {
        let text = self.templates.get(number.checked_sub(1)? as usize)?;
        Some(self.strings.str(*text))
    }

    /// Every command, once however many lines have it.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|text| self.strings.str(*text))
    }

    /// The command of a special line, and the line; 0 if there is none.
    pub fn special(&self, place: usize) -> (Option<&str>, u32) {
        let (template, line) = self.specials.get(place).copied().unwrap_or_default();
        (self.template(template), line)
    }

    /// Whether there is any special line.
    pub fn has_specials(&self) -> bool {
        self.specials != [(0, 0); 2]
    }

    /// Whether any rule has a pattern for the source.
    pub fn has_sources(&self) -> bool {
        self.source.len() > 1
    }

    /// Whether a rule has an IPv4 mask of all zeros for the source, which would be written [`Pattern::Any`].
    pub fn has_zero_mask(&self) -> bool {
        self.source.has_zero_mask()
    }

    /// The paths of the user files.
    pub fn user_files(&self) -> impl Iterator<Item = &str> {
        self.users.files.iter().map(|file| self.strings.str(file.path))
    }

    /// Whether a user list names any user at all.
    pub fn names_anybody(&self, list: u32) -> bool {
        self.users.name_anybody(list)
    }

    /// Whether the user list `outer` surely names every user that `inner` names.
    pub fn users_cover(&self, outer: u32, inner: u32) -> bool {
        self.users.cover(outer, inner, &self.strings)
    }

    /// The first rule before `before` whose patterns match every host that these two match, and whose body covers.
    pub fn first_covering(
        &self,
        source: &Pattern,
        destination: &Pattern,
        before: u32,
        covers: impl Fn(&RuleBody) -> bool,
    ) -> Option<u32> {
        let source = self.source.covering(source, &self.strings);
        let destination = self.destination.covering(destination, &self.strings);
        let first =
            self.index.first(&source, &destination, before, |body| self.body(body).is_some_and(&covers));
        Some(first).filter(|first| *first != before && *first != NO_RULE)
    }

    /// The effect of rules with a body if they depend on something that cannot be known.
    pub(crate) fn in_doubt(&self, body: u32) -> InDoubt {
        self.in_doubt.get(body as usize).copied().unwrap_or(InDoubt::NoMatch)
    }

    /// Whether rules with the body of this number deny, in doubt and otherwise.
    pub(crate) fn denies(&self, body: u32) -> bool {
        self.in_doubt(body) == InDoubt::Deny
    }

    /// Whether the body of this number matches.
    pub(crate) fn body_matches(&self, number: u32, query: &Query) -> bool {
        let Some(body) = self.body(number) else { return false };
        self.allows_port(body.ports, query.port)
            && self.users.names(body.users, query.user, &self.strings)
            && self.has_group(body.groups, query.groups)
            && body.protocol.allows_command(query.protocol, self.denies(number))
            && body.protocol.allows_version(query.protocol)
            && body.protocol.allows_method(query.protocol)
    }

    /// Whether a list of groups names one of these.
    pub(crate) fn has_group(&self, list: u32, groups: &[u8]) -> bool {
        let mut groups = groups.split(|byte| *byte == b',');
        list == 0 || groups.any(|group| self.users.names(list, group, &self.strings))
    }

    /// The methods that the lines ask of a client before its request is known. These are the bits of all lines whose
    /// source it may be. A source that is given by name may be anybody.
    pub fn asked(&self, client: IpAddr) -> u8 {
        self.asked.of_client(client, &self.source)
    }

    /// The methods that any line asks of a client; 0 if no line asks for more than [`Protocol::NONE`].
    pub fn asked_by_any_line(&self) -> u8 {
        self.asked.of_any_line()
    }

    /// The methods that the lines ask of every client that a pattern matches.
    pub fn asked_of_all(&self, source: &Pattern) -> u8 {
        self.asked.of_all(&self.source.covering(source, &self.strings))
    }

    /// Whether a port meets a condition.
    pub(crate) fn allows_port(&self, ports: Ports, port: u16) -> bool {
        match ports.op {
            Op::In => {
                self.listed_ports(ports.port).iter().any(|(first, last)| (*first..=*last).contains(&port))
            }
            _ => ports.allow(port),
        }
    }

    /// The ranges of a list of ports, each with its first and its last port, in order and apart.
    pub fn listed_ports(&self, list: u16) -> &[(u16, u16)] {
        self.port_lists.get(usize::from(list)).map_or(&[][..], |span| span.of(&self.port_ranges))
    }

    fn write_ports(&self, f: &mut fmt::Formatter<'_>, ports: Ports) -> fmt::Result {
        match ports.op {
            Op::Any => return Ok(()),
            Op::In => f.write_str(" in ")?,
            op => return write!(f, " {} {}", op.name(), ports.port),
        }
        for (place, (first, last)) in self.listed_ports(ports.port).iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }

    /// Writes a rule in the form of its file, behind `action`. The alternate form has networks in short. `has_source`
    /// says whether the lines of this file name a source, and leave out a destination that is any.
    pub fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        rule: u32,
        action: &str,
        has_source: bool,
    ) -> fmt::Result {
        let Some(rule) = self.rule(rule) else { return Ok(()) };
        let Some(body) = self.body(rule.body) else { return Ok(()) };
        f.write_str(action)?;
        if body.users != 0 {
            write!(f, " *={}", self.users.word(body.users, &self.strings))?;
        }
        if body.groups != 0 {
            write!(f, " g={}", self.users.word(body.groups, &self.strings))?;
        }
        for (mark, bits, names) in [
            ("+=", body.protocol.commands, &Protocol::COMMANDS[..]),
            ("~=", body.protocol.versions, &Protocol::VERSIONS[..]),
            ("@=", body.protocol.methods, &Protocol::METHODS[..]),
        ] {
            if bits != 0 {
                write!(f, " {mark}{}", listed(bits, names))?;
            }
        }
        write!(f, "{}", body.limits)?;
        let source = has_source.then(|| self.source(&rule));
        let destination = Some(self.destination(&rule)).filter(|to| !has_source || *to != Pattern::Any);
        for pattern in source.into_iter().chain(destination) {
            if f.alternate() { write!(f, " {pattern:#}")? } else { write!(f, " {pattern}")? }
        }
        self.write_ports(f, body.ports)?;
        match self.template(body.template) {
            Some(command) => write!(f, " : {command}"),
            None => Ok(()),
        }
    }
}
