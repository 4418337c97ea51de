//! Messages to the service manager (sd_notify(3)). The socket is opened before the lockdown, and no write waits: a
//! service manager that does not read loses messages.

use nix::time::ClockId;
use rustix::net::{SendFlags, send};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How often the state is told without a watchdog.
const NEWS: Duration = Duration::from_secs(15);

/// The connection to the service manager; without one, everything here does nothing.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<OwnedFd>,
    watchdog: Option<Duration>,
    beat_at: Option<Instant>,
    status: String,
}

impl Notifier {
    /// Takes a socket connected to the service manager, which kills a daemon that is silent for as long as `watchdog`.
    pub fn new(socket: OwnedFd, watchdog: Option<Duration>) -> Self {
        Self { socket: Some(socket), watchdog, ..Self::default() }
    }

    /// Sets how long the daemon may be silent before the service manager kills it.
    pub fn watch(&mut self, watchdog: Option<Duration>) {
        self.watchdog = watchdog;
    }

    /// How long the daemon may be silent; `None` without a limit.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells that another process is the daemon.
    pub fn main_process(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}\n"));
    }

    /// Whether a service manager listens.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells that the daemon serves, for the first time or again.
    pub fn ready(&mut self, status: &str) {
        self.status = status.to_owned();
        self.beat_at = self.next_beat(Instant::now());
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Tells that the daemon reads its files again; [`Notifier::ready`] has to follow.
    pub fn reloading(&self) {
        // Through the C library: it has looked up its vDSO at the start, and another library would do so only here.
        let now = ClockId::CLOCK_MONOTONIC.now().map(Duration::from).unwrap_or_default();
        let micros = now.as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// Tells that the daemon accepts no more clients.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping\n");
    }

    /// When the next sign of life is due.
    pub fn beat_at(&self) -> Option<Instant> {
        self.beat_at
    }

    /// Gives a sign of life, and the state if it has changed.
    pub fn beat(&mut self, now: Instant, status: String) {
        self.beat_at = self.next_beat(now);
        match status == self.status {
            true => self.tell("WATCHDOG=1\n"),
            false => self.tell(&format!("WATCHDOG=1\nSTATUS={status}\n")),
        }
        self.status = status;
    }

    /// The time of the next sign of life: two in the time that a watchdog gives.
    fn next_beat(&self, now: Instant) -> Option<Instant> {
        let half = self.watchdog.and_then(|time| time.checked_div(2));
        self.socket.as_ref().and_then(|_| now.checked_add(half.map_or(NEWS, |half| half.min(NEWS))))
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = send(socket, message.as_bytes(), SendFlags::NOSIGNAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn next(manager: &UnixDatagram) -> String {
        let mut packet = [0; 200];
        let length = manager.recv(&mut packet).unwrap();
        String::from_utf8_lossy(&packet[..length]).into_owned()
    }

    #[test]
    fn the_service_manager_hears_of_every_change() {
        let (ours, manager) = UnixDatagram::pair().unwrap();
        let mut notifier = Notifier::new(ours.into(), Some(Duration::from_secs(4)));
        notifier.ready("1 rule");
        assert_eq!(next(&manager), "READY=1\nSTATUS=1 rule\n");
        let due = notifier.beat_at().unwrap();
        assert!(due <= Instant::now() + Duration::from_secs(2));
        notifier.beat(due, "1 rule".into());
        assert_eq!(next(&manager), "WATCHDOG=1\n");
        notifier.beat(due, "2 rules".into());
        assert_eq!(next(&manager), "WATCHDOG=1\nSTATUS=2 rules\n");
        notifier.reloading();
        let time =
            next(&manager).strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse::<u64>();
        assert!(time.unwrap() > 0);
        notifier.stopping();
        assert_eq!(next(&manager), "STOPPING=1\nSTATUS=stopping\n");
    }

    #[test]
    fn without_a_service_manager_nothing_is_due() {
        let mut notifier = Notifier::default();
        notifier.ready("1 rule");
        notifier.stopping();
        assert!(!notifier.is_heard() && notifier.beat_at().is_none());
    }
}
