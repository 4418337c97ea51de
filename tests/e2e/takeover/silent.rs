//! A process that stops in the middle of a takeover holds nobody up. The old tree serves on and says why, and the next
//! takeover works. Each table has a row for each step at which its side can stop.

use crate::trees::{Relay, Trees, reload, signal_if_there, start_reload};
use nix::sys::signal::Signal;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sockd_common::channel::{MonitorEnd, Received, WorkerEnd};
use sockd_common::message::takeover::{About, FromServing, SocketKind, SocketName, ToServing};
use sockd_tests::far::Far;
use sockd_tests::host::Host;
use sockd_tests::site::SERVER;
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::{until, until_true};
use std::os::fd::{AsFd, OwnedFd};

const SOCKET: &str = "/run/sockd/takeover/socket";
const TRACE: &str = "/run/reload.trace";
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Runs a test for each row of a table, all at once: most of their time is spent waiting.
fn at_once<Row: Sync>(rows: &[Row], test: impl Fn(&Row) + Sync) {
    std::thread::scope(|scope| rows.iter().for_each(|row| drop(scope.spawn(|| test(row)))));
}

/// A peer at the takeover socket that speaks the protocol as far as a test wants.
struct Peer(WorkerEnd<ToServing, FromServing>);

impl Peer {
    fn connect(host: &Host) -> Self {
        let socket = host.run(|| {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).unwrap();
            rustix::net::connect(&socket, &SocketAddrUnix::new(SOCKET).unwrap()).unwrap();
            socket
        });
        Self(WorkerEnd::new(socket))
    }

    /// The next message; `None` if the connection has ended.
    fn hear(&self) -> Option<FromServing> {
        until("an answer", || match self.0.receive().unwrap() {
            Received::Message(message, _) => Some(Some(message)),
            Received::Closed => Some(None),
            _ => None,
        })
    }

    fn ask(&self, message: ToServing) -> FromServing {
        self.0.send(&message).unwrap();
        self.hear().expect("an answer")
    }
}

/// The messages of a peer before it is silent.
const PEERS: [(&str, &[ToServing]); 5] = [
    ("nothing", &[]),
    ("a greeting", &[ToServing::Hello { version: 1 }]),
    ("a reload", &[ToServing::Hello { version: 1 }, ToServing::Reload]),
    ("one of the sockets", &[ToServing::Hello { version: 1 }, ToServing::Take { place: 0 }]),
    (
        "all sockets",
        &[ToServing::Hello { version: 1 }, ToServing::Take { place: 0 }, ToServing::Take { place: 900 }],
    ),
];

#[test]
fn a_peer_that_falls_silent_is_let_go_and_the_next_one_takes_over() {
    at_once(&PEERS, |(name, said)| {
        let mut trees = Trees::new("()");
        let mut relay = Relay::begin(&trees);
        let peer = Peer::connect(&trees.lab.site.gateway);
        let answers: Vec<_> = said.iter().map(|message| peer.ask(*message)).collect();
        let takes = answers.iter().any(|answer| matches!(answer, FromServing::Socket { .. }));
        if takes {
            let done = reload(&trees, "--force");
            assert_eq!(done.status.code(), Some(71), "{name}");
            let text = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(text.contains("another takeover is under way"), "{name}: {text}");
        }
        let what = if takes { "has not taken over" } else { "is not waited for" };
        trees.lab.wait_for_line(&format!(" {what}: it has been silent for 20 seconds"));
        assert_eq!(peer.hear(), Some(FromServing::Busy), "{name}");
        assert_eq!(peer.hear(), None, "{name}");
        assert!(peer.0.send(&ToServing::Go).is_err(), "{name}");
        relay.assert_goes_on(&trees);
        trees.install_another();
        trees.reload_well();
        relay.assert_goes_on(&trees);
    });
}

#[test]
fn peers_that_say_nothing_do_not_take_all_places_for_long() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    let peers: Vec<_> = (0..9).map(|_| Peer::connect(&trees.lab.site.gateway)).collect();
    assert_eq!(peers[8].hear(), None, "there are eight places");
    for peer in &peers[..8] {
        assert_eq!(peer.hear(), Some(FromServing::Busy));
    }
    relay.assert_goes_on(&trees);
    trees.install_another();
    trees.reload_well();
}

