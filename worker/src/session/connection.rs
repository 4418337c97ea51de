//! One session: a client's connection and the server's, from the first byte to the last acknowledgement.
//!
//! ```text
//! Negotiating -> Deciding -> Relaying -> Leaving -> ended
//!   |   ^     \     \   `-> Associated -> ended
//!   |   |      `-> Refused -> Leaving -> ended
//! Verifying ---'
//! ```
//!
//! Sockets come from the monitor non-blocking, with SO_OOBINLINE, so that urgent bytes keep their place. The monitor
//! has descriptors of its own of both, so a close here sends nothing: streams are ended by shutdown(2), and connections
//! are closed by the monitor, which resets them if one of them has failed. An orderly end waits until the peers have
//! acknowledged every byte and the FIN, so that a session counts as long as the kernel holds bytes of it. Linux shows
//! the last acknowledgement in getpeername(2), which says ENOTCONN from then on (state CLOSE, net/ipv4/af_inet.c).

use super::handshake::{Handshake, LONGEST, Step};
use super::paced::{PacedFlow, PacedQueue};
use super::socket::{
    Dropped, Secret, Side, acknowledged, drop_input, end_stream, number, pending_error, take, token,
};
use crate::event::Epoll;
use crate::relay::{Fault, Flow, Mover, Turn};
use crate::socks::Reply;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sockd_common::message::auth::Credentials;
use sockd_common::message::request::{Command, RefusalReason, Request};
use sockd_common::message::session::{CloseReason, Protocols};
use sockd_common::message::{self, Id};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Seconds for a client to close after a refusing reply. Unread bytes of it would turn our close into a reset, which
/// can destroy the reply on its way (RFC 1122, section 4.2.2.13).
pub(crate) const REFUSED_LIMIT: u32 = 2;

/// The most bytes that a client may send in that time.
const REFUSED_BYTES: usize = 64 << 10;

/// The most bytes that a client may send on the connection of UDP ASSOCIATE.
const CONTROL_BYTES: usize = 4096;

/// The events that every socket is watched for at first, edge-triggered. A socket that has had no room to send is
/// watched for room too.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// The state of one session in its worker.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: Id,
    phase: Phase,
    handshake: Handshake,
    client: OwnedFd,
    server: Option<OwnedFd>,
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    /// The events that client and server are watched for.
    watched: [EventFlags; 2],
    /// The client's or the server's socket is in error, or closed both ways.
    failed: [bool; 2],
    /// Whether it waits for another turn already.
    pub(crate) queued: bool,
    /// When the client was refused, in the worker's seconds.
    refused_at: u32,
}

#[derive(Debug)]
enum Phase {
    /// The handshake has not yet led to a request.
    Negotiating,
    /// The monitor has the credentials. The client is not read; only its end is noticed.
    Verifying,
    /// The monitor has the request.
    Deciding(Command),
    /// The refusing reply has been sent. This many bytes of the client may still be dropped.
    Refused(CloseReason, usize),
    Relaying,
    /// The datagrams of the client are relayed elsewhere. This many bytes of it may still be dropped here.
    Associated(usize),
    /// Everything has been sent, but not yet been acknowledged.
    Leaving(CloseReason),
}

/// The parts of the worker that its connections share.
pub(crate) struct Shared<'a> {
    pub(crate) epoll: &'a Epoll,
    pub(crate) mover: &'a mut Mover,
    pub(crate) protocols: Protocols,
    pub(crate) slot: usize,
    pub(crate) now: u32,
    /// In milliseconds since the same start.
    pub(crate) now_ms: u32,
    pub(crate) paced: &'a mut PacedQueue,
}

/// The next task of the worker.
#[derive(Debug)]
pub(crate) enum Next {
    /// Wait for an event.
    Wait,
    /// Give the connection another turn.
    Again,
    /// Have the credentials compared.
    Verify(Credentials),
    /// Have the request decided.
    Ask(Request),
    /// End the session.
    End(CloseReason),
}

