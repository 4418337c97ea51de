//! Two gateways behind a real HAProxy, by the recipe that is installed: who meets which, and what the end of one costs.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::line::Line;
use sockd_tests::program::Program;
use sockd_tests::sockd::{PERMIT_ALL, Sockd, Start};
use sockd_tests::socks5::{CHOSEN, CONNECT, GRANTED, GREETING, to};
use sockd_tests::wait::until_true;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

const RECIPE: &str = include_str!("../../../packaging/examples/haproxy.cfg");

/// The balancer, as clients and as gateways know it.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// The server, behind both gateways.
const SERVER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 7));

/// Client hosts: addresses of one machine.
const CLIENTS: u8 = 40;

struct Fleet {
    gates: Vec<(Host, Sockd)>,
    client: Host,
    _haproxy: Program,
    _server: Server,
    _others: [Host; 2],
}

fn fleet() -> Fleet {
    let [client, balancer, server] = [(); 3].map(|()| Host::new());
    balancer.link("clients", &client, "eth0");
    balancer.address("clients", "10.1.0.1/24");
    for number in 0..CLIENTS {
        client.address("eth0", &format!("10.1.0.{}/24", 100 + number));
    }
    server.address("lo", "10.9.9.9/32");
    let echo = Server::echo(&server, SERVER);
    let mut recipe = RECIPE.to_owned();
    let gates = [1, 2].map(|number| {
        let gate = Host::new();
        balancer.link(&format!("gate{number}"), &gate, "eth0");
        balancer.address(&format!("gate{number}"), &format!("10.2.{number}.1/24"));
        gate.address("eth0", &format!("10.2.{number}.2/24"));
        gate.link("outside", &server, &format!("eth{number}"));
        gate.address("outside", &format!("10.3.{number}.1/24"));
        server.address(&format!("eth{number}"), &format!("10.3.{number}.2/24"));
        gate.sh(&format!("ip route add 10.9.9.9/32 via 10.3.{number}.2"));
        recipe = recipe.replace(&format!("192.0.2.1{number}:"), &format!("10.2.{number}.2:"));
        let listen = format!("10.2.{number}.2:1080");
        let settings = format!("(proxy_from: [(\"{listen}\", [\"10.2.{number}.1/32\"])])");
        let start = Start::new(&gate, PERMIT_ALL).settings(&settings);
        let sockd = start.words(&format!("--log stderr --listen {listen}")).start();
        (gate, sockd)
    });
    balancer.write("/etc/haproxy.cfg", &recipe);
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-db", "-f", "/etc/haproxy.cfg"]).stdin(Stdio::null()).stdout(Stdio::null());
    let haproxy = Program::start(&balancer, &mut haproxy);
    let fleet =
        Fleet { gates: gates.into(), client, _haproxy: haproxy, _server: echo, _others: [balancer, server] };
    until_true("HAProxy serves", || (0..CLIENTS).all(|number| fleet.connects(number)));
    fleet
}

impl Fleet {
    /// Whether a client host gets a connection to the server.
    fn connects(&self, number: u8) -> bool {
        let dial = || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([10, 1, 0, 100 + number], 0)).into())?;
            socket.connect(&SocketAddr::from((BALANCER, 1080)).into()).map(|()| TcpStream::from(socket))
        };
        let Ok(stream) = self.client.run(dial) else { return false };
        let mut line = Line::new(stream);
        let _ = std::io::Write::write_all(line.stream(), &[&GREETING[..], &to(CONNECT, SERVER)].concat());
        line.read_some(12) == [&CHOSEN[..], &GRANTED].concat()
    }

    /// The client hosts that the log of a gateway knows.
    fn known_to(&self, gate: usize) -> BTreeSet<String> {
        let said = self.gates[gate].1.said();
        let client = |line: &str| {
            Some(line.split_once("connected -- Connect from (unknown)@")?.1.split(' ').next()?.into())
        };
        said.lines().filter_map(client).collect()
    }
}

#[test]
fn one_client_host_meets_one_gateway_and_checks_leave_no_line() {
    let fleet = fleet();
    for _ in 0..3 {
        assert!((0..CLIENTS).all(|number| fleet.connects(number)));
    }
    until_true("all clients in the logs", || {
        fleet.known_to(0).len() + fleet.known_to(1).len() >= usize::from(CLIENTS)
    });
    let [first, second] = [0, 1].map(|gate| fleet.known_to(gate));
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
    for (_, sockd) in &fleet.gates {
        let said = sockd.said();
        assert!(!said.contains("10.2.1.1") && !said.contains("10.2.2.1"), "{said}");
    }
}

#[test]
fn the_end_of_a_gateway_costs_no_new_connection_once_its_checks_have_failed() {
    let fleet = fleet();
    fleet.gates[0].1.signal(Signal::SIGKILL);
    // Until the checks notice, a try that is refused goes to the other gateway: a client may be that one's already.
    until_true("the other gateway has all", || (0..CLIENTS).all(|number| fleet.connects(number)));
    let before = fleet.known_to(0);
    let failed = (0..400).filter(|number| !fleet.connects((number % 40) as u8)).count();
    assert_eq!(failed, 0);
    assert_eq!(fleet.known_to(0), before);
}
