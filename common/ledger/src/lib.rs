//! Memory that the monitor writes and others may only read: the ledger of its sessions.
//!
//! [`memory`] makes such memory, and maps what another process has made. [`writer`] and [`reader`] are the two sides of
//! the ledger, whose layout is [`sockd_common::ledger`]; [`mod@ledger`] is what the monitor has of it. [`counters`] has
//! both sides of [`sockd_common::counters`]. [`fetch`] asks a status socket for it. Reading costs the monitor nothing, and
//! no lock is held: the monitor never waits for who looks.

pub mod counters;
pub mod fetch;
pub mod ledger;
pub mod memory;
pub mod reader;
mod sys;
pub mod writer;
