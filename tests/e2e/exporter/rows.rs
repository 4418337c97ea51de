//! Each metric, and the act that moves it.

use super::{exporter, lab, page, value};
use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::socks::{PROXY, Request, assert_rejected, granted};
use sockd_tests::socks5::{BIND, CONNECT, ask, assert_refused, bound, greet, to, to_name};
use sockd_tests::wait::{until, until_true};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

const CONF: &str =
    "deny ALL 0.0.0.0 ALL 0.0.0.0 eq 8081\npermit @=password,none +=connect,bind,udp ALL 0.0.0.0\n";
const SETTINGS: &str = "(request_limit: 2, bind_limit: 4, max_binds_per_host: 1, max_sessions_per_host: 40)";

/// Connections that stay open until the row has been read.
pub(super) type Held = Vec<Line>;

/// A series, and the act that raises it.
pub(super) struct Row(pub(super) &'static str, fn(&Lab) -> Held);

pub(super) const ROWS: &[Row] = &[
    Row("sockd_connections_total{listener=\"0.0.0.0:1080\"}", |lab| vec![relay(lab)]),
    Row("sockd_connections_total{listener=\"[::]:1080\"}", |lab| {
        let at: SocketAddr = "[2001:db8:1::1]:1080".parse().expect("an address");
        vec![Line::dial(&lab.site.client, at)]
    }),
    Row("sockd_requests_total{version=\"4\",command=\"connect\",result=\"granted\"}", |lab| vec![relay(lab)]),
    Row("sockd_requests_total{version=\"5\",command=\"connect\",result=\"granted\"}", |lab| {
        vec![ask(&lab.site.client, to(CONNECT, (SERVER, 7)))]
    }),
    Row("sockd_requests_total{version=\"5\",command=\"connect\",result=\"denied\"}", |lab| {
        assert_refused(&lab.site.client, to(CONNECT, (SERVER, 8081)), 2);
        Held::new()
    }),
    Row("sockd_requests_total{version=\"4\",command=\"connect\",result=\"guarded\"}", |lab| {
        assert_rejected(&lab.site.client, &Request::connect((Ipv4Addr::LOCALHOST, 22)));
        Held::new()
    }),
    Row("sockd_requests_total{version=\"5\",command=\"connect\",result=\"refused\"}", |lab| {
        assert_refused(&lab.site.client, to(CONNECT, (SERVER, 9)), 5);
        Held::new()
    }),
    Row("sockd_requests_total{version=\"5\",command=\"connect\",result=\"unresolved\"}", |lab| {
        assert_refused(&lab.site.client, to_name(CONNECT, "nowhere.invalid", 80), 4);
        Held::new()
    }),
    Row("sockd_requests_total{version=\"none\",command=\"none\",result=\"malformed\"}", |lab| {
        vec![says(lab, b"GET / HTTP/1.0\r\n\r\n")]
    }),
    Row("sockd_requests_total{version=\"none\",command=\"none\",result=\"abandoned\"}", |lab| {
        drop(says(lab, &[4, 1, 0]));
        Held::new()
    }),
    Row("sockd_requests_total{version=\"none\",command=\"none\",result=\"timeout\"}", |lab| {
        vec![says(lab, &[4, 1, 0])]
    }),
    Row("sockd_requests_total{version=\"5\",command=\"none\",result=\"auth_failed\"}", |lab| {
        vec![login(lab, "wrong")]
    }),
    Row("sockd_requests_total{version=\"4\",command=\"bind\",result=\"limited\"}", two_binds),
    Row("sockd_requests_total{version=\"4\",command=\"bind\",result=\"timeout\"}", |lab| vec![bind(lab)]),
    Row("sockd_requests_total{version=\"5\",command=\"bind\",result=\"granted\"}", |lab| {
        let mut line = ask(&lab.site.client, to(BIND, (SERVER, 0)));
        let at = bound(&mut line);
        vec![line, Line::dial(&lab.site.server, at)]
    }),
    Row("sockd_requests_total{version=\"5\",command=\"udp\",result=\"granted\"}", |lab| {
        vec![associate(lab).0]
    }),
    Row("sockd_requests_total{version=\"4\",command=\"connect\",result=\"unreachable\"}", |lab| {
        assert_rejected(&lab.site.client, &Request::connect((Ipv4Addr::new(198, 51, 100, 99), 7)));
        Held::new()
    }),
    Row("sockd_relayed_bytes_total{direction=\"up\"}", echo),
    Row("sockd_relayed_bytes_total{direction=\"down\"}", echo),
    Row("sockd_handshake_seconds_count", |lab| vec![relay(lab)]),
    Row("sockd_handshake_seconds_sum", |lab| vec![relay(lab)]),
    Row("sockd_handshake_seconds_bucket{le=\"+Inf\"}", |lab| vec![relay(lab)]),
    Row("sockd_dial_seconds_count", |lab| vec![relay(lab)]),
    Row("sockd_dial_seconds_bucket{le=\"30.0\"}", |lab| vec![relay(lab)]),
    Row("sockd_sessions{state=\"relaying\"}", |lab| vec![relay(lab), relay(lab)]),
    Row("sockd_sessions{state=\"handshake\"}", |lab| vec![says(lab, &[5]), says(lab, &[5])]),
    Row("sockd_sessions{state=\"connecting\"}", |lab| {
        // No ICMP error says that nobody is there.
        lab.site
            .gateway
            .sh("ip neigh replace 198.51.100.98 lladdr 02:00:00:00:00:98 dev outside nud permanent");
        let swallowed = Request::connect((Ipv4Addr::new(198, 51, 100, 98), 7));
        vec![says(lab, &swallowed.bytes())]
    }),
    Row("sockd_sessions{state=\"waiting\"}", |lab| vec![bind(lab)]),
    Row("sockd_workers{role=\"session\",state=\"busy\"}", |lab| {
        vec![granted(&lab.site.other, &Request::connect((SERVER, 7))), relay(lab)]
    }),
    Row("sockd_worker_deaths_total{role=\"session\",how=\"outside\"}", |lab| {
        let line = relay(lab);
        lab.sockd.worker_of(line.local()).signal(Signal::SIGKILL);
        vec![line]
    }),
    Row("sockd_auth_attempts_total{method=\"password\",result=\"accepted\"}", |lab| {
        vec![login(lab, "sesame")]
    }),
    Row("sockd_auth_cache_hits_total", |lab| vec![login(lab, "sesame"), login(lab, "sesame")]),
    Row("sockd_auth_attempts_total{method=\"password\",result=\"refused\"}", |lab| vec![login(lab, "guess")]),
    Row("sockd_udp_associations", |lab| vec![associate(lab).0]),
    Row("sockd_udp_flows", |lab| {
        let (line, udp) = associate(lab);
        let datagram = [&[0, 0, 0, 1], &SERVER.octets()[..], &[0, 7], b"hello"].concat();
        udp.send(&datagram).expect("a datagram");
        vec![line]
    }),
    Row("sockd_rules_reload_failures_total", |lab| {
        lab.sockd.write_conf("permit nonsense\n");
        lab.sockd.signal(Signal::SIGHUP);
        Held::new()
    }),
    Row("sockd_rules", |lab| {
        lab.sockd.write_conf(&format!("{CONF}{}", "deny ALL 0.0.0.0 ALL 0.0.0.0 eq 1\n".repeat(3)));
        lab.sockd.signal(Signal::SIGHUP);
        Held::new()
    }),
    Row("sockd_rules_loaded_timestamp_seconds", |lab| {
        lab.sockd.signal(Signal::SIGHUP);
        Held::new()
    }),
];

pub(super) fn relay(lab: &Lab) -> Line {
    granted(&lab.site.client, &Request::connect((SERVER, 7)))
}

pub(super) fn says(lab: &Lab, bytes: &[u8]) -> Line {
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(bytes);
    line
}

fn echo(lab: &Lab) -> Held {
    let mut line = relay(lab);
    line.send("hello");
    assert_eq!(line.read(5), b"hello");
    Held::new()
}

pub(super) fn bind(lab: &Lab) -> Line {
    let line = says(lab, &Request::connect((SERVER, 7)).as_bind().bytes());
    until_true("a port", || !line.is_quiet());
    line
}

fn two_binds(lab: &Lab) -> Held {
    let first = bind(lab);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)).as_bind());
    vec![first]
}

