//! Attacks beyond the other suites: hostile bytes, and the traces of accidents and careless starts.

use nix::sys::signal::Signal;
use sockd_tests::far::{Far, Server};
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::site::{OUTSIDE, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start, program};
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, ask, granted, send_to};
use sockd_tests::syslog::{Mark, Syslog};
use sockd_tests::wait::until_true;
use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

fn echo_lab(settings: &str) -> (Server, Lab) {
    let lab = Lab::with_settings(PERMIT_ALL, settings);
    (Server::echo(&lab.site.server, (SERVER, 7)), lab)
}

fn request() -> Request {
    Request::connect((SERVER, 7))
}

#[test]
fn a1_a3_a_user_id_or_name_of_64_kib_is_refused_without_being_kept() {
    let (_echo, lab) = echo_lab("()");
    for request in [request().by("u".repeat(65_536)), Request::connect_name("n".repeat(65_536), 7)] {
        let mut line = Line::dial(&lab.site.client, PROXY);
        // It is refused before all of it has been sent.
        let _ = line.stream().write_all(&request.bytes());
        assert!(matches!(line.read_some(8).as_slice(), [] | [0, 91, ..]));
    }
    drop(granted(&lab.site.client, &request()));
}

#[test]
fn a2_a_second_request_in_the_same_segment_is_data_for_the_server() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let request = Request::connect(far.v4()).bytes();
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send([request.clone(), request.clone()].concat());
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    let mut there = far.accept();
    assert_eq!(there.read(request.len()), request);
    there.send("only one reply");
    assert_eq!(line.read(14), b"only one reply");
    assert!(far.waiting().is_none());
}

#[test]
fn a18_a_denied_destination_is_not_dialled_and_the_reply_does_not_tell_whether_anything_listens() {
    let lab = Lab::new("deny 0.0.0.0 0.0.0.0\n");
    let far = Far::listen(&lab.site.server, SERVER);
    let [open, closed] =
        [far.v4().port(), 1].map(|port| ask(&lab.site.client, &Request::connect((SERVER, port))));
    assert_eq!(open.1, closed.1);
    assert!(far.waiting().is_none());
}

#[test]
fn a60_garbage_at_the_socks_port_and_at_the_port_of_a_bind_ends_nothing_but_itself() {
    let (_echo, lab) = echo_lab("(connect_limit: 1, request_limit: 1)");
    let mut held = granted(&lab.site.client, &request());
    let family = [vec![lab.sockd.monitor()], lab.sockd.family()].concat();
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for number in 0..300_usize {
        let mut garbage: Vec<u8> = (0..number * 7 % 1500 + 1).map(|_| random()).collect();
        // Every second connection looks like a request at first.
        if number % 2 == 0 {
            garbage.splice(0..0, [4, 1 + (number as u8) % 4]);
        }
        let mut line = Line::dial(&lab.site.client, PROXY);
        let _ = line.stream().write_all(&garbage);
        let _ = line.stream().shutdown(Shutdown::Write);
        line.read_some(2000);
    }
    let mut bind = send_to(&lab.site.client, PROXY, &request().as_bind());
    let port = Reply::read(&mut bind).address.port();
    let mut server = Line::dial(&lab.site.server, (OUTSIDE, port));
    server.send([0xff; 100]);
    assert_eq!(Reply::read(&mut bind).code, GRANTED);
    assert_eq!(bind.read(100), [0xff; 100]);
    held.send("hello");
    assert_eq!(held.read(5), b"hello");
    assert!(family.iter().all(|process| process.runs()), "{:#?}", lab.logged());
    assert!(lab.logged().iter().all(|line| line.starts_with("daemon.notice ")), "{:#?}", lab.logged());
}

#[test]
fn a64_clients_that_reset_before_or_within_their_request_leave_nothing_behind() {
    let (_echo, lab) = echo_lab("(worker_idle: 1)");
    drop(granted(&lab.site.client, &request()));
    until_true("a spare worker", || lab.sockd.workers("session").len() == 2);
    let before = lab.sockd.monitor().descriptors().len();
    for number in 0..200 {
        let mut line = Line::dial(&lab.site.client, PROXY);
        let bytes = request().bytes();
        line.send(&bytes[..number % (bytes.len() + 1)]);
        line.reset();
    }
    // A busy host has further workers, which end when they are idle.
    until_true("nothing is left of them", || lab.sockd.monitor().descriptors().len() <= before);
    drop(granted(&lab.site.client, &request()));
    assert!(lab.logged().iter().all(|line| line.starts_with("daemon.notice ")), "{:#?}", lab.logged());
}

