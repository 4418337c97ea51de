//! Decisions: whether a request is permitted.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use sockd_table::{End, FactState, Found, Host, Query, Rule, canonical};

use crate::embedded::of_embedded;
use crate::request::{Command, Facts, IdentMode, Identity, Methods, Need, Request};
use crate::rules::{RuleRef, RuleSet};

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// The request is permitted.
    Permit(Permit<'r>),
    /// The request is refused.
    Deny(Deny<'r>),
    /// This fact has to be found out. Then decide again.
    Need(Need),
}

/// A permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit<'r> {
    /// The line that permits.
    pub rule: RuleRef<'r>,
    /// identd was asked leniently and did not answer. The `#NO_IDENTD:` command is due, and then that of the line.
    pub unverified: bool,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deny<'r> {
    /// The line that decided, if one did. Its command is due only if `why` is [`DenyReason::Rule`].
    pub rule: Option<RuleRef<'r>>,
    /// The reason.
    pub why: DenyReason,
}

/// The reason why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyReason {
    /// A `deny` line matched.
    Rule,
    /// No line matched.
    NoMatch,
    /// A `permit` line matched, but identd gave no answer about the user.
    NoIdentd,
    /// A `permit` line matched, but identd named another user than the client claims.
    BadIdentity,
    /// A line depends on a fact that could not be had: a `deny` line that may match, or a `permit` line with `?=`.
    Unavailable(Need),
}

impl RuleSet {
    /// Decides on a request. The first matching line counts, and no match denies. identd counts only after a `permit` line
    /// matched, and after that no further line is tried. It is not asked about a user whom a password has named.
    ///
    /// A `deny` line with an IPv4 network matches an IPv6 address with such an IPv4 address inside as well ([`crate::embedded`]),
    /// because a translator may send the packets there. A `permit` line does not.
    pub fn decide<'r>(&'r self, request: &Request, facts: &Facts) -> Verdict<'r> {
        let query = query(request, facts);
        let found = match self.knows(request.command) {
            true => self.table.find_with_others(&query, &of_embedded(&query, request.nat64)),
            false => Found::Nothing,
        };
        self.verdict(found, request, facts)
    }

    /// The methods that the rules ask of a client by SOCKS5, before its request is known: those of all permit lines whose
    /// source it may be.
    pub fn methods(&self, client: IpAddr) -> Methods {
        Methods::of(self.table.asked(canonical(client)))
    }

    /// Decides by asking every line in turn. This is slow, and defines what [`RuleSet::decide`] has to decide.
    pub fn scan<'r>(&'r self) -> impl Fn(&Request, &Facts) -> Verdict<'r> {
        let rules: Vec<Rule> = self.table.rules().map(|(_, rule)| rule).collect();
        move |request, facts| {
            let query = query(request, facts);
            if !self.knows(request.command) {
                return self.verdict(Found::Nothing, request, facts);
            }
            self.verdict(self.table.scan(&rules, &query, &of_embedded(&query, request.nat64)), request, facts)
        }
    }

    /// Whether a line may permit such a command. The index of a table without such a line does not tell UDP from the others.
    fn knows(&self, command: Command) -> bool {
        command != Command::Udp || self.offers_udp()
    }

    fn verdict<'r>(&'r self, found: Found, request: &Request, facts: &Facts) -> Verdict<'r> {
        let deny = |rule, why| Verdict::Deny(Deny { rule, why });
        let rule = match found {
            Found::NeedNames(end) => return Verdict::Need(names_of(end)),
            Found::NamesUnavailable { rule, body, end } => {
                let rule = RuleRef::new(&self.table, rule, body);
                return deny(Some(rule), DenyReason::Unavailable(names_of(end)));
            }
            Found::Nothing => return deny(None, DenyReason::NoMatch),
            Found::Rule { rule, body } => RuleRef::new(&self.table, rule, body),
        };
        use FactState::{Known, NotAsked, Unavailable};
        let permit = |unverified| Verdict::Permit(Permit { rule, unverified });
        if !rule.permits() {
            return deny(Some(rule), DenyReason::Rule);
        }
        let ident = match facts.login {
            Some(_) => IdentMode::Off,
            None => rule.ident_mode(request.ident_default),
        };
        match (ident, facts.identity) {
            (IdentMode::Off, _) => permit(false),
            (_, NotAsked) => Verdict::Need(Need::Identity),
            (_, Unavailable) => deny(Some(rule), DenyReason::Unavailable(Need::Identity)),
            (_, Known(Identity::Known(user))) if !user.is_empty() && request.may_be(user) => permit(false),
            (_, Known(Identity::Known(user))) if !user.is_empty() => {
                deny(Some(rule), DenyReason::BadIdentity)
            }
            (IdentMode::Lenient, _) => permit(true),
            (IdentMode::Strict, _) => deny(Some(rule), DenyReason::NoIdentd),
        }
    }
}

impl RuleRef<'_> {
    /// The fields of the line that do not match, in the words of the file. There are none if the line matches, and several
    /// if it is far from it.
    pub fn mismatches(&self, request: &Request, facts: &Facts) -> Vec<&'static str> {
        let rule = self.table().rule(self.index());
        rule.map_or(Vec::new(), |rule| self.table().mismatches(&rule, &query(request, facts)))
    }
}

fn names_of(end: End) -> Need {
    match end {
        End::Source => Need::SourceNames,
        End::Destination => Need::DestinationNames,
    }
}

fn query<'a>(request: &Request<'a>, facts: &Facts<'a>) -> Query<'a> {
    Query {
        source: Host { address: Some(canonical(request.source)), names: facts.source_names },
        destination: Host { address: request.destination.map(canonical), names: facts.destination_names },
        port: request.port,
        user: facts.login.map_or(request.user, |login| login.user).as_bytes(),
        groups: facts.login.map_or(&[], |login| login.groups),
        protocol: request.protocol(facts.login),
    }
}

/// The reason in the words of a log or of `test_sockd_conf`.
impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DenyReason::Rule => "denied by rule",
            DenyReason::NoMatch => "no rule matches",
            DenyReason::NoIdentd => "cannot verify user-id",
            DenyReason::BadIdentity => "bad user-id",
            DenyReason::Unavailable(Need::SourceNames) => "the names of the client could not be found out",
            DenyReason::Unavailable(Need::DestinationNames) => {
                "the names of the destination could not be found out"
            }
            DenyReason::Unavailable(Need::Identity) => "identd could not be asked",
        })
    }
}
