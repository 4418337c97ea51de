//! Which worker serves a client that has come.

use crate::client_host::Host;
use crate::keys::WorkerKey;
use crate::pool::{Pool, Worker};
use crate::settings::{Isolation, Settings, seconds};
use std::hash::BuildHasher;
use std::time::Instant;

/// Who serves a client that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A worker that is there.
    Use(WorkerKey),
    /// A new one, in the place of this one if any.
    Start {
        /// It only waits for another client host to come back.
        instead_of: Option<WorkerKey>,
    },
}

/// A client host with as many sessions for each of its workers gets a further one, up to the number of processors.
const BUSY: u32 = 4;

/// Which worker serves a client.
impl<Channel> Pool<Channel> {
    /// Chooses the worker for a connection from `host`.
    pub fn choose(&mut self, host: Host, settings: &Settings, now: Instant) -> Choice {
        let Some(chosen) = self.preferred(host, settings) else { return Choice::Start { instead_of: None } };
        match self.evictable(host, chosen, settings, now) {
            None => Choice::Use(chosen),
            idle => Choice::Start { instead_of: idle },
        }
    }

    fn preferred(&mut self, host: Host, settings: &Settings) -> Option<WorkerKey> {
        let least = self.own(host, settings).min_by_key(|key| self.load(*key));
        let wanted = match (settings.isolation, least) {
            (Isolation::Connection, _) => true,
            (Isolation::Client, None) => true,
            (Isolation::Client, Some(key)) => {
                let (load, own) = (self.load(key), || self.own(host, settings).count());
                load >= self.room || (load >= BUSY && own() < self.processors && self.is_ample(settings))
            }
            (Isolation::Shared(number), _) => return self.shared(host, number.into()),
        };
        let full = wanted && self.number_of_clients() >= settings.max_workers.into();
        match (wanted, full, least) {
            (false, _, _) => least,
            (true, false, _) => self.take_spare(),
            (true, true, Some(key)) if settings.isolation == Isolation::Client => Some(key),
            (true, true, _) => {
                self.take_spare().or_else(|| self.known_to(host)).or_else(|| self.any_by_hash(host))
            }
        }
    }

    /// The workers of this host. One that serves several hosts belongs to none of them.
    fn own(&self, host: Host, settings: &Settings) -> impl Iterator<Item = WorkerKey> {
        let apart = settings.isolation == Isolation::Client;
        let is_own =
            move |key: &WorkerKey| !apart || self.workers.get(*key).is_some_and(|w| w.hosts.len() == 1);
        self.serving.get(&host).into_iter().flatten().copied().filter(is_own)
    }

    /// If the chosen worker is shared: an idle worker of another host, whose place this host can have.
    fn evictable(
        &self,
        host: Host,
        chosen: WorkerKey,
        settings: &Settings,
        now: Instant,
    ) -> Option<WorkerKey> {
        let serves_others = |worker: &Worker<Channel>| worker.hosts.iter().any(|other| *other != host);
        if settings.isolation != Isolation::Client || !self.workers.get(chosen).is_some_and(serves_others) {
            return None;
        }
        // Idle for a second: hosts that come and go are not to cost a start for each connection.
        let latest = now.checked_add(seconds(settings.worker_idle.saturating_sub(1)));
        let idle = |(key, worker): (WorkerKey, &Worker<Channel>)| {
            let waits = worker.load == 0 && worker.is_ready && worker.is_of_clients();
            worker.expires.filter(|expires| waits && Some(*expires) <= latest).map(|expires| (expires, key))
        };
        self.workers.iter().filter_map(idle).min().map(|(_, key)| key)
    }

    /// Whether one host may have several workers without others having none.
    fn is_ample(&self, settings: &Settings) -> bool {
        self.number_of_clients().saturating_mul(2) < settings.max_workers.into()
    }

    fn load(&self, key: WorkerKey) -> u32 {
        self.workers.get(key).map_or(u32::MAX, |worker| worker.load)
    }

    /// One of a fixed number of workers, the same for each host.
    fn shared(&self, host: Host, number: usize) -> Option<WorkerKey> {
        let workers = self.of_clients();
        if workers.len() < number { None } else { self.pick(host, &workers) }
    }

    /// One that the host shares already: sharing is not to spread.
    fn known_to(&self, host: Host) -> Option<WorkerKey> {
        let knows = |worker: &Worker<Channel>| worker.is_of_clients() && worker.hosts.contains(&host);
        self.workers.iter().find(|(_, worker)| knows(worker)).map(|(key, _)| key)
    }

    fn any_by_hash(&self, host: Host) -> Option<WorkerKey> {
        self.pick(host, &self.of_clients())
    }

