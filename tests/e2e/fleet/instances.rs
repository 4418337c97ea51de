//! Two monitors on one host, by the recipe that is installed: a client host always meets the same one, with every command.

use crate::client::{Client, ECHO};
use crate::place::{Place, client, granted_to, server};
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::procfs;
use sockd_tests::program::Program;
use sockd_tests::sockd::{ADMINISTRATORS, EXPORTERS, program};
use sockd_tests::wait::until_true;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

const SOCKET: &str = include_str!("../../../packaging/examples/instances/sockd@.socket");
const STEER: &str = include_str!("../../../packaging/examples/instances/sockd-steer");

const RULES: &str = "permit +=connect,bind,udp ALL 0.0.0.0\n";

/// Client hosts of each family.
const CLIENTS: u8 = 32;

/// Uses the recipe's files as systemd does. It opens the sockets of each instance, hands all of them to the program
/// that steers, and then each instance's to its daemon.
const MANAGER: &str = r"
import os, socket, sys
unit, steer, sockd = sys.argv[1:4]
lines = [line.strip().partition('=') for line in open(unit) if '=' in line and not line.startswith('#')]
def has(name): return (name, '=', 'yes') in lines
def opened(address):
    host, port = address.rsplit(':', 1)
    made = socket.socket(socket.AF_INET6 if host.startswith('[') else socket.AF_INET)
    if has('ReusePort'): made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if host.startswith('['): made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((host.strip('[]'), int(port)))
    made.listen(4096)
    return made.detach()
def started(handed, runtime, log, words):
    if child := os.fork(): return child
    # Out of the way of the numbers that are given.
    handed = [os.dup2(each, 100 + number) for number, each in enumerate(handed)]
    for number, each in enumerate(handed): os.dup2(each, 3 + number)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.closerange(3 + len(handed), 200)
    os.environ.update(LISTEN_FDS=str(len(handed)), LISTEN_PID=str(os.getpid()), RUNTIME_DIRECTORY=runtime)
    os.execv(words[0], words)
instances = [[opened(value) for name, _, value in lines if name == 'ListenStream'] for _ in range(2)]
_, status = os.waitpid(started(sum(instances, []), '/run', '/run/steer', ['/usr/bin/perl', steer]), 0)
if status: sys.exit('the program that steers has failed')
for number, sockets in enumerate(instances, 1):
    runtime = '/run/sockd-%d' % number
    os.makedirs(runtime)
    started(sockets, runtime, '/run/log-%d' % number, [sockd, '--log', 'stderr'])
os.wait()
";

pub(crate) struct Gateway {
    pub(crate) place: Place,
    #[allow(dead_code, reason = "the benchmark asks what its children take")]
    pub(crate) manager: Program,
    _echoes: [Server; 2],
}

impl Gateway {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let gate = &place.gates[0];
        // The limits count each IPv6 client by itself.
        for number in 0..CLIENTS {
            place.clients.address("eth0", &format!("{}/64", client_6(number)));
        }
        place.middle.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        place.middle.sh("ip route add 2001:db8:a::/48 via 2001:db8:1::64");
        let echoes = [client(0), client_6(0)].map(|client| Server::echo(&place.server, server(client, ECHO)));
        gate.account("sockd-adm", ADMINISTRATORS, "/nonexistent");
        gate.account("sockd-exporter", EXPORTERS, "/nonexistent");
        gate.write("/etc/sockd.conf", RULES);
        gate.write("/run/sockd@.socket", SOCKET);
        gate.write("/run/sockd-steer", STEER);
        let mut manager = Command::new("/usr/bin/python3");
        manager.args(["-c", MANAGER, "/run/sockd@.socket", "/run/sockd-steer"]).arg(program("sockd"));
        let manager = gate.start(manager.stdin(Stdio::null()).stdout(Stdio::null()));
        until_true("both serve", || [1, 2].iter().all(|number| said(gate, *number).contains("serving on ")));
        Self { place, manager, _echoes: echoes }
    }

    pub(crate) fn client(&self, address: IpAddr) -> Client<'_> {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 2, 1, 0, 0, 0, 2);
        let gate = if address.is_ipv4() { [10, 2, 1, 2].into() } else { IpAddr::V6(v6) };
        Client { place: &self.place, address, proxy: SocketAddr::new(gate, 1080) }
    }

    /// The client hosts of each instance, once all are in a log.
    fn shares(&self) -> [BTreeSet<IpAddr>; 2] {
        let gate = &self.place.gates[0];
        let shares = || [1, 2].map(|number| granted_to(&said(gate, number)));
        until_true("all clients in the logs", || {
            let [first, second] = shares();
            first.union(&second).count() == all_clients().count()
        });
        shares()
    }
}

fn said(gate: &Host, number: u8) -> String {
    gate.read(&format!("/run/log-{number}"))
}

fn client_6(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, number.into(), 0, 0, 0, 1).into()
}

fn all_clients() -> impl Iterator<Item = IpAddr> {
    (0..CLIENTS).flat_map(|number| [client(number), client_6(number)])
}

#[test]
fn every_client_host_meets_one_monitor_and_both_have_clients() {
    let gateway = Gateway::new();
    assert!(procfs::listens(&gateway.place.gates[0], 1080));
    // Ports of the client's choice differ, and there are enough tries to meet the other one by chance.
    for _ in 0..4 {
        for address in all_clients() {
            let connected = gateway.client(address).connect();
            drop(connected.unwrap_or_else(|error| panic!("CONNECT from {address}: {error}")));
        }
    }
    for address in all_clients() {
        let client = gateway.client(address);
        client.bind().unwrap_or_else(|error| panic!("BIND from {address}: {error}"));
        client.associate().unwrap_or_else(|error| panic!("UDP ASSOCIATE from {address}: {error}"));
    }
    let [first, second] = gateway.shares();
    assert!(first.is_disjoint(&second), "{:?}", first.intersection(&second));
    for share in [&first, &second] {
        for four in [true, false] {
            let clients = share.iter().filter(|client| client.is_ipv4() == four).count();
            println!("{} clients by {}", clients, if four { "IPv4" } else { "IPv6" });
            assert!(clients >= usize::from(CLIENTS / 4), "{first:?} {second:?}");
        }
    }
}

#[test]
fn the_sessions_of_both_are_listed_together() {
    let gateway = Gateway::new();
    let relays: Vec<_> =
        all_clients().map(|client| gateway.client(client).connect().expect("a relay")).collect();
    let mut sockdctl = Command::new(program("sockdctl"));
    sockdctl.args(["--folder", "/run/sockd-1", "--folder", "/run/sockd-2", "list", "--json"]);
    let listed = gateway.place.gates[0].output(&mut sockdctl);
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), relays.len());
}

/// For the limits, a host that changes its IPv6 address stays the same.
#[test]
fn the_addresses_of_one_ipv6_network_meet_one_monitor() {
    let gateway = Gateway::new();
    let addresses: Vec<IpAddr> =
        (1..=16).map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0xa, 3, 0, 0, 1, last).into()).collect();
    for address in &addresses {
        gateway.place.clients.address("eth0", &format!("{address}/64"));
        let connected = gateway.client(*address).connect();
        drop(connected.unwrap_or_else(|error| panic!("CONNECT from {address}: {error}")));
    }
    let gate = &gateway.place.gates[0];
    let counts = || [1, 2].map(|number| granted_to(&said(gate, number)).len());
    until_true("all in the logs", || counts().iter().sum::<usize>() >= addresses.len());
    assert!(counts().contains(&0), "{:?}", counts());
}
