//! The resolver worker as the monitor has it: in a process of its own, locked down, with nameservers on loopback
//! that answer, lie, dribble or are not there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod monitor;

use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Name, ToName, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ptr};
use monitor::Worker;
use sockd_common::bounded::{BoundedBytes, BoundedVec};
use sockd_common::message::resolver::{Answer, FromResolver, Query, RecordType, ToResolver, Transport};
use sockd_common::message::{Id, Role};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

type Resolver = Worker<ToResolver, FromResolver>;

/// A worker that has said `Ready` and been told of this many nameservers, one attempt of a second each.
fn ready(servers: u8) -> Resolver {
    let worker = Worker::start(Role::Resolver, 64);
    set_up(&worker, servers);
    match worker.next() {
        FromResolver::Ready(locks) => worker.assert_locked_down(locks),
        other => panic!("{other:?} instead of Ready"),
    }
    worker
}

fn set_up(worker: &Resolver, servers: u8) {
    let setup = ToResolver::Setup {
        servers,
        timeout: 1,
        attempts: 1,
        ndots: 1,
        by_tcp: false,
        search: BoundedVec::default(),
    };
    worker.send(&setup, None);
}

fn addresses_of(name: &str) -> Query {
    Query::Addresses(BoundedBytes::new(name.as_bytes()).unwrap())
}

fn found(addresses: &[&str]) -> Answer {
    Answer::Addresses(BoundedVec::first_of(addresses.iter().map(|address| address.parse().unwrap())))
}

/// The sockets that a lookup needed for each type of record, with the numbers of the attempts.
type Needed = BTreeMap<RecordType, Vec<(Transport, u8)>>;

/// The same for both kinds of addresses.
fn both(sockets: &[(Transport, u8)]) -> Needed {
    [RecordType::A, RecordType::Aaaa].into_iter().map(|record| (record, sockets.to_vec())).collect()
}

/// Plays the monitor for one lookup: connects sockets until the answer comes. Returns it and the sockets needed.
fn look_up(worker: &Resolver, query: Query, servers: &[SocketAddr]) -> (Answer, Needed) {
    let id = Id(77);
    worker.send(&ToResolver::Resolve { id, query }, None);
    let mut needed = Needed::new();
    loop {
        match worker.next() {
            FromResolver::NeedSocket { id: this, record, transport, attempt } => {
                assert_eq!(this, id);
                needed.entry(record).or_default().push((transport, attempt));
                give_socket(worker, id, record, transport, servers[usize::from(attempt) % servers.len()]);
            }
            FromResolver::Answer { id: this, answer } => {
                assert_eq!(this, id);
                return (answer, needed);
            }
            FromResolver::Ready(_) => panic!("Ready twice"),
        }
    }
}

/// Begins a lookup that can ask for IPv4 addresses only: for IPv6 it gets no socket.
fn begin_with_ipv4(worker: &Resolver, id: Id, name: &str) {
    worker.send(&ToResolver::Resolve { id, query: addresses_of(name) }, None);
    for record in [RecordType::A, RecordType::Aaaa] {
        let need = FromResolver::NeedSocket { id, record, transport: Transport::Udp, attempt: 0 };
        assert_eq!(worker.next(), need);
    }
    worker.send(&ToResolver::NoSocket { id, record: RecordType::Aaaa }, None);
}

/// Gives such a lookup the socket that it needs, and after a truncated answer another one by TCP.
fn give_socket_of_each(worker: &Resolver, id: Id, transports: &[Transport], server: SocketAddr) {
    for &transport in transports {
        if transport == Transport::Tcp {
            let need = FromResolver::NeedSocket { id, record: RecordType::A, transport, attempt: 0 };
            assert_eq!(worker.next(), need);
        }
        give_socket(worker, id, RecordType::A, transport, server);
    }
}

fn give_socket(worker: &Resolver, id: Id, record: RecordType, transport: Transport, server: SocketAddr) {
    match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(server).unwrap();
            worker.send(&ToResolver::Socket { id, record }, Some(socket.as_fd()));
        }
        Transport::Tcp => match TcpStream::connect(server) {
            Ok(socket) => worker.send(&ToResolver::Socket { id, record }, Some(socket.as_fd())),
            Err(_) => worker.send(&ToResolver::NoSocket { id, record }, None),
        },
    }
}

