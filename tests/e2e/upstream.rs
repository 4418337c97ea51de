//! The SOCKSified server: destinations that are reached through other SOCKS servers, honest, dead and hostile ones.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::ftp;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::program::Program;
use sockd_tests::site::{CLIENT, NAMESERVER, OUTSIDE, SECOND_SERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Sockd, Start};
use sockd_tests::socks::{PROXY, REJECTED, Reply, Request, ask, assert_rejected, granted, send_to};
use sockd_tests::socks5;
use sockd_tests::syslog::{Mark, Syslog};
use sockd_tests::upstream::{Upstream, reply};
use sockd_tests::wait::until_true;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};

/// A next server of the test's own, at the server host.
const NEXT: SocketAddrV4 = SocketAddrV4::new(SERVER, 1080);

/// A destination that only a next server can reach.
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(100, 64, 9, 9), 80);

const USING: &str = " using sockd at 198.51.100.10:1080";

fn lab(conf: &str, upstream: &str, settings: &str) -> (Upstream, Lab) {
    let site = Site::new();
    let next = Upstream::start(&site.server, NEXT);
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let lab = Lab::at(site, conf, |start| start.upstream(upstream).settings(settings));
    (next, lab)
}

/// Everything through [`NEXT`].
fn all_through(settings: &str) -> (Upstream, Lab) {
    lab(PERMIT_ALL, &format!("sockd @={SERVER} ALL 0.0.0.0\n"), settings)
}

fn session() -> Session {
    Session::of(CLIENT, FAR.ip(), "http")
}

fn failed(error: &str) -> String {
    let refused = session().refused();
    format!("{}. Error: {error}{USING}", refused.replace("refused --", "failed --"))
}

/// Makes the next server an echo from now on, which relays to nowhere.
fn echoes(next: &Upstream) {
    next.behaves(|mut stream| {
        stream.write_all(&reply(90, FAR))?;
        let mut from = stream.try_clone()?;
        std::io::copy(&mut from, &mut stream).map(drop)
    });
}

fn assert_echo(line: &mut Line) {
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
}

