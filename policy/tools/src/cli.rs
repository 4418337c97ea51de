//! The options of all programs, in one place, so that man pages and completions are made from the same words.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::which::Which;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// sysexits(3).
pub mod exit {
    /// Wrong options.
    pub const USAGE: u8 = 64;
    /// A file with errors in it.
    pub const DATA: u8 = 65;
    /// A file that cannot be read.
    pub const NO_INPUT: u8 = 66;
    /// A file that cannot be made.
    pub const CANNOT_CREATE: u8 = 73;
    /// A file that cannot be written.
    pub const IO: u8 = 74;
}

/// Options of `make_sockdfc` and `make_sockdfr`.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Make {
    /// The text to freeze [default: the classic place in /etc]
    pub infile: Option<PathBuf>,
    /// The frozen file to write [default: the classic place in /etc]
    pub outfile: Option<PathBuf>,
    /// The file of service names, as services(5)
    #[arg(long, value_name = "FILE", default_value = "/etc/services")]
    pub services: PathBuf,
}

/// Options of `dump_sockdfc` and `dump_sockdfr`.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Dump {
    /// The frozen file to list [default: the classic place in /etc]
    pub infile: Option<PathBuf>,
}

/// Options of `test_sockd_conf`.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "test_sockd_conf", about = "Say what sockd would decide on a request")]
pub struct Check {
    /// What identd is taken to say
    #[command(flatten)]
    pub ident: Ident,
    /// File of routes [default: /etc/sockd.route if there is one and -C is not given]
    #[arg(short = 'R', value_name = "ROUTE")]
    pub route: Option<PathBuf>,
    /// File of rules [default: /etc/sockd.conf]
    #[arg(short = 'C', value_name = "CONF")]
    pub conf: Option<PathBuf>,
    /// File of upstream lines [default: /etc/socks.conf if there is one and -C is not given]
    #[arg(short = 'U', long = "upstream", value_name = "FILE")]
    pub upstream: Option<PathBuf>,
    /// Read frozen files [default: /etc/sockd.fc, /etc/sockd.fr and /etc/socks.fc]
    #[arg(short = 'F')]
    pub frozen: bool,
    /// Explain each line that nearly matches, and what would be asked and run
    #[arg(long)]
    pub explain: bool,
    /// Warn about lines that never match, open networks inside, or trust names
    #[arg(long)]
    pub lint: bool,
    /// Read requests, a line each, and write a verdict for each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["explain", "user"])]
    pub batch: Option<PathBuf>,
    /// The request is a BIND instead of a CONNECT
    #[arg(long)]
    pub bind: bool,
    /// The client speaks SOCKS5 instead of SOCKS4
    #[arg(long)]
    pub socks5: bool,
    /// A password has shown that the client is the user; it speaks SOCKS5
    #[arg(long)]
    pub password: bool,
    /// The groups of that user, with commas between them
    #[arg(long, value_name = "GROUPS", requires = "password", default_value = "", hide_default_value = true)]
    pub groups: String,
    /// A name that the client host has; may be repeated
    #[arg(long = "src-name", value_name = "NAME")]
    pub source_names: Vec<String>,
    /// A name that the destination has; may be repeated
    #[arg(long = "dst-name", value_name = "NAME")]
    pub destination_names: Vec<String>,
    /// The file of service names, as services(5)
    #[arg(long, value_name = "FILE", default_value = "/etc/services")]
    pub services: PathBuf,
    /// The user name that the client claims
    #[arg(requires_all = ["source", "destination", "port"])]
    pub user: Option<OsString>,
    /// The client host, by address or name
    pub source: Option<String>,
    /// The destination, by address or name
    pub destination: Option<String>,
    /// The destination port or its service
    pub port: Option<String>,
}

/// Options of `sockd-migrate`.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "sockd-migrate", about = "Translate a configuration of Dante")]
pub struct Migrate {
    /// The file of Dante's server
    #[arg(value_name = "FILE", default_value = "/etc/danted.conf")]
    pub infile: PathBuf,
    /// Write the files into this folder, and not to standard output
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Options of `sockd-exporter`.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "sockd-exporter", about = "Show the counters of sockd to Prometheus")]
pub struct Exporter {
    /// The socket of the daemon that hands out its counters
    #[arg(long, value_name = "SOCKET", default_value = "/run/sockd/counters")]
    pub socket: PathBuf,
    /// Where to listen, unless a service manager has opened a socket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9908")]
    pub listen: SocketAddr,
    /// Print the page, and end
    #[arg(long, conflicts_with = "listen")]
    pub print: bool,
}

/// What identd is taken to say.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub struct Ident {
    /// As with sockd -I, and identd does not answer
    #[arg(short = 'I')]
    pub strict: bool,
    /// As with sockd -i, and identd does not answer
    #[arg(short = 'i')]
    pub lenient: bool,
    /// identd is asked and names another user
    #[arg(short = 'B')]
    pub bad: bool,
}

