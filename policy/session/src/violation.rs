//! What no honest worker does.

/// A worker has said what it could not honestly say; the text is for the log. It is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);
