//! How a client has come.

use sockd_policy::{FactState, Identity};

/// How a client has come: by a balancer that has written a PROXY header of so many bytes before what the client sends. There
/// is one for each session, and two values that are no length are room enough for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u16);

impl Origin {
    /// By itself.
    pub const DIRECT: Self = Self(0);

    /// It is a balancer that asks whether this server serves.
    pub const CHECK: Self = Self(u16::MAX);

    /// By a balancer, with a header of so many bytes.
    pub fn balanced(header: usize) -> Self {
        Self(u16::try_from(header).unwrap_or(u16::MAX).clamp(1, u16::MAX - 1))
    }

    /// What is known of the user from the beginning. The identd of a client behind a balancer is not asked: it knows the
    /// ports of the connection to the balancer, which are not known here, and the pair that is known may be of another
    /// connection there.
    pub(super) fn identity(self) -> FactState<Identity> {
        if self == Self::DIRECT { FactState::NotAsked } else { FactState::Known(Identity::Unknown) }
    }

    /// Bytes of the connection that are not the client's.
    pub fn header_length(self) -> u64 {
        if self == Self::CHECK { 0 } else { self.0.into() }
    }
}
