//! The monitor gives up what it needed to start: no fork, no program, no file to write, nearly no capability.

use crate::config::options::Options;
use crate::monitor::profile::MONITOR;
use crate::monitor::system_files::{HOSTS, RESOLV_CONF};
use caps::Capability;
use sockd_lockdown::{self as lockdown, Grants, LandlockStatus, LockError};
use std::path::{Path, PathBuf};

/// Locks the monitor down for good.
pub fn confine(options: &Options) -> Result<LandlockStatus, LockError> {
    lockdown::keep_only(&[Capability::CAP_NET_BIND_SERVICE])?;
    lockdown::not_dumpable()?;
    lockdown::deny_write_execute();
    lockdown::no_new_privileges()?;
    let readable = readable();
    let removable: Vec<&Path> = options.pid_file.iter().filter_map(|file| file.parent()).collect();
    let readable: Vec<&Path> = readable.iter().map(PathBuf::as_path).collect();
    let status =
        lockdown::landlock_deny_all_but(&Grants { read: &readable, remove: &removable, network: true })?;
    lockdown::install_filter(MONITOR)?;
    Ok(status)
}

/// The folders of the two files that are read again when they change. Not the files themselves: a new one takes the
/// place of the old one, and Landlock knows files, not names.
fn readable() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for file in [Path::new(RESOLV_CONF), Path::new(HOSTS)] {
        folders.extend(std::path::absolute(file).ok().as_deref().and_then(Path::parent).map(Into::into));
        // resolv.conf is often a link into /run.
        folders.extend(file.canonicalize().ok().as_deref().and_then(Path::parent).map(Into::into));
    }
    folders.sort();
    folders.dedup();
    folders
}
