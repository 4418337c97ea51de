//! The reason why nothing was done.

/// A failure: a line about it, and the status to exit with.
pub(super) struct Failed {
    pub(super) line: String,
    pub(super) status: u8,
}

impl Failed {
    pub(super) fn new(status: u8, line: impl std::fmt::Display) -> Self {
        Self { line: line.to_string(), status }
    }
}
