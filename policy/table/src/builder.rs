//! Collects the lines of a file into a table.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::columns::{Rule, RuleBody, Span, count};
use crate::index::Index;
use crate::kind::Kind;
use crate::pattern::Pattern;
use crate::patterns::PatternSetBuilder;
use crate::table::Table;

/// Collects lines into a table.
#[derive(Default)]
pub struct Builder {
    table: Table,
    /// The body of each rule.
    rules: Vec<u32>,
    source: PatternSetBuilder,
    destination: PatternSetBuilder,
    bodies: BTreeMap<RuleBody, u32>,
    shared: BTreeMap<String, u32>,
    templates: BTreeMap<u32, u32>,
    lists: BTreeMap<String, u32>,
    port_lists: BTreeMap<Vec<(u16, u16)>, u16>,
    files: BTreeMap<String, u32>,
    read: usize,
}

impl Builder {
    /// The most bytes of text that a table is made from, so that 31 bits count everything in it.
    pub const LARGEST: usize = 1 << 30;

    /// Counts the bytes of a text. Returns whether a table may be made from it and all texts before.
    pub fn admits(&mut self, bytes: usize) -> bool {
        self.read = self.read.saturating_add(bytes);
        self.read <= Builder::LARGEST
    }

    /// Adds a line below all others.
    pub fn rule(&mut self, line: usize, source: &Pattern, destination: &Pattern, body: RuleBody) {
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

    /// The number of a string that many lines may share.
    pub fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.shared.get(text) {
            return *known;
        }
        let number = self.table.strings.add(text.as_bytes());
        self.shared.insert(text.into(), number);
        number
    }

    /// The number of a command, counted from 1. The text has been checked.
    pub fn template(&mut self, text: &str) -> u32 {
        let text = self.text(text);
        let next = count(&self.table.templates).saturating_add(1);
        *self.templates.entry(text).or_insert_with(|| {
            self.table.templates.push(text);
            next
        })
    }

    /// The number of a user list that was added before, counted from 1.
    pub fn known_list(&self, word: &str) -> Option<u32> {
        self.lists.get(word).copied()
    }

    /// Adds a user list of items and returns its number.
    pub fn list(&mut self, word: &str, items: &[u32]) -> u32 {
        let number = self.table.users.add(items);
        self.lists.insert(word.into(), number);
        number
    }

    /// Returns the number of a list of these ranges of ports; `None` if there are too many lists.
    pub fn ports(&mut self, mut ranges: Vec<(u16, u16)>) -> Option<u16> {
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = next.0 <= range.1.saturating_add(1);
            range.1 = if joins { range.1.max(next.1) } else { range.1 };
            joins
        });
        if let Some(known) = self.port_lists.get(&ranges) {
            return Some(*known);
        }
        let number = u16::try_from(self.table.port_lists.len()).ok()?;
        let start = count(&self.table.port_ranges);
        self.table.port_ranges.extend(&ranges);
        self.table.port_lists.push(Span { start, end: count(&self.table.port_ranges) });
        self.port_lists.insert(ranges, number);
        Some(number)
    }

    /// The item of a user file that was added before.
    pub fn known_file(&self, path: &str) -> Option<u32> {
        self.files.get(path).copied()
    }

    /// Adds a user file and returns its item.
    pub fn file(&mut self, path: &str, users: Vec<&[u8]>) -> u32 {
        let item = self.table.users.add_file(path, users, &mut self.table.strings);
        self.files.insert(path.into(), item);
        item
    }

    /// Adds the path of another file that has been read, so that a frozen file knows of it.
    pub fn mention(&mut self, path: &str) {
        self.table.users.mention(path, &mut self.table.strings);
    }

    /// Adds the item of a user id.
    pub fn user(&mut self, id: &[u8]) -> u32 {
        self.table.strings.add(id)
    }

    /// Sets a special line to a command, by its number. Returns false if that line is set already.
    pub fn special(&mut self, place: usize, template: u32, line: usize) -> bool {
        match self.table.specials.get_mut(place) {
            Some(special) if special.0 == 0 => {
                *special = (template, u32::try_from(line).unwrap_or(u32::MAX));
                true
            }
            _ => false,
        }
    }

    /// Sorts the patterns, makes the index and returns the table.
    pub fn finish(mut self, kind: &Kind) -> Table {
        let (table, count) = (&mut self.table, self.rules.len());
        let (source, sources) = self.source.finish(&mut table.strings, count);
        let (destination, destinations) = self.destination.finish(&mut table.strings, count);
        let rules = sources.into_iter().zip(destinations).zip(self.rules);
        let rules: Vec<Rule> =
            rules.map(|((source, destination), body)| Rule { source, destination, body }).collect();
        table.index = Index::of(&rules, &source, &destination);
        (table.source, table.destination) = (source, destination);
        self.table.precompute(kind.in_doubt, kind.asks)
    }
}
