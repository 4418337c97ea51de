//! A new tree takes over from the one that serves, and nobody notices.

mod counting;
mod failing;
mod faults;
mod following;
mod silent;
mod trees;

use crate::trees::{Trees, reload, sockdctl};
use nix::sys::signal::Signal;
use sockd_common::ledger::Field;
use sockd_common::status::Gift;
use sockd_ledger::fetch::fetch;
use sockd_policy_tools::ledger::Reader;
use sockd_tests::far::{Far, Server};
use sockd_tests::line::Line;
use sockd_tests::site::SERVER;
use sockd_tests::socks::{PROXY, Request, assert_rejected, granted, is_granted};
use sockd_tests::wait::until_true;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn reload_with_another_program_takes_over_and_relays_go_on() {
    let mut trees = Trees::new("()");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let mut near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    let old = trees.lab.sockd.monitor();
    trees.install_another();
    let new = trees.reload_well();
    assert_ne!(new, old);
    trees.lab.wait_for_line(&format!("took over from process {}", old.0));
    trees.lab.wait_for_line(&format!("process {} has taken over: 1 connection to drain", new.0));
    near.send("still here");
    assert_eq!(there.read(10), b"still here");
    there.send("and back");
    assert_eq!(near.read(8), b"and back");
    let mut second = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let mut there_too = far.accept();
    second.send("new");
    assert_eq!(there_too.read(3), b"new");
    assert!(new.descendants().iter().any(|process| process.command_line().contains("session")));
    drop((near, there));
    assert_eq!(trees.lab.sockd.wait().code(), Some(0), "the old one ends with its last relay");
    trees.lab.wait_for_line(&format!("process {} has drained", old.0));
    second.send("on");
    assert_eq!(there_too.read(2), b"on");
}

#[test]
fn reload_with_the_same_program_reads_the_files_again_and_waits_for_that() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    trees.lab.sockd.write_conf("permit *=sam 0.0.0.0 0.0.0.0\n");
    let done = reload(&trees, "");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_rejected(&trees.lab.site.client, &Request::connect((SERVER, 7)));
    drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7)).by("sam")));
    assert_eq!(trees.pid_file(), trees.lab.sockd.monitor());
    assert!(trees.lab.sockd.runs());
}

/// The service manager says so too, and watchers of the log or the counters hear of it.
#[test]
fn a_reload_that_finds_errors_in_the_files_is_logged_and_counted_by_who_serves() {
    let mut trees = Trees::new(r#"(status_socket: at("/run/sockd/status"))"#);
    let gateway = trees.lab.site.gateway.clone();
    let failures = || {
        let output = sockdctl(&gateway, &["metrics"]);
        let page = String::from_utf8(output.stdout).expect("text");
        page.contains("\nsockd_rules_reload_failures_total 2\n")
    };
    trees.lab.sockd.write_conf("permit nonsense\n");
    for install in [false, true] {
        trees.lab.turn_the_page();
        if install {
            trees.install_another();
        }
        let done = reload(&trees, "");
        assert_eq!(done.status.code(), Some(78), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("line 1: "), "{done:?}");
        trees.lab.wait_for_line("daemon.err reload failed: the files have errors");
    }
    until_true("both are counted", failures);
    assert!(trees.lab.sockd.runs());
}

#[test]
fn force_takes_over_from_the_same_program() {
    let mut trees = Trees::new("()");
    let old = trees.lab.sockd.monitor();
    let done = reload(&trees, "--force");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_ne!(trees.adopt(), old);
    assert_eq!(trees.lab.sockd.wait().code(), Some(0), "nothing to drain");
}

#[test]
fn a_takeover_in_the_foreground_is_a_start() {
    let mut trees = Trees::new("()");
    let old = trees.lab.sockd.monitor();
    let mut second = trees.foreground("");
    trees.lab.wait_for_line(&format!("took over from process {}", old.0));
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
}

/// Clients connect and ask all the time, each for one answer.
#[test]
fn under_a_load_of_connects_nobody_is_refused() {
    const AT_LEAST: usize = 200;
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let (ends, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = trees.lab.site.client.clone();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let counter =
                        if is_granted(&client, &Request::connect((SERVER, 7))) { &served } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = served.load(Ordering::Relaxed);
            until_true("clients are served", || served.load(Ordering::Relaxed) > before + AT_LEAST);
            trees.install_another();
            trees.reload_well();
        }
        ends.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", served.load(Ordering::Relaxed));
}

/// A client that has connected without a request yet, and one that is being answered.
#[test]
fn what_has_begun_goes_on_in_the_old_tree() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let mut line = Line::dial(&trees.lab.site.client, PROXY);
    let bytes = Request::connect((SERVER, 7)).bytes();
    line.send(&bytes[..4]);
    let old = trees.lab.sockd.monitor();
    until_true("the old tree has it", || {
        trees.lab.sockd.workers("session").iter().any(|worker| worker.descriptors().len() > 5)
    });
    trees.install_another();
    trees.reload_well();
    line.send(&bytes[4..]);
    assert_eq!(line.read(8)[1], 90);
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
    assert!(old.runs());
}

