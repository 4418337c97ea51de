//! resolv.conf(5) and hosts(5) as the monitor has them, copied by the loader: what the resolver is told of them.

use crate::loader::system_files::Copies;
use sockd_common::message::resolver::ToResolver;
use sockd_session::resolv_conf::ResolvConf;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The two files.
#[derive(Debug)]
pub struct SystemFiles {
    copies: Copies,
    conf: ResolvConf,
    /// Of which the resolver has not heard since they changed.
    untold: [bool; 2],
}

impl SystemFiles {
    /// As the loader has copied them before anything is asked.
    pub fn new(copies: Copies) -> Self {
        let conf = ResolvConf::parse(&copies.conf());
        Self { copies, conf, untold: [true; 2] }
    }

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
        self.untold = [true; 2];
    }

    /// The loader has copied these again.
    pub fn changed(&mut self, changed: [bool; 2]) {
        for (untold, changed) in self.untold.iter_mut().zip(changed) {
            *untold |= changed;
        }
    }

    /// What the resolver is to be told. A file for which there is no descriptor is told of the next time.
    pub fn news(&mut self) -> Vec<(ToResolver, Option<OwnedFd>)> {
        let mut news = Vec::new();
        let [conf, hosts] = &mut self.untold;
        if std::mem::take(conf) {
            self.conf = ResolvConf::parse(&self.copies.conf());
            news.push((self.conf.setup(), None));
        }
        if *hosts && let Ok(copy) = self.copies.hosts() {
            *hosts = false;
            news.push((ToResolver::Hosts, Some(copy)));
        }
        news
    }
}
