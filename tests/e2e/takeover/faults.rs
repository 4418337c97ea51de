//! Deaths while an old tree drains, or while a new one comes: the other tree loses nobody, and the log says what
//! happened. Without a service manager the trees do not depend on each other.

use crate::trees::{Relay, Trees, loader, reload, spawner, start_reload, workers};
use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{INSIDE, NAMESERVER, SERVER};
use sockd_tests::sockd::{PERMIT_ALL, write_users};
use sockd_tests::socks::{PROXY, Request, granted, is_granted, send_to};
use sockd_tests::socks5;
use sockd_tests::upstream::Upstream;
use sockd_tests::wait::{until, until_true};
use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An old tree that drains and a new one, each with a relay.
struct Both {
    of_old: Relay,
    of_new: Relay,
    trees: Trees,
    old: Process,
    new: Process,
}

impl Both {
    fn new() -> Self {
        Self::of(Trees::new("()"))
    }

    fn of(mut trees: Trees) -> Self {
        let of_old = Relay::begin(&trees);
        let old = trees.lab.sockd.monitor();
        trees.install_another();
        let new = trees.reload_well();
        let of_new = Relay::begin(&trees);
        trees.lab.wait_for_line(" to drain");
        Self { of_old, of_new, trees, old, new }
    }

    fn wait_for_line(&self, text: &str) {
        self.trees.lab.wait_for_line(text);
    }

    /// The new tree serves, whatever has happened to the old one.
    fn new_serves(&mut self) {
        self.of_new.assert_goes_on(&self.trees);
    }
}

/// The third tree gets the connection to the first one from the second.
#[test]
fn a_third_tree_counts_what_the_first_one_has_and_says_with_what_that_was_killed() {
    let mut trees = Trees::new("(max_sessions: 2, max_sessions_per_host: 2)");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let first = trees.lab.sockd.monitor();
    let _of_first = Relay::begin(&trees);
    trees.reload_well_with("--force");
    trees.reload_well_with("--force");
    let mut of_third = Relay::begin(&trees);
    let client = trees.lab.site.client.clone();
    let served = Cell::new(0);
    let is_served = || {
        let is_served = is_granted(&client, &Request::connect((SERVER, 7)));
        served.set(served.get() + usize::from(is_served));
        is_served
    };
    // A client counts until the log has its end.
    let ended = || trees.lab.logged().iter().filter(|line| line.contains("terminated --")).count();
    until_true("the limit is one in all", || ended() == served.get() && !is_served());
    first.signal(Signal::SIGKILL);
    trees.lab.wait_for_line(&format!("process {} has ended with 1 connection", first.0));
    until_true("there is room again", is_served);
    of_third.assert_lives();
}

#[test]
fn each_of_two_older_trees_names_the_third_one_when_that_has_been_killed() {
    let mut trees = Trees::new("()");
    let mut relays = vec![Relay::begin(&trees)];
    trees.reload_well_with("--force");
    relays.push(Relay::begin(&trees));
    let third = trees.reload_well_with("--force");
    third.signal(Signal::SIGKILL);
    let ended = format!("process {}, which has taken over, has ended", third.0);
    let named = || trees.lab.logged().iter().filter(|line| line.contains(&ended)).count();
    until_true("both name it", || named() == 2);
    relays.iter_mut().for_each(Relay::assert_lives);
}

#[test]
fn an_old_monitor_that_is_killed_takes_its_own_tree_along() {
    let mut both = Both::new();
    let family = both.old.descendants();
    both.old.signal(Signal::SIGKILL);
    both.of_old.near.read_to_end();
    until_true("its tree has ended", || !family.iter().any(|process| process.runs()));
    both.wait_for_line(&format!("process {} has ended with 1 connection", both.old.0));
    both.new_serves();
    both.trees.reload_well_with("--force");
    both.of_new.assert_goes_on(&both.trees);
}

#[test]
fn an_old_spawner_that_is_killed_takes_its_own_tree_along() {
    let mut both = Both::new();
    spawner(both.old).signal(Signal::SIGKILL);
    both.of_old.near.read_to_end();
    both.trees.lab.sockd.wait();
    both.wait_for_line("cannot go on: ");
    both.new_serves();
}

