//! The settings file, sockd.ron(5): everything that the classic configuration cannot express.

mod choices;
mod proxy_from;
mod table;

pub use choices::{
    Auth, BoundAddress, Commands, Crowded, Isolation, Keepalive, LocalDestinations, LogFormat, MissingNames,
    Protocol, ProxyProtocol, Sandbox, Socket, UdpLog, UdpSource, UpstreamNames,
};
pub use proxy_from::ProxyListener;
pub use table::{Settings, takes};

use sockd_common::message::datagram::FlowLimits;
use sockd_common::message::session::Protocols;
use sockd_policy::{Server, UserId, server_list};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

impl Settings {
    /// Returns the settings if every value is allowed. An error begins with the name of the setting.
    pub fn checked(self) -> Result<Self, String> {
        let of_host = self.max_sessions_per_host.map(|number| ("max_sessions_per_host", number, 1));
        let of_host = of_host.filter(|(_, number, least)| number < least);
        if let Some((name, number, least)) = self.too_small().or(of_host) {
            return Err(format!("{name}: expected a number from {least}, found {number}"));
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

    /// Sessions that one client host may have.
    pub fn sessions_per_host(&self) -> u32 {
        self.max_sessions_per_host.unwrap_or_else(|| self.max_sessions.div_ceil(8))
    }

    /// The protocols that clients may speak, as workers are told.
    pub fn spoken(&self) -> Protocols {
        let speaks = |protocol| self.protocols.contains(&protocol);
        Protocols { socks4: speaks(Protocol::Socks4), socks5: speaks(Protocol::Socks5) }
    }

    /// The limits that datagram workers enforce.
    pub fn flow_limits(&self) -> FlowLimits {
        FlowLimits {
            flows: self.max_flows,
            flow_idle: self.udp_idle,
            association_idle: self.association_idle,
        }
    }

    /// The address that replies to UDP ASSOCIATE announce instead of `inside`.
    pub fn announced(&self, inside: IpAddr) -> IpAddr {
        outside(&self.udp_announce, inside)
    }

    /// The address that replies to BIND announce instead of `inside`.
    pub fn bind_announced(&self, inside: IpAddr) -> IpAddr {
        outside(&self.bind_announce, inside)
    }

    /// The balancers that the listener at this address believes; `None` if clients connect to it directly.
    pub fn balancers(&self, listener: SocketAddr) -> Option<&ProxyListener> {
        self.proxy_from.iter().find(|proxied| proxied.is_at(listener))
    }

    /// The error if `proxy_from` has a listener that is not one of these. Balancers that connect to the intended
    /// listener would be taken for clients.
    pub fn lacks_listener(&self, listeners: &[SocketAddr]) -> Option<String> {
        let is_there = |proxied: &&ProxyListener| listeners.iter().any(|listener| proxied.is_at(*listener));
        let lacking = self.proxy_from.iter().find(|proxied| !is_there(proxied))?;
        Some(format!("proxy_from: expected an address where clients are accepted, found {}", lacking.at))
    }

    /// The servers for lines of socks.conf(5) that name no server.
    pub fn default_servers(&self) -> Vec<Server> {
        self.upstream_server.as_deref().and_then(server_list).unwrap_or_default()
    }
}

/// The address that represents `inside` on the other side of a translator.
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

/// The line of the setting that an error begins with; empty if the error names a line already.
pub fn line_of(text: &str, error: &str) -> String {
    let setting = error.split_once(':').map_or("", |(name, _)| name);
    let line = text.lines().position(|line| {
        let rest = line.trim_start_matches(['(', ' ', '\t']).strip_prefix(setting);
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    });
    line.map_or_else(String::new, |line| format!("line {}: ", line.saturating_add(1)))
}

/// A setting in seconds as a duration.
pub fn seconds(setting: u32) -> Duration {
    Duration::from_secs(setting.into())
}
