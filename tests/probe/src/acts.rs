//! The acts: a row each, with what the sandbox is to prevent.
//!
//! Most are one system call. If an act takes two, the first is forbidden already; the control needs both.

use crate::sys::call;
use std::ffi::{CStr, CString};
use std::sync::atomic::AtomicU64;

/// The descriptors in a worker's hands, and the targets that it might turn against.
pub(crate) struct Slot {
    /// A connected TCP socket.
    pub client: usize,
    /// Its end of the monitor's channel.
    pub channel: usize,
    /// The other end of it. In a worker's place it is whatever is open.
    pub other_end: usize,
    /// A TCP socket that is not connected, and one that listens and has a client waiting: the monitor never passes
    /// either. In a worker's place they are whatever is open, as none can be made there.
    pub loose: usize,
    pub listener: usize,
    /// A process of the same user that runs this program too: another worker.
    pub victim: usize,
    /// The process that gives the orders.
    pub monitor: usize,
    /// An address at which nothing from here may ever arrive: a sockaddr_in.
    pub canary: [u8; 16],
}

/// Something that a worker in an attacker's hands might try.
pub(crate) struct Act {
    /// The part of the system that it is about.
    pub group: &'static str,
    /// The act in words.
    pub name: &'static str,
    /// Whether it is one of the 139 that the floors of each layer were first measured with.
    pub classic: bool,
    /// Does it; gives the negated errno if the kernel refuses.
    pub attempt: fn(&Slot) -> i64,
}

const CWD: usize = libc::AT_FDCWD.cast_unsigned() as usize;
const MAP: usize = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

const ANY: [u8; 16] = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const fn bits(number: i32) -> usize {
    number.cast_unsigned() as usize
}

