//! The auth worker as the monitor has it: in a process of its own, locked down, with tables in sealed memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod monitor;

use monitor::Worker;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sockd_common::bounded::BoundedBytes;
use sockd_common::message::auth::{
    Credentials, FromAuth, Group, Groups, HostKey, MAX_CHECKS, TICKS, ToAuth, Verdict,
};
use sockd_common::message::{Id, Role};
use sockd_common::secret::Secret;
use sockd_common::users::{Row, encode};
use sockd_password::{How, SALT, make};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

type Auth = Worker<ToAuth, FromAuth>;

fn ready() -> Auth {
    let worker = Worker::start(Role::Auth, 64);
    worker.send(&ToAuth::Setup, None);
    match worker.next() {
        FromAuth::Ready(locks) => worker.assert_locked_down(locks),
        other => panic!("{other:?} instead of Ready"),
    }
    worker
}

fn row(name: &str, how: How, password: &str) -> Row {
    let hash = make(how, password.as_bytes(), [7; SALT]).unwrap();
    Row { name: BoundedBytes::new(name.as_bytes()).unwrap(), hash: Some(hash.into()), groups: groups(name) }
}

/// Every user is in a group of its own name.
fn groups(name: &str) -> Groups {
    Groups::first_of([Group::new(name.as_bytes()).unwrap()])
}

fn give_bytes(worker: &Auth, table: &[u8]) -> FromAuth {
    let memory = memfd_create("users", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let mut memory = File::from(memory);
    memory.write_all(table).unwrap();
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).unwrap();
    worker.send(&ToAuth::Table, Some(memory.as_fd()));
    worker.next()
}

fn give(worker: &Auth, rows: &[Row]) {
    let table = encode(rows, (!rows.is_empty()).then_some(0)).unwrap();
    assert_eq!(give_bytes(worker, &table), FromAuth::TableRead { users: u32::try_from(rows.len()).unwrap() });
}

fn ask(worker: &Auth, id: u32, host: u64, user: &str, password: &[u8]) {
    let credentials =
        Credentials { user: Secret::new(user.as_bytes()).unwrap(), password: Secret::new(password).unwrap() };
    worker.send(&ToAuth::Check { id: Id(id), host: HostKey(host), credentials }, None);
}

fn answer(worker: &Auth) -> (u32, Verdict) {
    match worker.next() {
        FromAuth::Verdict { id, verdict } => (id.0, verdict),
        other => panic!("{other:?} instead of a verdict"),
    }
}

fn checked(worker: &Auth, user: &str, password: &[u8]) -> Verdict {
    ask(worker, 7, 1, user, password);
    let (id, verdict) = answer(worker);
    assert_eq!(id, 7);
    verdict
}

fn verified(name: &str) -> Verdict {
    Verdict::Verified { groups: groups(name), is_remembered: false }
}

fn remembered(name: &str) -> Verdict {
    Verdict::Verified { groups: groups(name), is_remembered: true }
}

#[test]
fn every_kind_of_hash_is_checked_behind_the_locks_up_to_the_most_memory() {
    let worker = ready();
    let kinds = [
        ("yescrypt", How::Yescrypt(5)),
        ("largest", How::Yescrypt(8)),
        ("sha512", How::Sha512crypt(1000)),
        ("bcrypt", How::Bcrypt(4)),
        ("argon2", How::Argon2id(128 << 10, 1)),
    ];
    let rows: Vec<Row> = kinds.iter().map(|(name, how)| row(name, *how, "sesame")).collect();
    give(&worker, &rows);
    for (name, _) in kinds {
        assert_eq!(checked(&worker, name, b"Sesame"), Verdict::Wrong, "{name}");
        assert_eq!(checked(&worker, name, b"sesame"), verified(name));
        assert_eq!(checked(&worker, name, b"sesame"), remembered(name));
        assert_eq!(checked(&worker, name, b"sesame\0x"), Verdict::Wrong, "{name}");
        assert_eq!(checked(&worker, name, b""), Verdict::Wrong, "{name}");
    }
    assert_eq!(checked(&worker, "nobody", b"sesame"), Verdict::Wrong);
    assert_eq!(checked(&worker, "nobody", &[0xff; 255]), Verdict::Wrong);
    assert!(worker.finish().success());
}

