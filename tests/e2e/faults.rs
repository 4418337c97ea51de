//! Deaths of processes: the others live on, and the log says what died.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::host::{Host, SYSLOG_SOCKET};
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, ask, granted, is_granted, send_to};
use sockd_tests::syslog::Syslog;
use sockd_tests::wait::until_true;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::Duration;

fn send(process: Process, signal: Signal) {
    kill(Pid::from_raw(process.0), signal).unwrap_or_else(|error| panic!("{process:?}: {error}"));
}

/// Reads part of a chargen server's stream: the transfer is under way.
fn read_some(line: &mut Line) {
    line.stream().read_exact(&mut vec![0; 100_000]).expect("a transfer under way");
}

#[test]
fn the_death_of_a_session_worker_ends_only_the_transfers_of_its_own_client_host() {
    let site = Site::new();
    let _chargen = Server::chargen(&site.server, (SERVER, 19));
    let lab = Lab::new_at(site);
    let request = Request::connect((SERVER, 19));
    let mut near = granted(&lab.site.client, &request);
    let mut other = granted(&lab.site.other, &request);
    read_some(&mut near);
    read_some(&mut other);
    let worker = lab.sockd.worker_of(near.local());
    send(worker, Signal::SIGKILL);
    near.read_to_end();
    let line = lab.wait_for_line("worker");
    assert!(
        line.starts_with("daemon.err ") && line.contains("192.0.2.10") && line.contains("SIGKILL"),
        "{line}"
    );
    for _ in 0..10 {
        read_some(&mut other);
    }
    let mut again = granted(&lab.site.client, &request);
    read_some(&mut again);
    assert_ne!(lab.sockd.worker_of(again.local()), worker);
    read_some(&mut other);
}

#[test]
fn the_server_sees_the_end_when_a_session_worker_dies() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    send(lab.sockd.worker_of(near.local()), Signal::SIGKILL);
    there.read_to_end();
}

#[test]
fn the_full_log_has_cause_bytes_and_time_of_a_relay_whose_worker_dies() {
    let lab = Lab::with_settings(PERMIT_ALL, "(log_format: full)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    near.send("data");
    assert_eq!(there.read(4), b"data");
    there.send("answer");
    assert_eq!(near.read(6), b"answer");
    let connected = lab.wait_for_line("connected ");
    send(lab.sockd.worker_of(near.local()), Signal::SIGKILL);
    let terminated = lab.wait_for_line("terminated ");
    let client = format!(" client={} ", near.local());
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    for line in [&connected, &terminated] {
        assert!(line.contains(&client) && line.contains(" destination=198.51.100.10 "), "{line}");
        assert_eq!(field(line, "rule").as_deref(), Some("1"), "{line}");
        assert_eq!(field(line, "session"), field(&connected, "session"), "{line}");
        assert!(field(line, "seconds").is_some_and(|seconds| seconds.parse::<f64>().is_ok()), "{line}");
    }
    let end = "cause=\"its worker has ended\" bytes_up=4 bytes_down=6";
    assert!(terminated.ends_with(end), "{terminated}");
}

#[test]
fn without_a_log_standard_error_says_so_and_a_stream_is_a_log_as_well() {
    let host = Host::new();
    let sockd = Start::new(&host, PERMIT_ALL).start();
    assert!(sockd.said().contains("/dev/log: No such file or directory"), "{}", sockd.said());
    assert_eq!(sockd.said().lines().count(), 1, "{}", sockd.said());
    drop(sockd);
    let log = host.run(|| UnixListener::bind(SYSLOG_SOCKET)).expect("a log");
    let mut sockd = Start::bare(&host).start();
    assert_eq!(sockd.said(), "");
    sockd.signal(Signal::SIGTERM);
    let mut text = Vec::new();
    log.accept().expect("sockd").0.read_to_end(&mut text).expect("the log");
    let lines: Vec<_> = text.split(|byte| *byte == 0).map(|line| String::from_utf8_lossy(line)).collect();
    assert_eq!(lines.len(), 4, "each line ends with a zero byte: {lines:?}");
    for (line, said) in lines.iter().zip([": serving on ", ": stopping", ": stopped"]) {
        assert!(line.starts_with("<29>") && line.contains(said), "{lines:?}");
    }
    sockd.wait();
}

#[test]
fn a_warm_spare_that_dies_is_replaced() {
    let lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for worker in lab.sockd.workers("session") {
        send(worker, Signal::SIGKILL);
    }
    lab.wait_for_line("SIGKILL");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_resolver_that_dies_is_replaced_and_lookups_work_again() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let _dns = Nameserver::start(&site.server, |question| match question.name.starts_with("www") {
        true => Answer::Addresses(vec![SERVER.into()]),
        false => Answer::NoSuchName,
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &Request::connect_name("www.example.net", 7)));
    let resolvers = lab.sockd.workers("resolver");
    assert_eq!(resolvers.len(), 1);
    send(resolvers[0], Signal::SIGKILL);
    lab.wait_for_line("resolver");
    until_true("names are resolved again", || {
        ask(&lab.site.client, &Request::connect_name("www2.example.net", 7)).1.code == GRANTED
    });
    assert_ne!(lab.sockd.workers("resolver"), resolvers);
}

#[test]
fn a_request_that_comes_while_there_is_no_resolver_waits_for_the_next_one() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let _dns = Nameserver::start(&site.server, |_| Answer::Addresses(vec![SERVER.into()]));
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let mut lab = Lab::new_at(site);
    // A second worker is not replaced within a second of the first.
    for _ in 0..2 {
        until_true("a resolver", || !lab.sockd.workers("resolver").is_empty());
        send(lab.sockd.workers("resolver")[0], Signal::SIGKILL);
        lab.wait_for_line("resolver worker");
        lab.turn_the_page();
        drop(granted(&lab.site.client, &Request::connect_name("www.example.net", 7)));
    }
}

