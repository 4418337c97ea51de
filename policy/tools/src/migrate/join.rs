//! Both sets of Dante's rules as the one of sockd.
//!
//! A request has to pass a client rule and then a socks rule, and the first that matches decides in each. So a client rule
//! that passes becomes the socks rules with its clients, and one that blocks becomes a `deny` line before them.

use super::bind;
use super::hosts::{Common, Hosts, Ports, Prefix};
use super::remark::Remarks;
use super::rule::{BIND, BIND_ANSWER, CONNECT, Effect, REQUESTS, Rule, UDP, UDP_ANSWER};
use super::said::{self, Said, field, source, unsaid};

/// Dante's rules, and the settings that they depend on.
pub(super) struct Rules<'a> {
    pub(super) client: &'a [Rule],
    pub(super) socks: &'a [Rule],
    /// The methods of the server.
    pub(super) methods: &'a [String],
    /// The hosts that can be reached from the addresses of the server; `None` for all.
    pub(super) reachable: Option<Hosts>,
    /// The addresses and interfaces where it listens.
    pub(super) internal: &'a [String],
    /// The addresses from which it speaks; `None` if they are not all known.
    pub(super) external: Option<Vec<Hosts>>,
    /// Whether answers are asked for more than their addresses.
    pub(super) asks_answers: bool,
}

/// A line of `sockd.conf`.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The line of `danted.conf` that it comes from.
    pub(super) from: usize,
    pub(super) text: String,
    /// Whether it needs the set of all IPv4 addresses.
    pub(super) needs_ipv4: bool,
}

/// A client rule, as far as it can be said.
struct Admission {
    line: usize,
    passes: bool,
    source: Hosts,
}

