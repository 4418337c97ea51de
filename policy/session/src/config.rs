//! What sessions are decided by.

use crate::settings::Settings;
use sockd_policy::{IdentMode, Routes, RuleSet, Services, Upstreams};
use std::ops::RangeInclusive;

/// What sessions are decided by; replaced as a whole by a reload.
#[derive(Debug)]
pub struct Config {
    /// sockd.conf(5).
    pub rules: RuleSet,
    /// sockd.route(5), where there is one.
    pub routes: Option<Routes>,
    /// socks.conf(5), where there is one.
    pub upstreams: Option<Upstreams>,
    /// services(5).
    pub services: Services,
    /// sockd.ron(5).
    pub settings: Settings,
    /// `-i` or `-I`.
    pub ident_default: IdentMode,
}

/// The ports that rcmd(3) uses: the upper half of those that only root can have.
pub const RESERVED: RangeInclusive<u16> = 512..=1023;

/// The port where none is given.
pub fn default_port(services: &Services) -> u16 {
    services.port_of("socks").unwrap_or(1080)
}
