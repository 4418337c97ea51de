//! Limits of one client host, and of all together: counts, rates, and lines of the log.

mod bucket;
pub mod counts;
pub mod fair_share;
pub mod limit;
pub mod lines;
pub mod logins;
mod memory;
pub mod quiet_log;
pub mod rate;
