//! The auth worker's channel.
//!
//! A login, as the monitor and the auth worker tell it:
//!
//! ```text
//! monitor                                    auth worker
//! Setup                          ------->
//! Table + sealed memory          ------->    reads the users; whatever it knew before is forgotten
//!                                <-------    TableRead{users}, or TableUnread: then nobody can log in
//! Check{id, host, credentials}   ------->    waits behind checks of the same host, in turn with other hosts
//!                                <-------    Verdict{id, verdict}
//! ```
//!
//! Every `Check` is answered by exactly one `Verdict`, also after `Cancel{id}`, so that an id is free when its verdict
//! has come. An empty password is [`Verdict::Wrong`] for everybody. Without a table every check is answered with [`Verdict::Unchecked`].
//!
//! The monitor forwards the credentials as they are and keeps no copy of the password. The verdict names the groups of
//! the user, so that the monitor needs no table of its own: an attacker in a worker that was taken over could invent a
//! login as easily as a group.
//!
//! Nothing here is bound to a table of hashes. A program that asks a directory or PAM can speak the same messages: it
//! answers `Check` and ignores `Table`.

use super::{Id, LockdownReport, MAX_NAME, Message, Role, ToWorker};
use crate::bounded::{BoundedBytes, BoundedVec};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The most checks at a time; any further one is answered with [`Verdict::Unchecked`].
pub const MAX_CHECKS: usize = 64;

/// The most groups that a user has.
pub const MAX_GROUPS: usize = 32;

/// The time between two ticks. A remembered login is forgotten after [`TICKS`] of them.
pub const TICK: Duration = Duration::from_secs(30);

/// How long a login is remembered: five minutes at most.
pub const TICKS: u32 = 10;

/// The name of a group, as in group(5).
pub type Group = BoundedBytes<32>;

/// The groups of one user, in the order of the table.
pub type Groups = BoundedVec<Group, MAX_GROUPS>;

/// The user and password that a client has sent (RFC 1929), unverified. Both may have any bytes, and are never cut.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    /// The user.
    pub user: Secret<MAX_NAME>,
    /// The password.
    pub password: Secret<MAX_NAME>,
}

/// Neither part is ever shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Tells one client host from another: checks of different hosts take turns. The worker knows nothing else of the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct HostKey(pub u64);

/// Monitor to auth worker.
#[derive(Serialize, Deserialize)]
pub enum ToAuth {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// The table of users ([`crate::users`]) comes with this message, as memory that nobody can write. It replaces the
    /// table read before.
    Table,
    /// Another [`TICK`] has passed: the worker has no clock.
    Tick,
    /// Is this the user's password?
    Check {
        /// The check.
        id: Id,
        /// The host that the client comes from.
        host: HostKey,
        /// The user and the password to compare.
        credentials: Credentials,
    },
    /// Nobody waits for this verdict any longer.
    Cancel {
        /// The check.
        id: Id,
    },
}

/// Auth worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromAuth {
    /// Locked down and waiting.
    Ready(LockdownReport),
    /// The table is in force.
    TableRead {
        /// Users in it.
        users: u32,
    },
    /// The memory that came is not a table: there is none until the next one.
    TableUnread,
    /// The check has ended.
    Verdict {
        /// The check.
        id: Id,
        /// The result.
        verdict: Verdict,
    },
}

/// The result of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The password is the user's.
    Verified {
        /// The groups that the user is in.
        groups: Groups,
        /// Nothing was compared: this login was verified a moment ago.
        is_remembered: bool,
    },
    /// There is no such user, or this is not the password: the two are not told apart.
    Wrong,
    /// Nothing was compared: there is no table, too much is under way, or the check was cancelled.
    Unchecked,
}

impl Message for ToAuth {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Table)
    }
}

impl ToWorker for ToAuth {
    const ROLE: Role = Role::Auth;
}

impl Message for FromAuth {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MAX_PACKET, decode, encode};

    #[test]
    fn the_longest_user_and_password_arrive_uncut() {
        let (user, password) = ([0xff; 255], [0; 255]);
        let credentials =
            Credentials { user: Secret::new(&user).unwrap(), password: Secret::new(&password).unwrap() };
        let check = ToAuth::Check { id: Id(u32::MAX), host: HostKey(u64::MAX), credentials };
        let mut buffer = [0; MAX_PACKET];
        let packet = encode(&check, &mut buffer).unwrap();
        let Ok(ToAuth::Check { id, host, credentials }) = decode(packet) else { panic!("no check") };
        assert_eq!((id, host), (Id(u32::MAX), HostKey(u64::MAX)));
        assert_eq!(
            (credentials.user.as_bytes(), credentials.password.as_bytes()),
            (&user[..], &password[..])
        );
    }

    #[test]
    fn the_most_groups_with_the_longest_names_fit_into_a_packet() {
        let group = Group::new(&[b'g'; 32]).unwrap();
        let groups = Groups::first_of(std::iter::repeat_n(group, MAX_GROUPS));
        let verdict = FromAuth::Verdict {
            id: Id(u32::MAX),
            verdict: Verdict::Verified { groups, is_remembered: true },
        };
        assert_eq!(decode(encode(&verdict, &mut [0; MAX_PACKET]).unwrap()), Ok(verdict));
    }
}
