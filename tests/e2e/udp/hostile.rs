//! A datagram worker in the hands of an attacker, in the real one's place and behind its locks. It is killed, or its
//! acts have no effect; another client host's association goes on; and the monitor holds no more than before.

use crate::{ASSOCIATE, Association, Echo, PORT, PROXY_6, Place, RULES, SERVER_6, place_started};
use nix::sys::signal::Signal;
use sockd_tests::site::{CLIENT, OUTSIDE, SECOND_SERVER, SERVER};
use sockd_tests::wait::{LONG, until, until_true, until_within};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile-datagram-worker");

/// A destination to which only attackers send.
const THERE: (Ipv4Addr, u16) = (SERVER, PORT + 1);

/// A destination that [`RULES`] deny.
const DENIED: (Ipv4Addr, u16) = (SERVER, 8081);

/// KiB that the monitor may have more for a while.
const MEMORY: u64 = 2048;

/// The flows that a host may ask for at once, and then in a second.
const BURST: u64 = 500;
const RATE: u64 = 100;

/// Longer than a worker has to say that something has ended.
const OWED: Duration = Duration::from_secs(60);

/// The laboratory with hostile workers, and an association of the other client host.
struct Attack {
    place: Place,
    others: Association,
    there: Echo,
    descriptors: usize,
    /// Client addresses that have been used.
    attackers: u8,
}

impl Attack {
    fn new() -> Self {
        let settings = "(worker_idle: 1, recheck_on_reload: true, max_refusals_logged: 1000)";
        let place = place_started(RULES, |start| start.settings(settings).worker(HOSTILE));
        let there = Echo::start(&place.lab.site.server, THERE);
        let others = Association::new(&place.lab.site.other);
        let mut attack = Self { place, others, there, descriptors: 0, attackers: 0 };
        attack.others_are_served();
        attack.settle();
        attack.descriptors = attack.held();
        attack.place.lab.turn_the_page();
        attack
    }

    /// Descriptors of the monitor.
    fn held(&self) -> usize {
        self.place.lab.sockd.monitor().descriptors().len()
    }

    fn others_are_served(&self) {
        self.others.assert_echo(self.place.echo.at, b"of others");
    }

    /// Waits until one spare worker and those of the others and the resolver are there.
    fn settle(&self) {
        let number = |role| self.place.lab.sockd.workers(role).len();
        until_true("the workers are those of the beginning", || {
            ["session", "datagram", "resolver"].map(number) == [2, 1, 1]
        });
    }

    /// Gives the client host another address: for the monitor it is a new host.
    fn next_attacker(&mut self) {
        self.attackers += 1;
        let [a, b, c, _] = CLIENT.octets();
        let address = Ipv4Addr::new(a, b, c, 20 + self.attackers);
        let client = &self.place.lab.site.client;
        client.sh(&format!("ip addr add {address}/25 dev eth0"));
        client.sh(&format!("ip route replace 192.0.2.0/25 dev eth0 src {address}"));
    }

    fn association(&self) -> Association {
        Association::new(&self.place.lab.site.client)
    }

    /// An association with a flow to [`THERE`].
    fn with_flow(&self) -> Association {
        let association = self.association();
        association.assert_echo(self.there.at, b"one");
        association
    }

    /// The number of the proxy's datagrams that have come to [`THERE`], after a wait for those on their way.
    fn heard(&self) -> usize {
        let last = crate::bound_to(&self.place.lab.site.server, (SERVER, 0).into());
        last.set_read_timeout(Some(LONG)).expect("a limit");
        last.send_to(b"last", self.there.at).expect("sending");
        crate::received(&last).expect("an answer");
        self.there.senders().iter().filter(|sender| sender.ip() == OUTSIDE).count()
    }

    /// Insists on exactly these lines at level err, each given by a part of it, and that nothing is left of the attack.
    fn leaves(&mut self, what: &str, expected: &[&str]) {
        let lab = &self.place.lab;
        let errors = || -> Vec<String> {
            lab.logged().into_iter().filter(|line| line.starts_with("daemon.err ")).collect()
        };
        until_within(OWED, what, || (errors().len() >= expected.len()).then_some(()));
        self.others_are_served();
        self.settle();
        until_true("the monitor has as many descriptors as before", || self.held() == self.descriptors);
        let lines = errors();
        let alike = lines.len() == expected.len()
            && lines.iter().zip(expected).all(|(line, expected)| line.contains(expected));
        assert!(alike, "{what}: {lines:#?}, expected {expected:?}");
        self.place.lab.turn_the_page();
    }

