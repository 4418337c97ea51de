//! The administrator's programs: freezing, listing, testing and translating what `sockd` is told.
//!
//! The programs themselves (`src/bin`) name one function each; this crate has what they share. All decisions are those of
//! `sockd-policy`, which the daemon asks as well.
#![forbid(unsafe_code)]

pub mod check;
pub mod cli;
pub mod ctl;
pub mod dump;
pub mod exporter;
pub mod files;
pub mod ledger;
pub mod make;
pub mod metrics;
pub mod migrate;
pub mod passwd;
pub mod which;
