//! CONNECT to a destination without a next server.

use crate::config::Config;
use crate::record::Record;
use crate::session::event::Action;
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::request::ClientRequest;
use crate::settings::seconds;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Dials the candidate, from the address that the route file says.
pub(super) fn dial(to: SocketAddr, from: Option<IpAddr>, reserved: bool, config: &Config) -> Next {
    let limit = Action::Deadline(Some(seconds(config.settings.connect_limit)));
    Next::phase(Phase::Dialling, vec![limit, Action::Dial { to, from, reserved }])
}

/// The connection stands. Its address is nothing that the client is told.
pub(super) fn dialled(request: &ClientRequest, client: SocketAddr, config: &Config) -> Next {
    connected(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), request, client, config)
}

/// The server's socket is handed over, with the address for the reply.
pub(super) fn connected(
    bound: SocketAddr,
    request: &ClientRequest,
    client: SocketAddr,
    config: &Config,
) -> Next {
    let connected = Record::Connected(request.parties(client, config)).into();
    Next::phase(Phase::Relaying, vec![connected, Action::Deadline(None), Action::HandOff { bound }])
}
