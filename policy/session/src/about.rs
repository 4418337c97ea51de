//! What the server says about itself: at a start in the foreground, and to `sockd -ver`.

use crate::config::Config;
use crate::settings::{Isolation, ProxyListener, Settings};
use sockd_policy::{IdentMode, Network, Warning, canonical, lint_balancers};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Tells a terminal where the server serves, what protects it, where the log goes, and how to stop it.
#[derive(Debug)]
pub struct Greeting<'a> {
    /// Whether this is a trial.
    pub trial: bool,
    /// The addresses where clients connect, each with its description.
    pub places: &'a [(SocketAddr, String)],
    /// Layers of the sandbox that this kernel lacks.
    pub missing: &'a [String],
    /// Where the log goes.
    pub log: &'a str,
    /// The process to signal.
    pub pid: u32,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<&str> = self.places.iter().map(|(_, place)| place.as_str()).collect();
        let version = env!("CARGO_PKG_VERSION");
        writeln!(f, "sockd {version} serves SOCKS 4, 4A and 5 on {}.", places.join(", "))?;
        if self.trial {
            let first = self.places.first();
            let place = first.map_or((Ipv4Addr::LOCALHOST, 1080).into(), |(place, _)| within_reach(place));
            writeln!(f, "This is a trial: only programs on this host may use it. From another terminal:")?;
            writeln!(f, "    curl --socks5-hostname {place} http://www.example.org/")?;
        }
        let sandbox = match self.missing {
            [] => "full".into(),
            missing => format!("reduced, this system lacks {}", missing.join(", ")),
        };
        writeln!(f, "Sandbox: {sandbox}. `sockd -ver` tries every layer.")?;
        writeln!(f, "Log: {}.", self.log)?;
        match self.trial {
            true => writeln!(f, "Stop: Ctrl-C, or close this terminal."),
            false => writeln!(f, "Stop: Ctrl-C or `kill {0}`. Reload: `kill -HUP {0}`.", self.pid),
        }
    }
}

/// An address under which a program on this host reaches a listener.
fn within_reach(place: &SocketAddr) -> SocketAddr {
    let mut place = *place;
    match place {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => place.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => place.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    place
}

/// Whether a listener takes IPv6 clients alone, although its address may be read as all of this host's. No listener of
/// the same port takes IPv4 clients.
pub fn only_ipv6(place: SocketAddr, places: &[SocketAddr]) -> bool {
    let for_ipv4 = |other: &SocketAddr| other.is_ipv4() && other.port() == place.port();
    place.ip() == Ipv6Addr::UNSPECIFIED && !places.iter().any(for_ipv4)
}

/// The remark about such a listener.
pub const ONLY_IPV6: &str = "IPv6 clients only";

/// Whether identd is asked unless a rule says otherwise, for `--check`.
pub fn identd(default: IdentMode) -> &'static str {
    match default {
        IdentMode::Off => "asks identd only where a rule says so",
        IdentMode::Lenient => "asks identd; a client host without identd is served (-i)",
        IdentMode::Strict => "asks identd; a client host without identd is refused (-I)",
    }
}

/// The clients that a worker serves, for `--check`.
pub fn workers(isolation: Isolation) -> String {
    match isolation {
        Isolation::Client => "a worker process serves one client host".into(),
        Isolation::User => "a worker process serves one verified user of one client host".into(),
        Isolation::Connection => "a worker process serves one connection".into(),
        Isolation::Shared(1) => "one worker process serves all client hosts".into(),
        Isolation::Shared(number) => format!("{number} worker processes serve all client hosts"),
    }
}

/// Settings that promise more than this host provides, for `--check`. `udp` says whether a line permits datagrams, and
/// `descriptors` how many a process may have here.
pub fn doubts(settings: &Settings, udp: bool, descriptors: u64) -> Vec<String> {
    let Settings { max_sessions, max_workers, max_flows_in_all, isolation, worker_ids, .. } = settings;
    let workers = if let Isolation::Shared(number) = isolation { *number } else { *max_workers };
    // The monitor keeps both sockets of each session (an association has two as well), the socket of each flow and the
    // channel of each worker.
    let flows = if udp { *max_flows_in_all } else { 0 };
    let needed = u64::from(*max_sessions)
        .saturating_mul(2)
        .saturating_add(u64::from(flows))
        .saturating_add(u64::from(workers))
        .saturating_add(256);
    let few = (needed > descriptors).then(|| {
        let (names, and_flows) = match flows {
            0 => ("max_sessions", String::new()),
            flows => ("max_sessions, max_flows_in_all", format!(" and {flows} flows of datagrams")),
        };
        format!(
            "{names}: {max_sessions} connections{and_flows} take {needed} descriptors; what is started here may have \
             {descriptors} (ulimit -Hn)"
        )
    });
    // The first id is the auth worker's.
    let shared = worker_ids.filter(|(_, count)| *count <= u32::from(workers)).map(|(first, count)| {
        let second = first.saturating_add(u32::from(count > 1));
        format!(
            "worker_ids: {count} ids for the auth worker and up to {workers} others; those beyond share the id {second}"
        )
    });
    few.into_iter().chain(shared).chain(settings.proxy_from.iter().flat_map(claimable)).collect()
}

/// Warnings about rules beside `proxy_from`, for `--check`.
pub fn balancer_clients(config: &Config) -> Vec<Warning> {
    let listeners = &config.settings.proxy_from;
    let balancers: Vec<Network> = listeners.iter().flat_map(|listener| listener.from.clone()).collect();
    let listeners: Vec<SocketAddr> = listeners.iter().map(|listener| listener.at).collect();
    lint_balancers(&config.rules, &balancers, &listeners)
}