/// The process that stops at a call of a reload.
enum Stops {
    /// The control process.
    Control,
    /// The process of the new tree that makes it first: the monitor.
    NewTree,
}

/// The new monitor before it has come, and with all sockets in hand; the control process before it names the monitor.
const STOPS: [(&str, Stops, &str, &str); 3] = [
    ("setsid", Stops::NewTree, "the new server has been silent for 80 seconds", ""),
    (
        "listen",
        Stops::NewTree,
        "the new server has been silent for 80 seconds",
        "has not taken over: it has been silent for 20 seconds",
    ),
    ("wait4", Stops::Control, "", "has not taken over: its connection has ended"),
];

#[test]
fn a_new_tree_that_stops_is_given_up_and_the_next_one_takes_over() {
    at_once(&STOPS, |(call, who, told, logged)| {
        // Only a new monitor with a socket for administrators has a use for listen(2).
        let settings = if *call == "listen" { r#"(status_socket: at("/run/sockd/status"))"# } else { "()" };
        let mut trees = Trees::new(settings);
        let mut relay = Relay::begin(&trees);
        let stop = format!("inject={call}:signal=SIGSTOP:when=1");
        let mut strace = vec!["strace", "-D", "-qq", "-o", TRACE, "-e", &stop];
        if let Stops::NewTree = who {
            strace.push("-f");
        }
        let mut reload = start_reload(&trees, &strace, "--force");
        until_true(call, || trees.lab.site.gateway.read(TRACE).contains("stopped by SIGSTOP"));
        if !logged.is_empty() {
            trees.lab.wait_for_line(logged);
        }
        relay.assert_goes_on(&trees);
        if !told.is_empty() {
            assert_eq!(reload.wait().code(), Some(71), "{call}");
            assert!(trees.said_by_reload().contains(told), "{call}: {}", trees.said_by_reload());
        }
        // A process that goes on finds that it is too late; others of that tree may stop at the same call.
        until_true(&format!("{call}: all of the new tree has ended"), || {
            trees.reloading().iter().for_each(|process| signal_if_there(*process, Signal::SIGCONT));
            trees.reloading().is_empty()
        });
        assert_ne!(reload.wait().code(), Some(0), "{call}");
        assert_eq!(trees.pid_file(), trees.lab.sockd.monitor(), "{call}");
        relay.assert_goes_on(&trees);
        trees.reload_well_with("--force");
        relay.assert_goes_on(&trees);
    });
}

#[test]
fn an_old_tree_that_has_stopped_is_told_and_serves_once_it_goes_on() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    trees.lab.sockd.signal(Signal::SIGSTOP);
    let done = reload(&trees, "--force");
    trees.lab.sockd.signal(Signal::SIGCONT);
    assert_eq!(done.status.code(), Some(71), "{done:?}");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(text.contains("the running sockd has not answered within 20 seconds"), "{text}");
    relay.assert_goes_on(&trees);
    trees.install_another();
    trees.reload_well();
    relay.assert_goes_on(&trees);
}

/// A daemon that stops after this many answers to each peer.
#[test]
fn a_new_tree_does_not_wait_for_an_old_one_that_stops_in_the_middle() {
    at_once(&[0, 1, 2], |answers| {
        let mut trees = Trees::new("()");
        let host = trees.lab.site.gateway.clone();
        let listener = host.run(|| {
            std::fs::create_dir_all("/run/other/takeover").unwrap();
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).unwrap();
            rustix::net::bind(&socket, &SocketAddrUnix::new("/run/other/takeover/socket").unwrap()).unwrap();
            rustix::net::listen(&socket, 16).unwrap();
            socket
        });
        let mut reload = start_reload(&trees, &[], "--force --runtime-dir /run/other");
        let mut come: Vec<(MonitorEnd<FromServing, ToServing>, usize)> = Vec::new();
        let status = until("the end of the new tree", || {
            if let Ok(socket) = rustix::net::accept_with(&listener, FLAGS) {
                come.push((MonitorEnd::new(socket), 0));
            }
            come.iter_mut().filter(|(_, said)| said < answers).for_each(|come| answer(come, &listener));
            reload.ended()
        });
        assert_eq!(status.code(), Some(71), "{answers}");
        let text = trees.said_by_reload();
        assert!(text.contains("the running sockd has not answered within 20 seconds"), "{answers}: {text}");
        assert!(trees.reloading().is_empty() && trees.lab.sockd.runs(), "{answers}");
    });
}

