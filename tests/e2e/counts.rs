//! The kernel's count of a relay's bytes is exact after an orderly end, by each way to a server.

use sockd_tests::far::Far;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::payload;
use sockd_tests::site::{CLIENT, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, ask, granted, send_to};
use sockd_tests::socks5;
use sockd_tests::upstream::reply;
use socket2::{SockFilter, SockRef};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

/// Bytes up, bytes down, and whether the client ends its stream first.
const TRANSFERS: [(u64, u64, bool); 10] = [
    (0, 0, true),
    (0, 0, false),
    (1, 0, true),
    (0, 1, false),
    (1, 1, true),
    (17, 1 << 20, false),
    (1 << 20, 17, true),
    (1 << 20, 0, false),
    (0, 3_000_001, true),
    (3_000_001, 3_000_001, false),
];

/// A destination that only the next server can reach.
const BEHIND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(100, 64, 9, 9), 80);

/// The same, by SOCKS5.
const BEHIND5: Ipv4Addr = Ipv4Addr::new(100, 64, 5, 5);

/// The way from a client to its server: both ends, and the address of the server in the log.
type Way<'a> = (&'static str, Ipv4Addr, &'a dyn Fn() -> (Line, Line));

/// One end writes and ends its stream, while the other reads to the end.
fn transfer(from: &mut Line, length: u64, to: &mut Line) {
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            payload::write(from.stream(), length).expect("writing");
            from.half_close();
        });
        assert_eq!(payload::check(to.stream()).expect("reading"), Ok(length));
        writer.join().expect("the writer");
    });
}

