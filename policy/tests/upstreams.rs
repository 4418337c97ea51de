//! `socks.conf`: which way a permitted request goes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::IpAddr;

use sockd_policy::frozen::{Provenance, freeze_upstreams, thaw_rules, thaw_upstreams};
use sockd_policy::{FactState, HostName, LineError, Services, Upstream, Upstreams, UserId, parse_upstreams};

fn parse(text: &str) -> Result<Upstreams, Vec<LineError>> {
    let services = Services::parse(b"telnet 23/tcp\n");
    parse_upstreams(text.as_bytes(), &services, &mut |_| Ok(b"carl".to_vec()))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The way and line, as text.
fn way(upstreams: &Upstreams, destination: &str, names: Option<&[&str]>, port: u16, user: &str) -> String {
    let names: Option<Vec<_>> =
        names.map(|names| names.iter().map(|name| HostName::parse(name.as_bytes()).unwrap()).collect());
    let user = UserId::parse(user.as_bytes()).unwrap();
    let destination = (!destination.is_empty()).then(|| ip(destination));
    match upstreams.way_for(destination, names.as_deref().into(), port, &user, &[]) {
        Upstream::By { way, line, command } => {
            format!(
                "{line} {way}{}",
                command.map_or(String::new(), |command| format!(" : {}", command.text()))
            )
        }
        Upstream::NeedNames => "names".into(),
        Upstream::NamesUnavailable { line } => format!("{line} unavailable"),
    }
}

const CONF: &str = "domain example.org\n\
    direct 10.0.0.0 255.0.0.0\n\
    deny *=eve,/carl ALL 0.0.0.0 eq telnet : echo %u\n\
    SOCKD @=gw.example.org:1081,10.0.0.1,2001:db8::1,[2001:db8::2]:1080 *=ann 20.0.0.0/8\n\
    sockd@10.0.0.2:99 2001:db8::/32 # note\n\
    sockd @= .far.org 0.0.0.0 : true\n\
    sockd 30.0.0.0/8\n";

#[test]
fn the_first_matching_line_says_the_way() {
    let upstreams = parse(CONF).unwrap();
    let list = "sockd @=gw.example.org:1081,10.0.0.1,2001:db8::1,[2001:db8::2]:1080";
    assert_eq!(way(&upstreams, "10.1.1.1", None, 23, "eve"), "2 direct");
    assert_eq!(way(&upstreams, "20.1.1.1", None, 23, "eve"), "3 deny : echo %u");
    assert_eq!(way(&upstreams, "20.1.1.1", None, 23, "carl"), "3 deny : echo %u");
    assert_eq!(way(&upstreams, "20.1.1.1", None, 23, "ann"), format!("4 {list}"));
    assert_eq!(way(&upstreams, "2001:db8::9", None, 23, "ann"), "5 sockd @=10.0.0.2:99");
    assert_eq!(way(&upstreams, "40.0.0.1", None, 23, "ann"), "names");
    assert_eq!(way(&upstreams, "40.0.0.1", Some(&["a.far.org"]), 23, "ann"), "6 sockd : true");
    assert_eq!(way(&upstreams, "30.0.0.1", Some(&[]), 23, "ann"), "7 sockd");
    assert_eq!(way(&upstreams, "40.0.0.1", Some(&[]), 23, "ann"), "0 deny");
}

#[test]
fn a_name_that_is_not_resolved_matches_names_and_any_only() {
    let upstreams =
        parse("direct 0.0.0.0/1\ndirect 128.0.0.0/1\ndirect ::/0\nsockd .far.org 0.0.0.0\n").unwrap();
    assert_eq!(way(&upstreams, "", Some(&["a.far.org"]), 23, "ann"), "4 sockd");
    assert_eq!(way(&upstreams, "", Some(&["a.near.org"]), 23, "ann"), "0 deny");
    let inside = parse("direct 10.0.0.0/8\ndeny 172.16.0.0/12 eq 23\nsockd ALL 0.0.0.0\n").unwrap();
    assert_eq!(way(&inside, "", Some(&["a.near.org"]), 23, "ann"), "2 deny");
    assert_eq!(way(&inside, "", Some(&["a.near.org"]), 80, "ann"), "3 sockd");
    let any = parse("sockd 9.9.9.9 0.0.0.0\n").unwrap();
    assert_eq!(way(&any, "", Some(&["a.b"]), 23, "ann"), "1 sockd");
}

#[test]
fn a_line_that_denies_covers_ipv4_addresses_inside_ipv6_ones_and_no_other_line_does() {
    let upstreams = parse("direct 10.9.0.0/16\ndeny 10.0.0.0/8\nsockd ALL 0.0.0.0\n").unwrap();
    for (destination, wanted) in [
        ("10.9.0.1", "1 direct"),
        ("64:ff9b::10.9.0.1", "2 deny"),
        ("2002:a01:203::1", "2 deny"),
        ("64:ff9b::11.1.2.3", "3 sockd"),
    ] {
        assert_eq!(way(&upstreams, destination, None, 23, "ann"), wanted, "{destination}");
    }
}

#[test]
fn no_way_is_chosen_by_names_that_could_not_be_had() {
    let user = UserId::parse(b"ann").unwrap();
    let way = |text: &str, destination: &str| {
        let upstreams = parse(text).unwrap();
        match upstreams.way_for(Some(ip(destination)), FactState::Unavailable, 23, &user, &[]) {
            Upstream::By { line, way, .. } => format!("{line} {way}"),
            other => format!("{other:?}"),
        }
    };
    let unavailable = |line: u32| format!("{:?}", Upstream::NamesUnavailable { line });
    for action in ["direct", "deny", "sockd @=10.9.9.9"] {
        let text = format!("direct 10.0.0.0/8\n{action} .far.org 0.0.0.0\ndirect ALL 0.0.0.0\n");
        assert_eq!(way(&text, "10.0.0.1"), "1 direct");
        assert_eq!(way(&text, "20.0.0.1"), unavailable(2), "{action}");
        assert_eq!(way(&text, "127.0.0.1"), "0 direct");
    }
    assert_eq!(way("direct .far.org 0.0.0.0 eq 80\nsockd ALL 0.0.0.0\n", "20.0.0.1"), "2 sockd");
}

#[test]
fn this_host_and_a_bind_from_anybody_are_always_direct() {
    let upstreams = parse("sockd ALL 0.0.0.0\n").unwrap();
    for address in ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
        assert_eq!(way(&upstreams, address, None, 23, "ann"), "0 direct");
    }
}

