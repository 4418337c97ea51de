//! The rules, routes, guards and hooks of `sockd`: what the administrator permits.
//!
//! This crate answers and does not fetch. Text or frozen bytes go in, decisions come out, and a fact that is missing is
//! asked for ([`Verdict::Need`]). The crate is `no_std`, so that opening a file or a socket here does not compile.
//!
//! A request goes through these files:
//!
//! 1. [`parse_conf`] turns the text of `sockd.conf` into a [`RuleSet`] (`conf`, `line`, `rules`); [`frozen`] loads one that
//!    was compiled before. What the lines compile to, and the search in it, is the crate `sockd_table`.
//! 2. [`guard::always_refused`] refuses what no rule may open.
//! 3. [`RuleSet::decide`] finds the first line that matches the [`Request`] and the [`Facts`] (`decide`).
//! 4. [`guard::refused_unless_named`] refuses what a broad permit opens by accident.
//! 5. [`Upstreams::way_for`] says whether to connect directly or through an upstream server, and [`Routes::source_for`]
//!    from which address.
//! 6. [`hook::expand`] fills in the shell command of the line, of which [`template`] has checked the text.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod conf;
mod decide;
mod destination;
mod embedded;
mod error;
pub mod frozen;
pub mod guard;
pub mod hook;
mod include;
mod line;
mod lint;
mod lint_balancers;
mod lint_text;
mod request;
mod route;
mod rules;
mod services;
mod sets;
pub mod template;
mod upstream;
mod user;

pub use conf::{Files, parse_conf, parse_conf_with};
pub use decide::{Deny, DenyReason, Permit, Verdict};
pub use destination::{Destination, parse_destination};
pub use embedded::{Nat64Prefix, embedded};
pub use error::{LineError, in_words};
pub use include::{Include, Included, Place};
pub use line::without_mark;
pub use lint::{Warning, lint, lint_routes};
pub use lint_balancers::lint_balancers;
pub use lint_text::lint_text;
pub use request::{Command, Facts, IdentMode, Identity, Login, Methods, Need, Request, Version};
pub use route::{Route, Routes, parse_routes};
pub use rules::{RuleRef, RuleSet};
pub use services::Services;
pub use template::Template;
pub use upstream::{Server, Upstream, Upstreams, Way, parse_upstreams, server_list};
pub use user::{UserId, UserIdError};

pub use sockd_table::{FactState, HostName, Limits, NameError, Network, Pattern, canonical};
