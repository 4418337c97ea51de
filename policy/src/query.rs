//! What is known of a request, and what a search for the first matching line comes to.

use core::net::IpAddr;

use crate::columns::{Entry, NO_RULE};
use crate::name::HostName;

/// What is known of a request when lines are compared with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) source: Host<'a>,
    pub(crate) destination: Host<'a>,
    pub(crate) port: u16,
    pub(crate) user: &'a [u8],
}

/// What is known of a host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    /// `None` for a name that this host does not resolve: no network holds it, but every one might.
    pub(crate) address: Option<IpAddr>,
    /// `None` if they have not been asked for.
    pub(crate) names: Option<&'a [HostName]>,
}

/// The outcome of a search for the first matching line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Rule {
        rule: u32,
        body: u32,
    },
    /// A line depends on the names of the host at this end, which have not been asked for.
    NeedNames(End),
    Nothing,
}

/// The two hosts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

/// Whether a pattern holds a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    No,
    Yes,
    /// It depends on names that have not been asked for.
    Unknown,
    /// It depends on an address that nobody here knows.
    Unresolved,
}

impl Found {
    /// The outcome of a search that found `best`, or nothing.
    pub(crate) fn of(best: Entry) -> Found {
        match best.rule {
            NO_RULE => Found::Nothing,
            rule => Found::Rule { rule, body: best.body },
        }
    }
}
