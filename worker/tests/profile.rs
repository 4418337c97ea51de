//! The tables of allowed calls: within their budgets, without forbidden calls, and every row tried both ways.

#![allow(clippy::unwrap_used)]

use sockd_common::message::Role;
use sockd_lockdown::{Row, When, compile_filter, libc};
use sockd_verdict::{Call, Verdict, faults, verdict};
use sockd_worker::roles::ROLES;
use std::collections::BTreeSet;

/// The most calls that a role may have.
fn budget(role: Role) -> usize {
    match role {
        Role::Session | Role::Probe => 18,
        Role::Resolver => 16,
        Role::Auth => 8,
        Role::Datagram => 12,
        Role::Ident | Role::Upstream => 6,
    }
}

fn profiles() -> impl Iterator<Item = (&'static str, &'static [Row])> {
    ROLES.iter().map(|entry| (entry.role.as_str(), entry.profile))
}

fn call(number: i64, args: [u64; 6]) -> Call {
    Call { number, args, foreign: false }
}

#[test]
fn every_role_keeps_to_its_budget_of_calls() {
    for entry in &ROLES {
        let (role, rows, budget) = (entry.role, entry.profile, budget(entry.role));
        let allowed = rows.iter().filter(|row| !matches!(row.when, When::Answer(_)));
        let calls: BTreeSet<&str> = allowed.map(|row| row.name).collect();
        assert!(!calls.is_empty() && calls.len() <= budget, "{role:?}: {} calls: {calls:?}", calls.len());
        assert!(rows.iter().all(|row| !row.why.is_empty()), "{role:?}: a row has no reason");
    }
}

#[test]
fn no_role_has_a_call_that_makes_or_redirects_a_socket_opens_executes_or_signals() {
    let forbidden = [
        "socket",
        "socketpair",
        "connect",
        "bind",
        "listen",
        "accept",
        "accept4",
        "setsockopt",
        "sendmsg",
        "sendmmsg",
        "open",
        "openat",
        "openat2",
        "creat",
        "open_by_handle_at",
        "memfd_create",
        "dup",
        "dup2",
        "dup3",
        "ioctl",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "execve",
        "execveat",
        "kill",
        "tkill",
        "tgkill",
        "ptrace",
        "mprotect",
        "prctl",
        "seccomp",
        "bpf",
        "io_uring_setup",
        "unshare",
        "setns",
        "mount",
        "keyctl",
        "userfaultfd",
        "pidfd_open",
        "pidfd_getfd",
        "process_vm_readv",
        "process_vm_writev",
        "write",
        "writev",
        "rt_sigaction",
    ];
    for (role, rows) in profiles() {
        for row in rows {
            assert!(!forbidden.contains(&row.name), "{role} has {}", row.name);
        }
    }
}

#[test]
fn every_row_allows_what_it_says_and_nothing_beside_it() {
    for (role, rows) in profiles() {
        assert_eq!(faults(rows).unwrap(), Vec::<String>::new(), "{role}");
    }
}

#[test]
fn every_other_call_is_deadly() {
    for (role, rows) in profiles() {
        let program = compile_filter(rows).unwrap();
        let listed: BTreeSet<i64> = rows.iter().map(|row| row.call).collect();
        // 0x4000_0000 is the bit of the x32 calls, which have the same arch as the others.
        for number in (0..1024).chain(0x4000_0000..0x4000_0400) {
            if !listed.contains(&number) {
                assert_eq!(
                    verdict(&program, &call(number, [0; 6])),
                    Some(Verdict::Killed),
                    "{role}: {number}"
                );
            }
        }
    }
}

#[test]
fn a_socket_cannot_be_turned_elsewhere_by_what_is_sent() {
    let message_fastopen = 0x2000_0000;
    for (role, rows) in profiles() {
        let program = compile_filter(rows).unwrap();
        for args in [
            [5, 1, 1, 0, 0x1000, 16],
            [5, 1, 1, message_fastopen, 0, 0],
            [5, 1, 1, u64::from(libc::MSG_OOB.cast_unsigned()), 0, 0],
        ] {
            let sent = verdict(&program, &call(libc::SYS_sendto, args));
            assert_eq!(sent, Some(Verdict::Killed), "{role}: sendto {args:x?}");
        }
    }
}

#[test]
fn urgent_data_of_a_unix_socket_cannot_be_asked_for() {
    // CVE-2025-38236 was reached by MSG_OOB on a socket as harmless as the channel.
    let oob = u64::from(libc::MSG_OOB.cast_unsigned());
    for (role, rows) in profiles() {
        let program = compile_filter(rows).unwrap();
        for (number, args) in
            [(libc::SYS_recvfrom, [3, 1, 1, oob, 0, 0]), (libc::SYS_recvmsg, [3, 1, oob, 0, 0, 0])]
        {
            assert_eq!(verdict(&program, &call(number, args)), Some(Verdict::Killed), "{role}: {number}");
        }
    }
}

#[test]
fn memory_can_neither_be_executable_nor_lie_over_other_memory() {
    let bits = |bits: i32| u64::from(bits.cast_unsigned());
    let anonymous = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    for (role, rows) in profiles() {
        let program = compile_filter(rows).unwrap();
        for args in [
            [0, 4096, bits(libc::PROT_READ | libc::PROT_EXEC), anonymous, u64::MAX, 0],
            [0, 4096, bits(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC), anonymous, u64::MAX, 0],
            [0x40_0000, 4096, bits(libc::PROT_READ), anonymous | bits(libc::MAP_FIXED), u64::MAX, 0],
            [0, 4096, bits(libc::PROT_READ), bits(libc::MAP_SHARED | libc::MAP_ANONYMOUS), u64::MAX, 0],
            [0, 4 << 30, bits(libc::PROT_READ), anonymous, u64::MAX, 0],
        ] {
            let mapped = verdict(&program, &call(libc::SYS_mmap, args));
            assert_eq!(mapped, Some(Verdict::Killed), "{role}: mmap {args:x?}");
        }
    }
}
