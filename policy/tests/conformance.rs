//! The observed and documented decisions of the classic server (`cases.json`). A harmful one has the result wanted
//! today.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unreachable
)]
use serde_json::Value;
use sockd_policy::{
    Command, Deny, DenyReason, FactState, Facts, HostName, IdentMode, Identity, LineError, Nat64Prefix, Need,
    Pattern, Request, Route, RuleSet, Services, UserId, Verdict, Version, parse_conf, parse_routes,
    parse_upstreams,
};

/// Ids between blanks, tabs and commas, comments, and `yes` only inside a comment.
const USER_FILE: &str = "ann,bob\tcarl\n# yes\n\n dora  , u # yes\n";

fn services() -> Services {
    Services::parse(b"ftp 21/tcp\ntelnet 23/tcp\nhttp 80/tcp www\n")
}

fn conf(text: &str) -> Result<RuleSet, Vec<LineError>> {
    parse_conf(text.as_bytes(), &services(), &mut |path| match path {
        "/users/ufile" => Ok(USER_FILE.into()),
        _ => Err("No such file or directory".into()),
    })
}

fn rules(text: &str) -> RuleSet {
    conf(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn faults(text: &str) -> Vec<String> {
    conf(text).unwrap_err().iter().map(LineError::to_string).collect()
}

/// A request, and the answers to the questions about it.
struct Asked {
    user: UserId,
    src: &'static str,
    dst: &'static str,
    port: u16,
    mode: IdentMode,
    identity: Identity,
    source_names: Vec<HostName>,
    destination_names: Vec<HostName>,
    nat64: &'static [Nat64Prefix],
}

impl Asked {
    fn of(src: &'static str, dst: &'static str) -> Asked {
        Asked {
            user: UserId::parse(b"u").unwrap(),
            src,
            dst,
            port: 23,
            mode: IdentMode::Off,
            identity: Identity::Unknown,
            source_names: vec![],
            destination_names: vec![],
            nat64: &[],
        }
    }

    fn names(mut self, source: &[&str], destination: &[&str]) -> Asked {
        let parse =
            |names: &[&str]| names.iter().map(|name| HostName::parse(name.as_bytes()).unwrap()).collect();
        (self.source_names, self.destination_names) = (parse(source), parse(destination));
        self
    }

    fn user(mut self, user: &str) -> Asked {
        self.user = UserId::parse(user.as_bytes()).unwrap();
        self
    }

    /// Decides, finding out each fact when it is needed, and says which facts were.
    fn decide<'r>(&self, rules: &'r RuleSet) -> (Verdict<'r>, Vec<Need>) {
        let request = Request {
            source: self.src.parse().unwrap(),
            destination: Some(self.dst.parse().unwrap()),
            port: self.port,
            command: Command::Connect,
            version: Version::Socks4,
            user: &self.user,
            ident_default: self.mode,
            nat64: self.nat64,
        };
        let (mut facts, mut needs) = (Facts::default(), vec![]);
        loop {
            let verdict = rules.decide(&request, &facts);
            assert_eq!(verdict, rules.scan()(&request, &facts));
            let Verdict::Need(need) = verdict else { return (verdict, needs) };
            assert!(!needs.contains(&need), "asked twice for {need:?}");
            match need {
                Need::SourceNames => facts.source_names = FactState::Known(&self.source_names),
                Need::DestinationNames => facts.destination_names = FactState::Known(&self.destination_names),
                Need::Identity => facts.identity = FactState::Known(&self.identity),
            }
            needs.push(need);
        }
    }

    /// The line that decides, 0 for none; positive permits, negative denies.
    fn line(&self, rules: &RuleSet) -> i64 {
        match self.decide(rules).0 {
            Verdict::Permit(permit) => permit.rule.line().into(),
            Verdict::Deny(deny) => -deny.rule.map_or(0, |rule| i64::from(rule.line())),
            Verdict::Need(_) => unreachable!(),
        }
    }
}

/// An older version takes only lines with these first words. A line that it refuses cannot stand in an old file.
#[test]
fn no_old_file_contains_an_include_line() {
    for line in ["include /etc/sockd.conf.d/*.conf", "Include /rules", "include"] {
        // Older versions read it like this: a line begins with one of these words, with `set`, or is a special line.
        let word = line.split(' ').next().unwrap();
        assert!(!["permit", "deny", "set"].iter().any(|known| word.eq_ignore_ascii_case(known)), "{line}");
        assert!(!line.starts_with('#') && faults(line).len() == 1, "{line}");
    }
    // As the name of a host, of a set or of a user the word keeps its meaning.
    let old = "set include = 10.0.0.0/8\npermit *=include <include> include 0.0.0.0\ndeny .include 0.0.0.0\n";
    assert_eq!(rules(old).len(), 2);
}

#[test]
fn the_classic_cases_are_decided_as_wanted() {
    let cases: Value = serde_json::from_str(include_str!("cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 74);
    for case in cases {
        let id = case["id"].as_str().unwrap();
        assert_eq!(
            outcome(case),
            (case["want"].as_str().unwrap().into(), case["line"].as_u64().unwrap()),
            "{id}"
        );
    }
}

/// The verdict on a case and the line that decided (or the first faulty one).
fn outcome(case: &Value) -> (String, u64) {
    let text = |key: &str| case[key].as_str().unwrap_or_default().replace("USERFILES", "/users");
    let rules = match conf(&text("conf")) {
        Ok(rules) => rules,
        Err(errors) => return ("error".into(), errors[0].line as u64),
    };
    let options: Vec<&str> =
        case["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap()).collect();
    let asked = Asked {
        port: services().port_of(&text("port")).unwrap_or_else(|| text("port").parse().unwrap()),
        mode: match options[..] {
            [] => IdentMode::Off,
            ["-I"] => IdentMode::Strict,
            _ => IdentMode::Lenient,
        },
        identity: match options[..] {
            ["-B"] => Identity::Known(UserId::parse(b"unknown").unwrap()),
            _ => Identity::Unknown,
        },
        ..Asked::of(text("src").leak(), text("dst").leak()).user(&text("user"))
    };
    let (permitted, line) = match asked.decide(&rules).0 {
        Verdict::Permit(permit) => (true, permit.rule.line()),
        Verdict::Deny(deny) => (false, deny.rule.map_or(0, |rule| rule.line())),
        Verdict::Need(_) => unreachable!(),
    };
    if case["route"].is_string() && permitted {
        let routes = match parse_routes(text("route").as_bytes()) {
            Ok(routes) => routes,
            Err(errors) => return ("error".into(), errors[0].line as u64),
        };
        match routes.source_for(asked.dst.parse().unwrap(), FactState::NotAsked) {
            Route::From { line, .. } => assert_eq!(Some(u64::from(line)), case["route_line"].as_u64()),
            _ => return ("deny".into(), line.into()),
        }
    }
    (if permitted { "permit" } else { "deny" }.into(), line.into())
}

#[test]
fn a_zone_holds_its_own_name_and_those_below_l43_01() {
    let rules = rules("permit 0.0.0.0 0.0.0.0 .xyz.com 0.0.0.0\n");
    for (name, line) in [("xyz.com", 1), ("a.b.XYZ.com", 1), ("badxyz.com", 0), ("com", 0)] {
        assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").names(&[], &[name]).line(&rules), line, "{name}");
    }
}

#[test]
fn a_domain_is_compared_with_every_name_of_the_host_l43_02() {
    let rules = rules("permit xyz.COM 0.0.0.0\n");
    for (names, line) in [(&["a.xyz.com"][..], 0), (&["XYZ.COM"], 1), (&["a.b", "xyz.com"], 1), (&[], 0)] {
        assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").names(names, &[]).line(&rules), line, "{names:?}");
    }
}

#[test]
fn all_means_every_host_in_capitals_only_l43_03() {
    let every = rules("permit ALL 0.0.0.0 ALL 255.255.255.0\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").decide(&every).1, []);
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&every), 1);
    assert_eq!(Asked::of("2001:db8::1", "2001:db8::2").line(&every), 1);
    let ordinary = rules("permit all 0.0.0.0\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&ordinary), 0);
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").names(&["all"], &[]).line(&ordinary), 1);
}

#[test]
fn keywords_and_operators_may_be_in_any_case_l43_04() {
    let rules = rules("Permit 10.0.0.0/8 EQ telnet\nDENY 10.0.0.0/8 GE 0\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&rules), 1);
    assert_eq!(Asked { port: 24, ..Asked::of("10.0.0.1", "20.0.0.1") }.line(&rules), -2);
}

#[test]
fn every_bad_line_is_reported_l43_05() {
    assert_eq!(
        faults("permit\nallow 10.0.0.0/8\npermit 10.0.0.0/8\ndeny 10.0.0.0/8 eq 1 2\n"),
        [
            "line 1: expected source address, found the end of the line",
            "line 2: expected permit or deny, found \"allow\"",
            "line 4: expected the end of the rule, found \"2\"",
        ]
    );
}

#[test]
fn a_file_with_comments_only_denies_everything_and_says_that_it_is_empty_l43_06() {
    let rules = rules("# nothing\n\n  # here\n");
    assert!(rules.is_empty());
    let (verdict, _) = Asked::of("10.0.0.1", "20.0.0.1").decide(&rules);
    assert!(matches!(verdict, Verdict::Deny(deny) if deny.why == DenyReason::NoMatch));
}

#[test]
fn an_empty_user_is_in_no_list_l43_07() {
    let rules = rules("permit *=/users/ufile 0.0.0.0 0.0.0.0\npermit *=a,,b 0.0.0.0 0.0.0.0\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").user("").line(&rules), 0);
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").user("b").line(&rules), 2);
}

#[test]
fn a_zero_address_with_a_mask_is_that_address_and_a_zero_mask_is_any_l43_08() {
    let exact = rules("permit 0.0.0.0 0.0.0.0 0.0.0.0 255.255.255.255\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&exact), 0);
    assert_eq!(Asked::of("10.0.0.1", "0.0.0.0").line(&exact), 1);
    for any in ["9.9.9.9 0.0.0.0", "0.0.0.0 0.0.0.0", "0.0.0.0/0"] {
        let any = rules(&format!("permit {any}\n"));
        assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&any), 1);
        assert_eq!(Asked::of("2001:db8::1", "2001:db8::2").line(&any), 1);
    }
    let v6 = rules("permit ::/0\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").line(&v6), 0);
    assert_eq!(Asked::of("::ffff:10.0.0.1", "20.0.0.1").line(&v6), 0);
    assert_eq!(Asked::of("2001:db8::1", "20.0.0.1").line(&v6), 1);
}

