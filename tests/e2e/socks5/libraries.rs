//! Libraries by which programs speak SOCKS5, to a name, IPv4 and IPv6, and their handling of refusals.

use crate::SERVER_6;
use crate::clients::{NAME, place};
use sockd_tests::libraries::{AIOHTTP, HTTPX, NODE, PLAIN, QT, through};
use sockd_tests::site::SERVER;

/// Runs a program for each kind of destination, and for one that refuses. It prints `said` when it is served, and
/// `refused` when it is not.
fn assert_served(program: &[&str], service: &str, said: &str, refused: &str) {
    let mut place = place();
    let run = |place: &crate::clients::Place, host: &str, port: &str| {
        place.lab.site.client.output(through(PLAIN, program).args([host, port]))
    };
    let port = if service == "http" { "80" } else { "7" };
    for host in [NAME.to_owned(), SERVER.to_string(), SERVER_6.to_string()] {
        let output = run(&place, &host, port);
        assert!(output.status.success(), "{host}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{host}");
        place.assert_visited(host, service);
    }
    let output = run(&place, &SERVER.to_string(), "1");
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(refused), "{output:?}");
}

#[test]
fn node_talks_to_an_echo_server() {
    assert_served(NODE, "echo", "hello", "ConnectionRefused");
}

#[test]
fn qt_talks_to_an_echo_server() {
    assert_served(QT, "echo", "hello", "Connection refused");
}

#[test]
fn aiohttp_fetches() {
    assert_served(AIOHTTP, "http", "1000\n", "Connection refused by destination host");
}

#[test]
fn httpx_fetches() {
    assert_served(HTTPX, "http", "1000\n", "Connection refused");
}
