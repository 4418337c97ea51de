//! Giving up capabilities in all five sets, and the ways back to them.

use crate::LockError;
use caps::{CapSet, Capability, CapsHashSet};
use rustix::thread::{CapabilitiesSecureBits as Bits, set_capabilities_secure_bits};

/// Keeps at most `keep` in the permitted and effective set, and nothing in the ambient and inheritable ones.
///
/// CAP_SETPCAP is needed for the bounding set and the securebits, so these come before the permitted set shrinks.
/// A process that has lost that capability already leaves the two as they are: with no_new_privs set, nothing can be
/// regained from them.
pub fn keep_only(keep: &[Capability]) -> Result<(), LockError> {
    let keep: CapsHashSet = keep.iter().copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(LockError::at("ambient capabilities"))?;
    let can_lock = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)
        .map_err(LockError::at("effective capabilities"))?;
    if can_lock {
        shrink_bounding_set(&keep)?;
        set_capabilities_secure_bits(Bits::from_bits_retain(LOCKED_BITS))
            .map_err(LockError::at("securebits"))?;
    }
    caps::clear(None, CapSet::Inheritable).map_err(LockError::at("inheritable capabilities"))?;
    // Never more than there are: asking for a capability outside the permitted set would be an error. The
    // effective set must shrink first, as it may not exceed the permitted one at any time.
    let held = caps::read(None, CapSet::Permitted).map_err(LockError::at("permitted capabilities"))?;
    let kept: CapsHashSet = held.intersection(&keep).copied().collect();
    caps::set(None, CapSet::Effective, &kept).map_err(LockError::at("effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(LockError::at("permitted capabilities"))?;
    read_back(&kept)
}

/// SECBIT_NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off and NO_CAP_AMBIENT_RAISE, each with its lock.
const LOCKED_BITS: u32 = Bits::NO_ROOT.bits()
    | Bits::NO_ROOT_LOCKED.bits()
    | Bits::NO_SETUID_FIXUP.bits()
    | Bits::NO_SETUID_FIXUP_LOCKED.bits()
    | Bits::KEEP_CAPS_LOCKED.bits()
    | Bits::NO_CAP_AMBIENT_RAISE.bits()
    | Bits::NO_CAP_AMBIENT_RAISE_LOCKED.bits();

fn shrink_bounding_set(keep: &CapsHashSet) -> Result<(), LockError> {
    for capability in caps::runtime::thread_all_supported() {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(LockError::at("bounding set"))?;
        }
    }
    Ok(())
}

/// Reads the sets back from the kernel; an error if one holds more than `kept`.
fn read_back(kept: &CapsHashSet) -> Result<(), LockError> {
    let nothing = CapsHashSet::new();
    for (set, expected, name) in [
        (CapSet::Ambient, &nothing, "ambient capabilities"),
        (CapSet::Inheritable, &nothing, "inheritable capabilities"),
        (CapSet::Effective, kept, "effective capabilities"),
        (CapSet::Permitted, kept, "permitted capabilities"),
    ] {
        let found = caps::read(None, set).map_err(LockError::at(name))?;
        if found != *expected {
            return Err(LockError::new(name, format!("wanted {expected:?}, found {found:?}")));
        }
    }
    Ok(())
}
