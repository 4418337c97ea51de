//! A real rsyslogd, at the `/dev/log` of this mount namespace.

use crate::net::Outcome;
use crate::procs::processor_time;
use sockd_tests::host::SYSLOG_SOCKET;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FILE: &str = "/run/syslog/messages";

/// Debian's configuration without the rate limit, as sockd has to log every connection.
const CONFIGURATION: &str = r#"
global(workDirectory="/run/syslog")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/run/syslog/dev-log" RateLimit.Interval="0")
*.* action(type="omfile" file="/run/syslog/messages")
"#;

/// The most lines that wait for it: systemd sets this at every boot; the kernel's own default is 10.
const QUEUE: &str = "512";

/// The running rsyslogd.
pub(crate) struct Syslog {
    child: Child,
}

impl Syslog {
    pub(crate) fn start() -> Outcome<Self> {
        fs::write("/proc/sys/net/unix/max_dgram_qlen", QUEUE)?;
        fs::write("/etc/rsyslog.conf", CONFIGURATION)?;
        let words = ["-n", "-f", "/etc/rsyslog.conf", "-i", "/run/syslog/pid"];
        let started = Command::new("rsyslogd").args(words).stdin(Stdio::null()).spawn();
        let syslog = Self { child: started.map_err(|error| format!("rsyslogd: {error}"))? };
        let limit = Instant::now() + Duration::from_secs(10);
        while !Path::new(SYSLOG_SOCKET).exists() {
            if Instant::now() > limit {
                return Err("rsyslogd does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(syslog)
    }

    /// Empties the log, which lies in memory.
    pub(crate) fn forget(&self) -> Outcome<()> {
        if Path::new(FILE).exists() {
            File::options().write(true).open(FILE)?.set_len(0)?;
        }
        Ok(())
    }

    pub(crate) fn spent(&self) -> Duration {
        processor_time(self.child.id().cast_signed())
    }

    /// The number of lines that contain `text`.
    pub(crate) fn count(&self, text: &str) -> u64 {
        let log = fs::read(FILE).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count() as u64
    }

    /// Waits until there are `number` lines that contain `text`, and returns how many there are when no more come.
    pub(crate) fn wait_for(&self, number: u64, text: &str) -> u64 {
        let (mut count, mut changed) = (self.count(text), Instant::now());
        while count < number && changed.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.count(text);
            if now != count {
                (count, changed) = (now, Instant::now());
            }
        }
        count
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