#[test]
fn nobody_is_verified_without_a_table_and_another_table_replaces_the_first_with_what_is_remembered() {
    let worker = ready();
    assert_eq!(checked(&worker, "joe", b"sesame"), Verdict::Unchecked);
    give(&worker, &[row("joe", How::Bcrypt(4), "sesame")]);
    assert_eq!(checked(&worker, "joe", b"sesame"), verified("joe"));
    give(&worker, &[row("joe", How::Bcrypt(4), "other"), row("eve", How::Bcrypt(4), "sesame")]);
    assert_eq!(checked(&worker, "joe", b"sesame"), Verdict::Wrong);
    assert_eq!(checked(&worker, "eve", b"sesame"), verified("eve"));
    for table in [&[9, 0, 0, 0, 1, 2][..], &[0xff; 64], &[0; 64]] {
        assert!(matches!(give_bytes(&worker, table), FromAuth::TableUnread), "{table:?}");
        assert_eq!(checked(&worker, "eve", b"sesame"), Verdict::Unchecked);
    }
    give(&worker, &[]);
    assert_eq!(checked(&worker, "eve", b"sesame"), Verdict::Wrong);
    assert!(worker.finish().success());
}

#[test]
fn a_large_table_is_read_within_the_calls_of_the_profile() {
    let worker = ready();
    let joe = row("joe", How::Bcrypt(4), "sesame");
    let others = (0..50_000).map(|number| Row {
        name: BoundedBytes::new(format!("user{number}").as_bytes()).unwrap(),
        ..joe.clone()
    });
    let rows: Vec<Row> = std::iter::once(joe.clone()).chain(others).collect();
    give(&worker, &rows);
    assert_eq!(checked(&worker, "user49999", b"sesame"), verified("joe"));
    give(&worker, &rows[..2]);
    assert_eq!(checked(&worker, "user1", b"sesame"), Verdict::Wrong);
    assert!(worker.finish().success());
}

#[test]
fn hosts_take_turns_and_a_cancelled_check_is_answered() {
    let worker = ready();
    give(&worker, &[row("joe", How::Yescrypt(3), "sesame")]);
    (0..8).for_each(|id| ask(&worker, id, 1, "joe", b"guess"));
    ask(&worker, 100, 2, "joe", b"sesame");
    worker.send(&ToAuth::Cancel { id: Id(7) }, None);
    worker.send(&ToAuth::Cancel { id: Id(99) }, None);
    let answers: Vec<(u32, Verdict)> = (0..9).map(|_| answer(&worker)).collect();
    let place = |id: u32| answers.iter().position(|(answered, _)| *answered == id).unwrap();
    // Two checks of the first host may come first: one that had begun, and one whose turn it was.
    assert!(place(100) <= 3, "{answers:?}");
    assert_eq!(answers[place(100)].1, verified("joe"));
    assert_eq!(answers[place(0)].1, Verdict::Wrong);
    assert!(worker.finish().success());
}

#[test]
fn more_checks_than_may_be_under_way_are_not_made() {
    let worker = ready();
    give(&worker, &[row("joe", How::Yescrypt(5), "sesame")]);
    let most = u32::try_from(MAX_CHECKS).unwrap();
    (0..most + 16).for_each(|id| ask(&worker, id, 1, "joe", b"guess"));
    let answers: Vec<(u32, Verdict)> = (0..most + 16).map(|_| answer(&worker)).collect();
    assert!(answers.iter().any(|(_, verdict)| *verdict == Verdict::Unchecked));
    assert!(answers.iter().filter(|(_, verdict)| *verdict == Verdict::Wrong).count() >= MAX_CHECKS);
    assert!(worker.finish().success());
}

#[test]
fn a_login_is_remembered_for_its_ticks_and_costs_little_meanwhile() {
    let worker = ready();
    give(&worker, &[row("joe", How::Yescrypt(8), "sesame")]);
    assert_eq!(checked(&worker, "joe", b"sesame"), verified("joe"));
    let before = worker.ticks_used();
    (0..200).for_each(|_| assert_eq!(checked(&worker, "joe", b"sesame"), remembered("joe")));
    let remembered = worker.ticks_used() - before;
    (0..TICKS).for_each(|_| worker.send(&ToAuth::Tick, None));
    let before = worker.ticks_used();
    assert_eq!(checked(&worker, "joe", b"sesame"), verified("joe"));
    let computed = worker.ticks_used() - before;
    assert!(remembered < 100 * computed.max(1), "200 remembered {remembered}, one computed {computed}");
    assert!(worker.finish().success());
}

#[test]
fn a_check_that_is_under_way_already_ends_the_worker() {
    let mut worker = ready();
    give(&worker, &[row("joe", How::Yescrypt(5), "sesame")]);
    (0..3).for_each(|_| ask(&worker, 1, 1, "joe", b"guess"));
    assert_eq!(worker.ending().code(), Some(76));
}
