//! resolv.conf(5) and hosts(5): the loader watches them for changes, and the monitor gets copies.

use crate::config::trusted_file::{FileError, leads_nowhere, read_plain};
use crate::loader::copies::SystemFiles;
use crate::process::descriptors;
use crate::process::error::StartError;
use rustix::fs::{AtFlags, CWD, Stat, ftruncate, statat};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Their paths, and the most MiB that the monitor and the resolver take.
const FILES: [(&str, u64); 2] = [("/etc/resolv.conf", 1), ("/etc/hosts", 16)];

/// The facts by which versions of a file differ.
type Version = (u64, u64, i64, u64, i64);

/// The loader's side of both files.
#[derive(Debug)]
pub struct Originals([Original; 2]);

#[derive(Debug)]
struct Original {
    path: &'static Path,
    most_mib: u64,
    memory: File,
    /// The version that was last copied; `Some(None)` if there was no file.
    seen: Option<Option<Version>>,
    /// Why the file's present version is not read.
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Fault {
    of: Option<Version>,
    text: String,
    is_told: bool,
}

/// Both sides, with empty memory for both files.
pub fn shared() -> Result<(Originals, SystemFiles), StartError> {
    let memory = || descriptors::memory("sockd-files").map(File::from);
    let memory = [memory()?, memory()?];
    // Opened again for reading alone, so that no holder of this descriptor can change what the next one reads.
    let copy = |file: &File| {
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(StartError::at("/proc/self/fd"))
    };
    let [conf, hosts] = memory;
    let copies = SystemFiles::new(copy(&conf)?, copy(&hosts)?);
    let [of_conf, of_hosts] = FILES;
    Ok((Originals([Original::new(of_conf, conf), Original::new(of_hosts, hosts)]), copies))
}

impl Originals {
    /// Copies the files that have changed, and returns which.
    pub fn look(&mut self) -> [bool; 2] {
        self.0.each_mut().map(Original::look)
    }

    /// The faults of the files that have not been told yet.
    pub fn untold(&mut self) -> impl Iterator<Item = String> {
        let faults = self.0.iter_mut().filter_map(|file| file.fault.as_mut());
        faults.filter_map(|fault| (!std::mem::replace(&mut fault.is_told, true)).then(|| fault.text.clone()))
    }

    /// Marks all faults to be told once more.
    pub fn tell_again(&mut self) {
        self.0.iter_mut().filter_map(|file| file.fault.as_mut()).for_each(|fault| fault.is_told = false);
    }

    /// The descriptors that have to stay open.
    pub fn memory(&self) -> [&File; 2] {
        self.0.each_ref().map(|file| &file.memory)
    }
}

impl Original {
    fn new((path, most_mib): (&'static str, u64), memory: File) -> Self {
        Self { path: Path::new(path), most_mib, memory, seen: None, fault: None }
    }

    /// Copies the file if it has changed. A file that cannot be read, for want of a descriptor perhaps, keeps its old
    /// copy and is looked at again; a missing file is empty.
    fn look(&mut self) -> bool {
        let now = version(self.path);
        if self.seen == Some(now) {
            self.fault.take_if(|fault| fault.of != now);
            return false;
        }
        let (text, fault) = match read_plain(self.path, self.most_mib) {
            Ok(text) => (Some(text), None),
            Err(error) if !error.is_missing() => (None, Some(error)),
            Err(_) => (Some(Vec::new()), now.map(|_| leads_nowhere(self.path))),
        };
        self.find(now, fault);
        let is_copied = text.is_some_and(|text| write(&self.memory, &text).is_ok());
        if is_copied {
            self.seen = Some(now);
        }
        is_copied
    }

    /// Notes a fault, unless it has been found before.
    fn find(&mut self, now: Option<Version>, error: Option<FileError>) {
        let found = error.map(|error| error.to_string());
        if self.fault.as_ref().map(|fault| (fault.of, &fault.text)) != found.as_ref().map(|text| (now, text))
        {
            self.fault = found.map(|text| Fault { of: now, text, is_told: false });
        }
    }
}

fn write(memory: &File, text: &[u8]) -> io::Result<()> {
    ftruncate(memory, 0)?;
    memory.write_all_at(text, 0)
}

/// The version of a file; for a link that leads nowhere, that of the link.
fn version(path: &Path) -> Option<Version> {
    let facts = statat(CWD, path, AtFlags::empty()).or_else(|_| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW));
    let Stat { st_dev, st_ino, st_mtime, st_mtime_nsec, st_size, .. } = facts.ok()?;
    Some((st_dev, st_ino, st_mtime, st_mtime_nsec, st_size))
}
