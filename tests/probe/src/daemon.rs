//! The installed sockd, started apart from all others, with this program in its worker's place.
//!
//! The daemon has no option that would let somebody choose its worker. This program changes the file at the worker's
//! place in its own private mount namespace alone, which takes root. The daemon reads the host's settings, if there are
//! any, and rules, routes and upstream lines of this program's.

use crate::outcome::Outcome;
use crate::private::{self, Folder};
use crate::slot::{BEYOND, END};
use crate::sys;
use sockd_common::message::Role;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::{env, fs};

/// The ports of the daemon, identd, the nameserver and the next server in the daemon's own network namespace.
const PROXY: u16 = 1080;
const IDENTD: u16 = 113;
const NAMESERVER: u16 = 53;
const NEXT: u16 = 1081;

/// Only one destination leads to an identd: the worker that is meant has to be the only one that is needed.
const RULES: &str = "\
permit ?=i 127.0.0.0/8 127.0.0.0/8
permit ?=n 127.0.0.0/8
permit +=udp 127.0.0.0/8 127.0.0.0/8
";

/// There is no other interface.
const ROUTES: &str = "127.0.0.1 0.0.0.0 0.0.0.0\n";

/// Datagrams that are there to be read by acts that read.
const DATAGRAMS: usize = 64;

/// Milliseconds that anything may take.
const LIMIT: i32 = 120_000;

/// The report of one role's worker.
pub(crate) struct Told {
    /// Behind all locks.
    pub(crate) confined: Vec<Outcome>,
    /// Behind those of the spawner only.
    pub(crate) before: Vec<Outcome>,
    /// How the worker itself ended when it tried, by the monitor's log.
    pub(crate) ended: String,
}

/// The running daemon; ended when dropped.
pub(crate) struct Daemon {
    child: Child,
    stderr: ChildStderr,
    said: String,
    identd: TcpListener,
    nameserver: TcpListener,
    next: TcpListener,
}

impl Daemon {
    /// Starts it.
    pub(crate) fn start(program: &Path, worker: &Path, folder: &Folder) -> Result<Self, String> {
        let own = env::current_exe().map_err(|error| error.to_string())?;
        private::show(&own, worker)?;
        let resolv_conf = folder.path().join("resolv.conf");
        fs::write(&resolv_conf, "nameserver 127.0.0.1\n").map_err(|error| error.to_string())?;
        let place = fs::canonicalize("/etc/resolv.conf").ok();
        place.map_or(Ok(()), |place| private::show(&resolv_conf, &place))?;
        let listen = |port| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| format!("port {port}: {error}"))
        };
        let (identd, nameserver, next) = (listen(IDENTD)?, listen(NAMESERVER)?, listen(NEXT)?);
        let mut child =
            command(program, folder)?.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let mut daemon = Self { child, stderr, said: String::new(), identd, nameserver, next };
        daemon.line("serving on ")?;
        Ok(daemon)
    }

    /// Lets a worker of this role try everything.
    pub(crate) fn read(&mut self, role: Role, acts: usize) -> Result<Told, String> {
        let told = self.told(role).map_err(|error| {
            format!("the {} worker: {error}; sockd says: {}", role.as_str(), self.rest().trim_end())
        })?;
        let mut lines = told.lines().map(|line| line.trim_matches('\0'));
        let pairs = lines.by_ref().take(acts).map(|line| line.split_once('\t').unwrap_or_default());
        let (confined, before): (Vec<_>, Vec<_>) = pairs
            .map(|(confined, before)| (Outcome::from_word(confined), Outcome::from_word(before)))
            .unzip();
        if confined.len() != acts || lines.next() != Some(END) {
            return Err(format!("the {} worker has told {} acts of {acts}", role.as_str(), confined.len()));
        }
        let line = self.line(&format!("{} worker ", role.as_str()))?;
        let ended = line.rsplit(" ended: ").next().unwrap_or_default().to_owned();
        Ok(Told { confined, before, ended })
    }

    /// Everything that arrives through the descriptor that a worker of this role has for its work.
    fn told(&mut self, role: Role) -> Result<String, String> {
        let words = |error: std::io::Error| error.to_string();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, PROXY)).map_err(words)?;
        // Bytes after the request are there to be read by acts that read.
        let request = [&[4, 1, 0, 7, 127, 0, 0, 1], role.as_str().as_bytes(), &[0; 65]].concat();
        client.write_all(&request).map_err(words)?;
        if role == Role::Datagram {
            return told_in_a_datagram(client);
        }
        let accept = |listener: &TcpListener| match sys::wait(listener, LIMIT) {
            true => listener.accept().map(|(stream, _)| stream).map_err(words),
            false => Err("nobody has come".into()),
        };
        let mut peer = match role {
            Role::Ident => accept(&self.identd)?,
            Role::Resolver => accept(&self.nameserver)?,
            Role::Upstream => accept(&self.next)?,
            _ => client.try_clone().map_err(words)?,
        };
        if role != Role::Session {
            peer.write_all(&[0; 64]).map_err(words)?;
        }
        told_by(peer)
    }

    /// The next line of the log that contains this and tells of an end or a start.
    fn line(&mut self, wanted: &str) -> Result<String, String> {
        loop {
            if let Some(end) = self.said.find('\n') {
                let line: String = self.said.drain(..=end).collect();
                if line.contains(wanted) && (line.contains(" ended: ") || line.contains("serving")) {
                    return Ok(line.trim_end().to_owned());
                }
            } else if !self.hear(LIMIT) {
                return Err(format!("sockd does not say {wanted:?}; its last words: {}", self.said));
            }
        }
    }

    fn hear(&mut self, limit: i32) -> bool {
        let mut part = [0; 4096];
        let length =
            if sys::wait(&self.stderr, limit) { self.stderr.read(&mut part).unwrap_or(0) } else { 0 };
        self.said.push_str(&String::from_utf8_lossy(part.get(..length).unwrap_or_default()));
        length > 0
    }

    fn rest(&mut self) -> String {
        while self.hear(200) {}
        self.said.clone()
    }
}

