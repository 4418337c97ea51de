//! `include /etc/sockd.conf.d/*.conf`: rules of other files, read where the line stands.
//!
//! This file says what an include line names; the reader of the text lists the folder and reads the files. The lines of
//! included files are numbered behind those of the text itself, so each line of the text keeps its number. [`Place`]
//! says where a number stands.

use alloc::string::String;
use core::fmt;
use sockd_table::frozen::hash;

/// The most files that all include lines of a text may bring in.
pub(crate) const MOST_FILES: usize = 4096;

/// The files that an include line names: one file, or those of a folder whose names fit a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Include<'t> {
    path: &'t str,
    folder: &'t str,
    name: &'t str,
}

impl<'t> Include<'t> {
    /// Reads the path of an include line. A `*` in its last name stands for any characters. The other signs of glob(7) are
    /// refused, as they would otherwise stand for themselves and match nothing.
    pub fn parse(path: &'t str) -> Option<Self> {
        let (folder, name) = path.strip_prefix('/').and(path.rsplit_once('/'))?;
        let plain = !folder.contains('*') && !path.contains(['?', '[', ']', '{', '}', '\\']);
        let folder = if folder.is_empty() { "/" } else { folder };
        (plain && !matches!(name, "" | "." | "..")).then_some(Self { path, folder, name })
    }

    /// The path as it is written.
    pub fn path(&self) -> &'t str {
        self.path
    }

    /// The folder.
    pub fn folder(&self) -> &'t str {
        self.folder
    }

    /// Whether a pattern names the files. A pattern may fit no file; a file named in full must exist.
    pub fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    /// The hash of the paths found. A frozen file keeps it, so that a later change of the list is noticed.
    pub fn listing(&self, found: &[String]) -> [u8; 32] {
        hash(found.join("\n").as_bytes())
    }

    /// Whether the line means a file of this name in the folder. Hidden files need a dot at the start of the pattern.
    pub fn names(&self, name: &[u8]) -> bool {
        let is_hidden = name.starts_with(b".") && !self.name.starts_with('.');
        !is_hidden && fits(self.name.as_bytes(), name)
    }
}

/// Whether a name fits a pattern. The parts between stars are looked for one behind the other, each as early as it can be.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(place) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = rest.get(place.saturating_add(part.len())..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// The path of an include line; `None` for another line, `Some(None)` if the line does not end behind the path.
pub(crate) fn include_line(line: &[u8]) -> Option<Option<&str>> {
    let line = line.trim_ascii();
    let (word, rest) = line.split_at_checked(7)?;
    let ends = rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'#');
    if !word.eq_ignore_ascii_case(b"include") || !ends {
        return None;
    }
    let rest = rest.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
    Some(core::str::from_utf8(rest).ok().filter(|path| !path.contains(char::is_whitespace)))
}

/// An included file and the numbers of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    pub(crate) file: String,
    /// The number before that of its first line.
    pub(crate) before: u32,
    pub(crate) lines: u32,
}

impl Included {
    /// The path.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The numbers of its first and its last line.
    pub fn numbers(&self) -> (u32, u32) {
        (self.before.saturating_add(1), self.before.saturating_add(self.lines))
    }

    /// The line of this file that has a number.
    pub(crate) fn line(&self, number: u32) -> Option<u32> {
        number.checked_sub(self.before).filter(|line| (1..=self.lines).contains(line))
    }
}

/// The place of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'r> {
    /// The included file; `None` for the text itself.
    pub file: Option<&'r str>,
    /// The line there, from 1.
    pub line: u32,
}

/// `line 3`, or `line 3 of /etc/sockd.conf.d/web.conf`.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        self.file.map_or(Ok(()), |file| write!(f, " of {}", file.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_include_line_names_a_file_or_a_pattern_in_one_folder() {
        let include = Include::parse("/etc/sockd.conf.d/*.conf").unwrap();
        assert_eq!((include.folder(), include.is_pattern()), ("/etc/sockd.conf.d", true));
        let include = Include::parse("/rules").unwrap();
        assert_eq!((include.folder(), include.is_pattern()), ("/", false));
        for wrong in
            ["", "rules", "./rules", "/etc/", "/*/rules", "/etc/..", "/etc/[ab]", "/etc/?.conf", "/a{b,c}"]
        {
            assert_eq!(Include::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters_but_a_dot_in_front() {
        for (pattern, name, fits) in [
            ("/d/*.conf", "a.conf", true),
            ("/d/*.conf", "a.conf.dpkg-old", false),
            ("/d/*.conf", ".a.conf", false),
            ("/d/.*.conf", ".a.conf", true),
            ("/d/*.conf", "conf", false),
            ("/d/a*b*c", "abc", true),
            ("/d/a*b*c", "axbbyc", true),
            ("/d/a*b*c", "ac", false),
            ("/d/a*a", "a", false),
            ("/d/*", "x", true),
            ("/d/**x**", "yx", true),
            ("/d/a", "a", true),
            ("/d/a", "ab", false),
        ] {
            assert_eq!(Include::parse(pattern).unwrap().names(name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn only_the_whole_word_makes_an_include_line() {
        for (line, path) in [
            ("include /a", Some(Some("/a"))),
            (" Include\t/a # why", Some(Some("/a"))),
            ("include", Some(Some(""))),
            ("include /a /b", Some(None)),
            ("includes /a", None),
            ("permit include 0.0.0.0", None),
        ] {
            assert_eq!(include_line(line.as_bytes()), path, "{line}");
        }
    }
}
