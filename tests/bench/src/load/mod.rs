//! The loads: what clients do to a proxy.

pub(crate) mod bulk;
pub(crate) mod pingpong;
pub(crate) mod steady;
pub(crate) mod visits;
