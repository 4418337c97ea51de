//! The text of `sockd.conf`.
//!
//! ```text
//! line    = blank | comment | special | set | include | rule
//! rule    = action {field} source [destination] [op port | "in" ports] [":" shell_cmd]
//! action  = "permit" | "deny"
//! field   = "?=" ident | "*=" userlist | "g=" groups | "+=" commands | "~=" versions | "@=" methods | "<=" rates | "n=" count
//!           (each at most once, in any order but `?=` before `*=`)
//! ident   = "I" | "i" | "n" | nothing, which is n
//! userlist = id or absolute file, "," between them, no blanks; nothing is everybody
//! commands = "connect" | "bind" | "udp", "," between them; without the field connect and bind, of a deny line all
//! versions = "4" | "5", "," between them
//! methods = "none" | "password" | "ident", "," between them; a deny line has no ident
//! rates   = (rate | rate down "/" rate up) [",shared"]; a rate is bytes a second, or thousands (K), millions (M) or billions (G) of them;
//!           only a permit line for TCP has limits
//! groups  = names of groups, "," between them, no blanks; only where a password may name the user
//! ports   = port or first "-" last port, "," between them, no blanks
//! set     = "set" name "=" host or absolute file, "," between them     (`crate::sets`)
//! include = "include" absolute file, with "*" in its last name for any characters     (`crate::include`)
//! source, destination = "<" name of a set ">" | address mask | address "/" length | name mask | "." name mask | "ALL" mask
//! op      = "eq" | "neq" | "lt" | "gt" | "le" | "ge"
//! special = "#NO_IDENTD:" shell_cmd | "#BAD_ID:" shell_cmd     (at the very start of a line, in these letters)
//! ```
//!
//! The parts have this order, and blanks between them. The classic server skipped lines that it could not read, ignored
//! words that it did not expect, and so opened firewalls. Here each such line is an error, and one error refuses the file.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::net::Ipv4Addr;
use sockd_table::{Builder, Op, Pattern, Ports, Protocol, RuleBody};

use crate::error::{Faults, LineError};
use crate::include::{Include, Included, MOST_FILES, include_line};
use crate::line::{Words, each_line, each_line_behind, lines_of};
use crate::rules::{BAD_ID, IDENT, NO_IDENTD, PERMIT, RULES, RuleSet, fields_agree, limits_agree};
use crate::services::Services;
use crate::sets::{Hosts, Sets, set_line};
use crate::template;
use crate::user::UserId;

/// The files that a text may name.
pub struct Files<'a> {
    /// Returns the bytes of a user file, a file of a set or an included file, or the reason why it cannot be read. It is
    /// called once for each user file.
    pub read: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    /// Returns the paths of the files that a pattern names, in the order of their names, or the reason why its folder cannot
    /// be listed.
    pub list: &'a mut dyn FnMut(Include<'_>) -> Result<Vec<String>, String>,
}

/// Reads a `sockd.conf` that includes no other file: an `include` line is a fault.
///
/// # Errors
/// As [`parse_conf_with`] has them.
pub fn parse_conf(
    text: &[u8],
    services: &Services,
    user_file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<RuleSet, Vec<LineError>> {
    let list = &mut |_: Include<'_>| Err("no file can be included here".into());
    parse_conf_with(text, services, Files { read: user_file, list })
}

/// Reads `sockd.conf`. A text without a rule is no error here, see [`RuleSet::is_empty`].
///
/// # Errors
/// Every faulty line, at most a thousand of them, and how many more there are.
pub fn parse_conf_with(
    text: &[u8],
    services: &Services,
    Files { read, list }: Files<'_>,
) -> Result<RuleSet, Vec<LineError>> {
    let mut conf = Conf {
        builder: Builder::default(),
        sets: Sets::default(),
        services,
        user_file: read,
        list,
        lines: lines_of(text),
        included: Vec::new(),
        is_included: false,
        faults: Faults::default(),
    };
    let mut faults = Faults::default();
    if !conf.builder.admits(text.len()) {
        return Err(alloc::vec![LineError::new(0, format!("expected at most {} bytes", Builder::LARGEST))]);
    }
    each_line(text, &mut faults, |number, line| conf.line(number, line));
    faults.and(conf.faults).none()?;
    Ok(RuleSet { table: conf.builder.finish(&RULES), included: conf.included })
}

struct Conf<'a> {
    builder: Builder,
    sets: Sets,
    services: &'a Services,
    user_file: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    list: &'a mut dyn FnMut(Include<'_>) -> Result<Vec<String>, String>,
    /// The number of lines so far: those of the text and of the files included up to here.
    lines: usize,
    included: Vec<Included>,
    /// Whether an included file is being read.
    is_included: bool,
    /// The faults of included files.
    faults: Faults,
}

