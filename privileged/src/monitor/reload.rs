//! A reload: the loader reads everything again, and the new configuration comes into force while the monitor serves.

use crate::loader::handle::{Loader, News};
use crate::loader::users::Table;
use crate::monitor::base::Base;
use crate::monitor::reactor::Token;
use sockd_common::message::takeover::{FromServing, READING};
use sockd_session::Config;
use std::time::Instant;

/// The loader, until it has ended.
#[derive(Debug)]
pub struct Reload {
    loader: Option<Loader>,
}

/// The outcome of a reload.
#[derive(Debug)]
pub enum Reloaded {
    /// It is under way.
    NotYet,
    /// It has failed; the old configuration stays in force.
    Failed,
    /// The new configuration is in force; these are the users.
    Done(Table),
    /// There was no reload: resolv.conf, hosts, or both have been copied again.
    Copied([bool; 2]),
}

impl Reload {
    /// Takes a loader that has just been started.
    pub fn new(loader: Loader) -> Self {
        Self { loader: Some(loader) }
    }

    /// The loader, to be watched.
    pub fn loader(&self) -> Option<&Loader> {
        self.loader.as_ref()
    }

    /// Has the process id file removed, at the end of the daemon.
    pub fn end(self) {
        self.loader.into_iter().for_each(Loader::end);
    }

    /// Has everything read again.
    pub fn begin(&mut self, base: &mut Base) -> Reloaded {
        let asked = match &mut self.loader {
            Some(loader) => loader.ask(),
            None => Err("there is no loader until a restart".into()),
        };
        match asked {
            Ok(()) => {
                base.reactor.set_deadline(Token::Loader, Instant::now().checked_add(READING));
                Reloaded::NotYet
            }
            Err(why) => failed(&format!("reload failed: {why}"), base),
        }
    }

    /// Notes a reload whose caller has found errors in the files, and has said which.
    pub fn unreadable(base: &mut Base) {
        failed("reload failed: the files have errors, and what was read before stays in force", base);
    }

    /// The answer to the caller of a reload that has failed.
    pub fn failure(&self) -> FromServing {
        match self.loader {
            Some(_) => FromServing::Reloaded { in_force: false },
            None => FromServing::NoLoader,
        }
    }

    /// Fails an overdue reload: the loader has stopped, or waits for a file system. Its answer may come into force yet.
    pub fn overdue(base: &mut Base) -> Reloaded {
        failed(&format!("reload failed: the loader has been silent for {} seconds", READING.as_secs()), base)
    }

    /// Takes the loader's news. If it has ended, the old configuration stays in force.
    pub fn hear(&mut self, base: &mut Base) -> Reloaded {
        let Some(loader) = &mut self.loader else { return Reloaded::NotYet };
        let heard = loader.take(&base.config);
        if matches!(heard, Ok(Some(News::Loaded(_))) | Err(_)) {
            base.reactor.set_deadline(Token::Loader, None);
        }
        match heard {
            Ok(None) => Reloaded::NotYet,
            Ok(Some(News::Copied(changed))) => Reloaded::Copied(changed),
            Ok(Some(News::Unread(why))) => {
                base.log.err(&why);
                Reloaded::NotYet
            }
            Ok(Some(News::Loaded(Ok((loaded, users))))) => {
                loaded.remarks.iter().for_each(|remark| base.log.err(remark));
                adopt(loaded.config, base);
                Reloaded::Done(users)
            }
            Ok(Some(News::Loaded(Err(errors)))) => {
                errors.iter().for_each(|error| base.log.err(error));
                failed("reload failed: the rules, routes and settings read before stay in force", base)
            }
            Err(why) => {
                self.loader = None;
                failed(&format!("{why}; nothing is read again until a restart"), base)
            }
        }
    }
}

/// Counts a failed reload, and logs this line.
fn failed(line: &str, base: &mut Base) -> Reloaded {
    base.counting.reload_failed();
    base.log.err(line);
    Reloaded::Failed
}

/// Brings a configuration into force.
fn adopt(mut config: Config, base: &mut Base) {
    for name in base.as_read.fixed_since_start(&config.settings) {
        base.log.err(&format!("{name} is read only at start; the old value stays in force"));
    }
    config.settings = base.as_read.keep_fixed(config.settings);
    base.as_read = config.settings.clone();
    base.log.set_format(config.settings.log_format);
    base.config = config;
    base.count_elsewhere(base.elsewhere);
    base.counting.loaded(base.config.rules.len(), base.ledger.time(Instant::now()));
    base.workers.set_up_again(&base.config.settings);
}
