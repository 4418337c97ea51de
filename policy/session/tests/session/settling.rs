//! With `isolation: user`, a client goes on with a worker of its user once the user is known.

use crate::driver::*;
use crate::{after, begins, config, connect, dialled, lines, refusal, session, settings, unicast, violates};
use sockd_common::message::request::{Command, RefusalReason};
use sockd_common::message::session::{CloseReason, Handshake};
use sockd_policy::{IdentMode, Identity, UserId};
use sockd_session::config::Config;
use sockd_session::limits::limit::Limit;
use sockd_session::pool::Verified;
use sockd_session::session::{Action, Arrival, Event, Phase, Session, Task};

fn of_users(rules: &str) -> Config {
    Config { settings: settings("(isolation: user)"), ident_default: IdentMode::Strict, ..config(rules) }
}

fn joe() -> UserId {
    UserId::parse(b"joe").unwrap()
}

fn settles(actions: &[Action]) -> bool {
    begins(
        actions,
        &Task::Settle(Verified { user: joe(), by_password: false }, Handshake::Socks4(Command::Connect)),
    )
}

/// A session whose client's identd has given this answer.
fn named(identity: Identity, config: &Config) -> (Session, Vec<Action>) {
    let mut session = session();
    let come = vec![connect("203.0.113.1", 23), unicast("203.0.113.1"), identified(identity)];
    let actions = come.into_iter().map(|happens| session.sees(happens, config)).last().unwrap();
    (session, actions)
}

#[test]
fn h9_a_verified_client_goes_to_a_worker_of_its_user_before_anything_is_dialled() {
    let config = of_users("permit 0.0.0.0 0.0.0.0\n");
    let (mut session, actions) = named(Identity::Known(joe()), &config);
    assert!(settles(&actions) && dialled(&actions).is_none(), "{actions:?}");
    assert_eq!(session.phase(), Phase::Settling);
    assert!(session.sees(RECHECK, &config).is_empty(), "rules are asked again behind it");
    let actions = after(&mut session, vec![Arrival::Settled.into(), unicast("203.0.113.1")], &config);
    assert!(dialled(&actions).is_some() && !settles(&actions), "{actions:?}");
}

#[test]
fn h9_who_is_refused_or_nobody_known_stays_where_it_is() {
    let lenient = Config { ident_default: IdentMode::Lenient, ..of_users("permit 0.0.0.0 0.0.0.0\n") };
    let sam = || Identity::Known(UserId::parse(b"sam").unwrap());
    for (config, identity) in [
        (of_users("permit 0.0.0.0 0.0.0.0\n"), sam()),
        (of_users("permit 0.0.0.0 0.0.0.0\n"), Identity::Unknown),
        (lenient, Identity::Unknown),
        (
            Config { ident_default: IdentMode::Strict, ..crate::config("permit 0.0.0.0 0.0.0.0\n") },
            Identity::Known(joe()),
        ),
    ] {
        let (session, actions) = named(identity, &config);
        assert!(!settles(&actions) && session.phase() != Phase::Settling, "{actions:?}");
    }
}

#[test]
fn h9_a_client_that_no_worker_has_is_reset_and_nobody_is_told() {
    let config = of_users("permit 0.0.0.0 0.0.0.0\n");
    for event in [DEADLINE, STOP, KILLED, WORKER_LOST] {
        let (mut session, _) = named(Identity::Known(joe()), &config);
        let actions = session.sees(event, &config);
        assert!(matches!(&actions[..], [Action::Record(_), Action::Reset, Action::Remove]), "{actions:?}");
    }
    let (mut session, _) = named(Identity::Known(joe()), &config);
    assert!(violates(&session.sees(Event::Closed(CloseReason::ClientGone(crate::Errno(0))), &config)));
}

#[test]
fn h9_a_user_whose_worker_has_served_others_is_refused() {
    let config = of_users("permit 0.0.0.0 0.0.0.0\n");
    let (mut session, _) = named(Identity::Known(joe()), &config);
    let actions = session.sees(no_room(Limit::NOT_ALONE), &config);
    assert_eq!(refusal(&actions), Some(RefusalReason::General));
    assert!(lines(&actions)[0].ends_with("the worker is not the user's alone"), "{:?}", lines(&actions));
}
