//! How a client has connected.

use sockd_policy::{FactState, Identity};

/// How a client has connected: directly, as a health check, or through a balancer. The last has the length of the PROXY
/// header. Every session has one, so the others are stored as values that are no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u16);

impl Origin {
    /// The client has connected directly.
    pub const DIRECT: Self = Self(0);

    /// The client is a balancer that checks whether this server serves.
    pub const CHECK: Self = Self(u16::MAX);

    /// The client has connected through a balancer, with a header of this many bytes.
    pub fn balanced(header: usize) -> Self {
        Self(u16::try_from(header).unwrap_or(u16::MAX).clamp(1, u16::MAX - 1))
    }

    /// The identity that is known from the beginning. The identd of a client behind a balancer is not asked: it knows
    /// the ports of the connection to the balancer, which are not known here, and the pair known here may belong to
    /// another connection there.
    pub(super) fn identity(self) -> FactState<Identity> {
        if self == Self::DIRECT { FactState::NotAsked } else { FactState::Known(Identity::Unknown) }
    }

    /// Bytes of the connection that are not the client's.
    pub fn header_length(self) -> u64 {
        if self == Self::CHECK { 0 } else { self.0.into() }
    }
}
