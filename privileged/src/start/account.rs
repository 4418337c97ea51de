//! The accounts that processes run as: unprivileged, and for each purpose one of its own.

use crate::process::error::StartError;
use crate::process::namespaces::Ids;
use nix::unistd::User;
use sockd_session::settings::Settings;

/// What an account is for.
struct Purpose {
    /// The setting that names it.
    setting: &'static str,
    /// The account that the package makes.
    default: &'static str,
    /// Who runs as it.
    whose: &'static str,
}

const WORKERS: Purpose = Purpose { setting: "user", default: "sockd", whose: "workers" };
const COMMANDS: Purpose = Purpose { setting: "commands_user", default: "sockd-hook", whose: "rule commands" };

/// The ids of spawner and workers. `warn` is told what the administrator should know.
pub fn of_workers(settings: &Settings, warn: impl FnMut(&str)) -> Result<Ids, StartError> {
    let (uid, gid) = account(settings.user.as_deref(), &WORKERS, warn)?;
    let range = settings.worker_ids.filter(|_| rustix::process::getuid().is_root());
    Ok(Ids { uid, gid, range })
}

/// User and group of rule commands, which is nobody else's: a command is not to reach other processes of sockd. None
/// where there is no such user, and then commands are not run.
pub fn of_commands(
    settings: &Settings,
    workers: Ids,
    mut warn: impl FnMut(&str),
) -> Result<Option<(u32, u32)>, StartError> {
    if !rustix::process::getuid().is_root() {
        warn("rule commands are not run: only a sockd that root starts can give them a user of their own");
        return Ok(None);
    }
    let (uid, gid) = account(settings.commands_user.as_deref(), &COMMANDS, &mut warn)?;
    if !workers.has(uid) {
        return Ok(Some((uid, gid)));
    }
    if settings.commands_user.is_none() && settings.user.is_none() {
        warn("rule commands are not run: workers run as nobody too, as there is no user sockd");
        return Ok(None);
    }
    let line =
        "commands_user: expected an account that rule commands share with nobody, found that of workers";
    Err(StartError::configuration(vec![line.into()]))
}

/// The accounts that the settings name must be there, unprivileged, and each for one purpose.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    let workers = of_workers(settings, |_| ())?;
    let wanted = settings.commands_user.is_some();
    if wanted { of_commands(settings, workers, |_| ()).map(drop) } else { Ok(()) }
}

/// User and group of an account: for an ordinary user that user; for root the account of the settings, else the one of
/// the package, else nobody.
fn account(
    wanted: Option<&str>,
    Purpose { setting, default, whose }: &Purpose,
    mut warn: impl FnMut(&str),
) -> Result<(u32, u32), StartError> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if !uid.is_root() {
        return Ok((uid.as_raw(), gid.as_raw()));
    }
    let user = |name: &str| User::from_name(name).ok().flatten();
    let name = wanted.unwrap_or(default);
    let found = match (user(name), wanted) {
        (Some(found), _) => found,
        (None, None) => {
            warn(&format!(
                "there is no user {default}; {whose} run as nobody, whom other programs may share"
            ));
            user("nobody")
                .ok_or_else(|| StartError::system(format!("neither the user {default} nor nobody exists")))?
        }
        (None, Some(name)) => {
            let line = format!("{setting}: expected an account for {whose}, found no {name:?} in passwd(5)");
            return Err(StartError::configuration(vec![line]));
        }
    };
    if found.uid.is_root() || found.gid.as_raw() == 0 {
        let line = format!("{setting}: expected an unprivileged account for {whose}, found {name:?}");
        return Err(StartError::configuration(vec![line]));
    }
    Ok((found.uid.as_raw(), found.gid.as_raw()))
}