fn wide(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

fn p(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

/// The path of an abstract Unix socket and of the datagram socket that stands for /dev/log: both are canaries, too.
pub(crate) const ABSTRACT: &[u8; 14] = b"\x01\0\0sockd-probe";
pub(crate) const LOG: &[u8; 6] = b"\x01\0log\0";

/// The kernel does not tell whether such a signal has arrived: the fate of the victim shows it.
pub(crate) const SIGIO: &str = "F_SETOWN and O_ASYNC: SIGIO for another";

/// Written to by an act that gets at the memory of another worker.
static TARGET: AtomicU64 = AtomicU64::new(0);

/// The address of a value of its own that the kernel may read and write; the process soon ends.
fn a<T>(value: T) -> usize {
    std::ptr::from_mut(Box::leak(Box::new(value))).cast::<u8>() as usize
}

/// A page of this program's code.
fn acts_page() -> usize {
    (all as *const () as usize) & !4095
}

/// In a child that should not be there: ends it.
fn child(answer: i64) -> i64 {
    if answer == 0 {
        sockd_lockdown::exit_now(0);
    }
    answer
}

/// Removes an object again that belongs to the system and not to the process, if it could be made.
fn then_remove(made: i64, call_number: libc::c_long, words: &[usize]) -> i64 {
    if made >= 0 {
        let id = [wide(made)];
        call(call_number, &[&id, words].concat());
    }
    made
}

/// A page of code that nothing here runs.
fn unused_page() -> usize {
    (std::thread::park_timeout as *const () as usize) & !4095
}

fn socket(kind: i32) -> usize {
    wide(call(libc::SYS_socket, &[bits(libc::AF_INET), bits(kind), 0]))
}

/// A process that leads its group cannot leave its session; a child can.
fn child_sets_sid() -> i64 {
    match call(libc::SYS_clone, &[bits(libc::SIGCHLD)]) {
        0 => sockd_lockdown::exit_now(i32::from(call(libc::SYS_setsid, &[]) < 0)),
        answer => answer,
    }
}

/// sendmsg(2) with one control message: struct msghdr and struct cmsghdr by their words.
fn passing(slot: &Slot, kind: i32, what: usize) -> i64 {
    let (length, ids) = if kind == libc::SCM_RIGHTS { (20_usize, 0) } else { (28, 0) };
    let control = [length, bits(libc::SOL_SOCKET) | bits(kind) << 32, what, ids];
    let part = [a([1_u8; 4]), 4];
    let header = [0_usize, 0, a(part), 1, a(control), length.next_multiple_of(8), 0];
    call(libc::SYS_sendmsg, &[slot.channel, a(header), bits(libc::MSG_DONTWAIT)])
}

/// sendmsg(2) to an address.
fn message_to(slot: &Slot, socket: usize, flags: i32) -> i64 {
    let part = [a([1_u8; 4]), 4];
    let header = [a(slot.canary), 16, a(part), 1, 0, 0, 0];
    call(libc::SYS_sendmsg, &[socket, a(header), bits(flags)])
}

/// All of them, in an order that does not change while the program runs.
pub(crate) fn all() -> Vec<Act> {
    [files(), processes_and_programs(), memory(), other_processes(), network(), kernel(), other_conventions()]
        .into_iter()
        .flatten()
        .collect()
}

fn files() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "files", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "files", name, classic: false, attempt };
    vec![
        classic("open /etc/passwd O_RDONLY", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/etc/passwd"), bits(libc::O_RDONLY)])
        }),
        classic("open / O_DIRECTORY", |_| call(libc::SYS_openat, &[CWD, p(c"/"), bits(libc::O_DIRECTORY)])),
        classic("open .. O_PATH", |_| call(libc::SYS_openat, &[CWD, p(c".."), bits(libc::O_PATH)])),
        classic("open a world-writable file O_WRONLY", |_| {
            call(libc::SYS_openat, &[CWD, p(c"own"), bits(libc::O_WRONLY)])
        }),
        classic("create a file", |_| {
            call(libc::SYS_openat, &[CWD, p(c"new"), bits(libc::O_CREAT | libc::O_WRONLY), 0o600])
        }),
        classic("open O_TMPFILE", |_| {
            call(libc::SYS_openat, &[CWD, p(c"."), bits(libc::O_TMPFILE | libc::O_RDWR), 0o600])
        }),
        classic("open /proc/self/mem", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/proc/self/mem"), bits(libc::O_RDWR)])
        }),
        classic("open /proc/self/environ", |_| call(libc::SYS_openat, &[CWD, p(c"/proc/self/environ"), 0])),
        classic("open /proc/VICTIM/status", |slot| {
            let path = CString::new(format!("/proc/{}/status", slot.victim)).unwrap_or_default();
            call(libc::SYS_openat, &[CWD, path.as_ptr() as usize, 0])
        }),
        classic("open /dev/null", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/null"), bits(libc::O_RDWR)])),
        classic("open /dev/ptmx", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/ptmx"), bits(libc::O_RDWR)])),
        classic("openat2", |_| call(libc::SYS_openat2, &[CWD, p(c"/etc/passwd"), a([0_u64; 3]), 24])),
        classic("stat /etc/passwd", |_| {
            call(libc::SYS_newfstatat, &[CWD, p(c"/etc/passwd"), a([0_u64; 32]), 0])
        }),
        act("statx /etc/passwd", |_| {
            call(libc::SYS_statx, &[CWD, p(c"/etc/passwd"), 0, 0xfff, a([0_u64; 64])])
        }),
        classic("access /etc/shadow F_OK", |_| call(libc::SYS_faccessat, &[CWD, p(c"/etc/shadow"), 0])),
        classic("readlink /proc/self/exe", |_| {
            call(libc::SYS_readlinkat, &[CWD, p(c"/proc/self/exe"), a([0_u8; 256]), 256])
        }),
        act("getcwd", |_| call(libc::SYS_getcwd, &[a([0_u8; 256]), 256])),
        act("getdents of what is open", |slot| {
            call(libc::SYS_getdents64, &[slot.client, a([0_u8; 256]), 256])
        }),
        classic("mkdir", |_| call(libc::SYS_mkdirat, &[CWD, p(c"dir"), 0o700])),
        classic("unlink", |_| call(libc::SYS_unlinkat, &[CWD, p(c"unlink"), 0])),
        classic("rename", |_| call(libc::SYS_renameat2, &[CWD, p(c"rename"), CWD, p(c"renamed"), 0])),
        classic("symlink", |_| call(libc::SYS_symlinkat, &[p(c"/etc/passwd"), CWD, p(c"symlink")])),
        classic("link", |_| call(libc::SYS_linkat, &[CWD, p(c"own"), CWD, p(c"link"), 0])),
        classic("chmod", |_| call(libc::SYS_fchmodat, &[CWD, p(c"own"), 0o777])),
        act("chown", |_| call(libc::SYS_fchownat, &[CWD, p(c"own"), usize::MAX, usize::MAX, 0])),
        classic("truncate", |_| call(libc::SYS_truncate, &[p(c"own"), 0])),
        act("utimensat", |_| call(libc::SYS_utimensat, &[CWD, p(c"own"), 0, 0])),
        classic("mkfifo", |_| call(libc::SYS_mknodat, &[CWD, p(c"fifo"), wide(libc::S_IFIFO | 0o600), 0])),
        classic("statfs /", |_| call(libc::SYS_statfs, &[p(c"/"), a([0_u64; 32])])),
        act("getxattr", |_| call(libc::SYS_getxattr, &[p(c"own"), p(c"user.x"), a([0_u8; 64]), 64])),
        classic("chdir /etc", |_| call(libc::SYS_chdir, &[p(c"/etc")])),
        classic("chroot", |_| call(libc::SYS_chroot, &[p(c".")])),
        classic("open_by_handle_at", |_| {
            call(libc::SYS_open_by_handle_at, &[CWD, a([8_u32, 1, 0, 0, 0, 0]), 0])
        }),
        act("name_to_handle_at", |_| {
            call(libc::SYS_name_to_handle_at, &[CWD, p(c"/etc/passwd"), a([64_u32; 32]), a([0_u32]), 0])
        }),
        classic("inotify_init1", |_| call(libc::SYS_inotify_init1, &[0])),
        act("fanotify_init", |_| call(libc::SYS_fanotify_init, &[0, 0])),
        classic("memfd_create", |_| call(libc::SYS_memfd_create, &[p(c"x"), 0])),
        act("umask", |_| call(libc::SYS_umask, &[0o77])),
        act("flock", |slot| call(libc::SYS_flock, &[slot.channel, 8])),
    ]
}

