//! The events of a session, and the actions for the monitor.

use crate::checks::Login;
use crate::flow::{Flow, Moved};
use crate::hook_values::Values;
use crate::limits::limit::Limit;
use crate::limits::lines::Line;
use crate::pool::Verified;
use crate::record::{EndCause, FailedCall, Failure, Record};
use crate::waits::WaitKey;
use sockd_common::message;
use sockd_common::message::request::{RefusalReason, Request};
use sockd_common::message::resolver::{Answer, Query};
use sockd_common::message::session::{CloseReason, Handshake};
use sockd_common::message::upstream::NextReply;
use sockd_policy::Identity;
use sockd_policy::guard::AddressKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A fact that may have to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The addresses of the destination's name.
    Addresses,
    /// The kinds of the destination's addresses, as seen by this host.
    Kinds,
    /// The client's names.
    SourceNames,
    /// The destination's names.
    DestinationNames,
    /// The client's user, from its identd.
    Identity,
    /// The addresses of a next server's name.
    UpstreamAddresses,
    /// The kinds of a next server's addresses, as seen by this host.
    UpstreamKinds,
}

/// The thing that a session waits for under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The result of a password check.
    Login,
    /// A fact.
    Fact(Fact),
    /// The connection to the candidate in this place.
    Connection(u8),
    /// The port of a BIND, and the peer there.
    Port,
    /// The connection to a next server.
    UpstreamConnection,
    /// The reply of a next server.
    UpstreamReply,
    /// The peer of a BIND, at a next server.
    UpstreamPeer,
    /// The worker of the verified user.
    Worker,
    /// Whether the line has room for one more connection.
    Line,
}

/// An event of a session.
#[derive(Debug)]
pub enum Event {
    /// The worker has read a password, and names its user.
    Introduced(message::UserId),
    /// The worker has read a request.
    Requested(Request),
    /// The worker has ended the session.
    Closed(CloseReason),
    /// The monitor has looked at both connections of the relay.
    Inspected(Flow),
    /// The monitor has closed both connections of the relay, which had moved this many bytes.
    RelayClosed(Moved),
    /// UDP ASSOCIATE: datagrams of the client are expected at this address, or the port could not be opened.
    Associated(Result<SocketAddr, Failure>),
    /// The association has ended for this reason, and had moved this many bytes.
    Dissociated(EndCause, Moved),
    /// A result has come for which the session waits under this key, or no longer does.
    Arrived(WaitKey, Arrival),
    /// The deadline of the phase has passed.
    Deadline,
    /// The worker is gone.
    WorkerLost,
    /// New rules are in force.
    Recheck,
    /// The monitor wants this session to end.
    Stop,
    /// An administrator wants this session to end.
    Killed,
}

/// A result for a session that waits for it.
#[derive(Debug)]
pub enum Arrival {
    /// The password has been checked, or will not be.
    LoggedIn(Login),
    /// The resolver has answered.
    Resolved(Answer),
    /// The addresses in question, with their kinds.
    Classified(Vec<Candidate>),
    /// identd has answered.
    Identified(Identity),
    /// The connection is established, or has failed.
    Dialled(Result<(), FailedCall>),
    /// The port for a BIND is open, or could not be opened.
    Listening(Result<SocketAddr, FailedCall>),
    /// The client is with a worker of its user.
    Settled,
    /// The line has room, and the connection is counted.
    Counted,
    /// This limit refuses a connection, port for a BIND, request to a next server, or question to an identd.
    NoRoom(Limit),
    /// The next server has replied, or will not.
    Replied(NextReply),
    /// A peer has connected to the port of a BIND, or accepting has failed.
    Accepted(Result<SocketAddr, FailedCall>),
}

/// An address that may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: IpAddr,
    /// Its kind, as seen by this host.
    pub kind: AddressKind,
    /// Whether address and port are the proxy's own.
    pub own_listener: bool,
    /// Whether it could not be reached as a next server a short while ago.
    pub unreachable: bool,
    /// The source address that this host would use for it; `None` if no route leads there.
    pub source: Option<IpAddr>,
}

/// An action for the monitor; actions are carried out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Record this.
    Record(Box<Record>),
    /// Begin this task. Its results are told with the key, until it is given up.
    Begin(WaitKey, Task),
    /// Give up the task with this key, and close its resources.
    GiveUp(WaitKey),
    /// Tell the worker that the password is accepted.
    Accept,
    /// Tell the worker the address of the listening port.
    Announce(SocketAddr),
    /// Open a port for the datagrams of the client.
    Associate {
        /// The port that the client says it will send from; 0 if it does not say.
        hint: u16,
    },
    /// Tell the worker the address for the client's datagrams.
    Associated(SocketAddr),
    /// End the whole association, for this reason.
    Dissociate(EndCause),
    /// Close the connection that has come to this port, and go on waiting there.
    CloseStranger(WaitKey),
    /// Run this command of the rules.
    Run(String, Box<Values>),
    /// Remember whether a next server could be reached.
    Remember {
        /// The server.
        next: SocketAddr,
        /// Whether it could.
        reachable: bool,
    },
    /// Hand the worker the server's socket under the key, and give up all other tasks.
    HandOff {
        /// The key of the task that has led to the server.
        key: WaitKey,
        /// The address for the reply; `None` stands for that of this host's end of the connection.
        bound: Option<SocketAddr>,
        /// The line that permits the relay, if it limits anything; it applies from the first byte on.
        line: Option<Box<Line>>,
    },
    /// This line permits the relay from now on; `None` if the line limits nothing.
    Limit(Option<Box<Line>>),
    /// Look at both connections of the relay.
    Inspect,
    /// Close both connections of the relay, whoever has them open. After an orderly end that is a shutdown of the
    /// directions still open, else a reset, as a FIN would make a cut transfer look whole.
    CloseRelay {
        /// Whether both sides have ended their streams.
        orderly: bool,
    },
    /// Reset the connection to the client, whose worker has ended.
    Reset,
    /// Tell the worker to refuse, and give up all tasks.
    Refuse(RefusalReason),
    /// Tell the worker to end the session, and give up all tasks.
    End,
    /// Wait no longer than this; `None`: without a limit.
    Deadline(Option<Duration>),
    /// The session is over: give up all tasks.
    Remove,
    /// The worker has sent a message that no honest worker sends.
    Violation(&'static str),
}

/// A task of the monitor for a session that waits for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Have the password that the worker has sent checked.
    Verify,
    /// Ask the resolver.
    Resolve(Query),
    /// Find out the kinds of these addresses; the port tells own listeners.
    Classify(Vec<IpAddr>, u16),
    /// Ask the client's identd.
    AskIdent,
    /// Connect.
    Dial {
        /// To exactly this address.
        to: SocketAddr,
        /// From this address, if the route file says so.
        from: Option<IpAddr>,
        /// From a port that only root can have.
        reserved: bool,
    },
    /// Open a port for a BIND.
    Listen {
        /// The server is expected from here.
        towards: IpAddr,
        /// The address to listen at, if the route file says so.
        at: Option<IpAddr>,
        /// At a port that only root can have.
        reserved: bool,
    },
    /// Ensure that the client is with a worker of this user alone. If that is another worker, it goes on from there.
    Settle(Verified, Handshake),
    /// Count the connection by this line, if it has room for one more.
    Count(Box<Line>),
    /// Have the next server asked over the connection with the same key.
    AskUpstream(SocketAddr, Box<Request>),
}

impl From<Record> for Action {
    fn from(record: Record) -> Self {
        Self::Record(Box::new(record))
    }
}
