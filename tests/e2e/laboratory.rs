//! The laboratory itself, on which the other tests rest.

use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Far;
use sockd_tests::line::Line;
use sockd_tests::site::{NAMESERVER, SERVER, Site};
use sockd_tests::syslog::Syslog;
use sockd_tests::web;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

#[test]
fn the_gateway_reaches_the_server_and_a_client_does_not() {
    let site = Site::new();
    let far = Far::listen(&site.server, SERVER);
    let mut near = Line::dial(&site.gateway, far.address());
    near.send("hello");
    assert_eq!(far.accept().read(5), b"hello");
    let direct = site.client.run(|| TcpStream::connect_timeout(&far.address(), Duration::from_millis(300)));
    assert!(direct.is_err());
}

#[test]
fn rsyslogd_writes_what_a_program_says() {
    let site = Site::new();
    let log = Syslog::start(&site.gateway);
    let mark = log.mark();
    site.gateway.sh("logger -p daemon.err -t sockd one");
    log.expect(mark, &["daemon.err one".into()]);
    assert!(log.file().trim_end().ends_with(" sockd: one"), "{}", log.file());
}

#[test]
fn a_c_library_believes_the_nameserver() {
    let site = Site::new();
    let _dns = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "www.example.net" => Answer::Addresses(vec![SERVER.into()]),
        "cut.example.net" => Answer::Truncated(vec![Ipv4Addr::new(203, 0, 113, 77).into()]),
        _ => Answer::NoSuchName,
    });
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let resolved = |name: &str| {
        let output = site.gateway.output(Command::new("getent").args(["ahostsv4", name]));
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(resolved("www.example.net"), SERVER.to_string());
    assert_eq!(resolved("cut.example.net"), "203.0.113.77");
    assert_eq!(resolved("other.example.net"), "");
}

#[test]
fn the_file_server_answers_curl() {
    let site = Site::new();
    let server = web::serve(&site.server, (SERVER, 80));
    let url = format!("http://{}/100000", server.address());
    let got = site.gateway.output(Command::new("curl").args(["-sS", &url]));
    assert_eq!(got.stdout.len(), 100_000, "{got:?}");
    site.gateway.write("/run/body", &got.stdout);
    let put = site.gateway.output(Command::new("curl").args(["-sS", "-T", "/run/body", &url]));
    assert_eq!(String::from_utf8_lossy(&put.stdout), "intact 100000\n");
}
