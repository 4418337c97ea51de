//! Compares passwords with hashes, and makes hashes: the one place that computes them, by the crates that are kept for
//! it.
//!
//! What a hash may look like and cost is decided elsewhere, where the file of users is read; here it is only followed.

#![forbid(unsafe_code)]

mod check;
mod make;
mod tag;

pub use check::{Check, check};
pub use make::{How, MakeError, SALT, make};
pub use tag::{KEY, tag};
