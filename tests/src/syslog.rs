//! A real rsyslogd on a host, and its log.

use crate::host::{Host, SYSLOG_SOCKET};
use crate::program::Program;
use crate::wait::{until, until_true};
use std::process::{Command, Stdio};

const FILE: &str = "/run/syslog/messages";
const LEVELS: &str = "/run/syslog/levels";

/// Control characters are left alone: one event must be one line by sockd's doing, not by rsyslogd's.
const CONFIGURATION: &str = r#"
global(parser.escapeControlCharactersOnReceive="off" workDirectory="/run/syslog")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/run/syslog/dev-log" RateLimit.Interval="0")
template(name="levels" type="string" string="%syslogfacility-text%.%syslogseverity-text%%msg%\n")
*.* action(type="omfile" file="/run/syslog/messages" template="RSYSLOG_TraditionalFileFormat")
*.* action(type="omfile" file="/run/syslog/levels" template="levels")
"#;

/// The running rsyslogd.
pub struct Syslog {
    host: Host,
    program: Program,
}

/// A place in the log.
#[derive(Clone, Copy)]
pub struct Mark(usize);

impl Mark {
    /// Before the first line.
    pub const BEGINNING: Self = Self(0);
}

impl Syslog {
    /// Starts rsyslogd on `host`, at `/dev/log`, and waits until it listens.
    pub fn start(host: &Host) -> Self {
        host.write("/etc/rsyslog.conf", CONFIGURATION);
        let mut rsyslogd = Command::new("rsyslogd");
        rsyslogd.args(["-n", "-f", "/etc/rsyslog.conf", "-i", "/run/syslog/pid"]);
        let program = host.start(rsyslogd.stdin(Stdio::null()));
        until_true("rsyslogd listens", || host.exists(SYSLOG_SOCKET));
        let syslog = Self { host: host.clone(), program };
        syslog.wait_for(Mark::BEGINNING, "rsyslogd");
        syslog
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The file as an administrator reads it, `Apr 11 08:51:29 eon sockd[636]: connected -- ...`.
    pub fn file(&self) -> String {
        self.host.read(FILE)
    }

    /// All lines, each with its facility and level: `daemon.notice connected -- ...`.
    pub fn lines(&self) -> Vec<String> {
        let text = self.host.read(LEVELS);
        // A line that is still being written lacks its end.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The end of the log at this moment.
    pub fn mark(&self) -> Mark {
        Mark(self.lines().len())
    }

    /// The lines after a mark.
    pub fn since(&self, mark: Mark) -> Vec<String> {
        self.lines().split_off(mark.0)
    }

    /// Waits until as many lines as `expected` stand after the mark, and compares them byte for byte.
    pub fn expect(&self, mark: Mark, expected: &[String]) {
        let lines = until("the log lines", || {
            let lines = self.since(mark);
            let there = lines.len() >= expected.len() || lines.iter().zip(expected).any(|(a, b)| a != b);
            there.then_some(lines)
        });
        assert_eq!(lines, expected);
    }

    /// Waits for a line that contains `text`, and returns it.
    pub fn wait_for(&self, mark: Mark, text: &str) -> String {
        let what = format!("a log line with {text:?}");
        until(&what, || self.since(mark).into_iter().find(|line| line.contains(text)))
    }
}
