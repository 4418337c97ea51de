//! One connection after the other; a third of them are given up at a random point of their life.

use crate::dial::Dialler;
use crate::load::pingpong::exchange;
use crate::net::{self, Outcome};
use crate::procs::{Holdings, Tree};
use crate::request::{Protocol, steps};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The destinations of the connections.
pub(crate) struct Diallers {
    pub(crate) echo: Dialler,
    pub(crate) source: Dialler,
    pub(crate) sink: Dialler,
    pub(crate) proxy: SocketAddrV4,
    pub(crate) protocol: Protocol,
}

/// The growth of the processes that lived through it.
pub(crate) struct Left {
    pub(crate) descriptors: i64,
    /// In kB.
    pub(crate) memory: i64,
    pub(crate) processes: usize,
}

pub(crate) fn run(mut diallers: Diallers, number: usize, tree: &Tree) -> Outcome<Left> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Pools, queues and allocators come to their size.
    connect_many(&mut diallers, number / 10 + 1000, &mut random)?;
    sleep(Duration::from_secs(3));
    let before = tree.holdings();
    connect_many(&mut diallers, number, &mut random)?;
    let limit = Instant::now() + Duration::from_secs(15);
    loop {
        let left = compare(&before, &tree.holdings());
        if (left.descriptors == 0 && left.memory == 0) || Instant::now() > limit {
            // A proxy that leaves nothing behind because it serves nobody is no example.
            drop(diallers.echo.open(Duration::from_secs(10))?);
            return Ok(left);
        }
        sleep(Duration::from_millis(250));
    }
}

fn compare(before: &BTreeMap<i32, Holdings>, after: &BTreeMap<i32, Holdings>) -> Left {
    let mut left = Left { descriptors: 0, memory: 0, processes: 0 };
    for (before, after) in before.iter().filter_map(|(pid, before)| Some((before, after.get(pid)?))) {
        left.descriptors += after.descriptors - before.descriptors;
        left.memory += after.memory - before.memory;
        left.processes += 1;
    }
    // Less than before counts as nothing left behind.
    Left { descriptors: left.descriptors.max(0), memory: left.memory.max(0), ..left }
}

/// xorshift64: the same connections each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn connect_many(diallers: &mut Diallers, number: usize, random: &mut Random) -> Outcome<()> {
    const HELD: usize = 64;
    const LONGEST: Duration = Duration::from_secs(300);
    let begun = Instant::now();
    let mut held: Vec<OwnedFd> = Vec::new();
    for done in 0..number {
        if done % 3 < 2 {
            exchange(&diallers.echo.open(Duration::from_secs(10))?, 1)?;
            continue;
        }
        // A proxy that turns one of these away does what it should.
        held.extend(begin(diallers, random));
        if held.len() > HELD {
            let number = random.below(held.len());
            give_up(held.swap_remove(number), random);
        }
        if begun.elapsed() > LONGEST {
            return Err(format!("only {done} of {number} connections in {LONGEST:?}").into());
        }
    }
    held.into_iter().for_each(|fd| give_up(fd, random));
    Ok(())
}

/// Goes as far as one of these points.
fn begin(diallers: &mut Diallers, random: &mut Random) -> Outcome<OwnedFd> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let request =
        |to| steps(diallers.protocol, to).into_iter().next().map(|step| step.send).unwrap_or_default();
    let send = |bytes: &[u8]| -> Outcome<OwnedFd> {
        let fd = net::connect(None, diallers.proxy)?;
        net::wait_for(&fd, rustix::event::PollFlags::OUT, PATIENCE);
        net::send(&fd, bytes)?;
        Ok(fd)
    };
    match random.below(7) {
        0 => net::connect(None, diallers.proxy),
        1 => {
            let request = request(nobody);
            send(&request[..1 + random.below(request.len() - 1)])
        }
        // Refused by the destination.
        2 => send(&request(nobody)),
        // The relay may open only when the client is gone.
        3 => send(&request(crate::origin::Service::Echo.at(0))),
        4 => diallers.echo.open(PATIENCE),
        5 => diallers.source.open(PATIENCE),
        _ => {
            let fd = diallers.sink.open(PATIENCE)?;
            net::send(&fd, &[0; 64 * 1024])?;
            Ok(fd)
        }
    }
}

/// Gives it up in one of these ways; the proxy may have been quicker.
fn give_up(fd: OwnedFd, random: &mut Random) {
    let way = random.below(4);
    if way & 1 == 0 {
        let _ = shutdown(&fd, Shutdown::Write);
    }
    if way & 2 == 0 {
        // The coming close() is a reset, tcp(7) and socket(7).
        let _ = set_socket_linger(&fd, Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_that_lived_through_it_are_compared() {
        let holdings = |descriptors, memory| Holdings { descriptors, memory };
        let before = BTreeMap::from([(1, holdings(10, 1000)), (2, holdings(20, 2000))]);
        let after = BTreeMap::from([(1, holdings(11, 990)), (3, holdings(50, 5000))]);
        let left = compare(&before, &after);
        assert_eq!((left.descriptors, left.memory, left.processes), (1, 0, 1));
    }

    #[test]
    fn random_points_lie_below_their_limit_and_differ() {
        let mut random = Random(1);
        let points: Vec<_> = (0..100).map(|_| random.below(7)).collect();
        assert!((0..7).all(|point| points.contains(&point)) && points.iter().all(|point| *point < 7));
    }
}
