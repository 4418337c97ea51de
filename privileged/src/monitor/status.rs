//! The status sockets, which hand out memory that can only be read. Its holders read it as often as they like, without
//! the monitor.
//!
//! To hand out something else, make a [`Gift`] of it in `sockd_common::status`, and its memory in `start/doors.rs`,
//! after all forks, with a listener of its own if others may see it than those who may see the ledger. Then
//! [`Status::add`] it: this file does not know what it gives.

use crate::monitor::door::Door;
use crate::monitor::reactor::{Reactor, Token};
use crate::net::unix::{self, MOST_DESCRIPTORS};
use sockd_common::status::{Gift, greeting};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// The most connections accepted at one socket before others have their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// The most callers that have a gift and have not closed their connection. Unfetched descriptors count as open with the
/// monitor's user (ETOOMANYREFS), as do the sockets that go to workers.
const MOST_OPEN: usize = 64;

/// The most of them of one user.
const MOST_OF_ONE: usize = 16;

/// The most gifts of one socket that are counters of older trees, beside this tree's ledger and counters.
pub const MOST_OLDER: usize = 6;

/// The sockets, each at its place; `None` if it is closed.
#[derive(Debug, Default)]
pub struct Status(Vec<Option<Room>>);

/// Memory that is handed out.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its kind.
    pub kind: Gift,
    /// Its descriptor, for reading alone.
    pub memory: Rc<OwnedFd>,
    /// The id of the process that writes it.
    pub process: u32,
}

/// A socket and its gifts.
#[derive(Debug)]
struct Room {
    door: Door,
    gifts: Vec<Given>,
    /// The callers that have been sent the gifts and may not have fetched them, each with its user.
    open: Vec<(OwnedFd, u32)>,
}

impl Status {
    /// Adds a socket, which listens already and hands out these gifts.
    pub fn add(&mut self, listener: OwnedFd, gifts: Vec<Given>, reactor: &Reactor) -> rustix::io::Result<()> {
        let token = Token::Status(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(Some(Room { door: Door::open(listener, token, reactor)?, gifts, open: Vec::new() }));
        Ok(())
    }

    /// The sockets, for a tree that takes over.
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().flatten().map(|room| room.door.listener())
    }

    /// Leaves the sockets with numbers to another tree. That of the ledger stays, as the sessions do.
    pub fn close_numbers(&mut self, reactor: &mut Reactor) {
        let has_ledger = |room: &Room| room.gifts.iter().any(|given| given.kind == Gift::Ledger);
        for place in &mut self.0 {
            let room = place.take_if(|room| !has_ledger(room));
            room.into_iter().for_each(|room| room.door.close(reactor));
        }
    }

    /// Notes that an older tree has ended. Its counts stay, as counters do not go backwards.
    pub fn ended(&mut self, process: u32) {
        let gifts = self.0.iter_mut().flatten().flat_map(|room| &mut room.gifts);
        let of_it = gifts.filter(|given| given.kind == Gift::Counters && given.process == process);
        of_it.for_each(|given| given.kind = Gift::EndedCounters);
    }

    /// Accepts connections to the socket in this place.
    pub fn ready(&mut self, place: u32, reactor: &mut Reactor) {
        let room = self.0.get_mut(place as usize).and_then(Option::as_mut);
        room.into_iter().for_each(|room| room.serve(reactor));
    }

    /// Accepts connections to the socket in this place again after a pause.
    pub fn resume(&self, place: u32, reactor: &Reactor) {
        let room = self.0.get(place as usize).and_then(Option::as_ref);
        room.into_iter().for_each(|room| room.door.resume(reactor));
    }
}

impl Room {
    /// Sends its gifts to new callers. If too many have not closed yet, a new one is closed without a word, and asks
    /// again.
    fn serve(&mut self, reactor: &mut Reactor) {
        self.open.retain(|(socket, _)| !unix::has_gone(socket));
        for _ in 0..ACCEPTS_PER_TURN {
            let Some((socket, caller)) = self.door.accept(reactor) else { return };
            let of_one = self.open.iter().filter(|(_, uid)| *uid == caller.uid).count();
            if self.open.len() < MOST_OPEN && of_one < MOST_OF_ONE && self.give(&socket).is_ok() {
                self.open.push((socket, caller.uid));
            }
        }
    }

    fn give(&self, socket: &OwnedFd) -> rustix::io::Result<()> {
        let gifts = self.gifts.iter().take(MOST_DESCRIPTORS);
        let (kinds, descriptors): (Vec<Gift>, Vec<BorrowedFd<'_>>) =
            gifts.map(|given| (given.kind, given.memory.as_fd())).unzip();
        unix::send(socket, &greeting(&kinds), &descriptors)
    }
}
