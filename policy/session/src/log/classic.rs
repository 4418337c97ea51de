//! The classic log lines, in the form of the manual pages. Only this file makes the text about sessions.

use crate::checks::Login;
use crate::flow::Moved;
use crate::log::{causes, errno, escape};
use crate::record::{EndCause, Failure, Parties, Record, Unread};
use sockd_common::message::{self, Errno};
use sockd_policy::{Command, DenyReason, HostName, Need};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a line: few are longer.
const USUAL: usize = 128;

/// The lines of a record, in their order.
pub fn lines(record: &Record) -> Vec<String> {
    match record {
        Record::Unread { client, why } => vec![unread(*why, client.ip())],
        Record::LoginRefused { client, user, why } => vec![login_refused(user, client.ip(), why)],
        Record::Unverified(parties) => vec![no_identd(parties)],
        Record::Connected(parties) => {
            let (line, peer_port, using) = (Line(parties), PeerPort(parties), Using(parties));
            vec![text(format_args!("connected -- {line}{peer_port}{using}"))]
        }
        Record::Refused { parties, why } => refused(parties, why),
        Record::Abandoned { parties, why } => {
            vec![failed_upstream(parties, &causes::abandonment(*why).1)]
        }
        Record::Stranger { parties, peer } => {
            vec![failed(parties, format_args!("connected to wrong host {} ({})", peer.ip(), peer.port()))]
        }
        Record::Strangers { parties, number } => {
            vec![failed(parties, format_args!("connected to wrong hosts {number} times more"))]
        }
        Record::Revoked(parties) => vec![denied(parties)],
        Record::Flow { parties, moved } => {
            vec![text(format_args!("flow ended -- {}", Line(parties))), bytes(parties, *moved)]
        }
        Record::Ended { parties, why, moved } => ended(parties, *why, *moved),
    }
}

/// Writes a line into memory that is enough for most.
fn text(line: fmt::Arguments<'_>) -> String {
    let mut text = String::with_capacity(USUAL);
    // Writing into a string does not fail.
    let _ = text.write_fmt(line);
    text
}

fn unread(why: Unread, client: IpAddr) -> String {
    let in_get_dst = |what: &str| text(format_args!("Error in GetDst: {what}; from host {client}"));
    let error = |what: &str| text(format_args!("error -- {what} from host {client}"));
    match why {
        Unread::WrongVersion(version) => {
            text(format_args!("error -- wrong version (0x{version:2x}) from host {client}."))
        }
        Unread::UndefinedCommand(command) => error(&format!("undefined command (0x{command:2x})")),
        Unread::UndefinedAddressType(kind) => error(&format!("undefined address type (0x{kind:2x})")),
        Unread::CutShort | Unread::ClientFailed(Errno(0)) => in_get_dst("Success"),
        Unread::ClientFailed(errno) => in_get_dst(&errno::text(errno)),
        Unread::Late => in_get_dst("Connection timed out"),
        Unread::NoHostName => error("no name of a host in the request"),
        Unread::NoResources => error("no resources to read a request"),
        Unread::NoMethod { .. }
        | Unread::EmptyCredentials
        | Unread::UserTooLong
        | Unread::BadName
        | Unread::HealthCheck => error(&causes::unread(why).1),
    }
}

/// Only the first of these lines reports a guess. A client whose password was not checked may be the user himself.
fn login_refused(user: &message::UserId, client: IpAddr, why: &Login) -> String {
    let user = escape(user.as_bytes());
    match causes::unchecked(why) {
        None => text(format_args!("password refused -- {user}@{client}")),
        Some((_, why)) => text(format_args!("password not checked -- {user}@{client}: {why}")),
    }
}

fn refused(parties: &Parties, why: &Failure) -> Vec<String> {
    match why {
        Failure::Denied { why: DenyReason::NoIdentd, .. } => {
            vec![no_identd(parties), denied(parties)]
        }
        Failure::Denied { why: DenyReason::BadIdentity, .. } => {
            vec![alert(parties), denied(parties)]
        }
        Failure::Denied { why: missing @ DenyReason::Unavailable(_), .. } => {
            vec![denied(parties), text(format_args!("missing fact: {missing}"))]
        }
        Failure::NamesUnavailable => {
            let missing = DenyReason::Unavailable(Need::DestinationNames);
            vec![denied(parties), text(format_args!("missing fact: {missing}"))]
        }
        Failure::Denied { .. } | Failure::NoWay(_) => vec![denied(parties)],
        Failure::Full { .. } | Failure::NoPassword | Failure::Guarded(_) => {
            vec![denied(parties), text(format_args!("{}", causes::refused(why).1))]
        }
        Failure::NoInterface(address) => {
            let what = "***Cannot find appropriate interface to communicate with";
            vec![text(format_args!("{what} {address}")), denied(parties)]
        }
        Failure::Unresolved => {
            let what = format_args!("the destination's name cannot be resolved");
            vec![failed(parties, what)]
        }
        Failure::Call(failed) => {
            let (line, using, call) = (Line(parties), Using(parties), &failed.call);
            let error = errno::text(failed.errno);
            vec![text(format_args!("failed -- {line}.  Error code: {call}() {error}{using}"))]
        }
        Failure::TimedOut => vec![text(format_args!("timed-out -- {}{}", Line(parties), Using(parties)))],
        Failure::Limited(limit) => vec![failed(parties, format_args!("{limit}"))],
        Failure::Upstream(why) => vec![failed_upstream(parties, &causes::upstream(why))],
    }
}

