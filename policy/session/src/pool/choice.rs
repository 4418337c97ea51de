//! The choice of the worker that serves a new client.

use crate::client_host::{Host, HostNetwork};
use crate::keys::WorkerKey;
use crate::limits::limit::{Limit, Met};
use crate::pool::{AskerKey, Owner, Pool, Serves, Verified, Worker};
use crate::settings::{Crowded, Isolation, Settings, seconds};
use std::hash::BuildHasher;
use std::time::Instant;

/// The worker that serves a new client, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A running worker.
    Use(WorkerKey),
    /// A new worker.
    Start,
    /// A new worker, in the place of this one, which is idle or has no whole request.
    StartInstead(WorkerKey),
    /// None, until a worker that is on its way out has ended.
    Wait(Full),
    /// None: the client is turned away.
    TurnAway(Full),
}

/// The scope that has no place for one more worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    House,
    /// The half that one site may have is taken.
    Site(HostNetwork),
}

impl Full {
    /// Whether a host has no place because of this. When the house is full, no site has a place.
    fn keeps_out(self, host: Host) -> bool {
        match self {
            Self::House => true,
            Self::Site(site) => host.site() == site,
        }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::House => write!(f, "{}", Limit::WORKERS),
            Self::Site(site) => write!(f, "half of {} by {site}", Limit::WORKERS),
        }
    }
}

impl From<Full> for Met {
    fn from(full: Full) -> Self {
        Self::new(Limit::WORKERS, full)
    }
}

/// Sessions for each worker at which a client host gets a further one, up to the number of processors.
const BUSY: u32 = 4;

/// The most workers on their way out while others take their places. A worker that makes room is killed, and keeps its
/// place until it is reaped.
const ENDING: usize = 64;

/// Which worker serves a client.
impl<Channel> Pool<Channel> {
    /// Chooses the worker for a connection from `host`.
    pub fn choose(&mut self, host: Host, settings: &Settings, now: Instant) -> Choice {
        if let Isolation::Shared(number) = settings.isolation {
            return self.shared(host, number.into()).map_or(Choice::Start, Choice::Use);
        }
        let apart = settings.isolation != Isolation::Connection;
        let own = self.least(self.own(host, settings).filter(|_| apart));
        if let Some(own) = own
            && !self.is_busy(own, self.own(host, settings).count(), settings)
        {
            return Choice::Use(own);
        }
        match (self.full(host, settings), own) {
            (None, _) => self.take_spare().map_or(Choice::Start, Choice::Use),
            (Some(_), Some(own)) => Choice::Use(own),
            (Some(_), None) if settings.crowded == Crowded::Share => self.share(host, settings, now),
            (Some(_), None) => self.choose_alone(host, settings),
        }
    }

    /// Chooses a worker that has served nobody.
    pub fn choose_alone(&mut self, host: Host, settings: &Settings) -> Choice {
        match self.full(host, settings) {
            None => self.take_spare().map_or(Choice::Start, Choice::Use),
            Some(full) => self.choose_in_a_crowd(full, settings),
        }
    }

    /// Whether a client from `host` waits until a worker that is on its way out has ended. Scopes in `known` are full
    /// and are not looked at again; any other full scope is added to them.
    pub fn waits(&self, host: Host, settings: &Settings, known: &mut Vec<Full>) -> bool {
        if settings.isolation == Isolation::Client && self.own(host, settings).next().is_some() {
            return false;
        }
        if known.iter().any(|full| full.keeps_out(host)) {
            return true;
        }
        let choice = self.full(host, settings).map(|full| self.choose_in_a_crowd(full, settings));
        let Some(Choice::Wait(full)) = choice else { return false };
        known.push(full);
        true
    }

