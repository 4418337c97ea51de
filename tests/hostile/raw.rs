//! Packets that no honest worker sends.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sockd_common::message::{Id, Message};
use sockd_lockdown::{Row, exit_now};
use sockd_worker::lockdown::{die_quietly_on_panic, lock_down};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// An id that the monitor has not given to anybody.
pub(crate) const NOBODYS: Id = Id(77_777);

/// How late an answer comes: after the limits of the tests, and before a worker that owes it is ended.
const LATE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// Does nothing any more, whatever happens to the channel.
pub(crate) fn forever() -> ! {
    loop {
        sleep(None);
    }
}

/// The spawner's filter has no call only to sleep.
fn sleep(time: Option<&Timespec>) {
    let _ = poll(&mut [], time);
}

/// The bytes of an honest message.
pub(crate) fn bytes(message: &impl Message) -> Vec<u8> {
    let mut buffer = [0; 2048];
    sockd_common::wire::encode(message, &mut buffer).expect("a message").to_vec()
}

/// Sends one packet of any content; waits for room. False once the channel is gone.
pub(crate) fn packet(channel: impl AsFd, bytes: &[u8]) -> bool {
    loop {
        match send(channel.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return true,
            Err(Errno::EAGAIN) => wait(&channel, PollFlags::OUT),
            Err(_) => return false,
        }
    }
}

/// Sends the same packet until the channel is gone, as fast as the kernel takes it.
pub(crate) fn flood(channel: impl AsFd, bytes: &[u8]) {
    while packet(&channel, bytes) {}
}

/// Sends a packet with a descriptor.
pub(crate) fn with_descriptor(
    channel: impl AsFd,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> nix::Result<usize> {
    let descriptors = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    let channel = channel.as_fd().as_raw_fd();
    sendmsg::<()>(channel, &[IoSlice::new(bytes)], &control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Does something wrong that a worker of any role can do; false if there is nothing of that name.
pub(crate) fn act<M: Message>(channel: impl AsFd, act: &str, ready: &M, honest: &M) -> bool {
    let honest = bytes(honest);
    match act {
        "short" => packet(channel, honest.get(..1).unwrap_or_default()),
        "empty" => packet(channel, &[]),
        "long" => packet(channel, &[1; 5000]),
        "surplus" => packet(channel, &[honest, vec![0]].concat()),
        "an-unknown-message" => packet(channel, &[9, 0, 0, 0]),
        "ready-twice" => packet(channel, &bytes(ready)),
        // Its own end of the channel: what else it holds does not matter.
        "a-descriptor" => with_descriptor(&channel, &honest, channel.as_fd()).is_ok(),
        "a-flood" => {
            flood(channel, &honest);
            true
        }
        // It reads nothing more, not even the end of the channel.
        "deaf" => forever(),
        "late" => {
            sleep(Some(&LATE));
            packet(channel, &honest)
        }
        "deaf-after-its-answer" => {
            packet(channel, &honest);
            forever()
        }
        "an-exit" => std::process::exit(0),
        "a-panic" => panic!("as any program may"),
        _ => false,
    }
}

/// A fault in the real worker's own program: behind all its locks, and with the end that it has for its faults.
pub(crate) fn fault(profile: &[Row]) -> ! {
    die_quietly_on_panic();
    match lock_down(profile) {
        Ok(_) => panic!("as any program may"),
        Err(_) => exit_now(1),
    }
}

/// Waits until one descriptor is ready. It uses ppoll(2): poll(2) goes on as restart_syscall(2) after a process was
/// stopped, a call that honest workers do not need and the filters do not know.
pub(crate) fn wait(descriptor: impl AsFd, flags: PollFlags) {
    let _ = poll(&mut [PollFd::new(&descriptor, flags)], None);
}
