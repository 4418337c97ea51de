//! Named sets of hosts: `set lan = 10.0.0.0/8, fd00::/8, .lan.example, /etc/prefixes`.
//!
//! A rule with a set is compiled to a rule for each of its patterns, with the line that it stands in. So a set of a million
//! prefixes is found as fast as a million lines, and nothing else has to know of sets.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sockd_table::{Builder, LONGEST_LINE, Pattern};

use crate::error::{Faults, LineError};
use crate::line::{Words, each_line};

/// The most rules that all lines with sets together may be compiled to: each costs memory.
const MOST_RULES: usize = 1 << 22;

/// The sets by their names.
#[derive(Default)]
pub(crate) struct Sets {
    sets: BTreeMap<String, Hosts>,
    /// The number of rules that the lines with sets have been compiled to so far.
    rules: usize,
}

/// The hosts that a line has as its source, or as its destination.
#[derive(Clone)]
pub(crate) struct Hosts {
    pub(crate) patterns: Vec<Pattern>,
    /// The length of the set's longest pattern in characters; 0 if the line itself has the pattern.
    longest: usize,
}

impl Hosts {
    /// One pattern.
    pub(crate) fn one(pattern: Pattern) -> Self {
        Self { patterns: alloc::vec![pattern], longest: 0 }
    }
}

/// The text behind the word `set` at the beginning of a line; `None` for another line.
pub(crate) fn set_line(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let (word, rest) = line.split_at_checked(3)?;
    let is_set = word.eq_ignore_ascii_case(b"set") && rest.first().is_some_and(u8::is_ascii_whitespace);
    is_set.then_some(rest)
}

impl Sets {
    /// Reads a set: its name, `=`, and patterns or files of patterns with commas or blanks between them.
    pub(crate) fn define(
        &mut self,
        number: usize,
        text: &[u8],
        builder: &mut Builder,
        file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), LineError> {
        let expected = |what: &str, found: &[u8]| LineError::expected(number, what, Some(found));
        let text = text.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        let end = text.iter().position(|byte| *byte == b'=').ok_or_else(|| expected("name = hosts", text))?;
        let (name, hosts) = text.split_at(end);
        let name = name_of(name.trim_ascii()).ok_or_else(|| expected("name of a set", name))?;
        let mut patterns = Vec::new();
        for item in items(hosts.get(1..).unwrap_or_default()) {
            match core::str::from_utf8(item).ok().filter(|item| item.starts_with('/')) {
                Some(path) => of_file(number, path, builder, file, &mut patterns)?,
                None => patterns.push(pattern(number, item)?),
            }
        }
        if patterns.is_empty() {
            return Err(expected("at least one host in a set", text));
        }
        let longest = patterns.iter().map(|pattern| format!("{pattern:#}").len()).max().unwrap_or_default();
        match self.sets.insert(name.to_string(), Hosts { patterns, longest }) {
            Some(_) => Err(expected("one set of each name", name.as_bytes())),
            None => Ok(()),
        }
    }

    /// Reads the source or the destination of a rule: the patterns of a set, or one pattern.
    pub(crate) fn patterns(
        &self,
        words: &mut Words,
        one: impl FnOnce(&mut Words) -> Result<Pattern, LineError>,
    ) -> Result<Hosts, LineError> {
        let name = words.peek().and_then(|word| word.strip_prefix('<')?.strip_suffix('>'));
        let Some(name) = name else { return one(words).map(Hosts::one) };
        let known = self.sets.get(name).cloned();
        let known = known.ok_or_else(|| words.expected("name of a set that a line above defines"))?;
        words.take();
        Ok(known)
    }

    /// Counts the rules of a line of this length; an error if they are too many, or could not be written as lines.
    pub(crate) fn admit(&mut self, number: usize, length: usize, ends: [&Hosts; 2]) -> Result<(), LineError> {
        let [sources, destinations] = ends.map(|hosts| hosts.patterns.len());
        if ends.iter().all(|hosts| hosts.longest == 0) {
            return Ok(());
        }
        let written = ends.iter().fold(length, |all, hosts| all.saturating_add(hosts.longest));
        if written > LONGEST_LINE {
            let what = "characters with the longest hosts of its sets";
            return Err(LineError::new(
                number,
                format!("expected at most {LONGEST_LINE} {what}, found {written}"),
            ));
        }
        self.rules = self.rules.saturating_add(sources.saturating_mul(destinations));
        match self.rules <= MOST_RULES {
            true => Ok(()),
            false => Err(LineError::new(
                number,
                format!("expected at most {MOST_RULES} pairs of a source and a destination from sets"),
            )),
        }
    }
}

fn name_of(name: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    core::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.bytes().all(|byte| fits(&byte)))
}

fn items(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    text.split(is_between).filter(|item| !item.is_empty())
}

/// Reads a pattern that is one word: a prefix, an address, a name or a zone.
fn pattern(number: usize, item: &[u8]) -> Result<Pattern, LineError> {
    let wrong = || LineError::expected(number, "address, address/length, name or .zone in a set", Some(item));
    let text = core::str::from_utf8(item).map_err(|_| wrong())?;
    let words = match text.parse::<core::net::IpAddr>() {
        Ok(core::net::IpAddr::V4(_)) => format!("{text}/32"),
        Ok(core::net::IpAddr::V6(_)) => format!("{text}/128"),
        Err(_) if text.contains('/') => text.to_string(),
        Err(_) => format!("{text} 0.0.0.0"),
    };
    let mut words = Words::of(number, words.as_bytes())?;
    let read = words.pattern("set")?;
    let is_one = words.peek().is_none() && words.command.is_none();
    if is_one && read != Pattern::Any { Ok(read) } else { Err(wrong()) }
}

/// Reads a file of patterns, with commas, blanks or line ends between them, and comments.
fn of_file(
    number: usize,
    path: &str,
    builder: &mut Builder,
    file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    patterns: &mut Vec<Pattern>,
) -> Result<(), LineError> {
    let refused = |why: &str| LineError::new(number, format!("file {}: {why}", path.escape_debug()));
    // A colon begins a command, as in a line that names a user file.
    if path.contains(':') {
        return Err(refused("expected a path without a colon"));
    }
    let text = file(path).map_err(|why| refused(&why))?;
    if !builder.admits(text.len()) {
        return Err(refused("too large"));
    }
    let mut faults = Faults::default();
    each_line(&text, &mut faults, |number, line| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        items(line).try_for_each(|item| pattern(number, item).map(|read| patterns.push(read)))
    });
    faults.none().map_err(|errors| refused(&errors.first().map(LineError::to_string).unwrap_or_default()))?;
    builder.mention(path);
    Ok(())
}
