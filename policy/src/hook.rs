//! The commands of rules: values are cleaned before they come near a shell.
//!
//! A value from the network that is spliced into a command line is an attack unless nothing in it can mean anything to
//! a shell, whatever quotes the administrator put around it. Quoting the value is no cure, because the template may
//! quote it again. So each field keeps a short set of harmless characters, and every other character becomes `_`. A user
//! cannot begin like an option or a hidden file. The command gets a cleaned copy; the log has the true value.

use alloc::string::{String, ToString};
use core::net::IpAddr;

use crate::request::Command;

/// The values that a template is filled in with, as the monitor knows them. [`expand`] cleans them.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    /// `%A`: the verified name of the client host, if it has one.
    pub source_name: Option<&'a str>,
    /// `%a`: the client host.
    pub source: IpAddr,
    /// `%c`: `connect` or `bind`.
    pub command: Command,
    /// `%p`: the process id of the server.
    pub pid: u32,
    /// `%S`: the service name of the port, if it has one.
    pub service: Option<&'a str>,
    /// `%s`: the destination port.
    pub port: u16,
    /// `%U`: the user that identd named.
    pub ident_user: Option<&'a [u8]>,
    /// `%u`: the user that the client claims to be.
    pub user: &'a [u8],
    /// `%Z`: the name of the destination, if it has one.
    pub destination_name: Option<&'a str>,
    /// `%z`: the destination.
    pub destination: IpAddr,
}

/// Fills in a command that has passed [`crate::template::check`]. In any other command, an unknown `%x` vanishes.
pub fn expand(text: &str, values: &Values) -> String {
    let mut command = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '%' => value(rest.next(), values, &mut command),
            _ => command.push(letter),
        }
    }
    command
}

fn value(letter: Option<char>, values: &Values, command: &mut String) {
    match letter {
        Some('A') => command.push_str(&clean_host(values.source_name, values.source)),
        Some('a') => command.push_str(&values.source.to_string()),
        Some('c') => command.push_str(values.command.name()),
        Some('p') => command.push_str(&values.pid.to_string()),
        Some('S') => command.push_str(&clean_service(values.service, values.port)),
        Some('s') => command.push_str(&values.port.to_string()),
        Some('U') => command.push_str(&clean_user(values.ident_user.unwrap_or_default())),
        Some('u') => command.push_str(&clean_user(values.user)),
        Some('Z') => command.push_str(&clean_host(values.destination_name, values.destination)),
        Some('z') => command.push_str(&values.destination.to_string()),
        Some('%') => command.push('%'),
        _ => {}
    }
}

/// A user for a command: at most 64 of `[A-Za-z0-9._@+-]`. There is no `/`, because templates use `%u` in file names. An empty
/// user becomes `unknown`.
pub fn clean_user(user: &[u8]) -> String {
    clean(user, 64, b"._@+-")
}

/// A host for a command: its name in at most 253 of `[A-Za-z0-9.:-]`, or its address if it has no name.
pub fn clean_host(name: Option<&str>, address: IpAddr) -> String {
    match name {
        Some(name) if !name.is_empty() => clean(name.as_bytes(), 253, b".:-"),
        _ => address.to_string(),
    }
}

/// A service for a command: its name from services(5), cleaned as a user is, or the number of the port if it has no name.
pub fn clean_service(name: Option<&str>, port: u16) -> String {
    match name {
        Some(name) if !name.is_empty() => clean_user(name.as_bytes()),
        _ => port.to_string(),
    }
}

