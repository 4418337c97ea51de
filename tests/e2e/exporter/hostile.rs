//! Hostile clients of the exporter's port: the page is still served, and the daemon hears nothing of them.

use super::{answer, dial, exporter, lab, page};
use sockd_tests::procfs::Process;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::wait::until_true;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn only_one_page_is_answered() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET /metrics/../../../etc/shadow HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "405"),
        ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("\x16\x03\x01\x02\x00 hello\r\n\r\n", "400"),
    ] {
        let answer = answer(gateway, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    let head = answer(gateway, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let kind = "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
}

/// Half a request, a header without an end, and a reader that does not read hold nobody up.
#[test]
fn others_are_answered_whoever_stalls() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    let said = |bytes: &[u8]| {
        let mut stream = dial(gateway);
        stream.write_all(bytes).expect("a part");
        stream
    };
    let _half = said(b"GET /metrics HT");
    let _silent = dial(gateway);
    let _unread: Vec<TcpStream> =
        (0..20).map(|_| said(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    assert!(page(gateway).ends_with("# EOF\n"));
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let mut huge = said(huge.as_bytes());
    let mut answer = [0; 12];
    huge.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    assert!(page(gateway).ends_with("# EOF\n"));
}

#[test]
fn a_thousand_connections_neither_stall_it_nor_reach_the_daemon() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let exporter = exporter(gateway);
    let process = Process(exporter.pid());
    page(gateway);
    let descriptors = lab.sockd.monitor().descriptors().len();
    let mut crowd: Vec<TcpStream> = (0..1000).map(|_| dial(gateway)).collect();
    crowd.iter_mut().step_by(2).for_each(|stream| drop(stream.write(b"GET /met")));
    for _ in 0..10 {
        assert!(page(gateway).ends_with("# EOF\n"));
    }
    assert!(process.descriptors().len() < 100, "{}", process.descriptors().len());
    assert!(lab.sockd.monitor().descriptors().len() <= descriptors + 1, "nothing of it reaches the monitor");
    drop(crowd);
    until_true("they are gone", || process.descriptors().len() < 10);
}

/// Few rights are left to an attacker who takes the exporter over.
#[test]
fn it_is_locked_down() {
    let lab = lab(PERMIT_ALL, "()");
    let exporter = exporter(&lab.site.gateway);
    page(&lab.site.gateway);
    let status = Process(exporter.pid()).status();
    let field = |name: &str| status.get(name).map(String::as_str).unwrap_or_default().to_owned();
    assert_eq!((field("Seccomp"), field("NoNewPrivs")), ("2".into(), "1".into()));
    assert_eq!(field("CapEff").trim_start_matches('0'), "");
    assert_eq!(field("Threads"), "1");
}
