//! Everything that crosses a boundary between the monitor and other processes, as bytes and as types.
//!
//! [`message`] is the whole protocol with its explanation, [`wire`] gives a message its bytes, and [`channel`] carries
//! one message with at most one descriptor per packet. [`outbox`] keeps messages that a worker has not read yet. A
//! password is a [`secret`] in all of them, and [`users`] is the table that it is looked up in.
//!
//! [`ledger`] and [`counters`] are memory that the monitor writes for others to read; [`status`] is how they ask for it
//! and give orders. [`head`] reads the first bytes of a connection from its socket, and [`wait`] waits with a limit.

#![forbid(unsafe_code)]

pub mod bounded;
pub mod channel;
pub mod counters;
pub mod head;
pub mod ledger;
pub mod message;
pub mod outbox;
pub mod secret;
pub mod status;
pub mod users;
pub mod wait;
pub mod wire;
