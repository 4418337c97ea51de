//! Makes a hash of a password.

use argon2::{Algorithm, Argon2, Version};
use bcrypt::Version as BcryptVersion;
use sha_crypt::{Algorithm as ShaAlgorithm, CustomizedPasswordHasher, PasswordHasher, ShaCrypt};
use std::fmt;
use yescrypt::{Mode, Yescrypt};

/// Bytes of salt, from the system's generator.
pub const SALT: usize = 16;

/// How a hash is made, with its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// yescrypt; the cost as crypt_gensalt(3) counts it, 5 by default.
    Yescrypt(u32),
    /// sha512crypt with this many rounds.
    Sha512crypt(u32),
    /// bcrypt with the binary logarithm of its rounds.
    Bcrypt(u32),
    /// argon2id with KiB of memory, passes, and one lane.
    Argon2id(u32, u32),
}

/// Why no hash is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MakeError {
    /// The password is empty, and nobody has such a one.
    Empty,
    /// It contains a zero byte, and cannot be compared.
    Zero,
    /// bcrypt would look at a part of it only.
    TooLong,
    /// The cost is impossible for this kind, or takes more than about a second.
    Cost,
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "expected a password, found an empty one",
            Self::Zero => "expected a password without a zero byte, found one",
            Self::TooLong => "expected at most 71 bytes for bcrypt, found more",
            Self::Cost => "expected a cost that this kind of hash can have, found another",
        })
    }
}

impl std::error::Error for MakeError {}

/// Makes the hash.
pub fn make(how: How, password: &[u8], salt: [u8; SALT]) -> Result<String, MakeError> {
    if password.is_empty() {
        return Err(MakeError::Empty);
    }
    if password.contains(&0) {
        return Err(MakeError::Zero);
    }
    match how {
        How::Yescrypt(level) => yescrypt(level, password, &salt),
        How::Sha512crypt(rounds) if rounds <= 2_000_000 => sha512crypt(rounds, password, &salt),
        How::Bcrypt(_) if password.len() > 71 => Err(MakeError::TooLong),
        How::Bcrypt(rounds) if rounds <= 14 => bcrypt(rounds, password, salt),
        How::Argon2id(memory, passes) if memory.saturating_mul(passes) <= 1 << 20 => {
            argon2id(memory, passes, password, &salt)
        }
        How::Sha512crypt(_) | How::Bcrypt(_) | How::Argon2id(..) => Err(MakeError::Cost),
    }
}

fn yescrypt(level: u32, password: &[u8], salt: &[u8]) -> Result<String, MakeError> {
    let (blocks, size) = yescrypt_costs(level).ok_or(MakeError::Cost)?;
    let params = yescrypt::Params::new(Mode::default(), blocks, size, 1).map_err(|_| MakeError::Cost)?;
    let hash = Yescrypt::default().hash_password_customized(password, salt, None, None, params);
    hash.map(|hash| hash.to_string()).map_err(|_| MakeError::Cost)
}

fn sha512crypt(rounds: u32, password: &[u8], salt: &[u8]) -> Result<String, MakeError> {
    let params = sha_crypt::Params::new(rounds).map_err(|_| MakeError::Cost)?;
    // 12 bytes are 16 letters, which is the longest salt that the format knows.
    let salt = salt.get(..12).unwrap_or_default();
    let hash = ShaCrypt::new(ShaAlgorithm::Sha512Crypt, params).hash_password_with_salt(password, salt);
    hash.map(|hash| hash.to_string()).map_err(|_| MakeError::Cost)
}

fn bcrypt(rounds: u32, password: &[u8], salt: [u8; SALT]) -> Result<String, MakeError> {
    let hash = bcrypt::hash_with_salt(password, rounds, salt).map_err(|_| MakeError::Cost)?;
    Ok(hash.format_for_version(BcryptVersion::TwoB))
}

fn argon2id(memory: u32, passes: u32, password: &[u8], salt: &[u8]) -> Result<String, MakeError> {
    let params = argon2::Params::new(memory, passes, 1, None).map_err(|_| MakeError::Cost)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(password, salt);
    hash.map(|hash| hash.to_string()).map_err(|_| MakeError::Cost)
}

/// The number of blocks and their size, as crypt_gensalt(3) has them for its costs (libxcrypt, gensalt_yescrypt_rn).
fn yescrypt_costs(level: u32) -> Option<(u64, u32)> {
    match level {
        1..=2 => Some((1 << level.saturating_add(9), 8)),
        3..=8 => Some((1 << level.saturating_add(7), 32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Check, check};

    const HASHES: [(How, &str); 5] = [
        (How::Yescrypt(1), "$y$j75$"),
        (How::Yescrypt(3), "$y$j7T$"),
        (How::Sha512crypt(1_000), "$6$rounds=1000$"),
        (How::Bcrypt(4), "$2b$04$"),
        (How::Argon2id(64, 2), "$argon2id$v=19$m=64,t=2,p=1$"),
    ];

    #[test]
    fn what_is_made_is_matched_by_its_password_alone_and_differs_by_its_salt() {
        for (how, beginning) in HASHES {
            let hash = make(how, "pässword".as_bytes(), [7; SALT]).unwrap();
            assert!(hash.starts_with(beginning), "{hash}");
            assert_eq!(check("pässword".as_bytes(), &hash), Check::Right, "{hash}");
            assert_eq!(check(b"password", &hash), Check::Wrong, "{hash}");
            assert_ne!(make(how, "pässword".as_bytes(), [8; SALT]).unwrap(), hash);
        }
    }

    #[test]
    fn what_could_not_be_matched_is_not_made() {
        for (how, _) in HASHES {
            assert_eq!(make(how, b"", [0; SALT]), Err(MakeError::Empty));
            assert_eq!(make(how, b"a\0b", [0; SALT]), Err(MakeError::Zero));
        }
        assert_eq!(make(How::Bcrypt(4), &[b'x'; 72], [0; SALT]), Err(MakeError::TooLong));
        for how in [
            How::Yescrypt(0),
            How::Yescrypt(9),
            How::Sha512crypt(999),
            How::Bcrypt(3),
            How::Bcrypt(31),
            How::Argon2id(7, 1),
        ] {
            assert_eq!(make(how, b"sesame", [0; SALT]), Err(MakeError::Cost), "{how:?}");
        }
    }
}
