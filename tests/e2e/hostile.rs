//! Workers that break the protocol: `hostile-worker` in the place of `sockd-worker`, started by the real spawner.
//!
//! Each time the worker is killed, or its messages have no effect; the log says so in one line; another client host's
//! transfer goes on; and the monitor holds no more than before.

use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, OUTSIDE, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{GRANTED, PROXY, REJECTED, Reply, Request, granted, send_to};
use sockd_tests::wait::{until, until_true, until_within};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile-worker");

/// Memory that the monitor may keep of many attacks, in KiB: less than one byte of each message of the floods.
const MEMORY: u64 = 2048;

/// The end of a worker whose own program has a fault, behind all its locks: never a forbidden call.
const FAULT: &str = "ended: exit status 70 (a panic)";

/// The laboratory with hostile workers, and a transfer of the other client host that is under way.
struct Attack {
    lab: Lab,
    transfer: Line,
    descriptors: usize,
    memory: u64,
    /// Client addresses that have been used.
    attackers: u8,
    _servers: [Server; 2],
}

impl Attack {
    fn new(conf: &str, settings: &str) -> Self {
        let site = Site::new();
        let servers = [Server::chargen(&site.server, (SERVER, 19)), Server::echo(&site.server, (SERVER, 7))];
        let lab = Lab::at(site, conf, |start| start.settings(settings).worker(HOSTILE));
        let transfer = granted(&lab.site.other, &Request::connect((SERVER, 19)));
        let mut attack = Self { lab, transfer, descriptors: 0, memory: 0, attackers: 0, _servers: servers };
        attack.others_are_served();
        attack.settle();
        attack.descriptors = attack.monitor().descriptors().len();
        attack.memory = attack.monitor().private_memory();
        attack.lab.turn_the_page();
        attack
    }

    fn monitor(&self) -> Process {
        self.lab.sockd.monitor()
    }

    /// Waits until one spare worker and those of the transfer and the resolver are there.
    fn settle(&self) {
        until_true("the workers are those of the beginning", || {
            self.lab.sockd.workers("session").len() == 2 && self.lab.sockd.workers("resolver").len() == 1
        });
    }

    /// Gives the client host another address: for the monitor it is a new host.
    fn next_attacker(&mut self) -> Ipv4Addr {
        self.attackers += 1;
        let [a, b, c, _] = CLIENT.octets();
        let address = Ipv4Addr::new(a, b, c, 20 + self.attackers);
        self.lab.site.client.sh(&format!("ip addr add {address}/25 dev eth0"));
        self.lab.site.client.sh(&format!("ip route replace 192.0.2.0/25 dev eth0 src {address}"));
        address
    }

    fn asks(&self, user: &str) -> Line {
        send_to(&self.lab.site.client, PROXY, &Request::connect((SERVER, 7)).by(user))
    }

    fn asks_for(&self, name: &str) -> Line {
        send_to(&self.lab.site.client, PROXY, &Request::connect_name(name, 7))
    }

    /// Has a part of the network reached through a next server from now on.
    fn asks_a_next_server(&mut self) {
        self.lab.sockd.write_upstream("sockd @=198.51.100.10:1081 100.64.0.0/10\ndirect ALL 0.0.0.0\n");
        self.lab.sockd.signal(Signal::SIGHUP);
        self.lab.wait_for_line("reloaded");
        self.lab.turn_the_page();
    }

    fn others_are_served(&mut self) {
        self.transfer.stream().read_exact(&mut vec![0; 500_000]).expect("the transfer goes on");
    }

    /// The act ends its worker and counts: the third of its kind by a host shuts that host out.
    fn counts_against_the_host(&mut self, act: &str, line: &str) {
        self.next_attacker();
        for _ in 0..3 {
            self.asks(act).read_to_end();
            self.leaves(act, &[line]);
        }
        assert!(self.asks("joe").read_to_end().0.is_empty(), "{act} does not count against its host");
        self.leaves(act, &["its workers have violated the protocol again and again"]);
    }

