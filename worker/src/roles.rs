//! The roles of this program, a row for each.

use crate::lockdown::Inherited;
use crate::profile::{
    PROFILE_AUTH, PROFILE_DATAGRAM, PROFILE_IDENT, PROFILE_RESOLVER, PROFILE_SESSION, PROFILE_UPSTREAM,
};
use crate::{Ending, auth, datagram, ident, probe, resolver, session, upstream};
use sockd_common::message::Role;
use sockd_lockdown::Row;

/// How the program serves one role.
#[derive(Debug)]
pub struct Entry {
    /// The role; its word is the program's only argument.
    pub role: Role,
    /// The system calls that it has.
    pub profile: &'static [Row],
    /// Locks the process down to the profile and serves the channel until the monitor closes it.
    pub run: fn(Inherited, &'static [Row]) -> Ending,
}

/// The row of each role.
pub const ROLES: [Entry; 7] = [
    Entry { role: Role::Session, profile: PROFILE_SESSION, run: session::run },
    Entry { role: Role::Datagram, profile: PROFILE_DATAGRAM, run: datagram::run },
    Entry { role: Role::Ident, profile: PROFILE_IDENT, run: ident::run },
    Entry { role: Role::Resolver, profile: PROFILE_RESOLVER, run: resolver::run },
    Entry { role: Role::Upstream, profile: PROFILE_UPSTREAM, run: upstream::run },
    Entry { role: Role::Auth, profile: PROFILE_AUTH, run: auth::run },
    // The probe runs behind the very locks of a session worker.
    Entry { role: Role::Probe, profile: PROFILE_SESSION, run: probe::run },
];

/// The role that a word on the command line names.
pub fn named(word: &str) -> Option<&'static Entry> {
    const { &ROLES }.iter().find(|entry| entry.role.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_row_of_its_own() {
        for role in Role::ALL {
            assert_eq!(ROLES.iter().filter(|entry| entry.role == role).count(), 1, "{role:?}");
            assert_eq!(named(role.as_str()).map(|entry| entry.role), Some(role));
        }
        assert!(named("monitor").is_none());
    }
}