#[test]
fn a_connect_goes_through_the_next_server_with_what_was_decided_and_nothing_else() {
    let (next, mut lab) = all_through("()");
    next.behaves(|mut stream| {
        // Bytes after the reply in the same segment are the client's.
        stream.write_all(&[reply(90, SocketAddrV4::new(OUTSIDE, 7)), b"welcome".to_vec()].concat())?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let (mut line, answer) = ask(&lab.site.client, &Request::connect(FAR));
    assert_eq!(answer, Reply { version: 0, code: 90, address: SocketAddrV4::new(OUTSIDE, 7) });
    assert_eq!(line.read(7), b"welcome");
    assert_echo(&mut line);
    line.ending();
    drop(line);
    assert_eq!(next.requests(), [Request::connect(FAR).bytes()]);
    let [connected, terminated, bytes] = session().relayed(5, 12).try_into().unwrap();
    lab.assert_logged(&[connected + USING, terminated + USING, bytes]);
    assert_eq!(lab.sockd.workers("upstream").len(), 1);
}

#[test]
fn until_the_next_server_has_granted_the_request_the_session_worker_does_not_have_the_connection() {
    let (next, lab) = all_through("()");
    let _line = send_to(&lab.site.client, PROXY, &Request::connect(FAR));
    until_true("the next server is asked", || next.requests().len() == 1);
    let sockets = |role: &str| -> usize {
        let workers = lab.sockd.workers(role);
        workers
            .iter()
            .map(|worker| worker.descriptors().values().filter(|at| at.starts_with("socket:")).count())
            .sum()
    };
    // Each worker has its channel; besides that, session workers (one is spare) have only the client.
    let spare = lab.sockd.workers("session").len();
    assert_eq!((sockets("session"), sockets("upstream")), (spare + 1, 2));
}

#[test]
fn a_refusal_of_the_next_server_is_passed_on_as_it_is() {
    let (next, mut lab) = all_through("()");
    for code in [91, 92, 93] {
        next.says(reply(code, FAR));
        let (mut line, answer) = ask(&lab.site.client, &Request::connect(FAR));
        assert_eq!(answer, Reply::with(code));
        line.ending();
        lab.assert_logged(&[failed("the next server refuses")]);
    }
}

#[test]
fn a_next_server_that_lies_hurts_only_that_connection() {
    let (next, mut lab) = all_through("(connect_limit: 2)");
    echoes(&next);
    let mut witness = send_to(&lab.site.client, PROXY, &Request::connect(FAR));
    assert_eq!(Reply::read(&mut witness).code, 90);
    assert_echo(&mut witness);
    lab.wait_for_line("connected --");
    lab.turn_the_page();
    let lies: [(&[u8], String); 4] = [
        (b"\x05\x5a\0\0\0\0\0\0", failed("the next server's reply has version 5, expected 0")),
        (b"\x00\x5e\0\0\0\0\0\0", failed("the next server's reply has code 94, expected 90 to 93")),
        (&[b'H'; 65536], failed("the next server's reply has version 72, expected 0")),
        // Not a whole reply, and no more to come.
        (b"\x00\x5a\0\0\0\0\0", format!("{}{USING}", session().timed_out())),
    ];
    for (lie, line) in lies {
        next.says(lie);
        assert_rejected(&lab.site.client, &Request::connect(FAR));
        lab.assert_logged(&[line]);
    }
    next.behaves(|mut stream| stream.write_all(b"\x00\x5a\0"));
    assert_rejected(&lab.site.client, &Request::connect(FAR));
    lab.assert_logged(&[failed("the next server closed without a reply")]);
    assert_echo(&mut witness);
    assert_eq!(lab.sockd.workers("upstream").len(), 1);
}

#[test]
fn a_bind_goes_through_the_next_server_and_its_peer_is_judged_here() {
    let (next, mut lab) = all_through("()");
    let there = SocketAddrV4::new(SECOND_SERVER, 4000);
    for (bound, told) in
        [(there, there), (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 7), SocketAddrV4::new(SERVER, 7))]
    {
        for (peer, code) in [(SocketAddrV4::new(*FAR.ip(), 20), 90), (SocketAddrV4::new(SERVER, 20), 91)] {
            next.says([reply(90, bound), reply(90, peer), b"data".to_vec()].concat());
            let request = Request::connect(FAR).as_bind();
            let mut line = send_to(&lab.site.client, PROXY, &request);
            assert_eq!(Reply::read(&mut line), Reply { version: 0, code: 90, address: told });
            let second = Reply::read(&mut line);
            assert_eq!(second.code, code);
            assert_eq!(next.requests().last(), Some(&request.bytes()));
            if code == 90 {
                assert_eq!((second.address, line.read(4)), (peer, b"data".to_vec()));
                drop(line);
                lab.wait_for_line(&format!(
                    "connected -- Bind from joe(unknown)@{CLIENT} for {} (20){USING}",
                    FAR.ip()
                ));
                lab.wait_for_line("bytes from");
            } else {
                line.ending();
                lab.wait_for_line(&format!("Error: connected to wrong host {SERVER} (20){USING}"));
            }
            lab.turn_the_page();
        }
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_left_alone_by_later_clients() {
    let site = Site::new();
    let (next, dead) = (Upstream::start(&site.server, NEXT), SocketAddrV4::new(SECOND_SERVER, 1081));
    echoes(&next);
    let upstream = format!("sockd @={dead},{SERVER}:1080 ALL 0.0.0.0\n");
    let lab = Lab::at(site, PERMIT_ALL, |start| start.upstream(&upstream));
    let through = || assert_echo(&mut send_and_grant(&lab));
    through();
    // It lives again, but nobody comes: a server remembered as dead is not tried while there is another.
    let revived = Far::listen_at(&lab.site.server, dead);
    (0..5).for_each(|_| through());
    assert!(revived.waiting().is_none());
    assert_eq!(next.requests().len(), 6);
    // Without the other it is tried all the same.
    drop(next);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(FAR));
    let mut server = revived.accept();
    assert_eq!(server.read(Request::connect(FAR).bytes().len()), Request::connect(FAR).bytes());
    server.send(reply(90, FAR));
    assert_eq!(Reply::read(&mut line).code, 90);
}

fn send_and_grant(lab: &Lab) -> Line {
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(FAR));
    assert_eq!(Reply::read(&mut line).code, 90);
    line
}

const UNKNOWN: &str = "hidden.example.net";

fn names(lab: (Upstream, Lab)) -> (Nameserver, Upstream, Lab) {
    let (next, lab) = lab;
    let dns = Nameserver::start(&lab.site.server, |question| match question.name.as_str() {
        "next.example.net" => Answer::Addresses(vec![SERVER.into()]),
        "gate.example.net" => Answer::Addresses(vec![OUTSIDE.into()]),
        "known.example.net" => Answer::Addresses(vec![(*FAR.ip()).into()]),
        _ => Answer::NoSuchName,
    });
    (dns, next, lab)
}

#[test]
fn a_name_without_an_address_here_is_passed_on_and_one_with_an_address_goes_by_it() {
    let (_dns, next, lab) = names(lab(PERMIT_ALL, "sockd @=next.example.net ALL 0.0.0.0\n", "()"));
    echoes(&next);
    for (name, sent) in [
        (UNKNOWN, Request { address: Ipv4Addr::new(0, 0, 0, 1), ..Request::connect_name(UNKNOWN, 80) }),
        ("known.example.net", Request::connect(FAR)),
    ] {
        let mut line = send_to(&lab.site.client, PROXY, &Request::connect_name(name, 80));
        assert_eq!(Reply::read(&mut line).code, 90, "{name}");
        assert_echo(&mut line);
        assert_eq!(next.requests().last(), Some(&sent.bytes()));
        lab.wait_for_line(&format!("@{CLIENT} to {name} (http){USING}"));
    }
}

#[test]
fn a_name_without_an_address_here_is_refused_where_a_network_might_hold_it() {
    let denied = "deny 0.0.0.0 0.0.0.0 10.0.0.0 255.0.0.0\npermit 0.0.0.0 0.0.0.0\n";
    let narrow = "permit 0.0.0.0 0.0.0.0 100.64.0.0 255.192.0.0\n";
    let through = format!("sockd @={SERVER} ALL 0.0.0.0\n");
    let inside = format!("deny 10.0.0.0 255.0.0.0\n{through}");
    let direct = format!("direct .example.net 0.0.0.0\n{through}");
    for (conf, upstream, settings, line) in [
        (denied, &through, "()", "refused --"),
        (narrow, &through, "()", "refused --"),
        (PERMIT_ALL, &inside, "()", "failed --"),
        (PERMIT_ALL, &direct, "()", "cannot be resolved"),
        (PERMIT_ALL, &through, "(upstream_names: never)", "cannot be resolved"),
    ] {
        let (_dns, next, lab) = names(lab(conf, upstream, settings));
        echoes(&next);
        assert_rejected(&lab.site.client, &Request::connect_name(UNKNOWN, 80));
        lab.wait_for_line(line);
        // Its address is another matter.
        let mut line = send_to(&lab.site.client, PROXY, &Request::connect(FAR));
        assert_eq!(Reply::read(&mut line).code, 90);
        assert_eq!(next.requests(), [Request::connect(FAR).bytes()]);
    }
}

#[test]
fn a_name_that_must_not_be_resolved_here_is_not() {
    let settings =
        "(upstream_names: always, upstream_server: \"198.51.100.10:1080\", upstream_user: \"gate\")";
    let (dns, next, lab) = names(lab(PERMIT_ALL, "sockd .example.net 0.0.0.0\n", settings));
    echoes(&next);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect_name("known.example.net", 80));
    assert_eq!(Reply::read(&mut line).code, 90);
    let asked =
        Request { address: Ipv4Addr::new(0, 0, 0, 1), ..Request::connect_name("known.example.net", 80) };
    assert_eq!(next.requests(), [asked.by("gate").bytes()]);
    assert!(dns.asked().is_empty());
}

