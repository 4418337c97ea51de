//! The end of the program after a fault of its own.

use crate::config::options::LogTo;
use crate::log::Log;
use sockd_session::log::escape;

/// Makes a panic, a fault of this program, end the monitor with a line in the log, by calls that its filter permits.
pub fn end_on_panic(to: LogTo) {
    std::panic::set_hook(Box::new(move |panic| {
        let mut log = Log::new(to);
        log.err(&format!("panic: {}", escape(panic.to_string().as_bytes())));
        log.finish();
        sockd_lockdown::exit_now(70)
    }));
}
