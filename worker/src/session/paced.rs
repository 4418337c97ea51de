//! The flows that read again a millisecond later.

use super::socket::Side;
use sockd_common::message::Id;
use std::collections::VecDeque;

/// Flows that wait for the next millisecond, in the order in which they began to.
pub(crate) type PacedQueue = VecDeque<PacedFlow>;

/// A flow that coalesces small pieces.
#[derive(Debug)]
pub(crate) struct PacedFlow {
    pub(crate) since_ms: u32,
    pub(crate) slot: usize,
    pub(crate) id: Id,
    /// The peer whose bytes they are.
    pub(crate) source: Side,
}
