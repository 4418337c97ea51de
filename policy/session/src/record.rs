//! What is recorded of sessions.

use sockd_common::message::Errno;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// The call's name.
    pub call: &'static str,
    /// What it failed with.
    pub errno: Errno,
}
