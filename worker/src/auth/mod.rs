//! The auth worker compares passwords with the table of users.

use crate::Ending;
use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use crate::poll_loop;
use sockd_common::message::auth::{FromAuth, ToAuth, Verdict};
use sockd_lockdown::Row;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut auth = Auth { outbox: Outbox::new(inherited.channel) };
    auth.outbox.push(FromAuth::Ready(locks));
    loop {
        if let Err(ending) = auth.take_turn() {
            return ending;
        }
    }
}

struct Auth {
    outbox: Outbox<FromAuth, ToAuth>,
}

impl Auth {
    fn take_turn(&mut self) -> Result<(), Ending> {
        self.outbox.flush()?;
        poll_loop::wait(&self.outbox, std::iter::empty())?;
        // While the monitor does not read, nothing more is received from it.
        if self.outbox.is_stuck() {
            return Ok(());
        }
        let Some(Incoming { message, .. }) = self.outbox.receive()? else { return Ok(()) };
        match message {
            ToAuth::Setup | ToAuth::Cancel { .. } => {}
            ToAuth::Table => self.outbox.push(FromAuth::TableUnread),
            ToAuth::Check { id, .. } => {
                self.outbox.push(FromAuth::Verdict { id, verdict: Verdict::Unchecked })
            }
        }
        Ok(())
    }
}
