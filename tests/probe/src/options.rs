//! The command line.

use clap::Parser;
use std::path::PathBuf;

/// The words of `--role`.
pub(crate) const ROLES: [&str; 5] = ["session", "ident", "resolver", "upstream", "datagram"];

/// The words of `--layer`.
const LAYERS: [&str; 6] = ["user", "namespaces", "landlock", "unfiltered", "filter", "full"];

/// Try on this host what the sandbox of sockd's workers forbids.
#[derive(Parser, Debug)]
#[command(name = "sockd-probe", version, arg_required_else_help = true)]
pub(crate) struct Options {
    /// Every role and every layer; needs root
    #[arg(long, conflicts_with_all = ["role", "layer"])]
    pub(crate) all: bool,
    /// Only workers of this role; may be given several times
    #[arg(long, value_name = "ROLE", value_parser = ROLES)]
    pub(crate) role: Vec<String>,
    /// Only this layer; may be given several times
    #[arg(long, value_name = "LAYER", value_parser = LAYERS)]
    pub(crate) layer: Vec<String>,
    /// Print what became of every act, not only the sums
    #[arg(long)]
    pub(crate) acts: bool,
    /// Print lines of fields separated by tabs, for programs
    #[arg(long)]
    pub(crate) tsv: bool,
    /// Print the acts and try none
    #[arg(long)]
    pub(crate) list: bool,
    /// The daemon to start
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/sockd")]
    pub(crate) sockd: PathBuf,
    /// Where that daemon has its worker
    #[arg(long, value_name = "FILE", default_value = "/usr/libexec/sockd/sockd-worker")]
    pub(crate) worker: PathBuf,
}
