//! The counters of a daemon that runs: memory that the monitor updates in place and others read.
//!
//! It holds numbers, the version of the daemon and the addresses of its listeners: no client, no user, no destination.
//! Reading it asks nothing of the monitor. It consists of words that are written and read whole, so no lock is needed;
//! two words need not be of the same moment.
//!
//! [`Counters`] is the layout. A change of it, or of a list of labels, raises [`VERSION`].

mod labels;
mod word;

pub use labels::{
    Asked, DeathCause, Direction, Label, Limit, LoginMethod, LoginResult, Outcome, SessionState, WorkerState,
};
pub use word::{BOUNDS_MS, By, Histogram, Word};

use crate::message::Role;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The first word of the memory: `sockdcnt`.
pub const MAGIC: u64 = u64::from_be_bytes(*b"sockdcnt");

/// The number of this layout.
pub const VERSION: u64 = 3;

/// Listeners beyond these are counted together, in the last place.
pub const LISTENERS: usize = 16;

/// Words of the version's name.
const NAME_WORDS: usize = 4;

/// All of the memory.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Counters {
    magic: Word,
    version: Word,
    name: [Word; NAME_WORDS],
    /// The monitor's process id, as it sees it.
    pub process: Word,
    /// When the daemon was started, in seconds since 1970.
    pub started: Word,
    /// When the rules in force were read, in seconds since 1970.
    pub rules_loaded: Word,
    /// Reloads that changed nothing because of an error.
    pub reload_failures: Word,
    /// Lines of rules in force.
    pub rules: Word,
    /// Clients that have connected, by listener.
    pub listeners: [Listener; LISTENERS],
    /// Open sessions.
    pub sessions: By<SessionState, { SessionState::COUNT }>,
    /// Requests by outcome.
    pub requests: By<(Asked, Outcome), { <(Asked, Outcome)>::COUNT }>,
    /// Bytes of streams, counted when a relay ends.
    pub relayed_bytes: By<Direction, { Direction::COUNT }>,
    /// The time from a client's connection to its request.
    pub handshake: Histogram,
    /// The time until a connection to a destination or next server stands or fails.
    pub dial: Histogram,
    /// Live workers.
    pub workers: By<(Role, WorkerState), { <(Role, WorkerState)>::COUNT }>,
    /// Workers that have ended and were not dismissed.
    pub deaths: By<(Role, DeathCause), { <(Role, DeathCause)>::COUNT }>,
    /// Protocol violations of workers, which no honest worker commits.
    pub violations: Word,
    /// Attempts to show who a client's user is.
    pub logins: By<(LoginMethod, LoginResult), { <(LoginMethod, LoginResult)>::COUNT }>,
    /// Logins that the auth worker reports as remembered.
    pub login_cache_hits: Word,
    /// Open UDP associations.
    pub associations: Word,
    /// Open flows of associations.
    pub flows: Word,
    /// Lines that the log did not take.
    pub log_lines_lost: Word,
    /// How often each limit was met.
    pub limits: By<Limit, { Limit::COUNT }>,
}

/// A listener's address, and how many clients have connected to it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Listener {
    high: Word,
    low: Word,
    port: Word,
    /// Clients that have connected.
    pub connections: Word,
}

/// Marks a listener that exists, beside its port.
const IS_THERE: u64 = 1 << 16;

impl Counters {
    /// Writes the first words. `name` is the version of the daemon, cut to 32 bytes.
    pub fn begin(&self, name: &str) {
        self.version.set(VERSION);
        for (word, bytes) in self.name.iter().zip(name.as_bytes().chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            word.set(u64::from_le_bytes(whole));
        }
        self.magic.set(MAGIC);
    }

    /// Whether the memory has this version of the layout.
    pub fn is_known(&self) -> bool {
        self.magic.get() == MAGIC && self.version.get() == VERSION
    }

    /// Takes over the numbers of other counters.
    pub fn take_from(&self, others: &Self) {
        self.words().zip(others.words()).for_each(|(own, other)| own.set(other.get()));
    }

    /// Adds the counts of another tree of the same daemon, with those of listeners at the same address. If the tree
    /// `is_there`, its levels are added too.
    pub fn add(&self, other: &Self, is_there: bool) {
        let add = |(own, other): (&Word, &Word)| own.add(other.get());
        self.totals().zip(other.totals()).for_each(add);
        if is_there {
            self.levels().zip(other.levels()).for_each(add);
        }
        for listener in self.listeners.iter().filter(|listener| listener.address().is_some()) {
            let same = other.listeners.iter().filter(|other| other.address() == listener.address());
            same.take(1).for_each(|other| listener.connections.add(other.connections.get()));
        }
    }

    fn words(&self) -> impl Iterator<Item = &Word> {
        let first = [&self.magic, &self.version].into_iter().chain(&self.name);
        let facts = [&self.process, &self.started, &self.rules_loaded, &self.rules];
        let listeners = self.listeners.iter();
        let listeners = listeners.flat_map(|one| [&one.high, &one.low, &one.port, &one.connections]);
        first.chain(facts).chain(listeners).chain(self.totals()).chain(self.levels())
    }

