//! Each process makes every call that it is allowed, or the call's row says why it rarely does.
//!
//! One client asks for everything that the daemon does, and strace(1) records the calls of each process once its filter
//! stands. Rows are compared by the names of their calls.

use nix::sys::signal::Signal;
use sockd::loader::profile::LOADER;
use sockd::monitor::profile::MONITOR;
use sockd::spawner::profile::{SPAWNER, WORKERS};
use sockd_common::message::Role;
use sockd_lockdown::Row;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::host::Host;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::socks::{Reply, Request, ask, assert_rejected, granted, send_to};
use sockd_tests::socks5;
use sockd_tests::upstream::{Upstream, reply};
use sockd_tests::wait::{LONG, uninterrupted};
use sockd_worker::roles::ROLES;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;

const RULES: &str = "\
permit +=udp 0.0.0.0 0.0.0.0
permit ?=I *=joe 0.0.0.0 0.0.0.0 : /bin/true %p
deny *=eve 0.0.0.0 0.0.0.0
permit 0.0.0.0 0.0.0.0
permit 2001:db8::/32
";

/// A destination that is reached through a next server, and the line that says so.
const FAR_AWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(100, 64, 9, 9), 7);
const UPSTREAM: &str = "sockd @=198.51.100.10:1081 100.64.0.0/10\ndirect ALL 0.0.0.0\n";

/// Enough for splice(2).
const BULK: usize = 8 << 20;

/// The calls of each role, by name.
type Calls = BTreeMap<&'static str, BTreeSet<String>>;

#[test]
fn every_row_is_used_or_says_why_it_rarely_is() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rows");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for traces");
    ask_for_everything(&folder);
    let seen = seen(&folder);
    let keepers: [(&str, Vec<Row>); 3] = [
        ("monitor", MONITOR.to_vec()),
        ("loader", LOADER.to_vec()),
        ("spawner", [SPAWNER, WORKERS].concat()),
    ];
    let workers = ROLES.iter().filter(|entry| entry.role != Role::Probe);
    let workers = workers.map(|entry| (entry.role.as_str(), entry.profile.to_vec()));
    let mut unexplained = Vec::new();
    for (role, rows) in keepers.into_iter().chain(workers) {
        let calls = seen.get(role).unwrap_or_else(|| panic!("no process was seen as {role}: {seen:?}"));
        let unused = rows.iter().filter(|row| !calls.contains(row.name) && row.rare.is_none());
        unexplained.extend(unused.map(|row| format!("{role}: {}", row.name)));
        let rare = rows.iter().filter_map(|row| Some(format!("{}: {}", row.name, row.rare?)));
        println!("{role}: {} calls seen; rare: {:#?}", calls.len(), rare.collect::<Vec<_>>());
    }
    assert!(unexplained.is_empty(), "never used, and the row does not say when it is: {unexplained:#?}");
}

/// CONNECT, BIND and UDP ASSOCIATE, by address and by name, over IPv4 and IPv6, little and much; identd, a next server, a
/// command, refusals; a reload, a report, an orderly end.
fn ask_for_everything(folder: &Path) {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:2\n"));
    let _dns = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "long.example.net" => Answer::Truncated(vec![SERVER.into()]),
        "host.example.net" => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let identd = Identd::start(&site.client, CLIENT);
    identd.names("joe");
    let next = Upstream::start(&site.server, (SERVER, 1081));
    next.says(reply(90, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));
    let mut lab = Lab::at(site, RULES, |start| {
        let start = start.users("joe:$2y$05$v8R3SnyJc/5RXQoNGK4/K.7wnbK9cNlqyFqblZnvZWjQcaaxvKZoy\n");
        let start = start.settings("(commands: argv, worker_idle: 1)").upstream(UPSTREAM);
        start.words("--pid-file /run/sockd.pid").traced(folder)
    });
    let client = &lab.site.client.clone();

    let far = Far::listen(&lab.site.server, SERVER);
    let (mut near, mut there) = (granted(client, &Request::connect(far.v4())), far.accept());
    let sender = std::thread::spawn(move || {
        near.send(vec![b'x'; BULK]);
        near.half_close();
        near.read_to_end()
    });
    assert_eq!(there.read(BULK).len(), BULK);
    there.send("little");
    drop(there);
    sender.join().expect("the sender");

    for name in ["host.example.net", "long.example.net"] {
        drop(granted(client, &Request::connect_name(name, 7)));
    }
    drop(granted(client, &Request::connect(FAR_AWAY)));
    drop(granted(client, &Request::connect((SERVER, 7)).by("joe")));
    assert_rejected(client, &Request::connect((SERVER, 7)).by("eve"));
    let ipv6: SocketAddr = "[2001:db8:1::1]:1080".parse().expect("an address");
    let mut line = send_to(client, ipv6, &Request::connect((SERVER, 7)).by("sam"));
    assert_eq!(Reply::read(&mut line).code, 90);
    drop(line);

    let (mut waiting, reply) = ask(client, &Request::connect((SERVER, 21)).as_bind());
    let mut server = Line::dial(&lab.site.server, reply.address);
    assert_eq!(Reply::read(&mut waiting).code, 90);
    server.send("x");
    assert_eq!(waiting.read(1), b"x");
    drop((server, waiting));

    datagram_and_answer(&lab);

    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("daemon.notice reloaded: ");
    lab.sockd.signal(Signal::SIGUSR1);
    drop(granted(client, &Request::connect((SERVER, 7)).by("sam")));
    lab.sockd.signal(Signal::SIGTERM);
    lab.sockd.wait();
}

