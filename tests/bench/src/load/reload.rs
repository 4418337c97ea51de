//! Handshakes, one after the other, while the daemon reads a million rules.

use crate::dial::Dialler;
use crate::net::Outcome;
use crate::syslog::Syslog;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const LINES: u32 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(120);

/// The result.
pub(crate) struct Reload {
    pub(crate) longest_before: Duration,
    pub(crate) longest: Duration,
    /// From the signal to the line in the log.
    pub(crate) took: Duration,
}

/// Writes this many lines before `rules`.
fn write_rules(lines: u32, rules: &str) -> Outcome<()> {
    let mut text = String::new();
    for number in 0..lines {
        let [a, b, c] = [number >> 16, number >> 8, number].map(|part| part & 255);
        let _ = writeln!(text, "deny 10.{a}.{b}.{c} 255.255.255.255");
    }
    Ok(fs::write("/etc/sockd.conf", text + rules)?)
}

/// Has the rules read again, and returns how long that took, from the signal to the line in the log.
fn reload(monitor: i32, syslog: &Syslog) -> Outcome<Duration> {
    let begun = Instant::now();
    kill(Pid::from_raw(monitor), Signal::SIGHUP)?;
    while syslog.count("reloaded: ") == 0 {
        if begun.elapsed() > LONGEST || syslog.count("reload failed") > 0 {
            return Err("the rules were not read".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(begun.elapsed())
}

/// Puts this many lines before `rules`.
pub(crate) fn grow(lines: u32, monitor: i32, rules: &str, syslog: &Syslog) -> Outcome<()> {
    write_rules(lines, rules)?;
    reload(monitor, syslog).map(drop)
}

/// Reads a million lines instead of `rules`, which remain the last of them.
pub(crate) fn run(dialler: &mut Dialler, monitor: i32, rules: &str, syslog: &Syslog) -> Outcome<Reload> {
    write_rules(LINES, rules)?;
    let time = Duration::from_secs(1);
    let before = longest(dialler, &|begun| begun.elapsed() > time)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| longest(dialler, &|_| over.load(Relaxed)));
        let read = reload(monitor, syslog);
        over.store(true, Relaxed);
        let longest = client.join().map_err(|_| "a client thread panicked")??;
        Ok(Reload { longest_before: before, longest, took: read? })
    })
}

fn longest(dialler: &mut Dialler, is_over: &dyn Fn(Instant) -> bool) -> Outcome<Duration> {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while !is_over(begun) {
        let one = Instant::now();
        drop(dialler.open(LONGEST)?);
        longest = longest.max(one.elapsed());
        // The log is in memory, and this client alone must not keep the machine busy.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(longest)
}
