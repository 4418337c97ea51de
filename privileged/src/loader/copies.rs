//! The monitor's copies of resolv.conf(5) and hosts(5), made by the loader, and what the resolver is told of them.

use sockd_common::message::resolver::ToResolver;
use sockd_session::resolv_conf::ResolvConf;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The two files.
#[derive(Debug)]
pub struct SystemFiles {
    copy_of_conf: File,
    copy_of_hosts: File,
    /// The resolv.conf that the resolver has.
    conf: ResolvConf,
    /// The files that have changed since the resolver was told of them.
    untold: [bool; 2],
}

impl SystemFiles {
    /// The files into which the loader copies, before anything is asked.
    pub fn new(copy_of_conf: File, copy_of_hosts: File) -> Self {
        Self { copy_of_conf, copy_of_hosts, conf: ResolvConf::unread(), untold: [true; 2] }
    }

    /// The nameserver of an attempt.
    pub fn server(&self, attempt: u8) -> Option<SocketAddr> {
        self.conf.server(attempt)
    }

    /// How long an attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.conf.timeout().into())
    }

    /// Marks both files as untold, for a new resolver.
    pub fn tell_again(&mut self) {
        self.untold = [true; 2];
    }

    /// Marks the files that the loader has copied again.
    pub fn changed(&mut self, changed: [bool; 2]) {
        for (untold, changed) in self.untold.iter_mut().zip(changed) {
            *untold |= changed;
        }
    }

    /// The messages for the resolver. If there is no descriptor for a file, its message follows the next time.
    pub fn news(&mut self) -> Vec<(ToResolver, Option<OwnedFd>)> {
        let mut news = Vec::new();
        let [conf, hosts] = &mut self.untold;
        if std::mem::take(conf) {
            self.conf = ResolvConf::parse(&text_of(&self.copy_of_conf));
            news.push((self.conf.setup(), None));
        }
        if *hosts && let Ok(copy) = self.copy_of_hosts.try_clone() {
            *hosts = false;
            news.push((ToResolver::Hosts, Some(copy.into())));
        }
        news
    }
}

/// The whole text, from the start: the descriptor's position does not count.
fn text_of(copy: &File) -> Vec<u8> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = copy.read_at(&mut buffer, text.len() as u64) {
        text.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    text
}
