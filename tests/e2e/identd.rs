//! identd (RFC 1413): who is asked when, the worth of an answer, and the harm that a lying or silent one can do.

use nix::sys::signal::Signal;
use sockd_tests::classic::Session;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::{Far, Server};
use sockd_tests::identd::{Identd, Query, USERS, dial_as, oidentd, silence};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::site::{CLIENT, INSIDE, NAMESERVER, OTHER, OUTSIDE, SERVER, Site};
use sockd_tests::socks::{PROXY, REJECTED, Reply, Request, ask, assert_rejected, granted, send_to};
use sockd_tests::wait::{LONG, uninterrupted, until_true};
use socket2::SockRef;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

const NO_IDENTD: u8 = 92;
const BAD_USER: u8 = 93;

const STRICT: &str = "permit ?=I 0.0.0.0 0.0.0.0\n";
const LENIENT: &str = "permit ?=i 0.0.0.0 0.0.0.0\n";
const UNVERIFIED: &str = "daemon.notice cannot connect to identd on 192.0.2.10";

/// A lab with an echo server.
struct Place {
    lab: Lab,
    echo: SocketAddrV4,
    _server: Server,
}

fn place(conf: &str, settings: &str) -> Place {
    place_at(Site::new(), conf, settings, "")
}

fn place_at(site: Site, conf: &str, settings: &str, words: &str) -> Place {
    let echo = SocketAddrV4::new(SERVER, 7);
    let server = Server::echo(&site.server, echo);
    let lab = Lab::at(site, conf, |start| {
        let start = start.settings(settings);
        if words.is_empty() { start } else { start.words(words) }
    });
    Place { lab, echo, _server: server }
}

/// The same with an identd of the test's own on the client host.
fn place_with_identd(conf: &str, settings: &str) -> (Identd, Place) {
    let place = place(conf, settings);
    (Identd::start(&place.lab.site.client, CLIENT), place)
}

impl Place {
    fn request(&self) -> Request {
        Request::connect(self.echo)
    }

    fn session(&self, user: &str, real_user: &str) -> Session {
        Session { real_user: real_user.into(), ..Session::of(CLIENT, SERVER, "echo").by(user) }
    }

    /// Asks from the client host and returns the reply's code; a granted relay works.
    fn code(&self, user: &str) -> u8 {
        let (mut line, reply) = ask(&self.lab.site.client, &self.request().by(user));
        assert_eq!(reply, Reply::with(reply.code));
        self.finish(&mut line, reply.code)
    }

    fn finish(&self, line: &mut Line, code: u8) -> u8 {
        if code == 90 {
            line.send("x");
            assert_eq!(line.read(1), b"x");
        } else {
            line.ending();
        }
        code
    }

    fn assert_verified(&mut self, user: &str, real_user: &str) {
        assert_eq!(self.code(user), 90);
        let lines = self.session(user, real_user).relayed(1, 1);
        self.lab.assert_logged(&lines);
    }

    fn assert_unverified(&mut self, user: &str) {
        assert_eq!(self.code(user), NO_IDENTD);
        let refused = self.session(user, "unknown").refused();
        self.lab.assert_logged(&[UNVERIFIED.into(), refused]);
    }

    fn assert_other(&mut self, user: &str, real_user: &str) {
        assert_eq!(self.code(user), BAD_USER);
        let alert = format!("daemon.notice *Alert*: real user is {real_user}, not {user}");
        let refused = self.session(user, real_user).refused();
        self.lab.assert_logged(&[alert, refused]);
    }

    fn assert_tolerated(&mut self, user: &str) {
        assert_eq!(self.code(user), 90);
        let mut lines = vec![UNVERIFIED.to_owned()];
        lines.extend(self.session(user, "unknown").relayed(1, 1));
        self.lab.assert_logged(&lines);
    }

    /// A request over a connection that the account with this number has opened.
    fn code_as(&self, account: u32, claimed: &str) -> u8 {
        let mut line = dial_as(account, &self.lab.site.client, PROXY);
        line.send(self.request().by(claimed).bytes());
        let code = Reply::read(&mut line).code;
        self.finish(&mut line, code)
    }
}

const JOE: u32 = USERS[0].1;
const SAM: u32 = USERS[1].1;