    /// Insists on exactly these lines at level err, each given by a part of it, and that nothing is left of the attack.
    fn leaves(&mut self, what: &str, expected: &[&str]) {
        let errors = |lab: &Lab| -> Vec<String> {
            lab.logged().into_iter().filter(|line| line.starts_with("daemon.err ")).collect()
        };
        until_within(Duration::from_secs(120), what, || {
            (errors(&self.lab).len() >= expected.len()).then_some(())
        });
        self.others_are_served();
        self.settle();
        until_true("the monitor has as many descriptors as before", || {
            self.monitor().descriptors().len() == self.descriptors
        });
        let lines = errors(&self.lab);
        let alike = lines.len() == expected.len()
            && lines.iter().zip(expected).all(|(line, expected)| line.contains(expected));
        assert!(alike, "{what}: {lines:#?}, expected {expected:?}");
        let memory = self.monitor().private_memory();
        assert!(memory <= self.memory + MEMORY, "{what}: {memory} KiB, {} before", self.memory);
        self.lab.turn_the_page();
    }
}

#[test]
fn a_session_worker_that_breaks_the_protocol_is_killed_and_only_its_own_host_notices() {
    let mut attack = Attack::new(PERMIT_ALL, "()");
    for (act, violation) in [
        ("short", "not a message of this channel (1 bytes)"),
        ("long", "packet longer than 2048 bytes"),
        ("surplus", "1 bytes behind the message"),
        ("an-unknown-message", "not a message of this channel"),
        ("an-unknown-command", "not a message of this channel"),
        ("a-length-of-gigabytes", "not a message of this channel"),
        ("ready-twice", "ready twice"),
        ("a-request-twice", "a request out of turn"),
        ("a-request-after-the-relay", "a request out of turn"),
        ("an-end-twice", "a session that is not its own"),
        ("an-end-of-no-relay", "an end that cannot be"),
        ("a-relay-of-the-wrong-version", "an end that cannot be"),
        ("a-session-of-nobody", "a session that is not its own"),
        ("a-session-of-another", "a session that is not its own"),
        ("version-6", "a request of another version than 4 and 5"),
        ("a-flood", "a request out of turn"),
        ("a-flood-of-ends", "a session that is not its own"),
        ("a-closed-channel", "it has closed its channel and goes on; killed"),
    ] {
        attack.counts_against_the_host(act, violation);
    }
}

#[test]
fn a_session_worker_that_ends_takes_only_its_own_sessions_along() {
    let mut attack = Attack::new(PERMIT_ALL, "()");
    // An empty packet looks like the end of the channel: the monitor closes its own end and has the worker killed,
    // which may have ended by then. The call that sends a descriptor is in no filter.
    for (act, end) in [
        ("an-exit", "ended: exit status 0"),
        ("a-descriptor", "ended: SIGSYS"),
        ("a-panic", "ended: SIGSYS"),
        ("a-fault", FAULT),
        ("another-pipe", "ended: SIGSYS"),
        ("another-large-pipe", "ended: SIGSYS"),
        ("empty", "ended: "),
    ] {
        attack.counts_against_the_host(act, end);
    }
}

#[test]
fn a_session_worker_that_does_not_read_is_killed_and_holds_a_bounded_number_of_clients() {
    let mut attack = Attack::new(PERMIT_ALL, "()");
    attack.next_attacker();
    // A busy host gets no more workers than there are processors, so that all later clients wait for these.
    let deaf: Vec<Line> = (0..64).map(|_| attack.asks("deafness")).collect();
    let lines: Vec<Line> = (0..3000).map(|_| Line::dial(&attack.lab.site.client, PROXY)).collect();
    attack.others_are_served();
    attack.lab.wait_for_line("it does not read its channel; killed");
    drop((deaf, lines));
    let host_is_served = || attack.lab.sockd.workers("session").len() <= 2;
    until_within(Duration::from_secs(60), "every deaf worker is gone", || host_is_served().then_some(()));
    let deaf =
        |line: &&String| line.contains("violation by session worker") && line.ends_with("channel; killed");
    let logged = attack.lab.logged();
    let killed = logged.iter().filter(deaf).count();
    assert!((1..=4).contains(&killed), "{logged:#?}");
    attack.lab.turn_the_page();
    attack.leaves("nothing", &[]);
}

#[test]
fn a_session_worker_that_says_nothing_is_killed_when_its_time_is_over() {
    let mut attack = Attack::new(PERMIT_ALL, "(request_limit: 1)");
    attack.next_attacker();
    let mut line = attack.asks("silence");
    attack.leaves("silence", &["a session is not closed when it has to be"]);
    line.read_to_end();
}

