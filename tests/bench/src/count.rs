//! System calls and context switches for each connection, counted by the kernel's trace points (perf-stat(1)), which
//! slows nothing down. Counts are right even on a busy machine.

use crate::net::Outcome;
use crate::procs::{Role, Tree};
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

const FILE: &str = "/run/bench/counts";

/// Counts the acts of a role's processes.
pub(crate) struct Counter {
    perf: Child,
}

impl Counter {
    /// Begins to count; every process must exist already.
    pub(crate) fn begin(tree: &Tree, role: Role) -> Outcome<Self> {
        let pids: Vec<_> = tree.pids(role).iter().map(i32::to_string).collect();
        if pids.is_empty() {
            return Err(format!("no {role:?}").into());
        }
        // The command starts when the counters run, and its end is theirs.
        let mut perf = Command::new("perf")
            .args(["stat", "-x", ",", "-o", FILE, "-e", "context-switches,syscalls:sys_enter_*"])
            .args(["-p", &pids.join(","), "--", "sh", "-c", "echo; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("perf (Debian: linux-perf): {error}"))?;
        let begun = perf.stdout.as_mut().ok_or("no pipe")?.read(&mut [0]);
        if begun? == 0 {
            return Err("perf cannot count: is tracefs mounted?".into());
        }
        Ok(Self { perf })
    }

    /// Name and number of each event that occurred, the most frequent first.
    pub(crate) fn end(mut self) -> Outcome<Vec<(String, u64)>> {
        drop(self.perf.stdin.take());
        self.perf.wait()?;
        Ok(parse(&fs::read_to_string(FILE)?))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// `number,unit,event,...` in each line.
fn parse(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let mut fields = line.split(',');
        let number: u64 = fields.next()?.parse().ok()?;
        let event = fields.nth(1)?;
        let name = event.strip_prefix("syscalls:sys_enter_").unwrap_or(event);
        (number > 0).then(|| (name.to_owned(), number))
    };
    let mut counts: Vec<_> = text.lines().filter_map(line).collect();
    counts.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_came_up_are_read() {
        let text = "# started on Sun\n\n10,,context-switches,1,100.00,,\n0,,syscalls:sys_enter_fork,1,100.00,,\n\
                    42,,syscalls:sys_enter_accept4,1,100.00,,\n<not counted>,,cycles,0,0.0,,\n";
        assert_eq!(parse(text), [("accept4".into(), 42), ("context-switches".into(), 10)]);
    }
}
