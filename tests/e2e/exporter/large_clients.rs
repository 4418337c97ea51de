//! Prometheus itself, which is large to install; `tests/run long` runs it.

use super::{exporter, lab};
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::site::SERVER;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::{LONG, until_true};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/prometheus/sockd.rules.yml");

/// The answer of Prometheus to a request; empty until it serves.
fn asked(gateway: &Host, path: &str) -> String {
    let mut answer = Vec::new();
    let mut ask = || -> std::io::Result<()> {
        let mut stream = gateway.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 9090)))?;
        stream.set_read_timeout(Some(LONG))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes())?;
        stream.read_to_end(&mut answer).map(drop)
    };
    let _ = ask();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_alerts_are_sound() {
    let checked = Command::new("promtool").args(["check", "rules", RULES]).output().expect("promtool");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn prometheus_reads_the_page_and_the_alerts() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _server = Server::echo(&lab.site.server, (SERVER, 7));
    let _exporter = exporter(gateway);
    gateway.write(
        "/run/prometheus.yml",
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\nscrape_configs:\n\
             - {{job_name: sockd, static_configs: [{{targets: ['127.0.0.1:9908']}}]}}\n"
        ),
    );
    let mut command = Command::new("prometheus");
    command.args(["--config.file=/run/prometheus.yml", "--storage.tsdb.path=/run/prometheus"]);
    command.arg("--web.listen-address=127.0.0.1:9090").stdout(Stdio::null()).stderr(Stdio::null());
    let _prometheus = gateway.start(&mut command);
    let query = |query: &str| asked(gateway, &format!("/api/v1/query?query={query}"));
    until_true("Prometheus has the page", || query("sockd_up").contains(",\"1\"]"));
    let _line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    until_true("it has counted a request", || {
        query("sum(sockd_requests_total{result=\"granted\"})").contains(",\"1\"]")
    });
    until_true("it has a histogram", || query("sockd_handshake_seconds_count").contains(",\"1\"]"));
    let alerts = asked(gateway, "/api/v1/rules");
    assert!(alerts.contains("SockdViolation") && !alerts.contains("\"health\":\"err\""), "{alerts}");
}
