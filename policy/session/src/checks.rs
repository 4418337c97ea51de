//! The checks of passwords: who waits for each, which comes next, and when the auth worker owes a verdict.
//!
//! A check under way counts as a failure until its verdict arrives, unless its user is known at its host: a client that
//! guesses many passwords at once gets no more guesses. Further checks wait for their turn.

use crate::client_host::{Host, HostNetwork};
use crate::keys::{CheckKey, Slots};
use crate::limits::logins::{Logins, UserKey};
use crate::owed::Owed;
use crate::violation::Violation;
use crate::waits::Waiter;
use sockd_common::message::auth::{Credentials, Groups, MAX_CHECKS, ToAuth, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Instant;

/// The checks.
#[derive(Debug, Default)]
pub struct Checks {
    checks: Slots<Check, 'c'>,
    /// Checks that the auth worker has not been asked, in order. Networks take turns.
    waiting: BTreeMap<HostNetwork, VecDeque<CheckKey>>,
    /// The network that had the last turn.
    last: Option<HostNetwork>,
    /// Checks that the auth worker has been asked.
    asked: BTreeSet<CheckKey>,
    logins: Logins,
    owed: Owed<CheckKey>,
}

#[derive(Debug)]
struct Check {
    /// The session that waits; `None` once it no longer does.
    waiter: Option<Waiter>,
    host: Host,
    user: UserKey,
    /// Whether the user has logged in from there before.
    is_known: bool,
    /// The credentials, until the auth worker has been asked.
    unasked: Option<Credentials>,
}

/// The result of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The password is right, and the user is in these groups.
    Verified(Groups),
    /// The password is wrong, or there is no such user.
    Wrong,
    /// The password was not checked, after too many wrong passwords from there.
    TooManyOfHost,
    /// The password was not checked, after too many wrong passwords for this user.
    TooManyOfUser,
    /// The password could not be checked.
    Unchecked,
    /// The password was not checked: the worker has served others, before `isolation: user` was in force.
    NotAlone,
}

/// The next thing to do.
pub enum Turn {
    /// Send this to the auth worker.
    Ask(ToAuth),
    /// Tell the session this result.
    Tell(Waiter, Login),
}

/// Whether a check may begin.
enum Admitted {
    Now,
    /// Once other checks have their verdicts.
    Later,
    Never(Login),
}

/// The sessions' side.
impl Checks {
    /// Whether a password from this host would be checked.
    pub fn admits(&mut self, host: Host, now: Instant) -> bool {
        self.logins.left_of_host(host, now).iter().all(|(_, left)| *left > 0)
    }

    /// A session of this client host wants a check; [`Checks::next`] begins it.
    pub fn begin(&mut self, waiter: Waiter, host: Host, credentials: Credentials) -> CheckKey {
        let user = self.logins.user(credentials.user.as_bytes());
        let (waiter, unasked) = (Some(waiter), Some(credentials));
        let key = self.checks.insert(Check { waiter, host, user, is_known: false, unasked });
        self.waiting.entry(host.network()).or_default().push_back(key);
        key
    }

    /// The next thing to do, if any. No check waits when the auth worker cannot be asked.
    pub fn next(&mut self, can_ask: bool, now: Instant) -> Option<Turn> {
        let behind = self.last.map(|last| (Bound::Excluded(last), Bound::Unbounded));
        let behind = behind.into_iter().flat_map(|range| self.waiting.range(range));
        let in_turn: Vec<HostNetwork> = behind.chain(&self.waiting).map(|(network, _)| *network).collect();
        in_turn.into_iter().find_map(|network| self.next_of(network, can_ask, now))
    }

