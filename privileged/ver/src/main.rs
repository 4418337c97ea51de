//! `sockd-ver`, which `sockd -ver` becomes: says what the server is and tries out what protects it.
//!
//! It is a program of its own, so that the daemon has no code for trying things out.

mod facts;
mod layers;

use crate::facts::facts;
use crate::layers::{Layer, layers};
use sockd::config::options::Options;
use sockd::config::read;
use sockd::process::error::StartError;
use sockd::spawner;
use sockd::start::clean_start::clean_start;
use sockd::start::{account, program};
use std::process::ExitCode;

fn main() -> ExitCode {
    match report(&Options::from_command_line().absolute()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            error.lines.iter().for_each(|line| eprintln!("sockd: {line}"));
            ExitCode::from(u8::try_from(error.status).unwrap_or(71))
        }
    }
}

/// The facts, then every layer as it holds in a worker started for this purpose. True where nothing is missing.
fn report(options: &Options) -> Result<bool, StartError> {
    clean_start(&[])?;
    let settings = read::settings(options).map_err(StartError::configuration)?;
    for fact in facts(options, &settings).map_err(StartError::configuration)? {
        println!("\t{fact}.");
    }
    let note = |line: &str| println!("\tNote: {line}.");
    let program = program::open_to_try(note)?;
    let spawner = spawner::start(program, account::of_workers(&settings, note)?)?;
    let layers = layers(&spawner)?;
    for Layer { name, holds, found } in &layers {
        println!("\t{name}: {}{found}.", if *holds { "" } else { "MISSING, " });
    }
    let missing: Vec<&str> = layers.iter().filter(|layer| !layer.holds).map(|layer| layer.name).collect();
    match missing.is_empty() {
        true => println!("sandbox: full"),
        false => println!("sandbox: reduced ({})", missing.join(", ")),
    }
    Ok(missing.is_empty())
}