/// A nameserver by UDP that answers a packet with the replies of `reply`. Ends with the test.
fn udp_server(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            for packet in reply(&buffer[..length]) {
                // The worker may have left already.
                let _ = socket.send_to(&packet, peer);
            }
        }
    });
    address
}

/// A nameserver that knows a few names.
fn honest(query: &[u8]) -> Vec<u8> {
    let message = Message::from_octets(query).unwrap();
    let question = message.sole_question().unwrap();
    let owner: Name<Vec<u8>> = question.qname().to_name();
    let name = owner.to_string().to_ascii_lowercase();
    let known = name != "nowhere.test";
    let rcode = if known { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    let mut answer = MessageBuilder::new_vec().start_answer(&message, rcode).unwrap();
    let ttl = Ttl::from_secs(60);
    match (&*name, question.qtype()) {
        ("a.test" | "host.test", Rtype::A) => {
            answer.push((&owner, ttl, A::from_octets(192, 0, 2, 1))).unwrap()
        }
        (name, Rtype::A) if name.ends_with(".many.test") => {
            answer.push((&owner, ttl, A::from_octets(192, 0, 2, 9))).unwrap()
        }
        ("dual.test", Rtype::A) => answer.push((&owner, ttl, A::from_octets(192, 0, 2, 1))).unwrap(),
        ("dual.test", Rtype::AAAA) => {
            answer.push((&owner, ttl, Aaaa::new("2001:db8::1".parse().unwrap()))).unwrap()
        }
        ("six.test", Rtype::AAAA) => {
            answer.push((&owner, ttl, Aaaa::new("2001:db8::6".parse().unwrap()))).unwrap();
            answer.push((&owner, ttl, Aaaa::new("::ffff:127.0.0.1".parse().unwrap()))).unwrap();
        }
        ("alias.test", _) => push_alias(&mut answer, &owner, "a.test"),
        ("loop.test", _) => push_alias(&mut answer, &owner, "loop.test"),
        ("1.2.0.192.in-addr.arpa", Rtype::PTR) => {
            for target in ["liar.test", "HOST.test"] {
                answer.push((&owner, ttl, Ptr::new(Name::<Vec<u8>>::vec_from_str(target).unwrap()))).unwrap();
            }
        }
        _ => {}
    }
    answer.finish()
}

fn push_alias(answer: &mut AnswerBuilder<Vec<u8>>, owner: &Name<Vec<u8>>, target: &str) {
    let target = Name::<Vec<u8>>::vec_from_str(target).unwrap();
    answer.push((owner, Ttl::from_secs(60), Cname::new(target))).unwrap();
}

fn honest_server() -> SocketAddr {
    udp_server(|query| vec![honest(query)])
}

const UDP_ONCE: [(Transport, u8); 1] = [(Transport::Udp, 0)];
const UDP_TWICE: [(Transport, u8); 2] = [(Transport::Udp, 0); 2];

/// A name with enough letters that its random case is never the one in which it is written.
const LONG_NAME: &str = "abcdefghijklmnopqrstuvwxyz.many.test";

#[test]
fn a_name_is_resolved_and_remembered() {
    let (worker, servers) = (ready(1), [honest_server()]);
    let all = || found(&["192.0.2.1", "2001:db8::1"]);
    assert_eq!(look_up(&worker, addresses_of("dual.test"), &servers), (all(), both(&UDP_ONCE)));
    assert_eq!(look_up(&worker, addresses_of("dual.test."), &servers), (all(), Needed::new()));
    set_up(&worker, 1);
    assert_eq!(look_up(&worker, addresses_of("dual.test"), &servers).1, both(&UDP_ONCE));
    assert!(worker.finish().success());
}

#[test]
fn aliases_and_ipv6_addresses_are_followed_and_what_is_not_there_is_not_found() {
    let (worker, servers) = (ready(1), [honest_server()]);
    let look_up = |name| look_up(&worker, addresses_of(name), &servers);
    assert_eq!(look_up("six.test").0, found(&["2001:db8::6", "127.0.0.1"]));
    // The server does not add the address: it is asked for.
    assert_eq!(look_up("alias.test"), (found(&["192.0.2.1"]), both(&UDP_TWICE)));
    assert_eq!(look_up("loop.test").0, Answer::Failed);
    assert_eq!(look_up("nowhere.test").0, Answer::NotFound);
    assert_eq!(look_up("empty.test").0, Answer::NotFound);
    assert_eq!(look_up("2130706433"), (Answer::NotFound, Needed::new()));
}

#[test]
fn only_the_name_that_has_the_address_is_answered() {
    let (worker, servers) = (ready(1), [honest_server()]);
    let (answer, needed) = look_up(&worker, Query::Names([192, 0, 2, 1].into()), &servers);
    assert_eq!(answer, Answer::Names(BoundedVec::first_of([BoundedBytes::new(b"host.test").unwrap()])));
    let once_each = [(RecordType::A, UDP_TWICE.to_vec()), (RecordType::Ptr, UDP_ONCE.to_vec())];
    assert_eq!(needed, Needed::from(once_each));
    assert_eq!(look_up(&worker, Query::Names([192, 0, 2, 2].into()), &servers).0, Answer::NotFound);
}

#[test]
fn the_table_of_hosts_is_read_and_replaced() {
    let worker = ready(0);
    let name = || addresses_of("printer");
    assert_eq!(look_up(&worker, name(), &[]).0, Answer::NotFound);
    for address in ["192.0.2.7", "192.0.2.8"] {
        let mut file = tempfile();
        let padding = "# a long file\n".repeat(100_000);
        file.write_all(format!("{padding}{address} Printer.test printer\n").as_bytes()).unwrap();
        give_hosts(&worker, &file);
        assert_eq!(look_up(&worker, name(), &[]).0, found(&[address]));
        let names = ["printer.test", "printer"].map(|name| BoundedBytes::new(name.as_bytes()).unwrap());
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(
            look_up(&worker, Query::Names(address), &[]).0,
            Answer::Names(BoundedVec::first_of(names))
        );
    }
    assert!(worker.finish().success());
}

#[test]
fn a_table_of_hosts_that_is_too_long_leaves_the_old_one() {
    let worker = ready(0);
    let short = tempfile();
    (&short).write_all(b"192.0.2.7 printer\n").unwrap();
    let too_long = tempfile();
    too_long.set_len((16 << 20) + 1).unwrap();
    for file in [&short, &too_long] {
        give_hosts(&worker, file);
        assert_eq!(look_up(&worker, addresses_of("printer"), &[]).0, found(&["192.0.2.7"]));
    }
    let longest = tempfile();
    longest.set_len(16 << 20).unwrap();
    give_hosts(&worker, &longest);
    assert_eq!(look_up(&worker, addresses_of("printer"), &[]).0, Answer::NotFound);
}

#[test]
fn the_densest_table_of_hosts_stays_within_the_workers_memory() {
    let worker = ready(0);
    let mut file = tempfile();
    let line = format!("10.0.0.1{}\n", " a b c d e f g h".repeat(64));
    let text = line.repeat((16 << 20) / line.len());
    file.write_all(text.as_bytes()).unwrap();
    give_hosts(&worker, &file);
    assert_eq!(look_up(&worker, addresses_of("h"), &[]).0, found(&["10.0.0.1"]));
    assert!(worker.finish().success());
}

/// Forgeries of `reply`, garbage, and the question itself.
fn lies(query: &[u8]) -> Vec<Vec<u8>> {
    let truth = honest(query);
    let forged_id = [&[truth[0] ^ 1], &truth[1..]].concat();
    let mut other_name = truth.clone();
    other_name[13] ^= 0x03;
    let mut no_answer = truth.clone();
    no_answer[2] &= 0x7f;
    vec![
        forged_id,
        other_name,
        no_answer,
        query.to_vec(),
        vec![],
        vec![0xff; 1000],
        truth[..truth.len() / 4].to_vec(),
    ]
}

#[test]
fn a_lying_nameserver_is_not_believed_and_the_next_is_asked() {
    let (worker, servers) = (ready(2), [udp_server(lies), honest_server()]);
    // None of it is believed, so the first counts as silent: it is asked again as the name was written.
    let needed = [UDP_TWICE.as_slice(), &[(Transport::Udp, 1)]].concat();
    let expected = (found(&["192.0.2.1"]), both(&needed));
    assert_eq!(look_up(&worker, addresses_of("a.test"), &servers), expected);
}

#[test]
fn the_truth_among_lies_is_found() {
    let among = |query: &[u8]| [lies(query), vec![honest(query)]].concat();
    let (worker, servers) = (ready(1), [udp_server(among)]);
    assert_eq!(look_up(&worker, addresses_of("a.test"), &servers), (found(&["192.0.2.1"]), both(&UDP_ONCE)));
}

#[test]
fn a_dead_and_an_unreachable_nameserver_are_passed_over() {
    let dead = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (worker, servers) = (ready(2), [dead, honest_server()]);
    let expected = (found(&["192.0.2.1"]), both(&[(Transport::Udp, 0), (Transport::Udp, 1)]));
    assert_eq!(look_up(&worker, addresses_of("a.test"), &servers), expected);
    set_up(&worker, 2);
    worker.send(&ToResolver::Resolve { id: Id(1), query: addresses_of("a.test") }, None);
    for attempt in [0, 1] {
        for record in [RecordType::A, RecordType::Aaaa] {
            let need = FromResolver::NeedSocket { id: Id(1), record, transport: Transport::Udp, attempt };
            assert_eq!(worker.next(), need);
        }
        for record in [RecordType::A, RecordType::Aaaa] {
            worker.send(&ToResolver::NoSocket { id: Id(1), record }, None);
        }
    }
    assert_eq!(worker.next(), FromResolver::Answer { id: Id(1), answer: Answer::Failed });
}

#[test]
fn refusing_and_failing_nameservers_are_passed_over() {
    let with_rcode = |rcode: u8| {
        udp_server(move |query| {
            let mut packet = honest(query);
            packet[3] = rcode;
            vec![packet]
        })
    };
    let servers = [with_rcode(2), with_rcode(5), with_rcode(1), honest_server()];
    let worker = ready(4);
    let (answer, needed) = look_up(&worker, addresses_of(LONG_NAME), &servers);
    assert_eq!(answer, found(&["192.0.2.9"]));
    // Each is asked again as the name was written, and before that the third without EDNS.
    assert_eq!(needed, both(&[0, 0, 1, 1, 2, 2, 2, 3].map(|attempt| (Transport::Udp, attempt))));
}

/// A nameserver whose answers by UDP are truncated, and that runs `serve` on each connection by TCP.
fn truncating_server(serve: impl Fn(TcpStream, Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    let serve = Arc::new(serve);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut packet = honest(&buffer[..length]);
            packet[2] |= 0x02;
            let _ = socket.send_to(&packet, peer);
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream, query));
        }
    });
    address
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat()
}