/// A page in a pipe is counted neither as memory of the worker nor as memory of a socket: its pipes bound them.
#[test]
fn a_session_worker_that_hoards_pages_in_pipes_gets_no_more_than_its_pipes_have_room_for() {
    let mut attack = Attack::new(PERMIT_ALL, "()");
    let client = attack.next_attacker();
    let request = Request::connect((SERVER, 19)).by("hoards-pages");
    let mut line = send_to(&attack.lab.site.client, PROXY, &request);
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED), "{client}");
    let worker = attack.lab.sockd.worker_of(line.local());
    let full: Vec<usize> = [vec![1 << 20], vec![256 << 10; 7]].concat();
    let pipes = || {
        let mut pipes = worker.pipes();
        pipes.sort_by(|one, other| other.cmp(one));
        pipes
    };
    until_true("all pipes are as large as they can be", || pipes() == full);
    assert_eq!(full.iter().sum::<usize>() / 4096, 704, "pages at most");
    assert!(worker.runs());
    attack.others_are_served();
}

#[test]
fn h1_a_relay_that_is_over_ends_although_its_worker_says_nothing() {
    let mut attack = Attack::new(PERMIT_ALL, "(max_sessions_per_host: 2)");
    attack.next_attacker();
    for _ in 0..2 {
        let mut line = attack.asks("closes-without-a-word");
        assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    }
    attack.leaves("closes-without-a-word", &["it does not say that a relay has ended; killed"]);
    assert_eq!(Reply::read(&mut attack.asks("joe")), Reply::with(GRANTED), "its host has room again");
}

#[test]
fn h2_a_worker_that_is_retired_is_gone_whether_it_wants_or_not() {
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1)");
    attack.next_attacker();
    for _ in 0..3 {
        let mut line = attack.asks("does-not-go");
        assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
        drop(line);
        attack.leaves("does-not-go", &[]);
    }
}

#[test]
fn h3_a_worker_that_keeps_the_sockets_of_a_closed_session_has_dead_ones() {
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1)");
    attack.next_attacker();
    let mut line = attack.asks("says-closed-and-goes-on");
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    attack.lab.wait_for_line("terminated -- Connect from says-closed-and-goes-on");
    let _refused_by_the_kernel = line.stream().write_all(b"are you there?");
    assert!(line.read_to_end().0.is_empty(), "the echo of a session that is over");
    attack.leaves("says-closed-and-goes-on", &[]);
}

/// The user of a hostile worker has a session first, and keeps it. Then another user of the same host comes, for whom
/// the identd there vouches. Returns the echo server's answer to the other user's bytes.
fn used_by_another(isolation: &str) -> Vec<u8> {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab =
        Lab::at(site, "permit ?=I 0.0.0.0 0.0.0.0\n", |start| start.settings(isolation).worker(HOSTILE));
    let asked = AtomicUsize::new(0);
    let _identd = Server::start(&lab.site.client, (CLIENT, 113), move |mut stream| {
        let user = ["uses-others", "alice"][asked.fetch_add(1, Ordering::Relaxed)];
        writeln!(stream, "is {user}")
    });
    let asks = |user| send_to(&lab.site.client, PROXY, &Request::connect((SERVER, 7)).by(user));
    let mut mallory = asks("uses-others");
    assert_eq!(Reply::read(&mut mallory), Reply::with(GRANTED));
    let mut alice = asks("alice");
    assert_eq!(Reply::read(&mut alice), Reply::with(GRANTED));
    lab.wait_for_line("connected -- Connect from alice(alice)");
    alice.send("by alice!!");
    let came_back = alice.read(10);
    mallory.send("x");
    assert_eq!(mallory.read(1), b"x", "the other session goes on");
    came_back
}

#[test]
fn h9_a_worker_cannot_use_what_another_user_of_its_host_is_vouched_for() {
    assert_eq!(used_by_another("(isolation: user)"), b"by alice!!");
    // Without isolation the attack succeeds.
    assert_eq!(used_by_another("(isolation: client)"), b"by mallory");
}

#[test]
fn h4_how_long_a_relay_is_idle_and_what_it_moved_is_the_kernels_word() {
    // The transfer of the other host is idle too while nobody reads it.
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1, idle_limit: 2)");
    let attacker = attack.next_attacker();
    let mut line = attack.asks("holds-and-does-nothing");
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    attack.lab.wait_for_line(&format!("0 bytes from {attacker}, 0 bytes from {SERVER}"));
    line.read_to_end();
    let mut line = attack.asks("joe");
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    line.stream().write_all(b"hello").expect("a relay");
    line.stream().read_exact(&mut [0; 5]).expect("an echo");
    drop(line);
    attack.lab.wait_for_line(&format!("5 bytes from {attacker}, 5 bytes from {SERVER}"));
}

