//! Trees that follow each other on one gateway, where another program can be installed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockd_tests::far::Far;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::{self, Process, holders};
use sockd_tests::program::Program;
use sockd_tests::site::SERVER;
use sockd_tests::sockd::{PERMIT_ALL, install_at, program};
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::until_true;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The path of the programs that are installed on the gateway.
const SOCKD: &str = "/run/lib/sockd";

/// The standard error of a reload under way.
const RELOAD_STDERR: &str = "/run/reload.stderr";

/// The words that every daemon of these tests is started with.
const WORDS: [&str; 2] = ["--pid-file", "/run/sockd.pid"];

/// The first tree, and those that have followed it.
pub(crate) struct Trees {
    /// The laboratory with the first one.
    pub(crate) lab: Lab,
    /// The number of files in /run at the last look.
    pub(crate) files: Option<usize>,
    followers: Vec<Process>,
}

impl Trees {
    /// With these settings, and rules that permit everything.
    pub(crate) fn new(settings: &str) -> Self {
        Self::with_rules(PERMIT_ALL, settings)
    }

    /// With these rules and settings.
    pub(crate) fn with_rules(rules: &str, settings: &str) -> Self {
        let lab = Lab::started(rules, |start| {
            start.settings(settings).worker(program("sockd-worker")).words(&WORDS.join(" "))
        });
        Self { lab, files: None, followers: Vec::new() }
    }

    /// Installs another build of the same programs. A file that runs is replaced, not written to.
    pub(crate) fn install_another(&self) {
        self.change("sockd-worker", |bytes| bytes.push(0));
    }

    /// Replaces a program on the disk.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>) + Send) {
        let (place, changed, aside) =
            (format!("/run/lib/{name}"), format!("/run/{name}.changed"), format!("/run/lib/{name}.new"));
        let gateway = &self.lab.site.gateway;
        gateway.run(|| {
            let mut bytes = fs::read(&place).expect("the program");
            change(&mut bytes);
            fs::write(&changed, bytes).expect("another program");
        });
        install_at(gateway, Path::new(&changed), &aside);
        gateway.run(|| fs::rename(&aside, &place)).expect("in its place");
        gateway.run(|| fs::remove_file(&changed)).expect("nothing left beside it");
    }

    /// Reloads, which has to lead to another daemon, and returns that.
    pub(crate) fn reload_well(&mut self) -> Process {
        self.reload_well_with("")
    }

    /// The same with more words.
    pub(crate) fn reload_well_with(&mut self, words: &str) -> Process {
        let done = reload(self, words);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        self.adopt()
    }

    /// The remains of a failed reload of this gateway: the control process, and the new tree.
    pub(crate) fn reloading(&self) -> Vec<Process> {
        let own = self.lab.sockd.monitor().namespace("net");
        let tree = |process: &Process| {
            let line = process.command_line();
            line.starts_with(SOCKD) && line.contains("--reload") && process.namespace("net") == own
        };
        let followers = |process: &Process| !self.followers.contains(process) && process.runs();
        procfs::all().into_iter().filter(tree).filter(followers).collect()
    }

    /// The output of [`start_reload`].
    pub(crate) fn said_by_reload(&self) -> String {
        self.lab.site.gateway.read(RELOAD_STDERR)
    }

    /// The daemon whose id is in the file. It ends with the test.
    pub(crate) fn adopt(&mut self) -> Process {
        let process = self.pid_file();
        self.followers.push(process);
        process
    }

    /// The process whose id is in the file.
    pub(crate) fn pid_file(&self) -> Process {
        Process(self.lab.site.gateway.read("/run/sockd.pid").trim().parse().expect("a process id"))
    }

    /// `sockd --takeover`, which stays in the foreground.
    pub(crate) fn foreground(&self, words: &str) -> Program {
        let mut command = Command::new(SOCKD);
        command.args(WORDS).arg("--takeover").args(words.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.lab.site.gateway.start(&mut command)
    }

    /// Has a tree end, and waits for that.
    pub(crate) fn end(&self, monitor: Process) {
        monitor.signal(Signal::SIGTERM);
        until_true("the end of a tree", || !monitor.runs());
    }
}

