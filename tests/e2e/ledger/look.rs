//! The contents of the ledger, and its readers.

use super::{CONTROL, FOLDER, STATUS, as_user, lab, ledger, memory};
use nix::sys::signal::Signal;
use sockd_common::ledger::{Field, Phase};
use sockd_policy_tools::ledger::Reader;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, OTHER, SERVER};
use sockd_tests::sockd::{ADMINISTRATORS, PERMIT_ALL};
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::until_true;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, Instant};

#[test]
fn the_ledger_follows_a_session_from_its_beginning_to_its_end() {
    let lab = lab("permit 203.0.113.0/24\npermit 0.0.0.0 0.0.0.0\n", "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let ledger = ledger(&lab.site.gateway);
    assert_eq!((ledger.head(Field::Live), ledger.places()), (0, 0..0));
    let line = granted(&lab.site.client, &Request::connect((SERVER, 7)).by("joe"));
    until_true("the record of a relay", || {
        ledger.at(0).entry().is_some_and(|entry| entry.phase == Phase::Relaying)
    });
    let found = ledger.at(0);
    let entry = found.entry().expect("a record");
    assert_eq!((entry.client.ip(), entry.proxy.port()), (IpAddr::from(CLIENT), 1080));
    assert_eq!((entry.destination, entry.port), (Some(IpAddr::from(SERVER)), 7));
    assert_eq!((entry.claimed.bytes, entry.rule, entry.version, entry.command), (&b"joe"[..], 2, 4, 1));
    assert_eq!(ledger.head(Field::Live), 1);
    let other = granted(&lab.site.other, &Request::connect((SERVER, 7)));
    until_true("a second record", || ledger.at(1).entry().is_some());
    assert_eq!(ledger.at(1).entry().map(|entry| entry.client.ip()), Some(IpAddr::from(OTHER)));
    let hits = ledger.hits();
    assert_eq!(hits.iter().map(|(line, hits)| (*line, hits.number)).collect::<Vec<_>>(), [(2, 2)]);
    drop((line, other));
    until_true("both records are gone", || ledger.head(Field::Live) == 0 && ledger.at(0).entry().is_none());
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("daemon.notice reloaded: ");
    until_true("the hits begin anew", || ledger.hits().is_empty());
}

#[test]
fn a_session_that_waits_for_its_request_is_listed_too() {
    let lab = lab(PERMIT_ALL, "()");
    let ledger = ledger(&lab.site.gateway);
    let mut line = sockd_tests::line::Line::dial(&lab.site.client, sockd_tests::socks::PROXY);
    line.send([4]);
    until_true("a record", || ledger.at(0).entry().is_some_and(|entry| entry.phase == Phase::Requesting));
}

#[test]
fn only_root_and_the_group_of_administrators_reach_the_sockets() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    for path in [STATUS, CONTROL] {
        let found = gateway.run(|| std::fs::metadata(path)).expect("a socket");
        assert!(found.file_type().is_socket());
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o660, 0, ADMINISTRATORS), "{path}");
        for is_administrator in [true, false] {
            let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ntry: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(13)";
            let status =
                gateway.output(as_user(is_administrator, "/usr/bin/python3").args(["-c", script, path]));
            let expected = if is_administrator { 0 } else { 13 };
            assert_eq!(status.status.code(), Some(expected), "{path}: {status:?}");
        }
    }
}

#[test]
fn a_reader_cannot_write_the_ledger_in_any_way() {
    let lab = lab(PERMIT_ALL, "()");
    // As root, since lesser users may do no more.
    let memory = memory(&lab.site.gateway);
    let script = "
import os, mmap, sys, fcntl
def fails(act):
    try: act()
    except OSError: return
    sys.exit('it can: %s' % name)
fd = int(sys.argv[1])
length = os.fstat(fd).st_size
paths = '/proc/self/fd/%d' % fd
again = os.open(paths, os.O_RDWR) if os.getuid() == 0 else fd
for name, act in [
    ('write', lambda: os.pwrite(fd, b'x', 0)),
    ('write anew', lambda: os.pwrite(again, b'x', 0)),
    ('map', lambda: mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)),
    ('map anew', lambda: mmap.mmap(again, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)),
    ('shrink', lambda: os.ftruncate(again, 0)),
    ('grow', lambda: os.ftruncate(again, length + 4096)),
    ('seal', lambda: fcntl.fcntl(again, 1033, 8)),
]: fails(act)
name = 'punch'
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def punch():
    if libc.fallocate(again, 3, ctypes.c_long(0), ctypes.c_long(4096)) == 0: sys.exit('it can punch')
