//! Short connections at a steady rate, whatever the proxy does (an open loop). A late one does not delay the next, and
//! its time counts from when it was due.

use crate::dial::{Dial, Dialler};
use crate::net::{self, Events, Outcome};
use crate::numbers::Times;
use rustix::event::epoll::EventFlags;
use slab::Slab;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// More connections at once than any proxy catches up with.
const MOST: usize = 4000;

struct Connection {
    dial: Dial,
    due: Instant,
    asked: bool,
}

/// The result.
pub(crate) struct Steady {
    /// The times from when each was due to the open relay.
    pub(crate) openings: Times,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
}

/// Opens `rate` relays a second for `time`, after a quarter of that time which does not count.
pub(crate) fn run(dialler: &Dialler, rate: f64, time: Duration) -> Outcome<Steady> {
    // By default the kernel delays timers by 50 microseconds.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let mut client = Client {
        dialler: dialler.clone(),
        events: Events::new()?,
        connections: Slab::new(),
        ended: Vec::new(),
        counts_from: Instant::now() + time / 4,
        came: Steady { openings: Times::default(), failed: 0, first_failure: None },
    };
    client.run(rate.max(1.0), time + time / 4)?;
    Ok(client.came)
}

struct Client {
    dialler: Dialler,
    events: Events,
    connections: Slab<Connection>,
    /// Ended in this turn; the numbers are taken until its events are through.
    ended: Vec<usize>,
    counts_from: Instant,
    came: Steady,
}

impl Client {
    fn run(&mut self, rate: f64, time: Duration) -> Outcome<()> {
        const LAST_WAIT: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        let mut number = 0_u32;
        loop {
            let due = begun + Duration::from_secs_f64(f64::from(number) / rate);
            let now = Instant::now();
            let all_begun = due > begun + time;
            if all_begun && (self.connections.is_empty() || now > begun + time + LAST_WAIT) {
                break;
            }
            if !all_begun && due <= now {
                number += 1;
                self.begin(due);
                continue;
            }
            let wake = if all_begun { LAST_WAIT } else { due - now };
            for event in 0..self.events.wait(Some(wake))? {
                let (connection, _) = self.events.get(event);
                self.advance(connection as usize);
            }
            for connection in self.ended.drain(..) {
                self.connections.remove(connection);
            }
        }
        for _ in 0..self.connections.len() {
            self.fail("not served in time".into());
        }
        Ok(())
    }

    fn fail(&mut self, why: String) {
        self.came.failed += 1;
        self.came.first_failure.get_or_insert(why);
    }

    fn begin(&mut self, due: Instant) {
        if self.connections.len() >= MOST {
            return self.fail(format!("{MOST} are waiting already"));
        }
        let begun = (|| -> Outcome<Option<usize>> {
            let mut dial = self.dialler.begin()?;
            let is_open = dial.advance()?;
            let entry = self.connections.vacant_entry();
            let output = if dial.is_connecting() { EventFlags::OUT } else { EventFlags::empty() };
            self.events.add(&dial.fd, entry.key() as u64, EventFlags::IN | EventFlags::ET | output)?;
            let connection = entry.key();
            entry.insert(Connection { dial, due, asked: false });
            Ok(is_open.then_some(connection))
        })();
        match begun {
            Ok(None) => {}
            Ok(Some(connection)) => self.advance(connection),
            Err(why) => self.fail(why.to_string()),
        }
    }

    fn advance(&mut self, number: usize) {
        match self.try_advance(number) {
            Ok(true) => return,
            Ok(false) => {}
            Err(why) => self.fail(why.to_string()),
        }
        self.ended.push(number);
    }

    /// False once the byte is here.
    fn try_advance(&mut self, number: usize) -> Outcome<bool> {
        let Connection { dial, due, asked } = &mut self.connections[number];
        if *asked {
            return match net::receive(&dial.fd, &mut [0])? {
                None => Ok(true),
                Some(1) => Ok(false),
                Some(_) => Err("closed before the byte".into()),
            };
        }
        if dial.advance()? {
            if *due >= self.counts_from {
                self.came.openings.add(due.elapsed());
            }
            *asked = true;
            net::send(&dial.fd, b"?")?;
        }
        Ok(true)
    }
}