/// A relay that has to go on, whatever happens elsewhere.
pub(crate) struct Relay {
    pub(crate) far: Far,
    pub(crate) near: Line,
    pub(crate) there: Line,
}

impl Relay {
    pub(crate) fn begin(trees: &Trees) -> Self {
        let far = Far::listen(&trees.lab.site.server, SERVER);
        let near = granted(&trees.lab.site.client, &Request::connect(far.v4()));
        let there = far.accept();
        Self { far, near, there }
    }

    /// Insists that it goes on.
    pub(crate) fn assert_lives(&mut self) {
        self.near.send("on");
        assert_eq!(self.there.read(2), b"on");
    }

    /// The worker that holds it in a tree.
    pub(crate) fn worker(&self, trees: &Trees, monitor: Process) -> Process {
        let SocketAddr::V4(client) = self.near.local() else { panic!("IPv4") };
        let found = holders(&trees.lab.site.gateway, client, &workers(monitor, "session"));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    }

    /// Insists that it goes on, and that new clients are served.
    pub(crate) fn assert_goes_on(&mut self, trees: &Trees) {
        self.assert_lives();
        let mut new = granted(&trees.lab.site.client, &Request::connect(self.far.v4()));
        new.send("new");
        assert_eq!(self.far.accept().read(3), b"new");
    }
}

/// The loader of a tree: it shares memory with the monitor.
pub(crate) fn loader(monitor: Process) -> Process {
    let holds_memory =
        |process: &Process| process.descriptors().values().any(|target| target.contains("memfd:sockd"));
    monitor.descendants().into_iter().find(holds_memory).expect("a loader")
}

/// The spawner of a tree: the child of the monitor that is not the loader.
pub(crate) fn spawner(monitor: Process) -> Process {
    let (parent, loader) = (monitor.0.to_string(), loader(monitor));
    let is_it = |process: &Process| process.status().get("PPid") == Some(&parent) && *process != loader;
    monitor.descendants().into_iter().find(is_it).expect("a spawner")
}

/// Workers of a tree, of a role.
pub(crate) fn workers(monitor: Process, role: &str) -> Vec<Process> {
    let of_role = |process: &Process| {
        let line = process.command_line();
        line.contains("sockd-worker") && line.split(' ').any(|word| word == role)
    };
    monitor.descendants().into_iter().filter(of_role).collect()
}

/// `sockd --reload`, to its end.
pub(crate) fn reload(trees: &Trees, words: &str) -> Output {
    let mut command = Command::new(SOCKD);
    trees.lab.site.gateway.output(command.args(WORDS).arg("--reload").args(words.split_whitespace()))
}

/// Runs sockdctl on the gateway.
pub(crate) fn sockdctl(gateway: &Host, words: &[&str]) -> Output {
    gateway.output(Command::new(program("sockdctl")).args(words))
}

/// Sends a signal to a process that may end meanwhile.
pub(crate) fn signal_if_there(process: Process, signal: Signal) {
    let _ = kill(Pid::from_raw(process.0), signal);
}

/// Starts `sockd --reload` by the words of another program, and does not wait.
pub(crate) fn start_reload(trees: &Trees, by: &[&str], words: &str) -> Program {
    let line: Vec<&str> = by.iter().copied().chain([SOCKD, "--reload"]).chain(WORDS).collect();
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).args(words.split_whitespace());
    let stderr = trees.lab.site.gateway.run(|| File::create(RELOAD_STDERR)).expect("a file for stderr");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    trees.lab.site.gateway.start(&mut command)
}

impl Drop for Trees {
    fn drop(&mut self) {
        // The id is that of a daemon of this test as long as that runs; nobody else's program has this path.
        let own = |process: &&Process| process.command_line().starts_with(SOCKD);
        let left = self.reloading();
        let all = self.followers.iter().filter(own).chain(&left);
        all.for_each(|process| signal_if_there(*process, Signal::SIGKILL));
    }
}
