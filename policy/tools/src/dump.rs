//! `dump_sockdfc` and `dump_sockdfr` list a frozen file, as a text that can be frozen again.

use sockd_policy::in_words;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use sockd_policy::frozen::Provenance;

use crate::cli::{self, Dump, exit};
use crate::files::{Fault, Kind, Policy, or_default};

/// Runs the program.
pub fn main(program: &str, kind: Kind) -> ExitCode {
    let status = cli::parse::<Dump>(program, exit::USAGE).and_then(|options| list(program, kind, &options));
    ExitCode::from(status.err().unwrap_or(0))
}

fn list(program: &str, kind: Kind, options: &Dump) -> Result<(), u8> {
    let infile = or_default(&options.infile, kind.frozen());
    let (policy, from) = Policy::from_frozen(kind, &infile).map_err(|fault| {
        for message in fault.messages(&infile) {
            eprintln!("{program}: {message}");
        }
        if matches!(fault, Fault::Unreadable(_)) { exit::NO_INPUT } else { exit::DATA }
    })?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = out
        .write_all(header(&from).as_bytes())
        .and_then(|()| policy.lines().try_for_each(|line| writeln!(out, "{line}")))
        .and_then(|()| out.flush());
    written.map_err(|error| {
        eprintln!("{program}: Cannot write the listing: {}", in_words(error));
        exit::IO
    })
}

/// The provenance of the file, as comments.
fn header(from: &Provenance) -> String {
    let mut text = format!("# frozen from {}\n", from.name.escape_debug());
    let _ = writeln!(text, "# changed {} (seconds since 1970: {})", date(from.modified), from.modified);
    let _ = writeln!(text, "# SHA-256 {}", hex(&from.text));
    for (path, hash) in &from.user_files {
        let _ = writeln!(text, "# file {} SHA-256 {}", path.escape_debug(), hex(hash));
    }
    text
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time in UTC. The calendar repeats every 400 years, which are 146,097 days. Years are counted from March here, so that
/// the leap day comes last.
fn date(seconds: u64) -> String {
    let (days, second) = ((seconds / 86_400).saturating_add(719_468), seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let leap_days = (day / 1_460).saturating_add(day / 146_096).saturating_sub(day / 36_524);
    let year = day.saturating_sub(leap_days) / 365;
    let first = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let day = day.saturating_sub(first);
    let month = day.saturating_mul(5).saturating_add(2) / 153;
    let day = day.saturating_sub(month.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let (month, next) = if month < 10 { (month.saturating_add(3), 0) } else { (month.saturating_sub(9), 1) };
    let year = era.saturating_mul(400).saturating_add(year).saturating_add(next);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn a_time_is_written_as_a_date() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(951_868_799), "2000-02-29 23:59:59 UTC");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
