//! BIND: the server comes back to the client through a port of the firewall host.

use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Far;
use sockd_tests::host::Host;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line, connect_from};
use sockd_tests::procfs;
use sockd_tests::site::{
    CLIENT, INSIDE, NAMESERVER, OTHER, OUTSIDE, SECOND_OUTSIDE, SECOND_SERVER, SERVER, Site,
};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks::{GRANTED, PROXY, REJECTED, Reply, Request, ask, assert_rejected, granted, send_to};
use sockd_tests::wait::{LONG, until, until_true, until_within};
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Another address of the server host.
const STRANGER: Ipv4Addr = NAMESERVER;

fn bind(server: Ipv4Addr) -> Request {
    Request::connect((server, 21)).as_bind()
}

/// Asks for a BIND and returns the address of the first reply.
fn waiting(host: &Host, request: &Request) -> (Line, SocketAddrV4) {
    let (line, reply) = ask(host, request);
    assert_eq!((reply.version, reply.code), (0, GRANTED));
    (line, reply.address)
}

/// Connects from an address and port of `host`; port 0 is any.
fn dial_from(host: &Host, from: (Ipv4Addr, u16), to: SocketAddrV4) -> Line {
    let stream = host.run(|| connect_from(from, to));
    Line::new(stream.unwrap_or_else(|error| panic!("connecting from {from:?} to {to}: {error}")))
}

/// Connects to a port that a BIND holds for somebody else, and is sent away before or after connect(2) returns.
fn stranger_from(host: &Host, from: (Ipv4Addr, u16), to: SocketAddrV4) {
    match host.run(|| connect_from(from, to)) {
        Ok(stream) => {
            Line::new(stream).ending();
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{from:?} to {to}"),
    }
}

/// The second reply names this peer, and bytes pass both ways.
fn assert_relayed(client: &mut Line, server: &mut Line) {
    assert_eq!(SocketAddr::V4(second_reply(client)), server.local());
    client.send("up");
    assert_eq!(server.read(2), b"up");
    server.send("down");
    assert_eq!(client.read(4), b"down");
}

fn second_reply(client: &mut Line) -> SocketAddrV4 {
    let reply = Reply::read(client);
    assert_eq!((reply.version, reply.code), (0, GRANTED));
    reply.address
}

fn msg(destination: impl ToString) -> String {
    format!("Bind from joe(unknown)@192.0.2.10 for {}", destination.to_string())
}

fn assert_closed(gateway: &Host, port: SocketAddrV4) {
    until_within(Duration::from_secs(20), "the port is free again", || {
        (!procfs::listens(gateway, port.port())).then_some(())
    });
}

#[test]
fn bind_01_the_right_peer_is_named_in_the_second_reply_and_relayed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    assert_eq!(*port.ip(), OUTSIDE);
    assert_ne!(port.port(), 0);
    assert!(client.is_quiet());
    let mut server = dial_from(&lab.site.server, (SERVER, 20), port);
    assert_relayed(&mut client, &mut server);
    assert_closed(&lab.site.gateway, port);
    drop((client, server));
    lab.assert_logged(&[
        format!("daemon.notice connected -- {} (20)", msg(SERVER)),
        format!("daemon.notice terminated -- {} (20)", msg(SERVER)),
        "daemon.notice 2 bytes from 192.0.2.10, 4 bytes from 198.51.100.10".into(),
    ]);
}

#[test]
fn the_server_may_speak_first_and_the_client_before_the_server_has_come() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    client.send("early");
    let mut server = Line::dial(&lab.site.server, port);
    server.send("hello");
    second_reply(&mut client);
    assert_eq!(client.read(5), b"hello");
    assert_eq!(server.read(5), b"early");
    server.half_close();
    assert_eq!(client.ending(), Ending::Closed);
    client.send("late");
    client.half_close();
    assert_eq!(server.read_to_end(), (b"late".to_vec(), Ending::Closed));
}

#[test]
fn bind_02_strangers_are_logged_and_sent_away_and_the_wait_goes_on() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    let mut lines = Vec::new();
    for own in 50_000..50_003 {
        stranger_from(&lab.site.server, (STRANGER, own), port);
        lines.push(format!(
            "daemon.notice failed -- {}. Error: connected to wrong host {STRANGER} ({own})",
            msg(SERVER)
        ));
    }
    assert!(client.is_quiet());
    let mut server = dial_from(&lab.site.server, (SERVER, 20), port);
    assert_relayed(&mut client, &mut server);
    lines.push(format!("daemon.notice connected -- {} (20)", msg(SERVER)));
    lab.assert_logged(&lines);
}

