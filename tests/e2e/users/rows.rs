//! The rows: the answer, the end, and the log line.

use crate::{
    OFFER, PASSWORDS, PORT, RIGHT, WANTED, WRONG, assert_echoes, login, offer, place, relays, request,
    try_in, write_users,
};
use sockd_tests::classic::Session;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::socks::{self, PROXY};
use sockd_tests::socks5::{CHOSEN, CONNECT, GRANTED, GREETING, refusal, to};
use std::io::ErrorKind;

/// The line of a password that was wrong.
fn refused(user: &str) -> String {
    format!("daemon.notice password refused -- {user}@{CLIENT}")
}

/// Insists that a refused login is told so, and nothing more.
fn assert_wrong(mut line: Line) {
    assert_eq!(line.read_to_end(), (WRONG.to_vec(), Ending::Closed));
}

#[test]
fn s5_53_and_54_a_password_is_asked_for_and_the_right_one_lets_its_user_in() {
    let mut place = place(PASSWORDS, "()");
    let mut line = relays(&place.lab.site.client, "joe", "sesame");
    assert_echoes(&mut line);
    drop(line);
    let session = Session { real_user: "joe".into(), ..Session::of(CLIENT, SERVER, "echo") };
    place.lab.assert_logged(&session.relayed(5, 5));
}

#[test]
fn s5_55_a_wrong_password_and_an_unknown_user_are_refused_alike_with_one_line() {
    let mut place = place(PASSWORDS, "()");
    for (user, password) in [("joe", "open"), ("nobody", "sesame"), ("sam", "sesame")] {
        let mut line = offer(&place.lab.site.client);
        line.send(login(user, password));
        assert_wrong(line);
        place.lab.assert_logged(&[refused(user)]);
    }
}

#[test]
fn s5_56_an_empty_user_and_an_empty_password_are_refused() {
    let place = place(PASSWORDS, "()");
    for (user, password) in [("", "sesame"), ("joe", ""), ("", "")] {
        let mut line = offer(&place.lab.site.client);
        line.send(login(user, password));
        assert_wrong(line);
        place.lab.wait_for_line("error -- empty user or password from host 192.0.2.10");
    }
}

#[test]
fn s5_57_a_user_and_a_password_may_have_255_bytes_and_are_never_cut() {
    let place = place(PASSWORDS, "()");
    let (user, password) = ("u".repeat(255), "p".repeat(255));
    write_users(&place.lab.site.gateway, &[(&user, &password, "")]);
    place.lab.sockd.signal(nix::sys::signal::Signal::SIGHUP);
    place.lab.wait_for_line("reloaded: ");
    assert_eq!(try_in(&place.lab.site.client, &user, &password).1, RIGHT);
    assert_eq!(try_in(&place.lab.site.client, &user, &password[1..]).1, WRONG);
    assert_eq!(try_in(&place.lab.site.client, &user[1..], &password).1, WRONG);
}

#[test]
fn s5_58_another_version_of_the_password_message_is_not_answered() {
    let place = place(PASSWORDS, "()");
    for version in [0, 5] {
        let mut line = offer(&place.lab.site.client);
        let mut message = login("joe", "sesame");
        message[0] = version;
        line.send(message);
        assert_eq!(line.ending(), Ending::Closed);
        place.lab.wait_for_line(&format!("error -- wrong version (0x{version:2x}) from host 192.0.2.10."));
    }
}

#[test]
fn s5_59_and_60_everything_may_come_in_one_segment() {
    let place = place(PASSWORDS, "()");
    let behind = [login("joe", "sesame"), request(), b"hello".to_vec()].concat();
    let mut line = offer(&place.lab.site.client);
    line.send(&behind);
    assert_eq!(line.read(17), [&RIGHT[..], &GRANTED, b"hello"].concat());
    let mut line = Line::dial(&place.lab.site.client, PROXY);
    line.send([&OFFER[..], &behind].concat());
    assert_eq!(line.read(19), [&WANTED[..], &RIGHT, &GRANTED, b"hello"].concat());
}

#[test]
fn s5_61_a_password_may_come_byte_by_byte() {
    let place = place(PASSWORDS, "()");
    let mut line = offer(&place.lab.site.client);
    line.send_in_segments([login("joe", "sesame"), request(), b"hello".to_vec()].concat(), 1);
    assert_eq!(line.read(17), [&RIGHT[..], &GRANTED, b"hello"].concat());
}

#[test]
fn s5_62_a_nul_does_not_end_a_password() {
    let place = place(PASSWORDS, "()");
    for (user, password) in
        [("joe", "sesame\0x"), ("joe", "sesame\0"), ("joe\0", "sesame"), ("joe\0x", "sesame")]
    {
        assert_eq!(try_in(&place.lab.site.client, user, password).1, WRONG, "{user:?} {password:?}");
    }
}

