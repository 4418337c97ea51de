//! The tables of calls of monitor, loader and spawner: every row tried both ways, and everything else deadly.
//!
//! The command runner has no table: the commands that it starts would inherit the filter (`sockd::hook`).

#![allow(clippy::unwrap_used)]

use sockd::loader::profile::LOADER;
use sockd::process::profile::MONITOR;
use sockd::spawner::profile::{SPAWNER, WORKERS};
use sockd_lockdown::verdict::{Call, Verdict, faults, verdict};
use sockd_lockdown::{Row, compile_filter};
use std::collections::BTreeSet;

/// As they are installed: the spawner's filter lets through what its workers need.
fn profiles() -> [(&'static str, Vec<Row>); 3] {
    [("monitor", MONITOR.to_vec()), ("loader", LOADER.to_vec()), ("spawner", [SPAWNER, WORKERS].concat())]
}

#[test]
fn every_row_allows_what_it_says_and_nothing_beside_it() {
    for (role, rows) in profiles() {
        assert_eq!(faults(&rows).unwrap(), Vec::<String>::new(), "{role}");
    }
}

#[test]
fn every_other_call_is_deadly() {
    for (role, rows) in profiles() {
        let program = compile_filter(&rows).unwrap();
        let listed: BTreeSet<i64> = rows.iter().map(|row| row.call).collect();
        // 0x4000_0000 is the bit of the x32 calls, which have the same arch as the others.
        for number in (0..1024).chain(0x4000_0000..0x4000_0400).filter(|number| !listed.contains(number)) {
            let call = Call { number, args: [0; 6], foreign: false };
            assert_eq!(verdict(&program, &call), Some(Verdict::Killed), "{role}: {number}");
        }
    }
}

#[test]
fn every_row_has_a_reason() {
    for (role, rows) in profiles() {
        assert!(rows.iter().all(|row| !row.why.is_empty()), "{role}");
    }
}

#[test]
fn neither_the_monitor_nor_the_loader_opens_a_file_for_writing() {
    for (role, rows) in profiles().iter().filter(|(role, _)| *role != "spawner") {
        let program = compile_filter(rows).unwrap();
        for flags in
            [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_CREAT, libc::O_TRUNC, libc::O_APPEND]
        {
            let args = [0, 0, u64::from(flags.cast_unsigned()), 0, 0, 0];
            let call = Call { number: libc::SYS_openat, args, foreign: false };
            assert_eq!(verdict(&program, &call), Some(Verdict::Killed), "{role}: {flags:x}");
        }
    }
}
