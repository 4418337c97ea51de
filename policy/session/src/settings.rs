//! The settings file, sockd.ron(5): everything that the classic configuration has no words for.

mod choices;
mod proxy_from;

pub use choices::{
    Auth, BoundAddress, Commands, Crowded, Isolation, Keepalive, LocalDestinations, LogFormat, MissingNames,
    Protocol, ProxyProtocol, Relay, Sandbox, Socket, UdpLog, UdpSource, UpstreamNames,
};
pub use proxy_from::ProxyListener;

use crate::nat64;
use serde::{Deserialize, Serialize};
use sockd_common::message::datagram::FlowLimits;
use sockd_common::message::session::Protocols;
use sockd_policy::{Nat64Prefix, Server, UserId, server_list};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// All settings with their defaults; unknown names in the file are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What a worker may be shared by.
    pub isolation: Isolation,
    /// Session workers in all, and workers that ask identds and next servers in all.
    pub max_workers: u16,
    /// What becomes of a client host for which there is no place.
    pub crowded: Crowded,
    /// Seconds that a worker without sessions stays for the same client host.
    pub worker_idle: u32,
    /// The user that the monitor serves as; without it `sockd-monitor`, or root where there is no such user.
    pub monitor_user: Option<String>,
    /// The user that spawner and workers run as; without it `sockd`, or `nobody` where there is no such user.
    pub user: Option<String>,
    /// First id and number of ids of a range of which every worker gets one as its own user and group.
    pub worker_ids: Option<(u32, u32)>,
    /// Whether the daemon starts when the kernel lacks a layer of the sandbox.
    pub sandbox: Sandbox,
    /// How workers move bytes.
    pub relay: Relay,
    /// What clients may speak, all at the same port.
    pub protocols: Vec<Protocol>,
    /// Listeners for balancers alone, which tell by a PROXY header who the client is.
    #[serde(with = "proxy_from")]
    pub proxy_from: Vec<ProxyListener>,
    /// The version of that header.
    pub proxy_protocol: ProxyProtocol,
    /// Whether clients are asked for a password that the rules do not ask of them.
    pub auth: Auth,
    /// What the reply to a granted CONNECT names.
    pub bound_address: BoundAddress,
    /// Seconds for a client to send its request.
    pub request_limit: u32,
    /// Seconds for the name servers to answer one lookup.
    pub resolve_limit: u32,
    /// Seconds for identd to answer.
    pub ident_limit: u32,
    /// Seconds for a destination to accept the connection, whatever number of addresses it has, and for a next server to
    /// answer.
    pub connect_limit: u32,
    /// Seconds for the server to come back on a BIND.
    pub bind_limit: u32,
    /// Seconds without a byte in either direction after which a relay is closed.
    pub idle_limit: u32,
    /// The same for a relay of which one side has ended its stream.
    pub half_close_limit: u32,
    /// When the kernel asks a silent peer whether it is still there, and gives it up.
    pub keepalive: Option<Keepalive>,
    /// Seconds that running relays get when the daemon is told to stop.
    pub stop_grace: u32,
    /// Seconds that connections get once a new program has taken over from the one that serves them.
    pub drain_limit: u32,
    /// Whether loopback, this host's addresses and link-local must be named by the permitting line.
    pub local_destinations: LocalDestinations,
    /// IPv6 prefixes that a translator takes for IPv4 addresses, beside the well-known ones.
    #[serde(with = "crate::nat64")]
    pub nat64_prefixes: Vec<Nat64Prefix>,
    /// What becomes of a request about which a line decides by names that could not be found out.
    pub missing_names: MissingNames,
    /// Let a BIND for 0.0.0.0 accept a connection from anybody.
    pub bind_any: bool,
    /// First and last port for BIND; without it the kernel chooses.
    pub bind_ports: Option<(u16, u16)>,
    /// Addresses of this host, each with the one that clients are told in its place in the reply to a BIND.
    pub bind_announce: Vec<(IpAddr, IpAddr)>,
    /// First and last port at which clients send their datagrams; without it the kernel chooses.
    pub udp_ports: Option<(u16, u16)>,
    /// Addresses of this host, each with the one that clients are told in its place in the reply to a UDP ASSOCIATE.
    pub udp_announce: Vec<(IpAddr, IpAddr)>,
    /// Which port of a client its datagrams may come from.
    pub udp_source: UdpSource,
    /// Seconds without a datagram after which a flow ends.
    pub udp_idle: u32,
    /// Seconds without a datagram after which a UDP association ends.
    pub association_idle: u32,
    /// Which lines there are about datagrams.
    pub udp_log: UdpLog,
    /// Serve programs that use Rrcmd(): a client whose own port is one of 512 to 1023, which only root can have
    /// there, gets a port from the same range for its CONNECT or BIND (first free one from 1023 down, as rcmd(3)
    /// does it), and such a client that claims to be root is not refused because its identd names another user.
    /// Without it client ports mean nothing.
    pub privileged_ports: bool,
    /// Whether the rules' commands are run, and how.
    pub commands: Commands,
    /// The user that commands run as; without it `sockd-hook`, or `nobody` where there is no such user.
    pub commands_user: Option<String>,
    /// End relays that the rules just loaded would refuse.
    pub recheck_on_reload: bool,
    /// How the lines about sessions are written.
    pub log_format: LogFormat,
    /// Where members of the group sockd-adm may look at the sessions: a socket that hands out the ledger.
    pub status_socket: Socket,
    /// Where members of the group sockd-adm may end sessions.
    pub control_socket: Socket,
    /// Where members of the group sockd-exporter may read counters, which name nobody.
    pub counters_socket: Socket,
    /// Look up the names of clients and destinations for the log.
    pub reverse_names: bool,
    /// The file that says who may log in; without it `/etc/sockd.passwd`, which may be missing.
    pub passwd_file: Option<String>,
    /// The file that says through which servers destinations are reached; without it `/etc/socks.conf`, which may be
    /// missing. The command line goes before it.
    pub upstream_file: Option<String>,
    /// The servers of lines that name none, as `host:port,host:port`.
    pub upstream_server: Option<String>,
    /// The user id that next servers are told; without it the one that the client claims.
    pub upstream_user: Option<String>,
    /// Which names next servers are left to resolve.
    pub upstream_names: UpstreamNames,
    /// Seconds that a next server which could not be reached is tried only after all others.
    pub upstream_retry: u32,
    /// Sessions in all.
    pub max_sessions: u32,
    /// Sessions of one client host; without it an eighth of `max_sessions`.
    pub max_sessions_per_host: Option<u32>,
    /// Connections of one client host a second, once it has used up its burst.
    pub connection_rate: u32,
    /// Connections of one client host at any rate.
    pub connection_burst: u32,
    /// Connections of all client hosts a second, once they have used up their burst.
    pub connection_rate_in_all: u32,
    /// Connections of all client hosts at any rate.
    pub connection_burst_in_all: u32,
    /// Unfinished requests in all; one more closes the oldest of them.
    pub max_requests: u32,
    /// Unfinished requests of one client host; one more closes the oldest of them.
    pub max_requests_per_host: u32,
    /// Lookups under way in all. One more fails.
    pub max_lookups: u32,
    /// Lookups under way for one client host. One more fails.
    pub max_lookups_per_host: u32,
    /// Questions to identds under way in all. A request that needs one more is refused with 92.
    pub max_idents: u32,
    /// Questions under way to the identd of one client host. A request that needs one more is refused with 92.
    pub max_idents_per_host: u32,
    /// Commands of the rules that run or wait, in all. One more is not run.
    pub max_commands: u32,
    /// Commands of the rules that run or wait because of one client host. One more is not run.
    pub max_commands_per_host: u32,
    /// Ports that wait for the server of a BIND, in all. One more BIND is refused with 91.
    pub max_binds: u32,
    /// Ports that wait for the server of a BIND, of one client host. One more BIND is refused with 91.
    pub max_binds_per_host: u32,
    /// UDP associations of one client host. One more is refused.
    pub max_associations_per_host: u32,
    /// Flows of one association. The one that was idle for longest gives way to one more.
    pub max_flows: u16,
    /// Flows of one client host. The datagrams of one more are dropped.
    pub max_flows_per_host: u32,
    /// Flows in all. The datagrams of one more are dropped.
    pub max_flows_in_all: u32,
    /// Log lines a second about requests of one client host that are not granted; more are counted, and the number
    /// is logged. Without it one host could fill the log, or use up what syslogd takes from one program.
    pub max_refusals_logged: u32,
}

