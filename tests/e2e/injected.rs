//! System calls that fail as on a host that runs out of something: injected into the running daemon.
//!
//! Each time the request at hand is refused or waits, the log says why in one line, nothing spins, and when the fault
//! is over everything is as before.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::fault::Fault;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, OUTSIDE, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{
    GRANTED, PROXY, REJECTED, Reply, Request, assert_rejected, granted, is_granted, send_to,
};
use sockd_tests::wait::{LONG, until_true};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

/// Harmless calls that the filters of monitor and spawner let through.
const OF_THE_MONITOR: &str = "getpid";
const OF_THE_SPAWNER: &str = "getuid";

/// Far more than waiting costs, far less than spinning: clock ticks of a second.
const IDLE: u64 = 30;

/// The most times that a line may have come that comes once a minute.
fn minutes(begun: Instant) -> u64 {
    begun.elapsed().as_secs() / 60 + 1
}

struct Place {
    lab: Lab,
    _echo: Server,
}

fn place() -> Place {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let place = Place { lab: Lab::new_at(site), _echo };
    // The client host has its worker, and the next one waits for another host.
    drop(place.granted());
    until_true("a spare worker", || place.lab.sockd.workers("session").len() == 2);
    place
}

impl Place {
    fn request(&self) -> Request {
        Request::connect((SERVER, 7))
    }

    fn granted(&self) -> Line {
        granted(&self.lab.site.client, &self.request())
    }

    fn monitor(&self) -> Process {
        self.lab.sockd.monitor()
    }

    /// Makes a call of the monitor fail from now on.
    fn fault(&self, call: &str, error: &str) -> Fault {
        Fault::of(&self.lab.site.gateway, self.monitor(), call, error, OF_THE_MONITOR)
    }

    fn assert_idle(&self, what: &str) {
        for process in [self.monitor(), self.lab.sockd.spawner()] {
            let used = process.ticks_of_a_second();
            assert!(used < IDLE, "{what}: {} uses {used} ticks", process.command_line());
        }
    }
}

#[test]
fn a_client_that_cannot_be_accepted_waits_until_there_is_room_and_nothing_spins() {
    let place = place();
    let begun = Instant::now();
    for error in ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"] {
        let fault = place.fault("accept4", error);
        let mut waiting = send_to(&place.lab.site.client, PROXY, &place.request());
        fault.has_struck();
        place.assert_idle(error);
        drop(fault);
        assert_eq!(Reply::read(&mut waiting), Reply::with(GRANTED), "{error}");
    }
    let said = place.lab.logged().into_iter().filter(|line| line.contains("clients are turned away: "));
    // One line a minute for each cause, however often it struck: EMFILE and ENFILE are one cause.
    assert!(said.count() as u64 <= 3 * minutes(begun), "{:#?}", place.lab.logged());
}

#[test]
fn a_connection_that_cannot_be_made_for_want_of_something_is_refused_and_says_of_what() {
    let mut place = place();
    for (call, error, text) in [
        ("socket", "EMFILE", "Too many open files"),
        ("socket", "ENFILE", "File table overflow"),
        ("socket", "ENOMEM", "Out of memory"),
        ("socket", "ENOBUFS", "No buffer space available"),
        ("setsockopt", "ENOMEM", "Out of memory"),
        ("connect", "EADDRNOTAVAIL", "Cannot assign requested address"),
        ("connect", "EAGAIN", "Try again"),
        ("getsockname", "ENOBUFS", "No buffer space available"),
    ] {
        place.lab.logged_whole(3);
        place.lab.turn_the_page();
        let fault = place.fault(call, error);
        assert_rejected(&place.lab.site.client, &place.request());
        fault.has_struck();
        drop(fault);
        place.lab.assert_logged(&[Session::of(CLIENT, SERVER, "echo").failed(call, text)]);
        drop(place.granted());
    }
}

#[test]
fn a_connection_on_its_way_that_cannot_be_watched_is_refused_and_says_why() {
    let mut place = place();
    // A station that is not there: every packet for it is lost.
    place
        .lab
        .site
        .gateway
        .sh("ip neigh add 198.51.100.99 lladdr 02:00:00:00:00:99 dev outside nud permanent");
    let nobody = Ipv4Addr::new(198, 51, 100, 99);
    for (error, text) in [("ENOSPC", "No space left on device"), ("ENOMEM", "Out of memory")] {
        place.lab.logged_whole(3);
        place.lab.turn_the_page();
        let fault = place.fault("epoll_ctl", error);
        assert_rejected(&place.lab.site.client, &Request::connect((nobody, 4000)));
        fault.has_struck();
        drop(fault);
        place.lab.assert_logged(&[Session::of(CLIENT, nobody, 4000).failed("epoll_ctl", text)]);
        drop(place.granted());
    }
}

