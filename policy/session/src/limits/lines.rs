//! Limits of lines of the rules: the connections of one user or host at once, and the rates that these share.
//!
//! A user named by a password is counted over all hosts. A user named by identd is a claim of the client's host, which
//! could claim any number of users, or use up the share of another host's user. So its users count as that host.

use crate::client_host::{Host, HostNetwork};
use crate::keys::SessionKey;
use sockd_policy::{Limits, UserId};
use std::collections::{BTreeSet, HashMap};

/// A line that permits a request, with its limits and the client that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of the line.
    pub rule: u32,
    /// The limits of the line.
    pub limits: Limits,
    /// The user, if a password has named one.
    pub user: Option<UserId>,
    /// The client host.
    pub host: Host,
}

/// The user or network that shares a limit of a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sharers {
    rule: u32,
    who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Network(HostNetwork),
}

/// The connections of sharers.
#[derive(Debug)]
struct Group {
    sessions: BTreeSet<SessionKey>,
    /// Each connection gets the rate divided by this number.
    divisor: u32,
}

/// The sessions whose lines limit anything.
#[derive(Debug, Default)]
pub struct Lines {
    groups: HashMap<Sharers, Group>,
    /// The lines by which a session may still be permitted; a relay has one.
    sessions: HashMap<SessionKey, Vec<Line>>,
    /// The sessions whose rates may have changed, and the groups that have grown or shrunk.
    set_anew: Vec<SessionKey>,
    touched: Vec<Sharers>,
}

impl Line {
    /// The sharers of its limits, and how many times the share of one host each may have.
    fn sharers(&self) -> Vec<(Sharers, u32)> {
        let of = |who| Sharers { rule: self.rule, who };
        match &self.user {
            Some(user) => vec![(of(Who::User(user.clone())), 1)],
            None => self.host.counted().map(|(network, times)| (of(Who::Network(network)), times)).collect(),
        }
    }
}

impl Lines {
    /// Counts a session that a line permits; false if the line has no room for one more.
    pub fn enter(&mut self, session: SessionKey, line: Line) -> bool {
        let known = self.sessions.get(&session);
        if known.is_some_and(|lines| lines.iter().any(|known| known.rule == line.rule)) {
            return true;
        }
        let is_full = |(sharers, times): &(Sharers, u32)| {
            let open = self.groups.get(sharers).map_or(0, |group| group.sessions.len());
            open as u64 >= u64::from(line.limits.connections).saturating_mul((*times).into())
        };
        if line.limits.connections != 0 && line.sharers().iter().any(is_full) {
            return false;
        }
        self.count(session, line);
        true
    }

    /// A session goes on by this line alone, even if the line is full. `None` stands for a line without limits, and for
    /// a session that is over.
    pub fn keep(&mut self, session: SessionKey, line: Option<Line>) {
        let before = self.sessions.remove(&session);
        if before.is_none() && line.is_none() {
            return;
        }
        for (sharers, _) in before.iter().flatten().flat_map(Line::sharers) {
            if let Some(group) = self.groups.get_mut(&sharers) {
                group.sessions.remove(&session);
            }
            self.touched.push(sharers);
        }
        line.into_iter().for_each(|line| self.count(session, line));
        self.set_anew.push(session);
    }

    fn count(&mut self, session: SessionKey, line: Line) {
        let is_counted = line.limits.connections != 0 || line.limits.shared;
        for (sharers, _) in line.sharers().into_iter().filter(|_| is_counted) {
            let empty = || Group { sessions: BTreeSet::new(), divisor: 1 };
            self.groups.entry(sharers.clone()).or_insert_with(empty).sessions.insert(session);
            self.touched.push(sharers);
        }
        self.sessions.entry(session).or_default().push(line);
    }

    /// The sessions whose rates have to be set anew, each with bytes a second down and up; 0 means no limit.
    pub fn set_anew(&mut self) -> Vec<(SessionKey, (u32, u32))> {
        for sharers in std::mem::take(&mut self.touched) {
            let Some(group) = self.groups.get_mut(&sharers) else { continue };
            if group.sessions.is_empty() {
                self.groups.remove(&sharers);
                continue;
            }
            let divisor = divisor(group.divisor, u32::try_from(group.sessions.len()).unwrap_or(u32::MAX));
            if std::mem::replace(&mut group.divisor, divisor) != divisor {
                let shares = |session: &&SessionKey| {
                    self.sessions
                        .get(session)
                        .is_some_and(|lines| lines.iter().any(|line| line.limits.shared))
                };
                self.set_anew.extend(group.sessions.iter().filter(shares));
            }
        }
        let mut anew = std::mem::take(&mut self.set_anew);
        anew.sort_unstable();
        anew.dedup();
        anew.into_iter().map(|session| (session, self.rates(session))).collect()
    }

