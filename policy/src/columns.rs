//! The columns of a table: what stands in its arrays.

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) body: u32,
}

/// What a line says besides its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleBody {
    /// What the line decides; its meaning belongs to the kind of file.
    pub(crate) choice: u32,
    /// The user list, counted from 1; 0 is everybody.
    pub(crate) users: u32,
    /// The command, counted from 1; 0 is none.
    pub(crate) template: u32,
    pub(crate) ports: Ports,
}

/// A condition on the destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) op: Op,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Any,
    Eq,
    Neq,
    Lt,
    Gt,
    Le,
    Ge,
}

/// A part of another array, from `start` up to and without `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A file of user ids, read once however many lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserFile {
    pub(crate) path: u32,
    pub(crate) users: Span,
}

/// Marks an item of a list as a file.
pub(crate) const FILE: u32 = 1 << 31;

/// A rule in the list of one of its patterns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) rule: u32,
    /// Its pattern for the other host.
    pub(crate) other: u32,
    pub(crate) body: u32,
}

/// Behind every rule.
pub(crate) const NO_RULE: u32 = UNCONDITIONAL - 1;

/// Marks the first rule of a list that matches whatever else the request says.
pub(crate) const UNCONDITIONAL: u32 = 1 << 31;

/// No rule yet.
pub(crate) const NO_ENTRY: Entry = Entry { rule: NO_RULE, other: 0, body: 0 };

/// Stands for the place of a parent where there is none.
pub(crate) const NO_PARENT: u32 = u32::MAX;

/// The length of an array whose items the numbers of a table can count; [`Builder::LARGEST`] keeps it below 2^31.
pub(crate) fn count<T>(array: &[T]) -> u32 {
    count_as_u32(array.len())
}

/// A number of items as [`count`] has it.
pub(crate) fn count_as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl RuleBody {
    /// Whether it holds for every port and user.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.ports == Ports::ANY && self.users == 0
    }
}

impl Ports {
    pub(crate) const ANY: Ports = Ports { op: Op::Any, port: 0 };

    /// Whether the condition holds for a port.
    pub(crate) fn hold(&self, port: u16) -> bool {
        match self.op {
            Op::Any => true,
            Op::Eq => port == self.port,
            Op::Neq => port != self.port,
            Op::Lt => port < self.port,
            Op::Gt => port > self.port,
            Op::Le => port <= self.port,
            Op::Ge => port >= self.port,
        }
    }
}

impl Op {
    pub(crate) const ALL: [(Op, &'static str); 7] = [
        (Op::Any, ""),
        (Op::Eq, "eq"),
        (Op::Neq, "neq"),
        (Op::Lt, "lt"),
        (Op::Gt, "gt"),
        (Op::Le, "le"),
        (Op::Ge, "ge"),
    ];

    pub(crate) fn named(word: &str) -> Option<Op> {
        let named = Op::ALL.iter().find(|(_, name)| !word.is_empty() && word.eq_ignore_ascii_case(name));
        named.map(|(op, _)| *op)
    }

    pub(crate) fn name(self) -> &'static str {
        Op::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }
}

impl Span {
    pub(crate) fn of<T>(self, array: &[T]) -> &[T] {
        array.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl Entry {
    /// Whether it matches whatever else the request says. `conditional` is 0 for the bodies that hold for every port and user: so
    /// there is no branch, of which the processor could not know which way it goes.
    pub(crate) fn is_unconditional(&self, conditional: &[u32]) -> bool {
        self.other | conditional.get(self.body as usize).copied().unwrap_or(1) == 0
    }
}
