//! A machine of a test's own: network, `/etc`, `/run` and `/dev/log` are its own, the rest is shared.
//!
//! Both namespaces live as long as the descriptors in [`Host`], so that nothing is left behind however a test ends.
//! [`Host::here`] is the machine as it is, for tests that need no root.

use crate::program::Program;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The socket of syslog on every host. As with systemd, `/dev/log` is a symbolic link to it.
pub const SYSLOG_SOCKET: &str = "/run/syslog/dev-log";

/// The users of the daemon on every host, and their numbers: for workers, for the commands of rules, for the monitor.
pub const USERS: [(&str, u32); 3] = [("sockd", 64123), ("sockd-hook", 64124), ("sockd-monitor", 64125)];

/// The longest that a client program of these tests works.
const OUTPUT_LIMIT: Duration = Duration::from_secs(180);

/// A machine. Clones are the same one.
#[derive(Clone)]
pub struct Host(Option<Namespaces>);

/// The namespaces of a machine of a test's own.
#[derive(Clone)]
struct Namespaces {
    network: Arc<File>,
    mounts: Arc<File>,
}

impl Host {
    /// A machine without any link but loopback.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
            own_files().expect("the private view of the file system");
            let open =
                |kind| Arc::new(File::open(format!("/proc/thread-self/ns/{kind}")).expect("namespace file"));
            let host = Self(Some(Namespaces { network: open("net"), mounts: open("mnt") }));
            must(Command::new("ip").args(["link", "set", "lo", "up"]));
            host
        })
        .join()
        .expect("a host")
    }

    /// The machine that the test runs on, whoever runs it.
    pub fn here() -> Self {
        Self(None)
    }

    /// Runs `act` on this machine: sockets it makes and files it opens are of this machine.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let Some(namespaces) = &self.0 else { return act() };
        let inside = || {
            unshare(CloneFlags::CLONE_FS).expect("unshare fs");
            setns(&*namespaces.mounts, CloneFlags::CLONE_NEWNS).expect("setns mnt");
            setns(&*namespaces.network, CloneFlags::CLONE_NEWNET).expect("setns net");
            act()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a program on this machine.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Starts a program on this machine in a process group of its own, to be ended with the test.
    pub fn start(&self, command: &mut Command) -> Program {
        let name = format!("{command:?}");
        let child = self.spawn(command.process_group(0)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Program::new(child, name)
    }

    /// Runs a program on this machine to its end, its standard input empty. A program that does not end is killed, so
    /// that its test fails and the others go on. Its output goes to files and not to pipes, which a daemon that it
    /// leaves behind would keep open.
    pub fn output(&self, command: &mut Command) -> Output {
        let file = || File::from(memfd_create("output", MFdFlags::MFD_CLOEXEC).expect("memfd"));
        let (mut out, mut err) = (file(), file());
        let twin = |file: &File| Stdio::from(file.try_clone().expect("a second descriptor"));
        command.stdin(Stdio::null()).stdout(twin(&out)).stderr(twin(&err));
        let mut program = self.start(command);
        let status = program.wait_within(OUTPUT_LIMIT);
        let (stdout, stderr) = (content(&mut out), content(&mut err));
        Output { status, stdout, stderr }
    }

    /// Runs a command line of words separated by single blanks and insists that it succeeds.
    pub fn sh(&self, line: &str) {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        self.run(|| must(command.args(words)));
    }

    /// Puts an interface on this machine and its other end on `peer`.
    pub fn link(&self, name: &str, peer: &Host, peer_name: &str) {
        use std::os::fd::AsRawFd;
        let network = &peer.0.as_ref().expect("a machine of a test's own").network;
        let there = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
        self.sh(&format!("ip link add {name} type veth peer name {peer_name} netns {there}"));
        self.sh(&format!("ip link set {name} up"));
        peer.sh(&format!("ip link set {peer_name} up"));
    }

    /// Adds an address such as `192.0.2.1/24` to an interface.
    pub fn address(&self, interface: &str, address: &str) {
        let checks = if address.contains(':') { " nodad" } else { "" };
        self.sh(&format!("ip addr add {address} dev {interface}{checks}"));
    }

    /// Writes a file that root owns and only root can write.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]> + Sync) {
        self.run(|| {
            fs::write(path, content.as_ref())?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        })
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Makes an account, whatever accounts there are.
    pub fn account(&self, user: &str, number: u32, home: &str) {
        self.run(|| make_account(user, number, home)).unwrap_or_else(|error| panic!("{user}: {error}"));
    }

    /// Reads a file; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        let bytes = self.run(|| fs::read(path)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether something is at this path.
    pub fn exists(&self, path: &str) -> bool {
        self.run(|| Path::new(path).exists())
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// Gives the calling thread's mount namespace its own `/run`, `/etc` and `/dev`.
fn own_files() -> io::Result<()> {
    mount(none(), "/", none(), MsFlags::MS_REC | MsFlags::MS_PRIVATE, none())?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    // Directories that programs of Debian expect in /run.
    for directory in ["/run/etc", "/run/etc.work", "/run/dev", "/run/syslog", "/run/sshd", "/run/lock"] {
        fs::create_dir(directory)?;
    }
    let layers = "lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work";
    mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(layers))?;
    own_etc()?;
    own_dev()
}

fn own_etc() -> io::Result<()> {
    for (user, number) in USERS {
        make_account(user, number, "/nonexistent")?;
    }
    for (path, content) in
        [("/etc/hosts", "127.0.0.1 localhost\n"), ("/etc/resolv.conf", ""), ("/etc/hostname", "gate\n")]
    {
        // Container engines mount files of their own over these names.
        let _ = nix::mount::umount(path);
        fs::write(path, content)?;
    }
    Ok(())
}

/// Makes an account and its group, in the place of any that this machine has of the same name or number.
fn make_account(user: &str, number: u32, home: &str) -> io::Result<()> {
    let number = number.to_string();
    let files = [
        ("/etc/passwd", format!("{user}:x:{number}:{number}::{home}:/bin/sh\n")),
        ("/etc/group", format!("{user}:x:{number}:\n")),
    ];
    for (path, line) in files {
        let is_other = |line: &&str| {
            let mut fields = line.split(':');
            fields.next() != Some(user) && fields.nth(1) != Some(number.as_str())
        };
        let text = fs::read_to_string(path)?;
        fs::write(
            path,
            text.split_inclusive('\n').filter(is_other).chain([line.as_str()]).collect::<String>(),
        )?;
    }
    Ok(())
}

fn own_dev() -> io::Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = format!("/run/dev/{name}");
        File::create(&place)?;
        mount(Some(&*format!("/dev/{name}")), &*place, none(), MsFlags::MS_BIND, none())?;
    }
    for name in ["pts", "shm"] {
        let place = format!("/run/dev/{name}");
        fs::create_dir(&place)?;
        mount(Some(&*format!("/dev/{name}")), &*place, none(), MsFlags::MS_BIND, none())?;
    }
    symlink("pts/ptmx", "/run/dev/ptmx")?;
    symlink("/proc/self/fd", "/run/dev/fd")?;
    symlink("/proc/self/fd/0", "/run/dev/stdin")?;
    symlink("/proc/self/fd/1", "/run/dev/stdout")?;
    symlink("/proc/self/fd/2", "/run/dev/stderr")?;
    symlink(SYSLOG_SOCKET, "/run/dev/log")?;
    mount(Some("/run/dev"), "/dev", none(), MsFlags::MS_BIND | MsFlags::MS_REC, none())?;
    Ok(())
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("the output");
    bytes
}

fn none() -> Option<&'static str> {
    None
}
