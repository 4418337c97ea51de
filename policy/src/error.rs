//! Faults of a file, line by line.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One fault of a file: the place, what was expected there, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The line, counted from 1; 0 if the fault concerns the whole file.
    pub line: usize,
    text: String,
    /// The included file that the line is of.
    file: Option<String>,
}

/// The most faults that are listed. Further ones are only counted.
const LISTED: usize = 1000;

/// The most characters shown of what was found.
const SHOWN: usize = 60;

impl LineError {
    pub(crate) fn new(line: usize, text: String) -> LineError {
        LineError { line, text, file: None }
    }

    /// With the file in front: the included one that the line is of, or the text itself, which is `conf`.
    pub fn in_file(&self, conf: impl fmt::Display) -> String {
        match &self.file {
            Some(file) => format!("{}: {self}", file.escape_debug()),
            None => format!("{conf}: {self}"),
        }
    }

    pub(crate) fn expected(line: usize, expected: &str, found: Option<&[u8]>) -> LineError {
        LineError::new(
            line,
            match found {
                Some(found) => format!("expected {expected}, found \"{}\"", shown(found)),
                None => format!("expected {expected}, found the end of the line"),
            },
        )
    }
}

/// A text from a file in printable ASCII, cut to [`SHOWN`] characters.
fn shown(found: &[u8]) -> String {
    let mut text: String = found.escape_ascii().take(SHOWN).map(char::from).collect();
    if found.escape_ascii().nth(SHOWN).is_some() {
        text.push_str("...");
    }
    text
}

/// An error of the system without the number that the standard library puts behind its words.
pub fn in_words(error: impl fmt::Display) -> String {
    let text = format!("{error}");
    let Some((before, behind)) = text.split_once(" (os error ") else { return text };
    format!("{before}{}", behind.split_once(')').map_or("", |(_, behind)| behind))
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl core::error::Error for LineError {}

/// The faults of one file, the first thousand of them in full.
#[derive(Default)]
pub(crate) struct Faults {
    list: Vec<LineError>,
    more: usize,
}

impl Faults {
    pub(crate) fn add(&mut self, error: LineError) {
        if self.list.len() < LISTED { self.list.push(error) } else { self.more = self.more.saturating_add(1) }
    }

    /// Adds the faults of an included file; `before` is the number before that of its first line.
    pub(crate) fn add_of(&mut self, file: &str, before: usize, faults: Faults) {
        for error in faults.list {
            let line = error.line.saturating_sub(before);
            self.add(LineError { line, file: Some(file.into()), ..error });
        }
        self.more = self.more.saturating_add(faults.more);
    }

    /// Adds the faults of others to these.
    pub(crate) fn and(mut self, others: Faults) -> Self {
        others.list.into_iter().for_each(|error| self.add(error));
        Faults { more: self.more.saturating_add(others.more), ..self }
    }

    /// Refuses a file with any fault. The classic server skipped bad lines, and so opened firewalls.
    pub(crate) fn none(mut self) -> Result<(), Vec<LineError>> {
        if self.more > 0 {
            self.list.push(LineError::new(0, format!("{} more errors", self.more)));
        }
        if self.list.is_empty() { Ok(()) } else { Err(self.list) }
    }
}