const UDP_THEN_TCP: [(Transport, u8); 2] = [(Transport::Udp, 0), (Transport::Tcp, 0)];

#[test]
fn a_truncated_answer_is_fetched_by_tcp_octet_by_octet() {
    let octet_by_octet = |mut stream: TcpStream, query: Vec<u8>| {
        stream.set_nodelay(true).unwrap();
        for octet in framed(&honest(&query)) {
            stream.write_all(&[octet]).unwrap();
        }
    };
    let (worker, servers) = (ready(1), [truncating_server(octet_by_octet)]);
    let expected = (found(&["192.0.2.1"]), both(&UDP_THEN_TCP));
    assert_eq!(look_up(&worker, addresses_of("a.test"), &servers), expected);
}

#[test]
fn a_nameserver_that_truncates_everywhere_or_hangs_up_fails() {
    let truncated = |mut stream: TcpStream, query: Vec<u8>| {
        let mut packet = honest(&query);
        packet[2] |= 0x02;
        stream.write_all(&framed(&packet)).unwrap();
    };
    let hangs_up = |mut stream: TcpStream, query: Vec<u8>| {
        let answer = framed(&honest(&query));
        stream.write_all(&answer[..answer.len() - 1]).unwrap();
    };
    let floods = |mut stream: TcpStream, _: Vec<u8>| while stream.write_all(&[0xff; 1 << 16]).is_ok() {};
    for server in [truncating_server(truncated), truncating_server(hangs_up), truncating_server(floods)] {
        let worker = ready(1);
        let expected = (Answer::Failed, both(&UDP_THEN_TCP));
        assert_eq!(look_up(&worker, addresses_of("a.test"), &[server]), expected);
    }
}