#[test]
fn s5_63_a_user_is_escaped_and_no_part_of_a_password_is_logged() {
    let mut place = place(PASSWORDS, "()");
    assert_eq!(try_in(&place.lab.site.client, "jo\ne\x1b[2J (x)@192.0.2.66", "s3cret").1, WRONG);
    place.lab.assert_logged(&[refused(r"jo\x0ae\x1b[2J\x20\x28x\x29@192.0.2.66")]);
    assert!(!place.lab.log.lines().iter().any(|line| line.contains("s3cret")));
}

#[test]
fn s5_64_there_is_one_password_for_each_connection() {
    let mut place = place(PASSWORDS, "()");
    let mut line = offer(&place.lab.site.client);
    line.send([login("joe", "open"), login("joe", "sesame"), request()].concat());
    assert_wrong(line);
    place.lab.assert_logged(&[refused("joe")]);
}

#[test]
fn s5_65_who_offers_no_password_where_one_is_wanted_is_told_that_no_method_fits() {
    let place = place(PASSWORDS, "()");
    let mut line = Line::dial(&place.lab.site.client, PROXY);
    line.send(GREETING);
    assert_eq!(line.read_to_end(), (vec![5, 0xff], Ending::Closed));
    place.lab.wait_for_line("no acceptable method of authentication (offered none; wanted password)");
}

#[test]
fn s5_66_a_client_that_offers_both_is_asked_where_every_line_wants_a_password() {
    let asked = place(PASSWORDS, "()");
    let not_asked = place("permit @=password *=joe ALL 0.0.0.0\npermit ALL 0.0.0.0\n", "()");
    let preferred = place("permit ALL 0.0.0.0\n", "(auth: prefer)");
    for (place, chosen) in [(asked, WANTED), (not_asked, CHOSEN), (preferred, WANTED)] {
        let mut line = Line::dial(&place.lab.site.client, PROXY);
        line.send([5, 2, 0, 2]);
        assert_eq!(line.read(2), chosen);
    }
}

#[test]
fn s5_67_socks4_cannot_show_a_password() {
    let place = place(PASSWORDS, "()");
    let mut line = socks::send_to(&place.lab.site.client, PROXY, &socks::Request::connect((SERVER, PORT)));
    assert_eq!(line.read_to_end(), (vec![0, 91, 0, 0, 0, 0, 0, 0], Ending::Closed));
    place.lab.wait_for_line("refused -- Connect from ");
}

#[test]
fn s5_68_a_user_for_whom_no_line_is_is_refused_its_request() {
    let mut place =
        place("permit @=password *=joe ALL 0.0.0.0\npermit @=password g=staff ALL 0.0.0.0\n", "()");
    let (mut line, told) = try_in(&place.lab.site.client, "sam", "sam's own");
    assert_eq!(told, RIGHT);
    line.send(request());
    assert_eq!(line.read_to_end(), (refusal(2).to_vec(), Ending::Closed));
    let session = Session { real_user: "sam".into(), ..Session::of(CLIENT, SERVER, "echo").by("sam") };
    place.lab.assert_logged(&[session.refused()]);
    assert_echoes(&mut relays(&place.lab.site.client, "joe", "sesame"));
}

#[test]
fn a_line_for_a_group_is_for_its_users() {
    let place = place("permit @=password g=wheel,guests ALL 0.0.0.0\n", "()");
    assert_echoes(&mut relays(&place.lab.site.client, "sam", "sam's own"));
    let (mut line, told) = try_in(&place.lab.site.client, "joe", "sesame");
    assert_eq!(told, RIGHT);
    line.send(to(CONNECT, (SERVER, PORT)));
    assert_eq!(line.read_to_end(), (refusal(2).to_vec(), Ending::Closed));
}

#[test]
fn s5_69_the_ninth_wrong_password_of_a_host_is_not_asked_for_and_other_hosts_are_served() {
    let place = place(PASSWORDS, "()");
    let is_refused = |number: usize| {
        let mut line = Line::dial(&place.lab.site.client, PROXY);
        line.send(OFFER);
        let method = line.read(2);
        if method == WANTED {
            line.send(login(format!("user{number}"), "open"));
            assert_wrong(line);
        } else {
            assert_eq!(method, [5, 0xff]);
        }
        method != WANTED
    };
    // One comes back every 10 seconds; a slow machine may see some of them.
    let asked = (0..40).take_while(|number| !is_refused(*number)).count();
    assert!((8..40).contains(&asked), "{asked}");
    place.lab.wait_for_line("password refused -- user7@192.0.2.10");
    assert_echoes(&mut relays(&place.lab.site.other, "joe", "sesame"));
}