fn processes_and_programs() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "processes and programs", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "processes and programs", name, classic: false, attempt };
    vec![
        classic("execve /bin/true", |_| {
            call(libc::SYS_execve, &[p(c"/bin/true"), a([p(c"true"), 0]), a([0_usize])])
        }),
        act("execveat of a descriptor", |slot| {
            call(
                libc::SYS_execveat,
                &[slot.client, p(c""), a([0_usize]), a([0_usize]), bits(libc::AT_EMPTY_PATH)],
            )
        }),
        act("fork by clone", |_| child(call(libc::SYS_clone, &[bits(libc::SIGCHLD)]))),
        classic("clone a thread", |_| {
            std::thread::Builder::new().spawn(|| ()).map_or(-1, |thread| thread.join().map_or(-1, |()| 0))
        }),
        classic("clone3", |_| child(call(libc::SYS_clone3, &[a([0_u64, 0, 0, 0, 17, 0, 0, 0]), 64]))),
        classic("clone that shares memory, as vfork", |_| crate::sys::clone_sharing_memory()),
        act("posix_spawn", |_| std::process::Command::new("/bin/true").status().map_or(-1, |_| 0)),
        act("wait4", |_| call(libc::SYS_wait4, &[usize::MAX, 0, 1, 0])),
    ]
}

fn memory() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "memory", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "memory", name, classic: false, attempt };
    vec![
        classic("mmap writable and executable", |_| call(libc::SYS_mmap, &[0, 4096, 7, MAP, usize::MAX, 0])),
        classic("mmap executable", |_| call(libc::SYS_mmap, &[0, 4096, 5, MAP, usize::MAX, 0])),
        classic("mmap, then mprotect to executable", |_| {
            let page = call(libc::SYS_mmap, &[0, 4096, 3, MAP, usize::MAX, 0]);
            call(libc::SYS_mprotect, &[wide(page), 4096, 5])
        }),
        classic("mprotect the code writable", |_| call(libc::SYS_mprotect, &[acts_page(), 4096, 7])),
        act("pkey_mprotect", |_| call(libc::SYS_pkey_mprotect, &[acts_page(), 4096, 5, usize::MAX])),
        act("mmap at a fixed place", |_| {
            call(libc::SYS_mmap, &[0x10_0000_0000, 4096, 3, MAP | bits(libc::MAP_FIXED), usize::MAX, 0])
        }),
        classic("mmap over the code", |_| {
            call(libc::SYS_mmap, &[unused_page(), 4096, 3, MAP | bits(libc::MAP_FIXED), usize::MAX, 0])
        }),
        act("mmap of a descriptor", |slot| {
            call(libc::SYS_mmap, &[0, 4096, 1, bits(libc::MAP_PRIVATE), slot.channel, 0])
        }),
        classic("mmap of 4 GiB", |_| {
            call(libc::SYS_mmap, &[0, 4 << 30, 3, MAP | bits(libc::MAP_NORESERVE), usize::MAX, 0])
        }),
        classic("remap_file_pages", |_| {
            let shared = bits(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let pages = call(libc::SYS_mmap, &[0, 8192, 3, shared, usize::MAX, 0]);
            call(libc::SYS_remap_file_pages, &[wide(pages), 4096, 0, 1, 0])
        }),
        classic("personality READ_IMPLIES_EXEC", |_| call(libc::SYS_personality, &[0x40_0000])),
        classic("userfaultfd", |_| call(libc::SYS_userfaultfd, &[0])),
        act("userfaultfd for faults in user mode", |_| call(libc::SYS_userfaultfd, &[1])),
        classic("shmget", |_| {
            then_remove(call(libc::SYS_shmget, &[0, 4096, 0o600]), libc::SYS_shmctl, &[0, 0])
        }),
        classic("msgget", |_| then_remove(call(libc::SYS_msgget, &[0, 0o600]), libc::SYS_msgctl, &[0, 0])),
        act("semget", |_| then_remove(call(libc::SYS_semget, &[0, 1, 0o600]), libc::SYS_semctl, &[0, 0, 0])),
        classic("mq_open", |_| {
            let queue =
                call(libc::SYS_mq_open, &[p(c"sockd-probe"), bits(libc::O_CREAT | libc::O_RDWR), 0o600, 0]);
            if queue >= 0 {
                call(libc::SYS_mq_unlink, &[p(c"sockd-probe")]);
            }
            queue
        }),
        classic("mlock of 64 MiB", |_| {
            let pages = call(libc::SYS_mmap, &[0, 64 << 20, 3, MAP, usize::MAX, 0]);
            call(libc::SYS_mlock, &[wide(pages), 64 << 20])
        }),
        act("mlock of a page", |_| call(libc::SYS_mlock, &[acts_page(), 4096])),
        act("mlockall", |_| call(libc::SYS_mlockall, &[4])),
        act("madvise", |_| call(libc::SYS_madvise, &[acts_page(), 4096, 3])),
        act("memfd_secret", |_| call(libc::SYS_memfd_secret, &[0])),
        act("mincore", |_| call(libc::SYS_mincore, &[acts_page(), 4096, a([0_u8; 8])])),
    ]
}

