//! Compares passwords with hashes, and makes hashes. This is the one place that computes them, with dedicated crates.
//!
//! The form and the cost of a hash are limited elsewhere, where the file of users is read.

#![forbid(unsafe_code)]

mod check;
mod make;
mod tag;

pub use check::{Check, check};
pub use make::{How, MakeError, SALT, make};
pub use tag::{KEY, tag};
