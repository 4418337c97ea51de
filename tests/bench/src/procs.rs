//! Processor time, memory and descriptors of a proxy's processes (proc(5)).

use crate::sys::ticks;
use nix::time::ClockId;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The role of a process of sockd. A front counts as a monitor, and all processes of other proxies as workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Monitor,
    Spawner,
    Worker,
}

/// A proxy's processes: those that were started, and their descendants.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    roots: Vec<i32>,
    /// The role of the roots,
    of_roots: Role,
    /// and of their children; further descendants are workers.
    of_children: Role,
}

#[derive(Debug)]
struct Process {
    pid: i32,
    role: Role,
    /// The time used by children that have ended.
    of_children: Duration,
}

/// Processor time by role.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) monitor: Duration,
    pub(crate) spawner: Duration,
    pub(crate) workers: Duration,
}

impl Spent {
    pub(crate) fn total(self) -> Duration {
        self.monitor + self.spawner + self.workers
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            monitor: self.monitor.saturating_sub(before.monitor),
            spawner: self.spawner.saturating_sub(before.spawner),
            workers: self.workers.saturating_sub(before.workers),
        }
    }
}

/// The possessions of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: i64,
    /// Its share of the memory that is in use, in kB.
    pub(crate) memory: i64,
}

impl Tree {
    pub(crate) fn of(roots: Vec<i32>) -> Self {
        Self { roots, of_roots: Role::Worker, of_children: Role::Worker }
    }

    pub(crate) fn of_sockd(monitor: i32) -> Self {
        Self { roots: vec![monitor], of_roots: Role::Monitor, of_children: Role::Spawner }
    }

    pub(crate) fn of_front(front: i32) -> Self {
        Self { roots: vec![front], of_roots: Role::Monitor, of_children: Role::Worker }
    }

    pub(crate) fn has_monitor(&self) -> bool {
        self.of_roots == Role::Monitor
    }

    fn processes(&self) -> Vec<Process> {
        let mut children: BTreeMap<i32, Vec<(i32, Duration)>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((parent, of_children)) = parse_stat(&stat) else { continue };
            let parent = if self.roots.contains(&pid) { 0 } else { parent };
            children.entry(parent).or_default().push((pid, of_children));
        }
        let mut found = Vec::new();
        let mut open: Vec<(i32, Role)> = Vec::new();
        for (pid, of_children) in children.remove(&0).unwrap_or_default() {
            if self.roots.contains(&pid) {
                found.push(Process { pid, role: self.of_roots, of_children });
                open.push((pid, self.of_children));
            }
        }
        while let Some((parent, role)) = open.pop() {
            for (pid, of_children) in children.remove(&parent).unwrap_or_default() {
                found.push(Process { pid, role, of_children });
                open.push((pid, Role::Worker));
            }
        }
        found
    }

    /// All processes of a role.
    pub(crate) fn pids(&self, role: Role) -> Vec<i32> {
        self.processes().into_iter().filter(|process| process.role == role).map(|p| p.pid).collect()
    }

    /// All processes.
    pub(crate) fn all(&self) -> Vec<i32> {
        self.processes().into_iter().map(|process| process.pid).collect()
    }

    /// Processor time so far, including processes that have ended.
    pub(crate) fn spent(&self) -> Spent {
        let mut spent = Spent::default();
        for Process { pid, role, of_children } in self.processes() {
            let own = processor_time(pid);
            match role {
                Role::Monitor => spent.monitor += own,
                Role::Spawner => spent.spawner += own,
                Role::Worker => spent.workers += own,
            }
            spent.workers += of_children;
        }
        spent
    }

    /// The possessions of each process.
    pub(crate) fn holdings(&self) -> BTreeMap<i32, Holdings> {
        self.all().into_iter().map(|pid| (pid, holdings(pid))).collect()
    }
}

pub(crate) fn processor_time(pid: i32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    clock.and_then(ClockId::now).map(Duration::from).unwrap_or_default()
}

fn holdings(pid: i32) -> Holdings {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Holdings { descriptors: descriptors as i64, memory: pss(&memory).unwrap_or(0) }
}

/// Parent, and the processor time of children that have been waited for.
fn parse_stat(stat: &str) -> Option<(i32, Duration)> {
    // The name of the program, in parentheses, can contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(number(13)? + number(14)?)))
}

fn pss(smaps_rollup: &str) -> Option<i64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_time_of_children_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 7 1 1 0 -1 4 1 2 3 4 10 20 30 40 20 0 5 0 999";
        assert_eq!(parse_stat(stat), Some((7, ticks(70))));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn the_proportional_share_is_read() {
        assert_eq!(pss("a-b ---p [rollup]\nRss:  4 kB\nPss:   1234 kB\nPss_Dirty: 5 kB\n"), Some(1234));
    }

    #[test]
    fn the_own_process_is_seen_with_all_it_has() {
        let tree = Tree::of(vec![std::process::id().cast_signed()]);
        let own = tree.holdings()[&std::process::id().cast_signed()];
        assert!(own.descriptors > 2 && own.memory > 0, "{own:?}");
        assert!(tree.spent().workers > Duration::ZERO);
    }
}
