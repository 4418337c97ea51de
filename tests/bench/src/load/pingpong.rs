//! A few bytes there and back, again and again.

use crate::net::{self, Outcome};
use crate::numbers::Times;
use rustix::event::PollFlags;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// On one relay, for a while.
pub(crate) fn run(relay: &OwnedFd, time: Duration) -> Outcome<Times> {
    let begun = Instant::now();
    let mut times = Times::default();
    while begun.elapsed() < time {
        let sent = Instant::now();
        exchange(relay, SIZE)?;
        times.add(sent.elapsed());
    }
    Ok(times)
}

/// Sends this many bytes there and back.
pub(crate) fn exchange(relay: &OwnedFd, size: usize) -> Outcome<()> {
    let message = [b'x'; SIZE];
    let message = &message[..size.min(SIZE)];
    if net::send(relay, message)? != Some(message.len()) {
        return Err("a relay takes nothing".into());
    }
    let (mut answer, mut have) = ([0; SIZE], 0);
    while have < message.len() {
        if !net::wait_for(relay, PollFlags::IN, PATIENCE) {
            return Err(format!("no answer within {PATIENCE:?}").into());
        }
        match net::receive(relay, &mut answer[have..message.len()])? {
            Some(0) => return Err("a relay has ended".into()),
            length => have += length.unwrap_or(0),
        }
    }
    Ok(())
}
