//! Relays that have passed a byte each way and are silent since: what they cost in memory, and the monitor in time.

use crate::dial::Dialler;
use crate::load::pingpong::exchange;
use crate::net::Outcome;
use crate::origin::processors;
use crate::procs::{Role, Tree};
use rustix::process::{Resource, getrlimit};
use std::thread::sleep;
use std::time::Duration;

/// What came of it.
pub(crate) struct Idle {
    /// Growth for each relay, in kB.
    pub(crate) each: f64,
    /// Growth in all, in kB.
    pub(crate) growth: f64,
    /// Workers that came for them.
    pub(crate) new_workers: f64,
}

pub(crate) fn run(dialler: &mut Dialler, relays: usize, tree: &Tree) -> Outcome<Idle> {
    // What is there once and for all does not count.
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

/// The monitor's share of a processor while all relays are silent. It looks at each of them once in 15 seconds.
pub(crate) fn watched(dialler: &mut Dialler, relays: usize, tree: &Tree) -> Outcome<f64> {
    const ROUNDS: Duration = Duration::from_secs(30);
    let opened = dialler.open_all(relays)?;
    opened.iter().try_for_each(|relay| exchange(relay, 1))?;
    sleep(Duration::from_secs(5));
    let before = tree.spent().monitor;
    sleep(ROUNDS);
    let spent = tree.spent().monitor.saturating_sub(before);
    Ok(spent.as_secs_f64() / ROUNDS.as_secs_f64())
}

/// As many of `wanted` as the hard limit of descriptors allows: a relay is one here, and two in one of the workers,
/// of which a client host has one for each processor.
pub(crate) fn possible(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(1000);
    let by_workers = (limit / 2).saturating_mul(processors().into()) / 10 * 9;
    wanted.min(limit).min(by_workers)
}