/// The defaults but for the protocols, of which a constant can have no list.
const DEFAULT: Settings = Settings {
    isolation: Isolation::Client,
    max_workers: 1024,
    crowded: Crowded::Refuse,
    worker_idle: 60,
    monitor_user: None,
    user: None,
    worker_ids: None,
    sandbox: Sandbox::Required,
    relay: Relay::Adaptive,
    protocols: Vec::new(),
    proxy_from: Vec::new(),
    proxy_protocol: ProxyProtocol::V2,
    auth: Auth::Rules,
    bound_address: BoundAddress::None,
    request_limit: 30,
    resolve_limit: 30,
    ident_limit: 15,
    connect_limit: 120,
    bind_limit: 180,
    idle_limit: 7200,
    half_close_limit: 600,
    keepalive: Some(Keepalive(120, 30, 4)),
    stop_grace: 10,
    drain_limit: 86_400,
    local_destinations: LocalDestinations::Guarded,
    nat64_prefixes: Vec::new(),
    missing_names: MissingNames::Refuse,
    bind_any: false,
    bind_ports: None,
    bind_announce: Vec::new(),
    udp_ports: None,
    udp_announce: Vec::new(),
    udp_source: UdpSource::Any,
    udp_idle: 120,
    association_idle: 300,
    udp_log: UdpLog::Associations,
    privileged_ports: false,
    commands: Commands::Sh,
    commands_user: None,
    recheck_on_reload: false,
    log_format: LogFormat::Classic,
    status_socket: Socket::Auto,
    control_socket: Socket::Auto,
    counters_socket: Socket::Auto,
    reverse_names: false,
    passwd_file: None,
    upstream_file: None,
    upstream_server: None,
    upstream_user: None,
    upstream_names: UpstreamNames::Unresolved,
    upstream_retry: 60,
    max_sessions: 65_536,
    max_sessions_per_host: None,
    connection_rate: 10_000,
    connection_burst: 20_000,
    connection_rate_in_all: 100_000,
    connection_burst_in_all: 200_000,
    max_requests: 16_384,
    max_requests_per_host: 1_024,
    max_lookups: 1_024,
    max_lookups_per_host: 256,
    max_idents: 1_024,
    max_idents_per_host: 256,
    max_commands: 72,
    max_commands_per_host: 32,
    max_binds: 4_096,
    max_binds_per_host: 256,
    max_associations_per_host: 1_024,
    max_flows: 512,
    max_flows_per_host: 2_048,
    max_flows_in_all: 32_768,
    max_refusals_logged: 500,
};

