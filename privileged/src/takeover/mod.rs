//! How a new tree takes over from the one that serves, up to its lockdown: over a Unix socket that root alone can reach
//! it is handed the sockets that clients come to.
//!
//! The monitor that is taken over from is [`crate::monitor::takeover`]; what may be said when is decided in
//! `sockd_session::takeover`.

pub mod control;
pub mod link;
pub mod older;
pub mod place;