    fn next_of(&mut self, network: HostNetwork, can_ask: bool, now: Instant) -> Option<Turn> {
        let key = *self.waiting.get(&network)?.front()?;
        let (host, user) = self.checks.get(key).map(|check| (check.host, check.user))?;
        let refused = match self.admitted(host, user, now) {
            Admitted::Never(why) => Some(why),
            _ if !can_ask => Some(Login::Unchecked),
            Admitted::Later => return None,
            Admitted::Now => None,
        };
        self.leave_queue(network, key);
        self.last = Some(network);
        if let Some(why) = refused {
            return Some(Turn::Tell(self.checks.remove(key)?.waiter?, why));
        }
        self.asked.insert(key);
        let (host, is_known) = (self.logins.host(host), self.logins.left_of_user(host, user, now).is_none());
        let check = self.checks.get_mut(key)?;
        check.is_known = is_known;
        let credentials = check.unasked.take()?;
        Some(Turn::Ask(ToAuth::Check { id: key.id(), host, credentials }))
    }

    fn admitted(&mut self, host: Host, user: UserKey, now: Instant) -> Admitted {
        let of_user = self.logins.left_of_user(host, user, now);
        let of_host = self.logins.left_of_host(host, now);
        let is_of_user = |check: &Check| check.user == user && !check.is_known;
        let of_user = of_user.map(|left| (left, self.under_way(is_of_user), Login::TooManyOfUser));
        let of_host = of_host.into_iter().map(|(network, left)| {
            (left, self.under_way(|check| check.host.is_in(network)), Login::TooManyOfHost)
        });
        let mut admitted = if self.asked.len() < MAX_CHECKS { Admitted::Now } else { Admitted::Later };
        for (left, under_way, why) in of_host.chain(of_user) {
            match left {
                0 => return Admitted::Never(why),
                left if under_way >= left => admitted = Admitted::Later,
                _ => {}
            }
        }
        admitted
    }

    /// The number of such checks that the auth worker has been asked.
    fn under_way(&self, are_such: impl Fn(&Check) -> bool) -> u32 {
        let such = self.asked.iter().filter_map(|key| self.checks.get(*key)).filter(|check| are_such(check));
        u32::try_from(such.count()).unwrap_or(u32::MAX)
    }

    fn leave_queue(&mut self, network: HostNetwork, key: CheckKey) {
        let Some(queue) = self.waiting.get_mut(&network) else { return };
        queue.retain(|waiting| *waiting != key);
        if queue.is_empty() {
            self.waiting.remove(&network);
        }
    }

    /// A session no longer waits: the message for the auth worker, if any. The check may be over, and its key reused.
    pub fn cancel(&mut self, key: CheckKey, waiter: Waiter, now: Instant) -> Option<ToAuth> {
        let check = self.checks.get_mut(key)?;
        check.waiter.take_if(|waiting| *waiting == waiter)?;
        if check.unasked.is_some() {
            let network = check.host.network();
            self.leave_queue(network, key);
            self.checks.remove(key);
            return None;
        }
        self.owed.push(key, now);
        Some(ToAuth::Cancel { id: key.id() })
    }
}

/// The auth worker's side.
impl Checks {
    /// It has a verdict: returns the session that waits for it, if any. A guess counts even if no session waits.
    pub fn answered(
        &mut self,
        key: CheckKey,
        verdict: Verdict,
        now: Instant,
    ) -> Result<Option<(Waiter, Login)>, Violation> {
        let asked = self.asked.remove(&key).then(|| self.end(key)).flatten();
        let Check { waiter, host, user, .. } = asked.ok_or(Violation("a verdict that nobody asked for"))?;
        let login = match verdict {
            Verdict::Verified { groups, .. } => {
                self.logins.succeeded(host, user, now);
                Login::Verified(groups)
            }
            Verdict::Wrong => {
                self.logins.failed(host, user, now);
                Login::Wrong
            }
            Verdict::Unchecked => Login::Unchecked,
        };
        Ok(waiter.map(|waiter| (waiter, login)))
    }

    /// When it owes the end of a cancelled check.
    pub fn due_at(&self) -> Option<Instant> {
        self.owed.due_at()
    }

    /// Checks that it has ended the checks that it owes.
    pub fn look_at_owed(&mut self, now: Instant) -> Result<(), Violation> {
        match self.owed.pop_due(now) {
            Some(_) => Err(Violation("a check is not ended when it has to be")),
            None => Ok(()),
        }
    }

    /// It is gone: returns the sessions that wait for its verdicts.
    pub fn fail_asked(&mut self) -> Vec<Waiter> {
        let keys = std::mem::take(&mut self.asked);
        keys.into_iter().filter_map(|key| self.end(key)?.waiter).collect()
    }

