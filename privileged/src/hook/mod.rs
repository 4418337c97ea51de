//! The command runner: runs the `: shell_cmd`s of the rules, as a user of its own, while nobody waits.
//!
//! It is forked before the monitor locks itself down and reads the rules itself, so that a monitor that has been
//! taken over can ask only for commands that an administrator has written. Values are cleaned here, at the moment
//! at which they are put into a command line.

use crate::config::options::Options;
use crate::config::read;
use crate::process::{descriptors, namespaces, signals, sys};
use caps::Capability;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use sockd_common::bounded::BoundedBytes;
use sockd_common::channel::{MonitorEnd, Received, WorkerEnd};
use sockd_common::message::Message;
use sockd_lockdown::{self as lockdown, Gid, Resource, Uid};
use sockd_policy::Upstreams;
use sockd_session::client_host::Host;
use sockd_session::config::Config;
use sockd_session::hook_values::{Values, environment, expand_words};
use sockd_session::settings::{Commands, Settings};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::CString;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Monitor to runner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRunner {
    /// Run this command of the rules with these values.
    Run {
        /// The command exactly as it stands in the rules; lines are at most this long.
        template: BoundedBytes<1023>,
        /// What its `%`s stand for.
        values: Values,
    },
    /// The rules have been read again: read them too.
    Reload,
}

/// Runner to monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRunner {
    /// A command did not end by itself within its time.
    Overdue,
    /// Too many commands run and wait.
    Dropped {
        /// Because of this client; nothing: in all.
        of: Option<IpAddr>,
    },
    /// A command that is not in the rules that the runner has read.
    Unknown,
    /// fork(2) failed.
    NotStarted,
    /// A command ended with status 127: there is no such program, or it cannot be executed.
    NotFound,
}

impl Message for ToRunner {}
impl Message for FromRunner {}

/// The monitor's end of the runner's channel.
pub type Channel = MonitorEnd<ToRunner, FromRunner>;

/// What the runner needs to know.
#[derive(Debug)]
pub struct Plan {
    /// Where the rules are.
    pub options: Options,
    /// Whether commands go to a shell, and how many there may be.
    pub settings: Settings,
    /// The monitor's process id, for `%p` and SOCKD_PID.
    pub pid: u32,
    /// User and group that commands run as.
    pub ids: (u32, u32),
    /// The commands of the rules that are in force at the start.
    pub templates: HashSet<String>,
}

/// Commands at once; others wait for one of them to end.
const AT_ONCE: usize = 8;

/// How often and how long the end of what is killed is awaited before the runner itself ends.
const ROUNDS: u32 = 20;
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A command's time, and the time between asking it to end and ending it.
const TIME: Duration = Duration::from_secs(10);
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// The status of a command that could not be executed, of shells and here.
const NOT_FOUND: i32 = 127;

/// The commands that may be asked for while this is in force.
pub fn templates(config: &Config) -> HashSet<String> {
    let upstream = config.upstreams.iter().flat_map(Upstreams::templates);
    config.rules.templates().chain(upstream).map(|template| template.text().to_owned()).collect()
}

/// Forks the runner.
pub fn start(plan: Plan) -> Result<Channel, String> {
    namespaces::fork_server(|monitor| {
        if let Ok((signals, null)) = confine(&monitor) {
            let mut runner =
                Runner { monitor, plan, null, running: HashMap::new(), waiting: VecDeque::new() };
            runner.serve(&signals);
            runner.end_everything(&signals);
        }
    })
}

type Monitor = WorkerEnd<FromRunner, ToRunner>;