#[test]
fn the_pid_file_is_replaced_and_the_old_tree_leaves_it_alone() {
    let mut trees = Trees::new("()");
    trees.install_another();
    let new = trees.reload_well();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    assert_eq!(trees.pid_file(), new);
    trees.end(new);
    until_true("the file is removed", || !trees.lab.site.gateway.exists("/run/sockd.pid"));
    let left = trees.lab.site.gateway.run(|| {
        std::fs::read_dir("/run").unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()
    });
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("pid")), "{left:?}");
}

#[test]
fn the_takeover_socket_lies_where_root_alone_may_go() {
    let trees = Trees::new("()");
    let mode = trees.lab.site.gateway.run(|| {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let folder = std::fs::metadata("/run/sockd/takeover").unwrap();
        assert!(std::fs::metadata("/run/sockd/takeover/socket").unwrap().file_type().is_socket());
        (folder.mode() & 0o777, folder.uid())
    });
    assert_eq!(mode, (0o700, 0));
}

/// If the files name their paths, a daemon does not start without them.
#[test]
fn the_sockets_for_administrators_lead_to_the_new_tree() {
    let mut trees =
        Trees::new(r#"(status_socket: at("/run/sockd/status"), control_socket: at("/run/sockd/control"))"#);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let old = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)));
    let gateway = trees.lab.site.gateway.clone();
    for path in ["/run/sockd/status", "/run/sockd/control"] {
        assert!(gateway.exists(path), "{path}");
    }
    trees.install_another();
    trees.reload_well();
    let gifts = gateway.run(|| fetch(Path::new("/run/sockd/status"))).expect("gifts");
    let memory = gifts.into_iter().find(|(gift, _)| *gift == Gift::Ledger).expect("a ledger").1;
    let ledger = Reader::open(memory).expect("a ledger");
    let new = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)));
    until_true("the new tree's session is in its ledger", || ledger.head(Field::Live) == 1);
    drop((old, new));
    until_true("it has ended", || ledger.head(Field::Live) == 0);
}

