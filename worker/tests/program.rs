//! The program itself: without a loader, and with an end of its own for its own faults.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unsafe_code
)]

use sockd_common::message::CHANNEL_FD;
use sockd_lockdown::{Gid, Row, Uid, become_user, exit_now, libc, take_descriptor};
use sockd_worker::lockdown::{Inherited, die_quietly_on_panic, lock_down};
use sockd_worker::roles::ROLES;
use std::fs::File;
use std::os::fd::AsRawFd;

#[test]
fn it_needs_no_loader_and_no_library() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_sockd-worker")).unwrap();
    assert_eq!(&program[..5], b"\x7fELF\x02", "not a 64-bit program");
    let word = |at: usize| u64::from_le_bytes(program[at..at + 8].try_into().unwrap());
    let half = |at: usize| u16::from_le_bytes(program[at..at + 2].try_into().unwrap());
    // elf(5): e_phoff, e_phentsize, e_phnum; each program header begins with its type.
    let (table, size, count) = (word(32) as usize, usize::from(half(54)), usize::from(half(56)));
    const PT_INTERP: u16 = 3;
    assert!(count > 0);
    for number in 0..count {
        assert_ne!(half(table + number * size), PT_INTERP, "the program asks for a loader");
    }
}

/// Runs `act` in a child that is as a worker is, and returns its exit status or its signal.
fn in_child(act: impl FnOnce() -> bool) -> (Option<i32>, Option<i32>) {
    // SAFETY: the child runs the code of a worker, which has no threads, and then ends. glibc keeps its allocator
    // usable in the child of a process with threads.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        exit_now(i32::from(!act()));
    }
    let mut status = 0;
    // SAFETY: `status` is a live int.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    (
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
    )
}

#[test]
fn what_a_parent_left_open_is_closed() {
    let open = File::open("/").unwrap();
    let left = rustix::io::fcntl_dupfd_cloexec(&open, 10).unwrap();
    let number = left.as_raw_fd();
    let act = || {
        // SAFETY: dup2 touches no memory, and the child uses nothing that was open under this number.
        let channel = unsafe { libc::dup2(number, CHANNEL_FD) };
        channel == CHANNEL_FD && Inherited::take(0).is_some() && take_descriptor(number).is_none()
    };
    assert_eq!(in_child(act), (Some(0), None));
    assert!(rustix::io::fcntl_getfd(&left).is_ok());
}

/// Returns the exit status or the signal of a child that locks itself down and then has a fault.
fn fault_under(profile: &'static [Row]) -> (Option<i32>, Option<i32>) {
    in_child(|| {
        if rustix::process::geteuid().is_root() {
            become_user(Uid::from_raw(65534), Gid::from_raw(65534)).unwrap();
        }
        die_quietly_on_panic();
        let nothing: Option<u8> = std::hint::black_box(None);
        lock_down(profile).is_ok() && nothing.unwrap() == 0
    })
}

#[test]
fn a_panic_ends_every_role_with_a_status_of_its_own_and_not_by_a_forbidden_call() {
    for entry in &ROLES {
        assert_eq!(fault_under(entry.profile), (Some(70), None), "{:?}", entry.role);
    }
}

#[test]
fn a_worker_is_not_started_as_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT ROOT: this test has tested nothing");
        return;
    }
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" session 3<&0 </dev/null", env!("CARGO_BIN_EXE_sockd-worker")]);
    let status = command.stdin(theirs).status().unwrap();
    assert_eq!(status.code(), Some(71));
    drop(ours);
}

#[test]
fn without_a_role_or_a_channel_it_ends_at_once() {
    let start = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sockd-worker"));
        command.args(arguments).status().unwrap().code()
    };
    assert_eq!(start(&[]), Some(64));
    assert_eq!(start(&["monitor"]), Some(64));
    assert_eq!(start(&["session"]), Some(64));
}
