//! The question that a table is asked, and its answer.

use core::net::IpAddr;
use core::ops::Deref;

use crate::columns::{Entry, NO_RULE};
use crate::name::HostName;
use crate::protocol::Protocol;

/// The facts of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The client host.
    pub source: Host<'a>,
    /// The destination.
    pub destination: Host<'a>,
    /// The destination port.
    pub port: u16,
    /// The verified user, else the claimed one.
    pub user: &'a [u8],
    /// The groups of the verified user, with commas between them.
    pub groups: &'a [u8],
    /// The command, the version and the methods, a bit for each. A table without conditions on them needs none.
    pub protocol: Protocol,
}

/// The facts of a host of a request.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// `None` for a name that this host does not resolve. Every network might contain such a destination.
    pub address: Option<IpAddr>,
    /// All names that the host has.
    pub names: FactState<&'a [HostName]>,
}

/// How much is known of a fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FactState<T> {
    /// It has not been asked for.
    #[default]
    NotAsked,
    /// It is known. If it is a list of names, that may be empty.
    Known(T),
    /// It was asked for and could not be had: a limit was reached, or the source was silent or failed.
    Unavailable,
}

/// The outcome of a search for the first matching line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This rule matches.
    Rule {
        /// The number of the rule.
        rule: u32,
        /// The number of its body.
        body: u32,
    },
    /// A line depends on the names of the host at this end, which have not been asked for.
    NeedNames(End),
    /// This rule would decide, and depends on the names of the host at this end, which could not be had.
    NamesUnavailable {
        /// The number of the rule.
        rule: u32,
        /// The number of its body.
        body: u32,
        /// The host.
        end: End,
    },
    /// No rule matches.
    Nothing,
}

/// The two hosts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client host.
    Source,
    /// The destination.
    Destination,
}

/// Whether a pattern matches a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    No,
    Yes,
    /// It depends on names that nobody has asked for.
    Unknown,
    /// It depends on names that could not be had.
    Unavailable,
    /// It depends on an address that is not known.
    Unresolved,
}

/// The effect of a line on a request if it depends on something that cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// The line does not match. A permission never rests on a guess.
    NoMatch,
    /// Names that could not be had end the search without an answer. For an address that is not known, the line does
    /// not match. This is for lines that say where a request goes.
    Stop,
    /// Names that could not be had end the search without an answer. An address that is not known matches. This is for
    /// lines that deny.
    Deny,
}

impl<T> FactState<T> {
    /// Whether the fact is known.
    #[inline]
    pub fn is_known(&self) -> bool {
        matches!(self, FactState::Known(_))
    }

    /// The state with a reference to the fact.
    pub fn as_ref(&self) -> FactState<&T> {
        match self {
            FactState::NotAsked => FactState::NotAsked,
            FactState::Known(fact) => FactState::Known(fact),
            FactState::Unavailable => FactState::Unavailable,
        }
    }

    /// The state with a reference to the target of the fact.
    pub fn as_deref(&self) -> FactState<&T::Target>
    where
        T: Deref,
    {
        match self.as_ref() {
            FactState::NotAsked => FactState::NotAsked,
            FactState::Known(fact) => FactState::Known(fact.deref()),
            FactState::Unavailable => FactState::Unavailable,
        }
    }
}

/// A fact that was not asked for, or is known.
impl<T> From<Option<T>> for FactState<T> {
    fn from(fact: Option<T>) -> FactState<T> {
        fact.map_or(FactState::NotAsked, FactState::Known)
    }
}

impl Found {
    /// The outcome of a search with this best entry.
    pub(crate) fn of(best: Entry) -> Found {
        match best.rule {
            NO_RULE => Found::Nothing,
            rule => Found::Rule { rule, body: best.body },
        }
    }
}
