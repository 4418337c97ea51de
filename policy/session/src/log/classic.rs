//! The classic log lines, in the form of the manual pages.

use crate::log::errno;
use crate::record::FailedCall;
use sockd_common::message::Errno;
use sockd_policy::Command;

/// Who wants what from whom, as it stands in every line about one request. All strings are escaped already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// CONNECT or BIND.
    pub command: Command,
    /// The claimed user id.
    pub user: String,
    /// The user that identd named.
    pub real_user: Option<String>,
    /// The client: its verified name, else its address.
    pub source: String,
    /// The destination: its verified name, else its address.
    pub destination: String,
    /// The service's name, else the port.
    pub service: String,
}

impl Parties {
    /// The part that is common to all lines: `Connect from U(R)@SRC to DST (SERV)`.
    pub fn line(&self) -> String {
        let Self { user, source, destination, service, .. } = self;
        let real_user = self.real_user.as_deref().unwrap_or("unknown");
        match self.command {
            Command::Connect => {
                format!("Connect from {user}({real_user})@{source} to {destination} ({service})")
            }
            Command::Bind => format!("Bind from {user}({real_user})@{source} for {destination}"),
        }
    }
}

/// The request has been granted and both ends are there. `port` is the peer's, of a BIND.
pub fn connected(line: &str, port: Option<u16>) -> String {
    format!("connected -- {line}{}", in_parentheses(port))
}

/// The relay has ended.
pub fn terminated(line: &str, port: Option<u16>) -> String {
    format!("terminated -- {line}{}", in_parentheses(port))
}

fn in_parentheses(port: Option<u16>) -> String {
    port.map(|port| format!(" ({port})")).unwrap_or_default()
}

/// What was relayed; follows [`terminated`].
pub fn bytes(up: u64, source: &str, down: u64, destination: &str) -> String {
    format!("{up} bytes from {source}, {down} bytes from {destination}")
}

/// The rules or a guard refuse the request.
pub fn refused(line: &str) -> String {
    format!("refused -- {line}")
}

/// A call failed on the way to the destination.
pub fn failed(line: &str, failed: FailedCall) -> String {
    format!("failed -- {line}.  Error code: {}() {}", failed.call, errno::text(failed.errno))
}

/// Something else than a call failed.
pub fn failed_otherwise(line: &str, what: &str) -> String {
    format!("failed -- {line}. Error: {what}")
}

/// The destination did not answer in time.
pub fn timed_out(line: &str) -> String {
    format!("timed-out -- {line}")
}

/// The client's identd cannot be reached or gives no user.
pub fn no_identd(source: &str) -> String {
    format!("cannot connect to identd on {source}")
}

/// The client's identd names another user than the client claims.
pub fn alert(real_user: &str, user: &str) -> String {
    format!("*Alert*: real user is {real_user}, not {user}")
}

/// The first byte was not 4.
pub fn wrong_version(version: u8, source: &str) -> String {
    format!("error -- wrong version (0x{version:2x}) from host {source}.")
}

/// The second byte was neither 1 nor 2.
pub fn undefined_command(command: u8, source: &str) -> String {
    format!("error -- undefined command (0x{command:2x}) from host {source}")
}

/// The client sent no request in time.
pub fn late_request(source: &str) -> String {
    format!("Error in GetDst: Connection timed out; from host {source}")
}

/// No whole request came.
pub fn no_request(errno: Errno, source: &str) -> String {
    let text = if errno == Errno(0) { "Success".into() } else { errno::text(errno) };
    format!("Error in GetDst: {text}; from host {source}")
}

/// The request has a field that is too long or not what it should be.
pub fn bad_request(what: &str, source: &str) -> String {
    format!("error -- {what} from host {source}")
}

/// No line of the route file matches.
pub fn no_interface(destination: &str) -> String {
    format!("***Cannot find appropriate interface to communicate with {destination}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parties() -> Parties {
        Parties {
            command: Command::Connect,
            user: "don".into(),
            real_user: Some("don".into()),
            source: "abc.edu".into(),
            destination: "wxy.com".into(),
            service: "telnet".into(),
        }
    }

    #[test]
    fn the_manuals_examples_are_reproduced() {
        let line = parties().line();
        assert_eq!(connected(&line, None), "connected -- Connect from don(don)@abc.edu to wxy.com (telnet)");
        assert_eq!(
            terminated(&line, None),
            "terminated -- Connect from don(don)@abc.edu to wxy.com (telnet)"
        );
        assert_eq!(
            bytes(1048, "abc.edu", 285_143, "wxy.com"),
            "1048 bytes from abc.edu, 285143 bytes from wxy.com"
        );
        assert_eq!(no_identd("big.edu"), "cannot connect to identd on big.edu");
        assert_eq!(alert("sam", "jim"), "*Alert*: real user is sam, not jim");
        let unknown = Parties { real_user: None, ..parties() }.line();
        assert_eq!(refused(&unknown), "refused -- Connect from don(unknown)@abc.edu to wxy.com (telnet)");
    }

    #[test]
    fn a_bind_line_names_the_peers_port_and_no_service() {
        let line = Parties { command: Command::Bind, real_user: None, ..parties() }.line();
        assert_eq!(
            connected(&line, Some(2020)),
            "connected -- Bind from don(unknown)@abc.edu for wxy.com (2020)"
        );
        assert_eq!(timed_out(&line), "timed-out -- Bind from don(unknown)@abc.edu for wxy.com");
    }

    #[test]
    fn version_and_command_are_padded_with_a_blank() {
        assert_eq!(wrong_version(5, "h"), "error -- wrong version (0x 5) from host h.");
        assert_eq!(wrong_version(0x47, "h"), "error -- wrong version (0x47) from host h.");
        assert_eq!(undefined_command(3, "h"), "error -- undefined command (0x 3) from host h");
    }

    #[test]
    fn a_failed_call_is_named_behind_two_blanks() {
        assert_eq!(
            failed("Connect from a(unknown)@b to c (1)", FailedCall { call: "connect", errno: Errno(111) }),
            "failed -- Connect from a(unknown)@b to c (1).  Error code: connect() Connection refused"
        );
        assert_eq!(no_request(Errno(0), "h"), "Error in GetDst: Success; from host h");
    }
}
