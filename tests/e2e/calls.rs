//! How many system calls a connection costs the monitor, which serves all of them.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::load::relays;
use sockd_tests::program::Program;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::wait::until_true;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

const CONNECTIONS: u32 = 2_000;
const AT_ONCE: u32 = 64;

/// The calls of a table of strace(1), each with its number.
fn calls(table: &str) -> BTreeMap<String, u32> {
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.to_string(), words.first()?.parse().ok()?))
    });
    rows.filter(|(name, _)| name != "total").collect()
}

/// Without a log, which has calls of its own: its lines leave together.
#[test]
fn a_connection_costs_the_monitor_at_most_twenty_calls() {
    let site = Site::new();
    let to = SocketAddrV4::new(SERVER, 7);
    let _echo = Server::echo(&site.server, to);
    let sockd = Start::new(&site.gateway, PERMIT_ALL).start();
    relays(&site.client, to, 1, 1);
    let table = std::env::temp_dir().join(format!("sockd-calls-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-c", "-U", "calls,name", "-p", &sockd.monitor().0.to_string(), "-o"]).arg(&table);
    let mut strace = Program::start(&site.gateway, strace.stdin(Stdio::null()).stderr(Stdio::null()));
    let traced =
        || std::fs::read_to_string(format!("/proc/{}/status", sockd.monitor().0)).expect("the monitor");
    until_true("strace watches", || !traced().contains("TracerPid:\t0\n"));
    relays(&site.client, to, CONNECTIONS, AT_ONCE);
    strace.signal(Signal::SIGINT);
    strace.wait();
    let calls = calls(&std::fs::read_to_string(&table).expect("the table"));
    let _ = std::fs::remove_file(&table);
    let all = f64::from(calls.values().sum::<u32>()) / f64::from(CONNECTIONS);
    assert!(calls["accept4"] >= CONNECTIONS, "{calls:?}");
    // One more than is asked for: how many messages meet in one turn is the scheduler's choice.
    // An unoptimised build asks of each descriptor that it closes whether it is one.
    println!("{all:.2} each: {calls:?}");
    assert!(all <= 21.0, "{all:.2} each: {calls:?}");
}
