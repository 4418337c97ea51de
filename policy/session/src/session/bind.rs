//! BIND at this host: opens a port and waits for the peer in the request.

use crate::record::{FailedCall, Failure, Record};
use crate::session::case::Case;
use crate::session::connect;
use crate::session::decision::{self, Step};
use crate::session::event::{Action, Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::settings::seconds;
use crate::waits::WaitKey;
use sockd_common::message::Errno;
use sockd_policy::{Version, canonical};
use std::net::{IpAddr, SocketAddr};

/// The most strangers at the port of one BIND with a record each. A host that can reach it could cause any number.
const STRANGERS_RECORDED: u32 = 8;

/// Opens a port for the candidate, at the address that the route file says.
pub(super) fn listen(towards: IpAddr, at: Option<IpAddr>, case: &mut Case<'_>) -> Next {
    let limit = Action::Deadline(Some(seconds(case.config.settings.bind_limit)));
    let task = Task::Listen { towards, at, reserved: case.is_reserved() };
    Next::phase(Phase::Listening, vec![limit, case.begin(Wait::Port, task)])
}

/// A reply of SOCKS4 has no room for an IPv6 address (EAFNOSUPPORT). The client would take 0.0.0.0 for the proxy's own.
const NO_IPV6: FailedCall = FailedCall { call: "bind", errno: Errno::AFNOSUPPORT };

/// The port is open, or could not be opened. A port that the client cannot be told is closed.
pub(super) fn listening(result: Result<SocketAddr, FailedCall>, key: WaitKey, case: &mut Case<'_>) -> Next {
    let announced = |address: SocketAddr| {
        SocketAddr::new(case.config.settings.bind_announced(address.ip()), address.port())
    };
    match result.map(announced) {
        Ok(address) if case.request.version == Version::Socks4 && canonical(address.ip()).is_ipv6() => {
            Next::failed(Failure::Call(NO_IPV6)).after(vec![Action::GiveUp(key)])
        }
        Ok(address) => {
            case.request.wait_on(key, Wait::Port);
            Next::stay(vec![Action::Announce(address)])
        }
        Err(failed) => Next::failed(Failure::Call(failed)),
    }
}

/// A peer has connected to the port. If accepting fails, the BIND is over: another port for the next address of the
/// name is of no use to a client that has been told this one.
pub(super) fn accepted(result: Result<SocketAddr, FailedCall>, key: WaitKey, case: &mut Case<'_>) -> Next {
    let peer = match result {
        Ok(peer) => peer,
        Err(failed) => return Next::refuse(Failure::Call(failed)),
    };
    let address = canonical(peer.ip());
    match expects(address, case) {
        Some(place) => met(peer, place, key, case),
        None => stranger(SocketAddr::new(address, peer.port()), key, case),
    }
}

/// The candidate that a peer is. It is the one that the port was opened for, or another address of the same name, if
/// the rules permit it as well.
pub(super) fn expects(peer: IpAddr, case: &mut Case<'_>) -> Option<u8> {
    let awaited = case.request.candidate()?.address;
    if awaited == peer || awaited.is_unspecified() {
        return Some(case.request.current);
    }
    let place = case.request.candidates.iter().position(|candidate| candidate.address == peer)?;
    let candidate = case.request.candidates.get(place).copied();
    let Ok(Step::Go(permitted)) = decision::decide(candidate, case) else { return None };
    case.request.permit(permitted.rule, permitted.limits);
    u8::try_from(place).ok()
}

/// The expected peer has connected; `place` is its candidate's.
pub(super) fn met(peer: SocketAddr, place: u8, key: WaitKey, case: &mut Case<'_>) -> Next {
    case.request.peer_port = Some(peer.port());
    case.request.current = place;
    let strangers = strangers(case);
    connect::connected(Some(peer), key, case).after(strangers)
}

/// A stranger has connected. The wait goes on, or anybody who can reach the port could end a transfer.
fn stranger(peer: SocketAddr, key: WaitKey, case: &mut Case<'_>) -> Next {
    case.request.wait_on(key, Wait::Port);
    let number = case.request.progress().strangers.saturating_add(1);
    case.request.progress().strangers = number;
    let mut actions = Vec::new();
    if number <= STRANGERS_RECORDED {
        actions.push(Record::Stranger { parties: case.parties(), peer }.into());
    }
    actions.push(Action::CloseStranger(key));
    Next::stay(actions)
}

/// Records the number of strangers without a record of their own, if there are any.
pub(super) fn strangers(case: &Case<'_>) -> Vec<Action> {
    let all = case.request.progress.as_ref().map_or(0, |progress| progress.strangers);
    match all.saturating_sub(STRANGERS_RECORDED) {
        0 => Vec::new(),
        number => vec![Record::Strangers { parties: case.parties(), number }.into()],
    }
}
