//! The command line, sockd(8).

use clap::{Parser, ValueEnum};
use sockd_policy::IdentMode;
use std::net::SocketAddr;
use std::path::PathBuf;

/// SOCKS proxy server for firewall hosts.
#[derive(Parser, Clone, Debug)]
#[command(name = "sockd", version, disable_help_subcommand = true)]
#[command(after_help = "`sockd -ver` is the classic form of --ver. sockd(8) has the rest.")]
pub struct Options {
    /// Ask identd on the client host; refuse a user whom it denies
    #[arg(short = 'i', conflicts_with = "strict")]
    pub lenient: bool,
    /// Ask identd on the client host; refuse a user whom it does not confirm
    #[arg(short = 'I')]
    pub strict: bool,
    /// Say what this program is, and test its sandbox; the exit status is 0 for the full sandbox, else 3
    #[arg(long = "ver", conflicts_with_all = ["lenient", "strict"])]
    pub ver: bool,
    /// With -ver: print one JSON object, for other programs
    #[arg(long, requires = "ver")]
    pub json: bool,
    /// File of rules
    #[arg(long, value_name = "FILE", default_value = "/etc/sockd.conf")]
    pub conf: PathBuf,
    /// File of routes; the default file may be missing
    #[arg(long, value_name = "FILE", default_value = "/etc/sockd.route")]
    pub route: PathBuf,
    /// File of upstream lines [default: that of the settings, else /etc/socks.conf, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub upstream: Option<PathBuf>,
    /// File of settings; the default file may be missing
    #[arg(long, value_name = "FILE", default_value = "/etc/sockd.ron")]
    pub settings: PathBuf,
    /// Listen here; may be given several times [default: the port of socks in /etc/services, else 1080]
    #[arg(long, value_name = "ADDR:PORT", value_parser = place)]
    pub listen: Vec<SocketAddr>,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Where the log goes
    #[arg(long, value_name = "WHERE", default_value = "syslog")]
    pub log: LogTo,
    /// Go into the background when the server is ready
    #[arg(long)]
    pub daemon: bool,
    /// Read all files and say what would run; the exit status is 0, or 78 if a file has errors
    #[arg(long)]
    pub check: bool,
    /// Make the running daemon be what is on disk: the files, and the program. No connection is lost
    #[arg(long, conflicts_with_all = ["check", "daemon", "trial", "takeover"])]
    pub reload: bool,
    /// With --reload: start the program anew although it is the one that runs
    #[arg(long, requires = "reload")]
    pub force: bool,
    /// Start in the place of the running daemon: take its sockets over, and let it drain
    #[arg(long, conflicts_with_all = ["check", "trial"])]
    pub takeover: bool,
    /// Folder of the daemon's own sockets [default: $RUNTIME_DIRECTORY, else /run/sockd]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Serve programs on this host, without any file; ends with its terminal
    #[arg(long, conflicts_with_all = ["check", "daemon"])]
    pub trial: bool,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogTo {
    /// The datagram socket /dev/log, facility daemon.
    Syslog,
    /// The journal's own socket: entries with fields for what a line tells.
    Journal,
    /// Standard error, a line each.
    Stderr,
}

fn place(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an address and a port, such as 192.0.2.1:1080 or [2001:db8::1]:1080")
}

impl Options {
    /// Reads the command line. No option parser has a form for the classic spelling `-ver`. Paths become absolute, so
    /// they stay right when the daemon leaves its folder.
    pub fn from_command_line() -> Self {
        let words = std::env::args_os().map(|word| match word.to_str() {
            Some("-ver") => "--ver".into(),
            _ => word,
        });
        let given = Self::parse_from(words);
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self {
            conf: absolute(given.conf),
            route: absolute(given.route),
            upstream: given.upstream.map(absolute),
            settings: absolute(given.settings),
            pid_file: given.pid_file.map(absolute),
            runtime_dir: given.runtime_dir.map(absolute),
            log: if given.trial { LogTo::Stderr } else { given.log },
            ..given
        }
    }

    /// Whether identd is asked, unless a line says otherwise.
    pub fn ident_default(&self) -> IdentMode {
        match (self.strict, self.lenient) {
            (true, _) => IdentMode::Strict,
            (_, true) => IdentMode::Lenient,
            _ => IdentMode::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_place_to_listen_is_an_address_and_a_port() {
        for word in ["1080", "localhost:1080", "2001:db8::1", "192.0.2.1"] {
            let error = Options::try_parse_from(["sockd", "--listen", word]).unwrap_err().to_string();
            assert!(error.contains("expected an address and a port, such as 192.0.2.1:1080"), "{error}");
        }
        let options = Options::parse_from(["sockd", "--listen", "[::1]:0"]);
        assert_eq!(options.listen, ["[::1]:0".parse().unwrap()]);
    }

    #[test]
    fn strict_and_lenient_exclude_each_other_and_ver() {
        for words in [["sockd", "-i", "-I"], ["sockd", "--ver", "-I"], ["sockd", "--ver", "-i"]] {
            assert!(Options::try_parse_from(words).is_err(), "{words:?}");
        }
        assert_eq!(Options::parse_from(["sockd", "-I"]).ident_default(), IdentMode::Strict);
    }
}
