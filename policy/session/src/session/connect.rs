//! CONNECT to a destination without a next server.

use crate::record::Record;
use crate::session::case::Case;
use crate::session::event::{Action, Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::settings::seconds;
use crate::waits::WaitKey;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Dials the candidate, from the address that the route file says.
pub(super) fn dial(to: IpAddr, from: Option<IpAddr>, case: &mut Case<'_>) -> Next {
    let limit = Action::Deadline(Some(seconds(case.config.settings.connect_limit)));
    let to = SocketAddr::new(to, case.request.port);
    let task = Task::Dial { to, from, reserved: case.is_reserved() };
    Next::phase(Phase::Dialling, vec![limit, case.begin(Wait::Connection, task)])
}

/// The connection stands. Its address is nothing that the client is told.
pub(super) fn dialled(key: WaitKey, case: &Case<'_>) -> Next {
    connected(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), key, case)
}

/// The server's socket is handed over, with the address for the reply.
pub(super) fn connected(bound: SocketAddr, key: WaitKey, case: &Case<'_>) -> Next {
    let connected = Record::Connected(case.parties()).into();
    let idle = Action::Deadline(Some(seconds(case.config.settings.idle_limit)));
    Next::phase(Phase::Relaying, vec![connected, Action::HandOff { key, bound }, idle])
}
