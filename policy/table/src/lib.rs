//! The compiled table of rules, routes or upstream lines, and the search for the first line that matches.
//!
//! A [`Builder`] collects lines into a [`Table`], or [`frozen::thaw`] loads one. [`Table::find`] answers a [`Query`].
//! The table does not know what the lines of a file decide; a [`Kind`] does.
//!
//! ```text
//! query      the question and the answer                 search     the search, and the scan that defines it
//! table      all arrays of a compiled file               index      the rules by pattern
//! columns    the items of these arrays                   lists      the rules of each pattern
//! protocol   commands, versions and methods              asked      the methods asked of a client, by its address
//! limits     the limits of a permitted connection        stride     the search among very many prefixes
//! users      user lists                                  strings    the string pool
//! patterns   the patterns for one host                   pattern    the condition of a line for a host
//! prefixes   networks, by longest prefix                 address    addresses and networks
//! zones      domains and zones, by reversed name         name       host names
//! builder    from lines to a table                       frozen     from a file to a table and back
//! ```
//!
//! The crate is `no_std`, as the decisions that rest on it are: opening a file or a socket here does not compile.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod asked;
mod builder;
mod columns;
pub mod frozen;
mod index;
mod kind;
mod limits;
mod lists;
mod name;
mod pattern;
mod patterns;
mod prefixes;
mod protocol;
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
pub use limits::Limits;
pub use name::{HostName, NameError, is_mistyped_address};
pub use pattern::Pattern;
pub use protocol::Protocol;
pub use query::{End, FactState, Found, Host, InDoubt, Query};
pub use table::Table;
