//! A rule of Dante in the words of `sockd.conf`: never more than it passes, never less than it blocks.
//!
//! Anything that cannot be said is left out of a `pass`, and is dropped from a `block`, which then blocks more.

use super::hosts::{Hosts, Ports};
use super::remark::Remarks;
use super::rule::{BOTH_VERSIONS, Effect, REQUESTS, Rule};

/// A socks rule, as far as it can be said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) line: usize,
    pub(super) permits: bool,
    /// The fields before the source, but for the commands.
    pub(super) fields: String,
    pub(super) commands: u8,
    pub(super) from: Hosts,
    pub(super) to: Vec<Hosts>,
    pub(super) ports: Ports,
}

/// Methods that sockd knows too, with its words for them.
const METHODS: [(&str, &str); 2] = [("none", "none"), ("username", "password")];

/// Returns the rule in these words; `None` if no line is to stand for it. `global` has the methods of the server.
pub(super) fn said(rule: &Rule, global: &[String], remarks: &mut Remarks) -> Option<Said> {
    if rule.commands & REQUESTS == 0 {
        remarks.note(rule.line, "rules for answers are not needed: sockd lets in those to what it permits");
        return None;
    }
    let is_narrower = unsaid(rule, remarks);
    let permits = rule.permits();
    if permits && is_narrower {
        return None;
    }
    let fields = match permits {
        true => pass_fields(rule, global, remarks)?,
        false => block_fields(rule, global, remarks)?,
    };
    let from = source(rule, remarks)?;
    let to = destinations(rule, remarks)?;
    let (line, commands, ports) = (rule.line, rule.commands & REQUESTS, rule.to.ports.clone());
    Some(Said { line, permits, fields, commands, from, to, ports })
}

/// Remarks on what no line can say. Returns whether the rule is for less than a line would be.
pub(super) fn unsaid(rule: &Rule, remarks: &mut Remarks) -> bool {
    let mut narrows = rule.has_unsaid(Effect::Narrows);
    for unsaid in &rule.unsaid {
        let means = match unsaid.effect {
            Effect::Nothing if unsaid.keyword == "log" => continue,
            Effect::Alters if rule.passes => "what the rule passes is refused",
            Effect::Nothing | Effect::Alters => "left out of the rule",
            Effect::Narrows if rule.permits() => "the rule is left out",
            Effect::Narrows => "the rule refuses whatever it has here",
        };
        remarks.loss(
            unsaid.line,
            format!("{}: sockd.conf has no word for it; {means}", unsaid.keyword.escape_debug()),
        );
    }
    if rule.from.ports != Ports::All {
        let means = if rule.permits() { "the rule is left out" } else { "the rule refuses all of them" };
        remarks.loss(rule.line, format!("from: sockd.conf does not ask for the port of a client; {means}"));
        narrows = true;
    }
    narrows
}

/// The clients that the rule is for. An interface stands for nobody in a rule that permits, and else for everybody.
pub(super) fn source(rule: &Rule, remarks: &mut Remarks) -> Option<Hosts> {
    let permits = rule.permits();
    match &rule.from.hosts {
        Some(Hosts::Name(name)) if !permits => {
            let text =
                "a client is known by the name that its address leads to; the rule refuses every client";
            remarks.loss(rule.line, format!("from: {}: {text}", name.as_str()));
            Some(Hosts::All)
        }
        Some(hosts) => Some(hosts.clone()),
        None => {
            let means = if permits { "the rule is left out" } else { "the rule refuses every client" };
            unknown(rule.line, "from", &rule.from.word, means, remarks);
            (!permits).then_some(Hosts::All)
        }
    }
}

fn unknown(line: usize, keyword: &str, word: &str, means: &str, remarks: &mut Remarks) {
    let word = word.escape_debug();
    remarks.loss(
        line,
        format!("{keyword}: expected a network, a name with a dot or a .domain, found \"{word}\"; {means}"),
    );
}

