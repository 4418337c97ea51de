//! BIND at this host: a port is opened, and the peer that was asked for is waited for.

use crate::config::Config;
use crate::record::{FailedCall, Failure, Record};
use crate::session::connect;
use crate::session::decision::{self, Step};
use crate::session::event::Action;
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::request::ClientRequest;
use crate::settings::seconds;
use sockd_policy::canonical;
use std::net::{IpAddr, SocketAddr};

/// Strangers at the port of one BIND that have a record each: who can reach the port could cause any number.
const STRANGERS_RECORDED: u32 = 8;

/// Opens a port for the candidate, at the address that the route file says.
pub(super) fn listen(towards: IpAddr, at: Option<IpAddr>, reserved: bool, config: &Config) -> Next {
    let limit = Action::Deadline(Some(seconds(config.settings.bind_limit)));
    Next::phase(Phase::Listening, vec![limit, Action::Listen { towards, at, reserved }])
}

/// The port is open and the client is told where, or it could not be opened. Where nobody can be accepted at it any
/// more it is over: another port for the next address of the name is no use to a client that has been told this one.
pub(super) fn listening(result: Result<SocketAddr, FailedCall>) -> Next {
    match result {
        Ok(address) => Next::stay(vec![Action::Announce(address)]),
        Err(failed @ FailedCall { call: "accept", .. }) => Next::refuse(Failure::Call(failed)),
        Err(failed) => Next::failed(Failure::Call(failed)),
    }
}

/// Somebody has come to the port.
pub(super) fn accepted(
    peer: SocketAddr,
    request: &mut ClientRequest,
    client: SocketAddr,
    config: &Config,
) -> Next {
    let address = canonical(peer.ip());
    match expects(address, request, client, config) {
        Some(place) => met(peer, place, request, client, config),
        None => stranger(SocketAddr::new(address, peer.port()), request, client, config),
    }
}

/// Which candidate somebody is who has come: the one that the port was opened for, or another address of the same
/// name, if the rules permit that one as well.
pub(super) fn expects(
    peer: IpAddr,
    request: &ClientRequest,
    client: SocketAddr,
    config: &Config,
) -> Option<u8> {
    let awaited = request.candidate()?.address;
    if awaited == peer || awaited.is_unspecified() {
        return Some(request.current);
    }
    let place = request.candidates.iter().position(|candidate| candidate.address == peer)?;
    let candidate = request.candidates.get(place).copied();
    let is_permitted = matches!(decision::decide(request, candidate, client, config), Ok(Step::Go(_)));
    u8::try_from(place).ok().filter(|_| is_permitted)
}

/// The peer has come; `place` is its candidate's.
pub(super) fn met(
    peer: SocketAddr,
    place: u8,
    request: &mut ClientRequest,
    client: SocketAddr,
    config: &Config,
) -> Next {
    request.peer_port = Some(peer.port());
    request.current = place;
    let strangers = strangers(request, client, config);
    connect::connected(peer, request, client, config).after(strangers)
}

/// Somebody else has come: anybody who can reach the port could end a transfer, so the wait goes on.
fn stranger(peer: SocketAddr, request: &mut ClientRequest, client: SocketAddr, config: &Config) -> Next {
    let number = request.rare().strangers.saturating_add(1);
    request.rare().strangers = number;
    let mut actions = Vec::new();
    if number <= STRANGERS_RECORDED {
        actions.push(Record::Stranger { parties: request.parties(client, config), peer }.into());
    }
    actions.push(Action::CloseStranger);
    Next::stay(actions)
}

/// Records how many strangers have come that have no record of their own, where there are any.
pub(super) fn strangers(request: &ClientRequest, client: SocketAddr, config: &Config) -> Vec<Action> {
    let all = request.rare.as_ref().map_or(0, |rare| rare.strangers);
    match all.saturating_sub(STRANGERS_RECORDED) {
        0 => Vec::new(),
        number => vec![Record::Strangers { parties: request.parties(client, config), number }.into()],
    }
}
