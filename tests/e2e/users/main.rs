//! Users with passwords, a test for each row of the requirements: from the greeting to the log.

mod clients;
mod hostile;
mod isolation;
mod large_clients;
mod libraries;
mod limits;
mod rows;

use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::socks::PROXY;
use sockd_tests::socks5::{CONNECT, GRANTED, to};
use std::process::Command;

/// The users, each with password and group.
const USERS: [(&str, &str, &str); 2] = [("joe", "sesame", "staff"), ("sam", "sam's own", "guests")];

/// Nobody goes anywhere without a password.
const PASSWORDS: &str = "permit @=password ALL 0.0.0.0\n";

/// A greeting that offers a password and nothing else.
const OFFER: [u8; 3] = [5, 1, 2];
/// The answer to it.
const WANTED: [u8; 2] = [5, 2];
/// The answer to a right password, and to a wrong one.
const RIGHT: [u8; 2] = [1, 0];
const WRONG: [u8; 2] = [1, 1];

/// The port at which an echo server listens.
const PORT: u16 = 7;

struct Place {
    lab: Lab,
    _server: Server,
}

fn place(rules: &str, settings: &str) -> Place {
    let site = Site::new();
    write_users(&site.gateway, &USERS);
    let server = Server::echo(&site.server, (SERVER, PORT));
    let lab = Lab::at(site, rules, |start| start.settings(settings));
    Place { lab, _server: server }
}

/// Writes the users of the gateway, with groups.
fn write_users(gateway: &Host, users: &[(&str, &str, &str)]) {
    let lines: String = users
        .iter()
        .map(|(user, password, groups)| format!("{user}:{}:{groups}\n", hash(gateway, password)))
        .collect();
    gateway.write("/etc/sockd.passwd", lines);
    gateway.sh("chmod 600 /etc/sockd.passwd");
}

/// A hash by crypt(3), as chpasswd and htpasswd write it.
fn hash(host: &Host, password: &str) -> String {
    let output = host.output(Command::new("openssl").args(["passwd", "-6", "-salt", "saltsalt", password]));
    String::from_utf8(output.stdout).expect("a hash").trim().to_owned()
}

/// A user and a password as a client sends them.
fn login(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Vec<u8> {
    let part = |bytes: &[u8]| [&[u8::try_from(bytes.len()).expect("at most 255 bytes")], bytes].concat();
    [vec![1], part(user.as_ref()), part(password.as_ref())].concat()
}

/// A CONNECT to the echo server.
fn request() -> Vec<u8> {
    to(CONNECT, (SERVER, PORT))
}

/// Connects from `host` and is asked for a password.
fn offer(host: &Host) -> Line {
    let mut line = Line::dial(host, PROXY);
    line.send(OFFER);
    assert_eq!(line.read(2), WANTED);
    line
}

/// Shows a password and reads the answer.
fn try_in(host: &Host, user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> (Line, Vec<u8>) {
    let mut line = offer(host);
    line.send(login(user, password));
    let told = line.read(2);
    (line, told)
}

/// Logs in and has a relay.
fn relays(host: &Host, user: &str, password: &str) -> Line {
    let (mut line, told) = try_in(host, user, password);
    assert_eq!(told, RIGHT, "{user}");
    line.send(request());
    assert_eq!(line.read(10), GRANTED);
    line
}

/// Insists that it has a relay.
fn assert_echoes(line: &mut Line) {
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
}
