//! The counters of a running sockd as text for Prometheus and its kin: OpenMetrics 1.0.
//!
//! `sockdctl metrics` prints the page, and `sockd-exporter` answers with it. The numbers come from memory that the monitor
//! hands out once and is then asked nothing about.

mod page;
mod process;

use page::Page;
use sockd_common::counters::{Counters, Listener};
use sockd_common::status::Gift;
use sockd_ledger::counters::Reader;
use sockd_ledger::fetch::fetch_within;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The content type of a page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long an answer of the daemon may take: a daemon that takes longer does not serve either.
const LIMIT: Duration = Duration::from_secs(2);

/// Reads the counters of a daemon, which one of its sockets hands out. The counters of earlier trees are added to those
/// of the serving monitor, as a takeover is no new beginning.
pub fn read(socket: &Path) -> io::Result<Counters> {
    let mut all = None;
    for (gift, memory) in fetch_within(socket, LIMIT)?.into_iter().filter(|(gift, _)| *gift != Gift::Ledger) {
        let counters = Reader::open(memory)?.counters();
        match &all {
            None => all = Some(counters),
            Some(all) => all.add(&counters, gift == Gift::Counters),
        }
    }
    all.ok_or_else(|| io::Error::other("no counters are handed out there"))
}

/// The page of a daemon with these counters, or of one that is not there.
pub fn page(counters: Option<&Counters>) -> String {
    let mut page = Page::default();
    page.gauge("sockd_up", "Whether the daemon hands out its counters.", u64::from(counters.is_some()));
    if let Some(counters) = counters {
        facts(&mut page, counters);
        clients(&mut page, counters);
        workers(&mut page, counters);
        datagrams(&mut page, counters);
        process::add(&mut page, counters);
    }
    page.end()
}

/// The version, the rules in force, failed reloads and lost lines.
fn facts(page: &mut Page, counters: &Counters) {
    page.info("sockd_build", "The version of the daemon.", &format!("version=\"{}\"", counters.name()));
    page.gauge("sockd_rules", "Rules in force.", counters.rules.get());
    page.unit(
        "sockd_rules_loaded_timestamp_seconds",
        "When the rules in force were read, in seconds since 1970.",
        counters.rules_loaded.get(),
    );
    page.counter(
        "sockd_rules_reload_failures",
        "Reloads that have changed nothing, for an error.",
        counters.reload_failures.get(),
    );
    page.counter(
        "sockd_log_lines_lost",
        "Lines that the log did not take in time.",
        counters.log_lines_lost.get(),
    );
}

/// Clients, from their connections to their bytes.
fn clients(page: &mut Page, counters: &Counters) {
    let connections = counters.listeners.iter().filter_map(connections);
    page.counters("sockd_connections", "Clients that have connected, by listener.", connections);
    page.gauges("sockd_sessions", "Sessions that there are.", counters.sessions.all());
    page.counters("sockd_requests", "Requests, by what became of them.", counters.requests.all());
    page.counters_of(
        "sockd_relayed_bytes",
        "bytes",
        "Bytes of streams, counted by the kernel when a relay ends.",
        counters.relayed_bytes.all(),
    );
    page.histogram(
        "sockd_handshake_seconds",
        "From a client's connection to its request.",
        &counters.handshake,
    );
    page.histogram(
        "sockd_dial_seconds",
        "From the beginning of a connection to a destination or next server until it stands or fails.",
        &counters.dial,
    );
    page.counters("sockd_auth_attempts", "Attempts to show who a user is.", counters.logins.all());
    page.counter(
        "sockd_auth_cache_hits",
        "Logins that the auth worker has remembered, by its own word.",
        counters.login_cache_hits.get(),
    );
    page.counters("sockd_limit_hits", "How often a limit was met.", counters.limits.all());
}

fn connections(listener: &Listener) -> Option<(String, u64)> {
    let address = listener.address()?;
    Some((format!("listener=\"{address}\""), listener.connections.get()))
}

/// Workers.
fn workers(page: &mut Page, counters: &Counters) {
    page.gauges("sockd_workers", "Workers that there are.", counters.workers.all());
    page.counters(
        "sockd_worker_deaths",
        "Workers that have ended and were not dismissed.",
        counters.deaths.all(),
    );
    page.counter(
        "sockd_violations",
        "What no honest worker says or does; the worker was killed.",
        counters.violations.get(),
    );
}

/// UDP.
fn datagrams(page: &mut Page, counters: &Counters) {
    page.gauge("sockd_udp_associations", "UDP associations that there are.", counters.associations.get());
    page.gauge("sockd_udp_flows", "Flows of UDP associations that there are.", counters.flows.get());
}

#[cfg(test)]
mod tests;