#[test]
fn a_session_worker_may_ask_for_a_name_that_is_no_text() {
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1)");
    attack.next_attacker();
    let mut line = attack.asks("a-name-that-is-no-text");
    assert_eq!(Reply::read(&mut line), Reply::with(REJECTED));
    drop(line);
    attack.leaves("lies", &[]);
}

#[test]
fn a_host_whose_workers_violate_the_protocol_again_and_again_is_shut_out() {
    let mut attack = Attack::new(PERMIT_ALL, "()");
    attack.next_attacker();
    for _ in 0..3 {
        attack.asks("short").read_to_end();
        attack.leaves("short", &["violation by session worker"]);
    }
    for _ in 0..3 {
        assert!(attack.asks("joe").read_to_end().0.is_empty(), "served");
    }
    attack.leaves("shut out", &["clients are turned away: its workers have violated the protocol"]);
    attack.next_attacker();
    assert_eq!(Reply::read(&mut attack.asks("joe")), Reply::with(GRANTED));
}

#[test]
fn the_guards_hold_whatever_the_resolver_answers() {
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1)");
    for (answer, line) in [
        ("loopback", "guarded destination: "),
        ("unspecified", "guarded destination: "),
        ("mapped", "guarded destination: "),
        ("metadata", "guarded destination: "),
        ("none", "refused -- Connect from joe(unknown)@192.0.2.10 to "),
        ("names", "the destination's name cannot be resolved"),
    ] {
        let mut asked = attack.asks_for(&format!("{answer}.example"));
        assert_eq!(Reply::read(&mut asked), Reply::with(REJECTED), "{answer}");
        drop(asked);
        attack.lab.wait_for_line(line);
        attack.leaves(answer, &[]);
    }
}

#[test]
fn a_resolver_that_breaks_the_protocol_is_killed_and_replaced() {
    let mut attack = Attack::new(PERMIT_ALL, "(worker_idle: 1)");
    for (act, end) in [
        ("seventeen", "not a message of this channel"),
        ("unasked", "an answer that nobody asked for"),
        ("twice", "an answer that nobody asked for"),
        ("sockets", "a socket for a lookup that needs none"),
        ("short", "not a message of this channel (1 bytes)"),
        ("long", "packet longer than 2048 bytes"),
        ("surplus", "1 bytes behind the message"),
        ("an-unknown-message", "not a message of this channel"),
        ("ready-twice", "ready twice"),
        ("a-flood", "an answer that nobody asked for"),
        ("an-exit", "ended: exit status 0"),
        ("a-descriptor", "ended: SIGSYS"),
        ("a-panic", "ended: SIGSYS"),
        ("a-fault", FAULT),
    ] {
        let line = attack.asks_for(&format!("{act}.example"));
        attack.lab.wait_for_line(end);
        drop(line);
        attack.leaves(act, &[end]);
        until_true("names are resolved again", || {
            let (answer, _) = {
                let mut line = attack.asks_for("www.example");
                line.half_close();
                line.read_to_end()
            };
            answer.get(1) == Some(&GRANTED)
        });
        attack.lab.turn_the_page();
    }
}

#[test]
fn a_resolver_that_says_nothing_is_killed_when_its_time_is_over() {
    let mut attack = Attack::new(PERMIT_ALL, "(resolve_limit: 1, worker_idle: 1)");
    let mut line = attack.asks_for("silent.example");
    assert_eq!(Reply::read(&mut line), Reply::with(REJECTED));
    attack.leaves("silent", &["a lookup is not ended when it has to be"]);
}

/// The client host has to be vouched for, the other does not.
const VOUCHED: &str = "permit ?=I 192.0.2.0 255.255.255.128\npermit 0.0.0.0 0.0.0.0\n";

/// An identd that says what the ident worker is to do.
fn says(attack: &Attack, act: &'static str) -> Server {
    let place = (Ipv4Addr::UNSPECIFIED, 113);
    Server::start(&attack.lab.site.client, place, move |mut stream| writeln!(stream, "{act}"))
}

