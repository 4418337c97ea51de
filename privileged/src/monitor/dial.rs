//! Connections to destinations, upstreams, identds and nameservers. A caller gets its connection when it is made and
//! the peer is the one that was dialled.

use crate::monitor::reactor::{EventFlags, Reactor, Token};
use crate::net::dial::{Dial, Dialled, finish, is_settled, set_out};
use crate::net::sockets::failed;
use rustix::io::Errno;
use sockd_common::message::resolver::RecordType;
use sockd_session::{DialKey, FailedCall, LookupKey, QueryKey, Slots, Waiter};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The caller for which a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A session, which waits for its destination or an upstream.
    Session(Waiter),
    /// A lookup, for a nameserver and this type of record.
    Lookup(LookupKey, RecordType),
    /// A query, for an identd.
    Query(QueryKey),
}

/// The connections that are being made.
#[derive(Debug, Default)]
pub struct Dials(Slots<Pending, 'd'>);

#[derive(Debug)]
struct Pending {
    socket: OwnedFd,
    to: SocketAddr,
    caller: Caller,
}

/// The state of a connection after connect(2).
#[derive(Debug)]
pub enum Begun {
    /// It is made, and the peer is the one that was dialled.
    Connected(OwnedFd),
    /// It is being made.
    Pending(DialKey),
}

impl Dials {
    /// Begins to connect.
    pub fn begin(&mut self, dial: Dial, caller: Caller, reactor: &mut Reactor) -> Result<Begun, FailedCall> {
        let socket = match set_out(dial)? {
            (socket, true) => return Ok(Begun::Connected(socket)),
            (socket, false) => socket,
        };
        let key = self.0.next_key();
        reactor.watch(&socket, Token::Dial(key), EventFlags::OUT).map_err(failed("epoll_ctl"))?;
        reactor.set_deadline(Token::Dial(key), dial.due);
        Ok(Begun::Pending(self.0.insert(Pending { socket, to: dial.to, caller })))
    }

    /// Takes a connection that has become writable. Returns its caller and the outcome. One turn of the loop may give
    /// up a connection and begin another with its key while an event of the first is still pending.
    pub fn ready(&mut self, key: DialKey, reactor: &mut Reactor) -> Option<(Caller, Dialled)> {
        let is_settled = self.0.get(key).is_some_and(|pending| is_settled(&pending.socket));
        let pending = is_settled.then(|| self.remove(key, reactor)).flatten()?;
        Some((pending.caller, finish(pending.socket, pending.to)))
    }

    /// Ends a connection whose time is over. Returns its caller and the outcome.
    pub fn overdue(&mut self, key: DialKey, reactor: &mut Reactor) -> Option<(Caller, Dialled)> {
        let pending = self.remove(key, reactor)?;
        Some((pending.caller, Err(failed("connect")(Errno::TIMEDOUT))))
    }

    /// Cancels a connection that nobody waits for any longer. It may be over already, and its key reused.
    pub fn cancel(&mut self, key: DialKey, caller: Caller, reactor: &mut Reactor) {
        if self.0.get(key).is_some_and(|pending| pending.caller == caller) {
            drop(self.remove(key, reactor));
        }
    }

    fn remove(&mut self, key: DialKey, reactor: &mut Reactor) -> Option<Pending> {
        let pending = self.0.remove(key)?;
        reactor.unwatch(&pending.socket);
        reactor.set_deadline(Token::Dial(key), None);
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets;
    use sockd_session::keys::Key;
    use std::net::{IpAddr, TcpListener};
    use std::time::Instant;

    const CALLER: Caller = Caller::Query(Key::new(7));

    /// A connection from beginning to end.
    fn dialled(to: SocketAddr, from: Option<IpAddr>) -> Dialled {
        let (mut dials, mut reactor) = (Dials::default(), Reactor::new().unwrap());
        match dials.begin(Dial { to, from, reserved: false, due: None }, CALLER, &mut reactor)? {
            Begun::Connected(socket) => Ok(socket),
            Begun::Pending(key) => loop {
                if let Some((caller, dialled)) = dials.ready(key, &mut reactor) {
                    assert_eq!((caller, dials.0.is_empty()), (CALLER, true));
                    return dialled;
                }
            },
        }
    }

    #[test]
    fn a_closed_port_is_refused_by_the_name_of_the_call() {
        let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(dialled(to, None).unwrap_err(), failed("connect")(Errno::CONNREFUSED));
    }

    /// A port whose backlog is full answers nothing.
    #[test]
    fn a_connection_is_given_up_when_it_is_due_and_by_its_caller_alone() {
        let silent = sockets::listener("127.0.0.6".parse().unwrap(), [0]).unwrap();
        let (mut dials, mut reactor) = (Dials::default(), Reactor::new().unwrap());
        let due = Instant::now().checked_add(std::time::Duration::from_secs(3600));
        let dial = Dial { to: silent.1, from: None, reserved: false, due };
        let mut connected = Vec::new();
        let mut begin = |dials: &mut Dials, reactor: &mut Reactor| loop {
            match dials.begin(dial, CALLER, reactor).unwrap() {
                Begun::Connected(socket) => connected.push(socket),
                Begun::Pending(key) => return key,
            }
        };
        let key = begin(&mut dials, &mut reactor);
        assert!(dials.ready(key, &mut reactor).is_none(), "it is still on its way");
        dials.cancel(key, Caller::Query(Key::new(8)), &mut reactor);
        assert_eq!(reactor.take_due(due.unwrap()), Some(Token::Dial(key)));
        let (caller, dialled) = dials.overdue(key, &mut reactor).unwrap();
        assert_eq!((caller, dialled.unwrap_err()), (CALLER, failed("connect")(Errno::TIMEDOUT)));
        let key = begin(&mut dials, &mut reactor);
        dials.cancel(key, CALLER, &mut reactor);
        assert_eq!(
            (dials.overdue(key, &mut reactor).is_none(), reactor.take_due(due.unwrap())),
            (true, None)
        );
    }
}
