//! The files that decide on requests, and their decisions.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use sockd_policy::guard::{self, AddressKind, Refusal};
use sockd_policy::hook::Values;
use sockd_policy::{
    Command, DenyReason, FactState, Facts, HostName, IdentMode, Identity, Login, Permit, Request, Route,
    Routes, RuleRef, RuleSet, Services, Upstream, Upstreams, UserId, Verdict, Way, without_mark,
};

use crate::cli::{Check, Ident};
use crate::files::{Kind, Policy, or_default};

use super::asked::Asked;

/// The files that decide on requests.
pub(super) struct Trial {
    pub(super) rules: RuleSet,
    pub(super) routes: Option<(PathBuf, Routes)>,
    pub(super) upstreams: Option<(PathBuf, Upstreams)>,
    pub(super) conf: PathBuf,
    /// The lines of the text and of the files that it includes, by their numbers, to show them as they are written. A frozen
    /// file has none.
    pub(super) text: Vec<String>,
    pub(super) services: Services,
    pub(super) mode: IdentMode,
    /// The answer that identd is taken to give; `None` for one that confirms the claimed user.
    pub(super) identity: Option<Identity>,
}

/// The decision on a request.
pub(super) struct Outcome<'r> {
    pub(super) verdict: Result<Permit<'r>, DenyReason>,
    pub(super) rule: Option<RuleRef<'r>>,
    pub(super) refusal: Option<Refusal>,
    pub(super) route: Option<Route>,
    pub(super) upstream: Option<Upstream<'r>>,
}

/// The most lines that are shown because they came close.
const CLOSE: usize = 20;

impl Trial {
    /// Reads the files that the options name.
    pub(super) fn load(options: &Check, services: Services) -> Result<Trial, Vec<String>> {
        let conf = or_default(&options.conf, place(options, Kind::Rules));
        let Policy::Rules(rules) = read(options, Kind::Rules, &conf)? else { return Err(Vec::new()) };
        let routes = match optional(options, &options.route, Kind::Routes)? {
            Some((path, Policy::Routes(routes))) => Some((path, routes)),
            _ => None,
        };
        let upstreams = match optional(options, &options.upstream, Kind::Upstreams)? {
            Some((path, Policy::Upstreams(upstreams))) => Some((path, upstreams)),
            _ => None,
        };
        let texts = [conf.clone()].into_iter().chain(rules.included().iter().map(|file| file.file().into()));
        let text = if options.frozen { Vec::new() } else { texts.flat_map(|file| lines(&file)).collect() };
        let (mode, identity) = (ident_mode(options.ident), identity(options.ident));
        Ok(Trial { rules, routes, upstreams, conf, text, services, mode, identity })
    }

    fn request<'a>(&self, asked: &'a Asked) -> Request<'a> {
        Request {
            source: asked.source,
            destination: Some(asked.destination),
            port: asked.port,
            command: asked.command,
            version: asked.version,
            user: &asked.user,
            ident_default: self.mode,
            nat64: &[],
        }
    }

    /// Decides on a request as the daemon would.
    pub(super) fn decide(&self, asked: &Asked) -> Outcome<'_> {
        let confirmed = Identity::Known(asked.user.clone());
        let facts = facts(asked, self.identity.as_ref().unwrap_or(&confirmed));
        let (verdict, rule) = match self.rules.decide(&self.request(asked), &facts) {
            Verdict::Permit(permit) => (Ok(permit), Some(permit.rule)),
            Verdict::Deny(deny) => (Err(deny.why), deny.rule),
            Verdict::Need(_) => (Err(DenyReason::NoMatch), None),
        };
        let (upstream, route) = if verdict.is_ok() { self.ways(asked) } else { (None, None) };
        Outcome { verdict, rule, refusal: refusal(asked, verdict.as_ref().ok()), route, upstream }
    }

    /// The way and the route of a permitted request.
    fn ways(&self, asked: &Asked) -> (Option<Upstream<'_>>, Option<Route>) {
        let Asked { destination, destination_names, port, user, .. } = asked;
        let upstream = self.upstreams.as_ref().map(|(_, upstreams)| {
            upstreams.way_for(Some(*destination), FactState::Known(destination_names), *port, user, &[])
        });
        // An upstream server is dialled in place of the destination, so the destination needs no route.
        let is_direct = !matches!(upstream, Some(Upstream::By { way: Way::Sockd(..), .. }));
        let routes = self.routes.as_ref().filter(|_| is_direct);
        (
            upstream,
            routes.map(|(_, routes)| routes.source_for(*destination, FactState::Known(destination_names))),
        )
    }

    /// The lines before the deciding one that differ from the request in a single field, each with that field.
    pub(super) fn close_lines<'r>(
        &'r self,
        asked: &Asked,
        outcome: &Outcome,
    ) -> Vec<(RuleRef<'r>, &'static str)> {
        let confirmed = Identity::Known(asked.user.clone());
        let facts = facts(asked, self.identity.as_ref().unwrap_or(&confirmed));
        let request = self.request(asked);
        let end = outcome.rule.map_or(self.rules.len(), |rule| rule.index() as usize);
        let close =
            self.rules.rules().take(end).filter_map(|rule| match rule.mismatches(&request, &facts)[..] {
                [field] => Some((rule, field)),
                _ => None,
            });
        close.take(CLOSE).collect()
    }

    /// The values that a command would be filled in with.
    pub(super) fn values<'a>(&'a self, asked: &'a Asked) -> Values<'a> {
        let ident_user = match &self.identity {
            Some(Identity::Known(user)) => Some(user.as_bytes()),
            Some(Identity::Unknown) => None,
            None => (self.mode != IdentMode::Off).then_some(asked.user.as_bytes()),
        };
        Values {
            source_name: asked.source_names.first().map(HostName::as_str),
            source: asked.source,
            command: Command::Connect,
            pid: std::process::id(),
            service: self.services.name_of(asked.port).map(AsRef::as_ref),
            port: asked.port,
            ident_user,
            user: asked.user.as_bytes(),
            destination_name: asked.destination_names.first().map(HostName::as_str),
            destination: asked.destination,
        }
    }
}

