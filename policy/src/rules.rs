//! The rules of `sockd.conf`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use sockd_table::{InDoubt, Kind, LONGEST_LINE, Limits, Pattern, Protocol, RuleBody, Table, canonical};

use crate::include::{Included, Place};
use crate::request::IdentMode;
use crate::template::{Template, are_commands};

/// The rules of one `sockd.conf`, made by [`crate::parse_conf`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub(crate) table: Table,
    pub(crate) included: Vec<Included>,
}

/// One line of a rule set.
#[derive(Clone, Copy)]
pub struct RuleRef<'r> {
    table: &'r Table,
    /// The number of the rule.
    index: u32,
    /// The number of its body.
    body: u32,
}

impl RuleSet {
    /// The number of rules.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no rule at all, so that everything is denied. `sockd` does not serve with such a file.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The rules in order.
    pub fn rules(&self) -> impl Iterator<Item = RuleRef<'_>> {
        self.table.rules().map(|(index, rule)| RuleRef { table: &self.table, index, body: rule.body })
    }

    /// Whether identd may be asked for a user, if lines without `?=` have this mode.
    pub fn ask_identd(&self, ident_default: IdentMode) -> bool {
        self.rules().any(|rule| rule.ident_mode(ident_default) != IdentMode::Off)
    }

    /// Whether a line permits datagrams to anybody.
    pub fn offers_udp(&self) -> bool {
        self.table.asked_by_any_line() & MAY_HAVE_UDP != 0
    }

    /// Whether a line may permit datagrams of this client host, as far as its address tells. A line that names the
    /// host, or says who the user has to be, may permit them.
    pub fn may_permit_udp(&self, source: IpAddr) -> bool {
        self.table.asked(canonical(source)) & MAY_HAVE_UDP != 0
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
            line if line.len() > LONGEST_LINE => alloc::format!("{rule:#}"),
            line => line,
        };
        self.rules().map(written).chain(no_identd).chain(bad_id)
    }

    /// The command for a client host whose identd does not answer.
    pub fn no_identd(&self) -> Option<Template<'_>> {
        self.table.special(0).0.map(Template::checked)
    }

    /// The command for a client that claims to be somebody else.
    pub fn bad_id(&self) -> Option<Template<'_>> {
        self.table.special(1).0.map(Template::checked)
    }

    /// The lines of [`RuleSet::no_identd`] and [`RuleSet::bad_id`] in the file; 0 if there is none.
    pub fn special_lines(&self) -> [u32; 2] {
        [0, 1].map(|place| self.table.special(place).1)
    }

    /// Every command, once however many lines have it.
    pub fn templates(&self) -> impl Iterator<Item = Template<'_>> {
        self.table.templates().map(Template::checked)
    }

    /// The files that include lines have brought in, in their order. A frozen file does not say.
    pub fn included(&self) -> &[Included] {
        &self.included
    }

    /// The place of the line with this number.
    pub fn place(&self, number: u32) -> Place<'_> {
        let found = self.included.iter().find_map(|file| Some((file, file.line(number)?)));
        match found {
            Some((file, line)) => Place { file: Some(file.file()), line },
            None => Place { file: None, line: number },
        }
    }

    /// The paths of the user files that were read.
    pub fn user_files(&self) -> impl Iterator<Item = &str> {
        self.table.user_files()
    }
}

pub(crate) const NO_IDENTD: &str = "#NO_IDENTD:";
pub(crate) const BAD_ID: &str = "#BAD_ID:";

impl<'r> RuleRef<'r> {
    pub(crate) fn new(table: &'r Table, index: u32, body: u32) -> RuleRef<'r> {
        RuleRef { table, index, body }
    }

    /// The number of the line in the file, counted from 1; those of included files come behind ([`RuleSet::place`]).
    pub fn line(&self) -> u32 {
        self.table.line(self.index)
    }

    /// The number of the rule, counted from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether this is a `permit` line.
    pub fn permits(&self) -> bool {
        self.choice().is_some_and(|choice| choice & PERMIT != 0)
    }

    /// The value of the line's `?=`.
    pub fn ident(&self) -> Option<IdentMode> {
        let choice = self.choice()? & !PERMIT;
        IDENT.iter().find(|(code, ..)| *code == choice).map(|(_, mode, _)| *mode)
    }

    /// The mode of identd for a client that has shown no password; `default` is the mode of lines without `?=`. A line
    /// for users of identd alone has no use for a client whose identd does not answer.
    pub fn ident_mode(&self, default: IdentMode) -> IdentMode {
        let methods = self.body().map_or(0, |body| body.protocol.methods);
        match methods & (Protocol::NONE | Protocol::IDENT) {
            _ if methods == 0 => self.ident().unwrap_or(default),
            Protocol::IDENT => IdentMode::Strict,
            both if both & Protocol::IDENT != 0 => self.ident().unwrap_or(default),
            _ => IdentMode::Off,
        }
    }

    /// The methods that the line asks for before the request is known, as bits; 0 if it asks for nothing.
    pub fn asks(&self) -> u8 {
        self.body().map_or(0, asks)
    }

    /// The command of the line.
    pub fn command(&self) -> Option<Template<'r>> {
        self.table.template(self.body()?.template).map(Template::checked)
    }

    /// The limits of what the line permits.
    pub fn limits(&self) -> Limits {
        self.body().map_or(Limits::NONE, |body| body.limits)
    }

    /// The condition that the line sets for the client host.
    pub fn source(&self) -> Pattern {
        self.table.rule(self.index).map_or(Pattern::Any, |rule| self.table.source(&rule))
    }

