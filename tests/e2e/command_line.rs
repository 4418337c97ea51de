//! The command line, and refusals at the start.

use nix::sys::signal::Signal;
use serde_json::Value;
use sockd_tests::far::{Far, Server};
use sockd_tests::host::{Host, USERS};
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start, installed, program};
use sockd_tests::socks::{GRANTED, Reply, Request, granted, send_to};
use sockd_tests::syslog::Syslog;
use sockd_tests::wait::until_true;
use sockd_tests::{procfs, web};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts with these rules on a host of its own, and insists on status 78 and a word on standard error.
fn assert_refused(host: &Host, conf: &str, words: &str, expected: &str) {
    let output = Start::new(host, conf).words(words).output();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains(expected), "{expected:?} is not in {}", stderr(&output));
}

#[test]
fn cli_01_and_02_ver_states_the_classic_facts_and_the_full_sandbox() {
    let host = Host::new();
    let output = Start::bare(&host).words("-ver").output();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (summary, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains("sandbox: "));
    assert_eq!(summary.len(), 1, "{text}");
    assert!(summary[0].trim() == "sandbox: full", "{text}");
    assert!(rest.iter().all(|line| line.starts_with('\t') && !line.starts_with("\t\t")), "{text}");
    for fact in ["4.4.0", "4A", "SOCKSified", "tandalone", "RBIND", "UDP ASSOCIATE", "route file"] {
        assert!(text.contains(fact), "{fact:?} is not in {text}");
    }
    assert!(text.contains("two client hosts") && text.contains("copied through a worker's memory"), "{text}");
    for layer in ["uid", "apabilit", "no_new_privs", "seccomp", "Landlock", "namespace"] {
        assert!(text.contains(layer), "{layer:?} is not in {text}");
    }
}