fn other_processes() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "other processes", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "other processes", name, classic: false, attempt };
    vec![
        classic("kill(victim, 0)", |slot| call(libc::SYS_kill, &[slot.victim, 0])),
        classic("kill(victim, SIGURG)", |slot| call(libc::SYS_kill, &[slot.victim, bits(libc::SIGURG)])),
        classic("kill(monitor, 0)", |slot| call(libc::SYS_kill, &[slot.monitor, 0])),
        classic("kill(-1, 0)", |_| call(libc::SYS_kill, &[usize::MAX, 0])),
        classic("kill(0, SIGURG)", |_| call(libc::SYS_kill, &[0, bits(libc::SIGURG)])),
        classic("tgkill", |slot| call(libc::SYS_tgkill, &[slot.victim, slot.victim, 0])),
        act("tkill", |slot| call(libc::SYS_tkill, &[slot.victim, 0])),
        classic("rt_sigqueueinfo", |slot| {
            call(
                libc::SYS_rt_sigqueueinfo,
                &[
                    slot.victim,
                    bits(libc::SIGURG),
                    a([
                        23_i32, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0, 0, 0, 0, 0, 0,
                    ]),
                ],
            )
        }),
        classic(SIGIO, |slot| {
            match call(libc::SYS_fcntl, &[slot.channel, bits(libc::F_SETOWN), slot.victim]) {
                0.. => call(libc::SYS_fcntl, &[slot.channel, bits(libc::F_SETFL), bits(libc::O_ASYNC)])
                    .min(call(libc::SYS_sendto, &[slot.other_end, a([0_u8]), 1, bits(libc::MSG_DONTWAIT)])),
                refused => refused,
            }
        }),
        act("F_SETOWN to another", |slot| {
            call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETOWN), slot.victim])
        }),
        act("F_SETFL O_ASYNC", |slot| {
            call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETFL), bits(libc::O_ASYNC)])
        }),
        classic("ptrace attach", |slot| call(libc::SYS_ptrace, &[16, slot.victim, 0, 0])),
        classic("ptrace TRACEME", |_| call(libc::SYS_ptrace, &[0, 0, 0, 0])),
        classic("process_vm_readv", |slot| {
            call(
                libc::SYS_process_vm_readv,
                &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([acts_page(), 8]), 1, 0],
            )
        }),
        classic("process_vm_writev", |slot| {
            call(
                libc::SYS_process_vm_writev,
                &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([TARGET.as_ptr() as usize, 8]), 1, 0],
            )
        }),
        act("process_madvise", |slot| call(libc::SYS_process_madvise, &[slot.channel, 0, 0, 20, 0])),
        classic("pidfd_open", |slot| call(libc::SYS_pidfd_open, &[slot.victim, 0])),
        classic("pidfd_getfd", |slot| {
            let process = call(libc::SYS_pidfd_open, &[slot.victim, 0]);
            call(libc::SYS_pidfd_getfd, &[wide(process), 0, 0])
        }),
        classic("kcmp", |slot| call(libc::SYS_kcmp, &[slot.victim, slot.victim, 1, 0, 0])),
        classic("prlimit64 of another", |slot| {
            call(libc::SYS_prlimit64, &[slot.victim, 7, 0, a([0_u64; 2])])
        }),
        classic("setpriority of another", |slot| call(libc::SYS_setpriority, &[0, slot.victim, 19])),
        classic("sched_setaffinity of another", |slot| {
            call(libc::SYS_sched_setaffinity, &[slot.victim, 8, a([3_u64])])
        }),
        act("sched_setscheduler of another", |slot| {
            call(libc::SYS_sched_setscheduler, &[slot.victim, 3, a([0_i32])])
        }),
        act("ioprio_set of another", |slot| call(libc::SYS_ioprio_set, &[1, slot.victim, 3 << 13])),
        classic("get_robust_list of another", |slot| {
            call(libc::SYS_get_robust_list, &[slot.victim, a([0_u64]), a([0_u64])])
        }),
        act("getpgid of another", |slot| call(libc::SYS_getpgid, &[slot.victim])),
        act("setsid", |_| child_sets_sid()),
    ]
}

