//! The connection over which a client has asked for UDP ASSOCIATE. It carries nothing, and its end ends the association
//! (RFC 1928, section 7). Another worker relays the datagrams.

use super::{Connection, Next, Phase};
use crate::session::socket::number;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use sockd_common::message::request::Command;
use sockd_common::message::session::CloseReason;
use std::net::SocketAddr;

/// The most bytes that a client may send on the connection. They mean nothing.
const IGNORED: usize = 4096;

impl Connection {
    /// Grants the request: the client may send datagrams to this address. `None` if no such request waits for this.
    pub(crate) fn associated(&mut self, address: SocketAddr) -> Option<Next> {
        let Phase::Deciding(command @ Command::Associate) = self.phase else { return None };
        // The client's FIN may have come with the last piece of the request, and so in no event of its own.
        let Next::Wait = self.wait_for_verdict(command) else { return Some(gone(Errno::PIPE)) };
        if let Err(errno) = self.reply(self.handshake.granted(address)) {
            return Some(gone(errno));
        }
        self.up.source_ready = true;
        Some(self.watch_control(IGNORED))
    }

    /// Reads and drops bytes of the client, until it closes or sends too many.
    pub(super) fn watch_control(&mut self, mut left: usize) -> Next {
        let mut bytes = [0; IGNORED];
        while self.up.source_ready {
            match recv(&self.client, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Next::End(CloseReason::Finished),
                Ok((length, _)) => match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return Next::End(CloseReason::Finished),
                },
                Err(Errno::AGAIN) => self.up.source_ready = false,
                Err(errno) => return gone(errno),
            }
        }
        self.phase = Phase::Associated(left);
        Next::Wait
    }
}

fn gone(errno: Errno) -> Next {
    Next::End(CloseReason::ClientGone(number(errno)))
}
