//! The loads: what clients do to a proxy.

pub(crate) mod bulk;
pub(crate) mod churn;
pub(crate) mod connections;
pub(crate) mod datagrams;
pub(crate) mod idle;
pub(crate) mod loris;
pub(crate) mod pingpong;
pub(crate) mod reload;
pub(crate) mod steady;
