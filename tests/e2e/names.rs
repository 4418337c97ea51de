//! Names: their sources, and the harm that a lying or silent nameserver can do.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::dns::{A, AAAA, Answer, Nameserver, PTR, Question, reverse};
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, NAMESERVER, SECOND_SERVER, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, assert_rejected, granted, send_to};
use sockd_tests::syslog::Mark;
use sockd_tests::wait::until_true;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

const NAME: &str = "www.example.net";

/// A site with a nameserver that follows the script, and an echo server.
fn site(script: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> (Site, Nameserver, Server) {
    let site = Site::new();
    site.gateway
        .write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:1 attempts:2\n"));
    let dns = Nameserver::start(&site.server, script);
    let echo = Server::echo(&site.server, (SERVER, 7));
    (site, dns, echo)
}

fn the_server() -> Answer {
    Answer::Addresses(vec![SERVER.into()])
}

fn request() -> Request {
    Request::connect_name(NAME, 7)
}

#[test]
fn the_hosts_file_goes_before_the_nameserver() {
    let (site, dns, _echo) = site(|_| Answer::Addresses(vec![SECOND_SERVER.into()]));
    site.gateway.write("/etc/hosts", format!("127.0.0.1 localhost\n{SERVER} {NAME} www\n"));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
    assert!(dns.asked().is_empty());
}

#[test]
fn an_alias_is_followed() {
    let (site, _dns, _echo) = site(|question| match question.name.as_str() {
        NAME => Answer::Alias("host.example.net", vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    });
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn a_truncated_answer_is_asked_for_again_by_tcp() {
    let (site, dns, _echo) = site(|_| Answer::Truncated(vec![SERVER.into()]));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
    assert!(dns.asked().iter().any(|question| question.by_stream));
}

#[test]
fn with_use_vc_in_resolv_conf_nothing_is_asked_by_udp() {
    let (site, dns, _echo) = site(|_| the_server());
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions use-vc timeout:1\n"));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
    let asked = dns.asked();
    assert!(!asked.is_empty() && asked.iter().all(|question| question.by_stream), "{asked:?}");
}

#[test]
fn a_name_of_a_hidden_service_is_asked_of_no_nameserver() {
    let (site, dns, _echo) = site(|_| the_server());
    let lab = Lab::new_at(site);
    assert_rejected(&lab.site.client, &Request::connect_name("www.example.onion", 7));
    assert!(dns.asked().is_empty(), "{:?}", dns.asked());
}

#[test]
fn answers_with_another_id_another_name_or_from_another_port_are_not_believed() {
    let (site, _dns, _echo) = site(|question| match question.kind {
        A => Answer::LiesFirst { lie: Ipv4Addr::new(203, 0, 113, 66), truth: SERVER },
        _ => Answer::Addresses(Vec::new()),
    });
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
}

/// Compares names octet by octet, as aardvark-dns 1.4, old versions of Docker, and consul do.
fn strictly(question: &Question, name: &str, otherwise: Answer) -> Answer {
    if question.written == name { the_server() } else { otherwise }
}

/// A name with enough letters that its random case never equals the written one.
const LONG_NAME: &str = "database-of-the-accounting-department.containers.example";

#[test]
fn a_nameserver_that_compares_names_octet_by_octet_is_asked_as_the_client_wrote_it() {
    for otherwise in [Answer::NoSuchName, Answer::Failure, Answer::Refusal, Answer::Silence] {
        let (site, _dns, _echo) = site(move |question| strictly(question, LONG_NAME, otherwise.clone()));
        let lab = Lab::new_at(site);
        drop(granted(&lab.site.client, &Request::connect_name(LONG_NAME, 7)));
    }
}

#[test]
fn a_name_that_such_a_nameserver_knows_in_capitals_is_asked_for_in_capitals() {
    let name = "Database-Of-The-Accounting-Department.containers.example";
    let (site, _dns, _echo) = site(move |question| strictly(question, name, Answer::NoSuchName));
    let lab = Lab::new_at(site);
    assert_rejected(&lab.site.client, &Request::connect_name(name.to_ascii_lowercase(), 7));
    drop(granted(&lab.site.client, &Request::connect_name(name, 7)));
}

#[test]
fn a_nameserver_that_answers_in_small_letters_and_has_no_tcp_is_understood() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:1\n"));
    let dns = Nameserver::without_tcp(&site.server, |_| Answer::InSmallLetters(vec![SERVER.into()]));
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &Request::connect_name(LONG_NAME, 7)));
    let asked = dns.asked();
    assert!(asked[0].written != LONG_NAME && asked.iter().any(|question| question.written == LONG_NAME));
}