/// An association with one flow, from the request to the end of the connection.
fn datagram_and_answer(lab: &Lab) {
    let bind = |host: &Host, at| host.run(|| UdpSocket::bind((at, 9999))).expect("a socket");
    let (near, far) = (bind(&lab.site.client, CLIENT), bind(&lab.site.server, SERVER));
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(LONG)).expect("a limit");
    }
    let mut control = socks5::ask(&lab.site.client, [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    near.connect(socks5::bound(&mut control)).expect("an address");
    let header = [&[0, 0, 0, 1], &SERVER.octets()[..], &9999_u16.to_be_bytes()].concat();
    near.send(&[&header[..], b"to"].concat()).expect("sending");
    let (mut bytes, mut answer) = ([0; 64], [0; 64]);
    let (length, outer) = uninterrupted(|| far.recv_from(&mut bytes)).expect("a datagram");
    assert_eq!(&bytes[..length], b"to");
    far.send_to(b"fro", outer).expect("sending");
    let length = uninterrupted(|| near.recv(&mut answer)).expect("an answer");
    assert_eq!(answer[..length], [&header[..], b"fro"].concat());
    control.half_close();
    lab.wait_for_line("terminated -- Associate from ");
}

fn seen(folder: &Path) -> Calls {
    let mut calls = Calls::new();
    for entry in fs::read_dir(folder).expect("traces") {
        let trace = fs::read_to_string(entry.expect("a trace").path()).expect("text");
        let lines: Vec<&str> = trace.lines().collect();
        let names = |lines: &[&str]| -> BTreeSet<String> {
            let called = lines.iter().filter_map(|line| line.split_once('('));
            called.map(|(name, _)| name.to_owned()).collect()
        };
        let Some(filter) = lines.iter().rposition(|line| line.starts_with("seccomp(SECCOMP_SET_MODE_FILTER"))
        else {
            continue;
        };
        let after = names(lines.get(filter + 1..).unwrap_or_default());
        match worker(&lines) {
            Some(role) => {
                calls.entry(role).or_default().extend(after);
                // The spawner's filter is around it from the beginning.
                calls.entry("spawner").or_default().extend(names(&lines));
            }
            // The hook process has a table of forbidden calls.
            None if lines.iter().any(|line| line.starts_with("mount(\"proc\"")) => {}
            None => calls.entry(keeper(&after)).or_default().extend(after),
        }
    }
    calls
}

/// The role of a worker, from how its program was executed.
fn worker(lines: &[&str]) -> Option<&'static str> {
    let start = lines.iter().find(|line| line.starts_with("execveat("))?;
    Role::ALL.into_iter().map(Role::as_str).find(|role| start.contains(&format!("\"{role}\"")))
}

/// Tells the other three processes apart by calls that only one of them makes.
fn keeper(calls: &BTreeSet<String>) -> &'static str {
    match (calls.contains("clone"), calls.contains("epoll_pwait")) {
        (true, _) => "spawner",
        (false, true) => "monitor",
        (false, false) => "loader",
    }
}