impl Default for Settings {
    fn default() -> Self {
        Self { protocols: vec![Protocol::Socks4, Protocol::Socks5], ..DEFAULT }
    }
}

impl Settings {
    /// The settings, where each value is one that it may have. The error begins with the name of the setting.
    pub fn checked(self) -> Result<Self, String> {
        if let Some((name, _)) = self.numbers().into_iter().find(|(_, number)| *number == 0) {
            return Err(format!("{name}: expected a number from 1, found 0"));
        }
        if self.protocols.is_empty() {
            return Err("protocols: expected socks4, socks5 or both, found none".into());
        }
        if self.upstream_server.is_some() && self.default_servers().is_empty() {
            return Err("upstream_server: expected servers as host:port,host:port".into());
        }
        if self.upstream_user.as_ref().is_some_and(|user| UserId::parse(user.as_bytes()).is_err()) {
            return Err("upstream_user: expected a user id of at most 255 bytes".into());
        }
        self.keepalive.map_or(Ok(()), Keepalive::check)?;
        self.isolation.check(self.crowded)?;
        self.status_socket.check("status_socket")?;
        self.control_socket.check("control_socket")?;
        self.counters_socket.check("counters_socket")?;
        proxy_from::check(&self.proxy_from)?;
        match self.worker_ids {
            Some((0, _) | (_, 0)) => Err("worker_ids: expected a first id and a count, both from 1".into()),
            Some((first, count)) if first.checked_add(count).is_none() => {
                Err(format!("worker_ids: {first} and {count} ids from there go past the last id"))
            }
            _ => {
                check_ports("bind_ports", self.bind_ports)?;
                check_ports("udp_ports", self.udp_ports)?;
                Ok(self)
            }
        }
    }

