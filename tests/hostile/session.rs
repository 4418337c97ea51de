//! The session worker.

use crate::{hoard, raw};
use nix::sys::socket::{Shutdown as Shut, shutdown};
use rustix::event::{PollFd, PollFlags, poll};
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::auth::Credentials;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::session::{CloseReason, FromSession, ToSession};
use sockd_common::message::{Id, Name, UserId};
use sockd_common::secret::Secret;
use sockd_worker::profile::PROFILE_SESSION;
use sockd_worker::socks::v4;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

type Monitor = WorkerEnd<FromSession, ToSession>;

/// Runs until the channel ends, or until there is nothing left to do.
pub(crate) fn run(channel: OwnedFd) -> Option<()> {
    let mut worker =
        Worker { monitor: Monitor::new(channel), sessions: Vec::new(), stays: false, uses_others: false };
    worker.monitor.send(&FromSession::Ready(crate::locks())).ok()?;
    loop {
        worker.wait();
        let heard = worker.hear();
        if heard.is_none() && worker.stays {
            raw::forever();
        }
        heard?;
        for at in (0..worker.sessions.len()).rev() {
            worker.advance(at)?;
        }
    }
}

struct Worker {
    monitor: Monitor,
    sessions: Vec<Session>,
    /// Whether it stays when its channel closes.
    stays: bool,
    /// Whether it writes into the connections that are granted to other sessions.
    uses_others: bool,
}

struct Session {
    id: Id,
    client: TcpStream,
    server: Option<TcpStream>,
    request: Vec<u8>,
    /// The user id, once the request has been read.
    act: Option<String>,
}

impl Worker {
    fn wait(&self) {
        let mut polled = vec![PollFd::new(&self.monitor, PollFlags::IN)];
        for session in &self.sessions {
            if session.does_nothing() {
                continue;
            }
            // An end that has been passed on would be ready for ever.
            if session.act.is_none() || session.server.is_some() {
                polled.push(PollFd::new(&session.client, PollFlags::IN));
            }
            polled.extend(session.server.iter().map(|server| PollFd::new(server, PollFlags::IN)));
        }
        let _ = poll(&mut polled, None);
    }

    fn hear(&mut self) -> Option<()> {
        loop {
            match self.monitor.receive() {
                Ok(Received::Message(ToSession::Serve { id, .. }, Some(client))) => {
                    let client = TcpStream::from(client);
                    let request = Vec::new();
                    self.sessions.push(Session { id, client, server: None, request, act: None });
                }
                Ok(Received::Message(ToSession::Relay { id, .. }, Some(server))) => {
                    self.granted(id, server)?
                }
                Ok(Received::Message(ToSession::Refuse { id, why }, _)) => self.refused(id, why)?,
                Ok(Received::Message(ToSession::Verified { id }, _)) => self.verified(id)?,
                Ok(Received::Message(ToSession::End { id }, _)) => self.told_to_end(id)?,
                Ok(Received::Message(..)) => {}
                Ok(Received::Nothing) => return Some(()),
                _ => return None,
            }
        }
    }

