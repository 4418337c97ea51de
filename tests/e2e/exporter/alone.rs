//! Metrics that move only under settings, or after acts, that other rows could not bear. Each row has its own daemon.

use super::rows::{Held, associate, bind, relay, says};
use super::{exporter, page, value};
use nix::sys::signal::Signal;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Server;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start};
use sockd_tests::socks::{PROXY, Request, ask, granted, send_to};
use sockd_tests::wait::{until_true, until_within};
use std::process::Command;
use std::time::Duration;

/// A series, the rules and settings of the daemon, and the act that raises the series.
pub(super) struct Row(pub(super) &'static str, &'static str, &'static str, fn(&mut Place) -> Held);

/// A daemon of its own, with a client's identd and a nameserver that are silent until told otherwise.
pub(super) struct Place {
    lab: Lab,
    identd: Identd,
    _nameserver: Nameserver,
    _echo: Server,
}

impl Place {
    fn start(conf: &str, settings: &str, prepare: impl FnOnce(Start) -> Start) -> Self {
        let site = Site::new();
        site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:30\n"));
        let nameserver = Nameserver::start(&site.server, |_| Answer::Silence);
        let identd = Identd::start(&site.client, CLIENT);
        let echo = Server::echo(&site.server, (SERVER, 7));
        let users = format!("joe:{}:staff\n", hash(&site));
        let lab = Lab::at(site, conf, |start| {
            prepare(start.settings(settings).users(&users).runtime_directory(super::FOLDER))
        });
        Self { lab, identd, _nameserver: nameserver, _echo: echo }
    }

    /// Sends a request and does not wait for the reply.
    fn asks(&self, request: &Request) -> Line {
        send_to(&self.lab.site.client, PROXY, request)
    }

    fn asks_name(&self, name: &str) -> Line {
        self.asks(&Request::connect_name(name, 7))
    }

    fn workers(&self, role: &str) -> Vec<Process> {
        self.lab.sockd.workers(role)
    }

    /// Ends the worker of this role, which is there or comes soon.
    fn kill(&self, role: &str) {
        until_true(role, || !self.workers(role).is_empty());
        self.workers(role).iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    }
}

fn asked_for_password(place: &Place) -> Line {
    let mut line = Line::dial(&place.lab.site.client, PROXY);
    line.send([5, 1, 2]);
    assert_eq!(line.read(2), [5, 2]);
    line
}

fn hash(site: &Site) -> String {
    let hash = site.gateway.output(Command::new("openssl").args(["passwd", "-6", "sesame"]));
    String::from_utf8(hash.stdout).expect("a hash").trim().to_owned()
}

fn to_server() -> Request {
    Request::connect((SERVER, 7))
}

const WITH_IDENTD: &str = "permit ?=I 0.0.0.0 0.0.0.0\n";
const WITH_PASSWORD: &str = "permit @=password,none +=connect,bind,udp ALL 0.0.0.0\n";
const WITH_COMMAND: &str = "deny 0.0.0.0 0.0.0.0 : sleep 3\n";

pub(super) const LIMITS: &[Row] = &[
    Row(
        "sockd_limit_hits_total{limit=\"max_sessions\"}",
        PERMIT_ALL,
        "(max_sessions: 2, max_sessions_per_host: 2)",
        three,
    ),
    Row(
        "sockd_limit_hits_total{limit=\"max_sessions_per_host\"}",
        PERMIT_ALL,
        "(max_sessions_per_host: 1)",
        three,
    ),
    Row(
        "sockd_limit_hits_total{limit=\"connection_rate\"}",
        PERMIT_ALL,
        "(connection_rate: 1, connection_burst: 1)",
        three,
    ),
    Row(
        "sockd_limit_hits_total{limit=\"connection_rate_in_all\"}",
        PERMIT_ALL,
        "(connection_rate_in_all: 1, connection_burst_in_all: 1)",
        three,
    ),
    Row("sockd_limit_hits_total{limit=\"max_requests\"}", PERMIT_ALL, "(max_requests: 1)", three),
    Row(
        "sockd_limit_hits_total{limit=\"max_requests_per_host\"}",
        PERMIT_ALL,
        "(max_requests_per_host: 1)",
        three,
    ),
    Row("sockd_limit_hits_total{limit=\"max_workers\"}", PERMIT_ALL, "(max_workers: 1)", |place| {
        let first = relay(&place.lab);
        drop(Line::dial(&place.lab.site.other, PROXY));
        vec![first]
    }),
    Row("sockd_limit_hits_total{limit=\"max_lookups\"}", PERMIT_ALL, "(max_lookups: 1)", |place| {
        ["a.example", "b.example"].map(|name| place.asks_name(name)).into()
    }),
    Row(
        "sockd_limit_hits_total{limit=\"max_lookups_per_host\"}",
        PERMIT_ALL,
        "(max_lookups_per_host: 1)",
        |place| ["a.example", "b.example"].map(|name| place.asks_name(name)).into(),
    ),
    Row("sockd_limit_hits_total{limit=\"max_idents\"}", WITH_IDENTD, "(max_idents: 1)", two_idents),
    Row(
        "sockd_limit_hits_total{limit=\"max_idents_per_host\"}",
        WITH_IDENTD,
        "(max_idents_per_host: 1)",
        two_idents,
    ),
    Row("sockd_limit_hits_total{limit=\"max_binds\"}", WITH_PASSWORD, "(max_binds: 1)", two_binds),
    Row(
        "sockd_limit_hits_total{limit=\"max_binds_per_host\"}",
        WITH_PASSWORD,
        "(max_binds_per_host: 1)",
        two_binds,
    ),
    Row(
        "sockd_limit_hits_total{limit=\"max_associations_per_host\"}",
        WITH_PASSWORD,
        "(max_associations_per_host: 1)",
        |place| {
            let (first, _) = associate(&place.lab);
            let mut second = sockd_tests::socks5::greet(&place.lab.site.client);
            second.send([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
            vec![first, second]
        },
    ),
    Row(
        "sockd_limit_hits_total{limit=\"max_flows_per_host\"}",
        WITH_PASSWORD,
        "(max_flows_per_host: 1)",
        two_flows,
    ),
    Row(
        "sockd_limit_hits_total{limit=\"max_flows_in_all\"}",
        WITH_PASSWORD,
        "(max_flows_in_all: 1)",
        two_flows,
    ),
    Row("sockd_limit_hits_total{limit=\"max_commands\"}", WITH_COMMAND, "(max_commands: 1)", two_commands),
    Row(
        "sockd_limit_hits_total{limit=\"max_commands_per_host\"}",
        WITH_COMMAND,
        "(max_commands_per_host: 1)",
        two_commands,
    ),
    Row("sockd_limit_hits_total{limit=\"n\"}", "permit n=1 0.0.0.0 0.0.0.0\n", "()", |place| {
        vec![relay(&place.lab), place.asks(&to_server())]
    }),
    Row("sockd_limit_hits_total{limit=\"descriptors\"}", PERMIT_ALL, "()", |place| {
        let held = relay(&place.lab);
        let monitor = place.lab.sockd.monitor();
        monitor.limit_descriptors(&place.lab.site.gateway, monitor.descriptors().len());
        let line = Line::dial(&place.lab.site.client, PROXY);
        place.lab.wait_for_line("clients are turned away: no descriptors left");
        monitor.limit_descriptors(&place.lab.site.gateway, 10_000);
        vec![held, line]
    }),
    Row("sockd_limit_hits_total{limit=\"other\"}", PERMIT_ALL, "()", |place| {
        let mut drain = Command::new(sockd_tests::sockd::program("sockdctl"));
        assert!(place.lab.site.gateway.output(drain.arg("drain")).status.success());
        vec![Line::dial(&place.lab.site.client, PROXY)]
    }),
];

fn three(place: &mut Place) -> Held {
    (0..3).map(|_| says(&place.lab, &[4])).collect()
}

fn two_idents(place: &mut Place) -> Held {
    let first = place.asks(&to_server());
    until_true("identd is being asked", || place.identd.queries().len() == 1);
    vec![first, place.asks(&to_server())]
}

fn two_binds(place: &mut Place) -> Held {
    let first = bind(&place.lab);
    vec![first, place.asks(&to_server().as_bind())]
}

fn two_flows(place: &mut Place) -> Held {
    let (line, udp) = associate(&place.lab);
    for port in [7, 8] {
        let datagram = [&[0, 0, 0, 1], &SERVER.octets()[..], &[0, port], b"hello"].concat();
        udp.send(&datagram).expect("a datagram");
    }
    vec![line]
}

/// The running command has a place, and so have the waiting ones.
fn two_commands(place: &mut Place) -> Held {
    for _ in 0..20 {
        drop(ask(&place.lab.site.client, &to_server()));
    }
    Held::new()
}

pub(super) const OTHERS: &[Row] = &[
    Row("sockd_auth_attempts_total{method=\"ident\",result=\"accepted\"}", WITH_IDENTD, "()", |place| {
        place.identd.names("joe");
        vec![relay(&place.lab)]
    }),
    Row("sockd_auth_attempts_total{method=\"ident\",result=\"refused\"}", WITH_IDENTD, "()", |place| {
        place.identd.says(|query| {
            let (client, proxy) = query.ports();
            format!("{client} , {proxy} : ERROR : NO-USER\r\n")
        });
        vec![place.asks(&to_server())]
    }),
    Row("sockd_auth_attempts_total{method=\"password\",result=\"limited\"}", WITH_PASSWORD, "()", |place| {
        // After too many attempts no password is asked for.
        let mut lines: Vec<Line> = (0..9).map(|_| asked_for_password(place)).collect();
        lines.iter_mut().for_each(|line| line.send([&[1, 3], &b"joe"[..], &[5], b"guess"].concat()));
        lines
    }),
    Row(
        "sockd_auth_attempts_total{method=\"password\",result=\"unchecked\"}",
        WITH_PASSWORD,
        "()",
        |place| {
            place.workers("auth").iter().for_each(|worker| worker.signal(Signal::SIGSTOP));
            let mut line = asked_for_password(place);
            line.send([&[1, 3], &b"joe"[..], &[6], b"sesame"].concat());
            // Its end answers the open questions.
            until_true("the password waits", || {
                let mut list = Command::new(sockd_tests::sockd::program("sockdctl"));
                let listed = place.lab.site.gateway.output(list.args(["list", "--json"])).stdout;
                String::from_utf8_lossy(&listed).contains("verifying")
            });
            place.kill("auth");
            vec![line]
        },
    ),
    Row("sockd_log_lines_lost_total", PERMIT_ALL, "()", |place| {
        place.lab.log.program().signal(Signal::SIGSTOP);
        for _ in 0..2000 {
            drop(ask(&place.lab.site.client, &to_server()));
        }
        place.lab.log.program().signal(Signal::SIGCONT);
        Held::new()
    }),
];

pub(super) const WORKERS: &[Row] = &[
    Row("sockd_worker_deaths_total{role=\"session\",how=\"not_started\"}", PERMIT_ALL, "()", |place| {
        let spawner = place.lab.sockd.spawner();
        let numbers = spawner.descriptors();
        // The limit is on the number, and the lowest free one is taken next.
        let next = (0..).find(|number| !numbers.contains_key(number)).expect("a free number");
        spawner.limit_descriptors(&place.lab.site.gateway, next);
        place.kill("session");
        Held::new()
    }),
    Row("sockd_worker_deaths_total{role=\"datagram\",how=\"outside\"}", WITH_PASSWORD, "()", |place| {
        // The association's worker begins with the first datagram.
        let held = two_flows(place);
        place.kill("datagram");
        held
    }),
    Row("sockd_worker_deaths_total{role=\"ident\",how=\"outside\"}", WITH_IDENTD, "()", |place| {
        let line = place.asks(&to_server());
        place.kill("ident");
        vec![line]
    }),
    Row("sockd_worker_deaths_total{role=\"resolver\",how=\"outside\"}", PERMIT_ALL, "()", |place| {
        place.kill("resolver");
        Held::new()
    }),
    Row("sockd_worker_deaths_total{role=\"auth\",how=\"outside\"}", WITH_PASSWORD, "()", |place| {
        place.kill("auth");
        Held::new()
    }),
    Row("sockd_workers{role=\"resolver\",state=\"starting\"}", PERMIT_ALL, "()", |place| {
        place.lab.sockd.spawner().signal(Signal::SIGSTOP);
        place.kill("resolver");
        Held::new()
    }),
    Row("sockd_workers{role=\"auth\",state=\"starting\"}", WITH_PASSWORD, "()", |place| {
        place.lab.sockd.spawner().signal(Signal::SIGSTOP);
        place.kill("auth");
        Held::new()
    }),
    Row("sockd_workers{role=\"datagram\",state=\"busy\"}", WITH_PASSWORD, "()", two_flows),
    Row("sockd_workers{role=\"ident\",state=\"busy\"}", WITH_IDENTD, "()", |place| {
        vec![place.asks(&to_server())]
    }),
    Row("sockd_workers{role=\"session\",state=\"idle\"}", PERMIT_ALL, "()", |place| {
        // The worker has lost its client, and another spare one is there.
        drop(relay(&place.lab));
        Held::new()
    }),
];

/// Each row with its own daemon.
fn each_moves(rows: &[Row]) {
    for Row(series, conf, settings, act) in rows {
        let mut place = Place::start(conf, settings, |start| start);
        let _exporter = exporter(&place.lab.site.gateway);
        moves(&mut place, series, act);
    }
}

fn moves(place: &mut Place, series: &str, act: impl FnOnce(&mut Place) -> Held) {
    let gateway = &place.lab.site.gateway.clone();
    let before = value(&page(gateway), series).unwrap_or_else(|| panic!("no {series}"));
    let held = act(place);
    until_true(series, || value(&page(gateway), series).is_some_and(|now| now > before));
    drop(held);
}

#[test]
fn each_limit_is_counted_when_it_is_met() {
    each_moves(LIMITS);
}

#[test]
fn logins_and_lost_lines_are_counted() {
    each_moves(OTHERS);
}

#[test]
fn each_kind_of_worker_is_counted_when_it_works_and_when_it_ends() {
    each_moves(WORKERS);
}

pub(super) const UPSTREAM: [&str; 2] = [
    "sockd_workers{role=\"upstream\",state=\"busy\"}",
    "sockd_worker_deaths_total{role=\"upstream\",how=\"outside\"}",
];

#[test]
fn a_worker_for_next_servers_is_counted() {
    let next = |start: Start| start.upstream(&format!("sockd @={SERVER}:1081 ALL 0.0.0.0\n"));
    let mut place = Place::start(PERMIT_ALL, "()", next);
    let _silent = sockd_tests::upstream::Upstream::start(&place.lab.site.server, (SERVER, 1081));
    let _exporter = exporter(&place.lab.site.gateway);
    let mut lines = Held::new();
    moves(&mut place, UPSTREAM[0], |place| {
        lines.push(place.asks(&to_server()));
        Held::new()
    });
    moves(&mut place, UPSTREAM[1], |place| {
        place.kill("upstream");
        Held::new()
    });
}

/// Acts of a worker, by a hostile one that follows orders.
pub(super) const HOSTILE: &[(&str, &str)] = &[
    ("silence", "sockd_sessions{state=\"closing\"}"),
    ("short", "sockd_violations_total"),
    ("short", "sockd_worker_deaths_total{role=\"session\",how=\"violation\"}"),
    ("an-exit", "sockd_worker_deaths_total{role=\"session\",how=\"exit\"}"),
    ("a-panic", "sockd_worker_deaths_total{role=\"session\",how=\"fault\"}"),
];

#[test]
fn what_workers_do_wrong_is_counted() {
    for (act, series) in HOSTILE {
        let hostile = |start: Start| start.worker(env!("CARGO_BIN_EXE_hostile-worker"));
        let mut place = Place::start("deny 0.0.0.0 0.0.0.0\n", "()", hostile);
        let _exporter = exporter(&place.lab.site.gateway);
        moves(&mut place, series, |place| vec![place.asks(&to_server().by(act))]);
    }
}

/// The states of a worker whose spawner is slow to start and end it.
pub(super) const SLOW: [&str; 3] = [
    "sockd_workers{role=\"session\",state=\"starting\"}",
    "sockd_worker_deaths_total{role=\"session\",how=\"unfit\"}",
    "sockd_workers{role=\"session\",state=\"ending\"}",
];

#[test]
fn workers_that_do_not_come_in_time_are_counted() {
    let place = Place::start(PERMIT_ALL, "()", |start| start);
    let gateway = &place.lab.site.gateway;
    let _exporter = exporter(gateway);
    until_true("a spare worker", || place.workers("session").len() == 1);
    let spawner = place.lab.sockd.spawner();
    spawner.signal(Signal::SIGSTOP);
    let lines =
        [&place.lab.site.client, &place.lab.site.other].map(|host| send_to(host, PROXY, &to_server()));
    let is_there = |series: &str| value(&page(gateway), series).is_some_and(|number| number >= 1.0);
    until_true(SLOW[0], || is_there(SLOW[0]));
    for series in &SLOW[1..] {
        // Twice the time that a worker has to start.
        until_within(Duration::from_secs(60), series, || is_there(series).then_some(()));
    }
    spawner.signal(Signal::SIGCONT);
    drop(lines);
    drop(granted(&place.lab.site.other, &to_server()));
}
