//! A request that goes through a next SOCKS server.
//!
//! The monitor dials, and an upstream worker sends the request of [`request_for`]: composed from the monitor's own
//! facts, never from later messages of a worker.

use crate::command;
use crate::record::{FailedCall, Failure, UpstreamFailure};
use crate::session::case::Case;
use crate::session::chain::{Chain, Step};
use crate::session::event::{Action, Candidate, Fact, Task, Wait};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::{bind, connect, facts};
use crate::settings::seconds;
use crate::waits::WaitKey;
use sockd_common::message::request::{Destination, RefusalReason, Request};
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{Errno, Name, UserId};
use sockd_policy::{Command, Server, Version, canonical};
use std::net::{IpAddr, SocketAddr};

/// A request of SOCKS4 has no room for an IPv6 address (EAFNOSUPPORT).
const NO_IPV6: FailedCall = FailedCall { call: "connect", errno: Errno::AFNOSUPPORT };

/// Begins with the first server.
pub(super) fn begin(version: Version, servers: Vec<Server>, case: &mut Case<'_>) -> Next {
    *case.request.chain() = Chain::new(version, servers);
    match (version, case.request.target()) {
        (Version::Socks4, IpAddr::V6(_)) => Next::failed(Failure::Call(NO_IPV6)),
        _ => next_server(case),
    }
}

fn next_server(case: &mut Case<'_>) -> Next {
    loop {
        match case.request.chain().step(case.config) {
            Step::Dial(to, from) => {
                let limit = Action::Deadline(Some(seconds(case.config.settings.connect_limit)));
                let task = Task::Dial { to, from, reserved: false };
                let dial = case.begin(Wait::UpstreamConnection, task);
                return Next::phase(Phase::DiallingUpstream, vec![limit, dial]);
            }
            Step::Classify(address, port) => {
                return facts::ask(Fact::UpstreamKinds, Task::Classify(vec![address], port), case);
            }
            Step::Resolve(name) => match Name::new(name.as_str().as_bytes()).map(Query::Addresses) {
                Some(query) => {
                    return facts::ask(Fact::UpstreamAddresses, Task::Resolve(query), case);
                }
                None => case.request.chain().unresolved(),
            },
            Step::Fail(why) => return Next::failed(why),
        }
    }
}

/// The resolver has told the addresses of a server.
pub(super) fn addresses(answer: Answer, case: &mut Case<'_>) -> Next {
    match answer {
        Answer::Addresses(addresses) => {
            let addresses = addresses.into_vec().into_iter().map(canonical).collect();
            let port = case.request.chain().port(case.config);
            facts::ask(Fact::UpstreamKinds, Task::Classify(addresses, port), case)
        }
        _ => late(case),
    }
}

/// A server's address was not found in time.
pub(super) fn late(case: &mut Case<'_>) -> Next {
    case.request.chain().unresolved();
    next_server(case)
}

/// The kinds of a server's addresses are known.
pub(super) fn kinds(candidates: Vec<Candidate>, case: &mut Case<'_>) -> Next {
    case.request.chain().classified(candidates, case.config);
    next_server(case)
}

/// The connection to a server is established: the server is asked.
pub(super) fn dialled(key: WaitKey, case: &mut Case<'_>) -> Next {
    let (Some(next), Some(asked)) = (case.request.upstream(), request_for(case)) else {
        return not_granted(NextReply::Cancelled);
    };
    Next::phase(
        Phase::AskingUpstream,
        vec![
            Action::Remember { next, reachable: true },
            Action::Deadline(Some(seconds(case.config.settings.connect_limit))),
            case.go_on(key, Wait::UpstreamReply, Task::AskUpstream(next, Box::new(asked))),
        ],
    )
}

/// A server cannot be reached; the others may be.
pub(super) fn unreached(why: Failure, case: &mut Case<'_>) -> Next {
    let unreachable = case.request.chain().unreached(why);
    let remember = unreachable.map(|next| Action::Remember { next, reachable: false });
    next_server(case).after(remember.into_iter().collect())
}

fn request_for(case: &Case<'_>) -> Option<Request> {
    let (version, user) = match case.request.upstream_version() {
        Version::Socks4 => (4, case.config.settings.upstream_user.as_deref().map(str::as_bytes)),
        Version::Socks5 => (5, Some(&[][..])),
    };
    let user = user.unwrap_or(case.request.claimed_user().as_bytes());
    let name = || Name::new(case.request.destination_name()?.as_str().as_bytes());
    Some(Request {
        version,
        command: command::in_messages(case.request.command),
        destination: match case.request.candidate() {
            Some(candidate) => Destination::Address(candidate.address),
            None => Destination::Name(name()?),
        },
        port: case.request.port,
        user: UserId::new(user)?,
    })
}

/// The server has replied to the request, or will not reply.
pub(super) fn replied(reply: NextReply, key: WaitKey, case: &mut Case<'_>) -> Next {
    match (reply, case.request.command) {
        (NextReply::Granted(bound), Command::Connect) => connect::connected(Some(bound), key, case),
        (NextReply::Granted(bound), Command::Bind) => listening(bound, key, case),
        (NextReply::Refused(why), Command::Connect) if !is_about_identd(why) => {
            // The server may reply differently to the next address of the same name.
            Next::failed(Failure::Upstream(UpstreamFailure::Replied(reply))).after(vec![Action::GiveUp(key)])
        }
        (reply, _) => not_granted(reply),
    }
}

/// The server has named the peer that has connected to it for a BIND. The expected peer was decided here, unless only
/// the server knows the addresses of the name.
pub(super) fn met(reply: NextReply, key: WaitKey, case: &mut Case<'_>) -> Next {
    let NextReply::Granted(peer) = reply else { return not_granted(reply) };
    let expected = match case.request.progress().unresolved {
        true => Some(case.request.current),
        false => bind::expects(canonical(peer.ip()), case),
    };
    match expected {
        Some(place) => bind::met(peer, place, key, case),
        None => Next::refuse(Failure::Upstream(UpstreamFailure::WrongPeer(peer))),
    }
}

/// The server listens for the peer of a BIND. A server that names no address means its own, as its client knows it;
/// our client would take it for ours.
fn listening(bound: SocketAddr, key: WaitKey, case: &mut Case<'_>) -> Next {
    case.request.wait_on(key, Wait::UpstreamPeer);
    let bound = match case.request.upstream().filter(|_| bound.ip().is_unspecified()) {
        Some(upstream) => SocketAddr::new(upstream.ip(), bound.port()),
        None => bound,
    };
    // A client of SOCKS4 would take 0.0.0.0 for the proxy's address.
    if case.request.version == Version::Socks4 && canonical(bound.ip()).is_ipv6() {
        return Next::refuse(Failure::Call(NO_IPV6));
    }
    let limit = Action::Deadline(Some(seconds(case.config.settings.bind_limit)));
    Next::phase(Phase::AwaitingUpstreamPeer, vec![limit, Action::Announce(bound)])
}

fn not_granted(reply: NextReply) -> Next {
    Next::refuse(match reply {
        NextReply::Closed(errno) if errno != Errno(0) => Failure::Call(FailedCall { call: "recv", errno }),
        reply => Failure::Upstream(UpstreamFailure::Replied(reply)),
    })
}

/// Whether a refusal concerns the client itself, so that it is the same for every address.
fn is_about_identd(why: RefusalReason) -> bool {
    matches!(why, RefusalReason::NoIdentd | RefusalReason::IdentityMismatch)
}
