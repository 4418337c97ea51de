//! The table of users: the loader writes it for the auth worker, and no process between them reads it.

use crate::bounded::BoundedBytes;
use crate::message::MAX_NAME;
use crate::message::auth::Groups;
use serde::{Deserialize, Serialize};

/// The most bytes that a table may have.
pub const LONGEST: usize = 32 << 20;

/// Bytes at the beginning of a table that say how long the rest is, the lowest byte first.
pub const PREFIX: usize = 4;

/// One user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the user.
    pub name: BoundedBytes<MAX_NAME>,
    /// The hash that the password is compared with; `None` for a locked user.
    pub hash: Option<Box<str>>,
    /// The groups that the user is in.
    pub groups: Groups,
}

/// The head of the table, before its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Number of rows.
    pub users: u32,
    /// A row with the most common kind of hash, which stands in for unknown users.
    pub typical: Option<u32>,
}

/// Writes a table after its length; `None` if it would be too long.
pub fn encode(rows: &[Row], typical: Option<u32>) -> Option<Vec<u8>> {
    let head = Head { users: u32::try_from(rows.len()).ok()?, typical };
    let mut table = postcard::to_extend(&head, vec![0; PREFIX]).ok()?;
    for row in rows {
        table = postcard::to_extend(row, table).ok()?;
    }
    let length = u32::try_from(table.len().checked_sub(PREFIX)?).ok()?;
    table.get_mut(..PREFIX)?.copy_from_slice(&length.to_le_bytes());
    (table.len() <= LONGEST).then_some(table)
}

/// Reads a table without its length, and hands it over row by row; `None` if it is malformed.
pub fn decode(table: &[u8], mut with: impl FnMut(Row)) -> Option<Head> {
    let (head, mut rest) = postcard::take_from_bytes::<Head>(table).ok()?;
    for _ in 0..head.users {
        let row;
        (row, rest) = postcard::take_from_bytes::<Row>(rest).ok()?;
        with(row);
    }
    rest.is_empty().then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::auth::Group;

    fn row(name: &str, hash: Option<&str>) -> Row {
        let groups = Groups::first_of([Group::new(b"staff").unwrap()]);
        Row { name: BoundedBytes::new(name.as_bytes()).unwrap(), hash: hash.map(Into::into), groups }
    }

    #[test]
    fn a_table_is_read_as_it_was_written_or_not_at_all() {
        let rows = [row("joe", Some("$y$")), row("root", None)];
        let table = encode(&rows, Some(0)).unwrap();
        let (length, table) = table.split_at(PREFIX);
        assert_eq!(length, u32::try_from(table.len()).unwrap().to_le_bytes());
        let mut read = Vec::new();
        assert_eq!(decode(table, |row| read.push(row)), Some(Head { users: 2, typical: Some(0) }));
        assert!(read == rows);
        for length in 0..table.len() {
            assert_eq!(decode(&table[..length], drop), None, "cut to {length}");
        }
        assert_eq!(decode(&[table, &[0]].concat(), drop), None);
        assert_eq!(
            encode(&[], None).and_then(|table| decode(&table[PREFIX..], drop)).map(|head| head.users),
            Some(0)
        );
    }
}
