//! Code that the processes of this program share.

pub mod apparmor;
pub mod child;
pub mod descriptors;
pub mod error;
pub mod namespaces;
pub mod notify;
pub mod ritual;
pub mod signals;
pub(crate) mod sys;
pub(crate) mod terminal;
