//! The compiled form that rules, routes and upstream lines share: flat arrays without a pointer or an allocation per
//! rule, so that a million lines are small in memory and a frozen file is these arrays and nothing else.
//!
//! A rule is two pattern ids, a tail (everything else, shared by all rules that say the same) and its line; it is kept
//! in the lists of the index, once. Texts (names, users, commands, file names) live in one pool.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::index::Index;
use crate::name::{HostName, Pattern};
use crate::request::Need;
use crate::side::{Fit, Side, SideBuilder};
use crate::template::Template;

/// A compiled file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Lines of the rules: (rule, line) where a rule does not stand right below the one before it.
    pub(crate) lines: Vec<(u32, u32)>,
    pub(crate) tails: Vec<Tail>,
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) texts: Texts,
    /// Texts of the commands.
    pub(crate) templates: Vec<u32>,
    pub(crate) lists: Vec<Span>,
    /// Items of the lists: the text of a user id, or a file by [`FILE`] and its place in `files`.
    pub(crate) items: Vec<u32>,
    pub(crate) files: Vec<UserFile>,
    /// Texts of the user ids in files, sorted by their bytes within each file.
    pub(crate) file_users: Vec<u32>,
    /// `#NO_IDENTD:` and `#BAD_ID:` of `sockd.conf`: template (from 1; 0 is none) and line.
    pub(crate) specials: [(u32, u32); 2],
    /// Of each tail, whether its lines deny: then a network counts although the address is not known.
    pub(crate) denying: Vec<bool>,
    pub(crate) index: Index,
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) tail: u32,
}

/// What a line says besides its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tail {
    /// What the line decides; its meaning belongs to the kind of file.
    pub(crate) choice: u32,
    /// The user list, counted from 1; 0 is everybody.
    pub(crate) users: u32,
    /// The command, counted from 1; 0 is none.
    pub(crate) template: u32,
    pub(crate) ports: Ports,
}

/// A condition on the destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) op: Op,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Any,
    Eq,
    Neq,
    Lt,
    Gt,
    Le,
    Ge,
}

/// A part of another array, from `start` up to and without `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A file of user ids, read once however many lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserFile {
    pub(crate) path: u32,
    pub(crate) users: Span,
}

/// Marks an item of a list as a file.
pub(crate) const FILE: u32 = 1 << 31;

/// What is known of a request when lines are compared with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) source: Host<'a>,
    pub(crate) destination: Host<'a>,
    pub(crate) port: u16,
    pub(crate) user: &'a [u8],
}

/// What is known of a host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    /// `None` for a name that this host does not resolve: no network holds it, but every one might.
    pub(crate) address: Option<IpAddr>,
    /// `None` if they have not been asked for.
    pub(crate) names: Option<&'a [HostName]>,
}

/// The outcome of a search for the first matching line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Rule { rule: u32, tail: u32 },
    Need(Need),
    Nothing,
}

impl Table {
    /// The number of rules.
    pub(crate) fn len(&self) -> usize {
        self.index.places.len()
    }

