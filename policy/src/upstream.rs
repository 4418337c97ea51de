//! `socks.conf` of the SOCKSified server: how a destination that `sockd.conf` permits is reached.
//!
//! ```text
//! line    = action ["*=" userlist] destination [op port] [":" shell_cmd]
//! action  = "direct" | "deny" | "sockd" ["@=" servers] | "sockd@" servers | "sockd5" ["@=" servers]
//! servers = host [":" port], "," between them, no blanks; nothing is the default server
//! ```
//!
//! Destinations, user lists, ports and commands are those of `sockd.conf`. The first matching line counts, and no match
//! denies. Without the file every destination is reached directly; the caller knows that.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use sockd_table::{
    Builder, FactState, Found, Host, HostName, InDoubt, Kind, LONGEST_LINE, Limits, Op, Pattern, Protocol,
    Query, Rule, RuleBody, Table, canonical,
};

use crate::conf::{ports, template, user_list};
use crate::destination::{Destination, parse_destination};
use crate::embedded::{Nat64Prefix, of_embedded};
use crate::error::{Faults, LineError};
use crate::line::{Words, each_line, servers};
use crate::request::Version;
use crate::services::Services;
use crate::template::{Template, are_commands};
use crate::user::UserId;

/// The lines of one `socks.conf`, made by [`parse_upstreams`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    // The choice of a line is the text of its action, in the form that `Way` is written in.
    pub(crate) table: Table,
}

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By a connection from this host.
    Direct,
    /// Not at all.
    Deny,
    /// Through the first of these servers that can be reached, or through the default server if there are none. It is asked
    /// in this version of the protocol.
    Sockd(Version, Vec<Server>),
}

/// An upstream SOCKS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address or the name.
    pub host: Destination,
    /// The port; `None` stands for the usual one.
    pub port: Option<u16>,
}

/// The answer of the lines for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream<'r> {
    /// This way.
    By {
        /// The way.
        way: Way,
        /// The line that says so, counted from 1; 0 if no line does.
        line: u32,
        /// The command of the line.
        command: Option<Template<'r>>,
    },
    /// A line depends on the names of the destination. Find them out and ask again.
    NeedNames,
    /// A line depends on the names of the destination, which could not be had.
    NamesUnavailable {
        /// The line, counted from 1.
        line: u32,
    },
}

/// Reads `socks.conf`; `services` and `user_file` are those of [`crate::parse_conf`]. Lines that begin with `domain`,
/// `nameserver`, `bind` or `findserver` belong to other readers of the file, and are skipped.
///
/// # Errors
/// Every faulty line, at most a thousand of them, and how many more there are.
pub fn parse_upstreams(
    text: &[u8],
    services: &Services,
    user_file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Upstreams, Vec<LineError>> {
    let mut builder = Builder::default();
    let mut faults = Faults::default();
    if !builder.admits(text.len()) {
        return Err(alloc::vec![LineError::new(0, "expected a shorter file".into())]);
    }
    each_line(text, &mut faults, |number, line| {
        let mut words = Words::of(number, line)?;
        let foreign = |word: &str| FOREIGN.iter().any(|name| word.eq_ignore_ascii_case(name));
        if words.is_blank() || words.peek().is_some_and(foreign) {
            return Ok(());
        }
        let choice = builder.text(&way(&mut words)?.to_string());
        let users = match words.take_marked("*=") {
            Some(list) => user_list(&mut builder, user_file, number, list)?,
            None => 0,
        };
        let destination = words.pattern("destination")?;
        let ports = ports(&mut words, services)?;
        words.end("port operator or the end of the line")?;
        let template = words.command.map_or(Ok(0), |text| template(&mut builder, number, text))?;
        let body = RuleBody { users, template, ports, ..RuleBody::of(choice) };
        builder.rule(number, &Pattern::Any, &destination, body);
        Ok(())
    });
    faults.none()?;
    Ok(Upstreams { table: builder.finish(&UPSTREAMS) })
}

const FOREIGN: [&str; 4] = ["domain", "nameserver", "bind", "findserver"];

fn way(words: &mut Words) -> Result<Way, LineError> {
    let word = words.peek().unwrap_or_default();
    let fault = words.expected("direct, deny, sockd or sockd5");
    words.take();
    let simple = [
        ("direct", Way::Direct),
        ("deny", Way::Deny),
        ("sockd", Way::Sockd(Version::Socks4, Vec::new())),
        ("sockd5", Way::Sockd(Version::Socks5, Vec::new())),
    ];
    let way = simple.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, way)| way);
    let (version, list) = match way {
        Some(Way::Sockd(version, _)) => (version, words.take_marked("@=")),
        Some(way) => return Ok(way),
        None if word.starts_with('@') => return Err(fault),
        None => (Version::Socks4, Some(servers(word).ok_or(fault)?)),
    };
    let list = list.unwrap_or_default();
    let way = server_list(list).map(|servers| Way::Sockd(version, servers));
    way.ok_or_else(|| words.wrong("servers as host:port,host:port", list))
}

/// Reads a list of servers in the form that follows `@=`; `None` if it is not one.
pub fn server_list(list: &str) -> Option<Vec<Server>> {
    if list.is_empty() { Some(Vec::new()) } else { list.split(',').map(server).collect() }
}