#[test]
fn a_real_identd_vouches_for_its_users_and_for_nobody_else() {
    let mut place = place(STRICT, "()");
    // An account of the machine that the tests run on.
    place.lab.site.client.account("joe", 1000, "/home/joe");
    let _oidentd = oidentd(&place.lab.site.client, "", "");
    assert_eq!(place.code_as(JOE, "joe"), 90);
    place.lab.assert_logged(&place.session("joe", "joe").relayed(1, 1));
    assert_eq!(place.code_as(SAM, "joe"), BAD_USER);
    place.lab.assert_logged(&[
        "daemon.notice *Alert*: real user is sam, not joe".into(),
        place.session("joe", "sam").refused(),
    ]);
    assert_eq!(place.code_as(JOE, "JOE"), BAD_USER);
    place.lab.wait_for_line("refused -- Connect from JOE(joe)");
    place.lab.turn_the_page();
    // An account without a name: oidentd knows nobody.
    assert_eq!(place.code_as(64299, "joe"), NO_IDENTD);
    place.lab.assert_logged(&[UNVERIFIED.into(), place.session("joe", "unknown").refused()]);
}

#[test]
fn h9_with_isolation_user_two_users_of_one_host_never_have_one_worker() {
    let place = place(STRICT, "(isolation: user)");
    let _oidentd = oidentd(&place.lab.site.client, "", "");
    let relays = |account: u32, user: &str| {
        let mut line = dial_as(account, &place.lab.site.client, PROXY);
        line.send([place.request().by(user).bytes(), b"early".to_vec()].concat());
        assert_eq!(Reply::read(&mut line).code, 90);
        assert_eq!(line.read(5), b"early", "what stands behind the request");
        line
    };
    let lines: Vec<_> = (0..6)
        .map(|turn| if turn % 2 == 0 { ("joe", relays(JOE, "joe")) } else { ("sam", relays(SAM, "sam")) })
        .collect();
    let workers_of = |user: &str| {
        let own = lines.iter().filter(|(of, _)| *of == user);
        own.map(|(_, line)| place.lab.sockd.worker_of(line.local())).collect::<BTreeSet<_>>()
    };
    let (joes, sams) = (workers_of("joe"), workers_of("sam"));
    assert_eq!((joes.len(), sams.len()), (1, 1), "each user has one worker");
    assert!(joes.is_disjoint(&sams));
    assert_eq!(place.code_as(SAM, "joe"), BAD_USER);
    // The workers that clients began with and that were not kept are gone: one for each user and the spare ones are
    // left.
    let spare = std::thread::available_parallelism().map_or(1, Into::into).max(2);
    until_true("the others are reaped", || place.lab.sockd.workers("session").len() == 2 + spare);
    for (_, mut line) in lines {
        line.send("x");
        assert_eq!(line.read(1), b"x");
    }
}

#[test]
fn h9_with_isolation_user_who_is_not_known_has_a_worker_alone() {
    let (identd, place) = place_with_identd(LENIENT, "(isolation: user)");
    identd.says(|query| format!("{} , {} : ERROR : HIDDEN-USER\r\n", query.ports().0, query.ports().1));
    let lines: Vec<_> = (0..3).map(|_| granted(&place.lab.site.client, &place.request().by("joe"))).collect();
    let workers: BTreeSet<_> = lines.iter().map(|line| place.lab.sockd.worker_of(line.local())).collect();
    assert_eq!(workers.len(), 3);
}

/// A user who shared a worker under the old settings could still be read and impersonated by the other.
#[test]
fn h9_after_a_reload_to_isolation_user_nobody_is_believed_whose_worker_is_shared() {
    let (identd, place) = place_with_identd(STRICT, "(isolation: client)");
    let relays = |user: &str| {
        identd.names(user);
        granted(&place.lab.site.client, &place.request().by(user))
    };
    let (mut joe, mut sam) = (relays("joe"), relays("sam"));
    let shared = place.lab.sockd.worker_of(joe.local());
    assert_eq!(place.lab.sockd.worker_of(sam.local()), shared);
    // Asked about under the old settings, answered under the new ones.
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Mutex::new(answers);
    identd.behaves(move |query, mut stream| {
        let _test_is_over = answers.lock().expect("a turn").recv();
        stream.write_all(query.names("joe").as_bytes())
    });
    let asked = identd.queries().len();
    let mut between = send_to(&place.lab.site.client, PROXY, &place.request().by("joe"));
    until_true("identd is asked", || identd.queries().len() > asked);
    place.lab.sockd.write_settings("(isolation: user)");
    place.lab.sockd.signal(Signal::SIGHUP);
    place.lab.wait_for_line("reloaded: ");
    answer.send(()).expect("an identd");
    assert_eq!(Reply::read(&mut between), Reply::with(REJECTED));
    place.lab.wait_for_line("the worker is not the user's alone");
    let again = relays("joe");
    assert_ne!(place.lab.sockd.worker_of(again.local()), shared, "a new client has another worker");
    for line in [&mut joe, &mut sam] {
        line.send("x");
        assert_eq!(line.read(1), b"x", "relays go on");
    }
}

