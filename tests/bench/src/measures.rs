//! The measures, the figures of each, and the goals for sockd.

use crate::load::bulk::Direction;
use crate::load::idle;
use crate::origin::Origin;
use crate::procs::Role;
use crate::proxies::{Proxy, Standing};
use crate::request::Protocol;
use crate::syslog::Syslog;
use std::time::Duration;

/// The times and numbers of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) time: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) idle_relays: usize,
    pub(crate) churn: usize,
}

/// The machine's other half.
pub(crate) struct Site {
    pub(crate) origin: Origin,
    pub(crate) syslog: Syslog,
    pub(crate) scale: Scale,
    /// Connections a second for [`Kind::Steady`].
    pub(crate) rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bulk(Direction, usize),
    PingPong {
        behind: usize,
    },
    Connections(Protocol, usize),
    Steady(Protocol),
    Idle {
        hosts: u32,
    },
    Loris {
        slow: usize,
    },
    /// With a remembered user, and without.
    Logins {
        hosts: u32,
    },
    /// Logins while one host tries passwords.
    Guessing,
    /// As many as possible, of this size, to this many destinations and back.
    Datagrams {
        destinations: u16,
        size: usize,
    },
    DatagramPingPong,
    /// Datagrams to destinations that are new.
    NewFlows,
    /// While another host names one new destination after the other.
    FlowFlood,
    /// The monitor's cost of looking at relays that are silent.
    Watch,
    Start,
    Churn,
    Reload,
    /// Many at once from this many client hosts, with this many rules.
    Growth {
        hosts: u32,
        rules: u32,
    },
    /// Many at once, each logged by journald in this format; `to` is how the lines get there.
    Journald {
        to: &'static str,
        format: &'static str,
    },
    /// System calls of the processes of this role.
    Count(Role),
}

/// One measure, which fills one or more lines of the table.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A goal for sockd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// At least this share of ideal-adaptive, and more than any peer.
    Above(f64),
    /// At most this share of ideal-adaptive.
    Within(f64),
    AtMost(f64),
    AtLeast(f64),
    Nothing,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

fn figure(title: String, unit: &'static str, goal: Goal) -> Figure {
    Figure { title, unit, goal }
}

/// All measures, in the table's order.
pub(crate) fn all() -> Vec<Measure> {
    let mut measures = Vec::new();
    let mut add = |name: String, kind| measures.push(Measure { name, kind });
    for (word, direction) in [("down", Direction::Down), ("up", Direction::Up), ("both", Direction::Both)] {
        for streams in [1, 8, 64] {
            add(format!("bulk-{word}-{streams}"), Kind::Bulk(direction, streams));
        }
    }
    for streams in [1, 8, 64] {
        add(format!("small-{streams}"), Kind::Bulk(Direction::SmallDown, streams));
    }
    add("rtt".into(), Kind::PingPong { behind: 0 });
    add("rtt-behind-5000".into(), Kind::PingPong { behind: 5000 });
    let versions = [("4", Protocol::Socks4), ("4a", Protocol::Socks4a), ("5", Protocol::Socks5)];
    for (word, protocol) in versions.into_iter().chain([("5-at-once", Protocol::Socks5AtOnce)]) {
        for at_once in [64, 256] {
            add(format!("cps-{word}-{at_once}"), Kind::Connections(protocol, at_once));
        }
    }
    for (word, protocol) in versions {
        add(format!("p99-{word}"), Kind::Steady(protocol));
    }
    for hosts in [1, 200] {
        add(format!("idle-{hosts}"), Kind::Idle { hosts });
    }
    for slow in [1000, 10_000] {
        add(format!("loris-{slow}"), Kind::Loris { slow });
    }
    for hosts in [1, 256] {
        add(format!("logins-{hosts}"), Kind::Logins { hosts });
    }
    add("guessing".into(), Kind::Guessing);
    for destinations in [1, 16, 512] {
        for size in [200, 1200] {
            add(format!("udp-pps-{destinations}-{size}"), Kind::Datagrams { destinations, size });
        }
    }
    add("udp-rtt".into(), Kind::DatagramPingPong);
    add("udp-flows".into(), Kind::NewFlows);
    add("udp-flood".into(), Kind::FlowFlood);
    add("watch".into(), Kind::Watch);
    add("start".into(), Kind::Start);
    add("churn".into(), Kind::Churn);
    add("reload".into(), Kind::Reload);
    for hosts in [1, 16, 256, 4096] {
        for rules in [10, 10_000, 1_000_000] {
            add(format!("growth-{hosts}-{rules}"), Kind::Growth { hosts, rules });
        }
    }
    for to in ["journal", "syslog"] {
        for format in ["classic", "full", "json", "session"] {
            add(format!("journald-{to}-{format}"), Kind::Journald { to, format });
        }
    }
    add("count-monitor".into(), Kind::Count(Role::Monitor));
    add("count-workers".into(), Kind::Count(Role::Worker));
    measures
}