    /// The settings that are numbers from 1.
    fn numbers(&self) -> [(&'static str, u32); 33] {
        [
            ("max_workers", u32::from(self.max_workers)),
            ("request_limit", self.request_limit),
            ("resolve_limit", self.resolve_limit),
            ("ident_limit", self.ident_limit),
            ("connect_limit", self.connect_limit),
            ("bind_limit", self.bind_limit),
            ("idle_limit", self.idle_limit),
            ("half_close_limit", self.half_close_limit),
            ("drain_limit", self.drain_limit),
            ("upstream_retry", self.upstream_retry),
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_host", self.sessions_per_host()),
            ("connection_rate", self.connection_rate),
            ("connection_burst", self.connection_burst),
            ("connection_rate_in_all", self.connection_rate_in_all),
            ("connection_burst_in_all", self.connection_burst_in_all),
            ("max_requests", self.max_requests),
            ("max_requests_per_host", self.max_requests_per_host),
            ("max_lookups", self.max_lookups),
            ("max_lookups_per_host", self.max_lookups_per_host),
            ("max_idents", self.max_idents),
            ("max_idents_per_host", self.max_idents_per_host),
            ("max_commands", self.max_commands),
            ("max_commands_per_host", self.max_commands_per_host),
            ("max_binds", self.max_binds),
            ("max_binds_per_host", self.max_binds_per_host),
            ("udp_idle", self.udp_idle),
            ("association_idle", self.association_idle),
            ("max_associations_per_host", self.max_associations_per_host),
            ("max_flows", self.max_flows.into()),
            ("max_flows_per_host", self.max_flows_per_host),
            ("max_flows_in_all", self.max_flows_in_all),
            ("max_refusals_logged", self.max_refusals_logged),
        ]
    }

    /// Sessions that one client host may have.
    pub fn sessions_per_host(&self) -> u32 {
        self.max_sessions_per_host.unwrap_or_else(|| self.max_sessions.div_ceil(8))
    }

    /// What clients may speak, as workers are told.
    pub fn spoken(&self) -> Protocols {
        let speaks = |protocol| self.protocols.contains(&protocol);
        Protocols { socks4: speaks(Protocol::Socks4), socks5: speaks(Protocol::Socks5) }
    }

    /// What datagram workers keep to.
    pub fn flow_limits(&self) -> FlowLimits {
        FlowLimits {
            flows: self.max_flows,
            flow_idle: self.udp_idle,
            association_idle: self.association_idle,
        }
    }

    /// The address that a client is told for its datagrams in the place of this one.
    pub fn announced(&self, inside: IpAddr) -> IpAddr {
        outside(&self.udp_announce, inside)
    }

    /// The address that a client is told for a BIND in the place of this one.
    pub fn bind_announced(&self, inside: IpAddr) -> IpAddr {
        outside(&self.bind_announce, inside)
    }

    /// Whom the listener at this address believes; nothing where clients themselves come to it.
    pub fn balancers(&self, listener: SocketAddr) -> Option<&ProxyListener> {
        self.proxy_from.iter().find(|proxied| proxied.is_at(listener))
    }

    /// What is wrong where `proxy_from` has a listener that is none of these: those who come where it is thought to be would
    /// be taken for clients.
    pub fn lacks_listener(&self, listeners: &[SocketAddr]) -> Option<String> {
        let is_there = |proxied: &&ProxyListener| listeners.iter().any(|listener| proxied.is_at(*listener));
        let lacking = self.proxy_from.iter().find(|proxied| !is_there(proxied))?;
        Some(format!("proxy_from: expected an address where clients are accepted, found {}", lacking.at))
    }

    /// The servers of lines of socks.conf(5) that name none.
    pub fn default_servers(&self) -> Vec<Server> {
        self.upstream_server.as_deref().and_then(server_list).unwrap_or_default()
    }

    /// The new settings with what is read only at start as it is.
    pub fn keep_fixed(&self, new: Self) -> Self {
        Self {
            monitor_user: self.monitor_user.clone(),
            user: self.user.clone(),
            worker_ids: self.worker_ids,
            sandbox: self.sandbox,
            commands_user: self.commands_user.clone(),
            status_socket: self.status_socket.clone(),
            control_socket: self.control_socket.clone(),
            counters_socket: self.counters_socket.clone(),
            ..new
        }
    }

    /// The names of settings that differ and are read only at start.
    pub fn fixed_since_start(&self, new: &Self) -> Vec<&'static str> {
        let mut names = Vec::new();
        let fixed = [
            ("monitor_user", self.monitor_user != new.monitor_user),
            ("user", self.user != new.user),
            ("worker_ids", self.worker_ids != new.worker_ids),
            ("sandbox", self.sandbox != new.sandbox),
            ("commands_user", self.commands_user != new.commands_user),
            ("status_socket", self.status_socket != new.status_socket),
            ("control_socket", self.control_socket != new.control_socket),
            ("counters_socket", self.counters_socket != new.counters_socket),
        ];
        names.extend(fixed.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name));
        names
    }
}