/// The packet with its name in small letters.
fn folded(query: &[u8]) -> Vec<u8> {
    let (header, question) = query.split_at(12);
    [header, &question.to_ascii_lowercase()].concat()
}

#[test]
fn a_name_that_comes_back_in_another_case_is_asked_for_as_it_was_written() {
    let (worker, servers) = (ready(1), [udp_server(|query| vec![honest(&folded(query))])]);
    assert_eq!(
        look_up(&worker, addresses_of(LONG_NAME), &servers),
        (found(&["192.0.2.9"]), both(&UDP_TWICE))
    );
}

#[test]
fn a_nameserver_that_knows_a_name_only_as_it_was_written_answers_it() {
    let strict = |query: &[u8]| {
        let mut packet = honest(query);
        let known = b"\x1aabcdefghijklmnopqrstuvwxyz\x04MaNY\x04test";
        if !query.windows(known.len()).any(|octets| octets == known) {
            packet[3] |= 3;
        }
        vec![packet]
    };
    let (worker, servers) = (ready(1), [udp_server(strict)]);
    let name = "abcdefghijklmnopqrstuvwxyz.MaNY.test";
    assert_eq!(look_up(&worker, addresses_of(name), &servers), (found(&["192.0.2.9"]), both(&UDP_TWICE)));
}