#[test]
fn a_mapped_address_is_judged_as_ipv4() {
    let rules = rules("deny 10.0.0.0 255.0.0.0 20.0.0.0/8\npermit ALL 0.0.0.0\n");
    assert_eq!(Asked::of("::ffff:10.0.0.1", "::ffff:20.0.0.1").line(&rules), -1);
    assert_eq!(Asked::of("::ffff:11.0.0.1", "::ffff:20.0.0.1").line(&rules), 2);
}

#[test]
fn names_are_asked_for_only_where_no_earlier_line_decides() {
    let rules =
        rules("permit 10.0.0.0/8\ndeny .bad.org 0.0.0.0 eq 25\npermit 0.0.0.0/0 .good.org 0.0.0.0 eq 23\n");
    assert_eq!(Asked::of("10.0.0.1", "20.0.0.1").decide(&rules).1, []);
    let (verdict, needs) = Asked::of("11.0.0.1", "20.0.0.1").names(&[], &["www.good.org"]).decide(&rules);
    assert!(matches!(verdict, Verdict::Permit(permit) if permit.rule.line() == 3));
    assert_eq!(needs, [Need::DestinationNames]);
    let (_, needs) = Asked { port: 25, ..Asked::of("11.0.0.1", "20.0.0.1") }.decide(&rules);
    assert_eq!(needs, [Need::SourceNames]);
}

