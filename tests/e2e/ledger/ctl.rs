//! The output and the acts of sockdctl(8).

use super::{as_user, lab};
use nix::sys::signal::Signal;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{SECOND_SERVER, SERVER};
use sockd_tests::sockd::{PERMIT_ALL, install_at, program};
use sockd_tests::socks::{PROXY, Request, ask, granted, is_granted};
use sockd_tests::socks5;
use sockd_tests::wait::{until, until_true};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A place of the program that every user can reach.
fn installed(lab: &Lab) -> PathBuf {
    let place = "/run/sockdctl";
    install_at(&lab.site.gateway, &program("sockdctl"), place);
    place.into()
}

fn run(lab: &Lab, words: &[&str]) -> Output {
    lab.site.gateway.output(Command::new(program("sockdctl")).args(words))
}

/// Its output on success.
fn said(lab: &Lab, words: &[&str]) -> String {
    let output = run(lab, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn status(lab: &Lab, words: &[&str]) -> Option<i32> {
    run(lab, words).status.code()
}

/// The number of the one session that is listed.
fn only(lab: &Lab) -> String {
    let list = until("one session", || {
        Some(said(lab, &["list", "--json"])).filter(|list| list.lines().count() == 1)
    });
    let session: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    session["id"].to_string()
}

#[test]
fn it_lists_who_is_connected_and_what_has_been_moved() {
    let lab = lab(PERMIT_ALL, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut line = granted(&lab.site.client, &Request::connect((SERVER, 7)).by("joe"));
    line.send([b'x'; 1000]);
    assert_eq!(line.read(1000), [b'x'; 1000]);
    let _other = granted(&lab.site.other, &Request::connect((SERVER, 7)).by("eve"));
    until_true("both relays", || said(&lab, &["list"]).matches("198.51.100.10:7").count() == 2);
    // The request of 12 bytes and the reply of 8 are among them. The client acknowledges when it likes.
    let session = until("what has been moved", || {
        let list = said(&lab, &["list", "--host", "192.0.2.10", "--json"]);
        let session: serde_json::Value = serde_json::from_str(&list).expect("one object");
        Some(session).filter(|session| session["bytes_down"] == 1008)
    });
    assert_eq!(session["bytes_up"], 1012);
    assert_eq!(session["claimed_user"], "joe");
    assert_eq!(
        (&session["phase"], &session["rule"], &session["port"]),
        (&"relaying".into(), &1.into(), &7.into())
    );
    for (words, sessions) in [
        (&["list", "--user", "eve"][..], 1),
        (&["list", "--host", "192.0.2.0/24"], 2),
        (&["list", "--to", "198.51.100.0/24", "--user", "joe"], 1),
        (&["list", "--to", "203.0.113.10"], 0),
        (&["list", "--rule", "1"], 2),
        (&["list", "--rule", "2"], 0),
    ] {
        assert_eq!(said(&lab, words).lines().count(), sessions + 1, "{words:?}");
    }
    let id = session["id"].to_string();
    let shown = said(&lab, &["show", &id]);
    assert!(shown.contains("claimed     joe\n") && shown.contains("client      192.0.2.10:"), "{shown}");
    assert!(said(&lab, &["stats"]).contains("relaying    2\n"));
    assert!(said(&lab, &["workers"]).contains(" 1 192.0.2.138\n"));
    assert_eq!(status(&lab, &["show", "999"]), Some(1));
}

#[test]
fn it_says_how_often_each_line_of_the_rules_has_decided() {
    let rules = "deny 0.0.0.0 0.0.0.0 203.0.113.10 255.255.255.255\npermit 192.0.2.0 255.255.255.0\npermit 10.0.0.0 255.0.0.0\n";
    let lab = lab(rules, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert!(!is_granted(&lab.site.client, &Request::connect((SECOND_SERVER, 7))));
    let counted = |list: &str| -> Vec<String> {
        list.lines()
            .skip(1)
            .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    until_true("the hits", || counted(&said(&lab, &["rules"])) == ["1 1", "2 1", "3 0"]);
    assert!(said(&lab, &["rules"]).contains(" permit "), "the text of the lines is shown");
}

/// Waits until a connection is ended from outside.
fn assert_ended(mut line: Line) {
    line.ending();
}

#[test]
fn a_session_is_killed_by_its_number_and_the_log_says_by_whom() {
    let mut lab = lab(PERMIT_ALL, "()");
    let far = Far::listen(&lab.site.server, SERVER);
    let line = granted(&lab.site.client, &Request::connect(far.v4()).by("joe"));
    let there = far.accept();
    let id = only(&lab);
    assert_eq!(said(&lab, &["kill", &id]), "1 session is ended\n");
    let order =
        lab.wait_for_line(&format!("session {id} of 192.0.2.10 is ended by order of uid 0, process "));
    assert!(order.contains("daemon.notice"), "{order}");
    lab.wait_for_line("terminated -- Connect from joe(unknown)@192.0.2.10");
    assert_ended(line);
    drop(there);
    until_true("the end of the session", || said(&lab, &["list"]).lines().count() == 1);
    assert_eq!(status(&lab, &["kill", &id]), Some(1), "it is over");
    assert!(said(&lab, &["stats"]).contains("killed      1\n"));
    lab.turn_the_page();
    // The host is not punished: it may come again.
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn sessions_are_killed_by_what_they_are_and_others_go_on() {
    let lab = lab("permit *=joe 0.0.0.0 0.0.0.0\npermit 0.0.0.0 0.0.0.0\n", "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let connect = |host, user: &str| granted(host, &Request::connect((SERVER, 7)).by(user));
    let (client, other) = (&lab.site.client, &lab.site.other);
    for (words, is_killed) in [
        (&["kill", "--host", "192.0.2.10"][..], [true, true, false]),
        (&["kill", "--user", "joe"], [true, false, true]),
        (&["kill", "--rule", "1"], [true, false, true]),
        (&["kill", "--to", "198.51.100.10"], [true, true, true]),
        (&["kill", "--to", "198.51.100.10", "--user", "eve"], [false, true, false]),
    ] {
        let lines = [connect(client, "joe"), connect(client, "eve"), connect(other, "joe")];
        until_true("three relays", || said(&lab, &["list"]).matches("198.51.100.10:7").count() == 3);
        said(&lab, words);
        for (mut line, is_killed) in lines.into_iter().zip(is_killed) {
            if is_killed {
                assert_ended(line);
            } else {
                line.send("x");
                assert_eq!(line.read(1), b"x", "{words:?}");
            }
        }
        until_true("the end of the others", || said(&lab, &["list"]).lines().count() == 1);
    }
    assert_eq!(status(&lab, &["kill"]), Some(64), "everything at once is not meant by nothing");
}

#[test]
fn a_session_can_be_killed_in_every_phase() {
    let lab = lab("permit +=connect,bind,udp 0.0.0.0 0.0.0.0\n", "()");
    let client = &lab.site.client;
    let mut unread = Line::dial(client, PROXY);
    unread.send([4]);
    assert_eq!(said(&lab, &["kill", &only(&lab)]), "1 session is ended\n");
    assert_ended(unread);
    let (waiting, _) = ask(client, &Request::connect((SERVER, 21)).as_bind());
    until_true("a BIND", || said(&lab, &["list"]).contains("(waiting)"));
    assert_eq!(said(&lab, &["kill", &only(&lab)]), "1 session is ended\n");
    lab.wait_for_line("an administrator has ended it");
    assert_ended(waiting);
    let mut control = socks5::ask(client, [5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    let _ = socks5::bound(&mut control);
    until_true("an association", || said(&lab, &["list"]).contains("datagrams"));
    assert_eq!(said(&lab, &["kill", &only(&lab)]), "1 session is ended\n");
    lab.wait_for_line("terminated -- Associate from ");
    assert_ended(control);
    until_true("no session", || said(&lab, &["list"]).lines().count() == 1);
}

#[test]
fn a_daemon_that_drains_serves_who_is_there_and_nobody_new() {
    let lab = lab(PERMIT_ALL, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    said(&lab, &["drain"]);
    lab.wait_for_line("no new clients are served, by order of uid 0, process ");
    assert!(said(&lab, &["stats"]).contains("draining    yes\n"));
    assert!(!is_granted(&lab.site.client, &Request::connect((SERVER, 7))));
    line.send("x");
    assert_eq!(line.read(1), b"x");
    said(&lab, &["resume"]);
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn it_says_which_sessions_other_rules_would_end() {
    let lab = lab(PERMIT_ALL, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let _lines =
        [&lab.site.client, &lab.site.other].map(|host| granted(host, &Request::connect((SERVER, 7))));
    until_true("two relays", || said(&lab, &["list"]).matches("198.51.100.10:7").count() == 2);
    lab.site.gateway.write("/run/new.conf", "deny 192.0.2.138 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    let told = said(&lab, &["would", "/run/new.conf"]);
    assert!(
        told.contains(" ends: joe? from 192.0.2.138:") && told.contains(" line 1 refuses it\n"),
        "{told}"
    );
    assert!(told.ends_with("\n1 of 2 sessions would end, and of 0 it cannot be said\n"), "{told}");
    // As the daemon does.
    lab.sockd.write_settings("(recheck_on_reload: true)");
    lab.sockd.write_conf("deny 192.0.2.138 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n");
    lab.sockd.signal(Signal::SIGHUP);
    until_true("one session is left", || said(&lab, &["list"]).lines().count() == 2);
    lab.site.gateway.write("/run/new.conf", "prmit 0.0.0.0 0.0.0.0\n");
    assert_eq!(status(&lab, &["would", "/run/new.conf"]), Some(65));
}

/// As in the daemon, which uses the frozen file whatever happens to the text.
#[test]
fn a_frozen_file_goes_before_the_text_beside_it() {
    let other = "deny 192.0.2.138 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n";
    let lab = lab("# all\npermit 0.0.0.0 0.0.0.0\n", "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let _line = granted(&lab.site.other, &Request::connect((SERVER, 7)));
    let rules = || said(&lab, &["rules"]).lines().map(str::to_owned).collect::<Vec<_>>();
    let head = |source: &str| format!("LINE       HITS LAST RULE ({source})");
    let freeze = |words: &[&str]| {
        let made = lab.site.gateway.output(Command::new(program("make_sockdfc")).args(words));
        assert!(made.status.success(), "{made:?}");
    };
    assert_eq!(rules()[0], head("/etc/sockd.conf"));
    freeze(&[]);
    assert_eq!(rules()[0], head("/etc/sockd.fc, newer than the rules in force"));
    lab.sockd.write_conf(other);
    lab.sockd.signal(Signal::SIGHUP);
    until_true("the reload", || rules()[0] == head("/etc/sockd.fc"));
    assert!(
        rules()[1].starts_with("   2 ") && rules()[1].ends_with(" permit 0.0.0.0 0.0.0.0"),
        "{:?}",
        rules()
    );
    let told = said(&lab, &["would", "/etc/sockd.conf"]);
    assert!(
        told.starts_with("the rules are those of /etc/sockd.fc, ") && told.contains("\n0 of 1 "),
        "{told}"
    );
    lab.site.gateway.write("/run/other.conf", other);
    freeze(&["/run/other.conf", "/run/other.fc"]);
    let told = said(&lab, &["would", "/run/other.fc"]);
    assert!(told.contains(" line 1 refuses it\n1 of 1 sessions would end"), "{told}");
    lab.site.gateway.write("/etc/sockd.fc", "no frozen file");
    assert!(
        rules()[0].starts_with("LINE       HITS LAST RULE (not at hand: /etc/sockd.fc: "),
        "{:?}",
        rules()
    );
}

#[test]
fn a_member_of_the_group_may_look_and_kill_and_nobody_else() {
    let lab = lab(PERMIT_ALL, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let id = only(&lab);
    let place = installed(&lab);
    let as_user = |is_administrator, words: &[&str]| {
        lab.site.gateway.output(as_user(is_administrator, &place).args(words)).status.code()
    };
    assert_eq!(as_user(false, &["list"]), Some(77));
    assert_eq!(as_user(false, &["kill", &id]), Some(77));
    assert_eq!(as_user(true, &["list"]), Some(0));
    assert_eq!(as_user(true, &["kill", &id]), Some(0));
    lab.wait_for_line("is ended by order of uid 64200, process ");
    assert_ended(line);
}

#[test]
fn without_a_daemon_it_says_so() {
    let mut lab = lab(PERMIT_ALL, "()");
    lab.sockd.signal(Signal::SIGTERM);
    lab.sockd.wait();
    let output = run(&lab, &["list"]);
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "sockdctl: no sockd serves with a status socket in /run/sockd\n");
}
