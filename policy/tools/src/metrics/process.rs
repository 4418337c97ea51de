//! Figures from /proc about the monitor, as far as the user of this program may see them.

use super::page::Page;
use rustix::param::{clock_ticks_per_second, page_size};
use sockd_common::counters::Counters;
use std::fs;
use std::num::NonZeroU64;

/// Adds the figures. Only the start is added for a process of another namespace or for one that is no sockd.
pub(super) fn add(page: &mut Page, counters: &Counters) {
    page.unit(
        "process_start_time_seconds",
        "When the daemon was started, in seconds since 1970.",
        counters.started.get(),
    );
    let stat = fs::read_to_string(format!("/proc/{}/stat", counters.process.get()));
    let Some(process) = stat.ok().and_then(|stat| Process::read(&stat)) else { return };
    let ticks = NonZeroU64::new(clock_ticks_per_second()).unwrap_or(NonZeroU64::MIN);
    let milliseconds = process.ticks.saturating_mul(1000) / ticks;
    page.counter_of(
        "process_cpu_seconds",
        "seconds",
        "Processor time of the monitor.",
        format_args!("{}.{:03}", milliseconds / 1000, milliseconds % 1000),
    );
    page.unit(
        "process_resident_memory_bytes",
        "Memory of the monitor.",
        process.resident.saturating_mul(page_size() as u64),
    );
    page.unit("process_virtual_memory_bytes", "Addresses of the monitor.", process.mapped);
}

/// Fields of proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Process {
    /// Processor time, in user and kernel mode.
    ticks: u64,
    /// Bytes.
    mapped: u64,
    /// Pages.
    resident: u64,
}

impl Process {
    /// Reads the fields; `None` if the process is no sockd.
    fn read(stat: &str) -> Option<Self> {
        let (name, fields) = stat.rsplit_once(") ")?;
        name.ends_with("(sockd").then_some(())?;
        let fields: Vec<&str> = fields.split(' ').collect();
        // The third field of the manual is the first one here.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.trim().parse::<u64>().ok();
        let ticks = field(14)?.saturating_add(field(15)?);
        Some(Self { ticks, mapped: field(23)?, resident: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual_and_of_a_sockd_alone() {
        let fields =
            "S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 500 10485760 300 18446744073709551615";
        let of = |name: &str| Process::read(&format!("7 ({name}) {fields}"));
        assert_eq!(of("sockd"), Some(Process { ticks: 300, mapped: 10_485_760, resident: 300 }));
        assert_eq!(of("bash"), None);
        assert_eq!(Process::read("7 (sockd) S 1"), None);
    }
}