    /// The rules in order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (u32, Rule)> {
        (0..).map_while(|number| Some((number, self.index.rule(number)?)))
    }

    /// The first of these lines, which are all in order, that matches, by asking every line in turn: the definition that
    /// the index is held against.
    pub(crate) fn scan(&self, rules: &[Rule], query: &Query) -> Found {
        for (number, rule) in (0..).zip(rules) {
            match self.fits(rule, query) {
                None => {}
                Some(Found::Nothing) => return Found::Rule { rule: number, tail: rule.tail },
                Some(need) => return need,
            }
        }
        Found::Nothing
    }

    /// `None` if the rule does not match, `Nothing` more to ask if it does, or the fact it depends on.
    pub(crate) fn fits(&self, rule: &Rule, query: &Query) -> Option<Found> {
        let tail = self.tails.get(rule.tail as usize)?;
        if !self.tail_fits(tail, query) {
            return None;
        }
        let source = self.source.fit(rule.source, &query.source, &self.texts);
        let destination = self.destination.fit(rule.destination, &query.destination, &self.texts);
        match (source, destination) {
            (Fit::No, _) | (_, Fit::No) => None,
            (_, Fit::Unresolved) if !self.denies(rule) => None,
            (Fit::Unknown, _) => Some(Found::Need(Need::SourceNames)),
            (_, Fit::Unknown) => Some(Found::Need(Need::DestinationNames)),
            (Fit::Yes | Fit::Unresolved, Fit::Yes | Fit::Unresolved) => Some(Found::Nothing),
        }
    }

    /// Whether a rule denies whatever it matches.
    pub(crate) fn denies(&self, rule: &Rule) -> bool {
        self.denying.get(rule.tail as usize).copied().unwrap_or_default()
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
        let Some(tail) = self.tails.get(rule.tail as usize) else { return Ok(()) };
        f.write_str(action)?;
        if tail.users != 0 {
            write!(f, " *={}", self.list_word(tail.users))?;
        }
        let source = from.then(|| self.source.pattern(rule.source, &self.texts));
        let destination = self.destination.pattern(rule.destination, &self.texts);
        for pattern in source.into_iter().chain(Some(destination).filter(|to| !from || *to != Pattern::Any)) {
            if f.alternate() { write!(f, " {pattern:#}")? } else { write!(f, " {pattern}")? }
        }
        if tail.ports.op != Op::Any {
            write!(f, " {} {}", tail.ports.op.name(), tail.ports.port)?;
        }
        match self.template(tail.template) {
            Some(command) => write!(f, " : {}", command.text()),
            None => Ok(()),
        }
    }

    /// Whether a list names any user at all.
    pub(crate) fn lists_anybody(&self, list: u32) -> bool {
        let file = |item: &u32| {
            self.files.get((item ^ FILE) as usize).map_or(0, |file| file.users.of(&self.file_users).len())
        };
        list == 0 || self.list_items(list).iter().any(|item| item & FILE == 0 || file(item) > 0)
    }

    /// Whether one list surely names every user that another does.
    pub(crate) fn users_cover(&self, outer: u32, inner: u32) -> bool {
        let named = |item: &u32| match item & FILE {
            0 => self.lists_user(outer, self.texts.bytes(*item)),
            _ => self.list_items(outer).contains(item),
        };
        outer == 0 || outer == inner || (inner != 0 && self.list_items(inner).iter().all(named))
    }

    fn list_items(&self, list: u32) -> &[u32] {
        let span = list.checked_sub(1).and_then(|list| self.lists.get(list as usize));
        span.map_or(&[][..], |span| span.of(&self.items))
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
        Some(Template::checked(self.texts.str(*text)))
    }

    /// A user list as it is written.
    pub(crate) fn list_word(&self, list: u32) -> String {
        let text = |item: &u32| match item & FILE {
            0 => self.texts.str(*item),
            _ => self.files.get((item ^ FILE) as usize).map_or("", |file| self.texts.str(file.path)),
        };
        self.list_items(list).iter().map(text).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn tail_fits(&self, tail: &Tail, query: &Query) -> bool {
        tail.ports.hold(query.port) && self.lists_user(tail.users, query.user)
    }

    /// Whether the user is in the list; an empty id is in none, whatever the list holds.
    pub(crate) fn lists_user(&self, list: u32, user: &[u8]) -> bool {
        let Some(list) = list.checked_sub(1) else { return true };
        let Some(span) = self.lists.get(list as usize).filter(|_| !user.is_empty()) else { return false };
        span.of(&self.items).iter().any(|item| match item & FILE {
            0 => self.texts.bytes(*item) == user,
            _ => self.files.get((item ^ FILE) as usize).is_some_and(|file| {
                let users = file.users.of(&self.file_users);
                users.binary_search_by(|text| self.texts.bytes(*text).cmp(user)).is_ok()
            }),
        })
    }
}

impl Tail {
    /// Whether it holds for every port and user.
    pub(crate) fn is_open(&self) -> bool {
        self.ports == Ports::ANY && self.users == 0
    }
}

impl Ports {
    pub(crate) const ANY: Ports = Ports { op: Op::Any, port: 0 };

    /// Whether the condition holds for a port.
    pub(crate) fn hold(&self, port: u16) -> bool {
        match self.op {
            Op::Any => true,
            Op::Eq => port == self.port,
            Op::Neq => port != self.port,
            Op::Lt => port < self.port,
            Op::Gt => port > self.port,
            Op::Le => port <= self.port,
            Op::Ge => port >= self.port,
        }
    }
}

impl Op {
    pub(crate) const ALL: [(Op, &'static str); 7] = [
        (Op::Any, ""),
        (Op::Eq, "eq"),
        (Op::Neq, "neq"),
        (Op::Lt, "lt"),
        (Op::Gt, "gt"),
        (Op::Le, "le"),
        (Op::Ge, "ge"),
    ];

    pub(crate) fn named(word: &str) -> Option<Op> {
        let named = Op::ALL.iter().find(|(_, name)| !word.is_empty() && word.eq_ignore_ascii_case(name));
        named.map(|(op, _)| *op)
    }

    pub(crate) fn name(self) -> &'static str {
        Op::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }
}

impl Span {
    pub(crate) fn of<T>(self, array: &[T]) -> &[T] {
        array.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A pool of byte strings, each known by its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<u32>,
}

impl Texts {
    pub(crate) fn add(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends.push(count(&self.bytes));
        count(&self.ends).saturating_sub(1)
    }

