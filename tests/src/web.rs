//! A file server: as much of HTTP/1.1 as curl and wget need.
//!
//! `GET /N` gives the first N bytes of [`payload`]; `PUT` of any path compares the body with it and answers
//! `intact N` or `damaged at N`.

use crate::far::Server;
use crate::host::Host;
use crate::payload;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Starts the file server on `host`.
pub fn serve(host: &Host, address: impl Into<SocketAddr>) -> Server {
    Server::start(host, address, answer)
}

struct Head {
    method: String,
    path: String,
    length: u64,
    expects_continue: bool,
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let head = head(&mut from)?;
    if head.expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if head.method == "PUT" {
        let verdict = match payload::check(&mut from.take(head.length))? {
            Ok(length) => format!("intact {length}\n"),
            Err(place) => format!("damaged at {place}\n"),
        };
        begin(&mut stream, "200 OK", verdict.len() as u64)?;
        return stream.write_all(verdict.as_bytes());
    }
    match head.path.trim_start_matches('/').parse() {
        Ok(length) => {
            begin(&mut stream, "200 OK", length)?;
            payload::write(&mut stream, length)
        }
        Err(_) => begin(&mut stream, "404 Not Found", 0),
    }
}

fn begin(stream: &mut TcpStream, status: &str, length: u64) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn head(from: &mut impl BufRead) -> io::Result<Head> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut head = Head { method, path, length: 0, expects_continue: false };
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(head);
        }
        let line = line.trim().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => head.length = value.parse().unwrap_or(0),
            Some(("expect", "100-continue")) => head.expects_continue = true,
            _ => {}
        }
    }
}