impl Connection {
    /// A client's connection at its first byte, or at the point that another worker has reached.
    pub(crate) fn new(id: Id, client: OwnedFd, come: message::session::Handshake, now: u32) -> Self {
        let (handshake, phase) = match Handshake::resumed(come) {
            (handshake, Some(command)) => (handshake, Phase::Deciding(command)),
            (handshake, None) => (handshake, Phase::Negotiating),
        };
        Self {
            id,
            phase,
            handshake,
            client,
            server: None,
            up: Flow::default(),
            down: Flow::default(),
            watched: [WATCHED; 2],
            failed: [false; 2],
            queued: false,
            refused_at: now,
        }
    }

    /// Reads what is there, and then watches for more. The request often arrives together with its connection, and
    /// bytes that have been read need not be reported.
    pub(crate) fn begin(&mut self, shared: &mut Shared<'_>) -> Next {
        self.up.source_ready = true;
        let next = self.advance(shared);
        if matches!(next, Next::End(_)) {
            return next;
        }
        match shared.epoll.add(&self.client, token(shared.slot, self.id, Side::Client), WATCHED) {
            Ok(()) => next,
            Err(_) => Next::End(CloseReason::NoResources),
        }
    }

    /// Takes note of an event.
    pub(crate) fn notice(&mut self, side: Side, flags: EventFlags) {
        use EventFlags as On;
        let (reads, writes) = match side {
            Side::Client => (&mut self.up, &mut self.down),
            Side::Server => (&mut self.down, &mut self.up),
        };
        reads.source_ready |= flags.intersects(On::IN | On::RDHUP | On::HUP | On::ERR);
        reads.source_finished |= flags.intersects(On::RDHUP | On::HUP | On::ERR);
        reads.orderly = flags.contains(On::RDHUP) && !flags.contains(On::ERR);
        reads.urgent |= flags.contains(On::PRI);
        if reads.source_ready {
            reads.paced = false;
        }
        writes.sink_full &= !flags.intersects(On::OUT | On::HUP | On::ERR);
        let [client, server] = &mut self.failed;
        let failed = if side == Side::Client { client } else { server };
        // Once both directions have ended, a hang-up without an error is the ordinary state.
        let hung_up = flags.contains(On::HUP) && !matches!(self.phase, Phase::Relaying | Phase::Leaving(_));
        *failed |= flags.contains(On::ERR) || hung_up;
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self, shared: &mut Shared<'_>) -> Next {
        match &self.phase {
            Phase::Negotiating => self.negotiate(shared),
            Phase::Verifying => self.wait_for_verdict(Command::Connect),
            Phase::Deciding(command) => self.wait_for_verdict(*command),
            Phase::Refused(why, budget) => self.await_close(*why, *budget),
            Phase::Relaying => self.relay(shared),
            Phase::Associated(left) => self.await_end(*left),
            Phase::Leaving(why) => self.leave(*why),
        }
    }

    /// Goes on with the handshake. Its bytes are looked at and taken only with the request, so that bytes behind that
    /// stay in the socket. Every further piece of it is an event, and a client that sends it byte by byte costs one
    /// call for each byte. (A look does not reach behind an urgent byte, so that a handshake with one in it is never
    /// whole.)
    fn negotiate(&mut self, shared: &mut Shared<'_>) -> Next {
        if !self.up.source_ready {
            return Next::Wait;
        }
        let mut bytes = [MaybeUninit::uninit(); LONGEST];
        let seen = match recv(&self.client, &mut bytes, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((([], _), _)) => return self.finish(CloseReason::CutShort),
            Ok(((seen, _), _)) => Secret(seen),
            Err(Errno::AGAIN) => {
                self.up.source_ready = false;
                return Next::Wait;
            }
            Err(errno) => return Next::End(CloseReason::ClientGone(number(errno))),
        };
        let seen = &*seen.0;
        let step = loop {
            match self.handshake.read(seen, shared.protocols) {
                Step::Answer(reply) => match self.reply(reply) {
                    Ok(()) => {}
                    Err(errno) => return Next::End(CloseReason::ClientGone(number(errno))),
                },
                step => break step,
            }
        };
        match step {
            Step::Incomplete | Step::Answer(_) => self.wait_for_more(),
            Step::Login { length, login, start } => {
                let credentials = login.credentials(seen.get(start..).unwrap_or_default());
                self.introduced(length, credentials)
            }
            Step::Request { length, request } => {
                let more = seen.len() == LONGEST || length < seen.len();
                self.requested(length, more, request)
            }
            Step::Refused { reply, closed } => self.refuse_with(reply, closed, shared),
        }
    }