    /// The choice for a client when no place is free.
    fn choose_in_a_crowd(&self, full: Full, settings: &Settings) -> Choice {
        match self.who_makes_room(full) {
            Some(other) if self.has_few_ending() => Choice::StartInstead(other),
            None if self.stays_full(full, settings) => Choice::TurnAway(full),
            _ => Choice::Wait(full),
        }
    }

    /// Whether there will be no free place even when the workers on their way out have ended.
    fn stays_full(&self, full: Full, settings: &Settings) -> bool {
        let places = usize::from(settings.max_workers);
        let (most, site) = match full {
            Full::House => (places, None),
            Full::Site(site) => (places.div_ceil(2), Some(site)),
        };
        let is_there = |worker: &Worker<Channel>| site.is_none() || worker.site() == site;
        let workers = self.workers.iter().filter(|(_, worker)| worker.is_of_clients() && is_there(worker));
        workers.count() >= most
    }

    /// Whether even the least busy of a host's `workers` has so much to do that another one is needed.
    fn is_busy(&self, least: WorkerKey, workers: usize, settings: &Settings) -> bool {
        let load = self.load(least);
        load >= self.room || (load >= BUSY && workers < self.processors && self.is_ample(settings))
    }

    fn least(&self, workers: impl Iterator<Item = WorkerKey>) -> Option<WorkerKey> {
        workers.min_by_key(|key| self.load(*key))
    }

    /// The scope that has no place for another worker for this host, if any.
    fn full(&self, host: Host, settings: &Settings) -> Option<Full> {
        let (places, site) = (usize::from(settings.max_workers), host.site());
        if settings.crowded == Crowded::Refuse && self.taken_by(site) >= places.div_ceil(2) {
            return Some(Full::Site(site));
        }
        (self.spare.is_empty() && self.taken() >= places).then_some(Full::House)
    }

    /// Places that are taken by workers that serve hosts of one site.
    fn taken_by(&self, site: HostNetwork) -> usize {
        let workers = self.workers.iter().map(|(_, worker)| (worker.serves, worker.site()));
        let all = workers.chain(self.ending.values().map(|(serves, site, _)| (*serves, *site)));
        all.filter(|place| *place == (Serves::ClientHosts, Some(site))).count()
    }

    /// The worker whose place another host can have. It is an idle one, or else the one that has had nothing but
    /// unfinished requests for longest. A client that keeps requests unfinished in many places loses them one by one.
    fn who_makes_room(&self, full: Full) -> Option<WorkerKey> {
        let is_there = |worker: &Worker<Channel>| match (full, worker.site()) {
            (Full::House, site) => site.is_some(),
            (Full::Site(full), site) => site == Some(full),
        };
        let can =
            |worker: &Worker<Channel>| worker.is_of_clients() && worker.requests == 0 && is_there(worker);
        let workers = self.workers.iter().filter(|(_, worker)| can(worker));
        workers.min_by_key(|(_, worker)| (worker.load > 0, worker.without_since)).map(|(key, _)| key)
    }

    fn has_few_ending(&self) -> bool {
        self.ending.len() < ENDING
    }

    /// The workers of this host. A worker that serves several hosts belongs to none of them.
    fn own(&self, host: Host, settings: &Settings) -> impl Iterator<Item = WorkerKey> {
        let apart = settings.isolation != Isolation::Connection;
        let of_host_alone =
            |worker: &Worker<Channel>| worker.hosts.len() == 1 && worker.owner == Owner::Anybody;
        let is_own = move |key: &WorkerKey| !apart || self.workers.get(*key).is_some_and(of_host_alone);
        self.serving.get(&host).into_iter().flatten().copied().filter(is_own)
    }

    /// A worker that this host shares with others, or a new one. A new one takes the place of a worker that waits for
    /// another host, if there is one and not every connection has a worker of its own.
    fn share(&mut self, host: Host, settings: &Settings, now: Instant) -> Choice {
        let shared = self.known_to(host).or_else(|| self.any_by_hash(host));
        let waiting = || self.waiting(settings, now).filter(|_| settings.isolation == Isolation::Client);
        match (shared, shared.filter(|key| self.serves_others(*key, host)).and_then(|_| waiting())) {
            (_, Some(waiting)) => Choice::StartInstead(waiting),
            (Some(shared), None) => Choice::Use(shared),
            (None, None) => Choice::Start,
        }
    }

