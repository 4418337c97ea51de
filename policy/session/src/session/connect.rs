//! CONNECT to a destination without a next server.

use crate::record::Record;
use crate::session::case::Case;
use crate::session::event::Action;
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::settings::seconds;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Dials the candidate, from the address that the route file says.
pub(super) fn dial(to: IpAddr, from: Option<IpAddr>, case: &Case<'_>) -> Next {
    let limit = Action::Deadline(Some(seconds(case.config.settings.connect_limit)));
    let to = SocketAddr::new(to, case.request.port);
    Next::phase(Phase::Dialling, vec![limit, Action::Dial { to, from, reserved: case.is_reserved() }])
}

/// The connection stands. Its address is nothing that the client is told.
pub(super) fn dialled(case: &Case<'_>) -> Next {
    connected(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), case)
}

/// The server's socket is handed over, with the address for the reply.
pub(super) fn connected(bound: SocketAddr, case: &Case<'_>) -> Next {
    let connected = Record::Connected(case.parties()).into();
    let idle = Action::Deadline(Some(seconds(case.config.settings.idle_limit)));
    Next::phase(Phase::Relaying, vec![connected, Action::HandOff { bound }, idle])
}
