//! Namespaces, a folder and canaries of its own for acts that must not meet anything of the host.

use crate::acts::{ABSTRACT, LOG};
use crate::sys;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A sockaddr_in of the loopback interface.
pub(crate) fn canary_at(port: u16) -> [u8; 16] {
    let [high, low] = port.to_be_bytes();
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    // AF_INET in the byte order of the machine.
    let [first, second] = 2_u16.to_ne_bytes();
    [first, second, high, low, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Leaves the network, the mounts and the System V objects of the host behind. Only root can.
pub(crate) fn leave_the_host() -> Result<(), String> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).map_err(|error| format!("unshare: {error}"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| format!("mount --make-rprivate /: {error}"))?;
    sys::loopback_up().map_err(|error| format!("the loopback interface: {error}"))
}

/// In this mount namespace only, `place` shows `file`.
pub(crate) fn show(file: &Path, place: &Path) -> Result<(), String> {
    mount(Some(file), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| format!("mount --bind {} {}: {error}", file.display(), place.display()))
}

/// The folder that acts on files are tried in; nothing of it is left.
pub(crate) struct Folder {
    path: PathBuf,
    mounted: bool,
    /// The owner of the files.
    owner: u32,
}

impl Folder {
    /// For root a file system of its own that nobody else sees; else a folder for temporary files.
    pub(crate) fn new(owner: u32) -> Result<Self, String> {
        let root = nix::unistd::geteuid().is_root();
        let parent = if root { "/run".into() } else { std::env::temp_dir() };
        let path = parent.join(format!("sockd-probe.{}", std::process::id()));
        let at = |error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir(&path).map_err(at)?;
        if root {
            mount(Some("sockd-probe"), &path, Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
                .map_err(|error| format!("mount tmpfs at {}: {error}", path.display()))?;
        }
        let folder = Self { path, mounted: root, owner };
        std::env::set_current_dir(&folder.path).map_err(|error| error.to_string())?;
        Ok(folder)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts everything in place that acts want to find, and takes away what others have left.
    pub(crate) fn refresh(&self) -> Result<(), String> {
        for name in ["own", "unlink", "rename", "new", "renamed", "symlink", "link", "fifo", "creat"] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(self.path.join("dir"));
        for name in ["own", "unlink", "rename"] {
            let path = self.path.join(name);
            let made = fs::write(&path, "x")
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o666)))
                .and_then(|()| chown(&path, Some(self.owner), None));
            made.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::env::set_current_dir("/");
        if self.mounted {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&self.path);
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Listens where nothing may arrive: TCP and UDP, an abstract Unix socket, a stand-in for /dev/log.
pub(crate) struct Canary {
    sockets: Vec<OwnedFd>,
    /// TCP and UDP.
    pub(crate) port: u16,
}

impl Canary {
    /// On this port, or any with 0.
    pub(crate) fn new(port: u16, folder: &Folder) -> Result<Self, String> {
        let at = |error: io::Error| format!("canary: {error}");
        let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(at)?;
        stream.set_nonblocking(true).map_err(at)?;
        let port = stream.local_addr().map_err(at)?.port();
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map_err(at)?;
        let log = sys::unix_socket(libc::SOCK_DGRAM, LOG).map_err(at)?;
        let log_path = folder.path().join("log");
        fs::set_permissions(&log_path, fs::Permissions::from_mode(0o666)).map_err(at)?;
        let forgotten = sys::unix_socket(libc::SOCK_STREAM, ABSTRACT)
            .map_err(|error| format!("canary: {error}; does another sockd-probe run?"))?;
        Ok(Self { sockets: vec![stream.into(), datagrams.into(), log, forgotten], port })
    }

    /// The number of arrivals since the last question.
    pub(crate) fn hits(&self) -> usize {
        self.sockets
            .iter()
            .map(|socket| std::iter::from_fn(|| sys::take_one(socket).then_some(())).count())
            .sum()
    }
}
