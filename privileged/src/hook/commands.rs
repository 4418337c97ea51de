//! The commands that run and those that wait: whose is next, and when one has to end.

use crate::hook::command::{Command, NotStarted, become_command};
use crate::hook::protocol::{FromHook, Monitor};
use crate::process::sys;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sockd_common::bounded::BoundedBytes;
use sockd_lockdown as lockdown;
use sockd_session::client_host::Host;
use sockd_session::hook_values::Values;
use sockd_session::settings::Settings;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Commands at once; others wait for one of them to end.
const AT_ONCE: usize = 8;

/// How often and how long the end of what is killed is awaited before the hook process itself ends.
const ROUNDS: u32 = 20;
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A command's time, and the time between asking it to end and ending it.
const TIME: Duration = Duration::from_secs(10);
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// The status of a command that could not be executed, of shells and here; and of one that was not started.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

/// What the rules say of commands.
#[derive(Debug)]
pub(super) struct Orders {
    /// Whether commands go to a shell, and how many there may be.
    pub(super) settings: Settings,
    /// Those that may be asked for.
    pub(super) templates: HashSet<String>,
}

/// What is the same for all commands.
#[derive(Debug)]
pub(super) struct Place {
    /// The monitor's process id, for `%p` and SOCKD_PID.
    pub(super) pid: u32,
    /// User and group that commands run as.
    pub(super) ids: (u32, u32),
    /// /dev/null, for their standard descriptors.
    pub(super) null: OwnedFd,
}

/// All commands.
pub(super) struct Commands {
    monitor: Monitor,
    place: Place,
    pub(super) orders: Orders,
    running: HashMap<Pid, Running>,
    waiting: VecDeque<(String, Values)>,
}

struct Running {
    /// When the whole process group is told to end, and then ended.
    due: Instant,
    told: bool,
    /// Because of whom; what commands have left behind is nobody's.
    host: Option<Host>,
}

impl Commands {
    /// None yet.
    pub(super) fn new(monitor: Monitor, place: Place, orders: Orders) -> Self {
        Self { monitor, place, orders, running: HashMap::new(), waiting: VecDeque::new() }
    }