fn network() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "network", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "network", name, classic: false, attempt };
    vec![
        classic("socket INET STREAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_STREAM), 0])
        }),
        classic("socket INET6 STREAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET6), bits(libc::SOCK_STREAM), 0])
        }),
        classic("socket INET DGRAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_DGRAM), 0])
        }),
        act("socket INET RAW", |_| call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_RAW), 0])),
        classic("socket UNIX", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_UNIX), bits(libc::SOCK_STREAM), 0])
        }),
        classic("socket NETLINK", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_NETLINK), bits(libc::SOCK_RAW), 0])
        }),
        classic("socket ALG", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_ALG), bits(libc::SOCK_SEQPACKET), 0])
        }),
        classic("socket VSOCK", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_VSOCK), bits(libc::SOCK_STREAM), 0])
        }),
        act("socket PACKET", |_| call(libc::SYS_socket, &[bits(libc::AF_PACKET), bits(libc::SOCK_RAW), 0])),
        classic("socket MPTCP, connected", |slot| {
            let socket = call(libc::SYS_socket, &[2, 1, 262]);
            call(libc::SYS_connect, &[wide(socket), a(slot.canary), 16])
        }),
        classic("socketpair", |_| call(libc::SYS_socketpair, &[1, 1, 0, a([0_i32; 2])])),
        act("connect a passed socket again", |slot| {
            call(libc::SYS_connect, &[slot.client, a(slot.canary), 16])
        }),
        act("disconnect a passed socket (AF_UNSPEC)", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16])
        }),
        classic("disconnect and listen", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16]);
            call(libc::SYS_listen, &[slot.client, 1])
        }),
        classic("disconnect and connect elsewhere", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16]);
            call(libc::SYS_connect, &[slot.client, a(slot.canary), 16])
        }),
        classic("disconnect and MSG_FASTOPEN elsewhere", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16]);
            let fastopen = bits(libc::MSG_FASTOPEN);
            call(libc::SYS_sendto, &[slot.client, a([0_u8; 4]), 4, fastopen, a(slot.canary), 16])
        }),
        classic("a socket passed by mistake: connect", |slot| {
            call(libc::SYS_connect, &[slot.loose, a(slot.canary), 16])
        }),
        classic("a socket passed by mistake: MSG_FASTOPEN", |slot| {
            let fastopen = bits(libc::MSG_FASTOPEN);
            call(libc::SYS_sendto, &[slot.loose, a([0_u8; 4]), 4, fastopen, a(slot.canary), 16])
        }),
        classic("a socket passed by mistake: sendmsg with MSG_FASTOPEN", |slot| {
            message_to(slot, slot.loose, libc::MSG_FASTOPEN)
        }),
        classic("a socket passed by mistake: TCP_FASTOPEN_CONNECT", |slot| {
            let (level, option) = (bits(libc::IPPROTO_TCP), bits(libc::TCP_FASTOPEN_CONNECT));
            call(libc::SYS_setsockopt, &[slot.loose, level, option, a([1_i32]), 4]);
            call(libc::SYS_connect, &[slot.loose, a(slot.canary), 16])
        }),
        classic("a listener passed by mistake: accept", |slot| {
            call(libc::SYS_accept4, &[slot.listener, 0, 0, bits(libc::SOCK_NONBLOCK)])
        }),
        act("MSG_FASTOPEN to an address", |slot| {
            call(
                libc::SYS_sendto,
                &[slot.client, a([0_u8; 4]), 4, bits(libc::MSG_FASTOPEN), a(slot.canary), 16],
            )
        }),
        act("sendto with an address", |slot| {
            call(libc::SYS_sendto, &[slot.client, a([0_u8; 4]), 4, 0, a(slot.canary), 16])
        }),
        act("bind a passed socket", |slot| call(libc::SYS_bind, &[slot.client, a(ANY), 16])),
        act("listen on a passed socket", |slot| call(libc::SYS_listen, &[slot.client, 1])),
        act("accept on a passed socket", |slot| {
            call(libc::SYS_accept4, &[slot.client, 0, 0, bits(libc::SOCK_NONBLOCK)])
        }),
        classic("a new socket, connected", |slot| {
            call(libc::SYS_connect, &[socket(libc::SOCK_STREAM), a(slot.canary), 16])
        }),
        classic("a new socket, bound and listening", |_| {
            let socket = socket(libc::SOCK_STREAM);
            call(libc::SYS_bind, &[socket, a(ANY), 16]);
            call(libc::SYS_listen, &[socket, 1])
        }),
        classic("a new socket, listening", |_| call(libc::SYS_listen, &[socket(libc::SOCK_STREAM), 1])),
        classic("a datagram to anywhere", |slot| {
            call(libc::SYS_sendto, &[socket(libc::SOCK_DGRAM), a([0_u8; 4]), 4, 0, a(slot.canary), 16])
        }),
        classic("a line of its own for the log", |_| {
            let socket = call(libc::SYS_socket, &[1, 2, 0]);
            let line = a(*b"<3>sockd[1]: forged");
            call(libc::SYS_sendto, &[wide(socket), line, 19, 0, a(*LOG), LOG.len()])
        }),
        classic("connect to an abstract Unix socket", |_| {
            let socket = call(libc::SYS_socket, &[1, 1, 0]);
            call(libc::SYS_connect, &[wide(socket), a(*ABSTRACT), ABSTRACT.len()])
        }),
        act("sendmsg to the monitor", |slot| {
            call(libc::SYS_sendmsg, &[slot.channel, a([0_usize; 7]), bits(libc::MSG_DONTWAIT)])
        }),
        classic("sendmsg with a descriptor", |slot| passing(slot, libc::SCM_RIGHTS, slot.client)),
        classic("sendmsg with forged credentials", |slot| passing(slot, libc::SCM_CREDENTIALS, 1)),
        act("sendmmsg", |slot| {
            call(libc::SYS_sendmmsg, &[slot.channel, a([0_usize; 8]), 1, bits(libc::MSG_DONTWAIT)])
        }),
        act("recvmmsg with a limit of time", |slot| {
            let (headers, limit) = (a([0_usize; 8]), a([0_usize; 2]));
            call(libc::SYS_recvmmsg, &[slot.channel, headers, 1, bits(libc::MSG_DONTWAIT), limit])
        }),
        classic("recv MSG_OOB on the channel", |slot| {
            call(libc::SYS_recvfrom, &[slot.channel, a([0_u8; 4]), 4, bits(libc::MSG_OOB), 0, 0])
        }),
        act("recvfrom that wants the address", |slot| {
            call(
                libc::SYS_recvfrom,
                &[slot.client, a([0_u8; 4]), 4, bits(libc::MSG_DONTWAIT), a([0_u8; 16]), a([16_u32])],
            )
        }),
        classic("SO_LINGER", |slot| call(libc::SYS_setsockopt, &[slot.client, 1, 13, a([1_i32, 0]), 8])),
        classic("SO_MARK", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::SOL_SOCKET), bits(libc::SO_MARK), a([1_i32]), 4],
            )
        }),
        act("SO_BINDTODEVICE", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::SOL_SOCKET), bits(libc::SO_BINDTODEVICE), a([0_i32]), 4],
            )
        }),
        classic("SO_ATTACH_FILTER", |slot| {
            call(libc::SYS_setsockopt, &[slot.client, 1, 26, a([1_usize, a([6_u64 | 0xffff << 32])]), 16])
        }),
        classic("TCP_ULP tls", |slot| call(libc::SYS_setsockopt, &[slot.client, 6, 31, p(c"tls"), 3])),
        classic("TCP_CONGESTION", |slot| call(libc::SYS_setsockopt, &[slot.client, 6, 13, p(c"reno"), 4])),
        classic("TCP_REPAIR", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::IPPROTO_TCP), bits(libc::TCP_REPAIR), a([1_i32]), 4],
            )
        }),
        act("TCP_FASTOPEN_CONNECT", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::IPPROTO_TCP), bits(libc::TCP_FASTOPEN_CONNECT), a([1_i32]), 4],
            )
        }),
        act("IP_TOS", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::IPPROTO_IP), bits(libc::IP_TOS), a([1_i32]), 4],
            )
        }),
        act("IP_TRANSPARENT", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::IPPROTO_IP), bits(libc::IP_TRANSPARENT), a([1_i32]), 4],
            )
        }),
        classic("IP_OPTIONS source route", |slot| {
            call(libc::SYS_setsockopt, &[slot.client, 0, 4, a([0x83_u8, 7, 4, 127, 0, 0, 1, 0]), 8])
        }),
        classic("SO_RCVBUF of 16 MiB", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::SOL_SOCKET), bits(libc::SO_RCVBUF), a([16_i32 << 20]), 4],
            )
        }),
        act("SO_KEEPALIVE", |slot| {
            call(
                libc::SYS_setsockopt,
                &[slot.client, bits(libc::SOL_SOCKET), bits(libc::SO_KEEPALIVE), a([1_i32]), 4],
            )
        }),
        classic("getsockopt TCP_INFO", |slot| {
            call(libc::SYS_getsockopt, &[slot.client, 6, 11, a([0_u8; 256]), a([256_u32])])
        }),
        act("getsockopt SO_PEERCRED", |slot| {
            call(libc::SYS_getsockopt, &[slot.channel, 1, 17, a([0_u32; 3]), a([12_u32])])
        }),
        act("getsockopt SO_PEERPIDFD", |slot| {
            call(libc::SYS_getsockopt, &[slot.channel, 1, 77, a([0_i32]), a([4_u32])])
        }),
        act("getsockname", |slot| call(libc::SYS_getsockname, &[slot.client, a([0_u8; 32]), a([32_u32])])),
        classic("ioctl SIOCGIFCONF", |slot| call(libc::SYS_ioctl, &[slot.client, 0x8912, a([0_u64; 2])])),
        classic("ioctl FIONREAD", |slot| call(libc::SYS_ioctl, &[slot.client, 0x541b, a([0_i32])])),
        act("sendfile", |slot| call(libc::SYS_sendfile, &[slot.client, slot.channel, 0, 0])),
        classic("splice from a client into a pipe", |slot| {
            let pipe = [0_i32; 2];
            let place = a(pipe);
            call(libc::SYS_pipe2, &[place, bits(libc::O_NONBLOCK | libc::O_CLOEXEC)]);
            let write_end = crate::sys::second_of_pair(place);
            match call(libc::SYS_splice, &[slot.client, 0, write_end, 0, 1, wide(libc::SPLICE_F_NONBLOCK)]) {
                // Nothing has been sent yet.
                refused if refused == -i64::from(libc::EAGAIN) => 0,
                answer => answer,
            }
        }),
        act("tee", |slot| call(libc::SYS_tee, &[slot.client, slot.client, 1, 2])),
        act("vmsplice", |slot| call(libc::SYS_vmsplice, &[slot.client, a([a([0_u8; 8]), 8]), 1, 2])),
        act("write(2) to a file's place (pwritev2)", |slot| {
            call(libc::SYS_pwritev2, &[slot.client, a([a([0_u8; 8]), 8]), 1, usize::MAX, usize::MAX, 0])
        }),
    ]
}