/// The worker that is to get the client ends before its predecessor is reaped.
#[test]
fn h9_a_worker_that_ends_before_it_is_handed_its_users_client_takes_only_that_client_with_it() {
    let (identd, place) = place_with_identd(STRICT, "(isolation: user)");
    identd.names("joe");
    let mut first = granted(&place.lab.site.client, &place.request().by("joe"));
    let joes = place.lab.sockd.worker_of(first.local());
    let spawner = place.lab.sockd.spawner();
    // Nothing is killed or reaped while the spawner stands still.
    spawner.signal(Signal::SIGSTOP);
    let asked = identd.queries().len();
    let mut second = send_to(&place.lab.site.client, PROXY, &place.request().by("joe"));
    until_true("identd is asked", || identd.queries().len() > asked);
    // Time for the answer; if it comes later, the client stays where it is, which is right as well.
    sleep(Duration::from_millis(300));
    joes.signal(Signal::SIGKILL);
    spawner.signal(Signal::SIGCONT);
    first.ending();
    let came = uninterrupted(|| second.stream().read(&mut [0; 8])).map_err(|error| error.kind());
    assert!(matches!(came, Ok(0 | 8) | Err(ErrorKind::ConnectionReset)), "{came:?}");
    until_true("the killed worker is reaped", || !joes.runs());
    let mut third = granted(&place.lab.site.client, &place.request().by("joe"));
    third.send("x");
    assert_eq!(third.read(1), b"x");
    let blamed = |line: &String| line.contains("violation");
    assert!(!place.lab.logged().iter().any(blamed), "an end from outside is nobody's fault");
}

#[test]
fn a_user_that_a_real_identd_hides_is_refused_strictly_and_let_through_leniently() {
    let hide = "user \"joe\" {\n default {\n force hide\n }\n}\n";
    for (conf, code) in [(STRICT, NO_IDENTD), (LENIENT, 90)] {
        let place = place(conf, "()");
        let _oidentd = oidentd(&place.lab.site.client, hide, "");
        assert_eq!(place.code_as(JOE, "joe"), code);
        assert_eq!(place.code_as(SAM, "sam"), 90);
        place.lab.wait_for_line("cannot connect to identd");
    }
}

#[test]
fn a_name_that_a_user_has_defined_for_a_real_identd_is_the_one_that_counts() {
    let allow = "default {\n default {\n allow spoof\n }\n}\n";
    for conf in [STRICT, LENIENT] {
        let mut place = place(conf, "()");
        let _oidentd = oidentd(&place.lab.site.client, allow, "global {\n reply \"whoever\"\n}\n");
        assert_eq!(place.code_as(JOE, "whoever"), 90);
        place.lab.assert_logged(&place.session("whoever", "whoever").relayed(1, 1));
        assert_eq!(place.code_as(JOE, "joe"), BAD_USER);
        place.lab.wait_for_line("*Alert*: real user is whoever, not joe");
    }
}

#[test]
fn wid_01_a_client_host_without_identd_is_refused_strictly_with_92() {
    let mut place = place(STRICT, "()");
    place.assert_unverified("joe");
}

#[test]
fn wid_02_a_client_host_without_identd_is_let_through_leniently() {
    let mut place = place(LENIENT, "()");
    place.assert_tolerated("joe");
}

#[test]
fn wid_03_and_05_another_name_is_refused_with_93_whether_strict_or_lenient() {
    for conf in [STRICT, LENIENT] {
        let (identd, mut place) = place_with_identd(conf, "()");
        for name in ["sam", "JOE", "joe ", "jo", "joee", "joe,x", "joe:x"] {
            identd.names(name);
            place.assert_other("joe", &name.replace(' ', "\\x20"));
        }
    }
}

