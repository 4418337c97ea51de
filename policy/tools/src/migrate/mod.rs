//! `sockd-migrate`: a `danted.conf` as files of sockd.
//!
//! The files grant nothing that Dante would refuse. Anything that no line can say is left out of the permits, refused
//! if it might matter, and named with its line and the reason.

mod bind;
mod hosts;
mod join;
mod remark;
mod rule;
mod said;
mod settings;
mod text;
mod write;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use sockd_policy::in_words;

use crate::cli::{self, Migrate, exit};
use crate::files::{WriteFault, replace};

use join::Rules;
use remark::{Remark, Remarks};
use rule::Rule;
use settings::Settings;
use text::{Block, Misread, Text};

const PROGRAM: &str = "sockd-migrate";
/// Something could not be translated.
const INCOMPLETE: u8 = 1;

/// The files, and remarks on what is not in them.
struct Translation {
    /// Names below /etc, and texts.
    files: Vec<(&'static str, String)>,
    remarks: Vec<Remark>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let status = cli::parse::<Migrate>(PROGRAM, exit::USAGE).and_then(|options| run(&options));
    ExitCode::from(status.unwrap_or_else(|status| status))
}

fn run(options: &Migrate) -> Result<u8, u8> {
    let path = options.infile.display();
    let bytes = fs::read(&options.infile).map_err(|error| {
        eprintln!("{PROGRAM}: Cannot open {path}: {}", in_words(error));
        exit::NO_INPUT
    })?;
    let translation = translate(&String::from_utf8_lossy(&bytes), &path.to_string()).map_err(|misread| {
        eprintln!("{PROGRAM}: {path}: line {}: expected {}", misread.line, misread.expected);
        exit::DATA
    })?;
    match &options.out {
        Some(folder) => write_files(&translation, folder, &options.infile)?,
        None => translation.files.iter().for_each(|(name, text)| println!("==> /etc/{name} <==\n{text}")),
    }
    for Remark { line, is_loss, text } in &translation.remarks {
        let (kind, place) = (
            if *is_loss { "" } else { "note: " },
            if *line == 0 { String::new() } else { format!("line {line}: ") },
        );
        eprintln!("{PROGRAM}: {path}: {place}{kind}{text}");
    }
    let is_whole = translation.remarks.iter().all(|remark| !remark.is_loss);
    Ok(if is_whole { 0 } else { INCOMPLETE })
}

/// Writes the files into a folder, by the last part of their names.
fn write_files(translation: &Translation, folder: &Path, infile: &Path) -> Result<(), u8> {
    for (name, text) in &translation.files {
        let place = folder.join(name.replace('/', "-"));
        replace(&place, text.as_bytes(), infile).map_err(|fault| {
            let (error, status) = match fault {
                WriteFault::Create(error) => (error, exit::CANNOT_CREATE),
                WriteFault::Write(error) => (error, exit::IO),
            };
            eprintln!("{PROGRAM}: Cannot write {}: {}", place.display(), in_words(error));
            status
        })?;
    }
    Ok(())
}

/// Translates a file. The new files say that they were made from `name`.
fn translate(text: &str, name: &str) -> Result<Translation, Misread> {
    let text = text::read(text)?;
    let mut remarks = Remarks::default();
    let settings = Settings::read(&text.settings, &mut remarks);
    let is_closed = settings.is_closed | has_other_blocks(&text, &mut remarks);
    let (client, socks) =
        (rules(&text, |block| is_of(block, "client")), rules(&text, |block| is_of(block, "socks")));
    if client.is_empty() || socks.is_empty() {
        remarks.note(0, "without a client rule and a socks rule Dante permits nothing");
    }
    let rules = Rules {
        client: &client,
        socks: &socks,
        methods: &settings.methods,
        reachable: settings.reachable.clone(),
        internal: &settings.internal,
        external: settings.external_hosts(),
        asks_answers: settings.asks_answers,
    };
    let mut lines = rules.lines(&mut remarks);
    if is_closed {
        lines.clear();
    }
    Ok(Translation { files: write::files(name, &lines, &settings), remarks: remarks.sorted() })
}

fn rules(text: &Text, belongs: impl Fn(&Block) -> bool) -> Vec<Rule> {
    text.blocks.iter().filter(|block| belongs(block)).map(Rule::read).collect()
}

/// Whether a block is a rule of this set. A rule without a word in front is a socks rule, as in files of old.
fn is_of(block: &Block, set: &str) -> bool {
    ["pass", "block"].contains(&block.kind.as_str()) && block.set.as_deref().unwrap_or("socks") == set
}

/// Remarks on blocks that are no such rules. Returns whether one of them may refuse clients.
fn has_other_blocks(text: &Text, remarks: &mut Remarks) -> bool {
    let mut refuses = false;
    for block in text.blocks.iter().filter(|block| !is_of(block, "client") && !is_of(block, "socks")) {
        let means = match block.kind.as_str() {
            "route" => "socks.conf(5) says through which servers destinations are reached; left out",
            "monitor" => "sockd raises no alarms; left out",
            _ => "sockd does not know such rules; nothing is permitted",
        };
        refuses |= !["route", "monitor"].contains(&block.kind.as_str());
        remarks.loss(block.line, format!("{}: {means}", block.set.as_deref().unwrap_or(&block.kind)));
    }
    refuses
}

#[cfg(test)]
mod tests;