#[test]
fn ver_reports_every_kind_of_process_and_the_same_for_machines() {
    let host = Host::new();
    let text = stdout(&Start::bare(&host).words("-ver").output());
    let output = Start::bare(&host).words("-ver --json").output();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["sandbox"], "full");
    assert_eq!(report["missing"], Value::Array(Vec::new()));
    let of = |name: &str, layer: &str| {
        let named = |list: &Value, name: &str| -> Value {
            let found = list.as_array().expect("a list").iter().find(|entry| entry["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
        };
        let layer = named(&named(&report["processes"], name)["layers"], layer);
        let found = layer["found"].as_str().expect("text").to_owned();
        assert!(text.contains(&format!("\t{name}:\n")), "{name}: {text}");
        assert!(text.contains(&format!("{}: {found}.", layer["name"].as_str().unwrap())), "{layer}: {text}");
        assert_eq!(layer["holds"], true, "{name}: {layer}");
        found
    };
    let [worker, commands, monitor] = USERS.map(|(_, id)| format!("uid {id}, gid {id}"));
    let workers = [
        "Session worker",
        "Datagram worker",
        "Ident worker",
        "Resolver worker",
        "Upstream worker",
        "Auth worker",
    ];
    for (name, user, capabilities) in [
        ("Monitor", &*monitor, "CAP_NET_BIND_SERVICE"),
        ("Loader", "uid 0, gid 0", "none"),
        ("Spawner", &*worker, "none"),
        ("Hook process", &*commands, "none"),
    ]
    .into_iter()
    .chain(workers.map(|name| (name, &*worker, "none")))
    {
        assert_eq!(of(name, "User"), user, "{name}");
        assert_eq!(of(name, "Groups"), "none", "{name}");
        assert_eq!(of(name, "Capabilities"), capabilities, "{name}");
        assert!(of(name, "System call filter").starts_with("seccomp mode 2, "), "{name}");
    }
    for name in workers {
        assert_eq!(of(name, "Own namespaces"), "own user pid net mnt ipc uts", "{name}");
        assert!(of(name, "Landlock").ends_with(", fully enforced"), "{name}");
    }
    assert_eq!(report["attempts"].as_array().expect("a list").len(), 5);
    let json_alone = Start::bare(&host).words("--json").output();
    assert_eq!(json_alone.status.code(), Some(2), "{json_alone:?}");
}

#[test]
fn ver_says_where_the_monitor_has_no_user_of_its_own() {
    let host = Host::new();
    host.sh("sed -i /^sockd-monitor/d /etc/passwd");
    let output = Start::bare(&host).words("-ver").output();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let note = "\tNote: there is no user sockd-monitor; the monitor serves as root.\n";
    assert!(stdout(&output).contains(note), "{output:?}");
    assert!(stdout(&output).contains("\tMonitor:\n\t  User: uid 0, gid 0.\n"), "{output:?}");
}

#[test]
fn ver_says_what_the_settings_give_up_and_keep() {
    let host = Host::new();
    let settings = "(isolation: shared(2), relay: splice)";
    let text = stdout(&Start::new(&host, "").words("-ver").settings(settings).output());
    assert!(text.contains("Isolation: none, 2 workers"), "{text}");
    assert!(text.contains("no relayed byte"), "{text}");
}

#[test]
fn what_ver_tries_out_is_a_program_of_its_own_and_not_in_the_daemon() {
    let holds = |name: &str| {
        let bytes = std::fs::read(program(name)).unwrap();
        bytes.windows(21).any(|text| text == b"Tried to start a prog".as_slice())
    };
    assert!(holds("sockd-ver") && !holds("sockd"));
    let host = Host::new();
    let sockd = installed(&host);
    host.sh("rm /run/lib/sockd-ver");
    let output = host.output(Command::new(sockd).arg("-ver"));
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let expected = "/run/lib/sockd-ver: expected the program of -ver there";
    assert!(stderr(&output).contains(expected), "{output:?}");
}

#[test]
fn the_classic_options_exclude_each_other() {
    let host = Host::new();
    for words in ["-i -I", "-ver -i", "-ver -I"] {
        let output = Start::new(&host, PERMIT_ALL).words(words).words("--check").output();
        assert!(!output.status.success(), "{words}: {output:?}");
        assert!(stderr(&output).contains("cannot be used with"), "{words}: {output:?}");
    }
}

#[test]
fn check_says_what_would_run_and_exits_with_0() {
    let host = Host::new();
    let output = Start::new(&host, PERMIT_ALL).route("192.0.2.1 0.0.0.0 0.0.0.0\n").words("--check").output();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("/etc/sockd.conf: 1 rule, 1 route"), "{output:?}");
    let said = |words: &str, settings: &str| {
        let start = Start::new(&host, PERMIT_ALL).settings(settings).words("--check").words(words);
        stdout(&start.output())
            .lines()
            .filter(|line| !line.starts_with("warning: "))
            .skip(1)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(
        said("--listen 192.0.2.1:1080", "()"),
        "listens on 192.0.2.1:1080; asks identd only where a rule says so; a worker process serves one client host"
    );
    assert_eq!(
        said("-I", "(isolation: shared(4))"),
        "listens on port 1080 of every address; asks identd; a client host without identd is refused (-I); \
         4 worker processes serve all client hosts"
    );
}

#[test]
fn check_warns_of_a_route_from_elsewhere_too_few_descriptors_and_too_few_ids() {
    let host = Host::new();
    host.sh("ip link set lo up");
    let warnings_of = |rules: &str, limit: &str, settings: &str| {
        Start::new(&host, rules)
            .route("127.0.0.1 10.0.0.0/8\n192.0.2.9 0.0.0.0 0.0.0.0\n")
            .settings(settings);
        let sockd = program("sockd");
        let output =
            host.output(Command::new("sh").args(["-c", &format!("{limit} {} --check", sockd.display())]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = stdout(&output);
        text.lines().filter_map(|line| line.strip_prefix("warning: ")).map(String::from).collect::<Vec<_>>()
    };
    let warnings =
        |limit: &str, settings: &str| warnings_of("permit 192.0.2.0/24 198.51.100.0/24\n", limit, settings);
    let route = "/etc/sockd.route: line 2: this host does not have 192.0.2.9; connections from there fail";
    let enough = "(max_sessions: 1000, worker_ids: (300000, 1025))";
    assert_eq!(warnings("ulimit -n 3280;", enough), [route]);
    assert_eq!(
        warnings("ulimit -n 3279;", "(max_sessions: 1000, worker_ids: (300000, 1024))"),
        [
            route,
            "/etc/sockd.ron: max_sessions: 1000 connections take 3280 descriptors; what is started here may have \
             3279 (ulimit -Hn)",
            "/etc/sockd.ron: worker_ids: 1024 ids for the auth worker and up to 1024 others; those beyond share the id 300001",
        ]
    );
    let (udp, flows) =
        ("permit +=udp 192.0.2.0/24 198.51.100.0/24\n", "(max_sessions: 1000, max_flows_in_all: 20)");
    assert_eq!(warnings_of(udp, "ulimit -n 3300;", flows), [route]);
    assert_eq!(warnings_of(udp, "ulimit -n 3299;", flows).len(), 2);
}

#[test]
fn check_exits_with_78_and_names_every_broken_line() {
    let host = Host::new();
    let conf = "permit 0.0.0.0 0.0.0.0\nallow 0.0.0.0 0.0.0.0\npermit 0.0.0.0 0.0.0.0 eq nosuchservice\n";
    assert_refused(&host, conf, "--check", "/etc/sockd.conf: line 2: ");
    assert_refused(&host, conf, "--check", "/etc/sockd.conf: line 3: ");
    host.write("/etc/sockd.route", "192.0.2.1 0.0.0.0\n");
    assert_refused(&host, PERMIT_ALL, "--check", "/etc/sockd.route: line 1: ");
    host.sh("rm /etc/sockd.route");
    host.write("/etc/sockd.ron", "(\n  max_wrokers: 3,\n)\n");
    assert_refused(&host, PERMIT_ALL, "--check", "/etc/sockd.ron: line 2");
}

#[test]
fn a_failed_start_is_told_on_standard_error_and_in_the_log_but_a_check_not_in_the_log_and_no_journal_twice() {
    let host = Host::new();
    let log = Syslog::start(&host);
    Start::new(&host, "allow 10.0.0.0/8\n");
    let sockd = || Command::new(program("sockd"));
    let line = "/etc/sockd.conf: line 1: expected permit or deny, found \"allow\"";
    let check = host.output(sockd().arg("--check"));
    assert_eq!(stderr(&check), format!("sockd: {line}\n"), "{check:?}");
    let terminal = host.output(&mut sockd());
    assert!(stderr(&terminal).starts_with(&format!("sockd: {line}\nsockd: not started; ")), "{terminal:?}");
    // Somebody else's journal, inherited with the variable: standard error leads elsewhere.
    let inherited = host.output(sockd().env("JOURNAL_STREAM", "8:4711"));
    assert!(stderr(&inherited).starts_with(&format!("sockd: {line}\n")), "{inherited:?}");
    // A service of systemd has the journal as standard error, and /dev/log leads there as well: lines go once, and for
    // the unit.
    let (mut read, write) = std::io::pipe().unwrap();
    let facts = std::fs::metadata(format!("/proc/self/fd/{}", write.as_raw_fd())).unwrap();
    let stream = format!("{}:{}", facts.dev(), facts.ino());
    let status = {
        let mut service = sockd();
        service.env("JOURNAL_STREAM", stream).stderr(write);
        host.start(&mut service).wait_within(Duration::from_secs(60))
    };
    let mut told_journal = String::new();
    read.read_to_string(&mut told_journal).unwrap();
    assert_eq!(status.code(), Some(78));
    assert!(told_journal.starts_with(&format!("<3>{line}\n<3>not started; ")), "{told_journal}");
    let told = || log.lines().iter().filter(|logged| logged.ends_with(line)).count();
    until_true("both starts are in the log", || told() == 2);
    let errors = log.lines().iter().filter(|line| line.starts_with("daemon.err ")).count();
    assert_eq!(errors, 4, "{:#?}", log.lines());
}

#[test]
fn check_and_start_agree_about_a_file_without_a_rule() {
    let host = Host::new();
    for conf in ["", "# nothing yet\n"] {
        for words in ["--check", "--log stderr"] {
            assert_refused(&host, conf, words, "/etc/sockd.conf has no rule yet");
        }
    }
}

#[test]
fn a_file_with_any_error_is_no_start() {
    let host = Host::new();
    assert_refused(&host, "deny 0.0.0.0 0.0.0.0\npermit 0.0.0.0\n", "--log stderr", "line 2");
}

#[test]
fn wire_04_without_a_configuration_file_there_is_no_start() {
    let host = Host::new();
    host.sh("rm -f /etc/sockd.conf");
    let output = Start::bare(&host).words("--log stderr").output();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains("Unable to open config file (/etc/sockd.conf)"), "{output:?}");
}

#[test]
fn named_files_are_read_and_must_be_there() {
    let host = Host::new();
    host.write("/etc/other.conf", "permit 0.0.0.0 0.0.0.0\npermit 0.0.0.0 0.0.0.0\n");
    let output = Start::new(&host, PERMIT_ALL).words("--check --conf /etc/other.conf").output();
    assert!(stdout(&output).contains("/etc/other.conf: 2 rules"), "{output:?}");
    for option in ["--conf", "--route", "--settings"] {
        assert_refused(&host, PERMIT_ALL, &format!("--check {option} /etc/missing"), "/etc/missing");
    }
}

#[test]
fn files_that_others_could_have_written_are_refused() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    host.sh("chmod 664 /etc/sockd.conf");
    let check = || Start::bare(&host).words("--check").output();
    assert_eq!(check().status.code(), Some(78));
    host.sh("chmod 644 /etc/sockd.conf");
    host.sh("chown nobody /etc/sockd.conf");
    assert_eq!(check().status.code(), Some(78));
    host.sh("mv /etc/sockd.conf /etc/real.conf");
    host.sh("chown root /etc/real.conf");
    host.sh("ln -s real.conf /etc/sockd.conf");
    assert_eq!(check().status.code(), Some(0), "root has made link and file");
    host.sh("chown -h nobody /etc/sockd.conf");
    assert_eq!(check().status.code(), Some(78));
    host.sh("chown -h root /etc/sockd.conf");
    host.sh("chmod 664 /etc/real.conf");
    assert_eq!(check().status.code(), Some(78));
}

#[test]
fn listen_may_be_given_several_times_for_both_kinds_of_address() {
    let lab = Lab::started(PERMIT_ALL, |start| {
        start
            .words("--listen 192.0.2.1:1080 --listen 192.0.2.1:9050 --listen [2001:db8:1::1]:1080")
            .port(9050)
    });
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    for proxy in ["192.0.2.1:1080", "192.0.2.1:9050", "[2001:db8:1::1]:1080"] {
        let proxy: SocketAddr = proxy.parse().unwrap();
        let mut line = send_to(&lab.site.client, proxy, &Request::connect((SERVER, 7)));
        assert_eq!(Reply::read(&mut line), Reply::with(GRANTED), "{proxy}");
    }
    // Not on the addresses that were not named.
    let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1080));
    assert!(lab.site.gateway.run(|| std::net::TcpStream::connect(elsewhere)).is_err());
}

