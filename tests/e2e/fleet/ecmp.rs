//! A router picks a gateway by the source address (ECMP), by the recipe that is installed: CONNECT, BIND and UDP ASSOCIATE.

use crate::client::{Client, ECHO, echoed};
use crate::place::{CLIENTS, Place, client, client_6, granted_to};
use sockd_tests::far::Server;
use sockd_tests::sockd::{Sockd, Start};
use sockd_tests::wait::until_true;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const RECIPE: &str = include_str!("../../../packaging/examples/ecmp");

/// The address that both gateways own.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const SERVICE_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 0x10));

const RULES: &str = "permit +=connect,bind,udp ALL 0.0.0.0\n";

pub(crate) struct Fleet {
    pub(crate) place: Place,
    pub(crate) gates: Vec<Sockd>,
    _echoes: [Server; 2],
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        for host in place.gates.iter().chain([&place.middle]) {
            host.write("/run/ecmp", RECIPE);
        }
        place.clients.sh(&format!("ip route add {SERVICE} via 10.1.0.1"));
        let echoes = [0, 1].map(|family| {
            let clients = [client(0), client_6(0)];
            Server::echo(&place.server, crate::place::server(clients[family], ECHO))
        });
        let gates = place.gates.iter().map(|gate| {
            gate.sh("sh /run/ecmp gateway");
            let listen = format!("--log stderr --listen {SERVICE}:1080 --listen [{SERVICE_6}]:1080");
            Start::new(gate, RULES).words(&listen).start()
        });
        let gates = gates.collect();
        place.middle.sh("sh /run/ecmp router");
        Self { place, gates, _echoes: echoes }
    }

    pub(crate) fn client(&self, address: IpAddr) -> Client<'_> {
        let service = if address.is_ipv4() { SERVICE } else { SERVICE_6 };
        Client { place: &self.place, address, proxy: SocketAddr::new(service, 1080) }
    }

    /// Each client host does everything, and everything works.
    fn all_do_everything(&self) {
        for address in all_clients() {
            let client = self.client(address);
            drop(client.connect().unwrap_or_else(|error| panic!("CONNECT from {address}: {error}")));
            client.bind().unwrap_or_else(|error| panic!("BIND from {address}: {error}"));
            client.associate().unwrap_or_else(|error| panic!("UDP ASSOCIATE from {address}: {error}"));
        }
    }

    /// The client hosts of each gateway, once all are in a log.
    fn shares(&self) -> [BTreeSet<IpAddr>; 2] {
        let shares = || [0, 1].map(|gate: usize| granted_to(&self.gates[gate].said()));
        until_true("all clients in the logs", || {
            let [first, second] = shares();
            first.union(&second).count() == all_clients().count()
        });
        shares()
    }
}

fn all_clients() -> impl Iterator<Item = IpAddr> {
    (0..CLIENTS).flat_map(|number| [client(number), client_6(number)])
}

fn of_family(share: &BTreeSet<IpAddr>, four: bool) -> usize {
    share.iter().filter(|client| client.is_ipv4() == four).count()
}

#[test]
fn every_command_works_and_a_host_stays_with_its_gateway() {
    let fleet = Fleet::new();
    for _ in 0..2 {
        fleet.all_do_everything();
    }
    let [first, second] = fleet.shares();
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    for share in [&first, &second] {
        assert!(of_family(share, true) > 0 && of_family(share, false) > 0, "{first:?} {second:?}");
    }
    let said: Vec<String> = fleet.gates.iter().map(Sockd::said).collect();
    for command in ["Connect", "Bind", "Associate"] {
        let lines = said.iter().flat_map(|said| said.lines());
        let lines = lines.filter(|line| line.contains(&format!("connected -- {command} from ")));
        assert!(lines.count() >= all_clients().count(), "{command}: {said:?}");
    }
}

#[test]
fn when_a_route_goes_its_clients_are_served_by_the_other_gateway_and_no_relay_of_that_one_is_cut() {
    let fleet = Fleet::new();
    let connect = |client| fleet.client(client).connect().unwrap_or_else(|e| panic!("{client}: {e}"));
    let mut relays: BTreeMap<IpAddr, _> = all_clients().map(|client| (client, connect(client))).collect();
    let [first, second] = fleet.shares();
    assert!(!first.is_empty() && !second.is_empty());
    fleet.place.middle.sh("sh /run/ecmp router 2");
    fleet.all_do_everything();
    until_true("all clients at the second", || {
        granted_to(&fleet.gates[1].said()).len() == all_clients().count()
    });
    assert_eq!(granted_to(&fleet.gates[0].said()), first);
    let mut stay = |when| {
        for client in &second {
            let relay = relays.get_mut(client).expect("a relay");
            echoed(relay).unwrap_or_else(|error| panic!("{when}: {client}: {error}"));
        }
    };
    stay("the route has gone");
    // The hosts of the second gateway were not silent for long enough to be moved.
    fleet.place.middle.sh("sh /run/ecmp router 1 2");
    stay("the route is back");
    fleet.all_do_everything();
    assert_eq!(granted_to(&fleet.gates[0].said()), first);
}