/// Keeps what is needed to start a command as another user, and nothing else. There is no filter and no Landlock:
/// the commands would inherit both.
fn confine(monitor: &Monitor) -> Result<(SignalFd, OwnedFd), String> {
    rustix::process::setsid().map_err(|error| format!("setsid: {error}"))?;
    let child = signals::only_child_signals()?;
    let signals = SignalFd::with_flags(&child, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("signalfd: {error}"))?;
    let null = descriptors::open_null()?;
    descriptors::close_all_but(&[monitor.as_fd(), signals.as_fd(), null.as_fd()])?;
    descriptors::leave_terminal(null.as_fd())?;
    // What a command leaves behind becomes the runner's to reap.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|error| error.to_string())?;
    let kept = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];
    lockdown::keep_only(&kept).map_err(|error| error.to_string())?;
    lockdown::not_dumpable().map_err(|error| error.to_string())?;
    // No signal at the monitor's death: its end of the channel closes, and the commands still have to be ended.
    lockdown::no_new_privileges().map_err(|error| error.to_string())?;
    Ok((signals, null))
}

struct Runner {
    monitor: Monitor,
    plan: Plan,
    null: OwnedFd,
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

impl Runner {
    /// Runs commands until the monitor is gone.
    fn serve(&mut self, signals: &SignalFd) {
        loop {
            let timeout = self.until_due();
            let ready = &mut [PollFd::new(&self.monitor, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            if poll(ready, timeout.as_ref()).is_err_and(|error| error != rustix::io::Errno::INTR) {
                return;
            }
            while let Ok(Some(_)) = signals.read_signal() {}
            self.reap();
            self.end_overdue();
            if !self.hear() {
                return;
            }
            self.start_waiting();
        }
    }

    fn until_due(&self) -> Option<Timespec> {
        let due = self.running.values().map(|running| running.due).min()?;
        let wait = due.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1));
        Some(Timespec { tv_sec: i64::try_from(wait.as_secs()).ok()?, tv_nsec: wait.subsec_nanos().into() })
    }

    fn hear(&mut self) -> bool {
        loop {
            match self.monitor.receive() {
                Ok(Received::Message(ToRunner::Run { template, values }, None)) => {
                    self.take(&template, values);
                    self.start_waiting();
                }
                Ok(Received::Message(ToRunner::Reload, None)) => self.reload(),
                Ok(Received::Nothing) => return true,
                _ => return false,
            }
        }
    }

    fn take(&mut self, template: &BoundedBytes<1023>, values: Values) {
        let template = String::from_utf8_lossy(template.as_bytes()).into_owned();
        if !self.plan.templates.contains(&template) {
            self.report(FromRunner::Unknown);
        } else if let Some(of) = self.limit(values.source) {
            self.report(FromRunner::Dropped { of });
        } else {
            self.waiting.push_back((template, values));
        }
    }

    /// Whether a further command is too much, and then whose.
    fn limit(&self, client: IpAddr) -> Option<Option<IpAddr>> {
        let Settings { max_commands, max_commands_per_host, .. } = self.plan.settings;
        let is_his = |host: &Option<Host>| *host == Some(Host::of(client));
        let waiting = self.waiting.iter().map(|(_, values)| Some(Host::of(values.source)));
        let hosts = || self.running.values().map(|running| running.host).chain(waiting.clone());
        let reached = |number: usize, limit| u32::try_from(number).is_ok_and(|number| number >= limit);
        match () {
            () if reached(hosts().filter(is_his).count(), max_commands_per_host) => Some(Some(client)),
            () => reached(hosts().count(), max_commands).then_some(None),
        }
    }

    fn reload(&mut self) {
        // With files that cannot be read the monitor keeps the old rules as well.
        if let Ok(read::Loaded { config, .. }) = read::load(&self.plan.options) {
            self.plan.templates = templates(&config);
            self.plan.settings = config.settings;
        }
    }

    /// The first of a host that has the fewest running: one host can hold up only itself.
    fn next(&mut self) -> Option<(String, Values)> {
        let hosts = self.waiting.iter().map(|(_, values)| Some(Host::of(values.source)));
        let running = |host| self.running.values().filter(|running| running.host == host).count();
        let (place, _) = hosts.enumerate().min_by_key(|(_, host)| running(*host))?;
        self.waiting.remove(place)
    }

