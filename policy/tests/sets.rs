//! Named sets: what they may hold, what a rule with one decides, and what is an error.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use sockd_policy::frozen::{Provenance, freeze_rules, thaw_rules};
use sockd_policy::{
    Command, FactState, Facts, HostName, IdentMode, Request, RuleSet, Services, UserId, Verdict, Version,
    lint, parse_conf,
};

const CONF: &str = "set lan = 10.0.0.0/8, fd00::/8,192.0.2.7   # the inside\n\
    SET web = www.example, .shop.example, /sites\n\
    deny <lan> 10.1.0.0/16\n\
    permit +=connect <lan> <web> in 80,443\n\
    permit 172.16.0.0/12 <web>\n";

fn file(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "/sites" => Ok(b"# sites\n203.0.113.0/24, 2001:db8::1\n\n  b.example # one more\n".to_vec()),
        "/empty" => Ok(b"# nothing\n".to_vec()),
        "/bad" => Ok(b"10.0.0.0/8\n10.0.0.0/33\n".to_vec()),
        "/many" => {
            Ok((0..3000).map(|n| format!("10.{}.{}.0/24\n", n / 256, n % 256)).collect::<String>().into())
        }
        _ => Err("No such file or directory".into()),
    }
}

fn parse(conf: &str) -> Result<RuleSet, Vec<String>> {
    let rules = parse_conf(conf.as_bytes(), &Services::default(), &mut file);
    rules.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The line that decides on a CONNECT, and whether it permits; 0 if none does.
fn decides(rules: &RuleSet, source: &str, destination: &str, name: &str, port: u16) -> (u32, bool) {
    let user = UserId::parse(b"").unwrap();
    let names: Vec<HostName> = HostName::parse(name.as_bytes()).into_iter().collect();
    let facts = Facts {
        source_names: FactState::Known(&[]),
        destination_names: FactState::Known(&names),
        ..Facts::default()
    };
    let request = Request {
        source: source.parse().unwrap(),
        destination: Some(destination.parse().unwrap()),
        port,
        command: Command::Connect,
        version: Version::Socks5,
        user: &user,
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    let verdict = rules.decide(&request, &facts);
    assert_eq!(verdict, rules.scan()(&request, &facts));
    match verdict {
        Verdict::Permit(permit) => (permit.rule.line(), true),
        Verdict::Deny(deny) => (deny.rule.map_or(0, |rule| rule.line()), false),
        Verdict::Need(need) => panic!("{need:?}"),
    }
}

#[test]
fn a_rule_with_sets_is_for_each_host_of_one_and_each_host_of_the_other() {
    let rules = parse(CONF).unwrap();
    for (source, destination, name, port, expected) in [
        ("10.0.0.1", "10.1.2.3", "", 80, (3, false)),
        ("fd00::1", "10.1.2.3", "", 80, (3, false)),
        ("10.0.0.1", "203.0.113.9", "", 443, (4, true)),
        ("192.0.2.7", "2001:db8::1", "", 80, (4, true)),
        ("192.0.2.8", "2001:db8::1", "", 80, (0, false)),
        ("fd00::1", "198.51.100.1", "www.example", 80, (4, true)),
        ("fd00::1", "198.51.100.1", "a.shop.example", 80, (4, true)),
        ("fd00::1", "198.51.100.1", "b.example", 80, (4, true)),
        ("fd00::1", "198.51.100.1", "c.example", 80, (0, false)),
        ("10.0.0.1", "203.0.113.9", "", 22, (0, false)),
        ("172.16.1.1", "203.0.113.9", "", 22, (5, true)),
    ] {
        let found = decides(&rules, source, destination, name, port);
        assert_eq!(found, expected, "{source} to {destination} {name} {port}");
    }
}

#[test]
fn frozen_sets_are_the_sets_and_know_their_files() {
    let rules = parse(CONF).unwrap();
    assert_eq!(rules.user_files().collect::<Vec<_>>(), ["/sites"]);
    let (thawed, _) = thaw_rules(&freeze_rules(&rules, &Provenance::default())).unwrap();
    assert_eq!(thawed, rules);
    // The listing has a line for each pair, and decides the same.
    let listed: String = rules.lines().map(|line| line + "\n").collect();
    assert_eq!(listed.lines().count(), 3 + 3 * 5 + 5);
    assert!(decides(&parse(&listed).unwrap(), "192.0.2.7", "2001:db8::1", "", 80).1);
}

#[test]
fn a_user_list_of_the_same_file_still_names_its_users() {
    let rules = parse("set web = /sites\npermit *=/sites <web>\n").unwrap();
    assert_eq!(rules.user_files().count(), 2);
    assert_eq!(decides(&rules, "203.0.113.1", "10.0.0.1", "", 80), (0, false), "no user is claimed");
}

#[test]
fn lint_does_not_mistake_the_hosts_of_a_set_for_lines_of_their_own() {
    let rules = parse("set lan = 10.0.0.0/8, 10.1.0.0/16\ndeny <lan>\ndeny 10.2.0.0/16\n").unwrap();
    let warnings: Vec<String> = lint(&rules, IdentMode::Off).iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["line 3: never matches: line 2 matches all that it would"]);
}

#[test]
fn what_is_no_set_is_an_error() {
    // A line is listed as lines, so none of those may be too long.
    let long = format!(
        "set long = {0}.{0}.{0}.org\npermit *={1} <long>\n",
        "a".repeat(60),
        "u".repeat(255) + ",v".repeat(330).as_str()
    );
    for (conf, fault) in [
        ("permit <lan>\n", "line 1: expected name of a set that a line above defines, found \"<lan>\""),
        ("permit <lan>\nset lan = 10.0.0.0/8\n", "line 1: expected name of a set"),
        ("set lan = 10.0.0.0/8\nset lan = 11.0.0.0/8\n", "line 2: expected one set of each name"),
        ("set lan =\n", "line 1: expected at least one host in a set"),
        ("set lan = /empty\n", "line 1: expected at least one host in a set"),
        ("set lan 10.0.0.0/8\n", "line 1: expected name = hosts"),
        ("set = 10.0.0.0/8\n", "line 1: expected name of a set"),
        ("set a b = 10.0.0.0/8\n", "line 1: expected name of a set"),
        ("set lan = 10.0.0.0/33\n", "expected address/length, found \"10.0.0.0/33\""),
        (
            "set lan = ALL\n",
            "line 1: expected address, address/length, name or .zone in a set, found \"ALL\"",
        ),
        ("set lan = 0.0.0.0/0\n", "line 1: expected address, address/length"),
        ("set lan = 127.1\n", "line 1: expected set address, found \"127.1\""),
        ("set lan = <wan>\n", "line 1: expected set address, found \"<wan>\""),
        ("set lan = 10.0.0.0/8 : true\n", "line 1: expected"),
        ("set lan = /bad\n", "line 1: file /bad: line 2: expected address/length"),
        ("set lan = /none\n", "line 1: file /none: No such file or directory"),
        ("set lan = /a:b\n", "line 1: file /a:b: expected a path without a colon"),
        ("set lan = ::ffff:10.0.0.1\n", "line 1: expected the IPv4 form"),
        (&long, "line 2: expected at most 1023 characters with the longest hosts of its sets, found 1"),
        ("set many = /many\npermit <many> <many>\n", "line 2: expected at most 4194304 pairs"),
    ] {
        let found = parse(conf).map(|_| ()).unwrap_err();
        assert!(found.len() == 1 && found[0].contains(fault), "{conf}: {found:?}");
    }
}
