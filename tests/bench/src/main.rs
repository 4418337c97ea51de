//! Measures sockd beside an ideal proxy, no proxy and other proxies; `tests/bench/run` builds and starts it.
//!
//! Everything runs on the loopback interface of a network namespace of its own, which has its own `/etc`, `/run` and
//! `/dev/log`. One measure after the other is taken of one proxy after the other, each freshly started; that is a
//! round. [`measures`] lists the measures and their goals, and [`take`] takes them. [`load`] has the clients,
//! [`origin`] the servers, [`ideal`] the proxy that marks the ceiling, and [`front`] makes it keep client hosts apart.
//! [`proxies`] starts the others, and [`table`] prints the result.

mod count;
mod datagram_echo;
mod dial;
mod front;
mod ideal;
mod ideal_datagrams;
mod journald;
mod load;
mod measures;
mod message;
mod net;
mod numbers;
mod origin;
mod procs;
mod proxies;
mod request;
mod rounds;
mod sys;
mod syslog;
mod table;
mod take;

use clap::{Args, Parser, Subcommand};
use ideal::{Input, Moves};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::path::PathBuf;

/// Measures sockd beside an ideal proxy, no proxy and other proxies, and prints a Markdown table.
#[derive(Parser, Debug)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    wanted: Wanted,
}

/// What else this program is started as.
#[derive(Subcommand, Debug)]
enum Part {
    /// A process of the servers
    #[command(hide = true)]
    Origin { part: u8, parts: u8 },
    /// A process of the ideal proxy, at the listening socket or the channel on standard input
    #[command(hide = true)]
    Ideal { moves: Moves, input: Input },
    /// The ideal proxy for datagrams, at the listening socket on standard input
    #[command(hide = true)]
    IdealDatagrams,
    /// The front of the ideal proxy that keeps client hosts apart, at the listening socket on standard input
    #[command(hide = true)]
    Front { moves: Moves },
}

/// What is to be measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Wanted {
    /// Only measures whose names begin so: bulk, bulk-up-8, small, rtt, cps, cps-4a, p99, idle,
    /// loris, logins, guessing, udp, watch, start, churn, reload, growth; and count and journald, which are taken only when they are asked for
    measures: Vec<String>,
    /// Take half an hour instead of a few minutes: three rounds, longer, and with more connections
    #[arg(long)]
    full: bool,
    /// Only these: direct, ideal-adaptive, ideal-splice, ideal-apart, danted, hpsockd, microsocks, sockd
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Another build of sockd beside this one; sockd-worker lies in the same folder
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    sockd: Vec<(String, PathBuf)>,
    /// Rounds [default: 1, with --full 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement [default: 0.5, with --full 2.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Print the names of the measures
    #[arg(long)]
    list: bool,
}

fn named_path(word: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = word.split_once('=').ok_or("expected NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

/// LimitNOFILE of sockd.service.
const DESCRIPTORS: u64 = 524_288;

fn main() {
    let line = Line::parse();
    // As far as possible: thousands of relays have an end here, one in the servers and two in the proxy. Exceeding the
    // hard limit takes CAP_SYS_RESOURCE.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS);
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let outcome = match line.part {
        Some(part) => set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into).and_then(
            |()| match part {
                Part::Origin { part, parts } => origin::run(part, parts),
                Part::Ideal { moves, input } => ideal::run(moves, input),
                Part::IdealDatagrams => ideal_datagrams::run(),
                Part::Front { moves } => front::run(moves),
            },
        ),
        None => rounds::run(&line.wanted),
    };
    if let Err(error) = outcome {
        eprintln!("sockd-bench: {error}");
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_well_formed() {
        Line::command().debug_assert();
    }

    #[test]
    fn measures_proxies_and_builds_are_chosen_by_name() {
        let words = ["sockd-bench", "cps", "rtt", "--proxies", "sockd,direct", "--sockd", "old=/a/sockd"];
        let wanted = Line::parse_from(words).wanted;
        assert_eq!(wanted.measures, ["cps", "rtt"]);
        assert_eq!(wanted.proxies, ["sockd", "direct"]);
        assert_eq!(wanted.sockd, [("old".into(), "/a/sockd".into())]);
        assert!(Line::try_parse_from(["sockd-bench", "--sockd", "/a/sockd"]).is_err());
    }

    #[test]
    fn parts_of_the_program_are_started_by_word() {
        let line = Line::parse_from(["sockd-bench", "ideal", "adaptive", "channel"]);
        assert!(matches!(line.part, Some(Part::Ideal { moves: Moves::Adaptive, input: Input::Channel })));
        let line = Line::parse_from(["sockd-bench", "origin", "1", "2"]);
        assert!(matches!(line.part, Some(Part::Origin { part: 1, parts: 2 })));
    }
}
