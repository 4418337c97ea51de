//! What is measured: the measures, what each gives, and what is asked of sockd.

use crate::dial::{Dialler, Hosts};
use crate::load::bulk::{self, Direction};
use crate::load::{pingpong, steady, visits};
use crate::net::Outcome;
use crate::origin::{Origin, Service};
use crate::proxies::{Proxy, Running};
use crate::request::Protocol;
use crate::syslog::Syslog;
use std::time::Duration;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) time: Duration,
    pub(crate) warm_up: Duration,
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
    PingPong { behind: usize },
    Visits(Protocol, usize),
    Steady(Protocol),
}

/// One measure; what it gives is one line of the table or several.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What is asked of sockd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// At least this share of ideal-adaptive, and more than any peer.
    Above(f64),
    /// At most this share of ideal-adaptive.
    Within(f64),
    AtMost(f64),
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
    let versions = [("4", Protocol::Socks4), ("4a", Protocol::Socks4a)];
    for (word, protocol) in versions {
        for at_once in [64, 256] {
            add(format!("cps-{word}-{at_once}"), Kind::Visits(protocol, at_once));
        }
    }
    for (word, protocol) in versions {
        add(format!("p99-{word}"), Kind::Steady(protocol));
    }
    measures
}

fn version(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Socks4a { "4A" } else { "4" }
}

impl Measure {
    /// What it gives, in this order.
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
            Kind::Visits(protocol, at_once) => {
                let title = format!("SOCKS{}, {at_once} at once", version(protocol));
                let part = |name: &str, goal| figure(format!("{title}: {name}"), "µs each", goal);
                vec![
                    figure(title.clone(), "conn/s", Goal::Above(0.85)),
                    part("processor time", Goal::Nothing),
                    part("of this the monitor", Goal::AtMost(25.0)),
                    part("of this the workers", Goal::Nothing),
                    part("syslogd beside it", Goal::Nothing),
                    figure(format!("{title}: logged"), "%", Goal::Nothing),
                    figure(format!("{title}: handshake p99"), "ms", Goal::Nothing),
                ]
            }
            Kind::Steady(protocol) => {
                let title = format!("SOCKS{} at half of that rate", version(protocol));
                vec![
                    figure(format!("{title}: handshake p99"), "ms", Goal::Within(1.3)),
                    figure(format!("{title}: handshake p50"), "ms", Goal::Nothing),
                ]
            }
        }
    }

    /// The protocol in which it is taken of this proxy, if it can be.
    pub(crate) fn protocol(&self, proxy: &Proxy) -> Option<Protocol> {
        match self.kind {
            Kind::Visits(protocol, _) | Kind::Steady(protocol) => {
                let protocol = match protocol {
                    // Peers without SOCKS4, and no proxy at all, stand beside SOCKS4 with what they have.
                    Protocol::Socks4 if !proxy.speaks(protocol) => proxy.usual_protocol(),
                    protocol => protocol,
                };
                proxy.speaks(protocol).then_some(protocol)
            }
            _ => Some(proxy.usual_protocol()),
        }
    }

    /// Takes it, and gives the figures in the order of [`Measure::figures`].
    pub(crate) fn take(
        &self,
        running: &Running,
        protocol: Protocol,
        site: &Site,
    ) -> Outcome<Vec<Option<f64>>> {
        let Scale { time, warm_up } = site.scale;
        let dialler = |service| Dialler::new(running.address, protocol, service, Hosts::new(HOSTS));
        match self.kind {
            Kind::Bulk(direction, streams) => {
                let mut dialler = dialler(direction.service());
                let bulk =
                    bulk::run(&mut dialler, direction, streams, warm_up, time, &running.tree, &site.origin)?;
                let spent = running.address.map(|_| bulk.seconds_a_gigabyte);
                Ok(vec![Some(bulk.gigabits), spent])
            }
            Kind::PingPong { behind } => {
                let mut dialler = dialler(Service::Echo);
                let _idle = dialler.open_all(behind)?;
                let relay = dialler.open(Duration::from_secs(10))?;
                pingpong::run(&relay, warm_up)?;
                let mut times = pingpong::run(&relay, time)?;
                Ok(vec![Some(times.percentile(0.5))])
            }
            Kind::Visits(_, at_once) => take_visits(&dialler(Service::Byte), at_once, running, site),
            Kind::Steady(_) => {
                let rate = site.rate.ok_or("no rate of sockd to take the half of")?;
                let dialler = dialler(Service::Byte);
                every_host_once(&dialler)?;
                let mut came = steady::run(&dialler, rate, time)?;
                if let Some(why) = &came.first_failure
                    && came.failed > came.openings.number() / 100
                {
                    return Err(format!("{} connections failed: {why}", came.failed).into());
                }
                let milliseconds = |micros: f64| Some(micros / 1e3);
                Ok(vec![
                    milliseconds(came.openings.percentile(0.99)),
                    milliseconds(came.openings.percentile(0.5)),
                ])
            }
        }
    }
}

/// Client hosts of most measures.
const HOSTS: u32 = 256;

/// What a proxy does for a host that it has not seen yet is done before the measurement.
fn every_host_once(dialler: &Dialler) -> Outcome<()> {
    let mut dialler = dialler.clone();
    (0..HOSTS).try_for_each(|_| dialler.open(Duration::from_secs(10)).map(drop))
}

fn take_visits(
    dialler: &Dialler,
    at_once: usize,
    running: &Running,
    site: &Site,
) -> Outcome<Vec<Option<f64>>> {
    let Scale { time, warm_up } = site.scale;
    every_host_once(dialler)?;
    let logged_by = site.syslog.spent();
    let mut visits = visits::run(dialler, at_once, warm_up, time, &running.tree)?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let is_sockd = !running.tree.pids(crate::procs::Role::Monitor).is_empty();
    let mut figures = vec![Some(visits.a_second), running.address.map(|_| micros(visits.spent.total()))];
    if is_sockd {
        let logged = site.syslog.wait_for(visits.in_all, " connected -- ");
        let logging = site.syslog.spent().saturating_sub(logged_by);
        figures.extend([
            Some(micros(visits.spent.monitor)),
            Some(micros(visits.spent.workers + visits.spent.spawner)),
            Some(micros(logging) / visits.in_all as f64),
            // Those that were under way at the end are in the log, but were not counted.
            Some((logged as f64 * 100.0 / visits.in_all as f64).min(100.0)),
        ]);
    }
    figures.resize(6, None);
    figures.push(Some(visits.openings.percentile(0.99) / 1e3));
    Ok(figures)
}
