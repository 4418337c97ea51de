//! `sockd`: a SOCKS proxy server for firewall hosts, in processes that gain nothing when they are taken over.
//!
//! Four folders are processes, and the first file of each tells its life: the [`monitor`] serves, the [`spawner`]
//! starts the workers, the [`loader`] reads files again on a reload, and the [`hook`] runs the commands of rules.
//! [`start`] leads from the command line to the locked-down monitor, and with [`takeover`] to one that follows another.
//!
//! These share the other folders. [`config`] makes settings and rules of files and options. [`log`] writes lines and
//! never waits. [`net`] makes sockets, inspects them and ends them. [`process`] has the lockdown, namespaces, and the
//! one file with unsafe code.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod config;
pub mod hook;
pub mod loader;
pub mod log;
pub mod monitor;
pub mod net;
pub mod process;
pub mod spawner;
pub mod start;
pub mod takeover;
