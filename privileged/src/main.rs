//! The program `sockd`; the library describes its parts.

use sockd::config::options::{LogTo, Options};
use sockd::log::Log;
use sockd::process::error::StartError;
use sockd::start::panic::end_on_panic;
use sockd::start::{self, check, program, reload};

fn main() {
    let options = Options::from_command_line();
    end_on_panic(options.log);
    // Asked before the lockdown, as the daemon that serves cannot ask. A background daemon leaves standard error.
    let journal = !options.daemon && stderr_is_the_journal();
    let status = match run(&options) {
        Ok(()) => 0,
        Err(failure) => {
            tell(&failure.lines, options.log, options.check, journal);
            failure.status
        }
    };
    // Exits at once: the runtime's calls at an ordinary end are not among those that the monitor has kept.
    sockd_lockdown::exit_now(status)
}

fn run(options: &Options) -> Result<(), StartError> {
    if options.ver {
        return Err(program::become_ver());
    }
    if options.check {
        return check::check(options);
    }
    // A reload may have brought the running daemon up to date, so that no other one is needed in its place.
    if options.reload && !reload::reload(options)? {
        return Ok(());
    }
    start::serve(options)
}

/// Writes the lines once to standard error and once to the log. A check is only for the user who asks for it.
fn tell(lines: &[String], to: LogTo, is_check: bool, stderr_is_journal: bool) {
    if to != LogTo::Stderr && !is_check && stderr_is_journal {
        // journald asks /proc for the unit of a writer to /dev/log. A process that has ended has none there, so the
        // line is not in `systemctl status`. A stream belongs to its unit for good; <3> is LOG_ERR (sd-daemon(3)).
        return lines.iter().for_each(|line| eprintln!("<3>{line}"));
    }
    if is_check || to != LogTo::Stderr {
        lines.iter().for_each(|line| eprintln!("sockd: {line}"));
    }
    if !is_check {
        let mut log = Log::new(to);
        lines.iter().for_each(|line| log.err(line));
        log.finish();
    }
}

/// Whether standard error leads to the journal. JOURNAL_STREAM (systemd.exec(5)) names its device and inode; a process
/// that has inherited the variable may have another standard error.
fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|facts| format!("{}:{}", facts.st_dev, facts.st_ino) == stream)
}
