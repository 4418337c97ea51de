//! The monitor: the only process that decides.
//!
//! [`crate::start`] makes everything that it needs; then it gives up what it needed for that ([`lock_down`]) and serves
//! in one loop, which handles ready descriptors and passed deadlines, and never waits for anything else. Each other
//! file owns its state and returns what has happened. [`serving`] and its folder take these events to sessions and
//! perform the actions that follow. This file has the loop, reloads, the other trees and the end.

pub mod askers;
pub mod associations;
pub mod auth;
pub mod awaited;
pub mod base;
pub mod bind_port;
pub mod clients;
pub mod control;
pub mod dial;
pub mod door;
pub mod lock_down;
pub mod pool;
pub mod profile;
pub mod proxy_header;
pub mod reactor;
pub mod reload;
pub mod resolver;
pub mod roles;
pub mod serving;
pub mod sessions;
pub mod status;
pub mod takeover;

use crate::monitor::base::Base;
use crate::monitor::reactor::{EventFlags, Token};
use crate::monitor::reload::{Reload, Reloaded};
use crate::monitor::serving::Serving;
use crate::monitor::takeover::Takeover;
use crate::process::notify::Notifier;
use crate::takeover::older::OlderTells;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use sockd_common::message::takeover::{FromServing, ToServing, Totals};
use sockd_session::config::counted;
use sockd_session::stop::{Stop, Told};
use sockd_session::takeover::Answer;
use sockd_session::{Event, seconds};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How often a successor is told of the sessions that are left.
const NEWS: Duration = Duration::from_secs(1);

/// The only process that decides.
#[derive(Debug)]
pub struct Monitor {
    /// Clients, sessions and workers.
    pub serving: Serving,
    reload: Reload,
    takeover: Takeover,
    notifier: Notifier,
    stop: Stop,
    /// Whether the files are read once more to end what they forbid; if they cannot be read, everything ends.
    rechecks: bool,
    signals: SignalFd,
}

/// The beginning of the monitor.
impl Monitor {
    /// Watches all descriptors. A trial ends with its terminal.
    pub fn new(
        serving: Serving,
        reload: Reload,
        takeover: Takeover,
        notifier: Notifier,
        signals: SignalFd,
    ) -> rustix::io::Result<Self> {
        let reactor = &serving.base.reactor;
        if serving.base.is_trial && rustix::termios::isatty(rustix::stdio::stderr()) {
            // epoll(7) reports a hang-up unasked, even if no signal comes.
            reactor.watch(rustix::stdio::stderr(), Token::Terminal, EventFlags::ONESHOT)?;
        }
        reactor.watch(&signals, Token::Signals, EventFlags::IN)?;
        if let Some(loader) = reload.loader() {
            reactor.watch(loader, Token::Loader, EventFlags::IN)?;
        }
        takeover.watch(reactor)?;
        let stop = Stop::default();
        Ok(Self { serving, reload, takeover, notifier, stop, rechecks: false, signals })
    }

    /// Whether this tree may take over: the tree that serves still waits for it, and nobody has told it to end. The
    /// error says why not. A later signal is meant for the daemon, and so for both trees.
    pub fn may_take_over(&self) -> Result<(), String> {
        if self.takeover.older.is_empty() {
            return Ok(());
        }
        while let Some(signal) = self.next_signal() {
            if matches!(signal, Signal::SIGTERM | Signal::SIGINT) {
                return Err("told to end before it serves".into());
            }
        }
        self.takeover.older.is_awaited()
    }

    /// Makes this tree serve, and older ones drain. The error says why it may not.
    pub fn take_over(&mut self) -> Result<(), String> {
        if let Some(pid) = self.takeover.go()? {
            self.serving.base.log.notice(&format!("took over from process {pid}"));
            self.recheck_older();
        }
        Ok(())
    }

    /// Makes older trees end what the files forbid, with `recheck_on_reload`.
    fn recheck_older(&self) {
        if self.serving.base.config.settings.recheck_on_reload {
            self.takeover.older.tell(&ToServing::Recheck);
        }
    }

    /// Serves the one client that an inetd has handed over, and ends when it has gone.
    pub fn serve_only(&mut self, client: OwnedFd, at: SocketAddr) {
        self.serving.serve_only(client, at);
        self.stop.when_empty();
    }

    /// Tells the service manager that the daemon is ready, after a start or a reload.
    pub fn tell_ready(&mut self) {
        let status = self.status();
        self.notifier.ready(&status);
    }

