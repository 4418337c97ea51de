//! AppArmor: under the packages' profile, the monitor puts a stricter one on top of it.
//!
//! A process with no_new_privs cannot exchange its profile for another one. It can stack one on top, and then may do
//! only what both permit.

use crate::process::error::StartError;
use std::fs;

/// The profile that the units name.
const PROFILE: &str = "sockd";

/// The file that has this process's profile, and takes a change of it.
const CURRENT: &str = "/proc/self/attr/apparmor/current";

/// Confines this process further if it is under the packages' profile. Otherwise there is nothing to add to: no
/// AppArmor, no profile, or the profile of another package.
pub fn confine_monitor() -> Result<(), StartError> {
    let label = fs::read_to_string(CURRENT).unwrap_or_default();
    if !is_ours(&label) {
        return Ok(());
    }
    fs::write(CURRENT, format!("stack {PROFILE}//monitor")).map_err(|error| {
        let why = sockd_policy::in_words(error);
        StartError::system(format!(
            "AppArmor: expected the profile {PROFILE}//monitor beside {PROFILE}: {why}"
        ))
    })
}

/// Whether a label is the packages' profile: its name, and its mode in parentheses.
fn is_ours(label: &str) -> bool {
    label.trim_end().split_once(" (").is_some_and(|(name, mode)| name == PROFILE && mode.ends_with(')'))
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_the_packages_own_profile_is_added_to() {
        for (label, ours) in [
            ("sockd (enforce)\n", true),
            ("sockd (complain)", true),
            ("sockd//&sockd//monitor (enforce)\n", false),
            ("docker-default (enforce)\n", false),
            ("unconfined\n", false),
            ("sockd\n", false),
            ("", false),
        ] {
            assert_eq!(is_ours(label), ours, "{label}");
        }
    }
}