#[test]
fn every_query_has_a_port_and_an_id_of_its_own() {
    let (site, dns, _echo) = site(|_| the_server());
    let lab = Lab::new_at(site);
    for number in 0..20 {
        drop(granted(&lab.site.client, &Request::connect_name(format!("www{number}.example.net"), 7)));
    }
    let asked: Vec<_> = dns.asked().into_iter().filter(|question| question.kind == A).collect();
    let distinct = |facts: Vec<u16>| facts.into_iter().collect::<BTreeSet<_>>().len();
    assert!(distinct(asked.iter().map(|question| question.from.port()).collect()) > 15, "{asked:?}");
    assert!(distinct(asked.iter().map(|question| question.id).collect()) > 15, "{asked:?}");
}

#[test]
fn a_name_is_asked_once_and_then_known_for_its_time() {
    let (site, dns, _echo) = site(|_| the_server());
    let lab = Lab::new_at(site);
    for _ in 0..5 {
        drop(granted(&lab.site.client, &request()));
    }
    assert_eq!(dns.asked().iter().filter(|question| question.kind == A).count(), 1);
}

/// As if there is no descriptor for a moment: the previous content stays in force until the file can be read again.
#[test]
fn a_resolv_conf_that_cannot_be_read_does_not_count_as_empty() {
    let (site, _dns, _echo) = site(|_| the_server());
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
    lab.site.gateway.sh("rm /etc/resolv.conf");
    lab.site.gateway.sh("mkdir /etc/resolv.conf");
    // Longer than until the file is looked at again.
    std::thread::sleep(std::time::Duration::from_secs(6));
    drop(granted(&lab.site.client, &Request::connect_name("www2.example.net", 7)));
}

/// Network managers keep resolv.conf in folders of their own, which may come and go.
#[test]
fn a_resolv_conf_is_followed_wherever_it_leads() {
    let there = format!("nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n");
    let to = |folder: &str| format!("ln -sfn {folder}/resolv /etc/resolv.conf");
    // A link to another folder, a plain file, a link that leads nowhere, and a folder that is made anew.
    for at_start in [Some("/run/a"), None, Some("/run/b/not/yet"), Some("/run/b")] {
        let (site, _dns, _echo) = site(|_| the_server());
        match at_start {
            Some(folder) if !folder.ends_with("yet") => {
                site.gateway.sh(&format!("mkdir {folder}"));
                site.gateway.write(&format!("{folder}/resolv"), "");
                site.gateway.sh(&to(folder));
            }
            Some(nowhere) => site.gateway.sh(&to(nowhere)),
            None => site.gateway.write("/etc/resolv.conf", ""),
        }
        let lab = Lab::new_at(site);
        assert_rejected(&lab.site.client, &request());
        lab.site.gateway.sh("rm -rf /run/b");
        lab.site.gateway.sh("mkdir /run/b");
        lab.site.gateway.write("/run/b/resolv", &there);
        lab.site.gateway.sh(&to("/run/b"));
        until_true("the new nameserver is asked", || {
            let mut line = send_to(&lab.site.client, PROXY, &request());
            Reply::read(&mut line).code == GRANTED
        });
    }
}

/// The loader looks by itself as well, but only every five seconds.
#[test]
fn a_resolv_conf_that_is_switched_is_followed_at_a_reload() {
    let (site, _dns, _echo) = site(|_| the_server());
    site.gateway.sh("mkdir /run/some /run/none");
    site.gateway.write("/run/some/resolv", format!("nameserver {NAMESERVER}\n"));
    site.gateway.write("/run/none/resolv", "");
    let to = |folder: &str| format!("ln -sfn /run/{folder}/resolv /etc/resolv.conf");
    site.gateway.sh(&to("none"));
    let lab = Lab::new_at(site);
    let begun = std::time::Instant::now();
    for round in 0..6 {
        let is_known = round % 2 == 0;
        lab.site.gateway.sh(&to(if is_known { "some" } else { "none" }));
        lab.sockd.signal(Signal::SIGHUP);
        until_true("the other nameservers are asked", || {
            let mut line = send_to(&lab.site.client, PROXY, &request());
            (Reply::read(&mut line).code == GRANTED) == is_known
        });
    }
    let time = begun.elapsed();
    assert!(time < std::time::Duration::from_secs(20), "{time:?}: not by the reloads");
}

