//! The protocol of the sockets on which administrators look at a running daemon and give it orders.
//!
//! A status socket sends one packet to everybody who connects, and reads nothing. The packet lists the [`Gift`]s that
//! come with it, each a descriptor of memory that can only be read. The control socket takes [`Order`]s, each a packet
//! of [`ORDER`] bytes, and answers each with an [`Answer`].

/// Bytes of an order.
pub const ORDER: usize = 24;

/// The first bytes of a packet of a status socket. The last byte is the version.
const GREETING: [u8; 8] = *b"sockd-s\x01";

/// The first bytes of an order and of an answer. The last byte is the version.
const CONTROL: [u8; 8] = *b"sockd-c\x01";

/// Something that a status socket hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gift {
    /// The ledger: every session, with its client, user and destination.
    Ledger = 1,
    /// The counters, which name nobody. The counters of the monitor that hands them out come first, then those of older
    /// trees, which drain.
    Counters = 2,
    /// The counters of an older tree that has ended.
    EndedCounters = 3,
}

/// The packet that goes with these gifts, in their order.
pub fn greeting(gifts: &[Gift]) -> Vec<u8> {
    GREETING.into_iter().chain(gifts.iter().map(|gift| *gift as u8)).collect()
}

/// The gifts that come with a packet; 0 stands for one of a later version. `None` if it is no such packet.
pub fn gifts(packet: &[u8]) -> Option<Vec<Option<Gift>>> {
    let all = [Gift::Ledger, Gift::Counters, Gift::EndedCounters];
    let known = |byte: &u8| all.into_iter().find(|gift| *gift as u8 == *byte);
    Some(packet.strip_prefix(&GREETING)?.iter().map(known).collect())
}

/// An order of an administrator. No order names anything but a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End the session with this number, whose record is at this place.
    Kill {
        /// The place of its record in the ledger.
        place: u32,
        /// Its number: a session that has come to the same place since is not meant.
        number: u64,
    },
    /// Serve no new client.
    Drain,
    /// Serve new clients again.
    Resume,
}

impl Order {
    /// As a packet.
    pub fn encode(self) -> [u8; ORDER] {
        let (kind, place, number) = match self {
            Self::Kill { place, number } => (1_u32, place, number),
            Self::Drain => (2, 0, 0),
            Self::Resume => (3, 0, 0),
        };
        let parts = [&CONTROL[..], &kind.to_ne_bytes(), &place.to_ne_bytes(), &number.to_ne_bytes()].concat();
        parts.first_chunk().copied().unwrap_or([0; ORDER])
    }

    /// The order in a packet; `None` if it is not one, or of another length.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let packet: &[u8; ORDER] = packet.try_into().ok()?;
        let (kind, rest) = packet.strip_prefix(&CONTROL)?.split_first_chunk()?;
        let (place, rest) = rest.split_first_chunk()?;
        let (place, number) = (u32::from_ne_bytes(*place), u64::from_ne_bytes(*rest.first_chunk()?));
        match (u32::from_ne_bytes(*kind), place, number) {
            (1, place, number) => Some(Self::Kill { place, number }),
            (2, 0, 0) => Some(Self::Drain),
            (3, 0, 0) => Some(Self::Resume),
            _ => None,
        }
    }
}

/// The result of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// It is done.
    Done = 1,
    /// There is no such session, or it is over.
    NoSession = 2,
}

impl Answer {
    /// As a packet.
    pub fn encode(self) -> Vec<u8> {
        CONTROL.into_iter().chain([self as u8]).collect()
    }

    /// The answer in a packet, if it is one.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match packet.strip_prefix(&CONTROL)? {
            [1] => Some(Self::Done),
            [2] => Some(Self::NoSession),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_are_what_they_were() {
        for order in [Order::Kill { place: 7, number: u64::MAX }, Order::Drain, Order::Resume] {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        for answer in [Answer::Done, Answer::NoSession] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }

    #[test]
    fn anything_else_is_no_order() {
        let order = Order::Drain.encode();
        let long = [&order[..], &[0]].concat();
        for wrong in [&order[..ORDER - 1], &long, &[0; ORDER], b""] {
            assert_eq!(Order::decode(wrong), None, "{wrong:?}");
        }
        for at in 0..ORDER {
            let mut changed = order;
            changed[at] ^= 0x80;
            assert_eq!(Order::decode(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_greeting_names_its_gifts_in_their_order() {
        let all = [Gift::Counters, Gift::EndedCounters, Gift::Ledger];
        assert_eq!(gifts(&greeting(&all)), Some(all.map(Some).into()));
        assert_eq!(
            gifts(&[&greeting(&[Gift::Ledger])[..], &[99]].concat()),
            Some(vec![Some(Gift::Ledger), None])
        );
        assert_eq!(gifts(b"sockd-s"), None);
    }
}
