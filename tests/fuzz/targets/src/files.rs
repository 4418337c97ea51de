//! The administrator's files.

use crate::decisions::{answers, ways};
use sockd::config::settings_file;
use sockd_policy::frozen::{
    Provenance, freeze_routes, freeze_rules, freeze_upstreams, thaw_routes, thaw_rules, thaw_upstreams,
};
use sockd_policy::{
    Files, IdentMode, Include, LineError, Routes, RuleSet, Services, Upstreams, lint, parse_conf_with,
    parse_routes, parse_upstreams,
};
use std::fmt::Display;

const SERVICES: &[u8] = b"ftp 21/tcp\ntelnet 23/tcp\nsmtp 25/tcp mail\nhttp 80/tcp www\n";

/// The content of every user file, unless the input has another.
const USERS: &[u8] = b"ann, bob # carl\n\xff\xfe";

/// The file that every include line with a pattern finds, twice, and its rules.
const INCLUDED: &str = "/included";
const RULES: &[u8] = b"permit 10.1.0.0/16\n\ndeny *=ann ALL 0.0.0.0 eq 23\n";

/// Every fault is told in printable ASCII on one line, and there is at least one.
fn told(errors: &[LineError]) {
    assert!(!errors.is_empty() && errors.len() <= 1001);
    assert!(errors.iter().all(is_one_line));
}

fn is_one_line(text: impl Display) -> bool {
    text.to_string().chars().all(|letter| !letter.is_control())
}

fn listing(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn rules_of(text: &[u8], services: &Services, users: &[u8]) -> Result<RuleSet, Vec<LineError>> {
    let mut read = |path: &str| {
        assert!(path.starts_with('/'), "{path:?}");
        Ok(if path == INCLUDED { RULES.to_vec() } else { users.to_vec() })
    };
    let mut list = |include: Include<'_>| {
        assert!(include.folder().starts_with('/') && include.is_pattern(), "{include:?}");
        Ok(vec![INCLUDED.to_owned(); 2])
    };
    parse_conf_with(text, services, Files { read: &mut read, list: &mut list })
}

/// A file that is taken decides the same once it has been listed and read again, or frozen and thawed.
fn conf_with_users(text: &[u8], users: &[u8]) {
    let rules = match rules_of(text, &Services::parse(SERVICES), users) {
        Ok(rules) => rules,
        Err(errors) => return told(&errors),
    };
    let listed = listing(rules.lines());
    let again = rules_of(listed.as_bytes(), &Services::default(), users).expect("a listing that is accepted");
    assert_eq!(listing(again.lines()), listed);
    assert_eq!(answers(&again), answers(&rules));
    let (thawed, _) = thaw_rules(&freeze_rules(&rules, &Provenance::default())).expect("what was frozen");
    let numbers =
        |rules: &RuleSet| rules.rules().map(|rule| (rule.line(), rule.to_string())).collect::<Vec<_>>();
    assert_eq!(numbers(&thawed), numbers(&rules));
    assert_eq!(thawed.special_lines(), rules.special_lines());
    assert!(rules.rules().all(|rule| rules.place(rule.line()).line > 0));
    assert!(lint(&rules, IdentMode::Lenient).iter().all(is_one_line));
}

/// `sockd.conf`.
pub fn conf(data: &[u8]) {
    conf_with_users(data, USERS);
}

/// A user list with the file that it names: list, NUL, file.
pub fn user_list(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (list, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let line = [b"permit *=", list, b" 10.0.0.0/8\ndeny *=/users ALL 0.0.0.0 eq 23\n"].concat();
    conf_with_users(&line, file);
}

/// `sockd.route`.
pub fn route(data: &[u8]) {
    let routes = match parse_routes(data) {
        Ok(routes) => routes,
        Err(errors) => return told(&errors),
    };
    let listed = listing(routes.lines());
    let again = parse_routes(listed.as_bytes()).expect("a listing that is accepted");
    assert_eq!(listing(again.lines()), listed);
    assert_eq!((again.len(), ways_out(&again)), (routes.len(), ways_out(&routes)));
    let (thawed, _) = thaw_routes(&freeze_routes(&routes, &Provenance::default())).expect("what was frozen");
    assert_eq!(thawed, routes);
}

/// The addresses from which the routes go out, without the numbers of lines.
pub(crate) fn ways_out(routes: &Routes) -> Vec<Option<std::net::IpAddr>> {
    crate::decisions::routed(routes)
}

/// `socks.conf`.
pub fn upstreams(data: &[u8]) {
    let read = |text: &[u8], services: &Services| -> Result<Upstreams, Vec<LineError>> {
        parse_upstreams(text, services, &mut |_| Ok(USERS.to_vec()))
    };
    let lines = match read(data, &Services::parse(SERVICES)) {
        Ok(lines) => lines,
        Err(errors) => return told(&errors),
    };
    let listed = listing(lines.lines());
    let again = read(listed.as_bytes(), &Services::default()).expect("a listing that is accepted");
    assert_eq!(listing(again.lines()), listed);
    assert_eq!((again.len(), ways(&again)), (lines.len(), ways(&lines)));
    let (thawed, _) =
        thaw_upstreams(&freeze_upstreams(&lines, &Provenance::default())).expect("what was frozen");
    assert_eq!(thawed, lines);
}

/// `sockd.ron`: settings that are taken are the same once they have been written out; a mistake is told in one line.
pub fn settings(data: &[u8]) {
    let settings = match settings_file::parse(data) {
        Ok(settings) => settings,
        Err(error) => return assert!(error.contains(": ") && !error.contains('\n'), "{error}"),
    };
    let written = ron::to_string(&settings).expect("settings can be written");
    assert_eq!(settings_file::parse(written.as_bytes()), Ok(settings));
}
