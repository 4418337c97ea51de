//! Connections a second through one gateway, through two behind each of the recipes for fleets, and through two monitors on
//! one gateway: `cargo build --release -p sockd -p sockd-worker && cargo bench -p sockd-tests --bench fleet`, as root.
//!
//! Load, server, gateways and balancers share the processors of this host. So the processor time for each connection
//! can be compared with other hosts, but the connections a second only with each other.

#![allow(dead_code, unused_imports, reason = "the tests in these files are not in a benchmark")]

#[path = "../e2e/fleet/client.rs"]
mod client;
#[path = "../e2e/fleet/ecmp.rs"]
mod ecmp;
#[path = "../e2e/fleet/haproxy.rs"]
mod haproxy;
#[path = "../e2e/fleet/instances.rs"]
mod instances;
#[path = "../e2e/fleet/place.rs"]
mod place;

use crate::client::Client;
use crate::place::{CLIENTS, Place, client};
use sockd_tests::procfs::Process;
use sockd_tests::sockd::Sockd;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

/// Connections at once.
const AT_ONCE: u8 = 64;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(3);

/// proc(5): ticks of 10 ms.
const TICK: f64 = 1e4;

fn main() {
    println!(
        "| {AT_ONCE} at once from {CLIENTS} hosts, SOCKS5 | conn/s | monitor, µs each | workers | balancer |"
    );
    println!("|---|---:|---:|---:|---:|");
    let fleet = ecmp::Fleet::new();
    let monitors = |gates: &[Sockd]| gates.iter().map(Sockd::monitor).collect::<Vec<_>>();
    fleet.place.middle.sh("sh /run/ecmp router 1");
    measured("one gateway, routed", &fleet.place, &monitors(&fleet.gates), None, |address| {
        fleet.client(address)
    });
    fleet.place.middle.sh("sh /run/ecmp router 1 2");
    measured("two gateways, ECMP", &fleet.place, &monitors(&fleet.gates), None, |address| {
        fleet.client(address)
    });
    drop(fleet);
    for number in [1, 2] {
        let fleet = haproxy::Fleet::of(number);
        let name = ["one gateway, HAProxy", "two gateways, HAProxy"][number - 1];
        let balancer = Some(Process(fleet.haproxy.pid()));
        measured(name, &fleet.place, &monitors(&fleet.gates), balancer, |address| Client {
            place: &fleet.place,
            address,
            proxy: haproxy::BALANCER,
        });
    }
    let gateway = instances::Gateway::new();
    let manager = gateway.manager.pid().to_string();
    let family = Process(gateway.manager.pid()).descendants();
    let of_manager = |process: &Process| process.status().get("PPid") == Some(&manager);
    let monitors: Vec<_> = family.into_iter().filter(of_manager).collect();
    measured("one gateway, two monitors", &gateway.place, &monitors, None, |address| gateway.client(address));
    drop(gateway);
    alone();
}

/// With the first processor for the monitor and the second one for everything else: the monitor's cost undisturbed.
fn alone() {
    let this = i32::try_from(std::process::id()).expect("a process");
    pinned(this, "1");
    let fleet = ecmp::Fleet::new();
    fleet.place.middle.sh("sh /run/ecmp router 1");
    let monitors = [fleet.gates[0].monitor()];
    pinned(monitors[0].0, "0");
    measured("one gateway, its monitor alone", &fleet.place, &monitors, None, |address| {
        fleet.client(address)
    });
}

/// Keeps a process, and those that it starts from now on, on one processor.
fn pinned(process: i32, processor: &str) {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", processor, &process.to_string()]);
    let output = taskset.output().expect("taskset");
    assert!(output.status.success(), "{output:?}");
}

/// Time of the processor so far, in ticks: monitors, workers, balancer.
fn spent(monitors: &[Process], balancer: Option<Process>) -> [u64; 3] {
    let ticks = |processes: &[Process]| processes.iter().map(|each| each.processor_ticks()).sum();
    let workers = monitors.iter().flat_map(|monitor| monitor.descendants());
    let workers: Vec<_> = workers.filter(|process| process.command_line().contains("sockd-worker")).collect();
    [ticks(monitors), ticks(&workers), ticks(balancer.as_slice())]
}

/// Prints the median round.
fn measured<'a>(
    name: &str,
    place: &Place,
    monitors: &[Process],
    balancer: Option<Process>,
    client_at: impl Fn(IpAddr) -> Client<'a> + Sync,
) {
    roomy(place);
    // Each client host has its worker before the time begins.
    place.clients.run(|| load(&client_at, Duration::from_secs(1)));
    let mut rounds: Vec<[f64; 4]> =
        (0..ROUNDS).map(|_| round(place, monitors, balancer, &client_at)).collect();
    rounds.sort_by(|one, other| one[0].total_cmp(&other[0]));
    let [rate, of_monitors, of_workers, of_balancer] = rounds[ROUNDS / 2];
    let spread = (rounds[ROUNDS - 1][0] - rounds[0][0]) / 2.0 / rate * 100.0;
    let of_balancer = balancer.map_or("-".to_owned(), |_| format!("{of_balancer:.0}"));
    println!("| {name} | {rate:.0} ±{spread:.0} % | {of_monitors:.0} | {of_workers:.0} | {of_balancer} |");
}

/// Gives the place more ports. A port of an ended connection is taken for a minute, which leaves 470 a second for each
/// destination (ip(7), tcp(7)).
fn roomy(place: &Place) {
    for host in place.gates.iter().chain([&place.middle, &place.clients]) {
        host.sh("sysctl -qw net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range=1024\t65000");
    }
}

fn round<'a>(
    place: &Place,
    monitors: &[Process],
    balancer: Option<Process>,
    client_at: &(impl Fn(IpAddr) -> Client<'a> + Sync),
) -> [f64; 4] {
    let (before, begun) = (spent(monitors, balancer), Instant::now());
    let number = place.clients.run(|| load(client_at, TIME)) as f64;
    let (elapsed, after) = (begun.elapsed().as_secs_f64(), spent(monitors, balancer));
    let each = |at: usize| (after[at] - before[at]) as f64 * TICK / number;
    [number / elapsed, each(0), each(1), each(2)]
}

/// Connects again and again for some time, a byte there and back each, and returns how often.
fn load<'a>(client_at: &(impl Fn(IpAddr) -> Client<'a> + Sync), time: Duration) -> usize {
    let (end, number) = (Instant::now() + time, AtomicUsize::new(0));
    scope(|scope| {
        for place in 0..AT_ONCE {
            let number = &number;
            scope.spawn(move || {
                while Instant::now() < end {
                    client_at(client(place % CLIENTS)).connect_from_here().expect("a connection");
                    number.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    number.into_inner()
}