/// Options of `sockd-passwd`.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "sockd-passwd", about = "Keep the users of sockd")]
pub struct Passwd {
    /// The file of users
    #[arg(short, long, value_name = "FILE", default_value = "/etc/sockd.passwd", global = true)]
    pub file: PathBuf,
    /// The kind of hash of a new password [default: yescrypt]
    #[arg(long, value_enum, value_name = "KIND", global = true)]
    pub hash: Option<Kind>,
    /// What a check of it costs: yescrypt 1 to 8, sha512crypt rounds, bcrypt 4 to 14, argon2id MiB
    #[arg(long, value_name = "N", global = true)]
    pub cost: Option<u32>,
    /// Groups of a new user, with commas between them
    #[arg(long, value_name = "GROUPS", global = true)]
    pub groups: Option<String>,
    /// Read the password from this descriptor and not from the terminal
    #[arg(long, value_name = "N", global = true)]
    pub password_fd: Option<u32>,
    /// What to do
    #[command(subcommand)]
    pub command: PasswdCommand,
}

/// What `sockd-passwd` does.
#[derive(Debug, Clone, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum PasswdCommand {
    /// Add a user
    Add {
        /// The user
        user: String,
    },
    /// Change the password of a user
    Change {
        /// The user
        user: String,
    },
    /// Remove a user
    Remove {
        /// The user
        user: String,
    },
    /// List users, kinds of hashes and groups
    List,
    /// Say by the exit status whether a password is the user's
    Verify {
        /// The user
        user: String,
    },
    /// Show the groups of a user, or set them
    Groups {
        /// The user
        user: String,
        /// Groups, with commas between them; an empty text for none
        names: Option<String>,
    },
}

/// A kind of hash that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Debian's default
    Yescrypt,
    /// As glibc has it
    Sha512crypt,
    /// As htpasswd -B has it
    Bcrypt,
    /// The winner of the password hashing competition
    Argon2id,
}

/// Options of `sockdctl`.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "sockdctl", about = "Look at the sessions of sockd, and end them")]
pub struct Ctl {
    /// A folder with the sockets of a sockd; may be repeated [default: /run/sockd]
    #[arg(short, long, value_name = "FOLDER", global = true)]
    pub folder: Vec<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What `sockdctl` does.
#[derive(Debug, Clone, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum CtlCommand {
    /// List the sessions
    List {
        /// Those that are meant
        #[command(flatten)]
        which: Which,
        /// Write a JSON object for each
        #[arg(long, conflicts_with = "watch")]
        json: bool,
        /// Look again every two seconds, until q is pressed
        #[arg(long)]
        watch: bool,
    },
    /// Show all that is known of one session
    Show {
        /// The session
        id: u64,
        /// Write a JSON object
        #[arg(long)]
        json: bool,
    },
    /// End sessions
    #[command(group = clap::ArgGroup::new("meant").args(["id", "host", "user", "to", "rule"]).required(true).multiple(true))]
    Kill {
        /// The session
        id: Option<u64>,
        /// Only those of the server that is this process
        #[arg(long, value_name = "PID")]
        process: Option<u64>,
        /// Those that are meant
        #[command(flatten)]
        which: Which,
    },
    /// Count the sessions by phase
    Stats {
        /// Write a JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the workers that have sessions
    Workers,
    /// Print the counters as OpenMetrics text
    Metrics,
    /// List the lines of the rules with their hits
    Rules {
        /// The file of rules, for the text of its lines
        #[arg(long, value_name = "FILE", default_value = "/etc/sockd.conf")]
        conf: PathBuf,
        /// The file of service names, as services(5)
        #[arg(long, value_name = "FILE", default_value = "/etc/services")]
        services: PathBuf,
    },
    /// Say which sessions other rules would end
    Would {
        /// The file of those rules
        rules: PathBuf,
        /// The file of service names, as services(5)
        #[arg(long, value_name = "FILE", default_value = "/etc/services")]
        services: PathBuf,
    },
    /// Serve no new clients
    Drain,
    /// Serve new clients again
    Resume,
}

/// Every program's name and options.
pub fn commands() -> Vec<Command> {
    vec![
        Make::command().name("make_sockdfc").about("Freeze the rules of sockd"),
        Make::command().name("make_sockdfr").about("Freeze the routes of sockd"),
        Dump::command().name("dump_sockdfc").about("List frozen rules of sockd"),
        Dump::command().name("dump_sockdfr").about("List frozen routes of sockd"),
        Make::command().name("make_socksfc").about("Freeze the upstream lines of sockd"),
        Dump::command().name("dump_socksfc").about("List frozen upstream lines of sockd"),
        Check::command(),
        Migrate::command(),
        Passwd::command(),
        Ctl::command(),
        Exporter::command(),
    ]
}

/// The options given to a program; or the status to exit with, after help, version or complaint have been printed.
pub fn parse<T: FromArgMatches>(program: &str, usage_status: u8) -> Result<T, u8> {
    let command = commands().into_iter().find(|command| command.get_name() == program).unwrap_or_default();
    let options = command.try_get_matches().and_then(|matches| T::from_arg_matches(&matches));
    options.map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { usage_status } else { 0 }
    })
}