#[test]
fn a_lookup_under_way_is_refused_when_the_resolver_dies() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let dns = Nameserver::start(&site.server, |_| Answer::Silence);
    let lab = Lab::new_at(site);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect_name("www.example.net", 7));
    until_true("a question", || !dns.asked().is_empty());
    for resolver in lab.sockd.workers("resolver") {
        send(resolver, Signal::SIGKILL);
    }
    assert_eq!(Reply::read(&mut line), Reply::with(91));
}

#[test]
fn the_death_of_the_spawner_ends_the_daemon_and_every_worker() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let family = lab.sockd.family();
    assert!(family.len() >= 3, "spawner, resolver, session workers: {family:?}");
    send(lab.sockd.spawner(), Signal::SIGKILL);
    let status = lab.sockd.wait();
    assert!(!status.success() && status.code().is_some(), "{status}");
    assert!(lab.wait_for_line("spawner").starts_with("daemon.err "), "{:#?}", lab.logged());
    until_true("all are gone", || !family.iter().any(|process| process.runs()));
    near.read_to_end();
}

#[test]
fn the_death_of_the_monitor_ends_spawner_and_workers_at_once() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    let family = lab.sockd.family();
    assert!(family.len() >= 3, "{family:?}");
    lab.sockd.signal(Signal::SIGKILL);
    lab.sockd.wait();
    until_true("all are gone", || !family.iter().any(|process| process.runs()));
    near.read_to_end();
    there.read_to_end();
}

#[test]
fn a_stopped_worker_does_not_hold_up_other_client_hosts() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 1)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let near = granted(&lab.site.client, &request);
    let worker = lab.sockd.worker_of(near.local());
    send(worker, Signal::SIGSTOP);
    // The worker has stopped: the monitor keeps the time.
    let mut stuck = send_to(&lab.site.client, PROXY, &request);
    let mut other = granted(&lab.site.other, &request);
    other.send("hello");
    assert_eq!(other.read(5), b"hello");
    // After End the worker has a minute to close its side.
    stuck.stream().set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    stuck.read_to_end();
    until_true("the stopped worker is gone", || !worker.runs());
    drop(granted(&lab.site.client, &request));
}

#[test]
fn without_a_syslog_clients_are_served_and_the_loss_is_nobodys_wait() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.log.program().signal(Signal::SIGKILL);
    lab.log.program().wait();
    for _ in 0..20 {
        drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    }
    // A new rsyslogd at the same place: the daemon finds it by itself.
    lab.log = Syslog::start(&lab.site.gateway);
    lab.turn_the_page();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    lab.wait_for_line("terminated -- ");
}

#[test]
fn a_syslog_that_does_not_read_stalls_nobody() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.log.program().signal(Signal::SIGSTOP);
    // More lines than the queues of the socket and the daemon hold: three for each.
    for _ in 0..2000 {
        let (_, reply) = ask(&lab.site.client, &Request::connect((SERVER, 7)));
        assert_eq!(reply.code, GRANTED);
    }
    lab.log.program().signal(Signal::SIGCONT);
    lab.wait_for_line("log lines were lost");
    lab.turn_the_page();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    lab.wait_for_line("terminated -- ");
}

#[test]
fn without_descriptors_new_clients_are_refused_and_the_daemon_neither_spins_nor_ends() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let monitor = lab.sockd.monitor();
    let held = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let open = monitor.descriptors().len();
    monitor.limit_descriptors(&lab.site.gateway, open);
    let before = monitor.processor_ticks();
    let waiting: Vec<_> = (0..50).map(|_| Line::dial(&lab.site.client, PROXY)).collect();
    std::thread::sleep(Duration::from_secs(2));
    let used = monitor.processor_ticks() - before;
    assert!(used < 50, "{used} clock ticks");
    assert!(lab.sockd.runs());
    drop(waiting);
    monitor.limit_descriptors(&lab.site.gateway, 10_000);
    until_true("clients are served again", || is_granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(held);
}

