//! How a new tree takes over from the one that serves, up to its lockdown: over a Unix socket that only root can reach,
//! it receives the sockets that clients connect to.
//!
//! [`crate::monitor::takeover`] is the side of the monitor that serves. `sockd_session::takeover` decides which
//! messages are permitted when.

pub mod control;
pub mod link;
pub mod older;
pub mod place;