impl Conf<'_> {
    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), LineError> {
        for (place, name) in [NO_IDENTD, BAD_ID].into_iter().enumerate() {
            if let Some(command) = line.strip_prefix(name.as_bytes()) {
                return self.special(number, place, name, command);
            }
        }
        if let Some(set) = set_line(line) {
            return self.sets.define(number, set, &mut self.builder, self.user_file);
        }
        if let Some(path) = include_line(line) {
            return self.include(number, path);
        }
        let words = Words::of(number, line)?;
        if words.is_blank() { Ok(()) } else { self.rule(number, line.len(), words) }
    }

    /// Reads the files that an include line names.
    fn include(&mut self, number: usize, path: Option<&str>) -> Result<(), LineError> {
        let expected = |what: &str| LineError::expected(number, what, path.map(str::as_bytes));
        if self.is_included {
            return Err(expected("no include line in an included file"));
        }
        let include = path
            .and_then(Include::parse)
            .ok_or_else(|| expected("the path of one file, or of files as /etc/sockd.conf.d/*.conf"))?;
        let refused = |why: String| LineError::new(number, format!("include {}: {why}", include.path()));
        let files = match include.is_pattern() {
            true => (self.list)(include).map_err(refused)?,
            false => alloc::vec![include.path().to_string()],
        };
        files.into_iter().try_for_each(|file| self.included_file(number, file))
    }

    /// Reads an included file, whose lines have the numbers behind those that have been given so far.
    fn included_file(&mut self, number: usize, file: String) -> Result<(), LineError> {
        let refused =
            |why: &str| LineError::new(number, format!("included file {}: {why}", file.escape_debug()));
        if self.included.len() >= MOST_FILES {
            return Err(refused(&format!("expected at most {MOST_FILES} included files")));
        }
        let text = (self.user_file)(&file).map_err(|why| refused(&why))?;
        if !self.builder.admits(text.len()) {
            return Err(refused("too large"));
        }
        let (before, lines, mut faults) = (self.lines, lines_of(&text), Faults::default());
        self.is_included = true;
        each_line_behind(before, &text, &mut faults, |number, line| self.line(number, line));
        self.is_included = false;
        self.faults.add_of(&file, before, faults);
        self.lines = before.saturating_add(lines);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.included.push(Included { file, before: number(before), lines: number(lines) });
        Ok(())
    }

    fn special(&mut self, number: usize, place: usize, name: &str, text: &[u8]) -> Result<(), LineError> {
        let text = core::str::from_utf8(text.trim_ascii())
            .map_err(|_| LineError::expected(number, "UTF-8 text", Some(text)))?;
        let template = template(&mut self.builder, number, text)?;
        if self.builder.special(place, template, number) {
            Ok(())
        } else {
            Err(LineError::new(number, format!("expected one {name} line, found a second")))
        }
    }

    fn rule(&mut self, number: usize, length: usize, mut words: Words) -> Result<(), LineError> {
        let choice = action(&mut words)?;
        let mut body = RuleBody::of(choice);
        self.fields(number, &mut words, &mut body)?;
        let sources = self.sets.patterns(&mut words, |words| words.pattern("source"))?;
        let destinations = match words.peek() {
            Some(word) if Op::named(word).is_none() && !is_list(&words) => {
                self.sets.patterns(&mut words, destination)?
            }
            _ => Hosts::one(Pattern::Any),
        };
        self.sets.admit(number, length, [&sources, &destinations])?;
        body.ports = match is_list(&words) {
            true => self.listed_ports(&mut words)?,
            false => ports(&mut words, self.services)?,
        };
        words.end("the end of the rule")?;
        if let Some(text) = words.command {
            body.template = template(&mut self.builder, number, text)?;
        }
        for source in &sources.patterns {
            destinations
                .patterns
                .iter()
                .for_each(|destination| self.builder.rule(number, source, destination, body));
        }
        Ok(())
    }

    /// Reads the fields between the action and the source.
    fn fields(&mut self, number: usize, words: &mut Words, body: &mut RuleBody) -> Result<(), LineError> {
        let mut seen = Vec::new();
        while let Some(word) = words.peek() {
            let Some((mark, field)) = FIELDS.iter().find(|(mark, _)| word.starts_with(mark)) else { break };
            // The classic server reads these two in this order alone.
            let is_late = matches!(field, Field::Ident) && seen.contains(&"*=");
            if seen.contains(mark) || is_late {
                return Err(words.expected("source address"));
            }
            seen.push(*mark);
            let value = words.take_marked(mark).unwrap_or_default();
            match field {
                Field::Ident => body.choice |= ident(words, value)?,
                Field::Users => body.users = user_list(&mut self.builder, self.user_file, number, value)?,
                Field::Commands => body.protocol.commands = bits(words, word, value, &Protocol::COMMANDS)?,
                Field::Versions => body.protocol.versions = bits(words, word, value, &Protocol::VERSIONS)?,
                Field::Methods => body.protocol.methods = methods(words, word, value)?,
                Field::Groups => body.groups = group_list(&mut self.builder, words, word, value)?,
                Field::Rates => {
                    body.limits = body.limits.with_rates(value).ok_or_else(|| words.wrong(RATES, word))?;
                }
                Field::Connections => {
                    let limits = body.limits.with_connections(value);
                    body.limits = limits.ok_or_else(|| words.wrong(CONNECTIONS, word))?;
                }
                Field::Reserved => {
                    return Err(words.wrong(NO_QUOTA, word));
                }
            }
        }
        agree(words, body)
    }

    /// Reads `in` and its list of ports.
    fn listed_ports(&mut self, words: &mut Words) -> Result<Ports, LineError> {
        words.take();
        let wrong = words.expected("ports as 80,443,8000-8999");
        let ranges = words.take().unwrap_or_default().split(',').map(|item| range(item, self.services));
        let ranges = ranges.collect::<Option<Vec<_>>>().ok_or(wrong)?;
        let port =
            self.builder.ports(ranges).ok_or_else(|| words.expected("at most 65536 lists of ports"))?;
        Ok(Ports { op: Op::In, port })
    }
}

