//! The calls without a safe form.
#![allow(unsafe_code)]

use sockd_common::users::{LONGEST, PREFIX};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Closes every descriptor from `first` upwards: those that a parent left open without close-on-exec.
///
/// The caller owns none of them any longer. Called at start, before a process has opened anything of its own.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).unwrap_or(libc::c_uint::MAX);
    // The call goes by its number, as not every C library has it under its name.
    // SAFETY: close_range(2) touches no memory. No owner of a descriptor in the range exists, as the caller
    // assures; an owner that did would see EBADF, not foreign memory.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Maps a table of users, calls `with` on the bytes behind its length, and unmaps it. `None` if that length is more
/// than a table can have. If the memory is shorter than its length says, the process ends (SIGBUS, mmap(2)).
pub(crate) fn with_table<T>(table: &OwnedFd, with: impl FnOnce(&[u8]) -> T) -> io::Result<Option<T>> {
    // SAFETY: a new mapping at a place of the kernel's choice replaces nothing. The bytes that are read lie inside it,
    // and do not change: the loader sealed the memory against writing, shrinking and growing before the monitor got it.
    // The slice does not outlive the mapping, as `with` has to take any lifetime of it.
    unsafe {
        let place = libc::mmap(
            std::ptr::null_mut(),
            LONGEST,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            table.as_raw_fd(),
            0,
        );
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let bytes = place.cast::<u8>();
        let length = u32::from_le_bytes(bytes.cast::<[u8; PREFIX]>().read_unaligned()) as usize;
        let fits = length <= LONGEST.saturating_sub(PREFIX);
        let read = fits.then(|| with(std::slice::from_raw_parts(bytes.add(PREFIX), length)));
        match libc::munmap(place, LONGEST) {
            0 => Ok(read),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The most datagrams that one call receives.
pub(crate) const MOST_AT_ONCE: usize = 16;

/// The datagram or bundle that has filled a place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// The length of each datagram but the last, if the kernel has made a bundle (UDP_GRO, udp(7)).
    pub(crate) piece: Option<usize>,
    /// The address of its sender.
    pub(crate) from: Option<SocketAddr>,
}

/// Receives the datagrams that are there, one or a bundle into each place. Returns the number of places filled. A
/// datagram that does not fit into its place is cut.
pub(crate) fn receive_many<'a>(
    socket: &OwnedFd,
    places: impl Iterator<Item = &'a mut [u8]>,
    filled: &mut [Filled; MOST_AT_ONCE],
) -> io::Result<usize> {
    /// Room for one control message with an int.
    #[repr(align(8))]
    #[derive(Clone, Copy)]
    struct Control([u8; 24]);
    // SAFETY: all three are plain data, for which zeros are a value.
    let (mut names, mut parts, mut headers): (
        [libc::sockaddr_in6; MOST_AT_ONCE],
        [libc::iovec; MOST_AT_ONCE],
        [libc::mmsghdr; MOST_AT_ONCE],
    ) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
    let mut controls = [Control([0; 24]); MOST_AT_ONCE];
    let mut number: libc::c_uint = 0;
    let rooms = names.iter_mut().zip(&mut parts).zip(&mut controls);
    for ((place, header), ((name, part), control)) in places.zip(&mut headers).zip(rooms) {
        *part = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        number = number.saturating_add(1);
    }
    let timeout = std::ptr::null_mut();
    // SAFETY: `number` headers are filled in, each with a name, a part and a control buffer of its own, of the lengths
    // that it says. All of these live until the call returns, as do the places, which are borrowed for 'a.
    let received = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), number, libc::MSG_DONTWAIT, timeout)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for ((filled, header), name) in filled.iter_mut().zip(&headers).zip(&names).take(received) {
        // SAFETY: `controls` still lives, and the kernel has written how much of it is used.
        let piece = unsafe { piece_of(&header.msg_hdr) };
        let from = address_of(name, header.msg_hdr.msg_namelen);
        *filled = Filled { length: header.msg_len as usize, piece, from };
    }
    Ok(received)
}

/// Returns the address that the kernel has written, if any. The structure of IPv6 is longer: that of IPv4 fits into it.
fn address_of(name: &libc::sockaddr_in6, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    match i32::from(name.sin6_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: a sockaddr_in is shorter than a sockaddr_in6, not more strictly aligned, and plain data.
            let name = unsafe { (&raw const *name).cast::<libc::sockaddr_in>().read() };
            let address = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(address.into(), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::new(address.into(), u16::from_be(name.sin6_port)))
        }
        _ => None,
    }
}

/// Returns the length of the pieces of a bundle, if a control message says it.
///
/// # Safety
/// The control buffer of the header is as long as the header says, and the kernel has written it.
unsafe fn piece_of(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: CMSG_FIRSTHDR returns a message only if the buffer has room for its head. The length in the head says
    // whether an int follows. The int may be unaligned.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let head = message.as_ref()?;
        let is_piece = head.cmsg_level == libc::SOL_UDP
            && head.cmsg_type == libc::UDP_GRO
            && head.cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as usize;
        let piece = is_piece.then(|| libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned());
        piece.and_then(|piece| usize::try_from(piece).ok()).filter(|piece| *piece > 0)
    }
}

/// Maps a page that is writable and executable at once, and gives it back.
pub(crate) fn map_executable() -> io::Result<()> {
    const LENGTH: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice replaces nothing, and nobody else learns
    // its address before it is unmapped again.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0);
        match page {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            page => match libc::munmap(page, LENGTH) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        }
    }
}
