//! The configuration that decides on sessions.

use crate::settings::{Auth, Commands, Isolation, Settings};
use sockd_common::message::session::Methods;
use sockd_policy::{IdentMode, Routes, RuleSet, Services, Upstreams};
use sockd_policy::{Methods as Asked, Template};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The configuration that decides on sessions; a reload replaces it as a whole.
#[derive(Debug)]
pub struct Config {
    /// sockd.conf(5).
    pub rules: RuleSet,
    /// sockd.route(5), if there is one.
    pub routes: Option<Routes>,
    /// socks.conf(5), if there is one.
    pub upstreams: Option<Upstreams>,
    /// services(5).
    pub services: Services,
    /// sockd.ron(5).
    pub settings: Settings,
    /// `-i` or `-I`.
    pub ident_default: IdentMode,
}

impl Config {
    /// The rules in force, with routes and upstream lines as comments. The result is still a file of rules.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let routes = self.routes.iter().flat_map(|routes| routes.lines());
        let upstreams = self.upstreams.iter().flat_map(|upstreams| upstreams.lines());
        let routes = routes.map(|route| format!("# route: {route}"));
        let upstreams = upstreams.map(|line| format!("# upstream: {line}"));
        self.rules.lines().chain(routes).chain(upstreams)
    }

    /// The configuration in force, in a few words.
    pub fn summary(&self) -> String {
        let routes = self.routes.as_ref().map(|routes| counted(routes.len(), "route"));
        let routes = routes.unwrap_or_else(|| "no route file".into());
        let upstreams = self.upstreams.as_ref().map(|lines| counted(lines.len(), "upstream line"));
        let upstreams = upstreams.map_or(String::new(), |lines| format!(", {lines}"));
        format!("{}, {routes}{upstreams}", counted(self.rules.len(), "rule"))
    }

    /// The methods by which a client may authenticate. A client that must show a password has none if passwords cannot
    /// be checked.
    pub fn methods(&self, client: IpAddr, has_passwords: bool) -> Methods {
        let asked = self.rules.methods(client);
        let prefer_password = self.settings.auth == Auth::Prefer;
        Methods {
            none: asked != Asked::Password,
            password: has_passwords && (asked != Asked::None || prefer_password),
            prefer_password,
        }
    }

    /// Whether a new client begins with a worker that serves nobody else, as its user may become known.
    pub fn begins_alone(&self) -> bool {
        self.settings.isolation == Isolation::User && self.rules.ask_identd(self.ident_default)
    }

    /// The commands of rules and upstream lines.
    pub fn hooks(&self) -> impl Iterator<Item = Template<'_>> {
        self.rules.templates().chain(self.upstreams.iter().flat_map(Upstreams::templates))
    }

    /// Whether there is a command that may be run.
    pub fn runs_hooks(&self) -> bool {
        self.settings.commands != Commands::Off && self.hooks().next().is_some()
    }
}

/// A number of things in words: `1 rule`, `2 rules`.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The ports that rcmd(3) uses: the upper half of those that only root can have.
pub const RESERVED: RangeInclusive<u16> = 512..=1023;

/// The port if none is given.
pub fn default_port(services: &Services) -> u16 {
    services.port_of("socks").unwrap_or(1080)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_policy::{parse_conf, parse_routes};

    #[test]
    fn the_summary_counts_as_one_says_it() {
        let rules = |text: &str| {
            parse_conf(text.as_bytes(), &Services::default(), &mut |_| Err(String::new())).unwrap()
        };
        let mut config = Config {
            rules: rules(""),
            routes: None,
            upstreams: None,
            services: Services::default(),
            settings: Settings::default(),
            ident_default: IdentMode::Off,
        };
        assert_eq!(config.summary(), "0 rules, no route file");
        config.rules = rules("permit 10.0.0.0/8\n");
        config.routes = Some(parse_routes(b"10.0.0.1 0.0.0.0 0.0.0.0\n10.0.0.2 ALL 0.0.0.0\n").unwrap());
        assert_eq!(config.summary(), "1 rule, 2 routes");
    }
}