#[test]
fn a_next_server_that_is_the_proxy_itself_or_a_name_for_this_host_is_refused() {
    for server in ["192.0.2.1", "198.51.100.1:1080", "gate.example.net:7", "nobody.example.net"] {
        let (_dns, _next, lab) = names(lab(PERMIT_ALL, &format!("sockd @={server} ALL 0.0.0.0\n"), "()"));
        assert_rejected(&lab.site.client, &Request::connect(FAR));
        lab.wait_for_line("next server");
    }
}

#[test]
fn the_first_matching_line_decides_and_no_match_is_a_refusal() {
    let upstream = "direct 198.51.100.0 255.255.255.0\ndeny *=eve ALL 0.0.0.0 : touch /run/denied\n\
                    sockd @=198.51.100.10 100.64.0.0 255.192.0.0 eq 80 : touch /run/passed\n";
    let (next, lab) = lab(PERMIT_ALL, upstream, "()");
    let _echo = Server::echo(&lab.site.server, SocketAddrV4::new(SERVER, 7));
    lab.site.gateway.sh("chmod 777 /run");
    echoes(&next);
    assert_echo(&mut granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert_rejected(&lab.site.client, &Request::connect(FAR).by("eve"));
    assert_rejected(&lab.site.client, &Request::connect((*FAR.ip(), 81)));
    assert_eq!(next.requests().len(), 0);
    assert_echo(&mut send_and_grant(&lab));
    for file in ["/run/denied", "/run/passed"] {
        until_true(file, || lab.site.gateway.exists(file));
    }
}

#[test]
fn a_broken_file_refuses_the_start_and_keeps_the_old_lines_on_sighup() {
    let (next, lab) = all_through("()");
    echoes(&next);
    lab.sockd.write_upstream("sockd @=1.2.3.4:x ALL 0.0.0.0\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("/etc/socks.conf: line 1: expected servers");
    lab.wait_for_line("reload failed");
    assert_echo(&mut send_and_grant(&lab));
    lab.sockd.write_upstream("# none\ndeny ALL 0.0.0.0\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: 1 rule, no route file, 1 upstream line");
    assert_rejected(&lab.site.client, &Request::connect(FAR));
    for (lines, status) in
        [("sockd ALL 0.0.0.0\n", 78), ("proxy ALL 0.0.0.0\n", 78), ("deny ALL 0.0.0.0\n", 0)]
    {
        let check = Start::new(&lab.site.other, PERMIT_ALL).upstream(lines).words("--check").output();
        assert_eq!(check.status.code(), Some(status), "{check:?}");
    }
    let ver = String::from_utf8(Start::new(&lab.site.other, PERMIT_ALL).words("-ver").output().stdout);
    assert!(ver.as_deref().unwrap().contains("SOCKSified: 1 upstream line in /etc/socks.conf."), "{ver:?}");
}

/// Four machines in a row behind the client; only the last can reach the server:
/// 192.0.2.10 - 192.0.2.1 first 10.0.1.1 - 10.0.1.2 second 10.0.2.1 - 10.0.2.2 third 198.51.100.1 - 198.51.100.10.
struct Chain {
    client: Host,
    server: Host,
    hops: [Host; 3],
    logs: Vec<Syslog>,
    _sockds: Vec<Sockd>,
}

impl Chain {
    /// Every hop asks the next one in SOCKS4.
    fn new() -> Self {
        Self::by(["sockd", "sockd"])
    }

    /// The first two hops ask the next one with these words.
    fn by([to_second, to_third]: [&str; 2]) -> Self {
        let [client, first, second, third, server] = std::array::from_fn(|_| Host::new());
        first.link("inside", &client, "eth0");
        first.link("outside", &second, "inside");
        second.link("outside", &third, "inside");
        third.link("outside", &server, "eth0");
        for (host, interface, address) in [
            (&client, "eth0", "192.0.2.10/24"),
            (&first, "inside", "192.0.2.1/24"),
            (&first, "outside", "10.0.1.1/24"),
            (&second, "inside", "10.0.1.2/24"),
            (&second, "outside", "10.0.2.1/24"),
            (&third, "inside", "10.0.2.2/24"),
            (&third, "outside", "198.51.100.1/24"),
            (&server, "eth0", "198.51.100.10/24"),
        ] {
            host.address(interface, address);
        }
        let hops = [first, second, third];
        let next = [
            Some(format!("{to_second} @=10.0.1.2 ALL 0.0.0.0\n")),
            Some(format!("{to_third} @=10.0.2.2 ALL 0.0.0.0\n")),
            None,
        ];
        let mut logs = Vec::new();
        let mut sockds = Vec::new();
        for (hop, next) in hops.iter().zip(next) {
            logs.push(Syslog::start(hop));
            let start = Start::new(hop, PERMIT_ALL);
            sockds.push(if let Some(lines) = next { start.upstream(&lines) } else { start }.start());
        }
        Self { client, server, hops, logs, _sockds: sockds }
    }
}

#[test]
fn a_chain_of_three_reaches_what_only_the_last_can_reach() {
    let chain = Chain::new();
    let echo = SocketAddrV4::new(SERVER, 7);
    let _server = Server::echo(&chain.server, echo);
    for hop in &chain.hops[..2] {
        assert!(hop.run(|| std::net::TcpStream::connect(echo)).is_err());
    }
    let mut line = send_to(&chain.client, PROXY, &Request::connect(echo));
    assert_eq!(Reply::read(&mut line).code, 90);
    assert_echo(&mut line);
    line.half_close();
    line.ending();
    for (log, using) in
        chain.logs.iter().zip([" using sockd at 10.0.1.2:1080", " using sockd at 10.0.2.2:1080", ""])
    {
        let line = log.wait_for(Mark::BEGINNING, "connected --");
        assert!(line.ends_with(&format!("to {SERVER} (echo){using}")), "{line}");
    }
    let mut line = send_to(&chain.client, PROXY, &Request::connect((SERVER, 9)));
    assert_eq!(Reply::read(&mut line).code, REJECTED);
    assert_eq!(line.ending(), sockd_tests::line::Ending::Closed);
}

/// A BIND through a chain opens its port at the last server, and data of its peer comes back.
fn assert_bind_takes_its_peer(chain: &Chain) {
    let mut line = send_to(&chain.client, PROXY, &Request::connect((SERVER, 21)).as_bind());
    let bound = Reply::read(&mut line);
    assert_eq!((bound.code, *bound.address.ip()), (90, Ipv4Addr::new(198, 51, 100, 1)));
    let mut peer = Line::dial(&chain.server, bound.address);
    let second = Reply::read(&mut line);
    assert_eq!((second.code, second.address.into()), (90, peer.local()));
    peer.send("data");
    assert_eq!(line.read(4), b"data");
}

#[test]
fn a_bind_through_a_chain_of_three_opens_its_port_at_the_last_and_takes_only_the_right_peer() {
    assert_bind_takes_its_peer(&Chain::new());
}

/// A CONNECT by SOCKS5 that is granted, whatever address the reply has.
fn socks5_granted(client: &Host, request: Vec<u8>) -> Line {
    let mut line = socks5::ask(client, request);
    socks5::bound(&mut line);
    line
}

/// SOCKS4 from the client, then SOCKS5, then SOCKS4, and the reverse.
#[test]
fn chains_may_mix_both_versions() {
    for (words, five) in
        [(["sockd5", "sockd"], false), (["sockd", "sockd5"], true), (["sockd5", "sockd5"], true)]
    {
        let chain = Chain::by(words);
        let echo = SocketAddrV4::new(SERVER, 7);
        let _server = Server::echo(&chain.server, echo);
        let mut line = match five {
            true => socks5_granted(&chain.client, socks5::to(socks5::CONNECT, echo)),
            false => send_to(&chain.client, PROXY, &Request::connect(echo)),
        };
        if !five {
            assert_eq!(Reply::read(&mut line).code, 90);
        }
        assert_echo(&mut line);
        line.half_close();
        line.ending();
        for log in &chain.logs {
            log.wait_for(Mark::BEGINNING, "5 bytes from ");
        }
        assert_bind_takes_its_peer(&chain);
    }
}

#[test]
fn the_codes_of_socks5_come_back_through_a_chain() {
    let chain = Chain::by(["sockd5", "sockd5"]);
    // Nobody listens there, and the last hop is told so.
    socks5::assert_refused(&chain.client, socks5::to(socks5::CONNECT, (SERVER, 9)), 5);
}

/// Everything through [`NEXT`], which answers the greeting of SOCKS5 and then says this.
fn lab_of_socks5(settings: &str, says: &'static [u8]) -> (Server, Lab) {
    let site = Site::new();
    let next = Server::start(&site.server, NEXT, move |mut stream| {
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting)?;
        assert_eq!(greeting, [5, 1, 0]);
        let (method, reply) = says.split_at(says.len().min(2));
        stream.write_all(method)?;
        let mut request = [0; 10];
        stream.read_exact(&mut request)?;
        assert_eq!(request, *b"\x05\x01\x00\x01\x64\x40\x09\x09\x00\x50");
        stream.write_all(reply)?;
        let mut from = stream.try_clone()?;
        std::io::copy(&mut from, &mut stream).map(drop)
    });
    let lines = format!("sockd5 @={SERVER} ALL 0.0.0.0\n");
    let lab = Lab::at(site, PERMIT_ALL, |start| start.upstream(&lines).settings(settings));
    (next, lab)
}

#[test]
fn what_stands_behind_the_reply_of_socks5_is_the_clients_and_no_byte_before_it_is_counted() {
    let (_next, mut lab) = lab_of_socks5(
        "()",
        b"\x05\x00\x05\x00\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\x00\x50welcome",
    );
    let (mut line, answer) = ask(&lab.site.client, &Request::connect(FAR));
    assert_eq!(answer.code, 90);
    assert_eq!(line.read(7), b"welcome");
    assert_echo(&mut line);
    line.half_close();
    line.ending();
    drop(line);
    let [connected, terminated, bytes] = session().relayed(5, 12).try_into().unwrap();
    lab.assert_logged(&[connected + USING, terminated + USING, bytes]);
}

#[test]
fn a_next_server_that_lies_in_socks5_hurts_only_that_connection() {
    let lies: [(&[u8], String); 6] = [
        (b"\x05\xff", failed("the next server wants to be shown who asks")),
        (b"HTTP/1.1 400", failed("the next server's answer has version 72, expected 5")),
        (b"\x05\x00\x00\x5a\0\0", failed("the next server's answer has version 0, expected 5")),
        (
            b"\x05\x00\x05\x00\x00\x03\x09",
            failed("the next server's reply has an address of kind 3, expected 1 or 4"),
        ),
        (b"\x05\x00\x05\x63\x00\x01", failed("the next server refuses")),
        // Not a whole reply, and no more to come.
        (b"\x05\x00\x05\x00\x00\x01\x0a", format!("{}{USING}", session().timed_out())),
    ];
    for (lie, line) in lies {
        let (_next, mut lab) = lab_of_socks5("(connect_limit: 2)", lie);
        assert_rejected(&lab.site.client, &Request::connect(FAR));
        lab.assert_logged(&[line]);
        assert_eq!(lab.sockd.workers("upstream").len(), 1);
    }
}

/// A program that serves SOCKS4 on the server host, at port 1080.
fn serve(lab: &Lab, command: &mut Command) -> Program {
    let program = lab.site.server.start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    until_true("the next server listens", || procfs::listens(&lab.site.server, 1080));
    program
}

fn lab_without_next() -> (SocketAddrV4, Server, Lab) {
    let site = Site::new();
    // An address that the gateway has no route to.
    site.server.sh("ip addr add 100.64.9.9/32 dev lo");
    let server = Server::echo(&site.server, FAR);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.upstream(&format!("sockd @={SERVER} ALL 0.0.0.0\n")));
    (FAR, server, lab)
}

