//! Reads a password from a terminal without its echo or from a descriptor; never from the command line, which everybody
//! on the host can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use sockd_policy::in_words;
use zeroize::Zeroizing;

use super::failed::Failed;
use crate::cli::exit;

/// The longest password that a client can send (RFC 1929).
const LONGEST: usize = 255;

/// The most that is read of a password: enough to see that it is longer.
const ROOM: usize = 2 * LONGEST;

/// Control-C, which ends a line while the echo is off: a signal would leave the terminal without one.
const INTERRUPT: u8 = 3;

/// The password, from this descriptor or from the terminal. A new one has to be typed twice.
pub(super) fn ask(descriptor: Option<u32>, is_new: bool) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let password = match descriptor {
        Some(descriptor) => from_descriptor(descriptor)?,
        None => from_terminal(is_new)?,
    };
    match password.len() {
        0 => Err(Failed::new(exit::DATA, "expected a password, found an empty one")),
        length if length > LONGEST => Err(Failed::new(
            exit::DATA,
            "expected a password of at most 255 bytes, as clients can send no more, found a longer one",
        )),
        _ => Ok(password),
    }
}

/// Reads everything up to the end, without a newline there.
fn from_descriptor(descriptor: u32) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let failed =
        |error| Failed::new(exit::NO_INPUT, format!("--password-fd {descriptor}: {}", in_words(error)));
    // It is opened anew, so it has to be a pipe or a file.
    let file = File::open(format!("/dev/fd/{descriptor}")).map_err(failed)?;
    let mut password = Zeroizing::new(Vec::with_capacity(ROOM));
    file.take(ROOM as u64).read_to_end(&mut password).map_err(failed)?;
    if password.last() == Some(&b'\n') {
        password.pop();
    }
    Ok(password)
}

fn from_terminal(is_new: bool) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let terminal =
        OpenOptions::new().read(true).write(true).open("/dev/tty").ok().filter(|file| isatty(file));
    let Some(terminal) = terminal else {
        return Err(Failed::new(exit::NO_INPUT, "expected a terminal, or --password-fd, found neither"));
    };
    let password = prompt(&terminal, "Password: ")?;
    if is_new && *prompt(&terminal, "The same again: ")? != *password {
        return Err(Failed::new(exit::DATA, "expected the same password twice, found two"));
    }
    Ok(password)
}

fn prompt(mut terminal: &File, question: &str) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let failed = |error: io::Error| Failed::new(exit::NO_INPUT, format!("/dev/tty: {}", in_words(error)));
    terminal.write_all(question.as_bytes()).map_err(failed)?;
    let silence = Silence::of(terminal).map_err(failed)?;
    let line = read_line(terminal).map_err(failed);
    drop(silence);
    terminal.write_all(b"\n").map_err(failed)?;
    let line = line?;
    match line.last() {
        Some(&INTERRUPT) => Err(Failed::new(130, "interrupted")),
        _ => Ok(line),
    }
}

/// Reads up to a newline, which is left out, or to an interrupt.
fn read_line(mut terminal: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ROOM));
    let mut byte = Zeroizing::new([0]);
    while line.len() <= LONGEST && terminal.read(&mut *byte)? == 1 {
        let [read] = *byte;
        if read == b'\n' {
            break;
        }
        line.push(read);
        if read == INTERRUPT {
            break;
        }
    }
    Ok(line)
}

/// A terminal that shows nothing and sends no signals, until this is dropped.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn of(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Keys typed behind the line are dropped.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