#[test]
fn a_stranger_who_hangs_on_does_not_keep_the_right_peer_out() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    (50_000..50_020).for_each(|own| stranger_from(&lab.site.server, (STRANGER, own), port));
    let mut server = Line::dial(&lab.site.server, port);
    assert_relayed(&mut client, &mut server);
    lab.wait_for_line("connected to wrong hosts 12 times more");
}

#[test]
fn bind_03_a_bind_for_anybody_is_refused_without_the_setting() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_rejected(&lab.site.client, &bind(Ipv4Addr::UNSPECIFIED));
    let lines = lab.logged_whole(2);
    assert_eq!(lines[0], format!("daemon.notice refused -- {}", msg("Unspecified.Host")));
    lab.turn_the_page();
}

#[test]
fn bind_03_a_bind_for_anybody_takes_anybody_with_the_setting() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(bind_any: true)");
    let (mut client, port) = waiting(&lab.site.client, &bind(Ipv4Addr::UNSPECIFIED));
    // Without a route file, the address that the client has reached.
    assert_eq!(*port.ip(), INSIDE);
    let mut server = dial_from(&lab.site.other, (OTHER, 2020), port);
    assert_relayed(&mut client, &mut server);
    lab.assert_logged(&[format!("daemon.notice connected -- {} (2020)", msg("Unspecified.Host"))]);
}

/// A site whose nameserver gives every name these addresses.
fn site_with_name(addresses: &'static [Ipv4Addr]) -> (Site, Nameserver) {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let dns = Nameserver::start(&site.server, move |_| {
        Answer::Addresses(addresses.iter().copied().map(IpAddr::V4).collect())
    });
    (site, dns)
}

fn bind_name() -> Request {
    Request::connect_name("ftp.example.net", 21).as_bind()
}

#[test]
fn s4a_02_the_peer_of_a_bind_to_a_name_may_be_any_of_its_addresses_and_no_other() {
    for from in [SERVER, STRANGER] {
        let (site, _dns) = site_with_name(&[SERVER, STRANGER]);
        site.server.address("eth0", "198.51.100.99/24");
        let lab = Lab::new_at(site);
        let (mut client, port) = waiting(&lab.site.client, &bind_name());
        stranger_from(&lab.site.server, (Ipv4Addr::new(198, 51, 100, 99), 0), port);
        let mut server = dial_from(&lab.site.server, (from, 20), port);
        assert_relayed(&mut client, &mut server);
        lab.wait_for_line(&format!("connected -- {} (20)", msg("ftp.example.net")));
    }
}

#[test]
fn an_address_of_the_name_that_the_rules_deny_is_a_stranger_too() {
    let (site, _dns) = site_with_name(&[SERVER, STRANGER]);
    let conf = format!("deny 0.0.0.0 0.0.0.0 {STRANGER} 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    let lab = Lab::at(site, &conf, |start| start);
    let (mut client, port) = waiting(&lab.site.client, &bind_name());
    stranger_from(&lab.site.server, (STRANGER, 0), port);
    lab.wait_for_line("connected to wrong host");
    let mut server = Line::dial(&lab.site.server, port);
    assert_relayed(&mut client, &mut server);
}

#[test]
fn a_name_that_resolves_to_0_0_0_0_does_not_open_a_bind_to_anybody() {
    let (site, _dns) = site_with_name(&[SERVER, Ipv4Addr::UNSPECIFIED]);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(bind_any: true)"));
    let (mut client, port) = waiting(&lab.site.client, &bind_name());
    stranger_from(&lab.site.server, (STRANGER, 0), port);
    let mut server = Line::dial(&lab.site.server, port);
    assert_relayed(&mut client, &mut server);
}

#[test]
fn bind_04_a_bind_that_nobody_comes_to_is_answered_with_91_after_its_limit_and_logged_as_timed_out() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(bind_limit: 2)");
    let begun = Instant::now();
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    // A stranger does not prolong the wait.
    stranger_from(&lab.site.server, (STRANGER, 0), port);
    assert_eq!(Reply::read(&mut client), Reply::with(REJECTED));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    client.ending();
    assert_closed(&lab.site.gateway, port);
    let lines = lab.logged_whole(2);
    assert_eq!(lines[1], format!("daemon.notice timed-out -- {}", msg(SERVER)));
    lab.turn_the_page();
}

