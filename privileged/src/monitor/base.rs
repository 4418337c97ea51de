//! What every room of the monitor works with.

use crate::monitor::dial::Dials;
use crate::monitor::pool::Workers;
use crate::monitor::reactor::Reactor;
use crate::monitor::syslog::Log;
use sockd_session::config::Config;
use sockd_session::limits::counts::Counts;

/// What is in force, and what the rooms share.
#[derive(Debug)]
pub struct Base {
    /// Rules, routes and settings.
    pub config: Config,
    /// Where lines go.
    pub log: Log,
    /// What is waited for.
    pub reactor: Reactor,
    /// Who does the work.
    pub workers: Workers,
    /// What every client host has open.
    pub counts: Counts,
    /// Connections on their way.
    pub dials: Dials,
}
