//! The running and the waiting commands: which is next, and when one has to end.

use crate::hook::command::{Command, NOT_FOUND, Surroundings, become_command};
use crate::hook::orders::Orders;
use crate::hook::protocol::{FromHook, Monitor};
use crate::process::sys;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::event::Timespec;
use sockd_common::bounded::BoundedBytes;
use sockd_lockdown as lockdown;
use sockd_session::client_host::Host;
use sockd_session::hook_values::Values;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The most commands that run at once; others wait for one of them to end.
const AT_ONCE: usize = 8;

/// How long a command may run, and how long it has between SIGTERM and SIGKILL.
const TIME: Duration = Duration::from_secs(10);
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// How long leftovers of commands may live before they hold back new commands.
const LONGEST: Duration = Duration::from_secs(30);

/// The status of a command that was not started.
const NOT_STARTED: i32 = 126;

/// All commands, running and waiting.
pub(super) struct Commands {
    monitor: Monitor,
    surroundings: Surroundings,
    orders: Orders,
    running: HashMap<Pid, Running>,
    waiting: VecDeque<Command>,
    /// The ends of the first and of the last command that may have left something behind.
    left: Option<(Instant, Instant)>,
}

struct Running {
    /// When the whole process group is asked to end, and then killed.
    due: Instant,
    told: bool,
    /// The client host for which it runs.
    host: Host,
}

impl Commands {
    /// Begins without commands.
    pub(super) fn new(monitor: Monitor, surroundings: Surroundings, orders: Orders) -> Self {
        Self { monitor, surroundings, orders, running: HashMap::new(), waiting: VecDeque::new(), left: None }
    }

    /// The channel that asks for commands.
    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Follows these orders, if there are new ones.
    pub(super) fn follow(&mut self, orders: Option<Orders>) {
        orders.into_iter().for_each(|orders| self.orders = orders);
    }

    /// How long until something has to end; `None` if nothing runs.
    pub(super) fn until_due(&self) -> Option<Timespec> {
        let left = self.left.filter(|_| self.running.is_empty()).and_then(|(_, last)| last.checked_add(TIME));
        let due = self.running.values().map(|running| running.due).chain(left).min()?;
        let wait = due.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1));
        Timespec::try_from(wait).ok()
    }

    /// Takes a command that the monitor asks for: one of the rules, within the limits.
    pub(super) fn take(&mut self, template: &BoundedBytes<1023>, values: Values) {
        let template = String::from_utf8_lossy(template.as_bytes()).into_owned();
        if !self.orders.templates.contains(&template) {
            self.report(FromHook::Unknown);
        } else if let Some(of) = self.limit(values.source) {
            self.report(FromHook::Dropped { of });
        } else {
            self.waiting.push_back(Command { template, values });
        }
    }

    /// The limit that a further command would exceed: that of this client, `Some(None)` for that of all, or `None`.
    fn limit(&self, client: IpAddr) -> Option<Option<IpAddr>> {
        let (max_commands, max_commands_per_host) = self.orders.limits;
        let client_host = Host::of(client);
        let waiting = self.waiting.iter().map(Command::host);
        let hosts = || self.running.values().map(|running| running.host).chain(waiting.clone());
        let reached = |number: usize, limit| u32::try_from(number).is_ok_and(|number| number >= limit);
        let of = |network| hosts().filter(|host| host.is_in(network)).count();
        let is_full = |(network, share)| reached(of(network), max_commands_per_host.saturating_mul(share));
        match () {
            () if client_host.counted().any(is_full) => Some(Some(client)),
            () => reached(hosts().count(), max_commands).then_some(None),
        }
    }

    /// The first command of the host that has the fewest running, so that one host can hold up only itself.
    fn next(&mut self) -> Option<Command> {
        let hosts = self.waiting.iter().map(Command::host);
        let running =
            |host: Host| self.running.values().filter(|running| running.host.is_in(host.network())).count();
        let (place, _) = hosts.enumerate().min_by_key(|(_, host)| running(*host))?;
        self.waiting.remove(place)
    }

    /// Starts waiting commands, as far as there is room.
    pub(super) fn start_waiting(&mut self) {
        self.end_leftovers();
        let holds_back = self.left.is_some_and(|(first, _)| is_over(first, LONGEST));
        while !holds_back
            && self.running.len() < AT_ONCE
            && let Some(command) = self.next()
        {
            match sys::fork() {
                Ok(ForkResult::Child) => self.become_command(&command),
                Ok(ForkResult::Parent { child }) => {
                    let due = Instant::now().checked_add(TIME).unwrap_or_else(Instant::now);
                    self.running.insert(child, Running { due, told: false, host: command.host() });
                }
                Err(_) => self.report(FromHook::NotForked),
            }
        }
    }

    /// In the child: becomes the command.
    fn become_command(&self, command: &Command) -> ! {
        let channel = self.monitor.as_fd();
        let Err(error) = become_command(command, self.orders.commands, &self.surroundings, channel);
        self.report(FromHook::NotStarted { why: error.to_string() });
        lockdown::exit_now(NOT_STARTED)
    }

    /// Reaps the children that have ended.
    pub(super) fn reap(&mut self) {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, status),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid, 0),
                // No child is left: no commands, and no processes that they have started.
                Err(_) => return self.left = None,
                _ => return,
            };
            if self.running.remove(&pid).is_some() {
                // The processes that it has left in its group end with it.
                let _ = killpg(pid, Signal::SIGKILL);
                let now = Instant::now();
                self.left = Some((self.left.map_or(now, |(first, _)| first), now));
                if status == NOT_FOUND {
                    self.report(FromHook::NotFound);
                }
            }
        }
    }

    /// Ends leftovers. Processes that commands leave outside their groups are children of this process, as it is
    /// process 1 of a namespace of its own. They get the time of a command after the last of them ended. After
    /// [`LONGEST`] no command is started until they have ended, so that nothing runs for ever on behalf of a client.
    fn end_leftovers(&mut self) {
        let Some((first, last)) = self.left else { return };
        if self.running.is_empty() && (is_over(last, TIME) || is_over(first, LONGEST)) {
            if std::process::id() == 1 {
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
            self.left = None;
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

    /// Reports news; if the monitor does not read, they are lost and the hook process goes on.
    fn report(&self, news: FromHook) {
        let _ = self.monitor.send(&news);
    }
}

/// Signals the whole group of a command, and the command itself if it has joined another group.
fn signal(pid: Pid, signal: Signal) {
    let _ = killpg(pid, signal);
    let _ = kill(pid, signal);
}

fn is_over(since: Instant, time: Duration) -> bool {
    Instant::now().duration_since(since) >= time
}
