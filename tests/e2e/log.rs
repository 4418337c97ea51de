//! The log for programs: objects of JSON, one record a session, and the journal's own entries.

use nix::sys::signal::Signal;
use serde_json::Value;
use sockd_tests::far::{Far, Server};
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::load::relays;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::Start;
use sockd_tests::socks::{PROXY, Request, assert_rejected, granted};
use sockd_tests::syslog::Syslog;
use sockd_tests::wait::{LONG, uninterrupted, until_true};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

/// A hostile user id: it tries to begin another field, another line and another record.
const USER: &[u8] = b"a\",\"rule\":9,\"b\":\"\nSOCKD_RULE=9\x1b[2J\xff\\";
const ESCAPED: &str = r#"a","rule":9,"b":"\x0aSOCKD_RULE=9\x1b[2J\xff\\"#;

/// The object in a line of the log.
fn object(line: &str) -> Value {
    let text = line.find('{').map_or("", |begin| &line[begin..]);
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// One connection from beginning to end, `data` there and `answer` back; returns the client's port.
fn relay(site: &Site, user: &[u8]) -> u16 {
    let far = Far::listen(&site.server, SERVER);
    let mut near = granted(&site.client, &Request::connect(far.v4()).by(user));
    let mut there = far.accept();
    near.send("data");
    assert_eq!(there.read(4), b"data");
    there.send("answer");
    assert_eq!(near.read(6), b"answer");
    near.half_close();
    there.read_to_end();
    near.local().port()
}

/// Deny one server, permit the others.
const CONF: &str = "deny 0.0.0.0 0.0.0.0 198.51.100.77 255.255.255.255\npermit 0.0.0.0 0.0.0.0\n";

fn refuse(site: &Site) {
    assert_rejected(&site.client, &Request::connect((Ipv4Addr::new(198, 51, 100, 77), 80)));
}

#[test]
fn json_has_an_object_for_each_record_and_each_other_line() {
    let mut lab = Lab::with_settings(CONF, "(log_format: json)");
    let port = relay(&lab.site, USER);
    let connected = object(&lab.wait_for_line(r#""event":"connected""#));
    let terminated = object(&lab.wait_for_line(r#""event":"terminated""#));
    for record in [&connected, &terminated] {
        assert_eq!([&record["client"], &record["destination"]], ["192.0.2.10", "198.51.100.10"], "{record}");
        assert_eq!([&record["client_port"], &record["rule"]], [port, 2], "{record}");
        assert_eq!([&record["user"], &record["level"]], [ESCAPED, "notice"], "{record}");
        assert_eq!(record["session"], connected["session"]);
        assert!(record["handshake_seconds"].is_number() && record["dial_seconds"].is_number(), "{record}");
    }
    assert_eq!([&terminated["bytes_up"], &terminated["bytes_down"]], [4, 6], "{terminated}");
    assert_eq!(terminated["reason"], "finished");
    refuse(&lab.site);
    let refused = object(&lab.wait_for_line(r#""event":"refused""#));
    assert_eq!((&refused["rule"], &refused["reason"]), (&1.into(), &"denied".into()), "{refused}");
    lab.sockd.signal(Signal::SIGHUP);
    let message = object(&lab.wait_for_line("reloaded: "));
    assert_eq!(message["event"], "message");
    assert!(message["message"].as_str().is_some_and(|text| text.starts_with("reloaded: ")), "{message}");
    lab.turn_the_page();
    lab.sockd.write_settings("(log_format: classic)");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line(" reloaded: ");
    refuse(&lab.site);
    lab.wait_for_line("refused -- Connect from joe(unknown)@192.0.2.10");
}

#[test]
fn session_has_one_object_for_each_session_with_all_that_is_known_of_it() {
    let lab = Lab::with_settings(CONF, "(log_format: session)");
    relay(&lab.site, b"joe");
    let ended = object(&lab.wait_for_line(r#""event":"terminated""#));
    refuse(&lab.site);
    let refused = object(&lab.wait_for_line(r#""event":"refused""#));
    Line::dial(&lab.site.client, PROXY).send("GET / HTTP/1.0\r\n\r\n");
    let unread = object(&lab.wait_for_line(r#""event":"unread""#));
    for name in ["session", "seconds", "handshake_seconds", "dial_seconds", "client", "client_port", "user"] {
        assert!(!ended[name].is_null(), "{name}: {ended}");
    }
    for name in ["version", "command", "destination", "port", "rule", "cause", "bytes_up", "bytes_down"] {
        assert!(!ended[name].is_null(), "{name}: {ended}");
    }
    let reasons = [&ended, &refused, &unread].map(|object| object["reason"].as_str().unwrap());
    assert_eq!(reasons, ["finished", "denied", "wrong_version"]);
    assert_eq!(lab.logged().len(), 3, "one each: {:?}", lab.logged());
}

#[test]
fn standard_error_gets_nothing_but_objects_from_the_start_to_the_end() {
    let site = Site::new();
    let start = Start::new(&site.gateway, CONF).settings("(log_format: json)").words("--log stderr");
    let mut sockd = start.start();
    relay(&site, USER);
    until_true("the record of the end", || sockd.said().contains(r#""event":"terminated""#));
    sockd.signal(Signal::SIGTERM);
    sockd.wait();
    let objects: Vec<Value> =
        sockd.said().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let said = |object: &Value, text| object["message"].as_str().is_some_and(|said| said.starts_with(text));
    assert!(said(&objects[0], "serving on "), "{objects:?}");
    assert!(said(&objects[objects.len() - 1], "stopped"), "{objects:?}");
}

/// The fields of an entry, as journald reads them; a value that is framed by its length is marked so.
fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n').expect("an end");
        let line = std::str::from_utf8(&entry[..end]).expect("text");
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("framed by its length: {line}"));
        fields.push((name.to_owned(), value.to_owned()));
        entry = &entry[end + 1..];
    }
    fields
}

/// The socket that journald would have.
fn journal(host: &Host) -> UnixDatagram {
    host.run(|| {
        let _ = std::fs::remove_file(JOURNAL);
        std::fs::create_dir_all("/run/systemd/journal").expect("folder");
        let socket = UnixDatagram::bind(JOURNAL).expect("socket");
        std::fs::set_permissions(JOURNAL, std::fs::Permissions::from_mode(0o666)).expect("mode");
        socket.set_read_timeout(Some(LONG)).expect("limit");
        socket
    })
}

const JOURNAL: &str = "/run/systemd/journal/socket";

fn next(journal: &UnixDatagram) -> Vec<(String, String)> {
    let mut buffer = [0; 65_536];
    let length = uninterrupted(|| journal.recv(&mut buffer)).expect("an entry");
    fields(&buffer[..length])
}

fn value<'a>(entry: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = entry.iter().filter(|(own, _)| own == name);
    let value = values.next().map_or("", |(_, value)| value);
    assert!(values.next().is_none(), "{name} twice: {entry:?}");
    value
}

#[test]
fn the_journal_has_native_fields_in_every_format_and_no_client_can_add_one() {
    for (format, text) in [
        (
            "classic",
            r#"connected -- Connect from a","rule":9,"b":"\x0aSOCKD_RULE=9\x1b[2J\xff\\(unknown)@192.0.2.10 to "#,
        ),
        ("full", "connected session="),
        ("json", "connected session="),
        ("session", "terminated session="),
    ] {
        let site = Site::new();
        let journal = journal(&site.gateway);
        let settings = format!("(log_format: {format})");
        let _sockd = Start::new(&site.gateway, CONF).settings(&settings).words("--log journal").start();
        let serving = next(&journal);
        assert!(value(&serving, "MESSAGE").starts_with("serving on "), "{serving:?}");
        assert_eq!(value(&serving, "SYSLOG_IDENTIFIER"), "sockd");
        let port = relay(&site, USER);
        let entry = next(&journal);
        assert!(value(&entry, "MESSAGE").starts_with(text), "{entry:?}");
        for (name, expected) in [
            ("PRIORITY", "5"),
            ("SOCKD_CLIENT", "192.0.2.10"),
            ("SOCKD_CLIENT_PORT", &port.to_string()),
            ("SOCKD_USER", ESCAPED),
            ("SOCKD_RULE", "2"),
            ("SOCKD_COMMAND", "connect"),
        ] {
            assert_eq!(value(&entry, name), expected, "{entry:?}");
        }
        assert_eq!(value(&entry, "SOCKD_EVENT"), text.split(' ').next().unwrap());
        assert!(value(&entry, "SOCKD_SESSION").parse::<u64>().is_ok(), "{entry:?}");
    }
}

#[test]
fn a_journal_that_is_gone_holds_nobody_up_and_gets_its_lines_when_it_is_back() {
    let site = Site::new();
    let gone = journal(&site.gateway);
    let _sockd = Start::new(&site.gateway, CONF).words("--log journal").start();
    assert!(value(&next(&gone), "MESSAGE").starts_with("serving on "));
    drop(gone);
    for _ in 0..3 {
        relay(&site, b"joe");
    }
    let back = journal(&site.gateway);
    for place in 0..3 {
        let entry = next(&back);
        assert_eq!(value(&entry, "SOCKD_EVENT"), "connected", "{place}: {entry:?}");
        let session = value(&entry, "SOCKD_SESSION").to_owned();
        let (ended, bytes) = (next(&back), next(&back));
        assert_eq!(value(&ended, "SOCKD_EVENT"), "terminated", "{place}: {ended:?}");
        assert_eq!([value(&ended, "SOCKD_SESSION"), value(&bytes, "SOCKD_SESSION")], [&session; 2]);
        assert_eq!(value(&bytes, "SOCKD_EVENT"), "", "nothing is counted twice");
    }
}

/// More lines than the socket of a log and the daemon's queue hold: 4,096.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up_and_what_is_lost_is_counted_and_nothing_is_there_twice() {
    const RELAYS: u32 = 2_000;
    let site = Site::new();
    let journal = journal(&site.gateway);
    let to = SocketAddrV4::new(SERVER, 7);
    let _echo = Server::echo(&site.server, to);
    let _sockd = Start::new(&site.gateway, CONF).words("--log journal").start();
    assert!(value(&next(&journal), "MESSAGE").starts_with("serving on "));
    relays(&site.client, to, RELAYS, 16);
    let (mut read, mut lost, mut seen) = (0, 0, HashSet::new());
    while read + lost < RELAYS * 3 {
        let entry = next(&journal);
        let message = value(&entry, "MESSAGE");
        match message.strip_suffix(" log lines were lost: the log did not take them in time") {
            Some(number) => lost += number.parse::<u32>().expect("a number"),
            None => {
                read += 1;
                let event =
                    (value(&entry, "SOCKD_SESSION").to_owned(), value(&entry, "SOCKD_EVENT").to_owned());
                assert!(seen.insert(event), "twice: {entry:?}");
            }
        }
    }
    assert!(lost > 0 && read > 4_096, "{lost} lost, {read} read");
    relays(&site.client, to, 1, 1);
    assert_eq!(value(&next(&journal), "SOCKD_EVENT"), "connected", "lines come again");
}

/// A syslogd that is started again has another socket, and the old one leads nowhere.
#[test]
fn a_syslogd_that_is_started_again_gets_each_line_once_and_in_order() {
    let mut lab = Lab::with_settings(CONF, "(log_format: session)");
    let to = SocketAddrV4::new(SERVER, 7);
    let _echo = Server::echo(&lab.site.server, to);
    relays(&lab.site.client, to, 100, 1);
    let ended = |lab: &Lab| lab.logged().iter().filter(|line| line.contains("terminated")).count();
    until_true("the first lines", || ended(&lab) == 100);
    lab.log.program().signal(Signal::SIGTERM);
    lab.log.program().wait();
    relays(&lab.site.client, to, 100, 1);
    let log = Syslog::start(&lab.site.gateway);
    relays(&lab.site.client, to, 100, 1);
    let records = || -> Vec<Value> {
        log.lines().iter().filter(|line| line.contains("terminated")).map(|line| object(line)).collect()
    };
    until_true("all lines", || records().len() >= 300);
    let records = records();
    let sessions: HashSet<Option<u64>> = records.iter().map(|record| record["session"].as_u64()).collect();
    assert_eq!((records.len(), sessions.len()), (300, 300));
    // Sessions end in any order, and their lines have that order.
    let times: Vec<&str> = records.iter().filter_map(|record| record["time"].as_str()).collect();
    assert!(times.len() == 300 && times.is_sorted(), "{times:?}");
}
