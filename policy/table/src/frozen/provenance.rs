//! The provenance of a frozen file.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

/// The files that a frozen file was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The path of the text file.
    pub name: String,
    /// The time of the last change of the text, in seconds since 1970.
    pub modified: u64,
    /// The [`hash`] of the text.
    pub text: [u8; 32],
    /// The path and the [`hash`] of every user file that was read.
    pub user_files: Vec<(String, [u8; 32])>,
}

/// SHA-256, as frozen files and their provenance have it.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
