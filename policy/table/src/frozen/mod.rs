//! Frozen files: a compiled table that is loaded without reading text.
//!
//! ```text
//! 8   "sockd.fz"
//! 2   format version, 2  kind (1 sockd.fc, 2 sockd.fr, 3 socks.fc), 8  length of the file in bytes
//! 32  SHA-256 of everything else: the fields above and all that follows
//!     the provenance: name, time and hash of the text, paths and hashes of the user files
//!     the arrays of the table, each with the number of its items in front
//! ```
//!
//! All numbers are little-endian on every machine. The file is not an image of memory. Every item is checked as if an
//! enemy had written it: every number is within its array, every order is the one that the search relies on, every
//! string is one word on one line of a listing. A file that fails a check is refused whole.
//!
//! The rules are stored once, in the lists of the index, so that rules and index cannot contradict each other. One
//! number of each item makes a column, in as few bytes as its largest number needs. For each name the file stores the
//! part that the name before it does not share (`names`).

mod check;
mod decode;
mod encode;
mod error;
mod names;
mod provenance;
mod read;
#[cfg(test)]
mod tests;
mod write;

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::kind::Kind;
use crate::table::Table;

use decode::Reader;
use error::VERSION;

pub use error::FrozenError;
pub use provenance::{Provenance, hash};

/// Words of each rule's body for reserved fields of lines: bytes in a period (2), that period, and one more. All are
/// 0, as no line has such a field yet.
const RESERVED: usize = 4;

const MAGIC: &[u8; 8] = b"sockd.fz";
const BEFORE_HASH: usize = 20;

/// Freezes a table.
pub fn freeze(table: &Table, kind: &Kind, from: &Provenance) -> Vec<u8> {
    let mut body = Vec::new();
    write::provenance(&mut body, from);
    write::table(&mut body, table);
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(kind.number.to_le_bytes());
    let length = body.len().saturating_add(BEFORE_HASH).saturating_add(32);
    file.extend((length as u64).to_le_bytes());
    let hash = Sha256::new().chain_update(&file).chain_update(&body).finalize();
    file.extend(hash);
    file.extend(body);
    file
}

/// Loads a frozen table.
///
/// # Errors
/// The bytes are not what [`freeze`] writes for a text of this kind.
pub fn thaw(bytes: &[u8], kind: &Kind) -> Result<(Table, Provenance), FrozenError> {
    let mut reader = Reader(checked_body(bytes, kind)?);
    let from = read::provenance(&mut reader)?;
    let table = read::table(&mut reader)?;
    if !reader.0.is_empty() {
        return Err(FrozenError::Content("bytes behind the end"));
    }
    check::check(&table).and_then(|()| (kind.check)(&table)).map_err(FrozenError::Content)?;
    Ok((table.precompute(kind.in_doubt, kind.asks), from))
}

/// Checks the fields in front, and returns the bytes behind them.
fn checked_body<'a>(bytes: &'a [u8], kind: &Kind) -> Result<&'a [u8], FrozenError> {
    let (header, rest) = bytes.split_at_checked(BEFORE_HASH).ok_or(FrozenError::Magic)?;
    let mut fields = Reader(header);
    if fields.array() != Ok(*MAGIC) {
        return Err(FrozenError::Magic);
    }
    let (version, found) = (u16::from_le_bytes(fields.array()?), u16::from_le_bytes(fields.array()?));
    if version != VERSION {
        return Err(FrozenError::Version(version));
    }
    if found != kind.number {
        return Err(FrozenError::Kind(found));
    }
    if u64::from_le_bytes(fields.array()?) != bytes.len() as u64 {
        return Err(FrozenError::Length);
    }
    let (hash, body) = rest.split_first_chunk::<32>().ok_or(FrozenError::Length)?;
    if Sha256::new().chain_update(header).chain_update(body).finalize().as_slice() != hash {
        return Err(FrozenError::Checksum);
    }
    Ok(body)
}
