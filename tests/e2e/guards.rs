//! Destinations that a broad permit line does not open.

use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, INSIDE, OUTSIDE, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{PROXY, REJECTED, Reply, Request, assert_rejected, granted, send_to};
use sockd_tests::wait::until_true;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::mpsc::channel;

/// A line for each kind of local destination, so that only the guards stand between them and a client.
const NAMES_EVERYTHING_LOCAL: &str = "\
permit 0.0.0.0 0.0.0.0 127.0.0.0 255.0.0.0
permit 0.0.0.0 0.0.0.0 192.0.2.1 255.255.255.255
permit 0.0.0.0 0.0.0.0 192.0.2.129 255.255.255.255
permit 0.0.0.0 0.0.0.0 198.51.100.1 255.255.255.255
permit 0.0.0.0 0.0.0.0 203.0.113.1 255.255.255.255
permit 0.0.0.0 0.0.0.0 169.254.0.0 255.255.0.0
permit 0.0.0.0 0.0.0.0
";

fn to(address: [u8; 4], port: u16) -> Request {
    Request::connect((Ipv4Addr::from(address), port))
}

#[test]
fn what_is_always_refused_is_refused_whatever_the_rules_say() {
    let conf = format!(
        "permit 0.0.0.0 0.0.0.0 0.0.0.1 255.255.255.255\npermit 0.0.0.0 0.0.0.0 224.0.0.0 240.0.0.0\n\
         permit 0.0.0.0 0.0.0.0 240.0.0.0 240.0.0.0\n{NAMES_EVERYTHING_LOCAL}"
    );
    let mut lab = Lab::with_settings(&conf, "(local_destinations: by_rules)");
    for (address, why) in [
        ([0, 0, 0, 0], "address of \"this network\""),
        ([0, 1, 2, 3], "address of \"this network\""),
        ([224, 0, 0, 1], "multicast address"),
        ([239, 255, 255, 250], "multicast address"),
        ([240, 0, 0, 1], "reserved address"),
        ([255, 255, 255, 255], "broadcast address"),
        ([198, 51, 100, 255], "broadcast address"),
        ([192, 0, 2, 127], "broadcast address"),
    ] {
        assert_rejected(&lab.site.client, &to(address, 7));
        let destination = match address {
            [0, 0, 0, 0] => "Unspecified.Host".into(),
            address => Ipv4Addr::from(address).to_string(),
        };
        lab.assert_logged(&Session::of(CLIENT, destination, "echo").guarded(why));
    }
}

#[test]
fn port_0_is_refused() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 0)));
    lab.assert_logged(&Session::of(CLIENT, SERVER, 0).guarded("port 0"));
}

#[test]
fn the_proxys_own_listening_address_is_refused_in_any_spelling() {
    let lab = Lab::new(NAMES_EVERYTHING_LOCAL);
    for address in [
        [127, 0, 0, 1],
        [127, 8, 8, 8],
        INSIDE.octets(),
        [192, 0, 2, 129],
        OUTSIDE.octets(),
        [203, 0, 113, 1],
        [0, 0, 0, 0],
    ] {
        assert_rejected(&lab.site.client, &to(address, 1080));
    }
    let by_name = Request::connect_name("127.0.0.1", 1080);
    assert_rejected(&lab.site.client, &by_name);
}

#[test]
fn a_loop_through_a_name_is_refused() {
    let site = sockd_tests::site::Site::new();
    site.gateway.write("/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 gate.example.net\n");
    let lab = Lab::at(site, NAMES_EVERYTHING_LOCAL, |start| start);
    for name in ["localhost", "gate.example.net"] {
        assert_rejected(&lab.site.client, &Request::connect_name(name, 1080));
    }
}

#[test]
fn a_broad_permit_opens_neither_loopback_nor_the_gateways_addresses_nor_link_local() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen_at(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 4000));
    for address in [[127, 0, 0, 1], INSIDE.octets(), OUTSIDE.octets(), [203, 0, 113, 1], [169, 254, 169, 254]]
    {
        assert_rejected(&lab.site.client, &to(address, 4000));
    }
    assert!(far.waiting().is_none());
}

#[test]
fn a_broad_permit_does_not_open_a_local_address_behind_a_name() {
    let site = sockd_tests::site::Site::new();
    site.gateway.write("/etc/hosts", "127.0.0.1 public.example.net\n");
    let lab = Lab::new_at(site);
    let far = Far::listen_at(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 4000));
    assert_rejected(&lab.site.client, &Request::connect_name("public.example.net", 4000));
    assert!(far.waiting().is_none());
}

#[test]
fn a_line_that_names_a_local_address_opens_it() {
    let lab = Lab::new(NAMES_EVERYTHING_LOCAL);
    let _server = Server::echo(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 7));
    for address in [[127, 0, 0, 1], INSIDE.octets(), OUTSIDE.octets()] {
        drop(granted(&lab.site.client, &to(address, 7)));
    }
}

#[test]
fn an_address_added_while_sockd_runs_is_guarded_as_well() {
    let lab = Lab::new(PERMIT_ALL);
    lab.site.gateway.address("outside", "198.51.100.200/24");
    let far = Far::listen_at(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 4000));
    assert_rejected(&lab.site.client, &to([198, 51, 100, 200], 4000));
    assert_rejected(&lab.site.client, &to([198, 51, 100, 200], 1080));
    assert!(far.waiting().is_none());
}

#[test]
fn with_local_destinations_by_rules_a_broad_permit_opens_local_addresses() {
    let lab = Lab::with_settings(PERMIT_ALL, "(local_destinations: by_rules)");
    let _server = Server::echo(&lab.site.gateway, (Ipv4Addr::UNSPECIFIED, 7));
    drop(granted(&lab.site.client, &to([127, 0, 0, 1], 7)));
    drop(granted(&lab.site.client, &to(OUTSIDE.octets(), 7)));
    assert_rejected(&lab.site.client, &to([127, 0, 0, 1], 1080));
}

#[test]
fn h15_an_address_that_becomes_this_hosts_own_while_identd_is_slow_is_guarded() {
    let lab = Lab::new("permit ?=i 0.0.0.0 0.0.0.0\n");
    let identd = Identd::start(&lab.site.client, CLIENT);
    let (answers, answered) = channel::<()>();
    let answered = Mutex::new(answered);
    identd.behaves(move |query, mut stream| {
        let _told = answered.lock().expect("a receiver").recv();
        stream.write_all(query.names("joe").as_bytes())
    });
    let request = Request::connect((Ipv4Addr::new(203, 0, 113, 77), 7));
    let mut line = send_to(&lab.site.client, PROXY, &request);
    until_true("identd is asked", || identd.queries().len() == 1);
    lab.site.gateway.sh("ip addr add 203.0.113.77/24 dev outside2");
    let _service = Server::echo(&lab.site.gateway, (Ipv4Addr::new(203, 0, 113, 77), 7));
    answers.send(()).expect("an identd");
    assert_eq!(Reply::read(&mut line), Reply::with(REJECTED));
    lab.wait_for_line("guarded destination: own address that no permit line names");
}
