//! `sockd`: a SOCKS proxy server for firewall hosts, in processes that gain nothing when they are taken over.
//!
//! This program is the only one that ever runs with root: the monitor, which decides, and the spawner, which starts
//! the workers. [`start`] leads from the command line to [`monitor`]; [`session`] is what happens to one client.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod admission;
pub mod audit;
pub mod background;
pub mod commands;
pub mod confine;
pub mod dial;
pub mod files;
pub mod kinds;
pub mod link;
pub mod listen;
pub mod load;
pub mod loader;
pub mod log;
pub mod lookups;
pub mod monitor;
pub mod options;
pub mod profile;
pub mod queries;
pub mod report;
pub mod resolv;
pub mod runner;
pub mod service;
pub mod session;
pub mod settings;
pub mod signals;
pub mod spawner;
pub mod start;
mod sys;
pub mod tally;
pub mod token;
pub mod visits;
pub mod workers;
pub mod world;
