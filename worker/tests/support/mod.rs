//! A monitor reduced to its end of the channel, and a worker that runs for real: its own program, locked down.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sockd_common::channel::{ChannelError, MonitorEnd, Received};
use sockd_common::message::request::Request;
use sockd_common::message::session::{
    CloseReason, FromSession, Handshake, Methods, Protocols, RelayMode, ToSession,
};
use sockd_common::message::{FIRST_PIPE_FD, Id, LockdownReport, PIPES};
use sockd_lockdown::libc;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The limit of every wait. It is longer than anything here takes; only a fault makes a test wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Monitor {
    pub(crate) end: MonitorEnd<ToSession, FromSession>,
    pub(crate) child: Child,
    pub(crate) locks: LockdownReport,
    next: u32,
}

/// How the worker is started.
pub(crate) struct Start {
    pub(crate) relay: RelayMode,
    pub(crate) descriptors: u32,
    pub(crate) pipes: usize,
}

impl Default for Start {
    fn default() -> Self {
        Self { relay: RelayMode::Adaptive, descriptors: 1024, pipes: PIPES }
    }
}

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("NOT ROOT: the worker runs as the present user and without a root directory of its own");
    }
    root
}

/// A worker that has said `Ready`. Started by root it runs as nobody, in a directory that is empty but for itself.
pub(crate) fn start(start: Start) -> Monitor {
    let (ours, theirs) = channel();
    let child =
        command("session", start.descriptors, start.pipes).stdin(Stdio::from(theirs)).spawn().unwrap();
    let end = MonitorEnd::new(ours);
    end.send(&ToSession::Setup { relay: start.relay, protocols: Protocols::ALL }, None).unwrap();
    let FromSession::Ready(locks) = receive(&end) else { panic!("the first message is not Ready") };
    Monitor { end, child, locks, next: 0 }
}

/// Both ends of a channel.
pub(crate) fn channel() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// The worker's program with its channel on standard input, which the shell moves to its place.
fn command(role: &str, descriptors: u32, pipes: usize) -> Command {
    let locked_in = match is_root() {
        true => "chroot --userspec=65534:65534 --groups= \"$0\" /worker",
        false => "\"$0/worker\"",
    };
    let script = format!("exec 3<&0 0</dev/null; exec prlimit --nofile=$2 {locked_in} $1");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg(root()).arg(role).arg(descriptors.to_string());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // SAFETY: the code that runs between fork and exec makes system calls alone.
    unsafe { command.pre_exec(move || make_pipes(pipes)) };
    command
}

/// Makes the pipes of a session worker at the numbers that it expects, as the spawner does.
fn make_pipes(pipes: usize) -> std::io::Result<()> {
    const HIGH: i32 = 200;
    let check = |result: i32| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
    let mut target = FIRST_PIPE_FD;
    for _ in 0..pipes {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors; the other calls touch no memory. Descriptors with the numbers of
        // the pipes belong to the parent and are not used by this process again.
        unsafe {
            check(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC))?;
            check(libc::fcntl(ends[1], libc::F_SETPIPE_SZ, 4096))?;
            let ends = [
                check(libc::fcntl(ends[0], libc::F_DUPFD_CLOEXEC, HIGH))?,
                check(libc::fcntl(ends[1], libc::F_DUPFD_CLOEXEC, HIGH))?,
            ];
            for end in ends {
                check(libc::dup2(end, target))?;
                target += 1;
            }
        }
    }
    Ok(())
}

/// A directory with the worker's program and nothing else. Made once: a program that is being written while another
/// test forks could not be executed (ETXTBSY).
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("root-of-a-session-worker");
        std::fs::create_dir_all(&root).unwrap();
        let program = root.join("worker");
        let _earlier_run = std::fs::remove_file(&program);
        std::fs::copy(env!("CARGO_BIN_EXE_sockd-worker"), program).unwrap();
        root
    })
}