/// The usual place of a file of this kind.
fn place(options: &Check, kind: Kind) -> &'static str {
    if options.frozen { kind.frozen() } else { kind.text() }
}

fn read(options: &Check, kind: Kind, path: &Path) -> Result<Policy, Vec<String>> {
    let policy = if options.frozen {
        Policy::from_frozen(kind, path)
    } else {
        Policy::from_text(kind, path, &options.services)
    };
    policy.map(|(policy, _)| policy).map_err(|fault| fault.messages(path))
}

/// Reads a file that need not be there. The files in /etc belong together, but they need not belong to another `sockd.conf`.
fn optional(
    options: &Check,
    given: &Option<PathBuf>,
    kind: Kind,
) -> Result<Option<(PathBuf, Policy)>, Vec<String>> {
    let usual = PathBuf::from(place(options, kind));
    let usual = Some(usual).filter(|path| options.conf.is_none() && path.exists());
    let path = given.clone().or(usual);
    path.map(|path| read(options, kind, &path).map(|policy| (path, policy))).transpose()
}

/// The lines of a text as they are written.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    without_mark(&text)
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

fn ident_mode(ident: Ident) -> IdentMode {
    if ident.strict {
        IdentMode::Strict
    } else if ident.lenient || ident.bad {
        IdentMode::Lenient
    } else {
        IdentMode::Off
    }
}

/// The answer that identd is taken to give.
fn identity(ident: Ident) -> Option<Identity> {
    if ident.bad {
        UserId::parse(b"unknown").ok().map(Identity::Known)
    } else {
        (ident.strict || ident.lenient).then_some(Identity::Unknown)
    }
}

fn refusal(asked: &Asked, permit: Option<&Permit>) -> Option<Refusal> {
    let kind = kind(asked.destination);
    guard::always_refused(asked.destination, asked.port, kind, false, &[])
        .or_else(|| guard::refused_unless_named(asked.destination, kind, &permit?.rule, &[]))
}

fn facts<'a>(asked: &'a Asked, identity: &'a Identity) -> Facts<'a> {
    Facts {
        source_names: FactState::Known(&asked.source_names),
        destination_names: FactState::Known(&asked.destination_names),
        identity: FactState::Known(identity),
        login: asked.groups.as_ref().map(|groups| Login { user: &asked.user, groups: groups.as_bytes() }),
    }
}

/// The kind of an address for this host. A datagram socket can be bound to own and to broadcast addresses, a listener
/// only to own ones. Neither sends anything.
fn kind(address: IpAddr) -> AddressKind {
    if address.is_multicast() {
        AddressKind::Multicast
    } else if UdpSocket::bind((address, 0)).is_err() || address.is_unspecified() {
        AddressKind::Unicast
    } else if TcpListener::bind((address, 0)).is_err() {
        AddressKind::Broadcast
    } else {
        AddressKind::Local
    }
}