#[test]
fn an_old_loader_that_is_killed_costs_nobody_anything() {
    let mut both = Both::new();
    loader(both.old).signal(Signal::SIGKILL);
    both.wait_for_line("nothing is read again until a restart");
    both.of_old.assert_lives();
    both.new_serves();
}

#[test]
fn an_old_session_worker_that_is_killed_takes_its_own_client_along() {
    let mut trees = Trees::new("()");
    let other = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let mut others = granted(&trees.lab.site.other, &Request::connect((SERVER, 7)));
    let _started = until("a worker for each", || {
        Some(workers(trees.lab.sockd.monitor(), "session").len()).filter(|number| *number >= 2)
    });
    let mut relay = Relay::begin(&trees);
    let old = trees.lab.sockd.monitor();
    trees.install_another();
    trees.reload_well();
    relay.worker(&trees, old).signal(Signal::SIGKILL);
    relay.near.read_to_end();
    trees.lab.wait_for_line("ended: SIGKILL");
    others.send("x");
    assert_eq!(others.read(1), b"x", "another host of the old tree");
    drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
    drop(other);
}

/// sam may go anywhere with a password, and so may everybody whom identd names.
const RULES: &str =
    "permit +=connect,udp @=password *=sam ALL 0.0.0.0\npermit +=connect,udp ?=i ALL 0.0.0.0\n";

/// A destination behind a next server that never answers.
const FAR: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 64, 9, 9), 80);

/// Kills an old worker of this role, which `used` has given something to do: the relays of both trees go on.
fn kill_worker(role: &str, used: impl FnOnce(&Trees) -> Vec<Line>) {
    let trees = Trees::with_rules(PERMIT_ALL, "()");
    let (site, sockd) = (&trees.lab.site, &trees.lab.sockd);
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    if role == "upstream" {
        let lines = format!("sockd @={SERVER} {} 255.255.255.255\ndirect ALL 0.0.0.0\n", FAR.0);
        sockd.write_upstream(&lines);
    }
    write_users(
        &site.gateway,
        "sam:$6$saltsalt$gzY3OAolfMFSB9Ld7iMdOQlViFqO3IOPeU0zkHsD.58tcMxRAFD0Qjfi2sjus3i.8aqWarEvFPREqzp18Jm291\n",
    );
    sockd.write_conf(RULES);
    let done = reload(&trees, "");
    assert!(done.status.success(), "{done:?}");
    let identd = Identd::start(&site.client, Ipv4Addr::UNSPECIFIED);
    identd.names("joe");
    let _next = Upstream::start(&site.server, (SERVER, 1080));
    let in_use = used(&trees);
    let mut both = Both::of(trees);
    let killed = until(role, || workers(both.old, role).pop());
    killed.signal(Signal::SIGKILL);
    both.wait_for_line("ended: SIGKILL");
    both.of_old.assert_lives();
    both.new_serves();
    drop(in_use);
}

#[test]
fn an_old_resolver_that_is_killed_takes_no_relay_along() {
    kill_worker("resolver", |_| Vec::new());
}

/// Every request asks identd.
#[test]
fn an_old_ident_worker_that_is_killed_takes_no_relay_along() {
    kill_worker("ident", |_| Vec::new());
}

#[test]
fn an_old_upstream_worker_that_is_killed_takes_no_relay_along() {
    kill_worker("upstream", |trees| vec![send_to(&trees.lab.site.client, PROXY, &Request::connect(FAR))]);
}

