//! One line of `sockd.passwd`: `user:hash`, `user:hash:groups`, or a line of shadow(5).

use crate::error::Fault;
use crate::hash::Hash;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The most groups of a user.
pub const MAX_GROUPS: usize = 32;

/// The longest name that a client can send (RFC 1929), in bytes.
const LONGEST_USER: usize = 255;

/// The longest name of a group, as groupadd(8) has it.
const LONGEST_GROUP: usize = 32;

/// The number of fields of a line of shadow(5).
const OF_SHADOW: usize = 9;

/// The name of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// Takes a name that a line can have.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        const EXPECTED: &str = "a user of 1 to 255 bytes without colons, spaces and control characters";
        let is_odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == ':';
        let found = match text {
            "" => "none".into(),
            _ if text.len() > LONGEST_USER => format!("one of {} bytes", text.len()),
            _ if text.starts_with('#') => "one that begins with #, as a remark does".into(),
            _ if text.contains(is_odd) => "another one".into(),
            _ => return Ok(Self(text.into())),
        };
        Err(Fault::new(EXPECTED, found))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a group. It never begins with a digit: so the third field of a line cannot be taken for one of
/// shadow(5), which has numbers there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(String);

impl GroupName {
    /// Takes a name that a line can have.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        let goes_on = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter));
        match begins && goes_on && text.len() <= LONGEST_GROUP {
            true => Ok(Self(text.into())),
            false => Err(Fault::new(
                "groups with commas between them, each of a letter or _ and then letters, digits, _, - and ., 32 in all",
                if text.is_empty() { "an empty one" } else { "another name" },
            )),
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads the groups of a field: names with commas between them, or nothing.
pub fn parse_groups(field: &str) -> Result<Vec<GroupName>, Fault> {
    let names = field.split(',').filter(|_| !field.is_empty());
    let groups: Vec<GroupName> = names.map(GroupName::parse).collect::<Result<_, _>>()?;
    match groups.len() <= MAX_GROUPS {
        true => Ok(groups),
        false => Err(Fault::new("at most 32 groups", format!("{}", groups.len()))),
    }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: UserName,
    /// The hash to compare the password with; `None` for a user who is locked.
    pub hash: Option<Hash>,
    /// The groups that the user is in, in their order.
    pub groups: Vec<GroupName>,
}

/// Reads a line; `None` for a line without a user, which is empty or begins with `#`.
pub(crate) fn parse(line: &str) -> Result<Option<User>, Fault> {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (user, hash, groups) = fields(line)?;
    let name = UserName::parse(user)?;
    // passwd(1) and usermod(8) lock a user in this way, and accounts of the system are so: no password matches.
    let is_locked = hash.starts_with(['!', '*']);
    let hash = if is_locked { None } else { Some(Hash::parse(hash)?) };
    Ok(Some(User { name, hash, groups: parse_groups(groups)? }))
}

/// Splits a line into user, hash and groups.
fn fields(line: &str) -> Result<(&str, &str, &str), Fault> {
    let fields: Vec<&str> = line.split(':').collect();
    match &*fields {
        [user, hash] => Ok((user, hash, "")),
        [user, hash, groups] => Ok((user, hash, groups)),
        [user, hash, ages @ ..] if fields.len() == OF_SHADOW && ages.iter().all(|age| is_number(age)) => {
            Ok((user, hash, ""))
        }
        _ => {
            let found =
                if fields.len() == 1 { "1 field".into() } else { format!("{} other fields", fields.len()) };
            Err(Fault::new("user:hash, user:hash:groups, or a line of shadow(5)", found))
        }
    }
}

/// Whether a field could be a number of days of shadow(5), which may be left out.
fn is_number(field: &str) -> bool {
    field.bytes().all(|byte| byte.is_ascii_digit())
}
