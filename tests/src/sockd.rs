//! The daemon, started on a gateway as an administrator starts it.

use crate::host::Host;
use crate::procfs::{self, Process};
use crate::program::Program;
use crate::wait::until_true;
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

const CONF: &str = "/etc/sockd.conf";
const ROUTE: &str = "/etc/sockd.route";
const SETTINGS: &str = "/etc/sockd.ron";
const UPSTREAM: &str = "/etc/socks.conf";
const PASSWD: &str = "/etc/sockd.passwd";
const STDERR: &str = "/run/sockd.stderr";

/// Any client may go anywhere that no guard forbids.
pub const PERMIT_ALL: &str = "permit 0.0.0.0 0.0.0.0\n";

/// The number of the group that may look at the sessions.
pub const ADMINISTRATORS: u32 = 64126;

/// The number of the group that may read the counters.
pub const EXPORTERS: u32 = 64127;

/// The files and words that the daemon is started with. The files lie at their default places.
#[derive(Clone)]
pub struct Start {
    host: Host,
    words: Vec<String>,
    port: u16,
    program: PathBuf,
    traces: Option<PathBuf>,
    clocks: Option<Clocks>,
    runtime: Option<PathBuf>,
}

/// The seconds by which a program's clocks are ahead, in a time namespace of its own (time_namespaces(7)).
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// CLOCK_MONOTONIC.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME.
    pub boottime: i64,
}

impl Clocks {
    /// Runs a program under these clocks. It enters the namespace at its exec, with Linux 6.1 and later.
    fn run(self, program: &Path) -> Command {
        let mut unshare = Command::new("unshare");
        unshare.args(["--time", &format!("--monotonic={}", self.monotonic)]);
        unshare.arg(format!("--boottime={}", self.boottime)).arg(program);
        unshare
    }

    /// Whether a program that is started here sees these clocks.
    pub fn move_this_program(self) -> bool {
        let uptime = |text: &[u8]| -> Option<f64> {
            String::from_utf8_lossy(text).split_whitespace().next()?.parse().ok()
        };
        let own = fs::read("/proc/uptime").ok().and_then(|text| uptime(&text));
        let moved = self.run(Path::new("cat")).arg("/proc/uptime").output().ok();
        let moved = moved.and_then(|output| uptime(&output.stdout));
        own.zip(moved).is_some_and(|(own, moved)| moved - own > self.boottime as f64 / 2.0)
    }
}

impl Start {
    /// On `host`, with the rules in `conf`, listening at the default port of all addresses.
    pub fn new(host: &Host, conf: &str) -> Self {
        host.write(CONF, conf);
        Self::bare(host)
    }

    /// With the existing files.
    pub fn bare(host: &Host) -> Self {
        Self {
            host: host.clone(),
            words: Vec::new(),
            port: 1080,
            program: program("sockd"),
            traces: None,
            clocks: None,
            runtime: None,
        }
    }

    /// With `--trial`.
    pub fn trial(host: &Host) -> Self {
        Self::bare(host).words("--trial")
    }

    /// With this route file.
    pub fn route(self, route: &str) -> Self {
        self.host.write(ROUTE, route);
        self
    }

    /// With these upstream lines.
    pub fn upstream(self, lines: &str) -> Self {
        self.host.write(UPSTREAM, lines);
        self
    }

    /// With these users, in a file that only root can read.
    pub fn users(self, lines: &str) -> Self {
        write_users(&self.host, lines);
        self
    }

    /// With this settings file.
    pub fn settings(self, settings: &str) -> Self {
        self.host.write(SETTINGS, settings);
        self
    }

    /// With a runtime directory, as a unit provides it, and the groups of administrators and exporters.
    pub fn runtime_directory(self, path: &str) -> Self {
        self.host.account("sockd-adm", ADMINISTRATORS, "/nonexistent");
        self.host.account("sockd-exporter", EXPORTERS, "/nonexistent");
        self.host.run(|| fs::create_dir_all(path)).expect("a folder");
        self.host.run(|| fs::set_permissions(path, fs::Permissions::from_mode(0o755))).expect("permissions");
        Self { runtime: Some(path.into()), ..self }
    }

    /// With more words on the command line, separated by blanks.
    pub fn words(mut self, words: &str) -> Self {
        self.words.extend(words.split(' ').map(str::to_owned));
        self
    }

    /// The port to wait for if it is not 1080.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// With another program in the place of `sockd-worker`: all are copied into one folder, as in a build tree.
    pub fn worker(self, worker: impl AsRef<Path>) -> Self {
        let program = install(&self.host, worker.as_ref()).into();
        Self { program, ..self }
    }

    /// Under strace(1), which writes the system calls of each process to a file of its own in this folder. The tracer
    /// stands aside: the daemon stays the process that was started.
    pub fn traced(self, folder: &Path) -> Self {
        Self { traces: Some(folder.into()), ..self }
    }

