//! What is printed, and the exit status.

use crate::acts;
use crate::options::Options;
use crate::readings::{Held, Reading, read_all};
use clap::Parser;
use std::process::ExitCode;

/// All held; something got through; something could not be read.
const HELD: u8 = 0;
const THROUGH: u8 = 1;
const UNREAD: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        print_list();
        return HELD.into();
    }
    let (readings, unread) = read_all(&options);
    if options.tsv {
        readings.iter().for_each(print_fields);
    } else {
        if options.acts {
            print_acts(&readings);
        }
        print_sums(&readings);
    }
    complain(&readings, &unread);
    match (readings.iter().any(|reading| !reading.faults().is_empty()), unread.is_empty()) {
        (true, _) => THROUGH.into(),
        (false, false) => UNREAD.into(),
        (false, true) => HELD.into(),
    }
}

fn print_list() {
    for act in acts::all() {
        println!("{}\t{}\t{}", act.group, act.name, if act.classic { "classic" } else { "" });
    }
}

/// What did not hold, and what could not be read.
fn complain(readings: &[Reading], unread: &[String]) {
    for reading in readings {
        for line in reading.faults() {
            eprintln!("sockd-probe: {}: {line}", reading.name);
        }
    }
    for line in unread {
        eprintln!("sockd-probe: not read: {line}");
    }
}

fn print_fields(reading: &Reading) {
    for (act, outcome) in acts::all().iter().zip(&reading.outcomes) {
        let classic = u8::from(act.classic);
        println!("act\t{}\t{}\t{}\t{classic}\t{outcome}", reading.name, act.group, act.name);
    }
    let (stopped, classic) = reading.sums();
    let held = if reading.faults().is_empty() { "held" } else { "not held" };
    println!("sum\t{}\t{stopped}\t{classic}\t{}\t{held}", reading.name, reading.hits);
}

fn print_acts(readings: &[Reading]) {
    let names: Vec<&str> = readings.iter().map(|reading| reading.name.as_str()).collect();
    println!("| act | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for (number, act) in acts::all().iter().enumerate() {
        let outcomes: Vec<String> = readings
            .iter()
            .map(|reading| reading.outcomes.get(number).map(ToString::to_string).unwrap_or_default())
            .collect();
        println!("| {}: {} | {} |", act.group, act.name, outcomes.join(" | "));
    }
    println!();
}

fn print_sums(readings: &[Reading]) {
    let (all, classic) = (acts::all().len(), acts::all().iter().filter(|act| act.classic).count());
    println!("| behind | stopped, of {all} acts | of the classic {classic} | expected of these | canary |");
    println!("|---|---|---|---|---|");
    for reading in readings {
        let expected = match reading.held {
            Held::Known => "-".to_owned(),
            Held::AtLeast(floor) => format!(">= {floor}"),
            Held::Killed(_) => "all killed".to_owned(),
        };
        let (stopped, of_classic) = reading.sums();
        println!("| {} | {stopped} | {of_classic} | {expected} | {} |", reading.name, reading.hits);
    }
    for reading in readings {
        for (act, why) in reading.exceptions() {
            println!("{}: {act}: {why}", reading.name);
        }
        if let Some(ended) = &reading.ended {
            println!("{}: a worker that tries is reported as `ended: {ended}`", reading.name);
        }
    }
}
