//! The locks that every `sockd` process puts on itself.
//!
//! Each function is one lock. The order in which a process applies them matters. It is chosen, and explained, in the
//! lockdown of the workers and in that of monitor and spawner. [`filter`] turns a table of allowed system calls into
//! the last of these locks.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod capabilities;
mod error;
pub mod filter;
mod landlock;
mod limits;
pub mod profile_rows;
mod sys;
mod user;

pub use crate::capabilities::keep_only;
pub use crate::error::LockError;
pub use crate::filter::{
    Arg, Program, Row, Test, When, compile_denials, compile_filter, install_denials, install_filter, rare,
};
pub use crate::landlock::{
    Grants, LandlockStatus, landlock_deny_all, landlock_deny_all_but, landlock_keep_signals_inside,
};
pub use crate::limits::{die_with_parent, limit, no_new_privileges, not_dumpable, restrict_speculation};
pub use crate::sys::{deny_write_execute, exit_now, take_descriptor};
pub use crate::user::{Groups, become_user};
pub use caps::Capability;
pub use libc;
pub use nix::unistd::{Gid, Uid};
pub use rustix::process::Resource;
