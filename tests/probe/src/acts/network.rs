//! The network, and the sockets that are there.

use super::row::{Row, Slot, a, act, bits, classic, p, wide};
use crate::sys::call;

const ANY: [u8; 16] = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The path of an abstract Unix socket and of the datagram socket that stands for /dev/log: both are canaries, too.
pub(crate) const ABSTRACT: &[u8; 14] = b"\x01\0\0sockd-probe";
pub(crate) const LOG: &[u8; 6] = b"\x01\0log\0";

pub(super) const ACTS: &[Row] = &[
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
    classic("socket UNIX", |_| call(libc::SYS_socket, &[bits(libc::AF_UNIX), bits(libc::SOCK_STREAM), 0])),
    classic("socket NETLINK", |_| call(libc::SYS_socket, &[bits(libc::AF_NETLINK), bits(libc::SOCK_RAW), 0])),
    classic("socket ALG", |_| call(libc::SYS_socket, &[bits(libc::AF_ALG), bits(libc::SOCK_SEQPACKET), 0])),
    classic("socket VSOCK", |_| call(libc::SYS_socket, &[bits(libc::AF_VSOCK), bits(libc::SOCK_STREAM), 0])),
    act("socket PACKET", |_| call(libc::SYS_socket, &[bits(libc::AF_PACKET), bits(libc::SOCK_RAW), 0])),
    classic("socket MPTCP, connected", |slot| {
        let socket = call(libc::SYS_socket, &[2, 1, 262]);
        call(libc::SYS_connect, &[wide(socket), a(slot.canary), 16])
    }),
    classic("socketpair", |_| call(libc::SYS_socketpair, &[1, 1, 0, a([0_i32; 2])])),
    act("connect a passed socket again", |slot| call(libc::SYS_connect, &[slot.client, a(slot.canary), 16])),
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
        call(libc::SYS_sendto, &[slot.client, a([0_u8; 4]), 4, bits(libc::MSG_FASTOPEN), a(slot.canary), 16])
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
        call(libc::SYS_setsockopt, &[slot.client, bits(libc::SOL_SOCKET), bits(libc::SO_MARK), a([1_i32]), 4])
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
        call(libc::SYS_setsockopt, &[slot.client, bits(libc::IPPROTO_IP), bits(libc::IP_TOS), a([1_i32]), 4])
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
        match call(libc::SYS_splice, &[slot.client, 0, slot.pipe, 0, 1, wide(libc::SPLICE_F_NONBLOCK)]) {
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
];

fn socket(kind: i32) -> usize {
    wide(call(libc::SYS_socket, &[bits(libc::AF_INET), bits(kind), 0]))
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
