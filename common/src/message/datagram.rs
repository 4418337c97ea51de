//! The datagram worker's channel.
//!
//! An association is the UDP side of one session (RFC 1928, section 7). A flow is its traffic with one destination. The
//! monitor decides on each flow, and lends a socket that is connected to that peer alone:
//!
//! ```text
//! monitor                              datagram worker
//! Open{id, client} + client's socket ->  reads the headers of the client's datagrams
//!                           <-------     Want{id, flow, destination, port}, once for a destination
//! (decides; asks identd, resolver)
//! Flow{id, flow, peer} + socket  --->    relays both ways
//!   or NoFlow{id, flow}     ------->     drops what comes for that destination, for a while
//!                           <-------     Gone{id, flow, moved}, when the flow was idle or had to give way
//!                           <-------     Closed{id, why, moved}
//! ```
//!
//! The worker chooses the numbers of flows. It uses a number again once it has said `Gone` or has heard `NoFlow`.
//!
//! `EndFlow{id, flow}` asks for `Gone`, and `End{id}` for `Closed`, which is the last word on every association and is
//! said exactly once. Messages may cross: a worker that has said `Gone` or `Closed` drops what still arrives for that
//! flow or id. `Gone` counts the bytes moved since the flow began, and `Closed` those that no `Gone` has counted.

use super::request::Destination;
use super::{Id, LockdownReport, Message, Role, ToWorker};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Tells one flow from the others of the same association.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FlowId(pub u16);

/// The limits that a datagram worker keeps. The monitor has the same numbers, and refuses anything beyond them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowLimits {
    /// Flows of one association. The one that was idle longest gives way to a new one.
    pub flows: u16,
    /// Seconds without a datagram after which a flow ends.
    pub flow_idle: u32,
    /// Seconds without a datagram after which an association ends.
    pub association_idle: u32,
}

/// Relayed bytes, without the headers of SOCKS.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Relayed {
    /// To destinations.
    pub up: u64,
    /// To the client.
    pub down: u64,
}

/// Monitor to datagram worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToDatagram {
    /// The settings that a datagram worker needs; also sent again when they change.
    Setup(FlowLimits),
    /// A client has sent its first datagram; the socket connected to it comes with this message.
    Open {
        /// The association, which has the number of its session.
        id: Id,
        /// The address that the socket is connected to. Datagrams of other ports may have come before it was connected.
        client: SocketAddr,
    },
    /// A flow is permitted; the socket that is connected to its peer comes with this message.
    Flow {
        /// The association.
        id: Id,
        /// The flow.
        flow: FlowId,
        /// The peer, for the header of its datagrams.
        peer: SocketAddr,
    },
    /// A flow is not permitted, or not possible.
    NoFlow {
        /// The association.
        id: Id,
        /// The flow.
        flow: FlowId,
    },
    /// End this flow.
    EndFlow {
        /// The association.
        id: Id,
        /// The flow.
        flow: FlowId,
    },
    /// End this association.
    End {
        /// The association.
        id: Id,
    },
}

/// Datagram worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromDatagram {
    /// Locked down and waiting.
    Ready(LockdownReport),
    /// The client has sent a datagram to a destination that it has no flow to.
    Want {
        /// The association.
        id: Id,
        /// The number of the new flow.
        flow: FlowId,
        /// The destination.
        destination: Destination,
        /// The port there.
        port: u16,
    },
    /// A flow has ended; the worker has closed its own descriptor.
    Gone {
        /// The association.
        id: Id,
        /// The flow.
        flow: FlowId,
        /// The bytes that it has moved.
        moved: Relayed,
    },
    /// The association has ended; the worker has closed its own descriptors.
    Closed {
        /// The association.
        id: Id,
        /// The cause.
        why: AssociationEnd,
        /// The bytes that its remaining flows have moved.
        moved: Relayed,
    },
}

/// The cause of an association's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AssociationEnd {
    /// The monitor said `End`.
    Ended,
    /// No datagram came for as long as the settings allow.
    Idle,
    /// The worker lacks descriptors or memory for it.
    NoResources,
}

impl Message for ToDatagram {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Flow { .. })
    }
}

impl ToWorker for ToDatagram {
    const ROLE: Role = Role::Datagram;
}

impl Message for FromDatagram {}
