//! What sessions wait for.

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

/// The rooms that sessions wait for.
#[derive(Debug)]
pub struct Awaited {
    /// Ports of BIND requests.
    pub bind_ports: BindPorts,
    /// Lookups.
    pub resolver: Resolver,
    /// Queries of identds and next servers.
    pub askers: Askers,
    /// Checks of passwords.
    pub auth: Auth,
    /// Clients that other workers get once the ones with these numbers have ended, and how far they have come.
    pub handovers: HashMap<u32, (Waiter, Handshake)>,
}

impl Awaited {
    /// Nothing yet; lookups go by these files.
    pub fn new(files: SystemFiles) -> Self {
        let resolver = Resolver::new(files);
        let (bind_ports, askers) = (BindPorts::default(), Askers::default());
        Self { bind_ports, resolver, askers, auth: Auth::default(), handovers: HashMap::new() }
    }

    /// When something is due in one of them.
    pub fn due_at(&self) -> Option<Instant> {
        [self.auth.due_at(), self.resolver.due_at(), self.askers.due_at()].into_iter().flatten().min()
    }

    /// Does what is due; gives workers that have not ended in time what they had to.
    pub fn due(
        &mut self,
        now: Instant,
        base: &mut Base,
    ) -> impl Iterator<Item = (WorkerKey, Violation)> + use<> {
        let overdue = [self.auth.due(now, base), self.resolver.due(now, base), self.askers.overdue(now)];
        overdue.into_iter().flatten()
    }

    /// A worker is gone: what it was asked is not answered.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        let mut news = self.askers.worker_gone(worker, base);
        news.extend(self.resolver.worker_gone(worker, base));
        news.extend(self.auth.worker_gone(worker, base));
        news
    }
}