#[test]
fn an_ipv6_client_is_served_where_a_line_permits_it() {
    let mut lab = Lab::new("permit 2001:db8:1::/64\n");
    let far = Far::listen(&lab.site.server, SERVER);
    let proxy: SocketAddr = "[2001:db8:1::1]:1080".parse().unwrap();
    let mut line = send_to(&lab.site.client, proxy, &Request::connect(far.v4()));
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
    lab.turn_the_page();
    drop(line);
    drop(far.accept());
    lab.wait_for_line("terminated -- Connect from joe(unknown)@2001:db8:1::10 to 198.51.100.10 (");
}

#[test]
fn an_address_that_is_not_there_yet_does_not_stop_the_start() {
    let lab =
        Lab::started(PERMIT_ALL, |start| start.words("--listen 192.0.2.1:1080 --listen 192.0.2.99:1080"));
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    lab.site.gateway.address("inside", "192.0.2.99/25");
    let proxy = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 99), 1080));
    let mut line = send_to(&lab.site.client, proxy, &Request::connect((SERVER, 7)));
    assert_eq!(Reply::read(&mut line), Reply::with(GRANTED));
}

#[test]
fn the_default_port_is_that_of_socks_in_etc_services() {
    let site = Site::new();
    site.gateway.write("/etc/services", "echo 7/tcp\nsocks 1999/tcp\n");
    let sockd = Start::new(&site.gateway, PERMIT_ALL).port(1999).start();
    assert!(!procfs::listens(&site.gateway, 1080));
    drop(sockd);
    site.gateway.write("/etc/services", "echo 7/tcp\n");
    let _sockd = Start::new(&site.gateway, PERMIT_ALL).port(1080).start();
}

