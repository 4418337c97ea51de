//! Every setting: its name, its type, its default and the values that it takes.

use super::choices::{
    Auth, BoundAddress, Commands, Crowded, Isolation, Keepalive, LocalDestinations, LogFormat, MissingNames,
    Protocol, ProxyProtocol, Sandbox, Socket, UdpLog, UdpSource, UpstreamNames,
};
use super::proxy_from::{self, ProxyListener};
use crate::nat64;
use serde::{Deserialize, Serialize};
use sockd_common::message::session::RelayMode;
use sockd_policy::Nat64Prefix;
use std::net::IpAddr;

// Values that several settings take.
const ACCOUNT: &str = "None or the name of an account in quotes";
const NUMBER: &str = "a number from 1 to 4294967295";
const PAIRS: &str = "[] or pairs of addresses in quotes, as [(\"10.0.0.1\", \"192.0.2.1\")]";
const PATH: &str = "None or the path of a file in quotes";
const PORTS: &str = "None or (first port, last port)";
const SECONDS: &str = "a number of seconds";
const SMALL_NUMBER: &str = "a number from 1 to 65535";
const SOCKET: &str = "auto, off or at(\"/path\")";
const YES_OR_NO: &str = "true or false";

/// The settings, a row for each: name, type, default, and the values it takes, in the words of the manual. `from` is
/// the least that a number may be.
macro_rules! settings {
    (
        read only at start: $($fixed:ident),+;
        $($(#[$about:meta])* $name:ident: $type:ty = $default:expr, $takes:expr $(, from $least:literal)?;)+
    ) => {
        /// All settings with their defaults; unknown names in the file are errors.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $($(#[$about])* pub $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Settings {
            /// The first setting that is less than it may be, with its number and its least one.
            pub(super) fn too_small(&self) -> Option<(&'static str, u32, u32)> {
                let numbers = [$($((stringify!($name), u32::from(self.$name), $least),)?)+];
                numbers.into_iter().find(|(_, number, least)| number < least)
            }

            /// The new settings, except that values read only at start keep their current value.
            pub fn keep_fixed(&self, new: Self) -> Self {
                Self { $($fixed: self.$fixed.clone(),)+ ..new }
            }

            /// The names of settings that differ and are read only at start.
            pub fn fixed_since_start(&self, new: &Self) -> Vec<&'static str> {
                let fixed = [$((stringify!($fixed), self.$fixed != new.$fixed)),+];
                fixed.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
            }
        }

        /// The values that a setting takes, in the words of the manual.
        pub fn takes(setting: &str) -> &'static str {
            match setting {
                $(stringify!($name) => $takes,)+
                _ => NUMBER,
            }
        }
    };
}

