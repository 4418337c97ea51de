//! `sockd`: see the library for the story.

use sockd::config::options::{LogTo, Options};
use sockd::monitor::syslog::Log;
use sockd::start::panic::end_on_panic;
use sockd::start::{self, check, program};

fn main() {
    let options = Options::from_command_line();
    let to = if options.trial { LogTo::Stderr } else { options.log };
    end_on_panic(to);
    let done = match (options.ver, options.check) {
        (true, _) => Err(program::become_ver()),
        (_, true) => check::check(&options).map(|()| 0),
        _ => start::serve(&options).map(|()| 0),
    };
    let status = match done {
        Ok(status) => status,
        Err(failure) => {
            tell(&failure.lines, to, options.check);
            failure.status
        }
    };
    // At once: what the runtime does at an ordinary end is not among the calls that the monitor has kept.
    sockd_lockdown::exit_now(status)
}

/// On standard error and in the log, but where both are the same; a check is for whoever asks for it alone.
fn tell(lines: &[String], to: LogTo, is_check: bool) {
    if is_check || (to == LogTo::Syslog && std::env::var_os("JOURNAL_STREAM").is_none()) {
        lines.iter().for_each(|line| eprintln!("sockd: {line}"));
    }
    if !is_check {
        let mut log = Log::new(to);
        lines.iter().for_each(|line| log.err(line));
        log.finish();
    }
}
