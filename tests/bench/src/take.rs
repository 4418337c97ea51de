//! Takes each measure.

use crate::count::Counter;
use crate::datagram_echo::DatagramEcho;
use crate::dial::{Dialler, Hosts};
use crate::journald::Journald;
use crate::load::datagrams::Association;
use crate::load::{bulk, churn, connections, idle, loris, pingpong, reload, steady};
use crate::measures::{Kind, Measure, Scale, Site};
use crate::net::Outcome;
use crate::numbers::{Times, digits, median};
use crate::origin::Service;
use crate::procs::Role;
use crate::proxies::{self, Proxy, Running, SOCKD};
use crate::request::Protocol;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

/// Client hosts of most measures.
const HOSTS: u32 = 256;
/// Client hosts of measures with fewer hosts than workers.
const FEW: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(10);

type Figures = Outcome<Vec<Option<f64>>>;

/// Starts the proxy, takes the measure, and returns its figures in their order.
pub(crate) fn take(measure: &Measure, proxy: &Proxy, protocol: Protocol, site: &Site) -> Figures {
    site.syslog.forget()?;
    if measure.kind == Kind::Start {
        return start(proxy, protocol);
    }
    if let Kind::Journald { to, format } = measure.kind {
        proxies::set(false, format)?;
        return journald(&proxy.logging_to(to), protocol, site);
    }
    proxies::set(measure.kind == Kind::Watch, "classic")?;
    let running = proxy.start(protocol)?;
    let Scale { time, warm_up, .. } = site.scale;
    let dialler = |service, hosts| Dialler::new(running.address, protocol, service, Hosts::new(hosts));
    match measure.kind {
        Kind::Bulk(direction, streams) => {
            let mut dialler = dialler(direction.service(), HOSTS);
            let bulk =
                bulk::run(&mut dialler, direction, streams, warm_up, time, &running.tree, &site.origin)?;
            let spent = running.address.and(bulk.seconds_a_gigabyte);
            Ok(vec![Some(bulk.gigabits), spent])
        }
        Kind::PingPong { behind } => {
            let mut dialler = dialler(Service::Echo, HOSTS);
            let _idle = dialler.open_all(behind)?;
            let relay = dialler.open(PATIENCE)?;
            pingpong::run(&relay, warm_up)?;
            let mut times = pingpong::run(&relay, time)?;
            Ok(vec![Some(times.percentile(0.5))])
        }
        Kind::Connections(_, at_once) => many_connections(dialler, HOSTS, at_once, &running, site),
        Kind::Steady(_) => {
            let rate = site.rate.ok_or("no rate of sockd to take the half of")?;
            let dialler = dialler(Service::Byte, HOSTS);
            every_host_once(&dialler, HOSTS)?;
            let [p50, p99] = openings(&dialler, rate, time, [0.5, 0.99])?;
            Ok(vec![Some(p99), Some(p50)])
        }
        Kind::Idle { hosts } => {
            let relays = site.scale.idle_relays;
            let idle = idle::run(&mut dialler(Service::Echo, hosts), relays, &running.tree)?;
            let allowed = 0.6 * relays as f64 + 150.0 * idle.new_workers;
            let ours = running.has_monitor();
            Ok(vec![Some(idle.each), ours.then_some(idle.new_workers), ours.then_some(idle.growth / allowed)])
        }
        Kind::Loris { slow } => slow_clients(&dialler(Service::Byte, FEW), protocol, slow, &running, site),
        Kind::Logins { hosts } => logins(running, proxy, hosts, site),
        Kind::Guessing => guesses(&dialler(Service::Byte, FEW), &running, site),
        Kind::Datagrams { destinations, size } => {
            datagrams(&mut dialler(Service::Echo, 1), destinations, size, &running, site)
        }
        Kind::DatagramPingPong => {
            let echo = DatagramEcho::start(1)?;
            let association = Association::open(&mut dialler(Service::Echo, 1))?;
            association.reach_all(&echo.places)?;
            ping_pong(&association, &echo, warm_up)?;
            let mut times = ping_pong(&association, &echo, time)?;
            Ok(vec![Some(times.percentile(0.5))])
        }
        Kind::NewFlows => new_flows(&mut dialler(Service::Echo, FLOW_HOSTS), &running),
        Kind::FlowFlood => flow_flood(&mut dialler(Service::Echo, 2), site),
        Kind::Watch => {
            // Two of its descriptors are a relay's.
            let relays = idle::possible(100_000) / 2;
            let share = idle::watched(&mut dialler(Service::Echo, 200), relays, &running.tree)?;
            Ok(vec![Some(share * 100.0 * 50_000.0 / relays as f64)])
        }
        Kind::Start | Kind::Journald { .. } => Err("it is taken before anything is started".into()),
        Kind::Churn => {
            let proxy = running.address.ok_or("no proxy")?;
            let [echo, source, sink] =
                [Service::Echo, Service::Source, Service::Sink].map(|service| dialler(service, FEW));
            let diallers = churn::Diallers { echo, source, sink, proxy, protocol };
            let left = churn::run(diallers, site.scale.churn, &running.tree)?;
            Ok([left.descriptors, left.memory, left.processes as i64]
                .map(|figure| Some(figure as f64))
                .into())
        }
        Kind::Reload => {
            let monitor = *running.tree.pids(Role::Monitor).first().ok_or("no monitor")?;
            let mut dialler = dialler(Service::Byte, FEW);
            every_host_once(&dialler, FEW)?;
            let reload = reload::run(&mut dialler, monitor, SOCKD, &site.syslog)?;
            let milliseconds = |time: Duration| Some(time.as_secs_f64() * 1e3);
            let took = Some(reload.took.as_secs_f64());
            Ok(vec![milliseconds(reload.longest_before), milliseconds(reload.longest), took])
        }
        Kind::Growth { hosts, rules } => {
            let monitor = *running.tree.pids(Role::Monitor).first().ok_or("no monitor")?;
            reload::grow(rules, monitor, SOCKD, &site.syslog)?;
            many_connections(dialler, hosts, 64, &running, site)
        }
        Kind::Count(role) => counts(&dialler(Service::Byte, FEW), role, &running, site),
    }
}

