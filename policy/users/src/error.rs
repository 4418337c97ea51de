//! The fault of a line. The text that was found is never shown: it may be somebody's password.

use alloc::string::String;
use core::fmt;

/// The expected text at a place, and a description of the text that was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The expected text.
    pub expected: &'static str,
    /// The text that was found, in other words.
    pub found: String,
}

impl Fault {
    pub(crate) fn new(expected: &'static str, found: impl Into<String>) -> Self {
        Self { expected, found: found.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// A fault with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The line, counted from 1.
    pub line: usize,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}