/// The values expected of fields that set a limit.
const RATES: &str = "bytes a second from 1K to 4G, as <=10M/2M, <=500K or <=10M/2M,shared";
const CONNECTIONS: &str = "n= with a number from 1 to 65536";
const NO_QUOTA: &str = "no q=, as nothing keeps quotas over a restart yet";

/// A field between the action and the source.
#[derive(Clone, Copy)]
enum Field {
    Ident,
    Users,
    Commands,
    Versions,
    Methods,
    Groups,
    Rates,
    Connections,
    /// A field without a meaning yet, which is an error so that it does not pass for something else.
    Reserved,
}

/// The fields by the mark that each begins with. No address begins with a mark, so no older file has these fields.
const FIELDS: [(&str, Field); 9] = [
    ("?=", Field::Ident),
    ("*=", Field::Users),
    ("+=", Field::Commands),
    ("~=", Field::Versions),
    ("@=", Field::Methods),
    ("g=", Field::Groups),
    ("<=", Field::Rates),
    ("n=", Field::Connections),
    ("q=", Field::Reserved),
];

/// Reads a list of names that each stand for a bit.
fn bits(words: &Words, word: &str, list: &str, names: &[(&str, u8)]) -> Result<u8, LineError> {
    let bit = |item: &str| names.iter().find(|(name, _)| *name == item).map(|(_, bit)| *bit);
    let bits = list.split(',').map(bit).try_fold(0, |all, bit| Some(all | bit?));
    bits.ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        words.wrong(&format!("one or more of {} with commas between them", known.join(", ")), word)
    })
}