#[test]
fn a_second_daemon_on_the_same_address_does_not_start() {
    let lab = Lab::new(PERMIT_ALL);
    let output = Start::new(&lab.site.gateway, PERMIT_ALL).words("--log stderr").output();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("Address already in use"), "{output:?}");
}

#[test]
fn with_daemon_the_command_returns_once_the_daemon_serves() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let words = "--daemon --pid-file /run/sockd.pid";
    let output = Start::new(&site.gateway, PERMIT_ALL).words(words).output();
    assert!(output.status.success(), "{output:?}");
    drop(granted(&site.client, &Request::connect((SERVER, 7))));
    let pid = site.gateway.read("/run/sockd.pid");
    let daemon = procfs::Process(pid.trim().parse().expect("a pid file"));
    let line = daemon.command_line();
    let family = [daemon.descendants(), vec![daemon]].concat();
    let held: Vec<_> =
        family.iter().map(|process| (0..3).map(|n| process.descriptors().remove(&n)).collect()).collect();
    site.gateway.sh(&format!("kill {}", pid.trim()));
    until_true("the daemon has ended", || !family.iter().any(|process| process.runs()));
    assert!(line.contains("sockd --daemon"), "{line}");
    let nothing = |open: &Vec<Option<String>>| open.iter().flatten().all(|target| target == "/dev/null");
    assert!(held.iter().all(nothing), "the starter's output is still open: {held:?}");
}