    pub(crate) fn bytes(&self, text: u32) -> &[u8] {
        let end = self.ends.get(text as usize).copied().unwrap_or_default();
        let start = text
            .checked_sub(1)
            .and_then(|before| self.ends.get(before as usize))
            .copied()
            .unwrap_or_default();
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Where the last text ends.
    pub(crate) fn end(&self) -> u32 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// A text that is known to be UTF-8, as all but user ids are.
    pub(crate) fn str(&self, text: u32) -> &str {
        core::str::from_utf8(self.bytes(text)).unwrap_or_default()
    }
}

/// The length of an array whose items the numbers of a table can count; [`Builder::LARGEST`] keeps it below 2^31.
pub(crate) fn count<T>(array: &[T]) -> u32 {
    u32::try_from(array.len()).unwrap_or(u32::MAX)
}

/// Collects lines into a table.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) table: Table,
    /// The tail of each rule.
    rules: Vec<u32>,
    source: SideBuilder,
    destination: SideBuilder,
    tails: BTreeMap<Tail, u32>,
    shared: BTreeMap<String, u32>,
    templates: BTreeMap<u32, u32>,
    lists: BTreeMap<String, u32>,
    files: BTreeMap<String, u32>,
    read: usize,
}

impl Builder {
    /// The most bytes of text a table is made from, so that 31 bits count everything in it.
    pub(crate) const LARGEST: usize = 1 << 30;

    /// Whether `bytes` more of text still fit.
    pub(crate) fn admits(&mut self, bytes: usize) -> bool {
        self.read = self.read.saturating_add(bytes);
        self.read <= Builder::LARGEST
    }

    /// Adds a line below those that are there.
    pub(crate) fn rule(&mut self, line: usize, source: &Pattern, destination: &Pattern, tail: Tail) {
        let number = count(&self.rules);
        self.source.add(number, source);
        self.destination.add(number, destination);
        let next = count(&self.table.tails);
        let tail = *self.tails.entry(tail).or_insert_with_key(|tail| {
            self.table.tails.push(*tail);
            next
        });
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        if self.table.line(number) != line {
            self.table.lines.push((number, line));
        }
        self.rules.push(tail);
    }

    /// A text that many lines may share.
    pub(crate) fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.shared.get(text) {
            return *known;
        }
        let number = self.table.texts.add(text.as_bytes());
        self.shared.insert(text.into(), number);
        number
    }

    /// The number (from 1) of a command that has been checked.
    pub(crate) fn template(&mut self, text: &str) -> u32 {
        let text = self.text(text);
        let next = count(&self.table.templates).saturating_add(1);
        *self.templates.entry(text).or_insert_with(|| {
            self.table.templates.push(text);
            next
        })
    }

    /// The number (from 1) of a user list that has been seen before.
    pub(crate) fn known_list(&self, word: &str) -> Option<u32> {
        self.lists.get(word).copied()
    }

    /// Adds a user list of items as [`Table::items`] has them.
    pub(crate) fn list(&mut self, word: &str, items: &[u32]) -> u32 {
        let start = count(&self.table.items);
        self.table.items.extend_from_slice(items);
        self.table.lists.push(Span { start, end: count(&self.table.items) });
        let number = count(&self.table.lists);
        self.lists.insert(word.into(), number);
        number
    }

    /// The item of a user file that has been read before.
    pub(crate) fn known_file(&self, path: &str) -> Option<u32> {
        self.files.get(path).copied()
    }

    /// Adds a user file and gives its item.
    pub(crate) fn file(&mut self, path: &str, mut users: Vec<&[u8]>) -> u32 {
        users.sort_unstable();
        users.dedup();
        let start = count(&self.table.file_users);
        for user in users {
            let text = self.table.texts.add(user);
            self.table.file_users.push(text);
        }
        let users = Span { start, end: count(&self.table.file_users) };
        let item = FILE | count(&self.table.files);
        let text = self.table.texts.add(path.as_bytes());
        self.table.files.push(UserFile { path: text, users });
        self.files.insert(path.into(), item);
        item
    }

    /// Sorts the patterns, lays the index and gives the table. `denies` tells which choices deny.
    pub(crate) fn finish(mut self, denies: impl Fn(&Table, u32) -> bool) -> Table {
        let (table, count) = (&mut self.table, self.rules.len());
        let (source, sources) = self.source.finish(&mut table.texts, count);
        let (destination, destinations) = self.destination.finish(&mut table.texts, count);
        let rules = sources.into_iter().zip(destinations).zip(self.rules);
        let rules: Vec<Rule> =
            rules.map(|((source, destination), tail)| Rule { source, destination, tail }).collect();
        table.index = Index::of(&rules, &source, &destination);
        (table.source, table.destination) = (source, destination);
        self.table.ready(denies)
    }
}
