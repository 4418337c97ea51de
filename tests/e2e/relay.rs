//! Relays: their bytes, how an end is passed on, and their cost while idle.

use sockd_common::message::PIPES;
use sockd_tests::classic::Session;
use sockd_tests::far::Far;
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::{uninterrupted, until_true};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Both ends of a relay.
fn relay(lab: &Lab) -> (Line, Line) {
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    (near, far.accept())
}

/// Writes until no more is taken: every buffer on the way is full.
fn fill(line: &mut Line) -> u64 {
    let stream = line.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while let Ok(taken) = uninterrupted(|| stream.write(&[b'x'; 64 * 1024])) {
        sent += taken as u64;
    }
    sent
}

#[test]
fn wire_17_what_the_server_owes_arrives_after_the_client_has_half_closed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    let port = far.local().port();
    near.send("data");
    near.half_close();
    assert_eq!(far.read_to_end(), (b"data".to_vec(), Ending::Closed));
    assert!(near.is_quiet());
    far.send("answer");
    drop(far);
    assert_eq!(near.read_to_end(), (b"answer".to_vec(), Ending::Closed));
    drop(near);
    lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(4, 6));
}

#[test]
fn what_the_client_owes_arrives_after_the_server_has_half_closed() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    let port = far.local().port();
    far.send("banner");
    far.half_close();
    assert_eq!(near.read_to_end(), (b"banner".to_vec(), Ending::Closed));
    assert!(far.is_quiet());
    near.send("late");
    drop(near);
    assert_eq!(far.read_to_end(), (b"late".to_vec(), Ending::Closed));
    drop(far);
    lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(4, 6));
}

#[test]
fn a_reset_by_the_client_reaches_the_server_as_a_reset() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (near, mut far) = relay(&lab);
    let port = far.local().port();
    near.reset();
    assert_eq!(far.ending(), Ending::Reset);
    lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(0, 0));
}

#[test]
fn a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (mut near, far) = relay(&lab);
    let port = far.local().port();
    far.reset();
    assert_eq!(near.ending(), Ending::Reset);
    lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(0, 0));
}

#[test]
fn a_reset_after_a_half_close_is_still_passed_on() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    near.half_close();
    assert_eq!(far.ending(), Ending::Closed);
    far.reset();
    assert_eq!(near.ending(), Ending::Reset);
}

#[test]
fn wire_18_urgent_data_arrives_in_its_place() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    // Whether marked or not: the reader takes urgent bytes in line, as a relay does.
    far.take_urgent_in_line();
    near.send("A");
    near.send_urgent(b'!');
    near.send("B");
    assert_eq!(far.read(3), b"A!B");
}

#[test]
fn urgent_data_from_the_server_arrives_in_its_place() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    near.take_urgent_in_line();
    far.send("A");
    far.send_urgent(b'!');
    far.send("B");
    assert_eq!(near.read(3), b"A!B");
}

#[test]
fn a_relay_without_traffic_ends_at_the_idle_limit_and_not_before_traffic_does() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(idle_limit: 5)");
    let (mut near, mut far) = relay(&lab);
    let port = far.local().port();
    // A byte now and then keeps it for longer than the limit, in either direction; a busy machine may add seconds.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(900));
        near.send("a");
        far.read(1);
        std::thread::sleep(Duration::from_millis(100));
        far.send("b");
        near.read(1);
    }
    near.ending();
    far.ending();
    lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(6, 6));
}

/// A host that is switched off sends no reset; the probes do not keep a relay that is idle.
#[test]
fn a_peer_that_vanishes_is_given_up_on_either_side() {
    for vanishing in ["inside", "outside"] {
        let mut lab = Lab::with_settings(PERMIT_ALL, "(keepalive: (1, 1, 3))");
        let (mut near, mut far) = relay(&lab);
        let port = far.local().port();
        near.send("data");
        far.read(4);
        // Longer than the probes take if nobody answers.
        std::thread::sleep(Duration::from_secs(6));
        assert!(near.is_quiet() && far.is_quiet(), "a peer that answers stays");
        lab.site.gateway.sh(&format!("ip link set {vanishing} down"));
        let left = if vanishing == "inside" { &mut far } else { &mut near };
        assert_eq!(left.ending(), Ending::Reset, "{vanishing}");
        lab.assert_logged(&Session::of(CLIENT, SERVER, port).relayed(4, 0));
    }
}

#[test]
fn keepalive_probes_do_not_count_for_the_idle_limit() {
    let lab = Lab::with_settings(PERMIT_ALL, "(keepalive: (1, 1, 3), idle_limit: 4)");
    let (mut near, mut far) = relay(&lab);
    near.ending();
    far.ending();
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender_and_costs_no_processor_time() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    let sent = fill(&mut near);
    let worker = lab.sockd.worker_of(near.local());
    let before = worker.processor_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let used = worker.processor_ticks() - before;
    assert!(used <= 2, "{used} clock ticks in two seconds of standstill");
    // Nothing is lost, and the worker has not stored the bytes that it could not pass on.
    assert!(worker.private_memory() < 16 * 1024, "{} KiB", worker.private_memory());
    near.half_close();
    let (bytes, ending) = far.read_to_end();
    assert_eq!((bytes.len() as u64, ending), (sent, Ending::Closed));
}

