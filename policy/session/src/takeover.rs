//! A takeover, seen by the monitor that is replaced: which message may come when, and what follows from it.

use crate::settings::Settings;
use sockd_common::message::takeover::{SILENCE, ToServing, Totals};

/// The most peers at the same time. One more is sent away, as every peer takes a descriptor.
pub const PLACES: usize = 8;

/// The action that a message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Say which process serves.
    About,
    /// Read the files again.
    Reload,
    /// Hand over the socket at this place, or say that there are no more.
    Socket(u16),
    /// Note that a reload has failed.
    ReloadFailed,
    /// Say that another peer is taking over.
    Busy,
    /// Stop accepting clients.
    Drain,
    /// Read the files again and end the relays that they forbid.
    Recheck,
    /// End.
    End,
    /// Know this peer as the process with this id.
    Serves(u32),
    /// Close the connection: the message is out of place.
    HangUp,
}

/// How far a peer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Peer {
    /// The place is free.
    #[default]
    None,
    /// It has said nothing yet.
    Connected,
    /// It has said `Hello`.
    Greeted,
    /// It waits for the outcome of a reload.
    Waits,
    /// It has been handed a socket. There is one such peer at most.
    Takes,
    /// It serves. There is one such peer at most, and no other that takes.
    Serves,
}

/// All peers that have connected to the takeover socket.
#[derive(Clone, Debug, Default)]
pub struct Peers([Peer; PLACES]);

impl Peers {
    /// Gives a place to one more peer; `None` if all are taken.
    pub fn connect(&mut self) -> Option<usize> {
        let (place, peer) = self.0.iter_mut().enumerate().find(|(_, peer)| **peer == Peer::None)?;
        *peer = Peer::Connected;
        Some(place)
    }

    /// A peer has gone. If it was taking over, the takeover has failed.
    pub fn disconnect(&mut self, place: usize) {
        if let Some(peer) = self.0.get_mut(place) {
            *peer = Peer::None;
        }
    }

    /// A peer has sent a message.
    pub fn hear(&mut self, place: usize, message: ToServing) -> Answer {
        let is_taken = self.0.contains(&Peer::Takes);
        let is_over = self.0.contains(&Peer::Serves);
        let Some(peer) = self.0.get_mut(place) else { return Answer::HangUp };
        let (next, answer) = match (*peer, message) {
            (Peer::Connected, ToServing::Hello { .. }) => (Peer::Greeted, Answer::About),
            (Peer::Serves, ToServing::Recheck) => (Peer::Serves, Answer::Recheck),
            (Peer::Serves, ToServing::End) => (Peer::Serves, Answer::End),
            (Peer::Serves, ToServing::Serves { pid }) => (Peer::Serves, Answer::Serves(pid)),
            _ if is_over => (*peer, Answer::HangUp),
            (Peer::Greeted, ToServing::Reload) => (Peer::Waits, Answer::Reload),
            (Peer::Greeted, ToServing::Unreadable) => (Peer::Greeted, Answer::ReloadFailed),
            (Peer::Greeted, ToServing::Take { .. }) if is_taken => (Peer::Greeted, Answer::Busy),
            (Peer::Greeted | Peer::Takes, ToServing::Take { place }) => (Peer::Takes, Answer::Socket(place)),
            (Peer::Takes, ToServing::Go) => (Peer::Serves, Answer::Drain),
            (peer, _) => (peer, Answer::HangUp),
        };
        *peer = next;
        answer
    }

    /// A reload is over: the places of the peers that wait for its outcome.
    pub fn reloaded(&mut self) -> Vec<usize> {
        let waiting = self.0.iter_mut().enumerate().filter(|(_, peer)| **peer == Peer::Waits);
        waiting
            .map(|(place, peer)| {
                *peer = Peer::Greeted;
                place
            })
            .collect()
    }

    /// Whether this peer owes the next message. A peer that waits for a reload does not, nor does the one that serves.
    pub fn is_awaited(&self, place: usize) -> bool {
        matches!(self.0.get(place), Some(Peer::Connected | Peer::Greeted | Peer::Takes))
    }

