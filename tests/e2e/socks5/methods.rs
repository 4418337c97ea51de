//! The demands of the rules on a client before its request is known.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::SERVER;
use sockd_tests::socks::{PROXY, Request};
use sockd_tests::socks5::{CHOSEN, CONNECT, GRANTED, GREETING, refusal, to};

/// The rules ask every client for a password.
const PASSWORDS: &str = "permit @=password ALL 0.0.0.0\n";

fn greeted(lab: &Lab, greeting: &[u8]) -> Line {
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(greeting);
    line
}

#[test]
fn s5_65_a_client_without_a_password_is_told_that_only_lines_with_one_are_for_it() {
    let mut lab = Lab::new(PASSWORDS);
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read_to_end(), (vec![5, 0xff], Ending::Closed));
    lab.assert_logged(&["daemon.notice error -- no acceptable method of authentication \
                         (offered none; wanted password) from host 192.0.2.10"
        .into()]);
}

#[test]
fn s5_67_socks4_is_refused_where_only_lines_with_a_password_match() {
    let lab = Lab::new(PASSWORDS);
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(Request::connect((SERVER, 8080)).bytes());
    assert_eq!(line.read_to_end(), (vec![0, 91, 0, 0, 0, 0, 0, 0], Ending::Closed));
    lab.wait_for_line("refused -- Connect from joe(unknown)@192.0.2.10 to 198.51.100.10 (http-alt)");
}

#[test]
fn a_line_that_asks_for_nothing_lets_a_client_without_a_password_in() {
    let lab = Lab::new(
        "permit @=password ALL 0.0.0.0 198.51.100.10/32 eq 8081\n\
         permit 192.0.2.0/24 198.51.100.10/32 eq 8080\n",
    );
    let _server = Server::echo(&lab.site.server, (SERVER, 8080));
    for (port, reply) in [(8080, GRANTED), (8081, refusal(2))] {
        let mut line = greeted(&lab, &[5, 2, 2, 0]);
        assert_eq!(line.read(2), CHOSEN);
        line.send(to(CONNECT, (SERVER, port)));
        assert_eq!(line.read(10), reply);
    }
}

#[test]
fn a_line_for_other_sources_or_for_socks4_lets_nobody_in() {
    let lab = Lab::new(
        "permit @=password ALL 0.0.0.0\npermit 192.0.2.64/26\npermit ~=4 ALL 0.0.0.0\ndeny ALL 0.0.0.0\n",
    );
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read_to_end(), (vec![5, 0xff], Ending::Closed));
}

/// Its request is refused, so that the log has its line.
#[test]
fn a_client_that_no_line_is_for_is_asked_for_nothing() {
    let lab = Lab::new("permit @=password 203.0.113.0/24\n");
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read(2), CHOSEN);
    line.send(to(CONNECT, (SERVER, 8080)));
    assert_eq!(line.read_to_end(), (refusal(2).to_vec(), Ending::Closed));
    lab.wait_for_line("refused -- Connect from (unknown)@192.0.2.10 to 198.51.100.10 (http-alt)");
}

#[test]
fn what_is_asked_follows_the_rules_of_a_reload() {
    let lab = Lab::new(PASSWORDS);
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read_to_end(), (vec![5, 0xff], Ending::Closed));
    lab.sockd.write_conf("permit ALL 0.0.0.0\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: 1 rule");
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read(2), CHOSEN);
}

/// Passwords cannot be checked here, so a preference for them changes nothing.
#[test]
fn where_passwords_are_preferred_a_client_that_has_none_goes_without() {
    let lab = Lab::with_settings("permit ALL 0.0.0.0\n", "(auth: prefer)");
    let mut line = greeted(&lab, &GREETING);
    assert_eq!(line.read(2), CHOSEN);
}
