//! Starts the first worker, to detect a worker of another protocol, or a kernel that lacks what the settings require,
//! before the first client comes.

use crate::monitor::base::Base;
use crate::monitor::pool::Workers;
use crate::monitor::roles::FromWorker;
use crate::process::descriptors::readable;
use sockd_common::channel::Received;
use sockd_common::message::session::FromSession;
use sockd_common::message::{LockdownReport, Role};
use sockd_session::sandbox;
use std::time::{Duration, Instant};

/// How long it may take to lock itself down.
const LIMIT: Duration = Duration::from_secs(20);

/// How often that limit is checked.
const STEP: Duration = Duration::from_millis(100);

/// How long the spawner may take to report an end.
const TOLD: Duration = Duration::from_secs(5);

/// Starts the first spare worker and waits until it is locked down.
pub fn start(base: &mut Base) -> Result<LockdownReport, String> {
    let key = base.start_worker(Role::Session).ok_or("no worker can be started")?;
    base.workers.pool.keep_spare(key);
    base.workers.flush_all(&mut base.reactor);
    let begun = Instant::now();
    loop {
        match base.workers.receive(key) {
            Ok(Received::Message(FromWorker::Session(FromSession::Ready(report)), _)) => {
                sandbox::acceptable(&report, &base.config.settings)?;
                base.workers.mark_ready(key);
                return Ok(report);
            }
            Ok(Received::Nothing) if begun.elapsed() < LIMIT => {}
            Ok(Received::Nothing) => {
                return Err("the first sockd-worker is not ready within 20 seconds".into());
            }
            Ok(_) => return Err(format!("the first sockd-worker has ended: {}", ending(&base.workers))),
            Err(error) => return Err(format!("the first worker: {error}")),
        }
        let worker = base.workers.pool.workers.get(key).ok_or("the first worker is gone")?;
        readable(&worker.channel, STEP).map_err(|error| format!("poll: {error}"))?;
    }
}

/// How it ended; the spawner reports that within a moment.
fn ending(workers: &Workers) -> String {
    let _ = readable(workers.spawner(), TOLD);
    match workers.hear_spawner() {
        Ok(Some((_, how))) => how.to_string(),
        _ => "and the spawner does not tell how".into(),
    }
}