/// Reads the methods by which users must have shown who they are.
fn methods(words: &Words, word: &str, list: &str) -> Result<u8, LineError> {
    const UNBUILT: [&str; 3] = ["pam", "gssapi", "tls"];
    match list.split(',').find(|item| UNBUILT.contains(item)) {
        Some(item) => Err(words.wrong(&format!("no {item}, which this version does not have"), word)),
        None => bits(words, word, list, &Protocol::METHODS),
    }
}

/// Reads a list of groups, and returns its number.
fn group_list(builder: &mut Builder, words: &Words, word: &str, list: &str) -> Result<u32, LineError> {
    let is_group = |item: &str| !item.starts_with('/') && matches!(item.len(), 1..=255);
    if !list.split(',').all(is_group) {
        return Err(words.wrong("names of groups with commas between them", word));
    }
    Ok(builder.known_list(list).unwrap_or_else(|| {
        let items: Vec<u32> = list.split(',').map(|group| builder.user(group.as_bytes())).collect();
        builder.list(list, &items)
    }))
}

/// Refuses fields that contradict each other.
fn agree(words: &Words, body: &RuleBody) -> Result<(), LineError> {
    limits_agree(body).map_err(|what| words.wrong(what, body.limits.to_string().trim_start()))?;
    let Err(what) = fields_agree(body) else { return Ok(()) };
    let methods = Protocol::METHODS.iter().filter(|(_, bit)| body.protocol.methods & bit != 0);
    let methods: Vec<&str> = methods.map(|(name, _)| *name).collect();
    Err(words.wrong(what, &format!("@={}", methods.join(","))))
}

/// Whether the next word begins a list of ports. In front of a mask it is the name of a host.
fn is_list(words: &Words) -> bool {
    let is_mask = |word: &str| word.parse::<Ipv4Addr>().is_ok();
    words.peek().is_some_and(|word| word.eq_ignore_ascii_case(Op::In.name()))
        && !words.peek_second().is_some_and(is_mask)
}

/// Reads a port, or the first and the last port of a range.
fn range(item: &str, services: &Services) -> Option<(u16, u16)> {
    if let Some(port) = services.port_of(item).or_else(|| port_number(item)) {
        return Some((port, port));
    }
    let (first, last) = item.split_once('-')?;
    let (first, last) = (port_number(first)?, port_number(last)?);
    (first <= last).then_some((first, last))
}

fn port_number(word: &str) -> Option<u16> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

fn action(words: &mut Words) -> Result<u32, LineError> {
    let choice = match words.peek() {
        Some(word) if word.eq_ignore_ascii_case("permit") => PERMIT,
        Some(word) if word.eq_ignore_ascii_case("deny") => 0,
        _ => return Err(words.expected("permit or deny")),
    };
    words.take();
    Ok(choice)
}

fn ident(words: &Words, letter: &str) -> Result<u32, LineError> {
    let letter = if letter.is_empty() { "n" } else { letter };
    let known = IDENT.iter().find(|(.., name)| *name == letter);
    known.map(|(code, ..)| *code).ok_or_else(|| words.wrong("?=I, ?=i or ?=n", letter))
}

