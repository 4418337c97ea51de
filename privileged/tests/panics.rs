//! A fault of the program itself: each process behind its own filter ends with a status, not by a forbidden call.

#![allow(clippy::unwrap_used, clippy::panic)]

use nix::sys::wait::{WaitStatus, waitpid};
use sockd::config::options::LogTo;
use sockd::loader::profile::LOADER;
use sockd::loader::protocol::{FromLoader, ToLoader};
use sockd::log::Log;
use sockd::monitor::lock_down::lock_down;
use sockd::process::child;
use sockd::process::namespaces::{Place, World};
use sockd::spawner::profile::{SPAWNER, WORKERS};
use sockd::start::panic::end_on_panic;
use sockd_common::channel::WorkerEnd;
use sockd_lockdown::{exit_now, install_filter, no_new_privileges};
use std::io::Read;

/// The end, and the output, of a process that locks itself down and then has a fault.
fn fault_behind(locks: impl FnOnce() -> bool) -> (Option<i32>, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let lock_down = |_: &WorkerEnd<FromLoader, ToLoader>, _: &mut Place| {
        rustix::stdio::dup2_stderr(&writer).unwrap();
        drop(writer);
        if !locks() {
            exit_now(1);
        }
        Ok(())
    };
    let fault = |_, ()| panic!("a fault\nof (two) lines");
    let server = child::start("process", World::of_host(), lock_down, fault);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    drop(server.unwrap());
    match waitpid(None, None).unwrap() {
        WaitStatus::Exited(_, status) => (Some(status), said),
        _ => (None, said),
    }
}

/// This is a single test, so that waitpid(2) meets no other child.
#[test]
fn a_panic_ends_monitor_spawner_and_loader_with_status_70_and_the_monitor_says_why_in_one_line() {
    let quiet = (Some(70), String::new());
    for rows in [[SPAWNER, WORKERS].concat(), LOADER.to_vec()] {
        assert_eq!(fault_behind(|| no_new_privileges().and_then(|()| install_filter(&rows)).is_ok()), quiet);
    }
    let monitor = |to| {
        fault_behind(|| {
            end_on_panic(to);
            // The start reads the time zone, which a line of the log needs; this line is never written.
            Log::new(LogTo::Stderr).notice("");
            lock_down(None).is_ok()
        })
    };
    let (status, said) = monitor(LogTo::Stderr);
    assert_eq!(status, Some(70), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("panic: ") && said.contains("a\\x20fault\\x0aof\\x20\\x28two\\x29"), "{said}");
    // The test runs with the log's socket, or without one if nobody listens, which is told here.
    let (status, said) = monitor(LogTo::Syslog);
    assert_eq!(status, Some(70), "{said}");
    assert!(said.is_empty() || (said.lines().count() == 1 && said.contains("/dev/log: ")), "{said}");
}
