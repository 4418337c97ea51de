//! Landlock: no file, no port and no signal beyond what is named here.
//!
//! The crate's own compatibility mode would return `Ok` for half of what was asked. So the ABI of the running
//! kernel is read first, everything of that ABI is demanded, and only full enforcement counts.

use crate::{LockError, sys};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::path::Path;

/// The state of Landlock in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandlockStatus {
    /// The ABI that the kernel offers; 0 without Landlock.
    pub abi: u8,
    /// Everything in that ABI that the `landlock` crate knows is denied, except for the requested grants.
    pub enforced: bool,
}

/// The accesses that stay possible under Landlock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grants<'a> {
    /// Files, and folders with everything below them, that may be read and listed.
    pub read: &'a [&'a Path],
    /// Folders whose files may be removed.
    pub remove: &'a [&'a Path],
    /// Ports may be bound and connected to, and Unix sockets reached.
    pub network: bool,
}

/// Denies everything that the running kernel can deny.
pub fn landlock_deny_all() -> Result<LandlockStatus, LockError> {
    landlock_deny_all_but(&Grants::default())
}

/// Denies everything that the running kernel can deny, except for the grants.
///
/// A path that does not exist is passed over: nothing is permitted for it, also when it appears later.
pub fn landlock_deny_all_but(grants: &Grants<'_>) -> Result<LandlockStatus, LockError> {
    since(1, |abi| restrict(ABI::from(i32::from(abi)), grants))
}

/// Denies only signals to processes outside, if the kernel can (ABI 6). It is for a process that starts programs of
/// others, which inherit it. With any Landlock, ptrace(2) reaches nobody outside either. Denials of those programs
/// stand in the audit log, as those of this process do, if the kernel can write it (ABI 7).
pub fn landlock_keep_signals_inside() -> Result<LandlockStatus, LockError> {
    since(6, |abi| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset.scope(Scope::Signal)?.create()?.log_new_exec(abi >= 7)?.restrict_self()
    })
}

/// Puts a ruleset on this process if the kernel offers this ABI or a later one; `restrict` gets the kernel's ABI.
fn since(
    least: u8,
    restrict: impl FnOnce(u8) -> Result<RestrictionStatus, RulesetError>,
) -> Result<LandlockStatus, LockError> {
    let abi = sys::landlock_abi();
    if abi < least {
        return Ok(LandlockStatus { abi, enforced: false });
    }
    let status = restrict(abi).map_err(LockError::at("Landlock"))?;
    Ok(LandlockStatus { abi, enforced: status.ruleset == RulesetStatus::FullyEnforced })
}

/// The accesses to files that are denied unless a rule grants them. A restarted log is a new Unix socket at a path that
/// no rule can name in advance, and reaching it is one of the rights since ABI 9.
fn handled(abi: ABI, grants: &Grants<'_>) -> BitFlags<AccessFs> {
    let mut files = AccessFs::from_all(abi);
    if grants.network {
        files.remove(AccessFs::ResolveUnix);
    }
    files
}

fn restrict(abi: ABI, grants: &Grants<'_>) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled(abi, grants))?;
    // An empty set of rights is an error: ports came with ABI 4, scopes with ABI 6.
    let (ports, mut scopes) = (AccessNet::from_all(abi), Scope::from_all(abi));
    if !ports.is_empty() && !grants.network {
        ruleset = ruleset.handle_access(ports)?;
    }
    if grants.network {
        scopes.remove(Scope::AbstractUnixSocket);
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    ruleset
        .create()?
        .add_rules(path_beneath_rules(grants.read, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(grants.remove, AccessFs::RemoveFile))?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_network_reaches_the_log_on_kernels_to_come_and_nobody_else() {
        let network = Grants { network: true, ..Grants::default() };
        for abi in [ABI::V9, ABI::V10] {
            assert!(handled(abi, &Grants::default()).contains(AccessFs::ResolveUnix), "{abi:?}");
            assert_eq!(AccessFs::from_all(abi) & !handled(abi, &network), AccessFs::ResolveUnix, "{abi:?}");
        }
        assert_eq!(handled(ABI::V7, &network), handled(ABI::V7, &Grants::default()));
    }
}
