//! Warnings about valid lines.

#![allow(clippy::unwrap_used)]

use sockd_policy::{
    IdentMode, Network, Services, lint, lint_balancers, lint_routes, lint_text, parse_conf, parse_routes,
};

fn warnings(text: &str) -> Vec<String> {
    let users = |path: &str| Ok(if path == "/none" { Vec::new() } else { b"ann,bob".to_vec() });
    let rules = parse_conf(text.as_bytes(), &Services::default(), &mut { users }).unwrap();
    lint(&rules, IdentMode::Off).iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_behind_one_that_covers_it_never_matches() {
    for (earlier, later) in [
        ("deny 10.0.0.0/8", "deny 10.1.0.0/16 20.0.0.0/8 eq 80"),
        ("deny ALL 0.0.0.0 20.0.0.0/8", "deny *=ann .a.b 0.0.0.0 20.0.0.1/32"),
        ("deny 10.0.0.3 255.0.0.255", "deny 10.1.1.3/32"),
        ("deny 10.0.0.0/8 ge 80", "deny 10.0.0.0/8 gt 1023"),
        ("deny 10.0.0.0/8 neq 80", "deny 10.0.0.0/8 eq 81"),
        ("deny .b 0.0.0.0", "deny .a.b 0.0.0.0"),
        ("deny .a.b 0.0.0.0", "deny a.b 0.0.0.0"),
        ("deny *=ann,bob 10.0.0.0/8", "deny *=bob 10.0.0.0/8"),
        ("deny 10.0.0.0/8 in 80-90,100", "deny 10.0.0.0/8 in 81,85-90"),
        ("deny 10.0.0.0/8", "deny +=udp ~=5 10.0.0.0/8"),
        ("permit +=connect,bind 10.0.0.1/32 20.0.0.0/8", "permit 10.0.0.1/32 20.0.0.0/8"),
        ("deny *=/users,x 10.0.0.0/8", "deny *=/users 10.0.0.0/8"),
        ("deny *=/users 10.0.0.0/8", "deny *=bob 10.0.0.0/8"),
        ("permit ?=I fd00::1/128 2001:db8::/32", "deny fd00::1/128 2001:db8::/32"),
        ("permit ?=I ALL 0.0.0.0 2001:db8::/32", "deny 10.0.0.1/32 2001:db8::/32"),
        ("deny 10.0.0.1/32 20.0.0.0/8", "deny 10.0.0.1/32 20.0.0.0/8"),
        ("deny 10.0.0.0/8", "deny @=password g=staff 10.0.0.0/8"),
        ("deny @=none,password 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny g=staff,wheel 10.0.0.0/8", "deny g=wheel 10.0.0.0/8"),
        // identd is asked once a line has matched, and no further line is tried.
        ("permit @=ident 10.0.0.1/32 20.0.0.0/8", "permit @=none 10.0.0.1/32 20.0.0.0/8"),
    ] {
        let found = warnings(&format!("{earlier}\n{later}\n"));
        assert_eq!(found, ["line 2: never matches: line 1 matches all that it would"], "{earlier} / {later}");
    }
}

#[test]
fn a_rule_that_is_not_wholly_covered_can_match() {
    for (earlier, later) in [
        ("deny 10.1.0.0/16", "deny 10.0.0.0/8"),
        ("deny 10.0.0.0/8 20.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny 10.0.0.0/8 eq 80", "deny 10.0.0.0/8 ge 80"),
        ("deny 10.0.0.0/8 in 80-90", "deny 10.0.0.0/8 in 85-95"),
        ("permit 10.0.0.1/32 20.0.0.0/8", "permit +=udp 10.0.0.1/32 20.0.0.0/8"),
        ("deny ~=4 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny *=ann 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny g=staff 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny @=none 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("deny @=none 10.0.0.0/8", "deny @=password 10.0.0.0/8"),
        ("deny *=staff 10.0.0.0/8", "deny g=staff 10.0.0.0/8"),
        ("deny *=ann 10.0.0.0/8", "deny *=/users 10.0.0.0/8"),
        ("deny a.b 0.0.0.0", "deny .a.b 0.0.0.0"),
        ("deny .a.b 0.0.0.0", "deny 10.0.0.0/8"),
        ("deny 0.0.0.0/1", "deny .a.b 0.0.0.0"),
        ("deny ::/0", "deny ALL 0.0.0.0"),
        // The deny line matches the IPv4 addresses inside IPv6 ones as well.
        ("permit 10.0.0.1/32 20.0.0.0/8", "deny 10.0.0.1/32 20.0.0.0/8"),
        ("permit fd00::1/128 20.0.0.0/8", "deny fd00::1/128 20.0.0.0/8"),
        ("permit 10.0.0.1/32 fd00::/8", "deny 10.0.0.1/32 fd00::/8"),
    ] {
        assert_eq!(warnings(&format!("{earlier}\n{later}\n")), [""; 0], "{earlier} / {later}");
    }
}

#[test]
fn what_looks_mistyped_is_warned_about_where_it_stands() {
    for (line, said) in [
        (
            "permit 10.0.0.0 0.0.0.255",
            Some("the mask of 10.0.0.0 looks inverted: a bit that counts is 1 in it"),
        ),
        ("permit 10.0.0.7 255.255.255.0", Some("10.0.0.7 has bits that its mask leaves out")),
        ("permit 10.0.0.7/24", Some("10.0.0.7 has bits that its mask leaves out")),
        ("permit 2001:db8::7/64", Some("2001:db8::7 has bits that its mask leaves out")),
        ("permit 10.0.0.7 0.0.0.0", Some("the mask of 10.0.0.7 is all zeros: every host matches")),
        ("permit any 0.0.0.0", Some("\"any\" is the name of a host; every host is ALL")),
        (
            "deny ALL 0.0.0.0 .example.org 0.0.0.0",
            Some("denies .example.org by name: another name or the bare address goes round it"),
        ),
        ("permit ALL 0.0.0.0 .example.org 0.0.0.0 eq 80 : echo all", None),
        ("permit *=any 10.0.0.0/8 0.0.0.0 0.0.0.0", None),
        ("deny 10.0.0.3 255.0.0.255 2001:db8::/32", None),
        ("deny 10.0.0.3 255.255.255.255 ::/0", None),
    ] {
        let found: Vec<String> = lint_text(line.as_bytes()).iter().map(ToString::to_string).collect();
        match said {
            Some(said) => assert_eq!(found, [format!("line 1: {said}")], "{line}"),
            None => assert_eq!(found, [""; 0], "{line}"),
        }
    }
}

#[test]
fn a_rule_without_ports_or_users_never_matches() {
    assert_eq!(warnings("deny 10.0.0.0/8 lt 0"), ["line 1: never matches: there is no such port"]);
    assert_eq!(warnings("deny 10.0.0.0/8 gt 65535"), ["line 1: never matches: there is no such port"]);
    assert_eq!(warnings("deny *=/none 10.0.0.0/8"), ["line 1: never matches: its user list is empty"]);
}

#[test]
fn a_permit_for_anywhere_opens_the_inside_unless_an_earlier_line_denies_it() {
    let open = |inside: &str, line: u32| {
        format!("line {line}: permits destinations inside, such as {inside}; a line above could deny them")
    };
    assert_eq!(warnings("permit 10.0.0.0/8"), [open("10.0.0.0/8", 1)]);
    let private = "deny ALL 0.0.0.0 10.0.0.0/8\ndeny ALL 0.0.0.0 172.16.0.0/12\ndeny ALL 0.0.0.0 192.168.0.0/16\ndeny ALL 0.0.0.0 fc00::/7\n";
    assert_eq!(warnings(&format!("{private}permit 10.0.0.0/8\n")), [""; 0]);
    assert_eq!(warnings(&format!("{private}permit 128.12.0.0/16\n")), [open("128.12.0.0/16", 5)]);
    assert_eq!(warnings("permit 10.0.0.0/8 10.1.0.0/16\npermit 10.0.0.0/8 20.0.0.0/8\n"), [""; 0]);
}

#[test]
fn a_permit_by_name_without_identd_is_doubtful() {
    let found =
        warnings("permit .a.b 0.0.0.0 20.0.0.0/8\npermit ?=I .c.d 0.0.0.0 20.0.0.0/8\ndeny .e.f 0.0.0.0\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("line 1: permits clients by name"));
}

#[test]
fn a_route_from_an_address_that_this_host_lacks_is_named_and_each_address_is_asked_about_once() {
    let text =
        b"192.0.2.1 10.0.0.0/8\n192.0.2.7 11.0.0.0/8\n\n2001:db8::7 ALL 0.0.0.0\n192.0.2.7 ALL 0.0.0.0\n";
    let asked = std::cell::RefCell::new(Vec::new());
    let has = |address: std::net::IpAddr| {
        asked.borrow_mut().push(address.to_string());
        address == std::net::IpAddr::from([192, 0, 2, 1])
    };
    let found = lint_routes(&parse_routes(text).unwrap(), has);
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "line 2: this host does not have 192.0.2.7; connections from there fail",
            "line 4: this host does not have 2001:db8::7; connections from there fail",
            "line 5: this host does not have 192.0.2.7; connections from there fail",
        ]
    );
    assert_eq!(*asked.borrow(), ["192.0.2.1", "192.0.2.7", "2001:db8::7"]);
}

#[test]
fn a_balancer_that_is_permitted_as_a_client_and_a_listener_that_is_named_as_a_destination_are_told() {
    let balancers = [Network::prefix("192.0.2.7".parse().unwrap(), 32).unwrap()];
    let listeners = ["198.51.100.1:1080".parse().unwrap()];
    let client = "permits 192.0.2.7/32 as a client, which proxy_from believes; a line above could deny it";
    let listener = "permits 198.51.100.1 as a destination, where proxy_from has the listener 198.51.100.1:1080 for \
                    balancers";
    for (text, line, told) in [
        ("permit ALL 0.0.0.0", 1, Some(client)),
        ("permit 192.0.0.0/16", 1, Some(client)),
        ("permit +=udp 192.0.2.7/32 10.0.0.0/8 eq 80", 1, Some(client)),
        ("deny 192.0.2.7/32\npermit ALL 0.0.0.0", 2, None),
        ("deny 192.0.2.7/32 ALL 0.0.0.0 eq 80\npermit ALL 0.0.0.0", 2, Some(client)),
        ("permit 10.0.0.0/8", 1, None),
        ("deny ALL 0.0.0.0", 1, None),
        ("permit 10.0.0.0/8 198.51.100.1/32 eq 22", 1, Some(listener)),
        ("permit 10.0.0.0/8 198.51.100.0/24", 1, None),
    ] {
        let rules =
            parse_conf(format!("{text}\n").as_bytes(), &Services::default(), &mut |_| Err(String::new()));
        let warnings = lint_balancers(&rules.unwrap(), &balancers, &listeners);
        let found: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let expected: Vec<_> = told.into_iter().map(|told| format!("line {line}: {told}")).collect();
        assert_eq!(found, expected, "{text}");
    }
}
