//! The acts: a row each, with what the sandbox is to prevent.
//!
//! Most are one system call. Where an act takes two, the first is forbidden already; the control needs both.

use crate::sys::call;
use std::ffi::CStr;

/// What a worker has in its hands.
pub(crate) struct Slot {
    /// A connected TCP socket.
    pub client: usize,
    /// Its end of the monitor's channel.
    pub channel: usize,
    /// Another process.
    pub victim: usize,
}

/// Something that a worker in an attacker's hands might try.
pub(crate) struct Act {
    /// What it is about.
    pub group: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Does it; gives the negated errno where the kernel refuses.
    pub attempt: fn(&Slot) -> i64,
}

const CWD: usize = libc::AT_FDCWD.cast_unsigned() as usize;
const MAP: usize = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

/// 198.51.100.10 port 9: nothing from here may ever arrive there.
const CANARY: [u8; 16] = [2, 0, 0, 9, 198, 51, 100, 10, 0, 0, 0, 0, 0, 0, 0, 0];
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

fn act(group: &'static str, name: &'static str, attempt: fn(&Slot) -> i64) -> Act {
    Act { group, name, attempt }
}

/// All of them, in an order that does not change while the program runs.
pub(crate) fn all() -> Vec<Act> {
    [files(), processes_and_programs(), memory(), other_processes(), network(), kernel(), other_conventions()]
        .into_iter()
        .flatten()
        .collect()
}

fn files() -> Vec<Act> {
    let act = |name, attempt| act("files", name, attempt);
    vec![
        act("open /etc/passwd O_RDONLY", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/etc/passwd"), bits(libc::O_RDONLY)])
        }),
        act("open / O_DIRECTORY", |_| call(libc::SYS_openat, &[CWD, p(c"/"), bits(libc::O_DIRECTORY)])),
        act("open .. O_PATH", |_| call(libc::SYS_openat, &[CWD, p(c".."), bits(libc::O_PATH)])),
        act("open a world-writable file O_WRONLY", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/run/probe/own"), bits(libc::O_WRONLY)])
        }),
        act("create a file", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/run/probe/new"), bits(libc::O_CREAT | libc::O_WRONLY), 0o600])
        }),
        act("open O_TMPFILE", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/run/probe"), bits(libc::O_TMPFILE | libc::O_RDWR), 0o600])
        }),
        act("open /proc/self/mem", |_| {
            call(libc::SYS_openat, &[CWD, p(c"/proc/self/mem"), bits(libc::O_RDWR)])
        }),
        act("open /proc/self/environ", |_| call(libc::SYS_openat, &[CWD, p(c"/proc/self/environ"), 0])),
        act("open /proc/1/status", |_| call(libc::SYS_openat, &[CWD, p(c"/proc/1/status"), 0])),
        act("open /dev/null", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/null"), bits(libc::O_RDWR)])),
        act("open /dev/ptmx", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/ptmx"), bits(libc::O_RDWR)])),
        act("openat2", |_| call(libc::SYS_openat2, &[CWD, p(c"/etc/passwd"), a([0_u64; 3]), 24])),
        act("stat /etc/passwd", |_| call(libc::SYS_newfstatat, &[CWD, p(c"/etc/passwd"), a([0_u64; 32]), 0])),
        act("statx /etc/passwd", |_| {
            call(libc::SYS_statx, &[CWD, p(c"/etc/passwd"), 0, 0xfff, a([0_u64; 64])])
        }),
        act("access /etc/shadow F_OK", |_| call(libc::SYS_faccessat, &[CWD, p(c"/etc/shadow"), 0])),
        act("readlink /proc/self/exe", |_| {
            call(libc::SYS_readlinkat, &[CWD, p(c"/proc/self/exe"), a([0_u8; 256]), 256])
        }),
        act("getcwd", |_| call(libc::SYS_getcwd, &[a([0_u8; 256]), 256])),
        act("getdents of what is open", |slot| {
            call(libc::SYS_getdents64, &[slot.client, a([0_u8; 256]), 256])
        }),
        act("mkdir", |_| call(libc::SYS_mkdirat, &[CWD, p(c"/run/probe/dir"), 0o700])),
        act("unlink", |_| call(libc::SYS_unlinkat, &[CWD, p(c"/run/probe/unlink"), 0])),
        act("rename", |_| {
            call(libc::SYS_renameat2, &[CWD, p(c"/run/probe/rename"), CWD, p(c"/run/probe/renamed"), 0])
        }),
        act("symlink", |_| call(libc::SYS_symlinkat, &[p(c"/etc/passwd"), CWD, p(c"/run/probe/symlink")])),
        act("link", |_| call(libc::SYS_linkat, &[CWD, p(c"/run/probe/own"), CWD, p(c"/run/probe/link"), 0])),
        act("chmod", |_| call(libc::SYS_fchmodat, &[CWD, p(c"/run/probe/own"), 0o777])),
        act("chown", |_| call(libc::SYS_fchownat, &[CWD, p(c"/run/probe/own"), usize::MAX, usize::MAX, 0])),
        act("truncate", |_| call(libc::SYS_truncate, &[p(c"/run/probe/own"), 0])),
        act("utimensat", |_| call(libc::SYS_utimensat, &[CWD, p(c"/run/probe/own"), 0, 0])),
        act("mkfifo", |_| {
            call(libc::SYS_mknodat, &[CWD, p(c"/run/probe/fifo"), wide(libc::S_IFIFO | 0o600), 0])
        }),
        act("statfs /", |_| call(libc::SYS_statfs, &[p(c"/"), a([0_u64; 32])])),
        act("getxattr", |_| {
            call(libc::SYS_getxattr, &[p(c"/run/probe/own"), p(c"user.x"), a([0_u8; 64]), 64])
        }),
        act("chdir /etc", |_| call(libc::SYS_chdir, &[p(c"/etc")])),
        act("chroot", |_| call(libc::SYS_chroot, &[p(c"/run/probe")])),
        act("open_by_handle_at", |_| call(libc::SYS_open_by_handle_at, &[CWD, a([8_u32, 1, 0, 0, 0, 0]), 0])),
        act("name_to_handle_at", |_| {
            call(libc::SYS_name_to_handle_at, &[CWD, p(c"/etc/passwd"), a([64_u32; 32]), a([0_u32]), 0])
        }),
        act("inotify_init1", |_| call(libc::SYS_inotify_init1, &[0])),
        act("fanotify_init", |_| call(libc::SYS_fanotify_init, &[0, 0])),
        act("memfd_create", |_| call(libc::SYS_memfd_create, &[p(c"x"), 0])),
        act("umask", |_| call(libc::SYS_umask, &[0o77])),
        act("flock", |slot| call(libc::SYS_flock, &[slot.channel, 8])),
    ]
}

