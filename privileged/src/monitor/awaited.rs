//! Everything that sessions wait for.

use crate::loader::copies::SystemFiles;
use crate::monitor::askers::Askers;
use crate::monitor::auth::Auth;
use crate::monitor::base::{Base, News};
use crate::monitor::bind_port::BindPorts;
use crate::monitor::resolver::Resolver;
use sockd_common::message::session::Handshake;
use sockd_session::{Violation, Waiter, WorkerKey};
use std::collections::HashMap;
use std::time::Instant;

/// The parts of the monitor that sessions wait for.
#[derive(Debug)]
pub struct Awaited {
    /// Ports of BIND requests.
    pub bind_ports: BindPorts,
    /// Lookups.
    pub resolver: Resolver,
    /// Queries of identds and upstreams.
    pub askers: Askers,
    /// Checks of passwords.
    pub auth: Auth,
    /// Clients for other workers, once the workers with these numbers have ended, and their handshakes so far.
    pub handovers: HashMap<u32, (Waiter, Handshake)>,
}

impl Awaited {
    /// Begins with nothing; lookups use these files.
    pub fn new(files: SystemFiles) -> Self {
        let resolver = Resolver::new(files);
        let (bind_ports, askers) = (BindPorts::default(), Askers::default());
        Self { bind_ports, resolver, askers, auth: Auth::default(), handovers: HashMap::new() }
    }

    /// When the next of them has something due.
    pub fn due_at(&self) -> Option<Instant> {
        [self.auth.due_at(), self.resolver.due_at(), self.askers.due_at()].into_iter().flatten().min()
    }

    /// Does what is due. Returns workers that have not ended their work in time.
    pub fn due(&mut self, now: Instant, base: &mut Base) -> [Option<(WorkerKey, Violation)>; 3] {
        [self.auth.due(now, base), self.resolver.due(now, base), self.askers.overdue(now)]
    }

    /// Fails everything that a worker that is gone was asked.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        let mut news = self.askers.worker_gone(worker, base);
        news.extend(self.resolver.worker_gone(worker, base));
        news.extend(self.auth.worker_gone(worker, base));
        news
    }
}