#[test]
fn files_of_the_system_that_cannot_be_read_are_logged_once_and_at_each_reload() {
    let site = Site::new();
    site.gateway.sh("rm -f /etc/resolv.conf");
    site.gateway.sh("ln -s /run/nowhere /etc/resolv.conf");
    let mut lab = Lab::new_at(site);
    let nowhere = "daemon.err /etc/resolv.conf: expected a file, found a link that leads to none";
    lab.log.wait_for(Mark::BEGINNING, nowhere);
    let faults = |lab: &Lab| lab.logged().iter().filter(|line| line.contains(": expected ")).count();
    for (command, fault) in [
        ("ln -sfn /run/nowhere/else /etc/resolv.conf", nowhere),
        // The loader has no rights beyond the permissions of a file.
        (
            "install -m 000 /dev/null /etc/hosts",
            "daemon.err /etc/hosts: expected a file that can be read, found no permission to read it",
        ),
        ("ln -sfn /run/nowhere /etc/resolv.conf", nowhere),
        (
            "install -T -m 000 /dev/null /etc/resolv.conf",
            "daemon.err /etc/resolv.conf: expected a file that can be read, found no permission to read it",
        ),
        ("ln -sfn /run/nowhere/else /etc/resolv.conf", nowhere),
        ("rm /etc/hosts", ""),
        ("mkdir /etc/hosts", "daemon.err /etc/hosts: expected a regular file, found a folder"),
        ("rmdir /etc/hosts", ""),
        ("truncate -s 17M /etc/hosts", "daemon.err /etc/hosts: expected at most 16 MiB, found a longer file"),
    ] {
        lab.turn_the_page();
        lab.site.gateway.sh(command);
        if !fault.is_empty() {
            lab.wait_for_line(fault);
            assert_eq!(faults(&lab), 1, "{command}: {:?}", lab.logged());
        }
    }
    // Longer than until they are looked at again.
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(faults(&lab), 1, "{:?}", lab.logged());
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("daemon.err /etc/hosts: ");
    assert_eq!(faults(&lab), 2, "{:?}", lab.logged());
    lab.site.gateway.sh("rm /etc/hosts /etc/resolv.conf");
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("daemon.notice reloaded: ");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(faults(&lab), 0, "{:?}", lab.logged());
}

#[test]
fn a_query_that_is_lost_is_sent_again() {
    let lost = AtomicUsize::new(0);
    let (site, _dns, _echo) = site(move |_| match lost.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::Silence,
        _ => the_server(),
    });
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn a_silent_nameserver_ends_in_a_refusal_within_the_limit() {
    let (site, _dns, _echo) = site(|_| Answer::Silence);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(resolve_limit: 1)"));
    assert_rejected(&lab.site.client, &request());
    lab.wait_for_line(&format!("to {NAME} (echo)"));
}

#[test]
fn a_failing_nameserver_ends_in_a_refusal() {
    let (site, _dns, _echo) = site(|_| Answer::Failure);
    let lab = Lab::new_at(site);
    assert_rejected(&lab.site.client, &request());
}

#[test]
fn a_second_nameserver_is_asked_where_the_first_is_dead() {
    let (site, _dns, _echo) = site(|_| the_server());
    let dead = Ipv4Addr::new(198, 51, 100, 77);
    site.gateway.write(
        "/etc/resolv.conf",
        format!("nameserver {dead}\nnameserver {NAMESERVER}\noptions timeout:1 attempts:2\n"),
    );
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn a_silent_nameserver_holds_up_no_request_for_an_address() {
    let (site, _dns, _echo) = site(|_| Answer::Silence);
    let lab = Lab::new_at(site);
    let waiting: Vec<_> = (0..20)
        .map(|n| send_to(&lab.site.client, PROXY, &Request::connect_name(format!("w{n}"), 7)))
        .collect();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(waiting);
}

#[test]
fn the_second_address_of_a_name_is_tried_where_the_first_refuses() {
    let (site, _dns, _echo) = site(|_| Answer::Addresses(vec![SECOND_SERVER.into(), SERVER.into()]));
    let lab = Lab::new_at(site);
    // The echo server is on SERVER only: on SECOND_SERVER the port is closed.
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn of_several_addresses_one_that_the_rules_deny_is_never_connected_to() {
    let (site, _dns, _echo) = site(|_| Answer::Addresses(vec![SECOND_SERVER.into(), SERVER.into()]));
    let forbidden = Far::listen_at(&site.server, (SECOND_SERVER, 7));
    let conf = format!("deny 0.0.0.0 0.0.0.0 {SECOND_SERVER} 255.255.255.255\n{PERMIT_ALL}");
    let lab = Lab::at(site, &conf, |start| start);
    let mut line = send_to(&lab.site.client, PROXY, &request());
    // Either the other address or a refusal.
    Reply::read(&mut line);
    assert!(forbidden.waiting().is_none());
}

#[test]
fn a_name_that_changes_its_address_cannot_slip_past_the_rules() {
    // The name is public for the first question and loopback for every other (DNS rebinding).
    let asked = AtomicUsize::new(0);
    let (site, _dns, _echo) =
        site(move |question| match (question.kind, asked.fetch_add(1, Ordering::Relaxed)) {
            (A, 0) => the_server(),
            (A, _) => Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Answer::Addresses(Vec::new()),
        });
    let inside = Far::listen_at(&site.gateway, (Ipv4Addr::LOCALHOST, 7));
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &request()));
    assert!(inside.waiting().is_none());
}

