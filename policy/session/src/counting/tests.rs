use super::*;
use crate::flow::Moved;
use crate::limits::limit::Limit;
use crate::record::{Abandonment, EndCause, FailedCall, Failure, Parties, Unread, UpstreamFailure};
use crate::waits::WaitKey;
use sockd_common::counters::{Asked, Label, Outcome, Word};
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{self, Errno};
use sockd_policy::{DenyReason, UserId, Version, guard};
use std::net::{Ipv4Addr, SocketAddr};

const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4000);

fn parties(version: Version, command: Command) -> Parties {
    Parties {
        command,
        version,
        client: CLIENT,
        client_name: None,
        claimed_user: UserId::parse(b"joe").unwrap(),
        verified_user: None,
        by_password: false,
        destination: None,
        destination_name: None,
        port: 80,
        service: None,
        peer_port: None,
        upstream: None,
        rule: None,
    }
}

fn one() -> Parties {
    parties(Version::Socks4, Command::Connect)
}

/// The words of a counter whose number is not 0.
fn moved<L: Label, const N: usize>(by: &sockd_common::counters::By<L, N>) -> Vec<(String, u64)> {
    by.all().filter(|(_, number)| *number > 0).collect()
}

fn refused(why: Failure) -> Record {
    Record::Refused { parties: one(), why }
}

#[test]
fn each_end_of_a_request_is_one_result() {
    let call = |errno| refused(Failure::Call(FailedCall { call: "connect", errno }));
    let denied = |why| refused(Failure::Denied { why, rule: None });
    for (record, result) in [
        (Record::Connected(one()), Outcome::Granted),
        (denied(DenyReason::NoMatch), Outcome::Denied),
        (denied(DenyReason::BadIdentity), Outcome::AuthFailed),
        (refused(Failure::NoPassword), Outcome::AuthFailed),
        (refused(Failure::Guarded(guard::Refusal::Loopback)), Outcome::Guarded),
        (call(Errno::NETUNREACH), Outcome::Unreachable),
        (call(Errno::CONNREFUSED), Outcome::Refused),
        (call(Errno::TIMEDOUT), Outcome::Timeout),
        (refused(Failure::TimedOut), Outcome::Timeout),
        (refused(Failure::Unresolved), Outcome::Unresolved),
        (refused(Failure::Limited(Limit::BINDS)), Outcome::Limited),
        (refused(Failure::Upstream(UpstreamFailure::Replied(NextReply::Closed(Errno(0))))), Outcome::Refused),
        (Record::Abandoned { parties: one(), why: Abandonment::ClientGone }, Outcome::Abandoned),
    ] {
        let counting = Counting::unseen();
        counting.recorded(&record);
        let label = <(Asked, Outcome)>::text((Asked::Connect4, result).index());
        assert_eq!(moved(&counting.counters().requests), [(label, 1)], "{record:?}");
    }
}

#[test]
fn what_was_asked_is_told_by_version_and_command() {
    for (version, command, asked) in [
        (Version::Socks4, Command::Bind, Asked::Bind4),
        (Version::Socks5, Command::Connect, Asked::Connect5),
        (Version::Socks5, Command::Bind, Asked::Bind5),
        (Version::Socks5, Command::Udp, Asked::Udp5),
    ] {
        let counting = Counting::unseen();
        counting.recorded(&Record::Connected(parties(version, command)));
        assert_eq!(counting.counters().requests.of((asked, Outcome::Granted)).map(Word::get), Some(1));
    }
}

#[test]
fn a_request_that_was_not_read_is_of_no_command() {
    for (why, asked, result) in [
        (Unread::WrongVersion(71), Asked::Nothing, Outcome::Malformed),
        (Unread::CutShort, Asked::Nothing, Outcome::Abandoned),
        (Unread::Late, Asked::Nothing, Outcome::Timeout),
        (Unread::EmptyCredentials, Asked::Login5, Outcome::AuthFailed),
    ] {
        let counting = Counting::unseen();
        counting.recorded(&Record::Unread { client: CLIENT, why });
        assert_eq!(counting.counters().requests.of((asked, result)).map(Word::get), Some(1), "{why:?}");
    }
}

