//! The source of the page: the counters of the running daemon.

use crate::metrics;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How old a page may be. However many ask, the daemon is asked no more often. It is asked again because a daemon that
/// was restarted, or has taken over from another, has other memory.
const FRESH: Duration = Duration::from_secs(1);

/// Asks a socket.
#[derive(Debug)]
pub(super) struct Source {
    socket: PathBuf,
    /// The last page, and since when it is there.
    last: Option<(Instant, String)>,
}

impl Source {
    pub(super) fn new(socket: &std::path::Path) -> Self {
        Self { socket: socket.to_owned(), last: None }
    }

    /// The page, at most [`FRESH`] old. If there are no counters, standard error has the reason once for each page.
    pub(super) fn page(&mut self) -> String {
        if let Some((since, page)) = &self.last
            && since.elapsed() < FRESH
        {
            return page.clone();
        }
        let counters = metrics::read(&self.socket);
        let counters = counters.inspect_err(|error| {
            eprintln!("sockd-exporter: {}: {error}", self.socket.display());
        });
        let page = metrics::page(counters.ok().as_ref());
        self.last = Some((Instant::now(), page.clone()));
        page
    }
}
