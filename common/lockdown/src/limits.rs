//! Locks that are a single call: flags of the process and its resource limits.

use crate::LockError;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, SpeculationFeature, SpeculationFeatureControl,
    control_speculative_feature, dumpable_behavior, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread;

/// No program that is executed from here on gains anything (PR_SET_NO_NEW_PRIVS).
pub fn no_new_privileges() -> Result<(), LockError> {
    thread::set_no_new_privs(true).map_err(LockError::at("no_new_privs"))
}

/// No core dump, and no ptrace(2) or /proc/PID/mem by others of the same user.
pub fn not_dumpable() -> Result<(), LockError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(LockError::at("dumpable"))?;
    match dumpable_behavior() {
        Ok(DumpableBehavior::NotDumpable) => Ok(()),
        found => Err(LockError::new("dumpable", format!("still {found:?}"))),
    }
}

/// Forbids speculation past stores, and sharing branch history with others on the processor, for good
/// (PR_SET_SPECULATION_CTRL, PR_SPEC_FORCE_DISABLE). A kernel or processor that leaves no choice stays as it is.
pub fn restrict_speculation() {
    for feature in [SpeculationFeature::SpeculativeStoreBypass, SpeculationFeature::IndirectBranchSpeculation]
    {
        let _ = control_speculative_feature(feature, SpeculationFeatureControl::FORCE_DISABLE);
    }
}

/// The kernel kills this process when its parent ends. Comes after every change of ids or capabilities, which
/// clears it (prctl(2), PR_SET_PDEATHSIG).
///
/// A parent that had ended before this call goes unnoticed here; its end of the channel is closed then, and that
/// ends this process too.
pub fn die_with_parent() -> Result<(), LockError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(LockError::at("parent-death signal"))?;
    match parent_process_death_signal() {
        Ok(Some(signal)) if signal == Signal::KILL => Ok(()),
        found => Err(LockError::new("parent-death signal", format!("is {found:?}"))),
    }
}

/// Sets the soft and the hard limit of a resource; [`None`] is no limit.
pub fn limit(resource: Resource, value: Option<u64>) -> Result<(), LockError> {
    setrlimit(resource, Rlimit { current: value, maximum: value })
        .map_err(|error| LockError::new("resource limit", format!("{resource:?}: {error}")))
}
