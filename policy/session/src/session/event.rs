//! What happens to a session, and what the monitor is to do.

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

/// What may have to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The addresses of the destination's name.
    Addresses,
    /// What the destination's addresses are to this host.
    Kinds,
    /// The client's names.
    SourceNames,
    /// The destination's names.
    DestinationNames,
    /// The client's user, from its identd.
    Identity,
    /// The addresses of a next server's name.
    UpstreamAddresses,
    /// What a next server's addresses are to this host.
    UpstreamKinds,
}

/// What a session waits for under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// What becomes of a password.
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

/// What happens to a session.
#[derive(Debug)]
pub enum Event {
    /// The worker has read a password, and says whose it is to be.
    Introduced(message::UserId),
    /// The worker has read a request.
    Requested(Request),
    /// The worker has ended the session.
    Closed(CloseReason),
    /// The monitor has looked at both connections of the relay.
    Inspected(Flow),
    /// The monitor has closed both connections of the relay, which had moved this.
    RelayClosed(Moved),
    /// UDP ASSOCIATE: datagrams of the client are expected at this address, or cannot be.
    Associated(Result<SocketAddr, Failure>),
    /// The association has ended for this reason, and had moved this.
    Dissociated(EndCause, Moved),
    /// Something has come that the session waits for under this key, or does no more.
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

/// What comes to a session that waits for it.
#[derive(Debug)]
pub enum Arrival {
    /// It is known what becomes of the password.
    LoggedIn(Login),
    /// The resolver has answered.
    Resolved(Answer),
    /// What this host knows of the addresses asked about.
    Classified(Vec<Candidate>),
    /// identd has answered.
    Identified(Identity),
    /// The connection to the candidate stands, or does not.
    Dialled(Result<(), FailedCall>),
    /// The port for a BIND is open, or cannot be opened.
    Listening(Result<SocketAddr, FailedCall>),
    /// The client is with a worker of its user.
    Settled,
    /// The line has room, and the connection is counted.
    Counted,
    /// This limit admits no further connection, port for a BIND, request to a next server, or question to an identd.
    NoRoom(Limit),
    /// The next server has replied, or will not.
    Replied(NextReply),
    /// Somebody has connected to the port of a BIND, or nobody can any more.
    Accepted(Result<SocketAddr, FailedCall>),
}

/// An address that may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: IpAddr,
    /// What it is to this host.
    pub kind: AddressKind,
    /// Address and port are the proxy's own.
    pub own_listener: bool,
    /// As a next server it could not be reached a short while ago.
    pub unreachable: bool,
    /// The address that this host would speak to it from; nothing where no route leads there.
    pub source: Option<IpAddr>,
}

/// What the monitor is to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Record this.
    Record(Box<Record>),
    /// Begin this. What comes of it is told with the key, until it is given up.
    Begin(WaitKey, Task),
    /// Give up what has been begun with this key, and close what belongs to it.
    GiveUp(WaitKey),
    /// Tell the worker that the password is accepted.
    Accept,
    /// Tell the worker the address that is listened at.
    Announce(SocketAddr),
    /// Open a port for the datagrams of the client.
    Associate {
        /// The port that the client says it will send from; 0 where it does not say.
        hint: u16,
    },
    /// Tell the worker where the client may send its datagrams.
    Associated(SocketAddr),
    /// End everything of the association, for this reason.
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
    /// Hand the worker the server that belongs to the key, and give up everything else.
    HandOff {
        /// What has led to the server.
        key: WaitKey,
        /// Address for the reply; nothing: that of this host's end of the connection.
        bound: Option<SocketAddr>,
        /// The line that permits it, where it limits anything; from the first byte on.
        line: Option<Box<Line>>,
    },
    /// From now on this line permits the relay, where that limits anything.
    Limit(Option<Box<Line>>),
    /// Look at both connections of the relay.
    Inspect,
    /// Close both connections of the relay for whoever has them open: after an orderly end by shutting down what is not
    /// closed yet, else by a reset, as a FIN would make a cut transfer look whole.
    CloseRelay {
        /// Both sides have ended their streams.
        orderly: bool,
    },
    /// Reset the connection to the client, whose worker has ended.
    Reset,
    /// Tell the worker to refuse, and give up everything that has been begun.
    Refuse(RefusalReason),
    /// Tell the worker to end the session, and give up everything that has been begun.
    End,
    /// Wait no longer than this; nothing: as long as it takes.
    Deadline(Option<Duration>),
    /// The session is over: give up everything that has been begun.
    Remove,
    /// The worker has said what it could not honestly say.
    Violation(&'static str),
}

/// What the monitor does for a session that waits for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Have the password checked that the worker has said.
    Verify,
    /// Ask the resolver.
    Resolve(Query),
    /// Find out what these addresses are to this host; the port tells own listeners.
    Classify(Vec<IpAddr>, u16),
    /// Ask the client's identd.
    AskIdent,
    /// Connect.
    Dial {
        /// To exactly this address.
        to: SocketAddr,
        /// From this one, where the route file says so.
        from: Option<IpAddr>,
        /// From a port that only root can have.
        reserved: bool,
    },
    /// Open a port for a BIND.
    Listen {
        /// The server is expected from here.
        towards: IpAddr,
        /// The address to listen at, where the route file says so.
        at: Option<IpAddr>,
        /// At a port that only root can have.
        reserved: bool,
    },
    /// See that the client is with a worker of this user and of nobody else; another worker goes on from there.
    Settle(Verified, Handshake),
    /// Count the connection by this line, where it has room for one more.
    Count(Box<Line>),
    /// Have the next server asked, to which the connection with the same key stands.
    AskUpstream(SocketAddr, Box<Request>),
}

impl From<Record> for Action {
    fn from(record: Record) -> Self {
        Self::Record(Box::new(record))
    }
}
