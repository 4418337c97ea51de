//! One thread, at most [`MOST`] connections, each of which has [`LIMIT`] from its beginning to its end.

use super::answer::{LONGEST, answer, asked};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, recv, send, shutdown};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The most connections. One more closes the oldest: a scrape that comes late finds room, whoever holds the others.
const MOST: usize = 64;

/// How long a connection may last.
const LIMIT: Duration = Duration::from_secs(10);

/// How long no client is accepted after descriptors have run out.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers the clients of a listening socket.
#[derive(Debug)]
pub(super) struct Server {
    listener: OwnedFd,
    /// The oldest first.
    connections: Vec<Connection>,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    due: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// This has been read.
    Reading(Vec<u8>),
    /// This is still to be written.
    Writing(Vec<u8>),
    /// All has been said. Bytes that the client still sends are dropped: a close with unread bytes would be a reset,
    /// which could overtake the answer (RFC 9112, section 9.6).
    Draining,
    /// It is over.
    Over,
}

impl Server {
    pub(super) fn new(listener: OwnedFd) -> rustix::io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        Ok(Self { listener, connections: Vec::new(), paused_until: None })
    }

    /// Serves for as long as the system lets it.
    pub(super) fn run(mut self, mut page: impl FnMut() -> String) -> Result<(), String> {
        loop {
            self.turn(&mut page).map_err(|error| format!("poll: {error}"))?;
        }
    }

    fn turn(&mut self, page: &mut impl FnMut() -> String) -> rustix::io::Result<()> {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let accepts = if self.paused_until.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(&self.listener, accepts)];
        polled.extend(
            self.connections.iter().map(|connection| PollFd::new(&connection.socket, connection.waits_for())),
        );
        match poll(&mut polled, self.wait(now).as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            done => done?,
        };
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let now = Instant::now();
        for (connection, _) in
            self.connections.iter_mut().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready)
        {
            connection.go_on(page);
        }
        self.connections
            .retain(|connection| !matches!(connection.stage, Stage::Over) && connection.due > now);
        if ready.first() == Some(&true) {
            self.accept(now);
        }
        Ok(())
    }

    /// The time until the first connection has had its own, or the pause is over.
    fn wait(&self, now: Instant) -> Option<Timespec> {
        let dues = self.connections.iter().map(|connection| connection.due).chain(self.paused_until);
        // Beyond the due time, not before it.
        let wait = dues.min()?.saturating_duration_since(now).saturating_add(Duration::from_millis(1));
        Timespec::try_from(wait).ok()
    }

    /// Accepts a bounded number of clients a turn, so that the others have their turn.
    fn accept(&mut self, now: Instant) {
        for _ in 0..MOST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&self.listener, flags) {
                Ok(socket) => {
                    if self.connections.len() >= MOST {
                        self.connections.remove(0);
                    }
                    let due = now.checked_add(LIMIT).unwrap_or(now);
                    self.connections.push(Connection { socket, due, stage: Stage::Reading(Vec::new()) });
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.paused_until = now.checked_add(PAUSE);
                    return;
                }
            }
        }
    }
}

impl Connection {
    fn waits_for(&self) -> PollFlags {
        match self.stage {
            Stage::Writing(_) => PollFlags::OUT,
            _ => PollFlags::IN,
        }
    }

    fn go_on(&mut self, page: &mut impl FnMut() -> String) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Reading(bytes) => self.read(bytes, page),
            Stage::Writing(answer) => self.write(answer),
            Stage::Draining => self.drain(),
            Stage::Over => Stage::Over,
        };
    }

    fn read(&self, mut bytes: Vec<u8>, page: &mut impl FnMut() -> String) -> Stage {
        let mut room = [0; 2048];
        let length = match recv(&self.socket, &mut room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Stage::Over,
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Stage::Reading(bytes),
            Err(_) => return Stage::Over,
        };
        let left = LONGEST.saturating_sub(bytes.len());
        bytes.extend(room.iter().take(length.min(left)));
        match answer(&asked(&bytes), page) {
            None => Stage::Reading(bytes),
            Some(answer) => self.write(answer),
        }
    }

    fn write(&self, mut answer: Vec<u8>) -> Stage {
        match send(&self.socket, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) if length < answer.len() => {
                answer.drain(..length);
                Stage::Writing(answer)
            }
            Ok(_) => match shutdown(&self.socket, Shutdown::Write) {
                Ok(()) => Stage::Draining,
                Err(_) => Stage::Over,
            },
            Err(Errno::AGAIN | Errno::INTR) => Stage::Writing(answer),
            Err(_) => Stage::Over,
        }
    }

    /// Drops a little each turn: a client that sends without end has its time, as every client has.
    fn drain(&self) -> Stage {
        match recv(&self.socket, &mut [0; 2048], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Stage::Over,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Stage::Draining,
            Err(_) => Stage::Over,
        }
    }
}