/// Insists that a transfer by each way is in the log to the byte.
fn assert_counted(lab: &mut Lab, ways: &[Way<'_>], transfers: &[(u64, u64, bool)]) {
    for (way, destination, connect) in ways {
        for (up, down, client_first) in transfers {
            lab.turn_the_page();
            let (mut near, mut there) = connect();
            if *client_first {
                transfer(&mut near, *up, &mut there);
            }
            transfer(&mut there, *down, &mut near);
            if !client_first {
                transfer(&mut near, *up, &mut there);
            }
            let logged = lab.wait_for_line(" bytes from ");
            let expected = format!("daemon.notice {up} bytes from {CLIENT}, {down} bytes from {destination}");
            assert_eq!(logged, expected, "{way}, {client_first}");
        }
    }
}

#[test]
fn after_an_orderly_end_the_counts_are_those_of_what_was_relayed_by_each_way() {
    let site = Site::new();
    let next = Far::listen_at(&site.server, (SERVER, 1080));
    let lines =
        "sockd @=198.51.100.10 100.64.9.0/24\nsockd5 @=198.51.100.10 100.64.0.0/10\ndirect ALL 0.0.0.0\n";
    let rules = "permit <=4G/300K ALL 0.0.0.0 ALL 0.0.0.0 eq 300\npermit ALL 0.0.0.0\n";
    let mut lab = Lab::at(site, rules, |start| start.upstream(lines));
    let (client, server) = (lab.site.client.clone(), lab.site.server.clone());
    let far = Far::listen(&server, SERVER);
    let to = far.v4();
    let socks4 = || (granted(&client, &Request::connect(to)), far.accept());
    let socks4a = || (granted(&client, &Request::connect_name("198.51.100.10", to.port())), far.accept());
    let socks5 = || (socks5::granted(&client, socks5::to(1, to)), far.accept());
    let bind = || {
        let (mut near, first) = ask(&client, &Request::connect((SERVER, 21)).as_bind());
        let there = Line::dial(&server, first.address);
        assert_eq!(Reply::read(&mut near).code, GRANTED);
        (near, there)
    };
    let through_next = || {
        let mut near = send_to(&client, PROXY, &Request::connect(BEHIND));
        let mut there = next.accept();
        there.read(Request::connect(BEHIND).bytes().len());
        there.send(reply(GRANTED, BEHIND));
        assert_eq!(Reply::read(&mut near).code, GRANTED);
        (near, there)
    };
    let through_next5 = || {
        let behind = SocketAddrV4::new(BEHIND5, 80);
        let mut near = send_to(&client, PROXY, &Request::connect(behind));
        let mut there = next.accept();
        there.read(3);
        there.send(socks5::CHOSEN);
        there.read(socks5::to(1, behind).len());
        there.send(socks5::GRANTED);
        assert_eq!(Reply::read(&mut near).code, GRANTED);
        (near, there)
    };
    let ways: [Way<'_>; 6] = [
        ("SOCKS4", SERVER, &socks4),
        ("SOCKS4A", SERVER, &socks4a),
        ("SOCKS5", SERVER, &socks5),
        ("BIND", SERVER, &bind),
        ("next server", *BEHIND.ip(), &through_next),
        ("next server with SOCKS5", BEHIND5, &through_next5),
    ];
    assert_counted(&mut lab, &ways, &TRANSFERS);
    assert_counted(&mut lab, &ways[..1], &[(100 << 20, 100 << 20, true)]);
    // Bytes that its rate still keeps from the server are relayed all the same.
    let slow = Far::listen_at(&server, (SERVER, 300));
    let slowly = || (granted(&client, &Request::connect(slow.v4())), slow.accept());
    assert_counted(&mut lab, &[("slow", SERVER, &slowly)], &[(600_000, 5, true), (600_000, 5, false)]);
}

/// The byte counts in the log line of a relay.
fn counted(lab: &Lab) -> (u64, u64) {
    let line = lab.wait_for_line(" bytes from ");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn after_a_reset_the_counts_are_bounds() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    for client_resets in [true, false] {
        lab.turn_the_page();
        let (mut near, mut there) = (granted(&lab.site.client, &Request::connect(far.v4())), far.accept());
        near.send([1; 1000]);
        there.read(1000);
        there.send([2; 50]);
        near.read(50);
        // Bytes that are on their way, and unread at the other end, when that resets.
        let (kept, resets) = if client_resets { (&mut there, near) } else { (&mut near, there) };
        kept.send([3; 5000]);
        resets.reset();
        let (up, down) = counted(&lab);
        let more = |is: bool| if is { 5000 } else { 0 };
        assert!((1000..=1000 + more(!client_resets)).contains(&up), "{up} up");
        assert!((50..=50 + more(client_resets)).contains(&down), "{down} down");
    }
}

/// The worker says that a relay has ended in good order before it has relayed a byte.
#[test]
fn what_a_worker_in_the_hands_of_an_attacker_says_of_an_end_is_in_no_count() {
    let hostile = env!("CARGO_BIN_EXE_hostile-worker");
    let lab = Lab::started(PERMIT_ALL, |start| start.worker(hostile));
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near =
        send_to(&lab.site.client, PROXY, &Request::connect(far.v4()).by("says-closed-and-goes-on"));
    assert_eq!(Reply::read(&mut near).code, GRANTED);
    assert_eq!(far.accept().read_to_end().0, b"");
    assert_eq!(counted(&lab), (0, 0));
}

/// Drops one of 32 segments that come (bpf(2): SKF_AD_RANDOM).
fn lose_some(end: &mut Line) {
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    let step = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    let filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, RANDOM),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, u32::MAX / 32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    SockRef::from(&*end.stream()).attach_filter(&filter).expect("a filter");
}

#[test]
fn what_is_lost_and_sent_again_counts_once() {
    let mut lab = Lab::new(PERMIT_ALL);
    let (client, server) = (lab.site.client.clone(), lab.site.server.clone());
    let far = Far::listen(&server, SERVER);
    let connect = || {
        let mut ends = [granted(&client, &Request::connect(far.v4())), far.accept()];
        ends.iter_mut().for_each(lose_some);
        let [near, there] = ends;
        (near, there)
    };
    assert_counted(&mut lab, &[("loss", SERVER, &connect)], &[(3_000_001, 3_000_001, true)]);
}
