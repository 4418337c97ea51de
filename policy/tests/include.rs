//! Included files: where they are read, what their lines are called, and what is an error.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use sockd_policy::frozen::{Provenance, freeze_rules, thaw_rules};
use sockd_policy::{Files, IdentMode, Include, RuleSet, Services, lint, parse_conf, parse_conf_with};
use std::fmt::Write;

fn read(path: &str) -> Result<Vec<u8>, String> {
    Ok(match path {
        "/d/10-a.conf" => b"deny 10.1.0.0/16\n\npermit <lan> eq 80\n#NO_IDENTD: true\n".to_vec(),
        "/d/20-b.conf" => b"permit 10.0.0.0/8\nset web = 203.0.113.0/24".to_vec(),
        "/d/bad.conf" => b"permit 10.0.0.0/8\nallow\n".to_vec(),
        "/d/nested.conf" => b"\ninclude /d/10-a.conf\n".to_vec(),
        "/d/users.conf" => b"permit *=/none 10.0.0.0/8\n".to_vec(),
        "/d/empty.conf" => Vec::new(),
        _ => return Err("expected a file, found none".into()),
    })
}

fn list(include: Include<'_>) -> Result<Vec<String>, String> {
    match include.path() {
        "/d/*.conf" => Ok(["/d/10-a.conf", "/d/20-b.conf"].map(String::from).into()),
        "/none/*" => Ok(Vec::new()),
        "/many/*" => Ok(vec!["/d/empty.conf".into(); 5000]),
        path => Err(format!("{path}: expected a folder, found none")),
    }
}

fn parse(text: &str) -> Result<RuleSet, Vec<String>> {
    let files = Files { read: &mut read, list: &mut list };
    let rules = parse_conf_with(text.as_bytes(), &Services::default(), files);
    rules.map_err(|errors| errors.iter().map(|error| error.in_file("conf")).collect())
}

const CONF: &str = "set lan = 10.0.0.0/8\ndeny 192.0.2.0/24\ninclude /d/*.conf\npermit 172.16.0.0/12 <web>\n";

/// The rules in their order, each with its place and its number.
fn places(rules: &RuleSet) -> Vec<(String, u32)> {
    rules.rules().map(|rule| (rules.place(rule.line()).to_string(), rule.line())).collect()
}

#[test]
fn files_are_read_where_the_line_stands_and_the_text_keeps_its_numbers() {
    let rules = parse(CONF).unwrap();
    let expected = [
        ("line 2", 2),
        ("line 1 of /d/10-a.conf", 6),
        ("line 3 of /d/10-a.conf", 8),
        ("line 1 of /d/20-b.conf", 11),
        ("line 4", 4),
    ];
    assert_eq!(places(&rules), expected.map(|(place, number)| (place.to_owned(), number)));
    assert_eq!(rules.special_lines(), [9, 0]);
    let included: Vec<_> = rules.included().iter().map(|file| (file.file(), file.numbers())).collect();
    assert_eq!(included, [("/d/10-a.conf", (6, 10)), ("/d/20-b.conf", (11, 12))]);
    let as_one = "deny 192.0.2.0/24\ndeny 10.1.0.0/16\npermit 10.0.0.0/8 eq 80\npermit 10.0.0.0/8\n\
         permit 172.16.0.0/12 203.0.113.0/24\n#NO_IDENTD: true\n";
    let as_one = parse_conf(as_one.as_bytes(), &Services::default(), &mut read).unwrap();
    assert_eq!(rules.lines().collect::<Vec<_>>(), as_one.lines().collect::<Vec<_>>());
}

#[test]
fn frozen_rules_keep_the_numbers() {
    let rules = parse(CONF).unwrap();
    let (thawed, _) = thaw_rules(&freeze_rules(&rules, &Provenance::default())).unwrap();
    let numbers = |rules: &RuleSet| rules.rules().map(|rule| rule.line()).collect::<Vec<_>>();
    assert_eq!(numbers(&thawed), numbers(&rules));
    assert_eq!(thawed.lines().collect::<Vec<_>>(), rules.lines().collect::<Vec<_>>());
}

