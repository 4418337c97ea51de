//! The SOCKS protocol as bytes, without sockets: what a client sends, and what it is answered.

pub mod v4;
