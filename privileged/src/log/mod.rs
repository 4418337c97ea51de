//! The log: lines to /dev/log, to the journal or to standard error. Writing never waits.
//!
//! If the socket is full or gone, lines are lost; the losses are counted and reported.

pub mod socket;

use crate::config::options::LogTo;
use crate::log::socket::Socket;
use crate::process::{sys, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sockd_session::client_host::Host;
use sockd_session::limits::quiet_log::QuietLog;
use sockd_session::log::{Level, Line, Style, journal, json};
use sockd_session::settings::LogFormat;
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use syslog::{Facility, LogFormat as _, Severity};

/// The most lines that wait for a log that takes none.
const MAX_WAITING: usize = 4096;

/// The most written lines whose memory is kept for others: those of a busy turn.
const SPARE: usize = 128;

/// The time between two attempts to reach a log that takes no line.
const RETRY: Duration = Duration::from_millis(200);

/// How long the end of the daemon waits for a log that takes no line.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How long it waits for a log that does take lines to take them all: a service manager waits as well.
const LAST_LINES: Duration = Duration::from_secs(20);

/// Writes lines without ever waiting.
#[derive(Debug)]
pub struct Log {
    to: LogTo,
    style: Style,
    pid: u32,
    socket: Option<Socket>,
    waiting: VecDeque<Vec<u8>>,
    /// Memory of lines that have been written, for the next ones.
    spare: Vec<Vec<u8>>,
    lost: u64,
    lost_uncounted: u64,
    retry_at: Option<Instant>,
    /// Whether the socket has no room; it then reports when it has some again. It does not report the end of other
    /// failures (ENOBUFS): asking it would return at once, without end.
    is_full: bool,
    /// The second of the last timestamp, and that timestamp.
    stamp: (u64, String),
    quiet: QuietLog,
}

impl Log {
    /// Connects to the log's socket, if it has one; the socket may appear later.
    pub fn new(to: LogTo) -> Self {
        let mut log = Self {
            to,
            style: Style { format: LogFormat::Classic, has_fields: to == LogTo::Journal },
            pid: std::process::id(),
            socket: None,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            lost: 0,
            lost_uncounted: 0,
            retry_at: None,
            is_full: false,
            stamp: (0, String::new()),
            quiet: QuietLog::default(),
        };
        if let Some(path) = path(to) {
            log.socket = Socket::connect(path).inspect_err(|error| warn(path, *error)).ok();
        }
        log
    }

    /// Sets the format of all later lines.
    pub fn set_format(&mut self, format: LogFormat) {
        self.style.format = format;
    }

    /// How lines are written.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Writes one line of level notice.
    pub fn notice(&mut self, text: &str) {
        self.line(Level::Notice, text);
    }

    /// Writes one line of level err.
    pub fn err(&mut self, text: &str) {
        self.line(Level::Err, text);
    }

    /// Writes one line that is not about a session. `text` has been composed by this program, with strings from the
    /// network escaped.
    fn line(&mut self, level: Level, text: &str) {
        self.write(&self.style.message(level, text));
    }

    /// Keeps one line for the next [`Log::flush`].
    pub fn write(&mut self, line: &Line) {
        // The lines may be a burst of a single turn, which has not been tried yet.
        if self.waiting.len() >= MAX_WAITING && self.retry_at.is_none() {
            self.flush();
        }
        if self.waiting.len() >= MAX_WAITING {
            return self.lose();
        }
        let packet = self.packet(line);
        self.waiting.push_back(packet);
    }

    /// A line as it is sent.
    fn packet(&mut self, Line { level, text, fields }: &Line) -> Vec<u8> {
        if self.to == LogTo::Journal {
            return journal::whole(*level, self.pid, text, fields);
        }
        let is_json = self.style.is_json();
        let object;
        let text = match is_json {
            true => {
                object = json::whole(&json::time(millis()), *level, text);
                &object
            }
            false => text,
        };
        if is_json && self.to == LogTo::Stderr {
            return [text.as_bytes(), b"\n"].concat();
        }
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        packet.reserve(text.len().saturating_add(48));
        let classic = Classic { to: self.to, pid: self.pid, stamp: stamp(&mut self.stamp) };
        // Writing into a vector does not fail.
        let _ = classic.format(&mut packet, severity(*level), text);
        packet
    }

    /// Writes one line of level err; if it was written a short while ago, it is only counted.
    pub fn quiet_err(&mut self, text: &str) {
        if let Some(text) = self.quiet.admit(text, Instant::now()) {
            self.err(text);
        }
    }

    /// Whether another line about a refused request of this host may be written in this second.
    pub fn admits_refusal(&mut self, host: Host, limit: u32) -> bool {
        self.quiet.admits_refusal(host, limit, Instant::now())
    }

    /// When [`Log::catch_up`] is due.
    pub fn catch_up_at(&self) -> Option<Instant> {
        self.quiet.next()
    }

    /// Writes the counts of lines that were held back, once their pause is over.
    pub fn catch_up(&mut self, now: Instant) {
        self.quiet.due(now).iter().for_each(|line| self.err(line));
        self.quiet.silent_due(now).iter().for_each(|line| self.notice(line));
    }

    /// Counts a client that has gone without sending a byte.
    pub fn count_silent(&mut self) {
        self.quiet.count_silent(Instant::now());
    }

    /// When a log that took no line is to be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The socket of a log that has no room: it becomes writable when the log has read a line.
    pub fn full_socket(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().filter(|_| self.retry_at.is_some() && self.is_full)?;
        Some(socket.as_fd())
    }

    /// Writes the lines of this turn, unless the log took none a moment ago.
    pub fn end_turn(&mut self, now: Instant) {
        if !self.waiting.is_empty() && self.retry_at.is_none_or(|at| at <= now) {
            self.flush();
        }
    }

    /// Writes the last lines: a log that takes lines gets some time for all that wait, one that takes none a second.
    pub fn finish(&mut self) {
        let begun = Instant::now();
        let (mut moved, mut left) = (begun, usize::MAX);
        loop {
            self.flush();
            let now = Instant::now();
            if self.waiting.len() < left {
                (moved, left) = (now, self.waiting.len());
            }
            let over = now.duration_since(moved) >= LAST_WAIT || now.duration_since(begun) >= LAST_LINES;
            let Some(socket) = self.retry_at.and(self.socket.as_ref()).filter(|_| !over) else { return };
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&wait));
        }
    }

    /// Writes the waiting lines, as far as the log takes them.
    pub fn flush(&mut self) {
        self.retry_at = None;
        let mut is_renewed = false;
        while let Some(packet) = self.waiting.front() {
            let sent = match (path(self.to), &self.socket) {
                (None, _) => terminal::write_now(rustix::stdio::stderr(), packet).map(|()| 1),
                (Some(path), None) => self.connect(path).map(|()| 0),
                (Some(_), Some(socket)) => socket.send(&self.waiting),
            };
            match sent {
                Ok(sent) => {
                    let written = self.waiting.drain(..sent.min(self.waiting.len()));
                    self.spare.extend(written.take(SPARE.saturating_sub(self.spare.len())));
                    self.report_losses();
                }
                Err(error) => {
                    if !self.goes_on_after(error, &mut is_renewed) {
                        self.is_full = error == Errno::AGAIN;
                        self.retry_at = Instant::now().checked_add(RETRY);
                        return;
                    }
                }
            }
        }
    }

    fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.lost_uncounted = self.lost_uncounted.saturating_add(1);
    }

    /// How many lines have been lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost_uncounted)
    }

    /// Handles the error of the first waiting line. Returns whether another attempt may be made at once, which after a
    /// reconnection is allowed once.
    fn goes_on_after(&mut self, error: Errno, is_renewed: &mut bool) -> bool {
        match error {
            // A line that the log never takes must not hold up those behind it; nor must one that does not fit the file
            // that standard error is (RLIMIT_FSIZE).
            Errno::MSGSIZE | Errno::FBIG => {
                self.waiting.pop_front();
                self.lose();
                true
            }
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => false,
            // A restarted syslogd leaves a dead socket behind (ECONNREFUSED, then ENOTCONN for ever), so connect again.
            // If that fails there is no socket any more.
            _ => self.socket.take().is_some() && !std::mem::replace(is_renewed, true),
        }
    }

    fn connect(&mut self, path: &'static str) -> Result<(), Errno> {
        self.socket = Some(Socket::connect(path)?);
        Ok(())
    }

    fn report_losses(&mut self) {
        if self.lost > 0 && self.waiting.is_empty() {
            let text = format!("{} log lines were lost: the log did not take them in time", self.lost);
            self.lost = 0;
            self.err(&text);
        }
    }
}

