//! `test_sockd_conf`: what would be decided, in the words and with the exit status of the classic program.
//!
//! Nothing is run and nothing is logged. The verdict is that of the daemon's own code, followed by its guards and routes.

use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sockd_policy::guard::{self, AddressKind, Refusal};
use sockd_policy::hook::{Values, expand};
use sockd_policy::{
    Command, DenyReason, Facts, HostName, IdentMode, Identity, Permit, Request, Route, Routes, RuleRef,
    RuleSet, Services, Template, Upstream, Upstreams, UserId, Verdict, Way, canonical, lint,
};

use crate::cli::{self, Check};
use crate::files::{Fault, Kind, Policy, or_default, read_services};

const PROGRAM: &str = "test_sockd_conf";
const PERMITTED: u8 = 1;
const DENIED: u8 = 0;
const USAGE: u8 = 255;

/// Runs the program.
pub fn main() -> ExitCode {
    let status = match cli::parse::<Check>(PROGRAM, USAGE) {
        Ok(options) => run(&options),
        Err(status) => {
            if status == USAGE {
                eprintln!(
                    "Usage:\n{PROGRAM} [-i] [-I] [-B] [-R route_file] [-C conf_file] user src_addr dst_addr {{service,port}}"
                );
            }
            status
        }
    };
    ExitCode::from(status)
}

fn run(options: &Check) -> u8 {
    let services = read_services(&options.services);
    let asked = match asked(options, &services) {
        Ok(asked) => asked,
        Err(complaint) => {
            eprintln!("{PROGRAM}: {complaint}");
            return USAGE;
        }
    };
    if let Some(asked) = &asked {
        eprintln!(
            "USER:{},  SRC:{},  DST:{}, PORT:{}",
            asked.user_shown, asked.source, asked.destination, asked.port
        );
    }
    let trial = match Trial::load(options, services) {
        Ok(trial) => trial,
        Err(messages) => {
            messages.iter().for_each(|message| eprintln!("{message}"));
            eprintln!("Access denied: a file with errors permits nothing.");
            return if options.batch.is_some() { USAGE } else { DENIED };
        }
    };
    if options.lint {
        for warning in lint(&trial.rules, trial.mode) {
            eprintln!("{}: {warning}", trial.conf.display());
        }
    }
    match (&options.batch, asked) {
        (Some(batch), _) => trial.batch(batch),
        (None, Some(asked)) => trial.single(&asked, options.explain),
        (None, None) => DENIED,
    }
}

/// One request.
struct Asked {
    user: UserId,
    user_shown: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    source_names: Vec<HostName>,
    destination_names: Vec<HostName>,
}

fn asked(options: &Check, services: &Services) -> Result<Option<Asked>, String> {
    let (Some(user), Some(source), Some(destination), Some(port)) =
        (&options.user, &options.source, &options.destination, &options.port)
    else {
        // Without a request there must be something else to do.
        let idle = options.batch.is_none() && !options.lint;
        return if idle {
            Err("expected user, src_addr, dst_addr and service or port".into())
        } else {
            Ok(None)
        };
    };
    let mut asked = Asked::of(user.as_bytes(), source, destination, port, services)?;
    asked.source_names.extend(names(&options.source_names)?);
    asked.destination_names.extend(names(&options.destination_names)?);
    Ok(Some(asked))
}

fn names(given: &[String]) -> Result<Vec<HostName>, String> {
    let name = |name: &String| HostName::parse(name.as_bytes()).map_err(|error| format!("'{name}': {error}"));
    given.iter().map(name).collect()
}

impl Asked {
    fn of(
        user: &[u8],
        source: &str,
        destination: &str,
        port: &str,
        services: &Services,
    ) -> Result<Asked, String> {
        let known = services
            .port_of(port)
            .or_else(|| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten());
        let port = known.ok_or_else(|| format!("Unknown service or illegal port number '{port}'"))?;
        let (source, source_names) = host(source)?;
        let (destination, destination_names) = host(destination)?;
        let user_shown = String::from_utf8_lossy(user).escape_debug().to_string();
        let user = UserId::parse(user).map_err(|error| error.to_string())?;
        Ok(Asked { user, user_shown, source, destination, port, source_names, destination_names })
    }
}

/// A host by address, or by name and then with that name.
fn host(text: &str) -> Result<(IpAddr, Vec<HostName>), String> {
    if let Ok(address) = text.parse() {
        return Ok((canonical(address), Vec::new()));
    }
    let unknown = || format!("Unknown host '{text}'");
    let name = HostName::parse(text.as_bytes()).map_err(|_| unknown())?;
    let found: Vec<_> = (text, 0).to_socket_addrs().map_err(|_| unknown())?.map(|found| found.ip()).collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.map(|address| (*address, vec![name])).ok_or_else(unknown)
}

