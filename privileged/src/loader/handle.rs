//! The loader, as the monitor knows it.

use crate::config::read::Loaded;
use crate::loader::protocol::{Channel, FromLoader, Frozen, ToLoader, Written};
use crate::loader::users::Table;
use crate::process::descriptors;
use sockd_common::channel::Received;
use sockd_policy::Services;
use sockd_policy::frozen::{thaw_routes, thaw_rules, thaw_upstreams};
use sockd_session::config::Config;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How long the end of the daemon waits for a silent loader.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The loader.
#[derive(Debug)]
pub struct Loader {
    channel: Channel,
    memory: File,
    /// `Some` until the answer to a question comes; true if the question is to be repeated then.
    under_way: Option<bool>,
    /// The memory to which the table of users is being written.
    users: Option<OwnedFd>,
}

/// News from the loader.
#[derive(Debug)]
pub enum News {
    /// The configuration that it has read, or the errors in it.
    Loaded(Result<(Box<Loaded>, Table), Vec<String>>),
    /// resolv.conf, or hosts, or both have been copied again.
    Copied([bool; 2]),
    /// One of them cannot be read, and why.
    Unread(String),
}

/// The configuration with the number of users, or every error.
type Outcome = Result<(Loaded, u32), Vec<String>>;

impl Loader {
    pub(super) fn new(channel: Channel, memory: File) -> Self {
        Self { channel, memory, under_way: None, users: None }
    }

    /// Asks for everything to be read again. If a reading is under way, it is repeated afterwards.
    pub fn ask(&mut self) -> Result<(), String> {
        match &mut self.under_way {
            Some(again) => *again = true,
            None => {
                let users = descriptors::sealable("sockd-users");
                let users = users.map_err(|error| format!("memory for the table of users: {error}"))?;
                let sent = self.channel.send(&ToLoader::Load, Some(users.as_fd()));
                sent.map_err(|error| format!("loader: {error}"))?;
                self.users = Some(users);
                self.under_way = Some(false);
            }
        }
        Ok(())
    }

    /// The next news, if any have come. The error is the end of the loader.
    pub fn take(&mut self, old: &Config) -> Result<Option<News>, String> {
        let length = match self.channel.receive() {
            Ok(Received::Message(FromLoader::Copied(changed), _)) => return Ok(Some(News::Copied(changed))),
            Ok(Received::Message(FromLoader::Unread(why), _)) => return Ok(Some(News::Unread(why))),
            Ok(Received::Message(FromLoader::Read { length }, _)) => length,
            Ok(Received::Nothing) => return Ok(None),
            _ => return Err("the loader has ended".into()),
        };
        if self.under_way.take() == Some(true) {
            self.ask()?;
            return Ok(None);
        }
        let memory = self.users.take().ok_or("the loader says what it was not asked for")?;
        let taken = self.take_in(length, old).map_err(|error| format!("what the loader wrote: {error}"))?;
        Ok(Some(News::Loaded(taken.map(|(loaded, users)| (Box::new(loaded), Table { memory, users })))))
    }

    /// Has the process id file removed at the end of the daemon. A busy loader does so later.
    pub fn end(self) {
        if self.channel.send(&ToLoader::End, None).is_ok() {
            // It is asked for nothing more, so its end follows.
            while matches!(self.channel.receive(), Ok(Received::Message(..) | Received::Nothing))
                && descriptors::readable(&self.channel, LAST_WAIT) == Ok(true)
            {}
        }
    }

    /// Decodes the memory. The outer error is that the loader cannot have written this.
    fn take_in(&self, length: usize, old: &Config) -> Result<Outcome, Box<dyn Error>> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, 0)?;
        let frozen = match postcard::from_bytes::<Written<'_>>(&bytes)? {
            Ok(frozen) => frozen,
            Err(errors) => return Ok(Err(errors)),
        };
        let Frozen { rules, routes, upstreams, settings, services, remarks, users } = frozen;
        let config = Config {
            rules: thaw_rules(rules)?.0,
            routes: routes.map(thaw_routes).transpose()?.map(|(routes, _)| routes),
            upstreams: upstreams.map(thaw_upstreams).transpose()?.map(|(upstreams, _)| upstreams),
            services: Services::parse(services.as_bytes()),
            settings,
            ident_default: old.ident_default,
        };
        Ok(Ok((Loaded { config, services, remarks }, users)))
    }
}

impl AsFd for Loader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
