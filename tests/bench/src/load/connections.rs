//! Short connections, a number of them at a time: connect, open a relay, one byte each way, close.

use crate::dial::{Dial, Dialler};
use crate::net::{self, Events, Outcome};
use crate::numbers::Times;
use crate::procs::{Spent, Tree};
use rustix::event::epoll::EventFlags;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// The result.
pub(crate) struct Connections {
    pub(crate) a_second: f64,
    /// The time spent on one connection.
    pub(crate) spent: Spent,
    /// The times from the beginning of connect() to the open relay.
    pub(crate) openings: Times,
    /// All finished connections, also before and after the time that counts.
    pub(crate) in_all: u64,
}

/// Keeps `at_once` connections going.
pub(crate) fn run(
    dialler: &Dialler,
    at_once: usize,
    warm_up: Duration,
    time: Duration,
    tree: &Tree,
) -> Outcome<Connections> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let share = |number: usize| at_once / THREADS + usize::from(number < at_once % THREADS);
        let clients: Vec<_> = (0..THREADS)
            .filter(|number| share(*number) > 0)
            .map(|number| {
                let (dialler, progress) = (dialler.for_thread(number), &progress);
                scope.spawn(move || Client::new(dialler, share(number), progress)?.run())
            })
            .collect();
        thread::sleep(warm_up);
        progress.counts.store(true, Relaxed);
        let (done, spent, begun) = (progress.done.load(Relaxed), tree.spent(), Instant::now());
        thread::sleep(time);
        let (done, spent) = (progress.done.load(Relaxed) - done, tree.spent().since(spent));
        let elapsed = begun.elapsed().as_secs_f64();
        progress.counts.store(false, Relaxed);
        progress.over.store(true, Relaxed);
        let mut openings = Times::default();
        for client in clients {
            openings.append(client.join().map_err(|_| "a client thread panicked")??);
        }
        progress.verdict()?;
        if done == 0 {
            return Err("not one connection was served".into());
        }
        let number = done as f64;
        let each = |time: Duration| time.div_f64(number);
        let spent = Spent {
            monitor: each(spent.monitor),
            spawner: each(spent.spawner),
            workers: each(spent.workers),
        };
        Ok(Connections { a_second: number / elapsed, spent, openings, in_all: progress.done.load(Relaxed) })
    })
}

#[derive(Default)]
struct Progress {
    counts: AtomicBool,
    over: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Progress {
    fn fail(&self, why: String) {
        self.failed.fetch_add(1, Relaxed);
        if let Ok(mut first) = self.first_failure.lock() {
            first.get_or_insert(why);
        }
    }

    /// One in a thousand may fail: a queue that overflows for a moment is not the end of a measurement.
    fn verdict(&self) -> Outcome<()> {
        let (done, failed) = (self.done.load(Relaxed), self.failed.load(Relaxed));
        let why = self.first_failure.lock().ok().and_then(|mut first| first.take()).unwrap_or_default();
        if failed * 1000 > done {
            return Err(format!("{failed} of {} connections failed: {why}", done + failed).into());
        }
        Ok(())
    }
}

struct Client<'a> {
    dialler: Dialler,
    events: Events,
    slots: Vec<Slot>,
    progress: &'a Progress,
    openings: Times,
}

/// A place for one connection after another.
#[derive(Default)]
struct Slot {
    state: State,
    /// Tells events of this connection from those of the one before.
    generation: u32,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Opening(Dial),
    Asked(OwnedFd, Instant),
}

impl<'a> Client<'a> {
    fn new(dialler: Dialler, slots: usize, progress: &'a Progress) -> Outcome<Self> {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Ok(Self { dialler, events: Events::new()?, slots, progress, openings: Times::default() })
    }

    fn run(mut self) -> Outcome<Times> {
        const SWEEP: Duration = Duration::from_millis(50);
        let mut swept = None;
        while !self.progress.over.load(Relaxed) {
            if swept.is_none_or(|time: Instant| time.elapsed() >= SWEEP) {
                self.sweep();
                swept = Some(Instant::now());
            }
            for number in 0..self.events.wait(Some(SWEEP))? {
                let (token, _) = self.events.get(number);
                let (slot, generation) = (token as u32 as usize, (token >> 32) as u32);
                if self.slots[slot].generation == generation {
                    self.advance(slot);
                }
            }
        }
        Ok(self.openings)
    }

    /// Fills places that a failure left empty, and gives up connections that take too long.
    fn sweep(&mut self) {
        for slot in 0..self.slots.len() {
            let begun = match &self.slots[slot].state {
                State::Empty => {
                    self.begin(slot);
                    continue;
                }
                State::Opening(dial) => dial.begun,
                State::Asked(_, begun) => *begun,
            };
            if begun.elapsed() > PATIENCE {
                self.slots[slot].state = State::Empty;
                self.progress.fail(format!("nothing came for {PATIENCE:?}"));
            }
        }
    }

    fn begin(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        place.generation = place.generation.wrapping_add(1);
        let token = u64::from(place.generation) << 32 | slot as u64;
        if let Err(why) = self.try_begin(slot, token) {
            self.slots[slot].state = State::Empty;
            self.progress.fail(why.to_string());
        }
    }

    fn try_begin(&mut self, slot: usize, token: u64) -> Outcome<()> {
        let mut dial = self.dialler.begin()?;
        // On loopback the connection is there, and the request can go at once.
        let is_open = dial.advance()?;
        let output = if dial.is_connecting() { EventFlags::OUT } else { EventFlags::empty() };
        self.events.add(&dial.fd, token, EventFlags::IN | EventFlags::ET | output)?;
        self.go_on(slot, dial, is_open)
    }

    fn go_on(&mut self, slot: usize, dial: Dial, is_open: bool) -> Outcome<()> {
        if !is_open {
            self.slots[slot].state = State::Opening(dial);
            return Ok(());
        }
        if self.progress.counts.load(Relaxed) {
            self.openings.add(dial.begun.elapsed());
        }
        net::send(&dial.fd, b"?")?;
        self.slots[slot].state = State::Asked(dial.fd, dial.begun);
        Ok(())
    }

    fn advance(&mut self, slot: usize) {
        match std::mem::take(&mut self.slots[slot].state) {
            State::Empty => {}
            State::Opening(mut dial) => {
                let went = dial.advance().and_then(|is_open| self.go_on(slot, dial, is_open));
                if let Err(why) = went {
                    self.progress.fail(why.to_string());
                }
            }
            State::Asked(fd, begun) => match net::receive(&fd, &mut [0]) {
                Ok(None) => self.slots[slot].state = State::Asked(fd, begun),
                Ok(Some(1)) => {
                    drop(fd);
                    self.progress.done.fetch_add(1, Relaxed);
                    self.begin(slot);
                }
                Ok(Some(_)) => self.progress.fail("closed before the byte".into()),
                Err(error) => self.progress.fail(format!("instead of the byte: {error}")),
            },
        }
    }
}
