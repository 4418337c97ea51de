//! The system calls that a connection costs the monitor, which serves all, and the worker of its client host.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::load::relays;
use sockd_tests::procfs::Process;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Sockd, Start};
use sockd_tests::socks::{Request, ask};
use sockd_tests::wait::until_true;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

const CONNECTIONS: u32 = 2_000;
const AT_ONCE: u32 = 64;

/// The echo of every connection.
const ECHO: SocketAddrV4 = SocketAddrV4::new(SERVER, 7);

/// The calls of a process, each with its number.
#[derive(Debug)]
struct Calls(BTreeMap<String, u32>);

impl Calls {
    /// From a table of strace(1).
    fn read(table: &str) -> Self {
        let rows = table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some((words.last()?.to_string(), words.first()?.parse().ok()?))
        });
        Self(rows.filter(|(name, _)| name != "total").collect())
    }

    /// The calls of a process during some work.
    fn during(host: &Host, process: Process, work: impl FnOnce()) -> Self {
        let table = std::env::temp_dir().join(format!("sockd-calls-{}-{}", std::process::id(), process.0));
        let mut strace = Command::new("strace");
        strace.args(["-c", "-U", "calls,name", "-p", &process.0.to_string(), "-o"]).arg(&table);
        let mut strace = host.start(strace.stdin(Stdio::null()).stderr(Stdio::null()));
        until_true("strace watches", || process.status().get("TracerPid").is_some_and(|pid| pid != "0"));
        work();
        strace.signal(Signal::SIGINT);
        strace.wait();
        let calls = Self::read(&std::fs::read_to_string(&table).expect("the table"));
        let _ = std::fs::remove_file(&table);
        calls
    }

    /// How often a call was made.
    fn of(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All calls for each connection, without the check of unoptimised builds that a descriptor to be closed is open.
    fn for_each(&self, connections: u32) -> f64 {
        let all: u32 = self.0.values().sum();
        let each = f64::from(all - self.of("fcntl")) / f64::from(connections);
        println!("{each:.2} each of {connections}: {:?}", self.0);
        each
    }
}

/// A daemon without a log, and the one worker that serves the client. Log lines leave together, by calls of their own.
fn served() -> (Site, Server, Sockd, Process) {
    let site = Site::new();
    let echo = Server::echo(&site.server, ECHO);
    let sockd = Start::new(&site.gateway, PERMIT_ALL).settings("(isolation: shared(1))").start();
    let (line, _) = ask(&site.client, &Request::connect(ECHO));
    let worker = sockd.worker_of(line.local());
    (site, echo, sockd, worker)
}

#[test]
fn a_connection_costs_the_monitor_at_most_eighteen_calls() {
    let (site, _echo, sockd, _worker) = served();
    let work = || relays(&site.client, ECHO, CONNECTIONS, AT_ONCE);
    let calls = Calls::during(&site.gateway, sockd.monitor(), work);
    assert!(calls.of("accept4") >= CONNECTIONS, "{calls:?}");
    // How many messages meet in one turn is the scheduler's choice.
    assert!(calls.for_each(CONNECTIONS) <= 18.0);
}

/// How often the worker of a client wakes up for a connection, and how many other calls it makes, if this many come at
/// once.
fn of_the_worker(connections: u32, at_once: u32) -> (f64, f64) {
    let (site, _echo, _sockd, worker) = served();
    let work = || relays(&site.client, ECHO, connections, at_once);
    let calls = Calls::during(&site.gateway, worker, work);
    // The calls for the last few may be missing: their clients have all they want before those are made.
    assert!(calls.of("close") >= 2 * (connections - at_once), "{calls:?}");
    let wake_ups = f64::from(calls.of("epoll_pwait")) / f64::from(connections);
    (wake_ups, calls.for_each(connections) - wake_ups)
}

/// A connection waits for five events in turn, and one of the ends may coincide with the next client. On a busy machine
/// the request may come after its connection.
#[test]
fn a_connection_alone_costs_its_worker_at_most_six_wake_ups_and_a_half() {
    let (wake_ups, others) = of_the_worker(500, 1);
    assert!(wake_ups <= 6.5 && others <= 24.5, "{wake_ups:.2} wake-ups, {others:.2} other calls");
}

#[test]
fn connections_of_one_moment_share_the_wake_ups_of_their_worker() {
    let (wake_ups, others) = of_the_worker(CONNECTIONS, AT_ONCE);
    assert!(wake_ups <= 2.0 && others <= 23.6, "{wake_ups:.2} wake-ups, {others:.2} other calls");
}
