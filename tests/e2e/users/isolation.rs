//! With `isolation: user`, two users of one host share no worker, whoever they are.

use crate::{PASSWORDS, assert_echoes, offer, place, relays, try_in};
use nix::sys::signal::Signal;
use sockd_tests::wait::until_true;
use std::collections::BTreeSet;

#[test]
fn h9_two_users_with_passwords_on_one_host_never_have_one_worker() {
    let place = place(PASSWORDS, "(isolation: user)");
    let host = &place.lab.site.client;
    let users = [("joe", "sesame"), ("sam", "sam's own")];
    let mut lines: Vec<_> =
        (0..3).flat_map(|_| users).map(|(user, password)| (user, relays(host, user, password))).collect();
    let workers_of = |user: &str| {
        let own = lines.iter().filter(|(of, _)| *of == user);
        own.map(|(_, line)| place.lab.sockd.worker_of(line.local())).collect::<BTreeSet<_>>()
    };
    let (joes, sams) = (workers_of("joe"), workers_of("sam"));
    assert_eq!((joes.len(), sams.len()), (1, 1), "each user has one worker");
    assert!(joes.is_disjoint(&sams));
    let spare = std::thread::available_parallelism().map_or(1, Into::into).max(2);
    until_true("the others are reaped", || place.lab.sockd.workers("session").len() == 2 + spare);
    lines.iter_mut().for_each(|(_, line)| assert_echoes(line));
}

#[test]
fn h9_who_has_not_shown_a_password_yet_has_a_worker_alone() {
    let place = place(PASSWORDS, "(isolation: user)");
    let host = &place.lab.site.client;
    let joes = relays(host, "joe", "sesame");
    let waiting = [offer(host), offer(host)];
    let (known, told) = try_in(host, "joe", "sesame");
    assert_eq!(told, crate::RIGHT);
    let all = waiting.iter().chain([&joes, &known]);
    let workers: BTreeSet<_> = all.map(|line| place.lab.sockd.worker_of(line.local())).collect();
    assert_eq!(workers.len(), 4, "also of a user who is known, until there is a request");
}

#[test]
fn h9_after_a_reload_no_password_is_checked_for_a_worker_that_is_shared() {
    let place = place(PASSWORDS, "(isolation: client)");
    let host = &place.lab.site.client;
    let mut joe = relays(host, "joe", "sesame");
    let mut between = offer(host);
    place.lab.sockd.write_settings("(isolation: user)");
    place.lab.sockd.signal(Signal::SIGHUP);
    place.lab.wait_for_line("reloaded: ");
    between.send(crate::login("sam", "sam's own"));
    assert_eq!(between.read(2), crate::WRONG);
    place.lab.wait_for_line("password not checked -- sam@192.0.2.10: the worker is not the user's alone");
    assert_echoes(&mut relays(host, "sam", "sam's own"));
    assert_echoes(&mut joe);
}
