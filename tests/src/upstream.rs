//! A next SOCKS server in the hands of a test.

use crate::far::Server;
use crate::host::Host;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};

type Behaviour = Arc<dyn Fn(TcpStream) -> io::Result<()> + Send + Sync>;

/// Reads a request, keeps it, and does what it was told to do.
pub struct Upstream {
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    _server: Server,
}

impl Upstream {
    /// Listens on `host` and is silent until told otherwise.
    pub fn start(host: &Host, address: impl Into<SocketAddr>) -> Self {
        let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Arc::new(crate::identd::silence)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (now, asked) = (Arc::clone(&behaviour), Arc::clone(&requests));
        let server = Server::start(host, address, move |mut stream| {
            let request = read_request(&mut stream)?;
            asked.lock().expect("requests").push(request);
            let behaviour = Arc::clone(&now.lock().expect("behaviour"));
            behaviour(stream)
        });
        Self { behaviour, requests, _server: server }
    }

    /// Sets how every later connection is dealt with once its request has been read.
    pub fn behaves(&self, how: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
        *self.behaviour.lock().expect("behaviour") = Arc::new(how);
    }

    /// Answers from now on with these bytes in one piece, and closes when the other side does.
    pub fn says(&self, what: impl Into<Vec<u8>>) {
        let what = what.into();
        self.behaves(move |mut stream| {
            stream.write_all(&what)?;
            crate::identd::silence(stream)
        });
    }

    /// All requests so far, byte for byte.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().expect("requests").clone()
    }
}

/// A reply as it is sent.
pub fn reply(code: u8, bound: SocketAddrV4) -> Vec<u8> {
    let mut bytes = vec![0, code];
    bytes.extend(bound.port().to_be_bytes());
    bytes.extend(bound.ip().octets());
    bytes
}

fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = vec![0; 8];
    stream.read_exact(&mut request)?;
    let named = request[4..7] == [0, 0, 0] && request[7] != 0;
    for _ in 0..1 + usize::from(named) {
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
            if byte == [0] {
                break;
            }
        }
    }
    Ok(request)
}
