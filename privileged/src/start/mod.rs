//! The start: from a command line to a locked-down monitor that serves.

pub mod account;
pub mod check;
pub mod clean_start;
pub mod counters;
pub mod daemonize;
pub mod doors;
pub mod first_worker;
pub mod listen;
pub mod panic;
pub mod program;
pub mod reload;
pub mod service_manager;
pub mod starter;
pub mod taken;

use crate::config::options::{LogTo, Options};
use crate::config::pid_file::{self, PidFile};
use crate::config::read::{self, Loaded};
use crate::hook;
use crate::hook::handle::Hook;
use crate::hook::orders::{self, Orders};
use crate::loader;
use crate::loader::users::Table;
use crate::log::Log;
use crate::monitor::Monitor;
use crate::monitor::base::Base;
use crate::monitor::clients::{Clients, Listener};
use crate::monitor::lock_down::lock_down;
use crate::monitor::pool::Workers;
use crate::monitor::reload::Reload;
use crate::monitor::serving::Serving;
use crate::monitor::takeover::Takeover;
use crate::process::child::Server;
use crate::process::descriptors;
use crate::process::error::StartError;
use crate::process::notify::Notifier;
use crate::process::terminal;
use crate::spawner;
use crate::spawner::protocol::Channel;
use crate::start::account::UserGroup;
use crate::start::clean_start::clean_start;
use crate::start::starter::Starter;
use nix::sys::signalfd::SignalFd;
use rustix::process::{Resource, getrlimit};
use service_manager::{Environment, Source};
use sockd_policy::Services;
use sockd_session::about::Greeting;
use sockd_session::config::Config;
use sockd_session::sandbox;
use sockd_session::settings::{Sandbox, Settings};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Runs the daemon from its start to its end.
pub fn serve(options: &Options) -> Result<(), StartError> {
    let environment = Environment::read(std::process::id(), |name| std::env::var_os(name))?;
    let source = Source::take(&environment)?;
    let signals = clean_start(&source.kept())?;
    let notifier = environment.notifier()?;
    let starter = Starter::fork(options, &notifier)?;
    let queues = source.queues().map_err(StartError::system)?;
    let is_heard = notifier.is_heard();
    let prepared = prepare(options, signals, notifier, source).map_err(with_advice);
    let prepared = prepared.inspect_err(|error| service_manager::turn_away(error, &queues));
    drop(queues);
    // After the lockdown the loader does this when it ends.
    let prepared = prepared.inspect_err(|_| {
        options.pid_file.iter().for_each(|path| pid_file::give_up(path, std::process::id()));
    });
    match prepared.and_then(|prepared| begin(options, prepared, &starter, is_heard)) {
        Ok(begun) => {
            drop(starter);
            run(begun)
        }
        Err(error) => {
            starter.failed(&error);
            Err(error)
        }
    }
}

/// Locks the monitor down, and begins to serve. Until then nothing has changed for a daemon that is taken over.
fn begin(
    options: &Options,
    mut prepared: Prepared,
    starter: &Starter,
    is_heard: bool,
) -> Result<Prepared, StartError> {
    let Prepared { monitor, places, client, user, missing, .. } = &mut prepared;
    if let Some(path) = options.pid_file.as_deref().filter(|_| options.takeover) {
        pid_file::put(path, std::process::id())?;
    }
    starter.let_go(options, is_heard)?;
    let locked = lock_down(*user)?;
    if !locked.enforced && monitor.serving.base.config.settings.sandbox == Sandbox::Required {
        return Err(StartError::system(
            "Landlock does not hold for the monitor; see `sandbox` in sockd.ron(5)",
        ));
    }
    monitor.may_take_over()?;
    starter.is_ready()?;
    match client.take() {
        Some((client, at)) => monitor.serve_only(client, at),
        None => {
            announce(places, &mut monitor.serving.base);
            if starter.is_nobody() && !is_heard {
                greet(options, places, missing);
            }
            monitor.serving.base.log.flush();
        }
    }
    monitor.tell_ready();
    monitor.take_over()?;
    starter.serves();
    Ok(prepared)
}

/// Serves until the end.
fn run(Prepared { mut monitor, places, pid_file, .. }: Prepared) -> Result<(), StartError> {
    let ended = monitor.run().map_err(|why| format!("cannot go on: {why}"));
    if let Err(line) = &ended {
        monitor.serving.base.log.err(line);
    }
    monitor.serving.write_the_rest();
    if !places.is_empty() {
        monitor.serving.base.log.notice("stopped");
    }
    monitor.serving.base.log.finish();
    monitor.end();
    drop(pid_file);
    Ok(ended?)
}