/// Hosts in `proxy_from` can claim to be any client. A network wider than these is hardly one of balancers alone, and
/// this host would pass on the claims of its own clients.
fn claimable(listener: &ProxyListener) -> Vec<String> {
    let ProxyListener { at, from } = listener;
    let is_wide = |network: &&Network| {
        let outer = Network::prefix(network.address(), if network.address().is_ipv4() { 24 } else { 64 });
        outer.is_some_and(|outer| !network.lies_in(&outer))
    };
    let wide = from.iter().find(is_wide).map(|network| {
        format!(
            "proxy_from: {network:#} is more than a /24 or /64; whoever is there can claim to be any client"
        )
    });
    let own = listener.believes(at.ip()).then(|| {
        format!(
            "proxy_from: {at} believes {}: who reaches it through a gateway can claim to be any client",
            canonical(at.ip())
        )
    });
    wide.into_iter().chain(own).collect()
}

/// The error for a file without rules, which would refuse every request. The server neither starts nor reloads.
pub fn no_rules(conf: &Path) -> String {
    let conf = conf.display();
    format!(
        "{conf} has no rule yet, and every request would be refused: expected a line such as \
         `permit 192.168.1.0 255.255.255.0`, see sockd.conf(5)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_in_the_foreground_is_told_where_how_protected_where_the_log_goes_and_how_to_stop() {
        let places = ["192.0.2.1:1080", "[2001:db8::1]:1080"];
        let places = places.map(|place| (place.parse().unwrap(), place.to_owned()));
        let greeting = Greeting { trial: false, places: &places, missing: &[], log: "syslog", pid: 7 };
        assert_eq!(
            greeting.to_string(),
            format!(
                "sockd {} serves SOCKS 4, 4A and 5 on 192.0.2.1:1080, [2001:db8::1]:1080.\n\
                 Sandbox: full. `sockd -ver` tries every layer.\n\
                 Log: syslog.\n\
                 Stop: Ctrl-C or `kill 7`. Reload: `kill -HUP 7`.\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn a_listener_at_every_ipv6_address_says_that_ipv4_clients_cannot_come() {
        let place = |text: &str| text.parse::<SocketAddr>().unwrap();
        let every = place("[::]:1080");
        assert!(only_ipv6(every, &[every]));
        assert!(only_ipv6(every, &[every, place("0.0.0.0:1081"), place("[::1]:1080")]));
        assert!(!only_ipv6(every, &[every, place("192.0.2.1:1080")]));
        assert!(!only_ipv6(place("[2001:db8::1]:1080"), &[place("[2001:db8::1]:1080")]));
    }

    #[test]
    fn settings_that_promise_more_than_there_is_are_named() {
        let settings = Settings { max_sessions: 1000, max_workers: 44, ..Settings::default() };
        assert_eq!(doubts(&settings, false, 2300), [""; 0]);
        let few = "max_sessions: 1000 connections take 2300 descriptors; what is started here may have 2299 (ulimit -Hn)";
        assert_eq!(doubts(&settings, false, 2299), [few]);
        let settings = Settings { max_flows_in_all: 500, ..settings };
        assert_eq!(doubts(&settings, true, 2800), [""; 0]);
        let few = "max_sessions, max_flows_in_all: 1000 connections and 500 flows of datagrams take 2800 descriptors; \
                   what is started here may have 2799 (ulimit -Hn)";
        assert_eq!(doubts(&settings, true, 2799), [few]);
        let enough = Settings { worker_ids: Some((300_000, 45)), ..settings };
        assert_eq!(doubts(&enough, false, 2300), [""; 0]);
        let shared = Settings { worker_ids: Some((300_000, 44)), ..enough };
        let told =
            "worker_ids: 44 ids for the auth worker and up to 44 others; those beyond share the id 300001";
        assert_eq!(doubts(&shared, false, 2300), [told]);
        let two = Settings { isolation: Isolation::Shared(2), ..shared };
        assert_eq!(doubts(&two, false, 2300), [""; 0]);
    }

    #[test]
    fn balancers_that_others_may_be_are_named() {
        let doubts_of = |from: &str| {
            let text = format!("(proxy_from: [(\"192.0.2.1:1080\", [{from}])])");
            doubts(&ron::from_str(&text).unwrap(), false, u64::MAX)
        };
        for clean in ["\"198.51.100.7\"", "\"198.51.100.0/24\", \"2001:db8::/64\""] {
            assert_eq!(doubts_of(clean), [""; 0], "{clean}");
        }
        let wide = "proxy_from: 198.51.0.0/16 is more than a /24 or /64; whoever is there can claim to be any client";
        assert_eq!(doubts_of("\"198.51.0.0/16\""), [wide]);
        let own = "proxy_from: 192.0.2.1:1080 believes 192.0.2.1: who reaches it through a gateway can claim to be any \
                   client";
        assert_eq!(doubts_of("\"192.0.2.0/24\""), [own]);
        assert_eq!(doubts_of("\"2001:db8::/63\"").len(), 1);
    }

    #[test]
    fn a_trial_is_told_the_one_line_to_copy_and_what_the_kernel_lacks() {
        let places = [("0.0.0.0:1081".parse().unwrap(), "0.0.0.0:1081".to_owned())];
        let missing = ["Landlock".to_owned()];
        let greeting =
            Greeting { trial: true, places: &places, missing: &missing, log: "standard error", pid: 7 };
        let text = greeting.to_string();
        assert!(
            text.contains("\n    curl --socks5-hostname 127.0.0.1:1081 http://www.example.org/\n"),
            "{text}"
        );
        assert!(text.contains("\nSandbox: reduced, this system lacks Landlock. "), "{text}");
        assert!(text.contains("\nLog: standard error.\n") && text.contains("Ctrl-C"), "{text}");
    }
}
