//! The users, as the loader has handed them over.

use sockd_common::message::auth::{Credentials, Groups};
use sockd_common::users::{self, Head, Row};
use sockd_password::{Check, check};
use std::collections::BTreeMap;

/// The users by their names.
pub(super) struct Table {
    users: BTreeMap<Box<[u8]>, User>,
    /// A hash of the kind that most users have.
    typical: Option<Box<str>>,
}

struct User {
    /// The hash of the password; `None` for a user who is locked.
    hash: Option<Box<str>>,
    groups: Groups,
}

impl Table {
    /// Reads a whole table; `None` if a part of it is invalid.
    pub(super) fn read(table: &[u8]) -> Option<Self> {
        let (mut users, mut hashes) = (BTreeMap::new(), 0_u32);
        let mut typical = None;
        let wanted = users::decode(table, |_| {}).map(|Head { typical, .. }| typical)?;
        users::decode(table, |Row { name, hash, groups }| {
            if wanted == Some(hashes) {
                typical.clone_from(&hash);
            }
            hashes = hashes.saturating_add(1);
            users.insert(name.as_bytes().into(), User { hash, groups });
        })?;
        Some(Self { users, typical })
    }

    /// The number of users.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.users.len()).unwrap_or(u32::MAX)
    }

    /// Whether the password is the user's. If the user is unknown or locked, the password is compared with another
    /// hash, so that the answer takes as long as for most users.
    pub(super) fn verifies(&self, credentials: &Credentials) -> bool {
        let own = self.users.get(credentials.user.as_bytes()).and_then(|user| user.hash.as_deref());
        let hash = own.or(self.typical.as_deref());
        let compared = hash.map(|hash| check(credentials.password.as_bytes(), hash));
        compared == Some(Check::Right) && own.is_some()
    }

    /// The groups of a user who is there and not locked.
    pub(super) fn groups(&self, credentials: &Credentials) -> Option<Groups> {
        let user = self.users.get(credentials.user.as_bytes())?;
        user.hash.as_ref().map(|_| user.groups.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::bounded::BoundedBytes;
    use sockd_common::message::auth::Group;
    use sockd_common::secret::Secret;
    use sockd_password::{How, make};

    fn table() -> Table {
        let hash = |salt| Some(make(How::Bcrypt(4), b"sesame", [salt; 16]).unwrap().into_boxed_str());
        let groups = Groups::first_of([Group::new(b"staff").unwrap()]);
        let rows = [("root", None), ("joe", hash(1)), ("eve", hash(2))].map(|(name, hash)| Row {
            name: BoundedBytes::new(name.as_bytes()).unwrap(),
            hash,
            groups: groups.clone(),
        });
        Table::read(&users::encode(&rows, Some(1)).unwrap()[users::PREFIX..]).unwrap()
    }

    fn login(user: &str, password: &str) -> Credentials {
        let secret = |text: &str| Secret::new(text.as_bytes()).unwrap();
        Credentials { user: secret(user), password: secret(password) }
    }

    #[test]
    fn only_a_user_with_a_hash_and_its_password_is_verified() {
        let table = table();
        assert_eq!((table.len(), table.typical.is_some()), (3, true));
        for (user, password, verified) in [
            ("joe", "sesame", true),
            ("eve", "sesame", true),
            ("joe", "Sesame", false),
            ("joe", "", false),
            ("root", "sesame", false),
            ("nobody", "sesame", false),
            ("", "sesame", false),
            ("joe\0", "sesame", false),
        ] {
            assert_eq!(table.verifies(&login(user, password)), verified, "{user} {password}");
        }
        assert!(table.groups(&login("joe", "")).is_some() && table.groups(&login("root", "")).is_none());
    }

    #[test]
    fn a_table_without_hashes_verifies_nobody() {
        let table = Table::read(&users::encode(&[], None).unwrap()[users::PREFIX..]).unwrap();
        assert!(!table.verifies(&login("joe", "sesame")));
        assert!(Table::read(b"").is_none() && Table::read(&[7; 40]).is_none());
    }
}
