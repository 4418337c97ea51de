//! The readings that are taken, and the expectation for each.

use crate::acts;
use crate::daemon::Daemon;
use crate::layers::{self, Layer, Place};
use crate::options::{Options, ROLES};
use crate::outcome::Outcome;
use crate::private::{Canary, Folder, leave_the_host};
use crate::slot::CANARY_PORT;
use crate::sys;
use sockd_common::message::Role;
use sockd_lockdown::Row;
use sockd_worker::profile::{
    PROFILE_AUTH, PROFILE_DATAGRAM, PROFILE_IDENT, PROFILE_RESOLVER, PROFILE_SESSION, PROFILE_UPSTREAM,
};
use std::fs;

/// An expectation.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// None: the figures are good to know.
    Known,
    /// At least this many of the classic acts are stopped.
    AtLeast(usize),
    /// Every act ends the process, but for the exceptions of this role.
    Killed(&'static str),
}

/// All acts, tried in one way.
pub(crate) struct Reading {
    /// The locks between the acts and the system.
    pub(crate) name: String,
    /// One for each act, in their order.
    pub(crate) outcomes: Vec<Outcome>,
    /// The number of arrivals at the canaries meanwhile.
    pub(crate) hits: usize,
    /// The expectation.
    pub(crate) held: Held,
    /// How the worker itself ended, as the monitor has logged it.
    pub(crate) ended: Option<String>,
}

/// Acts that a filter lets through although an attacker could want them, and why.
const EXCEPTIONS: [(&str, &str, Outcome, &str); 2] = [
    (
        "session",
        "splice from a client into a pipe",
        Outcome::Done,
        "permitted: this is how a session worker relays",
    ),
    (
        "auth",
        "mmap of a descriptor",
        Outcome::Refused(libc::ENODEV),
        "permitted: this is how the table of users is read; a socket cannot be mapped",
    ),
];

/// These workers' filters answer fcntl(2) instead of killing; nothing is carried out.
const ANSWERED: ([&str; 4], &str, Outcome, &str) = (
    ["ident", "upstream", "datagram", "auth"],
    "F_",
    Outcome::Refused(libc::ENOSYS),
    "answered with an error, never carried out",
);

impl Reading {
    /// How many acts were stopped, and how many of the classic ones.
    pub(crate) fn sums(&self) -> (usize, usize) {
        let acts = acts::all();
        let stopped = || acts.iter().zip(&self.outcomes).filter(|(_, outcome)| outcome.is_stopped());
        (stopped().count(), stopped().filter(|(act, _)| act.classic).count())
    }

    /// Acts that were let through or answered on purpose, and why.
    pub(crate) fn exceptions(&self) -> Vec<(&'static str, &'static str)> {
        let Held::Killed(role) = self.held else { return Vec::new() };
        let acts = acts::all();
        let excepted = acts.iter().zip(&self.outcomes);
        excepted.filter_map(|(act, outcome)| Some((act.name, exception(role, act.name, *outcome)?))).collect()
    }

    /// The differences from the expectation, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let (_, classic) = self.sums();
        match self.held {
            Held::Known => Vec::new(),
            Held::AtLeast(floor) if classic >= floor => Vec::new(),
            Held::AtLeast(floor) => vec![format!("{classic} of the classic acts stopped, expected {floor}")],
            Held::Killed(role) => self.survivors(role),
        }
    }

    fn survivors(&self, role: &str) -> Vec<String> {
        let acts = acts::all();
        let killed = Outcome::Killed(libc::SIGSYS);
        let survived = acts
            .iter()
            .zip(&self.outcomes)
            .filter(|(act, outcome)| **outcome != killed && exception(role, act.name, **outcome).is_none());
        let mut lines: Vec<String> =
            survived.map(|(act, outcome)| format!("{}: {}: {outcome}", act.group, act.name)).collect();
        if self.hits > 0 {
            lines.push(format!("{} arrivals at the canaries", self.hits));
        }
        if self.ended.as_ref().is_some_and(|ended| ended != "SIGSYS") {
            lines.push(format!("the worker is reported as ended by {:?}, expected SIGSYS", self.ended));
        }
        lines
    }
}