fn processes_and_programs() -> Vec<Act> {
    let act = |name, attempt| act("processes and programs", name, attempt);
    vec![
        act("execve /bin/true", |_| {
            call(libc::SYS_execve, &[p(c"/bin/true"), a([p(c"true"), 0]), a([0_usize])])
        }),
        act("execveat of a descriptor", |slot| {
            call(
                libc::SYS_execveat,
                &[slot.client, p(c""), a([0_usize]), a([0_usize]), bits(libc::AT_EMPTY_PATH)],
            )
        }),
        act("fork", |_| child(call(libc::SYS_clone, &[bits(libc::SIGCHLD)]))),
        act("clone a thread", |_| {
            std::thread::Builder::new().spawn(|| ()).map_or(-1, |thread| thread.join().map_or(-1, |()| 0))
        }),
        act("clone3", |_| child(call(libc::SYS_clone3, &[a([0_u64, 0, 0, 0, 17, 0, 0, 0]), 64]))),
        act("posix_spawn", |_| std::process::Command::new("/bin/true").status().map_or(-1, |_| 0)),
        act("wait4", |_| call(libc::SYS_wait4, &[usize::MAX, 0, 1, 0])),
    ]
}

fn memory() -> Vec<Act> {
    let act = |name, attempt| act("memory", name, attempt);
    vec![
        act("mmap writable and executable", |_| call(libc::SYS_mmap, &[0, 4096, 7, MAP, usize::MAX, 0])),
        act("mmap executable", |_| call(libc::SYS_mmap, &[0, 4096, 5, MAP, usize::MAX, 0])),
        act("mmap, then mprotect to executable", |_| {
            let page = call(libc::SYS_mmap, &[0, 4096, 3, MAP, usize::MAX, 0]);
            call(libc::SYS_mprotect, &[wide(page), 4096, 5])
        }),
        act("mprotect the code writable", |_| call(libc::SYS_mprotect, &[acts_page(), 4096, 7])),
        act("pkey_mprotect", |_| call(libc::SYS_pkey_mprotect, &[acts_page(), 4096, 5, usize::MAX])),
        act("mmap at a fixed place", |_| {
            call(libc::SYS_mmap, &[0x10_0000_0000, 4096, 3, MAP | bits(libc::MAP_FIXED), usize::MAX, 0])
        }),
        act("mmap of a descriptor", |slot| {
            call(libc::SYS_mmap, &[0, 4096, 1, bits(libc::MAP_PRIVATE), slot.channel, 0])
        }),
        act("mmap of 4 GiB", |_| {
            call(libc::SYS_mmap, &[0, 4 << 30, 3, MAP | bits(libc::MAP_NORESERVE), usize::MAX, 0])
        }),
        act("remap_file_pages", |_| call(libc::SYS_remap_file_pages, &[acts_page(), 4096, 0, 0, 0])),
        act("personality READ_IMPLIES_EXEC", |_| call(libc::SYS_personality, &[0x40_0000])),
        act("userfaultfd", |_| call(libc::SYS_userfaultfd, &[1])),
        act("shmget", |_| call(libc::SYS_shmget, &[0, 4096, 0o600])),
        act("msgget", |_| call(libc::SYS_msgget, &[0, 0o600])),
        act("semget", |_| call(libc::SYS_semget, &[0, 1, 0o600])),
        act("mq_open", |_| {
            call(libc::SYS_mq_open, &[p(c"probe"), bits(libc::O_CREAT | libc::O_RDWR), 0o600, 0])
        }),
        act("mlock of a page", |_| call(libc::SYS_mlock, &[acts_page(), 4096])),
        act("mlockall", |_| call(libc::SYS_mlockall, &[4])),
        act("madvise", |_| call(libc::SYS_madvise, &[acts_page(), 4096, 3])),
        act("memfd_secret", |_| call(libc::SYS_memfd_secret, &[0])),
        act("mincore", |_| call(libc::SYS_mincore, &[acts_page(), 4096, a([0_u8; 8])])),
    ]
}

