//! One resolver serves all client hosts, and hostile ones hardly delay the lookups of the others.

use sockd_tests::dns::{A, AAAA, Answer, Nameserver, Question};
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::site::{NAMESERVER, SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{GRANTED, PROXY, Reply, Request, granted, send_to};
use sockd_tests::wait::{LONG, until_true};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any of these lookups takes on a busy machine, and far shorter than it would take under a successful
/// attack.
const PATIENCE: Duration = Duration::from_secs(3);

fn the_server(question: &Question) -> Answer {
    match question.kind {
        A => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::Addresses(Vec::new()),
    }
}

/// Lets the other client host ask for a name, and returns the time until it is granted.
fn time_of_the_victim(lab: &Lab, name: &str) -> Duration {
    let begin = Instant::now();
    drop(granted(&lab.site.other, &Request::connect_name(name, 7)));
    let time = begin.elapsed();
    println!("{name} is granted to the victim after {time:?}");
    time
}

/// Sends a request for a name from this address of `host`.
fn ask_from(host: &Host, from: Ipv4Addr, name: &str) -> io::Result<TcpStream> {
    host.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&SocketAddr::from(PROXY).into())?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(&Request::connect_name(name, 7).bytes())?;
        Ok(stream)
    })
}

/// Asks for the name of this number and leaves, again and again, until the numbers end. It leaves with a reset, which
/// cancels its lookup: after a mere close a client could still read the answer.
fn ask_and_leave(client: &Host, number: &AtomicUsize) {
    client.run(|| {
        loop {
            let number = number.load(Ordering::Relaxed);
            if number >= NAMES {
                return;
            }
            let Ok(mut stream) = TcpStream::connect(SocketAddr::from(PROXY)) else { continue };
            let _ = stream.write_all(&Request::connect_name(name(number), 7).bytes());
            thread::sleep(Duration::from_millis(40));
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
}

/// A successful attack of this kind needs some luck with each name.
const NAMES: usize = 6;

fn name(number: usize) -> String {
    format!("www{number}.example.net")
}

/// Ends the attack once the victim is done or has failed.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(NAMES, Ordering::Relaxed);
    }
}

#[test]
fn asking_for_a_name_and_leaving_again_and_again_keeps_nobody_from_it() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let late = |question: &Question| Answer::Late(Duration::from_millis(150), Box::new(the_server(question)));
    let _dns = Nameserver::start(&site.server, late);
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let attacked = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _ends = Ends(&attacked);
        (0..12).for_each(|_| drop(scope.spawn(|| ask_and_leave(&lab.site.client, &attacked))));
        let times: Vec<Duration> = (0..NAMES)
            .map(|number| {
                attacked.store(number, Ordering::Relaxed);
                // The attack is in full swing when the victim comes.
                thread::sleep(Duration::from_millis(200));
                time_of_the_victim(&lab, &name(number))
            })
            .collect();
        assert!(times.iter().all(|time| *time < PATIENCE), "{times:?}");
    });
}

#[test]
fn a_name_that_two_hosts_wait_for_is_asked_once_and_found_though_one_of_them_leaves() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:30\n"));
    let late = |question: &Question| Answer::Late(Duration::from_secs(1), Box::new(the_server(question)));
    let dns = Nameserver::start(&site.server, late);
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let request = Request::connect_name("www.example.net", 7);
    let first = send_to(&lab.site.client, PROXY, &request);
    until_true("the question", || !dns.asked().is_empty());
    let mut second = send_to(&lab.site.other, PROXY, &request);
    thread::sleep(Duration::from_millis(300));
    first.reset();
    assert_eq!(Reply::read(&mut second), Reply::with(90));
    assert_eq!(dns.asked().iter().filter(|question| question.kind == A).count(), 1);
}

/// The addresses of four client hosts.
const FOUR: [Ipv4Addr; 4] = [
    Ipv4Addr::new(192, 0, 2, 11),
    Ipv4Addr::new(192, 0, 2, 12),
    Ipv4Addr::new(192, 0, 2, 13),
    Ipv4Addr::new(192, 0, 2, 14),
];

/// The code of the reply to a request.
fn code(stream: &mut TcpStream) -> u8 {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut reply = [0; 8];
    stream.read_exact(&mut reply).unwrap();
    reply[1]
}

