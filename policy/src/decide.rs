//! Decisions: who may do what.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::address::canonical;
use crate::columns::Rule;
use crate::line::LONGEST;
use crate::pattern::Pattern;
use crate::query::{End, Found, Host, Match, Query};
use crate::request::{Facts, IdentMode, Identity, Need, Request};
use crate::table::Table;
use crate::template::Template;

/// The rules of one `sockd.conf`, made by [`crate::parse_conf`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub(crate) table: Table,
}

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// It may be done.
    Permit(Permit<'r>),
    /// It may not.
    Deny(Deny<'r>),
    /// Find this out and decide again.
    Need(Need),
}

/// A permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit<'r> {
    /// The line that permits.
    pub rule: RuleRef<'r>,
    /// identd was to be asked, leniently, and gave nothing: the `#NO_IDENTD:` command is due, then the line's own.
    pub unverified: bool,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deny<'r> {
    /// The line that decided, if one did. Its command is due only where `why` is [`DenyReason::Rule`].
    pub rule: Option<RuleRef<'r>>,
    /// The ground.
    pub why: DenyReason,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyReason {
    /// A `deny` line matched.
    Rule,
    /// No line matched.
    NoMatch,
    /// A `permit` line matched, but the user could not be verified: reply 92.
    NoIdentd,
    /// A `permit` line matched, but identd named another user: reply 93.
    BadIdentity,
}

/// One line of a rule set.
#[derive(Clone, Copy)]
pub struct RuleRef<'r> {
    set: &'r RuleSet,
    index: u32,
    /// The place of its body.
    body: u32,
}

impl RuleSet {
    /// Decides on a request: the first matching line counts, no match denies, identd counts only after a `permit` line
    /// matched, and after that no further line is tried.
    pub fn decide<'r>(&'r self, request: &Request, facts: &Facts) -> Verdict<'r> {
        let query = query(request, facts);
        self.verdict(self.table.find(&query), request, facts)
    }

    /// Decides by asking every line in turn: slow, and the definition that [`RuleSet::decide`] is held against.
    pub fn scan<'r>(&'r self) -> impl Fn(&Request, &Facts) -> Verdict<'r> {
        let rules: Vec<Rule> = self.table.rules().map(|(_, rule)| rule).collect();
        move |request, facts| self.verdict(self.table.scan(&rules, &query(request, facts)), request, facts)
    }

    fn verdict<'r>(&'r self, found: Found, request: &Request, facts: &Facts) -> Verdict<'r> {
        let deny = |rule, why| Verdict::Deny(Deny { rule, why });
        let rule = match found {
            Found::NeedNames(End::Source) => return Verdict::Need(Need::SourceNames),
            Found::NeedNames(End::Destination) => return Verdict::Need(Need::DestinationNames),
            Found::Nothing => return deny(None, DenyReason::NoMatch),
            Found::Rule { rule, body } => RuleRef { set: self, index: rule, body },
        };
        let permit = |unverified| Verdict::Permit(Permit { rule, unverified });
        if !rule.permits() {
            return deny(Some(rule), DenyReason::Rule);
        }
        match (rule.ident().unwrap_or(request.ident_default), facts.identity) {
            (IdentMode::Off, _) => permit(false),
            (_, None) => Verdict::Need(Need::Identity),
            (_, Some(Identity::Known(user))) if user == request.user && !user.is_empty() => permit(false),
            (_, Some(Identity::Known(user))) if !user.is_empty() => deny(Some(rule), DenyReason::BadIdentity),
            (IdentMode::Lenient, _) => permit(true),
            (IdentMode::Strict, _) => deny(Some(rule), DenyReason::NoIdentd),
        }
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no rule at all, so that everything is denied; worth a warning.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules in order.
    pub fn rules(&self) -> impl Iterator<Item = RuleRef<'_>> {
        self.table.rules().map(|(index, rule)| RuleRef { set: self, index, body: rule.body })
    }

    /// The rules in effect and the special lines, in a form that `sockd.conf` accepts.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let special = |name: &'static str, template: Option<Template<'_>>| {
            template.map(|template| alloc::format!("{name} {}", template.text()))
        };
        let no_identd = special(NO_IDENTD, self.no_identd());
        let bad_id = special(BAD_ID, self.bad_id());
        // A line written with masks may be longer than it was read.
        let written = |rule: RuleRef| match rule.to_string() {
            line if line.len() > LONGEST => alloc::format!("{rule:#}"),
            line => line,
        };
        self.rules().map(written).chain(no_identd).chain(bad_id)
    }

    /// The command for a client host whose identd does not answer.
    pub fn no_identd(&self) -> Option<Template<'_>> {
        let [(template, _), _] = self.table.specials;
        self.table.template(template)
    }

    /// The command for a client that claims to be somebody else.
    pub fn bad_id(&self) -> Option<Template<'_>> {
        let [_, (template, _)] = self.table.specials;
        self.table.template(template)
    }

    /// The lines of [`RuleSet::no_identd`] and [`RuleSet::bad_id`] in the file; 0 where there is none.
    pub fn special_lines(&self) -> [u32; 2] {
        self.table.specials.map(|(_, line)| line)
    }

    /// Every command, once however many lines have it.
    pub fn templates(&self) -> impl Iterator<Item = Template<'_>> {
        (1..).zip(&self.table.templates).filter_map(|(number, _)| self.table.template(number))
    }

    /// The paths of the user files that were read.
    pub fn user_files(&self) -> impl Iterator<Item = &str> {
        self.table.users.files.iter().map(|file| self.table.strings.str(file.path))
    }
}

