//! Logins of clients by a password before the request.

use crate::driver::*;
use crate::{CLIENT, after, begins, closed, config, lines, refusal, settings, unicast, violates};
use sockd_common::message::auth::{Group, Groups};
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::session::{CloseReason, Handshake};
use sockd_common::message::{Errno, UserId};
use sockd_session::checks::Login;
use sockd_session::config::Config;
use sockd_session::pool::Verified;
use sockd_session::session::{Action, Arrival, Event, Phase, Session, Task};

fn introduced(user: &[u8]) -> Event {
    Event::Introduced(UserId::new(user).unwrap())
}

fn logged_in(login: Login) -> Happens {
    Arrival::LoggedIn(login).into()
}

fn verified() -> Happens {
    let groups = ["staff", "wheel"].map(|group| Group::new(group.as_bytes()).unwrap());
    logged_in(Login::Verified(Groups::first_of(groups)))
}

fn connect(version: u8) -> Event {
    let destination = Destination::Address("203.0.113.1".parse().unwrap());
    let user = UserId::default();
    Event::Requested(Request { version, command: Command::Connect, destination, port: 23, user })
}

/// A session whose worker may ask for a password.
fn session() -> Session {
    Session::new(CLIENT.parse().unwrap(), true)
}

/// A session whose password is being checked.
fn verifying(config: &Config) -> Session {
    let mut session = session();
    let actions = session.on(introduced(b"joe"), config);
    assert!(begins(&actions, &Task::Verify), "{actions:?}");
    assert_eq!(session.phase(), Phase::Verifying);
    session
}

/// A session whose password was right.
fn of_joe(config: &Config) -> Session {
    let mut session = verifying(config);
    assert_eq!(session.sees(verified(), config), [Action::Accept]);
    session
}

#[test]
fn a_user_with_a_password_is_who_the_log_knows() {
    let config = config("permit *=joe 0.0.0.0 0.0.0.0\n");
    let mut session = of_joe(&config);
    let come = vec![connect(5).into(), unicast("203.0.113.1"), dials(Ok(()))];
    let actions = after(&mut session, come, &config);
    assert_eq!(lines(&actions), ["connected -- Connect from joe(joe)@192.0.2.7 to 203.0.113.1 (telnet)"]);
}

#[test]
fn h9_with_isolation_user_a_user_with_a_password_goes_to_its_worker_first() {
    let of_users = config("permit @=password 0.0.0.0 0.0.0.0\n");
    let config = Config { settings: settings("(isolation: user)"), ..of_users };
    let mut session = of_joe(&config);
    let actions = after(&mut session, vec![connect(5).into(), unicast("203.0.113.1")], &config);
    let joe = Verified { user: sockd_policy::UserId::parse(b"joe").unwrap(), by_password: true };
    assert!(begins(&actions, &Task::Settle(joe, Handshake::Socks5(Command::Connect))), "{actions:?}");
}

#[test]
fn a_line_for_another_user_does_not_match() {
    let config = config("permit *=sam 0.0.0.0 0.0.0.0\n");
    let mut session = of_joe(&config);
    let actions = after(&mut session, vec![connect(5).into(), unicast("203.0.113.1")], &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
    assert_eq!(lines(&actions), ["refused -- Connect from joe(joe)@192.0.2.7 to 203.0.113.1 (telnet)"]);
}

/// The method is chosen among those that a client offers before its destination is known.
#[test]
fn the_log_says_where_a_client_lacks_a_password() {
    let config = config("permit 0.0.0.0 0.0.0.0 203.0.113.0/24\npermit @=password 0.0.0.0 0.0.0.0\n");
    for (version, said) in [(5, Some("no rule matches a client without a password")), (4, None)] {
        let come = vec![connect(version).into(), unicast("198.51.100.1")];
        let actions = after(&mut session(), come, &config);
        assert_eq!(refusal(&actions), Some(RefusalReason::NotAllowed));
        assert_eq!(lines(&actions).get(1).map(String::as_str), said);
    }
}

#[test]
fn a_password_that_is_not_accepted_is_refused_with_one_line() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    for (login, line) in [
        (Login::Wrong, "password refused -- joe@192.0.2.7"),
        (Login::TooManyOfHost, "password not checked -- joe@192.0.2.7: too many wrong ones from there"),
        (Login::TooManyOfUser, "password not checked -- joe@192.0.2.7: too many wrong ones for this user"),
        (Login::Unchecked, "password not checked -- joe@192.0.2.7: nobody can check it just now"),
        (Login::NotAlone, "password not checked -- joe@192.0.2.7: the worker is not the user's alone"),
    ] {
        let mut session = verifying(&config);
        let actions = session.sees(logged_in(login), &config);
        assert_eq!(
            (refusal(&actions), &lines(&actions)[..]),
            (Some(RefusalReason::NotAllowed), &[line.to_owned()][..])
        );
        assert!(violates(&session.on(connect(5), &config)), "nothing can follow");
        let mut session = verifying(&config);
        session.sees(logged_in(Login::Wrong), &config);
        assert_eq!(session.sees(closed(CloseReason::Refused), &config), [Action::Remove]);
    }
}