    /// Sets rules by which nobody may send to [`THERE`].
    fn deny(&self) {
        let (sockd, port) = (&self.place.lab.sockd, THERE.1);
        sockd.write_conf(&format!("deny ALL 0.0.0.0 ALL 0.0.0.0 eq {port}\n{RULES}"));
        sockd.signal(Signal::SIGHUP);
        self.place.lab.wait_for_line("refused -- Udp from (unknown)@");
    }
}

/// Has the worker send on each socket that it should have closed, until it has this many and nothing goes out.
fn until_refused(association: &Association, to: SocketAddr, number: usize) {
    let refused = vec!["refused"; number].join(" ");
    until("nothing goes out", || {
        association.send(to, b"kept");
        let told = association.receive();
        let header = crate::datagram(to, b"").len();
        told.ends_with(refused.as_bytes()).then_some(()).filter(|()| told.len() == header + refused.len())
    });
}

#[test]
fn a_datagram_worker_that_breaks_the_protocol_is_killed_and_only_its_own_host_notices() {
    let mut attack = Attack::new();
    for (act, violation) in [
        ("short", "not a message of this channel (1 bytes)"),
        ("an-unknown-message", "not a message of this channel (4 bytes)"),
        ("ready-twice", "ready twice"),
        ("an-association-of-nobody", "an association that is not its own"),
        ("an-association-of-another", "an association that is not its own"),
        ("a-flow-of-nobody", "the end of a flow that is not there"),
        ("a-flow-twice", "a flow that is there already"),
        ("a-flow-gone-twice", "the end of a flow that is not there"),
        ("an-end-that-nobody-wants", "an end that nobody has asked for"),
        ("an-end-twice", "an association that is not its own"),
    ] {
        attack.next_attacker();
        let mut association = attack.with_flow();
        association.send(attack.there.at, act.as_bytes());
        let _closed_or_reset = association.control.ending();
        drop(association);
        attack.leaves(act, &[&format!("{violation}; killed")]);
    }
}

#[test]
fn a_datagram_worker_that_breaks_the_protocol_again_and_again_shuts_its_host_out() {
    let mut attack = Attack::new();
    attack.next_attacker();
    for _ in 0..3 {
        let association = attack.with_flow();
        association.send(attack.there.at, b"a-flow-of-nobody");
        attack.place.lab.wait_for_line("the end of a flow that is not there; killed");
        drop(association);
        attack.leaves("a-flow-of-nobody", &["the end of a flow that is not there; killed"]);
    }
    let client = &attack.place.lab.site.client;
    let mut line = sockd_tests::line::Line::dial(client, crate::PROXY);
    line.send(sockd_tests::socks5::GREETING);
    assert!(line.read_to_end().0.is_empty(), "served");
    attack.leaves("shut out", &["clients are turned away: its workers have violated the protocol"]);
}

#[test]
fn a_datagram_worker_that_calls_what_it_may_not_is_killed_and_has_sent_nothing() {
    let mut attack = Attack::new();
    let elsewhere = Echo::start(&attack.place.lab.site.server, (SECOND_SERVER, PORT));
    for (act, end) in [
        ("an-address", "ended: SIGSYS"),
        ("another-peer", "ended: SIGSYS"),
        ("a-descriptor", "ended: SIGSYS"),
        ("a-panic", "ended: exit status 70 (a panic)"),
        ("an-exit", "ended: exit status 0"),
    ] {
        attack.next_attacker();
        let mut association = attack.with_flow();
        association.send(attack.there.at, act.as_bytes());
        let _closed_or_reset = association.control.ending();
        drop(association);
        attack.leaves(act, &[end]);
    }
    assert!(elsewhere.senders().is_empty(), "it has sent to an address");
}

#[test]
fn a_flood_of_flows_is_held_to_the_rate_of_its_host_and_others_are_served() {
    let mut attack = Attack::new();
    attack.next_attacker();
    let association = attack.association();
    let begin = Instant::now();
    association.send(attack.there.at, b"a-flood");
    let new = Association::new(&attack.place.lab.site.other);
    new.assert_echo(attack.there.at, b"a new flow of others");
    drop(new);
    association.socket.set_nonblocking(true).expect("a mode");
    let told = until("the flood is over", || {
        attack.others_are_served();
        crate::received(&association.socket)
    });
    let most = BURST + RATE * (begin.elapsed().as_secs() + 1);
    let told = String::from_utf8(told[10..].to_vec()).expect("text");
    let numbers: Vec<u64> = told.split(' ').map(|number| number.parse().expect("a number")).collect();
    println!("given, refused: {told}; at most {most} in {:?}", begin.elapsed());
    assert!((BURST..=most).contains(&numbers[0]), "{told}, and at most {most} may be");
    assert_eq!(numbers[0] + numbers[1], 20_000, "each is answered");
    drop(association);
    attack.leaves("a flood", &[]);
}

