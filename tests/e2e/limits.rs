//! Waits have an end, and so has the number of things that one client host may have at once.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::site::{CLIENT, OUTSIDE, SECOND_OUTSIDE, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{
    GRANTED, PROXY, Reply, Request, ask, assert_rejected, granted, is_granted, send_to,
};
use sockd_tests::wait::{until, until_true};
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// An address that swallows every packet: its neighbour entry leads to no station.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);

fn swallow(lab: &Lab) {
    lab.site.gateway.sh("ip neigh add 198.51.100.99 lladdr 02:00:00:00:00:99 dev outside nud permanent");
}

#[test]
fn a_destination_that_does_not_answer_is_given_up_at_the_connect_limit() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(connect_limit: 1)");
    swallow(&lab);
    assert_rejected(&lab.site.client, &Request::connect((NOBODY, 4000)));
    lab.assert_logged(&[Session::of(CLIENT, NOBODY, 4000).timed_out()]);
}

#[test]
fn a_destination_that_is_slow_to_connect_holds_up_nobody_else() {
    let lab = Lab::new(PERMIT_ALL);
    swallow(&lab);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let waiting: Vec<_> =
        (0..50).map(|_| send_to(&lab.site.client, PROXY, &Request::connect((NOBODY, 4000)))).collect();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(waiting);
}

#[test]
fn a_client_that_resets_ends_its_connection_attempt() {
    let lab = Lab::new(PERMIT_ALL);
    swallow(&lab);
    let line = send_to(&lab.site.client, PROXY, &Request::connect((NOBODY, 4000)));
    let attempts = || procfs::attempts(&lab.site.gateway, 4000);
    until_true("an attempt to connect", || attempts() == 1);
    // A FIN alone could come from a client that has sent everything and waits for an answer.
    line.reset();
    until_true("no attempt any more", || attempts() == 0);
}

#[test]
fn idle_clients_do_not_keep_others_out() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_requests_per_host: 10)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let idle: Vec<_> = (0..100).map(|_| Line::dial(&lab.site.client, PROXY)).collect();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(idle);
}

/// The number of lines that say so, without those that count, after a minute, the suppressed ones.
fn said(lab: &Lab, text: &str) -> usize {
    lab.logged().iter().filter(|line| line.contains(text) && !line.ends_with(" times more)")).count()
}

#[test]
fn a64_ten_thousand_slow_clients_of_one_host_do_not_keep_another_host_waiting() {
    const SLOW: usize = 10_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("setrlimit");
    assert!(most > SLOW as u64 + 500, "{SLOW} clients need more than {most} descriptors");
    let lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let handshakes = |number| (0..number).for_each(|_| drop(granted(&lab.site.other, &request)));
    let slow = thread::scope(|scope| {
        let slow = scope.spawn(|| {
            lab.site.client.run(|| -> Vec<TcpStream> {
                let dialled =
                    (0..SLOW).map(|_| TcpStream::connect(SocketAddr::from(PROXY)).expect("a connection"));
                // The oldest have been closed when the last are dialled.
                dialled.inspect(|mut stream| drop(stream.write(&[4]))).collect()
            })
        });
        while !slow.is_finished() {
            handshakes(10);
        }
        slow.join().expect("the slow clients")
    });
    handshakes(200);
    lab.wait_for_line("unfinished requests are closed: max_requests_per_host reached by 192.0.2.10");
    assert_eq!(said(&lab, "unfinished requests are closed"), 1);
    // The clients that are let wait, a few that are being closed, and a worker's other descriptors.
    until_true("no worker has more than it may have", || {
        lab.sockd.workers("session").iter().map(|worker| worker.descriptors().len()).sum::<usize>()
            < 1024 + 100
    });
    // The monitor has a descriptor of its own of each client that is let wait.
    until_true("the monitor has no more than that", || lab.sockd.monitor().descriptors().len() < 1024 + 200);
    drop(slow);
}

