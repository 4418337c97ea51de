//! SIGHUP, SIGUSR1, SIGTERM and SIGINT.

use nix::sys::signal::Signal;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{SECOND_SERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks::{PROXY, Request, assert_rejected, granted};
use sockd_tests::wait::until_true;
use std::net::TcpStream;
use std::time::Duration;

const RULES: &str = "\
deny *=mallory,eve 0.0.0.0 0.0.0.0
permit ?=n *=joe 192.0.2.0 255.255.255.128 198.51.100.0 255.255.255.0 le 1023 : echo %u %A > /dev/null
permit 192.0.2.0/24 .example.net 0.0.0.0 eq telnet
permit 10.0.0.0 255.0.0.255 ALL 0.0.0.0 neq 25
#NO_IDENTD: echo no identd
#BAD_ID: echo bad id
permit 2001:db8::/32
";

/// Sends SIGHUP and waits for the line with its outcome.
fn reload(lab: &mut Lab, outcome: &str) {
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line(outcome);
}

#[test]
fn sig_01_sighup_puts_new_rules_in_force_and_leaves_relays_alone() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    lab.sockd.write_conf("permit *=sam 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "daemon.notice reloaded: ");
    assert_rejected(&lab.site.client, &Request::connect(far.v4()));
    drop(granted(&lab.site.client, &Request::connect(far.v4()).by("sam")));
    near.send("still here");
    assert_eq!(there.read(10), b"still here");
}

#[test]
fn with_recheck_on_reload_relays_that_the_new_rules_refuse_are_ended_and_logged() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(recheck_on_reload: true)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut joe = granted(&lab.site.client, &Request::connect(far.v4()));
    let _joes = far.accept();
    let mut sam = granted(&lab.site.client, &Request::connect(far.v4()).by("sam"));
    let mut sams = far.accept();
    lab.sockd.write_conf("permit *=sam 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "daemon.notice reloaded: ");
    joe.read_to_end();
    assert!(lab.wait_for_line("terminated -- Connect from joe").starts_with("daemon.notice "));
    sam.send("still here");
    assert_eq!(sams.read(10), b"still here");
}

#[test]
fn sighup_with_a_broken_file_keeps_the_old_rules_and_names_file_and_line() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.sockd.write_conf("permit 0.0.0.0 0.0.0.0\ndeny 0.0.0.0 0.0.0.0 eq\n");
    reload(&mut lab, "/etc/sockd.conf: line 2: ");
    assert!(lab.wait_for_line("stay in force").starts_with("daemon.err "));
    assert!(lab.logged().iter().all(|line| line.starts_with("daemon.err ")), "{:#?}", lab.logged());
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

/// As a reload finds the file between `truncate` and `write`.
#[test]
fn sighup_with_a_file_without_a_rule_keeps_the_old_rules() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for text in ["", "# nothing yet\n", "#BAD_ID: true\n"] {
        lab.sockd.write_conf(text);
        reload(&mut lab, "/etc/sockd.conf has no rule");
        assert!(lab.wait_for_line("stay in force").starts_with("daemon.err "));
        drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    }
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "daemon.notice reloaded: ");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
}

#[test]
fn sighup_with_a_missing_writable_or_unparsable_file_keeps_the_old_rules() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let gateway = lab.site.gateway.clone();
    let still_serves = |lab: &mut Lab| {
        reload(lab, "stay in force");
        drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    };
    gateway.sh("rm /etc/sockd.conf");
    still_serves(&mut lab);
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    gateway.sh("chmod 666 /etc/sockd.conf");
    still_serves(&mut lab);
    gateway.sh("rm /etc/sockd.conf");
    gateway.sh("mkfifo -m 600 /etc/sockd.conf");
    still_serves(&mut lab);
    gateway.sh("rm /etc/sockd.conf");
    lab.sockd.write_conf(&format!("deny 0.0.0.0 0.0.0.0 # {}\n", "x".repeat(1 << 20)));
    still_serves(&mut lab);
    lab.sockd.write_conf("deny *=/etc/no-such-list 0.0.0.0 0.0.0.0\n");
    still_serves(&mut lab);
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    lab.sockd.write_settings("(isolation: everybody)");
    still_serves(&mut lab);
    lab.sockd.write_settings("()");
    reload(&mut lab, "daemon.notice reloaded: ");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
}

