//! Compares a password with a hash.

use argon2::Argon2;
use argon2::password_hash::Error;
use argon2::password_hash::phc::PasswordHash;
use sha_crypt::ShaCrypt;
use yescrypt::{PasswordVerifier, Yescrypt};

/// bcrypt looks at 71 bytes and a zero behind them, or at 72. Bytes that it does not look at would match anything.
const LONGEST_OF_BCRYPT: usize = 71;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is the password.
    Right,
    /// It is not.
    Wrong,
    /// The hash is of no kind that is known.
    NoHash,
}

/// Compares a password with a hash. The time that it takes follows from the hash, and not from the password.
///
/// An empty password is nobody's. No password that crypt(3) has hashed contains a zero byte, and bcrypt repeats the
/// password with a zero behind it: `sesame` and `sesame`, zero, `sesame` would be the same to it.
pub fn check(password: &[u8], hash: &str) -> Check {
    // The comparison is made in any case, so that the time is the same.
    let compared = compare(password, hash);
    let is_cut = is_bcrypt(hash) && password.len() > LONGEST_OF_BCRYPT;
    match compared {
        Check::Right if password.is_empty() || password.contains(&0) || is_cut => Check::Wrong,
        compared => compared,
    }
}

fn is_bcrypt(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix))
}

fn compare(password: &[u8], hash: &str) -> Check {
    if hash.starts_with("$y$") {
        outcome(Yescrypt::default().verify_password(password, hash))
    } else if hash.starts_with("$6$") || hash.starts_with("$5$") {
        outcome(ShaCrypt::default().verify_password(password, hash))
    } else if is_bcrypt(hash) {
        match bcrypt::verify(password, hash) {
            Ok(true) => Check::Right,
            Ok(false) => Check::Wrong,
            Err(_) => Check::NoHash,
        }
    } else if hash.starts_with("$argon2id$") {
        let hash = PasswordHash::new(hash).map_err(|_| Error::EncodingInvalid);
        outcome(hash.and_then(|hash| Argon2::default().verify_password(password, &hash)))
    } else {
        Check::NoHash
    }
}

