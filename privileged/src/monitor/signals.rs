//! What signals ask for: reload, report, stop.

use crate::config::read::Loaded;
use crate::monitor::pool::Line;
use crate::monitor::{Monitor, Stopping};
use nix::sys::signal::Signal;
use sockd_session::config::{Config, counted};
use sockd_session::keys::{SessionKey, WorkerKey};
use sockd_session::session::Event;
use sockd_session::settings::seconds;
use std::time::Instant;

impl Monitor {
    pub(crate) fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGHUP)) if self.options.trial => self.stop(),
                Ok(Ok(Signal::SIGHUP)) => self.reload(),
                Ok(Ok(Signal::SIGUSR1)) => {
                    self.base.config.lines().for_each(|line| self.base.log.notice(&line))
                }
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => self.stop(),
                _ => {}
            }
        }
    }

    /// Has everything read again; see [`Monitor::loader_spoke`].
    fn reload(&mut self) {
        self.notifier.reloading();
        let asked = match &mut self.loader {
            Some(loader) => loader.ask(),
            None => Err("there is no loader until a restart".into()),
        };
        if let Err(why) = asked {
            self.base.log.err(&format!("reload failed: {why}"));
            self.tell_ready();
        }
    }

    /// The loader has read everything, or has ended: then what it read before stays in force, and serving goes on.
    pub(crate) fn loader_spoke(&mut self) {
        let Some(loader) = &mut self.loader else { return };
        match loader.take(&self.base.config) {
            Err(why) => {
                self.loader = None;
                self.base.log.err(&format!("{why}; nothing is read again until a restart"));
                // A service manager may be waiting for the end of the reload that this was.
                self.tell_ready();
            }
            Ok(taken) => self.loaded(taken),
        }
    }

    fn loaded(&mut self, taken: Option<Result<Loaded, Vec<String>>>) {
        match taken {
            None => return,
            Some(Ok(Loaded { config, remarks, .. })) => {
                remarks.iter().for_each(|remark| self.base.log.err(remark));
                self.adopt(config);
            }
            Some(Err(errors)) => {
                errors.iter().for_each(|error| self.base.log.err(error));
                self.base.log.err("reload failed: the rules, routes and settings read before stay in force");
            }
        }
        self.tell_ready();
    }

    fn adopt(&mut self, mut config: Config) {
        for name in self.base.config.settings.fixed_since_start(&config.settings) {
            self.base.log.err(&format!("{name} is read only at start; the old value stays in force"));
        }
        config.settings = self.base.config.settings.keep_fixed(config.settings);
        self.base.config = config;
        let waiting = self.base.workers.set_up_again(&self.base.config.settings);
        waiting.into_iter().for_each(|index| self.flush_worker(index));
        match &self.hook {
            Some(hook) => hook.reload(),
            None if self.base.config.runs_hooks() && !self.options.trial => {
                self.base.log.err("rules have commands, which are not run until a restart");
            }
            None => {}
        }
        self.base.log.notice(&format!("reloaded: {}", self.base.config.summary()));
        if self.base.config.settings.recheck_on_reload {
            let visits: Vec<SessionKey> = self.visits.iter().map(|(index, _)| index).collect();
            visits.into_iter().for_each(|index| self.happen(index, Event::Recheck));
        }
    }

    /// What a service manager shows of the daemon.
    pub(crate) fn status(&self) -> String {
        let connections = counted(self.visits.len(), "connection");
        format!(
            "{connections}, {}, {}",
            counted(self.base.workers.all().count(), "worker"),
            self.base.config.summary()
        )
    }

    /// The service manager hears that what is in force is in force.
    pub(crate) fn tell_ready(&mut self) {
        let status = self.status();
        self.notifier.ready(&status);
    }

    /// No new clients; relays get their grace. Told a second time: no grace.
    pub(crate) fn stop(&mut self) {
        let now = Instant::now();
        let again = self.stopping.is_some();
        let grace = if again { 0 } else { self.base.config.settings.stop_grace };
        let grace_ends = now.checked_add(seconds(grace)).unwrap_or(now);
        if self.stopping.is_none_or(|stopping| !stopping.told) {
            self.stopping = Some(Stopping { grace_ends, told: false });
        }
        if again {
            return;
        }
        self.base.log.notice("stopping");
        self.notifier.stopping();
        for listener in self.listeners.drain(..) {
            self.base.reactor.unwatch(&listener.socket);
        }
        self.pause = None;
        let unused: Vec<WorkerKey> = self
            .base
            .workers
            .all()
            .filter(|(_, worker)| worker.load == 0 && matches!(worker.line, Line::Session(_)))
            .map(|(index, _)| index)
            .collect();
        unused.into_iter().for_each(|index| self.dismiss(index, false, None));
        let waiting: Vec<SessionKey> = self
            .visits
            .iter()
            .filter(|(_, visit)| !visit.session.is_relaying())
            .map(|(index, _)| index)
            .collect();
        waiting.into_iter().for_each(|index| self.happen(index, Event::Stop));
    }

    /// Sessions whose workers have not told of their end in time leave their lines all the same, and so does what
    /// has been counted and not written yet.
    pub(crate) fn write_the_rest(&mut self) {
        let visits: Vec<SessionKey> = self.visits.iter().map(|(index, _)| index).collect();
        visits.into_iter().for_each(|index| self.happen(index, Event::WorkerLost));
        let late = Instant::now().checked_add(seconds(3600));
        late.into_iter().for_each(|late| self.base.log.catch_up(late));
    }

    /// The grace is over.
    pub(crate) fn end_all_sessions(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.told = true;
        }
        let visits: Vec<SessionKey> = self.visits.iter().map(|(index, _)| index).collect();
        visits.into_iter().for_each(|index| self.happen(index, Event::Stop));
    }
}
