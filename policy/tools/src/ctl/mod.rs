//! `sockdctl`: shows who is connected through a running sockd, and ends sessions.
//!
//! A look asks the monitor for its ledger once, and then reads memory; bytes and idle times come from the kernel. The
//! monitor is told nothing but orders.

pub mod control;
mod diag;
mod live;
mod orders;
mod report;
mod show;
mod terminal;
mod would;

use crate::cli::{self, Ctl, CtlCommand, exit};
use crate::files::Policy;
use crate::metrics;
use crate::which::Which;
use live::{Live, Tree, count, sessions, status_of, trees};
use rustix::termios::{isatty, tcgetwinsize};
use sockd_common::ledger::Entry;
use sockd_common::status::Order;
use sockd_policy::RuleSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use terminal::Keys;
use would::Outcome;

const PROGRAM: &str = "sockdctl";

/// No session is meant, or the monitor does not take the order.
const NOTHING: u8 = 1;

/// The folder of the unit's sockets.
const FOLDER: &str = "/run/sockd";

/// The time between two looks of `list --watch`.
const LOOK: Duration = Duration::from_secs(2);

/// The outcome of a command: the text to write, or the exit status with the reason.
type Said = Result<String, (u8, String)>;

/// Runs the program.
pub fn main() -> ExitCode {
    let status = match cli::parse::<Ctl>(PROGRAM, exit::USAGE) {
        Ok(options) => run(&options),
        Err(status) => status,
    };
    ExitCode::from(status)
}

fn run(options: &Ctl) -> u8 {
    let said = said(options).and_then(|text| match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((exit::IO, error.to_string())),
        _ => Ok(()),
    });
    match said {
        Ok(()) => 0,
        Err((status, why)) => {
            eprintln!("{PROGRAM}: {why}");
            status
        }
    }
}

fn said(options: &Ctl) -> Said {
    let default = [PathBuf::from(FOLDER)];
    let folders = if options.folder.is_empty() { &default[..] } else { &options.folder };
    let trees = || trees(folders);
    match &options.command {
        CtlCommand::List { which, watch: true, .. } => watch(folders, which),
        CtlCommand::List { which, json, .. } => Ok(list(&trees()?, which, *json)),
        CtlCommand::Show { id, json } => one(&trees()?, *id, *json),
        CtlCommand::Kill { id, process, which } => kill(&of_process(trees()?, *process)?, *id, which),
        CtlCommand::Stats { json } => Ok(stats(&trees()?, *json)),
        CtlCommand::Metrics => folders.iter().take(1).map(|folder| metrics(folder)).collect(),
        CtlCommand::Workers => Ok(report::workers(&sessions(&trees()?).0)),
        CtlCommand::Rules { conf, services } => Ok(report::rules(&trees()?, conf, services)),
        CtlCommand::Would { rules, services } => would(&trees()?, rules, services),
        CtlCommand::Drain => order(&trees()?, Order::Drain, "no new clients are served\n"),
        CtlCommand::Resume => order(&trees()?, Order::Resume, "new clients are served again\n"),
    }
}

/// The counters, as `sockd-exporter` shows them.
fn metrics(folder: &Path) -> Said {
    let socket = folder.join("status");
    let counters = metrics::read(&socket);
    let counters = counters.map_err(|error| (status_of(&error), format!("{}: {error}", socket.display())))?;
    Ok(metrics::page(Some(&counters)))
}

/// The sessions that are meant, with the kernel's counts if it can be asked.
fn meant(trees: &[Tree], means: impl Fn(&Entry<'_>) -> bool) -> (Vec<Live>, u64) {
    let (mut all, unseen) = sessions(trees);
    all.retain(|live| live.entry().is_some_and(|entry| means(&entry)));
    let _ = count(&mut all);
    (all, unseen)
}

fn list(trees: &[Tree], which: &Which, json: bool) -> String {
    let (all, unseen) = meant(trees, |entry| which.means(entry));
    if json {
        return all.iter().map(|live| show::json(live) + "\n").collect();
    }
    let lines = show::table(&all.iter().collect::<Vec<_>>(), size().map(|(width, _)| width));
    if unseen == 0 { lines } else { format!("{lines}{unseen} more cannot be shown\n") }
}

fn stats(trees: &[Tree], json: bool) -> String {
    let (mut all, _) = sessions(trees);
    let _ = count(&mut all);
    report::stats(trees, &all, json)
}

/// Columns and lines of the terminal, if there is one.
fn size() -> Option<(usize, usize)> {
    let size = Some(io::stdout()).filter(|out| isatty(out)).and_then(|out| tcgetwinsize(out).ok())?;
    Some((usize::from(size.ws_col.max(40)), usize::from(size.ws_row.max(4))))
}

/// Looks again and again, until `q` is pressed or the program is ended. Each look reads the same memory, as long as its
/// monitor is there.
fn watch(folders: &[PathBuf], which: &Which) -> Said {
    let mut seen = trees(folders)?;
    let keys = Keys::begin();
    loop {
        let (all, _) = meant(&seen, |entry| which.means(entry));
        let (width, height) = size().unwrap_or((80, usize::MAX));
        let table = show::table(&all.iter().collect::<Vec<_>>(), Some(width));
        let lines: String = table.split_inclusive('\n').take(height.saturating_sub(2)).collect();
        let clear = if isatty(io::stdout()) { "\x1b[H\x1b[2J" } else { "" };
        let text = format!("{clear}{} sessions\n{lines}", all.len());
        let mut out = io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(String::new());
        }
        if keys.quit_within(LOOK) {
            return Ok(String::new());
        }
        if !seen.iter().all(Tree::is_there) {
            seen = trees(folders)?;
        }
    }
}