fn query<'a>(request: &Request<'a>, facts: &Facts<'a>) -> Query<'a> {
    Query {
        source: Host { address: Some(canonical(request.source)), names: facts.source_names },
        destination: Host { address: request.destination.map(canonical), names: facts.destination_names },
        port: request.port,
        user: request.user.as_bytes(),
    }
}

pub(crate) const NO_IDENTD: &str = "#NO_IDENTD:";
pub(crate) const BAD_ID: &str = "#BAD_ID:";

impl<'r> RuleRef<'r> {
    /// The line in the file, from 1.
    pub fn line(&self) -> u32 {
        self.table().line(self.index)
    }

    /// The place among the rules, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether this is a `permit` line.
    pub fn permits(&self) -> bool {
        self.choice().is_some_and(|choice| choice & PERMIT != 0)
    }

    /// The line's `?=`.
    pub fn ident(&self) -> Option<IdentMode> {
        let choice = self.choice()? & !PERMIT;
        IDENT.iter().find(|(code, ..)| *code == choice).map(|(_, mode, _)| *mode)
    }

    /// The line's `: shell_cmd`.
    pub fn command(&self) -> Option<Template<'r>> {
        self.table().template(self.body()?.template)
    }

    /// Which fields of the line do not match, in the words of the file: none of them if it matches, several if it is far
    /// from it.
    pub fn differs(&self, request: &Request, facts: &Facts) -> Vec<&'static str> {
        let (query, table) = (query(request, facts), self.table());
        let Some(rule) = table.index.rule(self.index) else { return Vec::new() };
        let source = table.source.match_host(rule.source, &query.source, &table.strings);
        let destination = table.destination.match_host(rule.destination, &query.destination, &table.strings);
        let body = self.body();
        let fields = [
            ("source", source == Match::Yes),
            ("destination", destination == Match::Yes),
            ("port", body.is_some_and(|body| body.ports.allow(query.port))),
            ("user", body.is_some_and(|body| table.users.names(body.users, query.user, &table.strings))),
        ];
        fields.into_iter().filter(|(_, matches)| !matches).map(|(field, _)| field).collect()
    }

    /// What the line says of the client host.
    pub fn source(&self) -> Pattern {
        let table = self.table();
        table
            .index
            .rule(self.index)
            .map_or(Pattern::Any, |rule| table.source.pattern(rule.source, &table.strings))
    }

    /// What the line says of the destination.
    pub fn destination(&self) -> Pattern {
        let table = self.table();
        let rule = table.index.rule(self.index);
        rule.map_or(Pattern::Any, |rule| table.destination.pattern(rule.destination, &table.strings))
    }

    fn table(&self) -> &'r Table {
        &self.set.table
    }

    pub(crate) fn body(&self) -> Option<&'r crate::columns::RuleBody> {
        self.table().bodies.get(self.body as usize)
    }

    fn choice(&self) -> Option<u32> {
        self.body().map(|body| body.choice)
    }
}

/// Whether lines of this choice deny.
pub(crate) fn denies(_: &Table, choice: u32) -> bool {
    choice & PERMIT == 0
}

/// The bit of a body's choice that makes a `permit` line; the others are a code of [`IDENT`] or 0.
pub(crate) const PERMIT: u32 = 1;

/// The values of `?=`. Nothing behind it means no, as `n` does.
pub(crate) const IDENT: [(u32, IdentMode, &str); 3] =
    [(2, IdentMode::Off, "n"), (4, IdentMode::Lenient, "i"), (6, IdentMode::Strict, "I")];

/// The rule as `sockd.conf` would accept it: `permit ?=I *=ann,/etc/users 10.0.0.0 255.0.0.0 eq 23 : command`; in the
/// alternate form (`{:#}`) with `10.0.0.0/8`.
impl fmt::Display for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ident = IDENT.iter().find(|(_, mode, _)| Some(*mode) == self.ident()).map(|(.., letter)| *letter);
        let action: String = match (self.permits(), ident) {
            (true, None) => "permit".into(),
            (false, None) => "deny".into(),
            (true, Some(letter)) => alloc::format!("permit ?={letter}"),
            (false, Some(letter)) => alloc::format!("deny ?={letter}"),
        };
        self.table().write(f, self.index, &action, true)
    }
}

impl fmt::Debug for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleRef(line {}: {self})", self.line())
    }
}

impl PartialEq for RuleRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.set, other.set) && self.index == other.index
    }
}

impl Eq for RuleRef<'_> {}

/// The ground in the words of a log or of `test_sockd_conf`.
impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DenyReason::Rule => "denied by rule",
            DenyReason::NoMatch => "no rule matches",
            DenyReason::NoIdentd => "cannot verify user-id",
            DenyReason::BadIdentity => "bad user-id",
        })
    }
}
