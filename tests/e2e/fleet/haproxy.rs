//! Two gateways behind a real HAProxy, by the recipe that is installed: the gateway that each client meets, and the
//! cost when one ends.

use crate::client::{Client, ECHO, echoed};
use crate::place::{CLIENTS, Place, SERVER, client, granted_to};
use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::program::Program;
use sockd_tests::sockd::{Sockd, Start, program};
use sockd_tests::wait::until_true;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

const RECIPE: &str = include_str!("../../../packaging/examples/haproxy.cfg");

const RULES: &str = "permit +=connect,bind,udp ALL 0.0.0.0\n";

/// The balancer, as clients know it.
pub(crate) const BALANCER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 1080);

/// HAProxy's messages about its checks.
const SAID: &str = "/run/haproxy.stderr";

/// The gateways' own sockets.
const RUNTIME: &str = "/run/sockd";

/// Connections of each of the two halves of the clients while a gateway ends, and after the check has noticed.
const LOAD: usize = 200;

pub(crate) struct Fleet {
    pub(crate) gates: Vec<Sockd>,
    #[allow(dead_code, reason = "the benchmark asks what it takes")]
    pub(crate) haproxy: Program,
    _server: Server,
    pub(crate) place: Place,
}

impl Fleet {
    fn new() -> Self {
        Self::of(2)
    }

    /// With one or two gateways.
    pub(crate) fn of(number: usize) -> Self {
        let place = Place::new();
        let echo = Server::echo(&place.server, (SERVER, ECHO));
        let gates = (1..=number).map(|number| start(&place.gates[number - 1], number)).collect();
        let recipe = [1, 2].iter().fold(RECIPE.to_owned(), |recipe, number| {
            recipe.replace(&format!("192.0.2.1{number}:"), &format!("10.2.{number}.2:"))
        });
        let absent = format!("server gate{} ", number + 1);
        let recipe: String = recipe.split_inclusive('\n').filter(|line| !line.contains(&absent)).collect();
        place.middle.write("/etc/haproxy.cfg", &recipe);
        let said = place.middle.run(|| File::create(SAID)).expect("a file");
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f", "/etc/haproxy.cfg"]);
        haproxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let haproxy = place.middle.start(&mut haproxy);
        let fleet = Self { gates, haproxy, _server: echo, place };
        until_true("HAProxy serves", || (0..CLIENTS).all(|number| fleet.connects(number)));
        fleet
    }

    pub(crate) fn client(&self, number: u8) -> Client<'_> {
        Client { place: &self.place, address: client(number), proxy: BALANCER }
    }

    /// Whether a client host gets a connection to the server.
    fn connects(&self, number: u8) -> bool {
        self.client(number).connect().is_ok()
    }

    /// The client hosts that the log of a gateway knows.
    fn known_to(&self, gate: usize) -> BTreeSet<IpAddr> {
        granted_to(&self.gates[gate].said())
    }

    /// The client hosts of each gateway, once all are in a log.
    fn shares(&self) -> [BTreeSet<IpAddr>; 2] {
        until_true("all clients in the logs", || {
            self.known_to(0).len() + self.known_to(1).len() >= usize::from(CLIENTS)
        });
        [0, 1].map(|gate| self.known_to(gate))
    }

    /// How often HAProxy has said this of the first gateway.
    fn said_of_the_first(&self, what: &str) -> usize {
        self.place.middle.read(SAID).matches(&format!("Server gates/gate1 is {what}")).count()
    }
}

fn start(gate: &Host, number: usize) -> Sockd {
    let listen = format!("10.2.{number}.2:1080");
    let settings = format!("(proxy_from: [(\"{listen}\", [\"10.2.{number}.1/32\"])])");
    let start = Start::new(gate, RULES).settings(&settings).runtime_directory(RUNTIME);
    start.words(&format!("--log stderr --listen {listen}")).start()
}

#[test]
fn one_client_host_meets_one_gateway_and_checks_leave_no_line() {
    let fleet = Fleet::new();
    // An odd number: with round robin, a host would meet both.
    for _ in 0..3 {
        assert!((0..CLIENTS).chain([0]).all(|number| fleet.connects(number)));
    }
    let [first, second] = fleet.shares();
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
    for sockd in &fleet.gates {
        let said = sockd.said();
        assert!(!said.contains("10.2.1.1") && !said.contains("10.2.2.1"), "{said}");
    }
}

#[test]
fn bind_works_behind_the_balancer_and_datagrams_do_where_clients_reach_the_gateways() {
    let fleet = Fleet::new();
    // HAProxy's host is the way to the gateways here.
    fleet.place.middle.sh("sysctl -qw net.ipv4.ip_forward=1");
    for number in 0..CLIENTS {
        fleet.client(number).bind().unwrap_or_else(|error| panic!("BIND from {}: {error}", client(number)));
        let associated = fleet.client(number).associate();
        associated.unwrap_or_else(|error| panic!("UDP ASSOCIATE from {}: {error}", client(number)));
    }
    let [first, second] = fleet.shares();
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
}