fn answer((line, said): &mut (MonitorEnd<FromServing, ToServing>, usize), socket: &OwnedFd) {
    let name = SocketName::new(b"").unwrap();
    match line.receive() {
        Ok(Received::Message(ToServing::Hello { .. }, _)) => {
            let about = About { version: 1, pid: std::process::id(), ..About::default() };
            line.send(&FromServing::About(about), None).unwrap();
        }
        Ok(Received::Message(..)) => {
            line.send(&FromServing::Socket { kind: SocketKind::Takeover, name }, Some(socket.as_fd()))
                .unwrap();
        }
        _ => return,
    }
    *said += 1;
}

#[test]
fn a_new_tree_does_not_wait_for_an_old_one_that_stops_while_it_drains() {
    let mut trees = Trees::new("(stop_grace: 1)");
    let _relay = Relay::begin(&trees);
    trees.install_another();
    let new = trees.reload_well();
    trees.lab.sockd.signal(Signal::SIGSTOP);
    let far = Far::listen(&trees.lab.site.server, SERVER);
    drop(granted(&trees.lab.site.client, &Request::connect(far.v4())));
    trees.end(new);
    trees.lab.sockd.signal(Signal::SIGCONT);
    assert_eq!(trees.lab.sockd.wait().code(), Some(0), "it finds that it is to end");
}

/// All that the new tree has said is there when the old one goes on, and no answer reaches it.
#[test]
fn an_old_tree_that_stops_during_a_takeover_hears_a_new_one_that_has_ended_meanwhile_to_its_end() {
    let mut trees = Trees::new("(stop_grace: 1)");
    let peer = Peer::connect(&trees.lab.site.gateway);
    assert!(matches!(peer.ask(ToServing::Hello { version: 1 }), FromServing::About(_)));
    trees.lab.sockd.signal(Signal::SIGSTOP);
    for message in [ToServing::Take { place: 900 }, ToServing::Go, ToServing::End] {
        peer.0.send(&message).unwrap();
    }
    drop(peer);
    trees.lab.sockd.signal(Signal::SIGCONT);
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
}

#[test]
fn a_reload_does_not_wait_for_a_loader_that_has_stopped() {
    let mut trees = Trees::new("()");
    let mut relay = Relay::begin(&trees);
    let loader = trees.lab.sockd.loader();
    loader.signal(Signal::SIGSTOP);
    let done = reload(&trees, "");
    assert_eq!(done.status.code(), Some(78), "{done:?}");
    trees.lab.wait_for_line("reload failed: the loader has been silent for 60 seconds");
    relay.assert_goes_on(&trees);
    trees.lab.turn_the_page();
    loader.signal(Signal::SIGCONT);
    trees.lab.wait_for_line("reloaded: ");
    assert_eq!(reload(&trees, "").status.code(), Some(0));
    trees.install_another();
    trees.reload_well();
    relay.assert_goes_on(&trees);
}

/// Otherwise forbidden sessions would go on for ever.
#[test]
fn an_old_tree_whose_loader_has_stopped_ends_what_it_cannot_decide_anew() {
    let mut trees = Trees::new("(recheck_on_reload: true)");
    let mut relay = Relay::begin(&trees);
    let loader = trees.lab.sockd.loader();
    loader.signal(Signal::SIGSTOP);
    trees.install_another();
    trees.reload_well();
    relay.near.read_to_end();
    trees.lab.sockd.wait();
    loader.signal(Signal::SIGKILL);
}
