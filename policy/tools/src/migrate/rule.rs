//! One rule of `danted.conf`, with the keywords that a line of `sockd.conf` cannot say.

use super::hosts::{Hosts, Ports};
use super::text::{Block, Setting};

/// A rule as it was read.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) passes: bool,
    pub(super) from: End,
    pub(super) to: End,
    pub(super) commands: u8,
    pub(super) versions: u8,
    /// The methods that the rule has; `None` if those of the server count.
    pub(super) methods: Option<Vec<String>>,
    pub(super) users: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) unsaid: Vec<Unsaid>,
}

/// `from` or `to`.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The hosts; `None` if the end is an interface, or cannot be read.
    pub(super) hosts: Option<Hosts>,
    pub(super) ports: Ports,
    pub(super) word: String,
}

impl End {
    /// The hosts. `lo` is the only interface whose hosts are known without a look at this host.
    pub(super) fn known(&self) -> Option<Vec<Hosts>> {
        match &self.hosts {
            Some(hosts) => Some(vec![hosts.clone()]),
            None if ["lo", "lo0"].contains(&self.word.as_str()) => Some(Hosts::loopback()),
            None => None,
        }
    }
}

/// A keyword that no line can say.
#[derive(Debug, Clone)]
pub(super) struct Unsaid {
    pub(super) line: usize,
    pub(super) keyword: String,
    pub(super) effect: Effect,
}

/// The effect of a keyword on a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The rule is for fewer requests than a line could be.
    Narrows,
    /// Some of what the rule passes is refused after all, or goes elsewhere.
    Alters,
    /// The rule lets the same clients reach the same hosts.
    Nothing,
}

pub(super) const CONNECT: u8 = 1;
pub(super) const BIND: u8 = 2;
pub(super) const UDP: u8 = 4;
pub(super) const BIND_ANSWER: u8 = 8;
pub(super) const UDP_ANSWER: u8 = 16;
pub(super) const REQUESTS: u8 = CONNECT | BIND | UDP;
const ALL: u8 = REQUESTS | BIND_ANSWER | UDP_ANSWER;

const COMMANDS: [(&str, u8); 5] = [
    ("connect", CONNECT),
    ("bind", BIND),
    ("udpassociate", UDP),
    ("bindreply", BIND_ANSWER),
    ("udpreply", UDP_ANSWER),
];
const PROTOCOLS: [(&str, u8); 2] = [("tcp", CONNECT | BIND | BIND_ANSWER), ("udp", UDP | UDP_ANSWER)];
const VERSIONS: [(&str, u8); 2] = [("socks_v4", 1), ("socks_v5", 2)];
pub(super) const BOTH_VERSIONS: u8 = 3;

/// Keywords that end with a dot stand for all that begin so. A keyword without a row may do anything.
const OTHERS: [(&str, Effect); 12] = [
    ("log", Effect::Nothing),
    ("bandwidth", Effect::Nothing),
    ("timeout.", Effect::Nothing),
    ("udp.portrange", Effect::Nothing),
    ("pam.servicename", Effect::Nothing),
    ("bsdauth.stylename", Effect::Nothing),
    ("gssapi.", Effect::Nothing),
    ("clientcompatibility", Effect::Nothing),
    ("internal.", Effect::Nothing),
    ("external.", Effect::Nothing),
    ("hostid", Effect::Narrows),
    ("hostindex", Effect::Narrows),
];

impl Rule {
    pub(super) fn read(block: &Block) -> Rule {
        let unread = || End { hosts: None, ports: Ports::All, word: String::new() };
        let mut rule = Rule {
            line: block.line,
            passes: block.kind == "pass",
            from: unread(),
            to: unread(),
            commands: ALL,
            versions: BOTH_VERSIONS,
            methods: None,
            users: Vec::new(),
            groups: Vec::new(),
            unsaid: Vec::new(),
        };
        block.settings.iter().for_each(|setting| rule.setting(setting));
        rule
    }

    fn setting(&mut self, setting: &Setting) {
        let words = &setting.words;
        let understood = match setting.keyword.as_str() {
            "from" => end(words).map(|end| self.from = end),
            "to" => end(words).map(|end| self.to = end),
            "command" => bits(words, &COMMANDS).map(|bits| self.commands &= bits),
            "protocol" => bits(words, &PROTOCOLS).map(|bits| self.commands &= bits),
            "proxyprotocol" => bits(words, &VERSIONS).map(|bits| self.versions &= bits),
            "socksmethod" | "method" => list(words).map(|methods| self.methods = Some(methods)),
            "clientmethod" if words.iter().any(|word| word == "none") => Some(()),
            "user" => users(words).map(|users| self.users.extend(users)),
            "group" => users(words).map(|groups| self.groups.extend(groups)),
            _ => None,
        };
        if understood.is_none() {
            let effect = effect(&setting.keyword);
            self.unsaid.push(Unsaid { line: setting.line, keyword: setting.keyword.clone(), effect });
        }
    }

    /// Whether lines for it permit: a rule that passes only in part is refused.
    pub(super) fn permits(&self) -> bool {
        self.passes && !self.has_unsaid(Effect::Alters)
    }

    /// Whether a keyword with this effect has no counterpart.
    pub(super) fn has_unsaid(&self, effect: Effect) -> bool {
        self.unsaid.iter().any(|unsaid| unsaid.effect == effect)
    }

    /// Whether the rule is for some users alone.
    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// Whether the rule is for every answer from certain hosts to certain clients.
    pub(super) fn is_plain(&self) -> bool {
        let conditions = [&self.from.ports, &self.to.ports].iter().any(|ports| **ports != Ports::All)
            || self.has_users()
            || self.versions != BOTH_VERSIONS;
        !conditions && !self.has_unsaid(Effect::Narrows) && !self.has_unsaid(Effect::Alters)
    }
}

fn effect(keyword: &str) -> Effect {
    let is_row = |name: &str| if name.ends_with('.') { keyword.starts_with(name) } else { keyword == name };
    let conditions = ["from", "to", "command", "protocol", "proxyprotocol", "clientmethod", "user", "group"];
    match OTHERS.iter().find(|(name, _)| is_row(name)) {
        Some((_, effect)) => *effect,
        None if conditions.contains(&keyword) => Effect::Narrows,
        None => Effect::Alters,
    }
}

/// Reads an address and, if they follow, `port` and ports.
fn end(words: &[String]) -> Option<End> {
    let (address, rest) = words.split_first()?;
    let ports = match rest.split_first() {
        None => Ports::All,
        Some((port, ports)) if port == "port" => Ports::parse(ports)?,
        Some(_) => return None,
    };
    Some(End { hosts: Hosts::parse(address), ports, word: address.clone() })
}

fn bits(words: &[String], names: &[(&str, u8)]) -> Option<u8> {
    let bit = |word: &String| names.iter().find(|(name, _)| name == word).map(|(_, bit)| *bit);
    words.iter().map(bit).try_fold(0, |all, bit| Some(all | bit?)).filter(|bits| *bits != 0)
}

fn list(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}

/// Names that can stand in a list of users as they are.
fn users(words: &[String]) -> Option<Vec<String>> {
    let fits = |letter: char| letter.is_alphanumeric() || "-_.@$\\+".contains(letter);
    let is_user = |word: &String| !word.is_empty() && word.len() <= 255 && word.chars().all(fits);
    list(words).filter(|words| words.iter().all(is_user))
}
