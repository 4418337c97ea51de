//! The workers as processes: started through the spawner, sent messages over their channels, and given up when they do
//! not read them.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::roles::{self, FromWorker};
use crate::process::child;
use crate::spawner::protocol::{Channel, Ending, FromSpawner, ToSpawner};
use sockd_common::channel::{ChannelError, Received};
use sockd_common::message::datagram::ToDatagram;
use sockd_common::message::{Role, ToWorker};
use sockd_common::outbox::Outbox;
use sockd_session::pool::endings::{Endings, Lost};
use sockd_session::pool::{Expired, Pool, Worker};
use sockd_session::{Settings, WorkerKey};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// All workers.
#[derive(Debug)]
pub struct Workers {
    /// The workers that exist, and the clients that they serve.
    pub pool: Pool<Outbox>,
    spawner: Outbox,
    /// The workers that have been sent something in this turn of the loop.
    told: Vec<WorkerKey>,
    /// The workers that are retired.
    endings: Endings,
}

/// Why a worker cannot stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its time is over.
    Expired(Expired),
    /// It does not read its channel.
    Unread,
}

impl Workers {
    /// Begins without workers. `descriptors` is the limit that every worker inherits.
    pub fn new(spawner: Channel, descriptors: u64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        Self {
            pool: Pool::new(processors, descriptors),
            spawner: Outbox::to_reader(spawner.into_socket()),
            told: Vec::new(),
            endings: Endings::default(),
        }
    }

    /// The spawner's channel, to be watched.
    pub fn spawner(&self) -> &Outbox {
        &self.spawner
    }

    /// Asks the spawner for a worker.
    pub fn start(
        &mut self,
        role: Role,
        settings: &Settings,
        reactor: &mut Reactor,
    ) -> Result<WorkerKey, ChannelError> {
        if self.spawner.is_full() {
            return Err(ChannelError::Io(rustix::io::Errno::AGAIN));
        }
        let (ours, theirs) = child::channel()?;
        let outbox = roles::open(role, ours, settings)?;
        reactor.watch(&outbox, Token::Worker(self.pool.workers.next_key()), EventFlags::IN)?;
        let serial = self.pool.next_serial();
        self.spawner.send(&ToSpawner::Spawn { serial, role }, Some(theirs.into()));
        let key = self.pool.insert(serial, role, roles::serves(role), outbox, Instant::now());
        self.look_at_in_time(key, reactor);
        Ok(key)
    }

    /// Sends a worker a message at the end of the turn, or keeps it until the worker takes it. False if the worker is
    /// gone; the end of a worker is noticed when its channel is read.
    pub fn tell<M: ToWorker>(
        &mut self,
        key: WorkerKey,
        message: &M,
        descriptor: Option<Rc<OwnedFd>>,
    ) -> bool {
        let worker = self.pool.workers.get_mut(key).filter(|worker| worker.role == M::ROLE);
        let is_kept = worker.is_some_and(|worker| worker.channel.send(message, descriptor));
        self.flush_later(key);
        is_kept
    }

    /// Has the waiting messages of a worker sent at the end of the turn.
    pub fn flush_later(&mut self, key: WorkerKey) {
        if self.told.last() != Some(&key) {
            self.told.push(key);
        }
    }

    /// Sends all waiting messages at the end of a turn. The spawner may have stopped: clients that have a worker are
    /// served even so.
    pub fn flush_all(&mut self, reactor: &mut Reactor) {
        let mut told = std::mem::take(&mut self.told);
        told.drain(..).for_each(|key| self.flush(key, reactor));
        self.told = told;
        flush(&mut self.spawner, Token::Spawner, reactor);
    }

    fn flush(&mut self, key: WorkerKey, reactor: &mut Reactor) {
        if let Some(worker) = self.pool.workers.get_mut(key) {
            flush(&mut worker.channel, Token::Worker(key), reactor);
            self.look_at_in_time(key, reactor);
        }
    }

    /// When a message that the system did not take is sent to the spawner again, a lost spare worker is replaced, or a
    /// lost worker has to have ended.
    pub fn due_at(&self) -> Option<Instant> {
        [self.spawner.retry(), self.pool.paused_until(), self.endings.due_at()].into_iter().flatten().min()
    }

    /// Sets the time at which a worker is checked, unless an earlier one is set.
    fn look_at_in_time(&self, key: WorkerKey, reactor: &mut Reactor) {
        let Some(worker) = self.pool.workers.get(key) else { return };
        let outbox = &worker.channel;
        let dues = [worker.expires(), outbox.gives_up(), outbox.retry()];
        if let Some(due) = dues.into_iter().flatten().min()
            && reactor.deadline(Token::Worker(key)).is_none_or(|deadline| due < deadline)
        {
            reactor.set_deadline(Token::Worker(key), Some(due));
        }
    }