#[test]
fn a_datagram_worker_that_asks_and_hardly_reads_does_not_fill_the_monitor() {
    let mut attack = Attack::new();
    attack.next_attacker();
    let violation = "it does not read its channel; killed";
    let memory = || attack.place.lab.sockd.monitor().private_memory();
    let before = memory();
    let association = attack.association();
    association.send(DENIED, b"an-unread-flood");
    let mut most = before;
    let most = until_within(OWED, "its end", || {
        most = most.max(memory());
        attack.place.lab.logged().iter().any(|line| line.contains(violation)).then_some(most)
    });
    println!("memory of the monitor: {before} KiB before, at most {most} KiB meanwhile");
    assert!(most < before + MEMORY, "{before} KiB before, {most} KiB meanwhile");
    drop(association);
    attack.leaves("an unread flood", &[violation]);
}

#[test]
fn a_socket_that_a_datagram_worker_keeps_sends_nothing_once_its_flow_is_over() {
    let mut attack = Attack::new();
    for end in ["gone", "association", "rules"] {
        attack.next_attacker();
        let (mut first, second) = (Some(attack.with_flow()), attack.association());
        let other = attack.place.echo.at;
        second.assert_echo(other, b"two");
        let kept = match end {
            "gone" => {
                first.iter().for_each(|first| first.send(attack.there.at, b"gone-and-kept"));
                1
            }
            "association" => {
                first = None;
                attack.place.lab.wait_for_line("terminated -- Associate from ");
                // The client's as well.
                2
            }
            _ => {
                attack.deny();
                1
            }
        };
        until_refused(&second, other, kept);
        let heard = attack.heard();
        until_refused(&second, other, kept);
        second.assert_echo(other, b"three");
        assert_eq!(attack.heard(), heard, "{end}");
        drop((first, second));
        attack.leaves(end, &[]);
    }
}

#[test]
fn a_datagram_worker_that_never_says_that_something_has_ended_is_killed_in_time() {
    let mut attack = Attack::new();
    for (end, violation) in [
        ("association", "an association is not ended when it has to be; killed"),
        ("rules", "a flow is not ended when it has to be; killed"),
    ] {
        attack.next_attacker();
        let (first, second) = (attack.association(), attack.association());
        first.assert_echo(attack.there.at, b"nothing-is-said");
        let mut first = Some(first);
        let other = attack.place.echo.at;
        second.assert_echo(other, b"two");
        let kept = match end {
            "association" => {
                first = None;
                2
            }
            _ => {
                attack.deny();
                1
            }
        };
        until_refused(&second, other, kept);
        attack.place.lab.wait_for_line(violation);
        drop((first, second));
        attack.leaves(end, &[violation]);
    }
}

#[test]
fn over_ipv6_a_hostile_datagram_worker_gets_no_further() {
    let mut attack = Attack::new();
    let [there, other] =
        [THERE.1, PORT].map(|port| Echo::start(&attack.place.lab.site.server, (SERVER_6, port)));
    let association = |attack: &Attack| {
        let association = Association::by(&attack.place.lab.site.client, PROXY_6, &ASSOCIATE);
        association.assert_echo(there.at, b"one");
        association
    };
    let (first, second) = (association(&attack), association(&attack));
    second.assert_echo(other.at, b"two");
    first.send(there.at, b"gone-and-kept");
    until_refused(&second, other.at, 1);
    second.assert_echo(other.at, b"three");
    drop((first, second));
    attack.leaves("gone", &[]);
    for (act, end) in [
        ("a-flow-of-nobody", "the end of a flow that is not there; killed"),
        ("an-address", "ended: SIGSYS"),
        ("another-peer", "ended: SIGSYS"),
    ] {
        let mut attacking = association(&attack);
        attacking.send(there.at, act.as_bytes());
        let _closed_or_reset = attacking.control.ending();
        drop(attacking);
        attack.leaves(act, &[end]);
    }
}
