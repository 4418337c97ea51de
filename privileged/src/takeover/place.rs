//! The place of the takeover socket: a folder that only root, or the user who has started the daemon, may enter.

use crate::config::options::Options;
use crate::config::trusted_file;
use crate::net::unix;
use rustix::fs::{FileType, Mode, chmod, lstat, mkdir, unlink};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketType, bind, listen};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The folder of root's daemon, if the service manager names none.
const RUNTIME: &str = "/run/sockd";

/// The most control processes that wait to be accepted.
const BACKLOG: i32 = 16;

/// The path of the socket; `None` if there is no folder for it.
pub fn path(options: &Options) -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    let folder = options.runtime_dir.clone();
    folder
        .or_else(|| folder_of(is_root, |name| std::env::var_os(name)))
        .map(|folder| folder.join("takeover/socket"))
}

/// The folder: RUNTIME_DIRECTORY is systemd's (systemd.exec(5)), XDG_RUNTIME_DIR that of a user who has logged in.
fn folder_of(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let of_service = variable("RUNTIME_DIRECTORY").and_then(|list| {
        let first = list.to_string_lossy().split(':').next().map(PathBuf::from);
        first.filter(|folder| folder.is_absolute())
    });
    let own = || match is_root {
        true => Some(PathBuf::from(RUNTIME)),
        false => variable("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("sockd")),
    };
    of_service.or_else(own)
}

/// Makes the socket. A socket that was left behind is replaced; one that is served is not.
pub fn open(path: &Path) -> Result<OwnedFd, String> {
    let at = |error: Errno| format!("{}: {}", path.display(), std::io::Error::from(error));
    make_folder(path.parent().unwrap_or(path))?;
    remove_left_over(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let socket = unix::socket(SocketType::SEQPACKET).map_err(at)?;
    bind(&socket, &SocketAddrUnix::new(path).map_err(at)?).map_err(at)?;
    listen(&socket, BACKLOG).map_err(at)?;
    Ok(socket)
}

/// Removes the socket of a daemon that has ended, as that may not remove files. Nobody listens there.
pub fn remove_left_over(path: &Path) -> Result<(), String> {
    match lstat(path) {
        Err(Errno::NOENT) => Ok(()),
        Ok(facts) if FileType::from_raw_mode(facts.st_mode) != FileType::Socket => {
            Err("expected a socket or nothing".into())
        }
        Ok(_) if reach(path).is_ok() => Err("another sockd listens there".into()),
        Ok(_) => unlink(path).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The line that says why there is no daemon to take over from.
pub fn nobody(path: &Path, error: Errno) -> String {
    format!("no running sockd takes part: {}: {}", path.display(), std::io::Error::from(error))
}

/// Connects to the monitor that serves.
pub fn reach(path: &Path) -> Result<OwnedFd, Errno> {
    unix::connect(SocketType::SEQPACKET, &SocketAddrUnix::new(path)?)
}

/// Makes the folder, and its parent if that is missing. Whoever can write to the parent could replace the folder.
fn make_folder(folder: &Path) -> Result<(), String> {
    let at = |error: Errno| format!("{}: {}", folder.display(), std::io::Error::from(error));
    let above = folder.parent().unwrap_or(folder);
    let made = |folder: &Path, mode| match mkdir(folder, Mode::from_raw_mode(mode)) {
        Ok(()) => chmod(folder, Mode::from_raw_mode(mode)),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    };
    made(above, 0o755).map_err(at)?;
    made(folder, 0o700).map_err(at)?;
    trusted_file::check_folder(above).map_err(|error| error.to_string())?;
    let facts = lstat(folder).map_err(at)?;
    let is_own = facts.st_uid == rustix::process::geteuid().as_raw();
    match FileType::from_raw_mode(facts.st_mode) == FileType::Directory
        && is_own
        && facts.st_mode & 0o077 == 0
    {
        true => Ok(()),
        false => Err(format!("{}: expected a folder that nobody else may enter", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let folder = PathBuf::from(format!("/run/sockd-place-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn the_service_manager_says_where_else_it_is_the_usual_place() {
        let of = |is_root, known: &[(&str, &str)]| {
            folder_of(is_root, |name| known.iter().find(|(known, _)| *known == name).map(|(_, v)| v.into()))
        };
        let systemd = ("RUNTIME_DIRECTORY", "/run/one:/run/two");
        assert_eq!(of(true, &[systemd]), Some("/run/one".into()));
        assert_eq!(of(false, &[systemd, ("XDG_RUNTIME_DIR", "/run/user/1")]), Some("/run/one".into()));
        assert_eq!(of(true, &[("RUNTIME_DIRECTORY", "here")]), Some("/run/sockd".into()));
        assert_eq!(of(false, &[("XDG_RUNTIME_DIR", "/run/user/1")]), Some("/run/user/1/sockd".into()));
        assert_eq!((of(true, &[]), of(false, &[])), (Some("/run/sockd".into()), None));
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_that_is_served_is_not() {
        if !is_root() {
            return;
        }
        let folder = folder("left");
        let path = folder.join("takeover/socket");
        let served = open(&path).unwrap();
        assert_eq!(std::fs::metadata(folder.join("takeover")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(open(&path).unwrap_err().ends_with("another sockd listens there"));
        drop(served);
        assert!(reach(&path).is_err());
        open(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        if !is_root() {
            return;
        }
        let folder = folder("others");
        std::fs::create_dir_all(folder.join("takeover")).unwrap();
        let path = folder.join("takeover/socket");
        std::fs::set_permissions(folder.join("takeover"), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(open(&path).unwrap_err().ends_with("expected a folder that nobody else may enter"));
        std::fs::set_permissions(folder.join("takeover"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert!(open(&path).unwrap_err().ends_with("expected a socket or nothing"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