#[test]
fn a_flood_of_connections_from_one_host_does_not_lower_the_success_of_another() {
    let lab = Lab::with_settings(PERMIT_ALL, "(connection_rate: 50, connection_burst: 50)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            lab.site.client.run(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(TcpStream::connect(SocketAddr::from(PROXY)));
                }
            });
        });
        let _ends = scope.spawn(|| {
            lab.wait_for_line("clients are turned away: connection_rate reached, by 192.0.2.10");
            // Within the burst of this host and a little more than its rate later.
            for _ in 0..3 {
                (0..25).for_each(|_| drop(granted(&lab.site.other, &request)));
                thread::sleep(Duration::from_millis(600));
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    assert_eq!(said(&lab, "connection_rate reached"), 1);
    // Suppressed lines are counted, and the host is served again once it keeps to its rate.
    until_true("it is served again", || is_granted(&lab.site.client, &request));
}

/// A request from this address of the client; `None` if it is turned away.
fn asks_over_ipv6(lab: &Lab, from: &str) -> Option<Line> {
    let bytes = Request::connect((SERVER, 7)).bytes();
    let from: SocketAddr = format!("[{from}]:0").parse().expect("an address");
    let socket = lab.site.client.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        socket.bind(&from.into()).expect("bind");
        let proxy: SocketAddr = "[2001:db8:1::1]:1080".parse().expect("an address");
        socket.connect(&proxy.into()).expect("a connection");
        socket
    });
    let mut line = Line::new(socket.into());
    // A reset may come before it can be sent.
    let _ = line.stream().write_all(&bytes);
    let (granted, line) = match line.stream().peek(&mut [0]) {
        Ok(1) => (Reply::read(&mut line) == Reply::with(GRANTED), line),
        _ => (false, line),
    };
    granted.then_some(line)
}

#[test]
fn a65_the_addresses_of_one_ipv6_network_share_what_a_host_may_have() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_sessions_per_host: 3)");
    for address in ["2001:db8:1::11/64", "2001:db8:1::12/64"] {
        lab.site.client.sh(&format!("ip addr add {address} dev eth0 nodad"));
    }
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let asks = |from: &str| asks_over_ipv6(&lab, from);
    until_true("the first address is used", || asks("2001:db8:1::10").is_some());
    let held = until("sessions up to the limit", || {
        let held: Vec<_> =
            ["2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12"].map(&asks).into_iter().flatten().collect();
        (held.len() == 3).then_some(held)
    });
    assert!(asks("2001:db8:1::12").is_none());
    lab.wait_for_line("max_sessions_per_host reached by 2001:db8:1::/64");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(held);
}

#[test]
fn h8_two_machines_of_one_ipv6_network_have_workers_of_their_own() {
    let lab = Lab::new(PERMIT_ALL);
    lab.site.client.sh("ip addr add 2001:db8:1::11/64 dev eth0 nodad");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let asks = |from: &str| until("a relay", || asks_over_ipv6(&lab, from));
    let _held = ["2001:db8:1::10", "2001:db8:1::11"].map(asks);
    until_true("two workers, and a spare one", || lab.sockd.workers("session").len() == 3);
}