#[test]
fn identd_is_asked_after_a_permit_line_and_ends_the_search() {
    let rules =
        rules("deny *=eve 0.0.0.0/0\npermit ?=i 10.0.0.0/8\npermit ?=I 11.0.0.0/8\npermit 0.0.0.0/0\n");
    let known = |user: &str| Identity::Known(UserId::parse(user.as_bytes()).unwrap());
    let ask = |src, identity| Asked { identity, ..Asked::of(src, "20.0.0.1") };
    assert_eq!(ask("10.0.0.1", Identity::Unknown).user("eve").decide(&rules).1, []);
    assert_eq!(ask("12.0.0.1", Identity::Unknown).decide(&rules).1, []);
    let (verdict, needs) = ask("10.0.0.1", Identity::Unknown).decide(&rules).to_owned();
    assert_eq!(needs, [Need::Identity]);
    assert!(matches!(verdict, Verdict::Permit(permit) if permit.unverified && permit.rule.line() == 2));
    let (verdict, _) = ask("10.0.0.1", known("u")).decide(&rules);
    assert!(matches!(verdict, Verdict::Permit(permit) if !permit.unverified));
    for (src, identity, why) in [
        ("10.0.0.1", known("U"), DenyReason::BadIdentity),
        ("11.0.0.1", known("v"), DenyReason::BadIdentity),
        ("11.0.0.1", Identity::Unknown, DenyReason::NoIdentd),
        ("11.0.0.1", known(""), DenyReason::NoIdentd),
    ] {
        let (verdict, _) = ask(src, identity).decide(&rules);
        assert!(
            matches!(verdict, Verdict::Deny(deny) if deny.why == why && deny.rule.is_some()),
            "{src} {why:?}"
        );
    }
    let (verdict, _) = ask("11.0.0.1", known("")).user("").decide(&rules);
    assert!(matches!(verdict, Verdict::Deny(deny) if deny.why == DenyReason::NoIdentd));
}

/// The verdict if none of these facts could be had, and all others are empty.
fn without<'r>(rules: &'r RuleSet, missing: &[Need]) -> Verdict<'r> {
    let user = UserId::parse(b"u").unwrap();
    let request = Request {
        source: "10.0.0.1".parse().unwrap(),
        destination: Some("20.0.0.1".parse().unwrap()),
        port: 23,
        command: Command::Connect,
        version: Version::Socks4,
        user: &user,
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    let names =
        |need| if missing.contains(&need) { FactState::Unavailable } else { FactState::Known(&[][..]) };
    let identity = match missing.contains(&Need::Identity) {
        true => FactState::Unavailable,
        false => FactState::Known(&Identity::Unknown),
    };
    let (source_names, destination_names) = (names(Need::SourceNames), names(Need::DestinationNames));
    let facts = Facts { source_names, destination_names, identity, login: None };
    let verdict = rules.decide(&request, &facts);
    assert_eq!(verdict, rules.scan()(&request, &facts));
    verdict
}

