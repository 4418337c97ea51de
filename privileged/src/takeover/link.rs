//! The connection to the monitor that serves, for a control process and for a new monitor until its lockdown.

use crate::process::descriptors::readable;
use rustix::io::Errno;
use sockd_common::channel::{ChannelError, Received, WorkerEnd};
use sockd_common::message::takeover::{About, FromServing, READING, SILENCE, SocketKind, ToServing, VERSION};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The connection to the monitor that serves.
#[derive(Debug)]
pub struct Link {
    channel: WorkerEnd<ToServing, FromServing>,
    /// The server that serves.
    pub about: About,
}

/// The sockets that the serving monitor has handed over.
#[derive(Debug)]
pub struct Taken {
    /// The listeners for clients.
    pub listeners: Vec<TakenListener>,
    /// The takeover socket, to which a new tree connects.
    pub socket: OwnedFd,
    /// The connections to older trees, with their process ids; the last one is to the monitor that serves.
    pub older: Vec<(OwnedFd, u32)>,
    /// The sockets for administrators.
    pub doors: Vec<OwnedFd>,
    /// Whether an administrator wants no new clients.
    pub is_closed: bool,
}

/// A listening socket.
#[derive(Debug)]
pub struct TakenListener {
    /// The socket.
    pub socket: OwnedFd,
    /// Its name.
    pub name: String,
    /// Whether the starter of the first daemon has it open as well.
    pub activated: bool,
}

impl Link {
    /// Asks which server serves at the takeover socket, to which this one is connected.
    pub fn open(socket: OwnedFd) -> Result<Self, String> {
        let mut link = Self { channel: WorkerEnd::new(socket), about: About::default() };
        match link.ask(ToServing::Hello { version: VERSION }, SILENCE)? {
            (FromServing::About(about), _) => link.about = about,
            _ => return Err(strange()),
        }
        Ok(link)
    }

    /// Has the files read again. Returns whether they are then in force.
    pub fn reload(&self) -> Result<bool, String> {
        match self.ask(ToServing::Reload, READING.saturating_add(SILENCE))? {
            (FromServing::Reloaded { in_force }, _) => Ok(in_force),
            (FromServing::NoLoader, _) => Err(
                "the process of the running sockd that reads files has ended; --force starts a new sockd, \
                     which takes over and reads them"
                    .into(),
            ),
            _ => Err(strange()),
        }
    }

    /// Has the serving monitor note that the files have errors.
    pub fn has_failed(&self) -> Result<(), String> {
        self.channel.send(&ToServing::Unreadable).map_err(|error| format!("the running sockd: {error}"))
    }

    /// Takes all sockets. The monitor that serves is not affected.
    pub fn take(self) -> Result<Taken, String> {
        let (mut listeners, mut takeover, mut older, mut doors) = (Vec::new(), None, Vec::new(), Vec::new());
        let mut is_closed = false;
        for place in 0..u16::MAX {
            match self.ask(ToServing::Take { place }, SILENCE)? {
                (FromServing::Socket { kind, name }, Some(socket)) => match kind {
                    SocketKind::Listener | SocketKind::Activated => {
                        let activated = kind == SocketKind::Activated;
                        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
                        listeners.push(TakenListener { socket, name, activated });
                    }
                    SocketKind::Takeover => takeover = Some(socket),
                    SocketKind::Older { pid } => older.push((socket, pid)),
                    SocketKind::Door => doors.push(socket),
                },
                (FromServing::Last, _) => break,
                (FromServing::LastClosed, _) => {
                    is_closed = true;
                    break;
                }
                (FromServing::Busy, _) => return Err("another takeover is under way".into()),
                _ => return Err(strange()),
            }
        }
        older.push((self.channel.into_socket(), self.about.pid));
        Ok(Taken { listeners, socket: takeover.ok_or_else(strange)?, older, doors, is_closed })
    }

    fn ask(&self, message: ToServing, limit: Duration) -> Result<(FromServing, Option<OwnedFd>), String> {
        self.channel.send(&message).map_err(|error| match error {
            ChannelError::Io(Errno::PIPE) => closed(),
            error => format!("the running sockd: {error}"),
        })?;
        let begun = Instant::now();
        while let Some(left) = limit.checked_sub(begun.elapsed()) {
            match self.channel.receive() {
                Ok(Received::Message(answer, descriptor)) => return Ok((answer, descriptor)),
                Ok(Received::Nothing) => drop(readable(&self.channel, left)),
                Ok(Received::DescriptorLost(_)) => return Err("no descriptor is left for a socket".into()),
                Ok(Received::Closed) => return Err(closed()),
                Err(error) => return Err(format!("the running sockd: {error}")),
            }
        }
        Err(format!("the running sockd has not answered within {} seconds", limit.as_secs()))
    }
}

fn closed() -> String {
    "the running sockd has closed the connection".into()
}

fn strange() -> String {
    "the running sockd gives an answer that this one does not know".into()
}
