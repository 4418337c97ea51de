//! The accounts that processes run as: unprivileged, and each for a single purpose.

use crate::process::error::StartError;
use crate::process::namespaces::Ids;
use caps::{CapSet, Capability};
use nix::unistd::User;
use sockd_session::settings::Settings;

/// The purpose of an account.
struct Purpose {
    /// The setting that names it.
    setting: &'static str,
    /// The account that the package makes.
    default: &'static str,
    /// The processes that run as it.
    whose: &'static str,
}

const MONITOR: Purpose = Purpose { setting: "monitor_user", default: "sockd-monitor", whose: "the monitor" };
const WORKERS: Purpose = Purpose { setting: "user", default: "sockd", whose: "workers" };
const COMMANDS: Purpose = Purpose { setting: "commands_user", default: "sockd-hook", whose: "rule commands" };

/// The group id that stands for no group (user_namespaces(7), overflowgid).
const NO_GROUP: u32 = 65_534;

/// The group for workers of an ordinary user's daemon. Root's group would leave workers its files. In a user namespace
/// they can have another one; elsewhere the spawner reports that they have not.
fn own_group() -> u32 {
    let own = rustix::process::getgid();
    if own.is_root() { NO_GROUP } else { own.as_raw() }
}

/// User and group of a process.
pub type UserGroup = (u32, u32);

/// The ids of spawner and workers: an ordinary user's daemon uses that user's, another those of the settings, of the
/// package, or of nobody. `warn` gets remarks for the administrator.
pub fn of_workers(settings: &Settings, warn: impl FnMut(&str)) -> Result<Ids, StartError> {
    let wanted = settings.user.as_deref();
    let (user, range) = match is_root() {
        true => (named(wanted, &WORKERS)?.map_or_else(|| nobody(&WORKERS, warn), Ok)?, settings.worker_ids),
        false => ((rustix::process::getuid().as_raw(), own_group()), None),
    };
    Ok(Ids { uid: user.0, gid: user.1, range })
}

/// Whether this process may become this user: it has the right, and its user namespace maps the id.
fn can_become((uid, gid): UserGroup) -> bool {
    let has = |right| caps::has_cap(None, CapSet::Effective, right).unwrap_or(false);
    let knows = |map: &str, id: u32| {
        let text = std::fs::read_to_string(map).unwrap_or_default();
        text.lines().any(|line| {
            let mut words = line.split_whitespace().map(|word| word.parse::<u32>().ok());
            let (first, count) = (words.next().flatten(), words.nth(1).flatten());
            first.zip(count).is_some_and(|(first, count)| id >= first && id.wrapping_sub(first) < count)
        })
    };
    has(Capability::CAP_SETUID)
        && has(Capability::CAP_SETGID)
        && knows("/proc/self/uid_map", uid)
        && knows("/proc/self/gid_map", gid)
}

/// User and group that the monitor serves as; `None` if it serves as the user who has started it.
pub fn of_monitor(
    settings: &Settings,
    workers: Ids,
    mut warn: impl FnMut(&str),
) -> Result<Option<UserGroup>, StartError> {
    if !is_root() {
        return Ok(None);
    }
    let mut found = named(settings.monitor_user.as_deref(), &MONITOR)?;
    if found.take_if(|user| !can_become(*user)).is_some() {
        warn(
            "the monitor serves as the user who has started it: CAP_SETUID, CAP_SETGID or the id is missing here",
        );
        return Ok(None);
    }
    if found.is_none() {
        warn("there is no user sockd-monitor; the monitor serves as root");
    }
    found.map(|user| unshared(user, &MONITOR, |uid| workers.has(uid), "workers")).transpose()
}

/// User and group of rule commands, which must not reach other processes of sockd. `None` if they cannot have one of
/// their own; they are not run then.
pub fn of_commands(
    settings: &Settings,
    workers: Ids,
    monitor: Option<UserGroup>,
    mut warn: impl FnMut(&str),
) -> Result<Option<UserGroup>, StartError> {
    if !is_root() {
        warn("rule commands are not run: only a sockd that root starts can give them a user of their own");
        return Ok(None);
    }
    let Some(user) = named(settings.commands_user.as_deref(), &COMMANDS)? else {
        if workers.has(nobody(&COMMANDS, |_| ())?.0) {
            warn("rule commands are not run: workers run as nobody too, as there is no user sockd");
            return Ok(None);
        }
        return nobody(&COMMANDS, warn).map(Some);
    };
    let user = unshared(user, &COMMANDS, |uid| workers.has(uid), "workers")?;
    let is_monitor = |uid| monitor.is_some_and(|(monitor, _)| monitor == uid);
    unshared(user, &COMMANDS, is_monitor, "the monitor").map(Some)
}

/// Checks that the accounts that the settings name exist, are unprivileged, and serve one purpose each.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    let workers = of_workers(settings, |_| ())?;
    let monitor = of_monitor(settings, workers, |_| ())?;
    let wanted = settings.commands_user.is_some();
    if wanted { of_commands(settings, workers, monitor, |_| ()).map(drop) } else { Ok(()) }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The account of the settings, which has to exist, else that of the package, if it exists.
fn named(wanted: Option<&str>, purpose: &Purpose) -> Result<Option<UserGroup>, StartError> {
    let Purpose { setting, default, whose } = purpose;
    let name = wanted.unwrap_or(default);
    match User::from_name(name).ok().flatten() {
        Some(found) if found.uid.is_root() || found.gid.as_raw() == 0 => {
            let line = format!("{setting}: expected an unprivileged account for {whose}, found {name:?}");
            Err(StartError::configuration(vec![line]))
        }
        Some(found) => Ok(Some((found.uid.as_raw(), found.gid.as_raw()))),
        None if wanted.is_none() => Ok(None),
        None => {
            let line = format!("{setting}: expected an account for {whose}, found no {name:?} in passwd(5)");
            Err(StartError::configuration(vec![line]))
        }
    }
}

fn nobody(purpose: &Purpose, mut warn: impl FnMut(&str)) -> Result<UserGroup, StartError> {
    let Purpose { default, whose, .. } = purpose;
    warn(&format!("there is no user {default}; {whose} run as nobody, whom other programs may share"));
    let nobody = User::from_name("nobody").ok().flatten();
    let nobody = nobody.map(|nobody| (nobody.uid.as_raw(), nobody.gid.as_raw()));
    nobody.ok_or_else(|| StartError::system(format!("neither the user {default} nor nobody exists")))
}

/// Checks that no other process has this account.
fn unshared(
    user: UserGroup,
    purpose: &Purpose,
    is_taken: impl Fn(u32) -> bool,
    by: &str,
) -> Result<UserGroup, StartError> {
    let Purpose { setting, whose, .. } = purpose;
    match is_taken(user.0) {
        true => Err(StartError::configuration(vec![format!(
            "{setting}: expected an account for {whose} alone, found that of {by}"
        )])),
        false => Ok(user),
    }
}