#[test]
fn an_ident_worker_that_breaks_the_protocol_is_killed() {
    let mut attack = Attack::new(VOUCHED, "(ident_limit: 1, worker_idle: 1)");
    for (act, violation, code) in [
        ("unasked", "an answer that nobody asked for", 92),
        ("twice", "an answer that nobody asked for", GRANTED),
        ("long", "not a message of this channel", 92),
        ("silent", "a query is not given up when it has to be", 92),
        ("short", "not a message of this channel (1 bytes)", 92),
        ("surplus", "1 bytes behind the message", 92),
        ("an-unknown-message", "not a message of this channel", 92),
        ("ready-twice", "ready twice", 92),
        ("a-flood", "an answer that nobody asked for", GRANTED),
        ("an-exit", "ended: exit status 0", 92),
        ("a-descriptor", "ended: SIGSYS", 92),
        ("a-panic", "ended: SIGSYS", 92),
        ("a-fault", FAULT, 92),
    ] {
        attack.next_attacker();
        let identd = says(&attack, act);
        let mut line = attack.asks("joe");
        assert_eq!(Reply::read(&mut line), Reply::with(code), "{act}");
        drop((line, identd));
        attack.leaves(act, &[violation]);
    }
}

#[test]
fn a_user_that_an_ident_worker_makes_up_is_one_escaped_word_in_the_log() {
    let mut attack = Attack::new(VOUCHED, "(worker_idle: 1)");
    attack.next_attacker();
    let _identd = says(&attack, "lines");
    let mut line = attack.asks("joe");
    assert_eq!(Reply::read(&mut line), Reply::with(93));
    drop(line);
    attack.lab.wait_for_line("joe\\x0asockd[1]:\\x20permit\\x20\\x28joe\\x29");
    attack.leaves("lines", &[]);
}

/// A next server that says what the upstream worker is to do.
fn next_server(attack: &Attack, act: &'static str) -> Server {
    Server::start(&attack.lab.site.server, (SERVER, 1081), move |mut stream| {
        writeln!(stream, "{act}")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    })
}

#[test]
fn an_upstream_worker_that_breaks_the_protocol_is_killed_and_its_server_is_not_shut_out() {
    let mut attack = Attack::new(PERMIT_ALL, "(connect_limit: 1, worker_idle: 1)");
    attack.asks_a_next_server();
    for (act, violation, code) in [
        ("unasked", "an answer that nobody asked for", REJECTED),
        ("twice", "an answer that nobody asked for", GRANTED),
        ("silent", "a query is not given up when it has to be", REJECTED),
        ("short", "not a message of this channel (1 bytes)", REJECTED),
        ("surplus", "1 bytes behind the message", REJECTED),
        ("ready-twice", "ready twice", REJECTED),
        ("a-flood", "an answer that nobody asked for", GRANTED),
        ("an-exit", "ended: exit status 0", REJECTED),
        ("a-descriptor", "ended: SIGSYS", REJECTED),
        ("a-panic", "ended: SIGSYS", REJECTED),
        ("a-fault", FAULT, REJECTED),
    ] {
        let next = next_server(&attack, act);
        let request = Request::connect((Ipv4Addr::new(100, 64, 9, 9), 7));
        let mut line = send_to(&attack.lab.site.client, PROXY, &request);
        assert_eq!(Reply::read(&mut line).code, code, "{act}");
        drop((line, next));
        attack.leaves(act, &[violation]);
    }
    // As a client it is served.
    let mut line =
        send_to(&attack.lab.site.server, SocketAddrV4::new(OUTSIDE, 1080), &Request::connect((SERVER, 7)));
    assert_eq!(Reply::read(&mut line).code, GRANTED);
}

/// Workers of every role that fail to do their work: they never read, never answer, never end, or answer late. (One
/// that answers twice breaks the protocol, above.) Within the time of [`Attack::leaves`] the monitor has the same
/// descriptors, memory and workers as before, and others are served as fast.
impl Attack {
    /// The 95th percentile of a third client host's waits for a request. (The worker of the second one waits for the
    /// reader of its transfer.)
    fn p95(&self) -> Duration {
        let asks = || {
            let begin = Instant::now();
            let proxy = SocketAddrV4::new(OUTSIDE, 1080);
            let mut line = send_to(&self.lab.site.server, proxy, &Request::connect((SERVER, 7)));
            assert_eq!(Reply::read(&mut line).code, GRANTED);
            begin.elapsed()
        };
        let mut times: Vec<Duration> = (0..20).map(|_| asks()).collect();
        times.sort_unstable();
        times[18]
    }