#[test]
fn bytes_are_those_of_streams_that_have_ended() {
    let counting = Counting::unseen();
    let ended =
        |parties, up, down| Record::Ended { parties, why: EndCause::Finished, moved: Moved { up, down } };
    counting.recorded(&ended(one(), 7, 1 << 40));
    counting.recorded(&ended(one(), 3, 1));
    counting.recorded(&ended(parties(Version::Socks5, Command::Udp), 1000, 1000));
    let bytes: Vec<u64> = counting.counters().relayed_bytes.all().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [10, (1 << 40) + 1]);
    assert_eq!(moved(&counting.counters().requests), [], "the request was counted when it was granted");
}

#[test]
fn a_session_is_counted_where_it_stands_and_nowhere_once_it_is_over() {
    let counting = Counting::unseen();
    let way = [Phase::Requesting, Phase::Asking, Phase::Dialling, Phase::Relaying, Phase::Closing].map(Some);
    counting.moved(None, way[0]);
    for pair in way.windows(2) {
        counting.moved(pair[0], pair[1]);
        let label = SessionState::text(state(pair[1].unwrap()).index());
        assert_eq!(moved(&counting.counters().sessions), [(label, 1)]);
    }
    counting.moved(way[4], None);
    assert_eq!(moved(&counting.counters().sessions), []);
}

#[test]
fn the_handshake_ends_with_the_request_and_logins_with_their_results() {
    let counting = Counting::unseen();
    let age = Duration::from_millis(3);
    for event in [
        Event::Introduced(message::UserId::default()),
        Event::Arrived(WaitKey::LOGIN, Arrival::LoggedIn(Login::Wrong)),
        Event::Arrived(WaitKey::LOGIN, Arrival::LoggedIn(Login::TooManyOfHost)),
        Event::Arrived(WaitKey::LOGIN, Arrival::Identified(Identity::Unknown)),
        Event::Deadline,
    ] {
        counting.happens(&event, age);
    }
    let counters = counting.counters();
    assert_eq!(counters.handshake.buckets().sum::<u64>(), 0);
    let said = ["password\",result=\"refused", "password\",result=\"limited", "ident\",result=\"refused"];
    let said = said.map(|said| (format!("method=\"{said}\""), 1));
    assert_eq!(moved(&counters.logins), said);
}

#[test]
fn logins_that_were_remembered_are_counted_and_no_others() {
    let counting = Counting::unseen();
    let verified = |is_remembered| Verdict::Verified { groups: Default::default(), is_remembered };
    for verdict in [verified(false), verified(true), verified(true), Verdict::Wrong, Verdict::Unchecked] {
        counting.checked(&verdict);
    }
    assert_eq!(counting.counters().login_cache_hits.get(), 2);
}

#[test]
fn limits_are_counted_where_they_are_met_and_where_a_request_is_refused_for_them() {
    let counting = Counting::unseen();
    counting.limited(Limit::SESSIONS.label());
    counting.recorded(&refused(Failure::Limited(Limit::BINDS_PER_HOST)));
    counting.recorded(&refused(Failure::Full { rule: 1, limit: 20 }));
    let limits = moved(&counting.counters().limits);
    assert_eq!(
        limits,
        ["max_sessions", "max_binds_per_host", "n"].map(|name| (format!("limit=\"{name}\""), 1))
    );
}

#[test]
fn each_role_but_the_probe_is_counted() {
    let counting = Counting::unseen();
    Role::ALL.into_iter().for_each(|role| counting.died(role, DeathCause::Exit));
    let roles = moved(&counting.counters().deaths);
    assert_eq!(roles.len(), <Role as Label>::COUNT);
    for (role, (label, number)) in Role::ALL.into_iter().zip(roles) {
        assert_eq!((label, number), (format!("role=\"{}\",how=\"exit\"", role.as_str()), 1));
    }
}
