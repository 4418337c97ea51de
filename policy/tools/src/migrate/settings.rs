//! Dante's settings as those of `sockd.ron`, `sockd.route` and the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::hosts::{Hosts, Prefix, number};
use super::remark::Remarks;
use super::text::Setting;

/// The settings in sockd's words.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Names and values for `sockd.ron`, with the line of each.
    pub(super) values: Vec<(&'static str, String, usize)>,
    /// Options of the daemon.
    pub(super) options: Vec<String>,
    /// Lines of `sockd.route`.
    pub(super) routes: Vec<String>,
    /// The words of `internal`.
    pub(super) internal: Vec<String>,
    pub(super) methods: Vec<String>,
    /// The family that `external.protocol` leaves.
    pub(super) reachable: Option<Hosts>,
    /// Whether answers are asked for their methods.
    pub(super) asks_answers: bool,
    /// Whether every client is asked for more than the rules say.
    pub(super) is_closed: bool,
    listen: Vec<SocketAddr>,
    external: Vec<IpAddr>,
    /// Whether a word of `external` is no address.
    is_vague: bool,
    by_kernel: bool,
}

/// Keywords that sockd need not be told of.
const NEEDLESS: [&str; 8] = [
    "user.privileged",
    "user.unprivileged",
    "user.notprivileged",
    "user.libwrap",
    "clientmethod",
    "debug",
    "cpu.",
    "resolveprotocol",
];

impl Settings {
    pub(super) fn read(settings: &[Setting], remarks: &mut Remarks) -> Settings {
        let mut read = Settings::default();
        settings.iter().for_each(|setting| read.setting(setting, remarks));
        read.finish(remarks);
        read
    }

    fn setting(&mut self, setting: &Setting, remarks: &mut Remarks) {
        let Setting { line, keyword, words } = setting;
        match keyword.as_str() {
            "internal" => self.internal(*line, words, remarks),
            "external" => self.external(*line, words, remarks),
            "external.rotation" => self.rotation(*line, words, remarks),
            "external.protocol" => self.families(words),
            "socksmethod" | "method" => self.methods(*line, words, remarks),
            "timeout.negotiate" => self.seconds("request_limit", *line, words, remarks),
            "timeout.connect" => self.seconds("connect_limit", *line, words, remarks),
            "timeout.io" | "timeout.io.tcp" => self.seconds("idle_limit", *line, words, remarks),
            "timeout.tcp_fin_wait" => self.seconds("half_close_limit", *line, words, remarks),
            "logoutput" => self.log(*line, words, remarks),
            "srchost" => self.srchost(*line, words, remarks),
            "libwrap.hosts_access" if words.iter().any(|word| word == "yes") => {
                self.is_closed = true;
                remarks.loss(
                    *line,
                    "libwrap.hosts_access: sockd does not read /etc/hosts.allow; nothing is permitted",
                );
            }
            _ if is_needless(keyword) => {}
            _ => remarks
                .loss(*line, format!("{}: sockd has no such setting; left out", keyword.escape_debug())),
        }
    }

    fn internal(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        self.internal.extend(words.first().cloned());
        let port = match words {
            [_] => Some(1080),
            [_, port, equal, number_] if port == "port" && equal == "=" => number(number_),
            _ => None,
        };
        let place = words.first().and_then(|word| word.parse::<IpAddr>().ok()).zip(port);
        match place {
            Some((address, port)) => self.listen.push(SocketAddr::new(address, port)),
            None => {
                let text = "internal: expected an address, as in 10.1.1.1 port = 1080, since --listen takes no interface; left out";
                remarks.loss(line, text);
            }
        }
    }

    fn external(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        let Some(address) = words.first().and_then(|word| word.parse::<IpAddr>().ok()) else {
            self.is_vague = true;
            let text = "external: expected an address: sockd.route has no interfaces; the kernel chooses";
            return remarks.loss(line, text);
        };
        self.external.push(address);
    }

