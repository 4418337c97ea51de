//! The kernel's numbers on the two connections of a relay. They tell how much has been moved, for how long nothing has
//! moved, and whether the relay is over.
//!
//! The monitor asks for TCP_INFO (tcp(7)) of its own descriptors. A worker can neither invent these numbers nor keep a
//! relay that is over.

use std::time::Duration;

/// The states of a connection (RFC 9293, section 3.3.2), as Linux numbers them (include/net/tcp_states.h).
mod state {
    pub(super) const FIN_WAIT1: u8 = 4;
    pub(super) const FIN_WAIT2: u8 = 5;
    pub(super) const TIME_WAIT: u8 = 6;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const CLOSE_WAIT: u8 = 8;
    pub(super) const LAST_ACK: u8 = 9;
    pub(super) const CLOSING: u8 = 11;
}

/// One connection: the fields of struct tcp_info that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// tcpi_state.
    pub state: u8,
    /// tcpi_bytes_sent: bytes of the stream, including those that were sent again.
    pub sent: u64,
    /// tcpi_bytes_retrans.
    pub sent_again: u64,
    /// tcpi_notsent_bytes: bytes that wait to be sent, a FIN counted as one.
    pub not_sent: u32,
    /// tcpi_unacked: segments that have been sent and not acknowledged.
    pub not_acknowledged: u32,
    /// tcpi_bytes_received, a FIN counted as one.
    pub received: u64,
    /// tcpi_last_data_sent, in milliseconds.
    pub since_sent: u32,
    /// tcpi_last_data_recv, in milliseconds.
    pub since_received: u32,
}

/// Bytes of struct tcp_info up to and with tcpi_bytes_retrans (Linux 4.19).
pub const TCP_INFO_LENGTH: usize = 216;

impl Connection {
    /// Reads the bytes of struct tcp_info (include/uapi/linux/tcp.h). Fields that an older kernel does not have are 0.
    pub fn from_tcp_info(info: &[u8; TCP_INFO_LENGTH]) -> Self {
        let word =
            |at: usize| info.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_ne_bytes(*b));
        let long =
            |at: usize| info.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_ne_bytes(*b));
        Self {
            state: info[0],
            sent: long(200),
            sent_again: long(208),
            not_sent: word(144),
            not_acknowledged: word(24),
            received: long(128),
            since_sent: word(44),
            since_received: word(52),
        }
    }

    /// A connection that does not exist.
    pub const CLOSED: Self = Self {
        state: state::CLOSE,
        sent: 0,
        sent_again: 0,
        not_sent: 0,
        not_acknowledged: 0,
        received: 0,
        since_sent: 0,
        since_received: 0,
    };

    /// Whether the connection no longer exists.
    pub fn is_closed(&self) -> bool {
        self.state == state::CLOSE
    }

    /// Whether nothing can be sent or received on it any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, state::TIME_WAIT | state::CLOSE | state::LAST_ACK | state::CLOSING)
    }

    /// Whether the peer has sent no byte beyond `header`, bytes that are not its own.
    pub fn is_silent_after(&self, header: u64) -> bool {
        self.read(true) <= header
    }

    /// Whether the peer has ended its stream.
    fn has_ended(&self) -> bool {
        self.is_over() || self.state == state::CLOSE_WAIT
    }

    /// Whether our stream to the peer has been ended.
    fn is_ended(&self) -> bool {
        self.is_over() || matches!(self.state, state::FIN_WAIT1 | state::FIN_WAIT2)
    }

    /// Whether the peer has acknowledged all that was written.
    fn is_drained(&self) -> bool {
        self.not_sent == 0 && self.not_acknowledged == 0
    }

    /// Bytes that were written to it.
    fn written(&self) -> u64 {
        let fin = u64::from(self.is_ended() && self.not_sent > 0);
        self.sent.saturating_sub(self.sent_again).saturating_add(u64::from(self.not_sent)).saturating_sub(fin)
    }

    /// Bytes that came from it. The FIN counts as one; a connection that was reset had none.
    fn read(&self, orderly: bool) -> u64 {
        let fin = self.has_ended() && (orderly || !self.is_closed());
        self.received.saturating_sub(fin.into())
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.since_sent.min(self.since_received).into())
    }
}

/// The bytes that a relay has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the client to the server.
    pub up: u64,
    /// From the server to the client.
    pub down: u64,
}

/// Both connections of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The client's.
    pub client: Connection,
    /// The server's.
    pub server: Connection,
}

impl Flow {
    /// The bytes moved, read from the server's connection alone. The client's has carried request and reply as well.
    /// `before` counts the bytes exchanged with a next server before the relay began. The result is exact after an
    /// orderly end; it is a bound after a reset.
    pub fn moved(&self, before: Moved, orderly: bool) -> Moved {
        Moved {
            up: self.server.written().saturating_sub(before.up),
            down: self.server.read(orderly).saturating_sub(before.down),
        }
    }