/// The results of clients that came one after the other, several at once, while the first gateway ended.
#[derive(Default)]
struct Load {
    noticed: AtomicBool,
    /// Connections that began after the check had noticed, and those of them that failed.
    later: AtomicUsize,
    failed_later: AtomicUsize,
    /// The same for connections that began before.
    before: AtomicUsize,
    failed_before: AtomicUsize,
}

impl Load {
    /// Connects from these hosts in turn until enough connections have begun after the notice.
    fn from(&self, fleet: &Fleet, hosts: &[u8]) {
        let mut later = 0;
        for number in hosts.iter().cycle() {
            let noticed = self.noticed.load(Ordering::SeqCst);
            let connected = fleet.connects(*number);
            let (all, failed) =
                if noticed { (&self.later, &self.failed_later) } else { (&self.before, &self.failed_before) };
            all.fetch_add(1, Ordering::SeqCst);
            failed.fetch_add(usize::from(!connected), Ordering::SeqCst);
            later += usize::from(noticed);
            if later == LOAD {
                return;
            }
        }
    }
}

#[test]
fn the_end_of_a_gateway_under_load_costs_no_new_connection_once_its_checks_have_failed() {
    let mut fleet = Fleet::new();
    let [first, second] = fleet.shares();
    assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
    let of = |share: &BTreeSet<IpAddr>| -> Vec<u8> {
        (0..CLIENTS).filter(|number| share.contains(&client(*number))).collect()
    };
    let mut relay = fleet.client(of(&second)[0]).connect().expect("a relay");
    let (orphans, others) = (Load::default(), Load::default());
    scope(|scope| {
        for (load, share) in [(&orphans, &first), (&others, &second)] {
            let hosts = of(share);
            let fleet = &fleet;
            scope.spawn(move || load.from(fleet, &hosts));
        }
        until_true("load", || [&orphans, &others].iter().all(|load| load.before.load(Ordering::SeqCst) > 20));
        fleet.gates[0].signal(Signal::SIGKILL);
        until_true("the check notices", || fleet.said_of_the_first("DOWN") == 1);
        [&orphans, &others].iter().for_each(|load| load.noticed.store(true, Ordering::SeqCst));
    });
    println!(
        "{LOAD} connections after the notice failed {} times, {} before it {} times",
        orphans.failed_later.load(Ordering::SeqCst),
        orphans.before.load(Ordering::SeqCst),
        orphans.failed_before.load(Ordering::SeqCst)
    );
    assert_eq!(orphans.failed_later.load(Ordering::SeqCst), 0);
    assert_eq!(orphans.later.load(Ordering::SeqCst), LOAD);
    let failed = [&others.failed_before, &others.failed_later].map(|failed| failed.load(Ordering::SeqCst));
    assert_eq!(failed, [0, 0], "clients of the other gateway notice nothing");
    echoed(&mut relay).expect("nor do its relays");
    assert_eq!(fleet.known_to(0), first, "clients of the second stay there");
    // The first one's log begins anew. Only its former clients come back.
    fleet.gates[0] = start(&fleet.place.gates[0], 1);
    until_true("the check notices", || fleet.said_of_the_first("UP") == 1);
    assert!((0..CLIENTS).all(|number| fleet.connects(number)));
    until_true("all are back", || fleet.known_to(0).len() == first.len());
    assert_eq!(fleet.known_to(0), first);
    echoed(&mut relay).expect("the relay is there still");
}

#[test]
fn a_gateway_that_is_told_to_drain_gets_no_new_clients_and_its_relays_go_on() {
    let fleet = Fleet::new();
    let [first, second] = fleet.shares();
    let number = (0..CLIENTS).find(|number| first.contains(&client(*number))).expect("a client");
    let mut relay = fleet.client(number).connect().expect("a relay");
    let order = |word: &str| {
        let mut sockdctl = Command::new(program("sockdctl"));
        let given = fleet.place.gates[0].output(sockdctl.args(["--folder", RUNTIME, word]));
        assert!(given.status.success(), "{given:?}");
    };
    order("drain");
    until_true("the check notices", || fleet.said_of_the_first("DOWN") == 1);
    assert!((0..CLIENTS).all(|number| fleet.connects(number)));
    until_true("all clients at the second", || fleet.known_to(1).len() == usize::from(CLIENTS));
    assert_eq!(first.len() + second.len(), usize::from(CLIENTS));
    echoed(&mut relay).expect("the relay goes on");
    order("resume");
    until_true("the check notices", || fleet.said_of_the_first("UP") == 1);
    assert!((0..CLIENTS).all(|number| fleet.connects(number)));
}
