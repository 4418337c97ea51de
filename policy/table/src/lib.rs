//! The compiled rule table: what rules, routes and upstream lines become, and the search for the first line that matches.
//!
//! A [`Builder`] collects lines into a [`Table`], or [`frozen::thaw`] loads one. [`Table::find`] answers a [`Query`]. What
//! the lines of a file decide is not known here; a [`Kind`] knows it.
//!
//! `no_std`, as the decisions that rest on the table are: opening a file or a socket here does not compile.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod builder;
mod columns;
pub mod frozen;
mod index;
mod kind;
mod lists;
mod name;
mod pattern;
mod patterns;
mod prefixes;
mod query;
mod search;
mod stride;
mod strings;
mod table;
mod users;
mod zones;

pub use address::{Network, canonical};
pub use builder::Builder;
pub use columns::{LONGEST_LINE, Op, Ports, Rule, RuleBody};
pub use kind::Kind;
pub use name::{HostName, NameError, is_mistyped_address};
pub use pattern::Pattern;
pub use query::{End, FactState, Found, Host, InDoubt, Query};
pub use table::Table;