    fn rates(&self, session: SessionKey) -> (u32, u32) {
        let line = self.sessions.get(&session).and_then(|lines| lines.last());
        let Some(Line { limits: Limits { down, up, shared, .. }, .. }) = line else { return (0, 0) };
        let sharers = line.filter(|_| *shared).map(Line::sharers).unwrap_or_default();
        let part = |rate: u32| {
            let part = |(sharers, times): &(Sharers, u32)| {
                let divisor = self.groups.get(sharers).map_or(1, |group| group.divisor);
                rate.saturating_mul(*times).checked_div(divisor).unwrap_or(rate)
            };
            // 0 would mean no limit.
            let least = if rate == 0 { 0 } else { 1 };
            sharers.iter().map(part).fold(rate, u32::min).max(least)
        };
        (part(*down), part(*up))
    }
}

/// The divisor of the rates of `live` connections, never less than their number. With many connections it leaves some
/// room, so that one more or less does not set all rates anew: a client could keep the monitor busy with nothing else.
fn divisor(now: u32, live: u32) -> u32 {
    let few = now.saturating_sub(now / 4);
    match live {
        0..=16 => live.max(1),
        _ if live > now || live < few => live.saturating_add(live / 8),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u32) -> SessionKey {
        SessionKey::new(place)
    }

    const TWO: Limits = Limits { connections: 2, ..Limits::NONE };
    const SHARED: Limits = Limits { down: 1_000_000, up: 90_000, shared: true, ..Limits::NONE };

    fn line(rule: u32, limits: Limits, host: &str) -> Line {
        Line { rule, limits, user: None, host: Host::of(host.parse().unwrap()) }
    }

    fn of_user(rule: u32, user: &str, host: &str) -> Line {
        Line { user: UserId::parse(user.as_bytes()).ok(), ..line(rule, TWO, host) }
    }

    fn is_empty(lines: &mut Lines) -> bool {
        lines.set_anew();
        lines.groups.is_empty() && lines.sessions.is_empty()
    }

    #[test]
    fn one_more_than_a_line_has_room_for_is_refused_until_one_has_gone() {
        for (all, other) in [
            // A host, a network of 64 bits, and a user on any host.
            (
                [line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1")],
                line(1, TWO, "192.0.2.2"),
            ),
            (
                [line(1, TWO, "2001:db8::1"), line(1, TWO, "2001:db8::2"), line(1, TWO, "2001:db8::3")],
                line(1, TWO, "2001:db8:0:1::1"),
            ),
            (
                [
                    of_user(1, "joe", "192.0.2.1"),
                    of_user(1, "joe", "192.0.2.2"),
                    of_user(1, "joe", "2001:db8::1"),
                ],
                of_user(1, "sam", "192.0.2.1"),
            ),
            // The same host has room by another line, and with a user.
            (
                [line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1")],
                line(2, TWO, "192.0.2.1"),
            ),
            (
                [line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1"), line(1, TWO, "192.0.2.1")],
                of_user(1, "joe", "192.0.2.1"),
            ),
        ] {
            let mut lines = Lines::default();
            let [first, second, third] = all;
            assert!(lines.enter(key(1), first.clone()) && lines.enter(key(2), second));
            assert!(lines.enter(key(1), first.clone()), "it is counted already");
            assert!(!lines.enter(key(3), third.clone()), "{third:?}");
            assert!(lines.enter(key(4), other));
            lines.keep(key(1), Some(first));
            assert!(!lines.enter(key(3), third.clone()));
            lines.keep(key(1), None);
            assert!(lines.enter(key(3), third));
            [2, 3, 4].iter().for_each(|place| lines.keep(key(*place), None));
            assert!(is_empty(&mut lines));
        }
    }

    #[test]
    fn a_site_has_room_for_four_hosts() {
        let mut lines = Lines::default();
        let of = |place: u32| line(1, TWO, &format!("2001:db8:1:{place}::1"));
        assert!((0..8).all(|place| lines.enter(key(place), of(place))));
        assert!(!lines.enter(key(8), of(8)) && lines.enter(key(9), line(1, TWO, "2001:db8:2::1")));
    }

    #[test]
    fn a_session_keeps_the_line_alone_that_it_goes_on_by() {
        let mut lines = Lines::default();
        let of = |rule| line(rule, TWO, "192.0.2.1");
        for place in [1, 2] {
            assert!(lines.enter(key(place), of(1)) && lines.enter(key(place), of(2)));
            lines.keep(key(place), Some(of(2)));
        }
        assert!(lines.enter(key(3), of(1)) && !lines.enter(key(3), of(2)));
        // New rules move them to a line that is full.
        lines.keep(key(3), Some(of(2)));
        assert!(!lines.enter(key(4), of(2)) && lines.enter(key(4), of(1)));
        [1, 2, 3, 4].iter().for_each(|place| lines.keep(key(*place), None));
        assert!(is_empty(&mut lines));
    }

    #[test]
    fn what_one_host_shares_is_divided_among_its_connections() {
        let mut lines = Lines::default();
        let of = |host| Some(line(1, SHARED, host));
        lines.keep(key(1), of("192.0.2.1"));
        assert_eq!(lines.set_anew(), [(key(1), (1_000_000, 90_000))]);
        lines.keep(key(2), of("192.0.2.1"));
        lines.keep(key(3), of("192.0.2.2"));
        assert_eq!(
            lines.set_anew(),
            [(key(1), (500_000, 45_000)), (key(2), (500_000, 45_000)), (key(3), (1_000_000, 90_000))]
        );
        assert_eq!(lines.set_anew(), []);
        lines.keep(key(1), None);
        assert_eq!(lines.set_anew(), [(key(1), (0, 0)), (key(2), (1_000_000, 90_000))]);
        // Without the word each has the rate for itself.
        let own = Limits { shared: false, connections: 9, ..SHARED };
        lines.keep(key(4), Some(line(2, own, "192.0.2.1")));
        lines.keep(key(5), Some(line(2, own, "192.0.2.1")));
        assert_eq!(lines.set_anew(), [(key(4), (1_000_000, 90_000)), (key(5), (1_000_000, 90_000))]);
    }

    #[test]
    fn the_hosts_of_a_site_share_what_four_have() {
        let mut lines = Lines::default();
        (0..8).for_each(|place| {
            lines.keep(key(place), Some(line(1, SHARED, &format!("2001:db8:1:{place}::1"))))
        });
        assert!(lines.set_anew().iter().all(|(_, rates)| *rates == (500_000, 45_000)));
    }

    #[test]
    fn the_shares_never_exceed_the_rate_and_few_are_set_anew() {
        let (mut lines, mut shares, mut calls) = (Lines::default(), HashMap::new(), 0);
        let (mut live, mut state) = (Vec::new(), 7_u64);
        let comes_and_goes = (0..20_000_u32).map(|turn| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Up to thousands, a while to and fro, and down again.
            turn < 3_000 || (turn < 15_000 && state >> 63 == 0)
        });
        for (place, comes) in (0..).zip(comes_and_goes) {
            match comes {
                true => {
                    live.push(key(place));
                    lines.keep(key(place), Some(line(1, SHARED, "192.0.2.1")));
                }
                false => live.pop().into_iter().for_each(|key| {
                    lines.keep(key, None);
                    shares.remove(&key);
                }),
            }
            for (session, rates) in lines.set_anew() {
                calls += 1;
                if live.contains(&session) {
                    shares.insert(session, rates);
                }
            }
            let sum =
                |of: fn(&(u32, u32)) -> u32| shares.values().map(|rates| u64::from(of(rates))).sum::<u64>();
            assert_eq!(shares.len(), live.len());
            if !live.is_empty() && place % 16 == 0 {
                assert!(sum(|rates| rates.0) <= 1_000_000 && sum(|rates| rates.1) <= 90_000);
                assert!(sum(|rates| rates.0) >= 700_000, "{} of {}", sum(|rates| rates.0), live.len());
            }
        }
        assert!(calls < 20_000 * 12, "{calls}");
    }
}