/// The starter's standard output is closed all the same: whoever reads it does not wait for the daemon.
#[test]
fn with_daemon_a_log_on_standard_error_goes_on_there() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    site.gateway.write("/etc/sockd.conf", PERMIT_ALL);
    let line = "exec \"$0\" --daemon --log stderr --pid-file /run/sockd.pid 2>/run/log";
    let output = site.gateway.output(Command::new("sh").arg("-c").arg(line).arg(program("sockd")));
    assert!(output.status.success(), "{output:?}");
    drop(granted(&site.client, &Request::connect((SERVER, 7))));
    let pid = site.gateway.read("/run/sockd.pid");
    until_true("the line of the end", || site.gateway.read("/run/log").contains("terminated -- Connect"));
    site.gateway.sh(&format!("kill {}", pid.trim()));
    until_true("the last line", || site.gateway.read("/run/log").ends_with(": stopped\n"));
}

#[test]
fn with_daemon_a_failed_start_is_the_commands_failure() {
    let host = Host::new();
    assert_refused(&host, "nonsense\n", "--daemon --log stderr", "line 1");
}

#[test]
fn a_link_in_the_place_of_the_pid_file_is_not_followed() {
    let site = Site::new();
    site.gateway.write("/run/precious", "precious\n");
    site.gateway.sh("ln -s precious /run/sockd.pid");
    let sockd = Start::new(&site.gateway, PERMIT_ALL).words("--pid-file /run/sockd.pid").start();
    // The daemon listens before it writes the file.
    let own = format!("{}\n", sockd.monitor().0);
    until_true("the pid file is the daemon's own", || site.gateway.read("/run/sockd.pid") == own);
    assert_eq!(site.gateway.read("/run/precious"), "precious\n");
}

#[test]
fn a_second_daemon_does_not_take_the_pid_file_of_the_first_and_nobody_removes_that_of_another() {
    let site = Site::new();
    let host = &site.gateway;
    let words = "--log stderr --pid-file /run/sockd.pid";
    let mut first = Start::new(host, PERMIT_ALL).words(words).start();
    let of_first = format!("{}\n", first.monitor().0);
    until_true("the first has its pid file", || host.read("/run/sockd.pid") == of_first);
    let second = Start::bare(host).words(words).words("--listen 127.0.0.1:1081").output();
    assert_eq!(second.status.code(), Some(71), "{second:?}");
    let said = "--pid-file: /run/sockd.pid: expected a file of its own, found that of a running sockd";
    assert!(stderr(&second).contains(said), "{second:?}");
    assert_eq!(host.read("/run/sockd.pid"), of_first);
    // If somebody gives the name to another file, that file stays.
    host.sh("rm /run/sockd.pid");
    host.write("/run/sockd.pid", "of another\n");
    first.signal(Signal::SIGTERM);
    assert!(first.wait().success());
    assert_eq!(host.read("/run/sockd.pid"), "of another\n");
    // The file that a crash of all processes leaves behind is taken over; if one alone crashes, the loader removes it.
    let crashed = Start::bare(host).words(words).start();
    crashed.loader().signal(Signal::SIGKILL);
    crashed.signal(Signal::SIGKILL);
    drop(crashed);
    assert!(host.exists("/run/sockd.pid"));
    let third = Start::bare(host).words(words).start();
    let of_third = format!("{}\n", third.monitor().0);
    until_true("the third has taken the pid file over", || host.read("/run/sockd.pid") == of_third);
}

