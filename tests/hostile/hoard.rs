//! A session worker that keeps what it can get from everybody else, within its own locks.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use sockd_common::message::{FIRST_PIPE_FD, PIPES};
use sockd_lockdown::take_descriptor;
use sockd_worker::event::Epoll;
use sockd_worker::lockdown::lock_down;
use sockd_worker::profile::PROFILE_SESSION;
use sockd_worker::relay::pipes::{FURTHER, LARGE};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

/// Tries to have one more pipe.
pub(crate) fn another_pipe() -> Option<()> {
    lock_down(PROFILE_SESSION).ok()?;
    pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok().map(drop)
}

/// Tries to make another pipe as large as the first.
pub(crate) fn another_large_pipe() -> Option<()> {
    lock_down(PROFILE_SESSION).ok()?;
    let pipe = take_descriptor(FIRST_PIPE_FD + 3)?;
    fcntl_setpipe_size(&pipe, LARGE as usize).ok().map(drop)
}

/// Makes its pipes as large as it may and puts a page of its own into each of their slots: a byte of each 32 KiB that the
/// server sends, as what the server sends lies in pieces of memory of that size. Then waits for the end of its channel.
pub(crate) fn pages(server: &TcpStream, channel: impl AsFd) -> Option<()> {
    let epoll = Epoll::new().ok()?;
    epoll.add(&channel, 0, EventFlags::RDHUP).ok()?;
    lock_down(PROFILE_SESSION).ok()?;
    let mut kept = Vec::new();
    for number in 0..i32::try_from(PIPES).ok()? {
        let pipe = take_descriptor(FIRST_PIPE_FD + 2 * number + 1)?;
        let size = if number == 0 { LARGE } else { FURTHER };
        fcntl_setpipe_size(&pipe, size as usize).ok()?;
        fill(&pipe, server, size / 4096)?;
        kept.push(pipe);
    }
    epoll.wait(&mut Vec::with_capacity(1), None).ok()
}

fn fill(pipe: &OwnedFd, server: &TcpStream, slots: u32) -> Option<()> {
    for _ in 0..slots {
        while splice(server, None, pipe, None, 1, SpliceFlags::NONBLOCK) == Err(Errno::AGAIN) {}
        let mut dropped = 0;
        while dropped < 32 << 10 {
            match recv(server, &mut [0; 8192], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return None,
                Ok((length, _)) => dropped += length,
                Err(Errno::AGAIN) => {}
                Err(_) => return None,
            }
        }
    }
    Some(())
}
