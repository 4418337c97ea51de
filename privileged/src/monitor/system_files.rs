//! resolv.conf(5) and hosts(5): read for the resolver, and again when they have changed.

use crate::config::trusted_file;
use rustix::fs::{AtFlags, CWD, Stat, statat};
use sockd_common::message::resolver::ToResolver;
use sockd_session::resolv_conf::ResolvConf;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// resolv.conf(5).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// hosts(5).
pub const HOSTS: &str = "/etc/hosts";

/// They are looked at for changes no more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The two files as they were last read.
#[derive(Debug)]
pub struct SystemFiles {
    conf: ResolvConf,
    /// `None` where the resolver has not heard of them yet.
    versions: Option<[Option<Version>; 2]>,
    looked_at: Option<Instant>,
}

/// What tells one version of a file from the next.
type Version = (u64, u64, i64, u64, i64);

impl Default for SystemFiles {
    fn default() -> Self {
        Self { conf: ResolvConf::parse(&[]), versions: None, looked_at: None }
    }
}

impl SystemFiles {
    /// The nameserver of an attempt.
    pub fn server(&self, attempt: u8) -> Option<SocketAddr> {
        self.conf.server(attempt)
    }

    /// How long an attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.conf.timeout().into())
    }

    /// A new resolver has heard of neither file.
    pub fn tell_again(&mut self) {
        self.versions = None;
        self.looked_at = None;
    }

    /// Reads what has changed; gives what the resolver is to be told.
    pub fn changes(&mut self, now: Instant) -> Vec<(ToResolver, Option<OwnedFd>)> {
        if self.looked_at.is_some_and(|last| now.duration_since(last) < LOOK_AGAIN) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        let old = self.versions;
        let mut seen = [RESOLV_CONF, HOSTS].map(version);
        let [conf, hosts] = &mut seen;
        let mut changes = Vec::new();
        if old.is_none_or(|[old, _]| old != *conf) {
            changes.extend(self.read_conf(conf, old.is_none()).map(|setup| (setup, None)));
        }
        if old.is_none_or(|[_, old]| old != *hosts) {
            match trusted_file::open_plain(Path::new(HOSTS)) {
                Ok(file) => changes.push((ToResolver::Hosts, Some(file))),
                Err(_) => *hosts = None,
            }
        }
        self.versions = Some(seen);
        changes
    }

    /// Reads resolv.conf. One that is there and cannot be read, for want of a descriptor perhaps, is tried again, and
    /// what was read before holds; a resolver that `is_new` has to hear that once.
    fn read_conf(&mut self, version: &mut Option<Version>, is_new: bool) -> Option<ToResolver> {
        let text = trusted_file::read_plain(Path::new(RESOLV_CONF));
        if text.is_err() && version.is_some() {
            *version = None;
            return is_new.then(|| self.conf.setup());
        }
        self.conf = ResolvConf::parse(&text.unwrap_or_default());
        Some(self.conf.setup())
    }
}

fn version(path: &str) -> Option<Version> {
    let Stat { st_dev, st_ino, st_mtime, st_mtime_nsec, st_size, .. } =
        statat(CWD, path, AtFlags::empty()).ok()?;
    Some((st_dev, st_ino, st_mtime, st_mtime_nsec, st_size))
}