/// A worker that has ended with the relay has never told how much it moved, so the line on bytes is left out.
fn ended(parties: &Parties, why: EndCause, moved: Moved) -> Vec<String> {
    let (line, peer_port, using) = (Line(parties), PeerPort(parties), Using(parties));
    let terminated = text(format_args!("terminated -- {line}{peer_port}{using}"));
    match why {
        EndCause::WorkerEnded | EndCause::Unsaid => vec![terminated],
        _ => vec![terminated, bytes(parties, moved)],
    }
}

fn bytes(parties: &Parties, moved: Moved) -> String {
    let (Moved { up, down }, source) = (moved, Source(parties));
    match (parties.command, parties.destination) {
        (Command::Udp, None) => text(format_args!("{up} bytes from {source}, {down} bytes for it")),
        _ => text(format_args!("{up} bytes from {source}, {down} bytes from {}", Destination(parties))),
    }
}

fn denied(parties: &Parties) -> String {
    text(format_args!("refused -- {}", Line(parties)))
}

fn failed(parties: &Parties, what: fmt::Arguments<'_>) -> String {
    text(format_args!("failed -- {}. Error: {what}", Line(parties)))
}

fn failed_upstream(parties: &Parties, what: &str) -> String {
    text(format_args!("failed -- {}. Error: {what}{}", Line(parties), Using(parties)))
}

fn no_identd(parties: &Parties) -> String {
    text(format_args!("cannot connect to identd on {}", Source(parties)))
}

fn alert(parties: &Parties) -> String {
    let real_user = parties.verified_user.as_ref().map_or("".into(), |user| escape(user.as_bytes()));
    let claimed = escape(parties.claimed_user.as_bytes());
    text(format_args!("*Alert*: real user is {real_user}, not {claimed}"))
}

/// The common part of all lines about a request: `Connect from U(R)@SRC to DST (SERV)`.
struct Line<'a>(&'a Parties);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parties { command, claimed_user, verified_user, service, port, .. } = self.0;
        let user = escape(claimed_user.as_bytes());
        let real_user = verified_user.as_ref().map_or("unknown".into(), |user| escape(user.as_bytes()));
        let (source, destination) = (Source(self.0), Destination(self.0));
        let is_whole = *command == Command::Udp && self.0.destination.is_none();
        let verb = match command {
            Command::Connect => "Connect",
            Command::Bind => "Bind",
            Command::Udp if is_whole => "Associate",
            Command::Udp => "Udp",
        };
        write!(f, "{verb} from {user}({real_user})@{source}")?;
        match (command, service) {
            _ if is_whole => Ok(()),
            (Command::Bind, _) => write!(f, " for {destination}"),
            (_, Some(service)) => write!(f, " to {destination} ({service})"),
            (_, None) => write!(f, " to {destination} ({port})"),
        }
    }
}

struct Source<'a>(&'a Parties);

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, self.0.client_name.as_ref(), self.0.client.ip())
    }
}

struct Destination<'a>(&'a Parties);

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.destination, self.0.destination_name.as_ref()) {
            (Some(address), None) if address.is_unspecified() => f.write_str("Unspecified.Host"),
            (address, name) => write_host(f, name, address.unwrap_or(Ipv4Addr::UNSPECIFIED.into())),
        }
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, name: Option<&HostName>, address: IpAddr) -> fmt::Result {
    match name {
        Some(name) => f.write_str(&escape(name.as_str().as_bytes())),
        None => write!(f, "{address}"),
    }
}

struct PeerPort<'a>(&'a Parties);

impl fmt::Display for PeerPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.peer_port.map_or(Ok(()), |port| write!(f, " ({port})"))
    }
}

/// The next server of a request.
struct Using<'a>(&'a Parties);

