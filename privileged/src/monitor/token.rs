//! What a descriptor in the monitor's epoll set is for, packed into the number that comes back with an event.

/// What has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A listening socket, by its place.
    Listener(u32),
    /// The signals.
    Signals,
    /// The spawner's channel.
    Spawner,
    /// The command runner's channel.
    Runner,
    /// Room in the log.
    Log,
    /// The loader's channel.
    Loader,
    /// The end of a trial's terminal.
    Terminal,
    /// News of addresses and routes.
    Changes,
    /// A worker's channel.
    Worker(u32),
    /// The connection or the BIND port of a session.
    Visit(u32),
    /// The TCP connection to a nameserver, of a lookup.
    Lookup(u32),
    /// The connection to an identd, of a query.
    Query(u32),
}

impl Token {
    /// As the number.
    pub fn pack(self) -> u64 {
        let (kind, index) = match self {
            Self::Listener(index) => (0, index),
            Self::Signals => (1, 0),
            Self::Spawner => (2, 0),
            Self::Changes => (3, 0),
            Self::Worker(index) => (4, index),
            Self::Visit(index) => (5, index),
            Self::Lookup(index) => (6, index),
            Self::Query(index) => (7, index),
            Self::Runner => (8, 0),
            Self::Log => (9, 0),
            Self::Loader => (10, 0),
            Self::Terminal => (11, 0),
        };
        kind << 32 | u64::from(index)
    }

    /// From the number.
    pub fn unpack(number: u64) -> Option<Self> {
        let index = (number & u64::from(u32::MAX)) as u32;
        Some(match number >> 32 {
            0 => Self::Listener(index),
            1 => Self::Signals,
            2 => Self::Spawner,
            3 => Self::Changes,
            4 => Self::Worker(index),
            5 => Self::Visit(index),
            6 => Self::Lookup(index),
            7 => Self::Query(index),
            8 => Self::Runner,
            9 => Self::Log,
            10 => Self::Loader,
            11 => Self::Terminal,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing() {
        let tokens = [
            Token::Listener(1),
            Token::Signals,
            Token::Spawner,
            Token::Changes,
            Token::Worker(u32::MAX),
            Token::Visit(3),
            Token::Lookup(4),
            Token::Query(5),
            Token::Runner,
            Token::Log,
            Token::Loader,
            Token::Terminal,
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(12 << 32), None);
    }
}
