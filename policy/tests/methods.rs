//! The methods and groups that rules ask for, and the methods asked of a client before its request is known.

#![allow(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod random;

use std::net::IpAddr;

use proptest::prelude::*;
use random::{ADDRESSES, cases, crowd, few_cases, parse, rule};
use sockd_policy::{
    Command, DenyReason, FactState, Facts, IdentMode, Identity, Login, Methods, Need, Pattern, Request,
    RuleSet, Services, UserId, Verdict, Version, canonical, lint, parse_conf,
};

/// The way in which a client has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// It has shown nothing, and identd has not been asked.
    Nothing,
    /// Its identd names joe.
    Ident,
    /// Its identd does not answer.
    NoIdentd,
    /// A password has shown that it is joe, of the groups staff and wheel.
    Password,
}

/// The line that permits, or why none does.
fn decided(conf: &str, version: Version, claimed: &str, shown: Shown) -> Result<u32, Option<DenyReason>> {
    let user = |name: &str| UserId::parse(name.as_bytes()).unwrap();
    let (joe, claimed) = (user("joe"), user(claimed));
    let known = Identity::Known(joe.clone());
    let rules = parse(conf);
    let request = Request {
        source: "10.0.0.1".parse().unwrap(),
        destination: "20.0.0.1".parse().ok(),
        port: 80,
        command: Command::Connect,
        version,
        user: &claimed,
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    let facts = Facts {
        identity: match shown {
            Shown::Ident => FactState::Known(&known),
            Shown::NoIdentd => FactState::Known(&Identity::Unknown),
            Shown::Nothing | Shown::Password => FactState::NotAsked,
        },
        login: (shown == Shown::Password).then_some(Login { user: &joe, groups: b"staff,wheel" }),
        ..Facts::default()
    };
    let verdict = rules.decide(&request, &facts);
    assert_eq!(verdict, rules.scan()(&request, &facts));
    match verdict {
        Verdict::Permit(permit) => Ok(permit.rule.line()),
        Verdict::Deny(deny) => Err(Some(deny.why)),
        Verdict::Need(Need::Identity) => Err(None),
        Verdict::Need(need) => panic!("{need:?}"),
    }
}

#[test]
fn a_line_is_for_those_who_have_shown_who_they_are_as_it_says() {
    use Shown::{Ident, NoIdentd, Nothing, Password};
    let (no_match, no_identd) = (Err(Some(DenyReason::NoMatch)), Err(Some(DenyReason::NoIdentd)));
    let must_ask = Err(None);
    for (line, outcomes) in [
        ("permit", [Ok(1), Ok(1), Ok(1), Ok(1)]),
        ("permit @=none", [Ok(1), Ok(1), Ok(1), no_match]),
        ("permit @=password", [no_match, no_match, no_match, Ok(1)]),
        ("permit @=none,password", [Ok(1), Ok(1), Ok(1), Ok(1)]),
        // Only identd can show it, and so has to.
        ("permit @=ident", [must_ask, Ok(1), no_identd, no_match]),
        ("permit @=ident,password", [must_ask, Ok(1), no_identd, Ok(1)]),
        ("permit @=ident,password ?=I", [must_ask, Ok(1), no_identd, Ok(1)]),
        // identd may show it, and is asked if the line says so.
        ("permit @=none,ident", [Ok(1), Ok(1), Ok(1), no_match]),
        ("permit @=none,ident ?=I", [must_ask, Ok(1), no_identd, no_match]),
        ("permit @=none,ident ?=i", [must_ask, Ok(1), Ok(1), no_match]),
        // identd is not asked if it is none of the methods, nor about a user whom a password has named.
        ("permit ?=I", [must_ask, Ok(1), no_identd, Ok(1)]),
        ("permit ?=I @=none", [Ok(1), Ok(1), Ok(1), no_match]),
        ("permit ?=I @=password", [no_match, no_match, no_match, Ok(1)]),
    ] {
        let conf = format!("{line} 10.0.0.0/8\n");
        for (shown, outcome) in [Nothing, Ident, NoIdentd, Password].into_iter().zip(outcomes) {
            assert_eq!(decided(&conf, Version::Socks5, "", shown), outcome, "{line} {shown:?}");
        }
    }
}

#[test]
fn a_deny_line_is_for_those_alone_who_have_shown_it_so() {
    let conf = "deny @=none 10.0.0.0/8\npermit 10.0.0.0/8\n";
    assert_eq!(decided(conf, Version::Socks5, "", Shown::Nothing), Err(Some(DenyReason::Rule)));
    assert_eq!(decided(conf, Version::Socks4, "joe", Shown::Ident), Err(Some(DenyReason::Rule)));
    assert_eq!(decided(conf, Version::Socks5, "", Shown::Password), Ok(2));
    let conf = "deny @=password g=wheel 10.0.0.0/8\npermit 10.0.0.0/8\n";
    assert_eq!(decided(conf, Version::Socks5, "", Shown::Nothing), Ok(2));
    assert_eq!(decided(conf, Version::Socks5, "", Shown::Password), Err(Some(DenyReason::Rule)));
}

/// Row 67 of the specification: SOCKS4 has no password.
#[test]
fn a_claimed_user_is_no_verified_one() {
    let no_match = Err(Some(DenyReason::NoMatch));
    for (line, claimed, with_password) in [
        ("permit *=joe", Ok(1), Ok(1)),
        ("permit *=ann", no_match, no_match),
        ("permit @=password *=joe", no_match, Ok(1)),
        ("permit @=password *=ann", no_match, no_match),
        ("permit g=staff", no_match, Ok(1)),
        ("permit g=guests,wheel", no_match, Ok(1)),
        ("permit g=guests", no_match, no_match),
        ("permit g=staff,wheel", no_match, Ok(1)),
        ("permit g=sta", no_match, no_match),
        ("permit *=joe g=staff", no_match, Ok(1)),
        ("permit *=ann g=staff", no_match, no_match),
        // A user is no group, and a group no user.
        ("permit g=joe", no_match, no_match),
        ("permit *=staff", no_match, no_match),
    ] {
        let conf = format!("{line} 10.0.0.0/8\n");
        assert_eq!(decided(&conf, Version::Socks4, "joe", Shown::Nothing), claimed, "{line}");
        // With a password, the claim does not count.
        for claimed in ["", "ann"] {
            let found = decided(&conf, Version::Socks5, claimed, Shown::Password);
            assert_eq!(found, with_password, "{line}");
        }
    }
}

#[test]
fn fields_may_stand_in_any_order() {
    let fields = ["?=I", "*=joe", "g=staff", "+=connect", "~=5", "@=password"];
    let rules = |fields: &[&str]| parse(&format!("permit {} 10.0.0.0/8\n", fields.join(" ")));
    let written = "permit ?=I *=joe g=staff +=connect ~=5 @=password 10.0.0.0 255.0.0.0";
    for turn in 0..fields.len() {
        let mut turned = fields;
        turned.rotate_left(turn);
        // The classic server would have read this order otherwise.
        let ident = turned.iter().position(|field| *field == "?=I").unwrap();
        let users = turned.iter().position(|field| *field == "*=joe").unwrap();
        if users < ident {
            turned.swap(users, ident);
        }
        assert_eq!(rules(&turned).lines().collect::<Vec<_>>(), [written], "{turned:?}");
    }
}

#[test]
fn what_contradicts_itself_or_is_not_there_is_an_error() {
    let fault = |line: &str| {
        let text = format!("{line} 10.0.0.0/8\n");
        let errors = parse_conf(text.as_bytes(), &Services::default(), &mut |_| Ok(Vec::new())).unwrap_err();
        errors[0].to_string()
    };
    for (line, said) in [
        ("permit @=", "one or more of none, password, ident with commas between them, found \"@=\""),
        ("permit @=Password", "one or more of none, password, ident with"),
        ("permit @=none,pam", "no pam, which this version does not have, found \"@=none,pam\""),
        ("permit @=gssapi", "no gssapi, which this version does not have"),
        ("permit @=tls", "no tls, which"),
        ("permit @=none @=password", "source address, found \"@=password\""),
        ("deny @=ident", "@= without ident behind deny, which never asks identd, found \"@=ident\""),
        ("deny ?=n @=none,ident", "@= without ident behind deny"),
        ("permit ?=n @=ident", "?=I or no ?= beside @= with ident and without none, found \"@=ident\""),
        ("permit @=password,ident ?=i", "?=I or no ?= beside @= with ident and without none"),
        ("permit g=", "names of groups with commas between them, found \"g=\""),
        ("permit g=staff,,wheel", "names of groups with"),
        ("permit *=/users g=/users", "names of groups with"),
        (
            "permit g=staff @=none",
            "@= with password beside g=, as no other user has groups, found \"@=none\"",
        ),
        ("deny @=none g=staff", "@= with password beside g="),
    ] {
        let found = fault(line);
        assert!(found.contains(said), "{line}: {found}");
    }
}

/// The methods asked of a client, in words.
fn asked(rules: &RuleSet, client: &str) -> &'static str {
    match rules.methods(client.parse().unwrap()) {
        Methods::None => "none",
        Methods::Password => "password",
        Methods::Either => "none or password",
    }
}

