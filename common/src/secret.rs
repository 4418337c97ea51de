//! Bytes that nobody may see: a user name and a password on their way from a client to who compares them.
//!
//! They cannot be printed, copied or compared, and are wiped when they are dropped. What cannot be had: a copy in a
//! register, on a stack that was moved, or in the kernel's queue of a channel until it is overwritten.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// At most `MAX` secret bytes, of any value.
pub struct Secret<const MAX: usize>(Zeroizing<Box<[u8]>>);

impl<const MAX: usize> Secret<MAX> {
    /// Copies `bytes`, or gives nothing where they are more than `MAX`. Whoever has them wipes his own copy.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX).then(|| Self(Zeroizing::new(bytes.into())))
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Serialize for Secret<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Secret<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(SecretVisitor)
    }
}

struct SecretVisitor<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for SecretVisitor<MAX> {
    type Value = Secret<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Secret::new(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}