    fn rotation(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        match words.first().map(String::as_str) {
            Some("none") => {}
            Some("route") => self.by_kernel = true,
            _ => remarks.loss(line, "external.rotation: expected none or route; taken for none"),
        }
    }

    /// Keeps the family if only one can be reached. sockd reaches both anyway.
    fn families(&mut self, words: &[String]) {
        let has = |family: &str| words.iter().any(|word| word == family);
        self.reachable = match (has("ipv4"), has("ipv6")) {
            (true, false) => Some(Hosts::Network(Prefix::IPV4)),
            (false, true) => Some(Hosts::Network(Prefix::IPV6)),
            _ => None,
        };
    }

    /// The order of the methods is that in which Dante chooses, so that a client with a password is asked for it or not.
    fn methods(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        self.methods.extend_from_slice(words);
        let place = |method: &str| words.iter().position(|word| word == method);
        let Some(username) = place("username") else { return };
        remarks.note(
            line,
            "socksmethod username: sockd has users and passwords of its own, not those of the system",
        );
        if place("none").is_some_and(|none| username < none) {
            self.values.push(("auth", "prefer".into(), line));
        }
    }

    fn seconds(&mut self, name: &'static str, line: usize, words: &[String], remarks: &mut Remarks) {
        match words.first().and_then(|word| word.parse::<u32>().ok()) {
            Some(0) if name == "half_close_limit" => {}
            Some(0) => {
                remarks.note(line, format!("0: sockd has no wait without an end; {name} keeps its default"))
            }
            // The last one counts in Dante, and sockd.ron has each once.
            Some(seconds) => {
                self.values.retain(|(known, ..)| *known != name);
                self.values.push((name, seconds.to_string(), line));
            }
            None => remarks.loss(line, format!("expected seconds for {name}; left out")),
        }
    }

    fn log(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        let is_syslog = words.iter().any(|word| word.starts_with("syslog"));
        let is_stderr = words.iter().any(|word| word == "stderr" || word == "stdout");
        if is_stderr && !is_syslog {
            self.options.push("--log stderr".into());
        }
        if words.iter().any(|word| word.starts_with('/')) || (is_stderr && is_syslog) {
            remarks.loss(
                line,
                "logoutput: sockd writes to syslog or to standard error; syslogd can write a file",
            );
        }
    }

    fn srchost(&mut self, line: usize, words: &[String], remarks: &mut Remarks) {
        self.asks_answers = words.iter().any(|word| word == "checkreplyauth");
        if words.iter().any(|word| word != "checkreplyauth") {
            self.is_closed = true;
            remarks.loss(
                line,
                "srchost: sockd does not refuse clients for their names in the DNS; nothing is permitted",
            );
        }
    }

    /// The addresses from which Dante speaks and where it listens for a BIND; `None` if they are not all known.
    pub(super) fn external_hosts(&self) -> Option<Vec<Hosts>> {
        let addresses = self.external.iter().map(|address| Hosts::parse(&address.to_string()));
        let known = addresses.collect::<Option<Vec<_>>>()?;
        (!self.is_vague && !known.is_empty()).then_some(known)
    }

    /// If addresses are missing, sockd must not take more of them than Dante would.
    fn finish(&mut self, remarks: &mut Remarks) {
        if self.listen.is_empty() {
            let text = "no address of internal could be said: sockd is to listen at 127.0.0.1:1080 alone";
            remarks.loss(0, text);
            self.listen.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 1080)));
        }
        let listen = self.listen.iter().map(|place| format!("--listen {place}"));
        self.options.extend(listen);
        if self.by_kernel {
            return;
        }
        for family in [true, false] {
            let first = self.external.iter().find(|address| address.is_ipv4() == family);
            self.routes.extend(first.map(|address| format!("{address} ALL 0.0.0.0")));
        }
    }
}

fn is_needless(keyword: &str) -> bool {
    NEEDLESS.iter().any(|name| if name.ends_with('.') { keyword.starts_with(name) } else { keyword == *name })
}
