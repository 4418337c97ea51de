//! The hash of a password, as crypt(5) and argon2 (PHC string format) write it. This file knows the kinds that are
//! taken, and the limits of their cost.
//!
//! A hash says itself how much time and memory a check of it takes, and every login pays that. So both have bounds
//! here, and the check needs none.

use crate::error::Fault;
use alloc::format;
use alloc::string::String;

/// The most memory that a check may take, in bytes.
pub const MAX_MEMORY: u64 = 128 << 20;

/// Rounds of sha512crypt and sha256crypt: the fewest that crypt(5) knows, and about a second.
const ROUNDS: core::ops::RangeInclusive<u32> = 1_000..=2_000_000;

/// The binary logarithm of bcrypt's rounds: the fewest that it knows, and about a second.
const BCRYPT_COSTS: core::ops::RangeInclusive<u32> = 4..=14;

/// The most bytes that argon2 writes in all its passes: about a second.
const MAX_WRITTEN: u64 = 1 << 30;

/// The alphabet of crypt(3), in the order of its values.
const ALPHABET: &str = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const A_HASH: &str = "a yescrypt, sha512crypt, sha256crypt, bcrypt or argon2id hash";

/// How a hash is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `$y$`
    Yescrypt,
    /// `$6$`
    Sha512crypt,
    /// `$5$`
    Sha256crypt,
    /// `$2a$`, `$2b$` or `$2y$`
    Bcrypt,
    /// `$argon2id$`
    Argon2id,
}

impl Scheme {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yescrypt => "yescrypt",
            Self::Sha512crypt => "sha512crypt",
            Self::Sha256crypt => "sha256crypt",
            Self::Bcrypt => "bcrypt",
            Self::Argon2id => "argon2id",
        }
    }
}

/// A hash that can be checked within the bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    text: String,
    scheme: Scheme,
    /// Bytes before the salt.
    kind: usize,
}

impl Hash {
    /// Recognises a hash. The fault does not show it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (scheme, kind) = recognise(text)?;
        Ok(Self { text: text.into(), scheme, kind })
    }

    /// The hash itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is computed.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The part that says how long a check takes: everything before the salt.
    pub fn kind(&self) -> &str {
        self.text.get(..self.kind).unwrap_or_default()
    }
}

/// A hash is not shown: with it passwords can be guessed elsewhere.
impl core::fmt::Debug for Hash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.scheme.as_str())
    }
}

/// The scheme, and the length of the part before the salt.
fn recognise(text: &str) -> Result<(Scheme, usize), Fault> {
    let (scheme, rest) = if let Some(rest) = text.strip_prefix("$y$") {
        (Scheme::Yescrypt, yescrypt(rest)?)
    } else if let Some(rest) = text.strip_prefix("$6$") {
        (Scheme::Sha512crypt, sha_crypt(rest, 86)?)
    } else if let Some(rest) = text.strip_prefix("$5$") {
        (Scheme::Sha256crypt, sha_crypt(rest, 43)?)
    } else if let Some(rest) =
        ["$2a$", "$2b$", "$2y$"].into_iter().find_map(|prefix| text.strip_prefix(prefix))
    {
        (Scheme::Bcrypt, bcrypt(rest)?)
    } else if let Some(rest) = text.strip_prefix("$argon2id$") {
        (Scheme::Argon2id, argon2(rest)?)
    } else {
        return Err(Fault::new(A_HASH, other(text)));
    };
    Ok((scheme, text.len().saturating_sub(rest)))
}

/// Reads `j9T$salt$hash`, and returns the length from the salt on.
fn yescrypt(rest: &str) -> Result<usize, Fault> {
    let mut fields = rest.split('$');
    let (Some(parameters), Some(salt), Some(hash), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(no_yescrypt());
    };
    let memory = yescrypt_memory(parameters)?;
    let fits = |text: &str, lengths: core::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.chars().all(|letter| value(letter).is_some())
    };
    if !fits(salt, 1..=86) || !fits(hash, 43..=43) {
        return Err(no_yescrypt());
    }
    within_memory(memory)?;
    Ok(from_salt(&[salt, hash]))
}