    fn serves_others(&self, key: WorkerKey, host: Host) -> bool {
        self.workers.get(key).is_some_and(|worker| worker.hosts.iter().any(|other| *other != host))
    }

    /// The worker that has waited longest for its host to come back.
    fn waiting(&self, settings: &Settings, now: Instant) -> Option<WorkerKey> {
        // Idle for a second: otherwise hosts that come and go would cost a start for each connection.
        let latest = now.checked_add(seconds(settings.worker_idle.saturating_sub(1)));
        let idle = |(key, worker): (WorkerKey, &Worker<Channel>)| {
            let waits = worker.load == 0 && worker.is_ready && worker.is_of_clients();
            worker.expires.filter(|expires| waits && Some(*expires) <= latest).map(|expires| (expires, key))
        };
        self.workers.iter().filter_map(idle).min().map(|(_, key)| key)
    }

    /// Whether one host may have several workers without others having none.
    fn is_ample(&self, settings: &Settings) -> bool {
        self.taken().saturating_mul(2) < settings.max_workers.into()
    }

    fn load(&self, key: WorkerKey) -> u32 {
        self.workers.get(key).map_or(u32::MAX, |worker| worker.load)
    }

    /// The worker of this host among a fixed number of workers; always the same one.
    fn shared(&self, host: Host, number: usize) -> Option<WorkerKey> {
        let workers = self.of_clients();
        if workers.len() < number { None } else { self.pick(host, &workers) }
    }

    /// A worker that the host shares already: sharing must not spread.
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

/// The owner of a worker that has served a single connection, once its user is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The worker is the user's from now on.
    Stays,
    /// The user has this worker already. Lent sockets cannot be taken back: the client's present worker ends first.
    HandOver(WorkerKey),
    /// The worker has served others as well, before other settings or rules were in force.
    NotAlone,
}

/// Workers that serve one user.
impl<Channel> Pool<Channel> {
    /// Keeps a worker that has served nobody for one connection.
    pub fn keep_alone(&mut self, key: WorkerKey) {
        let fresh = self.workers.get_mut(key).filter(|worker| worker.hosts.is_empty());
        fresh.into_iter().for_each(|worker| worker.owner = Owner::Connection);
    }

    /// Whether a worker serves one connection and has never served another.
    pub fn is_alone(&self, key: WorkerKey) -> bool {
        self.workers.get(key).is_some_and(|worker| worker.owner == Owner::Connection && worker.load == 1)
    }

    /// The one connection of a worker is known to be this user's.
    pub fn settle(&mut self, key: WorkerKey, host: Host, user: &Verified, settings: &Settings) -> Settled {
        if !self.is_alone(key) {
            return Settled::NotAlone;
        }
        let owner = Owner::User(user.clone());
        let of_user = |key: &WorkerKey| {
            self.workers.get(*key).is_some_and(|worker| worker.owner == owner && worker.hosts == [host])
        };
        let of_user = || self.serving.get(&host).into_iter().flatten().copied().filter(of_user);
        if let Some(own) = self.least(of_user())
            && !self.is_busy(own, of_user().count(), settings)
        {
            return Settled::HandOver(own);
        }
        self.workers.get_mut(key).into_iter().for_each(|worker| worker.owner = owner.clone());
        Settled::Stays
    }

    /// A worker takes over a connection of its user from another worker, which has read the request.
    pub fn take_over(&mut self, key: WorkerKey) {
        self.begin(key);
        self.has_request(key);
    }
}

