//! System calls of a running process that fail as a test wants: strace(1), attached from outside, answers in the
//! kernel's place.

use crate::host::Host;
use crate::procfs::Process;
use crate::program::Program;
use crate::wait::until_true;
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls that fail, until this is dropped.
pub struct Fault {
    strace: Program,
    host: Host,
    process: Process,
    calls: String,
}

impl Fault {
    /// Makes every later such call of `process` fail with this error: `Fault::of(.., "accept4", "ENFILE", ..)`.
    ///
    /// The call is not made. A seccomp filter runs after a tracer, so the kernel gets `harmless` instead: a call
    /// without arguments that the filter of this process lets through.
    pub fn of(host: &Host, process: Process, call: &str, error: &str, harmless: &str) -> Self {
        Self::within(host, process, call, error, harmless, "1+")
    }

    /// The same for the first call only.
    pub fn once(host: &Host, process: Process, call: &str, error: &str, harmless: &str) -> Self {
        Self::within(host, process, call, error, harmless, "1")
    }

    fn within(host: &Host, process: Process, call: &str, error: &str, harmless: &str, when: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let calls = format!("/run/strace.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let inject = format!("inject={call}:error={error}:syscall={harmless}:when={when}");
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", &calls, "-e", &format!("trace={call}"), "-e", &inject]);
        strace.args(["-p", &process.0.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
        let strace = host.start(&mut strace);
        until_true("strace is attached", || is_traced(process));
        Self { strace, host: host.clone(), process, calls }
    }

    /// The number of calls that have failed so far.
    pub fn count(&self) -> usize {
        self.host.read(&self.calls).matches("(INJECTED)").count()
    }

    /// Waits until a call has failed.
    pub fn has_struck(&self) {
        until_true("a call that fails", || self.count() > 0);
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Told to end, strace lets go between two calls; killed, it could leave one half done.
        if self.process.runs() {
            self.strace.signal(Signal::SIGTERM);
        }
        self.strace.wait();
    }
}

fn is_traced(process: Process) -> bool {
    process.status().get("TracerPid").is_some_and(|tracer| tracer != "0")
}
