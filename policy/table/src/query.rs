//! The question that a table is asked, and its answer.

use core::net::IpAddr;

use crate::columns::{Entry, NO_RULE};
use crate::name::HostName;

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The client host.
    pub source: Host<'a>,
    /// The destination.
    pub destination: Host<'a>,
    /// The destination port.
    pub port: u16,
    /// The user that the client claims to be.
    pub user: &'a [u8],
}

/// What is known of a host of a request.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// `None` for a name that this host does not resolve. Every network might contain such a destination.
    pub address: Option<IpAddr>,
    /// `None` if nobody has asked for them.
    pub names: Option<&'a [HostName]>,
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
    /// It depends on an address that is not known.
    Unresolved,
}

impl Found {
    /// The outcome of a search whose best entry this is.
    pub(crate) fn of(best: Entry) -> Found {
        match best.rule {
            NO_RULE => Found::Nothing,
            rule => Found::Rule { rule, body: best.body },
        }
    }
}
