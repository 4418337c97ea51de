//! The messages between monitor and loader.

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
    /// Everything has been read. The outcome is in the memory that both share.
    Read {
        /// The bytes of it, a `Written`.
        length: usize,
    },
}

impl Message for ToLoader {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Load)
    }
}

impl Message for FromLoader {}

/// The contents of the shared memory: a configuration without errors, or the lines of its errors.
pub(super) type Written<'a> = Result<Frozen<'a>, Vec<String>>;

/// A configuration without errors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frozen<'a> {
    /// Frozen rules.
    pub(super) rules: &'a [u8],
    /// Frozen routes, if there is a route file.
    #[serde(borrow)]
    pub(super) routes: Option<&'a [u8]>,
    /// Frozen upstream lines, if there is a file of them.
    #[serde(borrow)]
    pub(super) upstreams: Option<&'a [u8]>,
    pub(super) settings: Settings,
    /// The text of services(5).
    pub(super) services: String,
    pub(super) remarks: Vec<String>,
    /// The number of users in the memory that was sent for them.
    pub(super) users: u32,
}

/// The monitor's end of the loader's channel.
pub(super) type Channel = MonitorEnd<ToLoader, FromLoader>;

/// The loader's end of the channel.
pub(super) type Monitor = WorkerEnd<FromLoader, ToLoader>;