#[test]
fn a_client_is_asked_for_what_the_lines_for_its_source_ask_for() {
    let conf = "deny @=none 10.9.0.0/16\n\
                permit @=password 10.0.0.0/8 20.0.0.0/8\n\
                permit 10.1.0.0/16 20.0.0.1/32 eq 80\n\
                permit @=none,password 10.2.0.0/16\n\
                permit @=ident 10.3.0.0/16\n\
                permit @=password,ident 10.4.0.0 255.255.0.255\n\
                permit ~=4 10.5.0.0/16\n\
                permit g=staff 192.168.0.0/16\n\
                permit g=staff @=none,password 192.168.1.0/24\n\
                permit @=password fd00::/8\n";
    for (client, methods) in [
        ("10.9.0.1", "password"),
        ("10.1.0.1", "none or password"),
        ("10.2.0.1", "none or password"),
        ("10.3.0.1", "none or password"),
        ("10.4.7.0", "none or password"),
        ("10.4.7.1", "password"),
        ("10.5.0.1", "password"),
        ("192.168.0.1", "password"),
        ("192.168.1.1", "password"),
        ("fd00::1", "password"),
        ("::ffff:10.0.0.1", "password"),
        // No line permits it: the rules refuse its request.
        ("11.0.0.1", "none"),
        ("2001:db8::1", "none"),
    ] {
        assert_eq!(asked(&parse(conf), client), methods, "{client}");
    }
    for (more, elsewhere, here) in [
        ("permit ALL 0.0.0.0 30.0.0.1/32\n", "none", "none or password"),
        ("permit @=password ALL 0.0.0.0\n", "password", "password"),
        // A client may have any name.
        ("permit .example.org 0.0.0.0\n", "none", "none or password"),
        ("permit @=password .example.org 0.0.0.0\n", "password", "password"),
        ("deny ALL 0.0.0.0\n", "none", "password"),
    ] {
        let rules = parse(&format!("{conf}{more}"));
        assert_eq!([asked(&rules, "11.0.0.1"), asked(&rules, "10.9.0.1")], [elsewhere, here], "{more}");
    }
    assert_eq!(asked(&parse(""), "10.0.0.1"), "none");
}

