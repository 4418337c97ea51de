//! What monitor and loader say to each other.

use serde::{Deserialize, Serialize};
use sockd_common::channel::{MonitorEnd, WorkerEnd};
use sockd_common::message::Message;
use sockd_session::settings::Settings;

/// Monitor to loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToLoader {
    /// Read everything again. Memory for the table of users comes with it, to be filled and sealed.
    Load,
    /// The daemon ends: remove its process id file and end too.
    End,
}

/// Loader to monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromLoader {
    /// resolv.conf, or hosts, or both have changed, and have been copied.
    Copied([bool; 2]),
    /// One of them cannot be read, and why.
    Unread(String),
    /// The configuration is in order. It stands in the memory that both share, part behind part; lengths in bytes.
    Loaded {
        /// Frozen rules.
        rules: usize,
        /// Frozen routes, where there is a route file.
        routes: Option<usize>,
        /// Frozen upstream lines, where there is a file of them.
        upstreams: Option<usize>,
        /// Settings, services and remarks.
        rest: usize,
        /// How many users are in the memory that has come for them.
        users: u32,
    },
    /// It is not; these are the lines that say why.
    Failed {
        /// A list of strings.
        errors: usize,
    },
}

impl Message for ToLoader {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Load)
    }
}

impl Message for FromLoader {}

/// What is small.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) settings: Settings,
    pub(super) services: String,
    pub(super) remarks: Vec<String>,
}

/// The monitor's end of the loader's channel.
pub(super) type Channel = MonitorEnd<ToLoader, FromLoader>;

/// The loader's end of it.
pub(super) type Monitor = WorkerEnd<FromLoader, ToLoader>;
