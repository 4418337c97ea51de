//! The datagram worker as the monitor has it: in its own process, locked down, with a client and peers on loopback.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod monitor;

use monitor::Worker;
use rustix::process::Signal;
use sockd_common::message::datagram::{
    AssociationEnd, FlowId, FlowLimits, FromDatagram, Relayed, ToDatagram,
};
use sockd_common::message::request::Destination;
use sockd_common::message::{Id, Role};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

type Datagram = Worker<ToDatagram, FromDatagram>;

const PATIENCE: Duration = Duration::from_secs(30);
const LIMITS: FlowLimits = FlowLimits { flows: 512, flow_idle: 120, association_idle: 300 };
const ID: Id = Id(7);

fn ready(limits: FlowLimits) -> Datagram {
    let worker = Worker::start(Role::Datagram, 1024);
    worker.send(&ToDatagram::Setup(limits), None);
    match worker.next() {
        FromDatagram::Ready(locks) => worker.assert_locked_down(locks),
        other => panic!("{other:?} instead of Ready"),
    }
    worker
}

/// Two sockets that are connected to each other: one for the test, one for the worker.
fn pair() -> (UdpSocket, UdpSocket) {
    let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Opens an association, and returns the client's socket.
fn open(worker: &Datagram) -> UdpSocket {
    let (client, socket) = pair();
    let from = client.local_addr().unwrap();
    worker.send(&ToDatagram::Open { id: ID, client: from }, Some(socket.as_fd()));
    client
}

fn to(port: u16, data: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1, 192, 0, 2, 1], &port.to_be_bytes()[..], data].concat()
}

/// Returns the flow that is wanted next.
fn wanted(worker: &Datagram) -> (FlowId, u16) {
    match worker.next() {
        FromDatagram::Want { id: ID, flow, destination, port } => {
            assert_eq!(destination, Destination::Address("192.0.2.1".parse().unwrap()));
            (flow, port)
        }
        other => panic!("{other:?} instead of Want"),
    }
}

/// Permits a flow, and returns the peer's socket. The client is told that the peer is at this address.
fn permit(worker: &Datagram, flow: FlowId, peer: SocketAddr) -> UdpSocket {
    let (far, socket) = pair();
    worker.send(&ToDatagram::Flow { id: ID, flow, peer }, Some(socket.as_fd()));
    far
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let length = socket.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn peer() -> SocketAddr {
    "192.0.2.1:53".parse().unwrap()
}

#[test]
fn datagrams_wait_for_the_decision_and_then_go_both_ways() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    for data in [&b"one"[..], b"", b"three"] {
        client.send(&to(53, data)).unwrap();
    }
    let (flow, port) = wanted(&worker);
    assert_eq!(port, 53);
    let far = permit(&worker, flow, peer());
    assert_eq!([received(&far), received(&far), received(&far)], [&b"one"[..], b"", b"three"]);
    client.send(&to(53, b"four")).unwrap();
    assert_eq!(received(&far), b"four");
    for data in [&b"answer"[..], b"", &[7; 65_000]] {
        far.send(data).unwrap();
        assert_eq!(received(&client), to(53, data));
    }
    worker.send(&ToDatagram::EndFlow { id: ID, flow }, None);
    let moved = Relayed { up: 12, down: 65_006 };
    assert_eq!(worker.next(), FromDatagram::Gone { id: ID, flow, moved });
}

#[test]
fn what_is_no_datagram_or_comes_from_elsewhere_is_dropped() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    let named = [&[0, 0, 0, 3, 200][..], b"cut short"].concat();
    let fragment = [&[0, 0, 1], &to(1, b"x")[3..]].concat();
    let bracketed = [&[0, 0, 0, 3, 5][..], b"[::1]", &[0, 53]].concat();
    for bytes in [
        &b""[..],
        b"\0\0\0",
        &to(1, b"")[..8],
        &[0, 0, 0, 2, 1, 1, 1, 1, 0, 1],
        &named,
        &fragment,
        &bracketed,
    ] {
        client.send(bytes).unwrap();
    }
    client.send(&to(9, b"whole")).unwrap();
    assert_eq!(wanted(&worker).1, 9, "nothing before was asked for");
}

#[test]
fn a_refused_destination_is_asked_for_once() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    client.send(&to(1, b"x")).unwrap();
    let (flow, _) = wanted(&worker);
    worker.send(&ToDatagram::NoFlow { id: ID, flow }, None);
    // The worker has read the answer before it ends another association.
    worker.send(&ToDatagram::End { id: Id(99) }, None);
    (0..100).for_each(|_| assert!(client.send(&to(1, b"x")).is_ok()));
    client.send(&to(2, b"x")).unwrap();
    assert_eq!(wanted(&worker).1, 2);
}