fn kernel() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "kernel", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "kernel", name, classic: false, attempt };
    vec![
        classic("io_uring_setup", |_| call(libc::SYS_io_uring_setup, &[1, a([0_u64; 32])])),
        act("io_setup", |_| call(libc::SYS_io_setup, &[1, a([0_u64])])),
        classic("bpf", |_| {
            call(libc::SYS_bpf, &[0, a([1_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 72])
        }),
        classic("perf_event_open", |_| {
            call(
                libc::SYS_perf_event_open,
                &[
                    a([
                        1_u32, 112, 0, 0, 0, 0, 0, 0, 0, 0, 0x63, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0, 0, 0,
                    ]),
                    0,
                    usize::MAX,
                    usize::MAX,
                    0,
                ],
            )
        }),
        classic("add_key", |_| {
            call(libc::SYS_add_key, &[p(c"user"), p(c"x"), a([0_u8; 1]), 1, (-2_isize).cast_unsigned()])
        }),
        act("keyctl", |_| call(libc::SYS_keyctl, &[0, (-3_isize).cast_unsigned(), 1])),
        classic("unshare NEWUSER", |_| call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER)])),
        classic("unshare NEWUSER and NEWNET", |_| {
            call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)])
        }),
        classic("clone NEWUSER", |_| {
            child(call(libc::SYS_clone, &[bits(libc::CLONE_NEWUSER | libc::SIGCHLD)]))
        }),
        classic("setns", |slot| call(libc::SYS_setns, &[slot.channel, 0])),
        classic("mount", |_| call(libc::SYS_mount, &[p(c"x"), p(c"."), p(c"tmpfs"), 0, 0])),
        act("umount", |_| call(libc::SYS_umount2, &[p(c"."), 0])),
        act("fsopen", |_| call(libc::SYS_fsopen, &[p(c"tmpfs"), 0])),
        act("move_mount", |_| call(libc::SYS_move_mount, &[CWD, p(c"."), CWD, p(c"dir"), 0])),
        act("pivot_root", |_| call(libc::SYS_pivot_root, &[p(c"."), p(c".")])),
        classic("seccomp: a further filter", |_| {
            call(libc::SYS_prctl, &[bits(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0]);
            call(libc::SYS_seccomp, &[1, 0, a([1_usize, a([6_u64 | 0x7fff_0000 << 32])])])
        }),
        classic("landlock_create_ruleset", |_| call(libc::SYS_landlock_create_ruleset, &[a([1_u64]), 8, 0])),
        classic("setresuid(0)", |_| call(libc::SYS_setresuid, &[0, 0, 0])),
        act("setresgid(0)", |_| call(libc::SYS_setresgid, &[0, 0, 0])),
        classic("setgroups([0])", |_| call(libc::SYS_setgroups, &[1, a([0_u32])])),
        classic("capset", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([u32::MAX; 6])])),
        act("capset of nothing", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([0_u32; 6])])),
        classic("PR_SET_DUMPABLE 1", |_| call(libc::SYS_prctl, &[4, 1, 0, 0, 0])),
        classic("PR_SET_PDEATHSIG 0", |_| call(libc::SYS_prctl, &[1, 0, 0, 0, 0])),
        act("PR_SET_NAME", |_| call(libc::SYS_prctl, &[15, p(c"kworker"), 0, 0, 0])),
        act("PR_SET_KEEPCAPS", |_| call(libc::SYS_prctl, &[8, 1, 0, 0, 0])),
        classic("RLIMIT_NOFILE raised", |_| call(libc::SYS_prlimit64, &[0, 7, a([1_u64 << 40; 2]), 0])),
        act("RLIMIT_NOFILE lowered", |_| call(libc::SYS_prlimit64, &[0, 7, a([16_u64; 2]), 0])),
        classic("init_module", |_| call(libc::SYS_init_module, &[a([0_u8; 8]), 8, p(c"")])),
        classic("kexec_load", |_| call(libc::SYS_kexec_load, &[0, 0, 0, 0])),
        classic("reboot(CAD_OFF)", |_| call(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0, 0])),
        classic("clock_settime", |_| call(libc::SYS_clock_settime, &[0, a([0_u64; 2])])),
        classic("sethostname", |_| call(libc::SYS_sethostname, &[p(c"x"), 1])),
        act("swapon", |_| call(libc::SYS_swapon, &[p(c"own"), 0])),
        act("acct", |_| call(libc::SYS_acct, &[p(c"own")])),
        act("quotactl", |_| call(libc::SYS_quotactl, &[0x80_0001 << 8, 0, 0, 0])),
        classic("syslog(READ_ALL)", |_| call(libc::SYS_syslog, &[3, a([0_u8; 64]), 64])),
        classic("timer_create", |_| call(libc::SYS_timer_create, &[1, 0, a([0_u64])])),
        act("timerfd_create", |_| call(libc::SYS_timerfd_create, &[1, 0])),
        act("setitimer", |_| call(libc::SYS_setitimer, &[0, a([0_u64; 4]), 0])),
        act("signalfd", |_| call(libc::SYS_signalfd4, &[usize::MAX, a([0_u64]), 8, 0])),
        classic("eventfd", |_| call(libc::SYS_eventfd2, &[0, 0])),
        act("epoll_create1", |_| call(libc::SYS_epoll_create1, &[0])),
        act("rt_sigaction", |_| call(libc::SYS_rt_sigaction, &[10, 0, a([0_u64; 4]), 8])),
        act("rt_sigprocmask", |_| call(libc::SYS_rt_sigprocmask, &[0, a([0_u64]), 0, 8])),
        classic("uname", |_| call(libc::SYS_uname, &[a([0_u8; 512])])),
        classic("sysinfo", |_| call(libc::SYS_sysinfo, &[a([0_u64; 16])])),
        act("getpid", |_| call(libc::SYS_getpid, &[])),
        act("getrusage", |_| call(libc::SYS_getrusage, &[0, a([0_u64; 18])])),
        act("clock_gettime of the wall", |_| call(libc::SYS_clock_gettime, &[0, a([0_u64; 2])])),
        act("nanosleep", |_| call(libc::SYS_nanosleep, &[a([0_u64, 1]), 0])),
        act("futex", |_| call(libc::SYS_futex, &[a([0_u32]), 1, 1])),
        act("membarrier", |_| call(libc::SYS_membarrier, &[0, 0, 0])),
        act("rseq", |_| call(libc::SYS_rseq, &[0, 0, 0, 0])),
        act("set_tid_address", |_| call(libc::SYS_set_tid_address, &[0])),
        act("sched_yield", |_| call(libc::SYS_sched_yield, &[])),
        classic("dup until EMFILE", |slot| {
            (0..257).map(|_| call(libc::SYS_dup, &[slot.client])).min().unwrap_or(0)
        }),
        act("fcntl F_DUPFD", |slot| call(libc::SYS_fcntl, &[slot.client, bits(libc::F_DUPFD), 10])),
        act("close_range of everything", |_| call(libc::SYS_close_range, &[1000, 2000, 0])),
    ]
}