    /// With clocks of its own.
    pub fn clocks(self, clocks: Clocks) -> Self {
        Self { clocks: Some(clocks), ..self }
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Sockd {
        let mut command = match (&self.traces, self.clocks) {
            (None, None) => Command::new(&self.program),
            (None, Some(clocks)) => clocks.run(&self.program),
            (Some(folder), _) => {
                let mut strace = Command::new("strace");
                strace
                    .args(["-D", "-ff", "-qq", "-s", "16", "-o"])
                    .arg(folder.join("trace"))
                    .arg(&self.program);
                strace
            }
        };
        let stderr = self.host.run(|| File::create(STDERR)).expect("a file for stderr");
        command.envs(self.runtime.iter().map(|path| ("RUNTIME_DIRECTORY", path)));
        command.args(&self.words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let program = self.host.start(&mut command);
        let mut sockd = Sockd { host: self.host.clone(), program };
        until_true("sockd listens", || {
            if let Some(status) = sockd.program.ended() {
                panic!("sockd ended instead of listening: {status}: {}", sockd.said());
            }
            procfs::listens(&self.host, self.port)
        });
        sockd
    }

    /// Runs it to its end, which has to come by itself.
    pub fn output(self) -> Output {
        self.host.output(Command::new(&self.program).args(&self.words))
    }
}

/// The file of users, readable for root alone.
pub fn write_users(host: &Host, lines: &str) {
    host.write(PASSWD, lines);
    host.run(|| fs::set_permissions(PASSWD, fs::Permissions::from_mode(0o600))).expect("permissions");
}

/// The running daemon.
pub struct Sockd {
    host: Host,
    program: Program,
}

impl Sockd {
    /// The monitor: the process that was started.
    pub fn monitor(&self) -> Process {
        Process(self.program.pid())
    }

    /// The spawner: the monitor's only child.
    pub fn spawner(&self) -> Process {
        let parent = self.program.pid().to_string();
        let family = self.family();
        let child = family.iter().find(|process| process.status().get("PPid") == Some(&parent));
        *child.expect("a spawner")
    }

    /// The loader: it shares memory with the monitor.
    pub fn loader(&self) -> Process {
        let holds_memory =
            |process: &Process| process.descriptors().values().any(|target| target.contains("memfd:sockd"));
        self.family().into_iter().find(holds_memory).expect("a loader")
    }

    /// The hook process: the monitor's third child.
    pub fn hook_process(&self) -> Process {
        let parent = self.program.pid().to_string();
        let others = [self.spawner(), self.loader()];
        let child = |process: &Process| process.status().get("PPid") == Some(&parent);
        let family = self.family();
        let hook = family.into_iter().find(|process| child(process) && !others.contains(process));
        hook.expect("a hook process")
    }

    /// Spawner and workers.
    pub fn family(&self) -> Vec<Process> {
        self.monitor().descendants()
    }

    /// All workers of a role, as their command lines have it.
    pub fn workers(&self, role: &str) -> Vec<Process> {
        let spawner = self.spawner();
        let of_role = |line: &str| line.contains("sockd-worker") && line.split(' ').any(|word| word == role);
        spawner.descendants().into_iter().filter(|process| of_role(&process.command_line())).collect()
    }

    /// The worker that holds the connection whose other end is `client`.
    pub fn worker_of(&self, client: std::net::SocketAddr) -> Process {
        let std::net::SocketAddr::V4(client) = client else { panic!("{client} is not IPv4") };
        let holders = procfs::holders(&self.host, client, &self.family());
        assert_eq!(holders.len(), 1, "who holds the connection of {client}: {holders:?}");
        holders[0]
    }

    /// Replaces the rules.
    pub fn write_conf(&self, conf: &str) {
        self.host.write(CONF, conf);
    }

    /// Replaces the upstream lines.
    pub fn write_upstream(&self, lines: &str) {
        self.host.write(UPSTREAM, lines);
    }

    /// Replaces the settings.
    pub fn write_settings(&self, settings: &str) {
        self.host.write(SETTINGS, settings);
    }

    /// Sends the monitor a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Its standard error so far.
    pub fn said(&self) -> String {
        self.host.read(STDERR)
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.program.ended().is_none()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.program.wait()
    }
}

/// A program of the build tree.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let built = test.parent().and_then(Path::parent).expect("the build directory").join(name);
    assert!(built.exists(), "{} is missing: run `cargo build --workspace` first", built.display());
    built
}

/// Copies all programs to a place that every user can reach, as installing them would, and returns sockd's.
pub fn installed(host: &Host) -> &'static str {
    install(host, &program("sockd-worker"))
}

fn install(host: &Host, worker: &Path) -> &'static str {
    let (sockd, ver) = (program("sockd"), program("sockd-ver"));
    for (name, from) in [("sockd", &*sockd), ("sockd-ver", &*ver), ("sockd-worker", worker)] {
        install_at(host, from, &format!("/run/lib/{name}"));
    }
    "/run/lib/sockd"
}

/// Copies a program to `place`, where every user can start it.
///
/// A process of its own writes it. If this one did, a child that another thread starts meanwhile would hold the file
/// open for writing until its exec, and the copy could not be started (ETXTBSY, execve(2)).
pub fn install_at(host: &Host, from: &Path, place: &str) {
    let installed = host.output(Command::new("install").args(["-D", "-m", "755"]).arg(from).arg(place));
    assert!(installed.status.success(), "{installed:?}");
}
