//! From a command line to a locked-down monitor that serves.

pub mod account;
pub mod check;
pub mod clean_start;
pub mod daemonize;
pub mod pid_file;
pub mod program;
pub mod service_manager;

use crate::config::options::{LogTo, Options};
use crate::config::read::{self, Loaded};
use crate::hook;
use crate::hook::handle::Hook;
use crate::hook::orders::{self, Orders};
use crate::loader;
use crate::loader::handle::Loader;
use crate::monitor::base::Base;
use crate::monitor::bind_port::BindPorts;
use crate::monitor::dial::Dials;
use crate::monitor::listen::{self, Listener};
use crate::monitor::lock_down;
use crate::monitor::pool::{Line, Workers};
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::resolver::Lookups;
use crate::monitor::routing::Kinds;
use crate::monitor::syslog::Log;
use crate::monitor::{Monitor, Stopping};
use crate::process::child::Server;
use crate::process::error::StartError;
use crate::process::terminal;
use crate::spawner;
use crate::spawner::protocol::{Channel, FromSpawner};
use crate::start::clean_start::clean_start;
use crate::start::pid_file::PidFile;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::getpeername;
use rustix::process::{Resource, getrlimit};
use service_manager::{Environment, Notifier, Source};
use sockd_common::channel::Received;
use sockd_common::message::session::FromSession;
use sockd_common::message::{LockdownReport, Role};
use sockd_policy::Services;
use sockd_session::about::Greeting;
use sockd_session::config::Config;
use sockd_session::keys::Slots;
use sockd_session::limits::counts::Counts;
use sockd_session::limits::rate::RateLimiter;
use sockd_session::sandbox;
use sockd_session::settings::{Sandbox, Settings};
use sockd_session::unreachable::Unreachable;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The daemon's whole life.
pub fn serve(options: &Options) -> Result<(), StartError> {
    let options = options.absolute();
    let environment = Environment::read(std::process::id(), |name| std::env::var_os(name));
    let environment = environment.map_err(StartError::system)?;
    let source = Source::take(&environment).map_err(StartError::system)?;
    let signals = clean_start(&source.kept())?;
    let notifier = Notifier::new(&environment).map_err(StartError::system)?;
    let background = if options.daemon { Some(daemonize::fork()?) } else { None };
    let queues = source.queues().map_err(StartError::system)?;
    let prepared = prepare(options, signals, notifier, source).map_err(with_advice);
    let prepared = prepared.inspect_err(|error| service_manager::turn_away(error, &queues))?;
    drop(queues);
    let Prepared { mut monitor, client, missing, pid_file } = prepared;
    if let Some(background) = &background {
        background.let_go()?;
    }
    let locked = lock_down::confine(&monitor.options).map_err(StartError::system)?;
    if !locked.enforced && monitor.base.config.settings.sandbox == Sandbox::Required {
        return Err(StartError::system(
            "Landlock does not hold for the monitor; see `sandbox` in sockd.ron(5)",
        ));
    }
    match client {
        Some((client, at)) => monitor.serve_only(client, at),
        None => monitor.announce(background.is_none(), &missing),
    }
    monitor.tell_ready();
    if let Some(background) = background {
        background.serves();
    }
    let ended = monitor.run();
    if let Err(why) = &ended {
        monitor.base.log.err(&format!("cannot go on: {why}"));
    }
    monitor.write_the_rest();
    if monitor.only_client_of.is_none() {
        monitor.base.log.notice("stopped");
    }
    monitor.base.log.finish();
    pid_file.into_iter().for_each(PidFile::remove);
    ended.map_err(|why| StartError::system(format!("cannot go on: {why}")))
}

/// A client that is here already, and the address that it connected to.
type Client = (OwnedFd, SocketAddr);

/// What serves, and what begins and ends with it.
struct Prepared {
    monitor: Monitor,
    /// The one client, where an inetd has handed one over.
    client: Option<Client>,
    /// Layers of the sandbox that this kernel does not have.
    missing: Vec<String>,
    pid_file: Option<PidFile>,
}

