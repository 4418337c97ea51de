//! The network as the kernel has it: how sockets are made, looked at and ended, and what addresses are to this host.
//!
//! A file for each kind of socket. Nothing here knows why it is asked: the monitor does, and so do those that open its
//! listeners before.

pub mod connection;
pub mod datagram;
pub mod dial;
pub mod reactor;
pub mod routing;
pub mod sockets;
pub mod unix;