/// The path of the socket that takes lines, if any.
fn path(to: LogTo) -> Option<&'static str> {
    match to {
        LogTo::Syslog => Some("/dev/log"),
        // journald's own protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
        LogTo::Journal => Some("/run/systemd/journal/socket"),
        LogTo::Stderr => None,
    }
}

/// Warns on standard error: without a log nobody would hear of the fault.
fn warn(path: &str, error: Errno) {
    let line =
        format!("sockd: {path}: {error}: the log is lost until it is there; `--log stderr` writes it here\n");
    let _ = terminal::write_now(rustix::stdio::stderr(), line.as_bytes());
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Notice => Severity::LOG_NOTICE,
        Level::Err => Severity::LOG_ERR,
    }
}

/// Milliseconds since 1970.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time in the form of [`Classic`], composed at most once a second.
fn stamp((second, text): &mut (u64, String)) -> &str {
    let now = millis() / 1000;
    if *second != now {
        *second = now;
        *text = timestamp();
    }
    text
}

/// `<priority>Mmm dd hh:mm:ss sockd[pid]: text` with local time, as syslog(3) of the C library writes it.
struct Classic<'a> {
    to: LogTo,
    pid: u32,
    stamp: &'a str,
}

impl syslog::LogFormat<&str> for Classic<'_> {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, text: &str) -> syslog::Result<()> {
        let end = match self.to {
            LogTo::Syslog => {
                write!(out, "<{}>", Facility::LOG_DAEMON as u8 | severity as u8)?;
                ""
            }
            LogTo::Stderr | LogTo::Journal => "\n",
        };
        write!(out, "{} sockd[{}]: {text}{end}", self.stamp, self.pid)?;
        Ok(())
    }
}

fn timestamp() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = sys::local_time();
    let month = usize::try_from(time.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_syslog_begins_with_facility_daemon() {
        let mut packet = Vec::new();
        let classic = Classic { to: LogTo::Syslog, pid: 636, stamp: "Apr 11 08:51:29" };
        classic.format(&mut packet, Severity::LOG_NOTICE, "refused").unwrap();
        let text = String::from_utf8(packet).unwrap();
        assert_eq!(text, "<29>Apr 11 08:51:29 sockd[636]: refused");
    }

    #[test]
    fn the_memory_of_a_line_that_has_been_written_serves_the_next_one() {
        let mut log = Log::new(LogTo::Stderr);
        log.notice("a line that is longer than the next");
        log.flush();
        let memory = log.spare.first().map(Vec::as_ptr);
        assert!(memory.is_some());
        log.notice("short");
        assert_eq!((log.waiting.front().map(Vec::as_ptr), log.spare.len()), (memory, 0));
        assert!(log.waiting.front().is_some_and(|line| line.ends_with(b"]: short\n")));
    }
}
