//! Shows the decision on one request, in the words of the classic program.

use sockd_policy::hook::expand;
use sockd_policy::{
    DenyReason, IdentMode, Limits, Methods, Place, Route, RuleRef, Template, Upstream, Version, Way,
};

use super::asked::Asked;
use super::trial::{Outcome, Trial};

/// Shows what is decided on a request. Returns whether it is permitted.
pub(super) fn single(trial: &Trial, asked: &Asked, explain: bool) -> bool {
    let outcome = trial.decide(asked);
    match outcome.rule {
        Some(rule) => eprintln!("{}", line(trial, rule.line(), &rule.to_string())),
        None => eprintln!("*** No match with any line. Access denied."),
    }
    special(trial, &outcome);
    let routed = route(trial, asked, &outcome) && upstream(trial, &outcome);
    if let Some(refusal) = outcome.refusal {
        eprintln!("*** Refused by guard: {refusal}. Access denied.");
    }
    if explain {
        self::explain(trial, asked, &outcome);
    }
    outcome.verdict.is_ok() && outcome.refusal.is_none() && routed
}

/// A line as the text has it, or as it is in effect if there is no text.
fn line(trial: &Trial, number: u32, effective: &str) -> String {
    let written = (number as usize).checked_sub(1).and_then(|place| trial.text.get(place));
    let Place { file, line } = trial.rules.place(number);
    let file = file.map(|file| format!("{}: ", file.escape_debug())).unwrap_or_default();
    format!("{file}Line {line}: {}", written.map_or(effective, String::as_str))
}

/// Shows the special line that the answer of identd leads to.
fn special(trial: &Trial, outcome: &Outcome) {
    let [no_identd, bad_id] = trial.rules.special_lines();
    let show = |number: u32, name: &str, template: Option<Template>| {
        if let Some(template) = template {
            eprintln!("{}", line(trial, number, &format!("{name} {}", template.text())));
        }
    };
    match outcome.verdict {
        Ok(permit) if permit.unverified => show(no_identd, "#NO_IDENTD:", trial.rules.no_identd()),
        Err(DenyReason::NoIdentd) => {
            show(no_identd, "#NO_IDENTD:", trial.rules.no_identd());
            eprintln!("Access denied: cannot verify user-id.");
        }
        Err(DenyReason::BadIdentity) => {
            show(bad_id, "#BAD_ID:", trial.rules.bad_id());
            eprintln!("Access denied: bad user-id.");
        }
        _ => {}
    }
}

/// Shows the route of a permitted request. Returns false if there is none.
fn route(trial: &Trial, asked: &Asked, outcome: &Outcome) -> bool {
    let (Some((path, _)), Some(route)) = (&trial.routes, outcome.route) else { return true };
    eprintln!("==== Checking routing file ({})...", path.display());
    let Route::From { line, source } = route else {
        eprintln!("***Cannot find appropriate interface to communicate with {}", asked.destination);
        return false;
    };
    let text =
        if trial.text.is_empty() { String::new() } else { std::fs::read_to_string(path).unwrap_or_default() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let written = (line as usize).checked_sub(1).and_then(|place| text.lines().nth(place)).map(str::to_owned);
    eprintln!("Line {line}: {}", written.unwrap_or_else(|| format!("from {source}")));
    true
}

/// Shows the way of a permitted request. Returns false if the upstream file denies it.
fn upstream(trial: &Trial, outcome: &Outcome) -> bool {
    let (Some((path, _)), Some(upstream)) = (&trial.upstreams, &outcome.upstream) else { return true };
    eprintln!("==== Checking upstream file ({})...", path.display());
    match upstream {
        Upstream::By { line: 0, way: Way::Deny, .. }
        | Upstream::NeedNames
        | Upstream::NamesUnavailable { .. } => {
            eprintln!("*** No match with any line. Access denied.");
            false
        }
        Upstream::By { line, way, .. } => {
            eprintln!("Line {line}: {way}");
            *way != Way::Deny
        }
    }
}

/// Shows why earlier lines did not match, and what would be asked and run.
fn explain(trial: &Trial, asked: &Asked, outcome: &Outcome) {
    if asked.version == Version::Socks5 {
        eprintln!("methods asked of this client: {}", methods(trial.rules.methods(asked.source)));
    }
    for (rule, field) in trial.close_lines(asked, outcome) {
        eprintln!("not {}: the {field} differs: {rule}", trial.rules.place(rule.line()));
    }
    if let Some(rule) = outcome.rule {
        eprintln!("decided by {}: {rule}", trial.rules.place(rule.line()));
        eprintln!("identd: {}", asks_identd(&rule, asked, trial.mode));
        limits(&rule.limits()).iter().for_each(|limit| eprintln!("limit: {limit}"));
    }
    if let Some(Route::From { source, line }) = outcome.route {
        eprintln!("route: from {source} by line {line}");
    }
    for command in commands(trial, outcome) {
        eprintln!("would run: {}", expand(command.text(), &trial.values(asked)));
    }
}

/// The commands that are due. There are none if a guard refuses or no route leads there. If the upstream file denies what
/// the rules permit, only the command of its line is due.
fn commands<'r>(trial: &'r Trial, outcome: &Outcome<'r>) -> Vec<Template<'r>> {
    if outcome.refusal.is_some() {
        return Vec::new();
    }
    let own = outcome.rule.and_then(|rule| rule.command());
    let (upstream, denied) = match &outcome.upstream {
        Some(Upstream::By { command, way, .. }) => (*command, *way == Way::Deny),
        _ => (None, false),
    };
    let no_route =
        matches!(outcome.route, Some(Route::NoMatch | Route::NeedNames | Route::NamesUnavailable { .. }));
    let due = match outcome.verdict {
        Ok(_) if denied => [upstream, None, None],
        Ok(_) if no_route => [None, None, None],
        Ok(permit) if permit.unverified => [trial.rules.no_identd(), own, upstream],
        Ok(_) => [own, upstream, None],
        Err(DenyReason::Rule) => [own, None, None],
        Err(DenyReason::NoIdentd) => [trial.rules.no_identd(), None, None],
        Err(DenyReason::BadIdentity) => [trial.rules.bad_id(), None, None],
        Err(DenyReason::NoMatch | DenyReason::Unavailable(_)) => [None, None, None],
    };
    due.into_iter().flatten().collect()
}

fn methods(methods: Methods) -> &'static str {
    match methods {
        Methods::None => "none",
        Methods::Password => "password",
        Methods::Either => "none, else password",
    }
}

/// The limits of a connection, in words.
fn limits(limits: &Limits) -> Vec<String> {
    let Limits { down, up, connections, shared } = limits;
    let whose = if *shared { "of one user or host" } else { "of each connection" };
    let rates = format!("{down} bytes a second to the client, {up} to the destination, {whose}");
    let count = format!("{connections} connections of one user or host at once");
    [(*down != 0, rates), (*connections != 0, count)]
        .into_iter()
        .filter_map(|(is_limited, limit)| is_limited.then_some(limit))
        .collect()
}

fn asks_identd(rule: &RuleRef, asked: &Asked, default: IdentMode) -> &'static str {
    match (rule.permits() && asked.groups.is_none(), rule.ident_mode(default)) {
        (false, _) | (_, IdentMode::Off) => "not asked",
        (true, IdentMode::Lenient) => "asked on the client host; another user is denied, no answer is not",
        (true, IdentMode::Strict) => "asked on the client host; another user and no answer are denied",
    }
}
