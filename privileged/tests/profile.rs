//! The tables of calls of monitor, loader and spawner: every row is tried both ways, and every other call is deadly.
//!
//! The hook process's table denies calls instead: its commands inherit the filter.

#![allow(clippy::unwrap_used)]

use sockd::hook::profile::DENIED;
use sockd::loader::profile::LOADER;
use sockd::monitor::profile::MONITOR;
use sockd::spawner::profile::{SPAWNER, WORKERS};
use sockd_lockdown::{Row, When, compile_denials, compile_filter};
use sockd_verdict::{Call, Verdict, faults, verdict};
use std::collections::BTreeSet;

/// The profiles as they are installed: the spawner's filter also permits the calls that its workers need.
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

/// A connected datagram socket is no fence against sendto(2), and a worker has one before it puts on its own filter.
#[test]
fn behind_the_spawners_filter_nothing_can_be_sent_to_an_address() {
    let program = compile_filter(&[SPAWNER, WORKERS].concat()).unwrap();
    let sent = |to| Call { number: libc::SYS_sendto, args: [5, 0x1000, 1, 0, to, 16], foreign: false };
    assert_eq!(verdict(&program, &sent(0)), Some(Verdict::Allowed));
    assert_eq!(verdict(&program, &sent(0x2000)), Some(Verdict::Killed));
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

#[test]
fn the_hook_process_and_its_commands_are_refused_what_its_table_says_and_nothing_else() {
    let program = compile_denials(DENIED).unwrap();
    let listed: BTreeSet<i64> = DENIED.iter().map(|row| row.call).collect();
    assert_eq!(listed.len(), DENIED.len());
    for number in 0..1024 {
        let call = Call { number, args: [0; 6], foreign: false };
        let expected = DENIED.iter().find(|row| row.call == number).map(|row| match row.when {
            When::Answer(errno) => Verdict::Answered(errno.unsigned_abs()),
            _ => Verdict::Allowed,
        });
        assert_eq!(verdict(&program, &call), Some(expected.unwrap_or(Verdict::Allowed)), "{number}");
        let x32 = Call { number: number | 0x4000_0000, ..call };
        assert_eq!(verdict(&program, &x32), verdict(&program, &call), "{number}");
        assert_eq!(verdict(&program, &Call { foreign: true, ..call }), Some(Verdict::Killed), "{number}");
    }
}
