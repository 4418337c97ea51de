//! Clients with a password that are large to install or slow to start; `tests/run long` runs them.

use crate::clients::place;
use crate::libraries::NO_PASSWORD;
use sockd_tests::libraries::{CHROMIUM, GO, JAVA, PLAIN, through};

/// It always offers a password. Without one it shows its account and an empty password.
#[test]
fn java_logs_in() {
    let mut place = place();
    place.lab.site.client.write("/run/Talk.java", JAVA);
    let (java, echo) = (["java", "/run/Talk.java"], ["198.51.100.10", "7"]);
    place.assert_logs_in(&java, &echo, "hello", "SOCKS : authentication failed");
    let logged = "empty user or password from host 192.0.2.10";
    place.assert_turned_away(&java, &echo, "SOCKS : authentication failed", logged);
}

#[test]
fn go_logs_in() {
    let mut place = place();
    let client = &place.lab.site.client;
    client.write("/run/fetch.go", GO);
    let build = client.output(&mut through(PLAIN, &["go", "build", "-o", "/run/fetch", "/run/fetch.go"]));
    assert!(build.status.success(), "{build:?}");
    let url = ["http://198.51.100.10/1000"];
    place.assert_logs_in(&["/run/fetch"], &url, "1000\n", "username/password authentication failed");
    place.assert_turned_away(&["/run/fetch"], &url, "no acceptable authentication methods", NO_PASSWORD);
}

/// It has no login at all: its user cannot tell why, and the administrator can.
#[test]
fn chromium_is_turned_away_and_the_log_says_why() {
    let url = ["http://198.51.100.10/1000"];
    place().assert_turned_away(CHROMIUM, &url, "ERR_SOCKS_CONNECTION_FAILED", NO_PASSWORD);
}