    /// Checks a worker at its time. Returns why it cannot stay, if so.
    pub fn due(&mut self, key: WorkerKey, now: Instant, reactor: &mut Reactor) -> Option<Due> {
        let outbox = &self.pool.workers.get(key)?.channel;
        if outbox.retry().is_some_and(|retry| retry <= now) {
            self.flush(key, reactor);
        }
        let outbox = &self.pool.workers.get(key)?.channel;
        if outbox.gives_up().is_some_and(|gives_up| gives_up <= now) {
            return Some(Due::Unread);
        }
        let expired = self.pool.expired(key, now).map(Due::Expired);
        if expired.is_none() {
            self.look_at_in_time(key, reactor);
        }
        expired
    }

    /// Receives one message of a worker.
    pub fn receive(&self, key: WorkerKey) -> Result<Received<FromWorker>, ChannelError> {
        match self.pool.workers.get(key) {
            Some(worker) => roles::receive(worker.role, &worker.channel),
            None => Ok(Received::Nothing),
        }
    }

    /// Notes that a worker is locked down, and may be sent its messages with the next flush; false if that was known.
    pub fn mark_ready(&mut self, key: WorkerKey) -> bool {
        if let Some(worker) = self.pool.workers.get_mut(key) {
            worker.channel.mark_ready();
        }
        self.pool.mark_ready(key)
    }

    /// Notes that a session, query or lookup of a worker has ended.
    pub fn release(&mut self, key: WorkerKey, settings: &Settings, reactor: &mut Reactor) {
        self.pool.release(key, settings, Instant::now());
        self.look_at_in_time(key, reactor);
    }

    /// Whether too many messages wait for a worker for it to serve a further client.
    pub fn is_full(&self, key: WorkerKey) -> bool {
        self.pool.workers.get(key).is_some_and(|worker| worker.channel.is_full())
    }

    /// Takes a worker out of service, and returns its number. It is killed, so that one that does not read its channel
    /// ends too. A lost worker has ended by itself, or has a moment for that: its end tells why, and is news.
    pub fn retire(&mut self, key: WorkerKey, lost: Option<Lost>, reactor: &mut Reactor) -> Option<u32> {
        let now = Instant::now();
        let Worker { serial, .. } = self.pool.remove(key, now)?;
        reactor.set_deadline(Token::Worker(key), None);
        let lingers = lost.is_some();
        if !lingers {
            // If this fails the spawner is dead, and the worker with it.
            self.spawner.send(&ToSpawner::Kill { serial }, None);
        }
        self.endings.insert(serial, lost, lingers, now);
        Some(serial)
    }

    /// Kills one worker that has closed its channel and has not ended in time since; there may be more.
    pub fn kill_lingering(&mut self, now: Instant) -> Option<Lost> {
        let (serial, lost) = self.endings.overdue(now)?;
        self.spawner.send(&ToSpawner::Kill { serial }, None);
        Some(lost)
    }

    /// The spawner's next message: the number of a worker, and how it ended.
    pub fn hear_spawner(&self) -> Result<Option<(u32, Ending)>, String> {
        match self.spawner.receive() {
            Ok(Received::Message(FromSpawner::Ended { serial, how }, _)) => Ok(Some((serial, how))),
            Ok(Received::Nothing) => Ok(None),
            Ok(_) => Err("the spawner has ended, and with it every worker".into()),
            Err(error) => Err(format!("spawner: {error}")),
        }
    }

    /// Notes that a retired worker has been reaped. A lost one is returned for the log.
    pub fn reap(&mut self, serial: u32) -> Option<Lost> {
        self.pool.reaped(serial);
        self.endings.reaped(serial)
    }

    /// Sends session workers, and those that relay datagrams, the settings that they follow.
    pub fn set_up_again(&mut self, settings: &Settings) {
        for key in self.pool.of_clients() {
            self.tell(key, &roles::session_setup(settings), None);
        }
        for key in self.pool.workers.keys_where(|worker| worker.role == Role::Datagram) {
            self.tell(key, &ToDatagram::Setup(settings.flow_limits()), None);
        }
    }
}

