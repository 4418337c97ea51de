//! The monitor's side of an ident or a resolver worker that runs for real: its own program, locked down.

#![allow(dead_code, reason = "each test program uses a part of it")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use sockd_common::channel::{ChannelError, MonitorEnd, Received};
use sockd_common::message::{LockdownReport, Message, PROTOCOL_VERSION, Role};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::thread;

/// The limit of every wait, in seconds. It is longer than anything here takes; only a fault makes a test wait for it.
const PATIENCE: i64 = 60;

/// A worker and the monitor's end of its channel.
pub(crate) struct Worker<Out, In> {
    channel: Option<MonitorEnd<Out, In>>,
    child: Child,
}

impl<Out: Message, In: Message> Worker<Out, In> {
    /// Starts a worker that may have this many descriptors.
    pub(crate) fn start(role: Role, descriptors: u32) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let child = command(role, descriptors).stdin(theirs).spawn().unwrap();
        Self { channel: Some(MonitorEnd::new(ours)), child }
    }

    /// Sends one message.
    pub(crate) fn send(&self, message: &Out, descriptor: Option<BorrowedFd<'_>>) {
        self.channel().send(message, descriptor).unwrap();
    }

    /// Sends as many messages as the worker's channel has room for, and returns their number.
    pub(crate) fn send_without_reading(&self, messages: impl Iterator<Item = Out>) -> usize {
        let has_room = |message: &Out| match self.channel().send(message, None) {
            Err(ChannelError::Io(Errno::AGAIN)) => false,
            sent => sent.is_ok(),
        };
        messages.take_while(has_room).count()
    }

    /// Sends bytes that are no message.
    pub(crate) fn send_octets(&self, octets: &[u8]) {
        rustix::net::send(self.channel(), octets, SendFlags::NOSIGNAL).unwrap();
    }

    /// Returns the next message. A worker that says nothing for a long time fails the test.
    pub(crate) fn next(&self) -> In {
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        let mut polled = [PollFd::new(self.channel(), PollFlags::IN)];
        assert_eq!(poll(&mut polled, Some(&patience)), Ok(1), "the worker says nothing");
        match self.channel().receive().unwrap() {
            Received::Message(message, _) => message,
            _ => panic!("the worker has gone"),
        }
    }

    /// Whether the worker has said nothing until now.
    pub(crate) fn says_nothing(&self) -> bool {
        matches!(self.channel().receive(), Ok(Received::Nothing))
    }

    /// Closes the channel, and returns how the worker ends.
    pub(crate) fn finish(mut self) -> ExitStatus {
        self.channel = None;
        self.child.wait().unwrap()
    }

    /// Returns how a worker ends that ends by itself.
    pub(crate) fn ending(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Checks that the locks hold that the worker claims.
    pub(crate) fn assert_locked_down(&self, locks: LockdownReport) {
        assert_eq!(locks.protocol, PROTOCOL_VERSION);
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        for line in
            ["NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"]
        {
            assert!(status.contains(line), "{line:?} not in\n{status}");
        }
    }

    /// The processor time that the worker has used, in ticks of usually 10 ms (proc_pid_stat(5)).
    pub(crate) fn ticks_used(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        [11, 12].iter().map(|&field| fields[field].parse::<u64>().unwrap()).sum()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn channel(&self) -> &MonitorEnd<Out, In> {
        self.channel.as_ref().unwrap()
    }
}

impl<Out, In> Drop for Worker<Out, In> {
    fn drop(&mut self) {
        self.channel = None;
        if thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The worker's program with its channel on standard input, which the shell moves to its place as the spawner does.
/// Started by root it runs as nobody, in a directory that is empty but for itself.
fn command(role: Role, descriptors: u32) -> Command {
    let program = match rustix::process::geteuid().is_root() {
        true => "chroot --userspec=65534:65534 --groups= \"$0\" /worker",
        false => "\"$0/worker\"",
    };
    let script = format!("exec 3<&0 0</dev/null; exec prlimit --nofile=$2 {program} $1");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg(root()).args([role.as_str(), &descriptors.to_string()]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// A directory with the worker's program and nothing else. Made once: a program that is being written while another
/// test forks could not be executed (ETXTBSY).
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let name = concat!("root-of-", env!("CARGO_CRATE_NAME"), "-worker");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&root).unwrap();
        let program = root.join("worker");
        let _earlier_run = fs::remove_file(&program);
        fs::copy(env!("CARGO_BIN_EXE_sockd-worker"), program).unwrap();
        root
    })
}
