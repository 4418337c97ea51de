//! The columns of a table: the types of the items in its arrays.

use crate::limits::Limits;
use crate::protocol::Protocol;

/// A line with a rule, as numbers of its patterns and of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The number of the pattern for the source.
    pub source: u32,
    /// The number of the pattern for the destination.
    pub destination: u32,
    /// The number of the body.
    pub body: u32,
}

/// The fields of a line besides its patterns. Lines with the same fields share one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleBody {
    /// The decision of the line. The kind of file gives it its meaning.
    pub choice: u32,
    /// The number of the user list, counted from 1; 0 stands for everybody.
    pub users: u32,
    /// The number of a list of groups, which is a user list without files; 0 stands for everybody.
    pub groups: u32,
    /// The number of the command, counted from 1; 0 stands for none.
    pub template: u32,
    /// The condition on the destination port.
    pub ports: Ports,
    /// The condition on command, version and method of authentication.
    pub protocol: Protocol,
    /// The limits of the connections that the line permits. They are no condition.
    pub limits: Limits,
}

/// A condition on the destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The operator.
    pub op: Op,
    /// The port that the operator compares with; 0 for [`Op::Any`]. For [`Op::In`] the number of a list of the table.
    pub port: u16,
}

/// The operator of a condition on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Every port.
    Any,
    /// The port itself.
    Eq,
    /// Every other port.
    Neq,
    /// Every smaller port.
    Lt,
    /// Every greater port.
    Gt,
    /// The port itself and every smaller one.
    Le,
    /// The port itself and every greater one.
    Ge,
    /// The ports of a list. Only the table knows them.
    In,
}

/// A part of another array, from `start` up to and without `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A rule in the list of one of its patterns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) rule: u32,
    /// The number of the rule's pattern for the other host.
    pub(crate) other: u32,
    pub(crate) body: u32,
}

/// The classic limit of a line of a file, in bytes without its end.
pub const LONGEST_LINE: usize = 1023;

/// Stands for no rule. It is greater than the number of every rule.
pub(crate) const NO_RULE: u32 = UNCONDITIONAL - 1;

/// Marks the first rule of a list if it matches whatever else the request says.
pub(crate) const UNCONDITIONAL: u32 = 1 << 31;

/// Stands for no entry.
pub(crate) const NO_ENTRY: Entry = Entry { rule: NO_RULE, other: 0, body: 0 };

/// Stands for no parent.
pub(crate) const NO_PARENT: u32 = u32::MAX;

/// The length of an array of a table. [`crate::builder::Builder::LARGEST`] keeps it below 2^31.
pub(crate) fn count<T>(array: &[T]) -> u32 {
    count_as_u32(array.len())
}

/// A length as [`count`] returns it.
pub(crate) fn count_as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl RuleBody {
    /// The body of a line with this decision, without a condition, a command or a limit.
    pub const fn of(choice: u32) -> Self {
        let (ports, protocol, limits) = (Ports::ANY, Protocol::ANY, Limits::NONE);
        Self { choice, users: 0, groups: 0, template: 0, ports, protocol, limits }
    }

    /// Whether the body matches every port, every user, and every command, version and method.
    pub fn is_unconditional(&self) -> bool {
        // Each field by its name: a further condition that is not looked at here would match everything.
        let Self { choice: _, users, groups, template: _, ports, protocol, limits: _ } = *self;
        ports == Ports::ANY && users == 0 && groups == 0 && protocol == Protocol::ANY
    }
}

impl Ports {
    /// No condition.
    pub const ANY: Ports = Ports { op: Op::Any, port: 0 };

    /// Whether a port meets the condition, which is no list.
    pub(crate) fn allow(&self, port: u16) -> bool {
        match self.op {
            Op::Any => true,
            Op::Eq => port == self.port,
            Op::Neq => port != self.port,
            Op::Lt => port < self.port,
            Op::Gt => port > self.port,
            Op::Le => port <= self.port,
            Op::Ge => port >= self.port,
            Op::In => false,
        }
    }
}

impl Op {
    pub(crate) const ALL: [(Op, &'static str); 8] = [
        (Op::Any, ""),
        (Op::Eq, "eq"),
        (Op::Neq, "neq"),
        (Op::Lt, "lt"),
        (Op::Gt, "gt"),
        (Op::Le, "le"),
        (Op::Ge, "ge"),
        (Op::In, "in"),
    ];

    /// The operator of this name that compares with one port, in upper or lower case.
    pub fn named(word: &str) -> Option<Op> {
        let is_named =
            |op: Op, name: &str| op != Op::In && !word.is_empty() && word.eq_ignore_ascii_case(name);
        let named = Op::ALL.iter().find(|(op, name)| is_named(*op, name));
        named.map(|(op, _)| *op)
    }

    /// The name in a file.
    pub fn name(self) -> &'static str {
        Op::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }
}

impl Span {
    /// The items of the span.
    pub(crate) fn of<T>(self, array: &[T]) -> &[T] {
        array.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl Entry {
    /// Whether the rule matches whatever else the request says. `conditional` has 0 for each body that is
    /// [`RuleBody::is_unconditional`], and another number for the others. So the processor has no branch to mispredict.
    pub(crate) fn is_unconditional(&self, conditional: &[u32]) -> bool {
        self.other | conditional.get(self.body as usize).copied().unwrap_or(1) == 0
    }
}
