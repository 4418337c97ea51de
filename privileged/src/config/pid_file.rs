//! The process id file.
//!
//! The daemon holds a lock on it while it runs (fcntl(2)), and only a process that may write the file can lock it. So a
//! second daemon does not take the file of the first, a file left behind by a crash is taken over, and no daemon
//! removes the file of another. The loader removes it, as the daemon that serves can change no file.

use crate::config::trusted_file;
use crate::process::error::StartError;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, fcntl_lock, fstat, ftruncate, linkat,
    open, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that has been written, and is locked as long as this lives.
#[derive(Debug)]
pub struct PidFile {
    _locked: File,
}

/// How long each step of the wait for the loader of an ended tree takes.
const STEP: Duration = Duration::from_millis(10);

/// The most steps of that wait.
const STEPS: usize = 100;

/// The most attempts to take the file: another daemon may be ending, or making a new file, at the same moment.
const ATTEMPTS: usize = 8;

impl PidFile {
    /// Writes the process id beside the file of the daemon that is taken over; [`put`] moves it into place.
    pub fn write_aside(path: &Path) -> Result<Self, StartError> {
        Self::write(&aside(path, std::process::id()))
    }

    /// Writes the process id. A link, a FIFO or anything else that an earlier daemon cannot have made is replaced and
    /// not followed.
    pub fn write(path: &Path) -> Result<Self, StartError> {
        let at =
            |error: &dyn Display| StartError::system(format_args!("--pid-file: {}: {error}", path.display()));
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(at(&"expected the name of a file"));
        };
        trusted_file::check_folder(folder).map_err(StartError::at("--pid-file"))?;
        let folder = open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| at(&e))?;
        for _ in 0..ATTEMPTS {
            let Some(mut file) = take(&folder, Path::new(name)).map_err(|error| at(&error))? else {
                continue;
            };
            return match writeln!(file, "{}", std::process::id()) {
                Ok(()) => Ok(Self { _locked: file }),
                Err(error) => {
                    let _ = unlinkat(&folder, name, AtFlags::empty());
                    Err(at(&error))
                }
            };
        }
        Err(at(&"expected a place for a file, found one where others make files"))
    }
}

/// The path of the file that a process has written aside.
fn aside(path: &Path, pid: u32) -> PathBuf {
    let mut name = OsString::from(".");
    name.extend(path.file_name());
    name.push(format!(".{pid}"));
    path.with_file_name(name)
}

/// Makes the file that a process has written aside the process id file, in one step. The one before it is kept under
/// the caller's process id until [`put_back`] or [`give_up`].
pub fn put(path: &Path, pid: u32) -> Result<(), StartError> {
    let kept = aside(path, std::process::id());
    // If there is no file, or it cannot be kept, none is put back.
    let _ = linkat(CWD, path, CWD, &kept, AtFlags::empty());
    let done = renameat(CWD, aside(path, pid), CWD, path).map_err(StartError::at("--pid-file"));
    done.inspect_err(|_| give_up(path, std::process::id()))
}

/// Puts the earlier daemon's file back, if that daemon still runs, after the process whose file was put has ended.
pub fn put_back(path: &Path, pid: u32) {
    let kept = aside(path, std::process::id());
    let is_locked = |file| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
    if !open(&kept, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).is_ok_and(is_locked) {
        return;
    }
    // The loader of the new tree removes its file, and must not remove the one that goes back.
    for _ in 0..STEPS {
        if statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            break;
        }
        std::thread::sleep(STEP);
    }
    remove(path, pid);
    // linkat(2) does not replace the file of a third daemon.
    let _ = linkat(CWD, &kept, CWD, path, AtFlags::empty());
}

/// Removes the file that a process has written aside: the process has failed.
pub fn give_up(path: &Path, pid: u32) {
    let _ = unlinkat(CWD, aside(path, pid), AtFlags::empty());
}

/// Removes the file of the daemon with this process id, and no other's, as far as that is possible.
pub fn remove(path: &Path, pid: u32) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, path, flags, Mode::empty()) else { return };
    let mut text = [0; 32];
    let length = rustix::io::read(&file, &mut text).unwrap_or(0);
    if is_there(CWD, path, &file) && text.get(..length) == Some(format!("{pid}\n").as_bytes()) {
        let _ = unlinkat(CWD, path, AtFlags::empty());
    }
}

/// Opens or creates the file, locks it and empties it; `None` if the caller has to try again.
fn take(folder: &OwnedFd, name: &Path) -> Result<Option<File>, String> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let failed = |error: Errno| error.to_string();
    let file = match openat(folder, name, flags, mode) {
        Ok(file) if fstat(&file).is_ok_and(|facts| is_own(&facts)) => file,
        Ok(_) | Err(Errno::LOOP | Errno::NXIO) => {
            return unlinkat(folder, name, AtFlags::empty()).map(|()| None).map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| "expected a file of its own, found that of a running sockd")?;
    if !is_there(folder, name, &file) {
        return Ok(None);
    }
    fchmod(&file, mode).and_then(|()| ftruncate(&file, 0)).map_err(failed)?;
    Ok(Some(file.into()))
}

/// Whether an earlier daemon can have made the file.
fn is_own(facts: &Stat) -> bool {
    FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile
        && facts.st_uid == rustix::process::geteuid().as_raw()
        && facts.st_nlink == 1
        && facts.st_mode & 0o022 == 0
}

/// Whether the name still leads to this file.
fn is_there(folder: impl AsFd, name: &Path, file: impl AsFd) -> bool {
    match (statat(folder, name, AtFlags::SYMLINK_NOFOLLOW), fstat(file)) {
        (Ok(there), Ok(here)) => (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino),
        _ => false,
    }
}