#[test]
fn a_user_is_escaped_and_one_with_a_nul_is_nobody() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let mut session = session();
    session.on(introduced(b"jo\0e\n\x1b[2J"), &config);
    let actions = session.sees(verified(), &config);
    assert_eq!(lines(&actions), ["password refused -- jo\\x00e\\x0a\\x1b[2J@192.0.2.7"]);
    assert!(refusal(&actions).is_some());
}

#[test]
fn the_rules_know_the_user_and_the_groups_that_came_with_the_verdict() {
    for (rule, is_permitted) in [
        ("permit @=password *=joe", true),
        ("permit g=wheel", true),
        ("permit *=joe g=guests,staff", true),
        ("permit g=guests", false),
        ("permit *=sam g=staff", false),
        ("permit @=none", false),
        ("permit @=ident", false),
        // identd is not asked about a user whom a password has named.
        ("permit ?=I *=joe", true),
    ] {
        let config = config(&format!("{rule} 0.0.0.0 0.0.0.0\n"));
        let mut session = of_joe(&config);
        let actions = after(&mut session, vec![connect(5).into(), unicast("203.0.113.1")], &config);
        assert_eq!(session.phase() == Phase::Dialling, is_permitted, "{rule}: {actions:?}");
    }
}

#[test]
fn only_one_password_is_said_and_only_in_its_time() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let late = || {
        let mut session = of_joe(&config);
        session.on(connect(5), &config);
        session
    };
    let unasked = || Session::new(CLIENT.parse().unwrap(), false);
    for mut session in [verifying(&config), of_joe(&config), late(), unasked()] {
        assert!(violates(&session.on(introduced(b"joe"), &config)), "{:?}", session.phase());
    }
    assert!(violates(&session().on(introduced(b""), &config)), "nobody is empty");
    assert!(violates(&verifying(&config).on(connect(5), &config)), "a request before the verdict");
    assert!(violates(&of_joe(&config).on(connect(4), &config)), "SOCKS4 has no passwords");
}

#[test]
fn nothing_is_left_of_a_check_whose_client_worker_or_time_has_gone() {
    let config = config("permit 0.0.0.0 0.0.0.0\n");
    let gone = closed(CloseReason::ClientGone(Errno(0)));
    for (happens, ends) in [
        (gone, Action::Remove),
        (WORKER_LOST, Action::Remove),
        (STOP, Action::End),
        (DEADLINE, Action::Refuse(RefusalReason::General)),
    ] {
        let actions = verifying(&config).sees(happens, &config);
        assert!(actions.contains(&ends), "{actions:?}");
    }
    assert!(violates(&verifying(&config).sees(closed(CloseReason::CutShort), &config)), "it reads nothing");
    let mut session = verifying(&config);
    session.sees(STOP, &config);
    assert!(session.sees(verified(), &config).is_empty(), "nobody waits for it");
    let mut crossed = self::session();
    crossed.sees(STOP, &config);
    assert!(crossed.on(introduced(b"joe"), &config).is_empty(), "it was said before");
    assert!(violates(&crossed.on(introduced(b"joe"), &config)));
}
