mod random;

use super::*;
use sockd_policy::{Services, parse_conf};

/// The server's settings in front of the rules.
const SERVER: &str = "internal: 10.1.1.1\nexternal: 198.51.100.1\nsocksmethod: none\n";

/// Every client may come.
const ALL_CLIENTS: &str = "client pass { from: 0/0 to: 0/0 }\n";

/// The lines of sockd.conf that stand for the rules, without their numbers, and the lines that lose something.
fn translated(text: &str) -> (Vec<String>, Vec<usize>) {
    let translation = translate(text, "danted.conf").unwrap();
    let conf = &translation.files[0].1;
    let services = Services::parse(b"http 80/tcp\nsmtp 25/tcp\n");
    parse_conf(conf.as_bytes(), &services, &mut |_| Err("no files".into()))
        .unwrap_or_else(|errors| panic!("{errors:?}\n{conf}"));
    let lines = conf
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split("  #").next().unwrap().to_owned());
    let mut lines: Vec<String> = lines.collect();
    assert_eq!(lines.pop().as_deref(), Some("deny ALL 0.0.0.0"));
    (lines, translation.remarks.iter().filter(|remark| remark.is_loss).map(|remark| remark.line).collect())
}

/// The same for rules behind [`SERVER`]: numbers of lines are those of the rules.
fn rules(text: &str) -> (Vec<String>, Vec<usize>) {
    let (lines, losses) = translated(&format!("{SERVER}{text}"));
    (lines, losses.into_iter().map(|line| line.saturating_sub(SERVER.lines().count())).collect())
}

/// One socks rule of which nothing is lost, for all clients.
fn line(rule: &str) -> Vec<String> {
    let (lines, losses) = rules(&format!("{ALL_CLIENTS}{rule}"));
    assert_eq!(losses, [], "{rule}");
    lines
}

/// The lines of one socks rule of which something is lost.
fn lossy(rule: &str) -> Vec<String> {
    let (lines, losses) = rules(&format!("{ALL_CLIENTS}{rule}"));
    assert_eq!(losses, [2], "{rule}");
    lines
}

#[test]
fn each_condition_has_its_word() {
    for (rule, expected) in [
        ("pass { from: 0/0 to: 0/0 }", "permit +=connect,bind,udp ALL 0.0.0.0"),
        ("block { from: 0/0 to: 0/0 }", "deny ALL 0.0.0.0"),
        (
            "pass { from: 10.1.2.3/8 to: 192.0.2.0/24 port = 443 command: connect }",
            "permit +=connect 10.0.0.0/8 192.0.2.0/24 eq 443",
        ),
        (
            "pass { from: fd00::/8 to: .b.org port 80-90 command: connect }",
            "permit +=connect fd00::/8 .b.org 0.0.0.0 in 80-90",
        ),
        ("block { from: 0/0 to: 0/0 port le 1023 command: bind }", "deny +=bind ALL 0.0.0.0 le 1023"),
        ("block { from: 0/0 to: 0/0 protocol: udp }", "deny +=udp ALL 0.0.0.0"),
        ("pass { from: 0/0 to: 0/0 protocol: tcp }", "permit ALL 0.0.0.0"),
        (
            "pass { from: 0/0 to: ::/0 command: connect proxyprotocol: socks_v5 }",
            "permit ~=5 +=connect ALL 0.0.0.0 ::/0",
        ),
        (
            "pass { from: 0/0 to: www.b.org command: connect log: connect error }",
            "permit +=connect ALL 0.0.0.0 www.b.org 0.0.0.0",
        ),
        (
            "pass { from: 0/0 port 1-65535 to: 0/0 port ge 1 command: connect }",
            "permit +=connect ALL 0.0.0.0",
        ),
    ] {
        assert_eq!(line(&format!("socks {rule}")), [expected]);
    }
    assert_eq!(
        line("pass { from: 0/0 to: 0/0 }"),
        ["permit +=connect,bind,udp ALL 0.0.0.0"],
        "as files of old have it"
    );
}

#[test]
fn ipv4_is_not_every_host() {
    let lines = line("socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect }");
    assert_eq!(lines, ["set ipv4 = 0.0.0.0/1, 128.0.0.0/1", "permit +=connect <ipv4> <ipv4>"]);
}

