//! Whether a candidate may be reached, and how: guards, rules, lines and routes are applied to the facts.

use crate::config::Config;
use crate::record::Failure;
use crate::session::case::Case;
use crate::session::event::Candidate;
use crate::session::request::Rejected;
use crate::settings::{LocalDestinations, UpstreamNames};
use sockd_policy::guard::{Refusal, always_refused, refused_unless_named};
use sockd_policy::{
    Command, Deny, DenyReason, Limits, Methods, Need, Permit, Request, Route, RuleSet, Server, Template,
    Upstream, Verdict, Version, Way,
};
use std::net::IpAddr;

/// Any port but 0, for a guard that is not about ports.
const IGNORED_PORT: u16 = 1;

/// The result of a decision that does not reject.
#[derive(Debug)]
pub(super) enum Step {
    /// This fact is needed first.
    Need(Need),
    /// The candidate may be reached.
    Go(Permitted),
}

/// A candidate that may be reached.
#[derive(Debug)]
pub(super) struct Permitted {
    pub(super) path: Path,
    /// The line that permits it.
    pub(super) rule: u32,
    /// The limits of that line.
    pub(super) limits: Limits,
    /// Whether identd names no user, and the line accepts that.
    pub(super) unverified: bool,
    /// The commands of the lines.
    pub(super) hooks: Vec<String>,
}

/// How a candidate is reached.
#[derive(Debug)]
pub(super) enum Path {
    /// From this host, from the address that the route file says.
    Direct(Candidate, Option<IpAddr>),
    /// Through the first of these servers that can be reached, which is asked in this version.
    Upstream(Version, Vec<Server>),
}

/// Decides on a candidate; without one, on the name alone.
pub(super) fn decide(candidate: Option<Candidate>, case: &Case<'_>) -> Result<Step, Rejected> {
    let Case { request, client, config } = case;
    if let Some(refusal) = guarded(candidate, case) {
        return Err(Failure::Guarded(refusal).into());
    }
    let question = Request {
        source: client.ip(),
        destination: candidate.map(|candidate| candidate.address),
        port: request.port,
        command: request.command,
        version: request.version,
        user: &request.user,
        ident_default: config.ident_default,
        nat64: &config.settings.nat64_prefixes,
    };
    let permit = match config.rules.decide(&question, &case.facts()) {
        Verdict::Need(need) => return Ok(Step::Need(need)),
        Verdict::Permit(permit) => permit,
        Verdict::Deny(Deny { rule: Some(rule), why: DenyReason::BadIdentity })
            if request.user.as_bytes() == b"root" && case.is_reserved() =>
        {
            Permit { rule, unverified: false }
        }
        Verdict::Deny(Deny { why: DenyReason::NoMatch, .. }) if lacks_password(case) => {
            return Err(Failure::NoPassword.into());
        }
        Verdict::Deny(deny) => return Err(denied(&deny, &config.rules)),
    };
    if let Some(refusal) = guarded_unless_named(candidate, &permit, config) {
        return Err(Failure::Guarded(refusal).into());
    }
    permitted(candidate, &permit, case)
}

/// Whether the rules permit the current candidate.
pub(super) fn is_permitted(case: &Case<'_>) -> bool {
    matches!(decide(case.request.candidate(), case), Ok(Step::Go(_)))
}

/// Whether new rules permit the current candidate. Its limits become those of the line that permits it now.
pub(super) fn is_permitted_still(case: &mut Case<'_>) -> bool {
    let Ok(Step::Go(permitted)) = decide(case.request.candidate(), case) else { return false };
    case.request.permit(permitted.rule, permitted.limits);
    true
}

/// Whether the destination's name, if any, may be left to a next server. Its route must not depend on its addresses.
pub(super) fn goes_unresolved(case: &Case<'_>) -> bool {
    let Some(upstreams) = case.config.upstreams.as_ref().filter(|_| case.request.named) else { return false };
    let names = case.facts().destination_names;
    let way = upstreams.way_for(None, names, case.request.port, case.request.claimed_user(), &[]);
    case.config.settings.upstream_names != UpstreamNames::Never
        && matches!(way, Upstream::By { way: Way::Sockd(..), .. })
}

