//! identd on a client host (RFC 1413): a real oidentd, and one that answers as a test wants.

use crate::far::Server;
use crate::host::Host;
use crate::line::Line;
use crate::program::Program;
use crate::wait::{LONG, until_true};
use nix::unistd::{Uid, setfsuid};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const PORT: u16 = 113;

/// A query as it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// The host that asked.
    pub from: IpAddr,
    /// The line with its end.
    pub line: String,
}

impl Query {
    /// The two ports of the connection that is asked about: the client's and the proxy's.
    pub fn ports(&self) -> (u16, u16) {
        let (client, server) = self.line.trim().split_once(',').expect("two ports");
        (client.trim().parse().expect("a port"), server.trim().parse().expect("a port"))
    }

    /// The answer of an honest identd that names this user.
    pub fn names(&self, user: &str) -> String {
        let (client, server) = self.ports();
        format!("{client} , {server} : USERID : UNIX :{user}\r\n")
    }
}

type Behaviour = Arc<dyn Fn(&Query, TcpStream) -> io::Result<()> + Send + Sync>;

/// An identd in the hands of a test.
pub struct Identd {
    behaviour: Arc<Mutex<Behaviour>>,
    queries: Arc<Mutex<Vec<Query>>>,
    _server: Server,
}

impl Identd {
    /// Listens on `host` and is silent until told otherwise.
    pub fn start(host: &Host, address: impl Into<IpAddr>) -> Self {
        let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Arc::new(|_, stream| silence(stream))));
        let queries = Arc::new(Mutex::new(Vec::new()));
        let (now, asked) = (Arc::clone(&behaviour), Arc::clone(&queries));
        let server = Server::start(host, SocketAddr::new(address.into(), PORT), move |stream| {
            let from = stream.peer_addr()?.ip();
            let mut line = String::new();
            BufReader::new(stream.try_clone()?).read_line(&mut line)?;
            let query = Query { from, line };
            asked.lock().expect("queries").push(query.clone());
            let behaviour = Arc::clone(&now.lock().expect("behaviour"));
            behaviour(&query, stream)
        });
        Self { behaviour, queries, _server: server }
    }

    /// Sets how every later connection is dealt with once its query has been read.
    pub fn behaves(&self, how: impl Fn(&Query, TcpStream) -> io::Result<()> + Send + Sync + 'static) {
        *self.behaviour.lock().expect("behaviour") = Arc::new(how);
    }

    /// Answers from now on with these bytes in one piece, and closes.
    pub fn says<T: AsRef<[u8]>>(&self, what: impl Fn(&Query) -> T + Send + Sync + 'static) {
        self.behaves(move |query, mut stream| stream.write_all(what(query).as_ref()));
    }

    /// Names this user from now on.
    pub fn names(&self, user: &str) {
        let user = user.to_owned();
        self.says(move |query| query.names(&user));
    }

    /// All queries so far.
    pub fn queries(&self) -> Vec<Query> {
        self.queries.lock().expect("queries").clone()
    }
}

/// Says nothing until the other side closes.
pub fn silence(mut stream: TcpStream) -> io::Result<()> {
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// Accounts on a client host, with their numbers.
pub const USERS: [(&str, u32); 2] = [("joe", 64201), ("sam", 64202)];

/// Starts a real oidentd on `host` with this configuration, and makes the accounts of [`USERS`] there. `own` is
/// joe's own configuration file.
pub fn oidentd(host: &Host, configuration: &str, own: &str) -> Program {
    for (user, number) in USERS {
        host.sh(&format!("mkdir -p /run/home/{user}"));
        host.account(user, number, &format!("/run/home/{user}"));
    }
    host.write("/etc/oidentd.conf", configuration);
    host.write("/run/home/joe/.oidentd.conf", own);
    // oidentd reads only what belongs to the user.
    host.sh(&format!("chown {0} /run/home/joe/.oidentd.conf", USERS[0].1));
    let mut command = Command::new("oidentd");
    command.args(["--foreground", "--nosyslog", "--config", "/etc/oidentd.conf"]);
    let program = host.start(command.stdin(Stdio::null()).stderr(Stdio::null()));
    until_true("oidentd listens", || crate::procfs::listens(host, PORT));
    program
}

/// Connects from `host` as the user with this number. The kernel marks a socket with the file system id of the thread
/// that made it.
pub fn dial_as(user: u32, host: &Host, to: impl Into<SocketAddr>) -> Line {
    let to = to.into();
    let stream = host.run(|| {
        setfsuid(Uid::from_raw(user));
        TcpStream::connect_timeout(&to, LONG)
    });
    Line::new(stream.unwrap_or_else(|error| panic!("connecting to {to}: {error}")))
}
