//! The login of a client by a password before its request. The password itself does not get here: it stays with the
//! monitor until it is checked.

use crate::checks::Login;
use crate::config::Config;
use crate::record::Record;
use crate::session::ending;
use crate::session::event::{Action, Arrival, Event, Task};
use crate::session::next::Next;
use crate::session::phase::Phase;
use crate::session::request::User;
use crate::waits::WaitKey;
use sockd_common::message;
use sockd_common::message::auth::Group;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::session::CloseReason;
use sockd_policy::UserId;
use std::net::SocketAddr;

/// How far the login of a client by a password has come.
#[derive(Debug, Default)]
pub(super) enum Who {
    /// No password is asked for, or no more passwords are.
    #[default]
    Unknown,
    /// The worker may send a password.
    Asked,
    /// The password of this user is being checked.
    Verifying(Box<message::UserId>),
    /// The password was right.
    Verified(Box<User>),
}

/// Begins the check of a user and a password that the worker has read.
pub(super) fn begin(who: &mut Who, user: message::UserId) -> Next {
    match who {
        Who::Asked if !user.as_bytes().is_empty() => {
            *who = Who::Verifying(Box::new(user));
            Next::phase(Phase::Verifying, vec![Action::Begin(WaitKey::LOGIN, Task::Verify)])
        }
        _ => Next::violation("a password out of turn"),
    }
}

/// Handles events while a password is being checked. The worker reads nothing from the client meanwhile, and can only
/// say that it has gone.
pub(super) fn verifying(who: &mut Who, event: Event, client: SocketAddr, config: &Config) -> Next {
    match event {
        Event::Arrived(WaitKey::LOGIN, Arrival::LoggedIn(login)) => checked(who, login, client),
        Event::Closed(why @ (CloseReason::ClientGone(_) | CloseReason::NoResources)) => {
            ending::unread(why, client, config)
        }
        event => ending::before_request(&event, client),
    }
}

/// The password has been checked, or will not be. A user whose name no request can carry is refused.
fn checked(who: &mut Who, login: Login, client: SocketAddr) -> Next {
    let Who::Verifying(user) = std::mem::take(who) else { return Next::nothing() };
    let name = UserId::parse(user.as_bytes());
    let why = match (login, name) {
        (Login::Verified(groups), Ok(name)) => {
            let groups = groups.into_vec();
            let groups = groups.iter().map(Group::as_bytes).collect::<Vec<_>>().join(&b',').into();
            *who = Who::Verified(Box::new(User { name, groups }));
            return Next::phase(Phase::Requesting, vec![Action::Accept]);
        }
        (Login::Verified(_), Err(_)) => Login::Wrong,
        (refused, _) => refused,
    };
    let refused = Record::LoginRefused { client, user: *user, why };
    ending::refusing(vec![refused.into(), Action::Refuse(RefusalReason::NotAllowed)])
}
