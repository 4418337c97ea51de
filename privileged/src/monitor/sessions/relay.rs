//! The relays of sessions: the worker moves the bytes, and the monitor keeps the connections.

use super::{Entry, Relay, Sessions};
use crate::monitor::base::Base;
use crate::net::connection::{end, inspect, pace, reset};
use crate::net::sockets::keep_alive;
use sockd_policy::in_words;
use sockd_session::flow::{Connection, Flow};
use sockd_session::limits::lines::Line;
use sockd_session::{Event, Keepalive, Moved, SessionKey};

impl Sessions {
    /// The state of both connections by the kernel.
    pub fn inspect(&self, key: SessionKey) -> Option<Flow> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_deref().map_or(Connection::CLOSED, inspect);
        Some(Flow { client, server: inspect(&entry.relay.as_ref()?.server) })
    }

    /// The same in the relay's turn. From the first turn on the kernel probes the server: most relays are over before
    /// that, and it takes four calls for each.
    pub fn look_after(&mut self, key: SessionKey, keepalive: Option<Keepalive>) -> Option<Flow> {
        let relay = self.0.get_mut(key)?.relay.as_mut()?;
        if !std::mem::replace(&mut relay.is_kept_alive, true) {
            keep_alive(&relay.server, keepalive);
        }
        self.inspect(key)
    }

    /// Limits a relay that begins. If the line has changed since the request was counted, it may be full.
    pub fn limit_first(&mut self, key: SessionKey, line: Option<Box<Line>>, base: &mut Base) {
        let has_room = line.as_ref().is_none_or(|line| base.lines.enter(key, (**line).clone()));
        self.limit(key, line, base);
        if !has_room {
            self.cut(key, "n= of its line is reached", base);
        }
    }

    /// Makes this line limit a session: its rates, and with them perhaps those of others.
    pub fn limit(&mut self, key: SessionKey, line: Option<Box<Line>>, base: &mut Base) {
        base.lines.keep(key, line.map(|line| *line));
        for (key, (down, up)) in base.lines.set_anew() {
            let Some(Entry { client: Some(client), relay: Some(relay), .. }) = self.0.get(key) else {
                continue;
            };
            if let Err(error) = pace(client, down).and_then(|()| pace(&relay.server, up)) {
                self.cut(key, &format!("its rate cannot be limited: {}", in_words(error)), base);
            }
        }
    }

    /// Resets both connections of a relay that may not go on.
    fn cut(&self, key: SessionKey, why: &str, base: &mut Base) {
        let Some(Entry { client: Some(client), relay: Some(relay), .. }) = self.0.get(key) else { return };
        reset(client);
        reset(&relay.server);
        base.log.quiet_err(&format!("a connection is cut: {why}"));
    }

    /// Closes both connections, for every holder, and returns what they have moved.
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