/// Connects once from every host, so that a proxy's work for a new host is done before the measurement.
fn every_host_once(dialler: &Dialler, hosts: u32) -> Outcome<()> {
    let mut dialler = dialler.clone();
    (0..hosts).try_for_each(|_| dialler.open(PATIENCE).map(drop))
}

fn many_connections(
    dialler: impl Fn(Service, u32) -> Dialler,
    hosts: u32,
    at_once: usize,
    running: &Running,
    site: &Site,
) -> Figures {
    let Scale { time, warm_up, .. } = site.scale;
    let dialler = dialler(Service::Byte, hosts);
    every_host_once(&dialler, hosts)?;
    let (logged_by, logged) = (site.syslog.spent(), site.syslog.count(CONNECTED));
    let mut connections = connections::run(&dialler, at_once, warm_up, time, &running.tree)?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let mut figures =
        vec![Some(connections.a_second), running.address.map(|_| micros(connections.spent.total()))];
    if running.has_monitor() {
        let logged = site.syslog.wait_for(logged + connections.in_all, CONNECTED) - logged;
        let logging = site.syslog.spent().saturating_sub(logged_by);
        figures.extend([
            Some(micros(connections.spent.monitor)),
            Some(micros(connections.spent.workers + connections.spent.spawner)),
            Some(micros(logging) / connections.in_all as f64),
            // Connections that were under way at the end are in the log, but were not counted.
            Some((logged as f64 * 100.0 / connections.in_all as f64).min(100.0)),
        ]);
    }
    figures.resize(6, None);
    figures.push(Some(connections.openings.percentile(0.99) / 1e3));
    Ok(figures)
}

/// The same beside a journald.
fn journald(proxy: &Proxy, protocol: Protocol, site: &Site) -> Figures {
    let Scale { time, warm_up, .. } = site.scale;
    let journald = Journald::start()?;
    let running = proxy.start(protocol)?;
    let before = journald.read()?;
    let dialler = Dialler::new(running.address, protocol, Service::Byte, Hosts::new(HOSTS));
    every_host_once(&dialler, HOSTS)?;
    let slowly = journald.read()?;
    // Connections one after the other lose no line.
    let lines = (slowly.lines - before.lines) as f64 / f64::from(HOSTS);
    let logged_by = journald.spent();
    let connections = connections::run(&dialler, 64, warm_up, time, &running.tree)?;
    let journal = journald.read()?;
    let number = connections.in_all as f64;
    let share = |count: u64| count as f64 * 100.0 / (number * lines);
    let logging = journald.spent().saturating_sub(logged_by).as_secs_f64() * 1e6 / number;
    // Connections that were under way at the end are in the log, but were not counted.
    let logged = share(journal.lines - slowly.lines).min(100.0);
    let lost = share(journal.lost - slowly.lost);
    Ok([connections.a_second, lines, logged, lost, logging].map(Some).into())
}

const CONNECTED: &str = " connected -- ";

