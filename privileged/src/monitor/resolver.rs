//! The monitor's half of the resolver: one resolver worker, which gets sockets to nameservers and gives answers.

use crate::loader::copies::SystemFiles;
use crate::monitor::base::{Base, Heard, News};
use crate::monitor::dial::{Begun, Caller};
use crate::net::dial::{Dial, Dialled};
use crate::net::sockets;
use sockd_common::message::Role;
use sockd_common::message::resolver::{Answer, FromResolver, Query, RecordType, ToResolver, Transport};
use sockd_session::limits::counts::Reached;
use sockd_session::lookups::{Ended, Lookups, NameserverDials};
use sockd_session::pool::sole::Sole;
use sockd_session::{Arrival, Host, Limit, LookupKey, Violation, Waiter, WorkerKey};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The resolver worker and its lookups.
#[derive(Debug)]
pub struct Resolver {
    sole: Sole,
    lookups: Lookups,
    files: SystemFiles,
}

impl Resolver {
    /// Begins without a worker.
    pub fn new(files: SystemFiles) -> Self {
        Self { sole: Sole::default(), lookups: Lookups::default(), files }
    }

    /// Tells the worker that the loader has copied resolv.conf, hosts, or both again.
    pub fn files_changed(&mut self, changed: [bool; 2], base: &mut Base) {
        self.files.changed(changed);
        self.tell_news(base);
    }

    /// Starts the worker, sends it the contents of the files, and asks it for waiting lookups.
    pub fn start(&mut self, base: &mut Base) {
        self.sole.started(base.start_worker(Role::Resolver), Instant::now());
        self.files.tell_again();
        if self.sole.worker().is_some() {
            self.tell_news(base);
            self.lookups.unasked().into_iter().for_each(|key| self.ask(key, base));
        }
    }

    /// When the worker is to be started again, or has to end a lookup.
    pub fn due_at(&self) -> Option<Instant> {
        self.sole.due_at().into_iter().chain(self.lookups.due_at()).min()
    }

    fn tell_news(&mut self, base: &mut Base) {
        for (message, file) in self.files.news() {
            self.tell(&message, file, base);
        }
    }

    /// Sends the worker a message; false if there is no worker at present.
    fn tell(&self, message: &ToResolver, descriptor: Option<OwnedFd>, base: &mut Base) -> bool {
        self.sole.worker().is_some_and(|worker| base.workers.tell(worker, message, descriptor.map(Rc::new)))
    }

    /// Asks for a lookup. Without a worker it waits for the next one, as long as its session does.
    fn ask(&mut self, key: LookupKey, base: &mut Base) {
        if let Some(request) = self.lookups.request(key)
            && self.tell(&request, None, base)
        {
            self.lookups.asked(key);
        }
    }

    /// If all places are taken, ends a lookup of another host that its session has waited for long enough.
    fn make_room(&mut self, host: Host, base: &mut Base) {
        if self.lookups.limit(host, &mut base.counts, &base.config.settings).is_some()
            && let Some((most, key, waiter)) = self.lookups.gives_way(host)
        {
            base.limited("lookups fail", Reached { limit: Limit::LOOKUPS, by: most });
            self.cancel(key, waiter, base);
            base.set_deadline(waiter.session, Some(Duration::ZERO));
        }
    }

    /// Begins a lookup for a session of this client host. The error is the answer if it cannot be begun.
    pub fn look_up(
        &mut self,
        waiter: Waiter,
        host: Host,
        query: Query,
        base: &mut Base,
    ) -> Result<LookupKey, Arrival> {
        self.make_room(host, base);
        if let Some(reached) = self.lookups.limit(host, &mut base.counts, &base.config.settings) {
            base.limited("lookups fail", reached);
            return Err(Arrival::Resolved(Answer::Failed));
        }
        self.tell_news(base);
        let key = self.lookups.begin(waiter, host, query, &mut base.counts, Instant::now());
        self.ask(key, base);
        Ok(key)
    }

    /// Cancels a lookup whose session waits no longer. The resolver still has to answer it.
    pub fn cancel(&mut self, key: LookupKey, waiter: Waiter, base: &mut Base) {
        let cancelled = self.lookups.cancel(key, waiter, &mut base.counts, Instant::now());
        let Some((dials, owed)) = cancelled else { return };
        cancel_dials(key, dials, base);
        if let Some(message) = owed {
            self.tell(&message, None, base);
        }
    }