#[test]
fn a_pattern_that_names_nothing_is_no_error_and_a_file_that_is_not_there_is_one() {
    assert_eq!(parse("include /none/*\npermit ALL 0.0.0.0\n").unwrap().len(), 1);
    for (line, error) in [
        ("include /d/gone", "conf: line 2: included file /d/gone: expected a file, found none"),
        ("include /gone/*", "conf: line 2: include /gone/*: /gone/*: expected a folder, found none"),
        (
            "include",
            "conf: line 2: expected the path of one file, or of files as /etc/sockd.conf.d/*.conf, found \"\"",
        ),
        (
            "include d/*",
            "conf: line 2: expected the path of one file, or of files as /etc/sockd.conf.d/*.conf, found \"d/*\"",
        ),
        (
            "include /many/*",
            "conf: line 2: included file /d/empty.conf: expected at most 4096 included files",
        ),
        ("include /d/bad.conf", "/d/bad.conf: line 2: expected permit or deny, found \"allow\""),
        ("include /d/users.conf", "/d/users.conf: line 1: user file /none: expected a file, found none"),
        (
            "include /d/nested.conf",
            "/d/nested.conf: line 2: expected no include line in an included file, found \"/d/10-a.conf\"",
        ),
    ] {
        assert_eq!(parse(&format!("permit ALL 0.0.0.0\n{line}\n")).unwrap_err(), [error]);
    }
    let errors = parse("allow\ninclude /d/bad.conf\npermit\n").unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| error.split(": expected").next().unwrap()).collect();
    assert_eq!(places, ["conf: line 1", "conf: line 3", "/d/bad.conf: line 2"]);
}

#[test]
fn where_nothing_can_be_included_an_include_line_refuses_the_text() {
    let refused = parse_conf(b"include /d/*.conf\n", &Services::default(), &mut read).unwrap_err();
    assert_eq!(refused[0].to_string(), "line 1: include /d/*.conf: no file can be included here");
}

#[test]
fn lint_names_the_file_of_a_line() {
    let rules =
        parse("deny 10.0.0.0/8\nset lan = 10.0.0.0/8\ninclude /d/10-a.conf\ndeny 10.1.2.0/24\n").unwrap();
    let warnings: Vec<_> =
        lint(&rules, IdentMode::Off).iter().map(|warning| warning.in_file("conf")).collect();
    assert_eq!(
        warnings,
        [
            "/d/10-a.conf: line 1: never matches: line 1 matches all that it would",
            "/d/10-a.conf: line 3: never matches: line 1 matches all that it would",
            "conf: line 4: never matches: line 1 matches all that it would",
        ]
    );
    let rules = parse("set lan = 10.0.0.0/8\ninclude /d/10-a.conf\ndeny 10.1.2.0/24\n").unwrap();
    let warnings: Vec<_> = lint(&rules, IdentMode::Off).iter().map(ToString::to_string).collect();
    assert!(
        warnings.contains(&"line 3: never matches: line 1 of /d/10-a.conf matches all that it would".into()),
        "{warnings:?}"
    );
}

#[test]
fn many_included_lines_are_as_many_lines() {
    let mut text = String::new();
    for number in 0..100_000u32 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(text, "deny 10.0.0.0/8 11.{a}.{b}.{c}/32").unwrap();
    }
    let mut read = |_: &str| Ok(text.clone().into_bytes());
    let files = Files { read: &mut read, list: &mut list };
    let conf = b"include /many\npermit ALL 0.0.0.0\n";
    let rules = parse_conf_with(conf, &Services::default(), files).unwrap();
    assert_eq!(rules.len(), 100_001);
    let last = rules.rules().nth(99_999).unwrap();
    assert_eq!(rules.place(last.line()).to_string(), "line 100000 of /many");
}