    fn granted(&mut self, id: Id, server: OwnedFd) -> Option<()> {
        let at = self.sessions.iter().position(|session| session.id == id)?;
        let session = self.sessions.get_mut(at)?;
        session.client.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).ok()?;
        let mut server = TcpStream::from(server);
        if self.uses_others {
            server.write_all(b"by mallory").ok()?;
        }
        session.server = Some(server);
        match session.act.as_deref() {
            Some("uses-others" | "sam-logs-in-and-uses-others") => {
                self.uses_others = true;
                Some(())
            }
            Some("a-relay-of-the-wrong-version") => self.close(at, CloseReason::WrongVersion(5)),
            Some("hoards-pages") => {
                let session = self.sessions.get(at)?;
                hoard::pages(session.server.as_ref()?, &self.monitor)
            }
            Some("does-not-go") => {
                self.stays = true;
                Some(())
            }
            Some("floods") => {
                let session = self.sessions.get(at)?;
                floods(&session.client, session.server.as_ref()?)
            }
            // Its descriptors are closed here.
            Some("closes-without-a-word") => {
                self.sessions.remove(at);
                Some(())
            }
            // And it goes on relaying.
            Some("says-closed-and-goes-on") => {
                self.monitor.send(&FromSession::Closed { id, why: CloseReason::Finished }).ok()
            }
            Some("a-request-after-the-relay") => self.monitor.send(&request(id, b"1.2.3.4", 4)).ok(),
            _ => Some(()),
        }
    }

    fn refused(&mut self, id: Id, why: RefusalReason) -> Option<()> {
        let at = self.sessions.iter().position(|session| session.id == id)?;
        let session = self.sessions.get_mut(at)?;
        if session.act.as_deref() == Some("silence") {
            return Some(());
        }
        session.client.write_all(&v4::refused(why)).ok()?;
        self.close(at, CloseReason::Refused)
    }

    /// The password was right.
    fn verified(&mut self, id: Id) -> Option<()> {
        let session = self.sessions.iter().find(|session| session.id == id)?;
        match session.act.as_deref() {
            Some("a-password-after-its-verdict") => self.monitor.send(&password(id, b"sesame")).ok(),
            Some("another-version-than-its-password") => self.monitor.send(&request(id, b"1.2.3.4", 4)).ok(),
            _ => self.monitor.send(&request(id, b"198.51.100.10", 5)).ok(),
        }
    }

    fn told_to_end(&mut self, id: Id) -> Option<()> {
        match self.sessions.iter().position(|session| session.id == id) {
            Some(at) if self.sessions.get(at)?.act.as_deref() != Some("silence") => {
                self.close(at, CloseReason::Ended)
            }
            _ => Some(()),
        }
    }

    fn close(&mut self, at: usize, why: CloseReason) -> Option<()> {
        let Session { id, act, .. } = self.sessions.remove(at);
        if act.as_deref() == Some("says-closed-and-goes-on") {
            return Some(());
        }
        self.monitor.send(&FromSession::Closed { id, why }).ok()
    }

    fn advance(&mut self, at: usize) -> Option<()> {
        let session = self.sessions.get_mut(at)?;
        if session.act.is_none() {
            return match session.read_request() {
                Some(true) => self.ask(at),
                Some(false) => Some(()),
                None => self.close(at, CloseReason::CutShort),
            };
        }
        match session.relay() {
            true => Some(()),
            false => self.close(at, CloseReason::Finished),
        }
    }

    /// The request has come, and says what is to be done.
    fn ask(&mut self, at: usize) -> Option<()> {
        let session = self.sessions.get_mut(at)?;
        let [_, _, high, low, a, b, c, d, user @ ..] = session.request.as_slice() else { return None };
        let mut strings = user.split(|byte| *byte == 0);
        let user = strings.next()?;
        let destination = match session.is_4a() {
            true => Destination::Name(Name::new(strings.next()?)?),
            false => Destination::Address(Ipv4Addr::new(*a, *b, *c, *d).into()),
        };
        let act = String::from_utf8_lossy(user).into_owned();
        let honest = Request {
            version: 4,
            command: Command::Connect,
            destination,
            port: u16::from_be_bytes([*high, *low]),
            user: UserId::new(user)?,
        };
        session.act = Some(act.clone());
        let (id, monitor) = (session.id, &self.monitor);
        let honest = FromSession::Request { id, request: honest };
        let closed = |id, why| FromSession::Closed { id, why };
        match act.as_str() {
            "an-unknown-command" => {
                // Behind variant, id and version, each a byte as long as the id is small.
                let mut bytes = raw::bytes(&honest);
                *bytes.get_mut(3)? = 200;
                raw::packet(monitor, &bytes)
            }
            "a-length-of-gigabytes" => {
                // A name whose length is said to be 4 GiB.
                raw::packet(monitor, &[1, 0, 4, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, b'a'])
            }
            "a-request-twice" => [&honest; 2].into_iter().all(|message| monitor.send(message).is_ok()),
            "an-end-twice" => {
                [CloseReason::CutShort; 2].into_iter().all(|why| monitor.send(&closed(id, why)).is_ok())
            }
            "an-end-of-no-relay" => monitor.send(&closed(id, CloseReason::Finished)).is_ok(),
            "a-session-of-nobody" => monitor.send(&closed(raw::NOBODYS, CloseReason::CutShort)).is_ok(),
            "a-session-of-another" => (0..64)
                .map(Id)
                .filter(|other| *other != id)
                .all(|id| monitor.send(&closed(id, CloseReason::CutShort)).is_ok()),
            "a-password-twice" => {
                [&b"sesame"[..]; 2].into_iter().all(|shown| monitor.send(&password(id, shown)).is_ok())
            }
            "a-password-after-its-request" => {
                monitor.send(&honest).is_ok() && monitor.send(&password(id, b"sesame")).is_ok()
            }
            "a-request-before-its-verdict" => {
                monitor.send(&password(id, b"sesame")).is_ok() && monitor.send(&honest).is_ok()
            }
            "a-password-after-its-verdict" | "another-version-than-its-password" => {
                monitor.send(&password(id, b"sesame")).is_ok()
            }
            "a-password-of-another" => (0..64)
                .map(Id)
                .filter(|other| *other != id)
                .all(|id| monitor.send(&password(id, b"sesame")).is_ok()),
            "joe-logs-in" => monitor.send(&password(id, b"sesame")).is_ok(),
            "sam-logs-in-and-uses-others" => monitor.send(&login(id, b"sam", b"sam's own")).is_ok(),
            "a-guess" => monitor.send(&password(id, &id.0.to_be_bytes())).is_ok(),
            "version-6" => monitor.send(&request(id, b"1.2.3.4", 6)).is_ok(),
            "a-name-that-is-no-text" => monitor.send(&request(id, b"\xff\xfe\n\0 (evil)", 4)).is_ok(),
            "a-flood-of-ends" => {
                raw::flood(monitor, &raw::bytes(&closed(id, CloseReason::CutShort)));
                true
            }
            "silence" => true,
            "a-fault" => raw::fault(PROFILE_SESSION),
            "a-closed-channel" => {
                let _ = shutdown(monitor.as_fd().as_raw_fd(), Shut::Both);
                raw::wait(std::io::stdin(), PollFlags::empty());
                true
            }
            "another-pipe" => hoard::another_pipe().is_some(),
            "another-large-pipe" => hoard::another_large_pipe().is_some(),
            "eats-memory" => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1_u8; 1 << 20]);
                }
            }
            // It reads nothing more, from the monitor or from anybody.
            "deafness" => loop {
                raw::wait(monitor, PollFlags::empty());
            },
            act => {
                let ready = FromSession::Ready(crate::locks());
                raw::act(monitor, act, &ready, &honest) || monitor.send(&honest).is_ok()
            }
        };
        Some(())
    }
}

