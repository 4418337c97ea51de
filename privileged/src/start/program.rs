//! The programs that sockd starts: their paths, and who may have written them.

use crate::config::trusted_file::{open_plain, open_trusted};
use crate::process::error::StartError;
use rustix::fs::{MemfdFlags, fstat, memfd_create};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of the workers' program, fixed when sockd is built for a package. A build tree has no such path.
const INSTALLED: Option<&str> = option_env!("SOCKD_WORKER");

/// The permission of everybody to run a file.
const FOR_ALL: u32 = 0o001;

/// Opens the workers' program. Only root, or the user who starts sockd, may have been able to write it.
pub fn open() -> Result<OwnedFd, StartError> {
    open_trusted(&worker())
        .map_err(|error| StartError::system(format_args!("{error}; sockd starts its workers from there")))
}

/// Opens the program for a trial of a build tree. The worker lies beside sockd and has the same author, so it is
/// accepted as it is; `warn` gets the fault for which [`open`] refuses root. An installed program is opened as always.
pub fn open_to_try(warn: impl FnOnce(&str)) -> Result<OwnedFd, StartError> {
    if INSTALLED.is_some() {
        return open();
    }
    let is_root = rustix::process::getuid().is_root();
    if let Err(error) = open_trusted(&worker())
        && error.is_unfit()
        && is_root
    {
        warn(&format!("{error}; a trial of a build tree accepts that"));
    }
    let program = open_plain(&worker());
    let program =
        program.map_err(|error| StartError::system(format_args!("{error}; `cargo build` makes it")))?;
    if is_root { for_all(program).map_err(StartError::at("sockd-worker")) } else { Ok(program) }
}

/// Copies a program that others may not run: root's workers run as another user, and umask 077 at the build forbids it.
fn for_all(program: OwnedFd) -> std::io::Result<OwnedFd> {
    if fstat(&program)?.st_mode & FOR_ALL != 0 {
        return Ok(program);
    }
    let mut copy = File::from(memfd_create("sockd-worker", MemfdFlags::CLOEXEC)?);
    std::io::copy(&mut File::from(program), &mut copy)?;
    // execve(2) refuses a file that somebody has open for writing.
    File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).map(Into::into)
}

/// A number that differs between builds: a hash of the programs of this daemon, which are installed together.
pub fn build() -> Result<u64, StartError> {
    let mut hasher = DefaultHasher::new();
    for program in [PathBuf::from("/proc/self/exe"), worker()] {
        let read = hash(&program, &mut hasher);
        read.map_err(|error| StartError::system(format_args!("{}: {error}", program.display())))?;
    }
    Ok(hasher.finish())
}

fn hash(program: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    let (mut file, mut bytes) = (File::open(program)?, vec![0; 1 << 16]);
    while let length @ 1.. = file.read(&mut bytes)? {
        hasher.write(bytes.get(..length).unwrap_or_default());
    }
    Ok(())
}

/// Becomes the program of `sockd -ver`, with this command line's arguments. It lies beside the worker and has the same
/// author as sockd itself.
pub fn become_ver() -> StartError {
    let path = worker().with_file_name("sockd-ver");
    let mut words = std::env::args_os();
    let mut program = Command::new(&path);
    program.arg0(words.next().unwrap_or_default()).args(words);
    let why = nix::Error::from_raw(program.exec().raw_os_error().unwrap_or(libc::EINVAL));
    StartError::system(format_args!("{}: expected the program of -ver there: {why}", path.display()))
}

/// The path of the worker; in a build tree it lies beside the daemon.
fn worker() -> PathBuf {
    let beside = || std::env::current_exe().ok().map(|program| program.with_file_name("sockd-worker"));
    let place = INSTALLED.map(PathBuf::from).or_else(beside);
    place.unwrap_or_else(|| "/usr/libexec/sockd/sockd-worker".into())
}