#[cfg(target_arch = "x86_64")]
fn other_conventions() -> Vec<Act> {
    let classic = |name, attempt| Act { group: "kernel", name, classic: true, attempt };
    let act = |name, attempt| Act { group: "kernel", name, classic: false, attempt };
    vec![
        classic("fork(2)", |_| child(call(libc::SYS_fork, &[]))),
        classic("open(2)", |_| call(libc::SYS_open, &[p(c"/etc/passwd"), 0])),
        classic("creat(2)", |_| call(libc::SYS_creat, &[p(c"creat"), 0o600])),
        classic("iopl(3)", |_| call(libc::SYS_iopl, &[3])),
        act("ioperm", |_| call(libc::SYS_ioperm, &[0x80, 1, 1])),
        classic("modify_ldt", |_| call(libc::SYS_modify_ldt, &[0, a([0_u8; 64]), 64])),
        act("arch_prctl", |_| call(libc::SYS_arch_prctl, &[0x1003, a([0_u64])])),
        classic("int 0x80 getpid (32 bits)", |_| crate::sys::interrupt_80()),
        classic("x32 getpid", |_| call(0x4000_0000 + 39, &[])),
        classic("x32 read", |slot| call(0x4000_0000, &[slot.channel, a([0_u8; 4]), 4])),
        act("no such call", |_| call(4000, &[])),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn other_conventions() -> Vec<Act> {
    Vec::new()
}