fn exception(role: &str, act: &str, outcome: Outcome) -> Option<&'static str> {
    let (roles, prefix, answer, why) = ANSWERED;
    if roles.contains(&role) && act.starts_with(prefix) | act.starts_with("fcntl") && outcome == answer {
        return Some(why);
    }
    let found = EXCEPTIONS.iter().find(|entry| (entry.0, entry.1, entry.2) == (role, act, outcome));
    found.map(|(.., why)| *why)
}

/// Takes every reading that is asked for; with those that could not be taken, and why.
pub(crate) fn read_all(options: &Options) -> (Vec<Reading>, Vec<String>) {
    let (mut readings, mut unread) = (Vec::new(), Vec::new());
    let wants = |layer: &str| options.layer.is_empty() || options.layer.iter().any(|wanted| wanted == layer);
    let root = nix::unistd::geteuid().is_root();
    let (user, folder, canary) = match prepare(root) {
        Ok(prepared) => prepared,
        Err(why) => return (readings, vec![format!("anything: {why}")]),
    };
    let place = Place { folder: &folder, canary: &canary, user };
    for (layer, name, behind, held) in single_layers() {
        if !wants(layer) || !role_is_wanted(options, held) {
            continue;
        }
        match layers::read(behind, &place) {
            Ok(outcomes) => {
                readings.push(Reading { name, outcomes, hits: canary.hits(), held, ended: None });
            }
            Err(why) => unread.push(format!("{name}: {why}")),
        }
    }
    match (wants("full"), root) {
        (true, true) => read_full(options, &place, &mut readings, &mut unread),
        (true, false) => unread.push("the workers of the daemon itself: that takes root".into()),
        (false, _) => {}
    }
    (readings, unread)
}

/// The user that acts are tried as, where they are, and what they must not reach.
fn prepare(root: bool) -> Result<((u32, u32), Folder, Canary), String> {
    if root {
        leave_the_host()?;
    }
    let user = unprivileged();
    let folder = Folder::new(user.0)?;
    let canary = Canary::new(if root { CANARY_PORT } else { 0 }, &folder)?;
    Ok((user, folder, canary))
}

fn role_is_wanted(options: &Options, held: Held) -> bool {
    match held {
        Held::Killed(role) => options.role.is_empty() || options.role.iter().any(|wanted| wanted == role),
        _ => true,
    }
}

