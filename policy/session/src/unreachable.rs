//! The next servers that could not be reached a short while ago: they are tried after all others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The most servers in the table. Only servers that the administrator's names lead to get in; even so it is bounded.
const MAX_SERVERS: usize = 1024;

/// Next servers that could not be reached.
#[derive(Debug, Default)]
pub struct Unreachable {
    until: HashMap<SocketAddr, Instant>,
}

impl Unreachable {
    /// Whether this server is to be tried last.
    pub fn contains(&self, server: SocketAddr, now: Instant) -> bool {
        self.until.get(&server).is_some_and(|until| now < *until)
    }

    /// A server could be reached.
    pub fn remove(&mut self, server: SocketAddr) {
        self.until.remove(&server);
    }

    /// A server could not be reached; it is tried last for `time`.
    pub fn insert(&mut self, server: SocketAddr, now: Instant, time: Duration) {
        self.until.remove(&server);
        self.until.retain(|_, until| now < *until);
        let until = now.checked_add(time).filter(|_| self.until.len() < MAX_SERVERS);
        self.until.extend(until.map(|until| (server, until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_tried_last_until_its_time_is_over_or_it_could_be_reached() {
        let server = |number: usize| SocketAddr::from(([192, 0, 2, 1], u16::try_from(number).unwrap()));
        let (mut unreachable, now, time) = (Unreachable::default(), Instant::now(), Duration::from_secs(60));
        unreachable.insert(server(1), now, time);
        assert!(unreachable.contains(server(1), now) && !unreachable.contains(server(2), now));
        assert!(!unreachable.contains(server(1), now + time));
        unreachable.remove(server(1));
        assert!(!unreachable.contains(server(1), now));
        (0..2 * MAX_SERVERS).for_each(|number| unreachable.insert(server(number), now, time));
        assert_eq!(unreachable.until.len(), MAX_SERVERS);
        unreachable.insert(server(1), now + time, time);
        assert_eq!(unreachable.until.len(), 1, "the others' time is over");
    }
}