#[test]
fn wid_04_the_query_has_the_form_of_the_standard_and_comes_from_where_the_client_went() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    identd.names("joe");
    let mut line = Line::dial(&place.lab.site.client, PROXY);
    let port = line.local().port();
    line.send(place.request().bytes());
    assert_eq!(Reply::read(&mut line), Reply::with(90));
    let expected = Query { from: INSIDE.into(), line: format!("{port} , 1080\r\n") };
    assert_eq!(identd.queries(), [expected]);
    drop(line);
    place.lab.assert_logged(&place.session("joe", "joe").relayed(0, 0));
}

#[test]
fn identd_is_asked_from_the_very_address_that_the_client_connected_to() {
    let (identd, place) = place_with_identd(STRICT, "()");
    identd.names("joe");
    place.lab.site.client.sh("ip route add 198.51.100.1 via 192.0.2.1");
    let proxy = SocketAddrV4::new(OUTSIDE, 1080);
    let mut line = send_to(&place.lab.site.client, proxy, &place.request());
    assert_eq!(Reply::read(&mut line), Reply::with(90));
    assert_eq!(identd.queries().iter().map(|query| query.from).collect::<Vec<_>>(), [IpAddr::V4(OUTSIDE)]);
}

#[test]
fn a20_answers_in_every_odd_form_that_still_name_the_user_are_accepted() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    let forms: [fn(u16, u16) -> String; 9] = [
        |client, server| format!("{client}, {server} : USERID : UNIX : joe\r\n"),
        |client, server| format!("{client},{server}:USERID:UNIX:joe\n"),
        |client, server| format!("   {client}  ,  {server}  :  USERID  :  UNIX  :  joe\r\n"),
        |client, server| format!("\t{client} ,\t{server}\t: userid :\tunix :\tjoe\r\n"),
        |client, server| format!("{client} , {server} : USERID : UNIX , US-ASCII : joe\r\n"),
        |client, server| format!("{client} , {server} : USERID : WIN32 : joe"),
        // Only the first line counts.
        |client, server| {
            format!(
                "{client}, {server} : USERID : UNIX : joe\r\n{client}, {server} : USERID : UNIX : sam\r\n"
            )
        },
        |client, server| format!("{client}, {server} : USERID : UNIX : joe\r\n{}", "x".repeat(1 << 20)),
        |client, server| format!("0{client} , {server} : USERID : UNIX : joe\r\n"),
    ];
    for form in forms {
        identd.says(move |query| {
            let (client, server) = query.ports();
            form(client, server)
        });
        place.assert_verified("joe", "joe");
    }
}

#[test]
fn a20_and_a22_answers_that_do_not_name_a_user_of_this_connection_verify_nobody() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    let forms: [fn(u16, u16) -> Vec<u8>; 25] = [
        // Other ports: swapped, of another connection, missing, three, with signs.
        |client, server| format!("{server} , {client} : USERID : UNIX : joe\r\n").into(),
        |client, server| format!("{} , {server} : USERID : UNIX : joe\r\n", client ^ 1).into(),
        |client, _| format!("{client} , 1081 : USERID : UNIX : joe\r\n").into(),
        |client, server| format!("{client} , {server} , 1 : USERID : UNIX : joe\r\n").into(),
        |client, server| format!("+{client} , {server} : USERID : UNIX : joe\r\n").into(),
        |client, server| format!("{client} {server} : USERID : UNIX : joe\r\n").into(),
        |_, _| b"0 , 0 : USERID : UNIX : joe\r\n".into(),
        |_, _| b": USERID : UNIX : joe\r\n".into(),
        // Errors, and ids that name no user.
        |client, server| format!("{client} , {server} : ERROR : HIDDEN-USER\r\n").into(),
        |client, server| format!("{client} , {server} : ERROR : NO-USER\r\n").into(),
        |client, server| format!("{client} , {server} : ERROR : UNKNOWN-ERROR : UNIX : joe\r\n").into(),
        |client, server| format!("{client} , {server} : USERID : OTHER : joe\r\n").into(),
        |client, server| format!("{client} , {server} : USERID : OTHER , US-ASCII : joe\r\n").into(),
        // Missing and empty fields (wid-09).
        |client, server| format!("{client} , {server} : USERID : UNIX :\r\n").into(),
        |client, server| format!("{client} , {server} : USERID : UNIX :  \r\n").into(),
        |client, server| format!("{client} , {server} : USERID : joe\r\n").into(),
        |client, server| format!("{client} , {server} : USERID : : joe\r\n").into(),
        // Ids that are too long or cannot be names.
        |client, server| format!("{client} , {server} : USERID : UNIX : {}\r\n", "j".repeat(65)).into(),
        |client, server| format!("{client} , {server} : USERID : UNIX : {}joe\r\n", " ".repeat(1000)).into(),
        |client, server| format!("{client} , {server} : USERID : UNIX : joe\0\r\n").into(),
        |client, server| format!("{client} , {server} : USERID : UNIX : jim\rjoe\r\n").into(),
        // Garbage, a lot of it, or nothing.
        |_, _| b"\r\n".into(),
        |_, _| vec![0xff; 1 << 20],
        |_, _| vec![b':'; 1 << 20],
        |_, _| Vec::new(),
    ];
    for form in forms {
        identd.says(move |query| {
            let (client, server) = query.ports();
            form(client, server)
        });
        place.assert_unverified("joe");
    }
}