#[test]
fn loopback_is_known_and_other_interfaces_are_not() {
    assert_eq!(
        line("socks block { from: 0/0 to: lo }"),
        ["deny ALL 0.0.0.0 127.0.0.0/8", "deny ALL 0.0.0.0 ::1/128"]
    );
    assert_eq!(lossy("socks block { from: 0/0 to: eth0 }"), ["deny ALL 0.0.0.0"]);
    assert_eq!(lossy("socks block { from: eth0 to: 10.0.0.0/8 }"), ["deny ALL 0.0.0.0 10.0.0.0/8"]);
    for rule in ["from: eth0 to: 0/0", "from: 0/0 to: eth0", "from: 0/0 to: lo"] {
        assert_eq!(lossy(&format!("socks pass {{ {rule} }}")), [""; 0]);
    }
}

#[test]
fn a_name_does_not_block_who_knows_the_address() {
    assert_eq!(lossy("socks block { from: 0/0 to: www.b.org port = 80 }"), ["deny ALL 0.0.0.0 eq 80"]);
    assert_eq!(lossy("socks block { from: a.b.org to: 10.0.0.0/8 }"), ["deny ALL 0.0.0.0 10.0.0.0/8"]);
    let zone = lossy("socks block { from: 0/0 to: .b.org }");
    assert_eq!(zone, ["deny ALL 0.0.0.0 .b.org 0.0.0.0", "deny +=bind ALL 0.0.0.0"]);
    let zone = line("socks block { from: 0/0 to: .b.org protocol: udp }");
    assert_eq!(zone, ["deny +=udp ALL 0.0.0.0 .b.org 0.0.0.0"]);
}

#[test]
fn what_narrows_a_rule_leaves_out_what_passes_and_widens_what_blocks() {
    for narrow in
        ["hostid: 1", "proxyprotocol: http_v1.0", "command: fly", "user: a,b", "clientmethod: rfc931"]
    {
        assert_eq!(lossy(&format!("socks pass {{ from: 0/0 to: 0/0 {narrow} }}")), [""; 0], "{narrow}");
        assert_eq!(
            lossy(&format!("socks block {{ from: 0/0 to: 10.0.0.0/8 {narrow} }}")),
            ["deny ALL 0.0.0.0 10.0.0.0/8"]
        );
    }
    assert_eq!(lossy("socks pass { from: 0/0 port = 20 to: 0/0 }"), [""; 0]);
    assert_eq!(lossy("socks block { from: 0/0 port = 20 to: 10.0.0.0/8 }"), ["deny ALL 0.0.0.0 10.0.0.0/8"]);
}

#[test]
fn what_passes_only_in_part_is_refused_before_a_later_rule_passes_it() {
    for part in [
        "libwrap: spawn finger @%a\n",
        "redirect",
        "session.max: 5",
        "session.throttle: 3/10",
        "unheard.of: 1",
    ] {
        let part = if part == "redirect" { "redirect: 10.0.0.1" } else { part };
        let (lines, losses) = rules(&format!(
            "{ALL_CLIENTS}socks pass {{ from: 10.0.0.0/8 to: 0/0 {part} }}\nsocks pass {{ from: 0/0 to: 0/0 command: connect }}"
        ));
        assert_eq!(
            (&lines[..], &losses[..]),
            (&["deny 10.0.0.0/8".to_owned(), "permit +=connect ALL 0.0.0.0".to_owned()][..], &[2][..]),
            "{part}"
        );
    }
    let (lines, losses) =
        rules(&format!("{ALL_CLIENTS}socks pass {{ from: eth0 to: 0/0 port = 80 session.max: 5 }}"));
    assert_eq!(
        (lines, losses),
        (vec!["deny ALL 0.0.0.0 eq 80".to_owned()], vec![2, 2]),
        "an interface is everybody"
    );
}

#[test]
fn actions_that_refuse_nobody_are_left_out() {
    for action in ["bandwidth: 1000", "timeout.io: 5", "udp.portrange: 1-9", "external.tcp.tcp_nodelay: 1"] {
        let lines = lossy(&format!("socks pass {{ from: 0/0 to: 0/0 command: connect {action} }}"));
        assert_eq!(lines, ["permit +=connect ALL 0.0.0.0"], "{action}");
    }
}

