//! Groups of processes with a limit (cgroups(7)): version 2 if it has the controller, else version 1.

use crate::procfs::Process;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A group; removed when dropped. Its processes must have left it by then.
pub struct Group {
    path: PathBuf,
    version: u8,
}

impl Group {
    /// A new group for `memory` or `pids`. `None` if this machine permits no groups: standard error says so, past the
    /// test program's own capture, and the test has to do without.
    pub fn new(controller: &str) -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sockd-tests-{}-{number}", std::process::id());
        let group = place(controller).map(|(place, version)| Self { path: place.join(name), version });
        let made = group.filter(|group| fs::create_dir(&group.path).is_ok());
        if made.is_none() {
            let _ =
                writeln!(io::stderr(), "** LEFT OUT IN A TEST: no group with the controller {controller}");
        }
        made
    }

    /// Moves these processes into the group; later children of theirs follow.
    pub fn take(&self, processes: &[Process]) {
        for process in processes {
            self.write("cgroup.procs", process.0.to_string());
        }
    }

    /// Limits the memory of the group to this many bytes, swap included.
    pub fn limit_memory(&self, bytes: u64) {
        let [memory, swap] = match self.version {
            2 => ["memory.max", "memory.swap.max"],
            _ => ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
        };
        self.write(memory, bytes.to_string());
        // Without swap there is no such file.
        let none = if self.version == 2 { 0 } else { bytes };
        let _ = fs::write(self.path.join(swap), none.to_string());
    }

    /// Limits the number of processes in the group.
    pub fn limit_processes(&self, number: usize) {
        self.write("pids.max", number.to_string());
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let file = self.path.join(file);
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have been killed a moment ago.
        for _ in 0..500 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The folder in which groups with this controller can be made, and the version.
fn place(controller: &str) -> Option<(PathBuf, u8)> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let of_kind = |kind: &'static str| {
        mounts.iter().filter(move |fields| fields.get(2) == Some(&kind)).map(|fields| (fields[1], fields[3]))
    };
    let has = |text: &str| text.split([' ', ',', '\n']).any(|word| word == controller);
    for (place, _) in of_kind("cgroup2") {
        let place = Path::new(place);
        let enabled = place.join("cgroup.subtree_control");
        let _ = fs::write(&enabled, format!("+{controller}"));
        if fs::read_to_string(enabled).is_ok_and(|enabled| has(&enabled)) {
            return Some((place.into(), 2));
        }
    }
    of_kind("cgroup").find(|(_, options)| has(options)).map(|(place, _)| (place.into(), 1))
}