    /// The words that only go up, but for the clients of each listener.
    fn totals(&self) -> impl Iterator<Item = &Word> {
        let clients = self.requests.words().iter().chain(self.relayed_bytes.words());
        let times = self.handshake.words().chain(self.dial.words());
        let logins = self.logins.words().iter().chain([&self.login_cache_hits]);
        let others = [&self.reload_failures, &self.violations, &self.log_lines_lost];
        let others = others.into_iter().chain(self.deaths.words()).chain(self.limits.words());
        clients.chain(times).chain(logins).chain(others)
    }

    /// The words that tell what there is at the moment.
    fn levels(&self) -> impl Iterator<Item = &Word> {
        let datagrams = [&self.associations, &self.flows];
        self.sessions.words().iter().chain(self.workers.words()).chain(datagrams)
    }

    /// The version of the daemon, without bytes that no version has.
    pub fn name(&self) -> String {
        let bytes = self.name.iter().flat_map(|word| word.get().to_le_bytes());
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b".+~-_".contains(byte);
        bytes.take_while(|byte| *byte != 0).filter(fits).map(char::from).collect()
    }

    /// Writes the addresses of the listeners.
    pub fn listen(&self, at: impl IntoIterator<Item = SocketAddr>) {
        self.listeners.iter().zip(at).for_each(|(listener, at)| listener.write(at));
    }

    /// The listener in this place, or the last place if there are fewer.
    pub fn listener(&self, place: usize) -> &Listener {
        let [.., last] = &self.listeners;
        self.listeners.get(place).unwrap_or(last)
    }
}

impl Listener {
    fn write(&self, at: SocketAddr) {
        let address = match at.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let bits = address.to_bits();
        // The upper and the lower half of 128 bits.
        self.high.set((bits >> 64) as u64);
        self.low.set(bits as u64);
        self.port.set(IS_THERE | u64::from(at.port()));
    }

    /// The address that it listens at; `None` if there is no such listener.
    pub fn address(&self) -> Option<SocketAddr> {
        let port = self.port.get();
        let bits = u128::from(self.high.get()) << 64 | u128::from(self.low.get());
        let address = Ipv6Addr::from_bits(bits).to_canonical();
        (port & IS_THERE != 0).then(|| SocketAddr::new(address, port as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_zeros_is_no_counters_until_they_begin() {
        let counters = Counters::default();
        assert!(!counters.is_known() && counters.name().is_empty());
        counters.begin("4.4.0");
        assert!(counters.is_known());
        assert_eq!(counters.name(), "4.4.0");
        counters.version.set(VERSION + 1);
        assert!(!counters.is_known(), "another layout");
    }

    #[test]
    fn a_version_that_is_too_long_is_cut_and_one_that_is_forged_has_no_quotes() {
        let counters = Counters::default();
        counters.begin(&"9".repeat(40));
        assert_eq!(counters.name(), "9".repeat(32));
        let forged = Counters::default();
        forged.begin("4\"} 1\n");
        assert_eq!(forged.name(), "41");
    }

    #[test]
    fn a_listener_is_read_as_it_was_written() {
        let counters = Counters::default();
        let at = ["192.0.2.1:1080", "[2001:db8::1]:65535", "[::]:0"].map(|at| at.parse().unwrap());
        counters.listen(at);
        let read: Vec<_> = counters.listeners.iter().filter_map(Listener::address).collect();
        assert_eq!(read, at);
        counters.listener(40).connections.add(1);
        assert_eq!(counters.listeners[LISTENERS - 1].connections.get(), 1);
    }

    #[test]
    fn what_an_older_tree_has_counted_is_added_and_what_it_has_only_while_it_is_there() {
        let [own, older] = [Counters::default(), Counters::default()];
        let at = |at: &str| at.parse::<SocketAddr>().unwrap();
        own.listen([at("192.0.2.1:1080"), at("192.0.2.2:1080")]);
        older.listen([at("192.0.2.2:1080"), at("192.0.2.3:1080")]);
        for counters in [&own, &older] {
            counters.process.set(7);
            counters.listener(0).connections.add(5);
            counters.relayed_bytes.add(Direction::Up, 10);
            counters.dial.observe(std::time::Duration::from_millis(3));
            counters.sessions.add(SessionState::Relaying, 2);
        }
        let read = || {
            let sessions: u64 = own.sessions.all().map(|(_, number)| number).sum();
            let bytes: u64 = own.relayed_bytes.all().map(|(_, bytes)| bytes).sum();
            let [first, second, ..] = &own.listeners;
            [sessions, bytes, first.connections.get(), second.connections.get(), own.process.get()]
        };
        own.add(&older, true);
        assert_eq!(read(), [4, 20, 5, 5, 7]);
        own.add(&older, false);
        assert_eq!(read(), [4, 30, 5, 10, 7]);
        assert_eq!(own.dial.microseconds(), 9000);
    }

    /// Programs of different builds read each other's memory.
    #[test]
    fn the_layout_is_one_of_whole_words_and_changes_with_its_version_alone() {
        assert_eq!(align_of::<Counters>(), align_of::<u64>());
        assert_eq!((VERSION, size_of::<Counters>() / size_of::<u64>()), (3, 286));
        assert_eq!(Counters::default().words().count(), 286, "all of them are taken over");
    }
}
