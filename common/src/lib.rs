//! What the monitor and other processes say to each other, and nothing else.
//!
//! [`message`] is the whole protocol with its story, [`wire`] gives a message its bytes, and [`channel`] carries
//! one message with at most one descriptor per packet. [`outbox`] keeps what a worker does not read yet. A password is a
//! [`secret`] in all of them, and [`users`] is the table that it is looked up in.
//!
//! [`ledger`] and [`status`] are what the monitor shows and says to whoever may look at it or give it orders. [`wait`] is for whoever
//! waits for them.

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
