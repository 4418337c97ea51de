//! Collects the lines of a file into a table.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::columns::{Rule, RuleBody, count};
use crate::index::Index;
use crate::pattern::Pattern;
use crate::patterns::PatternSetBuilder;
use crate::table::Table;

/// Collects lines into a table.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) table: Table,
    /// The body of each rule.
    rules: Vec<u32>,
    source: PatternSetBuilder,
    destination: PatternSetBuilder,
    bodies: BTreeMap<RuleBody, u32>,
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
    pub(crate) fn rule(&mut self, line: usize, source: &Pattern, destination: &Pattern, body: RuleBody) {
        let number = count(&self.rules);
        self.source.add(number, source);
        self.destination.add(number, destination);
        let next = count(&self.table.bodies);
        let body = *self.bodies.entry(body).or_insert_with_key(|body| {
            self.table.bodies.push(*body);
            next
        });
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        if self.table.line(number) != line {
            self.table.lines.push((number, line));
        }
        self.rules.push(body);
    }

    /// A text that many lines may share.
    pub(crate) fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.shared.get(text) {
            return *known;
        }
        let number = self.table.strings.add(text.as_bytes());
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

    /// Adds a user list of items as [`crate::users::UserLists`] has them.
    pub(crate) fn list(&mut self, word: &str, items: &[u32]) -> u32 {
        let number = self.table.users.add(items);
        self.lists.insert(word.into(), number);
        number
    }

    /// The item of a user file that has been read before.
    pub(crate) fn known_file(&self, path: &str) -> Option<u32> {
        self.files.get(path).copied()
    }

    /// Adds a user file and returns its item.
    pub(crate) fn file(&mut self, path: &str, users: Vec<&[u8]>) -> u32 {
        let item = self.table.users.add_file(path, users, &mut self.table.strings);
        self.files.insert(path.into(), item);
        item
    }

    /// Sorts the patterns, lays the index and gives the table. `denies` tells which choices deny.
    pub(crate) fn finish(mut self, denies: impl Fn(&Table, u32) -> bool) -> Table {
        let (table, count) = (&mut self.table, self.rules.len());
        let (source, sources) = self.source.finish(&mut table.strings, count);
        let (destination, destinations) = self.destination.finish(&mut table.strings, count);
        let rules = sources.into_iter().zip(destinations).zip(self.rules);
        let rules: Vec<Rule> =
            rules.map(|((source, destination), body)| Rule { source, destination, body }).collect();
        table.index = Index::of(&rules, &source, &destination);
        (table.source, table.destination) = (source, destination);
        self.table.precompute(denies)
    }
}
