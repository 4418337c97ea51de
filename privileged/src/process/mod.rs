//! What the processes of this program share.

pub mod namespaces;
pub mod profile;
pub(crate) mod sys;