fn outcome(verified: Result<(), Error>) -> Check {
    match verified {
        Ok(()) => Check::Right,
        Err(Error::PasswordInvalid) => Check::Wrong,
        Err(_) => Check::NoHash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the programs that are named, with the password behind them.
    const MADE: [(&str, &str, &str); 16] = [
        (
            "mkpasswd -m yescrypt",
            "correct horse",
            "$y$j9T$bHpMwmz4R9poHnNbW/EyH0$8aH/WnW57E2ekzqinvqHfcasUq.P/9KwpS3ACYgUS1C",
        ),
        (
            "mkpasswd -m yescrypt -R 1",
            "correct horse",
            "$y$j75$RXTXIOMf0kPnyYrzz0Um90$/H/Udg9dgG.9b51E7xNc/ZgyCK2WxPUk1U5/goX9Ov1",
        ),
        (
            "mkpasswd -m yescrypt -R 6",
            "pässword ÿ",
            "$y$jAT$YVtR8yDIvUXfwaZpi8wCH0$JavARTosGCpz9XCYVP0V3iT60btmmK/ef1yxn/tJdq9",
        ),
        ("crypt(3)", LONG, "$y$j75$abcd$Hm7nk1o7ZH0nvkkpwBYbWXU7dTUFdXu7hD7kHhseQP/"),
        (
            "mkpasswd -m sha512crypt",
            "correct horse",
            "$6$tOno30U7BJLQJdNE$Z0bT0Z/YPZ4xBEZEhbEN4B3eReLjcKdtqT6Q4Ytg/PMPRdQLxZ2B7hvBakdn2OlvPjygzhftUGZZwdy0fPXxl1",
        ),
        (
            "mkpasswd -m sha512crypt -R 1000",
            "correct horse",
            "$6$rounds=1000$QI0YtYEHo2Shb.KC$DxQ2Ai9bDHrGbK.Zn/o3HRLu7F.pzKMai5dNtQIN7YxqQ5QyvwO5MnmB9UwUx7Risyt193Y83Zq8Fuy1k5KYX/",
        ),
        (
            "openssl passwd -6",
            "correct horse",
            "$6$TGH6d6pZ/Vma5iSu$MV2PbmjRPihGwFVS6LBKJlsun4NyxPLtd5lI.m2RI0UXQf49V8d08wzfXKdcNKg0hB3LCJYQyuwRyuJYF9tmn1",
        ),
        (
            "crypt(3)",
            LONG,
            "$6$abc$WzX2mzyidsNyjWT1DT1tidPAdg.fUtbjiohFGtmNDOpN1XPVpZ9kUzPSnhc3ekbsybAKuh02ORPPYnvkyk5U80",
        ),
        (
            "mkpasswd -m sha256crypt -R 2000",
            "correct horse",
            "$5$rounds=2000$pgS3NRx7QnO5NJWv$RViKWcuHEzWtEyC96ytzeW9pno/KdFf2CLLRdwgMis9",
        ),
        ("openssl passwd -5", "correct horse", "$5$ab$.ddUYR.SJRmHkR225smBa2rjHZ4E7cu0phDqvfioR31"),
        ("htpasswd -B", "correct horse", "$2y$05$v8R3SnyJc/5RXQoNGK4/K.7wnbK9cNlqyFqblZnvZWjQcaaxvKZoy"),
        (
            "mkpasswd -m bcrypt -R 6",
            "correct horse",
            "$2b$06$9LTibngLcU5dHm4O1KJHu.nMlNAMGcGKwumlnxe5Q1nohjV/s3LO2",
        ),
        (
            "mkpasswd -m bcrypt-a",
            "correct horse",
            "$2a$05$dT3XrAA1S7fZeVlrrc7W5uibJyxIDmXWnT3MEIMGi.PmT69EOApba",
        ),
        ("crypt(3)", LONGEST, "$2b$04$abIG6Nmid91Mu9RcmmWZfO1NKmYKMpNVP3b/mmXob16xY7PcB/YAS"),
        // These two come from the tests of the reference implementation.
        (
            "argon2",
            "password",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ),
        (
            "argon2",
            "password",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ),
    ];

    const LONG: &str = match std::str::from_utf8(&[b'x'; 255]) {
        Ok(text) => text,
        Err(_) => "",
    };
    const LONGEST: &str = LONG.split_at(LONGEST_OF_BCRYPT).0;

    #[test]
    fn hashes_of_other_programs_are_matched_by_their_passwords_alone() {
        for (program, password, hash) in MADE {
            assert_eq!(check(password.as_bytes(), hash), Check::Right, "{program}");
            let mut other = password.as_bytes().to_vec();
            other[0] ^= 1;
            for wrong in [&other[..], &password.as_bytes()[1..], b"", b"\0"] {
                assert_eq!(check(wrong, hash), Check::Wrong, "{program}: {wrong:?}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_zero_byte_is_not_cut_off() {
        for (program, password, hash) in MADE {
            let repeated = [password.as_bytes(), b"\0", password.as_bytes()].concat();
            for longer in [&[password.as_bytes(), b"\0x"].concat(), &repeated] {
                assert_eq!(check(longer, hash), Check::Wrong, "{program}");
            }
        }
    }

    #[test]
    fn what_bcrypt_does_not_look_at_is_not_taken_for_right() {
        let (_, _, hash) = MADE[13];
        for longer in [72, 73, 255] {
            assert_eq!(check(&LONG.as_bytes()[..longer], hash), Check::Wrong, "{longer}");
        }
    }

    #[test]
    fn a_leading_zero_in_the_costs_of_argon2_makes_a_text_that_is_no_hash() {
        for (_, password, hash) in MADE.iter().filter(|(program, ..)| *program == "argon2") {
            for cost in ["m=", "t=", "p="] {
                let zero = hash.replace(cost, &[cost, "0"].concat());
                assert_eq!(check(password.as_bytes(), &zero), Check::NoHash, "{zero}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        for hash in
            ["", "!", "*", "sesame", "$", "$y$", "$y$j9T$", "$6$", "$6$a$", "$2y$05$", "$argon2id$", "$1$a$b"]
        {
            for password in [b"".as_slice(), b"sesame", hash.as_bytes()] {
                assert_ne!(check(password, hash), Check::Right, "{hash}");
            }
        }
    }
}
