//! From a command line to a locked-down monitor that serves.

pub mod daemonize;
pub mod program;
pub mod report;
pub mod service_manager;

use crate::config::options::{LogTo, Options};
use crate::config::read::{self, Loaded};
use crate::config::trusted_file;
use crate::hook;
use crate::loader;
use crate::monitor::dial::Dials;
use crate::monitor::listen::{self, Listener};
use crate::monitor::lock_down;
use crate::monitor::pool::{Line, Workers};
use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::monitor::resolver::Lookups;
use crate::monitor::routing::Kinds;
use crate::monitor::syslog::Log;
use crate::monitor::{Monitor, Stopping};
use crate::process::namespaces::Ids;
use crate::process::signals::SIGNALS;
use crate::process::{descriptors, terminal};
use crate::spawner::{self, Plan, Spawner};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::getpeername;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_manager::{Environment, Notifier, Source};
use sockd_common::channel::Received;
use sockd_common::message::session::FromSession;
use sockd_common::message::{CHANNEL_FD, LockdownReport, Role};
use sockd_policy::Services;
use sockd_session::about::{self, Greeting};
use sockd_session::config::Config;
use sockd_session::config::default_port;
use sockd_session::keys::Slots;
use sockd_session::limits::counts::Counts;
use sockd_session::limits::rate::RateLimiter;
use sockd_session::sandbox;
use sockd_session::settings::{Commands, Sandbox, Settings};
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why the daemon did not start or could not go on; every line stands alone.
#[derive(Debug)]
pub struct Failure {
    /// What to tell the administrator.
    pub lines: Vec<String>,
    /// Exit status (sysexits.h).
    pub status: i32,
}

impl Failure {
    /// A file of the configuration is at fault.
    pub fn configuration(lines: Vec<String>) -> Self {
        Self { lines, status: 78 }
    }

    /// With the place in the file at fault before its lines.
    fn about(mut self, file: &Path) -> Self {
        if self.status == 78 {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let place = |line: &str| {
                format!("{}: {}{line}", file.display(), sockd_session::settings::line_of(&text, line))
            };
            self.lines.iter_mut().for_each(|line| *line = place(line));
        }
        self
    }

    /// With what to do about it, where a file is at fault.
    fn with_advice(mut self) -> Self {
        if self.status == 78 {
            self.lines.push(
                "not started; `sockd --check` with the same options says when all files are in order".into(),
            );
        }
        self
    }

    /// The system lacks something, or a call failed.
    pub fn system(line: impl ToString) -> Self {
        Self { lines: vec![line.to_string()], status: 71 }
    }
}

/// The daemon's whole life.
pub fn serve(options: &Options) -> Result<(), Failure> {
    let options = options.absolute();
    let environment = Environment::read(std::process::id(), |name| std::env::var_os(name));
    let environment = environment.map_err(Failure::system)?;
    let source = Source::take(&environment).map_err(Failure::system)?;
    let signals = clean_start(&source.kept()).map_err(Failure::system)?;
    let notifier = Notifier::new(&environment).map_err(Failure::system)?;
    let background = if options.daemon { Some(daemonize::fork().map_err(Failure::system)?) } else { None };
    let prepared = prepare(options, signals, notifier, source).map_err(Failure::with_advice)?;
    let Prepared { mut monitor, client, missing } = prepared;
    if let Some(background) = &background {
        background.let_go().map_err(Failure::system)?;
    }
    let locked = lock_down::confine(&monitor.options).map_err(Failure::system)?;
    if !locked.enforced && monitor.config.settings.sandbox == Sandbox::Required {
        return Err(Failure::system("Landlock does not hold for the monitor; see `sandbox` in sockd.ron(5)"));
    }
    match client {
        Some((client, at)) => monitor.serve_only(client, at),
        None => {
            let places: Vec<String> = monitor.listeners.iter().map(Listener::to_string).collect();
            let line = format!("serving on {}: {}", places.join(", "), monitor.config.summary());
            monitor.log.notice(&line);
            if background.is_none() && !monitor.notifier.is_heard() {
                monitor.greet(&missing);
            }
            monitor.log.flush();
        }
    }
    monitor.tell_ready();
    if let Some(background) = background {
        background.serves();
    }
    let ended = monitor.run();
    if let Err(why) = &ended {
        monitor.log.err(&format!("cannot go on: {why}"));
    }
    monitor.write_the_rest();
    if monitor.only_client_of.is_none() {
        monitor.log.notice("stopped");
    }
    monitor.log.finish();
    monitor.remove_pid_file();
    ended.map_err(|why| Failure::system(format!("cannot go on: {why}")))
}

