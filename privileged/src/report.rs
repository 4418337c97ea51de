//! What protects this host: what is demanded at start, and what `sockd -ver` says after trying it out.

use crate::settings::{Sandbox, Settings};
use sockd_common::message::{Locks, PROTOCOL_VERSION};

/// Whether a worker that has put on these locks may be used; the error says what it lacks.
pub fn acceptable(locks: &Locks, settings: &Settings) -> Result<(), String> {
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
        "this kernel lacks {}; sockd does not start without, unless sockd.ron(5) says sandbox: best_effort",
        missing.join(", ")
    )
}
