//! resolv.conf(5) and hosts(5): the loader looks whether they have changed, and the monitor gets copies.

use crate::config::trusted_file::read_plain;
use crate::process::descriptors;
use crate::process::error::StartError;
use rustix::fs::{AtFlags, CWD, Stat, ftruncate, statat};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Their paths.
const PATHS: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The monitor reads no more of resolv.conf.
const LONGEST_CONF: usize = 1 << 20;

/// What tells one version of a file from the next.
type Version = (u64, u64, i64, u64, i64);

/// The loader's side.
#[derive(Debug)]
pub struct Originals {
    memory: [File; 2],
    /// As they were last copied; nothing where a file is not there.
    seen: [Option<Option<Version>>; 2],
}

/// The monitor's side: resolv.conf and hosts, to be read from their beginnings.
#[derive(Debug)]
pub struct Copies {
    conf: File,
    hosts: File,
}

/// Memory for both, empty yet.
pub fn shared() -> Result<(Originals, Copies), StartError> {
    let memory = || descriptors::memory("sockd-files").map(File::from);
    let memory = [memory()?, memory()?];
    // Opened anew for reading alone: whoever gets this descriptor cannot change what the next one reads.
    let copy = |file: &File| {
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(StartError::at("/proc/self/fd"))
    };
    let [conf, hosts] = &memory;
    let copies = Copies { conf: copy(conf)?, hosts: copy(hosts)? };
    Ok((Originals { memory, seen: [None, None] }, copies))
}

impl Originals {
    /// Copies what has changed, and tells what that is. A file that is there and cannot be read, for want of a
    /// descriptor perhaps, stays as it was and is looked at again; one that is not there is empty.
    pub fn look(&mut self) -> [bool; 2] {
        let mut changed = [false; 2];
        let files = PATHS.iter().zip(&self.memory).zip(&mut self.seen).zip(&mut changed);
        for (((path, memory), seen), changed) in files {
            let now = version(path);
            if *seen != Some(now) && copy(Path::new(path), memory).is_ok() {
                (*seen, *changed) = (Some(now), true);
            }
        }
        changed
    }

    /// What has to stay open.
    pub fn memory(&self) -> &[File; 2] {
        &self.memory
    }
}

impl Copies {
    /// The text of resolv.conf.
    pub fn conf(&self) -> Vec<u8> {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = self.conf.read_at(&mut buffer, text.len() as u64)
            && text.len() < LONGEST_CONF
        {
            text.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
        text
    }

    /// The copy of hosts, for the resolver worker.
    pub fn hosts(&self) -> io::Result<OwnedFd> {
        self.hosts.try_clone().map(OwnedFd::from)
    }
}

fn copy(path: &Path, memory: &File) -> io::Result<()> {
    let text = match read_plain(path) {
        Err(error) if !error.is_missing() => return Err(io::ErrorKind::Other.into()),
        text => text.unwrap_or_default(),
    };
    ftruncate(memory, 0)?;
    memory.write_all_at(&text, 0)
}

fn version(path: &str) -> Option<Version> {
    let Stat { st_dev, st_ino, st_mtime, st_mtime_nsec, st_size, .. } =
        statat(CWD, path, AtFlags::empty()).ok()?;
    Some((st_dev, st_ino, st_mtime, st_mtime_nsec, st_size))
}
