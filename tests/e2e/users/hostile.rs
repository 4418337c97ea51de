//! Session workers that lie about passwords: each is killed, or its messages have no effect.

use crate::{PASSWORDS, PORT, USERS, write_users};
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, send_to};
use sockd_tests::wait::until_true;

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile-worker");

struct Place {
    lab: Lab,
    _server: Server,
}

/// A place with hostile workers, each of which does what the user id of a SOCKS4 request says.
fn place(rules: &str, settings: &str) -> Place {
    let site = Site::new();
    write_users(&site.gateway, &USERS);
    let server = Server::echo(&site.server, (SERVER, PORT));
    let lab = Lab::at(site, rules, |start| start.settings(settings).worker(HOSTILE));
    Place { lab, _server: server }
}

impl Place {
    fn asks(&self, act: &str) -> Line {
        send_to(&self.lab.site.client, PROXY, &Request::connect((SERVER, PORT)).by(act))
    }

    fn violates(&mut self, act: &str, what: &str) {
        self.asks(act).read_to_end();
        let line = self.lab.wait_for_line("violation by session worker");
        assert!(line.contains(what), "{act}: {line}");
        self.lab.turn_the_page();
    }
}

/// The host is shut out after its third violation, so that each act has a place of its own.
#[test]
fn a_password_that_is_said_twice_early_late_or_for_another_ends_its_worker() {
    for (act, what) in [
        ("a-password-twice", "a password out of turn"),
        ("a-password-after-its-request", "a password out of turn"),
        ("a-password-after-its-verdict", "a password out of turn"),
        ("a-request-before-its-verdict", "a request out of turn"),
        ("another-version-than-its-password", "a request of another version than the password"),
        ("a-password-of-another", "a session that is not its own"),
    ] {
        place("permit @=password ALL 0.0.0.0\npermit ~=4 192.0.2.0/24 203.0.113.0/24\n", "()")
            .violates(act, what);
    }
}

#[test]
fn a_password_that_nobody_asks_for_ends_its_worker() {
    place("permit ALL 0.0.0.0\n", "()").violates("a-guess", "a password out of turn");
}

/// A worker need not wait for its client to guess.
#[test]
fn a_worker_guesses_no_faster_than_its_host_may() {
    let place = place(PASSWORDS, "(max_refusals_logged: 100000)");
    let lines: Vec<Line> = (0..60).map(|_| place.asks("a-guess")).collect();
    lines.into_iter().for_each(|mut line| drop(line.read_to_end()));
    let guessed =
        || place.lab.logged().iter().filter(|line| line.contains("password refused -- joe@")).count();
    until_true("the guesses that are forgiven", || guessed() >= 8);
    // One comes back every 10 seconds.
    assert!(guessed() < 40, "{}", guessed());
}

/// Sam has a session with a hostile worker first, and keeps it. Then joe logs in from the same host. Returns the echo
/// server's answer to joe's bytes.
fn used_by_another(settings: &str) -> Vec<u8> {
    let place = place(PASSWORDS, settings);
    let mut sam = place.asks("sam-logs-in-and-uses-others");
    assert_eq!(Reply::read(&mut sam), Reply::with(GRANTED));
    let mut joe = place.asks("joe-logs-in");
    assert_eq!(Reply::read(&mut joe), Reply::with(GRANTED));
    place.lab.wait_for_line("connected -- Connect from joe(joe)");
    joe.send("by joe!!!!");
    let came_back = joe.read(10);
    sam.send("x");
    assert_eq!(sam.read(1), b"x", "the other session goes on");
    came_back
}

#[test]
fn h9_a_worker_cannot_use_what_another_user_of_its_host_has_logged_in_for() {
    assert_eq!(used_by_another("(isolation: user)"), b"by joe!!!!");
    // Without isolation the attack succeeds.
    assert_eq!(used_by_another("(isolation: client)"), b"by mallory");
}