/// A client that is here already, and the address that it connected to.
type Client = (OwnedFd, SocketAddr);

/// A daemon that is ready to lock itself down.
struct Prepared {
    monitor: Monitor,
    /// The one client, where an inetd has handed one over.
    client: Option<Client>,
    /// Layers of the sandbox that this kernel does not have.
    missing: Vec<String>,
}

/// Everything up to the lockdown of the monitor.
fn prepare(
    options: Options,
    signals: SignalFd,
    notifier: Notifier,
    source: Source,
) -> Result<Prepared, Failure> {
    let mut log = Log::new(options.log);
    let settings = settings(&options)?;
    let program = match options.trial {
        true => program::open_to_try(|line| log.err(line)),
        false => program::open(),
    };
    let spawner = start_spawner(&settings, program.map_err(Failure::system)?, |line| log.err(line))
        .map_err(|failure| failure.about(&options.settings))?;
    let loader = loader::start(&options).map_err(Failure::system)?;
    let Loaded { config, remarks, .. } = read::load(&options).map_err(Failure::configuration)?;
    let config = Config { settings, ..config };
    remarks.iter().for_each(|remark| log.err(remark));
    if config.settings.sandbox == Sandbox::Required && !spawner.missing.is_empty() {
        return Err(Failure::system(sandbox::refusal(&spawner.missing)));
    }
    if notifier.is_heard() && config.rules.is_empty() && !options.trial {
        return Err(Failure::configuration(vec![about::no_rules(&options.conf)]));
    }
    let (listeners, client) = listeners(&options, source, &config.services).map_err(Failure::system)?;
    // Lowering it needs CAP_SYS_RESOURCE, which a service manager may have kept; the workers' 500 stays the higher.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-200");
    let runner = start_runner(&options, &config, |line| log.err(line))
        .map_err(|failure| failure.about(&options.settings))?;
    let workers = Workers::new(spawner.channel, descriptor_limit());
    let pid_file = options.pid_file.as_deref().map(write_pid_file).transpose();
    let pid_file = pid_file.map_err(|error| Failure::system(format!("--pid-file: {error}")))?;
    let mut monitor = Monitor {
        options,
        config,
        log,
        reactor: Reactor::new().map_err(Failure::system)?,
        listeners,
        signals,
        kinds: Kinds::new().map_err(|error| Failure::system(format!("rtnetlink: {error}")))?,
        workers,
        visits: Slots::default(),
        counts: Counts::default(),
        rate_limiter: RateLimiter::default(),
        lookups: Lookups::new(),
        queries: Slots::default(),
        dials: Dials::default(),
        unreachable: HashMap::new(),
        runner,
        loader: Some(loader),
        reserve: None,
        pause: None,
        stopping: None,
        pid_file,
        notifier,
        only_client_of: None,
        dismissed: HashMap::new(),
        spare_port: None,
    };
    monitor.watch_everything().map_err(|error| Failure::system(format!("epoll: {error}")))?;
    let locks = monitor.first_worker().map_err(Failure::system)?;
    let missing = sandbox::missing(spawner.missing, &locks);
    if let Some(line) = sandbox::reduced(&missing) {
        monitor.log.err(&line);
    }
    monitor.start_resolver();
    Ok(Prepared { monitor, client, missing })
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

fn settings(options: &Options) -> Result<Settings, Failure> {
    let settings = read::settings(options).map_err(Failure::configuration)?;
    Ok(match options.trial {
        true => Settings { sandbox: Sandbox::BestEffort, ..settings },
        false => settings,
    })
}

/// Whatever the starter left behind must not matter: descriptors, masks, ignored signals, limits.
pub(crate) fn clean_start(kept: &[BorrowedFd<'_>]) -> Result<SignalFd, String> {
    descriptors::close_all_but(kept)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir("/").map_err(|error| format!("chdir /: {error}"))?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
    // The time zone is read now: later no file of it can be opened.
    crate::process::sys::local_time();
    let mut wanted = SigSet::empty();
    for signal in SIGNALS {
        // An ignored signal would never arrive at the descriptor.
        crate::process::sys::default_action(signal).map_err(|error| format!("sigaction: {error}"))?;
        wanted.add(signal);
    }
    crate::process::sys::default_action(Signal::SIGCHLD).map_err(|error| format!("sigaction: {error}"))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&wanted), None)
        .map_err(|error| format!("sigprocmask: {error}"))?;
    SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("signalfd: {error}"))
}

fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Starts the spawner with the workers' program. `warn` is told what the administrator should know.
pub(crate) fn start_spawner(
    settings: &Settings,
    program: OwnedFd,
    warn: impl FnMut(&str),
) -> Result<Spawner, Failure> {
    // Out of the way of the number under which a worker expects its channel.
    let program = rustix::io::fcntl_dupfd_cloexec(&program, CHANNEL_FD.saturating_add(1))
        .map_err(|error| Failure::system(format!("dup: {error}")))?;
    let null = descriptors::open_null().map_err(Failure::system)?;
    let ids = ids(settings, warn)?;
    spawner::start(Plan { program, null, ids }).map_err(Failure::system)
}

/// Starts the command runner where commands may be run.
fn start_runner(
    options: &Options,
    config: &Config,
    warn: impl FnMut(&str),
) -> Result<Option<hook::Channel>, Failure> {
    let settings = config.settings.clone();
    if settings.commands == Commands::Off || options.trial {
        return Ok(None);
    }
    let ids = account(settings.commands_user.as_deref(), "sockd-hook", COMMANDS, warn)?;
    let pid = std::process::id();
    let plan =
        hook::Plan { options: options.clone(), settings, pid, ids, templates: hook::templates(config) };
    hook::start(plan).map(Some).map_err(Failure::system)
}

fn ids(settings: &Settings, warn: impl FnMut(&str)) -> Result<Ids, Failure> {
    let (uid, gid) = account(settings.user.as_deref(), "sockd", WORKERS, warn)?;
    let range = settings.worker_ids.filter(|_| rustix::process::getuid().is_root());
    Ok(Ids { uid, gid, range })
}

/// The setting that names an account, and who runs as it.
const WORKERS: (&str, &str) = ("user", "workers");
const COMMANDS: (&str, &str) = ("commands_user", "rule commands");

/// The accounts that the settings name must be there and unprivileged.
fn accounts(settings: &Settings) -> Result<(), Failure> {
    let named = [(settings.user.as_deref(), WORKERS), (settings.commands_user.as_deref(), COMMANDS)];
    let mut named = named.into_iter().filter(|(name, _)| name.is_some());
    named.try_for_each(|(name, purpose)| account(name, "", purpose, |_| ()).map(drop))
}

/// User and group of the account that `whose` run as: for an ordinary user that user; for root the account of the
/// settings, else the one of the package, else nobody.
fn account(
    wanted: Option<&str>,
    default: &str,
    (setting, whose): (&str, &str),
    mut warn: impl FnMut(&str),
) -> Result<(u32, u32), Failure> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if !uid.is_root() {
        return Ok((uid.as_raw(), gid.as_raw()));
    }
    let user = |name: &str| nix::unistd::User::from_name(name).ok().flatten();
    let name = wanted.unwrap_or(default);
    let found = match (user(name), wanted) {
        (Some(found), _) => found,
        (None, None) => {
            warn(&format!(
                "there is no user {default}; {whose} run as nobody, whom other programs may share"
            ));
            user("nobody")
                .ok_or_else(|| Failure::system(format!("neither the user {default} nor nobody exists")))?
        }
        (None, Some(name)) => {
            let line = format!("{setting}: expected an account for {whose}, found no {name:?} in passwd(5)");
            return Err(Failure::configuration(vec![line]));
        }
    };
    if found.uid.is_root() || found.gid.as_raw() == 0 {
        let line = format!("{setting}: expected an unprivileged account for {whose}, found {name:?}");
        return Err(Failure::configuration(vec![line]));
    }
    Ok((found.uid.as_raw(), found.gid.as_raw()))
}

