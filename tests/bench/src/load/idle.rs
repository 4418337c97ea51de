//! Relays that have passed a byte each way and are silent since: their cost in memory, and in the monitor's time.

use crate::dial::Dialler;
use crate::load::pingpong::exchange;
use crate::net::Outcome;
use crate::origin::processors;
use crate::procs::{Role, Tree};
use rustix::process::{Resource, getrlimit};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The result.
pub(crate) struct Idle {
    /// Growth for each relay, in kB.
    pub(crate) each: f64,
    /// Growth in all, in kB.
    pub(crate) growth: f64,
    /// Workers that came for them.
    pub(crate) new_workers: f64,
}

pub(crate) fn run(dialler: &mut Dialler, relays: usize, tree: &Tree) -> Outcome<Idle> {
    // Fixed costs do not count.
    drop(dialler.open(Duration::from_secs(10))?);
    sleep(Duration::from_millis(500));
    let memory = || tree.holdings().values().map(|holdings| holdings.memory).sum::<i64>();
    let workers = || tree.pids(Role::Worker).len();
    let (memory_before, workers_before) = (memory(), workers());
    let opened = dialler.open_all(relays)?;
    opened.iter().try_for_each(|relay| exchange(relay, 1))?;
    sleep(Duration::from_secs(1));
    let growth = (memory() - memory_before) as f64;
    let new_workers = workers().saturating_sub(workers_before) as f64;
    Ok(Idle { each: growth / relays as f64, growth, new_workers })
}

/// The monitor's share of a processor while all relays are silent and others look at them. `sockdctl list --watch`
/// looks every two seconds, and a collector of the counters every five. The monitor looks at all relays in 20 seconds,
/// and then pauses for as long: this takes one such time.
pub(crate) fn watched(dialler: &mut Dialler, relays: usize, tree: &Tree) -> Outcome<f64> {
    const ROUNDS: u32 = 8;
    const EVERY: Duration = Duration::from_secs(5);
    // Started before a relay can take the exporter's port.
    let exporter = EXPORTER.to_string();
    let _lookers = [
        Looker::start("sockdctl", &["list", "--watch"])?,
        Looker::start("sockd-exporter", &["--listen", &exporter])?,
    ];
    let opened = dialler.open_all(relays)?;
    opened.iter().try_for_each(|relay| exchange(relay, 1))?;
    sleep(EVERY);
    let before = tree.spent().monitor;
    for _ in 0..ROUNDS {
        sleep(EVERY);
        let page = scrape()?;
        let expected = format!("sockd_sessions{{state=\"relaying\"}} {relays}\n");
        if !page.contains(&expected) {
            return Err(format!("no {expected:?} in {page}").into());
        }
    }
    let spent = tree.spent().monitor.saturating_sub(before);
    Ok(spent.as_secs_f64() / (EVERY * ROUNDS).as_secs_f64())
}

/// The address of the exporter.
const EXPORTER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9908);

fn scrape() -> Outcome<String> {
    let mut exporter = TcpStream::connect(EXPORTER)?;
    exporter.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut page = String::new();
    exporter.read_to_string(&mut page)?;
    Ok(page)
}

/// A program that looks at sockd; ended when dropped.
struct Looker(Child);

impl Looker {
    /// Starts the program that was built beside this one.
    fn start(name: &str, words: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name(name));
        let command = command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().map_err(|error| format!("{name}: {error}"))?))
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As many of `wanted` as the hard limit of descriptors allows. A relay takes one here, and two in one of the workers;
/// a client host has a worker for each processor.
pub(crate) fn possible(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(1000);
    let by_workers = (limit / 2).saturating_mul(processors().into()) / 10 * 9;
    wanted.min(limit).min(by_workers)
}