/// The destinations that the rule is for.
fn destinations(rule: &Rule, remarks: &mut Remarks) -> Option<Vec<Hosts>> {
    let name = match &rule.to.hosts {
        None if !rule.permits() && rule.to.known().is_some() => return rule.to.known(),
        None => {
            let means =
                if rule.permits() { "the rule is left out" } else { "the rule refuses every destination" };
            unknown(rule.line, "to", &rule.to.word, means, remarks);
            return (!rule.permits()).then(|| vec![Hosts::All]);
        }
        Some(Hosts::Name(name)) if !rule.permits() => name,
        Some(Hosts::Zone(name)) if !rule.permits() => {
            let text = "asked for by address, a host is known by a name that leads back to that address";
            remarks.note(rule.line, format!("to: .{}: {text}", name.as_str()));
            return rule.to.hosts.clone().map(|hosts| vec![hosts]);
        }
        Some(hosts) => return Some(vec![hosts.clone()]),
    };
    let text = "a line with a name would not stop who asks for an address of that host; the rule refuses every destination";
    remarks.loss(rule.line, format!("to: {}: {text}", name.as_str()));
    Some(vec![Hosts::All])
}

/// The methods by which a client can come to the rule. A rule with users is for clients that have said who they are.
fn methods<'a>(rule: &'a Rule, global: &'a [String], remarks: &mut Remarks) -> Option<Vec<&'a str>> {
    let named = rule.has_users();
    let own = rule.methods.as_deref().unwrap_or(global).iter().map(String::as_str);
    let methods: Vec<_> = own.filter(|method| !(named && *method == "none")).collect();
    if methods.is_empty() {
        remarks.note(rule.line, "no client comes to this rule in Dante either: no socksmethod is left");
        return None;
    }
    Some(methods)
}

fn pass_fields(rule: &Rule, global: &[String], remarks: &mut Remarks) -> Option<String> {
    let methods = methods(rule, global, remarks)?;
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        methods.iter().partition(|method| word_of(method).is_some());
    for method in unknown {
        let text = format!(
            "socksmethod {}: sockd does not have it; the rule is not for who comes by it",
            method.escape_debug()
        );
        remarks.loss(rule.line, text);
    }
    if known.is_empty() {
        return None;
    }
    // Without the field a line is for clients that have said nothing as well.
    let of_all = known.contains(&"none")
        && global.iter().all(|method| word_of(method).is_none() || known.contains(&method.as_str()));
    let methods = if of_all { String::new() } else { field("@=", &in_words(&known)) };
    Some(methods + &field("*=", &rule.users) + &field("g=", &rule.groups) + &versions(rule))
}

fn block_fields(rule: &Rule, global: &[String], remarks: &mut Remarks) -> Option<String> {
    let methods = methods(rule, global, remarks)?;
    let is_sayable = methods.iter().all(|method| word_of(method).is_some());
    let is_for_all = global.iter().all(|method| methods.contains(&method.as_str()));
    if !is_sayable && !is_for_all {
        remarks.loss(
            rule.line,
            "socksmethod: sockd does not have all of them; the rule refuses who comes by any",
        );
    }
    let methods = if is_sayable && !is_for_all { field("@=", &in_words(&methods)) } else { String::new() };
    if !rule.users.is_empty() && !rule.groups.is_empty() {
        remarks.loss(
            rule.line,
            "user and group: a line of sockd.conf is for who is in both; the rule refuses all users",
        );
        return Some(methods + &versions(rule));
    }
    if !is_sayable && rule.has_users() {
        remarks
            .loss(rule.line, "user: sockd does not have every socksmethod here; the rule refuses all users");
        return Some(methods + &versions(rule));
    }
    Some(methods + &field("*=", &rule.users) + &field("g=", &rule.groups) + &versions(rule))
}

fn word_of(method: &str) -> Option<&'static str> {
    METHODS.iter().find(|(name, _)| *name == method).map(|(_, word)| *word)
}

fn in_words(methods: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in methods.iter().filter_map(|method| word_of(method)) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

fn versions(rule: &Rule) -> String {
    match rule.versions {
        BOTH_VERSIONS => String::new(),
        versions => field("~=", &[if versions == 1 { "4" } else { "5" }.to_owned()]),
    }
}

/// A field with a blank behind it; empty if there are no words.
pub(super) fn field(mark: &str, words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!("{mark}{} ", words.join(",")) }
}
