//! A host that has too little of something: descriptors, processes, memory, room on the disk; and everything at once.

use nix::sys::signal::Signal;
use sockd_tests::cgroup::Group;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks::{PROXY, Reply, Request, assert_rejected, granted, is_granted, send_to};
use sockd_tests::syslog::{Mark, Syslog};
use sockd_tests::wait::{until_true, until_within};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Far more than waiting costs, far less than spinning: clock ticks of a second.
const IDLE: u64 = 30;

fn echo_lab(settings: &str) -> (Server, Lab) {
    let lab = Lab::with_settings(PERMIT_ALL, settings);
    (Server::echo(&lab.site.server, (SERVER, 7)), lab)
}

fn request() -> Request {
    Request::connect((SERVER, 7))
}

/// `ulimit -f`, or a full quota, of the shell that has started it.
#[test]
fn a_log_file_that_may_not_grow_costs_lines_and_not_the_daemon() {
    let site = Site::new();
    let sockd = Start::new(&site.gateway, "permit 0.0.0.0 0.0.0.0\n").words("--log stderr").start();
    until_true("it serves", || sockd.said().contains("serving on "));
    let limit = |length: &str| sockd.monitor().limit(&site.gateway, &format!("fsize={length}"));
    limit(&sockd.said().len().to_string());
    let closed = Request::connect((SERVER, 9));
    (0..3).for_each(|_| assert_rejected(&site.client, &closed));
    assert!(!sockd.said().contains("failed"), "{}", sockd.said());
    limit("unlimited");
    assert_rejected(&site.client, &closed);
    until_true("the loss is told", || sockd.said().contains("3 log lines were lost"));
}

/// This process may open no further descriptor.
fn starve(lab: &Lab, process: Process) {
    let numbers = process.descriptors();
    // The limit is on the number, and the lowest free one is taken next.
    let next = (0..).find(|number| !numbers.contains_key(number)).expect("a free number");
    process.limit_descriptors(&lab.site.gateway, next);
}

fn assert_idle(lab: &Lab) {
    for process in [lab.sockd.monitor(), lab.sockd.spawner()] {
        let used = process.ticks_of_a_second();
        assert!(used < IDLE, "{} uses {used} ticks", process.command_line());
    }
}

#[test]
fn a_session_worker_without_descriptors_refuses_what_is_new_and_relays_what_it_has() {
    let (_echo, lab) = echo_lab("()");
    let mut held = granted(&lab.site.client, &request());
    let worker = lab.sockd.worker_of(held.local());
    starve(&lab, worker);
    // The kernel cannot give it the client's socket (recvmsg(2), MSG_CTRUNC).
    send_to(&lab.site.client, PROXY, &request()).read_to_end();
    let line = lab.wait_for_line("no resources to read a request");
    assert!(line.contains("192.0.2.10"), "{line}");
    held.send("hello");
    assert_eq!(held.read(5), b"hello");
    drop(granted(&lab.site.other, &request()));
    worker.limit_descriptors(&lab.site.gateway, 1000);
    drop(granted(&lab.site.client, &request()));
    assert_eq!(lab.sockd.worker_of(held.local()), worker, "it has lived on");
}