#[test]
fn a_bind_to_a_name_with_many_addresses_is_over_with_its_limit_too() {
    let (site, _dns) = site_with_name(&[SERVER, STRANGER, SECOND_SERVER]);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(bind_limit: 1)"));
    let (mut client, _) = waiting(&lab.site.client, &bind_name());
    assert_eq!(Reply::read(&mut client), Reply::with(REJECTED));
    client.ending();
}

#[test]
fn bind_05_a_client_that_leaves_frees_the_port_at_once() {
    let leaving: [fn(Line); 3] = [drop, Line::reset, |mut line| {
        line.half_close();
        line.ending();
    }];
    for leave in leaving {
        let mut lab = Lab::new(PERMIT_ALL);
        let (client, port) = waiting(&lab.site.client, &bind(SERVER));
        assert!(procfs::listens(&lab.site.gateway, port.port()));
        leave(client);
        assert_closed(&lab.site.gateway, port);
        lab.assert_logged(&[format!("daemon.notice failed -- {}. Error: the client has gone", msg(SERVER))]);
    }
}

#[test]
fn a_stop_of_the_daemon_does_not_wait_for_the_servers_of_binds() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut client, _) = waiting(&lab.site.client, &bind(SERVER));
    lab.sockd.signal(nix::sys::signal::Signal::SIGTERM);
    client.ending();
    assert!(lab.sockd.wait().success());
}

#[test]
fn bind_ports_confines_the_ports_and_one_more_than_there_are_is_refused() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(bind_ports: (40000, 40003))");
    let mut binds: Vec<_> = (0..4).map(|_| waiting(&lab.site.client, &bind(SERVER))).collect();
    let mut ports: Vec<_> = binds.iter().map(|(_, port)| port.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [40000, 40001, 40002, 40003]);
    assert_rejected(&lab.site.client, &bind(SERVER));
    lab.assert_logged(&[format!(
        "daemon.notice failed -- {}.  Error code: bind() Address already in use",
        msg(SERVER)
    )]);
    let (client, port) = binds.remove(0);
    drop(client);
    assert_closed(&lab.site.gateway, port);
    assert_eq!(waiting(&lab.site.client, &bind(SERVER)).1, port);
}

#[test]
fn binds_are_limited_for_each_client_host_and_in_all() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(max_binds_per_host: 2, max_binds: 3)");
    let Site { client, other, server, .. } = &lab.site;
    let mut own: Vec<_> = (0..2).map(|_| waiting(client, &bind(SERVER))).collect();
    assert_rejected(client, &bind(SERVER));
    let (_others, _) = waiting(other, &bind(SERVER));
    assert_rejected(other, &bind(SERVER));
    // A stranger does not count, and a BIND whose server has come waits no longer.
    stranger_from(server, (STRANGER, 0), own[0].1);
    assert_rejected(client, &bind(SERVER));
    let (line, port) = &mut own[0];
    let mut far = Line::dial(server, *port);
    assert_relayed(line, &mut far);
    let (third, _) = waiting(client, &bind(SERVER));
    drop(third);
    let lines = lab.logged_whole(5);
    let refused = |who: &str, setting: &str| {
        format!("daemon.notice failed -- Bind from joe(unknown)@{who} for {SERVER}. Error: {setting} reached")
    };
    assert_eq!(lines[0], refused("192.0.2.10", "max_binds_per_host"));
    assert_eq!(lines[1], refused("192.0.2.138", "max_binds"));
    lab.turn_the_page();
}

#[test]
fn a35_a_thousand_binds_of_one_host_are_refused_beyond_the_limit_and_leave_nothing_behind() {
    let lab = Lab::new(PERMIT_ALL);
    let before = lab.sockd.monitor().descriptors().len();
    let mut lines: Vec<_> = (0..1000).map(|_| send_to(&lab.site.client, PROXY, &bind(SERVER))).collect();
    let codes: Vec<_> = lines.iter_mut().map(|line| Reply::read(line).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == GRANTED).count(), 256);
    // Others are served.
    let (other, _) = waiting(&lab.site.other, &bind(SERVER));
    drop((lines, other));
    // The channels of further workers are among them.
    until_true("all ports are closed", || lab.sockd.monitor().descriptors().len() <= before + 20);
    waiting(&lab.site.client, &bind(SERVER));
}

