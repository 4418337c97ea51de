//! Streams that are as fast as they can be.

use crate::dial::Dialler;
use crate::net::{Drain, Events, Outcome};
use crate::origin::{LARGE, Origin, Service, send_zeros};
use crate::procs::Tree;
use rustix::event::epoll::EventFlags;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 2;

/// The direction of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Down,
    Up,
    Both,
    /// Down, 1 KiB at a time.
    SmallDown,
}

impl Direction {
    pub(crate) fn service(self) -> Service {
        match self {
            Self::Down => Service::Source,
            Self::Up => Service::Sink,
            Self::Both => Service::Both,
            Self::SmallDown => Service::SmallSource,
        }
    }

    fn interest(self) -> EventFlags {
        match self {
            Self::Down | Self::SmallDown => EventFlags::IN,
            Self::Up => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// The result.
pub(crate) struct Bulk {
    /// 10^9 bits a second, both directions together.
    pub(crate) gigabits: f64,
    /// Seconds of processor time for 10^9 bytes; `None` if the process that moved them was not seen.
    pub(crate) seconds_a_gigabyte: Option<f64>,
}

pub(crate) fn run(
    dialler: &mut Dialler,
    direction: Direction,
    streams: usize,
    warm_up: Duration,
    time: Duration,
    tree: &Tree,
    origin: &Origin,
) -> Outcome<Bulk> {
    let mut shares: Vec<Vec<OwnedFd>> = (0..THREADS.min(streams)).map(|_| Vec::new()).collect();
    let threads = shares.len();
    for (number, relay) in dialler.open_all(streams)?.into_iter().enumerate() {
        // Two by two: every other one goes to the same server process.
        shares[number / 2 % threads].push(relay);
    }
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let moved = || -> Outcome<u64> {
        let sunk = if direction == Direction::Down || direction == Direction::SmallDown {
            0
        } else {
            origin.count()?
        };
        Ok(received.load(Relaxed) + sunk)
    };
    thread::scope(|scope| {
        let pumps: Vec<_> =
            shares.iter().map(|share| scope.spawn(|| pump(share, direction, &received, &over))).collect();
        thread::sleep(warm_up);
        let measured = (|| {
            let (spent, before, begun) = (tree.spent(), moved()?, Instant::now());
            thread::sleep(time);
            let (bytes, elapsed) = ((moved()? - before) as f64, begun.elapsed().as_secs_f64());
            let spent = tree.spent().since(spent).total().as_secs_f64();
            Outcome::Ok(Bulk {
                gigabits: bytes * 8.0 / elapsed / 1e9,
                seconds_a_gigabyte: seconds_a_gigabyte(spent, bytes),
            })
        })();
        over.store(true, Relaxed);
        for pump in pumps {
            pump.join().map_err(|_| "a client thread panicked")??;
        }
        measured
    })
}

/// Seconds for 10^9 bytes, if any were seen. No proxy moves bytes without processor time: one that seems to has used a
/// process that was not looked at, such as one that went into the background meanwhile.
fn seconds_a_gigabyte(spent: f64, bytes: f64) -> Option<f64> {
    (spent > 0.0 && bytes > 0.0).then(|| spent / (bytes / 1e9))
}

fn pump(relays: &[OwnedFd], direction: Direction, received: &AtomicU64, over: &AtomicBool) -> Outcome<()> {
    let mut events = Events::new()?;
    for (number, relay) in relays.iter().enumerate() {
        events.add(relay, number as u64, direction.interest())?;
    }
    let (mut drain, zeros) = (Drain::new(), vec![0; LARGE]);
    while !over.load(Relaxed) {
        for number in 0..events.wait(Some(Duration::from_millis(100)))? {
            let (token, ready) = events.get(number);
            let relay = &relays[token as usize];
            if direction != Direction::Up && ready.intersects(EventFlags::IN | EventFlags::HUP) {
                match drain.discard(relay)? {
                    Some(0) => return Err("a relay has ended in the middle".into()),
                    length => received.fetch_add(length.unwrap_or(0) as u64, Relaxed),
                };
            }
            if ready.intersects(EventFlags::OUT) {
                send_zeros(relay, &zeros, false)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_nobody_seems_to_have_moved_have_no_processor_time() {
        assert_eq!(seconds_a_gigabyte(3.0, 2e9), Some(1.5));
        assert_eq!(seconds_a_gigabyte(0.0, 2e9), None);
        assert_eq!(seconds_a_gigabyte(3.0, 0.0), None);
    }
}
