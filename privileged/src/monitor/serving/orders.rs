//! Obeys orders: a session is ended, or new clients are held off. No other orders exist.

use crate::monitor::serving::Serving;
use crate::net::unix::Caller;
use sockd_common::status::{Answer, Order};
use sockd_session::{ControllerKey, Event};

/// The most orders taken from one connection before the others have their turn.
const ORDERS_PER_TURN: usize = 64;

impl Serving {
    /// Takes orders from a connection.
    pub fn hear_orders(&mut self, key: ControllerKey) {
        for _ in 0..ORDERS_PER_TURN {
            let Some((caller, order)) = self.control.hear(key, &mut self.base.reactor) else { return };
            let Some(order) = order else {
                let line = format!("what uid {} says on the control socket is no order", caller.uid);
                self.base.log.quiet_err(&line);
                return self.control.close(key, &mut self.base.reactor);
            };
            let answer = self.obey(order, caller);
            self.control.answer(key, answer, &mut self.base.reactor);
        }
    }

    /// Serves no new clients, as an administrator has told the tree before this one.
    pub fn stay_closed(&mut self) {
        if !self.clients.admission.drains {
            self.turn_clients_away(true);
            self.base.log.notice("no new clients are served, as before the takeover");
        }
    }

    fn turn_clients_away(&mut self, drains: bool) {
        self.clients.admission.drains = drains;
        self.base.ledger.draining(drains);
    }

    fn obey(&mut self, order: Order, Caller { uid, pid }: Caller) -> Answer {
        let by = format!("by order of uid {uid}, process {pid}");
        match order {
            Order::Kill { place, number } => {
                let Some((key, client)) = self.sessions.numbered(place, number) else {
                    return Answer::NoSession;
                };
                self.base.log.notice(&format!("session {number} of {client} is ended {by}"));
                self.base.ledger.killed();
                self.dispatch(key, Event::Killed);
            }
            Order::Drain | Order::Resume => {
                let drains = order == Order::Drain;
                self.turn_clients_away(drains);
                let what = if drains { "no new clients are served" } else { "new clients are served again" };
                self.base.log.notice(&format!("{what}, {by}"));
            }
        }
        Answer::Done
    }
}