/// What stands for an address on the other side of a translator.
fn outside(pairs: &[(IpAddr, IpAddr)], inside: IpAddr) -> IpAddr {
    let mapped = pairs.iter().find(|(own, _)| *own == inside);
    mapped.map_or(inside, |(_, outside)| *outside)
}

fn check_ports(name: &str, ports: Option<(u16, u16)>) -> Result<(), String> {
    match ports {
        Some((first, last)) if first == 0 || first > last => Err(format!(
            "{name}: expected a first port from 1 and a last one not below it, found {first} and {last}"
        )),
        _ => Ok(()),
    }
}

/// Where the setting stands that an error begins with; nothing where the error has a line already.
pub fn line_of(text: &str, error: &str) -> String {
    let setting = error.split_once(':').map_or("", |(name, _)| name);
    let line = text.lines().position(|line| {
        let rest = line.trim_start_matches(['(', ' ', '\t']).strip_prefix(setting);
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    });
    line.map_or_else(String::new, |line| format!("line {}: ", line.saturating_add(1)))
}

/// What a setting takes, as the manual says it.
pub fn takes(setting: &str) -> &'static str {
    match setting {
        "auth" => "rules or prefer",
        "isolation" => "client, user, connection or shared(n)",
        "crowded" => "refuse or share",
        "sandbox" => "required or best_effort",
        "relay" => "adaptive or splice",
        "protocols" => "[socks4, socks5] or one of both in brackets",
        "bound_address" => "none or real",
        "local_destinations" => "guarded or by_rules",
        "nat64_prefixes" => nat64::TAKES,
        "proxy_from" => proxy_from::TAKES,
        "proxy_protocol" => "v2 or v1",
        "missing_names" => "refuse or no_match",
        "commands" => "sh, argv or off",
        "log_format" => "classic, full, json or session",
        "status_socket" | "control_socket" | "counters_socket" => "auto, off or at(\"/path\")",
        "upstream_names" => "unresolved, always or never",
        "bind_any" | "privileged_ports" | "recheck_on_reload" | "reverse_names" => "true or false",
        "worker_ids" => "None or (first id, number of ids)",
        "bind_ports" | "udp_ports" => "None or (first port, last port)",
        "udp_announce" | "bind_announce" => {
            "[] or pairs of addresses in quotes, as [(\"10.0.0.1\", \"192.0.2.1\")]"
        }
        "udp_source" => "any or strict",
        "udp_log" => "associations or flows",
        "monitor_user" | "user" | "commands_user" => "None or the name of an account in quotes",
        "keepalive" => "None or (seconds of silence, seconds between probes, number of probes)",
        "passwd_file" | "upstream_file" => "None or the path of a file in quotes",
        "upstream_server" => "None or servers in quotes, as \"host:port,host:port\"",
        "upstream_user" => "None or a user id in quotes",
        "max_workers" | "max_flows" => "a number from 1 to 65535",
        "max_sessions_per_host" => "None or a number from 1 to 4294967295",
        "worker_idle" | "stop_grace" => "a number of seconds",
        _ => "a number from 1 to 4294967295",
    }
}

/// A setting in seconds as a duration.
pub fn seconds(setting: u32) -> Duration {
    Duration::from_secs(setting.into())
}
