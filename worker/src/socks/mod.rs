//! The SOCKS protocol as bytes: what a client sends and what it is answered. Pure, without sockets.

pub mod v4;