/// Returns the memory that parameters ask for. They are as crypt_gensalt(3) makes them: the letter of its variant, the
/// logarithm of the blocks, the size of a block.
fn yescrypt_memory(parameters: &str) -> Result<u64, Fault> {
    let mut letters = parameters.chars();
    let (Some('j'), Some(blocks), Some(size), None) =
        (letters.next(), letters.next().and_then(value), letters.next().and_then(value), letters.next())
    else {
        return Err(no_yescrypt());
    };
    // The format counts the logarithm from 1, and the size from 1.
    let (blocks, size) = (blocks.saturating_add(1), u64::from(size).saturating_add(1));
    // These are RMIN of yescrypt, and enough blocks for it to work with.
    if blocks < 4 || size < 8 {
        return Err(Fault::new("yescrypt parameters from j25 on", "less"));
    }
    Ok(size.saturating_mul(128).saturating_mul(1_u64.checked_shl(blocks).unwrap_or(u64::MAX)))
}

fn no_yescrypt() -> Fault {
    const EXPECTED: &str = "a yescrypt hash as crypt(5) has it, with parameters such as j9T";
    Fault::new(EXPECTED, "another text behind $y$")
}

/// Reads `[rounds=n$]salt$hash`, and returns the length from the salt on.
fn sha_crypt(rest: &str, length: usize) -> Result<usize, Fault> {
    const EXPECTED: &str = "a sha512crypt or sha256crypt hash as crypt(5) has it";
    let mut fields = rest.split('$').peekable();
    if let Some(rounds) = fields.next_if(|field| field.starts_with("rounds=")) {
        let rounds = rounds.strip_prefix("rounds=").and_then(number);
        if !rounds.is_some_and(|rounds| ROUNDS.contains(&rounds)) {
            return Err(Fault::new("rounds=1000 to rounds=2000000", "another number"));
        }
    }
    match (fields.next(), fields.next(), fields.next()) {
        (Some(salt), Some(hash), None)
            if salt.len() <= 16
                && salt.chars().all(|letter| letter.is_ascii_graphic())
                && hash.len() == length
                && hash.chars().all(|letter| value(letter).is_some()) =>
        {
            Ok(from_salt(&[salt, hash]))
        }
        _ => Err(Fault::new(EXPECTED, "another text behind its beginning")),
    }
}

/// Reads `12$` and 53 letters, and returns the length of the letters.
fn bcrypt(rest: &str) -> Result<usize, Fault> {
    let broken = || Fault::new("a bcrypt hash: a cost of two digits and 53 letters", "another text");
    let (cost, hash) = rest.split_once('$').ok_or_else(broken)?;
    let cost = number(cost).filter(|_| cost.len() == 2).ok_or_else(broken)?;
    if hash.len() != 53 || !hash.chars().all(|letter| value(letter).is_some()) {
        return Err(broken());
    }
    match BCRYPT_COSTS.contains(&cost) {
        true => Ok(hash.len()),
        false => Err(Fault::new("a cost of bcrypt from 04 to 14", format!("{cost:02}"))),
    }
}

/// Reads `v=19$m=65536,t=3,p=4$salt$hash`, and returns the length from the salt on.
fn argon2(rest: &str) -> Result<usize, Fault> {
    let mut fields = rest.split('$');
    let (Some("v=19"), Some(costs), Some(salt), Some(hash), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(no_argon2());
    };
    let (memory, passes) = argon2_costs(costs)?;
    let is_base64 =
        |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+/".contains(letter));
    let fits = (11..=64).contains(&salt.len()) && (22..=86).contains(&hash.len());
    if !fits || !is_base64(salt) || !is_base64(hash) {
        return Err(no_argon2());
    }
    within_memory(memory)?;
    match memory.saturating_mul(passes) <= MAX_WRITTEN {
        true => Ok(from_salt(&[salt, hash])),
        false => Err(Fault::new("costs of argon2 with m times t of 1048576 at most", "more")),
    }
}

