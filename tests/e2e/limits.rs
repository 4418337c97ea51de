//! Waits have an end.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockd_tests::classic::Visit;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{
    GRANTED, PROXY, Reply, Request, ask, assert_rejected, granted, is_granted, send_to,
};
use sockd_tests::wait::until_true;
use std::net::Ipv4Addr;

/// An address that swallows every packet: the link knows a station for it that is not there.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);

fn swallow(lab: &Lab) {
    lab.site.gateway.sh("ip neigh add 198.51.100.99 lladdr 02:00:00:00:00:99 dev outside nud permanent");
}

#[test]
fn a_destination_that_does_not_answer_is_given_up_at_the_connect_limit() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(connect_limit: 1)");
    swallow(&lab);
    assert_rejected(&lab.site.client, &Request::connect((NOBODY, 4000)));
    lab.assert_logged(&[Visit::of(CLIENT, NOBODY, 4000).timed_out()]);
}

#[test]
fn a_destination_that_is_slow_to_connect_holds_up_nobody_else() {
    let lab = Lab::new(PERMIT_ALL);
    swallow(&lab);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let waiting: Vec<_> =
        (0..50).map(|_| send_to(&lab.site.client, PROXY, &Request::connect((NOBODY, 4000)))).collect();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(waiting);
}

#[test]
fn a_client_that_resets_ends_its_connection_attempt() {
    let lab = Lab::new(PERMIT_ALL);
    swallow(&lab);
    let line = send_to(&lab.site.client, PROXY, &Request::connect((NOBODY, 4000)));
    let attempts = || procfs::attempts(&lab.site.gateway, 4000);
    until_true("an attempt to connect", || attempts() == 1);
    // A FIN alone could be a client that has said all it has to say and waits for an answer.
    line.reset();
    until_true("no attempt any more", || attempts() == 0);
}

#[test]
fn idle_clients_do_not_keep_others_out() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_requests_per_host: 10)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let idle: Vec<_> = (0..100).map(|_| Line::dial(&lab.site.client, PROXY)).collect();
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
    drop(idle);
}

#[test]
fn one_client_host_cannot_use_up_the_sessions_of_the_other() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_sessions_per_host: 5)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let held: Vec<_> = (0..5).map(|_| granted(&lab.site.client, &request)).collect();
    assert!(!is_granted(&lab.site.client, &request));
    drop(granted(&lab.site.other, &request));
    drop(held);
    until_true("sessions are free again", || is_granted(&lab.site.client, &request));
}

#[test]
fn above_max_workers_client_hosts_share_and_are_served() {
    let lab = Lab::with_settings(PERMIT_ALL, "(max_workers: 1)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let request = Request::connect((SERVER, 7));
    let first = granted(&lab.site.client, &request);
    let second = granted(&lab.site.other, &request);
    assert_eq!(lab.sockd.worker_of(first.local()), lab.sockd.worker_of(second.local()));
}

#[test]
fn a_stopped_spawner_holds_up_nobody_who_has_a_worker() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(isolation: connection, max_workers: 2000)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let mut served = Line::dial(&lab.site.other, PROXY);
    until_true("it has a worker", || lab.sockd.workers("session").len() == 3);
    let spawner = Pid::from_raw(lab.sockd.spawner().0);
    kill(spawner, Signal::SIGSTOP).expect("stopping the spawner");
    // Each asks for a worker, which is two descriptors at least: more than the spawner's channel holds.
    let waiting: Vec<_> = (0..400).map(|_| Line::dial(&lab.site.client, PROXY)).collect();
    until_true("most have asked", || lab.sockd.monitor().descriptors().len() > 560);
    served.send(Request::connect((SERVER, 7)).bytes());
    assert_eq!(Reply::read(&mut served), Reply::with(GRANTED));
    drop(waiting);
    kill(spawner, Signal::SIGCONT).expect("the spawner goes on");
    until_true("clients are served again", || is_granted(&lab.site.client, &Request::connect((SERVER, 7))));
    assert!(lab.sockd.runs());
}

#[test]
fn an_idle_worker_ends() {
    let lab = Lab::with_settings(PERMIT_ALL, "(worker_idle: 1)");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let worker = lab.sockd.worker_of(line.local());
    drop(line);
    until_true("the worker has ended", || !worker.runs());
    let (_line, reply) = ask(&lab.site.client, &Request::connect((SERVER, 7)));
    assert_eq!(reply, Reply::with(GRANTED));
}

#[test]
fn a53_lines_about_refusals_of_one_host_are_limited_and_counted_and_those_of_others_are_not() {
    let lab = Lab::with_settings("deny 0.0.0.0 0.0.0.0\n", "(max_refusals_logged: 10)");
    for _ in 0..100 {
        assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    }
    assert_rejected(&lab.site.other, &Request::connect((SERVER, 7)));
    lab.wait_for_line("refused -- Connect from joe(unknown)@192.0.2.138");
    let left_out = |line: &String| {
        let rest = line.strip_prefix("daemon.err ")?;
        rest.split_once(" lines about requests of 192.0.2.10 are left out")?.0.parse::<usize>().ok()
    };
    until_true("every line is written or counted", || {
        let lines = lab.logged();
        let written = lines.iter().filter(|line| line.contains("joe(unknown)@192.0.2.10")).count();
        written + lines.iter().filter_map(left_out).sum::<usize>() == 100
    });
    assert!(lab.logged().iter().any(|line| left_out(line).is_some()));
}
