//! The faults of a frozen file.

use core::fmt;

/// The version of the format that is written and read.
pub(super) const VERSION: u16 = 4;

/// The reason why bytes are not a frozen file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenError {
    /// The bytes do not begin like a frozen file.
    Magic,
    /// The file has another format version.
    Version(u16),
    /// The file is of another kind.
    Kind(u16),
    /// The file is shorter or longer than it says.
    Length,
    /// The checksum does not match.
    Checksum,
    /// No text would be frozen to this content.
    Content(&'static str),
}

impl fmt::Display for FrozenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrozenError::Magic => f.write_str("expected a frozen file, found something else"),
            FrozenError::Version(found) => write!(f, "expected format version {VERSION}, found {found}"),
            FrozenError::Kind(found) => write!(f, "expected another kind of frozen file, found kind {found}"),
            FrozenError::Length => f.write_str("expected a file as long as it says, found another length"),
            FrozenError::Checksum => f.write_str("expected its SHA-256 to hold, found a damaged file"),
            FrozenError::Content(fault) => write!(f, "expected what a text freezes to, found {fault}"),
        }
    }
}

impl core::error::Error for FrozenError {}
