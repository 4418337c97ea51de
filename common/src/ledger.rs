//! The ledger's layout: what the monitor writes of each live session into memory that others may only read.
//!
//! The memory is a head of one page, then as many records of [`RECORD`] bytes as there may be sessions, then the
//! [`Hits`] of the rules' lines. All of it consists of 64-bit words in the host's byte order, as readers are on the
//! same host. The first word of a record is its sequence number, which is odd while the record is written: a reader
//! that finds an odd number, or another one after the record than before it, has read a torn record.
//!
//! A change of the layout raises [`VERSION`], so that an older reader knows that it cannot read it. The memory itself,
//! with the rules for writing and reading, is the crate `sockd-ledger`.

use core::net::{IpAddr, SocketAddr};

/// The version of the layout.
pub const VERSION: u32 = 1;

/// The first word of the head: `sockdldg`.
pub const MAGIC: u64 = u64::from_be_bytes(*b"sockdldg");

/// Bytes of the head.
pub const HEAD: usize = 4096;

/// Bytes of a record.
pub const RECORD: usize = 768;

/// Bytes of the hits of one line.
pub const HITS: usize = 16;

/// Lines of the rules whose hits are counted. Later lines are not counted.
pub const LINES: u32 = 65_536;

/// The bytes of a record.
pub type Bytes = [u8; RECORD];

/// A word of the head, by its place. The first is [`MAGIC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// [`VERSION`].
    Version = 1,
    /// The number of sessions that there are records for.
    Capacity = 2,
    /// The monitor's process.
    Process = 3,
    /// When it began, in milliseconds since 1970.
    Started = 4,
    /// No record at this place or behind it has been written yet.
    Used = 5,
    /// The number of sessions, including those without a record.
    Live = 6,
    /// 1 while no new client is served.
    Draining = 7,
    /// When the rules came into force, in milliseconds since 1970. The hits are those since then.
    RulesSince = 8,
    /// No line at this number or behind it has been hit.
    LinesUsed = 9,
    /// The number of sessions ended by order.
    Killed = 10,
    /// How identd is asked if no rule says otherwise: 0 not at all, 1 as with `-i`, 2 as with `-I`.
    Ident = 11,
}

/// The phase of a session, as detailed as readers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Its request is read.
    Requesting = 1,
    /// Its password is checked.
    Verifying = 2,
    /// It is being decided, which may take lookups of names or a user.
    Deciding = 3,
    /// The destination is dialled.
    Dialling = 4,
    /// A server is waited for (BIND).
    Waiting = 5,
    /// A next server is found, dialled or asked.
    Upstream = 6,
    /// Bytes are relayed.
    Relaying = 7,
    /// Datagrams are relayed.
    Associated = 8,
    /// It is over and being closed.
    Closing = 9,
}

/// A text of a record. It may be any bytes: a client has chosen some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text<'a> {
    /// The bytes; empty if there is no such text.
    pub bytes: &'a [u8],
    /// There were more bytes than fit.
    pub is_cut: bool,
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, is_cut: false }
    }
}

/// The record of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The session's number, which no other session of the same monitor has or had.
    pub number: u64,
    /// When it began, in milliseconds since 1970.
    pub since: u64,
    /// The number of its worker.
    pub worker: u32,
    /// The line of the rules that permits it; 0 if none does yet.
    pub rule: u32,
    /// Its phase.
    pub phase: Phase,
    /// The version of SOCKS; 0 before the request is read.
    pub version: u8,
    /// 1 CONNECT, 2 BIND, 3 UDP ASSOCIATE; 0 before the request is read.
    pub command: u8,
    /// The user has been verified by a password.
    pub by_password: bool,
    /// The address that the client has connected from.
    pub client: SocketAddr,
    /// The address that it has connected to.
    pub proxy: SocketAddr,
    /// The destination's address, if known.
    pub destination: Option<IpAddr>,
    /// The destination's port.
    pub port: u16,
    /// The next SOCKS server.
    pub upstream: Option<SocketAddr>,
    /// The destination's name.
    pub destination_name: Text<'a>,
    /// The client's name.
    pub client_name: Text<'a>,
    /// The user that the client claims to be.
    pub claimed: Text<'a>,
    /// The user that a password or identd has named.
    pub verified: Text<'a>,
    /// The groups of the user that a password has named, separated by commas.
    pub groups: Text<'a>,
}

/// How often a line of the rules has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The number of decisions.
    pub number: u64,
    /// The last time, in milliseconds since 1970.
    pub last: u64,
}