fn other_processes() -> Vec<Act> {
    let act = |name, attempt| act("other processes", name, attempt);
    vec![
        act("kill(victim, 0)", |slot| call(libc::SYS_kill, &[slot.victim, 0])),
        act("kill(victim, SIGURG)", |slot| call(libc::SYS_kill, &[slot.victim, bits(libc::SIGURG)])),
        act("kill(1, 0)", |_| call(libc::SYS_kill, &[1, 0])),
        act("kill(-1, 0)", |_| call(libc::SYS_kill, &[usize::MAX, 0])),
        act("kill(0, SIGURG)", |_| call(libc::SYS_kill, &[0, bits(libc::SIGURG)])),
        act("tgkill", |slot| call(libc::SYS_tgkill, &[slot.victim, slot.victim, 0])),
        act("tkill", |slot| call(libc::SYS_tkill, &[slot.victim, 0])),
        act("rt_sigqueueinfo", |slot| {
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
        act("F_SETOWN to another", |slot| {
            call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETOWN), slot.victim])
        }),
        act("F_SETFL O_ASYNC", |slot| {
            call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETFL), bits(libc::O_ASYNC)])
        }),
        act("ptrace attach", |slot| call(libc::SYS_ptrace, &[16, slot.victim, 0, 0])),
        act("ptrace TRACEME", |_| call(libc::SYS_ptrace, &[0, 0, 0, 0])),
        act("process_vm_readv", |slot| {
            call(
                libc::SYS_process_vm_readv,
                &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([0x1000_usize, 8]), 1, 0],
            )
        }),
        act("process_vm_writev", |slot| {
            call(
                libc::SYS_process_vm_writev,
                &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([0x1000_usize, 8]), 1, 0],
            )
        }),
        act("process_madvise", |slot| call(libc::SYS_process_madvise, &[slot.channel, 0, 0, 20, 0])),
        act("pidfd_open", |slot| call(libc::SYS_pidfd_open, &[slot.victim, 0])),
        act("pidfd_getfd", |slot| {
            let process = call(libc::SYS_pidfd_open, &[slot.victim, 0]);
            call(libc::SYS_pidfd_getfd, &[wide(process), 0, 0])
        }),
        act("kcmp", |slot| call(libc::SYS_kcmp, &[slot.victim, slot.victim, 1, 0, 0])),
        act("prlimit64 of another", |slot| call(libc::SYS_prlimit64, &[slot.victim, 7, 0, a([0_u64; 2])])),
        act("setpriority of another", |slot| call(libc::SYS_setpriority, &[0, slot.victim, 19])),
        act("sched_setaffinity of another", |slot| {
            call(libc::SYS_sched_setaffinity, &[slot.victim, 8, a([3_u64])])
        }),
        act("sched_setscheduler of another", |slot| {
            call(libc::SYS_sched_setscheduler, &[slot.victim, 3, a([0_i32])])
        }),
        act("ioprio_set of another", |slot| call(libc::SYS_ioprio_set, &[1, slot.victim, 3 << 13])),
        act("get_robust_list of another", |slot| {
            call(libc::SYS_get_robust_list, &[slot.victim, a([0_u64]), a([0_u64])])
        }),
        act("getpgid of another", |slot| call(libc::SYS_getpgid, &[slot.victim])),
        act("setsid", |_| child_sets_sid()),
    ]
}