settings! {
    read only at start: monitor_user, user, worker_ids, sandbox, commands_user, status_socket,
        control_socket, counters_socket;

    /// Who may share a worker.
    isolation: Isolation = Isolation::Client, "client, user, connection or shared(n)";
    /// Session workers in all, and workers that ask identds and next servers in all.
    max_workers: u16 = 1024, SMALL_NUMBER, from 1;
    /// How a client host is treated when no worker has a place for it.
    crowded: Crowded = Crowded::Refuse, "refuse or share";
    /// Seconds that a worker without sessions stays for the same client host.
    worker_idle: u32 = 60, SECONDS;
    /// The user that the monitor serves as; without it `sockd-monitor`, or root if there is no such user.
    monitor_user: Option<String> = None, ACCOUNT;
    /// The user that spawner and workers run as; without it `sockd`, or `nobody` if there is no such user.
    user: Option<String> = None, ACCOUNT;
    /// First id and number of ids of a range; every worker gets one of them as its own user and group.
    worker_ids: Option<(u32, u32)> = None, "None or (first id, number of ids)";
    /// Whether the daemon starts when the kernel lacks a layer of the sandbox.
    sandbox: Sandbox = Sandbox::Required, "required or best_effort";
    /// How workers move bytes.
    relay: RelayMode = RelayMode::Adaptive, "adaptive or splice";
    /// The protocols that clients may speak, all at the same port.
    protocols: Vec<Protocol> = vec![Protocol::Socks4, Protocol::Socks5],
        "[socks4, socks5] or one of both in brackets";
    /// Listeners for balancers alone, which name the client by a PROXY header.
    #[serde(with = "super::proxy_from")]
    proxy_from: Vec<ProxyListener> = Vec::new(), proxy_from::TAKES;
    /// The version of that header.
    proxy_protocol: ProxyProtocol = ProxyProtocol::V2, "v2 or v1";
    /// Whether clients are asked for a password that the rules do not ask of them.
    auth: Auth = Auth::Rules, "rules or prefer";
    /// The address in the reply to a granted CONNECT.
    bound_address: BoundAddress = BoundAddress::None, "none or real";
    /// Seconds for a client to send its request.
    request_limit: u32 = 30, NUMBER, from 1;
    /// Seconds for the name servers to answer one lookup.
    resolve_limit: u32 = 30, NUMBER, from 1;
    /// Seconds for identd to answer.
    ident_limit: u32 = 15, NUMBER, from 1;
    /// Seconds for a destination, however many addresses it has, to accept, and for a next server to answer.
    connect_limit: u32 = 120, NUMBER, from 1;
    /// Seconds for the server to come back on a BIND.
    bind_limit: u32 = 180, NUMBER, from 1;
    /// Seconds without a byte in either direction after which a relay is closed.
    idle_limit: u32 = 7200, NUMBER, from 1;
    /// The same for a relay when one side has ended its stream.
    half_close_limit: u32 = 600, NUMBER, from 1;
    /// When the kernel asks a silent peer whether it is still there, and gives it up.
    keepalive: Option<Keepalive> = Some(Keepalive(120, 30, 4)),
        "None or (seconds of silence, seconds between probes, number of probes)";
    /// Seconds that running relays get when the daemon is told to stop.
    stop_grace: u32 = 10, SECONDS;
    /// Seconds that connections get once a new program has taken over from the program that serves them.
    drain_limit: u32 = 86_400, NUMBER, from 1;
    /// Whether loopback, this host's addresses and link-local must be named by the permitting line.
    local_destinations: LocalDestinations = LocalDestinations::Guarded, "guarded or by_rules";
    /// IPv6 prefixes that a translator takes for IPv4 addresses, beside the well-known ones.
    #[serde(with = "crate::nat64")]
    nat64_prefixes: Vec<Nat64Prefix> = Vec::new(), nat64::TAKES;
    /// How a line that depends on unavailable names is decided.
    missing_names: MissingNames = MissingNames::Refuse, "refuse or no_match";
    /// Whether a BIND for 0.0.0.0 accepts a connection from anybody.
    bind_any: bool = false, YES_OR_NO;
    /// First and last port for BIND; without it the kernel chooses.
    bind_ports: Option<(u16, u16)> = None, PORTS;
    /// Addresses of this host, each with the address that replies to BIND announce instead.
    bind_announce: Vec<(IpAddr, IpAddr)> = Vec::new(), PAIRS;
    /// First and last port at which clients send their datagrams; without it the kernel chooses.
    udp_ports: Option<(u16, u16)> = None, PORTS;
    /// Addresses of this host, each with the address that replies to UDP ASSOCIATE announce instead.
    udp_announce: Vec<(IpAddr, IpAddr)> = Vec::new(), PAIRS;
    /// The port that a client's datagrams may come from.
    udp_source: UdpSource = UdpSource::Any, "any or strict";
    /// Seconds without a datagram after which a flow ends.
    udp_idle: u32 = 120, NUMBER, from 1;
    /// Seconds without a datagram after which a UDP association ends.
    association_idle: u32 = 300, NUMBER, from 1;
    /// The log lines about datagrams.
    udp_log: UdpLog = UdpLog::Associations, "associations or flows";
    /// Whether programs that use Rrcmd() are served. A client whose own port is one of 512 to 1023, which only root can
    /// have there, gets a port from the same range for its CONNECT or BIND (the first free one from 1023 down, as in
    /// rcmd(3)), and such a client that claims to be root is not refused because its identd names another user. Without
    /// it client ports mean nothing.
    privileged_ports: bool = false, YES_OR_NO;
    /// Whether the rules' commands are run, and how.
    commands: Commands = Commands::Sh, "sh, argv or off";
    /// The user that commands run as; without it `sockd-hook`, or `nobody` if there is no such user.
    commands_user: Option<String> = None, ACCOUNT;
    /// Whether relays that the rules just loaded would refuse are ended.
    recheck_on_reload: bool = false, YES_OR_NO;
    /// How the lines about sessions are written.
    log_format: LogFormat = LogFormat::Classic, "classic, full, json or session";
    /// The socket at which members of the group sockd-adm may look at the sessions: it hands out the ledger.
    status_socket: Socket = Socket::Auto, SOCKET;
    /// The socket at which members of the group sockd-adm may end sessions.
    control_socket: Socket = Socket::Auto, SOCKET;
    /// The socket at which members of the group sockd-exporter may read counters, which name nobody.
    counters_socket: Socket = Socket::Auto, SOCKET;
    /// Whether the names of clients and destinations are looked up for the log.
    reverse_names: bool = false, YES_OR_NO;
    /// The file that says who may log in; without it `/etc/sockd.passwd`, which may be missing.
    passwd_file: Option<String> = None, PATH;
    /// The file with the next servers of destinations; without it `/etc/socks.conf`, which may be missing. The command
    /// line takes precedence.
    upstream_file: Option<String> = None, PATH;
    /// The servers for lines that name no server, as `host:port,host:port`.
    upstream_server: Option<String> = None, "None or servers in quotes, as \"host:port,host:port\"";
    /// The user id that next servers are told; without it the user id that the client claims.
    upstream_user: Option<String> = None, "None or a user id in quotes";
    /// The names that next servers resolve.
    upstream_names: UpstreamNames = UpstreamNames::Unresolved, "unresolved, always or never";
    /// Seconds for which an unreachable next server is tried only after all others.
    upstream_retry: u32 = 60, NUMBER, from 1;
    /// Sessions in all.
    max_sessions: u32 = 65_536, NUMBER, from 1;
    /// Sessions of one client host; without it an eighth of `max_sessions`.
    max_sessions_per_host: Option<u32> = None, "None or a number from 1 to 4294967295";
    /// Connections of one client host a second, once it has used up its burst.
    connection_rate: u32 = 10_000, NUMBER, from 1;
    /// Connections of one client host at any rate.
    connection_burst: u32 = 20_000, NUMBER, from 1;
    /// Connections of all client hosts a second, once they have used up their burst.
    connection_rate_in_all: u32 = 100_000, NUMBER, from 1;
    /// Connections of all client hosts at any rate.
    connection_burst_in_all: u32 = 200_000, NUMBER, from 1;
    /// Unfinished requests in all; one more closes the oldest of them.
    max_requests: u32 = 16_384, NUMBER, from 1;
    /// Unfinished requests of one client host; one more closes the oldest of them.
    max_requests_per_host: u32 = 1_024, NUMBER, from 1;
    /// Lookups under way in all. One more fails.
    max_lookups: u32 = 1_024, NUMBER, from 1;
    /// Lookups under way for one client host. One more fails.
    max_lookups_per_host: u32 = 256, NUMBER, from 1;
    /// Questions to identds under way in all. A request that needs one more is refused with 92.
    max_idents: u32 = 1_024, NUMBER, from 1;
    /// Questions under way to the identd of one client host. A request that needs one more is refused with 92.
    max_idents_per_host: u32 = 256, NUMBER, from 1;
    /// Commands of the rules that run or wait, in all. One more is not run.
    max_commands: u32 = 72, NUMBER, from 1;
    /// Commands of the rules that run or wait because of one client host. One more is not run.
    max_commands_per_host: u32 = 32, NUMBER, from 1;
    /// Ports that wait for the server of a BIND, in all. One more BIND is refused with 91.
    max_binds: u32 = 4_096, NUMBER, from 1;
    /// Ports that wait for the server of a BIND, of one client host. One more BIND is refused with 91.
    max_binds_per_host: u32 = 256, NUMBER, from 1;
    /// UDP associations of one client host. One more is refused.
    max_associations_per_host: u32 = 1_024, NUMBER, from 1;
    /// Flows of one association. The flow that has been idle longest gives way to one more.
    max_flows: u16 = 512, SMALL_NUMBER, from 1;
    /// Flows of one client host. The datagrams of one more are dropped.
    max_flows_per_host: u32 = 2_048, NUMBER, from 1;
    /// Flows in all. The datagrams of one more are dropped.
    max_flows_in_all: u32 = 32_768, NUMBER, from 1;
    /// Log lines a second about refused requests of one client host. Further ones are counted, and the number is
    /// logged. Without it one host could fill the log, or use up the rate that syslogd grants to one program.
    max_refusals_logged: u32 = 500, NUMBER, from 1;
}

#[cfg(test)]
mod tests {
    #![expect(unreachable_pub, reason = "the items of the macro are public")]

    use super::{NUMBER, YES_OR_NO};
    use serde::{Deserialize, Serialize};

    settings! {
        read only at start: cups;

        /// A number whose least one is not 1.
        cups: u32 = 7, NUMBER, from 5;
        /// Another setting.
        milk: bool = true, YES_OR_NO;
    }

    #[test]
    fn a_number_that_is_too_small_is_named_with_its_least_one() {
        let few = Settings { cups: 3, milk: false };
        assert_eq!(few.too_small(), Some(("cups", 3, 5)));
        let fixed = few.keep_fixed(Settings::default());
        assert_eq!(fixed, Settings { cups: 3, milk: true });
        assert_eq!(fixed.fixed_since_start(&Settings::default()), ["cups"]);
        assert_eq!(takes("milk"), YES_OR_NO);
    }
}
