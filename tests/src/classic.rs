//! The classic log lines as the manual shows them, with facility and level before them.

/// One session as its lines name it: `Connect from U(R)@SRC to DST (SERV)`.
pub struct Session {
    /// The claimed user as it is logged.
    pub user: String,
    /// The answer of identd.
    pub real_user: String,
    /// The client.
    pub source: String,
    /// The destination.
    pub destination: String,
    /// Service name or port.
    pub service: String,
}

impl Session {
    /// By joe, without a question to an identd.
    pub fn of(source: impl ToString, destination: impl ToString, service: impl ToString) -> Self {
        Self {
            user: "joe".into(),
            real_user: "unknown".into(),
            source: source.to_string(),
            destination: destination.to_string(),
            service: service.to_string(),
        }
    }

    /// By another user.
    pub fn by(self, user: &str) -> Self {
        Self { user: user.into(), ..self }
    }

    fn text(&self) -> String {
        let Self { user, real_user, source, destination, service } = self;
        format!("Connect from {user}({real_user})@{source} to {destination} ({service})")
    }

    /// The line at the beginning of a relay.
    pub fn connected(&self) -> String {
        format!("daemon.notice connected -- {}", self.text())
    }

    /// The lines of a whole session with these byte counts.
    pub fn relayed(&self, up: u64, down: u64) -> Vec<String> {
        let Self { source, destination, .. } = self;
        vec![
            self.connected(),
            format!("daemon.notice terminated -- {}", self.text()),
            format!("daemon.notice {up} bytes from {source}, {down} bytes from {destination}"),
        ]
    }

    /// The line of a refusal.
    pub fn refused(&self) -> String {
        format!("daemon.notice refused -- {}", self.text())
    }

    /// The lines of a refusal by a guard.
    pub fn guarded(&self, why: &str) -> Vec<String> {
        vec![self.refused(), format!("daemon.notice guarded destination: {why}")]
    }

    /// The line of a connection that failed in a call.
    pub fn failed(&self, call: &str, why: &str) -> String {
        format!("daemon.notice failed -- {}.  Error code: {call}() {why}", self.text())
    }

    /// The line of a destination that did not answer in time.
    pub fn timed_out(&self) -> String {
        format!("daemon.notice timed-out -- {}", self.text())
    }
}
