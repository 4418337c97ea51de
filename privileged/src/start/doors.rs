//! Binds the sockets for administrators before the lockdown, and makes the memory that they hand out.
//!
//! This comes after all forks, so that no other process of sockd has the memory mapped for writing.

use crate::monitor::serving::Serving;
use crate::monitor::status::Given;
use crate::net::unix;
use crate::process::error::StartError;
use crate::process::sys;
use crate::start::counters;
use crate::takeover::place;
use nix::unistd::{Gid, Group, getegid, setegid};
use rustix::fs::{Mode, rename, stat};
use rustix::net::{SocketAddrUnix, SocketType, bind, getsockname, listen};
use rustix::process::{geteuid, umask};
use sockd_common::status::Gift;
use sockd_policy::IdentMode;
use sockd_session::settings::Socket;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The group whose members may look, and give orders.
const ADMINISTRATORS: &str = "sockd-adm";

/// The group whose members may see numbers, which identify nobody.
const EXPORTERS: &str = "sockd-exporter";

/// The most connections that wait while others are accepted.
const BACKLOG: i32 = 128;

/// Opens the sockets that the settings ask for, except for those that an earlier daemon has. `runtime` is the folder of
/// the service manager, if any.
pub fn open(
    serving: &mut Serving,
    counters: Option<OwnedFd>,
    runtime: Option<OsString>,
    mut taken: Vec<OwnedFd>,
) -> Result<(), StartError> {
    let settings = &serving.base.config.settings;
    let sockets = [&settings.status_socket, &settings.control_socket, &settings.counters_socket];
    let [status, control, numbers] = sockets.map(Socket::clone);
    let runtime = runtime.as_ref().map(Path::new);
    let paths =
        [("counters", &numbers), ("status", &status)].map(|(name, socket)| path_of(name, socket, runtime));
    let counters = all_counters(counters, paths.into_iter().flatten(), &taken, serving);
    let mut open =
        |name, socket: &Socket, group| listener((name, group), socket, runtime, &mut taken, serving);
    let (status, control) =
        (open("status", &status, ADMINISTRATORS)?, open("control", &control, ADMINISTRATORS)?);
    let numbers = open("counters", &numbers, EXPORTERS)?;
    let at = StartError::at("epoll");
    if let Some(listener) = numbers.filter(|_| !counters.is_empty()) {
        serving.status.add(listener, counters.clone(), &serving.base.reactor).map_err(&at)?;
    }
    if let Some(listener) = control {
        serving.control.open(listener, &serving.base.reactor).map_err(&at)?;
    }
    if let Some(listener) = status {
        let ledger = ledger(serving).map_err(|error| StartError::system(format!("the ledger: {error}")))?;
        let gifts = counters.into_iter().chain([given(Gift::Ledger, ledger)]).collect();
        serving.status.add(listener, gifts, &serving.base.reactor).map_err(&at)?;
    }
    Ok(())
}

/// This tree's counters, and those of the trees before it, which one of the sockets that are taken over hands out.
fn all_counters(
    own: Option<OwnedFd>,
    mut paths: impl Iterator<Item = PathBuf>,
    taken: &[OwnedFd],
    serving: &mut Serving,
) -> Vec<Given> {
    let Some(own) = own else { return Vec::new() };
    let mut all = vec![given(Gift::Counters, own)];
    let served = paths.find(|path| taken.iter().any(|socket| is_at(socket, path)));
    match served.map(|path| counters::of_older(&path, serving.base.counting)) {
        Some(Err(why)) => serving.base.log.err(&format!("the counters begin anew: {why}")),
        older => all.extend(older.into_iter().flatten().flatten()),
    }
    all
}

fn given(kind: Gift, memory: OwnedFd) -> Given {
    Given { kind, memory: Rc::new(memory), process: std::process::id() }
}

/// The path of the socket of this name, if it is wanted.
fn path_of(name: &str, socket: &Socket, runtime: Option<&Path>) -> Option<PathBuf> {
    match socket {
        Socket::Off => None,
        Socket::Auto => Some(runtime?.join(name)),
        Socket::At(path) => Some(path.into()),
    }
}

/// Makes the ledger. Returns the descriptor for its readers.
fn ledger(serving: &mut Serving) -> std::io::Result<OwnedFd> {
    let base = &mut serving.base;
    let ident = match base.config.ident_default {
        IdentMode::Off => 0,
        IdentMode::Lenient => 1,
        IdentMode::Strict => 2,
    };
    base.ledger.begin(base.config.settings.max_sessions, ident)
}