/// Everything up to the lockdown of the monitor.
fn prepare(
    options: Options,
    signals: SignalFd,
    notifier: Notifier,
    source: Source,
) -> Result<Prepared, StartError> {
    let mut log = Log::new(options.log);
    let settings = settings(&options)?;
    let (others, config) = start_others(&options, settings, &mut log)?;
    if config.settings.sandbox == Sandbox::Required && !others.missing.is_empty() {
        return Err(StartError::system(sandbox::refusal(&others.missing)));
    }
    let (listeners, client) = listeners(&options, source, &config.services).map_err(StartError::system)?;
    // Lowering it needs CAP_SYS_RESOURCE, which a service manager may have kept; the workers' 500 stays the higher.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-200");
    let Others { spawner, loader, hook, missing } = others;
    let workers = Workers::new(spawner, descriptor_limit());
    let pid_file = options.pid_file.as_deref().map(PidFile::write).transpose()?;
    let reactor = Reactor::new().map_err(StartError::system)?;
    let counts = Counts::default();
    let base = Base { config, log, reactor, workers, counts, dials: Dials::default() };
    let mut monitor = Monitor {
        options,
        base,
        listeners,
        signals,
        kinds: Kinds::new().map_err(|error| StartError::system(format!("rtnetlink: {error}")))?,
        visits: Slots::default(),
        rate_limiter: RateLimiter::default(),
        lookups: Lookups::new(),
        queries: Slots::default(),
        bind_ports: BindPorts::default(),
        unreachable: Unreachable::default(),
        hook,
        loader: Some(loader),
        reserve: None,
        pause: None,
        stopping: None,
        notifier,
        only_client_of: None,
        dismissed: HashMap::new(),
    };
    monitor.watch_everything().map_err(|error| StartError::system(format!("epoll: {error}")))?;
    let locks = monitor.first_worker().map_err(StartError::system)?;
    let missing = sandbox::missing(missing, &locks);
    if let Some(line) = sandbox::reduced(&missing) {
        monitor.base.log.err(&line);
    }
    monitor.start_resolver();
    Ok(Prepared { monitor, client, missing, pid_file })
}

/// The processes beside the monitor.
struct Others {
    spawner: Channel,
    loader: Loader,
    hook: Option<Hook>,
    /// Layers of the sandbox that the kernel does not have for one of them.
    missing: Vec<String>,
}

/// Starts them, and reads the configuration. The spawner comes first, which needs to know least.
fn start_others(
    options: &Options,
    settings: Settings,
    log: &mut Log,
) -> Result<(Others, Config), StartError> {
    let placed = |error| read::placed(error, &options.settings);
    account::check(&settings).map_err(placed)?;
    let ids = account::of_workers(&settings, |line| log.err(line)).map_err(placed)?;
    let program = match options.trial {
        true => program::open_to_try(|line| log.err(line)),
        false => program::open(),
    };
    let Server { channel: spawner, mut missing, .. } = spawner::start(program?, ids)?;
    let (teller, told) = orders::channel()?;
    let (loader, lacking) = loader::start(options, teller)?;
    missing.extend(lacking);
    let Loaded { config, remarks, .. } = read::load(options).map_err(StartError::configuration)?;
    let config = Config { settings, ..config };
    remarks.iter().for_each(|remark| log.err(remark));
    let mut hook = None;
    if config.runs_hooks() && !options.trial {
        let user = account::of_commands(&config.settings, ids, |line| log.err(line)).map_err(placed)?;
        if let Some(user) = user {
            let (started, lacking) = hook::start(Orders::of(&config), told, user)?;
            hook = Some(started);
            missing.extend(lacking);
        }
    }
    Ok((Others { spawner, loader, hook, missing }, config))
}

/// With what to do about it, where a file is at fault.
fn with_advice(mut error: StartError) -> StartError {
    if error.status == 78 {
        let advice = "not started; `sockd --check` with the same options says when all files are in order";
        error.lines.push(advice.into());
    }
    error
}

/// The sockets that clients come to, handed over or opened; or the one client that is here already.
fn listeners(
    options: &Options,
    source: Source,
    services: &Services,
) -> Result<(Vec<Listener>, Option<Client>), String> {
    let trial = [(std::net::Ipv4Addr::LOCALHOST, 1080).into()];
    let listen = if options.trial && options.listen.is_empty() { &trial } else { options.listen.as_slice() };
    Ok(match source {
        Source::Client(client) => {
            let at = service_manager::prepare(&client).map_err(|error| format!("descriptor 0: {error}"))?;
            (Vec::new(), Some((client, SocketAddr::new(sockd_policy::canonical(at.ip()), at.port()))))
        }
        Source::Sockets(sockets) => {
            let mut listeners = service_manager::listeners(sockets)?;
            if !listen.is_empty() {
                listeners.extend(listen::open(listen, services)?);
            }
            (listeners, None)
        }
        Source::Standalone => (listen::open(listen, services)?, None),
    })
}

fn settings(options: &Options) -> Result<Settings, StartError> {
    let settings = read::settings(options).map_err(StartError::configuration)?;
    Ok(match options.trial {
        true => Settings { sandbox: Sandbox::BestEffort, ..settings },
        false => settings,
    })
}

fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Monitor {
    /// Says that it serves, and where.
    fn announce(&mut self, in_foreground: bool, missing: &[String]) {
        let places: Vec<String> = self.listeners.iter().map(Listener::to_string).collect();
        let line = format!("serving on {}: {}", places.join(", "), self.base.config.summary());
        self.base.log.notice(&line);
        if in_foreground && !self.notifier.is_heard() {
            self.greet(missing);
        }
        self.base.log.flush();
    }

    /// Tells the terminal what whoever started the daemon there wants to know.
    fn greet(&self, missing: &[String]) {
        let places: Vec<SocketAddr> = self.listeners.iter().map(|listener| listener.address).collect();
        let log = match self.options.log {
            LogTo::Syslog => "syslog (/dev/log), facility daemon",
            LogTo::Stderr => "standard error",
        };
        let trial = self.options.trial;
        let greeting = Greeting { trial, places: &places, missing, log, pid: std::process::id() };
        // Nobody waits for a terminal that has no room.
        let _ = terminal::write_now(rustix::stdio::stdout(), greeting.to_string().as_bytes());
    }

    /// Serves the one client that inetd has handed over, and ends when it has gone.
    fn serve_only(&mut self, client: OwnedFd, at: SocketAddr) {
        self.only_client_of = Some(SocketAddr::new(sockd_policy::canonical(at.ip()), at.port()));
        let peer = getpeername(&client).ok().flatten();
        self.welcome(client, peer, at);
        // Nothing else is to come: this is a stop that has all the time it needs.
        let far =
            Instant::now().checked_add(Duration::from_secs(u32::MAX.into())).unwrap_or_else(Instant::now);
        self.stopping = Some(Stopping { grace_ends: far, told: false });
    }

    fn watch_everything(&mut self) -> rustix::io::Result<()> {
        // A trial ends with its terminal. Of a hang-up epoll tells unasked, also where no signal comes.
        if self.options.trial && rustix::termios::isatty(rustix::stdio::stderr()) {
            self.base.reactor.watch(rustix::stdio::stderr(), Token::Terminal, EventFlags::ONESHOT)?;
        }
        self.base.reactor.watch(&self.signals, Token::Signals, EventFlags::IN)?;
        self.base.reactor.watch(&*self.base.workers.spawner(), Token::Spawner, EventFlags::IN)?;
        if let Some(hook) = &self.hook {
            self.base.reactor.watch(hook, Token::Hook, EventFlags::IN)?;
        }
        if let Some(loader) = &self.loader {
            self.base.reactor.watch(loader, Token::Loader, EventFlags::IN)?;
        }
        self.base.reactor.watch(self.kinds.changes(), Token::Changes, EventFlags::IN)?;
        for (place, listener) in (0u32..).zip(&self.listeners) {
            self.base.reactor.watch(&listener.socket, Token::Listener(place), EventFlags::IN)?;
        }
        self.resume();
        Ok(())
    }

    /// Starts the first spare worker and waits until it is locked down: a worker of another protocol, or a kernel
    /// that lacks what the settings require, is found out before the first client is.
    pub(crate) fn first_worker(&mut self) -> Result<LockdownReport, String> {
        const LIMIT: Duration = Duration::from_secs(20);
        let index = self.spawn(Role::Session).ok_or("no worker can be started")?;
        self.base.workers.keep_spare(index);
        let begun = Instant::now();
        loop {
            let worker = self.base.workers.worker(index).ok_or("the first worker is gone")?;
            let Line::Session(link) = &worker.line else {
                return Err("the first worker has another role".into());
            };
            match link.receive() {
                Ok(Received::Message(FromSession::Ready(locks), _)) => {
                    sandbox::acceptable(&locks, &self.base.config.settings)?;
                    self.base.workers.mark_ready(index);
                    return Ok(locks);
                }
                Ok(Received::Nothing) if begun.elapsed() < LIMIT => {}
                Ok(Received::Nothing) => {
                    return Err("the first sockd-worker is not ready within 20 seconds".into());
                }
                Ok(_) => return Err(format!("the first sockd-worker has ended: {}", self.first_ending())),
                Err(error) => return Err(format!("the first worker: {error}")),
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            poll(&mut [PollFd::new(&worker.as_fd(), PollFlags::IN)], Some(&wait))
                .map_err(|error| format!("poll: {error}"))?;
        }
    }

    /// How the first worker ended, as the spawner tells it within a moment.
    fn first_ending(&mut self) -> String {
        let wait = Timespec { tv_sec: 5, tv_nsec: 0 };
        let spawner = &*self.base.workers.spawner();
        let _ = poll(&mut [PollFd::new(spawner, PollFlags::IN)], Some(&wait));
        match spawner.receive() {
            Ok(Received::Message(FromSpawner::Ended { how, .. }, _)) => how.to_string(),
            _ => "and the spawner does not tell how".into(),
        }
    }
}