#[test]
fn passwords_are_refused_and_nothing_else_while_the_auth_worker_is_away() {
    let place = place("permit @=password *=joe ALL 0.0.0.0\npermit ~=4 ALL 0.0.0.0\n", "()");
    let mut kept = relays(&place.lab.site.client, "joe", "sesame");
    let auth = place.lab.sockd.workers("auth")[0];
    auth.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut waits = offer(&place.lab.site.client);
    waits.send(login("joe", "not remembered"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(waits.is_quiet());
    assert_eq!(
        socks::granted(&place.lab.site.client, &socks::Request::connect((SERVER, PORT))).local().ip(),
        CLIENT
    );
    auth.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(waits.read(2), WRONG);
    place.lab.wait_for_line("auth worker ");
    place.lab.wait_for_line("password not checked -- joe@192.0.2.10: nobody can check it just now");
    assert_echoes(&mut kept);
    // Another one comes, with the table.
    sockd_tests::wait::until_true("an auth worker", || {
        try_in(&place.lab.site.client, "joe", "sesame").1 == RIGHT
    });
}

#[test]
fn the_full_log_has_user_and_method() {
    let place = place(PASSWORDS, "(log_format: full)");
    drop(relays(&place.lab.site.client, "joe", "sesame"));
    let line = place.lab.wait_for_line("connected session=");
    assert!(line.contains(r#" user="joe" verified_user="joe" method=password version=5 "#), "{line}");
    assert_eq!(try_in(&place.lab.site.client, "j\"oe", "open").1, WRONG);
    let line = place.lab.wait_for_line("login_refused session=");
    assert!(line.ends_with(r#" user="j\x22oe" method=password cause="wrong""#), "{line}");
}

#[test]
fn a_flood_of_wrong_passwords_is_held_by_the_limit_of_the_log() {
    let place = place(PASSWORDS, "(max_refusals_logged: 3)");
    let host = &place.lab.site.client;
    let mut lines: Vec<Line> = (0..8).map(|_| offer(host)).collect();
    lines.iter_mut().for_each(|line| line.send(login("joe", "open")));
    lines.into_iter().for_each(assert_wrong);
    place.lab.wait_for_line("password refused -- joe@192.0.2.10");
    place.lab.wait_for_line("lines about requests of 192.0.2.10 are left out: max_refusals_logged");
}

/// A client may go while its password is checked, and its worker with it.
#[test]
fn a_client_that_goes_while_its_password_is_checked_leaves_nothing_behind() {
    let place = place(PASSWORDS, "()");
    for _ in 0..4 {
        let mut line = offer(&place.lab.site.client);
        line.send(login("joe", "open"));
        line.reset();
    }
    assert_echoes(&mut relays(&place.lab.site.client, "joe", "sesame"));
    let mut line = offer(&place.lab.site.client);
    line.send(&login("joe", "sesame")[..5]);
    line.half_close();
    let end = line.stream();
    let read = std::io::Read::read(end, &mut [0]).map_err(|error| error.kind());
    assert!(matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)), "{read:?}");
}

/// The filter of fail2ban, without its prefix, over these lines: the hosts that it finds.
fn found_by_fail2ban(lines: &[String]) -> Vec<String> {
    let filter = include_str!("../../../packaging/fail2ban/filter.conf");
    let script = "import re, sys\n\
        filter = open(0).read().split('failregex = ')[1].split('\\n\\n')[0]\n\
        rules = [rule.strip().replace('%(__prefix_line)s', '').replace('<HOST>', r'(?P<host>[\\w.:-]+)') for rule in filter.split('\\n')]\n\
        for line in sys.argv[1:]:\n\
        \x20for rule in rules:\n\
        \x20 match = re.search(rule, line.removeprefix('daemon.notice '))\n\
        \x20 if match: print(match['host'])\n";
    let mut python = std::process::Command::new("/usr/bin/python3");
    python
        .args(["-c", script])
        .args(lines)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut python = python.spawn().expect("python");
    std::io::Write::write_all(&mut python.stdin.take().expect("a pipe"), filter.as_bytes())
        .expect("the filter");
    let output = python.wait_with_output().expect("python");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("hosts").lines().map(str::to_owned).collect()
}

#[test]
fn fail2ban_finds_the_host_that_guesses_whatever_the_user_is_called() {
    let place = place(PASSWORDS, "()");
    for user in ["joe", "x@192.0.2.66", "x@192.0.2.66\npassword refused -- x@192.0.2.67", "(", " "] {
        assert_eq!(try_in(&place.lab.site.client, user, "open").1, WRONG);
    }
    let lines = place.lab.logged_whole(5);
    assert_eq!(found_by_fail2ban(&lines), vec![CLIENT.to_string(); 5], "{lines:?}");
    let unasked = "daemon.notice password not checked -- joe@192.0.2.10: too many wrong ones for this user";
    assert!(found_by_fail2ban(&[unasked.into()]).is_empty());
}
