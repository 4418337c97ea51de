//! All users of a file.

use crate::error::{Fault, LineError};
use crate::line::{self, User, UserName};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// The users of a file, in their order. No name is there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Vec<User>);

impl Users {
    /// Reads a whole file. The error names every line that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<LineError>> {
        let (mut users, mut errors) = (Vec::new(), Vec::new());
        let mut lines = BTreeMap::new();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            match parse_line(bytes, line, &mut lines) {
                Ok(user) => users.extend(user),
                Err(fault) => errors.push(LineError { line, fault }),
            }
        }
        if errors.is_empty() { Ok(Self(users)) } else { Err(errors) }
    }

    /// The users.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.0.iter()
    }

    /// The user of this name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.0.iter().find(|user| user.name.as_str() == name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the place of a user whose hash is of the commonest kind. A check for an unknown user is done with that
    /// hash, and so takes as long as a check for most known users.
    pub fn typical(&self) -> Option<usize> {
        let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (place, user) in self.0.iter().enumerate() {
            if let Some(hash) = &user.hash {
                let (number, _) = kinds.entry(hash.kind()).or_insert((0, place));
                *number = number.saturating_add(1);
            }
        }
        kinds.into_values().max_by_key(|(number, _)| *number).map(|(_, place)| place)
    }
}

fn parse_line(
    bytes: &[u8],
    number: usize,
    lines: &mut BTreeMap<UserName, usize>,
) -> Result<Option<User>, Fault> {
    let text = core::str::from_utf8(bytes).map_err(|_| Fault::new("a line in UTF-8", "other bytes"))?;
    let Some(user) = line::parse(text)? else { return Ok(None) };
    match lines.insert(user.name.clone(), number) {
        None => Ok(Some(user)),
        Some(before) => Err(Fault::new("a user once", format!("the user of line {before} again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;
    use crate::line::GroupName;
    use alloc::string::{String, ToString};
    use std::println;

    const BCRYPT: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
    const YESCRYPT: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";

    fn file(lines: &[&str]) -> String {
        lines.join("\n").replace("BCRYPT", BCRYPT).replace("YESCRYPT", YESCRYPT) + "\n"
    }

    fn faults(lines: &[&str]) -> Vec<String> {
        let errors = Users::parse(file(lines).as_bytes()).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_of_htpasswd_of_shadow_and_with_groups_are_taken() {
        let text = file(&[
            "# users of the gateway",
            "",
            "joe:BCRYPT",
            "eve:YESCRYPT:19700:0:99999:7:::",
            "sam:BCRYPT:staff,wheel_2",
            "lou:BCRYPT:",
            "root:*:19700:0:99999:7:::",
            "gone:!YESCRYPT",
            "müller:YESCRYPT:_a",
        ]);
        let users = Users::parse(text.as_bytes()).unwrap();
        let seen: Vec<_> = users
            .iter()
            .map(|user| {
                let groups: Vec<_> = user.groups.iter().map(GroupName::as_str).collect();
                (user.name.as_str(), user.hash.as_ref().map(Hash::as_str), groups)
            })
            .collect();
        let (bcrypt, yescrypt) = (Some(BCRYPT), Some(YESCRYPT));
        let expected = [
            ("joe", bcrypt, Vec::new()),
            ("eve", yescrypt, Vec::new()),
            ("sam", bcrypt, Vec::from(["staff", "wheel_2"])),
            ("lou", bcrypt, Vec::new()),
            ("root", None, Vec::new()),
            ("gone", None, Vec::new()),
            ("müller", yescrypt, Vec::from(["_a"])),
        ];
        assert_eq!(seen, expected);
        assert_eq!(users.get("gone").and_then(|user| user.hash.as_ref()), None);
        assert!(users.get("nobody").is_none());
    }

    #[test]
    fn a_file_with_a_wrong_line_is_refused_with_every_line_that_is_wrong() {
        let long = ["u".repeat(256), ":BCRYPT".into()].concat();
        let many = ["joe:BCRYPT:", &["g"; 33].join(",")].concat();
        for (line, fault) in [
            ("joe:", "found nothing"),
            ("joe", "found 1 field"),
            (":BCRYPT", "found none"),
            ("joe:BCRYPT:19700", "expected groups"),
            ("joe:BCRYPT:staff,", "found an empty one"),
            ("joe:BCRYPT:staff:0:99999:7:::", "found 9 other fields"),
            ("joe:BCRYPT:19700:0:99999:7::::", "found 10 other fields"),
            ("joe:BCRYPT:19700:0:99999:7:::x", "found 9 other fields"),
            ("joe:BCRYPT:a b", "found another name"),
            ("joe:CL:sesame", "found something else"),
            ("joe smith:BCRYPT", "expected a user"),
            (" # no remark", "found 1 field"),
            ("joe:BCRYPT\r", "expected a bcrypt hash"),
            ("joe:sesame", "clear password"),
            (&long, "found one of 256 bytes"),
            (&many, "found 33"),
        ] {
            let errors = faults(&["sam:BCRYPT", line, "eve:YESCRYPT"]);
            println!("{errors:?}");
            assert!(
                matches!(&*errors, [error] if error.starts_with("line 2: expected ") && error.contains(fault)),
                "{errors:?}"
            );
            assert!(!errors[0].contains("sesame"), "{errors:?}");
        }
        assert_eq!(faults(&["joe:x", "eve:YESCRYPT", "joe"]).len(), 2);
    }

    #[test]
    fn a_user_is_there_once_also_where_one_of_the_lines_is_locked() {
        let errors = faults(&["joe:BCRYPT", "joe:!"]);
        assert_eq!(errors, ["line 2: expected a user once, found the user of line 1 again"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let text = [b"j\xf6:", BCRYPT.as_bytes()].concat();
        assert_eq!(Users::parse(&text).unwrap_err().len(), 1);
        let with_zero = file(&["j\0e:BCRYPT"]);
        assert!(Users::parse(with_zero.as_bytes()).is_err());
    }

    #[test]
    fn the_typical_user_has_the_hash_that_most_have() {
        let typical = |lines: &[&str]| Users::parse(file(lines).as_bytes()).unwrap().typical();
        assert_eq!(typical(&[]), None);
        assert_eq!(typical(&["root:*"]), None);
        assert_eq!(typical(&["root:*", "joe:BCRYPT", "eve:YESCRYPT", "sam:YESCRYPT"]), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:$,\\n#!*0-9=]{0,80}", bytes: Vec<u8>) {
            let _ = Users::parse(text.as_bytes());
            let _ = Users::parse(&bytes);
        }
    }
}
