//! Warnings about lines that are valid, but hardly what the administrator meant.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use sockd_table::{Network, Op, Pattern, Ports, Protocol, RuleBody, Table};

use crate::request::IdentMode;
use crate::route::Routes;
use crate::rules::{PERMIT, RuleRef, RuleSet, SOCKS5};

/// A warning about one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1.
    pub line: u32,
    pub(crate) text: String,
    /// The included file that the line is of.
    pub(crate) file: Option<String>,
}

impl Warning {
    /// A warning about a line of the text itself.
    pub(crate) fn new(line: u32, text: String) -> Self {
        Self { line, text, file: None }
    }

    /// With the file in front: the included one that the line is of, or the text itself, which is `conf`.
    pub fn in_file(&self, conf: impl fmt::Display) -> String {
        match &self.file {
            Some(file) => format!("{}: {self}", file.escape_debug()),
            None => format!("{conf}: {self}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Finds rules that can never match, and rules for users whom nobody asks for a password. It also finds permits that
/// open the networks inside, and permits by name without identd. Returns at most a thousand warnings. `ident_default`
/// is the mode of lines without `?=`.
pub fn lint(rules: &RuleSet, ident_default: IdentMode) -> Vec<Warning> {
    let warnings = rules.rules().flat_map(|rule| {
        let doubts = [
            never_matches(rules, &rule),
            asks_for_no_password(rules, &rule),
            opens_the_inside(rules, &rule),
            trusts_names(&rule, ident_default),
        ];
        let place = rules.place(rule.line());
        let warning =
            move |text| Warning { file: place.file.map(String::from), ..Warning::new(place.line, text) };
        doubts.into_iter().flatten().map(warning)
    });
    warnings.take(1000).collect()
}

/// Finds routes from addresses that this host does not have. `has` tells whether it has one, and is asked once about each.
/// Returns at most a thousand warnings.
pub fn lint_routes(routes: &Routes, has: impl Fn(IpAddr) -> bool) -> Vec<Warning> {
    let mut known = BTreeMap::new();
    let mut lacks = |source: IpAddr| !*known.entry(source).or_insert_with(|| has(source));
    let text = |source| format!("this host does not have {source}; connections from there fail");
    let lacking = routes.sources().filter(|(source, _)| lacks(*source)).take(1000);
    lacking.map(|(source, line)| Warning::new(line, text(source))).collect()
}

fn never_matches(rules: &RuleSet, rule: &RuleRef) -> Option<String> {
    let (table, body) = (&rules.table, rule.body()?);
    // A pattern of a set may well lie in another one, or be covered by a line above.
    let neighbours = [rule.index().checked_sub(1), rule.index().checked_add(1)];
    if neighbours.into_iter().flatten().any(|other| table.line(other) == rule.line()) {
        return None;
    }
    if ranges(table, body.ports).is_empty() {
        return Some(String::from("never matches: there is no such port"));
    }
    if !table.names_anybody(body.users) {
        return Some(String::from("never matches: its user list is empty"));
    }
    if body.protocol.versions != 0 && body.protocol.versions & SOCKS5 == 0 && is_for_passwords(body) {
        return Some(String::from("never matches: SOCKS4 has no passwords"));
    }
    let covers = |earlier: &RuleBody| {
        let ports = [earlier.ports, body.ports].map(|ports| ranges(table, ports));
        ports_cover(&ports[0], &ports[1])
            && table.users_cover(earlier.users, body.users)
            && table.users_cover(earlier.groups, body.groups)
            && protocol_covers(earlier, body)
    };
    let earlier = match rule.permits() {
        true => table.first_covering(&rule.source(), &rule.destination(), rule.index(), covers),
        false => first_covering_deny(rules, rule, covers),
    }?;
    Some(format!("never matches: {} matches all that it would", rules.place(table.line(earlier))))
}

/// The first earlier line that matches all that a deny line would. A line that permits does not match IPv4 addresses
/// inside IPv6 ones ([`crate::embedded`]): it covers an IPv4 network only if it is for all addresses.
fn first_covering_deny(rules: &RuleSet, rule: &RuleRef, covers: impl Fn(&RuleBody) -> bool) -> Option<u32> {
    let ends = [rule.source(), rule.destination()];
    let all = |end: &Pattern| match end {
        Pattern::Network(network) if network.address().is_ipv4() => Pattern::Any,
        end => end.clone(),
    };
    let by_deny = |body: &RuleBody| body.choice & PERMIT == 0 && covers(body);
    let first = rules.table.first_covering(&ends[0], &ends[1], rule.index(), by_deny);
    let of_all = rules.table.first_covering(&all(&ends[0]), &all(&ends[1]), rule.index(), &covers);
    first.into_iter().chain(of_all).min()
}

/// Whether a line is only for users who have shown a password.
fn is_for_passwords(body: &RuleBody) -> bool {
    body.protocol.methods == Protocol::PASSWORD || body.groups != 0
}

/// Warns about a line for users with passwords if every client that it could be for may go without one. The server
/// chooses among a client's methods before it knows the destination.
fn asks_for_no_password(rules: &RuleSet, rule: &RuleRef) -> Option<String> {
    let asked = || rules.table.asked_of_all(&rule.source());
    (rule.permits() && is_for_passwords(rule.body()?) && asked() & Protocol::NONE != 0).then(|| {
        String::from(
            "a client that can go without a password is not asked for one, as another line permits that from there; \
             auth: prefer in sockd.ron would ask",
        )
    })
}

/// Whether an earlier line is for all commands, versions and methods that a later one is for. identd is asked after a
/// line has matched, so a line for its users matches any client without a password. Without `+=` a deny line is for UDP
/// too; a later line is for UDP only if it says so.
fn protocol_covers(earlier: &RuleBody, later: &RuleBody) -> bool {
    const OLD: u8 = 3;
    const ALL_METHODS: u8 = Protocol::NONE | Protocol::PASSWORD;
    let commands = |given: u8, absent: u8| if given == 0 { absent } else { given };
    let absent = if earlier.choice & PERMIT == 0 { 0 } else { OLD };
    let methods = |methods: u8| match methods & (Protocol::NONE | Protocol::IDENT) {
        0 => methods,
        _ => methods & Protocol::PASSWORD | Protocol::NONE,
    };
    let of = |of: Protocol, absent: u8| Protocol {
        commands: commands(of.commands, absent),
        methods: if methods(of.methods) == ALL_METHODS { 0 } else { methods(of.methods) },
        ..of
    };
    of(earlier.protocol, absent).covers(of(later.protocol, OLD))
}

fn ports_cover(outer: &[(u16, u16)], inner: &[(u16, u16)]) -> bool {
    inner.iter().all(|(first, last)| outer.iter().any(|(from, to)| from <= first && last <= to))
}

/// The ranges of ports that meet a condition, each with its first and its last port.
fn ranges(table: &Table, ports: Ports) -> Vec<(u16, u16)> {
    let (below, port, above) = (ports.port.checked_sub(1), ports.port, ports.port.checked_add(1));
    let (below, above) = (below.map(|last| (0, last)), above.map(|first| (first, u16::MAX)));
    let ranges = match ports.op {
        Op::Any => [Some((0, u16::MAX)), None],
        Op::Eq => [Some((port, port)), None],
        Op::Neq => [below, above],
        Op::Lt => [below, None],
        Op::Gt => [above, None],
        Op::Le => [Some((0, port)), None],
        Op::Ge => [Some((port, u16::MAX)), None],
        Op::In => return table.listed_ports(port).to_vec(),
    };
    ranges.into_iter().flatten().collect()
}

/// Warns about a permit for anywhere. It opens the networks behind the gateway too, unless an earlier line denies those.
fn opens_the_inside(rules: &RuleSet, rule: &RuleRef) -> Option<String> {
    if !rule.permits() {
        return None;
    }
    let (source, destination) = (rule.source(), rule.destination());
    let own = match source {
        Pattern::Network(network) => Some(network),
        _ => None,
    };
    let open = |inside: &Network| {
        let inside = Pattern::Network(*inside);

        destination != inside
            && destination.covers(&inside)
            && rules
                .table
                .first_covering(&source, &inside, rule.index(), RuleBody::is_unconditional)
                .is_none()
    };
    let open = PRIVATE.iter().copied().chain(own).find(open)?;
    Some(format!("permits destinations inside, such as {open:#}; a line above could deny them"))
}

/// The private networks of RFC 1918 and RFC 4193.
const PRIVATE: [Network; 4] = [
    Network::v4(0x0a00_0000, 0xff00_0000),
    Network::v4(0xac10_0000, 0xfff0_0000),
    Network::v4(0xc0a8_0000, 0xffff_0000),
    Network::v6(0xfc00 << 112, 0xfe00 << 112),
];

fn trusts_names(rule: &RuleRef, ident_default: IdentMode) -> Option<String> {
    let named = matches!(rule.source(), Pattern::Domain(_) | Pattern::Zone(_));
    let asked = rule.ident().unwrap_or(ident_default) != IdentMode::Off;
    (named && rule.permits() && !asked).then(|| {
        String::from(
            "permits clients by name, without identd: who runs the DNS of an address gives it any name",
        )
    })
}