/// What requests are held against.
struct Trial {
    rules: RuleSet,
    routes: Option<(PathBuf, Routes)>,
    upstreams: Option<(PathBuf, Upstreams)>,
    conf: PathBuf,
    /// The lines of the text, for showing them as they are written; none of a frozen file.
    text: Vec<String>,
    services: Services,
    mode: IdentMode,
    /// What identd is taken to say; the claimed user if nothing.
    identity: Option<Identity>,
}

/// What comes of a request.
struct Outcome<'r> {
    verdict: Result<Permit<'r>, DenyReason>,
    rule: Option<RuleRef<'r>>,
    refusal: Option<Refusal>,
    route: Option<Route>,
    upstream: Option<Upstream<'r>>,
}

impl Trial {
    fn load(options: &Check, services: Services) -> Result<Trial, Vec<String>> {
        let read = |kind: Kind, path: &Path| {
            let policy = match options.frozen {
                true => Policy::from_frozen(kind, path),
                false => Policy::from_text(kind, path, &options.services),
            };
            policy.map(|(policy, _)| policy).map_err(|fault| fault.messages(path))
        };
        let place = |kind: Kind| if options.frozen { kind.frozen() } else { kind.text() };
        let conf = or_default(&options.conf, place(Kind::Rules));
        let Policy::Rules(rules) = read(Kind::Rules, &conf)? else { return Err(Vec::new()) };
        // The files in /etc belong together; to another sockd.conf they need not belong.
        let optional = |given: &Option<PathBuf>, kind: Kind| {
            let usual =
                Some(PathBuf::from(place(kind))).filter(|path| options.conf.is_none() && path.exists());
            given.clone().or(usual).map(|path| read(kind, &path).map(|policy| (path, policy))).transpose()
        };
        let routes = match optional(&options.route, Kind::Routes)? {
            Some((path, Policy::Routes(routes))) => Some((path, routes)),
            _ => None,
        };
        let upstreams = match optional(&options.upstream, Kind::Upstreams)? {
            Some((path, Policy::Upstreams(upstreams))) => Some((path, upstreams)),
            _ => None,
        };
        let text = if options.frozen { Vec::new() } else { std::fs::read(&conf).unwrap_or_default() };
        let text = text
            .split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let ident = options.ident;
        Ok(Trial {
            rules,
            routes,
            upstreams,
            conf,
            text,
            services,
            mode: if ident.strict {
                IdentMode::Strict
            } else if ident.lenient || ident.bad {
                IdentMode::Lenient
            } else {
                IdentMode::Off
            },
            identity: if ident.bad {
                UserId::parse(b"unknown").ok().map(Identity::Known)
            } else {
                (ident.strict || ident.lenient).then_some(Identity::Unknown)
            },
        })
    }