    /// For how long no byte has come or gone on either connection.
    pub fn idle(&self) -> Duration {
        self.client.idle().min(self.server.idle())
    }

    /// Whether the relay does not simply go on.
    pub fn wants_a_decision(&self) -> bool {
        self.is_overdue() || self.is_half_closed()
    }

    /// Whether one stream has ended and the other goes on.
    pub fn is_half_closed(&self) -> bool {
        self.client.has_ended() != self.server.has_ended()
    }

    /// Whether an honest worker would have said that the relay is over. It is if a connection has closed, or the end of
    /// a stream was not passed on, although all bytes before it were.
    pub fn is_overdue(&self) -> bool {
        let kept = |from: &Connection, to: &Connection| from.has_ended() && !to.is_ended() && to.is_drained();
        self.client.is_closed()
            || self.server.is_closed()
            || kept(&self.client, &self.server)
            || kept(&self.server, &self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESTABLISHED: Connection = Connection {
        state: 1,
        sent: 0,
        sent_again: 0,
        not_sent: 0,
        not_acknowledged: 0,
        received: 0,
        since_sent: 0,
        since_received: 0,
    };

    fn flow(client: Connection, server: Connection) -> Flow {
        Flow { client, server }
    }

    #[test]
    fn what_was_written_counts_whether_it_has_been_sent_or_not_and_once() {
        let server = Connection { sent: 1500, sent_again: 500, not_sent: 24, received: 7, ..ESTABLISHED };
        assert_eq!(flow(ESTABLISHED, server).moved(Moved::default(), true), Moved { up: 1024, down: 7 });
        let before = Moved { up: 20, down: 7 };
        assert_eq!(flow(ESTABLISHED, server).moved(before, true), Moved { up: 1004, down: 0 });
    }

    #[test]
    fn the_fins_of_both_sides_are_not_bytes() {
        for state in [state::LAST_ACK, state::TIME_WAIT, state::CLOSE, state::CLOSING] {
            let server = Connection { state, sent: 10, received: 51, ..ESTABLISHED };
            assert_eq!(flow(ESTABLISHED, server).moved(Moved::default(), true), Moved { up: 10, down: 50 });
        }
        // Our FIN waits behind five bytes.
        let server =
            Connection { state: state::FIN_WAIT1, sent: 10, not_sent: 6, received: 50, ..ESTABLISHED };
        assert_eq!(flow(ESTABLISHED, server).moved(Moved::default(), true), Moved { up: 15, down: 50 });
        // A reset is no FIN.
        let server = Connection { state: state::CLOSE, received: 50, ..ESTABLISHED };
        assert_eq!(flow(ESTABLISHED, server).moved(Moved::default(), false).down, 50);
    }

    #[test]
    fn a_connection_that_was_opened_and_closed_has_brought_no_byte() {
        for (state, received, is_silent) in [
            (state::CLOSE_WAIT, 1, true),
            (state::CLOSE, 0, true),
            (state::CLOSE_WAIT, 2, false),
            (1, 1, false),
        ] {
            let client = Connection { state, received, ..ESTABLISHED };
            assert_eq!(client.is_silent_after(0), is_silent, "{client:?}");
        }
    }

    #[test]
    fn a_relay_is_as_idle_as_the_direction_that_moved_last() {
        let quiet = Connection { since_sent: 9000, since_received: 8000, ..ESTABLISHED };
        let busy = Connection { since_sent: 9000, since_received: 3000, ..ESTABLISHED };
        assert_eq!(flow(quiet, quiet).idle(), Duration::from_secs(8));
        assert_eq!(flow(quiet, busy).idle(), Duration::from_secs(3));
    }

    #[test]
    fn an_end_that_is_not_passed_on_is_overdue_once_nothing_is_left_to_send() {
        let ended = Connection { state: state::CLOSE_WAIT, ..ESTABLISHED };
        let passed_on = Connection { state: state::FIN_WAIT2, ..ESTABLISHED };
        let busy = Connection { not_acknowledged: 1, ..ESTABLISHED };
        let full = Connection { not_sent: 1, ..ESTABLISHED };
        assert!(!flow(ESTABLISHED, ESTABLISHED).is_overdue());
        assert!(flow(ended, ESTABLISHED).is_overdue() && flow(ESTABLISHED, ended).is_overdue());
        for other in [passed_on, busy, full] {
            assert!(!flow(ended, other).is_overdue() && !flow(other, ended).is_overdue(), "{other:?}");
        }
        let closed = Connection { state: state::CLOSE, ..ESTABLISHED };
        assert!(flow(closed, ESTABLISHED).is_overdue() && flow(busy, closed).is_overdue());
        assert!(flow(ended, passed_on).is_half_closed() && !flow(ESTABLISHED, ESTABLISHED).is_half_closed());
    }
}