    /// Ends the daemon after its last line. Without a last message a successor would think that this tree was killed.
    pub fn end(self) {
        self.takeover.tell_left(Totals::default());
        self.reload.end();
    }

    /// The state that a service manager shows of the daemon.
    fn status(&self) -> String {
        let Serving { base, sessions, .. } = &self.serving;
        let connections = counted(sessions.len(), "connection");
        let workers = counted(base.workers.pool.workers.len(), "worker");
        let older = match !self.takeover.older.is_empty() {
            true => format!(
                "{} that drain, ",
                counted(self.takeover.older.left().sessions as usize, "older connection")
            ),
            false => String::new(),
        };
        format!("{connections}, {older}{workers}, {}", base.config.summary())
    }
}

/// The loop of the monitor.
impl Monitor {
    /// Serves until it is told to stop. The error says why it cannot go on.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = [const { MaybeUninit::uninit() }; 256];
        loop {
            self.due(Instant::now());
            if self.stop.is_done(Instant::now(), self.has_ended()) {
                return Ok(());
            }
            let ready = self.serving.base.reactor.wait(self.next_due(), &mut events);
            for token in ready.map_err(|error| format!("epoll: {error}"))? {
                self.ready(token)?;
            }
        }
    }

    /// When the next task without a deadline in the reactor is due.
    fn next_due(&self) -> Option<Instant> {
        let log = &self.serving.base.log;
        let dues = [
            self.serving.due_at(),
            self.notifier.beat_at(),
            self.stop.due_at(Instant::now()),
            log.retry_at(),
            log.catch_up_at(),
        ];
        dues.into_iter().flatten().min()
    }

    fn ready(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::Signals => self.read_signals(),
            Token::Terminal => self.stop(),
            Token::Log => self.serving.base.log.flush(),
            Token::Takeover => self.takeover.accept(&mut self.serving.base.reactor),
            Token::Peer(place) => self.hear_peer(place as usize),
            Token::Older(place) => self.hear_older(place),
            Token::Loader => {
                let reloaded = self.reload.hear(&mut self.serving.base);
                self.reloaded(reloaded);
            }
            token => return self.serving.ready(token),
        }
        Ok(())
    }

    /// Handles a deadline that has passed.
    fn overdue(&mut self, token: Token, now: Instant) {
        match token {
            Token::Takeover => self.tell_left(),
            Token::Peer(place) => self.give_up(place as usize),
            Token::Loader => {
                let failed = Reload::overdue(&mut self.serving.base);
                self.reloaded(failed);
            }
            token => self.serving.overdue(token, now),
        }
    }

    /// Does everything that is due.
    fn due(&mut self, now: Instant) {
        while let Some(token) = self.serving.base.reactor.take_due(now) {
            self.overdue(token, now);
        }
        self.serving.due(now, !self.stop.is_stopping());
        let is_idle =
            self.stop.is_stopping() && self.takeover.older.is_empty() && !self.serving.sessions.any_relays();
        if self.stop.tell_all(now) || (is_idle && self.stop.no_relays(now)) {
            self.serving.end();
        }
        if self.notifier.beat_at().is_some_and(|at| at <= now) {
            self.notifier.beat(now, self.status());
        }
        let Base { log, reactor, counting, workers, .. } = &mut self.serving.base;
        workers.flush_all(reactor);
        log.catch_up(now);
        log.end_turn(now);
        counting.log_lost(log.take_lost());
        if let Some(socket) = log.full_socket() {
            // The socket is watched until it has room, so that a burst is not lost for want of a retry.
            let flags = EventFlags::OUT | EventFlags::ONESHOT;
            if reactor.watch_for(socket, Token::Log, flags).is_err() {
                let _ = reactor.watch(socket, Token::Log, flags);
            }
        }
    }

    fn read_signals(&mut self) {
        while let Some(signal) = self.next_signal() {
            let Base { config, log, is_trial, .. } = &mut self.serving.base;
            match signal {
                Signal::SIGHUP if *is_trial => self.stop(),
                Signal::SIGHUP => self.begin_reload(),
                Signal::SIGUSR1 => config.lines().for_each(|line| log.notice(&line)),
                Signal::SIGTERM | Signal::SIGINT => self.stop(),
                _ => {}
            }
        }
    }

    /// The next signal, if any. Only the requested signals come.
    fn next_signal(&self) -> Option<Signal> {
        let signal = self.signals.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(signal.ssi_signo).ok()?).ok()
    }

    fn begin_reload(&mut self) {
        self.notifier.reloading();
        let begun = self.reload.begin(&mut self.serving.base);
        self.reloaded(begun);
    }

    fn reloaded(&mut self, reloaded: Reloaded) {
        match reloaded {
            Reloaded::NotYet => return,
            Reloaded::Copied(changed) => {
                let Serving { awaited, base, .. } = &mut self.serving;
                return awaited.resolver.files_changed(changed, base);
            }
            // The old rules may permit what those on the disk forbid.
            Reloaded::Failed if self.rechecks => self.serving.tell_all(|| Event::Stop),
            Reloaded::Failed => self.tell_waiting(&self.reload.failure()),
            Reloaded::Done(users) => {
                self.serving.take_users(users);
                self.serving.reloaded();
                self.tell_waiting(&FromServing::Reloaded { in_force: true });
                self.recheck_older();
            }
        }
        // A service manager may be waiting for the end of this reload.
        self.tell_ready();
    }

    /// Tells the peers that wait for a reload how it has ended.
    fn tell_waiting(&mut self, outcome: &FromServing) {
        self.takeover.reloaded(outcome, &mut self.serving.base.reactor);
    }

    /// Accepts no new clients, and gives relays their grace. A second call ends the grace.
    fn stop(&mut self) {
        let grace = seconds(self.serving.base.config.settings.stop_grace);
        if self.stop.ask(Instant::now(), grace) == Told::First {
            self.serving.base.log.notice("stopping");
            self.notifier.stopping();
            self.serving.stop();
        }
        self.takeover.older.tell(&ToServing::End);
    }
}