    /// The channel that asks for commands.
    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// How long until a command is overdue; nothing while none runs.
    pub(super) fn until_due(&self) -> Option<Timespec> {
        let due = self.running.values().map(|running| running.due).min()?;
        let wait = due.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1));
        Some(Timespec { tv_sec: i64::try_from(wait.as_secs()).ok()?, tv_nsec: wait.subsec_nanos().into() })
    }

    /// Takes a command that the monitor asks for: one of the rules, within the limits.
    pub(super) fn take(&mut self, template: &BoundedBytes<1023>, values: Values) {
        let template = String::from_utf8_lossy(template.as_bytes()).into_owned();
        if !self.orders.templates.contains(&template) {
            self.report(FromHook::Unknown);
        } else if let Some(of) = self.limit(values.source) {
            self.report(FromHook::Dropped { of });
        } else {
            self.waiting.push_back((template, values));
        }
    }

    /// Whether a further command is too much, and then whose.
    fn limit(&self, client: IpAddr) -> Option<Option<IpAddr>> {
        let Settings { max_commands, max_commands_per_host, .. } = self.orders.settings;
        let is_his = |host: &Option<Host>| *host == Some(Host::of(client));
        let waiting = self.waiting.iter().map(|(_, values)| Some(Host::of(values.source)));
        let hosts = || self.running.values().map(|running| running.host).chain(waiting.clone());
        let reached = |number: usize, limit| u32::try_from(number).is_ok_and(|number| number >= limit);
        match () {
            () if reached(hosts().filter(is_his).count(), max_commands_per_host) => Some(Some(client)),
            () => reached(hosts().count(), max_commands).then_some(None),
        }
    }

    /// The first of a host that has the fewest running: one host can hold up only itself.
    fn next(&mut self) -> Option<(String, Values)> {
        let hosts = self.waiting.iter().map(|(_, values)| Some(Host::of(values.source)));
        let running = |host| self.running.values().filter(|running| running.host == host).count();
        let (place, _) = hosts.enumerate().min_by_key(|(_, host)| running(*host))?;
        self.waiting.remove(place)
    }

    /// Starts what waits, as far as there is room.
    pub(super) fn start_waiting(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((template, values)) = self.next()
        {
            match sys::fork() {
                Ok(ForkResult::Child) => lockdown::exit_now(self.become_command(&template, &values)),
                Ok(ForkResult::Parent { child }) => {
                    let due = Instant::now().checked_add(TIME).unwrap_or_else(Instant::now);
                    let host = Some(Host::of(values.source));
                    self.running.insert(child, Running { due, told: false, host });
                }
                Err(_) => self.report(FromHook::NotForked),
            }
        }
    }

    /// In the child. Gives the status that it ends with where it cannot become the command.
    fn become_command(&self, template: &str, values: &Values) -> i32 {
        let Place { pid, ids, null } = &self.place;
        let by = self.orders.settings.commands;
        let command = Command { by, template, values, pid: *pid, ids: *ids };
        match become_command(&command, null.as_fd(), self.monitor.as_fd()) {
            Err(NotStarted::Step(error)) => {
                self.report(FromHook::NotStarted { why: error.to_string() });
                NOT_STARTED
            }
            Err(NotStarted::NotFound) => NOT_FOUND,
            Ok(never) => match never {},
        }
    }

    /// Reaps what has ended, and adopts what it has left behind.
    pub(super) fn reap(&mut self) {
        let mut ended = false;
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, status),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid, 0),
                _ => break,
            };
            if self.running.remove(&pid).is_some() {
                // What it has left running in its group ends with it.
                let _ = killpg(pid, Signal::SIGKILL);
                ended = true;
                if status == NOT_FOUND {
                    self.report(FromHook::NotFound);
                }
            }
        }
        if ended {
            self.adopt();
        }
    }

    /// What a command has left behind outside its group is now a child of this process. It is given the time of a
    /// command, and counts as one: nothing runs for ever on behalf of a client.
    fn adopt(&mut self) {
        let due = Instant::now().checked_add(TIME).unwrap_or_else(Instant::now);
        for orphan in children() {
            self.running.entry(orphan).or_insert(Running { due, told: false, host: None });
        }
    }

    /// The monitor is gone, and nothing that was run for it stays.
    pub(super) fn end_everything(&mut self, signals: &SignalFd) {
        for _ in 0..ROUNDS {
            self.adopt();
            self.running.keys().for_each(|pid| signal(*pid, Signal::SIGKILL));
            if self.running.is_empty() {
                return;
            }
            let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&ROUND));
            while let Ok(Some(_)) = signals.read_signal() {}
            self.reap();
        }
    }

    /// Asks overdue commands to end, and kills those that do not.
    pub(super) fn end_overdue(&mut self) {
        let now = Instant::now();
        let mut newly_overdue = 0_u32;
        for (pid, running) in &mut self.running {
            if running.due > now {
                continue;
            }
            signal(*pid, if running.told { Signal::SIGKILL } else { Signal::SIGTERM });
            newly_overdue = newly_overdue.saturating_add(u32::from(!running.told));
            running.told = true;
            running.due = now.checked_add(LAST_CHANCE).unwrap_or(now);
        }
        (0..newly_overdue).for_each(|_| self.report(FromHook::Overdue));
    }

    /// A monitor that does not read loses the news, not the hook process.
    fn report(&self, news: FromHook) {
        let _ = self.monitor.send(&news);
    }
}

/// The whole group of a command, and one that is in the group of another.
fn signal(pid: Pid, signal: Signal) {
    let _ = killpg(pid, signal);
    let _ = kill(pid, signal);
}

/// The children of this process, as far as the kernel tells (proc(5), CONFIG_PROC_CHILDREN).
fn children() -> Vec<Pid> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
}