fn one(trees: &[Tree], id: u64, json: bool) -> Said {
    let (all, _) = meant(trees, |entry| entry.number == id);
    let text = |live| if json { show::json(live) + "\n" } else { show::detail(live) };
    match all.first() {
        Some(_) => Ok(all.iter().map(text).collect()),
        None => Err((NOTHING, format!("no session {id}"))),
    }
}

/// Those of one process alone, where one is named.
fn of_process(mut trees: Vec<Tree>, process: Option<u64>) -> Result<Vec<Tree>, (u8, String)> {
    trees.retain(|tree| process.is_none_or(|process| tree.process() == process));
    match (trees.is_empty(), process) {
        (true, Some(process)) => {
            Err((NOTHING, format!("process {process} is no sockd with a status socket")))
        }
        _ => Ok(trees),
    }
}

fn kill(trees: &[Tree], id: Option<u64>, which: &Which) -> Said {
    let same = |entry: &Entry<'_>| id.is_none_or(|id| entry.number == id) && which.means(entry);
    if let Some(id) = id.filter(|_| trees.len() > 1) {
        // Each daemon counts its sessions by itself.
        let of_number = |live| described(live, trees, same);
        let found: Vec<String> = sessions(trees).0.iter().filter_map(of_number).collect();
        if found.len() > 1 {
            let found = found.join("\n");
            return Err((NOTHING, format!("more than one daemon has a session {id}; say which:\n{found}")));
        }
    }
    match orders::kill(trees, same).map_err(|why| (NOTHING, why))? {
        0 => Err((NOTHING, "no such session".into())),
        1 => Ok("1 session is ended\n".into()),
        ended => Ok(format!("{ended} sessions are ended\n")),
    }
}

/// Whose session it is and which daemon has it, where it is meant and goes on.
fn described(live: &Live, trees: &[Tree], is_meant: impl Fn(&Entry<'_>) -> bool) -> Option<String> {
    let (entry, tree) = (live.going_on().filter(is_meant)?, trees.get(live.tree)?);
    let does = if tree.serves() { "serves" } else { "drains" };
    Some(format!("--process {}, which {does}, {}", tree.process(), show::whose(&entry)))
}

fn order(trees: &[Tree], order: Order, done: &str) -> Said {
    orders::all(trees, order).map_err(|why| (NOTHING, why))?;
    Ok(done.into())
}

/// The rules that a daemon would read, and the file that they are in.
fn rules(conf: &Path, services: &Path) -> Result<(RuleSet, PathBuf), (u8, String)> {
    match Policy::in_force(conf, services) {
        (file, Ok(Policy::Rules(rules))) => Ok((rules, file)),
        (file, Ok(_)) => Err((exit::DATA, format!("{}: no rules", file.display()))),
        (file, Err(fault)) => Err((exit::DATA, fault.messages(&file).join("\n"))),
    }
}

/// Lists the sessions that other rules would refuse.
fn would(trees: &[Tree], conf: &Path, services: &Path) -> Said {
    let (rules, file) = rules(conf, services)?;
    let (all, unseen) = sessions(trees);
    let (mut text, mut ends, mut unknown, mut judged) = (String::new(), 0_u64, unseen, unseen);
    if file != conf {
        text = format!("the rules are those of {}, which goes before the text\n", file.display());
    }
    for live in &all {
        let (Some(outcome), Some(entry)) = (would::outcome(live, trees, &rules), live.entry()) else {
            continue;
        };
        judged = judged.saturating_add(1);
        let (verb, why) = match outcome {
            Outcome::Stays => continue,
            Outcome::Ends(why) => {
                ends = ends.saturating_add(1);
                ("ends", why)
            }
            Outcome::Unknown(why) => {
                unknown = unknown.saturating_add(1);
                ("may end", why.into())
            }
        };
        text.push_str(&format!("{} {verb}: {}: {why}\n", entry.number, show::whose(&entry)));
    }
    Ok(format!("{text}{ends} of {judged} sessions would end, and of {unknown} it cannot be said\n"))
}
