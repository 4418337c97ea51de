//! `make_sockdfc` and `make_sockdfr` freeze a text.

use sockd_policy::in_words;
use std::process::ExitCode;

use crate::cli::{self, Make, exit};
use crate::files::{Fault, Kind, Policy, WriteFault, or_default, replace};

/// Runs the program. If the text has errors, all of them are shown and nothing is written.
pub fn main(program: &str, kind: Kind) -> ExitCode {
    let status = cli::parse::<Make>(program, exit::USAGE).and_then(|options| freeze(program, kind, &options));
    ExitCode::from(status.err().unwrap_or(0))
}

fn freeze(program: &str, kind: Kind, options: &Make) -> Result<(), u8> {
    let infile = or_default(&options.infile, kind.text());
    let outfile = or_default(&options.outfile, kind.frozen());
    let same = |a: &std::path::PathBuf| a.canonicalize().ok();
    if same(&infile).is_some() && same(&infile) == same(&outfile) {
        eprintln!("{program}: {}: expected another file than the text itself", outfile.display());
        return Err(exit::USAGE);
    }
    let (policy, from) = Policy::from_text(kind, &infile, &options.services).map_err(|fault| {
        for message in fault.messages(&infile) {
            eprintln!("{program}: {message}");
        }
        if matches!(fault, Fault::Unreadable(_)) { exit::NO_INPUT } else { exit::DATA }
    })?;
    replace(&outfile, &policy.freeze(&from), &infile).map_err(|fault| {
        let (error, status) = match fault {
            WriteFault::Create(error) => (error, exit::CANNOT_CREATE),
            WriteFault::Write(error) => (error, exit::IO),
        };
        eprintln!("{program}: Cannot write {}: {}", outfile.display(), in_words(error));
        status
    })
}