#[test]
fn a_reader_that_never_reads_holds_its_socket_buffers_and_no_more() {
    const BUFFER: usize = 256 << 10;
    let lab = Lab::new(PERMIT_ALL);
    for host in [&lab.site.client, &lab.site.gateway, &lab.site.server] {
        for key in ["tcp_rmem", "tcp_wmem"] {
            host.sh(&format!("sysctl -qw net.ipv4.{key}=4096\t65536\t{BUFFER}"));
        }
    }
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let worker = lab.sockd.worker_of(near.local());
    let before = worker.private_memory();
    let mut there = far.accept();
    there.stream().set_nonblocking(true).expect("nonblocking");
    let mut sent = 0;
    let mut quiet = 0;
    while quiet < 20 {
        match there.stream().write(&[b'x'; 16 << 10]) {
            Ok(length) => (sent, quiet) = (sent + length, 0),
            Err(_) => {
                quiet += 1;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    // Two sockets send and two receive, and there may be a pipe between them; the kernel counts no more than the half
    // of a receive buffer as data, and a little more than the limit of a send buffer.
    assert!(sent < 5 * BUFFER, "{sent} bytes have gone somewhere");
    assert!(worker.private_memory() <= before + 256, "{} KiB, {before} before", worker.private_memory());
    let used = worker.pipes().into_iter().filter(|size| *size > 4 << 10).count();
    assert!(used <= 2, "{used} pipes for two directions");
    assert_eq!(lab.sockd.monitor().pipes(), []);
    let ticks = || worker.processor_ticks() + lab.sockd.monitor().processor_ticks();
    let used = ticks();
    thread::sleep(Duration::from_millis(500));
    assert!(ticks() - used <= 2, "nobody waits by looking again and again");
}

#[test]
fn a62_descriptors_used_up_by_binds_and_identds_are_refusals_and_come_back() {
    let conf = "permit ?=i 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 9\npermit 0.0.0.0 0.0.0.0\n";
    let mut lab = Lab::with_settings(conf, "(ident_limit: 1)");
    swallow(&lab);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let monitor = lab.sockd.monitor();
    // Its workers are there, so that it lacks only descriptors for sockets of its own afterwards.
    let held = [&lab.site.client, &lab.site.other].map(|host| granted(host, &Request::connect((SERVER, 7))));
    until_true("a spare worker", || lab.sockd.workers("session").len() == 3);
    let open = monitor.descriptors().len();
    monitor.limit_descriptors(&lab.site.gateway, open + 10);
    let bind = Request::connect((SERVER, 7)).as_bind();
    let waiting: Vec<_> = (0..10).map(|_| send_to(&lab.site.client, PROXY, &bind)).collect();
    let asking: Vec<_> =
        (0..10).map(|_| send_to(&lab.site.other, PROXY, &Request::connect((SERVER, 9)))).collect();
    let used = monitor.processor_ticks();
    thread::sleep(Duration::from_secs(2));
    assert!(monitor.processor_ticks() - used < 50, "{} clock ticks", monitor.processor_ticks() - used);
    assert!(lab.sockd.runs());
    waiting.into_iter().chain(asking).for_each(Line::reset);
    // A busy host may have got a further worker. The kernel also counts descriptors on their way from any process of root against the limit (unix(7)).
    monitor.limit_descriptors(&lab.site.gateway, 10_000);
    until_true("the descriptors have come back", || monitor.descriptors().len() <= open + 4);
    assert!(!lab.logged().iter().any(|line| line.contains("violation")), "nobody but the system is to blame");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(held);
}

#[test]
fn one_client_host_cannot_use_up_the_sessions_of_the_other() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_sessions_per_host: 5)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let held: Vec<_> = (0..5).map(|_| granted(&lab.site.client, &request)).collect();
    assert!(!is_granted(&lab.site.client, &request));
    drop(granted(&lab.site.other, &request));
    drop(held);
    until_true("sessions are free again", || is_granted(&lab.site.client, &request));
}

#[test]
fn h1_by_default_one_client_host_has_an_eighth_of_the_sessions() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_sessions: 16)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let held: Vec<_> = (0..2).map(|_| granted(&lab.site.client, &request)).collect();
    assert!(!is_granted(&lab.site.client, &request));
    lab.wait_for_line("max_sessions_per_host reached by 192.0.2.10");
    drop(granted(&lab.site.other, &request));
    drop(held);
}

#[test]
fn above_max_workers_client_hosts_share_and_are_served() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_workers: 1, crowded: share)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let first = granted(&lab.site.client, &request);
    let second = granted(&lab.site.other, &request);
    assert_eq!(lab.sockd.worker_of(first.local()), lab.sockd.worker_of(second.local()));
}

#[test]
fn h7_in_a_full_house_nobody_shares_and_who_has_no_request_makes_room() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_workers: 2)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let [outside, second] = [OUTSIDE, SECOND_OUTSIDE].map(|address| SocketAddrV4::new(address, 1080));
    let asks = |proxy| {
        let mut line = send_to(&lab.site.server, proxy, &request);
        let answer = line.stream().peek(&mut [0]).is_ok_and(|length| length == 1);
        answer.then(|| assert_eq!(Reply::read(&mut line), Reply::with(GRANTED))).map(|()| line)
    };
    let held = granted(&lab.site.client, &request);
    assert!(!is_granted(&lab.site.other, &request), "another host of the same /24");
    lab.wait_for_line("clients are turned away: half of max_workers reached by 192.0.2.0/24");
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    let before = lab.sockd.monitor().descriptors().len();
    let mut silent = Line::dial(&lab.site.server, outside);
    silent.send([4]);
    until_true("it is served", || lab.sockd.monitor().descriptors().len() > before);
    let relay = asks(second).expect("the place of a client that asks for nothing");
    silent.read_to_end();
    lab.wait_for_line("unfinished requests are closed: max_workers reached");
    assert!(asks(outside).is_none(), "both places are used");
    lab.wait_for_line("clients are turned away: max_workers reached");
    assert_ne!(lab.sockd.worker_of(held.local()), lab.sockd.worker_of(relay.local()));
    drop(relay);
    until_true("the place of a client that has gone", || asks(outside).is_some());
}