#[test]
fn a_spawner_without_descriptors_starts_no_worker_and_says_so() {
    let (_echo, lab) = echo_lab("()");
    drop(granted(&lab.site.client, &request()));
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    starve(&lab, lab.sockd.spawner());
    lab.sockd.workers("session").iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    lab.wait_for_line("daemon.err a worker is not started: Too many open files");
    assert!(!is_granted(&lab.site.client, &request()));
    assert_idle(&lab);
    lab.sockd.spawner().limit_descriptors(&lab.site.gateway, 1000);
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn a_loader_without_descriptors_leaves_the_old_rules_in_force() {
    let (_echo, lab) = echo_lab("()");
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    starve(&lab, lab.sockd.loader());
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reload failed: the rules, routes and settings read before stay in force");
    drop(granted(&lab.site.client, &request()));
    lab.sockd.loader().limit_descriptors(&lab.site.gateway, 1000);
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: ");
    assert_rejected(&lab.site.client, &request());
}

#[test]
fn with_no_process_left_no_worker_is_started_and_who_has_one_is_served() {
    let (_echo, lab) = echo_lab("()");
    let mut held = granted(&lab.site.client, &request());
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    let Some(group) = Group::new("pids") else { return };
    let all = [vec![lab.sockd.monitor()], lab.sockd.family()].concat();
    group.take(&all);
    group.limit_processes(all.len());
    // The other client host takes the spare worker, and there is no further one.
    drop(granted(&lab.site.other, &request()));
    lab.wait_for_line("daemon.err a worker is not started: Try again");
    held.send("hello");
    assert_eq!(held.read(5), b"hello");
    drop(granted(&lab.site.client, &request()));
    assert_idle(&lab);
    group.limit_processes(all.len() + 10);
    until_true("a spare worker", || lab.sockd.workers("session").len() == 3);
    drop(lab);
}

#[test]
fn a_worker_that_eats_up_the_memory_goes_and_everything_else_stays() {
    let site = Site::new();
    let _chargen = Server::chargen(&site.server, (SERVER, 19));
    let lab = Lab::at(site, PERMIT_ALL, |start| start.worker(env!("CARGO_BIN_EXE_hostile-worker")));
    let mut other = granted(&lab.site.other, &Request::connect((SERVER, 19)));
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    let Some(group) = Group::new("memory") else { return };
    group.take(&[vec![lab.sockd.monitor()], lab.sockd.family()].concat());
    group.limit_memory(64 << 20);
    let survivors = [lab.sockd.monitor(), lab.sockd.spawner(), lab.sockd.worker_of(other.local())];
    let mut line = send_to(&lab.site.client, PROXY, &request().by("eats-memory"));
    line.read_to_end();
    let said = lab.wait_for_line("ended: SIGKILL");
    assert!(said.contains("(192.0.2.10)"), "{said}");
    assert!(survivors.iter().all(|process| process.runs()));
    other.stream().read_exact(&mut vec![0; 500_000]).expect("the transfer goes on");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 19))));
    drop(lab);
}

#[test]
fn a_log_that_is_not_there_yet_is_found_when_it_comes() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let sockd = Start::new(&site.gateway, PERMIT_ALL).start();
    drop(granted(&site.client, &request()));
    assert!(sockd.monitor().ticks_of_a_second() < IDLE);
    let log = Syslog::start(&site.gateway);
    // Earlier lines are not lost.
    log.wait_for(Mark::BEGINNING, "serving on ");
    log.wait_for(Mark::BEGINNING, "connected -- ");
    drop(granted(&site.client, &request()));
    log.wait_for(Mark::BEGINNING, "terminated -- ");
}

#[test]
fn a_log_on_a_full_disk_loses_counted_lines_and_stalls_nobody() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    site.gateway.sh("mkdir /run/small");
    site.gateway.sh("mount -t tmpfs -o size=16k none /run/small");
    site.gateway.sh("ln -s /run/small/stderr /run/sockd.stderr");
    let settings = "(max_refusals_logged: 100000)";
    let start = Start::new(&site.gateway, "deny 0.0.0.0 0.0.0.0\n").settings(settings);
    let sockd = start.words("--log stderr").start();
    // More than the disk takes and than the daemon keeps.
    site.client.run(|| {
        for _ in 0..5000 {
            let mut stream = TcpStream::connect(SocketAddr::from(PROXY)).expect("connecting");
            stream.write_all(&request().bytes()).expect("a request");
            let mut reply = [0; 8];
            stream.read_exact(&mut reply).expect("a reply");
            assert_eq!(reply[1], 91);
        }
    });
    assert!(sockd.monitor().ticks_of_a_second() < IDLE);
    site.gateway.sh("mount -o remount,size=4m /run/small");
    until_true("the losses are told", || sockd.said().contains(" log lines were lost: "));
}

