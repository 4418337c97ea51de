//! Giving up capabilities in all five sets, and the ways back to them.

use crate::LockError;
use rustix::thread::{
    CapabilitiesSecureBits as Bits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_ambient_set, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

/// Keeps at most `keep` in the permitted and effective set, and nothing in the ambient and inheritable ones.
///
/// CAP_SETPCAP is needed for the bounding set and the securebits, so these come before the permitted set shrinks.
/// A process that has lost that capability already leaves the two as they are: with no_new_privs set, nothing can be
/// regained from them.
pub fn keep_only(keep: CapabilitySet) -> Result<(), LockError> {
    clear_ambient_capability_set().map_err(LockError::at("ambient capabilities"))?;
    let held = capabilities(None).map_err(LockError::at("capabilities"))?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        shrink_bounding_set(keep)?;
        set_capabilities_secure_bits(LOCKED_BITS).map_err(LockError::at("securebits"))?;
    }
    // Never more than there are: asking for a capability outside the permitted set would be an error.
    let kept = held.permitted & keep;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(LockError::at("capabilities"))?;
    read_back(sets)
}

/// SECBIT_NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off and NO_CAP_AMBIENT_RAISE, each with its lock.
const LOCKED_BITS: Bits = Bits::NO_ROOT
    .union(Bits::NO_ROOT_LOCKED)
    .union(Bits::NO_SETUID_FIXUP)
    .union(Bits::NO_SETUID_FIXUP_LOCKED)
    .union(Bits::KEEP_CAPS_LOCKED)
    .union(Bits::NO_CAP_AMBIENT_RAISE)
    .union(Bits::NO_CAP_AMBIENT_RAISE_LOCKED);

/// Every capability that there may be. The kernel answers EINVAL for those that it does not have.
fn every() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).filter_map(|number| 1_u64.checked_shl(number)).map(CapabilitySet::from_bits_retain)
}

fn shrink_bounding_set(keep: CapabilitySet) -> Result<(), LockError> {
    let surplus = every().filter(|capability| !keep.contains(*capability));
    surplus
        .filter(|capability| capability_is_in_bounding_set(*capability) == Ok(true))
        .try_for_each(remove_capability_from_bounding_set)
        .map_err(LockError::at("bounding set"))
}

/// What the kernel says now, and an error where it is not this, or an ambient capability is left.
fn read_back(expected: CapabilitySets) -> Result<(), LockError> {
    let found = capabilities(None).map_err(LockError::at("capabilities"))?;
    let is_ambient = |capability| capability_is_in_ambient_set(capability) == Ok(true);
    match found == expected && !every().any(is_ambient) {
        true => Ok(()),
        false => Err(LockError::new("capabilities", format!("wanted {expected:?}, found {found:?}"))),
    }
}