#[test]
fn client_rules_and_socks_rules_are_joined() {
    let (lines, losses) = rules(
        "client block { from: 10.9.0.0/16 to: 0/0 }\n\
        client pass { from: 10.0.0.0/8 to: 0/0 }\nclient pass { from: 192.0.2.0/24 to: 10.1.1.1/32 }\n\
        client block { from: 0/0 to: 0/0 }\n\
        socks block { from: 0/0 to: 127.0.0.0/8 }\nsocks pass { from: 10.1.0.0/16 to: 0/0 command: connect }\n\
        socks pass { from: 192.0.0.0/16 to: 0/0 port = http command: connect }",
    );
    assert_eq!(losses, []);
    assert_eq!(
        lines,
        [
            "deny 10.9.0.0/16",
            "deny 10.0.0.0/8 127.0.0.0/8",
            "deny 192.0.2.0/24 127.0.0.0/8",
            "permit +=connect 10.1.0.0/16",
            "permit +=connect 192.0.2.0/24 eq http",
            "deny ALL 0.0.0.0",
        ]
    );
}

#[test]
fn a_client_rule_that_cannot_be_said_lets_nobody_in_and_keeps_more_out() {
    for narrow in [
        "to: 10.1.1.2/32",
        "to: eth0",
        "to: 0/0 port = 1081",
        "to: 0/0 clientmethod: rfc931",
        "to: 0/0 user: joe",
        "to: 0/0 socksmethod: username",
    ] {
        let (lines, losses) = rules(&format!(
            "client pass {{ from: 10.0.0.0/8 {narrow} }}\nsocks pass {{ from: 0/0 to: 0/0 }}"
        ));
        assert_eq!((lines.len(), &losses[..]), (0, &[1][..]), "{narrow}");
        let (lines, losses) = rules(&format!(
            "client block {{ from: 10.0.0.0/8 {narrow} }}\n{ALL_CLIENTS}socks pass {{ from: 0/0 to: 0/0 }}"
        ));
        assert_eq!((lines[0].as_str(), &losses[..]), ("deny 10.0.0.0/8", &[1][..]), "{narrow}");
    }
    // A name of the client and a network of the socks rule are no line.
    let (lines, losses) = rules(
        "client pass { from: .b.org to: 0/0 }\nsocks block { from: 10.0.0.0/8 to: 0/0 port = 25 }\nsocks pass { from: 10.0.0.0/8 to: 0/0 }",
    );
    assert_eq!((lines, losses), (vec!["deny 10.0.0.0/8 eq 25".to_owned()], vec![3]));
}

#[test]
fn clients_come_to_addresses_of_their_own_family() {
    let (lines, losses) =
        rules("client pass { from: 0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0/0 to: 0/0 command: connect }");
    assert_eq!((&lines[1..], &losses[..]), (&["permit +=connect <ipv4>".to_owned()][..], &[][..]));
    let (lines, _) = rules(
        "client pass { from: fd00::/8 to: 0.0.0.0/0 }\nsocks pass { from: 0/0 to: 0/0 command: connect }",
    );
    assert_eq!(lines, [""; 0]);
}

#[test]
fn bind_and_udp_need_a_rule_that_lets_every_answer_in() {
    let pass = "socks pass { from: 10.0.0.0/8 to: 0.0.0.0/0 }\n";
    for (answers, expected) in [
        ("", "+=connect "),
        ("socks pass { from: 0.0.0.0/0 to: 10.0.0.0/8 command: bindreply udpreply }", "+=connect,bind,udp "),
        ("socks pass { from: 0.0.0.0/0 to: 0/0 command: udpreply }", "+=connect,udp "),
        ("socks pass { from: 192.0.2.0/24 to: 0/0 command: bindreply udpreply }", "+=connect "),
        ("socks pass { from: 0/0 port = 20 to: 0/0 command: bindreply udpreply }", "+=connect "),
        (
            "socks block { from: 192.0.2.0/24 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 command: bindreply udpreply }",
            "+=connect ",
        ),
        (
            "socks block { from: fd00::/8 to: 0/0 command: bindreply }\nsocks pass { from: 0/0 to: 0/0 protocol: tcp command: bindreply }",
            "",
        ),
    ] {
        let (lines, losses) = rules(&format!("{ALL_CLIENTS}{pass}{answers}"));
        assert_eq!(
            (lines[1].as_str(), &losses[..]),
            (&*format!("permit {expected}10.0.0.0/8 <ipv4>"), &[][..]),
            "{answers}"
        );
    }
    let (lines, _) = translated(&format!(
        "{SERVER}srchost: checkreplyauth\n{ALL_CLIENTS}socks pass {{ from: 0/0 to: 0/0 }}"
    ));
    assert_eq!(lines, ["permit +=connect ALL 0.0.0.0"]);
}