/// S10, with fewer requests: all connections are alike, and the first thousand show a leak of one in a hundred.
#[test]
fn two_thousand_requests_with_workers_killed_at_random_leave_nothing_behind() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let _dns = Nameserver::start(&site.server, |_| Answer::Addresses(vec![SERVER.into()]));
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let conf = "permit ?=I *=joe 0.0.0.0 0.0.0.0\npermit 0.0.0.0 0.0.0.0\n";
    let lab = Lab::at(site, conf, |start| start.settings("(worker_idle: 1, ident_limit: 2)"));
    let identd = Identd::start(&lab.site.client, Ipv4Addr::UNSPECIFIED);
    identd.names("joe");
    // A host whose workers end again and again is shut out.
    let mut last = 19;
    let mut next_host = || {
        last += 1;
        lab.site.client.sh(&format!("ip addr add 192.0.2.{last}/25 dev eth0"));
        lab.site.client.sh(&format!("ip route replace 192.0.2.0/25 dev eth0 src 192.0.2.{last}"));
    };
    let settled = |lab: &Lab| {
        let workers = |role| lab.sockd.workers(role).len();
        workers("session") == 1 && workers("ident") == 0 && workers("resolver") == 1
    };
    until_true("the first workers", || settled(&lab));
    let monitor = lab.sockd.monitor();
    let before = (monitor.descriptors().len(), monitor.private_memory());
    let kinds = [request(), request().by("sam"), Request::connect_name("www.example.net", 7).by("sam")];
    let mut state = 1_u64;
    let mut random = |below: usize| {
        // An odd multiplier and the upper bits (Knuth); the same sequence each time.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut served = 0;
    for number in 0..2000 {
        let asked = &kinds[number % kinds.len()];
        let mut line = send_to(&lab.site.client, PROXY, asked);
        if random(20) == 0 {
            let role = ["session", "ident", "resolver"][random(3)];
            let workers = lab.sockd.workers(role);
            if !workers.is_empty() {
                // It may be ending by itself just now.
                let victim = workers[random(workers.len())];
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(victim.0), Signal::SIGKILL);
                next_host();
            }
        }
        let answer = line.read_some(8);
        assert!(matches!(answer.as_slice(), [] | [0, 90..=93, ..]), "{answer:?}");
        served += usize::from(answer.get(1) == Some(&90));
    }
    assert!(served > 1000, "{served} of 2000 have been served");
    until_within(Duration::from_secs(60), "as many workers as at the beginning", || {
        settled(&lab).then_some(())
    });
    until_true("as many descriptors as at the beginning", || monitor.descriptors().len() == before.0);
    let memory = monitor.private_memory();
    assert!(memory <= before.1 + 2048, "{} KiB before, {memory} after", before.1);
    let said = lab.logged().into_iter().filter(|line| line.starts_with("daemon.err "));
    let strange: Vec<_> = said.filter(|line| !line.contains("ended: SIGKILL")).collect();
    assert!(strange.iter().all(|line| line.contains("lookups fail: ")), "{strange:#?}");
}

#[test]
fn a_worker_killed_while_its_client_is_asked_about_leaves_the_query_unverified() {
    let lab = Lab::new("permit ?=I 0.0.0.0 0.0.0.0\n");
    let far = Far::listen(&lab.site.server, SERVER);
    let identd = Identd::start(&lab.site.client, CLIENT);
    let mut line = send_to(&lab.site.client, PROXY, &Request::connect(far.v4()));
    until_true("a query", || !identd.queries().is_empty());
    let workers = lab.sockd.workers("ident");
    assert_eq!(workers.len(), 1);
    workers[0].signal(Signal::SIGKILL);
    assert_eq!(Reply::read(&mut line), Reply::with(92));
    let said = lab.wait_for_line("ident worker");
    assert!(said.starts_with("daemon.err ") && said.contains("(192.0.2.10) ended: SIGKILL"), "{said}");
    identd.names("joe");
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
    assert_ne!(lab.sockd.workers("ident"), workers);
}
