//! Their relays: the worker moves the bytes, the monitor keeps the connections.

use super::{Entry, Relay, Sessions};
use crate::monitor::base::Base;
use crate::monitor::connection::{end, inspect, pace, reset};
use crate::monitor::sockets::keep_alive;
use sockd_policy::{Limits, in_words};
use sockd_session::flow::{Connection, Flow, Moved};
use sockd_session::keys::SessionKey;
use sockd_session::session::Event;
use sockd_session::settings::Keepalive;

impl Sessions {
    /// What the kernel says of both connections.
    pub fn inspect(&self, key: SessionKey) -> Option<Flow> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_deref().map_or(Connection::CLOSED, inspect);
        Some(Flow { client, server: inspect(&entry.relay.as_ref()?.server) })
    }

    /// The same when it is the relay's turn. From the first time on the kernel asks the server whether it is still there: most
    /// relays are over before, and it would be four calls for each.
    pub fn look_after(&mut self, key: SessionKey, keepalive: Option<Keepalive>) -> Option<Flow> {
        let relay = self.0.get_mut(key)?.relay.as_mut()?;
        if !std::mem::replace(&mut relay.is_kept_alive, true) {
            keep_alive(&relay.server, keepalive);
        }
        self.inspect(key)
    }

    /// Limits the rates of a relay: down where the client's connection sends, and up where the server's does.
    pub fn limit(&mut self, key: SessionKey, limits: Limits, base: &mut Base) -> Option<Event> {
        let Entry { client: Some(client), relay: Some(relay), .. } = self.0.get_mut(key)? else {
            return None;
        };
        if std::mem::replace(&mut relay.limits, limits) == limits {
            return None;
        }
        let error = pace(client, limits.down).and_then(|()| pace(&relay.server, limits.up)).err()?;
        base.log
            .quiet_err(&format!("a connection is ended: its rate cannot be limited: {}", in_words(error)));
        Some(Event::Stop)
    }

    /// Closes both connections, for whoever has them open, and says what they have moved.
    pub fn close_relay(&mut self, key: SessionKey, orderly: bool) -> Event {
        let flow = self.inspect(key);
        let parts = self.0.get_mut(key).and_then(|entry| Some((entry.client.take()?, entry.relay.take()?)));
        let (Some(flow), Some((client, Relay { server, before, .. }))) = (flow, parts) else {
            return Event::RelayClosed(Moved::default());
        };
        for (socket, connection) in [(client, flow.client), (server, flow.server)] {
            match orderly {
                true if !connection.is_over() => end(&socket),
                false if !connection.is_closed() => reset(&socket),
                _ => {}
            }
        }
        Event::RelayClosed(flow.moved(before.map_or(Moved::default(), |before| *before), orderly))
    }

    /// Resets the connection to the client.
    pub fn reset(&mut self, key: SessionKey) {
        let client = self.0.get_mut(key).and_then(|entry| entry.client.take());
        client.iter().for_each(|client| reset(client));
    }
}
