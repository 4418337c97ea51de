//! Acts that no honest worker commits.

/// A message that no honest worker sends; the text is for the log. The worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);