fn assert_relays(lab: &Lab, to: SocketAddrV4) {
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(to));
    assert_eq!(Reply::read(&mut line).code, 90);
    assert_echo(&mut line);
    // Nobody listens there: another implementation's refusal comes back as such.
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect((*to.ip(), 9)));
    assert_eq!(Reply::read(&mut line).code, REJECTED);
}

#[test]
fn danted_serves_as_next_server() {
    let (far, _echo, lab) = lab_without_next();
    lab.site.server.write(
        "/etc/danted.conf",
        "logoutput: stderr\ninternal: 198.51.100.10 port = 1080\nexternal: 198.51.100.10\nsocksmethod: none\nclientmethod: none\n\
         user.privileged: root\nuser.unprivileged: nobody\n\
         client pass {\n from: 0.0.0.0/0 to: 0.0.0.0/0\n}\nsocks pass {\n from: 0.0.0.0/0 to: 0.0.0.0/0\n}\n",
    );
    let _danted = serve(&lab, Command::new("danted").args(["-f", "/etc/danted.conf"]).stderr(Stdio::null()));
    assert_relays(&lab, far);
    lab.sockd.write_upstream(&format!("sockd5 @={SERVER} ALL 0.0.0.0\n"));
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: ");
    assert_relays(&lab, far);
    // Dante's own word for a port where nobody listens.
    socks5::assert_refused(&lab.site.client, socks5::to(socks5::CONNECT, (*far.ip(), 9)), 5);
}

