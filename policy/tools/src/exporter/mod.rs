//! `sockd-exporter`: answers `GET /metrics` over HTTP with the counters of a running sockd.
//!
//! The monitor has no HTTP. This separate program may read memory with numbers in it and nothing else of sockd: an
//! attacker who takes it over learns what the page says. It is started by a socket of the service manager, has one
//! thread, and serves a bounded number of connections, each for a bounded time.

mod answer;
mod locks;
mod server;
mod source;

use crate::cli::{self, Exporter, exit};
use server::Server;
use source::Source;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

const PROGRAM: &str = "sockd-exporter";

/// The first descriptor of a service manager (sd_listen_fds(3)).
const HANDED_OVER: i32 = 3;

/// Runs the program.
pub fn main() -> ExitCode {
    let status = cli::parse::<Exporter>(PROGRAM, exit::USAGE).and_then(|options| {
        serve(&options).map_err(|why| {
            eprintln!("{PROGRAM}: {why}");
            exit::IO
        })
    });
    ExitCode::from(status.err().unwrap_or_default())
}

fn serve(options: &Exporter) -> Result<(), String> {
    if options.print {
        print!("{}", Source::new(&options.socket).page());
        return Ok(());
    }
    let listener = match handed_over()? {
        Some(listener) => listener,
        None => {
            TcpListener::bind(options.listen).map_err(|error| format!("{}: {error}", options.listen))?.into()
        }
    };
    let server = Server::new(listener).map_err(|error| error.to_string())?;
    if let Some(line) = locks::put_on()? {
        eprintln!("{PROGRAM}: {line}");
    }
    let mut source = Source::new(&options.socket);
    server.run(|| source.page())
}

/// The listening socket that a service manager has opened, if one has.
fn handed_over() -> Result<Option<OwnedFd>, String> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        Some(1) => {
            let socket = sockd_lockdown::take_descriptor(HANDED_OVER);
            socket.map(Some).ok_or_else(|| "the service manager has handed over no socket".into())
        }
        _ => Err("expected one socket of the service manager".into()),
    }
}