/// The daemon with rules, routes and upstream lines in this folder.
fn command(program: &Path, folder: &Folder) -> Result<Command, String> {
    let mut command = Command::new(program);
    command.args(["--log", "stderr", "--listen", &format!("127.0.0.1:{PROXY}")]);
    let upstream = format!("sockd @=127.0.0.1:{NEXT} {BEYOND}/32\ndirect ALL 0.0.0.0\n");
    let files = [
        ("--conf", "sockd.conf", RULES),
        ("--route", "sockd.route", ROUTES),
        ("--upstream", "socks.conf", &upstream),
    ];
    for (option, name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        command.arg(option).arg(path);
    }
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

/// The report of a worker, over the connection that it works on.
fn told_by(mut peer: TcpStream) -> Result<String, String> {
    let mut told = Vec::new();
    while !told.ends_with(format!("{END}\n").as_bytes()) {
        let mut part = [0; 4096];
        if !sys::wait(&peer, LIMIT) {
            return Err(format!("silent after {} bytes", told.len()));
        }
        match peer.read(&mut part) {
            Ok(0) | Err(_) => {
                return Err(format!("gone after {} bytes", told.len()));
            }
            Ok(length) => told.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&told).into_owned())
}

/// The report of the datagram worker, over the association that the session worker has asked for; it ends with its
/// connection.
fn told_in_a_datagram(mut control: TcpStream) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut port = [0; 2];
    if !sys::wait(&control, LIMIT) {
        return Err("there is no association".into());
    }
    control.read_exact(&mut port).map_err(words)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
    socket.connect((Ipv4Addr::LOCALHOST, u16::from_be_bytes(port))).map_err(words)?;
    for _ in 0..DATAGRAMS {
        socket.send(&[0; 64]).map_err(words)?;
    }
    let mut told = vec![0; 1 << 16];
    while sys::wait(&socket, LIMIT) {
        let length = socket.recv(&mut told).map_err(words)?;
        let part = told.get(..length).unwrap_or_default();
        // Acts that send arrive here, too.
        if part.ends_with(format!("{END}\n").as_bytes()) {
            return Ok(String::from_utf8_lossy(part).into_owned());
        }
    }
    Err("silent".into())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Spawner and workers die with the monitor.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
