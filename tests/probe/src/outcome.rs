//! The outcome of an act: each is tried by a child of its own, and this is how the child ended.

use crate::acts::{Act, Slot};
use crate::sys;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done,
    /// The kernel refused it with this errno.
    Refused(i32),
    /// The process was ended by this signal: SIGSYS is the filter.
    Killed(i32),
    /// It did not end in time.
    Hung,
    /// It was not tried, as the locks could not be put on; nothing can be said.
    Untried,
}

/// Exit statuses of the child that tries: an errno as it is, a signal above them.
const SIGNALS: i32 = 160;
const HUNG: i32 = 250;
const UNTRIED: i32 = 251;

/// Milliseconds that an act may take.
const LIMIT: i32 = 20_000;

/// Milliseconds between the last sign of a signal and the end of the process that it ends.
const GRACE: i32 = 300;

impl Outcome {
    /// Whether the act has come to nothing.
    pub(crate) fn is_stopped(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Killed(_))
    }

    /// The exit status that says it, for a child that has watched another.
    pub(crate) fn status(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Refused(errno) => errno.clamp(1, SIGNALS),
            Self::Killed(signal) => SIGNALS + signal,
            Self::Hung => HUNG,
            Self::Untried => UNTRIED,
        }
    }

    fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        match libc::WEXITSTATUS(status) {
            0 => Self::Done,
            errno @ 1..=SIGNALS => Self::Refused(errno),
            HUNG => Self::Hung,
            signal @ ..HUNG => Self::Killed(signal - SIGNALS),
            _ => Self::Untried,
        }
    }

    /// Reads what [`Display`](fmt::Display) has written.
    pub(crate) fn from_word(word: &str) -> Self {
        match (word, word.split_once(' ').map(|(kind, number)| (kind, number.parse()))) {
            ("done", _) => Self::Done,
            ("SIGSYS", _) => Self::Killed(libc::SIGSYS),
            ("hung", _) => Self::Hung,
            (_, Some(("errno", Ok(errno)))) => Self::Refused(errno),
            (_, Some(("signal", Ok(signal)))) => Self::Killed(signal),
            _ => Self::Untried,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "done"),
            Self::Refused(errno) => write!(f, "errno {errno}"),
            Self::Killed(libc::SIGSYS) => write!(f, "SIGSYS"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
            Self::Hung => write!(f, "hung"),
            Self::Untried => write!(f, "not tried"),
        }
    }
}

/// The work of a child that is to end by itself; an error says that it cannot even begin.
pub(crate) type Deed<'a> = &'a dyn Fn() -> Result<Outcome, String>;

/// Does it in a child and tells how the child ended.
pub(crate) fn in_a_child(deed: Deed<'_>) -> Outcome {
    match sys::fork() {
        Ok(None) => end(deed),
        Ok(Some(pid)) => of_child(pid),
        Err(_) => Outcome::Untried,
    }
}

/// In a child: does it, and ends with the status that says how.
pub(crate) fn end(deed: Deed<'_>) -> ! {
    sockd_lockdown::exit_now(deed().unwrap_or(Outcome::Untried).status())
}

/// Waits for a child, not without end.
pub(crate) fn of_child(pid: i32) -> Outcome {
    for _ in 0..LIMIT {
        match sys::ended(pid) {
            Ok(Some(status)) => return Outcome::of(status),
            Ok(None) => sys::sleep(1),
            Err(_) => return Outcome::Untried,
        }
    }
    sys::kill(pid);
    while matches!(sys::ended(pid), Ok(None)) {
        sys::sleep(1);
    }
    Outcome::Hung
}

/// Tries an act in this process, which ends soon.
pub(crate) fn attempt(act: &Act, slot: &Slot) -> Outcome {
    match (act.attempt)(slot) {
        0.. => Outcome::Done,
        error => Outcome::Refused(i32::try_from(error.saturating_neg()).unwrap_or(libc::EIO)),
    }
}

/// Another process of the same user that does nothing, like a worker that waits; killed when dropped.
pub(crate) struct Victim(i32);

impl Victim {
    /// Forked from this process once `become_it` is done in it; returns when that is so.
    pub(crate) fn start(become_it: &dyn Fn() -> Result<(), String>) -> Result<Self, String> {
        // A pipe: a worker cannot make a pair of sockets.
        let (ours, theirs) = io::pipe().map_err(|error| format!("pipe: {error}"))?;
        match sys::fork().map_err(|error| format!("fork: {error}"))? {
            None => {
                // It does not outlive a parent that forgets to end it.
                let able = sockd_lockdown::die_with_parent().map_err(|error| error.to_string());
                if able.and_then(|()| become_it()).is_ok() {
                    drop((ours, theirs));
                    sys::sleep(-1);
                }
                sockd_lockdown::exit_now(1)
            }
            Some(pid) => {
                drop(theirs);
                // It is closed in the child too by then, and its end is readable.
                sys::wait(&ours, LIMIT);
                Ok(Self(pid))
            }
        }
    }

    /// Whether a deadly signal has been sent to it: it has ended, or will once it gets its turn. The kernel sends a
    /// signal within the call that causes it, so that nothing is still to come.
    pub(crate) fn is_struck(&self) -> bool {
        for _ in 0..GRACE {
            while self.has_signals() && matches!(sys::ended(self.0), Ok(None)) {
                sys::sleep(1);
            }
            if !matches!(sys::ended(self.0), Ok(None)) {
                return true;
            }
            sys::sleep(1);
        }
        false
    }

    /// Whether signals wait for it, as far as /proc is there to say so.
    fn has_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let sets = status.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
        sets.filter_map(|line| line.split('\t').nth(1)).any(|set| set.bytes().any(|digit| digit != b'0'))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // One that has been waited for has given its number back.
        if matches!(sys::ended(self.0), Ok(None)) {
            sys::kill(self.0);
            while matches!(sys::ended(self.0), Ok(None)) {
                sys::sleep(1);
            }
        }
    }
}

/// A pair of channel ends, or an error in words.
pub(crate) fn number(descriptor: &impl AsFd) -> usize {
    use std::os::fd::AsRawFd;
    usize::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(usize::MAX)
}

/// Both ends of a TCP connection of this host.
pub(crate) fn connection() -> io::Result<[OwnedFd; 2]> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    Ok([client.into(), listener.accept()?.0.into()])
}