fn version(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Socks4a => "4A",
        Protocol::Socks5 | Protocol::Datagrams | Protocol::Socks5Login | Protocol::Socks5Guess => "5",
        Protocol::Socks5AtOnce => "5 in one segment",
        Protocol::Direct | Protocol::Socks4 => "4",
    }
}

fn client_hosts(number: u32) -> String {
    format!("{number} client host{}", if number == 1 { "" } else { "s" })
}

/// Figures of many clients at once, with goals for their rate and for the monitor's time.
fn of_connections(title: &str, rate: Goal, monitor: Goal) -> Vec<Figure> {
    let part = |name: &str, goal| figure(format!("{title}: {name}"), "µs each", goal);
    vec![
        figure(title.into(), "conn/s", rate),
        part("processor time", Goal::Nothing),
        part("of this the monitor", monitor),
        part("of this the workers", Goal::Nothing),
        part("syslogd beside it", Goal::Nothing),
        figure(format!("{title}: logged"), "%", Goal::Nothing),
        figure(format!("{title}: handshake p99"), "ms", Goal::Nothing),
    ]
}

impl Measure {
    /// Its figures, in this order.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        match self.kind {
            Kind::Bulk(direction, streams) => {
                let (what, goal) = match direction {
                    Direction::Down => ("down", Goal::Above(0.95)),
                    Direction::Up => ("up", Goal::Above(0.95)),
                    Direction::Both => ("both ways", Goal::Above(0.95)),
                    Direction::SmallDown => ("down in writes of 1 KiB", Goal::Above(1.0)),
                };
                let title = format!("{streams} stream{} {what}", if streams == 1 { "" } else { "s" });
                let time_goal =
                    if direction == Direction::SmallDown { Goal::Nothing } else { Goal::Within(1.05) };
                vec![
                    figure(title.clone(), "Gbit/s", goal),
                    figure(format!("{title}: processor time"), "s/GB", time_goal),
                ]
            }
            Kind::PingPong { behind: 0 } => {
                vec![figure("ping-pong, p50".into(), "µs", Goal::Within(1.1))]
            }
            Kind::PingPong { behind } => {
                vec![figure(format!("ping-pong behind {behind} idle relays, p50"), "µs", Goal::Within(1.1))]
            }
            Kind::Connections(protocol, at_once) => {
                let title = format!("SOCKS{}, {at_once} at once", version(protocol));
                of_connections(&title, Goal::Above(0.85), Goal::AtMost(25.0))
            }
            Kind::Steady(protocol) => {
                let title = format!("SOCKS{} at half of that rate", version(protocol));
                vec![
                    figure(format!("{title}: handshake p99"), "ms", Goal::Within(1.3)),
                    figure(format!("{title}: handshake p50"), "ms", Goal::Nothing),
                ]
            }
            Kind::Idle { hosts } => {
                let title = format!("idle relays from {}", client_hosts(hosts));
                vec![
                    figure(format!("{title}: user memory"), "kB each", Goal::Nothing),
                    figure(format!("{title}: workers"), "", Goal::Nothing),
                    figure(format!("{title}: of 0.6 kB and 150 kB a worker"), "share", Goal::AtMost(1.0)),
                ]
            }
            Kind::Loris { slow } => {
                let title = format!("{slow} slow clients");
                vec![
                    figure(format!("{title}: handshake p99 of others before"), "ms", Goal::Nothing),
                    figure(format!("{title}: with them"), "ms", Goal::Nothing),
                    figure(format!("{title}: with them, of before"), "share", Goal::AtMost(1.3)),
                    figure(format!("{title}: closed by then"), "%", Goal::Nothing),
                ]
            }
            Kind::Logins { hosts } => {
                let title = format!("SOCKS5 with a remembered user, 64 at once from {}", client_hosts(hosts));
                let least = if hosts == 1 { Goal::AtLeast(1000.0) } else { Goal::Nothing };
                vec![
                    figure(title.clone(), "conn/s", least),
                    figure(format!("{title}: without a password"), "conn/s", Goal::Nothing),
                    figure(format!("{title}: of without a password"), "share", Goal::AtLeast(0.8)),
                    figure(format!("{title}: processor time"), "µs each", Goal::Nothing),
                    figure(format!("{title}: processor time without a password"), "µs each", Goal::Nothing),
                ]
            }
            Kind::Guessing => {
                let title = "guesses from 1 client host";
                vec![
                    figure(format!("{title}: login p95 of others before"), "ms", Goal::Nothing),
                    figure(format!("{title}: as they begin"), "ms", Goal::Nothing),
                    figure(format!("{title}: with them"), "ms", Goal::Nothing),
                    figure(format!("{title}: with them, of before"), "share", Goal::AtMost(1.5)),
                    figure(format!("{title}: refused"), "a second", Goal::Nothing),
                    figure(format!("{title}: compared"), "", Goal::Nothing),
                ]
            }
            Kind::Datagrams { destinations, size } => {
                let s = if destinations == 1 { "" } else { "s" };
                let title = format!("datagrams of {size} bytes, {destinations} destination{s}");
                vec![
                    figure(title.clone(), "a second", Goal::Nothing),
                    figure(format!("{title}: processor time"), "µs each", Goal::Within(1.15)),
                ]
            }
            Kind::DatagramPingPong => {
                vec![figure("ping-pong by datagrams, p50".into(), "µs", Goal::Within(1.15))]
            }
            Kind::NewFlows => {
                let title = "new destinations";
                vec![
                    figure(title.into(), "a second", Goal::Nothing),
                    figure(format!("{title}: processor time"), "µs each", Goal::Nothing),
                    figure(format!("{title}: of this the monitor"), "µs each", Goal::AtMost(60.0)),
                ]
            }
            Kind::FlowFlood => {
                let title = "100,000 new destinations from 1 client host";
                vec![
                    figure(format!("{title}: ping-pong p95 of another before"), "µs", Goal::Nothing),
                    figure(format!("{title}: with them"), "µs", Goal::Nothing),
                    figure(format!("{title}: with them, of before"), "share", Goal::AtMost(1.3)),
                ]
            }
            Kind::Watch => {
                let title = "idle relays that are watched: the monitor's time for 50,000 of them";
                vec![figure(title.into(), "% of a processor", Goal::AtMost(1.0))]
            }
            Kind::Start => vec![figure("start to first served connection".into(), "ms", Goal::AtMost(50.0))],
            Kind::Churn => {
                let title = "after a third of the connections was given up: left";
                vec![
                    figure(format!("{title} in descriptors"), "", Goal::AtMost(0.0)),
                    // The log's queue may be full at one moment and empty at the other.
                    figure(format!("{title} in memory"), "kB", Goal::AtMost(1024.0)),
                    figure(format!("{title} in processes, compared"), "", Goal::Nothing),
                ]
            }
            Kind::Reload => vec![
                figure("longest handshake in a second".into(), "ms", Goal::Nothing),
                figure("longest handshake while a million rules are read".into(), "ms", Goal::Nothing),
                figure("reading a million rules".into(), "s", Goal::Nothing),
            ],
            Kind::Growth { hosts, rules } => {
                let title = format!("{}, {rules} rules", client_hosts(hosts));
                of_connections(&title, Goal::Nothing, Goal::Nothing)
            }
            Kind::Journald { to, format } => {
                let title = format!("--log {to}, log_format {format}, to journald");
                let part = |name: &str, unit| figure(format!("{title}: {name}"), unit, Goal::Nothing);
                vec![
                    figure(title.clone(), "conn/s", Goal::Nothing),
                    part("lines for each connection", ""),
                    part("in the journal", "%"),
                    part("lost, as sockd says", "%"),
                    part("journald beside it", "µs each"),
                ]
            }
            Kind::Count(role) => {
                let title = format!("{role:?}, for each connection").to_lowercase();
                vec![
                    figure(format!("{title}: system calls"), "", Goal::Nothing),
                    figure(format!("{title}: wake-ups"), "", Goal::Nothing),
                ]
            }
        }
    }

    /// The protocol in which this proxy is measured, if it can be.
    pub(crate) fn protocol(&self, proxy: &Proxy) -> Option<Protocol> {
        match self.kind {
            Kind::Connections(protocol, _) | Kind::Steady(protocol) => {
                let protocol = match protocol {
                    // Peers without SOCKS4, and no proxy at all, use their own protocol beside SOCKS4.
                    Protocol::Socks4 if !proxy.speaks(protocol) => proxy.usual_protocol(),
                    protocol => protocol,
                };
                proxy.speaks(protocol).then_some(protocol)
            }
            Kind::Datagrams { .. } | Kind::DatagramPingPong | Kind::NewFlows => {
                proxy.speaks(Protocol::Datagrams).then_some(Protocol::Datagrams)
            }
            Kind::FlowFlood if proxy.standing() == Standing::Ours => Some(Protocol::Datagrams),
            Kind::FlowFlood => None,
            Kind::Reload | Kind::Growth { .. } | Kind::Journald { .. } | Kind::Count(_) | Kind::Watch
                if proxy.standing() != Standing::Ours =>
            {
                None
            }
            Kind::Logins { .. } | Kind::Guessing => {
                let protocol = Protocol::Socks5Login;
                proxy.speaks(protocol).then_some(protocol)
            }
            Kind::Loris { .. } | Kind::Start | Kind::Churn if proxy.standing() == Standing::Direct => None,
            Kind::Idle { .. } if proxy.standing() == Standing::Direct => None,
            _ => Some(proxy.usual_protocol()),
        }
    }

    /// Whether it is taken without a request for it.
    pub(crate) fn is_usual(&self, full: bool) -> bool {
        match self.kind {
            Kind::Count(_) | Kind::Journald { .. } => false,
            Kind::Watch | Kind::FlowFlood | Kind::Growth { .. } => full,
            Kind::Loris { slow } => full || slow <= 1000,
            _ => true,
        }
    }
}

impl Scale {
    /// The full scale, or one of a few minutes.
    pub(crate) fn new(full: bool) -> Self {
        let seconds = Duration::from_secs_f64;
        match full {
            true => Self {
                time: seconds(2.5),
                warm_up: seconds(0.5),
                idle_relays: idle::possible(20_000),
                churn: 100_000,
            },
            false => Self {
                time: seconds(0.5),
                warm_up: seconds(0.2),
                idle_relays: idle::possible(2000),
                churn: 5000,
            },
        }
    }
}