    /// Does the act and checks its consequences. Prints the waits of others, and the time until nothing was left.
    fn does_nothing(&mut self, what: &str, mut act: impl FnMut(&mut Self), lines: &[&str]) {
        let before = self.p95();
        let usual = 4 * before + Duration::from_millis(50);
        let as_usual = |attack: &Self| {
            until("others are served as before", || Some(attack.p95()).filter(|p95| *p95 <= usual))
        };
        self.settle();
        self.lab.turn_the_page();
        let begin = Instant::now();
        act(self);
        let meanwhile = as_usual(self);
        self.leaves(what, lines);
        let time = begin.elapsed().as_secs();
        let after = as_usual(self);
        println!("{what}: others wait {before:?}, {meanwhile:?}, {after:?}; nothing is left after {time} s");
        self.settle();
        self.lab.turn_the_page();
    }
}

#[test]
fn a_session_worker_that_does_nothing_that_it_should_holds_up_nobody_and_leaves_nothing() {
    let mut attack = Attack::new(PERMIT_ALL, "(request_limit: 1, worker_idle: 1)");
    for (act, line) in [
        ("deaf", Some("a session is not closed when it has to be; killed")),
        ("silence", Some("a session is not closed when it has to be; killed")),
        ("late", None),
        ("deaf-after-its-answer", Some("it does not say that a relay has ended; killed")),
        ("holds-and-does-nothing", Some("it does not say that a relay has ended; killed")),
        ("does-not-go", None),
    ] {
        attack.next_attacker();
        attack.does_nothing(act, |attack| drop(attack.asks(act)), line.as_slice());
    }
}

#[test]
fn a_resolver_that_does_nothing_that_it_should_is_replaced_and_leaves_nothing() {
    let mut attack = Attack::new(PERMIT_ALL, "(resolve_limit: 1, worker_idle: 1)");
    let owed = Some("a lookup is not ended when it has to be; killed");
    for (act, code, line) in [("deaf", REJECTED, owed), ("late", REJECTED, None)] {
        let asks = |attack: &mut Attack| {
            assert_eq!(Reply::read(&mut attack.asks_for(&format!("{act}.example"))).code, code, "{act}");
        };
        attack.does_nothing(act, asks, line.as_slice());
    }
    let answers_once = |attack: &mut Attack| {
        for (name, code) in [("deaf-after-its-answer.example", GRANTED), ("www.example", REJECTED)] {
            assert_eq!(Reply::read(&mut attack.asks_for(name)).code, code, "{name}");
        }
    };
    attack.does_nothing("deaf-after-its-answer", answers_once, owed.as_slice());
    assert_eq!(Reply::read(&mut attack.asks_for("www.example")).code, GRANTED);
}

#[test]
fn an_ident_worker_that_does_nothing_that_it_should_verifies_nobody_and_leaves_nothing() {
    let mut attack = Attack::new(VOUCHED, "(ident_limit: 1, worker_idle: 1)");
    for (act, code, line) in [
        ("deaf", 92, Some("a query is not given up when it has to be; killed")),
        ("late", 92, None),
        ("deaf-after-its-answer", GRANTED, None),
    ] {
        attack.next_attacker();
        let identd = says(&attack, act);
        let asks = |attack: &mut Attack| {
            assert_eq!(Reply::read(&mut attack.asks("joe")), Reply::with(code), "{act}");
        };
        attack.does_nothing(act, asks, line.as_slice());
        drop(identd);
    }
}

#[test]
fn an_upstream_worker_that_does_nothing_that_it_should_leaves_nothing() {
    let mut attack = Attack::new(PERMIT_ALL, "(connect_limit: 1, worker_idle: 1)");
    attack.asks_a_next_server();
    for (act, code, line) in [
        ("deaf", REJECTED, Some("a query is not given up when it has to be; killed")),
        ("late", REJECTED, None),
        ("deaf-after-its-answer", GRANTED, None),
    ] {
        let next = next_server(&attack, act);
        let asks = |attack: &mut Attack| {
            let request = Request::connect((Ipv4Addr::new(100, 64, 9, 9), 7));
            let mut line = send_to(&attack.lab.site.client, PROXY, &request);
            assert_eq!(Reply::read(&mut line).code, code, "{act}");
        };
        attack.does_nothing(act, asks, line.as_slice());
        drop(next);
    }
}
