//! The system calls of each role: one row for each call, with its conditions and the reason.
//!
//! Any other call ends the worker. No role has a call that makes, connects, binds, listens on or reconfigures a
//! socket, opens a file, starts a program or a thread, or sends a descriptor: a connected socket that was handed to
//! a worker can do nothing but carry bytes to and from that peer.

use crate::relay::pipes;
use crate::sys::MOST_AT_ONCE;
use sockd_common::message::FIRST_PIPE_FD;
use sockd_common::users;
use sockd_lockdown::Test::AtMost;
use sockd_lockdown::When::{Always, Answer, Args};
use sockd_lockdown::profile_rows::{
    NO_VDSO, NOT_EXECUTABLE, brk, close_check, end, flags, int, munmap, null,
};
use sockd_lockdown::{Arg, Row, libc, rare, row};

/// The session worker's calls.
pub const PROFILE_SESSION: &[Row] = &[
    row!(SYS_epoll_pwait, Args(&[NO_MASK]), "wait for channel, clients and servers"),
    row!(SYS_epoll_ctl, Always, "watch a socket that was handed over"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and sockets from the monitor"),
    row!(
        SYS_recvfrom,
        Args(&RECEIVE),
        "requests; small amounts to relay; not the urgent byte of a Unix socket"
    ),
    row!(SYS_sendto, Args(&SEND), "messages to the monitor, replies, small amounts; never to an address"),
    row!(SYS_splice, Args(&SPLICE), "bulk from socket to pipe to socket; never to a place in a file"),
    row!(SYS_fcntl, Args(&FIRST_PIPE), "a larger pipe for bulk, and smaller again; no other command"),
    row!(SYS_fcntl, Args(&ANY_PIPE), "the same for the others, which stay smaller"),
    close_check(),
    row!(SYS_shutdown, Always, "pass on the end of a stream (half-close)"),
    row!(
        SYS_getpeername,
        Always,
        "ENOTCONN tells that the peer has acknowledged everything, so that close is safe"
    ),
    row!(SYS_close, Always, "end a session"),
    row!(SYS_mmap, Args(&MAP), "memory of the allocator: private, not executable, no fixed place", MANY),
    munmap(MANY),
    row!(SYS_mremap, Args(&REMAP), "let the table of sessions grow", MANY),
    brk(MANY),
    row!(
        SYS_clock_gettime,
        Args(&[int(0, libc::CLOCK_MONOTONIC)]),
        "idle limits, where the clock has no vDSO",
        NO_VDSO
    ),
    end(rare("its channel closes before the spawner has killed it")),
];

/// The datagram worker's calls.
///
/// recvmmsg tells the sender of a datagram, and the length of the pieces of a bundle. A connected UDP socket sends to
/// any address that sendto or sendmsg is given: hence no address, and no sendmsg.
pub const PROFILE_DATAGRAM: &[Row] = &[
    row!(SYS_epoll_pwait, Args(&[NO_MASK]), "wait for channel, clients and peers"),
    row!(SYS_epoll_ctl, Always, "watch a socket that was handed over"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and sockets from the monitor"),
    row!(SYS_recvmmsg, Args(&RECEIVE_MANY), "datagrams, as many as there are, with who has sent them"),
    row!(
        SYS_sendto,
        Args(&SEND),
        "datagrams to whom the socket is connected to, messages; never to an address"
    ),
    row!(SYS_close, Always, "end a flow"),
    CLOSE_CHECK,
    row!(SYS_mmap, Args(&MAP), "memory of the allocator: private, not executable, no fixed place", FLOWS),
    munmap(FLOWS),
    row!(SYS_mremap, Args(&REMAP), "let the table of flows grow", FLOWS),
    brk(FLOWS),
    row!(
        SYS_clock_gettime,
        Args(&[int(0, libc::CLOCK_MONOTONIC)]),
        "idle limits, where the clock has no vDSO",
        NO_VDSO
    ),
    end(rare("its channel closes before the spawner has killed it")),
];

/// The ident worker's calls.
///
/// recvmsg serves the sockets as well as the channel, and poll needs no set of its own: hence no recvfrom and no
/// epoll_ctl. Without mmap the C library has brk alone, which is enough for a bounded number of short replies.
pub const PROFILE_IDENT: &[Row] = &[
    row!(SYS_ppoll, Args(&[null(3)]), "wait for channel and identds; no signal mask"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and sockets from the monitor; replies"),
    row!(SYS_sendto, Args(&SEND), "queries, answers to the monitor; never to an address"),
    row!(SYS_close, Always, "end a query"),
    CLOSE_CHECK,
    brk(rare("many queries at once")),
    end(rare("its channel closes before the spawner has killed it")),
];

/// The upstream worker's calls, which are those of the ident worker for the same reasons. The worker receives a reply
/// with a buffer of its exact length: bytes that the next server sends behind it must stay in the socket.
pub const PROFILE_UPSTREAM: &[Row] = &[
    row!(SYS_ppoll, Args(&[null(3)]), "wait for channel and next servers; no signal mask"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and sockets from the monitor; replies"),
    row!(SYS_sendto, Args(&SEND), "requests, answers to the monitor; never to an address"),
    row!(SYS_close, Always, "leave a next server"),
    CLOSE_CHECK,
    brk(rare("many queries at once")),
    end(rare("its channel closes before the spawner has killed it")),
];

/// The auth worker's calls. It has no socket but its channel, no file but the table of users, and no clock: the monitor
/// tells it how time passes.
pub const PROFILE_AUTH: &[Row] = &[
    row!(SYS_ppoll, Args(&[null(3)]), "wait for the channel; no signal mask"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and the table of users from the monitor"),
    row!(SYS_sendto, Args(&SEND), "verdicts to the monitor; never to an address"),
    row!(SYS_mmap, Args(&TABLE), "the table of users, to be read"),
    row!(
        SYS_mmap,
        Args(&MAP_TO_CHECK),
        "memory that a hash asks for: private, not executable, no fixed place"
    ),
    munmap(None),
    row!(SYS_close, Always, "the table of users has been read"),
    CLOSE_CHECK,
    brk(rare("many users")),
    end(rare("its channel closes before the spawner has killed it")),
];

/// The resolver worker's calls.
pub const PROFILE_RESOLVER: &[Row] = &[
    row!(SYS_epoll_pwait, Args(&[NO_MASK]), "wait for channel, nameservers and deadlines"),
    row!(SYS_epoll_ctl, Always, "watch a socket that was handed over"),
    row!(SYS_recvmsg, Args(&[flags(2, CHANNEL_FLAGS)]), "messages and descriptors from the monitor"),
    row!(SYS_recvfrom, Args(&RECEIVE), "answers of nameservers"),
    row!(SYS_sendto, Args(&SEND), "questions, answers to the monitor; never to an address"),
    row!(SYS_pread64, Always, "the hosts(5) file, handed over as a descriptor"),
    row!(SYS_close, Always, "leave a nameserver"),
    close_check(),
    row!(
        SYS_getrandom,
        Args(&[flags(2, 0)]),
        "query ids that nobody can guess, of the kernel's initialised generator only"
    ),
    row!(SYS_mmap, Args(&MAP), "memory of the allocator: private, not executable, no fixed place", LARGE),
    munmap(LARGE),
    row!(SYS_mremap, Args(&REMAP), "let the table of hosts grow", LARGE),
    brk(LARGE),
    row!(
        SYS_clock_gettime,
        Args(&[int(0, libc::CLOCK_MONOTONIC)]),
        "deadlines, where the clock has no vDSO",
        NO_VDSO
    ),
    end(rare("only with the daemon, whose end is quicker")),
];

// The occasions of rare calls.
const MANY: Option<&str> = rare("many sessions at once");
const FLOWS: Option<&str> = rare("many flows at once");
const LARGE: Option<&str> = rare("a large hosts file");

/// The largest single mapping, in bytes.
const LARGEST_MAPPING: u64 = 64 << 20;

/// The largest mapping of the auth worker, in bytes. A hash may take at most 128 MiB (sockd.passwd(5)), and the
/// allocator adds its own part.
const LARGEST_TO_CHECK: u64 = 129 << 20;

/// The row for fcntl(2) of roles that do without it.
const CLOSE_CHECK: Row = row!(
    SYS_fcntl,
    Answer(libc::ENOSYS),
    "not allowed; but builds with debug assertions ask it before every close, and only mind EBADF"
);

const CHANNEL_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;

/// epoll_pwait: the signal mask stays as it is.
const NO_MASK: Arg = null(4);

const RECEIVE: [Arg; 2] = [flags(3, libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_TRUNC), null(4)];

/// recvmmsg: without a limit of time.
const RECEIVE_MANY: [Arg; 3] =
    [Arg { index: 2, test: AtMost(MOST_AT_ONCE as u64) }, flags(3, libc::MSG_DONTWAIT), null(4)];

/// MSG_FASTOPEN and MSG_OOB are not among the flags, and there is no address: a socket cannot be turned elsewhere.
const SEND: [Arg; 2] = [flags(3, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE), null(4)];

/// Each slot of a pipe can hold a page that nobody counts: only the first pipe may have many.
const FIRST_PIPE: [Arg; 3] = [
    int(0, FIRST_PIPE_FD + 1),
    int(1, libc::F_SETPIPE_SZ),
    Arg { index: 2, test: AtMost(pipes::LARGE as u64) },
];
const ANY_PIPE: [Arg; 2] =
    [int(1, libc::F_SETPIPE_SZ), Arg { index: 2, test: AtMost(pipes::FURTHER as u64) }];

const SPLICE: [Arg; 3] = [
    null(1),
    null(3),
    flags(5, (libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE | libc::SPLICE_F_MORE).cast_signed()),
];

const MAP: [Arg; 3] = [
    Arg { index: 1, test: AtMost(LARGEST_MAPPING) },
    NOT_EXECUTABLE,
    int(3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
];

const MAP_TO_CHECK: [Arg; 3] = [
    Arg { index: 1, test: AtMost(LARGEST_TO_CHECK) },
    NOT_EXECUTABLE,
    int(3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
];

/// The mapping is not writable, although writes would reach only the worker's own copy.
const TABLE: [Arg; 3] = [
    Arg { index: 1, test: AtMost(users::LONGEST as u64) },
    int(2, libc::PROT_READ),
    int(3, libc::MAP_PRIVATE),
];

const REMAP: [Arg; 2] = [Arg { index: 2, test: AtMost(LARGEST_MAPPING) }, flags(3, libc::MREMAP_MAYMOVE)];