#[test]
fn where_no_worker_can_be_started_new_client_hosts_are_turned_away_and_the_others_served() {
    let place = place();
    let Place { lab, .. } = &place;
    // The other client host, each time with an address that has not been seen before.
    let becomes = |last: u8| {
        lab.site.other.sh(&format!("ip addr add 192.0.2.{last}/25 dev eth0"));
        lab.site.other.sh(&format!("ip route replace default via 192.0.2.129 src 192.0.2.{last}"));
    };
    for (error, first) in [("EMFILE", 140), ("ENOMEM", 150)] {
        let workers = lab.sockd.workers("session").len();
        let fault = place.fault("socketpair", error);
        becomes(first);
        // It takes the spare worker.
        drop(granted(&lab.site.other, &place.request()));
        becomes(first + 1);
        assert!(!is_granted(&lab.site.other, &place.request()), "{error}");
        fault.has_struck();
        lab.wait_for_line("clients are turned away: no worker");
        drop(place.granted());
        place.assert_idle(error);
        drop(fault);
        drop(granted(&lab.site.other, &place.request()));
        until_true("a spare worker", || lab.sockd.workers("session").len() == workers + 2);
    }
    lab.wait_for_line("cannot start a session worker: channel: Too many open files");
    lab.wait_for_line("cannot start a session worker: channel: Cannot allocate memory");
}

#[test]
fn a_worker_that_cannot_be_forked_is_told_and_started_later() {
    let mut place = place();
    for (error, text) in [("EAGAIN", "Try again"), ("ENOMEM", "Out of memory")] {
        let begun = Instant::now();
        place.lab.turn_the_page();
        let spawner = place.lab.sockd.spawner();
        let fault = Fault::of(&place.lab.site.gateway, spawner, "clone", error, OF_THE_SPAWNER);
        drop(granted(&place.lab.site.other, &place.request()));
        place.lab.sockd.workers("session").iter().for_each(|worker| worker.signal(Signal::SIGKILL));
        place.lab.wait_for_line(&format!("daemon.err a worker is not started: {text}"));
        assert!(!is_granted(&place.lab.site.client, &place.request()), "{error}");
        place.assert_idle(error);
        drop(fault);
        drop(place.granted());
        until_true("a spare worker", || place.lab.sockd.workers("session").len() == 2);
        let lines = place.lab.logged().into_iter().filter(|line| line.contains("not started"));
        assert!(lines.count() as u64 <= minutes(begun), "however often it is tried");
    }
}

#[test]
fn a_descriptor_that_cannot_be_handed_over_now_is_handed_over_later_and_nothing_spins() {
    let place = place();
    for error in ["ETOOMANYREFS", "ENOBUFS", "ENOMEM"] {
        let fault = place.fault("sendmsg", error);
        let mut waiting = send_to(&place.lab.site.client, PROXY, &place.request());
        fault.has_struck();
        place.assert_idle(error);
        drop(fault);
        assert_eq!(Reply::read(&mut waiting), Reply::with(GRANTED), "{error}");
    }
}

#[test]
fn what_the_kernel_does_not_say_of_an_address_is_asked_again() {
    let place = place();
    let far = Far::listen(&place.lab.site.server, Ipv4Addr::new(203, 0, 113, 10));
    let fault = place.fault("sendto", "ENOBUFS");
    let mut line = send_to(&place.lab.site.client, PROXY, &Request::connect(far.v4()));
    fault.has_struck();
    place.assert_idle("ENOBUFS");
    drop(fault);
    assert_eq!(Reply::read(&mut line), Reply::with(REJECTED), "guarded, as long as nothing is known");
    drop(granted(&place.lab.site.client, &Request::connect(far.v4())));
}

#[test]
fn a_bind_whose_server_cannot_be_accepted_is_refused_and_says_why() {
    let place = place();
    let request = Request::connect((SERVER, 7)).as_bind();
    let mut line = send_to(&place.lab.site.client, PROXY, &request);
    let first = Reply::read(&mut line);
    assert_eq!(first.code, GRANTED);
    let fault = place.fault("accept4", "EMFILE");
    let at = SocketAddr::from((OUTSIDE, first.address.port()));
    // Reset at once, or a moment later.
    let server = place.lab.site.server.run(|| TcpStream::connect_timeout(&at, LONG));
    fault.has_struck();
    assert_eq!(Reply::read(&mut line).code, REJECTED);
    place.assert_idle("EMFILE");
    drop(fault);
    drop(server);
    let line = place.lab.wait_for_line("Error code: accept() Too many open files");
    assert!(line.starts_with("daemon.notice failed -- Bind from joe"), "{line}");
}

#[test]
fn a_loader_that_runs_out_of_something_leaves_the_old_rules_in_force() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let loader = lab.sockd.loader();
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    for (error, text) in [("EMFILE", "Too many open files"), ("ENOMEM", "Cannot allocate memory")] {
        let fault = Fault::of(&lab.site.gateway, loader, "openat", error, OF_THE_SPAWNER);
        lab.sockd.signal(Signal::SIGHUP);
        let line = lab.wait_for_line(text);
        assert!(line.starts_with("daemon.err Unable to open config file (/etc/sockd.conf)"), "{line}");
        lab.wait_for_line("reload failed: the rules, routes and settings read before stay in force");
        drop(fault);
        drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
        lab.turn_the_page();
    }
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded: ");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
}

#[test]
fn a_command_that_cannot_be_forked_is_told() {
    let lab = Lab::new("deny 0.0.0.0 0.0.0.0 : true\n");
    let hook = lab.sockd.hook_process();
    let fault = Fault::of(&lab.site.gateway, hook, "clone", "EAGAIN", OF_THE_SPAWNER);
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    fault.has_struck();
    lab.wait_for_line("daemon.err a rule command is not run: fork failed");
}