/// The refusal that holds whatever the rules say, if any. A BIND for 0.0.0.0 waits for anybody, and its port means
/// nothing; a name that resolves to 0.0.0.0 must not come to mean that.
fn guarded(candidate: Option<Candidate>, case: &Case<'_>) -> Option<Refusal> {
    let Case { request, config, .. } = case;
    let Some(Candidate { address, kind, own_listener, .. }) = candidate else {
        return (request.command != Command::Bind && request.port == 0).then_some(Refusal::PortZero);
    };
    let nat64 = &config.settings.nat64_prefixes;
    let anybody = address.is_unspecified() && config.settings.bind_any && !request.named;
    match request.command {
        Command::Connect | Command::Udp => always_refused(address, request.port, kind, own_listener, nat64),
        Command::Bind if anybody => None,
        Command::Bind => always_refused(address, IGNORED_PORT, kind, false, nat64),
    }
}

/// The refusal of a candidate that only a line that names it may permit. 0.0.0.0 gets here only as the anybody of a
/// BIND, which does not make it an address of this host.
fn guarded_unless_named(
    candidate: Option<Candidate>,
    permit: &Permit<'_>,
    config: &Config,
) -> Option<Refusal> {
    let candidate = candidate.filter(|candidate| !candidate.address.is_unspecified())?;
    let Candidate { address, kind, .. } = candidate;
    match config.settings.local_destinations {
        LocalDestinations::Guarded => {
            refused_unless_named(address, kind, &permit.rule, &config.settings.nat64_prefixes)
        }
        LocalDestinations::ByRules => None,
    }
}

/// Chooses the path to a candidate that the rules permit, by the lines and the routes.
fn permitted(candidate: Option<Candidate>, permit: &Permit<'_>, case: &Case<'_>) -> Result<Step, Rejected> {
    let Case { request, config, .. } = case;
    let names = case.facts().destination_names;
    let address = candidate.map(|candidate| candidate.address);
    let lines = config.upstreams.as_ref();
    let nat64 = &config.settings.nat64_prefixes;
    let (way, line, hook) =
        match lines.map(|lines| lines.way_for(address, names, request.port, request.claimed_user(), nat64)) {
            None => (Way::Direct, 0, None),
            Some(Upstream::By { way, line, command }) => (way, line, command),
            Some(Upstream::NamesUnavailable { .. }) => return Err(Failure::NamesUnavailable.into()),
            Some(Upstream::NeedNames) => return Ok(Step::Need(Need::DestinationNames)),
        };
    let path = match (way, candidate) {
        (Way::Deny, _) => return Err(Rejected { why: Failure::NoWay(line), hook: hook.map(text) }),
        (Way::Sockd(version, servers), _) if servers.is_empty() => {
            Path::Upstream(version, config.settings.default_servers())
        }
        (Way::Sockd(version, servers), _) => Path::Upstream(version, servers),
        (Way::Direct, None) => return Err(Failure::Unresolved.into()),
        (Way::Direct, Some(candidate)) => {
            match config.routes.as_ref().map(|routes| routes.source_for(candidate.address, names)) {
                None => Path::Direct(candidate, None),
                Some(Route::From { source, .. }) => Path::Direct(candidate, Some(source)),
                Some(Route::NeedNames) => return Ok(Step::Need(Need::DestinationNames)),
                Some(Route::NamesUnavailable { .. }) => return Err(Failure::NamesUnavailable.into()),
                Some(Route::NoMatch) => return Err(Failure::NoInterface(candidate.address).into()),
            }
        }
    };
    let hooks = [permit.rule.command(), hook].into_iter().flatten().map(text).collect();
    let (rule, limits, unverified) = (permit.rule.line(), permit.rule.limits(), permit.unverified);
    Ok(Step::Go(Permitted { path, rule, limits, unverified, hooks }))
}

/// Whether the client could have shown a password that lines for its address ask for, and has not.
fn lacks_password(case: &Case<'_>) -> bool {
    let is_socks5 = case.request.version == Version::Socks5;
    is_socks5 && case.facts().login.is_none() && case.config.rules.methods(case.client.ip()) != Methods::None
}

fn denied(deny: &Deny<'_>, rules: &RuleSet) -> Rejected {
    let hook = match deny.why {
        DenyReason::NoIdentd => rules.no_identd(),
        DenyReason::BadIdentity => rules.bad_id(),
        DenyReason::Unavailable(_) => None,
        DenyReason::Rule | DenyReason::NoMatch => deny.rule.and_then(|rule| rule.command()),
    };
    let why = Failure::Denied { why: deny.why, rule: deny.rule.map(|rule| rule.line()) };
    Rejected { why, hook: hook.map(text) }
}

fn text(template: Template<'_>) -> String {
    template.text().to_owned()
}