fn network() -> Vec<Act> {
    let act = |name, attempt| act("network", name, attempt);
    vec![
        act("socket INET STREAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_STREAM), 0])
        }),
        act("socket INET6 STREAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET6), bits(libc::SOCK_STREAM), 0])
        }),
        act("socket INET DGRAM", |_| {
            call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_DGRAM), 0])
        }),
        act("socket INET RAW", |_| call(libc::SYS_socket, &[bits(libc::AF_INET), bits(libc::SOCK_RAW), 0])),
        act("socket UNIX", |_| call(libc::SYS_socket, &[bits(libc::AF_UNIX), bits(libc::SOCK_STREAM), 0])),
        act("socket NETLINK", |_| call(libc::SYS_socket, &[bits(libc::AF_NETLINK), bits(libc::SOCK_RAW), 0])),
        act("socket ALG", |_| call(libc::SYS_socket, &[bits(libc::AF_ALG), bits(libc::SOCK_SEQPACKET), 0])),
        act("socket VSOCK", |_| call(libc::SYS_socket, &[bits(libc::AF_VSOCK), bits(libc::SOCK_STREAM), 0])),
        act("socket PACKET", |_| call(libc::SYS_socket, &[bits(libc::AF_PACKET), bits(libc::SOCK_RAW), 0])),
        act("socket MPTCP", |_| call(libc::SYS_socket, &[2, 1, 262])),
        act("socketpair", |_| call(libc::SYS_socketpair, &[1, 1, 0, a([0_i32; 2])])),
        act("connect a passed socket again", |slot| call(libc::SYS_connect, &[slot.client, a(CANARY), 16])),
        act("disconnect a passed socket (AF_UNSPEC)", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16])
        }),
        act("disconnect and listen", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16]);
            call(libc::SYS_listen, &[slot.client, 1])
        }),
        act("disconnect and connect elsewhere", |slot| {
            call(libc::SYS_connect, &[slot.client, a([0_u8; 16]), 16]);
            call(libc::SYS_connect, &[slot.client, a(CANARY), 16])
        }),
        act("MSG_FASTOPEN to an address", |slot| {
            call(libc::SYS_sendto, &[slot.client, a([0_u8; 4]), 4, bits(libc::MSG_FASTOPEN), a(CANARY), 16])
        }),
        act("sendto with an address", |slot| {
            call(libc::SYS_sendto, &[slot.client, a([0_u8; 4]), 4, 0, a(CANARY), 16])
        }),
        act("bind a passed socket", |slot| call(libc::SYS_bind, &[slot.client, a(ANY), 16])),
        act("listen on a passed socket", |slot| call(libc::SYS_listen, &[slot.client, 1])),
        act("accept on a passed socket", |slot| {
            call(libc::SYS_accept4, &[slot.client, 0, 0, bits(libc::SOCK_NONBLOCK)])
        }),
        act("a new socket, connected", |_| {
            let socket = call(libc::SYS_socket, &[2, 1, 0]);
            call(libc::SYS_connect, &[wide(socket), a(CANARY), 16])
        }),
        act("a new socket, listening", |_| {
            let socket = call(libc::SYS_socket, &[2, 1, 0]);
            call(libc::SYS_listen, &[wide(socket), 1])
        }),
        act("a datagram to anywhere", |_| {
            let socket = call(libc::SYS_socket, &[2, 2, 0]);
            call(libc::SYS_sendto, &[wide(socket), a([0_u8; 4]), 4, 0, a(CANARY), 16])
        }),
        act("a line of its own for the log", |_| {
            let socket = call(libc::SYS_socket, &[1, 2, 0]);
            call(
                libc::SYS_sendto,
                &[wide(socket), a(*b"<3>sockd[1]: forged"), 19, 0, a(*b"\x01\0/dev/log\0"), 11],
            )
        }),
        act("sendmsg to the monitor", |slot| {
            call(libc::SYS_sendmsg, &[slot.channel, a([0_usize; 7]), bits(libc::MSG_DONTWAIT)])
        }),
        act("sendmsg with a descriptor", |slot| passing(slot, libc::SCM_RIGHTS, slot.client)),
        act("sendmsg with forged credentials", |slot| passing(slot, libc::SCM_CREDENTIALS, 1)),
        act("sendmmsg", |slot| {
            call(libc::SYS_sendmmsg, &[slot.channel, a([0_usize; 8]), 1, bits(libc::MSG_DONTWAIT)])
        }),
        act("recvmmsg", |slot| {
            call(libc::SYS_recvmmsg, &[slot.channel, a([0_usize; 8]), 1, bits(libc::MSG_DONTWAIT), 0])
        }),
        act("recv MSG_OOB on the channel", |slot| {
            call(libc::SYS_recvfrom, &[slot.channel, a([0_u8; 4]), 4, bits(libc::MSG_OOB), 0, 0])
        }),
        act("recvfrom that wants the address", |slot| {
            call(
                libc::SYS_recvfrom,
                &[slot.client, a([0_u8; 4]), 4, bits(libc::MSG_DONTWAIT), a([0_u8; 16]), a([16_u32])],
            )
        }),
        act("SO_LINGER", |slot| call(libc::SYS_setsockopt, &[slot.client, 1, 13, a([1_i32, 0]), 8])),
        act("SO_MARK", |slot| {
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
        act("SO_ATTACH_FILTER", |slot| {
            call(libc::SYS_setsockopt, &[slot.client, 1, 26, a([1_usize, a([6_u64 | 0xffff << 32])]), 16])
        }),
        act("TCP_ULP tls", |slot| call(libc::SYS_setsockopt, &[slot.client, 6, 31, p(c"tls"), 3])),
        act("TCP_CONGESTION", |slot| call(libc::SYS_setsockopt, &[slot.client, 6, 13, p(c"reno"), 4])),
        act("TCP_REPAIR", |slot| {
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
        act("IP_OPTIONS source route", |slot| {
            call(libc::SYS_setsockopt, &[slot.client, 0, 4, a([0x83_u8, 7, 4, 127, 0, 0, 1, 0]), 8])
        }),
        act("SO_RCVBUF of 16 MiB", |slot| {
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
        act("getsockopt TCP_INFO", |slot| {
            call(libc::SYS_getsockopt, &[slot.client, 6, 11, a([0_u8; 256]), a([256_u32])])
        }),
        act("getsockopt SO_PEERCRED", |slot| {
            call(libc::SYS_getsockopt, &[slot.channel, 1, 17, a([0_u32; 3]), a([12_u32])])
        }),
        act("getsockopt SO_PEERPIDFD", |slot| {
            call(libc::SYS_getsockopt, &[slot.channel, 1, 77, a([0_i32]), a([4_u32])])
        }),
        act("getsockname", |slot| call(libc::SYS_getsockname, &[slot.client, a([0_u8; 32]), a([32_u32])])),
        act("ioctl SIOCGIFCONF", |slot| call(libc::SYS_ioctl, &[slot.client, 0x8912, a([0_u64; 2])])),
        act("ioctl FIONREAD", |slot| call(libc::SYS_ioctl, &[slot.client, 0x541b, a([0_i32])])),
        act("sendfile", |slot| call(libc::SYS_sendfile, &[slot.client, slot.channel, 0, 0])),
        act("tee", |slot| call(libc::SYS_tee, &[slot.client, slot.client, 1, 2])),
        act("vmsplice", |slot| call(libc::SYS_vmsplice, &[slot.client, a([a([0_u8; 8]), 8]), 1, 2])),
        act("write(2) to a file's place (pwritev2)", |slot| {
            call(libc::SYS_pwritev2, &[slot.client, a([a([0_u8; 8]), 8]), 1, usize::MAX, usize::MAX, 0])
        }),
    ]
}

fn kernel() -> Vec<Act> {
    let act = |name, attempt| act("kernel", name, attempt);
    vec![
        act("io_uring_setup", |_| call(libc::SYS_io_uring_setup, &[1, a([0_u64; 32])])),
        act("io_setup", |_| call(libc::SYS_io_setup, &[1, a([0_u64])])),
        act("bpf", |_| {
            call(libc::SYS_bpf, &[0, a([1_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 72])
        }),
        act("perf_event_open", |_| {
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
        act("add_key", |_| {
            call(libc::SYS_add_key, &[p(c"user"), p(c"x"), a([0_u8; 1]), 1, (-2_isize).cast_unsigned()])
        }),
        act("keyctl", |_| call(libc::SYS_keyctl, &[0, (-3_isize).cast_unsigned(), 1])),
        act("unshare NEWUSER", |_| call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER)])),
        act("unshare NEWUSER and NEWNET", |_| {
            call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)])
        }),
        act("clone NEWUSER", |_| child(call(libc::SYS_clone, &[bits(libc::CLONE_NEWUSER | libc::SIGCHLD)]))),
        act("setns", |slot| call(libc::SYS_setns, &[slot.channel, 0])),
        act("mount", |_| call(libc::SYS_mount, &[p(c"x"), p(c"/run/probe"), p(c"tmpfs"), 0, 0])),
        act("umount", |_| call(libc::SYS_umount2, &[p(c"/run/probe"), 0])),
        act("fsopen", |_| call(libc::SYS_fsopen, &[p(c"tmpfs"), 0])),
        act("move_mount", |_| call(libc::SYS_move_mount, &[CWD, p(c"/run/probe"), CWD, p(c"/run"), 0])),
        act("pivot_root", |_| call(libc::SYS_pivot_root, &[p(c"/run/probe"), p(c"/run/probe")])),
        act("seccomp: a further filter", |_| {
            call(libc::SYS_seccomp, &[1, 0, a([1_usize, a([6_u64 | 0x7fff_0000 << 32])])])
        }),
        act("landlock_create_ruleset", |_| call(libc::SYS_landlock_create_ruleset, &[a([1_u64]), 8, 0])),
        act("setresuid(0)", |_| call(libc::SYS_setresuid, &[0, 0, 0])),
        act("setresgid(0)", |_| call(libc::SYS_setresgid, &[0, 0, 0])),
        act("setgroups([0])", |_| call(libc::SYS_setgroups, &[1, a([0_u32])])),
        act("capset", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([u32::MAX; 6])])),
        act("capset of nothing", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([0_u32; 6])])),
        act("PR_SET_DUMPABLE 1", |_| call(libc::SYS_prctl, &[4, 1, 0, 0, 0])),
        act("PR_SET_PDEATHSIG 0", |_| call(libc::SYS_prctl, &[1, 0, 0, 0, 0])),
        act("PR_SET_NAME", |_| call(libc::SYS_prctl, &[15, p(c"kworker"), 0, 0, 0])),
        act("PR_SET_KEEPCAPS", |_| call(libc::SYS_prctl, &[8, 1, 0, 0, 0])),
        act("RLIMIT_NOFILE raised", |_| call(libc::SYS_prlimit64, &[0, 7, a([512_u64, 512]), 0])),
        act("init_module", |_| call(libc::SYS_init_module, &[a([0_u8; 8]), 8, p(c"")])),
        act("kexec_load", |_| call(libc::SYS_kexec_load, &[0, 0, 0, 0])),
        act("reboot(CAD_OFF)", |_| call(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0, 0])),
        act("clock_settime", |_| call(libc::SYS_clock_settime, &[0, a([0_u64; 2])])),
        act("sethostname", |_| call(libc::SYS_sethostname, &[p(c"x"), 1])),
        act("swapon", |_| call(libc::SYS_swapon, &[p(c"/run/probe/own"), 0])),
        act("acct", |_| call(libc::SYS_acct, &[p(c"/run/probe/own")])),
        act("quotactl", |_| call(libc::SYS_quotactl, &[0x80_0001 << 8, 0, 0, 0])),
        act("syslog(READ_ALL)", |_| call(libc::SYS_syslog, &[3, a([0_u8; 64]), 64])),
        act("timer_create", |_| call(libc::SYS_timer_create, &[1, 0, a([0_u64])])),
        act("timerfd_create", |_| call(libc::SYS_timerfd_create, &[1, 0])),
        act("setitimer", |_| call(libc::SYS_setitimer, &[0, a([0_u64; 4]), 0])),
        act("signalfd", |_| call(libc::SYS_signalfd4, &[usize::MAX, a([0_u64]), 8, 0])),
        act("eventfd", |_| call(libc::SYS_eventfd2, &[0, 0])),
        act("epoll_create1", |_| call(libc::SYS_epoll_create1, &[0])),
        act("rt_sigaction", |_| call(libc::SYS_rt_sigaction, &[10, 0, a([0_u64; 4]), 8])),
        act("rt_sigprocmask", |_| call(libc::SYS_rt_sigprocmask, &[0, a([0_u64]), 0, 8])),
        act("uname", |_| call(libc::SYS_uname, &[a([0_u8; 512])])),
        act("sysinfo", |_| call(libc::SYS_sysinfo, &[a([0_u64; 16])])),
        act("getpid", |_| call(libc::SYS_getpid, &[])),
        act("getrusage", |_| call(libc::SYS_getrusage, &[0, a([0_u64; 18])])),
        act("clock_gettime of the wall", |_| call(libc::SYS_clock_gettime, &[0, a([0_u64; 2])])),
        act("nanosleep", |_| call(libc::SYS_nanosleep, &[a([0_u64, 1]), 0])),
        act("futex", |_| call(libc::SYS_futex, &[a([0_u32]), 1, 1])),
        act("membarrier", |_| call(libc::SYS_membarrier, &[0, 0, 0])),
        act("rseq", |_| call(libc::SYS_rseq, &[0, 0, 0, 0])),
        act("set_tid_address", |_| call(libc::SYS_set_tid_address, &[0])),
        act("sched_yield", |_| call(libc::SYS_sched_yield, &[])),
        act("dup until EMFILE", |slot| {
            (0..2048).map(|_| call(libc::SYS_dup, &[slot.client])).min().unwrap_or(0)
        }),
        act("fcntl F_DUPFD", |slot| call(libc::SYS_fcntl, &[slot.client, bits(libc::F_DUPFD), 10])),
        act("close_range of everything", |_| call(libc::SYS_close_range, &[1000, 2000, 0])),
    ]
}

#[cfg(target_arch = "x86_64")]
fn other_conventions() -> Vec<Act> {
    let act = |name, attempt| act("kernel", name, attempt);
    vec![
        act("open(2)", |_| call(libc::SYS_open, &[p(c"/etc/passwd"), 0])),
        act("creat(2)", |_| call(libc::SYS_creat, &[p(c"/run/probe/creat"), 0o600])),
        act("iopl(3)", |_| call(libc::SYS_iopl, &[3])),
        act("ioperm", |_| call(libc::SYS_ioperm, &[0x80, 1, 1])),
        act("modify_ldt", |_| call(libc::SYS_modify_ldt, &[0, a([0_u8; 64]), 64])),
        act("arch_prctl", |_| call(libc::SYS_arch_prctl, &[0x1003, a([0_u64])])),
        act("int 0x80 getpid (32 bits)", |_| crate::sys::interrupt_80()),
        act("x32 getpid", |_| call(0x4000_0000 + 39, &[])),
        act("x32 read", |slot| call(0x4000_0000, &[slot.channel, a([0_u8; 4]), 4])),
        act("no such call", |_| call(4000, &[])),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn other_conventions() -> Vec<Act> {
    Vec::new()
}
