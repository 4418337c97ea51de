//! How the monitor starts a process that serves a channel: forks it, and waits until it has locked itself down.

use crate::process::descriptors;
use crate::process::error::StartError;
use crate::process::namespaces::{Place, World, fork_into};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use sockd_common::channel::{MonitorEnd, WorkerEnd};
use sockd_common::message::Message;
use sockd_lockdown as lockdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a process may take to lock itself down; a slower one will never do so.
const LIMIT: Duration = Duration::from_secs(20);

/// The most bytes of a report of a lockdown.
const REPORT: usize = 4096;

/// A process that serves, as the monitor knows it.
#[derive(Debug)]
pub struct Server<Out, In> {
    /// The channel to it.
    pub channel: MonitorEnd<Out, In>,
    /// Its process id.
    pub pid: libc::pid_t,
    /// Parts of its lockdown that the kernel does not support.
    pub missing: Vec<String>,
}

/// Both ends of a channel. Descriptors travel downwards only: the first end refuses them, if the kernel supports that.
pub fn channel() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // On an older kernel, the other end's filter permits no call that sends any, once it has one.
    let _ = descriptors::refuse_descriptors(&ours);
    Ok((ours, theirs))
}

/// Ends the process with status 70 on any panic, through exit_group(2) alone. A forked process inherits the monitor's
/// panic hook, which writes to the log: a call for which the filters of the others kill. The monitor reports their end.
pub fn die_quietly_on_panic() {
    std::panic::set_hook(Box::new(|_| lockdown::exit_now(70)));
}

/// Forks a process that locks itself down, serves the channel and ends. Waits until its locks are on.
///
/// Two packets pass over the channel before the first message: the parent's, that the ids are mapped; and the child's,
/// that it has locked itself down or why it could not.
pub fn start<Out: Message, In: Message, Locked>(
    name: &str,
    mut world: World,
    lock_down: impl FnOnce(&WorkerEnd<In, Out>, &mut Place) -> Result<Locked, StartError>,
    serve: impl FnOnce(WorkerEnd<In, Out>, Locked),
) -> Result<Server<Out, In>, StartError> {
    let (ours, pid) = loop {
        let (ours, theirs) = channel().map_err(StartError::at("socketpair"))?;
        let (pid, mut place) = fork_into(&world)?;
        let Some(pid) = pid else {
            drop(ours);
            die_quietly_on_panic();
            if next_packet(&theirs).is_some() {
                let channel = WorkerEnd::new(theirs);
                let locked = lock_down(&channel, &mut place);
                report(&channel, &locked, place.missing);
                if let Ok(locked) = locked {
                    serve(channel, locked);
                }
            }
            lockdown::exit_now(0)
        };
        if !place.user_namespace || world.map_ids(pid).is_ok() {
            break (ours, pid);
        }
        // The child ends, as its channel is closed.
        drop((ours, theirs));
        let _ = waitpid(Pid::from_raw(pid), None);
        world = world.without_user_namespace();
    };
    send(&ours, &[0], SendFlags::NOSIGNAL).map_err(StartError::at("send"))?;
    let report = next_packet(&ours).ok_or_else(|| {
        StartError::system(format!("the {name} has ended at its start, or does not answer"))
    })?;
    let report: Report = postcard::from_bytes(&report).map_err(StartError::at("the report of a start"))?;
    let missing = report.map_err(|error| match error.is_configuration() {
        true => error,
        false => StartError::system(format_args!("{name}: {error}")),
    })?;
    Ok(Server { channel: MonitorEnd::new(ours), pid, missing })
}

/// The missing parts of a lockdown, or why there is none.
type Report = Result<Vec<String>, StartError>;

/// The lines of an error for which a report has room.
fn told(error: &StartError) -> StartError {
    let (mut told, mut room) = (error.clone(), REPORT / 2);
    told.lines.retain(|line| {
        room = room.saturating_sub(line.len());
        room > 0
    });
    told
}

/// Reports the outcome of the lockdown to the parent.
fn report<T>(channel: impl AsFd, locked: &Result<T, StartError>, missing: Vec<String>) {
    let report: Report = locked.as_ref().map(|_| missing).map_err(told);
    let packet = postcard::to_stdvec(&report).unwrap_or_default();
    // A parent that is gone has closed the channel, which ends this process too.
    let _ = send(channel, &packet, SendFlags::NOSIGNAL);
}

/// The next packet, if one comes in time.
fn next_packet(channel: &OwnedFd) -> Option<Vec<u8>> {
    descriptors::readable(channel, LIMIT).ok()?;
    let mut packet = vec![0; REPORT];
    let (length, _) =
        recv(channel, &mut packet, RecvFlags::empty()).ok().filter(|(length, _)| *length > 0)?;
    packet.truncate(length);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::io::IoSlice;
    use std::mem::MaybeUninit;

    fn pass(from: &OwnedFd) -> rustix::io::Result<usize> {
        let passed = [from.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        sendmsg(from, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)
    }

    #[test]
    fn where_the_kernel_can_a_channel_takes_descriptors_downwards_only() {
        let (ours, theirs) = channel().unwrap();
        assert_eq!(pass(&ours), Ok(1));
        let kernel_can = descriptors::refuse_descriptors(channel().unwrap().1);
        let expected = if kernel_can { Err(rustix::io::Errno::PERM) } else { Ok(1) };
        assert_eq!(pass(&theirs), expected);
    }
}