/// Sends waiting messages. A channel is watched for messages, and for room while messages wait.
fn flush(outbox: &mut Outbox, token: Token, reactor: &Reactor) {
    outbox.flush();
    if let Some(wants_room) = outbox.wants_room() {
        let flags = if wants_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        let _ = reactor.watch_for(outbox.as_fd(), token, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::channel::MonitorEnd;
    use sockd_common::message::ident::ToIdent;
    use sockd_session::client_host::Host;
    use std::time::Duration;

    fn workers() -> (Workers, Reactor, OwnedFd) {
        let (ours, theirs) = child::channel().unwrap();
        (Workers::new(MonitorEnd::new(ours), 1024), Reactor::new().unwrap(), theirs)
    }

    #[test]
    fn a_worker_is_looked_at_when_its_time_is_over_and_not_before() {
        let (mut workers, mut reactor, _spawner) = workers();
        let settings = Settings::default();
        let key = workers.start(Role::Session, &settings, &mut reactor).unwrap();
        let (now, late) = (Instant::now(), Instant::now() + Duration::from_secs(86_400));
        assert_eq!(reactor.take_due(now), None);
        assert_eq!(reactor.take_due(late), Some(Token::Worker(key)));
        assert_eq!(workers.due(key, late, &mut reactor), Some(Due::Expired(Expired::NotReady)));
        assert!(workers.mark_ready(key));
        assert_eq!(reactor.take_due(late), None, "a spare worker stays");
        workers.pool.assign(key, Host::of("192.0.2.1".parse().unwrap()));
        workers.release(key, &settings, &mut reactor);
        assert_eq!(reactor.take_due(late), Some(Token::Worker(key)));
        assert_eq!(workers.due(key, now, &mut reactor), None, "too early");
        assert_eq!(reactor.take_due(late), Some(Token::Worker(key)), "but again");
        assert_eq!(workers.due(key, late, &mut reactor), Some(Due::Expired(Expired::Idle)));
    }

    #[test]
    fn a_channel_that_is_not_read_has_a_time_and_then_its_worker_cannot_stay() {
        let (mut workers, mut reactor, _spawner) = workers();
        let settings = Settings::default();
        let key = workers.start(Role::Session, &settings, &mut reactor).unwrap();
        workers.mark_ready(key);
        workers.pool.assign(key, Host::of("192.0.2.1".parse().unwrap()));
        let late = Instant::now() + Duration::from_secs(3600);
        (0..1000).for_each(|_| workers.set_up_again(&settings));
        workers.flush_all(&mut reactor);
        assert_eq!(reactor.take_due(late), Some(Token::Worker(key)));
        assert_eq!(workers.due(key, late, &mut reactor), Some(Due::Unread));
    }

    #[test]
    fn a_message_of_another_role_is_not_sent() {
        let (mut workers, mut reactor, _spawner) = workers();
        let key = workers.start(Role::Session, &Settings::default(), &mut reactor).unwrap();
        assert!(!workers.tell(key, &ToIdent::Setup, None));
    }

    #[test]
    fn a_worker_that_has_closed_its_channel_is_killed_only_when_it_goes_on() {
        let (mut workers, mut reactor, _spawner) = workers();
        let mut lose = || {
            let key = workers.start(Role::Session, &Settings::default(), &mut reactor).unwrap();
            let serial = workers.pool.workers.get(key).unwrap().serial;
            let lost = Some(Lost { what: format!("worker {serial}"), client: None, role: Role::Session });
            workers.retire(key, lost, &mut reactor);
            serial
        };
        let [ended, goes_on] = [lose(), lose()];
        assert!(workers.reap(ended).is_some());
        let (now, late) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        assert!(workers.kill_lingering(now).is_none(), "too early");
        assert!(workers.due_at().is_some_and(|due| due > now));
        let killed = workers.kill_lingering(late).unwrap();
        assert_eq!(killed.what, format!("worker {goes_on}"));
        assert!(workers.kill_lingering(late).is_none());
        assert!(workers.reap(goes_on).is_none(), "that has been said");
    }

    #[test]
    fn the_end_of_a_worker_is_news_only_where_it_was_lost() {
        let (mut workers, mut reactor, _spawner) = workers();
        let lost = || Some(Lost { what: "a worker".into(), client: None, role: Role::Session });
        for (news, expected) in [(None, false), (lost(), true)] {
            let key = workers.start(Role::Ident, &Settings::default(), &mut reactor).unwrap();
            let serial = workers.pool.workers.get(key).unwrap().serial;
            assert_eq!(workers.retire(key, news, &mut reactor), Some(serial));
            assert_eq!((workers.reap(serial).is_some(), workers.reap(serial).is_some()), (expected, false));
        }
    }
}