/// The offset of each field of a record, in bytes.
pub mod at {
    /// The session's number.
    pub const NUMBER: usize = 8;
    /// When it began.
    pub const SINCE: usize = 16;
    /// Its worker.
    pub const WORKER: usize = 24;
    /// The line.
    pub const RULE: usize = 28;
    /// The phase, with the version, the command and the flags behind it, a byte each.
    pub const PHASE: usize = 32;
    /// The destination's port.
    pub const PORT: usize = 36;
    /// The client.
    pub const CLIENT: usize = 40;
    /// The address that it has connected to.
    pub const PROXY: usize = 58;
    /// The next server.
    pub const UPSTREAM: usize = 76;
    /// The destination.
    pub const DESTINATION: usize = 94;
    /// The flag for a password.
    pub const BY_PASSWORD: u8 = 1;
}

/// A text's place: a byte for its length, then its bytes. Its bit in the flags says that it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its offset in the record.
    pub at: usize,
    /// The most bytes that fit.
    pub room: usize,
    /// Its bit in the flags.
    pub cut: u8,
}

/// The destination's name.
pub const DESTINATION_NAME: Place = Place { at: 112, room: 255, cut: 2 };
/// The client's name.
pub const CLIENT_NAME: Place = Place { at: 368, room: 143, cut: 4 };
/// The user that the client claims to be.
pub const CLAIMED: Place = Place { at: 512, room: 63, cut: 8 };
/// The user that a password or identd has named.
pub const VERIFIED: Place = Place { at: 576, room: 63, cut: 16 };
/// The user's groups.
pub const GROUPS: Place = Place { at: 640, room: 127, cut: 32 };

impl Entry<'_> {
    /// As the bytes of a record, with 0 for the sequence number.
    pub fn encode(&self) -> Bytes {
        let mut bytes = [0; RECORD];
        let mut flags = if self.by_password { at::BY_PASSWORD } else { 0 };
        for (place, text) in [
            (DESTINATION_NAME, self.destination_name),
            (CLIENT_NAME, self.client_name),
            (CLAIMED, self.claimed),
            (VERIFIED, self.verified),
            (GROUPS, self.groups),
        ] {
            let kept = text.bytes.get(..place.room).unwrap_or(text.bytes);
            put(&mut bytes, place.at, &[u8::try_from(kept.len()).unwrap_or_default()]);
            put(&mut bytes, place.at.saturating_add(1), kept);
            flags |= if text.is_cut || kept.len() < text.bytes.len() { place.cut } else { 0 };
        }
        put(&mut bytes, at::NUMBER, &self.number.to_ne_bytes());
        put(&mut bytes, at::SINCE, &self.since.to_ne_bytes());
        put(&mut bytes, at::WORKER, &self.worker.to_ne_bytes());
        put(&mut bytes, at::RULE, &self.rule.to_ne_bytes());
        put(&mut bytes, at::PHASE, &[self.phase as u8, self.version, self.command, flags]);
        put(&mut bytes, at::PORT, &self.port.to_ne_bytes());
        put(&mut bytes, at::CLIENT, &socket(Some(self.client)));
        put(&mut bytes, at::PROXY, &socket(Some(self.proxy)));
        put(&mut bytes, at::UPSTREAM, &socket(self.upstream));
        put(&mut bytes, at::DESTINATION, &address(self.destination));
        bytes
    }
}

fn put(bytes: &mut Bytes, at: usize, what: &[u8]) {
    let room = bytes.get_mut(at..).and_then(|room| room.get_mut(..what.len()));
    room.into_iter().for_each(|room| room.copy_from_slice(what));
}

/// IPv4 addresses in their mapped form; zeros if there is no address.
fn address(address: Option<IpAddr>) -> [u8; 16] {
    match address {
        None => [0; 16],
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(address)) => address.octets(),
    }
}

fn socket(socket: Option<SocketAddr>) -> [u8; 18] {
    let mut bytes = [0; 18];
    let parts =
        [&address(socket.map(|socket| socket.ip()))[..], &socket.map_or(0, |s| s.port()).to_ne_bytes()];
    bytes.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap_and_fill_the_record() {
        let places = [DESTINATION_NAME, CLIENT_NAME, CLAIMED, VERIFIED, GROUPS];
        let mut end = at::DESTINATION + 16;
        for place in places {
            assert!(place.at >= end, "{}", place.at);
            end = place.at + 1 + place.room;
        }
        assert_eq!(end, RECORD);
    }
}
