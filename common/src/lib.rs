//! What the monitor and its workers say to each other, and nothing else.
//!
//! [`message`] is the whole protocol with its story, [`wire`] gives a message its bytes, and [`channel`] carries
//! one message with at most one descriptor per packet. [`outbox`] keeps what a worker does not read yet. A password is a
//! [`secret`] in all of them, and [`users`] is the table that it is looked up in.

#![forbid(unsafe_code)]

pub mod bounded;
pub mod channel;
pub mod message;
pub mod outbox;
pub mod secret;
pub mod users;
pub mod wire;
