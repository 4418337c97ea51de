//! `sockd`: see the library for the story.

use sockd::config::options::{LogTo, Options};
use sockd::monitor::syslog::{Log, end_on_panic};
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
            let mut log = Log::new(to);
            for line in &failure.lines {
                if to == LogTo::Syslog {
                    eprintln!("sockd: {line}");
                }
                log.err(line);
            }
            log.finish();
            failure.status
        }
    };
    // At once: what the runtime does at an ordinary end is not among the calls that the monitor has kept.
    sockd_lockdown::exit_now(status)
}
