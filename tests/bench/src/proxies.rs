//! The measured proxies, and how they are started: all in the foreground, each at a port of its own.

use crate::front;
use crate::ideal::{self, Moves};
use crate::ideal_datagrams;
use crate::net::Outcome;
use crate::procs::Tree;
use crate::request::{Protocol, USER};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The standing of a proxy in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No proxy at all.
    Direct,
    /// The best that could be reached.
    Ceiling,
    Peer,
    Ours,
}

/// One column of the table.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    kind: Kind,
    /// The destination of sockd's log lines.
    log: &'static str,
}

#[derive(Clone, Debug)]
enum Kind {
    Direct,
    Ideal(Moves),
    /// The same with a process for each client host.
    Apart,
    Danted,
    Hpsockd,
    Microsocks,
    /// The folder with `sockd` and `sockd-worker`.
    Sockd(PathBuf),
}

/// The proxies that can be measured here; `others` are more builds of sockd, by name.
pub(crate) fn all(others: &[(String, PathBuf)]) -> Outcome<Vec<Proxy>> {
    let proxy = |name: &str, kind| Proxy { name: name.to_owned(), kind, log: "syslog" };
    let mut proxies = vec![
        proxy("direct", Kind::Direct),
        proxy("ideal-adaptive", Kind::Ideal(Moves::Adaptive)),
        proxy("ideal-splice", Kind::Ideal(Moves::Splice)),
        proxy("ideal-apart", Kind::Apart),
    ];
    let installed =
        |name: &str| ["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(name).exists());
    for (name, kind) in
        [("danted", Kind::Danted), ("hpsockd", Kind::Hpsockd), ("microsocks", Kind::Microsocks)]
    {
        if installed(name) {
            proxies.push(proxy(name, kind));
        }
    }
    let built = std::env::current_exe()?;
    for (name, program) in others {
        proxies.push(proxy(name, Kind::Sockd(copied(name, program)?)));
    }
    proxies.push(proxy("sockd", Kind::Sockd(copied("sockd", &built.with_file_name("sockd"))?)));
    Ok(proxies)
}

/// Copies the programs, so that a build meanwhile does not change the measured ones.
fn copied(name: &str, sockd: &Path) -> Outcome<PathBuf> {
    let folder = Path::new("/run/bench").join(name);
    fs::create_dir_all(&folder)?;
    for program in ["sockd", "sockd-worker"] {
        let (from, to) = (sockd.with_file_name(program), folder.join(program));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}

impl Proxy {
    pub(crate) fn standing(&self) -> Standing {
        match self.kind {
            Kind::Direct => Standing::Direct,
            Kind::Ideal(_) | Kind::Apart => Standing::Ceiling,
            Kind::Danted | Kind::Hpsockd | Kind::Microsocks => Standing::Peer,
            Kind::Sockd(_) => Standing::Ours,
        }
    }

    /// The same with another destination of the lines.
    pub(crate) fn logging_to(&self, log: &'static str) -> Self {
        Self { log, ..self.clone() }
    }

    /// The protocol for measures that are not about a protocol.
    pub(crate) fn usual_protocol(&self) -> Protocol {
        match self.kind {
            Kind::Direct => Protocol::Direct,
            Kind::Microsocks => Protocol::Socks5,
            _ => Protocol::Socks4,
        }
    }

    pub(crate) fn speaks(&self, protocol: Protocol) -> bool {
        match self.kind {
            Kind::Sockd(_) => protocol != Protocol::Direct,
            _ if protocol == Protocol::Datagrams => {
                matches!(self.kind, Kind::Ideal(Moves::Adaptive) | Kind::Danted)
            }
            _ if has_users(protocol) => false,
            Kind::Ideal(_) | Kind::Apart => protocol != Protocol::Direct,
            Kind::Direct | Kind::Microsocks => protocol == self.usual_protocol(),
            // microsocks does not take a request that follows a greeting at once.
            Kind::Danted => !matches!(protocol, Protocol::Direct | Protocol::Socks4a),
            Kind::Hpsockd => matches!(protocol, Protocol::Socks4 | Protocol::Socks5),
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddrV4> {
        let port = match self.kind {
            Kind::Direct => return None,
            Kind::Sockd(_) => 1080,
            Kind::Ideal(_) => 1081,
            Kind::Danted => 1082,
            Kind::Hpsockd => 1083,
            Kind::Microsocks => 1084,
            Kind::Apart => 1085,
        };
        Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    /// Starts it for clients of this protocol and does not wait.
    pub(crate) fn launch(&self, protocol: Protocol) -> Outcome<Running> {
        let mut running = Running { tree: Tree::of(Vec::new()), address: self.address(), before: children() };
        let Some(address) = running.address else { return Ok(running) };
        if let Kind::Ideal(moves) = self.kind {
            let children = match protocol {
                Protocol::Datagrams => vec![ideal_datagrams::start(address)?],
                _ => ideal::start(moves, address)?,
            };
            running.tree = Tree::of(children.iter().map(|child| child.id().cast_signed()).collect());
            return Ok(running);
        }
        if let Kind::Apart = self.kind {
            running.tree = Tree::of_front(front::start(Moves::Adaptive, address)?.id().cast_signed());
            return Ok(running);
        }
        let port = address.port().to_string();
        let mut command = match &self.kind {
            Kind::Sockd(folder) => {
                configure(protocol)?;
                program(folder.join("sockd"), &["--listen", &address.to_string(), "--log", self.log])
            }
            Kind::Danted => {
                fs::write("/run/bench/danted.conf", DANTED.replace("PORT", &port))?;
                program(
                    "danted".into(),
                    &["-N", "2", "-p", "/run/bench/danted.pid", "-f", "/run/bench/danted.conf"],
                )
            }
            Kind::Hpsockd => {
                fs::create_dir_all("/run/bench/hpsockd")?;
                fs::write("/run/bench/hpsockd.conf", HPSOCKD.replace("PORT", &port))?;
                program("hpsockd".into(), &["-f", "-c", "/run/bench/hpsockd.conf"])
            }
            _ => program("microsocks".into(), &["-i", "127.0.0.1", "-p", &port]),
        };
        let said = fs::File::create(format!("/run/bench/{}.said", self.name))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let is_sockd = matches!(self.kind, Kind::Sockd(_));
        let most = if is_sockd { crate::DESCRIPTORS } else { DESCRIPTORS };
        let child =
            with_descriptors(most, || command.spawn()).map_err(|error| format!("{command:?}: {error}"))?;
        let pid = child.id().cast_signed();
        running.tree = if is_sockd { Tree::of_sockd(pid) } else { Tree::of(vec![pid]) };
        Ok(running)
    }

    /// Starts it for clients of this protocol and waits until it listens and has settled.
    pub(crate) fn start(&self, protocol: Protocol) -> Outcome<Running> {
        let mut running = self.launch(protocol)?;
        let limit = Instant::now() + Duration::from_secs(10);
        while let Some(address) = running.address {
            if TcpStream::connect(address).is_ok() {
                std::thread::sleep(Duration::from_millis(150));
                running.find_orphans();
                break;
            }
            if Instant::now() > limit {
                let said = fs::read_to_string(format!("/run/bench/{}.said", self.name)).unwrap_or_default();
                return Err(format!("does not listen: {}", said.trim()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }
}

/// Whether clients of this protocol show a password.
fn has_users(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Socks5Login | Protocol::Socks5Guess)
}

/// Writes sockd's rules: for everybody, only for users who log in, or for datagrams.
fn configure(protocol: Protocol) -> Outcome<()> {
    let (rules, users) = match protocol {
        Protocol::Datagrams => (SOCKD.replace("permit", "permit +=udp"), String::new()),
        _ if has_users(protocol) => {
            (SOCKD.replace("permit", "permit @=password"), format!("{USER}:{HASH}\n"))
        }
        _ => (SOCKD.to_owned(), String::new()),
    };
    fs::write("/etc/sockd.conf", rules)?;
    fs::write(USERS, users)?;
    fs::set_permissions(USERS, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Sets whether sockd has sockets for administrators, as it has under its unit, and the format of its log.
pub(crate) fn set(may_look: bool, log_format: &str) -> Outcome<()> {
    fs::create_dir_all("/run/sockd")?;
    let socket = |name| match may_look {
        true => format!("{name}_socket: at(\"/run/sockd/{name}\")"),
        false => format!("{name}_socket: off"),
    };
    let [status, counters] = ["status", "counters"].map(socket);
    fs::write("/etc/sockd.ron", format!("({status}, {counters}, log_format: {log_format})\n"))?;
    Ok(())
}

fn program(path: PathBuf, words: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(words);
    command
}

/// Descriptors of a proxy, if the hard limit permits them. Some peers do work for every possible descriptor.
const DESCRIPTORS: u64 = 65_536;

fn with_descriptors<T>(most: u64, spawn: impl FnOnce() -> T) -> T {
    let own = getrlimit(Resource::Nofile);
    let least = |limit: Option<u64>| Some(limit.unwrap_or(most).min(most));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: least(own.maximum), maximum: own.maximum });
    let result = spawn();
    let _ = setrlimit(Resource::Nofile, own);
    result
}

fn children() -> BTreeSet<i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// A proxy that runs; ended when dropped.
pub(crate) struct Running {
    pub(crate) tree: Tree,
    pub(crate) address: Option<SocketAddrV4>,
    /// Children of this process that are not of this proxy.
    before: BTreeSet<i32>,
}

impl Running {
    /// Finds hpsockd, which goes into the background. Orphans come to this process, the first of its namespace.
    pub(crate) fn find_orphans(&mut self) {
        if !self.has_monitor() {
            self.tree = Tree::of(children().difference(&self.before).copied().collect());
        }
    }

    pub(crate) fn has_monitor(&self) -> bool {
        self.tree.has_monitor()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut left = self.tree.all();
        for (signal, patience) in [(Signal::SIGTERM, 3), (Signal::SIGKILL, 10)] {
            for pid in &left {
                let _ = kill(Pid::from_raw(*pid), signal);
            }
            let limit = Instant::now() + Duration::from_secs(patience);
            while !left.is_empty() && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(5));
                left.retain(|pid| {
                    let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
                    kill(Pid::from_raw(*pid), None).is_ok()
                });
            }
        }
    }
}

/// Both sides lie in 127.0.0.0/8, and the line says so: the guard of local destinations lets it through.
pub(crate) const SOCKD: &str = "permit 127.0.0.0 255.0.0.0 127.0.0.0 255.0.0.0\n";

const USERS: &str = "/etc/sockd.passwd";
/// The hash of the user's password, with sockd-passwd(8)'s default cost.
const HASH: &str = "$y$j9T$E2xaDoZqCGWb3.GE4ki/E0$kAWPTX3LpdZC1afbIE3hv2C51iLFYttlSfjxPoCM1o9";

const DANTED: &str = "\
logoutput: /dev/null
internal: 127.0.0.1 port = PORT
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {
    from: 127.0.0.0/8 to: 127.0.0.0/8
}
socks pass {
    from: 127.0.0.0/8 to: 127.0.0.0/8
    command: connect udpassociate udpreply
    protocol: tcp udp
}
";

const HPSOCKD: &str = r#"
daemon {
    listen-address { 127.0.0.1; };
    directory "/run/bench/hpsockd";
    negotiate-file "negotiate";
    port PORT;
    user "root";
    listen {2,252};
    client {1,1000};
    pre-fork 2;
};
logging { level 0; };
default { bufsize 65536; };
route { { default 127.0.0.1 }; };
method-list {
    { number 0; name "noAuth"; internal; flags 0; };
    { number 254; name "v4"; internal; flags 0; };
};
client-method { { src { 127.0.0.0/8; }; method { "v4"; "noAuth"; }; }; };
client { permit { src { 127.0.0.0/8; }; dest { 127.0.0.0/8; }; }; deny { }; };
"#;