/// Reads `host` or `host:port`. An IPv6 address stands in brackets if a port follows.
fn server(text: &str) -> Option<Server> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let port = Some(address.port()).filter(|port| *port != 0)?;
        return Some(Server { host: Destination::Address(canonical(address.ip())), port: Some(port) });
    }
    // An address in brackets has a port, and has been read above.
    let host = |text: &str| parse_destination(text.as_bytes()).ok().filter(|_| !text.starts_with('['));
    match (host(text), text.rsplit_once(':')) {
        (Some(host), _) => Some(Server { host, port: None }),
        (None, Some((name, port))) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Server { host: host(name)?, port: Some(port) })
        }
        _ => None,
    }
}

impl Upstreams {
    /// The way of a permitted request. `destination` is `None` for a name that this host does not resolve; of the lines
    /// with networks, only those that deny match it. `names` are those of the destination. This host itself, and
    /// `0.0.0.0` of a BIND from anybody, are always direct. A line that denies matches IPv4 addresses inside IPv6 ones
    /// too, by the prefixes of the site as well.
    pub fn way_for(
        &self,
        destination: Option<IpAddr>,
        names: FactState<&[HostName]>,
        port: u16,
        user: &UserId,
        nat64: &[Nat64Prefix],
    ) -> Upstream<'_> {
        let destination = destination.map(canonical);
        if destination.is_some_and(|address| address.is_loopback() || address.is_unspecified()) {
            return Upstream::By { way: Way::Direct, line: 0, command: None };
        }
        let query = Query {
            source: Host { address: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), names: FactState::Known(&[]) },
            destination: Host { address: destination, names },
            port,
            user: user.as_bytes(),
            groups: &[],
            protocol: Protocol::ANY,
        };
        match self.table.find_with_others(&query, &of_embedded(&query, nat64)) {
            Found::NeedNames(_) => Upstream::NeedNames,
            Found::NamesUnavailable { rule, .. } => {
                Upstream::NamesUnavailable { line: self.table.line(rule) }
            }
            Found::Nothing => Upstream::By { way: Way::Deny, line: 0, command: None },
            Found::Rule { rule, body } => {
                let body = self.table.body(body);
                let way = body.and_then(|body| way_of(self.table.string(body.choice))).unwrap_or(Way::Deny);
                let command = body.and_then(|body| self.table.template(body.template)).map(Template::checked);
                Upstream::By { way, line: self.table.line(rule), command }
            }
        }
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no line, so that no destination can be reached.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether a line leads from this host to a destination, and not through a next server.
    pub fn goes_direct(&self) -> bool {
        self.table.bodies().iter().any(|body| self.table.string(body.choice) == "direct")
    }

    /// The first line, counted from 1, that names no servers and so leaves them to the settings.
    pub fn first_without_servers(&self) -> Option<u32> {
        let unnamed = |(_, rule): &(u32, Rule)| {
            self.table
                .body(rule.body)
                .is_some_and(|body| ["sockd", "sockd5"].contains(&self.table.string(body.choice)))
        };
        self.table.rules().find(unnamed).map(|(number, _)| self.table.line(number))
    }

    /// Every command, once however many lines have it.
    pub fn templates(&self) -> impl Iterator<Item = Template<'_>> {
        self.table.templates().map(Template::checked)
    }

    /// The lines in effect, in a form that `socks.conf` accepts.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.table.rules().map(|(index, _)| {
            let line = format!("{}", Line { table: &self.table, index });
            if line.len() > LONGEST_LINE { format!("{:#}", Line { table: &self.table, index }) } else { line }
        })
    }
}

/// The kind of `socks.conf`.
pub(crate) const UPSTREAMS: Kind = Kind { number: 3, in_doubt, asks: |_| 0, check };

/// The way of a request must not rest on a guess either.
fn in_doubt(table: &Table, choice: u32) -> InDoubt {
    if table.string(choice) == "deny" { InDoubt::Deny } else { InDoubt::Stop }
}

fn check(table: &Table) -> Result<(), &'static str> {
    if !are_commands(table) {
        return Err("a command that is none");
    }
    if !table.bodies().iter().all(|body| way_of(table.string(body.choice)).is_some()) {
        return Err("a rule that says nothing known");
    }
    let own_word = |body: &RuleBody| {
        (body.protocol, body.limits) == (Protocol::ANY, Limits::NONE)
            && body.groups == 0
            && body.ports.op != Op::In
    };
    let own = !table.has_sources() && !table.has_specials() && table.bodies().iter().all(own_word);
    if own { Ok(()) } else { Err("a rule of another kind of file") }
}

/// The way that a string stands for, if the way would be written as this string.
pub(crate) fn way_of(text: &str) -> Option<Way> {
    let mut words = Words::of(1, text.as_bytes()).ok()?;
    let way = way(&mut words).ok()?;
    (way.to_string() == text).then_some(way)
}

struct Line<'a> {
    table: &'a Table,
    index: u32,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.table.rule(self.index);
        let choice = rule.and_then(|rule| self.table.body(rule.body)).map(|body| body.choice);
        self.table.write(f, self.index, self.table.string(choice.unwrap_or_default()), false)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Direct => f.write_str("direct"),
            Way::Deny => f.write_str("deny"),
            Way::Sockd(version, servers) => {
                f.write_str(if *version == Version::Socks5 { "sockd5" } else { "sockd" })?;
                if servers.is_empty() {
                    return Ok(());
                }
                let servers: Vec<_> = servers.iter().map(Server::to_string).collect();
                write!(f, " @={}", servers.join(","))
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Destination::Address(address), Some(port)) => SocketAddr::new(*address, port).fmt(f),
            (Destination::Address(address), None) => address.fmt(f),
            (Destination::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (Destination::Name(name), None) => name.fmt(f),
        }
    }
}
