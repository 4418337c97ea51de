//! sockd.passwd(5): root reads it, and the auth worker gets it as memory that nobody can write.
//!
//! The monitor holds the memory, hands it on and does not read it. It has made the descriptor itself, so that none
//! travels to it.

use crate::config::options::Options;
use crate::config::read;
use crate::process::error::StartError;
use rustix::fs::{SealFlags, fcntl_add_seals};
use sockd_common::bounded::BoundedBytes;
use sockd_common::message::auth::{Group, Groups};
use sockd_common::users::{LONGEST, Row, encode};
use sockd_users::{User, Users};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// A table of users, sealed.
#[derive(Debug)]
pub struct Table {
    /// The memory that it is in.
    pub memory: OwnedFd,
    /// How many users there are.
    pub users: u32,
}

/// Reads the users and writes them to new memory. Returns their number.
pub(super) fn load(options: &Options, memory: &File) -> Result<u32, Vec<String>> {
    let users = read::users(options)?;
    fill(memory, &users).map_err(|error| vec![format!("the table of users: {error}")])
}

/// Does the same at the start. The memory stays empty if there are no users.
pub(super) fn load_first(options: &Options, memory: &File) -> Result<(), StartError> {
    let users = read::users(options)?;
    match users.is_empty() {
        true => Ok(()),
        false => fill(memory, &users).map(drop).map_err(StartError::at("the table of users")),
    }
}

/// The table that `load_first` has written, if the memory is not empty. The number of users is not known here.
pub fn first(memory: OwnedFd) -> Option<Table> {
    let memory = File::from(memory);
    let length = memory.metadata().map_or(0, |facts| facts.len());
    (length > 0).then(|| Table { memory: memory.into(), users: 1 })
}

fn fill(memory: &File, users: &Users) -> std::io::Result<u32> {
    let too_long = || std::io::Error::other(format!("expected at most {} MiB, found more", LONGEST >> 20));
    let rows: Vec<Row> = users.iter().map(row).collect::<Option<_>>().ok_or_else(too_long)?;
    let typical = users.typical().and_then(|place| u32::try_from(place).ok());
    let table = encode(&rows, typical).ok_or_else(too_long)?;
    memory.write_all_at(&table, 0)?;
    fcntl_add_seals(memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

/// A user as the worker has it. The bounds of names and groups are the same on both sides.
fn row(user: &User) -> Option<Row> {
    let groups: Vec<Group> =
        user.groups.iter().map(|group| Group::new(group.as_str().as_bytes())).collect::<Option<_>>()?;
    Some(Row {
        name: BoundedBytes::new(user.name.as_str().as_bytes())?,
        hash: user.hash.as_ref().map(|hash| hash.as_str().into()),
        groups: Groups::first_of(groups),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::descriptors;
    use sockd_common::message::MAX_NAME;
    use sockd_common::message::auth::MAX_GROUPS;
    use sockd_common::users::{Head, PREFIX, decode};
    use std::io::Read;

    const HASH: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    #[test]
    fn the_table_has_what_the_file_has_and_cannot_be_changed() {
        let user = "u".repeat(MAX_NAME);
        let groups: Vec<String> =
            (0..MAX_GROUPS).map(|number| format!("{:g<32}", format!("g{number}_"))).collect();
        let text = format!("root:*\n{user}:{HASH}:{}\n", groups.join(","));
        let users = Users::parse(text.as_bytes()).unwrap();
        let memory = File::from(descriptors::sealable("test").unwrap());
        assert_eq!(fill(&memory, &users).unwrap(), 2);
        let mut table = Vec::new();
        (&memory).read_to_end(&mut table).unwrap();
        let mut rows = Vec::new();
        let head = decode(&table[PREFIX..], |row| rows.push(row));
        assert_eq!(head, Some(Head { users: 2, typical: Some(1) }));
        assert_eq!((rows[0].hash.as_deref(), rows[1].hash.as_deref()), (None, Some(HASH)));
        assert_eq!((rows[1].name.as_bytes(), rows[1].groups.as_slice().len()), (user.as_bytes(), MAX_GROUPS));
        assert!(memory.write_all_at(b"x", 0).is_err() && memory.set_len(0).is_err());
    }
}