#[test]
fn an_ipv6_address_of_a_name_is_used_where_there_is_no_other() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let server: IpAddr = "2001:db8:2::10".parse().unwrap();
    let _dns = Nameserver::start(&site.server, move |_| Answer::Addresses(vec![server]));
    let far = Far::listen(&site.server, server);
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &Request::connect_name(NAME, far.address().port())));
    assert_eq!(far.accept().peer().ip(), "2001:db8:2::1".parse::<IpAddr>().unwrap());
}

/// As dnsmasq with `address=/www.example.net/2001:db8:2::10` answers: NXDOMAIN for records that it does not have.
#[test]
fn what_is_said_of_one_kind_of_addresses_does_not_stop_the_other() {
    let server: IpAddr = "2001:db8:2::10".parse().unwrap();
    for otherwise in [Answer::NoSuchName, Answer::Failure, Answer::Refusal, Answer::Silence] {
        let (site, _dns, echo) = site(move |question| match question.kind {
            AAAA => Answer::Addresses(vec![server]),
            _ => otherwise.clone(),
        });
        drop(echo);
        let far = Far::listen(&site.server, server);
        let lab = Lab::new_at(site);
        drop(granted(&lab.site.client, &Request::connect_name(NAME, far.address().port())));
    }
    for otherwise in [Answer::NoSuchName, Answer::Failure, Answer::Refusal, Answer::Silence] {
        let (site, _dns, _echo) = site(move |question| match question.kind {
            A => the_server(),
            _ => otherwise.clone(),
        });
        let lab = Lab::new_at(site);
        drop(granted(&lab.site.client, &request()));
    }
}

#[test]
fn a_name_with_both_kinds_of_addresses_is_reached_over_the_one_that_works() {
    let server: IpAddr = "2001:db8:2::10".parse().unwrap();
    let (site, _dns, echo) = site(move |_| Answer::Addresses(vec![SERVER.into(), server]));
    drop(echo);
    let far = Far::listen(&site.server, server);
    let lab = Lab::new_at(site);
    drop(granted(&lab.site.client, &Request::connect_name(NAME, far.address().port())));
}

#[test]
fn both_kinds_of_addresses_are_asked_for_at_the_same_time() {
    let (site, dns, _echo) = site(|_| Answer::Silence);
    // No question is repeated while the test waits.
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:30\n"));
    let lab = Lab::new_at(site);
    let _waiting = send_to(&lab.site.client, PROXY, &request());
    until_true("both questions", || dns.asked().len() == 2);
    let asked = dns.asked();
    assert!(asked.iter().any(|question| question.kind == A), "{asked:?}");
    assert!(asked.iter().any(|question| question.kind == AAAA), "{asked:?}");
}

#[test]
fn an_odd_name_is_refused_and_logged_on_one_line() {
    let (site, dns, _echo) = site(|_| the_server());
    let lab = Lab::new_at(site);
    for name in ["a b", "x\ny", "\u{e9}.example", "%00", "a..b", ".", "127.1", "0x7f.1", "2130706433"]
        .into_iter()
        .chain(["017700000001", "0", "fe80::1%eth0", "::1", "::ffff:127.0.0.1"])
    {
        let mut line = send_to(&lab.site.client, PROXY, &Request::connect_name(name, 7));
        let reply = Reply::read(&mut line);
        let harmless = reply.code == 91 || !dns.asked().is_empty();
        assert!(harmless, "{name:?} was granted without a question");
    }
    let known = |line: &String| line.starts_with("daemon.notice ") || line.starts_with("daemon.err ");
    assert!(lab.log.lines().iter().skip(1).all(known), "{:#?}", lab.log.lines());
}