/// ncat can only ask a SOCKS server, not be one; `ssh -D` is one, for SOCKS4 as well.
#[test]
fn the_dynamic_forwarding_of_ssh_serves_as_next_server() {
    let (far, _echo, lab) = lab_without_next();
    let server = &lab.site.server;
    for key in ["/run/host_key", "/run/key"] {
        server.sh(&format!("ssh-keygen -q -t ed25519 -N  -f {key}"));
    }
    server.write("/run/authorized_keys", server.read("/run/key.pub"));
    server.write("/run/known_hosts", format!("127.0.0.1 {}", server.read("/run/host_key.pub")));
    server.write(
        "/run/sshd_config",
        "Port 22\nListenAddress 127.0.0.1\nHostKey /run/host_key\nPidFile none\nPermitRootLogin yes\nUsePAM no\n\
         AuthorizedKeysFile /run/authorized_keys\nPasswordAuthentication no\n",
    );
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-e", "-f", "/run/sshd_config"]).stdin(Stdio::null()).stderr(Stdio::null());
    let _sshd = server.start(&mut sshd);
    until_true("sshd listens", || procfs::listens(server, 22));
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-i",
        "/run/key",
        "-o",
        "UserKnownHostsFile=/run/known_hosts",
        "-o",
        "BatchMode=yes",
    ]);
    ssh.args(["-N", "-D", "198.51.100.10:1080", "root@127.0.0.1"]).stderr(Stdio::null());
    let _ssh = serve(&lab, &mut ssh);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(far));
    assert_eq!(Reply::read(&mut line).code, 90);
    assert_echo(&mut line);
}

#[test]
fn active_mode_ftp_works_through_a_chain_of_three() {
    let chain = Chain::new();
    let _vsftpd = ftp::vsftpd(&chain.server);
    ftp::transfer(&chain.client, SERVER);
    assert!(chain.client.run(|| std::fs::read("/run/got")).expect("the download") == ftp::file());
    let is_transfer =
        |line: &&String| line.contains("connected -- Bind") && line.contains(&format!("for {SERVER} (20)"));
    for log in &chain.logs {
        until_true("the transfers are logged", || log.lines().iter().filter(is_transfer).count() == 3);
    }
}
