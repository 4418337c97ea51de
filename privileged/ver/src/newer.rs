//! Locks that only newer kernels have: each is used if it exists, and none is required.

use crate::layers::Status;
use crate::report::{Layer, layer};
use rustix::fs::fcntl_get_seals;
use sockd::process::{child, descriptors};
use sockd_common::message::LockdownReport;

/// F_SEAL_EXEC (Linux 6.3).
const SEALED: u32 = 0x20;

/// The locks that this kernel has, by the report and the status of a worker.
pub(crate) fn newer(locks: &LockdownReport, worker: &Status) -> Vec<Layer> {
    let used =
        |name, is_used: bool| layer(name, is_used, if is_used { "used" } else { "not in this kernel" });
    let is_sealed = descriptors::memory("sockd-ver")
        .is_ok_and(|memory| fcntl_get_seals(&memory).is_ok_and(|seals| seals.bits() & SEALED != 0));
    let refuses = child::channel().is_ok_and(|(ours, _)| descriptors::refuse_descriptors(&ours));
    vec![
        used("Executable memory refused (PR_SET_MDWE)", locks.memory_deny_write_execute),
        used("Shared memory sealed against execution (MFD_NOEXEC_SEAL)", is_sealed),
        used("Channels refuse descriptors (SO_PASSRIGHTS)", refuses),
        used("Denials of rule commands in the audit log (Landlock ABI 7)", locks.landlock_abi >= 7),
        speculation("Store bypass in workers", &worker.field("Speculation_Store_Bypass")),
        speculation("Indirect branches in workers", &worker.field("SpeculationIndirectBranch")),
    ]
}

/// The layer of a mitigation; proc(5) says "thread force mitigated", "conditional force disabled", "not vulnerable".
fn speculation(name: &'static str, found: &str) -> Layer {
    let is_used =
        ["force", "mitigated", "not vulnerable", "always disabled"].iter().any(|word| found.contains(word));
    layer(name, is_used, found)
}