/// A gateway that is drained for maintenance does not come back by a reload or an upgrade.
#[test]
fn new_clients_that_are_held_off_are_held_off_by_the_new_tree() {
    let mut trees =
        Trees::new(r#"(status_socket: at("/run/sockd/status"), control_socket: at("/run/sockd/control"))"#);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let (gateway, client) = (trees.lab.site.gateway.clone(), trees.lab.site.client.clone());
    let run = |words: &[&str]| {
        let output = sockdctl(&gateway, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let is_served = || is_granted(&client, &Request::connect((SERVER, 7)));
    let mut old = granted(&client, &Request::connect((SERVER, 7)));
    run(&["drain"]);
    assert!(!is_served());
    for words in ["", "--force", "--force"] {
        trees.lab.turn_the_page();
        let done = reload(&trees, words);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert!(!is_served(), "{words}");
        if !words.is_empty() {
            trees.adopt();
            trees.lab.wait_for_line("no new clients are served, as before the takeover");
        }
    }
    assert_eq!(
        run(&["stats"]).matches("draining    yes").count(),
        2,
        "the drained tree in between has ended"
    );
    old.send("x");
    assert_eq!(old.read(1), b"x");
    trees.lab.turn_the_page();
    run(&["resume"]);
    trees.lab.wait_for_line("new clients are served again, by order of uid 0");
    assert!(is_served());
    assert_eq!(run(&["stats"]).matches("draining    yes").count(), 1, "one that drains serves nobody new");
    let lines = trees.lab.logged();
    assert_eq!(lines.iter().filter(|line| line.contains("served again")).count(), 1, "{lines:?}");
    let rules = run(&["rules"]);
    let hits: Vec<_> = rules.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hits, ["1"], "of the rules that are in force: {rules}");
    trees.reload_well_with("--force");
    assert!(is_served());
}

/// Each tree counts its sessions by itself, and a client may have one of the same number in both.
#[test]
fn a_number_that_two_trees_have_ends_no_session_before_it_is_said_of_which_tree() {
    let mut trees =
        Trees::new(r#"(status_socket: at("/run/sockd/status"), control_socket: at("/run/sockd/control"))"#);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let gateway = trees.lab.site.gateway.clone();
    let run = |words: &[&str]| {
        let output = sockdctl(&gateway, words);
        (
            output.status.code(),
            [output.stdout, output.stderr].map(|said| String::from_utf8(said).expect("text")),
        )
    };
    let mut first = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)).by("old"));
    let old = trees.lab.sockd.monitor().0;
    trees.install_another();
    let new = trees.reload_well().0;
    let mut second = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)).by("new"));
    let numbers = || {
        let [list, _] = run(&["list"]).1;
        list.lines()
            .skip(1)
            .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
            .collect::<Vec<_>>()
    };
    until_true("both sessions", || numbers().len() == 2);
    let [number, same] = &numbers()[..] else { panic!("two") };
    assert_eq!(number, same);
    let (status, [_, why]) = run(&["kill", number, "--host", "192.0.2.10"]);
    let shown = |process, does, user| {
        why.contains(&format!("\n--process {process}, which {does}, {user}? from 192.0.2.10:"))
    };
    assert!(status == Some(1) && shown(old, "drains", "old") && shown(new, "serves", "new"), "{why}");
    for line in [&mut first, &mut second] {
        line.send("x");
        assert_eq!(line.read(1), b"x");
    }
    assert_eq!(run(&["kill", number, "--process", "1"]).0, Some(1));
    assert_eq!(run(&["kill", "--process", &new.to_string()]).0, Some(64), "no session is named");
    assert_eq!(run(&["kill", number, "--process", &old.to_string()]).1[0], "1 session is ended\n");
    first.ending();
    second.send("x");
    assert_eq!(second.read(1), b"x");
}

/// The old tree keeps its ledger and its orders under names of their own, until it has drained.
#[test]
fn sockdctl_reaches_the_sessions_of_both_trees() {
    let mut trees =
        Trees::new(r#"(status_socket: at("/run/sockd/status"), control_socket: at("/run/sockd/control"))"#);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let gateway = trees.lab.site.gateway.clone();
    let run = |words: &[&str]| {
        let output = sockdctl(&gateway, words);
        String::from_utf8(output.stdout).expect("text")
    };
    let mut old = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)).by("old"));
    let number = trees.lab.sockd.monitor().0;
    trees.install_another();
    trees.reload_well();
    let mut new = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)).by("new"));
    until_true("both sessions", || run(&["list"]).contains(" old? ") && run(&["list"]).contains(" new? "));
    assert!(gateway.exists(&format!("/run/sockd/status.{number}")));
    assert_eq!(run(&["stats"]).matches("draining    yes").count(), 1);
    assert_eq!(run(&["kill", "--user", "old"]), "1 session is ended\n");
    old.ending();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0), "the old tree has drained");
    new.send("x");
    assert_eq!(new.read(1), b"x");
    until_true("one session is left", || run(&["list"]).lines().count() == 2);
    // The next start removes whatever the old one has left.
    trees.install_another();
    trees.reload_well();
    assert!(!gateway.exists(&format!("/run/sockd/status.{number}")));
}
