//! The readers of the counters, their contents, and their fate when the daemon comes and goes.

use super::{FOLDER, exporter, lab, page, value};
use nix::sys::signal::Signal;
use sockd_common::status::Gift;
use sockd_ledger::counters::Reader;
use sockd_ledger::fetch::fetch;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::sockd::{ADMINISTRATORS, EXPORTERS, PERMIT_ALL, Start};
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::until_true;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn gifts(lab: &Lab, socket: &str) -> Vec<(Gift, OwnedFd)> {
    lab.site.gateway.run(|| fetch(Path::new(socket))).expect("a packet")
}

#[test]
fn the_exporters_group_gets_the_counters_and_nothing_else() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let kinds = |socket| gifts(&lab, socket).into_iter().map(|(gift, _)| gift).collect::<Vec<_>>();
    assert_eq!(kinds("/run/sockd/counters"), [Gift::Counters]);
    assert_eq!(kinds("/run/sockd/status"), [Gift::Counters, Gift::Ledger]);
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n\
                  try: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(13)";
    for (group, socket, status) in [
        (EXPORTERS, "counters", 0),
        (EXPORTERS, "status", 13),
        (EXPORTERS, "control", 13),
        (ADMINISTRATORS, "counters", 13),
        (64_201, "counters", 13),
    ] {
        let path = format!("{FOLDER}/{socket}");
        let tried =
            gateway.output(Command::new("python3").uid(64_201).gid(group).args(["-c", script, &path]));
        assert_eq!(tried.status.code(), Some(status), "{group} {socket}: {tried:?}");
    }
    let facts = gateway.run(|| std::fs::metadata("/run/sockd/counters")).expect("a socket");
    assert_eq!((facts.mode() & 0o7777, facts.uid(), facts.gid()), (0o660, 0, EXPORTERS));
}

#[test]
fn neither_the_memory_nor_the_page_names_a_client_a_user_or_a_destination() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _server = Server::echo(&lab.site.server, (SERVER, 7));
    let _exporter = exporter(gateway);
    let _line = granted(&lab.site.client, &Request::connect((SERVER, 7)).by("zaphodb"));
    let page = page(gateway);
    let memory = File::from(gifts(&lab, "/run/sockd/counters").pop().expect("the counters").1);
    let length = usize::try_from(memory.metadata().expect("facts").len()).expect("a length");
    let mut bytes = vec![0; length];
    memory.read_exact_at(&mut bytes, 0).expect("the memory");
    for name in ["zaphodb".as_bytes(), CLIENT.to_string().as_bytes(), SERVER.to_string().as_bytes()] {
        assert!(!page.as_bytes().windows(name.len()).any(|part| part == name), "{}", name.escape_ascii());
        assert!(!bytes.windows(name.len()).any(|part| part == name), "{}", name.escape_ascii());
    }
    for address in [CLIENT.octets(), SERVER.octets()] {
        let backwards: Vec<u8> = address.iter().rev().copied().collect();
        assert!(!bytes.windows(4).any(|part| part == address || part == backwards), "{address:?}");
    }
}

#[test]
fn a_reader_cannot_write_the_counters() {
    let lab = lab(PERMIT_ALL, "()");
    let memory = File::from(gifts(&lab, "/run/sockd/counters").pop().expect("the counters").1);
    assert!(memory.write_at(b"x", 0).is_err() && memory.set_len(0).is_err());
    Reader::open(memory.into()).expect("counters still");
}

#[test]
fn the_page_says_when_the_daemon_is_gone_and_finds_the_next_one() {
    let mut lab = lab(PERMIT_ALL, "()");
    let gateway = lab.site.gateway.clone();
    let _server = Server::echo(&lab.site.server, (SERVER, 7));
    let _exporter = exporter(&gateway);
    let relayed = "sockd_sessions{state=\"relaying\"}";
    let line = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    until_true("a relay", || value(&page(&gateway), relayed) == Some(1.0));
    lab.sockd.signal(Signal::SIGKILL);
    lab.sockd.wait();
    until_true("it is gone", || page(&gateway).lines().any(|line| line == "sockd_up 0"));
    assert_eq!(value(&page(&gateway), relayed), None, "numbers of a daemon that is not there");
    drop(line);
    lab.sockd = Start::new(&gateway, PERMIT_ALL).runtime_directory(FOLDER).start();
    until_true("the next one is found", || value(&page(&gateway), relayed) == Some(0.0));
}

#[test]
fn a_daemon_that_does_not_answer_is_said_to_be_down() {
    let lab = lab(PERMIT_ALL, "()");
    let gateway = &lab.site.gateway;
    let _exporter = exporter(gateway);
    until_true("it is up", || value(&page(gateway), "sockd_up") == Some(1.0));
    lab.sockd.signal(Signal::SIGSTOP);
    until_true("it is down", || value(&page(gateway), "sockd_up") == Some(0.0));
    lab.sockd.signal(Signal::SIGCONT);
    until_true("it is up again", || value(&page(gateway), "sockd_up") == Some(1.0));
}

#[test]
fn a_daemon_may_have_no_such_socket() {
    let lab = lab(PERMIT_ALL, "(counters_socket: off)");
    assert!(!lab.site.gateway.exists("/run/sockd/counters"));
    assert!(lab.site.gateway.exists("/run/sockd/status"));
}