    /// The condition that the line sets for the destination.
    pub fn destination(&self) -> Pattern {
        self.table.rule(self.index).map_or(Pattern::Any, |rule| self.table.destination(&rule))
    }

    pub(crate) fn table(&self) -> &'r Table {
        self.table
    }

    pub(crate) fn body(&self) -> Option<&'r RuleBody> {
        self.table.body(self.body)
    }

    fn choice(&self) -> Option<u32> {
        self.body().map(|body| body.choice)
    }
}

/// The kind of `sockd.conf`.
pub(crate) const RULES: Kind = Kind { number: 1, in_doubt, asks, check };

/// A permit line for SOCKS5 asks for the methods that it is for. identd may still know a client that has shown nothing.
/// Groups are known only of a user with a password.
fn asks(body: &RuleBody) -> u8 {
    let Protocol { commands, versions, methods } = body.protocol;
    let is_for_socks5 = versions == 0 || versions & SOCKS5 != 0;
    let without = if methods & (Protocol::NONE | Protocol::IDENT) != 0 { Protocol::NONE } else { 0 };
    let asked = match methods {
        _ if body.choice & PERMIT == 0 || !is_for_socks5 => return 0,
        _ if body.groups != 0 => Protocol::PASSWORD,
        0 => Protocol::NONE,
        methods => without | methods & Protocol::PASSWORD,
    };
    if commands & Protocol::UDP != 0 { asked | MAY_HAVE_UDP } else { asked }
}

/// The bit, beside those of [`Protocol::METHODS`], of a client to which some line may permit datagrams.
const MAY_HAVE_UDP: u8 = 0x80;

/// The bit of SOCKS5 in [`Protocol::VERSIONS`].
pub(crate) const SOCKS5: u8 = 2;

/// Finds fields of a line that contradict each other, and says what would not.
pub(crate) fn fields_agree(body: &RuleBody) -> Result<(), &'static str> {
    let methods = body.protocol.methods;
    let needs_identd = methods & (Protocol::NONE | Protocol::IDENT) == Protocol::IDENT;
    if body.choice & PERMIT == 0 && methods & Protocol::IDENT != 0 {
        return Err("@= without ident behind deny, which never asks identd");
    }
    if needs_identd && ![0, STRICT].contains(&(body.choice & !PERMIT)) {
        return Err("?=I or no ?= beside @= with ident and without none");
    }
    if body.groups != 0 && methods != 0 && methods & Protocol::PASSWORD == 0 {
        return Err("@= with password beside g=, as no other user has groups");
    }
    Ok(())
}

/// Finds limits that cannot be held, and says what would be right. A datagram socket has no pace of its own (that takes
/// a queueing discipline of the interface), and a worker would have to be trusted to keep one.
pub(crate) fn limits_agree(body: &RuleBody) -> Result<(), &'static str> {
    if body.limits == Limits::NONE {
        return Ok(());
    }
    match (body.choice & PERMIT, body.protocol.commands & Protocol::UDP) {
        (0, _) => Err("no limit behind deny, which lets nothing through"),
        (_, 0) => Ok(()),
        _ => Err("a line of its own for udp, as the kernel holds no limit of datagrams"),
    }
}

fn in_doubt(_: &Table, choice: u32) -> InDoubt {
    if choice & PERMIT == 0 { InDoubt::Deny } else { InDoubt::NoMatch }
}

fn check(table: &Table) -> Result<(), &'static str> {
    let is_choice = |body: &RuleBody| {
        let ident = body.choice & !PERMIT;
        (ident == 0 || IDENT.iter().any(|(code, ..)| *code == ident))
            && fields_agree(body).is_ok()
            && limits_agree(body).is_ok()
    };
    if !are_commands(table) {
        return Err("a command that is none");
    }
    if !table.bodies().iter().all(is_choice) {
        return Err("a rule that says nothing known");
    }
    // A mask of zeros stands for every host of both families, and has a number of its own.
    if table.has_zero_mask() { Err("a rule of another kind of file") } else { Ok(()) }
}

/// The bit of a body's choice that makes a `permit` line. The other bits are a code of [`IDENT`], or 0.
pub(crate) const PERMIT: u32 = 1;

/// The values of `?=`: code, mode and letter. `?=` without a letter means `n`.
pub(crate) const IDENT: [(u32, IdentMode, &str); 3] =
    [(2, IdentMode::Off, "n"), (4, IdentMode::Lenient, "i"), (STRICT, IdentMode::Strict, "I")];

const STRICT: u32 = 6;

/// A form that `sockd.conf` accepts: `permit ?=I *=ann,/etc/users 10.0.0.0 255.0.0.0 eq 23 : command`. The alternate form
/// (`{:#}`) has `10.0.0.0/8`.
impl fmt::Display for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ident = IDENT.iter().find(|(_, mode, _)| Some(*mode) == self.ident()).map(|(.., letter)| *letter);
        let action: String = match (self.permits(), ident) {
            (true, None) => "permit".into(),
            (false, None) => "deny".into(),
            (true, Some(letter)) => alloc::format!("permit ?={letter}"),
            (false, Some(letter)) => alloc::format!("deny ?={letter}"),
        };
        self.table.write(f, self.index, &action, true)
    }
}

impl fmt::Debug for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleRef(line {}: {self})", self.line())
    }
}

impl PartialEq for RuleRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.table, other.table) && self.index == other.index
    }
}

impl Eq for RuleRef<'_> {}