/// The choice of the worker that asks a host.
impl<Channel> Pool<Channel> {
    /// Chooses the worker that asks this host. There are at most as many askers as workers for client hosts: the one
    /// that has been idle longest makes room. If none can, a worker that is on its way out does so once it has ended.
    /// Hosts that wait for a place already go first.
    pub fn choose_asker(&self, asker: AskerKey, others_wait: bool, settings: &Settings) -> Choice {
        match self.askers.get(&asker) {
            Some(worker) => return Choice::Use(*worker),
            None if others_wait => return Choice::Wait(Full::House),
            None => {}
        }
        let asks = |serves| matches!(serves, Serves::ClientHost | Serves::Upstream);
        if self.number(asks) < settings.max_workers.into() {
            return Choice::Start;
        }
        let idle = self.workers.iter().filter(|(_, worker)| asks(worker.serves) && worker.load == 0);
        let first = idle.min_by_key(|(_, worker)| worker.without_since).map(|(key, _)| key);
        let asking = self.workers.iter().filter(|(_, worker)| asks(worker.serves)).count();
        match first {
            Some(idle) if self.has_few_ending() => Choice::StartInstead(idle),
            None if asking >= settings.max_workers.into() => Choice::TurnAway(Full::House),
            _ => Choice::Wait(Full::House),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::HOSTS_KEPT;
    use crate::pool::tests::{pool, start};
    use sockd_common::message::Role;
    use sockd_policy::UserId;
    use std::net::IpAddr;

    fn started(pool: &mut Pool<()>) -> WorkerKey {
        let key = start(pool, Role::Session, Serves::ClientHosts);
        pool.mark_ready(key);
        key
    }

    /// Takes a worker out and has it end.
    fn end(pool: &mut Pool<()>, key: WorkerKey) {
        let ended = pool.remove(key, Instant::now()).unwrap();
        pool.reaped(ended.serial);
    }

    /// Hosts at sites of their own.
    fn hosts(number: u8) -> Vec<Host> {
        (1..=number).map(|site| Host::of(IpAddr::from([10, 0, site, 1]))).collect()
    }

    fn waits(pool: &Pool<()>, host: Host, settings: &Settings) -> bool {
        pool.waits(host, settings, &mut Vec::new())
    }

    /// Settings for few workers.
    fn few(max_workers: u16, crowded: Crowded) -> Settings {
        Settings { max_workers, crowded, ..Settings::default() }
    }

    /// A worker for this host, ready and with a session.
    fn serving(pool: &mut Pool<()>, host: Host, settings: &Settings) -> WorkerKey {
        let key = match pool.choose(host, settings, Instant::now()) {
            Choice::Use(key) => key,
            Choice::Start => started(pool),
            Choice::StartInstead(idle) => {
                end(pool, idle);
                started(pool)
            }
            Choice::Wait(full) | Choice::TurnAway(full) => panic!("{full}"),
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
        let settings = few(2, Crowded::Share);
        let hosts = hosts(3);
        let [first, second] = [0, 1].map(|number| serving(&mut pool, hosts[number], &settings));
        let instead_of = |pool: &mut Pool<()>, host: Host| match pool.choose(host, &settings, now) {
            Choice::StartInstead(key) => Some(key),
            _ => None,
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
        let settings = few(100, Crowded::Share);
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

    #[test]
    fn h7_a_full_house_ends_who_idles_then_who_has_had_no_request_for_longest_and_then_refuses() {
        let (mut pool, _, now) = pool();
        let settings = few(3, Crowded::Refuse);
        let hosts = hosts(4);
        let [first, second, third] = [0, 1, 2].map(|number| serving(&mut pool, hosts[number], &settings));
        let newcomer = |pool: &mut Pool<()>| pool.choose(hosts[3], &settings, now);
        assert_eq!(newcomer(&mut pool), Choice::StartInstead(first), "no request has been read");
        pool.has_request(first);
        assert_eq!(newcomer(&mut pool), Choice::StartInstead(second));
        pool.release(third, &settings, now);
        assert_eq!(newcomer(&mut pool), Choice::StartInstead(third), "it is idle");
        pool.assign(third, hosts[2]);
        pool.has_request(second);
        pool.has_request(third);
        assert_eq!(newcomer(&mut pool), Choice::TurnAway(Full::House));
        assert_eq!(pool.choose(hosts[0], &settings, now), Choice::Use(first), "it has its own");
        pool.assign(first, hosts[0]);
        pool.request_over(first);
        pool.release(first, &settings, now);
        assert_eq!(newcomer(&mut pool), Choice::StartInstead(first), "what it has left is no request");
    }

    #[test]
    fn h7_one_site_has_half_of_the_places_and_its_hosts_make_room_for_each_other_only() {
        let (mut pool, _, now) = pool();
        let settings = few(4, Crowded::Refuse);
        let [one, two, three, other] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]
            .map(|host| Host::of(host.parse().unwrap()));
        let elsewhere = serving(&mut pool, other, &settings);
        let [first, second] = [one, two].map(|host| serving(&mut pool, host, &settings));
        assert_eq!(pool.choose(three, &settings, now), Choice::StartInstead(first));
        [first, second].into_iter().for_each(|key| pool.has_request(key));
        assert_eq!(pool.choose(three, &settings, now), Choice::TurnAway(Full::Site(one.site())));
        assert_eq!(pool.choose(hosts(1)[0], &settings, now), Choice::Start, "another site finds room");
        assert_ne!(elsewhere, first);
    }

    #[test]
    fn h2_a_worker_that_has_been_taken_out_has_its_place_until_it_has_ended() {
        let (mut pool, _, now) = pool();
        let settings = few(u16::try_from(2 * ENDING).unwrap(), Crowded::Refuse);
        let hosts = hosts(255);
        let (here, newcomers) = hosts.split_at(2 * ENDING);
        let workers: Vec<_> = here.iter().map(|host| serving(&mut pool, *host, &settings)).collect();
        let mut serials = Vec::new();
        for newcomer in &newcomers[..ENDING] {
            let Choice::StartInstead(key) = pool.choose(*newcomer, &settings, now) else { panic!("room") };
            serials.push(pool.remove(key, now).unwrap().serial);
            let key = started(&mut pool);
            pool.assign(key, *newcomer);
        }
        assert_eq!(pool.workers.iter().count() + serials.len(), workers.len() + ENDING);
        assert_eq!(pool.choose(newcomers[ENDING], &settings, now), Choice::Wait(Full::House));
        assert!(waits(&pool, newcomers[ENDING], &settings));
        pool.reaped(serials[0]);
        assert!(!waits(&pool, newcomers[ENDING], &settings));
        assert!(matches!(pool.choose(newcomers[ENDING], &settings, now), Choice::StartInstead(_)));
        end(&mut pool, workers[2 * ENDING - 1]);
        assert!(
            matches!(pool.choose(newcomers[ENDING], &settings, now), Choice::StartInstead(_)),
            "of a place that is not free yet"
        );
    }

    #[test]
    fn h2_only_who_would_find_room_without_those_on_their_way_out_waits() {
        let (mut pool, _, now) = pool();
        let settings = Settings { isolation: Isolation::Connection, ..few(4, Crowded::Refuse) };
        let [one, other, third] = hosts(3)[..] else { panic!("three") };
        let keys = [one, one, other, other].map(|host| {
            let key = serving(&mut pool, host, &settings);
            pool.has_request(key);
            key
        });
        assert_eq!(pool.choose(third, &settings, now), Choice::TurnAway(Full::House));
        let first = pool.remove(keys[0], now).unwrap().serial;
        assert_eq!(pool.choose(third, &settings, now), Choice::Wait(Full::House));
        assert_eq!(pool.choose(one, &settings, now), Choice::Wait(Full::Site(one.site())));
        assert_eq!(pool.choose(other, &settings, now), Choice::TurnAway(Full::Site(other.site())));
        assert_eq!([third, one, other].map(|host| waits(&pool, host, &settings)), [true, true, false]);
        pool.reaped(first);
        assert_eq!([third, one, other].map(|host| waits(&pool, host, &settings)), [false; 3]);
        assert_eq!(pool.choose(third, &settings, now), Choice::Start);
    }

    #[test]
    fn who_waits_for_a_site_holds_up_no_other_site_and_no_host_that_has_a_worker() {
        let (mut pool, _, now) = pool();
        let settings = few(4, Crowded::Refuse);
        let [one, two, three, other] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]
            .map(|host| Host::of(host.parse().unwrap()));
        let [first, second] = [one, two].map(|host| serving(&mut pool, host, &settings));
        [first, second].into_iter().for_each(|key| pool.has_request(key));
        pool.remove(second, now);
        let known = &mut Vec::new();
        assert_eq!(
            [one, two, three, other].map(|host| pool.waits(host, &settings, known)),
            [false, true, true, false]
        );
        assert_eq!(*known, [Full::Site(one.site())], "looked at once");
        let known = &mut vec![Full::House];
        assert_eq!([one, two, other].map(|host| pool.waits(host, &settings, known)), [false, true, true]);
        let apart = Settings { isolation: Isolation::User, ..settings };
        assert!(waits(&pool, one, &apart), "its worker may be another user's");
    }

    /// Settings with which users have workers of their own.
    fn of_users() -> Settings {
        Settings { isolation: Isolation::User, ..Settings::default() }
    }

    /// A worker with a single connection, of this host.
    fn alone(pool: &mut Pool<()>, host: Host, settings: &Settings) -> WorkerKey {
        let key = match pool.choose_alone(host, settings) {
            Choice::Use(key) => key,
            Choice::Start => started(pool),
            other => panic!("{other:?}"),
        };
        pool.keep_alone(key);
        pool.assign(key, host);
        key
    }

    /// A user named by identd.
    fn user(name: &str) -> Verified {
        Verified { user: UserId::parse(name.as_bytes()).unwrap(), by_password: false }
    }

    #[test]
    fn h9_a_verified_client_goes_to_the_worker_of_its_user_and_to_no_other() {
        let (mut pool, _, now) = pool();
        let settings = of_users();
        let [host, other] = hosts(2)[..] else { panic!("two") };
        let settle = |pool: &mut Pool<()>, key, host, name| pool.settle(key, host, &user(name), &settings);
        let [ann, joe, elsewhere, again] =
            [host, host, other, host].map(|host| alone(&mut pool, host, &settings));
        assert_eq!(settle(&mut pool, ann, host, "ann"), Settled::Stays);
        assert_eq!(settle(&mut pool, joe, host, "joe"), Settled::Stays, "another user");
        assert_eq!(settle(&mut pool, elsewhere, other, "ann"), Settled::Stays, "another host");
        let namesake = Verified { by_password: true, ..user("ann") };
        let of_namesake = alone(&mut pool, host, &settings);
        assert_eq!(pool.settle(of_namesake, host, &namesake, &settings), Settled::Stays, "another person");
        assert_eq!(settle(&mut pool, again, host, "ann"), Settled::HandOver(ann));
        pool.take_over(ann);
        end(&mut pool, again);
        assert!(!pool.is_alone(ann) && pool.workers.get(ann).unwrap().requests == 1);
        for _ in 0..2 {
            pool.release(ann, &settings, now);
        }
        assert_eq!(pool.expired(ann, now), None, "it stays for its user");
        let later = alone(&mut pool, host, &settings);
        assert!(![ann, joe].contains(&later), "who is not known yet gets nobody's worker");
        assert_eq!(settle(&mut pool, later, host, "ann"), Settled::HandOver(ann));
        end(&mut pool, ann);
        assert_eq!(settle(&mut pool, later, host, "ann"), Settled::Stays, "the other one is gone");
    }

    #[test]
    fn h9_a_worker_of_a_connection_ends_with_it_and_has_never_served_another() {
        let (mut pool, host, now) = pool();
        let settings = of_users();
        let key = alone(&mut pool, host, &settings);
        assert!(pool.is_alone(key));
        pool.release(key, &settings, now);
        assert_eq!(pool.expired(key, now), Some(crate::pool::Expired::Idle));
        pool.assign(key, host);
        assert!(!pool.is_alone(key), "it has served one before");
    }

    #[test]
    fn h9_who_shared_a_worker_before_a_reload_is_not_believed() {
        let (mut pool, host, _) = pool();
        let user = user("ann");
        let by_host = serving(&mut pool, host, &Settings::default());
        assert_eq!(pool.settle(by_host, host, &user, &of_users()), Settled::NotAlone);
        pool.keep_alone(by_host);
        assert!(!pool.is_alone(by_host), "it has served already");
        // The worker of a user that others joined while users were not told apart.
        let own = alone(&mut pool, host, &of_users());
        assert_eq!(pool.settle(own, host, &user, &of_users()), Settled::Stays);
        assert_ne!(serving(&mut pool, host, &Settings::default()), own);
        pool.assign(own, host);
        let next = alone(&mut pool, host, &of_users());
        assert_eq!(pool.settle(next, host, &user, &of_users()), Settled::Stays);
    }

    #[test]
    fn h9_a_user_with_much_to_do_has_several_workers_while_there_is_room() {
        let (mut pool, host, _) = pool();
        let (settings, user) = (of_users(), user("ann"));
        let mut own = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let key = alone(&mut pool, host, &settings);
            match pool.settle(key, host, &user, &settings) {
                Settled::Stays => drop(own.insert(key)),
                Settled::HandOver(to) => {
                    assert!(own.contains(&to));
                    pool.take_over(to);
                    end(&mut pool, key);
                }
                Settled::NotAlone => panic!("alone"),
            }
        }
        assert_eq!(own.len(), 2, "as many as there are processors");
    }

    #[test]
    fn there_are_no_more_workers_that_ask_than_may_serve_and_idle_ones_make_room() {
        let (mut pool, _, now) = pool();
        let settings = few(2, Crowded::Refuse);
        let asker = |host: &Host| AskerKey { role: Role::Ident, host: *host, server: None };
        let hosts = hosts(3);
        let workers: Vec<_> = hosts[..2]
            .iter()
            .map(|host| {
                assert_eq!(pool.choose_asker(asker(host), false, &settings), Choice::Start);
                let key = start(&mut pool, Role::Ident, Serves::ClientHost);
                pool.keep_asker(key, asker(host));
                pool.assign(key, *host);
                key
            })
            .collect();
        assert_eq!(pool.choose_asker(asker(&hosts[0]), false, &settings), Choice::Use(workers[0]));
        assert_eq!(pool.choose_asker(asker(&hosts[2]), false, &settings), Choice::TurnAway(Full::House));
        pool.release(workers[1], &settings, now);
        assert_eq!(pool.choose_asker(asker(&hosts[2]), false, &settings), Choice::StartInstead(workers[1]));
        let ended = pool.remove(workers[1], now).unwrap().serial;
        assert_eq!(pool.choose_asker(asker(&hosts[2]), false, &settings), Choice::Wait(Full::House));
        pool.reaped(ended);
        let others_wait = [0, 2].map(|host| pool.choose_asker(asker(&hosts[host]), true, &settings));
        assert_eq!(others_wait, [Choice::Use(workers[0]), Choice::Wait(Full::House)]);
        assert_eq!(pool.choose_asker(asker(&hosts[2]), false, &settings), Choice::Start);
    }
}