#[test]
fn a35_the_port_of_a_bind_cannot_be_shared() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut client, port) = waiting(&lab.site.client, &bind(SERVER));
    for at in [*port.ip(), Ipv4Addr::UNSPECIFIED] {
        let stolen = lab.site.gateway.run(|| {
            let thief = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            thief.set_reuse_address(true).unwrap();
            thief.set_reuse_port(true).unwrap();
            thief.bind(&SocketAddr::from((at, port.port())).into()).and_then(|()| thief.listen(1))
        });
        assert_eq!(stolen.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
    // Nor is it open on any other address of the gateway.
    let elsewhere = SocketAddr::from((SECOND_OUTSIDE, port.port()));
    let found = lab.site.server.run(|| std::net::TcpStream::connect_timeout(&elsewhere, LONG));
    assert_eq!(found.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let mut server = Line::dial(&lab.site.server, port);
    assert_relayed(&mut client, &mut server);
}

#[test]
fn a35_two_clients_at_once_get_each_their_own_server() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut one, one_port) = waiting(&lab.site.client, &bind(SERVER));
    let (mut two, two_port) = waiting(&lab.site.other, &bind(SERVER));
    assert_ne!(one_port, two_port);
    let mut for_two = Line::dial(&lab.site.server, two_port);
    assert_relayed(&mut two, &mut for_two);
    assert!(one.is_quiet());
    let mut for_one = Line::dial(&lab.site.server, one_port);
    assert_relayed(&mut one, &mut for_one);
}

const ROUTES: &str = "198.51.100.1 198.51.100.0 255.255.255.0\n203.0.113.1 203.0.113.0 255.255.255.0\n";

#[test]
fn bind_06_the_route_file_says_on_which_interface_a_bind_listens() {
    let lab = Lab::started(PERMIT_ALL, |start| start.route(ROUTES));
    assert_eq!(lab.site.gateway.read("/proc/sys/net/ipv4/ip_forward").trim(), "0");
    for (server, outside) in [(SERVER, OUTSIDE), (SECOND_SERVER, SECOND_OUTSIDE)] {
        let (mut client, port) = waiting(&lab.site.client, &bind(server));
        assert_eq!(*port.ip(), outside);
        let mut far = dial_from(&lab.site.server, (server, 20), port);
        assert_relayed(&mut client, &mut far);
    }
    // The route file, and not the kernel's routing, has the last word.
    let lab = Lab::started(PERMIT_ALL, |start| start.route("203.0.113.1 0.0.0.0 0.0.0.0\n"));
    assert_eq!(*waiting(&lab.site.client, &bind(SERVER)).1.ip(), SECOND_OUTSIDE);
}

#[test]
fn bind_07_a_destination_without_a_route_is_refused_with_91() {
    let mut lab = Lab::started(PERMIT_ALL, |start| start.route("203.0.113.1 203.0.113.0 255.255.255.0\n"));
    assert_rejected(&lab.site.client, &bind(SERVER));
    lab.assert_logged(&[
        format!("daemon.err ***Cannot find appropriate interface to communicate with {SERVER}"),
        format!("daemon.notice refused -- {}", msg(SERVER)),
    ]);
}

#[test]
fn a_route_to_an_address_that_this_host_does_not_have_is_told_by_the_call_that_failed() {
    let mut lab = Lab::started(PERMIT_ALL, |start| start.route("198.51.100.77 0.0.0.0 0.0.0.0\n"));
    assert_rejected(&lab.site.client, &bind(SERVER));
    lab.assert_logged(&[format!(
        "daemon.notice failed -- {}.  Error code: bind() Cannot assign requested address",
        msg(SERVER)
    )]);
}

/// With the setting, connects as a client from this port of its own.
fn from_port(lab: &Lab, port: u16, request: &Request) -> Line {
    let mut line = dial_from(&lab.site.client, (CLIENT, port), PROXY);
    line.send(request.bytes());
    line
}

const RRCMD: &str = "(privileged_ports: true)";

#[test]
fn rcmd_01_a_client_at_a_privileged_port_is_connected_from_one() {
    let lab = Lab::with_settings(PERMIT_ALL, RRCMD);
    let far = Far::listen_at(&lab.site.server, (SERVER, 514));
    let mut kept = Vec::new();
    for (own, expected) in
        [(602, Some(1023)), (512, Some(1022)), (1023, Some(1021)), (511, None), (1024, None)]
    {
        let mut line = from_port(&lab, own, &Request::connect(far.v4()));
        assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
        let mut server = far.accept();
        assert_eq!(server.peer().ip(), OUTSIDE);
        match expected {
            Some(port) => assert_eq!(server.peer().port(), port, "{own}"),
            None => assert!(server.peer().port() > 1023, "{own}"),
        }
        line.send("x");
        assert_eq!(server.read(1), b"x");
        kept.push((line, server));
    }
}