/// Reads a destination. An operator may stand in its place, and a mistyped operator often looks like a destination.
fn destination(words: &mut Words) -> Result<Pattern, LineError> {
    let found = words.peek().unwrap_or_default();
    let misread = words.wrong("destination address, port operator or the end of the rule", found);
    words.pattern("destination").map_err(|error| if words.peek() == Some(found) { misread } else { error })
}

/// Reads `op port`, if the next word is an operator.
pub(crate) fn ports(words: &mut Words, services: &Services) -> Result<Ports, LineError> {
    let Some(op) = words.peek().and_then(Op::named) else { return Ok(Ports::ANY) };
    words.take();
    let port = words.peek().and_then(|word| services.port_of(word).or_else(|| port_number(word)));
    let port = port.ok_or_else(|| words.expected("service name or port from 0 to 65535"))?;
    words.take();
    Ok(Ports { op, port })
}

/// Checks a command and returns its number.
pub(crate) fn template(builder: &mut Builder, number: usize, text: &str) -> Result<u32, LineError> {
    template::check(text).map_err(|error| {
        LineError::expected(number, &format!("a shell command with {error}"), Some(text.as_bytes()))
    })?;
    Ok(builder.template(text))
}

/// Reads a user list and the files that it names. Returns the number of the list; 0 stands for everybody.
pub(crate) fn user_list(
    builder: &mut Builder,
    user_file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    line: usize,
    word: &str,
) -> Result<u32, LineError> {
    if word.is_empty() {
        return Ok(0);
    }
    if let Some(known) = builder.known_list(word) {
        return Ok(known);
    }
    let mut items = Vec::new();
    for item in word.split(',').filter(|item| !item.is_empty()) {
        items.push(if item.starts_with('/') {
            file_item(builder, user_file, line, item)?
        } else {
            let id = UserId::parse(item.as_bytes()).map_err(|_| id_too_long(line, item.as_bytes()))?;
            builder.user(id.as_bytes())
        });
    }
    // A list of commas alone names nobody. A deny line with such a list would let everybody through.
    if items.is_empty() {
        Err(LineError::expected(line, "user ids", Some(word.as_bytes())))
    } else {
        Ok(builder.list(word, &items))
    }
}

/// Reads a user file: ids with blanks or commas between them, and `#` comments.
fn file_item(
    builder: &mut Builder,
    user_file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    line: usize,
    path: &str,
) -> Result<u32, LineError> {
    if let Some(known) = builder.known_file(path) {
        return Ok(known);
    }
    let refused = |why: &str| LineError::new(line, format!("user file {}: {why}", path.escape_debug()));
    let text = user_file(path).map_err(|why| refused(&why))?;
    if !builder.admits(text.len()) {
        return Err(refused("too large"));
    }
    let mut users = Vec::new();
    let mut faults = Faults::default();
    each_line(&text, &mut faults, |number, line| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        for id in line.split(|byte| byte.is_ascii_whitespace() || *byte == b',').filter(|id| !id.is_empty()) {
            UserId::parse(id).map_err(|_| id_too_long(number, id))?;
            users.push(id);
        }
        Ok(())
    });
    faults.none().map_err(|errors| refused(&errors.first().map(LineError::to_string).unwrap_or_default()))?;
    Ok(builder.file(path, users))
}

fn id_too_long(line: usize, id: &[u8]) -> LineError {
    LineError::expected(line, "user id of at most 255 bytes", Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_user_file_cannot_write_to_a_terminal() {
        let text = "permit *=/a\x1b[2J\u{202e} ALL 0.0.0.0\n";
        let errors =
            parse_conf(text.as_bytes(), &Services::default(), &mut |_| Err("gone".into())).unwrap_err();
        assert_eq!(errors[0].to_string(), "line 1: user file /a\\u{1b}[2J\\u{202e}: gone");
    }
}
