//! The memory of the counters: the start makes it, the monitor counts in it, and holders of its descriptor read it.

use crate::monitor::status::{Given, MOST_OLDER};
use sockd_common::status::Gift;
use sockd_ledger::counters::{self, Reader};
use sockd_ledger::fetch::fetch_within;
use sockd_session::counting::Counting;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How long the monitor that serves has to answer; it usually answers sooner.
const LIMIT: Duration = Duration::from_secs(2);

/// Makes the counters of a daemon with these listeners, and the descriptor for their readers. The other processes have
/// to exist already, as they could write to inherited memory. If the kernel cannot keep readers from writing (before
/// Linux 5.1), there is no descriptor.
pub fn begin(listeners: impl IntoIterator<Item = SocketAddr>) -> (Counting, Option<OwnedFd>) {
    let (counting, readable) = match counters::create() {
        Ok((counters, readable)) => (Counting::of(counters), Some(readable)),
        Err(_) => (Counting::unseen(), None),
    };
    counting.counters().listen(listeners);
    counting.started(env!("CARGO_PKG_VERSION"), std::process::id());
    (counting, readable)
}

/// The counters of the trees before this one, which the monitor that serves hands out at this socket. Trees that have
/// ended count no more: their numbers are added to this tree's own, so that takeovers do not add more and more of them.
/// The same happens to those of the oldest trees if there are too many; their later counts are lost.
pub fn of_older(socket: &Path, own: Counting) -> io::Result<Vec<Given>> {
    let mut kept = Vec::new();
    for (kind, memory) in fetch_within(socket, LIMIT)?.into_iter().filter(|(kind, _)| *kind != Gift::Ledger) {
        let counters = Reader::open(memory.try_clone()?)?.counters();
        if kind == Gift::Counters && kept.len() < MOST_OLDER {
            let process = u32::try_from(counters.process.get()).unwrap_or_default();
            kept.push(Given { kind, memory: Rc::new(memory), process });
        } else {
            own.counters().add(&counters, false);
        }
    }
    Ok(kept)
}