#[test]
fn a70_whatever_lies_in_the_place_of_the_pid_file_is_replaced_and_a_folder_of_others_is_no_start() {
    let site = Site::new();
    let host = &site.gateway;
    host.write("/run/precious", "precious\n");
    for trap in [
        "ln /run/precious /run/sockd.pid",
        "mkfifo /run/sockd.pid",
        "install -o nobody -m 666 /run/precious /run/sockd.pid",
    ] {
        host.sh(trap);
        let sockd = Start::new(host, PERMIT_ALL).words("--pid-file /run/sockd.pid").start();
        let own = format!("{}\n", sockd.monitor().0);
        until_true(trap, || {
            let found = host.run(|| fs::symlink_metadata("/run/sockd.pid"));
            let is_replaced = found.is_ok_and(|file| (file.uid(), file.mode()) == (0, 0o100_644));
            is_replaced && host.read("/run/sockd.pid") == own
        });
        assert_eq!(host.read("/run/precious"), "precious\n", "{trap}");
        drop(sockd);
        until_true("the file is removed", || !host.exists("/run/sockd.pid"));
    }
    host.sh("mkdir -m 777 /run/open");
    let output = Start::bare(host).words("--log stderr --pid-file /run/open/sockd.pid").output();
    assert_eq!(output.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/run/open"), "{output:?}");
}

fn check(host: &Host) -> Option<i32> {
    Start::bare(host).words("--check").output().status.code()
}

#[test]
fn a73_what_is_no_plain_text_of_root_in_a_folder_of_root_is_no_configuration() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    assert_eq!(check(&host), Some(0));
    host.sh("rm /etc/sockd.conf");
    for (trap, undone) in [
        ("mknod -m 600 /etc/sockd.conf c 1 5", "rm /etc/sockd.conf"),
        ("mkfifo -m 600 /etc/sockd.conf", "rm /etc/sockd.conf"),
        ("mkdir -m 700 /etc/sockd.conf", "rmdir /etc/sockd.conf"),
        ("ln -s /dev/zero /etc/sockd.conf", "rm /etc/sockd.conf"),
    ] {
        host.sh(trap);
        assert_eq!(check(&host), Some(78), "{trap}");
        host.sh(undone);
    }
    for text in
        [format!("{PERMIT_ALL}\0\n"), "deny".repeat(300_000), format!("permit {}\n", "1".repeat(1024))]
    {
        host.write("/etc/sockd.conf", &text);
        assert_eq!(check(&host), Some(78), "{:?}...", &text[..30]);
    }
    host.write("/etc/sockd.conf", PERMIT_ALL);
    host.sh("chmod 777 /etc");
    assert_eq!(check(&host), Some(78), "a folder that others can write");
    host.sh("chmod 755 /etc");
    assert_eq!(check(&host), Some(0));
}

#[test]
fn a72_a_frozen_file_that_others_could_have_written_is_refused() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    let output = host.output(&mut Command::new(program("make_sockdfc")));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(check(&host), Some(0));
    for (trap, undone) in [
        ("chmod 664 /etc/sockd.fc", "chmod 644 /etc/sockd.fc"),
        ("chown nobody /etc/sockd.fc", "chown root /etc/sockd.fc"),
        ("mv /etc/sockd.fc /etc/real.fc", "mv /etc/real.fc /etc/sockd.fc"),
    ] {
        host.sh(trap);
        // A link of root is followed; a link of another user leads wherever that user likes.
        if trap.starts_with("mv ") {
            host.sh("ln -s real.fc /etc/sockd.fc");
            assert_eq!(check(&host), Some(0), "a link of root");
            host.sh("chown -h nobody /etc/sockd.fc");
        }
        assert_eq!(check(&host), Some(78), "{trap}");
        host.sh(undone);
        assert_eq!(check(&host), Some(0), "{undone}");
    }
}

#[test]
fn a75_whatever_it_is_started_with_it_serves_and_hears_its_signals() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let log = Syslog::start(&site.gateway);
    site.gateway.write("/etc/sockd.conf", PERMIT_ALL);
    let script = "exec 0<&- 1>&- 2>&- 7</etc/shadow; trap '' HUP INT TERM USR1 CHLD PIPE; umask 0; ulimit -S -n 32; \
                  cd /tmp; exec \"$0\" --pid-file /run/sockd.pid";
    let mut start = Command::new("/bin/sh");
    start.args(["-c", script]).arg(program("sockd")).env_clear();
    for (name, value) in [
        ("PATH", "/nonexistent"),
        ("LD_LIBRARY_PATH", "/tmp"),
        ("TZ", "../../../etc/shadow"),
        ("RUST_LOG", "trace"),
        ("RUST_MIN_STACK", "1"),
        ("MALLOC_PERTURB_", "165"),
        ("LISTEN_FDS", "3"),
        ("LISTEN_PID", "1"),
    ] {
        start.env(name, value);
    }
    let mut sockd = site.gateway.start(&mut start);
    until_true("sockd listens", || {
        assert!(sockd.ended().is_none(), "it has ended: {:#?}", log.lines());
        procfs::listens(&site.gateway, 1080)
    });
    // More than the limit that it was started with.
    let held: Vec<_> = (0..40).map(|_| granted(&site.client, &request())).collect();
    let monitor = procfs::Process(sockd.pid());
    let open: Vec<_> = [vec![monitor], monitor.descendants()]
        .concat()
        .iter()
        .flat_map(|process| process.descriptors().into_values())
        .collect();
    assert!(!open.iter().any(|target| target.contains("shadow")), "{open:?}");
    let mode = site.gateway.run(|| fs::symlink_metadata("/run/sockd.pid").map(|file| file.mode()));
    assert_eq!(mode.expect("a pid file"), 0o100_644);
    sockd.signal(Signal::SIGHUP);
    log.wait_for(Mark::BEGINNING, "reloaded: ");
    drop(held);
    sockd.signal(Signal::SIGTERM);
    assert_eq!(sockd.wait().code(), Some(0));
    log.wait_for(Mark::BEGINNING, "stopped");
}