/// A password of joe's.
fn password(id: Id, password: &[u8]) -> FromSession {
    login(id, b"joe", password)
}

/// A user and a password.
fn login(id: Id, user: &[u8], password: &[u8]) -> FromSession {
    let [user, password] = [user, password].map(|part| Secret::new(part).unwrap_or_else(|| raw::forever()));
    FromSession::Credentials { id, credentials: Credentials { user, password } }
}

/// A request for a name.
fn request(id: Id, name: &[u8], version: u8) -> FromSession {
    let destination = Destination::Name(Name::new(name).unwrap_or_default());
    let user = UserId::default();
    FromSession::Request {
        id,
        request: Request { version, command: Command::Connect, destination, port: 7, user },
    }
}

impl Session {
    /// It has both sockets and moves nothing.
    fn does_nothing(&self) -> bool {
        self.act.as_deref() == Some("holds-and-does-nothing")
    }

    fn is_4a(&self) -> bool {
        matches!(self.request.as_slice(), [_, _, _, _, 0, 0, 0, last, ..] if *last != 0)
    }

    /// Whether the request is whole; `None` if it never will be.
    fn read_request(&mut self) -> Option<bool> {
        loop {
            let mut byte = [0];
            match self.client.read(&mut byte) {
                Ok(1) => self.request.extend(byte),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(false),
                _ => return None,
            }
            let ends = self.request.iter().skip(8).filter(|byte| **byte == 0).count();
            if ends == if self.is_4a() { 2 } else { 1 } {
                return Some(true);
            }
        }
    }

    /// Copies the bytes that have come. False at the end.
    fn relay(&mut self) -> bool {
        match &self.server {
            Some(server) if !self.does_nothing() => copy(&self.client, server) && copy(server, &self.client),
            _ => true,
        }
    }
}

/// Writes to both sides as fast as they take it, until one has gone.
fn floods(client: &TcpStream, server: &TcpStream) -> Option<()> {
    let bytes = [b'x'; 64 << 10];
    loop {
        for mut side in [client, server] {
            match side.write(&bytes) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        let mut both = [client, server].map(|side| PollFd::new(side, PollFlags::OUT));
        let _ = poll(&mut both, None);
    }
}

/// Copies once; false if one side has ended: the other is told by the close.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> bool {
    let mut buffer = [0; 16 << 10];
    match from.read(&mut buffer) {
        Ok(0) => {
            let _ = to.shutdown(Shutdown::Write);
            false
        }
        Ok(length) => {
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                match to.write(rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => raw::wait(to, PollFlags::OUT),
                    Err(_) => return false,
                }
            }
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
