//! What the administrator permits: rules, routes, guards and rule commands of `sockd`.
//!
//! This crate answers, it does not fetch: text or frozen bytes go in, decisions come out, and a fact that is
//! missing is asked for ([`Verdict::Need`]). It is `no_std`, so that opening a file or a socket here does not compile.
//!
//! The way of one question: [`parse_conf`] turns `sockd.conf` into a [`RuleSet`] or into a list of
//! [`LineError`]s; [`RuleSet::decide`] finds the first matching line; [`guard`] refuses what no broad permit may open;
//! [`Routes::source_for`] says from which address to go out; [`hook`] fills in the line's shell command.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod conf;
mod decide;
mod destination;
mod error;
pub mod frozen;
pub mod guard;
pub mod hook;
mod line;
mod lint;
mod request;
mod route;
mod rules;
mod services;
pub mod template;
mod upstream;
mod user;

pub use conf::parse_conf;
pub use decide::{Deny, DenyReason, Permit, Verdict};
pub use destination::{Destination, parse_destination};
pub use error::{LineError, in_words};
pub use line::without_mark;
pub use lint::{Warning, lint};
pub use request::{Command, Facts, IdentMode, Identity, Need, Request};
pub use route::{Route, Routes, parse_routes};
pub use rules::{RuleRef, RuleSet};
pub use services::Services;
pub use template::Template;
pub use upstream::{Server, Upstream, Upstreams, Way, parse_upstreams, server_list};
pub use user::{UserId, UserIdError};

pub use sockd_table::{FactState, HostName, NameError, Network, Pattern, canonical};