    fn pick(&self, host: Host, keys: &[WorkerKey]) -> Option<WorkerKey> {
        let number = u64::try_from(keys.len()).ok().filter(|number| *number > 0)?;
        let place = self.by_hash.hash_one(host).checked_rem(number)?;
        keys.get(usize::try_from(place).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{HOSTS_KEPT, Serves};
    use sockd_common::message::Role;
    use std::net::IpAddr;

    fn pool() -> (Pool<()>, Host, Instant) {
        (Pool::new(2, 1024), Host::of("192.0.2.1".parse().unwrap()), Instant::now())
    }

    fn start(pool: &mut Pool<()>, role: Role, serves: Serves) -> WorkerKey {
        let serial = pool.next_serial();
        pool.insert(serial, role, serves, (), Instant::now())
    }

    fn hosts(number: u8) -> Vec<Host> {
        (1..=number).map(|last| Host::of(IpAddr::from([192, 0, 2, last]))).collect()
    }

    /// A worker for this host, ready and with a session.
    fn serving(pool: &mut Pool<()>, host: Host, settings: &Settings) -> WorkerKey {
        let key = match pool.choose(host, settings, Instant::now()) {
            Choice::Use(key) => key,
            Choice::Start { instead_of } => {
                instead_of.map(|idle| pool.remove(idle, true, Instant::now()));
                let key = start(pool, Role::Session, Serves::ClientHosts);
                pool.mark_ready(key);
                key
            }
        };
        pool.assign(key, host);
        key
    }

    #[test]
    fn a_worker_that_served_others_in_a_crowd_or_under_other_settings_is_nobodys_own_afterwards() {
        let (mut pool, ..) = pool();
        let shared = Settings { isolation: Isolation::Shared(1), ..Settings::default() };
        let apart = Settings::default();
        let hosts = hosts(200);
        let first = start(&mut pool, Role::Session, Serves::ClientHosts);
        pool.keep_spare(first);
        pool.mark_ready(first);
        for host in &hosts {
            assert_eq!(serving(&mut pool, *host, &shared), first);
        }
        assert!(
            pool.workers.get(first).unwrap().hosts.len() <= HOSTS_KEPT && pool.serving.len() == 1,
            "bounded"
        );
        for host in [hosts[0], hosts[100], Host::of("198.51.100.1".parse().unwrap())] {
            assert_ne!(serving(&mut pool, host, &apart), first);
        }
    }

    #[test]
    fn who_finds_no_room_gets_the_place_of_a_worker_that_only_waits() {
        let (mut pool, _, now) = pool();
        let settings = Settings { max_workers: 2, ..Settings::default() };
        let hosts = hosts(3);
        let [first, second] = [0, 1].map(|number| serving(&mut pool, hosts[number], &settings));
        let instead_of = |pool: &mut Pool<()>, host: Host| match pool.choose(host, &settings, now) {
            Choice::Start { instead_of } => instead_of,
            Choice::Use(_) => None,
        };
        assert_eq!(instead_of(&mut pool, hosts[2]), None, "both are busy");
        pool.release(second, &settings, now);
        assert_eq!(instead_of(&mut pool, hosts[2]), None, "it has only just become idle");
        pool.workers.get_mut(second).unwrap().expires = Some(now);
        assert_eq!(instead_of(&mut pool, hosts[0]), None, "it has its own");
        assert_eq!(instead_of(&mut pool, hosts[2]), Some(second));
        assert_ne!(serving(&mut pool, hosts[2], &settings), first);
    }

    #[test]
    fn sharing_does_not_spread_to_workers_that_one_host_has_alone() {
        let (mut pool, ..) = pool();
        let settings = Settings { max_workers: 100, ..Settings::default() };
        let hosts = hosts(101);
        let own: Vec<WorkerKey> =
            hosts[..100].iter().map(|host| serving(&mut pool, *host, &settings)).collect();
        let shared = serving(&mut pool, hosts[100], &settings);
        for (host, own) in hosts.iter().zip(own) {
            assert_eq!(serving(&mut pool, *host, &settings), own, "{shared:?} is shared");
        }
        assert_eq!(serving(&mut pool, hosts[100], &settings), shared);
    }

    #[test]
    fn one_host_has_several_workers_only_while_others_find_room() {
        let mut pool = Pool::new(8, 1024);
        let settings = Settings { max_workers: 8, ..Settings::default() };
        let [host, other] = hosts(2)[..] else { panic!("two") };
        let own: std::collections::BTreeSet<_> =
            (0..100).map(|_| serving(&mut pool, host, &settings)).collect();
        assert_eq!(own.len(), 4);
        assert!(!own.contains(&serving(&mut pool, other, &settings)));
    }
}