    fn end(&mut self, key: CheckKey) -> Option<Check> {
        self.owed.settle(key);
        self.checks.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SessionKey;
    use crate::waits::WaitKey;
    use sockd_common::secret::Secret;
    use std::time::Duration;

    const HOST: &str = "192.0.2.1";

    fn waiter(place: u32) -> Waiter {
        Waiter { session: SessionKey::new(place), key: WaitKey::LOGIN }
    }

    struct Room {
        checks: Checks,
        now: Instant,
        sessions: u32,
    }

    impl Room {
        fn new() -> Self {
            Self { checks: Checks::default(), now: Instant::now(), sessions: 0 }
        }

        fn begin(&mut self, host: &str, user: &str) -> (CheckKey, Waiter) {
            let secret = |text: &str| Secret::new(text.as_bytes()).unwrap();
            let credentials = Credentials { user: secret(user), password: secret("sesame") };
            self.sessions += 1;
            let waiter = waiter(self.sessions);
            (self.checks.begin(waiter, Host::of(host.parse().unwrap()), credentials), waiter)
        }

        /// Does everything that can be done: returns the checks that are asked and the results that are told.
        fn run(&mut self) -> (Vec<CheckKey>, Vec<Login>) {
            let (mut asked, mut told) = (Vec::new(), Vec::new());
            while let Some(turn) = self.checks.next(true, self.now) {
                match turn {
                    Turn::Ask(ToAuth::Check { id, .. }) => asked.push(id.into()),
                    Turn::Ask(_) => panic!("no check"),
                    Turn::Tell(_, login) => told.push(login),
                }
            }
            (asked, told)
        }

        fn answer(&mut self, key: CheckKey, verdict: Verdict) -> Option<Login> {
            self.checks.answered(key, verdict, self.now).unwrap().map(|(_, login)| login)
        }

        /// Sends wrong passwords one after the other; returns how many the auth worker was asked.
        fn guess(&mut self, host: &str, user: &str, times: usize) -> usize {
            (0..times)
                .filter(|_| {
                    self.begin(host, user);
                    let (asked, _) = self.run();
                    asked.iter().for_each(|key| drop(self.answer(*key, Verdict::Wrong)));
                    !asked.is_empty()
                })
                .count()
        }
    }

    const VERIFIED: fn() -> Verdict =
        || Verdict::Verified { groups: Groups::default(), is_remembered: false };

    #[test]
    fn a_verdict_is_told_once_to_who_waits_for_it() {
        let mut room = Room::new();
        let (key, _) = room.begin(HOST, "joe");
        assert!(room.checks.answered(key, VERIFIED(), room.now).is_err(), "before it is asked");
        let (key, waiter) = room.begin(HOST, "joe");
        assert!(room.run().0.contains(&key));
        let told = room.checks.answered(key, VERIFIED(), room.now).unwrap();
        assert_eq!(told, Some((waiter, Login::Verified(Groups::default()))));
        assert!(room.checks.answered(key, VERIFIED(), room.now).is_err(), "twice");
    }

    #[test]
    fn a_thousand_guesses_at_once_are_no_more_than_the_bucket_has() {
        let mut room = Room::new();
        let keys: Vec<_> = (0..1000).map(|number| room.begin(HOST, &format!("user{number}")).0).collect();
        let (asked, told) = room.run();
        assert_eq!((&asked[..], told.len()), (&keys[..8], 0), "the others wait");
        asked.into_iter().for_each(|key| drop(room.answer(key, Verdict::Wrong)));
        let (asked, told) = room.run();
        assert_eq!((asked.len(), told.len()), (0, 992));
        assert!(told.iter().all(|login| *login == Login::TooManyOfHost));
        assert!(!room.checks.admits(Host::of(HOST.parse().unwrap()), room.now));
        assert!(room.checks.checks.is_empty() && room.checks.waiting.is_empty());
    }

    #[test]
    fn a_crowd_of_right_passwords_waits_and_none_is_refused() {
        let mut room = Room::new();
        for _ in 0..100 {
            room.begin(HOST, "joe");
        }
        let mut verified = 0;
        loop {
            let (asked, told) = room.run();
            assert!(asked.len() <= 8 && told.is_empty());
            if asked.is_empty() {
                break;
            }
            verified += asked.into_iter().filter_map(|key| room.answer(key, VERIFIED())).count();
        }
        assert_eq!(verified, 100);
    }

    #[test]
    fn the_ninth_guess_of_a_host_is_not_asked_and_other_hosts_are() {
        let mut room = Room::new();
        assert_eq!(room.guess(HOST, "joe", 20), 8);
        assert_eq!(room.guess("192.0.2.2", "sam", 1), 1);
        room.now += Duration::from_secs(10);
        assert_eq!(room.guess(HOST, "joe", 20), 1);
    }

    #[test]
    fn guesses_from_everywhere_do_not_lock_a_user_out_where_it_has_logged_in() {
        let mut room = Room::new();
        let (key, _) = room.begin(HOST, "joe");
        room.run();
        room.answer(key, VERIFIED());
        let asked: usize = (1..=10).map(|last| room.guess(&format!("198.51.100.{last}"), "joe", 8)).sum();
        assert_eq!(asked, 20);
        room.begin("203.0.113.1", "joe");
        assert_eq!(room.run(), (vec![], vec![Login::TooManyOfUser]));
        let (key, _) = room.begin(HOST, "joe");
        assert_eq!(room.run(), (vec![key], vec![]));
    }

    #[test]
    fn networks_take_turns_and_all_together_have_a_limit() {
        let mut room = Room::new();
        for last in 1..=20 {
            for _ in 0..8 {
                room.begin(&format!("192.0.2.{last}"), &format!("user{last}"));
            }
        }
        let (asked, _) = room.run();
        assert_eq!(asked.len(), MAX_CHECKS);
        let of = |last: u8| {
            let host = Host::of([192, 0, 2, last].into());
            room.checks.under_way(|check| check.host == host)
        };
        assert!(
            (1..=20).all(|last| (3..=4).contains(&of(last))),
            "{:?}",
            (1..=20).map(of).collect::<Vec<_>>()
        );
    }

    #[test]
    fn where_nobody_can_be_asked_nobody_waits_and_nothing_is_counted() {
        let mut room = Room::new();
        room.begin(HOST, "joe");
        let turn = room.checks.next(false, room.now);
        assert!(matches!(turn, Some(Turn::Tell(_, Login::Unchecked))));
        let (key, waiting) = room.begin(HOST, "joe");
        room.run();
        assert_eq!((room.checks.fail_asked(), room.checks.checks.is_empty()), (vec![waiting], true));
        assert!(room.checks.answered(key, Verdict::Wrong, room.now).is_err());
        assert_eq!(room.guess(HOST, "joe", 20), 8);
    }

    #[test]
    fn a_client_that_has_gone_hears_nothing_and_has_guessed_all_the_same() {
        let mut room = Room::new();
        for _ in 0..8 {
            let (key, waiter) = room.begin(HOST, "joe");
            room.run();
            assert!(matches!(room.checks.cancel(key, waiter, room.now), Some(ToAuth::Cancel { .. })));
            assert!(room.checks.cancel(key, waiter, room.now).is_none(), "once");
            assert_eq!(room.answer(key, Verdict::Wrong), None);
        }
        assert_eq!(room.guess(HOST, "joe", 1), 0);
        let (key, waiting) = room.begin("192.0.2.2", "joe");
        assert!(room.checks.cancel(key, waiting, room.now).is_none() && room.run().0.is_empty());
    }

    #[test]
    fn an_auth_worker_that_does_not_end_a_cancelled_check_in_time_violates_the_protocol() {
        let mut room = Room::new();
        let (key, waiter) = room.begin(HOST, "joe");
        room.run();
        room.checks.cancel(key, waiter, room.now);
        let due = room.checks.due_at().unwrap();
        assert!(room.checks.look_at_owed(room.now).is_ok());
        assert!(room.checks.look_at_owed(due).is_err());
    }
}
