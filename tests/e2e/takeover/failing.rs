//! Failed takeovers leave the old tree unchanged.

use crate::trees::{Trees, reload};
use sockd_tests::far::Server;
use sockd_tests::site::SERVER;
use sockd_tests::socks::{Request, granted};

/// Reloads, which has to fail with this status and these words, and nothing may have changed.
fn assert_fails(trees: &mut Trees, status: i32, said: &str) {
    let done = reload(trees, "");
    assert_eq!(done.status.code(), Some(status), "{done:?}");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(text.contains(said), "{text}");
    assert!(trees.lab.sockd.runs());
    assert_eq!(trees.pid_file(), trees.lab.sockd.monitor());
    drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
    let left = trees.lab.site.gateway.run(|| std::fs::read_dir("/run").unwrap().flatten().count());
    assert_eq!(*trees.files.get_or_insert(left), left, "files beside the process id file");
}

#[test]
fn a_broken_file_is_told_with_78_and_nothing_has_changed() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    trees.lab.sockd.write_conf("permit nonsense\n");
    assert_fails(&mut trees, 78, "/etc/sockd.conf: line 1: ");
    trees.install_another();
    assert_fails(&mut trees, 78, "/etc/sockd.conf: line 1: ");
    trees.lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    trees.lab.sockd.write_settings("(stop_grace: many)");
    assert_fails(&mut trees, 78, "stop_grace");
}

/// The files are correct, but no process is left to read them, before the reload or during it.
#[test]
fn a_loader_that_is_gone_is_told_with_what_mends_that() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    trees.lab.sockd.loader().signal(nix::sys::signal::Signal::SIGKILL);
    for _ in 0..2 {
        assert_fails(&mut trees, 71, "that reads files has ended; --force ");
    }
    trees.reload_well_with("--force");
    assert_eq!(reload(&trees, "").status.code(), Some(0));
}

#[test]
fn a_worker_that_cannot_run_is_told_and_the_old_tree_serves_on() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    trees.change("sockd-worker", |bytes| *bytes = b"#!/bin/false\n".to_vec());
    assert_fails(&mut trees, 71, "the first sockd-worker has ended");
    trees.lab.site.gateway.run(|| std::fs::remove_file("/run/lib/sockd-worker")).unwrap();
    assert_fails(&mut trees, 71, "/run/lib/sockd-worker: No such file");
}

#[test]
fn a_port_that_another_program_has_is_told_and_the_old_tree_serves_on() {
    let mut trees = Trees::new("()");
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let _other = trees.lab.site.gateway.run(|| std::net::TcpListener::bind("127.0.0.1:4040")).unwrap();
    trees.install_another();
    let done = reload(&trees, "--listen 0.0.0.0:1080 --listen 127.0.0.1:4040");
    assert_eq!(done.status.code(), Some(71), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("127.0.0.1:4040"), "{done:?}");
    assert_eq!(trees.pid_file(), trees.lab.sockd.monitor());
    drop(granted(&trees.lab.site.client, &Request::connect((SERVER, 7))));
    trees.reload_well();
}

#[test]
fn without_a_running_daemon_there_is_nothing_to_take_over() {
    let mut trees = Trees::new("()");
    trees.lab.sockd.signal(nix::sys::signal::Signal::SIGTERM);
    trees.lab.sockd.wait();
    for word in ["--reload", "--takeover"] {
        let mut command = std::process::Command::new("/run/lib/sockd");
        let done = trees.lab.site.gateway.output(command.arg(word));
        assert_eq!(done.status.code(), Some(71), "{word}: {done:?}");
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.contains("/run/sockd/takeover/socket: Connection refused"), "{word}: {text}");
    }
}
