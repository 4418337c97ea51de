//! `sockd-ver`, which `sockd -ver` becomes: reports what the server is, and tests its protection.
//!
//! It is a program of its own, so that the daemon has no code for such tests.

mod attempts;
mod facts;
mod layers;
mod newer;
mod processes;
mod report;
mod workers;

use crate::facts::facts;
use crate::report::Report;
use sockd::config::options::Options;
use sockd::config::read;
use sockd::process::error::StartError;
use sockd::start::clean_start::clean_start;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::from_command_line();
    match report(&options) {
        Ok(report) => {
            if options.json {
                println!("{}", report.json())
            } else {
                print!("{report}")
            }
            if report.is_full() { ExitCode::SUCCESS } else { ExitCode::from(3) }
        }
        Err(error) => {
            error.lines.iter().for_each(|line| eprintln!("sockd: {line}"));
            ExitCode::from(u8::try_from(error.status).unwrap_or(71))
        }
    }
}

/// The facts, and every layer as it holds in processes that are started for this report.
fn report(options: &Options) -> Result<Report, StartError> {
    clean_start(&[])?;
    let settings = read::settings(options)?;
    let facts = facts(options, &settings)?;
    let mut notes = Vec::new();
    let found = processes::look(options, &settings, &mut |line| notes.push(line.to_owned()))?;
    Ok(Report::new(facts.into(), notes, found))
}
