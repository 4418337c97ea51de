//! The messages between monitor and hook process.

use serde::{Deserialize, Serialize};
use sockd_common::bounded::BoundedBytes;
use sockd_common::channel::{MonitorEnd, WorkerEnd};
use sockd_common::message::Message;
use sockd_session::hook_values::Values;
use std::net::IpAddr;

/// Monitor to hook process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHook {
    /// Run this command of the rules with these values.
    Run {
        /// The command exactly as it stands in the rules; lines are at most this long.
        template: BoundedBytes<1023>,
        /// The values of its `%`s.
        values: Values,
    },
    /// The rules have been read again: read them too.
    Reload,
}

/// Hook process to monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHook {
    /// A command did not end by itself within its time.
    Overdue,
    /// Too many commands run and wait.
    Dropped {
        /// The client whose limit was reached; `None` for the limit of all.
        of: Option<IpAddr>,
    },
    /// A command that is not in the rules that the hook process has read.
    Unknown,
    /// fork(2) failed.
    NotForked,
    /// A step between fork(2) and the command failed.
    NotStarted {
        /// The step, and the kernel's error.
        why: String,
    },
    /// A command ended with status 127: there is no such program, or it cannot be executed.
    NotFound,
}

impl Message for ToHook {}
impl Message for FromHook {}

/// The monitor's end of the hook process's channel.
pub type Channel = MonitorEnd<ToHook, FromHook>;

/// The hook process's end of the channel.
pub(super) type Monitor = WorkerEnd<FromHook, ToHook>;
