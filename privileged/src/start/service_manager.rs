//! Sockets that the service manager handed over, and the one for the notifications that it expects. It is systemd
//! (sd_listen_fds(3), sd_notify(3)) or inetd(8).

use crate::monitor::clients::Listener;
use crate::net::unix;
use crate::process::error::StartError;
use crate::process::notify::Notifier;
use crate::process::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketType, getsockname, listen, shutdown, sockopt,
};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// The name of a socket from an inetd.
const INETD: &str = "inetd";

/// The most sockets; more are a mistake of the starter.
const MOST: usize = 256;

/// The time between two attempts to start: systemd permits five in ten seconds.
const PAUSE: Duration = Duration::from_secs(3);

/// The service manager's part of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The destination of messages: a path, or the name of an abstract socket behind an `@`.
    pub notify: Option<OsString>,
    /// The names of the sockets handed over, in the order of their descriptors.
    pub sockets: Vec<String>,
    /// How long the daemon may be silent before it is killed.
    pub watchdog: Option<Duration>,
}

impl Environment {
    /// Reads the variables through `variable`. Those meant for another process than `pid` do not count.
    pub fn read(pid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let number = |name: &str| match text(name) {
            Some(value) => value
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("{name}: expected a number, found {value:?}")),
            None => Ok(None),
        };
        let is_ours = |name: &str| Ok::<_, String>(number(name)?.is_none_or(|of| of == u64::from(pid)));
        let count = number("LISTEN_FDS")?.unwrap_or(0);
        let count = usize::try_from(count).ok().filter(|count| *count <= MOST);
        let count = count.ok_or_else(|| format!("LISTEN_FDS: expected at most {MOST} sockets"))?;
        let names = text("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(|name| sockd_session::log::escape(name.as_bytes()).into_owned());
        let names = names.chain(std::iter::repeat(String::new()));
        Ok(Self {
            notify: variable("NOTIFY_SOCKET"),
            sockets: if is_ours("LISTEN_PID")? { names.take(count).collect() } else { Vec::new() },
            watchdog: match number("WATCHDOG_USEC")? {
                Some(time) if time > 0 && is_ours("WATCHDOG_PID")? => Some(Duration::from_micros(time)),
                _ => None,
            },
        })
    }

    /// Connects to the destination of messages, if any.
    pub fn notifier(&self) -> Result<Notifier, String> {
        let Some(place) = &self.notify else { return Ok(Notifier::default()) };
        let socket = reach(place.as_bytes()).map_err(|error| format!("NOTIFY_SOCKET {place:?}: {error}"))?;
        Ok(Notifier::new(socket, self.watchdog))
    }
}

/// The source of clients.
#[derive(Debug)]
pub enum Source {
    /// The daemon opens its own sockets.
    Standalone,
    /// Sockets that listen already, from systemd or from an inetd that waits, with their names.
    Sockets(Vec<(OwnedFd, String)>),
    /// One client, connected already, from an inetd that does not wait.
    Client(OwnedFd),
}

impl Source {
    /// Takes over the sockets. Afterwards no standard descriptor is a client's or listens.
    pub fn take(environment: &Environment) -> Result<Self, String> {
        let source = match environment.sockets.as_slice() {
            [] => from_inetd()?,
            names => {
                let own = |(number, name): (i32, &String)| match sys::inherited(number) {
                    Ok(socket) => Ok((socket, name.clone())),
                    Err(error) => Err(format!("LISTEN_FDS: descriptor {number}: {error}")),
                };
                Self::Sockets((FIRST..).zip(names).map(own).collect::<Result<_, _>>()?)
            }
        };
        hide_sockets().map_err(|error| format!("standard descriptors: {error}"))?;
        Ok(source)
    }

    /// The descriptors that have to survive a clean start.
    pub fn kept(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Standalone => Vec::new(),
            Self::Sockets(sockets) => sockets.iter().map(|(socket, _)| socket.as_fd()).collect(),
            Self::Client(client) => vec![client.as_fd()],
        }
    }

    /// Whether an inetd has handed over the sockets: it would listen again when the daemon has drained.
    pub fn is_of_inetd(&self) -> bool {
        match self {
            Self::Standalone => false,
            Self::Sockets(sockets) => sockets.iter().any(|(_, name)| name == INETD),
            Self::Client(_) => true,
        }
    }

    /// New descriptors for the sockets that outlive the daemon.
    pub fn queues(&self) -> std::io::Result<Vec<OwnedFd>> {
        let Self::Sockets(sockets) = self else { return Ok(Vec::new()) };
        sockets.iter().map(|(socket, _)| socket.try_clone()).collect()
    }
}

/// Sends away waiting clients if the files of the daemon have errors.
///
/// The starter would at once start it again for them, until it gives up and closes the sockets for good. So the daemon
/// ends late enough for that limit, with empty queues: the next client is the next attempt.
pub fn turn_away(error: &StartError, queues: &[OwnedFd]) {
    if error.is_configuration() && !queues.is_empty() {
        std::thread::sleep(PAUSE);
        for queue in queues {
            let _ = shutdown(queue, Shutdown::Read).and_then(|()| listen(queue, i32::MAX));
        }
    }
}