#[test]
fn the_oldest_flow_gives_way_to_one_more_than_there_may_be() {
    let worker = ready(FlowLimits { flows: 2, ..LIMITS });
    let client = open(&worker);
    let mut flows = Vec::new();
    for port in [1, 2] {
        client.send(&to(port, b"x")).unwrap();
        let (flow, _) = wanted(&worker);
        let far = permit(&worker, flow, peer());
        assert_eq!(received(&far), b"x");
        flows.push((flow, far));
    }
    client.send(&to(1, b"again")).unwrap();
    assert_eq!(received(&flows[0].1), b"again");
    client.send(&to(3, b"x")).unwrap();
    let moved = Relayed { up: 1, down: 0 };
    assert_eq!(worker.next(), FromDatagram::Gone { id: ID, flow: flows[1].0, moved });
    assert_eq!(wanted(&worker).1, 3);
}

#[test]
fn a_flow_and_an_association_end_when_they_are_idle() {
    let worker = ready(FlowLimits { flows: 2, flow_idle: 1, association_idle: 3 });
    let client = open(&worker);
    client.send(&to(1, b"x")).unwrap();
    let (flow, _) = wanted(&worker);
    let _far = permit(&worker, flow, peer());
    assert_eq!(worker.next(), FromDatagram::Gone { id: ID, flow, moved: Relayed { up: 1, down: 0 } });
    let moved = Relayed::default();
    assert_eq!(worker.next(), FromDatagram::Closed { id: ID, why: AssociationEnd::Idle, moved });
}

#[test]
fn the_end_of_an_association_is_said_once_and_tells_what_was_moved() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    client.send(&to(1, b"four")).unwrap();
    let (flow, _) = wanted(&worker);
    let far = permit(&worker, flow, peer());
    assert_eq!(received(&far), b"four");
    worker.send(&ToDatagram::End { id: ID }, None);
    worker.send(&ToDatagram::End { id: ID }, None);
    let moved = Relayed { up: 4, down: 0 };
    assert_eq!(worker.next(), FromDatagram::Closed { id: ID, why: AssociationEnd::Ended, moved });
    // A message that crosses with the end is dropped, and the number is another's.
    worker.send(&ToDatagram::NoFlow { id: ID, flow }, None);
    let client = open(&worker);
    client.send(&to(2, b"x")).unwrap();
    assert_eq!(wanted(&worker).1, 2);
}

#[test]
fn a_closed_port_at_the_peer_ends_nothing() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    client.send(&to(1, b"x")).unwrap();
    let (flow, _) = wanted(&worker);
    drop(permit(&worker, flow, peer()));
    (0..10).for_each(|_| assert!(client.send(&to(1, b"x")).is_ok()));
    client.send(&to(2, b"y")).unwrap();
    let (flow, _) = wanted(&worker);
    assert_eq!(received(&permit(&worker, flow, peer())), b"y");
}

#[test]
fn a_datagram_of_another_port_that_came_before_the_latch_is_dropped() {
    let worker = ready(LIMITS);
    let [client, other, socket] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let at = socket.local_addr().unwrap();
    other.send_to(&to(1, b"x"), at).unwrap();
    client.send_to(&to(2, b"y"), at).unwrap();
    let from = client.local_addr().unwrap();
    socket.connect(from).unwrap();
    worker.send(&ToDatagram::Open { id: ID, client: from }, Some(socket.as_fd()));
    assert_eq!(wanted(&worker).1, 2);
}

/// The monitor's copy is shut down before the worker has read why. The worker does not spin on the dead socket.
#[test]
fn a_socket_that_is_shut_down_sends_nothing_more() {
    let worker = ready(LIMITS);
    let client = open(&worker);
    client.send(&to(1, b"x")).unwrap();
    let (flow, _) = wanted(&worker);
    let (far, socket) = pair();
    worker.send(&ToDatagram::Flow { id: ID, flow, peer: peer() }, Some(socket.as_fd()));
    assert_eq!(received(&far), b"x");
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    client.send(&to(1, b"x")).unwrap();
    client.send(&to(2, b"y")).unwrap();
    assert_eq!(wanted(&worker).1, 2, "it has read the one before");
    far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(far.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    worker.send(&ToDatagram::EndFlow { id: ID, flow }, None);
    assert_eq!(worker.next(), FromDatagram::Gone { id: ID, flow, moved: Relayed { up: 1, down: 0 } });
}

/// The socket of an association is shut down, and another association takes its place, before the worker has looked.
#[test]
fn an_association_in_the_place_of_one_that_ends_is_served() {
    let worker = ready(LIMITS);
    let (first, socket) = pair();
    let from = first.local_addr().unwrap();
    worker.send(&ToDatagram::Open { id: ID, client: from }, Some(socket.as_fd()));
    first.send(&to(1, b"x")).unwrap();
    wanted(&worker);
    worker.signal(Signal::STOP);
    worker.send(&ToDatagram::End { id: ID }, None);
    let second = open(&worker);
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    worker.signal(Signal::CONT);
    let (why, moved) = (AssociationEnd::Ended, Relayed::default());
    assert_eq!(worker.next(), FromDatagram::Closed { id: ID, why, moved });
    second.send(&to(2, b"x")).unwrap();
    assert_eq!(wanted(&worker).1, 2);
}