#[test]
fn a20_nothing_that_an_identd_says_stands_in_the_log_as_it_is() {
    let (identd, mut place) = place_with_identd(LENIENT, "()");
    let fake = "root\x1b[2J (joe)@10.0.0.1";
    for (said, logged) in [
        (&b"\x1b[31mred\x07"[..], "\\x1b[31mred\\x07"),
        (b"\xff\xfe\x80", "\\xff\\xfe\\x80"),
        (b"%s%n%d", "%s%n%d"),
        (b"a\\x41", "a\\\\x41"),
        (fake.as_bytes(), "root\\x1b[2J\\x20\\x28joe\\x29@10.0.0.1"),
        (b"a\tb\x0bc\x7f", "a\\x09b\\x0bc\\x7f"),
    ] {
        identd.says(move |query| {
            let (client, server) = query.ports();
            [format!("{client},{server}:USERID:UNIX:").as_bytes(), said, b"\r\n"].concat()
        });
        place.assert_other("joe", logged);
    }
    assert!(
        place.lab.log.file().bytes().all(|byte| byte == b'\n' || byte.is_ascii_graphic() || byte == b' ')
    );
}

#[test]
fn wid_08_an_answer_in_segments_of_one_byte_is_read_whole() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    identd.behaves(|query, mut stream| {
        stream.set_nodelay(true)?;
        for byte in query.names("joe").bytes() {
            stream.write_all(&[byte])?;
            sleep(Duration::from_millis(2));
        }
        Ok(())
    });
    place.assert_verified("joe", "joe");
}

#[test]
fn a21_wid_10_a_silent_or_slow_identd_verifies_nobody_once_its_time_is_over() {
    let (identd, mut place) = place_with_identd(STRICT, "(ident_limit: 2)");
    let begun = Instant::now();
    place.assert_unverified("joe");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    identd.behaves(|query, mut stream| {
        // The limit is for the whole answer, not for each byte.
        for byte in query.names("joe").bytes() {
            stream.write_all(&[byte])?;
            sleep(Duration::from_secs(1));
        }
        Ok(())
    });
    place.assert_unverified("joe");
    assert_eq!(identd.queries().len(), 2);
}

#[test]
fn an_identd_that_does_not_accept_verifies_nobody_once_its_time_is_over() {
    let mut place = place(STRICT, "(ident_limit: 1)");
    let client = place.lab.site.client.clone();
    let listener = client.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((CLIENT, 113)).into()).unwrap();
        socket.listen(0).unwrap();
        socket
    });
    // A full queue drops new connections: that of the query stays on its way.
    let address = SocketAddr::from((CLIENT, 113));
    let _full: Vec<_> = (0..8)
        .map(|_| {
            client.run(|| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address.into());
                socket
            })
        })
        .collect();
    place.assert_unverified("joe");
    drop(listener);
}