/// These percentiles of handshakes at a steady rate, in milliseconds.
fn openings<const N: usize>(
    dialler: &Dialler,
    rate: f64,
    time: Duration,
    shares: [f64; N],
) -> Outcome<[f64; N]> {
    let mut came = steady::run(dialler, rate, time)?;
    if let Some(why) = &came.first_failure
        && came.failed > came.openings.number() / 100
    {
        return Err(format!("{} connections failed: {why}", came.failed).into());
    }
    Ok(shares.map(|share| came.openings.percentile(share) / 1e3))
}

/// Handshakes a second of other clients, which something may disturb.
const RATE: f64 = 500.0;

fn slow_clients(
    dialler: &Dialler,
    protocol: Protocol,
    slow: usize,
    running: &Running,
    site: &Site,
) -> Figures {
    let proxy = running.address.ok_or("no proxy")?;
    // The p99 of a few hundred handshakes would be an accident of the slowest.
    let time = site.scale.time * 2;
    every_host_once(dialler, FEW)?;
    let [before] = openings(dialler, RATE, time, [0.99])?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = loris::Slow::begin(scope, &over, proxy, protocol, slow)?;
        thread::sleep(Duration::from_secs(2));
        let [with_them] = openings(dialler, RATE, time, [0.99])?;
        let closed = clients.end() as f64 * 100.0 / slow as f64;
        Ok([before, with_them, with_them / before, closed].map(Some).into())
    })
}

/// Many at once, of a proxy that asks for a password and then of one that does not.
fn logins(asking: Running, proxy: &Proxy, hosts: u32, site: &Site) -> Figures {
    const AT_ONCE: usize = 64;
    let Scale { time, warm_up, .. } = site.scale;
    let pace = |running: &Running, protocol| {
        let dialler = Dialler::new(running.address, protocol, Service::Byte, Hosts::new(hosts));
        // The first of them also has the user remembered.
        every_host_once(&dialler, hosts)?;
        let connections = connections::run(&dialler, AT_ONCE, warm_up, time, &running.tree)?;
        Outcome::Ok([connections.a_second, connections.spent.total().as_secs_f64() * 1e6])
    };
    let [with, spent_with] = pace(&asking, Protocol::Socks5Login)?;
    drop(asking);
    let [without, spent_without] = pace(&proxy.start(Protocol::Socks5)?, Protocol::Socks5)?;
    Ok([with, without, with / without, spent_with, spent_without].map(Some).into())
}

/// Logins of a remembered user before and while another host tries one password after the other, whatever the answers.
fn guesses(dialler: &Dialler, running: &Running, site: &Site) -> Figures {
    const GUESSES: f64 = 1000.0;
    const COMPARED: &str = " password refused -- ";
    let guesser = Hosts::from_base(Ipv4Addr::new(127, 96, 0, 1), 1);
    let guesser = Dialler::new(running.address, Protocol::Socks5Guess, Service::Byte, guesser);
    let time = site.scale.time * 2;
    every_host_once(dialler, FEW)?;
    let [before] = openings(dialler, RATE, time, [0.95])?;
    thread::scope(|scope| {
        let guessing = scope.spawn(|| {
            // The first guesses are the ones that are compared. They come when the times of the others begin to count.
            thread::sleep(time / 4);
            // Longer than both measurements beside it.
            let guessing_time = time * 2;
            let begun = Instant::now();
            let came = steady::run(&guesser, GUESSES, guessing_time)?;
            Outcome::Ok((came, begun.elapsed().as_secs_f64()))
        });
        let [as_they_begin] = openings(dialler, RATE, time, [0.95])?;
        let [with_them] = openings(dialler, RATE, time, [0.95])?;
        let (came, elapsed) = guessing.join().map_err(|_| "the thread that guesses panicked")??;
        if came.openings.number() > 0 {
            return Err("a wrong password was taken for a right one".into());
        }
        let compared = site.syslog.count(COMPARED) as f64;
        let refused = came.failed as f64 / elapsed;
        Ok([before, as_they_begin, with_them, with_them / before, refused, compared].map(Some).into())
    })
}

fn ping_pong(association: &Association, echo: &DatagramEcho, time: Duration) -> Outcome<Times> {
    let begun = Instant::now();
    association.ping_pong(echo.places[0], || begun.elapsed() < time)
}

/// Datagrams to destinations that all have a flow already, and back; each way counts.
fn datagrams(
    dialler: &mut Dialler,
    destinations: u16,
    size: usize,
    running: &Running,
    site: &Site,
) -> Figures {
    let Scale { time, warm_up, .. } = site.scale;
    let echo = DatagramEcho::start(destinations)?;
    let association = Association::open(dialler)?;
    association.reach_all(&echo.places)?;
    association.exchange(&echo.places, size, warm_up)?;
    let (before, begun) = (running.tree.spent(), Instant::now());
    let relayed = association.exchange(&echo.places, size, time)? as f64 * 2.0;
    let elapsed = begun.elapsed().as_secs_f64();
    let spent = running.tree.spent().since(before).total();
    Ok(vec![Some(relayed / elapsed), Some(spent.as_secs_f64() * 1e6 / relayed)])
}