#[test]
fn many_sighups_under_load_refuse_nobody() {
    let lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for _ in 0..100 {
        lab.sockd.signal(Signal::SIGHUP);
        drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    }
}

#[test]
fn a_user_file_is_read_again_on_sighup() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    site.gateway.write("/etc/users", "sam\n");
    let mut lab = Lab::at(site, "permit *=/etc/users 0.0.0.0 0.0.0.0\n", |start| start);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.site.gateway.write("/etc/users", "sam, joe # the two\n");
    reload(&mut lab, "daemon.notice reloaded: ");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn routes_are_read_again_on_sighup() {
    let mut lab = Lab::started(PERMIT_ALL, |start| start.route("203.0.113.1 203.0.113.0 255.255.255.0\n"));
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.site.gateway.write("/etc/sockd.route", "198.51.100.1 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "daemon.notice reloaded: ");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn sig_02_sigusr1_writes_rules_that_sockd_accepts_again() {
    let site = Site::new();
    let mut lab = Lab::at(site, RULES, |start| start.route("198.51.100.1 0.0.0.0 0.0.0.0\n"));
    let dump = |lab: &mut Lab| {
        lab.turn_the_page();
        lab.sockd.signal(Signal::SIGUSR1);
        let lines = lab.logged_whole(RULES.lines().count() + 1);
        let text =
            |line: &String| line.strip_prefix("daemon.notice ").expect("level notice").to_owned() + "\n";
        lines.iter().map(text).collect::<String>()
    };
    let first = dump(&mut lab);
    assert!(first.contains("198.51.100.1"), "the route is missing: {first}");
    lab.site.gateway.write("/etc/dumped.conf", &first);
    let check = Start::bare(&lab.site.gateway).words("--check --conf /etc/dumped.conf").output();
    assert!(check.status.success(), "{first}{check:?}");
    // In force, the dump reproduces itself, except for its comments.
    lab.sockd.write_conf(&first);
    reload(&mut lab, "daemon.notice reloaded: ");
    assert_eq!(dump(&mut lab), first);
}

#[test]
fn sigterm_gives_relays_their_grace_serves_clients_meanwhile_and_removes_the_pid_file() {
    let mut lab = Lab::started(PERMIT_ALL, |start| {
        start.settings("(stop_grace: 20)").words("--pid-file /run/sockd.pid")
    });
    let pid = lab.sockd.monitor().0;
    assert_eq!(lab.site.gateway.read("/run/sockd.pid"), format!("{pid}\n"));
    let far = Far::listen(&lab.site.server, SECOND_SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    let _idle = Line::dial(&lab.site.client, PROXY);
    lab.sockd.signal(Signal::SIGTERM);
    lab.wait_for_line("daemon.notice stopping");
    for _ in 0..20 {
        drop((granted(&lab.site.client, &Request::connect(far.v4())), far.accept()));
    }
    near.send("bye");
    assert_eq!(there.read(3), b"bye");
    drop(near);
    drop(there);
    // All relays are done: the end need not wait for the grace period, or for a client that asks nothing.
    assert_eq!(lab.sockd.wait().code(), Some(0));
    assert!(lab.site.client.run(|| TcpStream::connect(std::net::SocketAddr::from(PROXY))).is_err());
    assert!(!lab.site.gateway.exists("/run/sockd.pid"));
    lab.wait_for_line("daemon.notice stopped");
}

#[test]
fn sigint_ends_relays_that_outlive_the_grace() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(stop_grace: 1)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    lab.sockd.signal(Signal::SIGINT);
    near.read_to_end();
    there.read_to_end();
    assert_eq!(lab.sockd.wait().code(), Some(0));
    lab.wait_for_line("terminated -- ");
    lab.wait_for_line("bytes from");
}

#[test]
fn a_second_sigterm_ends_the_grace() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(stop_grace: 3600)");
    let far = Far::listen(&lab.site.server, SERVER);
    let _near = granted(&lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    lab.sockd.signal(Signal::SIGTERM);
    lab.wait_for_line("daemon.notice stopping");
    lab.sockd.signal(Signal::SIGTERM);
    assert_eq!(lab.sockd.wait().code(), Some(0));
}

#[test]
fn a_spare_worker_lost_right_before_the_end_is_not_missed_again_and_again() {
    let lab = Lab::with_settings(PERMIT_ALL, "(stop_grace: 3600)");
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    let serving = lab.sockd.worker_of(near.local());
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    for spare in lab.sockd.workers("session").into_iter().filter(|worker| *worker != serving) {
        spare.signal(Signal::SIGKILL);
    }
    lab.wait_for_line("SIGKILL");
    // Within the second that passes before the next one would be started.
    lab.sockd.signal(Signal::SIGTERM);
    lab.wait_for_line("daemon.notice stopping");
    std::thread::sleep(Duration::from_secs(2));
    let waits = || lab.sockd.monitor().status()["voluntary_ctxt_switches"].parse::<u64>().unwrap();
    let before = waits();
    std::thread::sleep(Duration::from_secs(1));
    assert!(waits() - before < 100, "{} in a second in which nothing happens", waits() - before);
}

#[test]
fn a_relay_whose_worker_does_not_answer_leaves_its_line_when_the_daemon_stops() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(stop_grace: 1)");
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    lab.sockd.worker_of(near.local()).signal(Signal::SIGSTOP);
    // However often it is told.
    for _ in 0..3 {
        lab.sockd.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(lab.sockd.wait().code(), Some(0));
    lab.wait_for_line("terminated -- ");
    lab.wait_for_line("daemon.notice stopped");
}

#[test]
fn after_sigterm_no_process_is_left() {
    let mut lab = Lab::new(PERMIT_ALL);
    let family = lab.sockd.family();
    lab.sockd.signal(Signal::SIGTERM);
    assert_eq!(lab.sockd.wait().code(), Some(0));
    until_true("all are gone", || !family.iter().any(|process| process.runs()));
}

/// As `pkill -HUP sockd` does, which stands in many scripts for classic daemons.
#[test]
fn a_signal_to_every_process_of_the_name_cuts_no_relay_and_blames_nobody() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(commands: argv)");
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    let family = lab.sockd.family();
    lab.turn_the_page();
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        for _ in 0..4 {
            family.iter().for_each(|process| process.signal(signal));
            lab.sockd.signal(signal);
        }
    }
    for signal in [Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        family.iter().for_each(|process| process.signal(signal));
    }
    lab.wait_for_line("daemon.notice reloaded: ");
    near.send("still here");
    assert_eq!(there.read(10), b"still here");
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
    assert!(family.iter().all(|process| process.runs()), "{family:?}");
    assert!(!lab.logged().iter().any(|line| line.starts_with("daemon.err ")), "{:#?}", lab.logged());
}

/// As the kernel ends a worker when memory is short, or an administrator any process.
#[test]
fn a_worker_that_is_killed_from_outside_is_not_blamed_on_its_client_host() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    for _ in 0..4 {
        lab.turn_the_page();
        let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
        lab.sockd.worker_of(near.local()).signal(Signal::SIGKILL);
        near.read_to_end();
        let said = lab.wait_for_line("daemon.err session worker ");
        assert!(said.ends_with("(192.0.2.10) ended: SIGKILL (from outside)"), "{said}");
    }
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
}