/// A client that has connected already, and the address that it connected to.
type Client = (OwnedFd, SocketAddr);

/// The monitor, and everything that begins and ends with it.
struct Prepared {
    monitor: Monitor,
    /// The addresses of the listeners, and their texts; none for the daemon of a single client.
    places: Vec<(SocketAddr, String)>,
    /// That client, which an inetd has handed over.
    client: Option<Client>,
    /// The account that it serves as.
    user: Option<UserGroup>,
    /// Layers of the sandbox that this kernel does not support.
    missing: Vec<String>,
    pid_file: Option<PidFile>,
}

/// Prepares everything up to the lockdown of the monitor.
fn prepare(
    options: &Options,
    signals: SignalFd,
    mut notifier: Notifier,
    source: Source,
) -> Result<Prepared, StartError> {
    let mut log = Log::new(options.log);
    let settings = settings(options)?;
    log.set_format(settings.log_format);
    let (others, config) = start_others(options, settings, &mut log)?;
    if config.settings.sandbox == Sandbox::Required && !others.missing.is_empty() {
        return Err(StartError::system(sandbox::refusal(&others.missing)));
    }
    let Sockets { listeners, client, takeover, doors, is_closed } =
        sockets(options, source, &config.services, &mut notifier, &mut log)?;
    let places: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
    if let Some(lacking) = config.settings.lacks_listener(&places) {
        return Err(read::placed(StartError::configuration(vec![lacking]), &options.settings));
    }
    // Lowering the score needs CAP_SYS_RESOURCE, which a service manager may have kept; the workers' 500 stays higher.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-200");
    let Others { spawner, loader, hook, users, user, missing } = others;
    let workers = Workers::new(spawner, descriptor_limit());
    let pid_file = options.pid_file.as_deref().map(|path| own_pid_file(options, path)).transpose()?;
    let (counting, counters) = counters::begin(listeners.iter().map(|listener| listener.address));
    let base = Base::new(config, log, workers, options.trial, counting);
    let mut base = base.map_err(StartError::at("epoll"))?;
    let locks = first_worker::start(&mut base)?;
    let missing = sandbox::missing(missing, &locks);
    if let Some(line) = sandbox::reduced(&missing) {
        base.log.err(&line);
    }
    let at = StartError::at("the monitor");
    let places = listen::places(&listeners);
    let mut serving = Serving::new(base, Clients::new(listeners), hook, loader.copies).map_err(at)?;
    users.into_iter().for_each(|users| serving.take_users(users));
    if !options.trial && client.is_none() {
        let runtime = options.runtime_dir.clone().map(Into::into);
        let runtime = runtime.or_else(|| std::env::var_os("RUNTIME_DIRECTORY"));
        doors::open(&mut serving, counters, runtime, doors)?;
    }
    if is_closed {
        serving.stay_closed();
    }
    let monitor = Monitor::new(serving, Reload::new(loader.loader), takeover, notifier, signals);
    let monitor = monitor.map_err(StartError::at("epoll"))?;
    Ok(Prepared { monitor, places, client, user, missing, pid_file })
}

/// The processes beside the monitor.
struct Others {
    spawner: Channel,
    loader: loader::Started,
    hook: Hook,
    /// The users who may log in, if any.
    users: Option<Table>,
    /// The account that the monitor serves as.
    user: Option<UserGroup>,
    /// Layers of the sandbox that the kernel does not support for one of them.
    missing: Vec<String>,
}

/// Starts them, and reads the configuration. The spawner comes first, as it needs to know least.
fn start_others(
    options: &Options,
    settings: Settings,
    log: &mut Log,
) -> Result<(Others, Config), StartError> {
    let placed = |error| read::placed(error, &options.settings);
    account::check(&settings).map_err(placed)?;
    let ids = account::of_workers(&settings, |line| log.err(line)).map_err(placed)?;
    let user = account::of_monitor(&settings, ids, |line| log.err(line)).map_err(placed)?;
    let program = match options.trial {
        true => program::open_to_try(|line| log.err(line)),
        false => program::open(),
    };
    let Server { channel: spawner, mut missing, .. } = spawner::start(program?, ids)?;
    let (teller, told) = orders::channel()?;
    let users = File::from(descriptors::sealable("sockd-users").map_err(StartError::at("memfd"))?);
    let loader = loader::start(options, &teller, Some(&users))?;
    missing.extend_from_slice(&loader.missing);
    let Loaded { config, remarks, .. } = read::load(options)?;
    let config = Config { settings, ..config };
    remarks.iter().for_each(|remark| log.err(remark));
    let mut hook = Hook::default();
    if config.runs_hooks() && !options.trial {
        let owner =
            account::of_commands(&config.settings, ids, user, |line| log.err(line)).map_err(placed)?;
        if let Some(owner) = owner {
            let started = hook::start(Orders::of(&config), told, owner)?;
            hook = Hook::new(started.channel);
            missing.extend(started.missing);
        }
    }
    let users = loader::users::first(users.into());
    Ok((Others { spawner, loader, hook, users, user, missing }, config))
}

