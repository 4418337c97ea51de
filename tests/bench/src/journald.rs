//! A real systemd-journald without the rest of systemd, at its sockets in the `/run` of this mount namespace.

use crate::net::Outcome;
use crate::procs::processor_time;
use sockd_tests::host::SYSLOG_SOCKET;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Its defaults, without its other sources. It limits the rate of units alone, and there is none here; sockd.service
/// lifts that limit.
const CONFIGURATION: &str = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n";

const SOCKETS: &str = "/run/systemd/journal";
const JOURNAL: &str = "/run/log/journal";

/// The words of sockd after the number of lines that no log has taken.
const LOST: &str = " log lines were lost";

/// The running journald, to which `/dev/log` leads; when dropped, that leads to rsyslogd again.
pub(crate) struct Journald {
    child: Child,
}

/// The lines that have come to it from sockd.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) lines: u64,
    /// Lines that have not come, as sockd itself says.
    pub(crate) lost: u64,
}

impl Journald {
    pub(crate) fn start() -> Outcome<Self> {
        [SOCKETS, JOURNAL, "/etc/systemd"].iter().try_for_each(fs::create_dir_all)?;
        fs::write("/etc/systemd/journald.conf", CONFIGURATION)?;
        let started = Command::new("/lib/systemd/systemd-journald").stdin(Stdio::null()).spawn();
        let journald = Self { child: started.map_err(|error| format!("systemd-journald: {error}"))? };
        let limit = Instant::now() + Duration::from_secs(10);
        while !["socket", "dev-log"].iter().all(|name| Path::new(SOCKETS).join(name).exists()) {
            if Instant::now() > limit {
                return Err("systemd-journald does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        syslog_at(&format!("{SOCKETS}/dev-log"))?;
        Ok(journald)
    }

    pub(crate) fn spent(&self) -> Duration {
        processor_time(self.child.id().cast_signed())
    }

    /// The lines of sockd once no more come.
    pub(crate) fn read(&self) -> Outcome<Journal> {
        let (mut journal, mut changed) = (Journal::default(), Instant::now());
        while changed.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(200));
            let now = entries()?;
            if now.lines != journal.lines {
                (journal, changed) = (now, Instant::now());
            }
        }
        Ok(journal)
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(JOURNAL);
        let _ = fs::remove_dir_all(SOCKETS);
        let _ = syslog_at(SYSLOG_SOCKET);
    }
}

fn entries() -> Outcome<Journal> {
    let words = ["--directory", JOURNAL, "--output=cat", "--quiet", "SYSLOG_IDENTIFIER=sockd"];
    let output = Command::new("journalctl").args(words).output()?;
    let mut journal = Journal::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line
            .split_once(LOST)
            .and_then(|(before, _)| before.rsplit(|c: char| !c.is_ascii_digit()).next())
        {
            Some(number) => journal.lost += number.parse::<u64>()?,
            None => journal.lines += 1,
        }
    }
    Ok(journal)
}

fn syslog_at(socket: &str) -> Outcome<()> {
    fs::remove_file("/dev/log")?;
    Ok(symlink(socket, "/dev/log")?)
}