#[test]
fn a_name_that_a_hundred_sessions_of_four_hosts_wait_for_is_asked_once_though_some_leave() {
    let site = Site::new();
    FOUR.iter().for_each(|address| site.client.address("eth0", &format!("{address}/25")));
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:30\n"));
    let late = |question: &Question| Answer::Late(Duration::from_secs(3), Box::new(the_server(question)));
    let dns = Nameserver::start(&site.server, late);
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let ask = |number: usize| ask_from(&lab.site.client, FOUR[number % 4], "www.example.net").unwrap();
    // The first one has the nameserver asked.
    let first = ask(0);
    until_true("the questions", || dns.asked().len() == 2);
    let mut asking: Vec<TcpStream> = (1..100).map(ask).collect();
    for leaving in asking.drain(..3).chain([first]) {
        SockRef::from(&leaving).set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert!(asking.iter_mut().all(|stream| code(stream) == GRANTED));
    let kinds: Vec<u16> = dns.asked().iter().map(|question| question.kind).collect();
    assert!(matches!(kinds[..], [A, AAAA] | [AAAA, A]), "{kinds:?}");
}

#[test]
fn a_host_that_wants_one_name_again_and_again_has_no_more_lookups_than_any() {
    let site = Site::new();
    site.gateway
        .write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:1 attempts:5\n"));
    let answers = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&answers);
    let _dns = Nameserver::start(&site.server, move |question| match asked.load(Ordering::Relaxed) {
        true => the_server(question),
        false => Answer::Silence,
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings("(max_lookups_per_host: 16)"));
    let request = Request::connect_name("www.example.net", 7);
    let mut flood: Vec<_> = (0..20).map(|_| send_to(&lab.site.client, PROXY, &request)).collect();
    // Clients beyond the limit are refused before there is any answer, and another host waits for the same name.
    lab.wait_for_line("lookups fail: max_lookups_per_host reached by 192.0.2.10");
    let mut other = send_to(&lab.site.other, PROXY, &request);
    answers.store(true, Ordering::Relaxed);
    assert_eq!(Reply::read(&mut other), Reply::with(GRANTED));
    let codes: Vec<u8> = flood.iter_mut().map(|line| Reply::read(line).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == GRANTED).count(), 16, "{codes:?}");
}

#[test]
fn hosts_that_use_up_all_lookups_lose_one_to_whoever_has_none_and_are_named() {
    let site = Site::new();
    FOUR.iter().for_each(|address| site.client.address("eth0", &format!("{address}/25")));
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions timeout:30\n"));
    let dns = Nameserver::start(&site.server, |question| match question.name.starts_with("slow") {
        true => Answer::Silence,
        false => the_server(question),
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    let slow: Vec<TcpStream> = (0..1024)
        .map(|number| ask_from(&lab.site.client, FOUR[number % 4], &format!("slow{number}.example")).unwrap())
        .collect();
    until_true("all slow names are asked for", || {
        dns.asked().iter().filter(|question| question.kind == A).count() >= slow.len()
    });
    for number in 0..3 {
        let time = time_of_the_victim(&lab, &format!("www{number}.example.net"));
        assert!(time < PATIENCE, "{time:?}");
    }
    lab.wait_for_line("lookups fail: max_lookups reached by 192.0.2.1");
    let blamed = |line: &String| line.contains("lookups fail") && line.contains("192.0.2.138");
    assert!(!lab.logged().iter().any(blamed), "{:#?}", lab.logged());
}

#[test]
fn names_that_the_first_nameserver_fails_send_nobody_to_the_second() {
    let site = Site::new();
    site.gateway.write(
        "/etc/resolv.conf",
        format!("nameserver {NAMESERVER}\nnameserver {SERVER}\noptions timeout:1 attempts:2\n"),
    );
    let _first = Nameserver::start(&site.server, |question| match &question.name {
        name if name.starts_with("failing") => Answer::Failure,
        name if name.starts_with("silent") => Answer::Silence,
        _ => the_server(question),
    });
    // As if the second nameserver is a public one, which does not know local names.
    let second = Nameserver::start_at(&site.server, SERVER, |question| match &question.name {
        name if name.starts_with("www") => Answer::NoSuchName,
        _ => the_server(question),
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::new_at(site);
    for number in 0..4 {
        drop(granted(&lab.site.client, &Request::connect_name(format!("failing{number}.example"), 7)));
        drop(granted(&lab.site.client, &Request::connect_name(format!("silent{number}.example"), 7)));
        let time = time_of_the_victim(&lab, &format!("www{number}.example.net"));
        assert!(time < PATIENCE, "{time:?}");
    }
    assert!(!second.asked().iter().any(|question| question.name.starts_with("www")), "{:?}", second.asked());
}
