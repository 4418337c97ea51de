//! What is in force in tests and benchmarks.

use sockd_policy::{IdentMode, Services, parse_conf};
use sockd_session::config::Config;
use sockd_session::settings::Settings;

/// These rules alone.
pub(crate) fn config(rules: &str) -> Config {
    let services = Services::parse(b"telnet 23/tcp\nftp 21/tcp\nhttps 443/tcp\n");
    let rules = parse_conf(rules.as_bytes(), &services, &mut |_| Ok(Vec::new())).unwrap();
    Config {
        rules,
        routes: None,
        upstreams: None,
        services,
        settings: Settings::default(),
        ident_default: IdentMode::Off,
    }
}
