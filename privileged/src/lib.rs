//! `sockd`: a SOCKS proxy server for firewall hosts, in processes that gain nothing when they are taken over.
//!
//! A folder is a process, and its first file tells that process's life: [`start`] leads from the command line to a
//! locked-down [`monitor`], which serves; [`spawner`] starts the workers; [`loader`] reads files again on a reload;
//! [`hook`] runs the commands of rules; [`takeover`] is how a new tree begins where an old one serves. [`config`] is how
//! files and options become settings and rules; [`log`] writes lines and never waits; [`net`] makes sockets, looks at
//! them and ends them; [`process`] is what all processes share: the lockdown, namespaces, and the one file with unsafe
//! code.

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
