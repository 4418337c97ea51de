//! The events that the monitor waits for, each with a token of its own.

use serde::{Deserialize, Serialize};
use sockd_session::{ControllerKey, DialKey, HeaderKey, PortKey, SessionKey, WorkerKey};

pub use crate::net::reactor::EventFlags;

/// All watched descriptors and deadlines of the monitor.
pub type Reactor = crate::net::reactor::Reactor<Token>;

/// The owner of a descriptor that is ready, or of a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Token {
    /// A listening socket, by its place.
    Listener(u32),
    /// The signals.
    Signals,
    /// The spawner's channel.
    Spawner,
    /// The hook process's channel.
    Hook,
    /// Room in the log.
    Log,
    /// The loader's channel.
    Loader,
    /// The end of a trial's terminal.
    Terminal,
    /// News of addresses and routes.
    Routes,
    /// A worker's channel.
    Worker(WorkerKey),
    /// A connection that is being made.
    Dial(DialKey),
    /// The port of a BIND.
    Port(PortKey),
    /// The deadline of a session.
    Session(SessionKey),
    /// The client's socket of a session's association, and its deadline.
    Association(SessionKey),
    /// Readers, at the status socket in this place.
    Status(u32),
    /// The control socket.
    Control,
    /// A connection to the control socket, and its deadline.
    Controller(ControllerKey),
    /// The takeover socket.
    Takeover,
    /// A connection to the takeover socket, by its place.
    Peer(u32),
    /// The connection to an older tree, by its place.
    Older(u32),
    /// A connection whose PROXY header is awaited, and its deadline.
    Header(HeaderKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_session::keys::Key;
    use std::time::Instant;

    #[test]
    fn packing_loses_nothing() {
        let tokens = [
            Token::Listener(1),
            Token::Older(u32::MAX),
            Token::Signals,
            Token::Spawner,
            Token::Routes,
            Token::Worker(Key::new(u32::MAX - 1)),
            Token::Session(Key::new(3)),
            Token::Hook,
            Token::Log,
            Token::Loader,
            Token::Terminal,
            Token::Dial(Key::new(6)),
            Token::Port(Key::new(7)),
            Token::Association(Key::new(8)),
            Token::Status(1),
            Token::Control,
            Token::Controller(Key::new(9)),
            Token::Takeover,
            Token::Peer(9),
            Token::Older(10),
            Token::Header(Key::new(10)),
        ];
        let (mut reactor, now) = (Reactor::new().unwrap(), Instant::now());
        for token in tokens {
            assert_eq!(reactor.take_due(now), None);
            reactor.set_deadline(token, Some(now));
            assert_eq!(reactor.take_due(now), Some(token));
        }
    }
}