#[test]
fn a_reset_verifies_nobody_at_once() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    identd.behaves(|_, stream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
    place.assert_unverified("joe");
    identd.behaves(|query, mut stream| {
        stream.write_all(&query.names("joe").as_bytes()[..10])?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    place.assert_unverified("joe");
}

#[test]
fn h12_a_question_whose_worker_does_not_come_in_time_is_no_silence() {
    let conf = format!("permit 0.0.0.0 0.0.0.0 eq 9\n{LENIENT}");
    let (_identd, place) = place_with_identd(&conf, "(ident_limit: 1)");
    let Place { lab, .. } = &place;
    // This gives the client host a worker of its own.
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 9)));
    let spawner = lab.sockd.spawner();
    spawner.signal(Signal::SIGSTOP);
    assert_eq!(place.code("joe"), NO_IDENTD);
    spawner.signal(Signal::SIGCONT);
    until_true("identd is asked", || place.code("joe") == 90);
}

#[test]
fn a_question_waits_for_the_place_of_a_worker_that_is_on_its_way_out() {
    let (identd, place) = place_with_identd(STRICT, "(max_workers: 1, worker_idle: 1)");
    identd.names("joe");
    let lab = &place.lab;
    let _relay = granted(&lab.site.client, &place.request().by("joe"));
    let asker = lab.sockd.workers("ident")[0];
    let spawner = lab.sockd.spawner();
    // Nothing is reaped while the spawner stands still.
    spawner.signal(Signal::SIGSTOP);
    until_true("the worker that has asked ends", || !asker.runs());
    let mut second = send_to(&lab.site.client, PROXY, &place.request().by("joe"));
    sleep(Duration::from_millis(300));
    spawner.signal(Signal::SIGCONT);
    assert_eq!(Reply::read(&mut second).code, 90);
}