punch()
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for descriptor in (fd, again):
    place = libc.mmap(None, 4096, 1, 1, descriptor, 0)
    if place in (None, 2**64 - 1): sys.exit('it cannot read')
    if libc.mprotect(place, 4096, 3) == 0: sys.exit('it can mprotect')
";
    use std::os::fd::AsRawFd;
    rustix::io::fcntl_setfd(&memory, rustix::io::FdFlags::empty()).expect("an inherited descriptor");
    let number = memory.as_raw_fd().to_string();
    let tried =
        std::process::Command::new("python3").args(["-c", script, &number]).output().expect("python3");
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
    Reader::open(memory).expect("a ledger still");
}

#[test]
fn a_daemon_without_a_runtime_directory_has_no_socket_and_says_nothing_of_it() {
    let lab = Lab::new(PERMIT_ALL);
    let gateway = &lab.site.gateway;
    assert!(![STATUS, CONTROL].iter().any(|path| gateway.exists(path)));
    assert!(lab.log.lines().iter().all(|line| !line.contains("socket at")), "{:?}", lab.log.lines());
    let open = lab.sockd.monitor().descriptors();
    assert!(open.values().all(|target| !target.contains("sockd-ledger")), "{open:?}");
}

#[test]
fn a_socket_that_is_asked_for_and_cannot_be_is_no_start() {
    let site = sockd_tests::site::Site::new();
    let start = sockd_tests::sockd::Start::new(&site.gateway, PERMIT_ALL);
    let ended = start.settings("(status_socket: at(\"/nowhere/status\"))").words("--log stderr").output();
    assert_eq!(ended.status.code(), Some(71), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("no status socket at /nowhere/status: "), "{said}");
}

/// A daemon may be unable to remove its socket: the next one finds it, with nobody behind it.
#[test]
fn a_socket_that_is_left_over_is_replaced_and_one_that_is_in_use_is_not() {
    let mut lab = lab(PERMIT_ALL, "()");
    let gateway = lab.site.gateway.clone();
    let start = || sockd_tests::sockd::Start::bare(&gateway).runtime_directory(FOLDER);
    let second = start().port(1090).words("--listen 0.0.0.0:1090").start();
    lab.wait_for_line("no status socket at /run/sockd/status: another sockd listens there");
    assert_eq!(ledger(&gateway).head(Field::Process), u64::from(lab.sockd.monitor().0.cast_unsigned()));
    drop(second);
    lab.sockd.signal(Signal::SIGKILL);
    lab.sockd.wait();
    let third = start().start();
    assert_eq!(ledger(&gateway).head(Field::Process), u64::from(third.monitor().0.cast_unsigned()));
}

/// A program that looks reads memory and asks the kernel. The monitor hears of it once.
#[test]
fn to_look_again_and_again_costs_the_monitor_nothing() {
    const RELAYS: usize = 400;
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let _lines: Vec<_> =
        (0..RELAYS).map(|_| granted(&lab.site.client, &Request::connect((SERVER, 7)))).collect();
    let reader = ledger(gateway);
    until_true("all relays", || {
        let relays = |place| reader.at(place).entry().is_some_and(|entry| entry.phase == Phase::Relaying);
        reader.places().filter(|place| relays(*place)).count() == RELAYS
    });
    let ticks_of = |looks: bool| {
        let before = lab.sockd.monitor().processor_ticks();
        let end = Instant::now() + Duration::from_secs(4);
        let mut number = 0;
        while Instant::now() < end {
            let seen = reader.places().filter(|place| looks && reader.at(*place).entry().is_some()).count();
            number += usize::from(seen == RELAYS);
            std::thread::sleep(Duration::from_millis(5));
        }
        (lab.sockd.monitor().processor_ticks() - before, number)
    };
    let (without, _) = ticks_of(false);
    let mut watch = std::process::Command::new(sockd_tests::sockd::program("sockdctl"));
    watch.args(["list", "--watch"]).stdout(std::process::Stdio::null());
    let watch = gateway.start(&mut watch);
    let (with, looks) = ticks_of(true);
    println!(
        "the monitor's ticks of 10 ms in 4 s: {without}, and {with} while {looks} looks saw {RELAYS} relays"
    );
    drop(watch);
    assert!(looks > 20, "{looks}");
    assert!(with <= without + 8, "{with} instead of {without}");
}