#[test]
fn an_interface_that_goes_down_and_comes_back_is_served_again() {
    let lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.site.gateway.sh("ip link set inside down");
    lab.site.gateway.sh("ip link set inside up");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_loader_that_dies_leaves_the_old_rules_in_force() {
    let lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let holds_memory = |process: &Process| {
        process.0 != lab.sockd.monitor().0
            && process.descriptors().values().any(|target| target.contains("memfd:sockd"))
    };
    let loader = lab.sockd.family().into_iter().find(holds_memory).expect("a loader");
    kill(Pid::from_raw(loader.0), Signal::SIGKILL).expect("killing the loader");
    lab.wait_for_line("nothing is read again until a restart");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reload failed: there is no loader until a restart");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_resolver_that_is_stopped_costs_lookups_and_nothing_else() {
    let site = Site::new();
    site.gateway.write("/etc/hosts", format!("{SERVER} www.example.net\n"));
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(resolve_limit: 1)"));
    let by_name = Request::connect_name("www.example.net", 7);
    drop(granted(&lab.site.client, &by_name));
    let resolvers = lab.sockd.workers("resolver");
    send(resolvers[0], Signal::SIGSTOP);
    let mut asked = send_to(&lab.site.client, PROXY, &by_name);
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert_eq!(Reply::read(&mut asked), Reply::with(91));
    send(resolvers[0], Signal::SIGCONT);
    drop(granted(&lab.site.client, &by_name));
    assert_eq!(lab.sockd.workers("resolver"), resolvers, "it was given its time");
}

#[test]
fn an_ident_worker_that_is_stopped_verifies_nobody_and_holds_up_nobody_else() {
    let conf = "permit ?=I 192.0.2.0 255.255.255.128\npermit 0.0.0.0 0.0.0.0\n";
    let lab = Lab::with_settings(conf, "(ident_limit: 1)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let identd = Identd::start(&lab.site.client, CLIENT);
    identd.names("joe");
    let request = Request::connect((SERVER, 7));
    drop(granted(&lab.site.client, &request));
    let workers = lab.sockd.workers("ident");
    send(workers[0], Signal::SIGSTOP);
    let mut asked = send_to(&lab.site.client, PROXY, &request);
    drop(granted(&lab.site.other, &request));
    assert_eq!(Reply::read(&mut asked), Reply::with(92));
    send(workers[0], Signal::SIGCONT);
    drop(granted(&lab.site.client, &request));
}

#[test]
fn a_loader_and_a_hook_process_that_are_stopped_hold_up_nobody() {
    let lab = Lab::new("permit 0.0.0.0 0.0.0.0 : true\n");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let stopped = [lab.sockd.loader(), lab.sockd.hook_process()];
    stopped.iter().for_each(|process| send(*process, Signal::SIGSTOP));
    lab.sockd.signal(Signal::SIGHUP);
    // Until there are more commands than the hook process's channel takes.
    let full = |line: &String| line.contains("a rule command is not run: ");
    until_true("a full channel", || {
        (0..50).for_each(|_| drop(granted(&lab.site.client, &Request::connect((SERVER, 7)))));
        lab.logged().iter().any(full)
    });
    stopped.iter().for_each(|process| send(*process, Signal::SIGCONT));
    lab.wait_for_line("reloaded: ");
}

#[test]
fn an_address_taken_from_under_a_listener_is_served_again_when_it_is_back() {
    let lab = Lab::started(PERMIT_ALL, |start| start.words("--listen 192.0.2.1:1080"));
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.site.gateway.sh("ip addr del 192.0.2.1/25 dev inside");
    assert!(lab.sockd.monitor().ticks_of_a_second() < 30, "it spins");
    lab.site.gateway.address("inside", "192.0.2.1/25");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_relay_outlives_an_interface_that_goes_down_and_comes_back() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    lab.site.gateway.sh("ip link set inside down");
    near.send("said into the void");
    lab.site.gateway.sh("ip link set inside up");
    assert_eq!(there.read(18), b"said into the void");
}

#[test]
fn a_stop_with_a_thousand_tunnels_ends_within_its_grace_and_logs_every_one() {
    const TUNNELS: usize = 1000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("setrlimit");
    let mut lab = Lab::with_settings(PERMIT_ALL, "(stop_grace: 1)");
    let far = Far::listen(&lab.site.server, SERVER);
    let request = Request::connect(far.v4());
    let tunnels: Vec<_> = (0..TUNNELS).map(|_| (granted(&lab.site.client, &request), far.accept())).collect();
    lab.sockd.signal(Signal::SIGTERM);
    assert_eq!(lab.sockd.wait().code(), Some(0));
    for (mut near, mut there) in tunnels {
        near.read_to_end();
        there.read_to_end();
    }
    lab.wait_for_line("daemon.notice stopped");
    let lines = lab.logged();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!([count("connected -- "), count("terminated -- "), count(" bytes from ")], [TUNNELS; 3]);
}