#[test]
fn an_answer_that_comes_after_its_time_changes_nothing() {
    let (identd, place) = place_with_identd(LENIENT, "(ident_limit: 1)");
    let (closed, is_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    identd.behaves(move |query, mut stream| {
        // Waits until the monitor has given up.
        let _ = uninterrupted(|| stream.read(&mut [0]));
        let _ = stream.write_all(query.names("sam").as_bytes());
        let _ = closed.lock().unwrap().send(());
        Ok(())
    });
    // A BIND holds something in the monitor while the late answer comes.
    let bind = Request::connect((SERVER, 21)).as_bind();
    let mut line = send_to(&place.lab.site.client, PROXY, &bind);
    let port = Reply::read(&mut line);
    assert_eq!(port.code, 90);
    is_closed.recv_timeout(LONG).expect("identd is let go");
    let _peer = Line::dial(&place.lab.site.server, SocketAddr::V4(port.address));
    assert_eq!(Reply::read(&mut line).code, 90);
}

#[test]
fn a_silent_identd_delays_neither_other_clients_nor_other_connections_of_its_host() {
    let conf = "permit ?=n 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255 eq 9\npermit ?=i 0.0.0.0 0.0.0.0\n";
    let (_identd, place) = place_with_identd(conf, "(ident_limit: 600)");
    let _discard = Far::listen_at(&place.lab.site.server, (SERVER, 9));
    let mut waiting: Vec<_> =
        (0..100).map(|_| send_to(&place.lab.site.client, PROXY, &place.request())).collect();
    until_true("identd is being asked", || _identd.queries().len() == 100);
    drop(granted(&place.lab.site.client, &Request::connect((SERVER, 9))));
    // No identd there: the refusal of the connection is the answer.
    drop(granted(&place.lab.site.other, &place.request()));
    _identd.names("joe");
    drop(granted(&place.lab.site.client, &place.request()));
    assert!(waiting.iter_mut().all(|line| line.is_quiet()));
}

#[test]
fn questions_to_one_identd_are_limited_and_those_to_another_are_not() {
    let (identd, place) = place_with_identd(STRICT, "(ident_limit: 600, max_idents_per_host: 5)");
    let waiting: Vec<_> = (0..5).map(|_| send_to(&place.lab.site.client, PROXY, &place.request())).collect();
    until_true("identd is being asked", || identd.queries().len() == 5);
    for _ in 0..3 {
        assert_eq!(ask(&place.lab.site.client, &place.request()).1.code, 92);
    }
    let line = "daemon.err identd is not asked: max_idents_per_host reached by 192.0.2.10";
    place.lab.wait_for_line(line);
    let others = Identd::start(&place.lab.site.other, OTHER);
    others.names("joe");
    drop(granted(&place.lab.site.other, &place.request()));
    assert_eq!(place.lab.logged().iter().filter(|logged| *logged == line).count(), 1);
    // The clients go, and with them what they waited for.
    waiting.into_iter().for_each(Line::reset);
    identd.names("joe");
    until_true("identd is asked again", || ask(&place.lab.site.client, &place.request()).1.code == 90);
}

#[test]
fn a69_questions_used_up_make_nobody_somebody_else() {
    let (identd, place) = place_with_identd(LENIENT, "(ident_limit: 600, max_idents_per_host: 5)");
    let waiting: Vec<_> = (0..5).map(|_| send_to(&place.lab.site.client, PROXY, &place.request())).collect();
    until_true("identd is being asked", || identd.queries().len() == 5);
    for _ in 0..3 {
        assert_eq!(ask(&place.lab.site.client, &place.request().by("alice")).1.code, NO_IDENTD);
    }
    place.lab.wait_for_line("missing fact: identd could not be asked");
    drop(waiting);
}

#[test]
fn h12_a_worker_that_ends_while_it_asks_makes_nobody_somebody_else() {
    let (identd, place) = place_with_identd(LENIENT, "(ident_limit: 600)");
    let mut line = send_to(&place.lab.site.client, PROXY, &place.request().by("alice"));
    until_true("identd is being asked", || identd.queries().len() == 1);
    place.lab.sockd.workers("ident")[0].signal(Signal::SIGKILL);
    assert_eq!(Reply::read(&mut line), Reply::with(NO_IDENTD));
    place.lab.wait_for_line("missing fact: identd could not be asked");
}

#[test]
fn h12_where_no_worker_can_be_had_that_asks_nobody_is_somebody_else() {
    let settings = "(ident_limit: 600, isolation: shared(1), max_workers: 1)";
    let (identd, place) = place_with_identd(LENIENT, settings);
    let others = Identd::start(&place.lab.site.other, OTHER);
    let _waiting = send_to(&place.lab.site.client, PROXY, &place.request());
    until_true("identd is being asked", || identd.queries().len() == 1);
    let (_, reply) = ask(&place.lab.site.other, &place.request().by("alice"));
    assert_eq!((reply.code, others.queries().len()), (NO_IDENTD, 0));
    place.lab.wait_for_line("no further ident worker: max_workers reached");
    place.lab.wait_for_line("missing fact: identd could not be asked");
}

#[test]
fn a_client_that_leaves_while_its_identd_is_silent_leaves_nothing_behind() {
    let (identd, mut place) = place_with_identd(STRICT, "()");
    let line = send_to(&place.lab.site.client, PROXY, &place.request());
    until_true("identd is being asked", || identd.queries().len() == 1);
    line.reset();
    let session = "Connect from joe(unknown)@192.0.2.10 to 198.51.100.10 (echo)";
    place.lab.assert_logged(&[format!("daemon.notice failed -- {session}. Error: the client has gone")]);
    identd.names("joe");
    place.assert_verified("joe", "joe");
    for worker in place.lab.sockd.workers("ident") {
        until_true("the query's socket is closed", || {
            worker.descriptors().values().filter(|target| target.starts_with("socket:")).count() == 1
        });
    }
}

#[test]
fn identd_is_asked_once_for_a_connection_however_many_addresses_and_lines_there_are() {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let addresses = [10, 53].map(|last| IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)));
    let _dns = Nameserver::start(&site.server, move |_| Answer::Addresses(addresses.to_vec()));
    let conf =
        "permit ?=I *=sam 0.0.0.0 0.0.0.0\ndeny *=jim 0.0.0.0 0.0.0.0\npermit ?=I *=joe 0.0.0.0 0.0.0.0\n";
    let place = place_at(site, conf, "()", "-i");
    let identd = Identd::start(&place.lab.site.client, CLIENT);
    identd.names("joe");
    // Nothing listens at port 6: both addresses are tried.
    let (_, reply) = ask(&place.lab.site.client, &Request::connect_name("two.example.net", 6));
    assert_eq!(reply.code, REJECTED);
    place.lab.wait_for_line("connect() Connection refused");
    assert_eq!(identd.queries().len(), 1);
}