    fn start_waiting(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((template, values)) = self.next()
        {
            match sys::fork() {
                Ok(ForkResult::Child) => {
                    become_command(&self.plan, &self.null, &template, &values);
                    lockdown::exit_now(NOT_FOUND)
                }
                Ok(ForkResult::Parent { child }) => {
                    let due = Instant::now().checked_add(TIME).unwrap_or_else(Instant::now);
                    let host = Some(Host::of(values.source));
                    self.running.insert(child, Running { due, told: false, host });
                }
                Err(_) => self.report(FromRunner::NotStarted),
            }
        }
    }

    fn reap(&mut self) {
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
                    self.report(FromRunner::NotFound);
                }
            }
        }
        if ended {
            self.adopt();
        }
    }

    /// What a command has left behind outside its group is now a child of the runner. It is given the time of a
    /// command, and counts as one: nothing runs for ever on behalf of a client.
    fn adopt(&mut self) {
        let due = Instant::now().checked_add(TIME).unwrap_or_else(Instant::now);
        for orphan in children() {
            self.running.entry(orphan).or_insert(Running { due, told: false, host: None });
        }
    }

    /// The monitor is gone, and nothing that was run for it stays.
    fn end_everything(&mut self, signals: &SignalFd) {
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

    fn end_overdue(&mut self) {
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
        (0..newly_overdue).for_each(|_| self.report(FromRunner::Overdue));
    }

    /// A monitor that does not read loses the news, not the runner.
    fn report(&self, news: FromRunner) {
        let _ = self.monitor.send(&news);
    }
}

/// The whole group of a command, and one that is in the group of another.
fn signal(pid: Pid, signal: Signal) {
    let _ = killpg(pid, signal);
    let _ = kill(pid, signal);
}

/// The runner's own children, as far as the kernel tells (proc(5), CONFIG_PROC_CHILDREN).
fn children() -> Vec<Pid> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
}

/// In the child: another user, a session and limits of its own, nothing inherited, then the command.
fn become_command(plan: &Plan, null: &OwnedFd, template: &str, values: &Values) -> Option<()> {
    let words = match plan.settings.commands {
        Commands::Off => return None,
        Commands::Sh => {
            vec![
                "/bin/sh".into(),
                "-c".into(),
                sockd_policy::hook::expand(template, &values.for_policy(plan.pid)?),
            ]
        }
        Commands::Argv => expand_words(template, &values.for_policy(plan.pid)?),
    };
    for standard in 0..3 {
        sys::duplicate_onto(null.as_fd(), standard).ok()?;
    }
    lockdown::close_from(3).ok()?;
    rustix::process::setsid().ok()?;
    let (uid, gid) = plan.ids;
    lockdown::become_user(Uid::from_raw(uid), Gid::from_raw(gid)).ok()?;
    lockdown::keep_only(&[]).ok()?;
    // After the change of ids, which clears it.
    lockdown::die_with_parent().ok()?;
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Cpu, 10),
        (Resource::Fsize, 64 << 20),
        (Resource::As, 512 << 20),
        (Resource::Nproc, 64),
        (Resource::Nofile, 64),
    ] {
        lockdown::limit(resource, Some(value)).ok()?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).ok()?;
    // An ignored signal stays ignored in a program that is started. The standard library ignores SIGPIPE, with which
    // `yes | head` would never end; nohup(1) and shells ignore others. SIGKILL and SIGSTOP cannot be.
    for signal in Signal::iterator() {
        let _ = sys::default_action(signal);
    }
    let text = |text: String| CString::new(text).ok();
    let words = words.into_iter().map(text).collect::<Option<Vec<_>>>()?;
    let environment = environment(values, plan.pid)?.into_iter().map(text).collect::<Option<Vec<_>>>()?;
    nix::unistd::execve(words.first()?, &words, &environment).ok()?;
    None
}