fn login(lab: &Lab, password: &str) -> Line {
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([5, 1, 2]);
    assert_eq!(line.read(2), [5, 2]);
    let length = u8::try_from(password.len()).expect("a password");
    line.send([&[1, 3], &b"joe"[..], &[length], password.as_bytes()].concat());
    assert_eq!(line.read(2).len(), 2);
    line
}

pub(super) fn associate(lab: &Lab) -> (Line, UdpSocket) {
    let mut line = greet(&lab.site.client);
    line.send([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    let port = bound(&mut line);
    let udp = lab.site.client.run(|| UdpSocket::bind(("0.0.0.0", 0))).expect("a socket");
    udp.connect(port).expect("the port");
    (line, udp)
}

/// A site with a user and an echo server.
fn started() -> (Lab, Server) {
    let site = Site::new();
    let hash = site.gateway.output(std::process::Command::new("openssl").args(["passwd", "-6", "sesame"]));
    let hash = String::from_utf8(hash.stdout).expect("a hash");
    site.gateway.write("/etc/sockd.passwd", format!("joe:{}:staff\n", hash.trim()));
    site.gateway.sh("chmod 600 /etc/sockd.passwd");
    let server = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::at(site, CONF, |start| start.settings(SETTINGS).runtime_directory(super::FOLDER));
    (lab, server)
}

#[test]
fn each_metric_moves_with_what_it_counts() {
    let (lab, _server) = started();
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    for Row(series, act) in ROWS {
        let before = value(&page(gateway), series).unwrap_or_else(|| panic!("no {series}"));
        let held = act(&lab);
        until_true(series, || value(&page(gateway), series).is_some_and(|now| now > before));
        drop(held);
        // A row begins when the sessions of the one before it are over.
        until("nobody is there", || {
            let page = page(gateway);
            let sum = ["handshake", "connecting", "waiting", "relaying", "closing"]
                .map(|state| value(&page, &format!("sockd_sessions{{state=\"{state}\"}}")).expect("a state"));
            (sum == [0.0; 5] && value(&page, "sockd_udp_flows") == Some(0.0)).then_some(())
        });
    }
}

#[test]
fn what_is_fixed_is_said() {
    let lab = lab(sockd_tests::sockd::PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    let page = page(gateway);
    let version = format!("sockd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    for (series, expected) in [("sockd_up", 1.0), (&version, 1.0), ("sockd_rules", 1.0)] {
        assert_eq!(value(&page, series), Some(expected), "{series}");
    }
    for series in [
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
    ] {
        assert!(value(&page, series).is_some(), "{series} in {page}");
    }
    assert!(page.ends_with("\n# EOF\n"));
}

/// Parses the page with Prometheus' own library for Python, which is strict.
#[test]
fn the_page_is_openmetrics_by_another_parser() {
    let (lab, _server) = started();
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    drop(relay(&lab));
    gateway.write("/run/page", page(gateway));
    let script = "from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                  families = list(parse(open('/run/page').read()))\n\
                  print(len(families), sum(len(family.samples) for family in families))";
    let parsed = gateway.output(std::process::Command::new("/usr/bin/python3").args(["-c", script]));
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let said = String::from_utf8_lossy(&parsed.stdout).into_owned();
    let families = said.split(' ').next().and_then(|number| number.parse::<u32>().ok());
    assert!(families.is_some_and(|number| number > 20), "{said}");
}