/// Word of `--layer`, name, layer, expectation. The floors are those of Landlock ABI 7: an older kernel has less.
fn single_layers() -> Vec<(&'static str, String, Layer, Held)> {
    let abi = sys::call(libc::SYS_landlock_create_ruleset, &[0, 0, 1]).max(0);
    let floor = |floor| if abi >= 7 { Held::AtLeast(floor) } else { Held::Known };
    let mut layers = vec![
        ("user", "an unprivileged user id alone".to_owned(), Layer::User, Held::Known),
        ("namespaces", "empty namespaces and root".into(), Layer::Namespaces, Held::AtLeast(75)),
        ("landlock", format!("Landlock alone (ABI {abi})"), Layer::Landlock, floor(67)),
        ("unfiltered", "everything but the filter".into(), Layer::Unfiltered, floor(93)),
        ("unfiltered", "the same, against another worker".into(), Layer::BesideAnother, Held::Known),
    ];
    let profiles: [&'static [Row]; 5] =
        [PROFILE_SESSION, PROFILE_IDENT, PROFILE_RESOLVER, PROFILE_UPSTREAM, PROFILE_DATAGRAM];
    // The auth worker has no socket by which its place could tell anything, so that it is tried by its filter alone.
    for (role, profile) in ROLES.into_iter().zip(profiles).chain([("auth", PROFILE_AUTH)]) {
        let name = format!("the {role} filter alone");
        layers.push(("filter", name, Layer::Filter(profile), Held::Killed(role)));
    }
    layers
}

fn read_full(options: &Options, place: &Place<'_>, readings: &mut Vec<Reading>, unread: &mut Vec<String>) {
    let mut daemon = match Daemon::start(&options.sockd, &options.worker, place.folder) {
        Ok(daemon) => daemon,
        Err(why) => return unread.push(format!("the workers of the daemon itself: {why}")),
    };
    let roles = [Role::Session, Role::Ident, Role::Resolver, Role::Upstream, Role::Datagram];
    for (word, role) in ROLES.into_iter().zip(roles) {
        if !role_is_wanted(options, Held::Killed(word)) {
            continue;
        }
        match daemon.read(role, acts::all().len()) {
            Ok(told) => {
                let hits = place.canary.hits();
                let reading = |name, outcomes, held, ended| Reading { name, outcomes, hits, held, ended };
                let before = format!("the {word} worker before its own locks");
                readings.push(reading(before, told.before, Held::Known, None));
                let full = format!("the {word} worker");
                readings.push(reading(full, told.confined, Held::Killed(word), Some(told.ended)));
            }
            Err(why) => unread.push(why),
        }
    }
}

/// The user that workers run as: this one, or for root the account of the package, else nobody's.
fn unprivileged() -> (u32, u32) {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    if !uid.is_root() {
        return (uid.as_raw(), gid.as_raw());
    }
    // Read here, as a statically linked program has no name service.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let fields: Vec<&str> = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    of("sockd").or_else(|| of("nobody")).unwrap_or((65534, 65534))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Outcome = Outcome::Killed(libc::SIGSYS);

    fn reading(held: Held, outcome: impl Fn(&str) -> Outcome) -> Reading {
        let outcomes = acts::all().iter().map(|act| outcome(act.name)).collect();
        Reading { name: "a reading".into(), outcomes, hits: 0, held, ended: None }
    }

    #[test]
    fn all_acts_of_the_first_measurement_are_tried() {
        if cfg!(target_arch = "x86_64") {
            assert_eq!(acts::all().iter().filter(|act| act.classic).count(), 139);
        }
        let mut names: Vec<&str> = acts::all().iter().map(|act| act.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "two acts of one name");
    }

    #[test]
    fn one_act_that_gets_through_is_a_fault() {
        assert!(reading(Held::Killed("ident"), |_| KILLED).faults().is_empty());
        for outcome in [Outcome::Done, Outcome::Refused(libc::EPERM), Outcome::Hung, Outcome::Untried] {
            let name = "execve /bin/true";
            let through = reading(Held::Killed("ident"), |act| if act == name { outcome } else { KILLED });
            assert_eq!(through.faults().len(), 1, "{outcome:?}");
        }
    }

    #[test]
    fn an_arrival_at_a_canary_is_a_fault_behind_a_filter() {
        let reading = Reading { hits: 1, ..reading(Held::Killed("session"), |_| KILLED) };
        assert_eq!(reading.faults(), ["1 arrivals at the canaries"]);
    }

    #[test]
    fn a_worker_that_does_not_end_by_its_filter_is_a_fault() {
        let ended = Some("exit status 0".to_owned());
        let reading = Reading { ended, ..reading(Held::Killed("session"), |_| KILLED) };
        assert_eq!(reading.faults().len(), 1);
    }

    #[test]
    fn only_the_exceptions_of_a_role_may_get_through() {
        let splice = "splice from a client into a pipe";
        let relay = |act: &str| if act == splice { Outcome::Done } else { KILLED };
        assert!(reading(Held::Killed("session"), relay).faults().is_empty());
        assert_eq!(reading(Held::Killed("resolver"), relay).faults().len(), 1);
    }

    #[test]
    fn a_layer_has_to_reach_its_floor() {
        let refused = |_: &str| Outcome::Refused(libc::EPERM);
        assert!(reading(Held::AtLeast(75), refused).faults().is_empty());
        assert_eq!(reading(Held::AtLeast(75), |_| Outcome::Done).faults().len(), 1);
    }

    #[test]
    fn an_outcome_survives_being_told() {
        for outcome in
            [Outcome::Done, Outcome::Refused(38), KILLED, Outcome::Killed(9), Outcome::Hung, Outcome::Untried]
        {
            assert_eq!(Outcome::from_word(&outcome.to_string()), outcome);
        }
    }
}
