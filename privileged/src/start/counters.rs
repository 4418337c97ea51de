//! The memory of the counters: made here, moved by the monitor, read by whoever is given its descriptor.

use sockd_ledger::counters;
use sockd_session::counting::Counting;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Makes it for a daemon with these listeners, with the descriptor for its readers. The other processes have to be there
/// already: what they inherited they could write to. Where the kernel cannot keep readers from writing (before Linux 5.1)
/// nobody is given any.
pub fn begin(listeners: impl IntoIterator<Item = SocketAddr>) -> (Counting, Option<OwnedFd>) {
    let (counting, readable) = match counters::create() {
        Ok((counters, readable)) => (Counting::of(counters), Some(readable)),
        Err(_) => (Counting::unseen(), None),
    };
    counting.counters().listen(listeners);
    counting.started(env!("CARGO_PKG_VERSION"), std::process::id());
    (counting, readable)
}
