//! The layers of the sandbox that are required, and what the administrator is told if one is missing.

use crate::settings::{Sandbox, Settings};
use sockd_common::message::{LockdownReport, PROTOCOL_VERSION};

/// Whether a worker with these locks may be used; the error says what it lacks.
pub fn acceptable(locks: &LockdownReport, settings: &Settings) -> Result<(), String> {
    if locks.protocol != PROTOCOL_VERSION {
        return Err(format!(
            "protocol {}, expected {PROTOCOL_VERSION}: sockd and sockd-worker are of different versions",
            locks.protocol
        ));
    }
    match (settings.sandbox, locks.landlock_enforced) {
        (Sandbox::Required, false) => Err(refusal(&["Landlock".into()])),
        _ => Ok(()),
    }
}

/// Why the daemon does not start without a layer.
pub fn refusal(missing: &[String]) -> String {
    format!(
        "this system lacks {}; sockd does not start without, unless sockd.ron(5) says sandbox: best_effort; `sockd -ver` \
         tries every layer",
        missing.join(", ")
    )
}

/// The missing layers: those that the spawner found missing and those that a worker did.
pub fn missing(mut missing: Vec<String>, locks: &LockdownReport) -> Vec<String> {
    if !locks.landlock_enforced && !missing.iter().any(|layer| layer == "Landlock") {
        missing.push("Landlock".into());
    }
    missing
}

/// The warning at a start without all layers; `None` if no layer is missing.
pub fn reduced(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| {
        format!(
            "this system lacks {}; sockd serves without; `sockd -ver` tries every layer",
            missing.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: LockdownReport = LockdownReport {
        protocol: PROTOCOL_VERSION,
        landlock_abi: 7,
        landlock_enforced: true,
        memory_deny_write_execute: true,
    };

    #[test]
    fn a_worker_of_another_protocol_is_not_used() {
        let older = LockdownReport { protocol: PROTOCOL_VERSION - 1, ..LOCKS };
        let error = acceptable(&older, &Settings::default()).unwrap_err();
        assert!(error.contains("of different versions"), "{error}");
        assert_eq!(acceptable(&LOCKS, &Settings::default()), Ok(()));
    }

    #[test]
    fn without_landlock_a_worker_is_used_only_where_the_settings_allow_it() {
        let open = LockdownReport { landlock_abi: 0, landlock_enforced: false, ..LOCKS };
        assert!(acceptable(&open, &Settings::default()).is_err());
        let best_effort = Settings { sandbox: Sandbox::BestEffort, ..Settings::default() };
        assert_eq!(acceptable(&open, &best_effort), Ok(()));
    }
}