#[test]
fn a_nameserver_that_dribbles_or_is_silent_stalls_nobody_else() {
    let dribbles = |mut stream: TcpStream, query: Vec<u8>| {
        stream.write_all(&framed(&honest(&query))[..5]).unwrap();
        // Holds the connection until the worker closes it.
        let _ = stream.read(&mut [0]);
    };
    let (silent, dribbling) = (udp_server(|_| vec![]), truncating_server(dribbles));
    let (worker, servers) = (ready(1), [honest_server()]);
    let patient = ToResolver::Setup {
        servers: 1,
        timeout: 255,
        attempts: 1,
        ndots: 1,
        by_tcp: false,
        search: BoundedVec::default(),
    };
    worker.send(&patient, None);
    for (id, transports, server) in
        [(1, &[Transport::Udp][..], silent), (2, &[Transport::Udp, Transport::Tcp], dribbling)]
    {
        begin_with_ipv4(&worker, Id(id), &format!("n{id}.test"));
        give_socket_of_each(&worker, Id(id), transports, server);
    }
    assert_eq!(look_up(&worker, addresses_of("a.test"), &servers).0, found(&["192.0.2.1"]));
    for id in [Id(1), Id(2)] {
        worker.send(&ToResolver::Cancel { id }, None);
        assert_eq!(worker.next(), FromResolver::Answer { id, answer: Answer::Failed });
    }
}

#[test]
fn a_cancelled_lookup_is_answered_once_and_its_connection_closed() {
    let (closed, hears_closed) = std::sync::mpsc::channel();
    let waits = move |mut stream: TcpStream, _: Vec<u8>| closed.send(stream.read(&mut [0]).unwrap()).unwrap();
    let (worker, server) = (ready(1), truncating_server(waits));
    begin_with_ipv4(&worker, Id(1), "a.test");
    give_socket_of_each(&worker, Id(1), &[Transport::Udp, Transport::Tcp], server);
    worker.send(&ToResolver::Cancel { id: Id(1) }, None);
    worker.send(&ToResolver::Cancel { id: Id(1) }, None);
    worker.send(&ToResolver::NoSocket { id: Id(1), record: RecordType::A }, None);
    give_socket(&worker, Id(1), RecordType::A, Transport::Udp, server);
    assert_eq!(worker.next(), FromResolver::Answer { id: Id(1), answer: Answer::Failed });
    assert_eq!(hears_closed.recv().unwrap(), 0);
    // The id is free again.
    assert_eq!(look_up(&worker, addresses_of("localhost"), &[]).0, found(&["127.0.0.1"]));
    assert!(worker.finish().success());
}