/// Keeps letters, digits and the `harmless` characters. A first `-` would make an option, a first `.` a hidden file or the
/// parent folder.
fn clean(value: &[u8], longest: usize, harmless: &[u8]) -> String {
    if value.is_empty() {
        return String::from("unknown");
    }
    let safe = |place: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || (harmless.contains(&byte) && !(place == 0 && b"-.".contains(&byte)))
    };
    let letters = value.iter().take(longest).enumerate();
    letters.map(|(place, byte)| if safe(place, *byte) { char::from(*byte) } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::check;
    use std::vec::Vec;

    fn values<'a>(user: &'a [u8], name: Option<&'a str>) -> Values<'a> {
        Values {
            source_name: name,
            source: "10.1.2.3".parse().unwrap(),
            command: Command::Connect,
            pid: 4711,
            service: Some("telnet"),
            port: 23,
            ident_user: Some(user),
            user,
            destination_name: name,
            destination: "2001:db8::1".parse().unwrap(),
        }
    }

    #[test]
    fn every_substitution_has_its_value() {
        let text = "%A %a %c %p %S %s %U %u %Z %z 100%%";
        check(text).unwrap();
        let full = expand(text, &values(b"joe", Some("a.b.org")));
        assert_eq!(full, "a.b.org 10.1.2.3 connect 4711 telnet 23 joe joe a.b.org 2001:db8::1 100%");
        let bare = Values { service: None, ident_user: None, command: Command::Bind, ..values(b"", None) };
        let bare = expand(text, &bare);
        assert_eq!(bare, "10.1.2.3 10.1.2.3 bind 4711 23 23 unknown unknown 2001:db8::1 2001:db8::1 100%");
    }

    #[test]
    fn characters_that_mean_something_to_a_shell_become_underscores() {
        assert_eq!(clean_user(b"joe smith;x"), "joe_smith_x");
        assert_eq!(clean_user(b"../../etc/passwd"), "_._.._etc_passwd");
        assert_eq!(clean_user(b"-rf"), "_rf");
        assert_eq!(clean_user(b".profile"), "_profile");
        assert_eq!(clean_user(&[b'a'; 300]).len(), 64);
        assert_eq!(clean_user("\u{e9}".as_bytes()), "__");
        assert_eq!(clean_host(Some("-x$(id).org"), "10.0.0.1".parse().unwrap()), "_x__id_.org");
        assert_eq!(clean_service(Some("a;b"), 9), "a_b");
    }

    /// The payloads of the classic attacks on spliced commands, in five quotings that a template may use.
    #[test]
    fn no_payload_leaves_the_word_it_stands_in() {
        let payloads: [&[u8]; 24] = [
            b"; id",
            b"| id",
            b"&& id",
            b"`id`",
            b"$(id)",
            b"'; id; '",
            b"\"; id; \"",
            b"'\"; id; \"'",
            b"\nid\n",
            b"\r\nid",
            b"> /tmp/x",
            b"< /etc/passwd",
            b"${IFS}id",
            b"$IFS$9id",
            b"*",
            b"~root",
            b"-e/bin/sh",
            b"--help",
            b"\\'; id",
            b"%0aid",
            b"!!",
            b"../../x",
            b"\xff\xfe;id",
            b"a b",
        ];
        let templates = ["echo %u", "echo '%u'", "echo \"%u\"", "sh -c \"echo '%u'\"", "sh -c 'echo \"%u\"'"];
        for (payload, template) in
            payloads.iter().flat_map(|payload| templates.map(|template| (payload, template)))
        {
            let name = core::str::from_utf8(payload).ok();
            for letter in ["%u", "%U", "%A", "%Z"] {
                let template = template.replace("%u", letter);
                let (before, after) = template.split_once(letter).unwrap();
                let full = expand(&template, &values(payload, name));
                let word = full.strip_prefix(before).unwrap().strip_suffix(after).unwrap();
                let safe = |letter: char| letter.is_ascii_alphanumeric() || "._@+-:".contains(letter);
                assert!(!word.is_empty() && word.chars().all(safe), "{word}");
                assert!(!word.starts_with('-') && !word.starts_with('.'), "{word}");
            }
        }
        let all: Vec<u8> = (1..=255).collect();
        assert!(
            clean_user(&all).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
        );
    }
}