/// In Dante `to` of a BIND is Dante's own listening address: 198.51.100.1 here.
#[test]
fn bind_is_permitted_where_dante_certainly_listens_and_refused_where_it_may() {
    let answers = "\nsocks pass { from: 0/0 to: 0/0 command: bindreply }";
    let bind = |rule: &str| rules(&format!("{ALL_CLIENTS}socks {rule}{answers}"));
    for (to, expected) in [
        ("0/0", &["permit +=bind ALL 0.0.0.0"][..]),
        ("198.51.100.0/24", &["permit +=bind ALL 0.0.0.0 198.51.100.0/24"]),
        ("192.0.2.0/24", &[]),
        ("fd00::/8", &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(bind(&format!("pass {{ from: 0/0 to: {to} command: bind }}")), (expected, vec![]), "{to}");
    }
    assert_eq!(bind("pass { from: 0/0 to: 0/0 port ge 1024 command: bind }"), (vec![], vec![2]));
    let blocked = bind("block { from: 0/0 to: 198.51.100.0/24 }");
    let expected = ["deny ALL 0.0.0.0 198.51.100.0/24", "deny +=bind ALL 0.0.0.0"];
    assert_eq!(blocked, (expected.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(bind("block { from: 0/0 to: 192.0.2.0/24 }").0, ["deny ALL 0.0.0.0 192.0.2.0/24"]);
    assert_eq!(bind("block { from: 0/0 to: .b.org port = http }").1, [2]);
}

#[test]
fn methods_that_sockd_does_not_have_let_nobody_in() {
    let with = |methods: &str, rule: &str| {
        let (lines, losses) = translated(&format!(
            "internal: 10.1.1.1\nexternal: 198.51.100.1\nsocksmethod: {methods}\n{ALL_CLIENTS}{rule}"
        ));
        (lines, !losses.is_empty())
    };
    let pass = |methods| format!("socks pass {{ from: 0/0 to: 0/0 command: connect {methods} }}");
    assert_eq!(with("gssapi", &pass("")), (vec![], true));
    assert_eq!(with("gssapi none", &pass("socksmethod: gssapi")), (vec![], true));
    assert_eq!(with("gssapi none", &pass("")), (vec!["permit +=connect ALL 0.0.0.0".to_owned()], true));
    assert_eq!(
        with("gssapi none", "socks block { from: 0/0 to: 10.0.0.0/8 socksmethod: gssapi }"),
        (vec!["deny ALL 0.0.0.0 10.0.0.0/8".to_owned()], true)
    );
    let without = translated(&format!("internal: 10.1.1.1\n{ALL_CLIENTS}{}", pass("")));
    assert_eq!(without, (vec![], vec![]), "Dante warns that no client can come to it");
}

#[test]
fn passwords_users_and_groups_have_their_words() {
    let with = |methods: &str, rule: &str| {
        let (lines, losses) = translated(&format!(
            "internal: 10.1.1.1\nexternal: 198.51.100.1\nsocksmethod: {methods}\n{ALL_CLIENTS}socks {rule}"
        ));
        assert_eq!(losses, [], "{rule}");
        lines
    };
    for (methods, rule, expected) in [
        (
            "username",
            "pass { from: 0/0 to: 0/0 command: connect }",
            "permit @=password +=connect ALL 0.0.0.0",
        ),
        ("username none", "pass { from: 0/0 to: 0/0 command: connect }", "permit +=connect ALL 0.0.0.0"),
        (
            "username none",
            "pass { from: 0/0 to: 0/0 command: connect socksmethod: username }",
            "permit @=password +=connect ALL 0.0.0.0",
        ),
        (
            "none username",
            "pass { from: 0/0 to: 0/0 command: connect socksmethod: none }",
            "permit @=none +=connect ALL 0.0.0.0",
        ),
        (
            "none username",
            "pass { from: 0/0 to: 0/0 command: connect user: joe jane group: staff }",
            "permit @=password *=joe,jane g=staff +=connect ALL 0.0.0.0",
        ),
        ("none username", "block { from: 0/0 to: 10.0.0.0/8 }", "deny ALL 0.0.0.0 10.0.0.0/8"),
        (
            "none username",
            "block { from: 0/0 to: 10.0.0.0/8 user: joe }",
            "deny @=password *=joe ALL 0.0.0.0 10.0.0.0/8",
        ),
        ("none username", "block { from: 0/0 to: 0/0 socksmethod: none }", "deny @=none ALL 0.0.0.0"),
    ] {
        assert_eq!(with(methods, rule), [expected], "{methods} {rule}");
    }
}

#[test]
fn clients_are_asked_for_a_password_where_dante_prefers_it() {
    for (methods, value) in [("username none", true), ("none username", false), ("username", false)] {
        let files = files(&format!("socksmethod: {methods}\n"));
        assert_eq!(files[1].1.contains("    auth: prefer, // 1\n"), value, "{methods}");
    }
}

#[test]
fn what_asks_more_of_clients_than_rules_closes_the_server() {
    for closing in [
        "srchost: nodnsunknown nodnsmismatch",
        "libwrap.hosts_access: yes",
        "hostid pass { from: 0/0 to: 0/0 hostid: 1 }",
    ] {
        let (lines, losses) =
            translated(&format!("{SERVER}{closing}\n{ALL_CLIENTS}socks pass {{ from: 0/0 to: 0/0 }}"));
        assert_eq!((lines.len(), &losses[..]), (0, &[4][..]), "{closing}");
    }
}

#[test]
fn one_family_outside_is_all_that_is_permitted() {
    let rules = |to: &str| {
        translated(&format!(
            "{SERVER}external.protocol: ipv4\n{ALL_CLIENTS}socks pass {{ from: 0/0 to: {to} command: connect }}"
        ))
    };
    assert_eq!(rules("0/0").0[1..], ["permit +=connect ALL 0.0.0.0 <ipv4>"]);
    assert_eq!(rules("fd00::/8"), (vec![], vec![]));
    assert_eq!(rules(".b.org"), (vec![], vec![6]));
}

fn files(text: &str) -> Vec<(&'static str, String)> {
    translate(text, "danted.conf").unwrap().files
}

#[test]
fn settings_go_where_sockd_has_them() {
    let files = files(
        "internal: 10.1.1.1 port = 1081\ninternal: fd00::1\nexternal: 198.51.100.1\nexternal: 198.51.100.2\nexternal: fd01::1\n\
        logoutput: stderr\ntimeout.negotiate: 60\ntimeout.io: 10\ntimeout.io: 20\ntimeout.connect: 0\ntimeout.tcp_fin_wait: 5\nuser.privileged: root",
    );
    assert_eq!(
        files[1].1.lines().skip(1).collect::<Vec<_>>(),
        [
            "(",
            "    request_limit: 60, // 7",
            "    idle_limit: 20, // 9",
            "    half_close_limit: 5, // 11",
            ")"
        ]
    );
    assert_eq!(
        files[2],
        (
            "sockd.route",
            "# From danted.conf: external.\n198.51.100.1 ALL 0.0.0.0\nfd01::1 ALL 0.0.0.0\n".to_owned()
        )
    );
    assert!(
        files[3]
            .1
            .ends_with("\nSOCKD_OPTIONS=\"--log stderr --listen 10.1.1.1:1081 --listen [fd00::1]:1080\"\n"),
        "{files:?}"
    );
}

#[test]
fn a_server_that_listens_nowhere_known_listens_at_loopback() {
    for internal in ["", "internal: eth0 port = 1080\n"] {
        let files = files(&format!("{internal}external: eth1\nexternal.rotation: route\n"));
        assert_eq!(files.len(), 3, "no routes: {files:?}");
        assert!(files[2].1.ends_with("\"--listen 127.0.0.1:1080\"\n"), "{files:?}");
    }
}

#[test]
fn other_settings_and_blocks_are_named_with_their_lines() {
    let text = "internal: 10.1.1.1\ncompatibility: sameport\nextension: bind\nudp.connectdst: yes\nlogoutput: /var/log/x\n\
        route { from: 0/0 to: 0/0 via: 10.1.1.9 port = 1080 }\nmonitor { from: 0/0 to: 0/0 }\n";
    let losses: Vec<_> = translate(text, "x")
        .unwrap()
        .remarks
        .into_iter()
        .filter(|remark| remark.is_loss)
        .map(|remark| remark.line)
        .collect();
    assert_eq!(losses, [2, 3, 4, 5, 6, 7]);
}
