//! Waiting for conditions.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than any working part of sockd takes, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

const STEP: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer; panics with `what` after `limit`.
pub fn until_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        sleep(STEP);
    }
}

/// As [`until_within`] with [`LONG`].
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(LONG, what, ask)
}

/// Waits until `holds` is true.
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// Repeats a call that was interrupted, as a wait with a limit is when its process is stopped and goes on (signal(7)).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
