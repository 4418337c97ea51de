//! The roles of workers, as the monitor knows them.

use rustix::io::Errno;
use sockd_common::channel::{ChannelError, Received};
use sockd_common::message::auth::{FromAuth, ToAuth};
use sockd_common::message::datagram::{FromDatagram, ToDatagram};
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::resolver::FromResolver;
use sockd_common::message::session::{FromSession, ToSession};
use sockd_common::message::upstream::{FromUpstream, ToUpstream};
use sockd_common::message::{LockdownReport, Role};
use sockd_common::outbox::Outbox;
use sockd_session::Settings;
use sockd_session::pool::Serves;
use sockd_session::resolv_conf::ResolvConf;
use std::os::fd::OwnedFd;

/// A message of a worker.
#[derive(Debug)]
pub enum FromWorker {
    /// A message of a session worker.
    Session(FromSession),
    /// A message of a datagram worker.
    Datagram(FromDatagram),
    /// A message of an ident worker.
    Ident(FromIdent),
    /// A message of a resolver worker.
    Resolver(FromResolver),
    /// A message of an upstream worker.
    Upstream(FromUpstream),
    /// A message of an auth worker.
    Auth(FromAuth),
}

impl FromWorker {
    /// The locks of a worker that is ready, by its own word; `None` for any other message.
    pub fn ready(&self) -> Option<LockdownReport> {
        match self {
            Self::Session(FromSession::Ready(locks))
            | Self::Datagram(FromDatagram::Ready(locks))
            | Self::Ident(FromIdent::Ready(locks))
            | Self::Resolver(FromResolver::Ready(locks))
            | Self::Upstream(FromUpstream::Ready(locks))
            | Self::Auth(FromAuth::Ready(locks)) => Some(*locks),
            _ => None,
        }
    }
}

/// The clients that one worker of a role serves, which decides how many workers there are.
pub fn serves(role: Role) -> Serves {
    match role {
        Role::Session => Serves::ClientHosts,
        Role::Datagram | Role::Ident => Serves::ClientHost,
        Role::Upstream => Serves::Upstream,
        Role::Resolver | Role::Auth | Role::Probe => Serves::Everybody,
    }
}

/// Opens the channel of a worker by setting it up.
pub fn open(role: Role, socket: OwnedFd, settings: &Settings) -> Result<Outbox, ChannelError> {
    match role {
        Role::Session => Outbox::new(socket, &session_setup(settings)),
        Role::Datagram => Outbox::new(socket, &ToDatagram::Setup(settings.flow_limits())),
        Role::Ident => Outbox::new(socket, &ToIdent::Setup),
        Role::Resolver => Outbox::new(socket, &ResolvConf::unread().setup()),
        Role::Upstream => Outbox::new(socket, &ToUpstream::Setup),
        Role::Auth => Outbox::new(socket, &ToAuth::Setup),
        Role::Probe => Err(NO_WORKER),
    }
}

/// Receives one message of a worker of this role.
pub fn receive(role: Role, outbox: &Outbox) -> Result<Received<FromWorker>, ChannelError> {
    Ok(match role {
        Role::Session => outbox.receive()?.map(FromWorker::Session),
        Role::Datagram => outbox.receive()?.map(FromWorker::Datagram),
        Role::Ident => outbox.receive()?.map(FromWorker::Ident),
        Role::Resolver => outbox.receive()?.map(FromWorker::Resolver),
        Role::Upstream => outbox.receive()?.map(FromWorker::Upstream),
        Role::Auth => outbox.receive()?.map(FromWorker::Auth),
        Role::Probe => return Err(NO_WORKER),
    })
}

/// The error for the probe, which only `sockd -ver` starts.
const NO_WORKER: ChannelError = ChannelError::Io(Errno::INVAL);

/// The settings for session workers.
pub fn session_setup(settings: &Settings) -> ToSession {
    ToSession::Setup { relay: settings.relay, protocols: settings.spoken() }
}