/// Client hosts that ask for flows; together they stay within what all may ask for at once.
const FLOW_HOSTS: u32 = 4;
/// Destinations of each of them, within what one host may ask for at once.
const NEW_DESTINATIONS: u16 = 480;

/// From the first datagram to a destination to its answer, and then the end of all flows.
fn new_flows(dialler: &mut Dialler, running: &Running) -> Figures {
    let echo = DatagramEcho::start(NEW_DESTINATIONS)?;
    let associations: Vec<_> = (0..FLOW_HOSTS).map(|_| Association::open(dialler)).collect::<Outcome<_>>()?;
    let (first, others) = echo.places.split_at(1);
    associations.iter().try_for_each(|association| association.reach_all(first))?;
    let (before, begun) = (running.tree.spent(), Instant::now());
    associations.iter().try_for_each(|association| association.reach_all(others))?;
    let elapsed = begun.elapsed().as_secs_f64();
    drop(associations);
    // Their end is counted as well.
    thread::sleep(Duration::from_millis(500));
    let spent = running.tree.spent().since(before);
    let flows = f64::from(FLOW_HOSTS) * others.len() as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / flows;
    let monitor = running.has_monitor().then_some(each(spent.monitor));
    Ok(vec![Some(flows / elapsed), Some(each(spent.total())), monitor])
}

/// Ping-pong of one host before and while another sends to ever new destinations.
fn flow_flood(dialler: &mut Dialler, site: &Site) -> Figures {
    const NUMBER: u32 = 100_000;
    const RATE: f64 = 10_000.0;
    // Nobody is there, and each sender is told so.
    let nowhere = u32::from(Ipv4Addr::new(127, 128, 0, 1));
    let destinations = (0..NUMBER).map(|number| SocketAddrV4::new((nowhere + number).into(), 9));
    let echo = DatagramEcho::start(1)?;
    let [others, flooding] = [Association::open(dialler)?, Association::open(dialler)?];
    others.reach_all(&echo.places)?;
    flooding.reach_all(&echo.places)?;
    ping_pong(&others, &echo, site.scale.warm_up)?;
    let before = ping_pong(&others, &echo, site.scale.time * 2)?.percentile(0.95);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let sent = flooding.flood(destinations, RATE);
            over.store(true, Relaxed);
            sent
        });
        let mut times = others.ping_pong(echo.places[0], || !over.load(Relaxed))?;
        flood.join().map_err(|_| "the thread that floods panicked")??;
        let with_them = times.percentile(0.95);
        Ok([before, with_them, with_them / before].map(Some).into())
    })
}

/// From the start of the program to the byte that has gone through it; the median of five.
fn start(proxy: &Proxy, protocol: Protocol) -> Figures {
    let mut taken = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let mut running = proxy.launch(protocol)?;
        let mut dialler = Dialler::new(running.address, protocol, Service::Echo, Hosts::new(1));
        let served = loop {
            // Some leave the first connection alone that comes before they are ready.
            if let Ok(relay) = dialler.open(Duration::from_millis(250)) {
                break pingpong::exchange(&relay, 1);
            }
            if begun.elapsed() > PATIENCE {
                break Err("it does not serve".into());
            }
            thread::sleep(Duration::from_micros(200));
        };
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
        running.find_orphans();
        served?;
    }
    Ok(vec![median(&taken)])
}

/// System calls and context switches; each by name on standard error.
fn counts(dialler: &Dialler, role: Role, running: &Running, site: &Site) -> Figures {
    every_host_once(dialler, FEW)?;
    // Brings up every worker that a busy host gets.
    connections::run(dialler, 64, Duration::ZERO, Duration::from_secs(1), &running.tree)?;
    let counter = Counter::begin(&running.tree, role)?;
    let connections = connections::run(dialler, 64, Duration::ZERO, site.scale.time * 2, &running.tree)?;
    let counts = counter.end()?;
    let each = |number: u64| number as f64 / connections.in_all as f64;
    let (switches, calls): (Vec<_>, Vec<_>) = counts.iter().partition(|(name, _)| name == "context-switches");
    for (name, number) in &calls {
        if each(*number) >= 0.005 {
            eprintln!("    {} {name}", digits(each(*number)));
        }
    }
    let sum = |counts: Vec<&(String, u64)>| Some(each(counts.iter().map(|(_, number)| number).sum()));
    Ok(vec![sum(calls), sum(switches)])
}