/// The methods asked of a client, and whether it may have datagrams, by looking at every line.
fn scanned(rules: &RuleSet, client: IpAddr) -> (Methods, bool) {
    let may_match = |pattern: Pattern| match pattern {
        Pattern::Network(network) => network.contains(canonical(client)),
        _ => true,
    };
    let asks = rules.rules().filter(|rule| may_match(rule.source())).map(|rule| rule.asks());
    let all = asks.fold(0, |all, asks| all | asks);
    let methods = [Methods::None, Methods::None, Methods::Password, Methods::Either];
    (methods[usize::from(all & 3)], all & 0x80 != 0)
}

/// The same as the index has it.
fn indexed(rules: &RuleSet, client: IpAddr) -> (Methods, bool) {
    (rules.methods(client), rules.may_permit_udp(client))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_index_asks_for_what_the_lines_do(rules in prop::collection::vec(rule(), 0..80)) {
        let rules = parse(&rules.join("\n"));
        for client in ADDRESSES {
            let client: IpAddr = client.parse().unwrap();
            prop_assert_eq!(indexed(&rules, client), scanned(&rules, client), "{}", client);
        }
    }
}

#[test]
fn the_index_asks_for_what_the_lines_do_among_thousands() {
    let asked = (any::<u64>(), any::<bool>(), prop::collection::vec(any::<u32>(), 60));
    let found = few_cases(file!()).run(&asked, |(seed, v4, clients)| {
        let fields = ["permit @=password", "permit @=none", "permit", "permit +=udp", "deny"];
        let lines = crowd(v4, seed);
        let lines = (seed as usize..).zip(lines.lines());
        let permits = lines.map(|(number, line)| line.replacen("deny", fields[number % 5], 1));
        let rules =
            parse(&permits.filter(|line| !line.contains("ALL 0.0.0.0 ")).collect::<Vec<_>>().join("\n"));
        for client in clients {
            let address = random::crowded(v4, client.into());
            prop_assert_eq!(indexed(&rules, address), scanned(&rules, address), "{}", address);
        }
        Ok(())
    });
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn a_line_for_users_whom_nobody_asks_for_a_password_is_warned_about() {
    const NOT_ASKED: &str = "a client that can go without a password is not asked for one, as another line \
                             permits that from there; auth: prefer in sockd.ron would ask";
    for (conf, warned) in [
        ("permit @=password 10.0.0.0/8 20.0.0.0/8\npermit 10.0.0.0/8 30.0.0.0/8\n", vec![1]),
        ("permit ALL 0.0.0.0 30.0.0.0/8\npermit g=staff 10.0.0.0/8 20.0.0.0/8\n", vec![2]),
        ("permit @=password 10.0.0.0/8 20.0.0.0/8\npermit ?=I .a.b 0.0.0.0 30.0.0.0/8\n", vec![1]),
        // Some clients of the line are asked.
        ("permit @=password 10.0.0.0/8 20.0.0.0/8\npermit 10.1.0.0/16 30.0.0.0/8\n", vec![]),
        ("permit @=password 10.0.0.0/8 20.0.0.0/8\npermit ~=4 10.0.0.0/8 30.0.0.0/8\n", vec![]),
        ("permit @=password 10.0.0.0/8 20.0.0.0/8\ndeny 10.0.0.0/8 30.0.0.0/8\n", vec![]),
        ("permit @=none,password 10.0.0.0/8 20.0.0.0/8\npermit 10.0.0.0/8 30.0.0.0/8\n", vec![]),
    ] {
        let found: Vec<u32> = lint(&parse(conf), IdentMode::Off)
            .iter()
            .filter(|warning| warning.to_string().ends_with(NOT_ASKED))
            .map(|warning| warning.line)
            .collect();
        assert_eq!(found, warned, "{conf}");
    }
}

#[test]
fn frozen_rules_keep_methods_and_groups() {
    use sockd_policy::frozen::{Provenance, freeze_rules, thaw_rules};
    let rules =
        parse("permit @=password g=staff 10.0.0.0/8\ndeny @=none ALL 0.0.0.0\npermit @=ident ALL 0.0.0.0\n");
    let (thawed, _) = thaw_rules(&freeze_rules(&rules, &Provenance::default())).unwrap();
    assert_eq!(thawed, rules);
    assert_eq!(asked(&thawed, "10.0.0.1"), "none or password");
    let lines = rules.lines().collect::<Vec<_>>().join("\n");
    assert_eq!(parse(&lines), rules);
}
