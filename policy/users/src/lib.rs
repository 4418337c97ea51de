//! The users that may log in: the text of `sockd.passwd`, and changes of it.
//!
//! [`Users::parse`] takes the whole text or nothing ([`mod@line`] knows one line of it, [`struct@Hash`] one hash);
//! [`edit`] changes it for the administrator. The crate computes no hash and reads no file: it is `no_std`, so that
//! opening one here does not compile.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod edit;
mod error;
mod hash;
pub mod line;
mod users;

pub use error::{Fault, LineError};
pub use hash::{Hash, MAX_MEMORY, Scheme};
pub use line::{GroupName, MAX_GROUPS, User, UserName};
pub use users::Users;
