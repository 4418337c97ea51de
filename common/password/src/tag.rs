//! The tag that stands for a user and a password in a login that is remembered.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a key: a whole block of the hash.
pub const KEY: usize = 64;

/// Returns a keyed hash of both. Without the key it can neither be computed nor be used to test guesses.
pub fn tag(key: &[u8; KEY], user: &[u8], password: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new(key.into());
    // No user that a table has contains a zero byte, so no two pairs read the same.
    mac.update(user);
    mac.update(&[0]);
    mac.update(password);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let of = |key: u8, user: &[u8], password: &[u8]| tag(&[key; KEY], user, password);
        let one = of(1, b"joe", b"sesame");
        assert_eq!(one, of(1, b"joe", b"sesame"));
        for other in [of(2, b"joe", b"sesame"), of(1, b"jo", b"esesame"), of(1, b"joe", b"Sesame")] {
            assert_ne!(one, other);
        }
    }
}