impl Rules<'_> {
    /// The lines, in their order.
    pub(super) fn lines(&self, remarks: &mut Remarks) -> Vec<Line> {
        let admissions: Vec<Admission> =
            self.client.iter().filter_map(|rule| self.admission(rule, remarks)).collect();
        let mut said = Vec::new();
        for rule in
            self.socks.iter().filter_map(|rule| said::said(rule, self.methods, remarks)).collect::<Vec<_>>()
        {
            said.extend(bind::apart(rule, self.external.as_deref(), remarks));
        }
        let is_open = admissions.iter().all(|admission| admission.passes);
        let mut lines = Vec::new();
        for group in admissions.chunk_by(|one, next| one.passes == next.passes) {
            match group.first() {
                Some(first) if first.passes => {
                    said.iter().for_each(|said| self.product(said, group, is_open, &mut lines, remarks));
                }
                _ => lines.extend(group.iter().map(refusal)),
            }
        }
        lines
    }

    fn admission(&self, rule: &Rule, remarks: &mut Remarks) -> Option<Admission> {
        let family = self.accepted_on(rule);
        let conditions = self.conditions(rule, family.is_some());
        let is_narrower = unsaid(rule, remarks) || !conditions.is_empty();
        let (line, passes) = (rule.line, rule.permits());
        for text in conditions {
            let means = if passes { "the rule is left out" } else { "the rule refuses more" };
            remarks.loss(line, format!("{text}; {means}"));
        }
        if passes && is_narrower {
            return None;
        }
        let source = source(rule, remarks)?;
        match source.common(&family.unwrap_or(Hosts::All)) {
            Common::Hosts(source) => Some(Admission { line, passes, source }),
            Common::Unsayable if !passes => Some(Admission { line, passes, source }),
            Common::Nothing => None,
            Common::Unsayable => {
                remarks.loss(line, "from: a line cannot ask for a name and for IPv4; the rule is left out");
                None
            }
        }
    }

    /// The conditions of a client rule that a line of the socks rules cannot have.
    fn conditions(&self, rule: &Rule, is_everywhere: bool) -> Vec<&'static str> {
        let lacks = |method: &String| rule.methods.as_ref().is_some_and(|own| !own.contains(method));
        let all = [
            (rule.has_users(), "user: a line has no place for users of client rules"),
            (
                self.methods.iter().any(lacks),
                "socksmethod: it cannot be said for the clients of a client rule",
            ),
            (!is_everywhere, "to: a line is for every address where sockd listens"),
        ];
        all.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text).collect()
    }

    /// The clients that can come to the addresses in `to`: a client speaks to an address of its own family. `None` if
    /// `to` has only some of the addresses where the server listens.
    fn accepted_on(&self, rule: &Rule) -> Option<Hosts> {
        let is_here = |word: &String| *word == rule.to.word;
        let is_somewhere = !self.internal.is_empty() && rule.to.ports == Ports::All;
        let Some(to) = rule.to.hosts.as_ref().filter(|_| is_somewhere) else {
            return (is_somewhere && self.internal.iter().all(is_here)).then_some(Hosts::All);
        };
        if *to == Hosts::All || to.are_ipv4() || *to == Hosts::Network(Prefix::IPV6) {
            return Some(to.clone());
        }
        let is_inside = |word: &String| Hosts::parse(word).is_some_and(|address| to.contain(&address));
        self.internal.iter().all(is_inside).then_some(Hosts::All)
    }

    /// Adds the lines of one socks rule for the clients of some client rules.
    fn product(
        &self,
        said: &Said,
        clients: &[Admission],
        is_open: bool,
        lines: &mut Vec<Line>,
        remarks: &mut Remarks,
    ) {
        // A client that no client rule passes is refused anyway, so a refusal may be for all.
        if !said.permits && is_open {
            return said
                .to
                .iter()
                .for_each(|to| lines.push(line(said, &said.from, to, REQUESTS & said.commands)));
        }
        for client in clients {
            let source = match client.source.common(&said.from) {
                Common::Nothing => continue,
                Common::Hosts(hosts) => hosts,
                Common::Unsayable if !said.permits => client.source.clone(),
                Common::Unsayable => {
                    let text = format!(
                        "from: a line cannot ask for this and for what line {} has; it is left out",
                        client.line
                    );
                    remarks.loss(said.line, text);
                    continue;
                }
            };
            for to in &said.to {
                self.permission(said, &source, to, lines, remarks);
            }
        }
    }

    /// Adds the line, for those of its commands and destinations that are certain.
    fn permission(
        &self,
        said: &Said,
        source: &Hosts,
        to: &Hosts,
        lines: &mut Vec<Line>,
        remarks: &mut Remarks,
    ) {
        if !said.permits {
            return lines.push(line(said, source, to, said.commands));
        }
        let to = match self.reachable.as_ref().map(|reachable| reachable.common(to)) {
            None => to.clone(),
            Some(Common::Hosts(hosts)) => hosts,
            Some(Common::Nothing) => return,
            Some(Common::Unsayable) => {
                return remarks.loss(
                    said.line,
                    "to: external.protocol has one family, and a name may have both; the rule is left out",
                );
            }
        };
        let mut commands = said.commands & CONNECT;
        for (command, answer, words) in [
            (BIND, BIND_ANSWER, "bind: no bindreply rule"),
            (UDP, UDP_ANSWER, "udpassociate: no udpreply rule"),
        ] {
            if said.commands & command == 0 {
            } else if self.lets_in(answer, &to, source) {
                commands |= command;
            } else {
                remarks
                    .note(said.line, format!("{words} surely lets in every answer; the rule is not for it"));
            }
        }
        if commands != 0 {
            lines.push(line(said, source, &to, commands));
        }
    }

    /// Whether every answer of these peers to these clients is passed.
    fn lets_in(&self, answer: u8, peers: &Hosts, clients: &Hosts) -> bool {
        for rule in self.socks.iter().filter(|rule| rule.commands & answer != 0 && !self.asks_answers) {
            let ends = [rule.from.known().zip(Some(peers)), rule.to.known().zip(Some(clients))];
            let is_apart =
                ends.iter().flatten().any(|(hosts, asked)| hosts.iter().all(|hosts| hosts.is_apart(asked)));
            let contains = ends.iter().all(|end| {
                end.as_ref().is_some_and(|(hosts, asked)| hosts.iter().any(|hosts| hosts.contain(asked)))
            });
            if rule.passes && contains && rule.is_plain() {
                return true;
            }
            if !is_apart && (!rule.passes || rule.has_unsaid(Effect::Alters)) {
                return false;
            }
        }
        false
    }
}

fn refusal(admission: &Admission) -> Line {
    let Admission { line, source, .. } = admission;
    Line { from: *line, text: format!("deny {source}"), needs_ipv4: source.are_ipv4() }
}

fn line(said: &Said, source: &Hosts, to: &Hosts, commands: u8) -> Line {
    let usual = if said.permits { CONNECT | BIND } else { REQUESTS };
    let words = [("connect", CONNECT), ("bind", BIND), ("udp", UDP)];
    let words = words.into_iter().filter(|(_, bit)| commands & bit != 0).map(|(word, _)| word.to_owned());
    let words: Vec<String> = words.collect();
    let commands = if commands == usual { String::new() } else { field("+=", &words) };
    let action = if said.permits { "permit" } else { "deny" };
    let to_words = if *to == Hosts::All { String::new() } else { format!(" {to}") };
    let text = format!("{action} {}{commands}{source}{to_words}{}", said.fields, said.ports);
    Line { from: said.line, text, needs_ipv4: source.are_ipv4() || to.are_ipv4() }
}