    /// Takes the first `length` bytes of the client, which end with its login. So the password leaves the socket.
    /// Bytes behind it are read when the login has been answered.
    fn introduced(&mut self, length: usize, credentials: Option<Credentials>) -> Next {
        self.phase = Phase::Verifying;
        match (take(&self.client, length), credentials) {
            (Ok(()), Some(credentials)) => Next::Verify(credentials),
            (Ok(()), None) => Next::End(CloseReason::NoResources),
            (Err(errno), _) => Next::End(CloseReason::ClientGone(number(errno))),
        }
    }

    /// The credentials are accepted: the request comes next. `None` if none wait for this.
    pub(crate) fn verified(&mut self, shared: &mut Shared<'_>) -> Option<Next> {
        let Phase::Verifying = self.phase else { return None };
        let reply = self.handshake.verified();
        if let Err(errno) = self.reply(reply) {
            return Some(Next::End(CloseReason::ClientGone(number(errno))));
        }
        self.phase = Phase::Negotiating;
        self.up.source_ready = true;
        Some(self.negotiate(shared))
    }

    /// Takes the first `length` bytes of the client, which end with the request.
    fn requested(&mut self, length: usize, more: bool, request: Request) -> Next {
        self.up.source_ready = more || self.up.source_finished || self.up.urgent;
        self.phase = Phase::Deciding(request.command);
        match take(&self.client, length) {
            Ok(()) => Next::Ask(request),
            Err(errno) => Next::End(CloseReason::ClientGone(number(errno))),
        }
    }

    /// Waits for the rest of the handshake.
    fn wait_for_more(&mut self) -> Next {
        if self.failed == [true, false] {
            return Next::End(CloseReason::ClientGone(number(pending_error(&self.client))));
        }
        if self.up.source_finished {
            return self.finish(CloseReason::CutShort);
        }
        self.up.source_ready = false;
        Next::Wait
    }

    /// Looks whether the client has gone, which is all that matters while the monitor decides. A client that has closed
    /// its sending side after a CONNECT may still want the answer. After a BIND or UDP ASSOCIATE it has gone, and its
    /// port must be freed.
    fn wait_for_verdict(&mut self, command: Command) -> Next {
        match (self.failed, command) {
            ([true, _], _) => Next::End(CloseReason::ClientGone(number(pending_error(&self.client)))),
            (_, Command::Bind | Command::Associate) if self.up.source_finished => {
                Next::End(CloseReason::ClientGone(message::Errno(0)))
            }
            _ => Next::Wait,
        }
    }

    /// Sends the first reply to a BIND. `None` if it is not due.
    pub(crate) fn listening(&mut self, address: SocketAddr) -> Option<Next> {
        let Phase::Deciding(command @ Command::Bind) = self.phase else { return None };
        Some(self.grant(command, address))
    }

    /// Grants a UDP ASSOCIATE: the client may send datagrams to this address. `None` if no such request waits for this.
    pub(crate) fn associated(&mut self, address: SocketAddr) -> Option<Next> {
        let Phase::Deciding(command @ Command::Associate) = self.phase else { return None };
        self.up.source_ready = true;
        Some(match self.grant(command, address) {
            Next::Wait => self.await_end(CONTROL_BYTES),
            end => end,
        })
    }

    fn grant(&mut self, command: Command, address: SocketAddr) -> Next {
        // The client's FIN may have come with the last piece of the request, and so in no event of its own.
        match self.wait_for_verdict(command) {
            Next::Wait => match self.reply(self.handshake.granted(address)) {
                Ok(()) => Next::Wait,
                Err(errno) => Next::End(CloseReason::ClientGone(number(errno))),
            },
            end => end,
        }
    }

    /// Drops bytes of a client whose datagrams are relayed by another worker, until it closes: the end of its connection
    /// ends the association (RFC 1928, section 7).
    fn await_end(&mut self, left: usize) -> Next {
        match drop_input(&self.client, &mut self.up.source_ready, left) {
            Dropped::Left(left) => {
                self.phase = Phase::Associated(left);
                Next::Wait
            }
            Dropped::Closed | Dropped::TooMany => Next::End(CloseReason::Finished),
            Dropped::Failed(errno) => Next::End(CloseReason::ClientGone(number(errno))),
        }
    }

