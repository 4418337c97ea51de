//! Bytes that nobody may see: a user name and a password on their way from a client to their comparison.
//!
//! They cannot be printed, copied or compared, and are wiped when they are dropped. Copies in a register, on a stack
//! that was moved, or in the kernel's queue of a channel cannot be wiped.

use crate::bounded::BoundedBytes;
use serde::{Deserialize, Serialize};

/// At most `MAX` secret bytes, of any value.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<const MAX: usize>(BoundedBytes<MAX>);

impl<const MAX: usize> Secret<MAX> {
    /// Copies `bytes`; `None` if they are more than `MAX`. The caller wipes its own copy.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        BoundedBytes::new(bytes).map(Self)
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<const MAX: usize> Drop for Secret<MAX> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}
