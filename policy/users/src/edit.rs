//! Changes of a file. Each changes one line: the rest stays as it is, remarks and lines of shadow(5) included.

use crate::hash::Hash;
use crate::line::{self, GroupName, UserName};
use alloc::string::String;
use alloc::vec::Vec;

/// A change of a user's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Another hash; the groups stay. If there is no such user, a line at the end.
    Password(&'a Hash),
    /// Other groups; the hash stays.
    Groups(&'a [GroupName]),
    /// The line goes.
    Remove,
}

/// Returns the text with the change of one user. [`crate::Users::parse`] must take the text.
pub fn change(text: &str, name: &UserName, change: &Change<'_>) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let place = lines.iter().position(|line| is_of(line, name));
    match (place, change) {
        (Some(place), Change::Remove) => drop(lines.remove(place)),
        (Some(place), _) => {
            if let Some(line) = lines.get_mut(place) {
                *line = changed(line, name, change);
            }
        }
        (None, Change::Password(hash)) => lines.push(written(name, hash.as_str(), "")),
        (None, _) => {}
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn is_of(line: &str, name: &UserName) -> bool {
    !line.starts_with('#') && line.split(':').next() == Some(name.as_str())
}

/// A line of shadow(5) keeps its other fields unless it gets groups.
fn changed(line: &str, name: &UserName, change: &Change<'_>) -> String {
    let mut fields = line.splitn(3, ':').skip(1);
    let (hash, rest) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    match change {
        Change::Password(hash) => written(name, hash.as_str(), rest),
        Change::Groups(groups) => {
            let groups: Vec<&str> = groups.iter().map(line::GroupName::as_str).collect();
            written(name, hash, &groups.join(","))
        }
        Change::Remove => String::new(),
    }
}

fn written(name: &UserName, hash: &str, rest: &str) -> String {
    let mut line = [name.as_str(), ":", hash].concat();
    if !rest.is_empty() {
        line.extend([":", rest]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Users;

    const OLD: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
    const NEW: &str = "$2b$12$abIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    fn text() -> String {
        "# remark\njoe:OLD:staff\n\neve:OLD:19700:0:99999:7:::\nsam:OLD\n".replace("OLD", OLD)
    }

    fn after(name: &str, what: &Change<'_>) -> String {
        let text = change(&text(), &UserName::parse(name).unwrap(), what);
        assert!(Users::parse(text.as_bytes()).is_ok(), "{text}");
        text
    }

    #[test]
    fn a_password_is_changed_in_its_line_alone() {
        let hash = Hash::parse(NEW).unwrap();
        let to_new = |line: &str| text().replace(line, &line.replace(OLD, NEW));
        for (name, line) in [("joe", "joe:OLD:staff"), ("eve", "eve:OLD:19700"), ("sam", "sam:OLD")] {
            let line = line.replace("OLD", OLD);
            assert_eq!(after(name, &Change::Password(&hash)), to_new(&line));
        }
        assert_eq!(after("lou", &Change::Password(&hash)), [text(), ["lou:", NEW, "\n"].concat()].concat());
    }

    #[test]
    fn groups_are_changed_and_ages_given_up_for_them() {
        let groups = line::parse_groups("a,b").unwrap();
        assert_eq!(
            after("sam", &Change::Groups(&groups)),
            text().replace(&["sam:", OLD].concat(), &["sam:", OLD, ":a,b"].concat())
        );
        assert!(after("eve", &Change::Groups(&groups)).contains(&["eve:", OLD, ":a,b\n"].concat()));
        assert!(after("joe", &Change::Groups(&[])).contains(&["joe:", OLD, "\n"].concat()));
        assert_eq!(after("lou", &Change::Groups(&groups)), text());
    }

    #[test]
    fn a_user_is_removed_with_the_line() {
        assert_eq!(after("joe", &Change::Remove), text().replace(&["joe:", OLD, ":staff\n"].concat(), ""));
        assert_eq!(after("lou", &Change::Remove), text());
    }
}