/// The monitor and other trees.
impl Monitor {
    /// Whether no session is left, here or in older trees.
    fn has_ended(&self) -> bool {
        self.serving.sessions.is_empty() && self.takeover.older.is_empty()
    }

    fn hear_peer(&mut self, place: usize) {
        while let Some(answer) = self.takeover.hear(place, &mut self.serving) {
            match answer {
                Answer::Reload => self.begin_reload(),
                Answer::ReloadFailed => Reload::unreadable(&mut self.serving.base),
                Answer::Drain => self.drain(),
                Answer::Recheck => {
                    self.rechecks = true;
                    self.begin_reload();
                }
                Answer::End => self.stop(),
                _ => {}
            }
        }
    }

    /// Gives up a peer that has been silent for too long. Its messages up to here count; later ones are refused.
    fn give_up(&mut self, place: usize) {
        self.hear_peer(place);
        if self.takeover.is_silent(place, &self.serving.base.reactor) {
            self.takeover.refuse_to_wait(place);
            self.hear_peer(place);
        }
    }

    /// Drains, as another tree has taken over: sessions go on. The service manager hears only of that tree.
    fn drain(&mut self) {
        let limit = seconds(self.serving.base.config.settings.drain_limit);
        self.stop.drain(Instant::now(), limit);
        self.notifier = Notifier::default();
        let successor = self.takeover.drain(&self.serving.base.reactor);
        self.serving.base.reactor.set_deadline(Token::Takeover, Some(Instant::now()));
        self.serving.drain();
        let left = counted(self.serving.sessions.len(), "connection");
        self.serving.base.log.notice(&format!("process {successor} has taken over: {left} to drain"));
    }

    /// Tells a successor what is left, even if nothing has changed: another tree may have taken over from that one
    /// meanwhile, and has its connection.
    fn tell_left(&mut self) {
        let Serving { base, sessions, .. } = &mut self.serving;
        self.takeover.tell_left(base.totals(sessions.len()));
        base.reactor.set_deadline(Token::Takeover, Instant::now().checked_add(NEWS));
    }

    fn hear_older(&mut self, place: u32) {
        while let Some(tells) = self.takeover.older.hear(place, &self.serving.base.reactor) {
            match tells {
                OlderTells::Closed => self.serving.stay_closed(),
                OlderTells::Ended(pid, left) => {
                    let (log, lost) = (&mut self.serving.base.log, counted(left as usize, "connection"));
                    match left {
                        0 => log.notice(&format!("process {pid} has drained")),
                        _ => log.err(&format!("process {pid} has ended with {lost}")),
                    }
                    self.serving.status.ended(pid);
                }
            }
        }
        self.serving.base.count_elsewhere(self.takeover.older.left());
    }
}

#[cfg(test)]
mod tests;
