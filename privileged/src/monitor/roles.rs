//! The roles of workers as the monitor knows them, a row for each.

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

/// How the monitor deals with the workers of one role.
#[derive(Debug)]
pub struct Entry {
    /// The role.
    pub role: Role,
    /// Whom its workers serve, and so how many there are.
    pub serves: Serves,
    /// Opens a channel by setting the worker up.
    pub open: fn(OwnedFd, &Settings) -> Result<Outbox, ChannelError>,
    /// Receives one message.
    pub receive: fn(&Outbox) -> Result<Received<FromWorker>, ChannelError>,
}

/// A message of a worker.
#[derive(Debug)]
pub enum FromWorker {
    /// Of a session worker.
    Session(FromSession),
    /// Of a datagram worker.
    Datagram(FromDatagram),
    /// Of an ident worker.
    Ident(FromIdent),
    /// Of a resolver worker.
    Resolver(FromResolver),
    /// Of an upstream worker.
    Upstream(FromUpstream),
    /// Of an auth worker.
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

/// All of them but the probe, which only `sockd -ver` starts.
const ROLES: [Entry; 6] = [
    Entry {
        role: Role::Session,
        serves: Serves::ClientHosts,
        open: |socket, settings| Outbox::new(socket, &session_setup(settings)),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Session)),
    },
    Entry {
        role: Role::Datagram,
        serves: Serves::ClientHost,
        open: |socket, settings| Outbox::new(socket, &ToDatagram::Setup(settings.flow_limits())),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Datagram)),
    },
    Entry {
        role: Role::Ident,
        serves: Serves::ClientHost,
        open: |socket, _| Outbox::new(socket, &ToIdent::Setup),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Ident)),
    },
    Entry {
        role: Role::Resolver,
        serves: Serves::Everybody,
        open: |socket, _| Outbox::new(socket, &ResolvConf::unread().setup()),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Resolver)),
    },
    Entry {
        role: Role::Upstream,
        serves: Serves::Upstream,
        open: |socket, _| Outbox::new(socket, &ToUpstream::Setup),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Upstream)),
    },
    Entry {
        role: Role::Auth,
        serves: Serves::Everybody,
        open: |socket, _| Outbox::new(socket, &ToAuth::Setup),
        receive: |outbox| Ok(outbox.receive()?.map(FromWorker::Auth)),
    },
];

/// The row of a role.
pub fn of(role: Role) -> Option<&'static Entry> {
    const { &ROLES }.iter().find(|entry| entry.role == role)
}

/// What session workers are told of the settings.
pub fn session_setup(settings: &Settings) -> ToSession {
    ToSession::Setup { relay: settings.relay, protocols: settings.spoken() }
}
