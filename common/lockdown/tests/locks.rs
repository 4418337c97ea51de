//! Each lock on a process that does nothing else, as the kernel keeps it.

#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

use sockd_lockdown::{
    Arg, Capability, Gid, Grants, Groups, Resource, Row, Test, Uid, When, become_user, compile_filter,
    deny_write_execute, die_with_parent, exit_now, install_filter, keep_only, landlock_deny_all,
    landlock_deny_all_but, libc, limit, no_new_privileges, not_dumpable, restrict_speculation, row,
};
use std::fs::File;
use std::path::Path;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It found what it expected.
    Well,
    /// It did not.
    Badly,
    /// A signal killed it.
    Signal(i32),
}

/// Runs `act` in a child, as locks cannot be taken off again.
fn in_child(act: impl FnOnce() -> bool) -> End {
    // SAFETY: the child runs `act` and _exit only. glibc keeps its allocator usable in the child of a process with
    // threads, and `act` waits for none of them.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        exit_now(if act() { 0 } else { 1 });
    }
    let mut status = 0;
    // SAFETY: `status` is a live int.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    match (libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)) {
        (true, _) => End::Signal(libc::WTERMSIG(status)),
        (false, 0) => End::Well,
        _ => End::Badly,
    }
}

fn is_root() -> bool {
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("NOT ROOT: this test has tested nothing");
    }
    root
}

const EXIT: Row = row!(SYS_exit_group, When::Always, "end");

#[test]
fn a_call_that_is_not_in_the_table_ends_the_process() {
    let act = || install_filter(&[EXIT]).is_ok() && File::open("/").is_err();
    assert_eq!(in_child(act), End::Signal(libc::SIGSYS));
    assert_eq!(in_child(|| install_filter(&[EXIT]).is_ok()), End::Well);
}

#[test]
fn a_call_that_is_answered_is_not_carried_out_and_the_process_lives() {
    let rows = [EXIT, row!(SYS_getppid, When::Answer(libc::EPERM), "answered")];
    // SAFETY: getppid touches no memory.
    let answered = || install_filter(&rows).is_ok() && unsafe { libc::syscall(libc::SYS_getppid) } == -1;
    assert_eq!(in_child(answered), End::Well);
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let always = row!(SYS_close, When::Always, "one");
    let never = row!(SYS_close, When::Answer(libc::EPERM), "other");
    assert!(compile_filter(&[always, never]).is_err());
    assert!(compile_filter(&[never, always]).is_err());
    assert!(compile_filter(&[always]).is_ok());
}

#[test]
fn landlock_denies_every_file_but_those_granted() {
    let status = in_child(|| matches!(landlock_deny_all(), Ok(status) if status.enforced));
    if status != End::Well {
        eprintln!("NO LANDLOCK in this kernel: this test has tested nothing");
        return;
    }
    assert_eq!(in_child(|| landlock_deny_all().is_ok() && File::open("/etc/passwd").is_err()), End::Well);
    let grants = Grants { read: &[Path::new("/etc/passwd")], ..Grants::default() };
    let act = || {
        let enforced = landlock_deny_all_but(&grants).is_ok_and(|status| status.enforced);
        enforced && File::open("/etc/passwd").is_ok() && File::open("/etc/group").is_err()
    };
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn no_capability_is_left_and_none_comes_back_with_root() {
    if !is_root() {
        return;
    }
    let act = || {
        keep_only(&[]).unwrap();
        let bounding = caps::read(None, caps::CapSet::Bounding).unwrap();
        // SECBIT_NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE with their locks, and the lock of KEEP_CAPS.
        let bits = rustix::thread::capabilities_secure_bits().unwrap().bits();
        // Root may still own the file, but it can no longer overrule its permissions or change to another user.
        // SAFETY: setuid touches no memory.
        bounding.is_empty() && bits & 0xef == 0xef && unsafe { libc::setuid(1) } != 0
    };
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn exactly_the_capabilities_that_are_to_be_kept_are_kept() {
    if !is_root() {
        return;
    }
    let act = || {
        keep_only(&[Capability::CAP_NET_BIND_SERVICE]).unwrap();
        let held = caps::read(None, caps::CapSet::Permitted).unwrap();
        held.len() == 1 && held.contains(&Capability::CAP_NET_BIND_SERVICE)
    };
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn a_user_that_was_left_is_left_for_good() {
    if !is_root() {
        return;
    }
    let act = || {
        let nobody = (Uid::from_raw(65534), Gid::from_raw(65534));
        // SAFETY: setuid touches no memory.
        become_user(nobody.0, nobody.1) == Ok(Groups::Dropped) && unsafe { libc::setuid(0) } != 0
    };
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn an_ordinary_user_may_become_itself() {
    let act = || {
        let (uid, gid) = (Uid::current(), Gid::current());
        become_user(uid, gid).is_ok() && become_user(Uid::from_raw(4242), gid).is_err()
    };
    let as_nobody = || {
        let nobody = (Uid::from_raw(65534), Gid::from_raw(65534));
        become_user(nobody.0, nobody.1).is_ok() && act()
    };
    assert_eq!(if is_root() { in_child(as_nobody) } else { in_child(act) }, End::Well);
}

#[test]
fn written_memory_does_not_become_executable() {
    let act = || {
        if !deny_write_execute() {
            eprintln!("NO PR_SET_MDWE in this kernel: this test has tested nothing");
            return true;
        }
        let (none, length) = (std::ptr::null_mut(), 4096);
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        // SAFETY: a new anonymous mapping touches no other memory.
        let map =
            unsafe { libc::mmap(none, length, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        map == libc::MAP_FAILED
    };
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn the_flags_of_a_process_are_set_and_read_back() {
    let act = || no_new_privileges().is_ok() && not_dumpable().is_ok() && die_with_parent().is_ok();
    assert_eq!(in_child(act), End::Well);
}

#[test]
fn both_kinds_of_speculation_are_given_up_for_good() {
    const DISABLE_STORE_BYPASS: &[Arg] = &[arg(0, 53), arg(1, 0), arg(2, 8)];
    const DISABLE_INDIRECT_BRANCH: &[Arg] = &[arg(0, 53), arg(1, 1), arg(2, 8)];
    let store_bypass = row!(SYS_prctl, When::Args(DISABLE_STORE_BYPASS), "PR_SPEC_STORE_BYPASS");
    let indirect_branch = row!(SYS_prctl, When::Args(DISABLE_INDIRECT_BRANCH), "PR_SPEC_INDIRECT_BRANCH");
    let asks_for = |rows: &[Row]| {
        in_child(|| {
            install_filter(rows).unwrap();
            restrict_speculation();
            true
        })
    };
    assert_eq!(asks_for(&[EXIT, store_bypass, indirect_branch]), End::Well);
    assert_eq!(asks_for(&[EXIT, store_bypass]), End::Signal(libc::SIGSYS));
    assert_eq!(asks_for(&[EXIT, indirect_branch]), End::Signal(libc::SIGSYS));
}

const fn arg(index: u8, value: u64) -> Arg {
    Arg { index, test: Test::Long(value) }
}

#[test]
fn a_limit_that_is_set_cannot_be_raised() {
    let act = || {
        let lowered = limit(Resource::Nofile, Some(8)).is_ok();
        // A process that gives up root loses only the right to raise it again.
        let raised = keep_only(&[]).is_ok() && limit(Resource::Nofile, Some(9)).is_ok();
        lowered && !raised
    };
    assert_eq!(in_child(act), End::Well);
}
