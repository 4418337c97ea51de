//! Libraries by which programs log in, and the errors that their users see if a password is wrong or missing.

use crate::clients::{Place, place};
use sockd_tests::libraries::{AIOHTTP, HTTPX, NODE, PLAIN, QT, RCLONE, through};
use sockd_tests::payload;
use std::process::Output;

const RIGHT_LOGIN: &str = "socks5://joe:sesame@192.0.2.1:1080";
const WRONG_LOGIN: &str = "socks5://joe:open@192.0.2.1:1080";

/// The log line of a client that cannot show a password.
pub(crate) const NO_PASSWORD: &str =
    "no acceptable method of authentication (offered none; wanted password) from host 192.0.2.10";

impl Place {
    fn run_through(&self, proxy: &str, program: &[&str], words: &[&str]) -> Output {
        self.lab.site.client.output(through(proxy, program).args(words))
    }

    /// With the right login a program prints `said`; with a wrong one its user reads `wrong`.
    pub(crate) fn assert_logs_in(&mut self, program: &[&str], words: &[&str], said: &str, wrong: &str) {
        let output = self.run_through(RIGHT_LOGIN, program, words);
        self.assert_let_in(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
        let output = self.run_through(WRONG_LOGIN, program, words);
        self.assert_kept_out(&output);
        assert_told(&output, wrong);
    }

    /// Without a login the user of a program reads `told`, and its administrator `logged`.
    pub(crate) fn assert_turned_away(&self, program: &[&str], words: &[&str], told: &str, logged: &str) {
        let output = self.run_through(PLAIN, program, words);
        assert_told(&output, told);
        self.lab.wait_for_line(logged);
    }
}

fn assert_told(output: &Output, what: &str) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(err.contains(what), "{out}{err}");
}

const ECHO: [&str; 2] = ["198.51.100.10", "7"];
const WEB: [&str; 2] = ["198.51.100.10", "80"];

#[test]
fn node_logs_in() {
    let mut place = place();
    place.assert_logs_in(NODE, &ECHO, "hello", "Authentication failed");
    place.assert_turned_away(NODE, &ECHO, "no accepted authentication type", NO_PASSWORD);
}

/// With a login it offers nothing but a password.
#[test]
fn qt_logs_in() {
    let mut place = place();
    place.assert_logs_in(QT, &ECHO, "hello", "Proxy authentication failed");
    place.assert_turned_away(QT, &ECHO, "Proxy authentication failed", NO_PASSWORD);
}

#[test]
fn aiohttp_logs_in() {
    let mut place = place();
    place.assert_logs_in(AIOHTTP, &WEB, "1000\n", "Username and password authentication failure");
    place.assert_turned_away(AIOHTTP, &WEB, "No acceptable authentication methods", NO_PASSWORD);
}

/// With a login it offers nothing but a password.
#[test]
fn httpx_logs_in() {
    let mut place = place();
    place.assert_logs_in(HTTPX, &WEB, "1000\n", "Invalid username/password");
    place.assert_turned_away(HTTPX, &WEB, "but got NO ACCEPTABLE METHODS", NO_PASSWORD);
}

#[test]
fn rclone_logs_in() {
    let mut place = place();
    let url = ["http://198.51.100.10/1000"];
    let mut page = Vec::new();
    payload::write(&mut page, 1000).expect("memory");
    place.assert_logs_in(
        RCLONE,
        &url,
        &String::from_utf8_lossy(&page),
        "username/password authentication failed",
    );
    place.assert_turned_away(RCLONE, &url, "no acceptable authentication methods", NO_PASSWORD);
}