#[test]
fn a_reset_is_noticed_while_nothing_can_be_written() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    fill(&mut near);
    let worker = lab.sockd.worker_of(near.local());
    near.reset();
    // Bytes that were under way before the reset may still arrive.
    far.read_to_end();
    until_true("the worker has let go of both sockets", || {
        worker.descriptors().values().filter(|target| target.starts_with("socket:")).count() <= 1
    });
}

/// The memory of pipes that nobody needs: a page for each pipe that a worker is started with.
const IDLE: usize = PIPES * (4 << 10);

fn room_of_pipes(worker: Process) -> usize {
    worker.pipes().iter().sum()
}

#[test]
fn pages_of_a_pipe_that_nobody_needs_any_more_are_given_up_soon() {
    let lab = Lab::new(PERMIT_ALL);
    let (mut near, mut far) = relay(&lab);
    let sent = fill(&mut near);
    let worker = lab.sockd.worker_of(near.local());
    assert!(room_of_pipes(worker) > IDLE, "{:?}", worker.pipes());
    assert_eq!(far.read(sent as usize).len() as u64, sent);
    // The relay stays, and without a pipe a worker looks after its sessions once a minute.
    until_true("the pages are given up", || room_of_pipes(worker) == IDLE);
    near.send("more");
    assert_eq!(far.read(4), b"more");
}

/// The room in the pipes of a worker with this id when every buffer of a relay is full. All bytes must arrive.
fn pipes_when_full(id: u32) -> usize {
    let lab = Lab::with_settings(PERMIT_ALL, &format!("(worker_ids: ({id}, 1))"));
    let (mut near, mut far) = relay(&lab);
    let sent = fill(&mut near);
    let worker = lab.sockd.worker_of(near.local());
    let pipes = room_of_pipes(worker);
    near.half_close();
    let (bytes, ending) = far.read_to_end();
    assert_eq!((bytes.len() as u64, ending), (sent, Ending::Closed));
    pipes
}

/// All pipes of a user share a limit (pipe(7), pipe-user-pages-soft), beyond which none can be made larger.
#[test]
fn bulk_is_copied_where_the_workers_user_has_no_room_for_pipes() {
    const PLENTY: &str =
        "for (1..100) { pipe(my $r, my $w); fcntl($w, 1031, 1 << 20); push @kept, $r, $w } print 1; <>";
    assert!(pipes_when_full(70_001) > IDLE);
    let words =
        ["--reuid=70002", "--regid=70002", "--clear-groups", "perl", "-e", &format!("$| = 1; {PLENTY}")];
    let mut hoarder = Command::new("setpriv");
    hoarder.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hoarder = hoarder.spawn().expect("setpriv");
    hoarder.stdout.as_mut().expect("its output").read_exact(&mut [0]).expect("a sign that it has them");
    assert_eq!(pipes_when_full(70_002), IDLE);
    drop(hoarder.stdin.take());
    hoarder.wait().expect("its end");
}

#[test]
fn with_relay_splice_the_same_bytes_arrive() {
    let lab = Lab::with_settings(PERMIT_ALL, "(relay: splice)");
    let (mut near, mut far) = relay(&lab);
    near.send("there");
    assert_eq!(far.read(5), b"there");
    far.send("and back");
    assert_eq!(near.read(8), b"and back");
    near.half_close();
    assert_eq!(far.ending(), Ending::Closed);
}

#[test]
fn with_isolation_connection_every_connection_has_a_worker_of_its_own() {
    let lab = Lab::with_settings(PERMIT_ALL, "(isolation: connection)");
    let (first, _far) = relay(&lab);
    let (second, _far2) = relay(&lab);
    assert_ne!(lab.sockd.worker_of(first.local()), lab.sockd.worker_of(second.local()));
}

#[test]
fn with_isolation_shared_two_client_hosts_may_have_one_worker() {
    let lab = Lab::with_settings(PERMIT_ALL, "(isolation: shared(1))");
    let far = Far::listen(&lab.site.server, SERVER);
    let request = Request::connect(far.v4());
    let first = granted(&lab.site.client, &request);
    let second = granted(&lab.site.other, &request);
    assert_eq!(lab.sockd.worker_of(first.local()), lab.sockd.worker_of(second.local()));
}

#[test]
fn by_default_two_client_hosts_never_share_a_worker() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let request = Request::connect(far.v4());
    let lines: Vec<_> = (0..6)
        .map(|turn| match turn % 2 {
            0 => (true, granted(&lab.site.client, &request)),
            _ => (false, granted(&lab.site.other, &request)),
        })
        .collect();
    let workers_of = |first: bool| {
        let lines = lines.iter().filter(move |(host, _)| *host == first);
        lines.map(|(_, line)| lab.sockd.worker_of(line.local())).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(workers_of(true).is_disjoint(&workers_of(false)));
}
