//! Where the page comes from: the counters of the daemon that runs now.

use crate::metrics;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The daemon is asked no more often than this, whoever asks here: one that was started again, or has taken over from
/// another, has other memory.
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

    /// The page of now, or of a moment ago. Why there are no counters stands on standard error, once for each page.
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