impl fmt::Display for Using<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.upstream.map_or(Ok(()), |upstream| write!(f, " using sockd at {upstream}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FailedCall;
    use sockd_common::message::session::{Methods, Offered};
    use sockd_policy::{UserId, Version};

    fn parties(verified_user: Option<&str>) -> Parties {
        Parties {
            command: Command::Connect,
            version: Version::Socks4,
            client: "192.0.2.7:4000".parse().unwrap(),
            client_name: Some(HostName::parse(b"abc.edu").unwrap()),
            claimed_user: UserId::parse(b"don").unwrap(),
            verified_user: verified_user.map(|user| UserId::parse(user.as_bytes()).unwrap()),
            by_password: false,
            destination: Some("203.0.113.1".parse().unwrap()),
            destination_name: Some(HostName::parse(b"wxy.com").unwrap()),
            port: 23,
            service: Some("telnet".into()),
            peer_port: None,
            upstream: None,
            rule: Some(1),
        }
    }

    fn bind(peer_port: Option<u16>) -> Parties {
        Parties { command: Command::Bind, peer_port, ..parties(None) }
    }

    fn refusal(parties: Parties, why: Failure) -> Vec<String> {
        lines(&Record::Refused { parties, why })
    }

    fn denied_because(why: DenyReason) -> Failure {
        Failure::Denied { why, rule: None }
    }

    #[test]
    fn the_manuals_examples_are_reproduced() {
        let moved = Moved { up: 1048, down: 285_143 };
        assert_eq!(
            lines(&Record::Connected(parties(Some("don")))),
            ["connected -- Connect from don(don)@abc.edu to wxy.com (telnet)"]
        );
        assert_eq!(
            lines(&Record::Ended { parties: parties(Some("don")), why: EndCause::Finished, moved }),
            [
                "terminated -- Connect from don(don)@abc.edu to wxy.com (telnet)",
                "1048 bytes from abc.edu, 285143 bytes from wxy.com"
            ]
        );
        let refused = "refused -- Connect from don(unknown)@abc.edu to wxy.com (telnet)";
        assert_eq!(refusal(parties(None), denied_because(DenyReason::Rule)), [refused]);
        assert_eq!(
            refusal(parties(None), denied_because(DenyReason::NoIdentd)),
            ["cannot connect to identd on abc.edu", refused]
        );
        assert_eq!(
            refusal(parties(Some("sam")), denied_because(DenyReason::BadIdentity)),
            [
                "*Alert*: real user is sam, not don",
                "refused -- Connect from don(sam)@abc.edu to wxy.com (telnet)"
            ]
        );
    }

    #[test]
    fn a_bind_line_names_the_peers_port_and_no_service() {
        assert_eq!(
            lines(&Record::Connected(bind(Some(2020)))),
            ["connected -- Bind from don(unknown)@abc.edu for wxy.com (2020)"]
        );
        assert_eq!(
            refusal(bind(None), Failure::TimedOut),
            ["timed-out -- Bind from don(unknown)@abc.edu for wxy.com"]
        );
    }

    #[test]
    fn version_and_command_are_padded_with_a_blank() {
        let password = Methods { none: false, password: true, prefer_password: false };
        let no_method = |offered: &str, wanted| {
            let [none, gssapi, password, other] = ["n", "g", "p", "o"].map(|method| offered.contains(method));
            Unread::NoMethod { offered: Offered { none, gssapi, password, other }, wanted }
        };
        let client = "192.0.2.7:4000".parse().unwrap();
        for (why, line) in [
            (Unread::WrongVersion(5), "error -- wrong version (0x 5) from host 192.0.2.7."),
            (Unread::WrongVersion(0x47), "error -- wrong version (0x47) from host 192.0.2.7."),
            (Unread::UndefinedCommand(3), "error -- undefined command (0x 3) from host 192.0.2.7"),
            (Unread::UndefinedAddressType(5), "error -- undefined address type (0x 5) from host 192.0.2.7"),
            (
                no_method("g", Methods::NONE),
                "error -- no acceptable method of authentication (offered gssapi; wanted none) from host 192.0.2.7",
            ),
            (
                no_method("no", password),
                "error -- no acceptable method of authentication (offered none, others; wanted password) from host 192.0.2.7",
            ),
            (
                no_method("p", password),
                "error -- passwords are not checked just now (too many wrong ones, or nobody to check them): no acceptable method of authentication from host 192.0.2.7",
            ),
            (Unread::CutShort, "Error in GetDst: Success; from host 192.0.2.7"),
            (Unread::HealthCheck, "error -- request in a health check from host 192.0.2.7"),
        ] {
            assert_eq!(lines(&Record::Unread { client, why }), [line]);
        }
    }

    #[test]
    fn a_failed_call_is_named_behind_two_blanks() {
        let parties = Parties { upstream: Some("198.51.100.1:1080".parse().unwrap()), ..parties(None) };
        let call = FailedCall { call: "connect", errno: Errno(111) };
        assert_eq!(
            refusal(parties, Failure::Call(call)),
            [
                "failed -- Connect from don(unknown)@abc.edu to wxy.com (telnet).  Error code: connect() Connection refused using sockd at 198.51.100.1:1080"
            ]
        );
    }

    #[test]
    fn what_came_from_the_network_is_escaped_and_anybody_has_a_name() {
        let mut parties = bind(Some(20));
        parties.claimed_user = UserId::parse(b"s m)").unwrap();
        parties.destination = Some("0.0.0.0".parse().unwrap());
        (parties.client_name, parties.destination_name) = (None, None);
        assert_eq!(
            lines(&Record::Connected(parties)),
            ["connected -- Bind from s\\x20m\\x29(unknown)@192.0.2.7 for Unspecified.Host (20)"]
        );
    }
}
