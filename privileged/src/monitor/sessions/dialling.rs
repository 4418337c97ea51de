//! The connections that sessions wait for, and how long each has taken.

use super::{Held, Sessions};
use crate::monitor::base::Base;
use crate::monitor::dial::{Begun, Caller};
use crate::net::dial::{Dial, Dialled};
use sockd_session::counting::Counting;
use sockd_session::{Arrival, Waiter};
use std::time::Instant;

impl Sessions {
    /// Begins to connect for a session. Gives what has come of it where that is known at once.
    pub(super) fn dial(&mut self, waiter: Waiter, dial: Dial, base: &mut Base) -> Option<Arrival> {
        let since = Instant::now();
        match base.dial(dial, Caller::Session(waiter)) {
            Ok(Begun::Pending(dial)) => {
                let entry = self.0.get_mut(waiter.session)?;
                entry.held.insert(waiter.key, Held::Dial(dial, since));
                None
            }
            Ok(Begun::Connected(server)) => {
                base.counting.dialled(since.elapsed());
                Some(self.dialled(waiter, Ok(server), base.counting))
            }
            Err(failed) => Some(Arrival::Dialled(Err(failed))),
        }
    }

    /// It is known what became of a session's connection.
    pub fn dialled(&mut self, waiter: Waiter, dialled: Dialled, counting: Counting) -> Arrival {
        let Some(entry) = self.0.get_mut(waiter.session) else { return Arrival::Dialled(dialled.map(drop)) };
        if let Some(Held::Dial(_, since)) = entry.held.remove(waiter.key) {
            counting.dialled(since.elapsed());
        }
        Arrival::Dialled(dialled.map(|server| drop(entry.held.insert(waiter.key, Held::Server(server)))))
    }
}