/// Makes the socket of this name, if it is wanted. A socket whose path the settings do not name is left out if it
/// cannot be made.
fn listener(
    (name, group): (&str, &str),
    socket: &Socket,
    runtime: Option<&Path>,
    taken: &mut Vec<OwnedFd>,
    serving: &mut Serving,
) -> Result<Option<OwnedFd>, StartError> {
    let Some(path) = path_of(name, socket, runtime) else { return Ok(None) };
    let is_wanted = *socket != Socket::Auto;
    let of_older = taken.iter().position(|socket| is_at(socket, &path)).map(|place| taken.swap_remove(place));
    match of_older {
        // Readers of numbers know a single path.
        Some(older) if group == EXPORTERS => return Ok(Some(older)),
        older => older.into_iter().for_each(|older| leave_to(&older, &path)),
    }
    match bound(&path, group) {
        Ok((listener, remark)) => {
            if let Some(remark) = remark {
                serving.base.log.err(&format!("{}: {remark}", path.display()));
            }
            Ok(Some(listener))
        }
        Err(why) => {
            let line = format!("no {name} socket at {}: {why}", path.display());
            if is_wanted {
                return Err(StartError::system(line));
            }
            serving.base.log.err(&line);
            Ok(None)
        }
    }
}

fn is_at(socket: &OwnedFd, path: &Path) -> bool {
    let address = getsockname(socket).ok().and_then(|address| SocketAddrUnix::try_from(address).ok());
    address.is_some_and(|address| address.path_bytes() == Some(path.as_os_str().as_bytes()))
}

/// Leaves a socket to the tree that is taken over, as its ledger and its sessions stay its own. The socket's name gets
/// the process id appended, where sockdctl(8) finds it, whether the takeover succeeds or not.
fn leave_to(older: &OwnedFd, path: &Path) {
    let pid = |socket: &OwnedFd| sys::peer_credentials(socket).ok().map(|(_, pid)| pid);
    let found = place::reach(path).ok();
    // Another socket may have taken that path since.
    if let Some(number) = pid(older).filter(|number| found.as_ref().and_then(pid) == Some(*number)) {
        let _ = rename(path, with_number(path, &number.to_string()));
    }
}

fn with_number(path: &Path, number: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(number);
    name.into()
}

/// Binds a socket that only root and the group may connect to, from its first moment on. If there is no such group, or
/// this process cannot have it, only the user may connect.
fn bound(path: &Path, name: &str) -> Result<(OwnedFd, Option<String>), String> {
    check_folder(path)?;
    let address = SocketAddrUnix::new(path).map_err(|error| error.to_string())?;
    place::remove_left_over(path)?;
    remove_numbered(path);
    let socket = unix::socket(SocketType::SEQPACKET).map_err(|error| error.to_string())?;
    let own = getegid();
    let has_group = group(name).map(|group| setegid(group).is_ok());
    let mask = if has_group == Some(true) { 0o117 } else { 0o177 };
    let before = umask(Mode::from_raw_mode(mask));
    let done = bind(&socket, &address).and_then(|()| listen(&socket, BACKLOG));
    umask(before);
    setegid(own).map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())?;
    let remark = match has_group {
        _ if !geteuid().is_root() => None,
        Some(true) => None,
        Some(false) => Some(format!("only root may connect: the group {name} cannot be had here")),
        None => Some(format!("only root may connect: there is no group {name}")),
    };
    Ok((socket, remark))
}

/// The group with this name, if this is root's daemon: the socket of an ordinary user's daemon is that user's alone.
fn group(name: &str) -> Option<Gid> {
    let group = Group::from_name(name).ok().flatten().filter(|_| geteuid().is_root());
    group.map(|group| group.gid)
}

/// Checks the folder: if others may write to it, somebody else could put a socket of this name there.
fn check_folder(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let found = stat(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (owner, own) = (found.st_uid, geteuid().as_raw());
    match (owner == 0 || owner == own) && found.st_mode & 0o022 == 0 {
        true => Ok(()),
        false => Err(format!("others than the owner may write {}", folder.display())),
    }
}

/// Removes the sockets of trees that have drained. A tree that still drains listens at its own.
fn remove_numbered(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for other in entries.map(|entry| entry.file_name()) {
        let number = other.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        if number.is_some_and(|number| number.iter().all(u8::is_ascii_digit)) {
            let _ = place::remove_left_over(&folder.join(&other));
        }
    }
}