#[test]
fn a_late_packet_on_a_socket_that_the_monitor_still_holds_costs_nothing() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    held.connect(server.local_addr().unwrap()).unwrap();
    let worker = ready(1);
    begin_with_ipv4(&worker, Id(1), "a.test.");
    worker.send(&ToResolver::Socket { id: Id(1), record: RecordType::A }, Some(held.as_fd()));
    let mut buffer = [0; 4096];
    let (length, peer) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&honest(&buffer[..length]), peer).unwrap();
    assert_eq!(worker.next(), FromResolver::Answer { id: Id(1), answer: found(&["192.0.2.1"]) });
    server.send_to(b"late", peer).unwrap();
    thread::sleep(Duration::from_millis(300));
    // A worker that spins would have used thirty.
    assert!(worker.ticks_used() < 15, "{} ticks", worker.ticks_used());
}

#[test]
fn an_id_that_is_taken_ends_the_worker() {
    let mut worker = ready(1);
    for _ in 0..2 {
        worker.send(&ToResolver::Resolve { id: Id(1), query: addresses_of("a.test") }, None);
    }
    assert_eq!(worker.ending().code(), Some(76));
}

/// Few enough descriptors that one that is left open shows.
const FEW: u32 = 8;

#[test]
fn many_lookups_leave_no_descriptor_behind() {
    let worker = Worker::start(Role::Resolver, FEW);
    set_up(&worker, 1);
    assert!(matches!(worker.next(), FromResolver::Ready(_)));
    let servers = [honest_server()];
    for number in 0..200 {
        let (answer, needed) = look_up(&worker, addresses_of(&format!("n{number}.test.")), &servers);
        assert_eq!((answer, needed), (Answer::NotFound, both(&UDP_ONCE)));
    }
}

#[test]
fn a_worker_without_room_for_descriptors_fails_the_lookup_and_lives() {
    let worker = Worker::start(Role::Resolver, FEW);
    set_up(&worker, 1);
    assert!(matches!(worker.next(), FromResolver::Ready(_)));
    let silent = udp_server(|_| vec![]);
    for id in 0..20 {
        begin_with_ipv4(&worker, Id(id), &format!("n{id}.test."));
        give_socket(&worker, Id(id), RecordType::A, Transport::Udp, silent);
        // Five descriptors are open beside the sockets: 0 to 2, the channel and the epoll set.
        if id >= FEW - 5 {
            assert_eq!(worker.next(), FromResolver::Answer { id: Id(id), answer: Answer::Failed });
        }
    }
}

#[test]
fn a_monitor_that_does_not_read_gets_every_answer_in_the_end() {
    let worker = ready(0);
    let messages = (0..).map(|id| ToResolver::Resolve { id: Id(id), query: addresses_of("localhost") });
    let sent = worker.send_without_reading(messages.take(20_000));
    assert!(sent > 100, "{sent}");
    for id in 0..sent {
        let answer = found(&["127.0.0.1"]);
        assert_eq!(worker.next(), FromResolver::Answer { id: Id(u32::try_from(id).unwrap()), answer });
    }
    assert!(worker.finish().success());
}

#[test]
fn a_packet_that_is_no_message_ends_the_worker() {
    let mut worker = ready(1);
    worker.send_octets(&[0xff; 9]);
    assert_eq!(worker.ending().code(), Some(76));
}

fn tempfile() -> File {
    File::from(rustix::fs::memfd_create("hosts", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
}

/// Hands the file over as the monitor does: opened for reading, from its beginning.
fn give_hosts(worker: &Resolver, file: &File) {
    let readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    worker.send(&ToResolver::Hosts, Some(readable.as_fd()));
}