#[test]
fn a_pid_file_that_cannot_be_written_whole_is_no_start() {
    let host = Host::new();
    host.sh("mkdir /run/full");
    host.sh("mount -t tmpfs -o size=4k,mode=755 tmpfs /run/full");
    host.write("/run/full/filling", [b'x'; 4096]);
    let words = "--log stderr --pid-file /run/full/sockd.pid";
    let output = Start::new(&host, PERMIT_ALL).words(words).output();
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let said = "--pid-file: /run/full/sockd.pid: No space left on device";
    assert!(stderr(&output).contains(said), "{output:?}");
    assert!(!host.exists("/run/full/sockd.pid"), "an empty file is left behind");
}

#[test]
fn a_worker_program_that_is_missing_or_writable_by_others_is_no_start() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    let sockd = installed(&host);
    let start = || host.output(Command::new(sockd).args(["--log", "stderr"]));
    host.sh("chmod 777 /run/lib/sockd-worker");
    let output = start();
    assert!(!output.status.success() && stderr(&output).contains("sockd-worker"), "{output:?}");
    host.sh("chmod 755 /run/lib/sockd-worker");
    host.sh("chown nobody /run/lib/sockd-worker");
    let output = start();
    assert!(!output.status.success() && stderr(&output).contains("sockd-worker"), "{output:?}");
    host.sh("rm /run/lib/sockd-worker");
    let output = start();
    assert!(!output.status.success() && stderr(&output).contains("sockd-worker"), "{output:?}");
    // Another program in its place is detected before a client comes.
    host.sh("cp /bin/true /run/lib/sockd-worker");
    assert!(!start().status.success());
}

/// curl through `sockd --trial`, run by this command.
fn trial(host: &Host, mut command: Command) {
    let _www = web::serve(host, (Ipv4Addr::LOCALHOST, 8080));
    let stderr = host.run(|| std::fs::File::create("/run/trial.stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut sockd = host.start(&mut command);
    until_true("sockd --trial listens", || {
        assert!(sockd.ended().is_none(), "{}", host.read("/run/trial.stderr"));
        procfs::listens(host, 1080)
    });
    for option in ["--socks4", "--socks4a"] {
        let words = ["-sS", option, "127.0.0.1:1080", "http://localhost:8080/5000"];
        let got = host.output(Command::new("curl").args(words));
        assert_eq!(got.stdout.len(), 5000, "{got:?} {}", host.read("/run/trial.stderr"));
    }
    let said = host.read("/run/trial.stderr");
    assert!(said.contains("connected -- Connect from "), "{said}");
}

#[test]
fn trial_serves_root_without_any_file() {
    let host = Host::new();
    let mut command = Command::new(installed(&host));
    command.arg("--trial");
    trial(&host, command);
}

#[test]
fn trial_serves_an_ordinary_user() {
    let host = Host::new();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args([installed(&host), "--trial"]);
    trial(&host, command);
}

#[test]
fn trial_listens_on_loopback_only_and_where_it_is_told_to() {
    let site = Site::new();
    let _trial = Start::trial(&site.gateway).words("--listen 192.0.2.1:1080").start();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    // Clients elsewhere than on loopback are not permitted.
    let mut line = send_to(&site.client, sockd_tests::socks::PROXY, &Request::connect((SERVER, 7)));
    assert_eq!(Reply::read(&mut line), Reply::with(91), "{CLIENT}");
}