/// Writes the process id into a new file in the place of an old one; a link or a FIFO there is replaced, not
/// followed. Keeps the folder open for the removal.
fn write_pid_file(path: &Path) -> Result<(OwnedFd, PathBuf), String> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(format!("{}: expected the name of a file", path.display()));
    };
    trusted_file::check_folder(folder).map_err(|error| error.to_string())?;
    let folder = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| at(error.into()))?;
    match rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(at(error.into())),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644))
        .map_err(|error| at(error.into()))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).map_err(|error| at(error.into()))?;
    writeln!(std::fs::File::from(file), "{}", std::process::id()).map_err(at)?;
    Ok((folder, name.into()))
}

impl Monitor {
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
            self.reactor.watch(rustix::stdio::stderr(), Token::Terminal, EventFlags::ONESHOT)?;
        }
        self.reactor.watch(&self.signals, Token::Signals, EventFlags::IN)?;
        self.reactor.watch(&*self.workers.spawner(), Token::Spawner, EventFlags::IN)?;
        if let Some(runner) = &self.runner {
            self.reactor.watch(runner, Token::Runner, EventFlags::IN)?;
        }
        if let Some(loader) = &self.loader {
            self.reactor.watch(loader, Token::Loader, EventFlags::IN)?;
        }
        self.reactor.watch(self.kinds.changes(), Token::Changes, EventFlags::IN)?;
        for (place, listener) in (0u32..).zip(&self.listeners) {
            self.reactor.watch(&listener.socket, Token::Listener(place), EventFlags::IN)?;
        }
        self.resume();
        Ok(())
    }

    /// Starts the first spare worker and waits until it is locked down: a worker of another protocol, or a kernel
    /// that lacks what the settings require, is found out before the first client is.
    pub(crate) fn first_worker(&mut self) -> Result<LockdownReport, String> {
        const LIMIT: Duration = Duration::from_secs(20);
        let index = self.spawn(Role::Session).ok_or("the first worker cannot be started")?;
        self.workers.keep_spare(index);
        let begun = Instant::now();
        loop {
            let worker = self.workers.worker(index).ok_or("the first worker is gone")?;
            let Line::Session(link) = &worker.line else {
                return Err("the first worker has another role".into());
            };
            match link.receive() {
                Ok(Received::Message(FromSession::Ready(locks), _)) => {
                    sandbox::acceptable(&locks, &self.config.settings)?;
                    self.workers.mark_ready(index);
                    return Ok(locks);
                }
                Ok(Received::Nothing) if begun.elapsed() < LIMIT => {}
                Ok(Received::Nothing) => return Err("the first worker is not ready in time".into()),
                Ok(_) => return Err(format!("the first worker has ended: {}", self.first_ending())),
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
        let spawner = &*self.workers.spawner();
        let _ = poll(&mut [PollFd::new(spawner, PollFlags::IN)], Some(&wait));
        match spawner.receive() {
            Ok(Received::Message(spawner::FromSpawner::Ended { how, .. }, _)) => how.to_string(),
            _ => "and the spawner does not tell how".into(),
        }
    }

    fn remove_pid_file(&mut self) {
        if let Some((folder, name)) = self.pid_file.take() {
            // Somebody else has removed it where this fails.
            let _ = rustix::fs::unlinkat(&folder, &name, rustix::fs::AtFlags::empty());
        }
    }
}

/// Reads everything and says what would run.
pub fn check(options: &Options) -> Result<(), Failure> {
    let options = options.absolute();
    let Loaded { config, remarks, .. } = read::load(&options).map_err(Failure::configuration)?;
    accounts(&config.settings).map_err(|failure| failure.about(&options.settings))?;
    println!("{}: {}", options.conf.display(), config.summary());
    let places: Vec<String> = options.listen.iter().map(ToString::to_string).collect();
    match places.is_empty() {
        true => println!("listens on port {} of every address", default_port(&config.services)),
        false => println!("listens on {}", places.join(", ")),
    }
    println!("asks identd: {:?}; isolation: {:?}", config.ident_default, config.settings.isolation);
    for remark in remarks.into_iter().chain(read::doubts(&options, &config)) {
        println!("warning: {remark}");
    }
    Ok(())
}
