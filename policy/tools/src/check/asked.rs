//! The request that the program is asked about.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;

use sockd_policy::{Command, HostName, Services, UserId, Version, canonical};

use crate::cli::Check;

/// One request.
pub(super) struct Asked {
    pub(super) user: UserId,
    user_shown: String,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    pub(super) command: Command,
    pub(super) version: Version,
    /// The groups of the user, with commas between them, if a password has shown who the user is.
    pub(super) groups: Option<String>,
    pub(super) source_names: Vec<HostName>,
    pub(super) destination_names: Vec<HostName>,
}

impl Asked {
    /// The request that the options have, if they have one.
    pub(super) fn from_options(options: &Check, services: &Services) -> Result<Option<Asked>, String> {
        let (Some(user), Some(source), Some(destination), Some(port)) =
            (&options.user, &options.source, &options.destination, &options.port)
        else {
            // Without a request there must be something else to do.
            let idle = options.batch.is_none() && !options.lint;
            return if idle {
                Err("expected user, src_addr, dst_addr and service or port".into())
            } else {
                Ok(None)
            };
        };
        let mut asked = Asked::of(user.as_bytes(), source, destination, port, services)?;
        if options.bind {
            asked.command = Command::Bind;
        }
        if options.socks5 {
            asked.version = Version::Socks5;
        }
        if options.password {
            asked.show_password(&options.groups);
        }
        asked.source_names.extend(names(&options.source_names)?);
        asked.destination_names.extend(names(&options.destination_names)?);
        Ok(Some(asked))
    }

    /// Reads a request from words.
    pub(super) fn of(
        user: &[u8],
        source: &str,
        destination: &str,
        port: &str,
        services: &Services,
    ) -> Result<Asked, String> {
        let known = services
            .port_of(port)
            .or_else(|| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten());
        let port = known.ok_or_else(|| format!("Unknown service or illegal port number '{port}'"))?;
        let (source, source_names) = host(source)?;
        let (destination, destination_names) = host(destination)?;
        let user_shown = String::from_utf8_lossy(user).escape_debug().to_string();
        let user = UserId::parse(user).map_err(|error| error.to_string())?;
        // The classic program was asked about these.
        let (command, version) = (Command::Connect, Version::Socks4);
        Ok(Asked {
            user,
            user_shown,
            source,
            destination,
            port,
            command,
            version,
            groups: None,
            source_names,
            destination_names,
        })
    }

    /// A password shows who the user is. SOCKS5 alone has one.
    fn show_password(&mut self, groups: &str) {
        (self.version, self.groups) = (Version::Socks5, Some(groups.to_owned()));
    }

    /// Reads the words that make a request other than a CONNECT by SOCKS4.
    pub(super) fn besides(mut self, words: &[&str]) -> Result<Asked, String> {
        for word in words {
            match *word {
                "connect" => self.command = Command::Connect,
                "bind" => self.command = Command::Bind,
                "udp" => self.command = Command::Udp,
                "socks4" => self.version = Version::Socks4,
                "socks5" => self.version = Version::Socks5,
                "password" => self.show_password(""),
                _ => match word.strip_prefix("password=") {
                    Some(groups) => self.show_password(groups),
                    None => {
                        return Err(format!(
                            "expected connect, bind, udp, socks4, socks5 or password, found '{word}'"
                        ));
                    }
                },
            }
        }
        Ok(self)
    }
}

fn names(given: &[String]) -> Result<Vec<HostName>, String> {
    let name = |name: &String| HostName::parse(name.as_bytes()).map_err(|error| format!("'{name}': {error}"));
    given.iter().map(name).collect()
}

/// Reads a host: an address, or a name, which is looked up and then is the name of the host.
fn host(text: &str) -> Result<(IpAddr, Vec<HostName>), String> {
    if let Ok(address) = text.parse() {
        return Ok((canonical(address), Vec::new()));
    }
    let unknown = || format!("Unknown host '{text}'");
    let name = HostName::parse(text.as_bytes()).map_err(|_| unknown())?;
    let found: Vec<_> = (text, 0).to_socket_addrs().map_err(|_| unknown())?.map(|found| found.ip()).collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.map(|address| (*address, vec![name])).ok_or_else(unknown)
}

/// The request in the words of the classic program.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { user_shown, source, destination, port, .. } = self;
        write!(f, "USER:{user_shown},  SRC:{source},  DST:{destination}, PORT:{port}")
    }
}
