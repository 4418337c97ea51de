//! The network as the kernel has it: makes, inspects and ends sockets, and classifies addresses for this host.
//!
//! There is a file for each kind of socket. The callers know the purpose: the monitor, and the start, which opens the
//! listeners.

pub mod connection;
pub mod datagram;
pub mod dial;
pub mod reactor;
pub mod routing;
pub mod sockets;
pub mod unix;