    fn request<'a>(&self, asked: &'a Asked) -> Request<'a> {
        Request {
            source: asked.source,
            destination: Some(asked.destination),
            port: asked.port,
            user: &asked.user,
            ident_default: self.mode,
        }
    }

    fn decide(&self, asked: &Asked) -> Outcome<'_> {
        let confirmed = Identity::Known(asked.user.clone());
        let facts = facts(asked, self.identity.as_ref().unwrap_or(&confirmed));
        let (verdict, rule) = match self.rules.decide(&self.request(asked), &facts) {
            Verdict::Permit(permit) => (Ok(permit), Some(permit.rule)),
            Verdict::Deny(deny) => (Err(deny.why), deny.rule),
            Verdict::Need(_) => (Err(DenyReason::NoMatch), None),
        };
        let kind = kind(asked.destination);
        let refusal = guard::always_refused(asked.destination, asked.port, kind, false).or_else(|| {
            verdict.ok().and_then(|permit| guard::refused_unless_named(asked.destination, kind, &permit.rule))
        });
        let upstreams = self.upstreams.as_ref().filter(|_| verdict.is_ok());
        let upstream = upstreams.map(|(_, upstreams)| {
            upstreams.way_for(
                Some(asked.destination),
                Some(&asked.destination_names),
                asked.port,
                &asked.user,
            )
        });
        // Of a next server it is that one's address that needs a route.
        let is_direct = !matches!(upstream, Some(Upstream::By { way: Way::Sockd(_), .. }));
        let routes = self.routes.as_ref().filter(|_| verdict.is_ok() && is_direct);
        let route =
            routes.map(|(_, routes)| routes.source_for(asked.destination, Some(&asked.destination_names)));
        Outcome { verdict, rule, refusal, route, upstream }
    }

    fn single(&self, asked: &Asked, explain: bool) -> u8 {
        let outcome = self.decide(asked);
        match outcome.rule {
            Some(rule) => eprintln!("{}", self.line(rule.line(), &rule.to_string())),
            None => eprintln!("*** No match with any line. Access denied."),
        }
        self.special(&outcome);
        let routed = self.route(asked, &outcome) && self.upstream(&outcome);
        if let Some(refusal) = outcome.refusal {
            eprintln!("*** Refused by guard: {refusal}. Access denied.");
        }
        if explain {
            self.explain(asked, &outcome);
        }
        if outcome.verdict.is_ok() && outcome.refusal.is_none() && routed { PERMITTED } else { DENIED }
    }

    /// A line as it stands in the text, or as it is in effect.
    fn line(&self, number: u32, effective: &str) -> String {
        let written = (number as usize).checked_sub(1).and_then(|place| self.text.get(place));
        format!("Line {number}: {}", written.map_or(effective, String::as_str))
    }

    /// Shows the special line that identd's answer leads to.
    fn special(&self, outcome: &Outcome) {
        let [no_identd, bad_id] = self.rules.special_lines();
        let show = |line: u32, name: &str, template: Option<Template>| {
            if let Some(template) = template {
                eprintln!("{}", self.line(line, &format!("{name} {}", template.text())));
            }
        };
        match outcome.verdict {
            Ok(permit) if permit.unverified => show(no_identd, "#NO_IDENTD:", self.rules.no_identd()),
            Err(DenyReason::NoIdentd) => {
                show(no_identd, "#NO_IDENTD:", self.rules.no_identd());
                eprintln!("Access denied: cannot verify user-id.");
            }
            Err(DenyReason::BadIdentity) => {
                show(bad_id, "#BAD_ID:", self.rules.bad_id());
                eprintln!("Access denied: bad user-id.");
            }
            _ => {}
        }
    }

    /// Shows the route of what is permitted; false if there is none.
    fn route(&self, asked: &Asked, outcome: &Outcome) -> bool {
        let (Some((path, _)), Some(route)) = (&self.routes, outcome.route) else { return true };
        eprintln!("==== Checking routing file ({})...", path.display());
        let Route::From { line, source } = route else {
            eprintln!("***Cannot find appropriate interface to communicate with {}", asked.destination);
            return false;
        };
        let text = if self.text.is_empty() {
            String::new()
        } else {
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let written =
            (line as usize).checked_sub(1).and_then(|place| text.lines().nth(place)).map(str::to_owned);
        eprintln!("Line {line}: {}", written.unwrap_or_else(|| format!("from {source}")));
        true
    }

    /// Shows the way of what is permitted; false if it is denied there.
    fn upstream(&self, outcome: &Outcome) -> bool {
        let (Some((path, _)), Some(upstream)) = (&self.upstreams, &outcome.upstream) else { return true };
        eprintln!("==== Checking upstream file ({})...", path.display());
        match upstream {
            Upstream::By { line: 0, way: Way::Deny, .. } | Upstream::NeedNames => {
                eprintln!("*** No match with any line. Access denied.");
                false
            }
            Upstream::By { line, way, .. } => {
                eprintln!("Line {line}: {way}");
                *way != Way::Deny
            }
        }
    }

    fn explain(&self, asked: &Asked, outcome: &Outcome) {
        let confirmed = Identity::Known(asked.user.clone());
        let facts = facts(asked, self.identity.as_ref().unwrap_or(&confirmed));
        let request = self.request(asked);
        let end = outcome.rule.map_or(self.rules.len(), |rule| rule.index() as usize);
        let close =
            self.rules.rules().take(end).filter_map(|rule| match rule.mismatches(&request, &facts)[..] {
                [field] => Some((rule, field)),
                _ => None,
            });
        for (rule, field) in close.take(CLOSE) {
            eprintln!("not line {}: the {field} differs: {rule}", rule.line());
        }
        if let Some(rule) = outcome.rule {
            eprintln!("decided by line {}: {rule}", rule.line());
            eprintln!("identd: {}", asks_identd(&rule, self.mode));
        }
        if let Some(Route::From { source, line }) = outcome.route {
            eprintln!("route: from {source} by line {line}");
        }
        for command in self.commands(outcome) {
            eprintln!("would run: {}", expand(command.text(), &self.values(asked)));
        }
    }

    /// The commands that are due: none where a guard refuses or there is no route, and where the upstream file denies
    /// what the rules permit, only that of its line.
    fn commands<'r>(&'r self, outcome: &Outcome<'r>) -> Vec<Template<'r>> {
        if outcome.refusal.is_some() {
            return Vec::new();
        }
        let own = outcome.rule.and_then(|rule| rule.command());
        let (upstream, denied) = match &outcome.upstream {
            Some(Upstream::By { command, way, .. }) => (*command, *way == Way::Deny),
            _ => (None, false),
        };
        let no_route = matches!(outcome.route, Some(Route::NoMatch | Route::NeedNames));
        let due = match outcome.verdict {
            Ok(_) if denied => [upstream, None, None],
            Ok(_) if no_route => [None, None, None],
            Ok(permit) if permit.unverified => [self.rules.no_identd(), own, upstream],
            Ok(_) => [own, upstream, None],
            Err(DenyReason::Rule) => [own, None, None],
            Err(DenyReason::NoIdentd) => [self.rules.no_identd(), None, None],
            Err(DenyReason::BadIdentity) => [self.rules.bad_id(), None, None],
            Err(DenyReason::NoMatch) => [None, None, None],
        };
        due.into_iter().flatten().collect()
    }

    fn values<'a>(&'a self, asked: &'a Asked) -> Values<'a> {
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
            service: self.services.name_of(asked.port),
            port: asked.port,
            ident_user,
            user: asked.user.as_bytes(),
            destination_name: asked.destination_names.first().map(HostName::as_str),
            destination: asked.destination,
        }
    }

    /// Judges `user src dst port` lines; blank lines and comments are passed over.
    fn batch(&self, path: &Path) -> u8 {
        let text = match std::fs::read_to_string(path).map_err(Fault::Unreadable) {
            Ok(text) => text,
            Err(fault) => {
                fault.messages(path).iter().for_each(|message| eprintln!("{PROGRAM}: {message}"));
                return USAGE;
            }
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let mut status = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let verdict = match words[..] {
                [] => continue,
                [user, source, destination, port] => {
                    Asked::of(user.as_bytes(), source, destination, port, &self.services)
                        .map(|asked| self.verdict(&asked))
                }
                _ => Err("expected user, src_addr, dst_addr and service or port".to_owned()),
            };
            let verdict = verdict.unwrap_or_else(|complaint| {
                status = USAGE;
                format!("error line {number}: {complaint}")
            });
            if writeln!(out, "{verdict}").is_err() {
                return USAGE;
            }
        }
        if out.flush().is_ok() { status } else { USAGE }
    }

    /// The verdict in one line.
    fn verdict(&self, asked: &Asked) -> String {
        let outcome = self.decide(asked);
        let by = outcome.rule.map_or("no line".to_owned(), |rule| format!("line {}", rule.line()));
        match (outcome.verdict, outcome.refusal, outcome.route) {
            (Err(why @ (DenyReason::NoIdentd | DenyReason::BadIdentity)), ..) => format!("deny {by}: {why}"),
            (Err(_), ..) => format!("deny {by}"),
            (Ok(_), Some(refusal), _) => format!("refused {by}: {refusal}"),
            (Ok(_), None, Some(Route::NoMatch | Route::NeedNames)) => format!("refused {by}: no route"),
            (Ok(_), None, _) => match &outcome.upstream {
                Some(Upstream::By { way: Way::Deny, .. } | Upstream::NeedNames) => {
                    format!("refused {by}: denied upstream")
                }
                Some(Upstream::By { way: way @ Way::Sockd(_), .. }) => format!("permit {by}: {way}"),
                _ => format!("permit {by}"),
            },
        }
    }
}

/// More lines that came close are not shown.
const CLOSE: usize = 20;

fn facts<'a>(asked: &'a Asked, identity: &'a Identity) -> Facts<'a> {
    Facts {
        source_names: Some(&asked.source_names),
        destination_names: Some(&asked.destination_names),
        identity: Some(identity),
    }
}

fn asks_identd(rule: &RuleRef, default: IdentMode) -> &'static str {
    match (rule.permits(), rule.ident().unwrap_or(default)) {
        (false, _) | (_, IdentMode::Off) => "not asked",
        (true, IdentMode::Lenient) => "asked on the client host; another user is denied, no answer is not",
        (true, IdentMode::Strict) => "asked on the client host; another user and no answer are denied",
    }
}

/// What this host takes the address for. A socket can be bound to own and broadcast addresses, a listener only to own
/// ones; neither sends anything.
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
