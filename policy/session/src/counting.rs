//! Which record, event or line moves which counter.
//!
//! The monitor says what has happened, as it does to the log, and knows no counter. Clients cannot choose the label of
//! any counter.

mod outcome;

use crate::checks::Login;
use crate::record::{Failure, Record};
use crate::session::{Arrival, Event, Phase};
use sockd_common::counters::{
    Counters, DeathCause, Direction, Limit, LoginMethod, LoginResult, SessionState,
};
use sockd_common::ledger;
use sockd_common::message::Role;
use sockd_common::message::auth::Verdict;
use sockd_policy::{Command, Identity};
use std::time::Duration;

/// The counters, as the monitor moves them.
#[derive(Clone, Copy, Debug)]
pub struct Counting(&'static Counters);

impl Counting {
    /// Counting with these counters.
    pub fn of(counters: &'static Counters) -> Self {
        Self(counters)
    }

    /// The counters themselves.
    pub fn counters(self) -> &'static Counters {
        self.0
    }

    /// Counters that nobody sees.
    pub fn unseen() -> Self {
        Self(Box::leak(Box::default()))
    }
}

/// Clients and their sessions.
impl Counting {
    /// A client has connected to the listener in this place.
    pub fn connected(self, listener: u32) {
        self.0.listener(listener as usize).connections.add(1);
    }

    /// A session has changed its phase, has begun, or is over.
    pub fn moved(self, from: Option<Phase>, to: Option<Phase>) {
        let [from, to] = [from, to].map(|phase| phase.map(state));
        if from != to {
            from.and_then(|state| self.0.sessions.of(state)).into_iter().for_each(|word| word.take_one());
            to.into_iter().for_each(|state| self.0.sessions.add(state, 1));
        }
    }

    /// An event of a session of this age.
    pub fn happens(self, event: &Event, age: Duration) {
        match event {
            Event::Requested(_) => self.0.handshake.observe(age),
            Event::Arrived(_, Arrival::LoggedIn(login)) => {
                self.0.logins.add((LoginMethod::Password, result(login)), 1);
            }
            Event::Arrived(_, Arrival::Identified(identity)) => {
                let result = match identity {
                    Identity::Known(_) => LoginResult::Accepted,
                    Identity::Unknown => LoginResult::Refused,
                };
                self.0.logins.add((LoginMethod::Ident, result), 1);
            }
            _ => {}
        }
    }

    /// The auth worker has answered. Only the worker knows whether it remembered the answer.
    pub fn checked(self, verdict: &Verdict) {
        if matches!(verdict, Verdict::Verified { is_remembered: true, .. }) {
            self.0.login_cache_hits.add(1);
        }
    }

    /// A record is written. Bytes of streams are the kernel's count; those of datagrams are a worker's, so they are
    /// left out.
    pub fn recorded(self, record: &Record) {
        if let Some((asked, outcome)) = outcome::of(record) {
            self.0.requests.add((asked, outcome), 1);
        }
        match record {
            Record::Refused { why: Failure::Limited(limit), .. } => self.limited(limit.label()),
            Record::Refused { why: Failure::Full { .. }, .. } => self.limited(Limit::Line),
            Record::Ended { parties, moved, .. } if parties.command != Command::Udp => {
                self.0.relayed_bytes.add(Direction::Up, moved.up);
                self.0.relayed_bytes.add(Direction::Down, moved.down);
            }
            _ => {}
        }
    }

    /// A connection is established or has failed, after this time.
    pub fn dialled(self, time: Duration) {
        self.0.dial.observe(time);
    }

    /// A limit is met.
    pub fn limited(self, limit: Limit) {
        self.0.limits.add(limit, 1);
    }

    /// The number of associations and flows.
    pub fn associations(self, associations: u32, flows: u32) {
        self.0.associations.set(associations.into());
        self.0.flows.set(flows.into());
    }
}

/// Workers, the log and the rules.
impl Counting {
    /// A worker of this role has done what no honest worker does, and is killed for it.
    pub fn violated(self, role: Role) {
        self.0.violations.add(1);
        self.died(role, DeathCause::Violation);
    }

    /// A worker of this role has ended without having been dismissed.
    pub fn died(self, role: Role, how: DeathCause) {
        self.0.deaths.add((role, how), 1);
    }

    /// The log has lost this many more lines.
    pub fn log_lost(self, lines: u64) {
        self.0.log_lines_lost.add(lines);
    }

    /// The daemon starts, with this version and process id.
    pub fn started(self, version: &str, process: u32) {
        self.0.process.set(process.into());
        self.0.begin(version);
    }

    /// Rules have come into force, the first ones at the start; the time is in milliseconds since 1970.
    pub fn loaded(self, rules: usize, now: u64) {
        if self.0.started.get() == 0 {
            self.0.started.set(now / 1000);
        }
        self.0.rules.set(u64::try_from(rules).unwrap_or(u64::MAX));
        self.0.rules_loaded.set(now / 1000);
    }

    /// A reload has failed and has changed nothing.
    pub fn reload_failed(self) {
        self.0.reload_failures.add(1);
    }
}

fn state(phase: Phase) -> SessionState {
    match phase.listed() {
        _ if phase == Phase::AwaitingUpstreamPeer => SessionState::Waiting,
        ledger::Phase::Requesting | ledger::Phase::Verifying => SessionState::Handshake,
        ledger::Phase::Deciding | ledger::Phase::Dialling | ledger::Phase::Upstream => {
            SessionState::Connecting
        }
        ledger::Phase::Waiting => SessionState::Waiting,
        ledger::Phase::Relaying | ledger::Phase::Associated => SessionState::Relaying,
        ledger::Phase::Closing => SessionState::Closing,
    }
}

fn result(login: &Login) -> LoginResult {
    match login {
        Login::Verified(_) => LoginResult::Accepted,
        Login::Wrong => LoginResult::Refused,
        Login::TooManyOfHost | Login::TooManyOfUser => LoginResult::Limited,
        Login::Unchecked | Login::NotAlone => LoginResult::Unchecked,
    }
}

#[cfg(test)]
mod tests;