#[test]
fn rcmd_02_a_client_at_a_privileged_port_binds_to_one() {
    // Also if bind_ports says something else for everybody.
    let lab = Lab::with_settings(PERMIT_ALL, "(privileged_ports: true, bind_ports: (40000, 40010))");
    let mut line = from_port(&lab, 601, &bind(SERVER));
    let port = second_reply(&mut line);
    assert_eq!(port, SocketAddrV4::new(OUTSIDE, 1023));
    let mut server = dial_from(&lab.site.server, (SERVER, 1022), port);
    assert_relayed(&mut line, &mut server);
    let (_, port) = waiting(&lab.site.client, &bind(SERVER));
    assert!((40000..=40010).contains(&port.port()));
}

#[test]
fn rcmd_03_root_at_a_privileged_port_is_let_in_under_another_name() {
    let mut lab = Lab::with_settings("permit ?=I 0.0.0.0 0.0.0.0\n", RRCMD);
    let identd = Identd::start(&lab.site.client, CLIENT);
    identd.names("sam");
    let far = Far::listen_at(&lab.site.server, (SERVER, 514));
    let root = Request::connect(far.v4()).by("root");
    let mut line = from_port(&lab, 600, &root);
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    let session = "Connect from root(sam)@192.0.2.10 to 198.51.100.10 (shell)";
    lab.assert_logged(&[format!("daemon.notice connected -- {session}")]);
    // Neither another port nor another claim will do, and identd still has to name somebody.
    let (_, reply) = ask(&lab.site.client, &root);
    assert_eq!(reply.code, 93);
    let mut line = from_port(&lab, 601, &Request::connect(far.v4()).by("jim"));
    assert_eq!(Reply::read(&mut line).code, 93);
    identd.says(|_| "");
    let mut line = from_port(&lab, 603, &root);
    assert_eq!(Reply::read(&mut line).code, 92);
}

#[test]
fn without_the_setting_a_privileged_client_port_means_nothing() {
    let lab = Lab::new("permit ?=i 0.0.0.0 0.0.0.0\n");
    let far = Far::listen_at(&lab.site.server, (SERVER, 514));
    let mut line = from_port(&lab, 602, &Request::connect(far.v4()));
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    assert!(far.accept().peer().port() > 1023);
    let identd = Identd::start(&lab.site.client, CLIENT);
    identd.names("sam");
    let mut line = from_port(&lab, 603, &Request::connect(far.v4()).by("root"));
    assert_eq!(Reply::read(&mut line).code, 93);
}

#[test]
fn privileged_ports_run_out_one_by_one_and_come_back() {
    let lab = Lab::with_settings(PERMIT_ALL, "(privileged_ports: true, max_binds_per_host: 1000)");
    let mut kept: Vec<_> = (512..=1023)
        .map(|own| {
            let mut line = from_port(&lab, own, &bind(SERVER));
            (second_reply(&mut line), line)
        })
        .collect();
    let mut ports: Vec<_> = kept.iter().map(|(port, _)| port.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, (512..=1023).collect::<Vec<_>>());
    let (port, line) = kept.swap_remove(100);
    line.reset();
    assert_closed(&lab.site.gateway, port);
    // All own ports of the client but this one are taken.
    let mut line = until("the client's port is free again", || {
        let socket = lab.site.client.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((CLIENT, 612)).into())?;
            socket.connect(&SocketAddr::from(PROXY).into()).map(|()| socket)
        });
        Some(Line::new(socket.ok()?.into()))
    });
    line.send(bind(SERVER).bytes());
    assert_eq!(second_reply(&mut line), port);
}

#[test]
fn ver_says_whether_rrcmd_is_supported() {
    let site = Site::new();
    for (settings, words) in [("()", "Does not support"), (RRCMD, "Supports")] {
        let output = Start::bare(&site.gateway).settings(settings).words("-ver").output();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("\t{words} clients that use Rrcmd().\n")), "{text}");
        assert!(text.contains("RBIND is supported"), "{text}");
    }
}

#[test]
fn bind_08_a_connect_needs_no_route_file() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
}
