//! A new tree and the old ones: the state that it takes from them, and the orders that it passes on.

use crate::trees::{Trees, reload, sockdctl};
use nix::sys::signal::Signal;
use sockd_tests::far::Far;
use sockd_tests::site::SERVER;
use sockd_tests::socks::{Request, granted, is_granted};
use sockd_tests::wait::until_true;

#[test]
fn three_trees_work_side_by_side() {
    let mut trees = Trees::new("()");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let client = trees.lab.site.client.clone();
    let mut relays = Vec::new();
    let mut monitors = vec![trees.lab.sockd.monitor()];
    for round in 0..3 {
        relays.push((granted(&client, &Request::connect(far.v4())), far.accept()));
        if round < 2 {
            trees.install_another();
            monitors.push(trees.reload_well());
        }
    }
    assert!(monitors.iter().all(|monitor| monitor.runs()));
    for (near, there) in &mut relays {
        near.send("on");
        assert_eq!(there.read(2), b"on");
    }
    // SIGTERM to the newest is passed on to all.
    monitors[2].signal(Signal::SIGTERM);
    relays.clear();
    until_true("all have ended", || !monitors[1..].iter().any(|monitor| monitor.runs()));
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
}

#[test]
fn the_newest_waits_for_older_ones_that_it_has_told_to_end() {
    let mut trees = Trees::new("(stop_grace: 2)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let mut near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    trees.install_another();
    let new = trees.reload_well();
    trees.lab.turn_the_page();
    trees.end(new);
    near.read_to_end();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    trees.lab.wait_for_line("terminated -- ");
    let stopped = || trees.lab.logged().iter().filter(|line| line.ends_with(" stopped")).count();
    until_true("both say that they have stopped", || stopped() == 2);
}

#[test]
fn an_old_tree_ends_at_sigterm_and_the_new_one_serves_on() {
    let mut trees = Trees::new("(stop_grace: 1)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let mut near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    trees.install_another();
    let new = trees.reload_well();
    trees.lab.sockd.signal(Signal::SIGTERM);
    near.read_to_end();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    trees.lab.wait_for_line("has drained");
    drop(granted(&trees.lab.site.client, &Request::connect(far.v4())));
    assert!(new.runs());
}

#[test]
fn at_drain_limit_what_is_left_ends() {
    let mut trees = Trees::new("(drain_limit: 1)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let mut near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    trees.install_another();
    trees.reload_well();
    near.read_to_end();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    trees.lab.wait_for_line("terminated -- ");
}

#[test]
fn the_old_tree_keeps_the_rules_that_it_has() {
    let mut trees = Trees::new("()");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let client = trees.lab.site.client.clone();
    let mut near = granted(&client, &Request::connect(far.v4()));
    let mut there = far.accept();
    trees.lab.sockd.write_conf("permit *=sam 0.0.0.0 0.0.0.0\n");
    trees.install_another();
    trees.reload_well();
    assert!(!is_granted(&client, &Request::connect(far.v4())));
    near.send("still here");
    assert_eq!(there.read(10), b"still here");
}

#[test]
fn with_recheck_on_reload_the_old_tree_ends_what_the_new_rules_forbid() {
    let mut trees = Trees::new("(recheck_on_reload: true)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let client = trees.lab.site.client.clone();
    let mut joe = granted(&client, &Request::connect(far.v4()));
    let _joes = far.accept();
    let mut sam = granted(&client, &Request::connect(far.v4()).by("sam"));
    let mut sams = far.accept();
    trees.lab.sockd.write_conf("permit *=sam 0.0.0.0 0.0.0.0\n");
    trees.install_another();
    trees.reload_well();
    joe.read_to_end();
    sam.send("still here");
    assert_eq!(sams.read(10), b"still here");
    // And those of a reload after that.
    trees.lab.sockd.write_conf("permit *=eve 0.0.0.0 0.0.0.0\n");
    assert_eq!(reload(&trees, "").status.code(), Some(0));
    sam.read_to_end();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
}

/// As if the new program's settings have words that the old one does not know.
#[test]
fn an_old_tree_that_cannot_read_the_new_rules_ends_everything() {
    let mut trees = Trees::new("(recheck_on_reload: true)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let mut near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
    let _there = far.accept();
    // The old tree's loader is gone, and no other process reads the files.
    trees.lab.sockd.loader().signal(Signal::SIGKILL);
    trees.lab.wait_for_line("nothing is read again");
    trees.install_another();
    trees.reload_well();
    near.read_to_end();
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
}

#[test]
fn sessions_of_both_trees_count_for_the_limit_in_all() {
    let mut trees = Trees::new("(max_sessions: 3, max_sessions_per_host: 3)");
    let far = Far::listen(&trees.lab.site.server, SERVER);
    let client = trees.lab.site.client.clone();
    let request = Request::connect(far.v4());
    let mut relays: Vec<_> = (0..2).map(|_| (granted(&client, &request), far.accept())).collect();
    trees.install_another();
    trees.reload_well();
    relays.push((granted(&client, &request), far.accept()));
    until_true("the fourth is turned away", || !is_granted(&client, &request));
    trees.lab.wait_for_line("max_sessions reached");
    relays.remove(0);
    until_true("there is room once an old one has ended", || is_granted(&client, &request));
}

/// Each socket has its own number: `sockdctl` ignores them, and the next tree removes them.
#[test]
fn sockets_of_trees_that_have_been_killed_are_ignored_and_cleared() {
    let settings = r#"(status_socket: at("/run/sockd/status"), control_socket: at("/run/sockd/control"))"#;
    let mut trees = Trees::new(settings);
    let gateway = trees.lab.site.gateway.clone();
    let _relay = crate::trees::Relay::begin(&trees);
    let old = trees.lab.sockd.monitor();
    let new = trees.reload_well_with("--force");
    let numbered = || {
        let names = gateway.run(|| std::fs::read_dir("/run/sockd").unwrap().flatten().collect::<Vec<_>>());
        names.iter().filter(|entry| entry.path().extension().is_some()).count()
    };
    assert_eq!(numbered(), 2, "status and control of the old one");
    old.signal(Signal::SIGKILL);
    trees.lab.wait_for_line(&format!("process {} has ended with 1 connection", old.0));
    let list = || sockdctl(&gateway, &["list"]);
    let listed = list();
    assert!(listed.status.success() && listed.stderr.is_empty() && numbered() == 2, "{listed:?}");
    new.signal(Signal::SIGKILL);
    until_true("the end of both", || !trees.lab.sockd.runs() && !new.runs());
    assert_eq!(list().status.code(), Some(69));
    let next = sockd_tests::sockd::Start::bare(&gateway).start();
    until_true("they are gone", || numbered() == 0);
    until_true("the next one is found", || list().status.success());
    drop(next);
}