    /// The line for the log when this peer, process `pid`, is gone. A late peer has been silent for too long.
    pub fn farewell(&self, place: usize, pid: i32, is_late: bool) -> Option<String> {
        let silent = format!("it has been silent for {} seconds", SILENCE.as_secs());
        match (self.0.get(place)?, is_late) {
            (Peer::Takes, true) => Some(format!("process {pid} has not taken over: {silent}")),
            (Peer::Takes, false) => {
                Some(format!("process {pid} has not taken over: its connection has ended"))
            }
            (_, true) => Some(format!("process {pid} is not waited for: {silent}")),
            (Peer::Serves, false) => Some(format!("process {pid}, which has taken over, has ended")),
            (_, false) => None,
        }
    }

    /// The place of the peer that has taken over.
    pub fn successor(&self) -> Option<usize> {
        self.0.iter().position(|peer| *peer == Peer::Serves)
    }
}

/// The settings of a tree while older trees have `others` open. Limits in all span all trees; limits of a host are each
/// tree's own, as no tree knows the hosts of another.
///
/// A client host that has a worker in an older tree needs one more in this one. So this tree always has half of the
/// workers: nobody is refused because of an upgrade.
pub fn beside(settings: &Settings, others: &Totals) -> Settings {
    let workers = u16::try_from(others.workers).unwrap_or(u16::MAX);
    Settings {
        max_sessions: settings.max_sessions.saturating_sub(others.sessions),
        max_sessions_per_host: Some(settings.sessions_per_host()),
        max_workers: settings.max_workers.saturating_sub(workers).max(settings.max_workers.div_ceil(2)),
        max_requests: settings.max_requests.saturating_sub(others.requests),
        max_lookups: settings.max_lookups.saturating_sub(others.lookups),
        max_idents: settings.max_idents.saturating_sub(others.idents),
        max_binds: settings.max_binds.saturating_sub(others.binds),
        max_flows_in_all: settings.max_flows_in_all.saturating_sub(others.flows),
        ..settings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: ToServing = ToServing::Hello { version: 1 };
    const TAKE: ToServing = ToServing::Take { place: 0 };

    fn greeted(peers: &mut Peers) -> usize {
        let place = peers.connect().unwrap();
        assert_eq!(peers.hear(place, HELLO), Answer::About);
        place
    }

    #[test]
    fn a_takeover_goes_from_hello_to_end() {
        let mut peers = Peers::default();
        let new = greeted(&mut peers);
        assert_eq!(peers.hear(new, ToServing::Unreadable), Answer::ReloadFailed);
        assert_eq!(peers.hear(new, TAKE), Answer::Socket(0));
        assert_eq!(Peers::clone(&peers).hear(new, ToServing::Unreadable), Answer::HangUp);
        assert_eq!(peers.hear(new, ToServing::Take { place: 7 }), Answer::Socket(7));
        assert_eq!((peers.successor(), peers.hear(new, ToServing::Go)), (None, Answer::Drain));
        assert_eq!(peers.successor(), Some(new));
        assert_eq!(peers.hear(new, ToServing::Recheck), Answer::Recheck);
        assert_eq!(peers.hear(new, ToServing::End), Answer::End);
        assert_eq!(peers.hear(new, ToServing::End), Answer::End, "without grace");
        assert_eq!(peers.hear(new, ToServing::Serves { pid: 7 }), Answer::Serves(7));
        assert_eq!(peers.hear(new, ToServing::Go), Answer::HangUp);
    }

    #[test]
    fn nobody_says_anything_before_hello_or_twice() {
        let all = [ToServing::Reload, ToServing::Unreadable, TAKE, ToServing::Go, ToServing::Recheck];
        for message in all.into_iter().chain([ToServing::End, ToServing::Serves { pid: 7 }]) {
            let mut peers = Peers::default();
            let place = peers.connect().unwrap();
            assert_eq!(peers.hear(place, message), Answer::HangUp, "{message:?}");
        }
        let mut peers = Peers::default();
        let place = greeted(&mut peers);
        let too_early = [ToServing::Go, ToServing::Recheck, ToServing::End, ToServing::Serves { pid: 7 }];
        for message in [HELLO].into_iter().chain(too_early) {
            assert_eq!(peers.hear(place, message), Answer::HangUp, "{message:?}");
        }
        assert_eq!(peers.hear(PLACES, HELLO), Answer::HangUp);
    }

    #[test]
    fn one_takes_over_at_a_time_and_another_one_where_that_has_gone() {
        let mut peers = Peers::default();
        let (first, second) = (greeted(&mut peers), greeted(&mut peers));
        peers.hear(first, TAKE);
        assert_eq!(peers.hear(second, TAKE), Answer::Busy);
        assert_eq!(peers.hear(second, ToServing::Go), Answer::HangUp);
        peers.disconnect(first);
        assert_eq!(peers.hear(second, TAKE), Answer::Socket(0));
        assert_eq!(peers.hear(second, ToServing::Go), Answer::Drain);
        let late = greeted(&mut peers);
        assert_eq!(peers.hear(late, TAKE), Answer::HangUp, "it drains");
        assert_eq!(peers.hear(late, ToServing::Reload), Answer::HangUp);
    }

    #[test]
    fn everybody_who_waits_hears_of_a_reload_once() {
        let mut peers = Peers::default();
        let (first, second, _silent) = (greeted(&mut peers), greeted(&mut peers), greeted(&mut peers));
        assert_eq!(peers.hear(first, ToServing::Reload), Answer::Reload);
        assert_eq!(peers.hear(second, ToServing::Reload), Answer::Reload);
        assert_eq!(peers.hear(second, ToServing::Reload), Answer::HangUp, "it has not heard of the first");
        assert_eq!(peers.reloaded(), [first, second]);
        assert!(peers.reloaded().is_empty());
        assert_eq!(peers.hear(first, ToServing::Reload), Answer::Reload, "again");
    }

    #[test]
    fn who_owes_the_next_word_is_awaited() {
        let mut peers = Peers::default();
        assert!(!peers.is_awaited(0) && !peers.is_awaited(PLACES), "nobody");
        let place = peers.connect().unwrap();
        assert!(peers.is_awaited(place));
        for (message, owes, takes) in [
            (HELLO, true, false),
            (ToServing::Reload, false, false),
            (TAKE, true, true),
            (ToServing::Go, false, false),
        ] {
            peers.hear(place, message);
            assert_eq!(
                (peers.is_awaited(place), peers.0[place] == Peer::Takes),
                (owes, takes),
                "{message:?}"
            );
            peers.reloaded();
        }
    }

    #[test]
    fn there_are_so_many_peers_and_no_more() {
        let mut peers = Peers::default();
        let places: Vec<usize> = std::iter::from_fn(|| peers.connect()).take(100).collect();
        assert_eq!(places, (0..PLACES).collect::<Vec<_>>());
        peers.disconnect(3);
        assert_eq!((peers.connect(), peers.connect()), (Some(3), None));
    }

    #[test]
    fn limits_in_all_are_for_all_trees_and_those_of_hosts_for_each() {
        let settings = Settings { max_sessions: 80, max_workers: 100, ..Settings::default() };
        let old = Totals { sessions: 30, workers: 20, binds: 6, flows: 7, ..Totals::default() };
        let left = beside(&settings, &old.plus(Totals { sessions: 1, ..Totals::default() }));
        assert_eq!((left.max_sessions, left.sessions_per_host(), left.max_workers), (49, 10, 80));
        assert_eq!((left.max_binds, left.max_flows_in_all), (4_090, 32_761));
        let all = Totals { sessions: 99, workers: 99, ..Totals::default() };
        assert_eq!((beside(&settings, &all).max_sessions, beside(&settings, &all).max_workers), (0, 50));
    }
}