#[test]
fn a_line_may_ask_its_servers_in_socks5() {
    let text =
        "sockd5 @=10.0.0.1,gw.example.org:1081 *=ann 20.0.0.0/8 eq telnet\nSOCKD5 2001:db8::/32 : true\n";
    let upstreams = parse(text).unwrap();
    let list = "1 sockd5 @=10.0.0.1,gw.example.org:1081";
    assert_eq!(way(&upstreams, "20.0.0.1", None, 23, "ann"), list);
    assert_eq!(way(&upstreams, "2001:db8::1", None, 23, ""), "2 sockd5 : true");
    assert_eq!(upstreams.first_without_servers(), Some(2));
    let lines: Vec<String> = upstreams.lines().collect();
    assert_eq!(parse(&lines.join("\n")).unwrap(), upstreams);
    let frozen = freeze_upstreams(&upstreams, &Provenance::default());
    assert_eq!(thaw_upstreams(&frozen).unwrap().0, upstreams);
    for line in ["sockd5@10.0.0.1 ALL 0.0.0.0", "sockd5x ALL 0.0.0.0", "sockd5 10.0.0.1"] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn lines_that_leave_the_server_to_the_settings_are_found() {
    assert_eq!(parse(CONF).unwrap().first_without_servers(), Some(6));
    assert_eq!(parse("direct 10.0.0.0/8\nsockd @=a.b ALL 0.0.0.0\n").unwrap().first_without_servers(), None);
}

#[test]
fn a_malformed_line_refuses_the_file() {
    for line in [
        "permit ALL 0.0.0.0",
        "@=a ALL 0.0.0.0",
        "direct @=a ALL 0.0.0.0",
        "direct",
        "direct 10.0.0.0",
        "direct 10.0.0.0/8 20.0.0.0/8",
        "direct 10.0.0.0/8 eq",
        "sockd @=, ALL 0.0.0.0",
        "sockd @=a,,b ALL 0.0.0.0",
        "sockd @=a:0 ALL 0.0.0.0",
        "sockd @=a:x ALL 0.0.0.0",
        "sockd @=a:65536 ALL 0.0.0.0",
        "sockd @=10.0.0 ALL 0.0.0.0",
        "sockd @=[::1] ALL 0.0.0.0",
        "sockd *=ann @=a ALL 0.0.0.0",
        "sockd @=a @=b ALL 0.0.0.0",
        "sockd 10.0.0.0/8 : echo %q",
        "sockds ALL 0.0.0.0",
    ] {
        let errors = parse(&format!("# c\n{line}\n"));
        assert_eq!(errors.err().map(|errors| errors[0].line), Some(2), "{line}");
    }
}

#[test]
fn the_lines_in_effect_and_the_frozen_file_say_the_same_again() {
    let upstreams = parse(CONF).unwrap();
    let lines: Vec<_> = upstreams.lines().collect();
    assert_eq!(lines[1], "deny *=eve,/carl 0.0.0.0 0.0.0.0 eq 23 : echo %u");
    let again = parse(&format!("#\n{}", lines.join("\n"))).unwrap();
    assert_eq!(again, upstreams);
    let file = freeze_upstreams(&upstreams, &Provenance::default());
    assert_eq!(thaw_upstreams(&file), Ok((upstreams, Provenance::default())));
    assert!(thaw_rules(&file).is_err());
}
