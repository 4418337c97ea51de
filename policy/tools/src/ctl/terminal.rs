//! The terminal of `list --watch`: keys come one by one and are not shown, and it is left as it was.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::time::{Duration, Instant};

/// `q`, and what a terminal sends for Ctrl-C and Ctrl-D.
const QUIT: [u8; 4] = [b'q', b'Q', 3, 4];

/// The keys of the terminal, if standard input is one.
#[derive(Debug)]
pub(super) struct Keys {
    /// The settings of the terminal before.
    before: Option<Termios>,
}

impl Keys {
    /// Has the keys sent here as they are pressed. A signal by a key would end the program before it has restored the
    /// terminal, so such keys are sent as well.
    pub(super) fn begin() -> Self {
        let before = isatty(stdin()).then(|| tcgetattr(stdin()).ok()).flatten();
        let before = before.filter(|before| {
            let mut now = before.clone();
            now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            tcsetattr(stdin(), OptionalActions::Now, &now).is_ok()
        });
        Self { before }
    }

    /// Waits for this time; true if a key has ended the wait, or the terminal is gone.
    pub(super) fn quit_within(&self, time: Duration) -> bool {
        let begun = Instant::now();
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            if self.before.is_none() {
                std::thread::sleep(left);
            } else if is_ready(left) && is_quit() {
                return true;
            }
        }
        false
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // If this fails, the terminal is gone.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

fn is_ready(limit: Duration) -> bool {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or_default();
    let limit = Timespec { tv_sec: seconds, tv_nsec: limit.subsec_nanos().into() };
    poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

fn is_quit() -> bool {
    let mut keys = [0; 64];
    match read(stdin(), &mut keys) {
        Ok(0) => true,
        Ok(length) => keys.iter().take(length).any(|key| QUIT.contains(key)),
        Err(error) => error != Errno::INTR && error != Errno::AGAIN,
    }
}