/// The source by descriptor 0: inetd puts there the listening socket (`wait`) or the client (`nowait`).
fn from_inetd() -> Result<Source, String> {
    let zero = rustix::stdio::stdin();
    if !is_tcp(zero) {
        return Ok(Source::Standalone);
    }
    let own = fcntl_dupfd_cloexec(zero, FIRST).map_err(|error| format!("descriptor 0: {error}"))?;
    match sockopt::socket_acceptconn(&own) {
        Ok(true) => Ok(Source::Sockets(vec![(own, INETD.into())])),
        _ if rustix::net::getpeername(&own).is_ok() => Ok(Source::Client(own)),
        _ => {
            Err("descriptor 0: expected a socket that listens or is connected, found one that is neither"
                .into())
        }
    }
}

fn is_tcp(descriptor: BorrowedFd<'_>) -> bool {
    let family = sockopt::socket_domain(descriptor);
    matches!(family, Ok(AddressFamily::INET | AddressFamily::INET6))
        && sockopt::socket_type(descriptor) == Ok(SocketType::STREAM)
}

/// Hides TCP sockets among the standard descriptors. A client must not read standard error, and a close has to end it.
fn hide_sockets() -> std::io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (number, descriptor) in (0..).zip(standard) {
        if is_tcp(descriptor) {
            sys::duplicate_onto(null.as_fd(), number)?;
        }
    }
    Ok(())
}

/// Makes a listener of each socket handed over.
pub fn listeners(sockets: Vec<(OwnedFd, String)>) -> Result<Vec<Listener>, String> {
    let listener = |(socket, name): (OwnedFd, String)| {
        if !is_tcp(socket.as_fd()) || sockopt::socket_acceptconn(&socket) != Ok(true) {
            return Err(format!("the socket {name:?} handed over: expected a TCP socket that listens"));
        }
        let address =
            prepare(&socket).map_err(|error| format!("the socket {name:?} handed over: {error}"))?;
        Ok(Listener { socket, address, name, activated: true })
    };
    sockets.into_iter().map(listener).collect()
}

/// Sets the options of the daemon's own sockets on a socket that was handed over, and returns its address.
pub fn prepare(socket: &OwnedFd) -> Result<SocketAddr, Errno> {
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(socket, true)?;
    crate::net::sockets::prepare(socket)?;
    SocketAddr::try_from(getsockname(socket)?)
}

fn reach(place: &[u8]) -> rustix::io::Result<OwnedFd> {
    let address = match place {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    unix::connect(SocketType::DGRAM, &address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as Place, UnixDatagram};

    fn read(variables: &[(&str, &str)]) -> Result<Environment, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Environment::read(7, |name| find(name).map(|(_, value)| value.into()))
    }

    #[test]
    fn an_empty_environment_hands_over_nothing() {
        assert_eq!(read(&[]).unwrap(), Environment::default());
    }

    #[test]
    fn sockets_keep_their_names() {
        let inside = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "inside:out side"), ("LISTEN_PID", "7")];
        assert_eq!(read(&inside).unwrap().sockets, ["inside", "out\\x20side"]);
        assert_eq!(read(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7")]).unwrap().sockets, ["", ""]);
    }

    #[test]
    fn what_is_meant_for_another_process_does_not_count() {
        assert!(read(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "8")]).unwrap().sockets.is_empty());
        assert_eq!(read(&[("WATCHDOG_USEC", "9"), ("WATCHDOG_PID", "8")]).unwrap().watchdog, None);
    }

    #[test]
    fn numbers_that_are_none_are_errors() {
        for (name, value) in [("LISTEN_FDS", "x"), ("LISTEN_FDS", "99999"), ("WATCHDOG_USEC", "-1")] {
            assert!(read(&[(name, value)]).unwrap_err().starts_with(name), "{name}={value}");
        }
    }

    #[test]
    fn the_watchdog_hears_of_the_daemon_twice_in_its_time() {
        let time = Duration::from_secs(4);
        assert_eq!(read(&[("WATCHDOG_USEC", "4000000")]).unwrap().watchdog, Some(time));
    }

    #[test]
    fn news_go_to_the_socket_that_the_environment_names() {
        let name = format!("sockd-service-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&Place::from_abstract_name(&name).unwrap()).unwrap();
        let environment = Environment { notify: Some(format!("@{name}").into()), ..Default::default() };
        environment.notifier().unwrap().ready("1 rule");
        let mut packet = [0; 200];
        let length = manager.recv(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"READY=1\nSTATUS=1 rule\n");
        assert!(!Environment::default().notifier().unwrap().is_heard());
    }

    #[test]
    fn only_a_tcp_socket_that_listens_becomes_a_listener() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(listeners(vec![(one.into(), "x".into())]).unwrap_err().contains("\"x\""));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let handed = listeners(vec![(socket.into(), "socks".into())]).unwrap();
        assert_eq!((handed[0].address, handed[0].name.as_str()), (address, "socks"));
    }
}