    /// Refuses the request or the credentials. The client is told `why`, the monitor `closed`. `None` after a grant.
    pub(crate) fn refuse(
        &mut self,
        why: RefusalReason,
        closed: CloseReason,
        shared: &mut Shared<'_>,
    ) -> Option<Next> {
        let reply = match self.phase {
            // The handshake has not come in time.
            Phase::Negotiating => self.handshake.refused_unread(),
            Phase::Verifying | Phase::Deciding(_) => Some(self.handshake.refused(why)),
            // The worker has refused the request itself, and the messages have crossed.
            Phase::Refused(..) | Phase::Leaving(_) => return Some(Next::Wait),
            Phase::Relaying | Phase::Associated(_) => return None,
        };
        Some(self.refuse_with(reply, closed, shared))
    }

    /// Refuses with this reply, if any, and drops further bytes of the client. A reset instead would look like a broken
    /// network to a client that speaks another protocol.
    fn refuse_with(&mut self, reply: Option<Reply>, closed: CloseReason, shared: &Shared<'_>) -> Next {
        if let Some(Err(errno)) = reply.map(|reply| self.reply(reply)) {
            return Next::End(CloseReason::ClientGone(number(errno)));
        }
        end_stream(&self.client);
        self.refused_at = shared.now;
        self.up.source_ready = true;
        self.await_close(closed, REFUSED_BYTES)
    }

    /// Drops further bytes of a refused client, until it closes.
    fn await_close(&mut self, why: CloseReason, budget: usize) -> Next {
        match drop_input(&self.client, &mut self.up.source_ready, budget) {
            Dropped::Left(budget) => {
                self.phase = Phase::Refused(why, budget);
                Next::Wait
            }
            Dropped::Closed => self.leave(why),
            Dropped::TooMany | Dropped::Failed(_) => Next::End(why),
        }
    }

    /// Grants the request: sends the reply, and relays from now on. `None` if no request waits for this.
    pub(crate) fn start_relay(
        &mut self,
        server: OwnedFd,
        bound: SocketAddr,
        shared: &mut Shared<'_>,
    ) -> Option<Next> {
        let Phase::Deciding(_) = self.phase else { return None };
        if let Err(errno) = self.reply(self.handshake.granted(bound)) {
            return Some(Next::End(CloseReason::ClientGone(number(errno))));
        }
        if shared.epoll.add(&server, token(shared.slot, self.id, Side::Server), WATCHED).is_err() {
            return Some(Next::End(CloseReason::NoResources));
        }
        self.phase = Phase::Relaying;
        self.server = Some(server);
        Some(self.relay(shared))
    }

    fn relay(&mut self, shared: &mut Shared<'_>) -> Next {
        let Some(server) = self.server.as_ref() else { return Next::End(CloseReason::NoResources) };
        let (client, server) = (self.client.as_fd(), server.as_fd());
        let before = (self.up.total, self.down.total);
        // Both flows move before a fault of either counts: bytes that a server sent before its reset still reach the
        // client.
        let up = shared.mover.turn(&mut self.up, client, server, shared.now_ms);
        let down = shared.mover.turn(&mut self.down, server, client, shared.now_ms);
        if before.0 != self.up.total {
            self.down.is_answered();
        }
        if before.1 != self.down.total {
            self.up.is_answered();
        }
        if let Some(why) = self.fault(up, down) {
            return Next::End(why);
        }
        if self.up.newly_done() {
            end_stream(server);
        }
        if self.down.newly_done() {
            end_stream(client);
        }
        if (up, down) == (Ok(Turn::Done), Ok(Turn::Done)) {
            return self.leave(CloseReason::Finished);
        }
        if self.watch(shared).is_err() {
            return Next::End(CloseReason::NoResources);
        }
        match up == Ok(Turn::Again) || down == Ok(Turn::Again) {
            true => Next::Again,
            false => Next::Wait,
        }
    }

