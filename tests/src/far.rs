//! Servers to reach through the proxy.

use crate::host::Host;
use crate::line::Line;
use crate::wait::until;
use socket2::SockRef;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A listening socket; the test itself is the server.
pub struct Far {
    listener: TcpListener,
}

impl Far {
    /// Listens on `host` at a port of the kernel's choice.
    pub fn listen(host: &Host, address: impl Into<std::net::IpAddr>) -> Self {
        Self::listen_at(host, SocketAddr::new(address.into(), 0))
    }

    /// Listens on `host` at `address`.
    pub fn listen_at(host: &Host, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let listener = host.run(|| TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"));
        // A queue for scale tests; the standard library asks for 128.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).expect("listen");
        listener.set_nonblocking(true).expect("nonblocking");
        Self { listener }
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("local address")
    }

    /// Its IPv4 address and port, for a request.
    pub fn v4(&self) -> std::net::SocketAddrV4 {
        match self.address() {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address} is not IPv4"),
        }
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> Line {
        let stream = until("a connection from the proxy", || self.waiting());
        Line::new(stream)
    }

    /// A connection that has already come, if any.
    pub fn waiting(&self) -> Option<TcpStream> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("blocking");
        Some(stream)
    }
}

/// A server that runs by itself, a thread for each connection, until it is dropped.
pub struct Server {
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves every connection to `address` on `host` with `serve`.
    pub fn start(
        host: &Host,
        address: impl Into<SocketAddr>,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = address.into();
        let listener = host.run(|| TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"));
        let listener = Arc::new(listener);
        let serve = Arc::new(serve);
        let incoming = Arc::clone(&listener);
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                let serve = Arc::clone(&serve);
                // A client that goes away early does not concern the server.
                thread::spawn(move || serve(stream).ok());
            }
        });
        Self { listener, accepting: Some(accepting) }
    }

    /// Sends everything back until the client says that no more comes.
    pub fn echo(host: &Host, address: impl Into<SocketAddr>) -> Self {
        Self::start(host, address, |mut stream| {
            let mut from = stream.try_clone()?;
            io::copy(&mut from, &mut stream)?;
            stream.shutdown(Shutdown::Write)
        })
    }

    /// Sends without end and reads nothing (RFC 864).
    pub fn chargen(host: &Host, address: impl Into<SocketAddr>) -> Self {
        Self::start(host, address, |mut stream| {
            let text = [b'x'; 16 * 1024];
            loop {
                stream.write_all(&text)?;
            }
        })
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("local address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends accept(2) in the other thread with EINVAL.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
