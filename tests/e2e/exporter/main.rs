//! The counters of a gateway as a collector gets them: over HTTP, from a program that sees nothing else of the gateway.

mod access;
mod alone;
mod complete;
mod hostile;
mod large_clients;
mod rows;

use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::program::Program;
use sockd_tests::sockd::{EXPORTERS, install_at, program};
use sockd_tests::wait::{LONG, until_true};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The address of the exporter on the gateway.
const EXPORTER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9908);

const FOLDER: &str = "/run/sockd";

/// A daemon that hands its counters out.
fn lab(conf: &str, settings: &str) -> Lab {
    Lab::started(conf, |start| start.settings(settings).runtime_directory(FOLDER))
}

/// The exporter, as a user of its own in its group.
fn exporter(gateway: &Host) -> Program {
    let place = "/run/sockd-exporter";
    install_at(gateway, &program("sockd-exporter"), place);
    let exporter = gateway.start(Command::new(place).uid(64_201).gid(EXPORTERS));
    until_true("the exporter listens", || gateway.run(|| TcpStream::connect(EXPORTER)).is_ok());
    exporter
}

/// A connection to it.
fn dial(gateway: &Host) -> TcpStream {
    let stream =
        gateway.run(|| TcpStream::connect_timeout(&SocketAddr::from(EXPORTER), LONG)).expect("the exporter");
    stream.set_read_timeout(Some(LONG)).expect("a limit");
    stream
}

/// Its answer to a request.
fn answer(gateway: &Host, request: &str) -> String {
    let mut stream = dial(gateway);
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8(answer).expect("UTF-8")
}

/// The page.
fn page(gateway: &Host) -> String {
    let answer = answer(gateway, "GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    page.into()
}

/// The number in one line of the page; `None` if there is no such line.
fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}