/// Addresses and names of client and server, for the log.
fn named(question: &Question) -> Answer {
    match (question.kind, question.name.as_str()) {
        (PTR, name) if name == reverse(CLIENT) => Answer::Name("client.example.com"),
        (PTR, name) if name == reverse(SERVER) => Answer::Name("server.example.net"),
        (PTR, name) if name == reverse(SECOND_SERVER) => Answer::Name("liar.example.net"),
        (A, "client.example.com") => Answer::Addresses(vec![CLIENT.into()]),
        (A, "server.example.net" | "liar.example.net") => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    }
}

#[test]
fn with_reverse_names_the_log_has_confirmed_names() {
    let (site, _dns, _echo) = site(named);
    let mut lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(reverse_names: true)"));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    lab.assert_logged(&Session::of("client.example.com", "server.example.net", "echo").relayed(0, 0));
}

#[test]
fn a_name_that_does_not_lead_back_to_the_address_is_not_believed() {
    let (site, _dns, _echo) = site(named);
    let conf = "deny 0.0.0.0 0.0.0.0 .example.net 0.0.0.0 eq 9\npermit *=zone 0.0.0.0 0.0.0.0 .example.net 0.0.0.0\n\
        permit *=joe 0.0.0.0 0.0.0.0\n";
    let mut lab = Lab::at(site, conf, |start| start.settings("(reverse_names: true)"));
    let _second = Server::echo(&lab.site.server, (SECOND_SERVER, 7));
    assert_rejected(&lab.site.client, &Request::connect((SECOND_SERVER, 7)).by("zone"));
    let session = Session::of("client.example.com", SECOND_SERVER, "echo");
    lab.assert_logged(&[session.by("zone").refused()]);
    drop(granted(&lab.site.client, &Request::connect((SECOND_SERVER, 7))));
    lab.assert_logged(&Session::of("client.example.com", SECOND_SERVER, "echo").relayed(0, 0));
}

#[test]
fn a_rule_with_a_name_sees_the_confirmed_name_of_a_numeric_request() {
    let (site, _dns, _echo) = site(named);
    let conf = "permit .example.com 0.0.0.0 server.example.net 0.0.0.0\n";
    let lab = Lab::at(site, conf, |start| start);
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert_rejected(&lab.site.other, &Request::connect((SERVER, 7)));
    assert_rejected(&lab.site.client, &Request::connect((SECOND_SERVER, 7)));
}

const DENIES_A_NAME: &str = "deny .blocked.example 0.0.0.0\npermit 0.0.0.0 0.0.0.0\n";

#[test]
fn a68_a_client_whose_nameserver_fails_does_not_get_past_a_line_that_denies_a_name() {
    for answer in [Answer::Failure, Answer::Silence] {
        let (site, _dns, _echo) = site(move |_| answer.clone());
        let mut lab = Lab::at(site, DENIES_A_NAME, |start| start.settings("(resolve_limit: 2)"));
        assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
        lab.assert_logged(&[
            Session::of(CLIENT, SERVER, "echo").refused(),
            "daemon.notice missing fact: the names of the client could not be found out".into(),
        ]);
    }
}

#[test]
fn a68_lookups_of_a_clients_own_use_up_no_fact_that_a_line_needs() {
    let (site, dns, _echo) = site(|question| match question.kind {
        PTR => Answer::Name("www.blocked.example"),
        A if question.name == "www.blocked.example" => Answer::Addresses(vec![CLIENT.into()]),
        _ => Answer::Silence,
    });
    let settings = "(max_lookups_per_host: 4, resolve_limit: 600)";
    let lab = Lab::at(site, DENIES_A_NAME, |start| start.settings(settings));
    let slow = |number| Request::connect_name(format!("slow{number}.example"), 7);
    let waiting: Vec<_> = (0..4).map(|number| send_to(&lab.site.client, PROXY, &slow(number))).collect();
    until_true("four lookups wait", || dns.asked().iter().filter(|question| question.kind == A).count() >= 4);
    for _ in 0..5 {
        assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    }
    lab.wait_for_line("missing fact: the names of the client could not be found out");
    drop(waiting);
}

#[test]
fn with_missing_names_no_match_a_failing_nameserver_is_a_client_without_a_name() {
    let (site, _dns, _echo) = site(|_| Answer::Failure);
    let settings = "(missing_names: no_match, resolve_limit: 2)";
    let lab = Lab::at(site, DENIES_A_NAME, |start| start.settings(settings));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_silent_nameserver_does_not_keep_a_permitted_client_waiting_for_the_log() {
    let (site, _dns, _echo) = site(|_| Answer::Silence);
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(reverse_names: true, resolve_limit: 2)"));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    lab.wait_for_line("terminated -- Connect from joe(unknown)@192.0.2.10 to 198.51.100.10 (echo)");
}