fn receive(end: &MonitorEnd<ToSession, FromSession>) -> FromSession {
    loop {
        match end.receive().unwrap() {
            Received::Message(message, _) => return message,
            Received::Nothing => {}
            other => panic!("the worker has gone: {other:?}"),
        }
        wait(end, PollFlags::IN, "no message from the worker");
    }
}

/// Sends a message as soon as the worker has read enough of those before it.
fn send(end: &MonitorEnd<ToSession, FromSession>, message: &ToSession, descriptor: Option<BorrowedFd<'_>>) {
    loop {
        match end.send(message, descriptor) {
            Err(ChannelError::Io(Errno::AGAIN)) => wait(end, PollFlags::OUT, "the worker reads no messages"),
            sent => return sent.unwrap(),
        }
    }
}

fn wait(end: &MonitorEnd<ToSession, FromSession>, flags: PollFlags, otherwise: &str) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(end, flags)], Some(&patience)).unwrap();
    assert!(ready > 0, "{otherwise}");
}

impl Monitor {
    pub(crate) fn hear(&self) -> FromSession {
        receive(&self.end)
    }

    /// Whether no message is there. Does not wait.
    pub(crate) fn hears_nothing(&self) -> bool {
        matches!(self.end.receive(), Ok(Received::Nothing))
    }

    pub(crate) fn say(&self, message: ToSession) {
        send(&self.end, &message, None);
    }

    /// A client whose connection the worker serves.
    pub(crate) fn serve(&mut self) -> (TcpStream, Id) {
        let (client, socket) = connection();
        (client, self.serve_on(&socket, Handshake::Fresh(Methods::NONE)))
    }

    /// Serves this client's socket, which another worker may have had before.
    pub(crate) fn serve_on(&mut self, socket: impl AsFd, handshake: Handshake) -> Id {
        let id = Id(self.next);
        self.next += 1;
        send(&self.end, &ToSession::Serve { id, handshake }, Some(socket.as_fd()));
        id
    }

    pub(crate) fn hear_request(&self) -> Request {
        match self.hear() {
            FromSession::Request { request, .. } => request,
            other => panic!("{other:?} instead of a request"),
        }
    }

    pub(crate) fn hear_closed(&self) -> CloseReason {
        match self.hear() {
            FromSession::Closed { why, .. } => why,
            other => panic!("{other:?} instead of Closed"),
        }
    }

    /// Grants the request, and returns the other end of the server's connection.
    pub(crate) fn grant(&self, id: Id) -> TcpStream {
        let (server, socket) = connection();
        let bound = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        send(&self.end, &ToSession::Relay { id, bound }, Some(socket.as_fd()));
        server
    }

    /// A client and a server with a relay between them.
    pub(crate) fn relay(&mut self) -> (TcpStream, TcpStream) {
        let (mut client, id) = self.serve();
        client.write_all(CONNECT).unwrap();
        self.hear_request();
        let server = self.grant(id);
        assert_eq!(reply(&mut client), [0, 90, 0, 0, 0, 0, 0, 0]);
        (client, server)
    }

    /// Returns how the worker has ended.
    pub(crate) fn ending(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("the worker does not end"),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const CONNECT: &[u8] = b"\x04\x01\x00\x50\x0a\x00\x00\x01joe\0";
pub(crate) const BIND: &[u8] = b"\x04\x02\x00\x50\x0a\x00\x00\x01joe\0";

/// A peer's end of a TCP connection on loopback, and the end that the monitor hands over, prepared as it does.
pub(crate) fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Accepted sockets inherit all of these from the listening one.
    let options = SockRef::from(&listener);
    options.set_linger(Some(Duration::ZERO)).unwrap();
    options.set_out_of_band_inline(true).unwrap();
    options.set_tcp_nodelay(true).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    (peer, socket.into())
}

pub(crate) fn reply(client: &mut TcpStream) -> [u8; 8] {
    let mut reply = [0; 8];
    client.read_exact(&mut reply).unwrap();
    reply
}

/// Everything up to the end of the stream.
pub(crate) fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

pub(crate) fn end_stream(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}