    /// Takes a message of the worker.
    pub fn heard(&mut self, message: FromResolver, base: &mut Base) -> Heard {
        match message {
            FromResolver::Ready(_) => Ok(None),
            FromResolver::NeedSocket { id, record, transport, attempt } => {
                self.lookups.needs_socket(id.into(), record)?;
                self.dial(id.into(), record, transport, attempt, base);
                Ok(None)
            }
            FromResolver::Answer { id, answer } => {
                let ended = self.lookups.answered(id.into(), &mut base.counts)?;
                Ok(told(id.into(), ended, answer, base))
            }
        }
    }

    /// Connects to the nameserver of an attempt.
    fn dial(
        &mut self,
        key: LookupKey,
        record: RecordType,
        transport: Transport,
        attempt: u8,
        base: &mut Base,
    ) {
        let Some(to) = self.files.server(attempt) else { return self.give_socket(key, record, None, base) };
        if transport == Transport::Udp {
            return self.give_socket(key, record, sockets::datagram(to).ok(), base);
        }
        let due = Instant::now().checked_add(self.files.timeout());
        let dial = Dial { to, from: None, reserved: false, due };
        match base.dials.begin(dial, Caller::Lookup(key, record), &mut base.reactor) {
            Ok(Begun::Connected(socket)) => self.give_socket(key, record, Some(socket), base),
            Ok(Begun::Pending(dial)) => self.lookups.dialling(key, record, dial),
            Err(_) => self.give_socket(key, record, None, base),
        }
    }

    /// Gives the resolver a socket, if there is one. A resolver that asks and does not read would else have as many wait
    /// here as there may be lookups.
    fn give_socket(&self, key: LookupKey, record: RecordType, socket: Option<OwnedFd>, base: &mut Base) {
        let (id, worker) = (key.id(), self.sole.worker());
        match socket.filter(|_| worker.is_some_and(|worker| !base.workers.is_full(worker))) {
            Some(socket) => self.tell(&ToResolver::Socket { id, record }, Some(socket), base),
            None => self.tell(&ToResolver::NoSocket { id, record }, None, base),
        };
    }

    /// Takes the outcome of the dial to a nameserver.
    pub fn dialled(&mut self, key: LookupKey, record: RecordType, dialled: Dialled, base: &mut Base) {
        if self.lookups.dialled(key, record) {
            self.give_socket(key, record, dialled.ok(), base);
        }
    }

    /// Does what is due. Returns the worker if it has not ended a lookup in time.
    pub fn due(&mut self, now: Instant, base: &mut Base) -> Option<(WorkerKey, Violation)> {
        if self.sole.take_due(now) {
            self.start(base);
        }
        self.sole.worker().zip(self.lookups.look_at_owed(now).err())
    }

    /// Fails the lookups of a resolver that is gone, and starts a new one for those that it had not been asked yet.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        if !self.sole.gone(worker) {
            return Vec::new();
        }
        let failed = self.lookups.fail_asked(&mut base.counts);
        let news = failed.into_iter().filter_map(|(key, ended)| told(key, ended, Answer::Failed, base));
        let news = news.collect();
        if self.sole.restarts_at_once(Instant::now()) {
            self.start(base);
        }
        news
    }
}

/// Ends a lookup. Returns the news for the session that waits for it, if any.
fn told(key: LookupKey, ended: Ended, answer: Answer, base: &mut Base) -> Option<News> {
    cancel_dials(key, ended.dials, base);
    ended.waiter.map(|waiter| (waiter, Arrival::Resolved(answer)))
}

fn cancel_dials(key: LookupKey, dials: NameserverDials, base: &mut Base) {
    for (record, dial) in dials {
        base.dials.cancel(dial, Caller::Lookup(key, record), &mut base.reactor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::tests::crowded;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_resolver_that_does_not_read_gets_no_more_sockets() {
        let (mut base, _, _spawner) = crowded();
        let file = || memfd_create(c"", MemfdFlags::CLOEXEC).unwrap();
        let mut resolver = Resolver::new(SystemFiles::new(file().into(), file().into()));
        resolver.start(&mut base);
        let (worker, any) = (resolver.sole.worker().unwrap(), Rc::new(file()));
        let give = |base: &mut Base| {
            let (socket, peer) = UnixStream::pair().unwrap();
            peer.set_nonblocking(true).unwrap();
            resolver.give_socket(LookupKey::new(0), RecordType::A, Some(socket.into()), base);
            (&peer).read(&mut [0]).map_err(|error| error.kind())
        };
        assert_eq!(give(&mut base), Err(ErrorKind::WouldBlock), "it is on its way");
        while !base.workers.is_full(worker) {
            base.tell(worker, &ToResolver::Hosts, Some(Rc::clone(&any)));
        }
        assert_eq!(give(&mut base), Ok(0), "it is closed");
    }
}
