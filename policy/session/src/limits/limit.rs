//! A limit that is met: its words in the log, and its counter label.

use sockd_common::counters::Limit as Label;
use std::fmt;

/// A limit that refuses one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    label: Label,
    told: &'static str,
}

/// Limits with a setting, whose name is both the label and the beginning of the words.
impl Limit {
    /// Sessions in all.
    pub const SESSIONS: Self = Self::of(Label::Sessions, "max_sessions reached");
    /// Sessions of a host.
    pub const SESSIONS_PER_HOST: Self = Self::of(Label::SessionsPerHost, "max_sessions_per_host reached");
    /// New connections of a host.
    pub const RATE: Self = Self::of(Label::Rate, "connection_rate reached");
    /// New connections in all.
    pub const RATE_IN_ALL: Self = Self::of(Label::RateInAll, "connection_rate_in_all reached");
    /// Unfinished requests in all.
    pub const REQUESTS: Self = Self::of(Label::Requests, "max_requests reached");
    /// Unfinished requests of a host.
    pub const REQUESTS_PER_HOST: Self = Self::of(Label::RequestsPerHost, "max_requests_per_host reached");
    /// Workers.
    pub const WORKERS: Self = Self::of(Label::Workers, "max_workers reached");
    /// Lookups in all.
    pub const LOOKUPS: Self = Self::of(Label::Lookups, "max_lookups reached");
    /// Lookups of a host.
    pub const LOOKUPS_PER_HOST: Self = Self::of(Label::LookupsPerHost, "max_lookups_per_host reached");
    /// Questions to identds in all.
    pub const IDENTS: Self = Self::of(Label::Idents, "max_idents reached");
    /// Questions to the identd of a host.
    pub const IDENTS_PER_HOST: Self = Self::of(Label::IdentsPerHost, "max_idents_per_host reached");
    /// Ports of BINDs in all.
    pub const BINDS: Self = Self::of(Label::Binds, "max_binds reached");
    /// Ports of BINDs of a host.
    pub const BINDS_PER_HOST: Self = Self::of(Label::BindsPerHost, "max_binds_per_host reached");
    /// Associations of a host.
    pub const ASSOCIATIONS_PER_HOST: Self =
        Self::of(Label::AssociationsPerHost, "max_associations_per_host reached");
    /// Flows of a host.
    pub const FLOWS_PER_HOST: Self = Self::of(Label::FlowsPerHost, "max_flows_per_host reached");
    /// Flows in all.
    pub const FLOWS_IN_ALL: Self = Self::of(Label::FlowsInAll, "max_flows_in_all reached");
    /// Flows of an association.
    pub const FLOWS: Self = Self::of(Label::Flows, "max_flows reached");
    /// Commands of rules in all.
    pub const COMMANDS: Self = Self::of(Label::Commands, "max_commands reached");
    /// Commands of rules for a host.
    pub const COMMANDS_PER_HOST: Self = Self::of(Label::CommandsPerHost, "max_commands_per_host reached");
}

/// Limits without a setting.
impl Limit {
    /// Descriptors of the monitor.
    pub const DESCRIPTORS: Self = Self::of(Label::Descriptors, "no descriptors left");
    /// Requests of a host that wait for next servers.
    pub const UPSTREAM_PER_HOST: Self = Self::of(Label::Other, "too many requests wait for next servers");
    /// This host has no means of asking an identd.
    pub const NO_IDENTD: Self = Self::of(Label::Other, "identd cannot be asked");
    /// Connections that a line of the rules permits.
    pub const LINE: Self = Self::of(Label::Line, "n= reached");
    /// With `isolation: user`, the worker has served others, before that setting was in force.
    pub const NOT_ALONE: Self = Self::of(Label::Other, "the worker is not the user's alone");
    /// The lines of socks.conf(5) send datagrams through a next server.
    pub const NO_NEXT_SERVER: Self = Self::of(Label::Other, "datagrams do not go through next servers");
}

impl Limit {
    const fn of(label: Label, told: &'static str) -> Self {
        Self { label, told }
    }

    /// The words of the log.
    pub fn as_str(self) -> &'static str {
        self.told
    }

    /// The label of its counter.
    pub fn label(self) -> Label {
        self.label
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told)
    }
}

/// A limit that a client has met, with its log line.
#[derive(Debug, PartialEq, Eq)]
pub struct Met {
    /// The label of its counter.
    pub label: Label,
    line: String,
}

impl Met {
    /// This limit, with this log line.
    pub fn new(limit: Limit, line: impl fmt::Display) -> Self {
        Self { label: limit.label, line: line.to_string() }
    }

    /// A refusal that is not due to a limit.
    pub fn other(line: impl fmt::Display) -> Self {
        Self { label: Label::Other, line: line.to_string() }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl From<Limit> for Met {
    fn from(limit: Limit) -> Self {
        Self::new(limit, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::counters::Label as _;

    #[test]
    fn a_setting_is_told_and_counted_by_its_name() {
        for limit in [
            Limit::SESSIONS,
            Limit::SESSIONS_PER_HOST,
            Limit::RATE,
            Limit::RATE_IN_ALL,
            Limit::REQUESTS,
            Limit::REQUESTS_PER_HOST,
            Limit::WORKERS,
            Limit::LOOKUPS,
            Limit::LOOKUPS_PER_HOST,
            Limit::IDENTS,
            Limit::IDENTS_PER_HOST,
            Limit::BINDS,
            Limit::BINDS_PER_HOST,
            Limit::ASSOCIATIONS_PER_HOST,
            Limit::FLOWS_PER_HOST,
            Limit::FLOWS_IN_ALL,
            Limit::FLOWS,
            Limit::COMMANDS,
            Limit::COMMANDS_PER_HOST,
        ] {
            let name = limit.as_str().strip_suffix(" reached").unwrap();
            assert_eq!(Label::text(limit.label().index()), format!("limit=\"{name}\""));
        }
    }
}