/// The line and the fact of a refusal for want of a fact; the line of a permission.
fn outcome_without(text: &str, missing: &[Need]) -> (Option<Need>, u32) {
    match without(&rules(text), missing) {
        Verdict::Permit(permit) => (None, permit.rule.line()),
        Verdict::Deny(Deny { rule: Some(rule), why: DenyReason::Unavailable(fact) }) => {
            (Some(fact), rule.line())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deny_line_refuses_where_the_fact_it_depends_on_could_not_be_had() {
    use Need::{DestinationNames, Identity, SourceNames};
    let blocked = "deny ALL 0.0.0.0 .blocked.example 0.0.0.0\npermit ALL 0.0.0.0\n";
    assert_eq!(outcome_without(blocked, &[]), (None, 2));
    assert_eq!(outcome_without(blocked, &[SourceNames]), (None, 2));
    assert_eq!(outcome_without(blocked, &[DestinationNames]), (Some(DestinationNames), 1));
    let clients = "permit 11.0.0.0/8\ndeny .bad.example 0.0.0.0 20.0.0.0/8\npermit ALL 0.0.0.0\n";
    assert_eq!(outcome_without(clients, &[SourceNames, DestinationNames]), (Some(SourceNames), 2));
    // A line that cannot match, whatever the fact is, does not refuse.
    for elsewhere in ["21.0.0.0/8", "20.0.0.0/8 eq 80"] {
        let text = format!("deny .bad.example 0.0.0.0 {elsewhere}\npermit ALL 0.0.0.0\n");
        assert_eq!(outcome_without(&text, &[SourceNames]), (None, 2));
    }
    let listed = "deny *=eve .bad.example 0.0.0.0\npermit ALL 0.0.0.0\n";
    assert_eq!(outcome_without(listed, &[SourceNames]), (None, 2));
    for mode in ["?=i", "?=I"] {
        let text = format!("permit {mode} 10.0.0.0/8\npermit ALL 0.0.0.0\n");
        assert_eq!(outcome_without(&text, &[Identity]), (Some(Identity), 1));
    }
    assert_eq!(outcome_without("permit ?=n ALL 0.0.0.0\n", &[Identity]), (None, 1));
}

#[test]
fn a_permit_line_does_not_match_where_the_fact_it_depends_on_could_not_be_had() {
    let text = "permit .good.example 0.0.0.0\npermit 10.0.0.0/8 .good.example 0.0.0.0\npermit 10.0.0.0/8\n";
    assert_eq!(outcome_without(text, &[Need::SourceNames, Need::DestinationNames]), (None, 3));
    let only = rules("permit .good.example 0.0.0.0\n");
    let verdict = without(&only, &[Need::SourceNames]);
    assert!(matches!(verdict, Verdict::Deny(deny) if deny.why == DenyReason::NoMatch));
    // A line that denies behind such a permit counts, although no request would reach it if the permit matched.
    let behind = "permit .good.example 0.0.0.0\ndeny .bad.example 0.0.0.0\npermit ALL 0.0.0.0\n";
    assert_eq!(outcome_without(behind, &[Need::SourceNames]), (Some(Need::SourceNames), 2));
}

#[test]
fn the_ground_says_which_fact_could_not_be_had() {
    for (fact, text) in [
        (Need::SourceNames, "the names of the client could not be found out"),
        (Need::DestinationNames, "the names of the destination could not be found out"),
        (Need::Identity, "identd could not be asked"),
    ] {
        assert_eq!(DenyReason::Unavailable(fact).to_string(), text);
    }
}

#[test]
fn special_lines_count_only_in_column_0_and_once() {
    let found =
        rules(" #NO_IDENTD: echo a\n#no_identd: echo b\n#BAD_ID:echo %u\npermit ALL 0.0.0.0 : echo %A\n");
    assert_eq!(found.no_identd(), None);
    assert_eq!(found.bad_id().unwrap().text(), "echo %u");
    assert_eq!(found.special_lines(), [0, 3]);
    let commands: Vec<_> = found.templates().collect();
    assert_eq!(commands, [found.bad_id().unwrap(), found.rules().next().unwrap().command().unwrap()]);
    assert_eq!(commands[1].text(), "echo %A");
    assert_eq!(faults("#BAD_ID: a\n#BAD_ID: b\n"), ["line 2: expected one #BAD_ID: line, found a second"]);
    assert_eq!(faults("#BAD_ID:\n").len(), 1);
}

#[test]
fn commands_and_comments_begin_at_the_first_mark() {
    for (line, command) in [
        ("permit 10.0.0.0 255.0.0.0:echo a # b: c", Some("echo a # b: c")),
        ("permit 10.0.0.0 255.0.0.0 eq 80 : echo", Some("echo")),
        ("permit 10.0.0.0/8 # : echo", None),
        ("permit 10.0.0.0/8#: echo", None),
        ("permit 2001:db8::/32 ::1/128 : echo ::1", Some("echo ::1")),
        ("permit 2001:db8:: ffff:ffff:: :echo", Some("echo")),
    ] {
        let rules = rules(line);
        assert_eq!(
            rules.rules().next().unwrap().command().map(|template| template.text()),
            command,
            "{line}"
        );
    }
}

#[test]
fn what_once_opened_firewalls_is_an_error() {
    for line in [
        "permit 10.0.0.0",
        "permit 10.0.0.0 eq 80",
        "permit 10.0.0.0 255.0.0.0 extra",
        "permit 10.0.0.0 255.0.0.0 20.0.0.0 255.0.0.0 80",
        "permit 10.0.0.0 255.0.0.0 20.0.0.0 255.0.0.0 = 80",
        "permit *=u ?=n 10.0.0.0/8",
        "permit ?=I ?=I 10.0.0.0/8",
        "permit ?=Ix 10.0.0.0/8",
        "permit ?=N 10.0.0.0/8",
        "permit ?= n 10.0.0.0/8",
        "permit *= u 10.0.0.0/8",
        "permit *=, 10.0.0.0/8",
        "deny 10.0.0.0/33",
        "deny 10.0.0.0/",
        "deny 10.0.0.0/+8",
        "deny 10.0.0/8",
        "deny 010.0.0.0/8",
        "deny 10.0.0.256 255.255.255.255",
        "deny 10.0.0 255.0.0.0",
        "deny 1o.0.0.0 255.0.0.0",
        "deny 10.0.0.o 255.0.0.0",
        "deny 0x0a.0.0.0 255.0.0.0",
        "deny 0x0a000000 255.0.0.0",
        "deny 10.0.0.0 0xff000000",
        "deny 10.0.0.0 ff00::",
        "deny xyz.com",
        "deny xyz.com eq 80",
        "deny xyz.com/8",
        "deny -.com 0.0.0.0 :",
        "deny . 0.0.0.0",
        "deny ..com 0.0.0.0",
        "deny .10 0.0.0.0",
        "deny 2001:db8:::/32",
        "deny 2001:db8::",
        "deny 2001:db8::/129",
        "deny ::ffff:10.0.0.0/104",
        "deny 0.0.0.0/0 :::/0",
        "deny 10.0.0.0/8 eq -1",
        "deny 10.0.0.0/8 eq 00080x",
        "deny 10.0.0.0/8 eq 65536",
        "deny 10.0.0.0/8 eq TELNET",
        "deny 10.0.0.0/8 : echo %x",
        "deny 10.0.0.0/8 : echo %",
        "deny 10.0.0.0/8 : ;",
        "deny 10.0.0.0/8 :",
        ": echo",
        "deny 10.0.0.0/8 \\",
        "\u{feff}deny 10.0.0.0/8",
        "deny\u{a0}10.0.0.0/8",
        "deny 10.0.0.0/8\0",
        "# \0",
    ] {
        assert_eq!(conf(&format!("# first\n{line}\n")).err().map(|errors| errors[0].line), Some(2), "{line}");
    }
}

#[test]
fn a_byte_order_mark_at_the_start_of_a_file_says_nothing() {
    let marked = |text: &str| format!("\u{feff}{text}");
    for text in
        ["deny 10.0.0.0/8\npermit ALL 0.0.0.0\n", "#BAD_ID: mail %u\ndeny 10.0.0.0/8\n", "# none\n", ""]
    {
        assert_eq!(conf(&marked(text)), conf(text), "{text:?}");
    }
    assert_eq!(faults(&marked("allow\n")), ["line 1: expected permit or deny, found \"allow\""]);
    // Elsewhere it is a character like any other.
    for text in
        ["\n\u{feff}deny 10.0.0.0/8\n", "\u{feff}\u{feff}deny 10.0.0.0/8\n", "deny\u{feff} 10.0.0.0/8\n"]
    {
        assert!(conf(text).is_err(), "{text:?}");
    }
    let routes = "10.9.9.1 11.0.0.0/8\n";
    assert_eq!(parse_routes(marked(routes).as_bytes()), parse_routes(routes.as_bytes()));
    let upstreams = "direct 11.0.0.0/8\n";
    let parse = |text: &str| parse_upstreams(text.as_bytes(), &services(), &mut |_| Err(String::new()));
    assert_eq!(parse(&marked(upstreams)), parse(upstreams));
    assert_eq!(Services::parse(marked("telnet 23/tcp\n").as_bytes()).port_of("telnet"), Some(23));
}

#[test]
fn the_first_name_of_a_user_file_counts_behind_a_byte_order_mark() {
    for list in ["deny", "permit"] {
        let text = format!("{list} *=/users ALL 0.0.0.0\n");
        let rules = |users: &'static str| {
            parse_conf(text.as_bytes(), &services(), &mut |_| Ok(users.into())).unwrap()
        };
        let line = if list == "deny" { -1 } else { 1 };
        for user in ["ann", "bob"] {
            let asked = Asked::of("10.0.0.1", "20.0.0.1").user(user);
            assert_eq!(asked.line(&rules("\u{feff}ann\nbob\n")), line, "{list} {user}");
        }
    }
}

#[test]
fn bytes_that_are_not_utf_8_may_stand_in_comments_only() {
    let parse = |text: &[u8]| parse_conf(text, &services(), &mut |_| Err(String::new()));
    assert!(parse(b"permit 10.0.0.0/8 # \xff\n").is_ok());
    assert!(parse(b"permit *=\xff 10.0.0.0/8\n").is_err());
    assert!(parse(b"permit 10.0.0.0/8 : echo \xff\n").is_err());
    assert!(parse(b"#BAD_ID: \xff\n").is_err());
}

#[test]
fn a_line_may_have_1023_characters_and_no_more() {
    let comment = "x".repeat(1022);
    assert!(conf(&format!("#{comment}\r\n")).is_ok());
    assert_eq!(faults(&format!("#{comment}x\n")), ["line 1: expected at most 1023 characters, found 1024"]);
    let long = format!("permit 10.0.0.0/8 eq telnet : echo {}", "y".repeat(1023 - 35));
    assert_eq!(long.len(), 1023);
    let rules = rules(&long);
    let lines: Vec<_> = rules.lines().collect();
    assert_eq!(conf(&lines.join("\n")).unwrap(), rules);
}

#[test]
fn what_is_found_is_shown_in_printable_letters_and_cut() {
    let found = faults(&format!("permit 10.0.0.0 \u{1b}[2J{}\n", "z".repeat(500)));
    assert!(found[0].starts_with("line 1: expected source mask, found \"\\x1b[2Jzz"), "{found:?}");
    assert!(found[0].len() < 120);
}

#[test]
fn a_thousand_errors_are_listed_and_the_rest_counted() {
    let found = faults(&"what\n".repeat(2500));
    assert_eq!(found.len(), 1001);
    assert_eq!(found[1000], "1500 more errors");
}

#[test]
fn a_user_file_is_read_once_and_its_faults_name_it() {
    let mut asked = Vec::new();
    let text = "permit *=/a 10.0.0.0/8\npermit *=x,/a 11.0.0.0/8\npermit *=/a 12.0.0.0/8\n".repeat(1000);
    let rules = parse_conf(text.as_bytes(), &services(), &mut |path| {
        asked.push(path.to_owned());
        Ok(b"joe".to_vec())
    });
    assert_eq!(asked, ["/a"]);
    assert_eq!(Asked::of("12.0.0.1", "20.0.0.1").user("joe").line(&rules.unwrap()), 3);
    let faulty = |content: &[u8]| {
        let rules = parse_conf(b"\npermit *=/a 10.0.0.0/8\n", &services(), &mut |_| Ok(content.into()));
        rules.unwrap_err()[0].to_string()
    };
    assert_eq!(faulty(b"a\nb\0\n"), "line 2: user file /a: line 2: expected text, found a NUL byte");
    assert!(faulty(&[b'a'; 256]).contains("user file /a: line 1: expected user id of at most 255 bytes"));
    assert_eq!(faults("deny *=/none 10.0.0.0/8\n"), ["line 1: user file /none: No such file or directory"]);
}

#[test]
fn a_deny_line_covers_ipv4_addresses_inside_ipv6_ones_and_a_permit_line_does_not() {
    let inside =
        ["64:ff9b::10.1.2.3", "64:ff9b:1::10.1.2.3", "2002:a01:203::1", "::ffff:0:10.1.2.3", "::10.1.2.3"];
    let denied = rules("permit ALL 0.0.0.0 10.1.2.3/32\ndeny ALL 0.0.0.0 10.0.0.0/8\npermit ALL 0.0.0.0\n");
    let permitted = rules("permit ALL 0.0.0.0 10.0.0.0/8\n");
    let earlier = rules("permit ALL 0.0.0.0 ::/0 eq 23\ndeny ALL 0.0.0.0 10.0.0.0/8\n");
    let of_client = rules("deny 10.0.0.0/8 20.0.0.0/8\npermit ALL 0.0.0.0\n");
    let by_name = rules("deny .xyz.com 0.0.0.0 10.0.0.0/8\npermit ALL 0.0.0.0\n");
    for to in inside {
        assert_eq!(Asked::of("12.0.0.1", to).line(&denied), -2, "{to}");
        assert_eq!(Asked::of("12.0.0.1", to).line(&permitted), 0, "{to}");
        assert_eq!(Asked::of("12.0.0.1", to).line(&earlier), 1, "{to}");
        assert_eq!(Asked::of(to, "20.0.0.1").line(&of_client), -1, "{to}");
        assert_eq!(Asked::of(to, "64:ff9b::20.0.0.1").line(&of_client), -1, "{to}");
        assert_eq!(Asked::of("12.0.0.1", to).names(&["a.xyz.com"], &[]).line(&by_name), -1, "{to}");
        assert_eq!(Asked::of("12.0.0.1", to).names(&["b.org"], &[]).line(&by_name), 2, "{to}");
    }
    assert_eq!(Asked::of("12.0.0.1", "10.1.2.3").line(&denied), 1);
    assert_eq!(Asked::of("12.0.0.1", "64:ff9b::11.1.2.3").line(&denied), 3);
}

/// The examples of RFC 6052, 2.4, and texts that are no prefix.
#[test]
fn a_deny_line_covers_ipv4_addresses_behind_the_prefixes_of_the_site() {
    let denied = rules("deny ALL 0.0.0.0 192.0.2.33/32\npermit ALL 0.0.0.0\n");
    let permitted = rules("permit ALL 0.0.0.0 192.0.2.33/32\n");
    for (prefix, to) in [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b:1:7::/64", "64:ff9b:1:7:c0:2:2100::"),
    ] {
        // The longest prefix counts.
        let prefixes =
            ["2001:d00::/32", prefix, "2001:db9::/96"].map(|text| Nat64Prefix::parse(text).unwrap());
        let nat64 = Box::leak(Box::new(prefixes));
        let asked = Asked { nat64, ..Asked::of("12.0.0.1", to) };
        assert_eq!((asked.line(&denied), asked.line(&permitted)), (-1, 0), "{to}");
        assert_eq!(Asked::of("12.0.0.1", to).line(&denied), 2, "{to}");
        let beside = to.replace("21", "22").replace(".33", ".34").leak();
        assert_eq!(Asked { nat64, ..Asked::of("12.0.0.1", beside) }.line(&denied), 2, "{beside}");
        assert_eq!(prefixes[1].to_string(), prefix);
    }
    for text in
        ["2001:db8::", "2001:db8::/33", "2001:db8::1/96", "2001:db8:1::/32", "10.0.0.0/32", "::/0", "/96"]
    {
        assert_eq!(Nat64Prefix::parse(text), None, "{text}");
    }
}

#[test]
fn the_rules_in_effect_make_the_same_rules_again() {
    let text = "permit ?=I *=ann,/users/ufile 10.0.0.0/8 20.9.9.9 255.0.255.0 neq telnet : echo '%u' # no comment\n\
        deny ?=n .xyz.com 255.0.0.0 ALL 0.0.0.0\n#BAD_ID: mail %u\npermit ?= 2001:db8::/32 ::1 ffff::1 lt 9\n\
        #NO_IDENTD: mail root\ndeny *= ALL 0.0.0.0 a.b 0.0.0.0 ge 1024 : true\npermit 10.0.0.1/32 0.0.0.0/0 : true\n";
    let first = rules(text);
    let lines: Vec<_> = first.lines().collect();
    assert_eq!(
        lines[0],
        "permit ?=I *=ann,/users/ufile 10.0.0.0 255.0.0.0 20.0.9.0 255.0.255.0 neq 23 : echo '%u' # no comment"
    );
    let second = rules(&lines.join("\n"));
    assert_eq!(second.lines().collect::<Vec<_>>(), lines);
    let shape = |rules: &RuleSet| {
        rules
            .rules()
            .map(|rule| (rule.source(), rule.destination(), rule.permits(), rule.ident()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shape(&first), shape(&second));
    assert_eq!(first.rules().next().unwrap().destination().to_string(), "20.0.9.0 255.0.255.0");
    assert!(matches!(first.rules().nth(1).unwrap().destination(), Pattern::Any));
}

/// The lines that decide on a CONNECT and a BIND by SOCKS4 and by SOCKS5, in this order; 0 if none does.
fn deciding(conf: &str, port: u16) -> [u32; 4] {
    let (rules, user) = (rules(conf), UserId::parse(b"joe").unwrap());
    let line = |(command, version)| {
        let request = Request {
            source: "10.0.0.1".parse().unwrap(),
            destination: Some("20.0.0.1".parse().unwrap()),
            port,
            command,
            version,
            user: &user,
            ident_default: IdentMode::Off,
            nat64: &[],
        };
        let verdict = rules.decide(&request, &Facts::default());
        assert_eq!(verdict, rules.scan()(&request, &Facts::default()));
        match verdict {
            Verdict::Permit(permit) => permit.rule.line(),
            Verdict::Deny(deny) => deny.rule.map_or(0, |rule| rule.line()),
            Verdict::Need(need) => panic!("{need:?}"),
        }
    };
    [
        (Command::Connect, Version::Socks4),
        (Command::Bind, Version::Socks4),
        (Command::Connect, Version::Socks5),
        (Command::Bind, Version::Socks5),
    ]
    .map(line)
}

#[test]
fn a_line_is_for_the_commands_and_versions_that_it_names_and_else_for_all() {
    for (conf, lines) in [
        ("permit ALL 0.0.0.0\n", [1, 1, 1, 1]),
        ("permit +=connect ALL 0.0.0.0\n", [1, 0, 1, 0]),
        ("permit +=bind,udp ALL 0.0.0.0\n", [0, 1, 0, 1]),
        ("permit +=udp ALL 0.0.0.0\n", [0, 0, 0, 0]),
        ("permit ~=5 ALL 0.0.0.0\n", [0, 0, 1, 1]),
        ("permit ~=4,5 +=connect,bind ALL 0.0.0.0\n", [1, 1, 1, 1]),
        (
            "deny +=bind ~=4 10.0.0.0/8\npermit *=joe ~=4 10.0.0.0/8\npermit +=bind ?=n *=joe 10.0.0.0/8\n",
            [2, 1, 0, 3],
        ),
    ] {
        assert_eq!(deciding(conf, 80), lines, "{conf}");
    }
}

/// The line that decides on datagrams from 10.0.0.9 to a port, and whether it permits them.
fn udp_by(conf: &str) -> Option<(u32, bool)> {
    let rules = rules(conf);
    let request = Request {
        source: "10.0.0.9".parse().unwrap(),
        destination: Some("20.0.0.1".parse().unwrap()),
        port: 53,
        command: Command::Udp,
        version: Version::Socks5,
        user: &UserId::parse(b"").unwrap(),
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    let verdict = rules.decide(&request, &Facts::default());
    assert_eq!(verdict, rules.scan()(&request, &Facts::default()), "{conf}");
    match verdict {
        Verdict::Permit(permit) => Some((permit.rule.line(), true)),
        Verdict::Deny(deny) => deny.rule.map(|rule| (rule.line(), false)),
        Verdict::Need(need) => panic!("{need:?}"),
    }
}

#[test]
fn no_line_of_an_old_file_opens_udp_and_every_deny_line_covers_it() {
    for (conf, decided) in [
        ("permit ALL 0.0.0.0\n", None),
        ("permit +=connect,bind ALL 0.0.0.0\ndeny +=udp ALL 0.0.0.0\n", None),
        ("permit +=udp ALL 0.0.0.0\n", Some((1, true))),
        ("permit ALL 0.0.0.0\npermit +=connect,udp 10.0.0.0/8\n", Some((2, true))),
        ("permit ALL 0.0.0.0\npermit +=udp 192.0.2.0/24\n", None),
        ("deny 10.0.0.0/8\npermit +=udp ALL 0.0.0.0\n", Some((1, false))),
        ("deny ~=5 ALL 0.0.0.0 eq 53\npermit +=udp ALL 0.0.0.0\n", Some((1, false))),
        ("deny +=connect 10.0.0.0/8\ndeny ~=4 ALL 0.0.0.0\npermit +=udp ALL 0.0.0.0\n", Some((3, true))),
    ] {
        assert_eq!(udp_by(conf), decided, "{conf}");
    }
}

#[test]
fn it_is_known_beforehand_who_may_have_udp_at_all() {
    let may = |conf: &str, source: &str| rules(conf).may_permit_udp(source.parse().unwrap());
    assert!(!rules("permit ALL 0.0.0.0\ndeny +=udp ALL 0.0.0.0\n").offers_udp());
    assert!(!may("permit ALL 0.0.0.0\n", "10.0.0.9"));
    let conf = "permit +=udp 10.0.0.0/8\npermit 192.0.2.0/24\n";
    assert!(rules(conf).offers_udp());
    assert!(may(conf, "10.0.0.9") && may(conf, "::ffff:10.0.0.9"));
    assert!(!may(conf, "192.0.2.1") && !may(conf, "2001:db8::1"));
    assert!(may("permit +=udp .example.net 0.0.0.0\n", "192.0.2.1"), "its names are not known");
    assert!(may("permit +=udp *=joe ALL 0.0.0.0\n", "192.0.2.1"), "nor is its user");
}

#[test]
fn a_line_may_have_a_list_of_ports() {
    let conf = "permit ALL 0.0.0.0 ALL 0.0.0.0 in 80,443,8000-8999\npermit ALL 0.0.0.0 IN 22,20-21\n";
    for (port, line) in
        [(79, 0), (80, 1), (443, 1), (7999, 0), (8000, 1), (8999, 1), (9000, 0), (20, 2), (22, 2), (23, 0)]
    {
        assert_eq!(deciding(conf, port), [line; 4], "{port}");
    }
    let written: Vec<String> = rules(conf).lines().collect();
    assert_eq!(written, ["permit 0.0.0.0 0.0.0.0 in 80,443,8000-8999", "permit 0.0.0.0 0.0.0.0 in 20-22"]);
    // In front of a mask the word is a host of that name, as in old files.
    let host = rules("permit ALL 0.0.0.0 in 0.0.0.0 eq 80\n");
    assert_eq!(host.rules().next().unwrap().destination(), Pattern::Domain(HostName::parse(b"in").unwrap()));
}

/// A line that older versions refuse cannot stand in an old file; a line that they take keeps its meaning.
#[test]
fn no_old_file_contains_a_limit_and_a_limit_is_no_condition() {
    let limited = "permit <=10M/2M n=1 10.0.0.0/8\npermit <=500K ?=i *=joe 10.0.0.0/8\npermit ALL 0.0.0.0\n";
    let bare = "permit 10.0.0.0/8\npermit ?=i *=joe 10.0.0.0/8\npermit ALL 0.0.0.0\n";
    // A version without such a field reads it as the source, which is neither an address nor the name of a host.
    for field in ["<=10M/2M", "<=500K", "<=1M,shared", "n=20", "q=10G/day"] {
        assert!(field.parse::<std::net::IpAddr>().is_err() && HostName::parse(field.as_bytes()).is_err());
        assert!(!field.ends_with('>'), "nor a set");
    }
    let limits =
        |conf| rules(conf).rules().map(|rule| (rule.limits().down, rule.limits().up)).collect::<Vec<_>>();
    assert_eq!(limits(limited), [(10_000_000, 2_000_000), (500_000, 500_000), (0, 0)]);
    assert_eq!(limits(bare), [(0, 0); 3]);
    for port in [22, 80] {
        assert_eq!(deciding(limited, port), deciding(bare, port));
    }
    // As the name of a set or a user it is no field.
    assert_eq!(limits("set n = 10.0.0.0/8\npermit *=<=1M <n>\n"), [(0, 0)]);
}

#[test]
fn what_is_written_of_the_new_fields_is_read_as_the_same() {
    let conf = "permit ?=I *=joe +=connect,udp ~=5 10.0.0.0/8 20.0.0.0/8 in 1-3,9 : true\n\
        permit *=joe ~=5 <=10M/1500K,shared n=20 10.0.0.0/8 20.0.0.0/8\n";
    let written: String = rules(conf).lines().map(|line| line + "\n").collect();
    assert_eq!(written, conf.replace("/8", " 255.0.0.0"));
    assert_eq!(rules(&written), rules(conf));
}

#[test]
fn a_field_that_is_faulty_or_not_there_yet_is_an_error() {
    for (line, fault) in [
        (
            "permit <= ALL 0.0.0.0",
            "expected bytes a second from 1K to 4G, as <=10M/2M, <=500K or <=10M/2M,shared, found",
        ),
        ("permit <=10m ALL 0.0.0.0", "expected bytes a second from 1K to 4G"),
        ("permit <=999/1M ALL 0.0.0.0", "expected bytes a second from 1K to 4G"),
        ("permit <=1M/5G ALL 0.0.0.0", "expected bytes a second from 1K to 4G"),
        ("permit <=1M <=2M ALL 0.0.0.0", "expected source address"),
        ("permit ALL 0.0.0.0 <=1M", "expected destination address"),
        (
            "deny <=1M ALL 0.0.0.0",
            "expected no limit behind deny, which lets nothing through, found \"<=1M\"",
        ),
        (
            "permit <=1M +=connect,udp ALL 0.0.0.0",
            "expected a line of its own for udp, as the kernel holds no limit",
        ),
        ("permit n=0 ALL 0.0.0.0", "expected n= with a number from 1 to 65536"),
        ("permit n=70000 ALL 0.0.0.0", "expected n= with a number from 1 to 65536"),
        ("permit n=5 n=6 ALL 0.0.0.0", "expected source address"),
        ("deny n=5 ALL 0.0.0.0", "expected no limit behind deny, which lets nothing through, found \"n=5\""),
        ("permit +=udp n=5 ALL 0.0.0.0", "expected a line of its own for udp, as the kernel holds no limit"),
        ("permit <=1M,Shared ALL 0.0.0.0", "expected bytes a second from 1K to 4G"),
        (
            "permit q=10G/day ALL 0.0.0.0",
            "expected no q=, as nothing keeps quotas over a restart yet, found \"q=10G/day\"",
        ),
        ("permit += ALL 0.0.0.0", "expected one or more of connect, bind, udp with commas between them"),
        ("permit +=connect,Bind ALL 0.0.0.0", "expected one or more of connect, bind, udp"),
        ("permit ~=6 ALL 0.0.0.0", "expected one or more of 4, 5"),
        ("permit ~=4 ~=5 ALL 0.0.0.0", "expected source address"),
        ("permit ALL 0.0.0.0 ~=4", "expected destination address"),
        ("permit ALL 0.0.0.0 in", "expected ports as 80,443,8000-8999"),
        ("permit ALL 0.0.0.0 in 80,", "expected ports as"),
        ("permit ALL 0.0.0.0 in 90-80", "expected ports as"),
        ("permit ALL 0.0.0.0 in 65536", "expected ports as"),
        ("permit ALL 0.0.0.0 in 80 443", "expected the end of the rule"),
    ] {
        let found = faults(line);
        assert!(found.len() == 1 && found[0].contains(fault), "{line}: {found:?}");
    }
}

#[test]
fn a_client_of_socks5_claims_nobody_and_is_whom_its_identd_names() {
    let (nobody, joe) = (UserId::parse(b"").unwrap(), UserId::parse(b"joe").unwrap());
    let known = Identity::Known(joe.clone());
    for (conf, version, user, identity, why) in [
        ("permit ?=I", Version::Socks5, &nobody, &known, None),
        ("permit ?=i", Version::Socks5, &nobody, &known, None),
        ("permit ?=i", Version::Socks5, &nobody, &Identity::Unknown, None),
        ("permit ?=I", Version::Socks5, &nobody, &Identity::Unknown, Some(DenyReason::NoIdentd)),
        // The empty user of SOCKS4 is a claim, and no list has it.
        ("permit ?=I", Version::Socks4, &nobody, &known, Some(DenyReason::BadIdentity)),
        ("permit ?=I", Version::Socks4, &joe, &known, None),
        ("permit ?=I *=joe", Version::Socks5, &nobody, &known, Some(DenyReason::NoMatch)),
    ] {
        let rules = rules(&format!("{conf} ALL 0.0.0.0\n"));
        let request = Request {
            source: "10.0.0.1".parse().unwrap(),
            destination: Some("20.0.0.1".parse().unwrap()),
            port: 80,
            command: Command::Connect,
            version,
            user,
            ident_default: IdentMode::Off,
            nat64: &[],
        };
        let facts = Facts { identity: FactState::Known(identity), ..Facts::default() };
        let found = match rules.decide(&request, &facts) {
            Verdict::Permit(_) => None,
            Verdict::Deny(deny) => Some(deny.why),
            Verdict::Need(need) => panic!("{need:?}"),
        };
        assert_eq!(found, why, "{conf} {version:?} {user:?} {identity:?}");
    }
}
