//! What a login costs that is refused, whatever the reason: `cargo bench -p sockd-worker --bench logins`.
//!
//! The three figures have to be the same: who measures them must not learn which users there are.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

#[path = "../tests/monitor/mod.rs"]
mod monitor;

use monitor::Worker;
use rustix::fs::{MemfdFlags, memfd_create};
use sockd_common::bounded::BoundedBytes;
use sockd_common::message::auth::{Credentials, FromAuth, Groups, HostKey, ToAuth, Verdict};
use sockd_common::message::{Id, Role};
use sockd_common::secret::Secret;
use sockd_common::users::{Row, encode};
use sockd_password::{How, SALT, make};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const ROUNDS: usize = 100;

fn main() {
    let worker = Worker::<ToAuth, FromAuth>::start(Role::Auth, 64);
    worker.send(&ToAuth::Setup, None);
    assert!(matches!(worker.next(), FromAuth::Ready(_)));
    for how in [How::Yescrypt(5), How::Bcrypt(10), How::Sha512crypt(5_000)] {
        let hash = make(how, b"sesame", [7; SALT]).unwrap();
        let row = |name: &str, hash: Option<&str>| Row {
            name: BoundedBytes::new(name.as_bytes()).unwrap(),
            hash: hash.map(Into::into),
            groups: Groups::default(),
        };
        let table = encode(&[row("joe", Some(&hash)), row("locked", None)], Some(0)).unwrap();
        let mut memory = File::from(memfd_create("users", MemfdFlags::CLOEXEC).unwrap());
        memory.write_all(&table).unwrap();
        worker.send(&ToAuth::Table, Some(memory.as_fd()));
        assert!(matches!(worker.next(), FromAuth::TableRead { .. }));
        // In turn, so that what else the machine does meets all of them.
        let users = ["joe", "nobody", "locked"];
        let mut times = users.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (place, user) in users.iter().enumerate() {
                times[place].push(refused(&worker, user));
            }
        }
        for (user, times) in users.iter().zip(&mut times) {
            times.sort_unstable();
            println!("{how:?}\t{user}\tmedian {:?}\tleast {:?}", times[ROUNDS / 2], times[0]);
        }
    }
}

fn refused(worker: &Worker<ToAuth, FromAuth>, user: &str) -> Duration {
    let (user, password) = (Secret::new(user.as_bytes()).unwrap(), Secret::new(b"open sesame").unwrap());
    let begun = Instant::now();
    let check = ToAuth::Check { id: Id(1), host: HostKey(1), credentials: Credentials { user, password } };
    worker.send(&check, None);
    assert_eq!(worker.next(), FromAuth::Verdict { id: Id(1), verdict: Verdict::Wrong });
    begun.elapsed()
}
