//! The kernel's view of processes and sockets (proc(5)).

use crate::host::Host;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt;

/// A process, by its number on the machine that the tests run on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Process(pub i32);

impl Process {
    /// Whether it runs: a zombie does not.
    pub fn runs(self) -> bool {
        self.stat(0).is_some_and(|state| state != "Z" && state != "X")
    }

    /// The program's path as it was started, with its arguments, separated by blanks.
    pub fn command_line(self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words.join(" ").trim_end().to_owned()
    }

    /// The fields of `/proc/PID/status`.
    pub fn status(self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let field =
            |line: &str| line.split_once(":\t").map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.lines().filter_map(field).collect()
    }

    /// The target of each open descriptor.
    pub fn descriptors(self) -> BTreeMap<i32, String> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.0)) else { return BTreeMap::new() };
        let entry = |entry: fs::DirEntry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        };
        entries.flatten().filter_map(entry).collect()
    }

    /// The capacity of each pipe that it has open, in bytes.
    pub fn pipes(self) -> Vec<usize> {
        let is_pipe = |(_, target): &(i32, String)| target.starts_with("pipe:");
        let pipes = self.descriptors().into_iter().filter(is_pipe);
        let pipes: BTreeMap<_, _> = pipes.map(|(number, target)| (target, number)).collect();
        pipes.values().filter_map(|number| self.size_of_pipe(*number)).collect()
    }

    fn size_of_pipe(self, number: i32) -> Option<usize> {
        let mut options = OpenOptions::new();
        let pipe =
            options.read(true).custom_flags(libc::O_NONBLOCK).open(format!("/proc/{}/fd/{number}", self.0));
        usize::try_from(fcntl(pipe.ok()?, FcntlArg::F_GETPIPE_SZ).ok()?).ok()
    }

    /// Its namespace of a kind (`net`, `pid`, `mnt`, ...).
    pub fn namespace(self, kind: &str) -> String {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", self.0));
        link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The memory that it has written and shares with nobody, in KiB. Pages of its program are left out: they count as
    /// private too while no other process has them mapped, but cost no memory.
    pub fn private_memory(self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0)).unwrap_or_default();
        let written = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
        written.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(u64::MAX)
    }

    /// Time of the processor used so far, in clock ticks.
    pub fn processor_ticks(self) -> u64 {
        // Fields 14 and 15 of stat(5), counted here from the state.
        [11, 12].iter().filter_map(|at| self.stat(*at)?.parse::<u64>().ok()).sum()
    }

    /// Time of the processor used within one second from now, in clock ticks: about a hundred if it spins.
    pub fn ticks_of_a_second(self) -> u64 {
        let before = self.processor_ticks();
        std::thread::sleep(std::time::Duration::from_secs(1));
        self.processor_ticks() - before
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        kill(Pid::from_raw(self.0), signal).unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    /// Sets how many descriptors it may have.
    pub fn limit_descriptors(self, host: &Host, number: impl std::fmt::Display) {
        self.limit(host, &format!("nofile={number}"));
    }

    /// Sets a soft limit, in the words of prlimit(1), as the user that the process has. For another user's process
    /// prlimit(2) asks for CAP_SYS_RESOURCE, which root of a container may lack.
    pub fn limit(self, host: &Host, limit: &str) {
        let status = self.status();
        let id = |name: &str| status[name].split('\t').next().unwrap_or_default().to_owned();
        let (uid, gid, pid) = (id("Uid"), id("Gid"), self.0);
        let user = format!("setpriv --reuid {uid} --regid {gid} --clear-groups");
        host.sh(&format!("{user} prlimit --pid {pid} --{limit}:"));
    }

    fn parent(self) -> Option<i32> {
        self.stat(1)?.parse().ok()
    }

    /// The session that it is in.
    pub fn session(self) -> Option<String> {
        self.stat(3)
    }

    /// The number of its scheduling policy (sched(7)).
    pub fn scheduling_policy(self) -> Option<String> {
        self.stat(38)
    }

    /// A field of `/proc/PID/stat`, counted from the state: the name before it may hold anything.
    fn stat(self, field: usize) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        let (_, fields) = text.rsplit_once(") ")?;
        fields.split(' ').nth(field).map(str::to_owned)
    }

    /// The processes that it started and those that they started, without itself.
    pub fn descendants(self) -> Vec<Process> {
        let all = all();
        let mut family = vec![self];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            family.extend(all.iter().filter(|child| child.parent() == Some(parent.0)));
            next += 1;
        }
        family.split_off(1)
    }
}

/// All processes of the machine that the tests run on.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Process)).collect()
}

/// Whether a TCP socket of `host` listens at this port, on any address.
pub fn listens(host: &Host, port: u16) -> bool {
    sockets(host).iter().any(|socket| socket.state == LISTEN && socket.local.port() == port)
}

/// The members of `processes` that hold the socket of `host` whose other end is `peer`.
pub fn holders(host: &Host, peer: SocketAddrV4, processes: &[Process]) -> Vec<Process> {
    let peers: Vec<_> = sockets(host).into_iter().filter(|socket| socket.remote == peer).collect();
    let holds = |process: &&Process| {
        let open = process.descriptors();
        peers.iter().any(|socket| open.values().any(|target| *target == format!("socket:[{}]", socket.inode)))
    };
    processes.iter().filter(holds).copied().collect()
}

/// The number of connections to this remote port that `host` waits for (SYN-SENT).
pub fn attempts(host: &Host, port: u16) -> usize {
    sockets(host).iter().filter(|socket| socket.state == SYN_SENT && socket.remote.port() == port).count()
}

const SYN_SENT: &str = "02";
const LISTEN: &str = "0A";

struct Socket {
    local: SocketAddrV4,
    remote: SocketAddrV4,
    state: String,
    inode: String,
}

/// The TCP sockets of the host; IPv6 sockets keep only ports and mapped IPv4 addresses.
fn sockets(host: &Host) -> Vec<Socket> {
    let text: Vec<_> = ["tcp", "tcp6"].map(|file| host.read(&format!("/proc/thread-self/net/{file}"))).into();
    text.iter().flat_map(|text| text.lines().skip(1)).filter_map(socket).collect()
}

fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_whitespace().collect();
    Some(Socket {
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        state: (*fields.get(3)?).to_owned(),
        inode: (*fields.get(9)?).to_owned(),
    })
}

/// `0A0200C0:0438`: the address as a number in the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (address, port) = text.split_once(':')?;
    let last = address.get(address.len().checked_sub(8)?..)?;
    let number = u32::from_str_radix(last, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(number.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}
