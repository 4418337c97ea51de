//! The acts: a row each, with what the sandbox is to prevent.
//!
//! Most are one system call. If an act takes two, the first is forbidden already; the control needs both.

#[cfg(target_arch = "x86_64")]
mod conventions;
mod files;
mod kernel;
mod memory;
mod network;
mod others;
mod programs;
mod row;

pub(crate) use network::{ABSTRACT, LOG};
pub(crate) use others::SIGIO;
use row::Row;
pub(crate) use row::Slot;

/// Something that a worker in an attacker's hands might try.
pub(crate) struct Act {
    /// The part of the system that it is about.
    pub group: &'static str,
    /// The act in words.
    pub name: &'static str,
    /// Whether it is one of the 139 that the floors of each layer were first measured with.
    pub classic: bool,
    /// Does it; gives the negated errno if the kernel refuses.
    pub attempt: fn(&Slot) -> i64,
}

/// The tables with what they are about, in an order that does not change while the program runs.
const TABLES: &[(&str, &[Row])] = &[
    ("files", files::ACTS),
    ("processes and programs", programs::ACTS),
    ("memory", memory::ACTS),
    ("other processes", others::ACTS),
    ("network", network::ACTS),
    ("kernel", kernel::ACTS),
    #[cfg(target_arch = "x86_64")]
    ("kernel", conventions::ACTS),
];

/// All of them, in that order.
pub(crate) fn all() -> Vec<Act> {
    let acts_of = |(group, rows): &(&'static str, &'static [Row])| {
        let group = *group;
        rows.iter().map(move |row| Act { group, name: row.name, classic: row.classic, attempt: row.attempt })
    };
    TABLES.iter().flat_map(acts_of).collect()
}
