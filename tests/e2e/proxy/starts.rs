//! The messages of a start, a check and a reload about listeners for balancers.

use super::*;
use nix::sys::signal::Signal;
use sockd_tests::site::Site;
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks5::{CHOSEN, GREETING};

#[test]
fn without_the_listener_there_is_no_start() {
    let site = Site::new();
    for listen in ["--listen 192.0.2.1:1080", "--listen 0.0.0.0:1081 --listen [2001:db8:1::1]:1081"] {
        let start = Start::new(&site.gateway, PERMIT_ALL).settings(&format!("({SETTINGS})")).words(listen);
        let output = start.output();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = "/etc/sockd.ron: line 1: proxy_from: expected an address where clients are accepted, found \
                        192.0.2.1:1081";
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_check_warns_of_whom_a_listener_believes_and_of_balancers_that_are_clients() {
    let site = Site::new();
    let conf =
        "deny 10.0.0.0/16\npermit 192.0.2.0/24 203.0.113.0/24\npermit 10.7.0.0/16 192.0.2.1/32 eq 22\n";
    let settings = "(proxy_from: [(\"192.0.2.1:1081\", [\"192.0.2.10\", \"192.0.0.0/16\"])])";
    let start = Start::new(&site.gateway, conf).settings(settings).words("--check --listen 192.0.2.1:1080");
    let output = start.output();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for warning in [
        "/etc/sockd.conf: line 2: permits 192.0.2.10/32 as a client, which proxy_from believes",
        "/etc/sockd.conf: line 3: permits 192.0.2.1 as a destination, where proxy_from has the listener 192.0.2.1:1081",
        "/etc/sockd.ron: proxy_from: 192.0.0.0/16 is more than a /24 or /64",
        "/etc/sockd.ron: proxy_from: 192.0.2.1:1081 believes 192.0.2.1:",
        "/etc/sockd.ron: proxy_from: expected an address where clients are accepted, found 192.0.2.1:1081",
    ] {
        assert!(said.contains(&format!("warning: {warning}")), "{warning}: {said}");
    }
}

#[test]
fn a_reload_changes_whom_a_listener_believes() {
    let mut lab = lab(PERMIT_ALL, "");
    let greets = |lab: &Lab, host: &sockd_tests::host::Host| {
        let mut line = Line::dial(host, BALANCED);
        let _ = std::io::Write::write_all(line.stream(), &[&of(FAR_CLIENT)[..], &GREETING].concat());
        line.read_some(2) == CHOSEN && lab.sockd.monitor().runs()
    };
    assert!(greets(&lab, &lab.site.client) && !greets(&lab, &lab.site.other));
    lab.sockd.write_settings("(proxy_from: [(\"192.0.2.1:1081\", [\"192.0.2.138\"])])");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: ");
    assert!(!greets(&lab, &lab.site.client) && greets(&lab, &lab.site.other));
    lab.turn_the_page();
    lab.sockd.write_settings("(proxy_from: [(\"192.0.2.1:1999\", [\"192.0.2.138\"])])");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("proxy_from: expected an address where clients are accepted, found 192.0.2.1:1999");
}
