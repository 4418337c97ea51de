//! Memory that the monitor writes and others may only read: the ledger of its sessions.
//!
//! [`memory`] makes such memory, and maps the memory of another process. [`writer`] is the monitor's side of the
//! ledger, whose layout is [`sockd_common::ledger`], and [`mod@ledger`] is the monitor's use of it; the administrator's
//! programs have the other side. [`counters`] has both sides of [`sockd_common::counters`]. [`fetch`] asks a status
//! socket for such memory. Reading costs the monitor nothing, and no lock is held: the monitor never waits for readers.

pub mod counters;
pub mod fetch;
pub mod ledger;
pub mod memory;
mod sys;
pub mod writer;