/// Adds advice to the error, if a file is at fault.
fn with_advice(mut error: StartError) -> StartError {
    if error.is_configuration() {
        let advice = "not started; `sockd --check` with the same options says when all files are in order";
        error.lines.push(advice.into());
    }
    error
}

/// Writes the process id file. The control process, if any, replaces another daemon's when nothing can fail any more.
fn own_pid_file(options: &Options, path: &Path) -> Result<PidFile, StartError> {
    if takes_over(options) { PidFile::write_aside(path) } else { PidFile::write(path) }
}

fn takes_over(options: &Options) -> bool {
    options.takeover || options.reload
}

/// The sockets that other programs connect to.
struct Sockets {
    listeners: Vec<Listener>,
    /// The one client that has connected already.
    client: Option<Client>,
    takeover: Takeover,
    /// The sockets for administrators of an earlier daemon.
    doors: Vec<OwnedFd>,
    /// Whether that daemon was ordered not to serve clients.
    is_closed: bool,
}

/// Opens the sockets, or takes them over.
fn sockets(
    options: &Options,
    source: Source,
    services: &Services,
    notifier: &mut Notifier,
    log: &mut Log,
) -> Result<Sockets, String> {
    if takes_over(options) {
        let taken = taken::take(options, notifier)?;
        let takeover = taken::room(Some(taken.socket), taken.older, notifier);
        let (handed_over, own) = taken::listeners(taken.listeners)?;
        let listeners = listen::open(handed_over, own, &options.listen, services)?;
        let (doors, is_closed) = (taken.doors, taken.is_closed);
        return Ok(Sockets { listeners, client: None, takeover, doors, is_closed });
    }
    let takeover = match options.trial || source.is_of_inetd() {
        true => Takeover::default(),
        false => taken::room(taken::own_socket(options, log), Vec::new(), notifier),
    };
    let (listeners, client) = listeners(options, source, services)?;
    Ok(Sockets { listeners, client, takeover, doors: Vec::new(), is_closed: false })
}

/// The sockets that clients connect to, handed over or opened; or the one client that has connected already.
fn listeners(
    options: &Options,
    source: Source,
    services: &Services,
) -> Result<(Vec<Listener>, Option<Client>), String> {
    let trial = [(std::net::Ipv4Addr::LOCALHOST, 1080).into()];
    let listen = if options.trial && options.listen.is_empty() { &trial } else { options.listen.as_slice() };
    let handed_over = match source {
        Source::Client(client) => {
            let at = service_manager::prepare(&client).map_err(|error| format!("descriptor 0: {error}"))?;
            let at = SocketAddr::new(sockd_policy::canonical(at.ip()), at.port());
            return Ok((Vec::new(), Some((client, at))));
        }
        Source::Sockets(sockets) => service_manager::listeners(sockets)?,
        Source::Standalone => Vec::new(),
    };
    Ok((listen::open(handed_over, Vec::new(), listen, services)?, None))
}

fn settings(options: &Options) -> Result<Settings, StartError> {
    let settings = read::settings(options)?;
    Ok(match options.trial {
        true => Settings { sandbox: Sandbox::BestEffort, ..settings },
        false => settings,
    })
}

fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Logs that the daemon serves, and where.
fn announce(places: &[(SocketAddr, String)], base: &mut Base) {
    let places: Vec<&str> = places.iter().map(|(_, place)| place.as_str()).collect();
    base.log.notice(&format!("serving on {}: {}", places.join(", "), base.config.summary()));
}

/// Greets the user who has started the daemon at a terminal.
fn greet(options: &Options, places: &[(SocketAddr, String)], missing: &[String]) {
    let log = match options.log {
        LogTo::Syslog => "syslog (/dev/log), facility daemon",
        LogTo::Journal => "the journal (/run/systemd/journal/socket)",
        LogTo::Stderr => "standard error",
    };
    let greeting = Greeting { trial: options.trial, places, missing, log, pid: std::process::id() };
    // The write does not wait for a terminal without room.
    let _ = terminal::write_now(rustix::stdio::stdout(), greeting.to_string().as_bytes());
}
