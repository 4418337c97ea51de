//! Many things at once, and many one after another.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{PROXY, Request, granted};
use sockd_tests::wait::{LONG, until_true, until_within};
use sockd_tests::{payload, web};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// How long an idle worker stays for its host.
const WORKER_IDLE: Duration = Duration::from_secs(60);

/// curl's words for a transfer through the proxy.
fn curl(words: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &words.replace("curl", "curl -sS --socks4 joe@192.0.2.1:1080")]);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_body_of_1_gib_arrives_intact_downwards() {
    let site = Site::new();
    let _www = web::serve(&site.server, (SERVER, 80));
    let lab = Lab::new_at(site);
    let direct = lab
        .site
        .server
        .output(Command::new("sh").args(["-c", &format!("curl -sS http://{SERVER}/{GIB} | sha256sum")]));
    let got = lab.site.client.output(&mut curl(&format!("curl http://{SERVER}/{GIB} | sha256sum")));
    assert!(direct.stdout.len() > 64, "{direct:?}");
    assert_eq!(text(&got.stdout), text(&direct.stdout), "{}", text(&got.stderr));
    lab.wait_for_line("bytes from");
}

#[test]
fn a_body_of_1_gib_arrives_intact_upwards() {
    let site = Site::new();
    let _www = web::serve(&site.server, (SERVER, 80));
    let lab = Lab::new_at(site);
    let mut near = granted(&lab.site.client, &Request::connect((SERVER, 80)));
    let head = format!("PUT /body HTTP/1.1\r\nContent-Length: {GIB}\r\n\r\n");
    near.send(head);
    payload::write(near.stream(), GIB).expect("sending the body");
    let (answer, _) = near.read_to_end();
    let answer = text(&answer);
    assert!(answer.ends_with(&format!("\r\n\r\nintact {GIB}\n")), "{answer}");
    drop(near);
    lab.wait_for_line("bytes from");
}

#[test]
fn both_directions_of_one_connection_are_intact_at_once() {
    const LENGTH: u64 = 256 << 20;
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let there = far.accept();
    let ends: Vec<_> = [near, there].map(|mut line| line.stream().try_clone().expect("a clone")).into();
    thread::scope(|scope| {
        for stream in &ends {
            scope.spawn(move || {
                let mut out = stream;
                payload::write(&mut out, LENGTH).expect("sending");
                stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
            });
            scope.spawn(move || {
                let mut incoming = stream;
                assert_eq!(payload::check(&mut incoming).expect("reading"), Ok(LENGTH));
            });
        }
    });
}

#[test]
fn two_hundred_downloads_at_once_all_arrive() {
    let site = Site::new();
    let _www = web::serve(&site.server, (SERVER, 80));
    let lab = Lab::new_at(site);
    let results: Vec<_> = thread::scope(|scope| {
        let downloads: Vec<_> = (0..200)
            .map(|_| {
                scope.spawn(|| {
                    let mut near = granted(&lab.site.client, &Request::connect((SERVER, 80)));
                    near.send("GET /1000000 HTTP/1.1\r\n\r\n");
                    near.read_to_end().0.len()
                })
            })
            .collect();
        downloads.into_iter().map(|download| download.join().expect("a download")).collect()
    });
    let expected = results[0];
    assert!(expected > 1_000_000);
    assert!(results.iter().all(|length| *length == expected), "{results:?}");
}

/// Possessions of a process that must not grow between some connections and many.
#[derive(Debug)]
struct Possessions {
    process: Process,
    descriptors: usize,
    memory: u64,
}

fn possessions(process: Process) -> Possessions {
    Possessions { process, descriptors: process.descriptors().len(), memory: process.private_memory() }
}

/// One connection after another, each with a few bytes there and back; panics at the first error.
fn connections(lab: &Lab, number: usize) {
    let request = Request::connect((SERVER, 7)).bytes();
    let connection = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(SocketAddr::from(PROXY))?;
        stream.set_read_timeout(Some(LONG))?;
        stream.write_all(&request)?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 13];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"\x00\x5a\0\0\0\0\0\0hello");
        Ok(())
    };
    lab.site.client.run(|| (0..number).try_for_each(|_| connection())).expect("every connection");
}

#[test]
fn ten_thousand_connections_leave_neither_descriptors_nor_memory_behind() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    // Enough ports for as many connections within the time for which TCP remembers the old ones.
    for host in [&site.client, &site.gateway] {
        host.sh("sysctl -qw net.ipv4.ip_local_port_range=1100\t65000");
    }
    let lab = Lab::new_at(site);
    let quiet = |process: Process| {
        until_true("all sessions are closed", || {
            let open = process.descriptors();
            open.values().filter(|target| target.starts_with("socket:")).count() <= 1
        });
    };
    // Memory that queues and allocators keep once used is no leak: the second ten thousand are compared.
    connections(&lab, 10_000);
    let held = granted(&lab.site.client, &Request::connect((SERVER, 7)));
    let worker = lab.sockd.worker_of(held.local());
    drop(held);
    quiet(worker);
    let before = [lab.sockd.monitor(), lab.sockd.spawner(), worker].map(possessions);
    connections(&lab, 10_000);
    quiet(worker);
    let descriptors = before[0].descriptors;
    // A busy machine makes the host look busy, so that it gets a further worker, which stays for `worker_idle`.
    until_within(WORKER_IDLE + LONG, "the monitor has closed what it opened", || {
        (lab.sockd.monitor().descriptors().len() <= descriptors).then_some(())
    });
    for before in before {
        let after = possessions(before.process);
        assert!(after.process.runs(), "{before:?}");
        assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
        // A megabyte for the log lines that may wait late on a busy machine; a leak of 105 bytes a connection would be
        // more.
        assert!(after.memory <= before.memory + 1024, "{before:?} {after:?}");
    }
}

#[test]
fn five_thousand_relays_are_open_at_once() {
    const RELAYS: usize = 5000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("setrlimit");
    assert!(most > 2 * RELAYS as u64 + 500, "both ends of {RELAYS} relays need more than {most} descriptors");
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let request = Request::connect(far.v4());
    let mut relays: Vec<(Line, Line)> = (0..RELAYS)
        .map(|_| {
            let near = granted(&lab.site.client, &request);
            (near, far.accept())
        })
        .collect();
    for (number, (near, there)) in relays.iter_mut().enumerate() {
        let word = format!("{number:08}");
        near.send(&word);
        assert_eq!(there.read(8), word.as_bytes());
        there.send(&word);
        assert_eq!(near.read(8), word.as_bytes());
    }
    // No process uses processor time while nothing happens.
    let processes: Vec<_> = lab.sockd.family().into_iter().chain([lab.sockd.monitor()]).collect();
    let ticks = || processes.iter().map(|process| process.processor_ticks()).sum::<u64>();
    let before = ticks();
    thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before <= 5, "{} clock ticks", ticks() - before);
    let (mut near, mut there) = relays.pop().expect("a relay");
    near.half_close();
    there.send("last");
    drop(there);
    assert_eq!(near.read_to_end().0, b"last");
}
