//! Facts about the server: the classic ones, and those that its files and settings add.

use sockd::config::options::Options;
use sockd::config::read::{SERVICES, upstream_file, upstreams};
use sockd_common::message::session::RelayMode;
use sockd_policy::Services;
use sockd_session::config::counted;
use sockd_session::settings::{Crowded, Isolation, Settings};
use std::fs;
use std::path::Path;

/// A sentence for each fact. The error says why an upstream file cannot be used.
pub(crate) fn facts(options: &Options, settings: &Settings) -> Result<[String; 9], Vec<String>> {
    let services = Services::parse(&fs::read(SERVICES).unwrap_or_default());
    let lines = upstreams(options, settings, &services, &mut Vec::new())?.map(|lines| lines.len());
    let rrcmd = if settings.privileged_ports { "Supports" } else { "Does not support" };
    let route = if options.route.exists() { "is used" } else { "is not required, and there is none" };
    Ok([
        format!(
            "sockd, the SOCKS proxy server in the tradition of CSTC, version {}",
            env!("CARGO_PKG_VERSION")
        ),
        "SOCKS protocol versions 4, 4A and 5".into(),
        socksified(&upstream_file(options, settings), lines),
        "Standalone server; with a socket as descriptor 0 under inetd (wait or nowait), with LISTEN_FDS \
         socket-activated"
            .into(),
        "RBIND is supported, and UDP ASSOCIATE where a rule has +=udp".into(),
        format!("The route file {} {route}", options.route.display()),
        format!("{rrcmd} clients that use Rrcmd()"),
        isolation(settings.isolation, settings.crowded),
        relay(settings.relay).into(),
    ])
}

fn socksified(file: &Path, lines: Option<usize>) -> String {
    let file = file.display();
    match lines {
        Some(lines) => format!("SOCKSified: {} in {file}", counted(lines, "upstream line")),
        None => format!("SOCKSified, but there is no {file}: all destinations are reached directly"),
    }
}

fn isolation(isolation: Isolation, crowded: Crowded) -> String {
    let what = match isolation {
        Isolation::Client => "client hosts",
        Isolation::User => "verified users",
        Isolation::Connection => "connections",
        Isolation::Shared(number) => {
            return format!("Isolation: none, {number} workers serve all client hosts");
        }
    };
    let beyond = match crowded {
        Crowded::Refuse => "",
        Crowded::Share => ", up to max_workers of them",
    };
    format!("Isolation: no worker sees bytes of two {what} at once{beyond}")
}

fn relay(relay: RelayMode) -> &'static str {
    match relay {
        RelayMode::Adaptive => {
            "Relay: small amounts are copied through a worker's memory, bulk is spliced past it"
        }
        RelayMode::Splice => "Relay: no relayed byte enters the memory of a worker, but for urgent ones",
    }
}