#[test]
fn h2_who_comes_while_many_workers_are_on_their_way_out_waits_for_one_of_them() {
    const PLACES: usize = 70;
    let settings = format!("(max_workers: {PLACES}, worker_idle: 3600, request_limit: 600)");
    let lab = Lab::with_settings(PERMIT_ALL, &settings);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    // Client hosts at sites of their own.
    lab.site.gateway.sh("ip route add 10.77.0.0/16 via 192.0.2.10");
    (1..=2 * PLACES).for_each(|site| lab.site.client.address("eth0", &format!("10.77.{site}.1/32")));
    let asks = |site: usize| {
        let site = u8::try_from(site).expect("a small number");
        let mut line = Line::dial_from(&lab.site.client, Ipv4Addr::new(10, 77, site, 1), PROXY);
        line.send(Request::connect((SERVER, 7)).bytes());
        line
    };
    (1..=PLACES).for_each(|site| assert_eq!(Reply::read(&mut asks(site)), Reply::with(GRANTED)));
    until_true("all places are taken", || lab.sockd.workers("session").len() == PLACES);
    let before = lab.sockd.monitor().descriptors().len();
    let spawner = Pid::from_raw(lab.sockd.spawner().0);
    kill(spawner, Signal::SIGSTOP).expect("stopping the spawner");
    let newcomers: Vec<_> = (PLACES + 1..=2 * PLACES).map(asks).collect();
    // 64 take the places of others, none of which ends.
    until_true("nobody is turned away", || lab.sockd.monitor().descriptors().len() >= before + PLACES);
    kill(spawner, Signal::SIGCONT).expect("the spawner goes on");
    for mut line in newcomers {
        assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    }
    assert!(!lab.logged().iter().any(|line| line.contains("max_workers")), "{:#?}", lab.logged());
}

#[test]
fn a_stopped_spawner_holds_up_nobody_who_has_a_worker() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(isolation: connection, max_workers: 2000)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut served = Line::dial(&lab.site.other, PROXY);
    until_true("it has a worker", || lab.sockd.workers("session").len() == 3);
    let spawner = Pid::from_raw(lab.sockd.spawner().0);
    kill(spawner, Signal::SIGSTOP).expect("stopping the spawner");
    // Each asks for a worker, which is two descriptors at least: more than the spawner's channel holds.
    let waiting: Vec<_> = (0..400).map(|_| Line::dial(&lab.site.client, PROXY)).collect();
    until_true("most have asked", || lab.sockd.monitor().descriptors().len() > 560);
    served.send(Request::connect((SERVER, 7)).bytes());
    assert_eq!(Reply::read(&mut served), Reply::with(GRANTED));
    drop(waiting);
    kill(spawner, Signal::SIGCONT).expect("the spawner goes on");
    until_true("clients are served again", || is_granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert!(lab.sockd.runs());
}

#[test]
fn an_idle_worker_ends() {
    let lab = Lab::with_settings(PERMIT_ALL, "(worker_idle: 1)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let worker = lab.sockd.worker_of(line.local());
    drop(line);
    until_true("the worker has ended", || !worker.runs());
    let (_line, reply) = ask(&lab.site.client, &Request::connect((SERVER, 7)));
    assert_eq!(reply, Reply::with(GRANTED));
}

#[test]
fn a53_lines_about_refusals_of_one_host_are_limited_and_counted_and_those_of_others_are_not() {
    let lab = Lab::with_settings("deny 0.0.0.0 0.0.0.0\n", "(max_refusals_logged: 10)");
    for _ in 0..100 {
        assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    }
    assert_rejected(&lab.site.other, &Request::connect((SERVER, 7)));
    lab.wait_for_line("refused -- Connect from joe(unknown)@192.0.2.138");
    let left_out = |line: &String| {
        let rest = line.strip_prefix("daemon.err ")?;
        rest.split_once(" lines about requests of 192.0.2.10 are left out")?.0.parse::<usize>().ok()
    };
    until_true("every line is written or counted", || {
        let lines = lab.logged();
        let written = lines.iter().filter(|line| line.contains("joe(unknown)@192.0.2.10")).count();
        written + lines.iter().filter_map(left_out).sum::<usize>() == 100
    });
    assert!(lab.logged().iter().any(|line| left_out(line).is_some()));
}