#[test]
fn an_old_datagram_worker_that_is_killed_takes_no_relay_along() {
    kill_worker("datagram", |trees| {
        let mut line = socks5::ask(&trees.lab.site.client, [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
        let port = socks5::bound(&mut line).port();
        // The first datagram begins a flow, and with it the worker.
        let socket = trees.lab.site.client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let datagram = [&[0, 0, 0, 1][..], &SERVER.octets(), &[0, 9], b"x"].concat();
        socket.send_to(&datagram, (INSIDE, port)).unwrap();
        vec![line]
    });
}

#[test]
fn an_old_auth_worker_that_is_killed_takes_no_relay_along() {
    kill_worker("auth", |trees| {
        let mut line = Line::dial(&trees.lab.site.client, PROXY);
        line.send([5, 1, 2]);
        assert_eq!(line.read(2), [5, 2]);
        line.send([&[1, 3][..], b"sam", &[5], b"wrong"].concat());
        vec![line]
    });
}

#[test]
fn a_new_monitor_that_is_killed_leaves_the_old_tree_to_drain() {
    let mut both = Both::new();
    let family = both.new.descendants();
    both.new.signal(Signal::SIGKILL);
    both.of_new.near.read_to_end();
    until_true("its tree has ended", || !family.iter().any(|process| process.runs()));
    both.wait_for_line(&format!("process {}, which has taken over, has ended", both.new.0));
    both.of_old.assert_lives();
    drop((both.of_old.near, both.of_old.there));
    assert_eq!(both.trees.lab.sockd.wait().code(), Some(0), "the old one ends with its last relay");
}

#[test]
fn a_new_spawner_that_is_killed_leaves_the_old_tree_to_drain() {
    let mut both = Both::new();
    spawner(both.new).signal(Signal::SIGKILL);
    both.of_new.near.read_to_end();
    until_true("the new monitor has ended", || !both.new.runs());
    both.wait_for_line("cannot go on: ");
    both.of_old.assert_lives();
}

#[test]
fn a_new_loader_that_is_killed_costs_nobody_anything() {
    let mut both = Both::new();
    loader(both.new).signal(Signal::SIGKILL);
    both.wait_for_line("nothing is read again until a restart");
    both.of_old.assert_lives();
    both.new_serves();
    both.trees.install_another();
    both.trees.reload_well();
    both.of_old.assert_lives();
    both.new_serves();
}

#[test]
fn a_new_worker_that_is_killed_takes_its_own_client_along() {
    let mut both = Both::new();
    both.of_new.worker(&both.trees, both.new).signal(Signal::SIGKILL);
    both.of_new.near.read_to_end();
    both.wait_for_line("ended: SIGKILL");
    both.of_old.assert_lives();
    drop(Relay::begin(&both.trees));
}

/// Kills processes of the new tree while it comes, at a call that each makes. One has all sockets in hand, and one has
/// not yet named the new monitor.
#[test]
fn who_is_killed_while_it_takes_over_leaves_the_old_tree_serving() {
    for (call, follows, logged) in [
        ("listen", true, "has not taken over: its connection has ended"),
        ("wait4", false, "the control process has ended"),
    ] {
        let mut trees = Trees::new(STATUS);
        let mut relay = Relay::begin(&trees);
        let kill = format!("inject={call}:signal=SIGKILL:when=1");
        let mut strace = vec!["strace", "-D", "-qq", "-o", "/dev/null", "-e", &kill];
        strace.extend(follows.then_some("-f"));
        let mut reload = start_reload(&trees, &strace, "--force");
        trees.lab.wait_for_line(logged);
        assert_ne!(reload.wait().code(), Some(0), "{call}");
        until_true("all of the new tree has ended", || trees.reloading().is_empty());
        assert_eq!(trees.pid_file(), trees.lab.sockd.monitor(), "{call}");
        relay.assert_goes_on(&trees);
        trees.reload_well_with("--force");
        relay.assert_goes_on(&trees);
    }
}

/// The control process is held up after the call by which the file has become the new monitor's.
#[test]
fn a_new_monitor_that_is_killed_before_it_serves_gives_the_process_id_file_back() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    let old = trees.lab.sockd.monitor();
    let files = |trees: &Trees| trees.lab.site.gateway.run(|| std::fs::read_dir("/run").unwrap().count());
    let hold = "inject=renameat,renameat2:delay_exit=8000000";
    let before = files(&trees);
    let mut reload =
        start_reload(&trees, &["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", hold], "--force");
    let new =
        until("the process id of the new one", || Some(trees.pid_file()).filter(|process| *process != old));
    new.signal(Signal::SIGKILL);
    assert_ne!(reload.wait().code(), Some(0));
    until_true("all of the new tree has ended", || trees.reloading().is_empty());
    assert_eq!(trees.pid_file(), old);
    relay.assert_goes_on(&trees);
    trees.reload_well_with("--force");
    relay.assert_goes_on(&trees);
    until_true("nothing is left beside it", || files(&trees) == before + 1);
}

/// A new monitor with a socket for administrators calls listen(2) when it has all sockets and does not serve yet.
const STATUS: &str = r#"(status_socket: at("/run/sockd/status"))"#;

/// A takeover that waits there for SIGCONT, as its monitor does.
fn held_up(trees: &Trees) -> (sockd_tests::program::Program, Process) {
    let trace = "/run/held.trace";
    let stop = ["strace", "-D", "-f", "-qq", "-o", trace, "-e", "inject=listen:signal=SIGSTOP:when=1"];
    let reload = start_reload(trees, &stop, "--force");
    let stopped = until("a takeover that waits", || {
        let text = trees.lab.site.gateway.read(trace);
        let line = text.lines().find(|line| line.contains("stopped by SIGSTOP"))?;
        line.split_whitespace().next()?.parse().ok().map(Process)
    });
    (reload, stopped)
}

#[test]
fn a_takeover_during_a_takeover_is_told_so_and_the_next_one_works() {
    let mut trees = Trees::new(STATUS);
    let mut relay = Relay::begin(&trees);
    let (mut first, stopped) = held_up(&trees);
    let second = reload(&trees, "--force");
    assert_eq!(second.status.code(), Some(71), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another takeover is under way"), "{second:?}");
    stopped.signal(Signal::SIGCONT);
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(trees.adopt(), stopped);
    relay.assert_goes_on(&trees);
    assert_ne!(trees.reload_well_with("--force"), stopped);
    relay.assert_goes_on(&trees);
}

#[test]
fn a_new_tree_that_is_told_to_end_before_it_serves_leaves_the_old_one_serving() {
    let mut trees = Trees::new(STATUS);
    let mut relay = Relay::begin(&trees);
    let (mut reload, stopped) = held_up(&trees);
    stopped.signal(Signal::SIGTERM);
    stopped.signal(Signal::SIGCONT);
    assert_eq!(reload.wait().code(), Some(71));
    trees.lab.wait_for_line("told to end before it serves");
    until_true("all of the new tree has ended", || trees.reloading().is_empty());
    relay.assert_goes_on(&trees);
    trees.reload_well_with("--force");
    relay.assert_goes_on(&trees);
}

#[test]
fn an_old_tree_that_is_told_to_end_meanwhile_ends_and_the_new_one_serves() {
    for with_relay in [false, true] {
        let mut trees = Trees::new(r#"(status_socket: at("/run/sockd/status"), stop_grace: 1)"#);
        let echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
        let mut near = with_relay.then(|| granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
        let (mut reload, stopped) = held_up(&trees);
        trees.lab.sockd.signal(Signal::SIGTERM);
        trees.lab.wait_for_line("stopping");
        if !with_relay {
            assert_eq!(trees.lab.sockd.wait().code(), Some(0));
        }
        stopped.signal(Signal::SIGCONT);
        assert_eq!(reload.wait().code(), Some(0));
        assert_eq!(trees.adopt(), stopped);
        near.iter_mut().for_each(|near| drop(near.read_to_end()));
        assert_eq!(trees.lab.sockd.wait().code(), Some(0));
        drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
        drop(echo);
    }
}

#[test]
fn on_a_full_disk_the_old_tree_serves_on() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    let gateway = trees.lab.site.gateway.clone();
    // The process id file is in /run.
    gateway.run(|| {
        let mut file = std::fs::File::create("/run/fill").unwrap();
        let used = nix::sys::statvfs::statvfs("/run").unwrap();
        let used = (used.blocks() - used.blocks_free()) * used.fragment_size() / 1024 + 64;
        let done = std::process::Command::new("mount")
            .args(["-o", &format!("remount,size={used}k"), "/run"])
            .status();
        assert!(done.unwrap().success());
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    });
    let done = reload(&trees, "--force");
    assert_eq!(done.status.code(), Some(71), "{done:?}");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(text.contains("No space left on device"), "{text}");
    relay.assert_goes_on(&trees);
    gateway.run(|| std::fs::remove_file("/run/fill")).unwrap();
    trees.reload_well_with("--force");
    relay.assert_goes_on(&trees);
}

/// This process may open no further descriptor. One that it was about to close would leave it a number, so
/// that its numbers are looked at again a moment later.
fn starve(lab: &Lab, process: Process) {
    let first_free = || {
        let numbers = process.descriptors();
        (0..).find(|number| !numbers.contains_key(number)).expect("a free number")
    };
    until_true("no number is free", || {
        let next = first_free();
        process.limit_descriptors(&lab.site.gateway, next);
        std::thread::sleep(Duration::from_millis(200));
        first_free() == next
    });
}

#[test]
fn without_descriptors_the_old_tree_relays_on_and_is_taken_over_from_later() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    let old = trees.lab.sockd.monitor();
    starve(&trees.lab, old);
    let done = reload(&trees, "--force");
    assert_eq!(done.status.code(), Some(71), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("the running sockd has "), "{done:?}");
    relay.assert_lives();
    old.limit_descriptors(&trees.lab.site.gateway, 1000);
    trees.reload_well_with("--force");
    relay.assert_goes_on(&trees);
}

#[test]
fn an_old_tree_without_descriptors_drains() {
    let mut both = Both::new();
    starve(&both.trees.lab, both.old);
    both.of_old.assert_lives();
    both.new_serves();
    both.trees.reload_well_with("--force");
    both.of_old.assert_lives();
    drop((both.of_old.near, both.of_old.there));
    assert_eq!(both.trees.lab.sockd.wait().code(), Some(0));
}

#[test]
fn a_new_tree_without_descriptors_gives_up_whatever_it_lacks_them_for() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    for number in [4, 6, 8, 10, 12, 14, 16, 18, 20] {
        let by = ["prlimit", &format!("--nofile={number}")];
        let mut reload = start_reload(&trees, &by, "--force");
        let status = reload.wait();
        relay.assert_lives();
        if status.success() {
            trees.adopt();
            break;
        }
        until_true("all of the new tree has ended", || trees.reloading().is_empty());
        assert!(trees.lab.sockd.runs() && !trees.said_by_reload().is_empty(), "{number}");
        assert_eq!(trees.pid_file(), trees.lab.sockd.monitor(), "{number}");
        drop(Relay::begin(&trees));
    }
    trees.reload_well_with("--force");
    relay.assert_goes_on(&trees);
}

/// The first fork fails, and the second: in the control process, and in the new monitor.
#[test]
fn a_new_tree_without_processes_gives_up_and_the_old_one_serves_on() {
    for number in [1, 2] {
        let mut trees = Trees::new("()");
        let mut relay = Relay::begin(&trees);
        let fault = format!("inject=clone,clone3,fork,vfork:error=EAGAIN:when={number}");
        let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &fault];
        let mut reload = start_reload(&trees, &strace, "--force");
        assert_eq!(reload.wait().code(), Some(71), "{number}");
        let text = trees.said_by_reload();
        assert!(text.contains("fork: "), "{number}: {text}");
        until_true("all of the new tree has ended", || trees.reloading().is_empty());
        relay.assert_goes_on(&trees);
        trees.reload_well_with("--force");
        relay.assert_goes_on(&trees);
    }
}

/// A takeover a second under a load of connects, each with a relay of its own: for ten seconds, and with LONG for a minute.
#[test]
fn a_storm_of_reloads_costs_nobody_anything() {
    let rounds: u32 = if std::env::var_os("LONG").is_some() { 60 } else { 10 };
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let (ends, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = trees.lab.site.client.clone();
    let mut relays = vec![Relay::begin(&trees)];
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let served_it = is_granted(&client, &Request::connect((SERVER, 7)));
                    let counter = if served_it { &served } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        for round in 1..=rounds {
            trees.reload_well_with("--force");
            relays.truncate(9);
            relays.push(Relay::begin(&trees));
            relays.iter_mut().for_each(Relay::assert_lives);
            let next = begun + Duration::from_secs(round.into());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        ends.store(true, Ordering::Relaxed);
    });
    relays.iter_mut().for_each(Relay::assert_lives);
    let (served, failed) = (served.into_inner(), failed.into_inner());
    assert!(failed == 0 && served > 0, "{failed} failed, {served} served");
}
