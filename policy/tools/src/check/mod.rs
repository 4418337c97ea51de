//! `test_sockd_conf`: says what would be decided, in the words and with the exit status of the classic program.
//!
//! It runs no command and writes no log. The verdict is that of the daemon's own code; its guards and routes follow.

mod asked;
mod batch;
mod show;
mod trial;

use std::net::UdpSocket;
use std::process::ExitCode;

use sockd_policy::{lint, lint_routes, lint_text};

use crate::cli::{self, Check};
use crate::files::read_services;

use asked::Asked;
use trial::Trial;

const PROGRAM: &str = "test_sockd_conf";
const PERMITTED: u8 = 1;
const DENIED: u8 = 0;
const USAGE: u8 = 255;

/// Runs the program.
pub fn main() -> ExitCode {
    let status = match cli::parse::<Check>(PROGRAM, USAGE) {
        Ok(options) => run(&options),
        Err(status) => {
            if status == USAGE {
                eprintln!(
                    "Usage:\n{PROGRAM} [-i] [-I] [-B] [-R route_file] [-C conf_file] user src_addr dst_addr {{service,port}}"
                );
            }
            status
        }
    };
    ExitCode::from(status)
}

fn run(options: &Check) -> u8 {
    let services = read_services(&options.services);
    let asked = match Asked::from_options(options, &services) {
        Ok(asked) => asked,
        Err(complaint) => {
            eprintln!("{PROGRAM}: {complaint}");
            return USAGE;
        }
    };
    if let Some(asked) = &asked {
        eprintln!("{asked}");
    }
    match Trial::load(options, services) {
        Ok(trial) => answer(&trial, options, asked.as_ref()),
        Err(messages) => {
            messages.iter().for_each(|message| eprintln!("{message}"));
            eprintln!("Access denied: a file with errors permits nothing.");
            if options.batch.is_some() { USAGE } else { DENIED }
        }
    }
}

/// Answers the question, and returns the exit status.
fn answer(trial: &Trial, options: &Check, asked: Option<&Asked>) -> u8 {
    if options.lint {
        warn(trial, options);
    }
    match (&options.batch, asked) {
        (Some(requests), _) => match batch::run(trial, requests) {
            Ok(true) => 0,
            Ok(false) => USAGE,
            Err(fault) => {
                fault.messages(requests).iter().for_each(|message| eprintln!("{PROGRAM}: {message}"));
                USAGE
            }
        },
        (None, Some(asked)) if show::single(trial, asked, options.explain) => PERMITTED,
        (None, _) => DENIED,
    }
}

/// Prints warnings about lines that are valid, but hardly meant.
fn warn(trial: &Trial, options: &Check) {
    // The text that a frozen file was made from may have changed since.
    let texts = [trial.conf.clone()].into_iter().filter(|_| !options.frozen);
    for warning in lint(&trial.rules, trial.mode) {
        eprintln!("{}", warning.in_file(trial.conf.display()));
    }
    for file in texts.chain(trial.rules.included().iter().map(|file| file.file().into())) {
        let warnings = lint_text(&std::fs::read(&file).unwrap_or_default());
        warnings.iter().for_each(|warning| eprintln!("{}", warning.in_file(file.display())));
    }
    if let Some((path, routes)) = &trial.routes {
        let has = |address| UdpSocket::bind((address, 0)).is_ok();
        lint_routes(routes, has).iter().for_each(|warning| eprintln!("{}: {warning}", path.display()));
    }
}
