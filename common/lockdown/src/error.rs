//! Why a lock does not hold.

use std::fmt::Display;
use thiserror::Error;

/// A lock that could not be put on, and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{lock}: {found}")]
pub struct LockError {
    lock: &'static str,
    found: String,
}

impl LockError {
    /// The lock that was tried, and the result.
    pub fn new(lock: &'static str, found: impl Display) -> Self {
        Self { lock, found: found.to_string() }
    }

    /// For use with `map_err`.
    pub fn at<E: Display>(lock: &'static str) -> impl Fn(E) -> Self {
        move |found| Self::new(lock, found)
    }
}