#[test]
fn ident_04_and_05_identd_is_never_asked_for_a_deny_line_or_a_line_that_does_not_want_it() {
    let conf = "deny ?=I 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255 eq 23\n\
                permit ?=n 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255 eq 7\n";
    let mut place = place_at(Site::new(), conf, "()", "-I");
    let identd = Identd::start(&place.lab.site.client, CLIENT);
    let (_, reply) = ask(&place.lab.site.client, &Request::connect((SERVER, 23)));
    assert_eq!(reply.code, REJECTED);
    place.lab.assert_logged(&[Session::of(CLIENT, SERVER, "telnet").refused()]);
    // No line at all.
    let (_, reply) = ask(&place.lab.site.client, &Request::connect((SERVER, 25)));
    assert_eq!(reply.code, REJECTED);
    place.lab.assert_logged(&[Session::of(CLIENT, SERVER, "smtp").refused()]);
    assert_eq!(place.code("joe"), 90);
    place.lab.assert_logged(&place.session("joe", "unknown").relayed(1, 1));
    assert!(identd.queries().is_empty());
}

#[test]
fn ident_01_and_02_the_options_hold_for_lines_that_say_nothing_else() {
    for (option, code) in [("-i", 90), ("-I", NO_IDENTD)] {
        let place = place_at(Site::new(), "permit 0.0.0.0 0.0.0.0\n", "()", option);
        assert_eq!(place.code("joe"), code, "{option}");
    }
}

/// The lines that the special commands leave behind, in order.
fn run_of(place: &Place, number: usize) -> Vec<String> {
    let gateway = &place.lab.site.gateway;
    until_true("the commands have run", || gateway.read("/run/hooks/ran").lines().count() >= number);
    gateway.read("/run/hooks/ran").lines().map(str::to_owned).collect()
}

#[test]
fn a24_ident_07_the_special_commands_run_and_a_refused_lines_own_does_not() {
    for (mode, code, ran) in
        [('I', NO_IDENTD, &["no joe unknown"][..]), ('i', 90, &["no joe unknown", "line joe"])]
    {
        let site = Site::new();
        site.gateway.sh("mkdir -m 777 /run/hooks");
        let conf = format!(
            "#NO_IDENTD: echo no %u %U >> /run/hooks/ran\n\
             permit ?={mode} 0.0.0.0 0.0.0.0 : echo line %u >> /run/hooks/ran\n\
             #BAD_ID: echo bad %u %U >> /run/hooks/ran\n"
        );
        let place = place_at(site, &conf, "()", "");
        assert_eq!(place.code("joe"), code);
        let mut lines = run_of(&place, ran.len());
        lines.sort_by_key(|line| line.starts_with("line"));
        assert_eq!(lines, ran);
        let identd = Identd::start(&place.lab.site.client, CLIENT);
        identd.names("sam;id");
        assert_eq!(place.code("joe"), BAD_USER);
        assert_eq!(run_of(&place, ran.len() + 1).last().unwrap(), "bad joe sam_id");
    }
}

#[test]
fn ident_06_a_special_line_that_does_not_begin_its_line_is_a_comment() {
    let site = Site::new();
    site.gateway.sh("mkdir -m 777 /run/hooks");
    let conf = "permit ?=I 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255\n #NO_IDENTD: echo no >> /run/hooks/ran\n\
                deny 0.0.0.0 0.0.0.0 : echo line >> /run/hooks/ran\n";
    let place = place_at(site, conf, "()", "");
    assert_eq!(place.code("joe"), NO_IDENTD);
    let (_, reply) = ask(&place.lab.site.client, &Request::connect((OTHER, 23)));
    assert_eq!(reply.code, REJECTED);
    assert_eq!(run_of(&place, 1), ["line"]);
}

#[test]
fn a23_the_worker_that_asks_identd_is_not_the_one_that_parsed_the_request() {
    let (identd, place) = place_with_identd(STRICT, "()");
    let asking: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
    let seen = Arc::clone(&asking);
    identd.behaves(move |_, stream| {
        *seen.lock().unwrap() = Some(stream.local_addr()?);
        silence(stream)
    });
    let line = send_to(&place.lab.site.client, PROXY, &place.request());
    until_true("identd is being asked", || asking.lock().unwrap().is_some());
    let SocketAddr::V4(identd) = asking.lock().unwrap().unwrap() else { panic!("IPv4") };
    let family = place.lab.sockd.family();
    until_true("a worker has the connection", || {
        procfs::holders(&place.lab.site.gateway, identd, &family).len() == 1
    });
    let ident_worker = procfs::holders(&place.lab.site.gateway, identd, &family)[0];
    assert_eq!(place.lab.sockd.workers("ident"), [ident_worker]);
    assert_ne!(place.lab.sockd.worker_of(line.local()), ident_worker);
}
