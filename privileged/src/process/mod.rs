//! What the processes of this program share.

pub mod descriptors;
pub mod namespaces;
pub mod profile;
pub mod signals;
pub(crate) mod sys;
pub(crate) mod terminal;