/// Returns the bytes of memory, and the number of passes that write them. The PHC string format has no leading zeros,
/// and the check of a password takes none: nobody could log in with such a hash.
fn argon2_costs(costs: &str) -> Result<(u64, u64), Fault> {
    const EXPECTED: &str = "costs of argon2 without leading zeros, such as m=65536,t=3,p=4";
    let mut costs = costs.split(',');
    let mut cost = |name: &str| {
        let digits = costs.next().and_then(|cost| cost.strip_prefix(name)).ok_or_else(no_argon2)?;
        let cost = number(digits).ok_or_else(no_argon2)?;
        match digits.starts_with('0') && digits != "0" {
            true => Err(Fault::new(EXPECTED, format!("a zero behind {name}"))),
            false => Ok(u64::from(cost)),
        }
    };
    let (kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    if costs.next().is_some() {
        return Err(no_argon2());
    }
    if passes == 0 || !(1..=16).contains(&lanes) || kib < lanes.saturating_mul(8) {
        return Err(Fault::new(
            "costs of argon2 with t from 1, p from 1 to 16 and m from 8 p",
            "other costs",
        ));
    }
    Ok((kib.saturating_mul(1 << 10), passes))
}

fn no_argon2() -> Fault {
    Fault::new("an argon2id hash: v=19$m=...,t=...,p=...$salt$hash", "another text")
}

fn within_memory(bytes: u64) -> Result<(), Fault> {
    match bytes <= MAX_MEMORY {
        true => Ok(()),
        false => Err(Fault::new("a hash that takes 128 MiB of memory at most", "one that takes more")),
    }
}

/// The length of the last fields and of the separators between them.
fn from_salt(fields: &[&str]) -> usize {
    fields.iter().map(|field| field.len()).sum::<usize>().saturating_add(fields.len().saturating_sub(1))
}

/// Returns the value of a letter of crypt(3).
fn value(letter: char) -> Option<u32> {
    ALPHABET.find(letter).and_then(|value| u32::try_from(value).ok())
}

/// Reads digits alone. `parse` alone would accept a `+` as well.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns a description of a text that is no hash that is taken.
fn other(text: &str) -> &'static str {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let is_des = text.len() == 13 && text.chars().all(|letter| value(letter).is_some());
    match text {
        "" => "nothing, so that anybody could log in",
        "x" => "x: the hash is elsewhere, as in passwd(5)",
        _ if begins(&["$apr1$"]) => "$apr1$ (MD5), which is too weak",
        _ if begins(&["$1$", "$md5"]) => "$1$ (MD5), which is too weak",
        _ if begins(&["$3$"]) => "$3$ (NT hash), which is too weak",
        _ if begins(&["$sha1$"]) => "$sha1$, which is too weak",
        _ if begins(&["$2x$"]) => "$2x$, which a fault of old has made",
        _ if begins(&["$argon2"]) => "another variant of argon2",
        _ if begins(&["{"]) => "a hash in braces, such as {SHA}, which is too weak or of another system",
        _ if begins(&["$"]) => "a hash of another kind",
        _ if is_des || begins(&["_"]) => "a hash of DES or a clear password",
        _ => "something else, perhaps a clear password",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// Good hashes of all schemes, each with the part before the salt.
    const GOOD: [(&str, Scheme, &str); 8] = [
        (
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            Scheme::Yescrypt,
            "$y$j9T$",
        ),
        (
            "$y$j75$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            Scheme::Yescrypt,
            "$y$j75$",
        ),
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
            Scheme::Sha512crypt,
            "$6$",
        ),
        (
            "$5$rounds=10000$saltstringsaltst$3xv.VbSCBX41eDL9L3voGD4vtgd2KJNNLT2cX7U2fS1",
            Scheme::Sha256crypt,
            "$5$rounds=10000$",
        ),
        ("$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", Scheme::Bcrypt, "$2y$05$"),
        ("$2b$12$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", Scheme::Bcrypt, "$2b$12$"),
        ("$2a$14$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", Scheme::Bcrypt, "$2a$14$"),
        (
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$1GjVhCGQDwM3nGSZyJdOl0yvGqsTgzPXV1dP0Fg8mEM",
            Scheme::Argon2id,
            "$argon2id$v=19$m=65536,t=3,p=4$",
        ),
    ];

    #[test]
    fn every_kind_is_recognised_with_its_cost() {
        for (text, scheme, kind) in GOOD {
            // The text above is a letter short, so that its line fits.
            let text = if scheme == Scheme::Sha512crypt { [text, "."].concat() } else { text.into() };
            let hash = Hash::parse(&text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!((hash.scheme(), hash.kind(), hash.as_str()), (scheme, kind, text.as_str()));
            assert_eq!(std::format!("{hash:?}"), scheme.as_str());
        }
    }

    #[test]
    fn whatever_is_weak_or_no_hash_is_refused_and_not_shown() {
        for (text, found) in [
            ("", "nothing"),
            ("x", "elsewhere"),
            ("sesame", "clear"),
            ("$1$salt$UbuNY57CWrXMT2nXCsrzJ0", "MD5"),
            ("$apr1$salt$UbuNY57CWrXMT2nXCsrzJ0", "MD5"),
            ("$md5$rounds=1$a$b", "MD5"),
            ("$3$$8846f7eaee8fb117ad06bdd830b7586c", "NT"),
            ("$sha1$1$a$b", "sha1"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "braces"),
            ("{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "braces"),
            ("rl.3StKT.4T8M", "DES"),
            ("_J9..rasmBYk8r9AiWNc", "DES"),
            ("$2x$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "2x"),
            ("$argon2i$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$1GjVhCGQDwM3nGSZyJdOl0yv", "argon2"),
            ("$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "another kind"),
            ("CL", "clear"),
        ] {
            let fault = Hash::parse(text).unwrap_err().to_string();
            assert!(fault.contains(found), "{text}: {fault}");
            assert!(text.len() < 4 || !fault.contains(text), "{text}: {fault}");
        }
    }

    #[test]
    fn what_costs_too_much_or_is_cut_is_refused() {
        let yescrypt = |parameters: &str| {
            std::format!("$y${parameters}$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7")
        };
        assert!(Hash::parse(&yescrypt("jCT")).is_ok(), "128 MiB");
        for parameters in ["jDT", "jzz", "j.T", "j9.", "9T", "j9T.", "k9T", ""] {
            assert!(Hash::parse(&yescrypt(parameters)).is_err(), "{parameters}");
        }
        let argon2 = |costs: &str| {
            std::format!("$argon2id$v=19${costs}$c2FsdHNhbHQ$1GjVhCGQDwM3nGSZyJdOl0yvGqsTgzPXV1dP0Fg8mEM")
        };
        assert!(Hash::parse(&argon2("m=131072,t=8,p=16")).is_ok());
        for costs in [
            "m=131073,t=1,p=1",
            "m=131072,t=9,p=1",
            "m=4294967296,t=1,p=1",
            "m=7,t=1,p=1",
            "m=64,t=0,p=1",
            "m=64,t=1,p=0",
            "m=1024,t=1,p=17",
            "m=64,t=1",
            "t=1,m=64,p=1",
            "m=64,t=1,p=1,keyid=a",
        ] {
            assert!(Hash::parse(&argon2(costs)).is_err(), "{costs}");
        }
        for (costs, found) in [
            ("m=065536,t=3,p=4", "a zero behind m="),
            ("m=65536,t=03,p=4", "a zero behind t="),
            ("m=65536,t=3,p=00000000004", "a zero behind p="),
            ("m=65536,t=00,p=4", "a zero behind t="),
        ] {
            let fault = Hash::parse(&argon2(costs)).unwrap_err().to_string();
            assert!(fault.contains("without leading zeros") && fault.ends_with(found), "{costs}: {fault}");
        }
        for (from, to) in
            [("rounds=10000", "rounds=999"), ("rounds=10000", "rounds=2000001"), ("rounds=10000", "rounds=")]
        {
            assert!(Hash::parse(&GOOD[3].0.replace(from, to)).is_err(), "{to}");
        }
        for cost in ["03", "15", "5", "+5", "005"] {
            assert!(Hash::parse(&GOOD[4].0.replace("$05$", &std::format!("${cost}$"))).is_err(), "{cost}");
        }
        for (text, _, _) in GOOD {
            // argon2 makes hashes of several lengths.
            let whole = if text.starts_with("$argon2") { text.len() - 21 } else { text.len() };
            for length in 0..whole {
                assert!(Hash::parse(&text[..length]).is_err(), "{text} cut to {length}");
            }
        }
    }
}