    /// Returns the reason why the relay ends early, if it does.
    fn fault(&self, up: Result<Turn, Fault>, down: Result<Turn, Fault>) -> Option<CloseReason> {
        match (up, down) {
            (Err(Fault::NoRoom), _) | (_, Err(Fault::NoRoom)) => Some(CloseReason::NoResources),
            (Err(Fault::Source(errno)), _) | (_, Err(Fault::Sink(errno))) => {
                Some(CloseReason::ClientFailed(number(errno)))
            }
            (Err(Fault::Sink(errno)), _) | (_, Err(Fault::Source(errno))) => {
                Some(CloseReason::ServerFailed(number(errno)))
            }
            // Neither flow has touched the socket that is in error: its stream has ended, or nothing was to be sent.
            _ => match (self.failed, &self.server) {
                ([true, _], _) => Some(CloseReason::ClientFailed(number(pending_error(&self.client)))),
                ([_, true], Some(server)) => Some(CloseReason::ServerFailed(number(pending_error(server)))),
                _ => None,
            },
        }
    }

    /// Watches sources that are not coalesced, and sinks that have been full once. Events that are ready are reported
    /// at once.
    fn watch(&mut self, shared: &mut Shared<'_>) -> Result<(), Errno> {
        let Some(server) = &self.server else { return Ok(()) };
        let (slot, id) = (shared.slot, self.id);
        let [client_watched, server_watched] = &mut self.watched;
        for (socket, side, coalescing, sink_full, watched) in [
            (&self.client, Side::Client, self.up.coalescing, self.down.sink_full, client_watched),
            (server, Side::Server, self.down.coalescing, self.up.sink_full, server_watched),
        ] {
            let room = if sink_full { EventFlags::OUT } else { *watched & EventFlags::OUT };
            let data = if coalescing { EventFlags::empty() } else { EventFlags::IN };
            let flags = WATCHED.difference(EventFlags::IN) | room | data;
            if flags != *watched {
                shared.epoll.change(socket, token(slot, id, side), flags)?;
                *watched = flags;
            }
        }
        for (source, flow) in [(Side::Client, &mut self.up), (Side::Server, &mut self.down)] {
            if flow.newly_paced() {
                shared.paced.push_back(PacedFlow { since_ms: shared.now_ms, slot, id, source });
            }
        }
        Ok(())
    }

    /// The pause of the flow from `source` is over.
    pub(crate) fn resume(&mut self, source: Side) {
        match source {
            Side::Client => self.up.resume(),
            Side::Server => self.down.resume(),
        }
    }

    /// Ends the stream to the client and leaves.
    fn finish(&mut self, why: CloseReason) -> Next {
        end_stream(&self.client);
        self.leave(why)
    }

    /// Waits until the peers have acknowledged the ends of both streams, and ends the session then. The kernel
    /// reports the last acknowledgement as an event.
    fn leave(&mut self, why: CloseReason) -> Next {
        self.phase = Phase::Leaving(why);
        match acknowledged(&self.client) && self.server.as_ref().is_none_or(acknowledged) {
            true => Next::End(why),
            false => Next::Wait,
        }
    }

    fn reply(&self, reply: Reply) -> Result<(), Errno> {
        match send(&self.client, reply.bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == reply.bytes().len() => Ok(()),
            // A socket that has sent a few replies at most has room for another, unless something is very wrong.
            Ok(_) => Err(Errno::NOBUFS),
            Err(errno) => Err(errno),
        }
    }

    /// Returns why the session ends now, if a refused client has not closed in time.
    pub(crate) fn overdue(&self, now: u32) -> Option<CloseReason> {
        match self.phase {
            Phase::Refused(why, _) if now.saturating_sub(self.refused_at) >= REFUSED_LIMIT => Some(why),
            _ => None,
        }
    }

    /// Stops watching both sockets.
    pub(crate) fn unwatch(&self, epoll: &Epoll) {
        for socket in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            let _was_never_watched = epoll.remove(socket);
        }
    }

    /// Whether the short limit of a refused client runs.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.phase, Phase::Refused(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker may have tens of thousands of them, and most are idle relays.
    #[test]
    fn a_connection_stays_small() {
        assert!(size_of::<Connection>() <= 152, "{}", size_of::<Connection>());
    }
}
